package ws

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// Of an empty channel the backend is told once, however many subscribe to it, and again when it is
// empty after an event that has become too old. The notice is of the channel and has the app's id.
func TestCacheMissNotices(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		told := func(when string, want ...broker.Channel) {
			t.Helper()
			if diff := cmp.Diff(want, h.observer.channels(broker.CacheMiss)); diff != "" {
				t.Errorf("%s, the backend was told of (-want +got):\n%s", when, diff)
			}
		}
		visit := func(ch broker.Channel, want string) {
			t.Helper()
			c := h.dial("")
			c.subscribe(ch)
			c.expect(want)
			_ = c.ws.CloseNow()
			synctest.Wait()
		}
		for range 3 {
			visit("cache-a", "pusher:cache_miss")
			visit("cache-b", "pusher:cache_miss")
		}
		told("empty", "cache-a", "cache-b")
		h.publish("cache-a", "e", "{}")
		visit("cache-a", "e")
		told("filled", "cache-a", "cache-b")
		time.Sleep(29 * time.Minute)
		visit("cache-b", "pusher:cache_miss")
		time.Sleep(time.Minute)
		for range 3 {
			visit("cache-a", "pusher:cache_miss")
		}
		told("empty again", "cache-a", "cache-b", "cache-a")
		h.publish("cache-a", "nobody comes for it", "{}")
		time.Sleep(31 * time.Minute)
		visit("cache-a", "pusher:cache_miss")
		told("empty after an event that nobody came for", "cache-a", "cache-b", "cache-a", "cache-a")

		// There was one, somebody saw it, and it is forgotten before it is too old.
		visit("cache-c", "pusher:cache_miss")
		e := h.publish("cache-c", "e", "{}")
		visit("cache-c", "e")
		h.memory.Forget("1", e.Position.Serial)
		visit("cache-c", "pusher:cache_miss")
		told("forgotten", "cache-a", "cache-b", "cache-a", "cache-a", "cache-c", "cache-c")
		h.observer.mu.Lock()
		defer h.observer.mu.Unlock()
		for _, n := range h.observer.notices {
			if n.Kind == broker.CacheMiss && (n.App != "1" || n.Time.IsZero()) {
				t.Errorf("notice %+v", n)
			}
		}
		last := h.observer.notices[len(h.observer.notices)-2] // then the channel was vacated
		if last.Kind != broker.CacheMiss || last.Channel != "cache-c" || !last.Time.Equal(time.Now()) {
			t.Errorf("last notice but one %+v", last)
		}
	})
}

// What is remembered: of which emptiness the backend was told, for a while, and of so many channels.
func TestMisses(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	at := place{app: "1", channel: "cache-a"}
	event := func(id string) *broker.Event { return &broker.Event{ID: id} }
	for name, tt := range map[string]struct {
		before, last *broker.Event
		after        time.Duration
		over         bool
		want         bool
	}{
		"still none":                      {after: missAgain - 1},
		"still none, long after":          {after: missAgain, want: true},
		"still the same":                  {before: event("a"), last: event("a")},
		"the same, forgotten by the log":  {before: event("a")},
		"another that became too old":     {before: event("a"), last: event("b"), want: true},
		"the first one that became so":    {last: event("b"), want: true},
		"none again, after there was one": {over: true, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var m misses
			if !m.begins(at, tt.before, now) {
				t.Fatal("the first time is no news")
			}
			if !m.begins(place{app: "2", channel: "cache-a"}, tt.before, now) {
				t.Error("another app's channel is no news")
			}
			if tt.over {
				m.over(at)
			}
			if got := m.begins(at, tt.last, now.Add(tt.after)); got != tt.want {
				t.Errorf("news: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestMissesAreBounded(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	channel := func(i int) place { return place{app: "1", channel: broker.Channel(fmt.Sprint(i))} }
	var m misses
	const n = 3*missesKept + missesKept/2
	for i := range n {
		if !m.begins(channel(i), nil, now) {
			t.Fatalf("channel %d is no news", i)
		}
		if kept := len(m.young) + len(m.old); kept > 2*missesKept {
			t.Fatalf("%d are remembered, want at most %d", kept, 2*missesKept)
		}
	}
	for i := n - missesKept; i < n; i++ {
		if m.begins(channel(i), nil, now) {
			t.Fatalf("channel %d of %d is forgotten", i, n)
		}
	}
}
