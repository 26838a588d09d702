package replay_test

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/replay"
	"github.com/prometheus/client_golang/prometheus"
)

// counted counts the ranges of a history, and lets tests act at them.
type counted struct {
	replay.History
	delay  time.Duration           // of each range
	during func(ch broker.Channel) // after the first event of a range
	ended  func(ch broker.Channel) // after a range

	mu       sync.Mutex
	all, one int // guarded by mu; ranges of all channels, of one
}

func (c *counted) Range(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error] {
	return func(yield func(*broker.Event, error) bool) {
		c.mu.Lock()
		if ch == "" {
			c.all++
		} else {
			c.one++
		}
		c.mu.Unlock()
		if c.delay > 0 {
			time.Sleep(c.delay)
		}
		first := true
		for e, err := range c.History.Range(ctx, app, ch, after, upto) {
			if !yield(e, err) {
				return
			}
			if first && c.during != nil {
				c.during(ch)
			}
			first = false
		}
		if c.ended != nil {
			c.ended(ch)
		}
	}
}

func (c *counted) ranges() (all, one int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all, c.one
}

// From the window a client is answered without a look at the log, and at once.
func TestRecallReadsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rig := newRig(t, way{})
		fill(t, rig.Memory, 1, 50, nil)
		f := rig.feed(t)
		reg := prometheus.NewRegistry()
		fault := &brokertest.FaultyHistory{History: rig}
		fault.FailAt(100)
		fault.FailBounds(100)
		fault.FailSince(100)
		r := open(t, replay.Config{History: fault, Registerer: reg})
		end := f.Cursor()
		q := replay.Request{App: app, Channel: ours, Position: at(end, 45).String(), Seam: end, Recent: f}
		if diff := cmp.Diff(got{Serials: []uint64{46, 47, 48, 49, 50}}, view(r.Replay(t.Context(), q))); diff != "" {
			t.Errorf("replay (-want +got):\n%s", diff)
		}
		for _, w := range []replay.RewindRequest{{Count: 5}, {Since: moment(46)}} {
			w.App, w.Channel, w.Seam, w.Recent = app, ours, end, f
			if diff := cmp.Diff(got{Serials: []uint64{46, 47, 48, 49, 50}}, view(r.Rewind(t.Context(), w))); diff != "" {
				t.Errorf("rewind %+v (-want +got):\n%s", w, diff)
			}
		}
		have := counters(t, reg)
		if have["playhead_window_lookups_total hit"] != 3 || have["playhead_window_lookups_total miss"] != 0 {
			t.Errorf("counters: %v", have)
		}
	})
}

// When the last event before the window is older than what is asked for, the window has it all.
func TestRewindOfAFreshWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rig := newRig(t, way{fresh: true})
		fill(t, rig.Memory, 1, 50, nil)
		f := rig.feed(t)
		fill(t, rig.Memory, 200, 205, nil) // get 51 to 56
		synctest.Wait()
		fault := &brokertest.FaultyHistory{History: rig}
		fault.FailBounds(100)
		r := open(t, replay.Config{History: fault})
		q := replay.RewindRequest{App: app, Channel: ours, Seam: f.Cursor(), Since: moment(190), Recent: f}
		if diff := cmp.Diff(got{Serials: []uint64{51, 52, 53, 54, 55, 56}}, view(r.Rewind(t.Context(), q))); diff != "" {
			t.Errorf("rewind (-want +got):\n%s", diff)
		}
		// But an event may be stored long after it was taken, and clocks differ.
		q.Since = moment(100)
		if res := r.Rewind(t.Context(), q); res.Reason != replay.Unavailable {
			t.Errorf("%d events and %q, want the log to be asked", len(res.Events), res.Reason)
		}
	})
}

// Many clients come back to a node that has just begun: a few of them are answered from the log, then
// it is read once for all.
func TestStormExtendsTheWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const events, clients = 4_000, 500
		rig := newRig(t, way{fresh: true})
		fill(t, rig.Memory, 1, events, func(n int, e *broker.Event) {
			e.Channel = broker.Channel([]string{"orders", "a", "b", "c"}[n%4])
		})
		f := rig.feed(t)
		end := f.Cursor()
		reg := prometheus.NewRegistry()
		h := &counted{History: rig, delay: time.Millisecond}
		r := open(t, replay.Config{History: h, Registerer: reg})
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				pos := 1 + i
				ch := broker.Channel([]string{"orders", "a", "b", "c"}[i%4])
				var want []uint64
				for s := pos + 1; s <= events; s++ {
					if s%4 == i%4 {
						want = append(want, uint64(s))
					}
				}
				q := replay.Request{App: app, Channel: ch, Position: at(end, pos).String(), Seam: end, Recent: f}
				if have := view(r.Replay(t.Context(), q)); have.Reason != "" || !slices.Equal(want, have.Serials) {
					t.Errorf("client %d: %q and %d events, want %d", i, have.Reason, len(have.Serials), len(want))
				}
			})
		}
		wg.Wait()
		// Two may have read before there was a line; then it is known how many wait.
		if all, one := h.ranges(); all > 3 || one > 4 {
			t.Errorf("the log was read %d times for all and %d times for one channel", all, one)
		}
		have := counters(t, reg)
		if n := have["playhead_window_extensions_total"]; n < 1 {
			t.Errorf("%v extensions", n)
		}
	})
}

// One client doesn't make the node read everything.
func TestOneClientExtendsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rig := newRig(t, way{fresh: true})
		fill(t, rig.Memory, 1, 3_000, func(n int, e *broker.Event) {
			if n%100 != 0 {
				e.Channel = "elsewhere"
			}
		})
		f := rig.feed(t)
		end := f.Cursor()
		h := &counted{History: rig}
		r := open(t, replay.Config{History: h})
		q := replay.Request{App: app, Channel: ours, Position: at(end, 500).String(), Seam: end, Recent: f}
		if diff := cmp.Diff(25, len(view(r.Replay(t.Context(), q)).Serials)); diff != "" {
			t.Errorf("replay (-want +got):\n%s", diff)
		}
		if all, one := h.ranges(); all != 0 || one != 1 {
			t.Errorf("the log was read %d times for all and %d times for one channel", all, one)
		}
	})
}

// What the log does while the window is extended must not show in answers.
func TestExtensionAmidChange(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		window int
		during func(*brokertest.Memory)
		ended  func(*testing.T, *brokertest.Memory)
		fault  func(*brokertest.FaultyHistory)
		pos    int
		want   got
	}{
		"nothing happens": {pos: 20, want: got{Serials: upto(300)[20:]}},
		"from the start":  {pos: 0, want: got{Serials: upto(300)}},
		"forgotten beyond the position in the middle of the read": {
			during: func(m *brokertest.Memory) { m.Forget(app, 150) },
			pos:    20, want: got{Reason: replay.Expired},
		},
		"forgotten, but not so far": {
			during: func(m *brokertest.Memory) { m.Forget(app, 20) },
			pos:    20, want: got{Serials: upto(300)[20:]},
		},
		"forgotten after the read": {
			ended: func(_ *testing.T, m *brokertest.Memory) { m.Forget(app, 150) },
			pos:   20, want: got{Reason: replay.Expired},
		},
		"the window goes on meanwhile": {
			ended: func(t *testing.T, m *brokertest.Memory) { fill(t, m, 301, 310, nil) },
			pos:   20, want: got{Serials: upto(300)[20:]},
		},
		"the window is full meanwhile": {
			window: 290,
			ended:  func(t *testing.T, m *brokertest.Memory) { fill(t, m, 301, 900, nil) },
			pos:    20, want: got{Serials: upto(300)[20:]},
		},
		"the log is deleted": {
			during: func(m *brokertest.Memory) { m.Reset(app) },
			pos:    20, want: got{Reason: replay.Reset},
		},
		"a fault in the middle": {
			fault: func(f *brokertest.FaultyHistory) { f.FailRange(100) },
			pos:   20, want: got{Serials: upto(300)[20:]},
		},
		"a fault afterwards": {
			fault: func(f *brokertest.FaultyHistory) { f.FailBounds(1) },
			pos:   20, want: got{Serials: upto(300)[20:]},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rig := newRig(t, way{fresh: true, window: tt.window})
				fill(t, rig.Memory, 1, 300, nil)
				f := rig.feed(t)
				end := f.Cursor()
				fault := &brokertest.FaultyHistory{History: rig}
				if tt.fault != nil {
					tt.fault(fault)
				}
				once := true
				h := &counted{History: fault}
				h.during = func(broker.Channel) {
					if tt.during != nil && once {
						once = false
						tt.during(rig.Memory)
					}
				}
				h.ended = func(broker.Channel) {
					if tt.ended != nil && once {
						once = false
						tt.ended(t, rig.Memory)
						synctest.Wait()
					}
				}
				r := open(t, replay.Config{History: h})
				q := replay.Request{App: app, Channel: ours, Position: at(end, tt.pos).String(), Seam: end, Recent: f}
				if diff := cmp.Diff(tt.want, view(r.Replay(t.Context(), q))); diff != "" {
					t.Errorf("replay (-want +got):\n%s", diff)
				}
				if all, _ := h.ranges(); all != 1 {
					t.Errorf("it was read for all %d times; the test is of something else", all)
				}
				if tt.want.Reason == replay.Reset {
					return
				}
				if diff := cmp.Diff(tt.want, view(r.Replay(t.Context(), q))); diff != "" {
					t.Errorf("replay again (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// The window moves on under those who ask, and the log is read while it grows.
func TestSameAnswerAmidAppends(t *testing.T) {
	t.Parallel()
	const events, clients = 2_000, 4
	m := &brokertest.Memory{}
	node, err := broker.New(broker.Config{Log: m, WindowEvents: 150})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		if err := node.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	f, err := node.Feed(ctx, app)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	r := open(t, replay.Config{History: m})
	var asking sync.WaitGroup
	asking.Go(func() {
		for n := range events {
			e := event(n+1, func(e *broker.Event) { e.Channel = []broker.Channel{ours, "a"}[n%2] })
			if err := m.Append(ctx, e); err != nil {
				t.Errorf("append: %v", err)
				return
			}
		}
	})
	for range clients {
		asking.Go(func() {
			for f.Cursor().Serial < events {
				seam := f.Cursor()
				back := rand.IntN(300)
				pos := at(seam, max(0, int(seam.Serial)-back))
				q := replay.Request{App: app, Channel: ours, Position: pos.String(), Seam: seam}
				want := view(r.Replay(ctx, q))
				q.Recent = f
				if diff := cmp.Diff(want, view(r.Replay(ctx, q))); diff != "" {
					t.Errorf("replay after %d up to %d (-log +window):\n%s", pos.Serial, seam.Serial, diff)
					return
				}
			}
		})
	}
	asking.Wait()
}

// Whatever the log and the window look like, the answer from the window is the log's.
func TestSameAnswer(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) { compare(t, rand.New(rand.NewPCG(seed, 4))) })
	}
}

func compare(t *testing.T, rnd *rand.Rand) {
	w := way{fresh: rnd.IntN(3) == 0, window: 1 + rnd.IntN(1+rnd.IntN(1_000))}
	rig := newRig(t, w)
	channels := []broker.Channel{ours, "a", "b", "rare"}
	n := 0
	more := func(count int) {
		for range count {
			n++
			e := event(n, nil)
			e.Channel = channels[rnd.IntN(3)]
			if rnd.IntN(40) == 0 {
				e.Channel = "rare"
			}
			e.Client = rnd.IntN(4) == 0
			if rnd.IntN(10) == 0 {
				e.Exclude = "1.1"
			}
			e.Time = e.Time.Add(time.Duration(rnd.IntN(4_000)) * time.Millisecond)
			if err := rig.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	more(rnd.IntN(400))
	rig.feed(t)
	more(rnd.IntN(400))
	f := rig.feed(t)
	forgotten := uint64(0)
	if n > 0 && rnd.IntN(2) == 0 {
		// Not what the window remembers, or the answers may differ.
		for _, err := range f.Back("none", 0, f.Cursor()) {
			var edge *broker.EdgeError
			if errors.As(err, &edge) {
				forgotten = rnd.Uint64N(edge.Base.Serial + 1)
			}
		}
		rig.Forget(app, forgotten)
	}
	cfg := replay.Config{History: rig, MaxEvents: 1 + rnd.IntN(300), MaxBytes: 1 + rnd.IntN(2_000)}
	withWindow, without := open(t, cfg), open(t, cfg)
	for range 30 {
		seam := f.Cursor()
		if rnd.IntN(3) == 0 {
			more(rnd.IntN(20)) // while the client waits
			synctest.Wait()
		}
		ch := channels[rnd.IntN(len(channels))]
		serial := rnd.Uint64N(seam.Serial + 1)
		pos := broker.Position{Epoch: seam.Epoch, Serial: serial}
		if e, err := rig.At(t.Context(), app, serial); err == nil && e != nil {
			pos = e.Position
		}
		if rnd.IntN(10) == 0 {
			pos.Time++
		}
		q := replay.Request{
			App: app, Channel: ch, Position: pos.String(), Seam: seam,
			ClientEvents: rnd.IntN(2) == 0, Socket: []broker.SocketID{"", "1.1"}[rnd.IntN(2)],
		}
		want := view(without.Replay(t.Context(), q))
		q.Recent = f
		if diff := cmp.Diff(want, view(withWindow.Replay(t.Context(), q))); diff != "" {
			t.Fatalf("replay of %s after %d up to %d, forgotten %d, way %+v (-log +window):\n%s", ch, serial, seam.Serial, forgotten, w, diff)
		}

		back := replay.RewindRequest{App: app, Channel: ch, Seam: seam, ClientEvents: q.ClientEvents, Count: 1 + rnd.IntN(200)}
		if rnd.IntN(2) == 0 {
			back.Count, back.Since = 0, moment(rnd.IntN(n+20)-10)
		}
		want = view(without.Rewind(t.Context(), back))
		back.Recent = f
		if diff := cmp.Diff(want, view(withWindow.Rewind(t.Context(), back))); diff != "" {
			t.Fatalf("rewind of %s up to %d, %+v, forgotten %d, way %+v (-log +window):\n%s", ch, seam.Serial, back, forgotten, w, diff)
		}

		page := replay.PageRequest{
			App: app, Channel: ch, ClientEvents: q.ClientEvents, Limit: 1 + rnd.IntN(50), OldestFirst: rnd.IntN(2) == 0,
		}
		if rnd.IntN(2) == 0 {
			page.Before = pos.String()
		} else if rnd.IntN(2) == 0 {
			page.After = pos.String()
		}
		if rnd.IntN(3) == 0 {
			page.From = moment(rnd.IntN(n + 20))
		}
		if rnd.IntN(3) == 0 {
			page.To = moment(n + rnd.IntN(20))
		}
		plain, plainErr := without.Page(t.Context(), page)
		page.Recent = f
		recalled, err := withWindow.Page(t.Context(), page)
		if diff := cmp.Diff(viewPage(plain), viewPage(recalled)); diff != "" {
			t.Fatalf("page %+v, forgotten %d, way %+v (-log +window):\n%s", page, forgotten, w, diff)
		}
		if (plainErr == nil) != (err == nil) || err != nil && plainErr.Error() != err.Error() {
			t.Fatalf("page %+v: %v from the log, %v with the window", page, plainErr, err)
		}
	}
}
