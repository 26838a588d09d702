package ws

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/playhead/playhead/broker"
)

// count takes the next frame, which must be a channel's number of subscriptions, and returns it.
func (c *client) count(ch broker.Channel) int {
	c.tb.Helper()
	f := c.expect("pusher_internal:subscription_count")
	var data struct {
		Count *int `json:"subscription_count"`
	}
	f.decode(c.tb, &data)
	if f.Channel != string(ch) || data.Count == nil {
		c.tb.Fatalf("count of %q: %s, want one of %q", f.Channel, f.Data, ch)
	}
	return *data.Count
}

// Checklist 85: all subscribers are told how many they are, the new one too, behind its answer.
func TestSubscriptionCount(t *testing.T) {
	t.Parallel()
	for _, ch := range []broker.Channel{"a", "private-a", "private-encrypted-a", "cache-a"} {
		t.Run(string(ch), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := start(t, func(h *harness, _ *Config) { h.app.SubscriptionCount = true })
				h.publish("cache-a", "cached", "{}")
				var all []*client
				for i := range 4 {
					c := h.dial("")
					c.subscribe(ch)
					if ch == "cache-a" {
						c.expect("cached")
					}
					all = append(all, c)
					for j, c := range all {
						if got := c.count(ch); got != i+1 {
							t.Errorf("client %d was told %d, want %d", j, got, i+1)
						}
					}
				}
				all[0].send(`{"event":"pusher:unsubscribe","data":{"channel":%q}}`, ch)
				all[0].sync()
				_ = all[1].ws.CloseNow()
				for _, c := range all[2:] {
					for _, want := range []int{3, 2} {
						if got := c.count(ch); got != want {
							t.Errorf("told %d, want %d", got, want)
						}
					}
					c.sync()
				}
			})
		})
	}
}

// Checklist 86: presence channels have members, and other apps no counts.
func TestNoSubscriptionCount(t *testing.T) {
	t.Parallel()
	for _, counted := range []bool{true, false} {
		h := start(t, func(h *harness, _ *Config) { h.app.SubscriptionCount = counted })
		a, b := h.dial(""), h.dial("")
		for i, c := range []*client{a, b} {
			c.subscribeAs("presence-a", fmt.Sprintf(`{"user_id":"%d"}`, i))
			c.subscribeAs("presence-cache-a", fmt.Sprintf(`{"user_id":"%d"}`, i))
			c.miss("presence-cache-a")
			if !counted {
				c.subscribe("orders")
			}
		}
		a.expect("pusher_internal:member_added")
		a.expect("pusher_internal:member_added")
		a.sync()
		b.sync()
	}
}

// Checklist 87: many are told at most once in 5 s, and the right number in the end.
func TestLargeSubscriptionCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most = 160
		h := start(t, func(h *harness, _ *Config) { h.app.SubscriptionCount = true })
		c := h.dial("")
		c.patience = time.Hour
		c.subscribe("a")
		var others []*client
		for range most - 1 {
			o := h.dial("")
			o.subscribe("a")
			go func() { // keeps its queue empty
				for {
					if _, err := o.receive(); err != nil {
						return
					}
				}
			}()
			others = append(others, o)
		}
		for want := 1; want <= 101; want++ {
			if got := c.count("a"); got != want {
				t.Fatalf("told %d, want %d", got, want)
			}
		}
		began := time.Now()
		if got := c.count("a"); got != most {
			t.Errorf("told %d, want %d", got, most)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("told after %v", took)
		}
		for _, o := range others[:20] {
			_ = o.ws.CloseNow()
		}
		began = time.Now()
		if got := c.count("a"); got != most-20 {
			t.Errorf("told %d, want %d", got, most-20)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("told after %v, want 5 s", took)
		}
		c.sync()
	})
}
