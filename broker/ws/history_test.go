package ws

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/replay"
)

// page is what a client reads of a playhead:history.
type page struct {
	Ref   *string
	Items []struct {
		ID, Event, Data, Position string
		TimeMS                    int64  `json:"time_ms"`
		UserID                    string `json:"user_id"`
	}
	HasMore *bool `json:"has_more"`
	Next    string
	Error   *struct{ Reason, Message string }
}

// names returns the names of the page's events.
func (p page) names() []string {
	var all []string
	for _, i := range p.Items {
		all = append(all, i.Event)
	}
	return all
}

// ask asks for history and takes the answer.
func (c *client) ask(ch, more string) page {
	c.tb.Helper()
	c.send(`{"event":"playhead:history","data":{"channel":%q%s}}`, ch, more)
	f := c.expect("playhead:history")
	var p page
	f.decode(c.tb, &p)
	if f.Channel != ch || (p.Error == nil) != (p.HasMore != nil) || p.Error != nil && p.Error.Message == "" {
		c.tb.Errorf("answer of %q for %q%s: %s", f.Channel, ch, more, f.Data)
	}
	return p
}

// refused asks for history and takes an answer that must give this reason.
func (c *client) refused(ch, more, reason string) page {
	c.tb.Helper()
	p := c.ask(ch, more)
	if p.Error == nil || p.Error.Reason != reason {
		c.tb.Errorf("%s%s: error %+v, want %s", ch, more, p.Error, reason)
	}
	return p
}

// A client pages back from where its subscription began, and forward from anywhere: together with
// what is live that is everything, once.
func TestHistory(t *testing.T) {
	t.Parallel()
	for name, window := range map[string]int{"from memory": 1000, "half from memory": 5, "from the log": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := start(t, func(h *harness, _ *Config) { h.window = window })
				c := h.dial("&replay=1")
				first := h.publish("orders", "e-0", `{"n":"ü"}`)
				for i := 1; i < 10; i++ {
					h.publish("other", "noise", "{}")
					time.Sleep(time.Second)
					h.publish("orders", fmt.Sprint("e-", i), "{}")
				}
				synctest.Wait()
				position := c.subscribe("orders").Position
				h.publish("orders", "live", "{}")
				c.expect("live")

				var back []string
				next := position
				for n := 0; next != "" && n < 10; n++ {
					p := c.ask("orders", fmt.Sprintf(`,"ref":"r-%d","limit":4,"before":%q`, n, next))
					if p.Ref == nil || *p.Ref != fmt.Sprint("r-", n) || *p.HasMore != (n < 2) {
						t.Errorf("page %d: ref %v, has_more %v", n, p.Ref, *p.HasMore)
					}
					back = append(back, p.names()...)
					if next = ""; *p.HasMore {
						next = p.Next
					}
				}
				if diff := cmp.Diff([]string{"e-9", "e-8", "e-7", "e-6", "e-5", "e-4", "e-3", "e-2", "e-1", "e-0"}, back); diff != "" {
					t.Errorf("back (-want +got):\n%s", diff)
				}

				p := c.ask("orders", fmt.Sprintf(`,"after":%q`, first.Position))
				if diff := cmp.Diff([]string{"e-1", "e-2", "e-3", "e-4", "e-5", "e-6", "e-7", "e-8", "e-9", "live"}, p.names()); diff != "" || *p.HasMore || p.Ref != nil {
					t.Errorf("forward: ref %v, has_more %v (-want +got):\n%s", p.Ref, *p.HasMore, diff)
				}
				p = c.ask("orders", `,"limit":1`)
				if diff := cmp.Diff([]string{"live"}, p.names()); diff != "" || !*p.HasMore {
					t.Errorf("newest: has_more %v (-want +got):\n%s", *p.HasMore, diff)
				}
				p = c.ask("orders", "")
				last := p.Items[len(p.Items)-1]
				if len(p.Items) != 11 || last.ID != first.ID || last.Position != first.Position.String() ||
					last.TimeMS != first.Time.UnixMilli() || last.Data != `{"n":"ü"}` {
					t.Errorf("%d items, the oldest %+v; want 11 and %+v", len(p.Items), last, first)
				}
				if n := h.metric("playhead_websocket_histories_total", "result=page", "app=1"); n != 6 {
					t.Errorf("counted %v pages, want 6", n)
				}
			})
		})
	}
}

// The event at which a subscription began is on the page before it, whoever published meanwhile, and
// however small the pages are; it is given once.
func TestHistoryBeforeTheSubscription(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ch    broker.Channel // of the last event before the subscription
		later bool           // something is stored before the client asks
	}{
		"own, still the last": {"orders", false}, "own": {"orders", true},
		"another's, still the last": {"other", false}, "another's": {"other", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := start(t, nil)
				c := h.dial("&replay=1")
				h.publish("orders", "e-0", "{}")
				h.publish("orders", "e-1", "{}")
				want := []string{"e-1", "e-0"}
				if h.publish(test.ch, "e-2", "{}"); test.ch == "orders" {
					want = append([]string{"e-2"}, want...)
				}
				synctest.Wait()
				position := c.subscribe("orders").Position
				if test.later {
					h.publish("orders", "live", "{}")
					c.expect("live")
				}
				for limit := 1; limit <= 4; limit++ {
					var got []string
					for before, n := position, 0; before != "" && n < 10; n++ {
						p := c.ask("orders", fmt.Sprintf(`,"limit":%d,"before":%q`, limit, before))
						got = append(got, p.names()...)
						if before = ""; *p.HasMore {
							before = p.Next
						}
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%d a page (-want +got):\n%s", limit, diff)
					}
				}
			})
		})
	}
}

// What is stored while the page before a subscription is read is live, and not on that page.
func TestHistoryBeforeTheSubscriptionAmidPublishes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var busy *busyBounds
		h := start(t, func(h *harness, cfg *Config) {
			busy = &busyBounds{History: h.memory, harness: h}
			var err error
			if cfg.Replay, err = replay.New(replay.Config{History: busy, Window: time.Hour}); err != nil {
				t.Fatal(err)
			}
		})
		c := h.dial("&replay=1")
		h.publish("orders", "e-0", "{}")
		h.publish("orders", "e-1", "{}")
		synctest.Wait()
		position := c.subscribe("orders").Position
		c.send(`{"event":"playhead:history","data":{"channel":"orders","before":%q}}`, position)
		var got, live []string
		for got == nil || len(live) < busy.count() {
			f := c.next()
			if f.Event != "playhead:history" {
				live = append(live, f.Event)
				continue
			}
			var p page
			f.decode(t, &p)
			got = p.names()
		}
		if diff := cmp.Diff([]string{"e-1", "e-0"}, got); diff != "" {
			t.Errorf("page (-want +got):\n%s", diff)
		}
		if len(live) == 0 {
			t.Error("nothing was published meanwhile")
		}
	})
}

// busyBounds is a history in which an event is stored each time after its bounds were read.
type busyBounds struct {
	replay.History
	harness *harness

	mu     sync.Mutex
	stored int // guarded by mu
}

// Bounds implements [replay.History].
func (h *busyBounds) Bounds(ctx context.Context, app broker.AppID) (oldest, newest broker.Position, err error) {
	oldest, newest, err = h.History.Bounds(ctx, app)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stored++
	h.harness.publish("orders", fmt.Sprint("live-", h.stored), "{}")
	synctest.Wait() // the node's cursor is there
	return oldest, newest, err
}

func (h *busyBounds) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stored
}

// Asking for history is no opting in to positions, and who asks needn't have opted in.
func TestHistoryIsNoOptIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		c := h.dial("")
		c.subscribe("orders")
		if p := c.ask("orders", ""); len(p.Items) != 0 || *p.HasMore || p.Next != "" {
			t.Errorf("page of an empty channel: %+v", p)
		}
		h.publish("orders", "one", "{}")
		if f := c.expect("one"); f.ID != "" || f.Position != "" {
			t.Errorf("event %+v", f)
		}
		if p := c.ask("orders", ""); len(p.Items) != 1 || p.Items[0].Position == "" {
			t.Errorf("page %+v", p)
		}
	})
}

// Each thing that can be wrong has its reason, the ref comes back with it, and the connection stays.
func TestHistoryThatCantBeHad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		c := h.dial("&replay=1")
		c.subscribe("orders")
		c.subscribe("private-mine")
		here := h.publish("orders", "one", "{}").Position
		c.expect("one")
		elsewhere := &broker.Event{App: "2", Channel: "orders", Name: "e"}
		if err := h.node.Publish(t.Context(), elsewhere); err != nil {
			t.Fatal(err)
		}
		beyond := here
		beyond.Serial += 100
		reused := here
		reused.Time--
		for _, test := range []struct{ ch, more, reason string }{
			{"orders", `,"ref":"a","limit":0`, "invalid"},
			{"orders", `,"ref":"a","limit":1001`, "invalid"},
			{"orders", `,"ref":"a","before":"whatever"`, "invalid"},
			{"orders", `,"ref":"a","after":"` + strings.Repeat("x", 50_000) + `"`, "invalid"},
			{"orders", `,"ref":"a","after":"` + here.String()[:20] + `"`, "invalid"},
			{"orders", `,"ref":"a","before":"","after":null`, "invalid"},
			{"orders", fmt.Sprintf(`,"ref":"a","before":%q,"after":%q`, here, here), "invalid"},
			{"orders", fmt.Sprintf(`,"ref":"a","before":%q`, elsewhere.Position), "reset"},
			{"orders", fmt.Sprintf(`,"ref":"a","after":%q`, elsewhere.Position), "reset"},
			{"orders", fmt.Sprintf(`,"ref":"a","after":%q`, reused), "reset"},
			{"orders", fmt.Sprintf(`,"ref":"a","before":%q`, beyond), "ahead"},
			{"orders", fmt.Sprintf(`,"ref":"a","after":%q`, beyond), "ahead"},
			{"other", `,"ref":"a"`, "not_subscribed"},
			{"private-theirs", `,"ref":"a"`, "not_subscribed"},
			{"no channel", `,"ref":"a"`, "not_subscribed"},
		} {
			if p := c.refused(test.ch, test.more, test.reason); p.Ref == nil || *p.Ref != "a" {
				t.Errorf("%s%s: ref %v", test.ch, test.more, p.Ref)
			}
		}
		if p := c.refused("orders", `,"ref":5`, "invalid"); p.Ref != nil {
			t.Errorf("ref %q", *p.Ref)
		}
		for _, data := range []string{`null`, `{}`, `{"ref":"a"}`, `{"channel":5}`, `"what"`, `[]`} {
			c.send(`{"event":"playhead:history","data":%s}`, data)
			if e := c.complaint(); e.Code != nil || !strings.HasPrefix(e.Message, "Missing parameter") && !strings.HasPrefix(e.Message, "Invalid parameter") {
				t.Errorf("%s: %+v", data, e)
			}
		}

		c.send(`{"event":"pusher:unsubscribe","data":{"channel":"private-mine"}}`)
		c.refused("private-mine", "", "not_subscribed")

		h.history.FailBounds(1)
		c.refused("orders", "", "unavailable")
		h.publish("orders", "two", "{}")
		c.expect("two")
		h.memory.Forget("1", here.Serial+1)
		c.refused("orders", fmt.Sprintf(`,"after":%q`, here), "expired")
		c.sync()
	})
}

func TestHistoryWithoutMemory(t *testing.T) {
	t.Parallel()
	h := start(t, noMemory)
	c := h.dial("")
	c.subscribe("orders")
	c.refused("orders", "", "unsupported")
}

// Client events belong to the past only where the app says so; who sent one is told.
func TestHistoryOfClientEvents(t *testing.T) {
	t.Parallel()
	for _, replayed := range []bool{false, true} {
		t.Run(fmt.Sprint(replayed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := start(t, func(h *harness, _ *Config) { h.app.ReplayClientEvents = replayed })
				c := h.dial("")
				c.subscribeAs("presence-a", `{"user_id":"10"}`)
				c.send(`{"event":"client-typing","channel":"presence-a"}`)
				synctest.Wait() // it is in the log
				h.publish("presence-a", "one", "{}")
				c.expect("one")
				p := c.ask("presence-a", "")
				want := []string{"one"}
				if replayed {
					want = append(want, "client-typing")
				}
				if diff := cmp.Diff(want, p.names()); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
				if replayed && p.Items[1].UserID != "10" {
					t.Errorf("item %+v", p.Items[1])
				}
			})
		})
	}
}

// An answer is bounded by bytes: what doesn't fit is left for the next page.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const bound = 64 << 10
		h := start(t, func(_ *harness, cfg *Config) { cfg.QueueBytes = bound })
		c := h.dial("")
		c.subscribe("orders")
		const events = 60
		for i := range events {
			h.publish("orders", fmt.Sprint("e-", i), strings.Repeat(`"`, 1000))
			c.expect(fmt.Sprint("e-", i))
		}
		var got []string
		next := ""
		pages := 0
		for more := true; more; pages++ {
			c.send(`{"event":"playhead:history","data":{"channel":"orders","limit":1000%s}}`, next)
			f := c.expect("playhead:history")
			if n := len(f.Data); n > bound/2 {
				t.Fatalf("%d bytes of data", n)
			}
			var p page
			f.decode(t, &p)
			got = append(got, p.names()...)
			more, next = *p.HasMore, fmt.Sprintf(`,"before":%q`, p.Next)
		}
		if len(got) != events || got[0] != "e-59" || got[events-1] != "e-0" || pages < events*4000/bound {
			t.Errorf("%d events in %d pages: %v", len(got), pages, got)
		}
	})
}

// A connection may ask so often and no more, whatever others do.
func TestHistoryRate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rate         broker.Rate
		once, second int
	}{
		"default":    {broker.Rate{}, 50, 10},
		"configured": {broker.Rate{PerSecond: 2, Burst: 4}, 4, 2},
		"at once":    {broker.Rate{Burst: 20}, 20, 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := start(t, func(_ *harness, cfg *Config) { cfg.HistoryRate = test.rate })
				c, other := h.dial(""), h.dial("")
				c.subscribe("orders")
				other.subscribe("orders")
				for range test.once {
					c.ask("orders", "")
				}
				c.refused("orders", `,"ref":"a"`, "rate_limited")
				c.refused("elsewhere", "", "not_subscribed")
				if p := other.ask("orders", ""); p.Error != nil {
					t.Errorf("another connection: %+v", p.Error)
				}
				time.Sleep(time.Second)
				for i := range test.second {
					if p := c.ask("orders", ""); p.Error != nil {
						t.Errorf("question %d after a second: %+v", i, p.Error)
					}
				}
				c.refused("orders", "", "rate_limited")
			})
		})
	}
}

func TestHistoryWithoutRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(_ *harness, cfg *Config) { cfg.HistoryRate.PerSecond = -1 })
		c := h.dial("")
		c.subscribe("orders")
		for range 200 {
			if p := c.ask("orders", ""); p.Error != nil {
				t.Fatalf("error %+v", p.Error)
			}
		}
	})
}

// A page waits for its turn without holding up what is live.
func TestLiveEventsDontWaitForHistory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := start(t, func(h *harness, cfg *Config) {
			var err error
			cfg.Replay, err = replay.New(replay.Config{History: &heldBounds{History: h.memory, release: release}, Window: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
		})
		c := h.dial("")
		c.subscribe("orders")
		c.send(`{"event":"playhead:history","data":{"channel":"orders"}}`)
		c.send(`{"event":"pusher:ping"}`)
		time.Sleep(time.Second)
		h.publish("orders", "live", "{}")
		c.expect("live")
		close(release)
		c.expect("playhead:history")
		c.expect("pusher:pong")
	})
}

// heldBounds is a history that says nothing of its bounds until it is released.
type heldBounds struct {
	replay.History
	release <-chan struct{}
}

// Bounds implements [replay.History].
func (h *heldBounds) Bounds(ctx context.Context, app broker.AppID) (oldest, newest broker.Position, err error) {
	select {
	case <-h.release:
		return h.History.Bounds(ctx, app)
	case <-ctx.Done():
		return oldest, newest, ctx.Err()
	}
}
