package streams_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/adapters/embedded"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/streams"
	"github.com/prometheus/client_golang/prometheus"
)

// retentions are what apps' streams remember, to be changed by a test.
type retentions struct {
	mu  sync.Mutex
	own map[broker.AppID]broker.Retention
}

func (r *retentions) set(app broker.AppID, own broker.Retention) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.own == nil {
		r.own = map[broker.AppID]broker.Retention{}
	}
	r.own[app] = own
}

func (r *retentions) put(c *streams.Config) {
	c.Retention = func(app broker.AppID) broker.Retention {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.own[app]
	}
}

// bounds are those of a stream.
type bounds struct {
	Age           time.Duration
	Bytes, Events int64
	Duplicates    time.Duration
}

func boundsOf(t testing.TB, js jetstream.JetStream, app broker.AppID) bounds {
	t.Helper()
	handle, err := js.Stream(soon(t), "playhead_"+string(app))
	if err != nil {
		t.Fatal(err)
	}
	c := handle.CachedInfo().Config
	return bounds{c.MaxAge, c.MaxBytes, c.MaxMsgs, c.Duplicates}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, tt := range map[string]struct {
		change func(*streams.Config)
		own    broker.Retention
		want   bounds
	}{
		"none of its own":          {want: bounds{24 * time.Hour, 1 << 30, -1, 2 * time.Minute}},
		"all its own":              {own: broker.Retention{Age: time.Hour, Bytes: mib, Events: 10}, want: bounds{time.Hour, mib, 10, 2 * time.Minute}},
		"no bounds":                {own: broker.Retention{Age: -1, Bytes: -1, Events: -1}, want: bounds{0, -1, -1, 2 * time.Minute}},
		"shorter than duplicates":  {own: broker.Retention{Age: time.Minute}, want: bounds{time.Minute, 1 << 30, -1, time.Minute}},
		"shorter than is sent for": {own: broker.Retention{Age: time.Second}, want: bounds{20 * time.Second, 1 << 30, -1, 20 * time.Second}},
		"all for ever": {
			change: func(c *streams.Config) { c.MaxAge, c.MaxBytes = -1, -1 },
			want:   bounds{0, -1, -1, 2 * time.Minute},
		},
		"all for ever, but": {
			change: func(c *streams.Config) { c.MaxAge, c.MaxBytes, c.MaxMsgs = -1, -1, 5 },
			own:    broker.Retention{Age: time.Minute, Bytes: mib, Events: -1},
			want:   bounds{time.Minute, mib, -1, time.Minute},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, time.Second)
			var own retentions
			own.set("app", tt.own)
			change := func(c *streams.Config) {
				if tt.change != nil {
					tt.change(c)
				}
			}
			js := r.jetStream()
			appendAll(t, r.streams(interval, change, own.put), event("app", "a"))
			if diff := cmp.Diff(tt.want, boundsOf(t, js, "app")); diff != "" {
				t.Errorf("made (-want +got):\n%s", diff)
			}
			other := r.streams(interval, change) // knows of no such thing
			if err := other.Adapt(soon(t), "app"); err != nil {
				t.Fatal(err)
			}
			s := r.streams(interval, change, own.put)
			if err := s.Adapt(soon(t), "app"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, boundsOf(t, js, "app")); diff != "" {
				t.Errorf("adapted (-want +got):\n%s", diff)
			}
		})
	}
}

// Limits go down and up while events are appended and tailed. The stream forgets at its head what is
// over them; nobody else notices.
func TestAdapt(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *rig, change func(*streams.Config)) {
		var own retentions
		reg := prometheus.NewRegistry()
		// The tail is another node's than that whose configuration changes.
		s, tailing := r.streams(change, own.put), r.streams(change, own.put, func(c *streams.Config) { c.Registerer = reg })
		js := r.jetStream()
		f := follow(t, tailing, "app")
		from := f.from.Epoch
		w := unleash(t, s, "app", 4)
		for i, limit := range []int64{1000, 300, 2000, 200, -1, 500} {
			f.await(t, 500*(i+1))
			own.set("app", broker.Retention{Events: limit})
			if err := s.Adapt(soon(t), "app"); err != nil {
				t.Fatal(err)
			}
			if have := boundsOf(t, js, "app").Events; have != limit {
				t.Errorf("limit %d, want %d", have, limit)
			}
			oldest, newest, err := tailing.Bounds(soon(t), "app")
			if err != nil || oldest.Epoch != from || newest.Epoch != from {
				t.Errorf("bounds %+v, %+v, %v; the tail began in %s", oldest, newest, err, from)
			}
			if held := int64(newest.Serial - oldest.Serial + 1); limit > 0 && held > limit {
				t.Errorf("%d events held, the limit is %d", held, limit)
			}
		}
		seen, _ := f.events()
		f.await(t, len(seen)+500)
		w.stop.Store(true)
		w.wg.Wait()
		_, newest, err := s.Bounds(soon(t), "app")
		if err != nil {
			t.Fatal(err)
		}
		f.wantSerials(t, 1, newest.Serial)
		if n := sample(t, reg, "playhead_stream_tail_resumes_total", ""); n != 0 {
			t.Errorf("the tail had to resume %v times", n)
		}
	})
}

// What is over a new limit is forgotten at once, from the oldest on; what is within it stays. Under a
// higher limit again no more is forgotten.
func TestAdaptTrims(t *testing.T) {
	t.Parallel()
	const events = 100
	for name, tt := range map[string]struct {
		down, up broker.Retention
		held     func(n int) bool
	}{
		"count": {broker.Retention{Events: 40}, broker.Retention{Events: 1000}, func(n int) bool { return n == 40 }},
		"bytes": {broker.Retention{Bytes: 50_000}, broker.Retention{Bytes: 1 << 30}, func(n int) bool { return n > 40 && n < 50 }},
		"age":   {broker.Retention{Age: time.Second}, broker.Retention{Age: time.Hour}, func(n int) bool { return n == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, r *rig, change func(*streams.Config)) {
				var own retentions
				s := r.streams(change, own.put, func(c *streams.Config) { c.AppendTimeout = 500 * time.Millisecond })
				all := make([]*broker.Event, events)
				for i := range all {
					all[i] = event("app", "a")
					all[i].Data = make([]byte, 1000)
				}
				appendBig(t, s, all)
				own.set("app", tt.down)
				if err := s.Adapt(soon(t), "app"); err != nil {
					t.Fatal(err)
				}
				var oldest, newest broker.Position
				held := 0
				eventually(t, "the stream forgets", func() bool {
					var err error
					if oldest, newest, err = s.Bounds(soon(t), "app"); err != nil {
						t.Fatal(err)
					}
					held = int(newest.Serial + 1 - oldest.Serial)
					return tt.held(held)
				})
				if newest.Serial != events || oldest.Epoch != all[0].Position.Epoch {
					t.Errorf("from %+v to %+v", oldest, newest)
				}
				same(t, "left", all[events-held:], stored(t, s, "app", "a", events))
				same(t, "left of all channels", all[events-held:], stored(t, s, "app", "", events))
				own.set("app", tt.up)
				if err := s.Adapt(soon(t), "app"); err != nil {
					t.Fatal(err)
				}
				more := make([]*broker.Event, events)
				for i := range more {
					more[i] = event("app", "a")
					more[i].Data = make([]byte, 1000)
				}
				appendBig(t, s, more)
				same(t, "left and more", append(all[events-held:], more...), stored(t, s, "app", "a", 2*events))
			})
		})
	}
}

// appendBig appends all, trying for as long as a busy machine needs.
func appendBig(t *testing.T, s *streams.Streams, all []*broker.Event) {
	t.Helper()
	eventually(t, "appended", func() bool {
		err := s.Append(soon(t), all...)
		if err != nil && !errors.Is(err, broker.ErrUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func TestAdaptWithoutAStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	s := r.streams(interval)
	if err := s.Adapt(soon(t)); err != nil {
		t.Errorf("of no app: %v", err)
	}
	if err := s.Adapt(soon(t), "one", "two"); err != nil {
		t.Error(err)
	}
	names := r.jetStream().StreamNames(soon(t))
	for name := range names.Name() {
		t.Errorf("made stream %s", name)
	}
	if names.Err() != nil {
		t.Fatal(names.Err())
	}
}

// One that can't be adapted is an error, and the others are adapted all the same.
func TestAdaptRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second, func(c *embedded.Config) { c.MaxStore = 10 << 20 })
	var own retentions
	apps := []broker.AppID{"a", "b", "c", "d"}
	for _, app := range apps {
		own.set(app, broker.Retention{Bytes: 1 << 20})
	}
	s := r.streams(interval, own.put)
	for _, app := range apps[:3] {
		appendAll(t, s, event(app, "a"))
	}
	own.set("a", broker.Retention{Bytes: 2 << 20})
	own.set("b", broker.Retention{Bytes: 100 << 20}) // more than there is
	own.set("c", broker.Retention{Bytes: 3 << 20})
	err := s.Adapt(soon(t), apps...)
	if !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "app b") ||
		strings.Contains(err.Error(), "app a") || strings.Contains(err.Error(), "app c") {
		t.Errorf("got %v", err)
	}
	js := r.jetStream()
	for app, want := range map[broker.AppID]int64{"a": 2 << 20, "b": 1 << 20, "c": 3 << 20} {
		if have := boundsOf(t, js, app).Bytes; have != want {
			t.Errorf("app %s: %d bytes, want %d", app, have, want)
		}
	}
	own.set("b", broker.Retention{Bytes: 1 << 20})
	appendAll(t, s, event("b", "a"))
}

func TestAdaptUnreachable(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	s := r.streams(interval)
	appendAll(t, s, event("app", "a"))
	r.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.Adapt(ctx, "app", "other"); err == nil || !strings.Contains(err.Error(), "1 more") {
		t.Errorf("got %v", err)
	}
}

// Streams that somebody else made are left as they are.
func TestAdaptOfSomebodyElses(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	js := r.jetStream()
	if _, err := js.CreateStream(soon(t), jetstream.StreamConfig{Name: "playhead_app", Subjects: []string{"playhead.app.>"}, MaxMsgs: 7}); err != nil {
		t.Fatal(err)
	}
	err := r.streams(interval).Adapt(soon(t), "app")
	if err == nil || !strings.Contains(err.Error(), "no epoch") {
		t.Errorf("got %v", err)
	}
	if have := boundsOf(t, js, "app").Events; have != 7 {
		t.Errorf("%d events at most, want 7", have)
	}
}
