package replay_test

import (
	"context"
	"iter"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/replay"
)

// watched is a history on which a test acts in the middle of reads.
type watched struct {
	replay.History
	onEvent func(serial uint64) // before a range yields it
	onRange func()              // after a range has ended
	onAt    func()              // after the event was read
	bounds  int
}

func (w *watched) Bounds(ctx context.Context, app broker.AppID) (oldest, newest broker.Position, err error) {
	w.bounds++
	return w.History.Bounds(ctx, app)
}

func (w *watched) At(ctx context.Context, app broker.AppID, serial uint64) (*broker.Event, error) {
	e, err := w.History.At(ctx, app, serial)
	if w.onAt != nil {
		w.onAt()
	}
	return e, err
}

func (w *watched) Range(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error] {
	return func(yield func(*broker.Event, error) bool) {
		for e, err := range w.History.Range(ctx, app, ch, after, upto) {
			if w.onEvent != nil && err == nil {
				w.onEvent(e.Position.Serial)
			}
			if !yield(e, err) {
				return
			}
		}
		if w.onRange != nil {
			w.onRange()
		}
	}
}

// The head moves while the client's events are read: what was asked before the range proves
// nothing.
func TestForgettingDuringTheRead(t *testing.T) {
	t.Parallel()
	const events = 500
	tests := map[string]struct {
		act  func(m *brokertest.Memory) *watched
		want got
	}{
		"before the range, beyond the position": {
			act: func(m *brokertest.Memory) *watched {
				return &watched{onAt: func() { m.Forget(app, 2) }}
			},
			want: got{Reason: replay.Expired},
		},
		"before the range, up to the position": {
			act: func(m *brokertest.Memory) *watched {
				return &watched{onAt: func() { m.Forget(app, 1) }}
			},
			want: got{Serials: upto(events)[1:]},
		},
		"in the middle of the range, what was yet to be read": {
			act: func(m *brokertest.Memory) *watched {
				return &watched{onEvent: func(serial uint64) {
					if serial == 50 {
						m.Forget(app, 300)
					}
				}}
			},
			want: got{Reason: replay.Expired},
		},
		"after the range": {
			// All was read, but there is no telling that from the case above.
			act: func(m *brokertest.Memory) *watched {
				return &watched{onRange: func() { m.Forget(app, 300) }}
			},
			want: got{Reason: replay.Expired},
		},
		"deleted in the middle of the range": {
			act: func(m *brokertest.Memory) *watched {
				return &watched{onEvent: func(serial uint64) {
					if serial == 50 {
						m.Reset(app)
					}
				}}
			},
			want: got{Reason: replay.Reset},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := filled(t, events, nil)
			end := seam(t, m)
			w := tt.act(m)
			w.History = m
			res := open(t, replay.Config{History: w}).Replay(t.Context(), replay.Request{
				App: app, Channel: ours, Position: at(end, 1).String(), Seam: end,
			})
			if diff := cmp.Diff(tt.want, view(res)); diff != "" {
				t.Errorf("replay (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTooFarEndsTheRead(t *testing.T) {
	t.Parallel()
	m := filled(t, 500, nil)
	end := seam(t, m)
	var read int
	w := &watched{History: m, onEvent: func(uint64) { read++ }}
	r := open(t, replay.Config{History: w, MaxEvents: 10})
	res := r.Replay(t.Context(), replay.Request{App: app, Channel: ours, Position: at(end, 1).String(), Seam: end})
	if res.Reason != replay.TooFar || read != 11 {
		t.Errorf("reason %q after %d events, want %q after 11", res.Reason, read, replay.TooFar)
	}
}

// A client that is too late must not cost a range, of which there may be very much.
func TestTooLateCostsNoRange(t *testing.T) {
	t.Parallel()
	m := filled(t, 500, nil)
	m.Forget(app, 100)
	end := seam(t, m)
	w := &watched{History: m, onEvent: func(uint64) { t.Error("range was read") }}
	r := open(t, replay.Config{History: w, MaxEvents: 10})
	res := r.Replay(t.Context(), replay.Request{App: app, Channel: ours, Position: at(end, 50).String(), Seam: end})
	if res.Reason != replay.Expired {
		t.Errorf("reason %q, want %q", res.Reason, replay.Expired)
	}
}

func TestNothingMissedReadsNothing(t *testing.T) {
	t.Parallel()
	m := filled(t, 5, nil)
	end := seam(t, m)
	w := &watched{History: m, onAt: func() { t.Error("an event was read") }}
	r := open(t, replay.Config{History: w})
	res := r.Replay(t.Context(), replay.Request{App: app, Channel: ours, Position: end.String(), Seam: end})
	if res.Reason != "" || w.bounds != 0 {
		t.Errorf("reason %q and %d looks at the head, want none of either", res.Reason, w.bounds)
	}
}
