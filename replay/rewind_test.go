package replay_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/replay"
)

// moment is when event n was taken.
func moment(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }

func TestRewind(t *testing.T) {
	t.Parallel()
	every := func(m int) func(int, *broker.Event) { // every m-th event is ours
		return func(n int, e *broker.Event) {
			if n%m != 0 {
				e.Channel = "elsewhere"
			}
		}
	}
	clients := func(n int, e *broker.Event) { e.Client = n%2 == 0 }
	tests := map[string]struct {
		events int
		edit   func(int, *broker.Event)
		prior  func(*brokertest.Memory)
		after  func(*brokertest.Memory)
		cfg    func(*replay.Config)
		q      replay.RewindRequest
		want   got
		kept   *got // the answer of a window that remembers what the log has forgotten
	}{
		"the last":                 {events: 9, q: replay.RewindRequest{Count: 1}, want: got{Serials: []uint64{9}}},
		"the last few":             {events: 9, q: replay.RewindRequest{Count: 5}, want: got{Serials: []uint64{5, 6, 7, 8, 9}}},
		"all":                      {events: 9, q: replay.RewindRequest{Count: 9}, want: got{Serials: upto(9)}},
		"more than there ever was": {events: 9, q: replay.RewindRequest{Count: 10}, want: got{Serials: upto(9)}},
		"of an empty log":          {q: replay.RewindRequest{Count: 10}},
		"of a quiet channel": {
			events: 900, edit: every(300), q: replay.RewindRequest{Count: 2},
			want: got{Serials: []uint64{600, 900}},
		},
		"of a channel without events": {events: 900, edit: every(1_000), q: replay.RewindRequest{Count: 2}},
		"up to the seam": {
			events: 9, after: func(m *brokertest.Memory) { fill(t, m, 10, 20, nil) },
			q: replay.RewindRequest{Count: 2}, want: got{Serials: []uint64{8, 9}},
		},
		"without client events": {
			events: 9, edit: clients, q: replay.RewindRequest{Count: 3},
			want: got{Serials: []uint64{5, 7, 9}},
		},
		"with client events": {
			events: 9, edit: clients, q: replay.RewindRequest{Count: 3, ClientEvents: true},
			want: got{Serials: []uint64{7, 8, 9}},
		},
		"some forgotten, but none asked for": {
			events: 9, prior: func(m *brokertest.Memory) { m.Forget(app, 4) },
			q: replay.RewindRequest{Count: 5}, want: got{Serials: []uint64{5, 6, 7, 8, 9}},
		},
		"some forgotten": {
			events: 9, prior: func(m *brokertest.Memory) { m.Forget(app, 5) },
			q: replay.RewindRequest{Count: 5}, want: got{Serials: []uint64{6, 7, 8, 9}, Reason: replay.Expired},
			kept: &got{Serials: []uint64{5, 6, 7, 8, 9}},
		},
		"all forgotten": {
			events: 9, prior: func(m *brokertest.Memory) { m.Forget(app, 9) },
			q:    replay.RewindRequest{Count: 5},
			want: got{Reason: replay.Expired},
			kept: &got{Serials: []uint64{5, 6, 7, 8, 9}},
		},
		"more than a client may get": {
			events: 9, cfg: func(c *replay.Config) { c.MaxEvents = 3 },
			q: replay.RewindRequest{Count: 4}, want: got{Serials: []uint64{7, 8, 9}, Reason: replay.TooFar},
		},
		"more asked for than a client may get, but there are no more": {
			events: 3, cfg: func(c *replay.Config) { c.MaxEvents = 3 },
			q: replay.RewindRequest{Count: 4}, want: got{Serials: []uint64{1, 2, 3}},
		},
		"more bytes than a client may get": {
			events: 9, cfg: func(c *replay.Config) { c.MaxBytes = 15 },
			q: replay.RewindRequest{Count: 4}, want: got{Serials: []uint64{7, 8, 9}, Reason: replay.TooFar},
		},
		"as many bytes as a client may get": {
			events: 9, cfg: func(c *replay.Config) { c.MaxBytes = 16 },
			q: replay.RewindRequest{Count: 4}, want: got{Serials: []uint64{6, 7, 8, 9}},
		},
		"far too much to pass over": {
			events: 99, edit: func(n int, e *broker.Event) { e.Client = n > 10 && n < 90 },
			cfg: func(c *replay.Config) { c.MaxEvents = 7 },
			q:   replay.RewindRequest{Count: 12}, want: got{Serials: []uint64{93, 94, 95, 96, 97, 98, 99}, Reason: replay.TooFar},
		},
		"too much to pass over": {
			events: 99, edit: func(n int, e *broker.Event) { e.Client = n > 10 && n < 97 },
			cfg: func(c *replay.Config) { c.MaxEvents = 7 },
			q:   replay.RewindRequest{Count: 7}, want: got{Serials: []uint64{97, 98, 99}, Reason: replay.TooFar},
		},
		"since a moment": {
			events: 9, q: replay.RewindRequest{Since: moment(7)}, want: got{Serials: []uint64{7, 8, 9}},
		},
		"since between two": {
			events: 9, q: replay.RewindRequest{Since: moment(7).Add(time.Millisecond)}, want: got{Serials: []uint64{8, 9}},
		},
		"since before the first":    {events: 9, q: replay.RewindRequest{Since: moment(-50)}, want: got{Serials: upto(9)}},
		"since after the last":      {events: 9, q: replay.RewindRequest{Since: moment(10)}},
		"since long after the last": {events: 9, q: replay.RewindRequest{Since: moment(1_000)}},
		"since, of an empty log":    {q: replay.RewindRequest{Since: moment(-50)}},
		"since, of a quiet channel": {events: 900, edit: every(300), q: replay.RewindRequest{Since: moment(500)}, want: got{Serials: []uint64{600, 900}}},
		"since, events out of the order of their times": {
			events: 30, edit: func(n int, e *broker.Event) { e.Time = moment(n + n%2*3) },
			q: replay.RewindRequest{Since: moment(21)}, want: got{Serials: []uint64{19, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30}},
		},
		"since, more than a client may get": {
			events: 9, cfg: func(c *replay.Config) { c.MaxEvents = 3 },
			q: replay.RewindRequest{Since: moment(5)}, want: got{Serials: []uint64{7, 8, 9}, Reason: replay.TooFar},
		},
		"since, as many as a client may get": {
			events: 9, cfg: func(c *replay.Config) { c.MaxEvents = 3 },
			q: replay.RewindRequest{Since: moment(7)}, want: got{Serials: []uint64{7, 8, 9}},
		},
		"since, some forgotten but none asked for": {
			events: 9, prior: func(m *brokertest.Memory) { m.Forget(app, 4) },
			q: replay.RewindRequest{Since: moment(6)}, want: got{Serials: []uint64{6, 7, 8, 9}},
		},
		"since, some forgotten": {
			events: 9, prior: func(m *brokertest.Memory) { m.Forget(app, 4) },
			q:    replay.RewindRequest{Since: moment(4)},
			want: got{Serials: []uint64{5, 6, 7, 8, 9}, Reason: replay.Expired},
			kept: &got{Serials: []uint64{4, 5, 6, 7, 8, 9}},
		},
		"since, maybe some forgotten at that very moment": {
			events: 9, prior: func(m *brokertest.Memory) { m.Forget(app, 4) },
			q:    replay.RewindRequest{Since: moment(5)},
			want: got{Serials: []uint64{5, 6, 7, 8, 9}, Reason: replay.Expired},
			kept: &got{Serials: []uint64{5, 6, 7, 8, 9}},
		},
		"since, all forgotten": {
			events: 9, prior: func(m *brokertest.Memory) { m.Forget(app, 9) },
			q:    replay.RewindRequest{Since: moment(4)},
			want: got{Reason: replay.Expired},
			kept: &got{Serials: []uint64{4, 5, 6, 7, 8, 9}},
		},
		"since, the log deleted": {
			events: 9, after: func(m *brokertest.Memory) { m.Reset(app) },
			q: replay.RewindRequest{Since: moment(4)}, want: got{Reason: replay.Reset},
		},
		"the log deleted": {
			events: 9, after: func(m *brokertest.Memory) { m.Reset(app) },
			q: replay.RewindRequest{Count: 4}, want: got{Reason: replay.Reset},
		},
		"no count and no time":    {events: 9, want: got{Reason: replay.Invalid}},
		"a count and a time":      {events: 9, q: replay.RewindRequest{Count: 1, Since: moment(4)}, want: got{Reason: replay.Invalid}},
		"a count below one":       {events: 9, q: replay.RewindRequest{Count: -1}, want: got{Reason: replay.Invalid}},
		"a count beyond reason":   {events: 9, q: replay.RewindRequest{Count: 1_001}, want: got{Reason: replay.Invalid}},
		"a medium without memory": {events: 9, cfg: func(c *replay.Config) { c.History = nil }, q: replay.RewindRequest{Count: 1}, want: got{Reason: replay.Unsupported}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWays(t, func(t *testing.T, w way) {
				if tt.kept != nil && w.window > 0 {
					return // the answer depends on what is in the window
				}
				m := newRig(t, w)
				fill(t, m.Memory, 1, tt.events, tt.edit)
				synctest.Wait()
				if tt.prior != nil {
					tt.prior(m.Memory)
				}
				end := seam(t, m.Memory)
				m.recent(t)
				if tt.after != nil {
					tt.after(m.Memory)
				}
				cfg := replay.Config{History: m.Memory}
				if tt.cfg != nil {
					tt.cfg(&cfg)
				}
				q := tt.q
				q.App, q.Channel, q.Seam, q.Recent = app, ours, end, m.recent(t)
				want := tt.want
				if tt.kept != nil && !w.none && !w.fresh && w.window == 0 {
					want = *tt.kept
				}
				r := open(t, cfg)
				for range 2 { // the first may have extended the window
					if diff := cmp.Diff(want, view(r.Rewind(t.Context(), q))); diff != "" {
						t.Errorf("rewind (-want +got):\n%s", diff)
					}
				}
			})
		})
	}
}

// listed is a long log of which only one channel's serials are kept; the others' events are made when
// they are asked for by serial. It counts what it is asked to read.
type listed struct {
	replay.History
	serials        []uint64
	end            uint64
	ranges, events int
	most           int // events in one range
}

func (l *listed) event(serial uint64) *broker.Event {
	e := &broker.Event{App: app, Channel: ours, ID: fmt.Sprint(serial), Name: "n", Time: start.Add(time.Duration(serial) * time.Millisecond)}
	e.Position = broker.Position{Epoch: "e", Serial: serial, Time: e.Time.UnixMilli()}
	return e
}

func (l *listed) Bounds(context.Context, broker.AppID) (oldest, newest broker.Position, err error) {
	return broker.Position{Epoch: "e", Serial: 1}, l.event(l.end).Position, nil
}

func (l *listed) At(_ context.Context, _ broker.AppID, serial uint64) (*broker.Event, error) {
	return l.event(serial), nil
}

func (l *listed) Since(_ context.Context, _ broker.AppID, at time.Time) (uint64, error) {
	return uint64(max(at.Sub(start).Milliseconds()-1, 0)), nil
}

func (l *listed) Range(_ context.Context, _ broker.AppID, _ broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error] {
	return func(yield func(*broker.Event, error) bool) {
		l.ranges++
		n := 0
		first, _ := slices.BinarySearch(l.serials, after+1)
		for _, s := range l.serials[first:] {
			if s > upto {
				break
			}
			l.events++
			n++
			l.most = max(l.most, n)
			if !yield(l.event(s), nil) {
				break
			}
		}
	}
}

// To give the last hundred of a million it must not be necessary to read the million, nor to ask for
// thousands of ranges, wherever the hundred are.
func TestRewindReadsLittle(t *testing.T) {
	t.Parallel()
	const million = 1_000_000
	run := func(first, last, step uint64) (all []uint64) {
		for s := first; s <= last; s += step {
			all = append(all, s)
		}
		return all
	}
	for name, tt := range map[string]struct {
		serials        []uint64
		count          int
		ranges, events int // at most
	}{
		"the only channel":              {run(1, million, 1), 100, 1, 256},
		"every third":                   {run(1, million, 3), 100, 2, 450},
		"every hundredth":               {run(1, million, 100), 100, 5, 450},
		"every hundredth, a thousand":   {run(1, million, 100), 1_000, 5, 3_000},
		"every thousandth":              {run(1, million, 1_000), 100, 7, 600},
		"ten in all":                    {run(50_000, million, 100_000), 100, 7, 10},
		"none":                          {nil, 100, 7, 0},
		"the oldest":                    {[]uint64{1}, 100, 7, 1},
		"dense, then a long silence":    {run(1, 100_000, 1), 100, 30, 6_000},
		"dense, then a longer silence":  {run(1, 2_000, 1), 100, 30, 6_000},
		"dense, then silence, thousand": {run(1, 100_000, 1), 1_000, 30, 24_000},
		"a burst in between":            {run(500_000, 510_000, 1), 100, 30, 6_000},
		"bursts": {
			slices.Concat(run(100_000, 100_030, 1), run(300_000, 300_030, 1), run(600_000, 600_030, 1), run(900_000, 900_030, 1)),
			100, 30, 500,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &listed{serials: tt.serials, end: million}
			res := open(t, replay.Config{History: l}).Rewind(t.Context(), replay.RewindRequest{
				App: app, Channel: ours, Seam: l.event(million).Position, Count: tt.count,
			})
			want := tt.serials[max(0, len(tt.serials)-tt.count):]
			if diff := cmp.Diff(got{Serials: want}, view(res), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("rewind (-want +got):\n%s", diff)
			}
			t.Logf("%d ranges, %d events", l.ranges, l.events)
			if l.ranges > tt.ranges || l.events > tt.events {
				t.Errorf("%d ranges with %d events, want at most %d with %d", l.ranges, l.events, tt.ranges, tt.events)
			}
			if most := tt.count + 201; l.most > most {
				t.Errorf("%d events of one range, want at most %d", l.most, most)
			}
		})
	}
}
