package ws

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

// fakeCache counts reads and holds them up.
type fakeCache struct {
	broker.Cache
	hold chan struct{} // nil, or closed when reads may return
	err  error

	mu    sync.Mutex
	reads int // guarded by mu; those that have begun
	now   int // guarded by mu; those under way
	most  int // guarded by mu; that there were at the same time
}

// Last implements [broker.Cache].
func (c *fakeCache) Last(ctx context.Context, app broker.AppID, ch broker.Channel) (*broker.Event, error) {
	c.mu.Lock()
	c.reads++
	c.now++
	c.most = max(c.most, c.now)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.now--
	}()
	var e *broker.Event
	var err error
	if c.Cache != nil {
		e, err = c.Cache.Last(ctx, app, ch)
	}
	if c.hold != nil {
		select {
		case <-c.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return e, errors.Join(err, c.err)
}

func (c *fakeCache) counts() (reads, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reads, c.most
}

// Many who come while a read is under way share the next one, which has begun after they came.
func TestRecallIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := &brokertest.Memory{}
		cache := &fakeCache{Cache: memory, hold: make(chan struct{})}
		r := newRecall(cache)
		at := place{app: "1", channel: "cache-a"}
		var asking sync.WaitGroup
		ask := func(want string) {
			asking.Go(func() {
				got := ""
				last, err := r.last(t.Context(), at)
				if err != nil {
					t.Error(err)
				}
				if last != nil {
					got = last.Event.ID
				}
				if got != want {
					t.Errorf("last event %q, want %q", got, want)
				}
			})
			synctest.Wait()
		}
		ask("")
		if err := memory.Append(t.Context(), &broker.Event{App: "1", Channel: "cache-a", ID: "new"}); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			ask("new")
		}
		close(cache.hold)
		asking.Wait()
		if reads, _ := cache.counts(); reads != 2 {
			t.Errorf("reads: %d, want 2", reads)
		}
		if len(r.awaited)+len(r.underWay)+len(r.slots) != 0 {
			t.Errorf("left behind: %v, %v, %d slots", r.awaited, r.underWay, len(r.slots))
		}
	})
}

// Reads of different channels don't wait for each other, but there is a bound; and none lasts for ever.
func TestRecallIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := &fakeCache{hold: make(chan struct{})}
		r := newRecall(cache)
		began := time.Now()
		var asking sync.WaitGroup
		for i := range 3 * recallsAtOnce {
			for range 3 {
				asking.Go(func() {
					at := place{app: "1", channel: broker.Channel(fmt.Sprint("cache-", i))}
					if _, err := r.last(t.Context(), at); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("error %v, want the deadline's", err)
					}
				})
			}
		}
		asking.Wait()
		if took := time.Since(began); took != recallTimeout {
			t.Errorf("took %v, want %v", took, recallTimeout)
		}
		if _, most := cache.counts(); most != recallsAtOnce {
			t.Errorf("reads at once: %d, want %d", most, recallsAtOnce)
		}
		if len(r.awaited)+len(r.underWay)+len(r.slots) != 0 {
			t.Errorf("left behind: %v, %v, %d slots", r.awaited, r.underWay, len(r.slots))
		}
	})
}

// subscribeCache subscribes to a cache channel, as a member where it has members.
func (c *client) subscribeCache(ch broker.Channel, more ...string) frame {
	c.tb.Helper()
	data := ""
	if ch == "presence-cache-a" {
		data = `{"user_id":"1"}`
	}
	return c.subscribeAs(ch, data, more...)
}

// miss takes the next frame, which must say that the channel is empty.
func (c *client) miss(ch broker.Channel) {
	c.tb.Helper()
	if f := c.expect("pusher:cache_miss"); f.Channel != string(ch) || f.text(c.tb) != "{}" {
		c.tb.Errorf("cache miss of %q: %s", f.Channel, f.Data)
	}
}

// cached takes the next frame, which must be this event.
func (c *client) cached(e *broker.Event) frame {
	c.tb.Helper()
	f := c.expect(e.Name)
	if f.Channel != string(e.Channel) || f.text(c.tb) != string(e.Data) {
		c.tb.Errorf("cached event %q of %q, want %q of %q", f.text(c.tb), f.Channel, e.Data, e.Channel)
	}
	return f
}

// Checklist 69, 70, 71, 72, 73, 75: what a new subscription to a cache channel is given.
func TestCacheChannels(t *testing.T) {
	t.Parallel()
	for _, ch := range []broker.Channel{"cache-a", "private-cache-a", "private-encrypted-cache-a", "presence-cache-a"} {
		t.Run(string(ch), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := start(t, nil)
				a := h.dial("")
				a.subscribeCache(ch)
				a.miss(ch)
				h.publish(ch, `App\Events\One`, "{ \"n\": 1 }\u2028")
				a.expect(`App\Events\One`)
				a.sync()

				// The one that must not get it live is given it when it subscribes.
				b := h.dial("")
				two := &broker.Event{App: "1", Channel: ch, Name: "two", Data: []byte("plain text"), Exclude: b.id}
				if err := h.node.Publish(t.Context(), two); err != nil {
					t.Fatal(err)
				}
				a.expect("two")
				b.subscribeCache(ch)
				if f := b.cached(two); f.ID != "" || f.Position != "" {
					t.Errorf("a plain connection got %+v", f)
				}
				b.send(`{"event":"pusher:unsubscribe","data":{"channel":%q}}`, ch)
				b.subscribeCache(ch)
				b.cached(two)
				b.sync()
				placed := h.dial("&replay=1")
				answer := placed.subscribeCache(ch)
				if f := placed.cached(two); f.ID != two.ID || f.Position != two.Position.String() || answer.Position != f.Position {
					t.Errorf("answer at %s, then %+v, want %s at %s", answer.Position, f, two.ID, two.Position)
				}
				placed.sync()

				for _, c := range []*client{a, b, placed} {
					_ = c.ws.CloseNow()
				}
				synctest.Wait()
				if o := h.presence.Occupancy("1", ch); o.Subscriptions != 0 {
					t.Fatalf("occupied by %d", o.Subscriptions)
				}
				three := h.publish(ch, "three", "{}")
				time.Sleep(30*time.Minute - time.Millisecond)
				c := h.dial("")
				c.subscribeCache(ch)
				c.cached(three)
				c.sync()
				time.Sleep(time.Millisecond)
				c = h.dial("")
				c.subscribeCache(ch)
				c.miss(ch)
				c.sync()
				for result, want := range map[string]float64{"event": 4, "miss": 2, "unavailable": 0} {
					if got := h.metric("playhead_cache_subscriptions_total", "app=1", "result="+result); got != want {
						t.Errorf("subscriptions that were given %s: %v, want %v", result, got, want)
					}
				}
			})
		})
	}
}

// Checklist 71, 74: other channels have no last event, and client events are nobody's last.
func TestNothingCached(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	for _, ch := range []broker.Channel{"public", "cachefoo", "private-a", "private-encrypted-a", "presence-a", "private-foo-cache-a"} {
		h.publish(ch, "before", "{}")
		c := h.dial("")
		data := ""
		if ch == "presence-a" {
			data = `{"user_id":"1"}`
		}
		c.subscribeAs(ch, data)
		c.sync()
	}
	a, b, hears := h.dial(""), h.dial(""), h.dial("")
	for _, c := range []*client{a, hears} {
		c.subscribe("private-cache-a")
		c.miss("private-cache-a")
	}
	a.send(`{"event":"client-x","channel":"private-cache-a","data":{}}`)
	hears.expect("client-x") // so it isn't on its way to b any more
	b.subscribe("private-cache-a")
	b.miss("private-cache-a")
	b.sync()
}

// The time for which an event is given is the app's.
func TestCacheTTL(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(h *harness, _ *Config) { h.app.CacheTTL = time.Minute })
		e := h.publish("cache-a", "e", "{}")
		time.Sleep(59 * time.Second)
		c := h.dial("")
		c.subscribe("cache-a")
		c.cached(e)
		time.Sleep(time.Second)
		c.send(`{"event":"pusher:unsubscribe","data":{"channel":"cache-a"}}`)
		c.subscribe("cache-a")
		c.miss("cache-a")
	})
}

// heldLog is a log whose tails can be held up, as they are when a node is behind.
type heldLog struct {
	*brokertest.Memory

	mu   sync.Mutex
	gate chan struct{} // guarded by mu; nil, or closed when tails may go on
}

// Tail implements [broker.Log].
func (l *heldLog) Tail(ctx context.Context, app broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	from, events, err := l.Memory.Tail(ctx, app)
	return from, func(yield func(*broker.Event, error) bool) {
		for e, err := range events {
			l.mu.Lock()
			gate := l.gate
			l.mu.Unlock()
			if gate != nil {
				select {
				case <-gate:
				case <-ctx.Done():
					return
				}
			}
			if !yield(e, err) {
				return
			}
		}
	}, err
}

// hold holds the tails up until release is called.
func (l *heldLog) hold() (release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gate := make(chan struct{})
	l.gate = gate
	return func() {
		l.mu.Lock()
		l.gate = nil
		l.mu.Unlock()
		close(gate)
	}
}

// Forced: the log has events that the node's tail hasn't brought yet when a client subscribes. The
// newest of them is given to it, and none of them comes again, nor do older ones; what the others get
// is not changed by that.
func TestCachedEventIsNewerThanTheSeam(t *testing.T) {
	t.Parallel()
	var log *heldLog
	h := start(t, func(h *harness, _ *Config) {
		log = &heldLog{Memory: h.memory}
		h.log.Log = log
	})
	others, plain, placed := h.dial(""), h.dial(""), h.dial("&replay=1")
	others.subscribe("private-cache-a")
	others.miss("private-cache-a")
	h.publish("private-cache-a", "zero", "{}")
	others.expect("zero")

	release := log.hold()
	others.send(`{"event":"client-before","channel":"private-cache-a","data":{}}`)
	others.sync()
	h.publish("private-cache-a", "one", "1")
	two := h.publish("private-cache-a", "two", "2")
	three := h.publish("elsewhere", "three", "3")
	plain.subscribe("private-cache-a")
	plain.cached(two)
	answer := placed.subscribe("private-cache-a")
	if answer.Position != two.Position.String() {
		t.Errorf("the subscription begins at %s, want the cached event's %s", answer.Position, two.Position)
	}
	placed.cached(two)
	plain.sync()
	release()
	h.publish("private-cache-a", "four", "4")
	for _, event := range []string{"one", "two", "four"} {
		others.expect(event)
	}
	for _, c := range []*client{plain, placed} {
		c.expect("four")
		c.sync()
	}
	// The place that the answer told is one to come back from.
	back := h.dial("")
	f := back.subscribeAs("private-cache-a", "", resume(answer.Position, ""))
	if string(f.Resume) != `{"recovered":true,"count":1}` {
		t.Errorf("resumed at %s: %s", answer.Position, f.Resume)
	}
	if e := back.expect("four"); e.Position <= three.Position.String() {
		t.Errorf("replayed %+v", e)
	}
	back.expect("playhead:replayed")
	back.sync()
}

// Forced: while the last event is read a newer one comes through the tail. It waits, and comes after.
func TestEventWhileTheCacheIsRead(t *testing.T) {
	t.Parallel()
	var cache *fakeCache
	h := start(t, func(h *harness, cfg *Config) {
		cache = &fakeCache{Cache: h.memory, hold: make(chan struct{})}
		cfg.Cache = cache
	})
	other := h.dial("")
	other.subscribe("witness")
	old := h.publish("cache-a", "old", "{}")
	h.publish("witness", "seen", "{}")
	other.expect("seen") // the node's cursor is behind it
	c := h.dial("")
	c.sendSubscribe("cache-a", "")
	await(t, "the last event is read", func() bool { reads, _ := cache.counts(); return reads == 1 })
	h.publish("cache-a", "new", "{}")
	h.publish("witness", "seen", "{}")
	other.expect("seen")
	close(cache.hold)
	c.expect("pusher_internal:subscription_succeeded")
	c.cached(old)
	c.expect("new")
	c.sync()
}

// Who comes back and has missed nothing has the last event already; who has a gap is given it, or told
// that there is none, when it has heard of the gap.
func TestReturnToCacheChannel(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	first := h.publish("cache-a", "first", "{}")
	last := h.publish("cache-a", "last", "{}")
	for name, tt := range map[string]struct {
		channel   broker.Channel
		position  string
		recovered bool
		frames    []string
	}{
		"missed":      {"cache-a", first.Position.String(), true, []string{"last", "playhead:replayed"}},
		"missed none": {"cache-a", last.Position.String(), true, []string{"playhead:replayed"}},
		"gap":         {"cache-a", "nonsense", false, []string{"playhead:gap", "last"}},
		"gap, empty":  {"cache-b", "nonsense", false, []string{"playhead:gap", "pusher:cache_miss"}},
	} {
		c := h.dial("")
		f := c.subscribeAs(tt.channel, "", resume(tt.position, ""))
		if recovered := string(f.Resume) == fmt.Sprintf(`{"recovered":true,"count":%d}`, len(tt.frames)-1); recovered != tt.recovered {
			t.Errorf("%s: resume %s", name, f.Resume)
		}
		for _, want := range tt.frames {
			c.expect(want)
		}
		c.sync()
	}
}

// A log that can't be read is no reason to leave the client without an answer, but none to wake the
// app's backend either; a medium without a cache is one that is always empty.
func TestCacheThatCannotTell(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cache  broker.Cache
		result string
		told   []broker.Channel
	}{
		"unavailable": {&fakeCache{err: broker.ErrUnavailable}, "unavailable", nil},
		"none":        {nil, "miss", []broker.Channel{"cache-a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, func(_ *harness, cfg *Config) { cfg.Cache = tt.cache })
			h.publish("cache-a", "e", "{}")
			for range 2 {
				c := h.dial("")
				c.subscribe("cache-a")
				c.miss("cache-a")
				c.sync()
			}
			if got := h.metric("playhead_cache_subscriptions_total", "result="+tt.result); got != 2 {
				t.Errorf("%s: %v, want 2", tt.result, got)
			}
			if diff := cmp.Diff(tt.told, h.observer.channels(broker.CacheMiss)); diff != "" {
				t.Errorf("the backend is told of (-want +got):\n%s", diff)
			}
		})
	}
}

// A publisher against clients that come and go: what a subscription is given first and what it hears
// then is one sequence without a hole, an echo or a step back. There is an event for each that a
// client waits for, so nobody falls behind.
func TestCachedThenLive(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	h.publish("cache-a", "e", "0")
	wanted := make(chan struct{})
	var publishing, coming sync.WaitGroup
	publishing.Go(func() {
		i := 0
		for range wanted {
			i++
			h.publish("cache-a", "e", fmt.Sprint(i))
		}
	})
	for range 4 {
		coming.Go(func() {
			for range 25 {
				c := h.dial("")
				c.subscribe("cache-a")
				var last int
				c.expect("e").decode(t, &last)
				for range 20 {
					wanted <- struct{}{}
					var n int
					c.expect("e").decode(t, &n)
					if n != last+1 {
						t.Errorf("%d after %d", n, last)
					}
					last = n
				}
				_ = c.ws.CloseNow()
			}
		})
	}
	coming.Wait()
	close(wanted)
	publishing.Wait()
}
