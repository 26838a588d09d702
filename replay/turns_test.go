package replay_test

import (
	"context"
	"fmt"
	"iter"
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

// paced is a history that lets one range after another go, and notes for which app.
type paced struct {
	*brokertest.Memory
	step chan struct{}

	mu   sync.Mutex
	apps []string // guarded by mu
}

func (p *paced) Range(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error] {
	return func(yield func(*broker.Event, error) bool) {
		p.mu.Lock()
		p.apps = append(p.apps, string(app))
		p.mu.Unlock()
		select {
		case <-p.step:
			p.Memory.Range(ctx, app, ch, after, upto)(yield)
		case <-ctx.Done():
			yield(nil, ctx.Err())
		}
	}
}

func (p *paced) read() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.apps)
}

// crowd is clients of several apps that ask one after the other.
type crowd struct {
	history *paced
	r       *replay.Replayer
	reg     *prometheus.Registry
	results chan string
}

func newCrowd(t *testing.T, cfg replay.Config) *crowd {
	t.Helper()
	c := &crowd{
		history: &paced{Memory: &brokertest.Memory{}, step: make(chan struct{})},
		reg:     prometheus.NewRegistry(),
		results: make(chan string, 10_000),
	}
	cfg.History, cfg.Registerer = c.history, c.reg
	c.r = open(t, cfg)
	return c
}

// comes lets a client of an app come back from the app's first event, and waits until it reads or
// waits.
func (c *crowd) comes(ctx context.Context, t *testing.T, app broker.AppID) {
	t.Helper()
	if oldest, newest, err := c.history.Bounds(ctx, app); err == nil && newest.Serial < oldest.Serial {
		for n := range 3 {
			e := event(n+1, func(e *broker.Event) { e.App = app })
			if err := c.history.Append(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, end, err := c.history.Bounds(ctx, app)
	if err != nil {
		t.Fatal(err)
	}
	q := replay.Request{App: app, Channel: ours, Position: at(end, 1).String(), Seam: end}
	go func() { c.results <- string(app) + " " + string(c.r.Replay(ctx, q).Reason) }()
	synctest.Wait()
}

func (c *crowd) next() {
	c.history.step <- struct{}{}
	synctest.Wait()
}

// gauges returns who waits and who reads.
func (c *crowd) gauges(t *testing.T) string {
	t.Helper()
	families, err := c.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch v := m.GetGauge().GetValue(); {
			case f.GetName() == "playhead_replay_reading":
				all += fmt.Sprint(" reading ", v)
			case f.GetName() == "playhead_replay_waiting" && v != 0:
				all += fmt.Sprint(" waiting ", m.GetLabel()[0].GetValue(), " ", v)
			}
		}
	}
	return all
}

func TestTurnsGoRoundTheApps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, replay.Config{Concurrency: 1})
		for range 5 {
			c.comes(t.Context(), t, "a")
		}
		c.comes(t.Context(), t, "b")
		c.comes(t.Context(), t, "b")
		c.comes(t.Context(), t, "c")
		if have, want := c.gauges(t), " reading 1 waiting a 4 waiting b 2 waiting c 1"; have != want {
			t.Errorf("gauges:%s, want%s", have, want)
		}
		for range 8 {
			c.next()
		}
		want := []string{"a", "a", "b", "c", "a", "b", "a", "a"}
		if diff := cmp.Diff(want, c.history.read()); diff != "" {
			t.Errorf("who read (-want +got):\n%s", diff)
		}
		for range 8 {
			if res := <-c.results; res[1:] != " " {
				t.Errorf("result %q", res)
			}
		}
		if have, want := c.gauges(t), " reading 0"; have != want {
			t.Errorf("gauges:%s, want%s", have, want)
		}
	})
}

// Thousands of clients of one app don't hold up the only one of another.
func TestTurnsAreFair(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, replay.Config{})
		for range 1_000 {
			c.comes(t.Context(), t, "a")
		}
		c.comes(t.Context(), t, "b")
		c.next()
		c.next()
		if i := slices.Index(c.history.read(), "b"); i < 0 {
			t.Error("after two reads it isn't the turn of the other app")
		}
		for range 999 {
			c.next()
		}
		if n := len(c.results); n != 1_001 {
			t.Errorf("%d answers", n)
		}
	})
}

// Who leaves while it waits leaves nothing behind.
func TestLeavingTheLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, replay.Config{Concurrency: 1})
		c.comes(t.Context(), t, "a")
		c.comes(t.Context(), t, "a")
		ctx, cancel := context.WithCancel(t.Context())
		c.comes(ctx, t, "a")
		c.comes(ctx, t, "b")
		c.comes(t.Context(), t, "c")
		cancel()
		for range 2 {
			if res := <-c.results; res != "a unavailable" && res != "b unavailable" {
				t.Errorf("who left got %q", res)
			}
		}
		if have, want := c.gauges(t), " reading 1 waiting a 1 waiting c 1"; have != want {
			t.Errorf("gauges:%s, want%s", have, want)
		}
		for range 3 {
			c.next()
		}
		if diff := cmp.Diff([]string{"a", "a", "c"}, c.history.read()); diff != "" {
			t.Errorf("who read (-want +got):\n%s", diff)
		}
		if have, want := c.gauges(t), " reading 0"; have != want {
			t.Errorf("gauges:%s, want%s", have, want)
		}
	})
}

// A turn that comes as its waiter leaves isn't lost.
func TestTurnsAreNotLost(t *testing.T) {
	t.Parallel()
	m := filled(t, 5, nil)
	end := seam(t, m)
	r := open(t, replay.Config{History: m, Concurrency: 1})
	q := replay.Request{App: app, Channel: ours, Position: at(end, 1).String(), Seam: end}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 60 {
				ctx, cancel := context.WithCancel(t.Context())
				if (i+j)%3 == 0 {
					go cancel()
				}
				r.Replay(ctx, q)
				cancel()
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(got{Serials: []uint64{2, 3, 4, 5}}, view(r.Replay(t.Context(), q))); diff != "" {
		t.Errorf("replay after that (-want +got):\n%s", diff)
	}
}

// Waiting and reading are bounded each by its own.
func TestWaitTimeout(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cfg          replay.Config
		first, other time.Duration // when they are answered
	}{
		"defaults":   {replay.Config{Concurrency: 1}, 10 * time.Second, 20 * time.Second},
		"long reads": {replay.Config{Concurrency: 1, Timeout: time.Hour}, time.Hour, time.Minute},
		"configured": {replay.Config{Concurrency: 1, Timeout: 5 * time.Second, WaitTimeout: time.Second}, 5 * time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t, tt.cfg)
				began := time.Now()
				c.comes(t.Context(), t, "a")
				c.comes(t.Context(), t, "b")
				have := map[string]time.Duration{}
				for range 2 {
					res := <-c.results
					have[res] = time.Since(began)
				}
				want := map[string]time.Duration{"a unavailable": tt.first, "b unavailable": tt.other}
				if diff := cmp.Diff(want, have); diff != "" {
					t.Errorf("answered after (-want +got):\n%s", diff)
				}
			})
		})
	}
}
