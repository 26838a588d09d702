package replay_test

import (
	"bytes"
	"context"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/replay"
	"github.com/prometheus/client_golang/prometheus"
)

func TestFaultsAreUnavailable(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault func(*brokertest.FaultyHistory)
		prior func(*brokertest.Memory)
		want  replay.Reason
	}{
		"at the position":            {fault: func(f *brokertest.FaultyHistory) { f.FailAt(1) }, want: replay.Unavailable},
		"at once":                    {fault: func(f *brokertest.FaultyHistory) { f.FailRange(0) }, want: replay.Unavailable},
		"in the middle of the range": {fault: func(f *brokertest.FaultyHistory) { f.FailRange(2) }, want: replay.Unavailable},
		"at the end of the range":    {fault: func(f *brokertest.FaultyHistory) { f.FailRange(4) }, want: replay.Unavailable},
		"after the range":            {fault: func(f *brokertest.FaultyHistory) { f.FailBounds(1) }, want: replay.Unavailable},
		"the range and after it": {
			fault: func(f *brokertest.FaultyHistory) { f.FailRange(2); f.FailBounds(1) },
			want:  replay.Unavailable,
		},
		"before the range": {
			fault: func(f *brokertest.FaultyHistory) { f.FailBounds(1) },
			prior: func(m *brokertest.Memory) { m.Forget(app, 1) },
			want:  replay.Unavailable,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := filled(t, 5, nil)
			if tt.prior != nil {
				tt.prior(m)
			}
			end := seam(t, m)
			f := &brokertest.FaultyHistory{History: m}
			tt.fault(f)
			var log bytes.Buffer
			r := open(t, replay.Config{History: f, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			q := replay.Request{App: app, Channel: ours, Position: at(end, 1).String(), Seam: end}
			if diff := cmp.Diff(got{Reason: tt.want}, view(r.Replay(t.Context(), q))); diff != "" {
				t.Errorf("replay (-want +got):\n%s", diff)
			}
			if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "app=42") {
				t.Errorf("want one warning that names the app, got:\n%s", &log)
			}
			if strings.Contains(log.String(), q.Position) {
				t.Errorf("the log tells a client's position:\n%s", &log)
			}
			if diff := cmp.Diff(got{Serials: []uint64{2, 3, 4, 5}}, view(r.Replay(t.Context(), q))); diff != "" {
				t.Errorf("replay when the fault is over (-want +got):\n%s", diff)
			}
		})
	}
}

// A range that broke off because the log forgot, or was deleted, is explained by the head.
func TestForgettingThatBreaksTheRange(t *testing.T) {
	t.Parallel()
	for want, act := range map[replay.Reason]func(*brokertest.Memory){
		replay.Expired: func(m *brokertest.Memory) { m.Forget(app, 4) },
		replay.Reset:   func(m *brokertest.Memory) { m.Reset(app) },
	} {
		t.Run(string(want), func(t *testing.T) {
			t.Parallel()
			m := filled(t, 5, nil)
			end := seam(t, m)
			f := &brokertest.FaultyHistory{History: &watched{History: m, onAt: func() { act(m) }}}
			f.FailRange(0)
			r := open(t, replay.Config{History: f})
			res := r.Replay(t.Context(), replay.Request{App: app, Channel: ours, Position: at(end, 1).String(), Seam: end})
			if diff := cmp.Diff(got{Reason: want}, view(res)); diff != "" {
				t.Errorf("replay (-want +got):\n%s", diff)
			}
		})
	}
}

// When the log is away every client of the node runs into it; the log says so once a while.
func TestManyFaultsWarnOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := filled(t, 5, nil)
		end := seam(t, m)
		f := &brokertest.FaultyHistory{History: m}
		f.FailAt(101)
		var log bytes.Buffer
		r := open(t, replay.Config{History: f, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		q := replay.Request{App: app, Channel: ours, Position: at(end, 1).String(), Seam: end}
		for range 100 {
			r.Replay(t.Context(), q)
		}
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("%d lines for 100 faults in one instant, want 1", n)
		}
		time.Sleep(time.Second)
		r.Replay(t.Context(), q)
		if n := strings.Count(log.String(), "\n"); n != 2 {
			t.Errorf("%d lines after a second, want 2", n)
		}
	})
}

// held is a history whose ranges wait, until they are let go or their context ends.
type held struct {
	replay.History
	entered chan struct{}
	release chan struct{}
}

func (h *held) Range(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error] {
	return func(yield func(*broker.Event, error) bool) {
		select {
		case h.entered <- struct{}{}:
		default:
		}
		select {
		case <-h.release:
			h.History.Range(ctx, app, ch, after, upto)(yield)
		case <-ctx.Done():
			yield(nil, ctx.Err())
		}
	}
}

func TestAdmission(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := filled(t, 5, nil)
		end := seam(t, m)
		h := &held{History: m, entered: make(chan struct{}, 100), release: make(chan struct{})}
		r := open(t, replay.Config{History: h})
		q := replay.Request{App: app, Channel: ours, Position: at(end, 1).String(), Seam: end}
		results := make(chan replay.Result, 10)
		for range 10 {
			go func() { results <- r.Replay(t.Context(), q) }()
		}
		synctest.Wait()
		if n := len(h.entered); n != 2 {
			t.Errorf("%d replays read at the same time, want the default of 2", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan replay.Result)
		go func() { left <- r.Replay(ctx, q) }()
		synctest.Wait()
		cancel()
		if res := <-left; res.Reason != replay.Unavailable {
			t.Errorf("a client that left: reason %q, want %q", res.Reason, replay.Unavailable)
		}
		close(h.release)
		for range 10 {
			if diff := cmp.Diff(got{Serials: []uint64{2, 3, 4, 5}}, view(<-results)); diff != "" {
				t.Errorf("replay (-want +got):\n%s", diff)
			}
		}
	})
}

func TestEndOfContext(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		cfg     replay.Config
		ctx     func(context.Context) (context.Context, context.CancelFunc)
		outcome string
		after   time.Duration
	}{
		"the client leaves": {
			ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(3*time.Second, cancel)
				return ctx, cancel
			},
			outcome: "canceled",
			after:   3 * time.Second,
		},
		"the caller's deadline": {
			ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, time.Minute)
			},
			outcome: "unavailable",
			after:   time.Minute,
		},
		"no deadline": {
			ctx:     context.WithCancel,
			outcome: "unavailable",
			after:   10 * time.Second,
		},
		"no deadline, configured": {
			cfg:     replay.Config{Timeout: time.Second},
			ctx:     context.WithCancel,
			outcome: "unavailable",
			after:   time.Second,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := filled(t, 5, nil)
				end := seam(t, m)
				reg := prometheus.NewRegistry()
				cfg := tt.cfg
				cfg.History, cfg.Registerer = &held{History: m}, reg
				r := open(t, cfg)
				ctx, cancel := tt.ctx(t.Context())
				defer cancel()
				began := time.Now()
				res := r.Replay(ctx, replay.Request{App: app, Channel: ours, Position: at(end, 1).String(), Seam: end})
				if res.Reason != replay.Unavailable || res.Events != nil {
					t.Errorf("result %+v, want %q and no events", res, replay.Unavailable)
				}
				if took := time.Since(began); took != tt.after {
					t.Errorf("took %v, want %v", took, tt.after)
				}
				want := map[string]float64{"playhead_replays_total " + tt.outcome: 1, "playhead_replayed_events_total": 0}
				if diff := cmp.Diff(want, counters(t, reg)); diff != "" {
					t.Errorf("counters (-want +got):\n%s", diff)
				}
			})
		})
	}
}
