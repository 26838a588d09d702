package replay_test

import (
	"fmt"
	"slices"
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

const (
	app  broker.AppID   = "42"
	ours broker.Channel = "orders"
)

// start is when event 1 was taken; event n was taken n seconds later.
var start = time.UnixMilli(1_700_000_000_000).UTC()

// event makes the event that will get the serial n.
func event(n int, edit func(*broker.Event)) *broker.Event {
	e := &broker.Event{
		App:     app,
		Channel: ours,
		ID:      fmt.Sprint("id-", n),
		Name:    "n",
		Data:    []byte(fmt.Sprintf("%03d", n)), // with the name 4 bytes
		Time:    start.Add(time.Duration(n) * time.Second),
	}
	if edit != nil {
		edit(e)
	}
	return e
}

// filled returns a log with events 1 to n.
func filled(t *testing.T, n int, edit func(int, *broker.Event)) *brokertest.Memory {
	t.Helper()
	m := &brokertest.Memory{}
	fill(t, m, 1, n, edit)
	return m
}

// fill appends events first to last.
func fill(t *testing.T, m *brokertest.Memory, first, last int, edit func(int, *broker.Event)) {
	t.Helper()
	for i := first; i <= last; i++ {
		e := event(i, func(e *broker.Event) {
			if edit != nil {
				edit(i, e)
			}
		})
		if err := m.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// seam returns the end of the log.
func seam(t *testing.T, m *brokertest.Memory) broker.Position {
	t.Helper()
	from, _, err := m.Tail(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	return from
}

// at returns the position of event n, as a client has it.
func at(end broker.Position, n int) broker.Position {
	p := broker.Position{Epoch: end.Epoch, Serial: uint64(n)}
	if n > 0 {
		p.Time = start.Add(time.Duration(n) * time.Second).UnixMilli()
	}
	return p
}

func open(t *testing.T, cfg replay.Config) *replay.Replayer {
	t.Helper()
	if cfg.History != nil {
		cfg.Window = time.Hour
	}
	r, err := replay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// got is a result in a form that compares well.
type got struct {
	Serials []uint64
	Reason  replay.Reason
}

func view(r replay.Result) got {
	var g got
	for _, e := range r.Events {
		g.Serials = append(g.Serials, e.Position.Serial)
	}
	g.Reason = r.Reason
	return g
}

func TestReplay(t *testing.T) {
	t.Parallel()
	elsewhere := func(serials ...int) func(int, *broker.Event) {
		return func(n int, e *broker.Event) {
			if slices.Contains(serials, n) {
				e.Channel = "elsewhere"
			}
		}
	}
	tests := map[string]struct {
		events int                      // in the log
		edit   func(int, *broker.Event) // what they are like
		prior  func(*brokertest.Memory) // what happened to the log before the seam was read
		after  func(*brokertest.Memory) // what happened to it after that
		pos    int                      // the client's serial
		posn   func(*broker.Position)   // what else is odd about its position
		cfg    func(*replay.Config)     //
		req    func(r *replay.Request)  //
		want   got
		kept   *got // the answer of a window that remembers what the log has forgotten
	}{
		"all that was missed":              {events: 5, pos: 2, want: got{Serials: []uint64{3, 4, 5}}},
		"nothing was missed":               {events: 5, pos: 5},
		"nothing in an empty log":          {events: 0, pos: 0},
		"from before the first event":      {events: 3, pos: 0, want: got{Serials: []uint64{1, 2, 3}}},
		"only this channel's":              {events: 5, pos: 1, edit: elsewhere(2, 4), want: got{Serials: []uint64{3, 5}}},
		"from an event of another channel": {events: 5, pos: 2, edit: elsewhere(2, 4), want: got{Serials: []uint64{3, 5}}},
		"none of this channel's":           {events: 5, pos: 2, edit: elsewhere(3, 4, 5)},
		"not beyond the seam": {
			events: 4, pos: 2,
			after: func(m *brokertest.Memory) { fill(t, m, 5, 9, nil) },
			want:  got{Serials: []uint64{3, 4}},
		},
		"a position whose time isn't known": {
			events: 4, pos: 2, posn: func(p *broker.Position) { p.Time = 0 },
			want: got{Serials: []uint64{3, 4}},
		},
		"the end, when the seam's time isn't known": {
			events: 4, pos: 4, prior: func(m *brokertest.Memory) { m.Forget(app, 4) },
		},

		"forgotten up to the position": {
			events: 5, pos: 2, prior: func(m *brokertest.Memory) { m.Forget(app, 2) },
			want: got{Serials: []uint64{3, 4, 5}},
		},
		"forgotten one too many": {
			events: 5, pos: 2, prior: func(m *brokertest.Memory) { m.Forget(app, 3) },
			want: got{Reason: replay.Expired}, kept: &got{Serials: []uint64{3, 4, 5}},
		},
		"one too many, from before the first event": {
			events: 5, pos: 0, prior: func(m *brokertest.Memory) { m.Forget(app, 1) },
			want: got{Reason: replay.Expired}, kept: &got{Serials: []uint64{1, 2, 3, 4, 5}},
		},
		"forgotten, though of another channel": {
			// Nobody can tell any more which channel it was of.
			events: 5, pos: 2, edit: elsewhere(3), prior: func(m *brokertest.Memory) { m.Forget(app, 3) },
			want: got{Reason: replay.Expired}, kept: &got{Serials: []uint64{4, 5}},
		},
		"everything forgotten": {
			events: 5, pos: 2, prior: func(m *brokertest.Memory) { m.Forget(app, 5) },
			want: got{Reason: replay.Expired}, kept: &got{Serials: []uint64{3, 4, 5}},
		},
		"everything up to the position and no more": {
			events: 5, pos: 5, prior: func(m *brokertest.Memory) { m.Forget(app, 5) },
		},

		"another life": {
			events: 5, pos: 2, posn: func(p *broker.Position) { p.Epoch = "other" },
			want: got{Reason: replay.Reset},
		},
		"another life, at the same serial": {
			events: 5, pos: 5, posn: func(p *broker.Position) { p.Epoch = "other" },
			want: got{Reason: replay.Reset},
		},
		"a serial given out again": {
			events: 5, pos: 4,
			prior: func(m *brokertest.Memory) {
				m.Lose(app, 3)
				fill(t, m, 104, 106, nil) // get 4, 5 and 6
			},
			want: got{Reason: replay.Reset},
		},
		"a serial given out again, at the end": {
			events: 5, pos: 5,
			prior: func(m *brokertest.Memory) {
				m.Lose(app, 4)
				fill(t, m, 105, 105, nil)
			},
			want: got{Reason: replay.Reset},
		},
		"the log deleted since the seam": {
			events: 5, pos: 2, after: func(m *brokertest.Memory) { m.Reset(app) },
			want: got{Reason: replay.Reset},
		},
		"beyond the end":                 {events: 5, pos: 6, want: got{Reason: replay.Ahead}},
		"beyond the end of an empty log": {events: 0, pos: 1, want: got{Reason: replay.Ahead}},

		"as many as allowed": {
			events: 5, pos: 2, cfg: func(c *replay.Config) { c.MaxEvents = 3 },
			want: got{Serials: []uint64{3, 4, 5}},
		},
		"one more than allowed": {
			events: 5, pos: 1, cfg: func(c *replay.Config) { c.MaxEvents = 3 },
			want: got{Reason: replay.TooFar},
		},
		"as many bytes as allowed": {
			events: 5, pos: 2, cfg: func(c *replay.Config) { c.MaxBytes = 12 },
			want: got{Serials: []uint64{3, 4, 5}},
		},
		"one byte more than allowed": {
			events: 5, pos: 2, cfg: func(c *replay.Config) { c.MaxBytes = 11 },
			want: got{Reason: replay.TooFar},
		},
		"limits count what is sent": {
			events: 9, pos: 1, edit: func(n int, e *broker.Event) { e.Client = n%2 == 0 },
			cfg:  func(c *replay.Config) { c.MaxEvents, c.MaxBytes = 4, 16 },
			want: got{Serials: []uint64{3, 5, 7, 9}},
		},
		"much more read than sent": {
			events: 60, pos: 1, edit: func(_ int, e *broker.Event) { e.Client = true },
			cfg:  func(c *replay.Config) { c.MaxEvents = 4 },
			want: got{Reason: replay.TooFar},
		},
		"much more bytes read than sent": {
			events: 60, pos: 1, edit: func(_ int, e *broker.Event) { e.Client = true },
			cfg:  func(c *replay.Config) { c.MaxBytes = 16 },
			want: got{Reason: replay.TooFar},
		},
		"default of events":           {events: 1000, pos: 0, want: got{Serials: upto(1000)}},
		"default of events, one more": {events: 1001, pos: 0, want: got{Reason: replay.TooFar}},
		"default of bytes": {
			events: 5, pos: 4, edit: func(_ int, e *broker.Event) { e.Data = make([]byte, 1<<20-1) },
			want: got{Serials: []uint64{5}},
		},
		"default of bytes, one more": {
			events: 5, pos: 4, edit: func(_ int, e *broker.Event) { e.Data = make([]byte, 1<<20) },
			want: got{Reason: replay.TooFar},
		},

		"without the client's own": {
			events: 5, pos: 1, edit: func(n int, e *broker.Event) {
				e.Exclude = map[int]broker.SocketID{3: "1.1", 4: "1.2"}[n]
			},
			req:  func(q *replay.Request) { q.Socket = "1.1" },
			want: got{Serials: []uint64{2, 4, 5}},
		},
		"all, when it doesn't say who it was": {
			events: 5, pos: 1, edit: func(n int, e *broker.Event) {
				e.Exclude = map[int]broker.SocketID{3: "1.1"}[n]
			},
			want: got{Serials: []uint64{2, 3, 4, 5}},
		},
		"without client events": {
			events: 5, pos: 1, edit: func(n int, e *broker.Event) { e.Client = n == 3 },
			want: got{Serials: []uint64{2, 4, 5}},
		},
		"client events where the app says so": {
			events: 5, pos: 1, edit: func(n int, e *broker.Event) { e.Client = n == 3 },
			req:  func(q *replay.Request) { q.ClientEvents = true },
			want: got{Serials: []uint64{2, 3, 4, 5}},
		},
		"client events but its own": {
			events: 5, pos: 1, edit: func(n int, e *broker.Event) {
				e.Client = n > 3
				e.Exclude = map[int]broker.SocketID{4: "1.1", 5: "1.2"}[n]
			},
			req:  func(q *replay.Request) { q.ClientEvents, q.Socket = true, "1.1" },
			want: got{Serials: []uint64{2, 3, 5}},
		},

		"not a position": {
			events: 5, req: func(q *replay.Request) { q.Position = "yesterday" },
			want: got{Reason: replay.Invalid},
		},
		"no position": {
			events: 5, req: func(q *replay.Request) { q.Position = "" },
			want: got{Reason: replay.Invalid},
		},
		"a medium without memory": {
			events: 5, pos: 2, cfg: func(c *replay.Config) { c.History = nil },
			want: got{Reason: replay.Unsupported},
		},
		"no memory, whatever the position": {
			events: 5, cfg: func(c *replay.Config) { c.History = nil },
			req:  func(q *replay.Request) { q.Position, q.Seam = "yesterday", broker.Position{} },
			want: got{Reason: replay.Unsupported},
		},
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
				pos := at(end, tt.pos)
				if tt.posn != nil {
					tt.posn(&pos)
				}
				cfg := replay.Config{History: m.Memory}
				if tt.cfg != nil {
					tt.cfg(&cfg)
				}
				q := replay.Request{App: app, Channel: ours, Position: pos.String(), Seam: end, Recent: m.recent(t)}
				if tt.req != nil {
					tt.req(&q)
				}
				want := tt.want
				if tt.kept != nil && !w.none && !w.fresh && w.window == 0 {
					want = *tt.kept
				}
				if diff := cmp.Diff(want, view(open(t, cfg).Replay(t.Context(), q))); diff != "" {
					t.Errorf("replay (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func upto(n uint64) []uint64 {
	var all []uint64
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

// counters returns the counters of a registry by name and result.
func counters(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetCounter() == nil {
				continue
			}
			name := f.GetName()
			for _, l := range m.GetLabel() {
				if l.GetName() == "result" {
					name += " " + l.GetValue()
				}
			}
			all[name] = m.GetCounter().GetValue()
		}
	}
	return all
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := filled(t, 5, nil)
	end := seam(t, m)
	reg := prometheus.NewRegistry()
	r := open(t, replay.Config{History: m, Registerer: reg})
	for _, pos := range []string{at(end, 1).String(), at(end, 3).String(), at(end, 9).String(), "?"} {
		r.Replay(t.Context(), replay.Request{App: app, Channel: ours, Position: pos, Seam: end})
	}
	want := map[string]float64{
		"playhead_replays_total recovered": 2,
		"playhead_replays_total ahead":     1,
		"playhead_replays_total invalid":   1,
		"playhead_replayed_events_total":   6,
	}
	if diff := cmp.Diff(want, counters(t, reg)); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	m := &brokertest.Memory{}
	tests := map[string]struct {
		cfg  replay.Config
		want []string // in the error; none: no error
	}{
		"no memory":               {},
		"memory":                  {cfg: replay.Config{History: m, Window: time.Hour}},
		"memory without a window": {cfg: replay.Config{History: m}, want: []string{"window: required"}},
		"a window without memory": {cfg: replay.Config{Window: time.Hour}, want: []string{"without a history"}},
		"all problems at once": {
			cfg: replay.Config{
				History: m, Window: -1, MaxEvents: -1, MaxBytes: -1, Concurrency: -1, WaitTimeout: -1, Timeout: -1,
			},
			want: []string{
				"window: -1ns", "max events: -1", "max bytes: -1", "concurrency: -1", "wait timeout: -1ns", "\ntimeout: -1ns",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := replay.New(tt.cfg)
			if len(tt.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if r.Window() != tt.cfg.Window {
					t.Errorf("window %v, want %v", r.Window(), tt.cfg.Window)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in the error: %v", w, err)
				}
			}
		})
	}
}

// The words are the protocol's.
func TestReasons(t *testing.T) {
	t.Parallel()
	want := []replay.Reason{"expired", "reset", "ahead", "too_far", "unavailable", "unsupported", "invalid"}
	have := []replay.Reason{
		replay.Expired, replay.Reset, replay.Ahead, replay.TooFar,
		replay.Unavailable, replay.Unsupported, replay.Invalid,
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}

func TestWindowOf(t *testing.T) {
	t.Parallel()
	r := open(t, replay.Config{History: &brokertest.Memory{}})
	for age, want := range map[time.Duration]time.Duration{
		0: time.Hour, 48 * time.Hour: 48 * time.Hour, time.Minute: time.Minute, -1: 365 * 24 * time.Hour,
	} {
		a := &broker.App{ID: app, Retention: broker.Retention{Age: age}}
		if have := r.WindowOf(a); have != want {
			t.Errorf("window of an app that remembers for %v: %v, want %v", age, have, want)
		}
		if have := open(t, replay.Config{}).WindowOf(a); have != 0 {
			t.Errorf("window without memory: %v", have)
		}
	}
}
