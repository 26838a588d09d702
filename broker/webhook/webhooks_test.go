package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

func TestBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		batched := hook
		batched.Batch = true
		h := newHarness(t, batched, broker.Endpoint{Name: "two", URL: "https://two.example/"})
		h.start()
		var want []string
		for i := range 45 {
			h.notify(broker.ChannelOccupied, broker.Channel(fmt.Sprintf("c%d", i)), "")
			want = append(want, fmt.Sprintf("channel_occupied c%d", i))
		}
		h.after(time.Second)
		sizes := map[string][]string{}
		var got []string
		for _, p := range h.receiver.all() {
			verify(t, p)
			events := p.events(t)
			sizes[p.url] = append(sizes[p.url], fmt.Sprint(p.at.Milliseconds(), " ms ", len(events)))
			if p.url == hook.URL {
				got = append(got, events...)
			}
		}
		if diff := cmp.Diff([]string{"0 ms 20", "0 ms 20", "250 ms 5"}, sizes[hook.URL]); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
		if n := len(sizes["https://two.example/"]); n != 45 {
			t.Errorf("%d requests without batches, want 45", n)
		}
		if len(got) == 45 {
			got = append(sorted(got[:40]), got[40:]...) // two requests at a time have no order
			want = append(sorted(want[:40]), want[40:]...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		h.stop()
	})
}

// A retry sends the same bytes, later and later, until the event is too old; then it is dead.
func TestRetry(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"500": 500, "404": 404, "redirect": 302, "hanging": 0, "unreachable": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, hook)
				h.receiver.answers(func(post) int { return status })
				h.start()
				h.notify(broker.ChannelOccupied, "a", "")
				h.after(10 * time.Minute)
				posts := h.receiver.all()
				if len(posts) < 6 || len(posts) > 20 {
					t.Errorf("%d attempts", len(posts))
				}
				took := time.Duration(0)
				if status == 0 {
					took = 4 * time.Second
				}
				for i, p := range posts {
					verify(t, p)
					if p.body != posts[0].body || p.header.Get("X-Pusher-Signature") != posts[0].header.Get("X-Pusher-Signature") {
						t.Errorf("attempt %d differs: %s", i, p.body)
					}
					if p.at > 5*time.Minute {
						t.Errorf("attempt after %v", p.at)
					}
					if i == 0 {
						continue
					}
					most := min(time.Second<<(i-1), time.Minute)
					if wait := p.at - posts[i-1].at - took; wait > most || wait < most/2-time.Millisecond {
						t.Errorf("pause %d of %v, want %v to %v", i, wait, most/2, most)
					}
				}
				dead := h.dead()
				if len(dead) != 1 || !strings.Contains(dead[0].Why, "attempts, the last: ") || h.left() != 0 {
					t.Fatalf("dead: %v, in the queue %d", dead, h.left())
				}
				if n := h.metric("playhead_webhook_events_total", "result=dead", "event=channel_occupied", "app=shop"); n != 1 {
					t.Errorf("dead in the metrics: %v", n)
				}
				h.stop()
			})
		})
	}
}

// Retries stop with the first 2xx, whichever.
func TestRetrySucceeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		n := 0
		h.receiver.answers(func(post) int {
			n++
			return map[bool]int{true: 503, false: 204}[n < 3]
		})
		h.start()
		h.notify(broker.ChannelOccupied, "a", "")
		h.after(10 * time.Minute)
		if posts := h.receiver.all(); len(posts) != 3 {
			t.Errorf("%d attempts, want 3", len(posts))
		}
		if h.left() != 0 || len(h.dead()) != 0 {
			t.Errorf("left %d, dead %v", h.left(), h.dead())
		}
		if n := h.metric("playhead_webhook_attempts_total", "result=refused"); n != 2 {
			t.Errorf("refused: %v", n)
		}
		if n := h.metric("playhead_webhook_attempts_total", "result=delivered"); n != 1 {
			t.Errorf("delivered: %v", n)
		}
		h.stop()
	})
}

// An old event, as after a long outage, is tried once.
func TestRetryOfOld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.receiver.answers(func(post) int { return 500 })
		h.start()
		h.stop()
		put(t, h, "a")
		h.after(time.Hour)
		h.start()
		h.after(time.Minute)
		if posts := h.receiver.all(); len(posts) != 1 || len(h.dead()) != 1 {
			t.Errorf("%d attempts, %d dead", len(posts), len(h.dead()))
		}
		h.stop()
	})
}

func put(t *testing.T, h *harness, ch broker.Channel) {
	t.Helper()
	_, err := h.queue.Put(t.Context(), &broker.Letter{
		ID: "id-" + string(ch), App: "shop", Endpoint: "one", Time: time.Now(),
		Body: fmt.Appendf(nil, `{"name":"channel_occupied","channel":%q}`, ch),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// While an event of a channel is retried, the later ones of that channel wait and others pass.
func TestOrderOfChannel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		failing := true
		h.receiver.answers(func(p post) int {
			if failing && strings.Contains(p.body, `"presence-bad"`) {
				return 500
			}
			return 200
		})
		h.start()
		for i := range 5 {
			h.notify(broker.MemberAdded, "presence-bad", fmt.Sprint(i))
			h.notify(broker.MemberAdded, "presence-good", fmt.Sprint(i))
		}
		h.after(10 * time.Second)
		var good []string
		for _, e := range h.told() {
			if strings.HasPrefix(e, "member_added presence-good") {
				good = append(good, e)
			} else if e != "member_added presence-bad 0" {
				t.Errorf("told while an earlier one of the channel is retried: %s", e)
			}
		}
		if diff := cmp.Diff([]string{
			"member_added presence-good 0", "member_added presence-good 1", "member_added presence-good 2",
			"member_added presence-good 3", "member_added presence-good 4",
		}, good); diff != "" {
			t.Errorf("good channel (-want +got):\n%s", diff)
		}
		failing = false
		before := len(h.told())
		h.after(time.Minute)
		if diff := cmp.Diff([]string{
			"member_added presence-bad 0", "member_added presence-bad 1", "member_added presence-bad 2",
			"member_added presence-bad 3", "member_added presence-bad 4",
		}, h.told()[before:]); diff != "" {
			t.Errorf("bad channel (-want +got):\n%s", diff)
		}
		h.stop()
	})
}

// An endpoint that hangs delays nobody but itself, and has no more requests than it may.
func TestHangingEndpoint(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, broker.Endpoint{Name: "bad", URL: "https://bad.example/"}, hook)
		h.receiver.answers(func(p post) int {
			if strings.Contains(p.url, "bad") {
				return 0
			}
			return 200
		})
		h.start()
		for i := range 200 {
			h.notify(broker.ChannelOccupied, broker.Channel(fmt.Sprintf("c%d", i)), "")
		}
		h.after(time.Second)
		good, bad := 0, 0
		for _, p := range h.receiver.all() {
			if strings.Contains(p.url, "bad") {
				bad++
			} else {
				good++
			}
		}
		if good != 200 || bad != 4 {
			t.Errorf("%d requests to the good one, %d to the bad one", good, bad)
		}
		began := time.Now()
		h.stop()
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("the end took %v", took)
		}
		if got := h.left(); got != 200 {
			t.Errorf("%d letters in the queue, want those for the bad one", got)
		}
	})
}

// What the endpoint doesn't want isn't told, but takes back what it does want.
func TestFilters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(e *broker.Endpoint)
		want   []string
	}{
		{"all", func(*broker.Endpoint) {}, []string{
			"cache_miss cache-a", "channel_occupied presence-a-x", "channel_occupied presence-b", "member_added presence-a-x 1", "subscription_count a"}},
		{"groups", func(e *broker.Endpoint) { e.Events = []string{"presence", "cache_channels"} }, []string{
			"cache_miss cache-a", "member_added presence-a-x 1"}},
		{"names", func(e *broker.Endpoint) { e.Events = []string{"channel_occupied", "subscription_count"} }, []string{
			"channel_occupied presence-a-x", "channel_occupied presence-b", "subscription_count a"}},
		{"prefix", func(e *broker.Endpoint) { e.ChannelPrefix = "presence-" }, []string{
			"channel_occupied presence-a-x", "channel_occupied presence-b", "member_added presence-a-x 1"}},
		{"suffix", func(e *broker.Endpoint) { e.ChannelPrefix, e.ChannelSuffix = "presence-", "-x" }, []string{
			"channel_occupied presence-a-x", "member_added presence-a-x 1"}},
		{"only vacated", func(e *broker.Endpoint) { e.Events = []string{"channel_vacated"} }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := hook
				c.change(&e)
				h := newHarness(t, e)
				h.start()
				h.notify(broker.ChannelOccupied, "presence-a-x", "")
				h.notify(broker.MemberAdded, "presence-a-x", "1")
				h.notify(broker.ChannelOccupied, "presence-b", "")
				h.notify(broker.CacheMiss, "cache-a", "")
				h.notify(broker.SubscriptionCount, "a", "")
				h.notify(broker.WatchedUsers, "a", "")
				h.notify(broker.ChannelOccupied, "#server-to-user-1", "")
				h.w.Notify(&broker.Notice{App: "other", Channel: "a", Kind: broker.ChannelOccupied})
				h.after(5 * time.Second)
				h.notify(broker.ChannelVacated, "presence-b", "") // is taken back
				h.after(time.Second)
				h.notify(broker.ChannelOccupied, "presence-b", "")
				h.after(5 * time.Second)
				var want []string
				if diff := cmp.Diff(append(want, c.want...), append(want, sorted(h.told())...)); diff != "" {
					t.Errorf("told (-want +got):\n%s", diff)
				}
				if n := h.left(); n != 0 {
					t.Errorf("%d letters left in the queue", n)
				}
				h.stop()
			})
		})
	}
}

// An endpoint that wants only the one half of a pair gets it when the other doesn't take it back.
func TestFilterOfHalf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := hook
		e.Events = []string{"channel_vacated"}
		h := newHarness(t, e)
		h.start()
		h.notify(broker.ChannelOccupied, "a", "")
		h.after(5 * time.Second)
		h.notify(broker.ChannelVacated, "a", "")
		h.after(5 * time.Second)
		if diff := cmp.Diff([]string{"channel_vacated a"}, h.told()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		if n := h.metric("playhead_webhook_events_total", "result=suppressed"); n != 1 {
			t.Errorf("suppressed: %v", n)
		}
		h.stop()
	})
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := hook
		e.Headers = map[string]string{"authorization": "Bearer top-secret", "User-Agent": "shop"}
		h := newHarness(t, e)
		h.receiver.answers(func(post) int { return 500 })
		h.start()
		h.notify(broker.ChannelOccupied, "a", "")
		h.after(10 * time.Minute)
		got := h.receiver.all()[0].header
		want := http.Header{
			"Authorization": {"Bearer top-secret"}, "User-Agent": {"shop"}, "Content-Type": {"application/json"},
			"X-Pusher-Key": {"key-1"}, "X-Pusher-Signature": got["X-Pusher-Signature"],
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("headers (-want +got):\n%s", diff)
		}
		h.stop()
		for _, secret := range []string{"top-secret", "one.example/hook"} {
			if strings.Contains(h.logs.String(), secret) {
				t.Errorf("%q in the log:\n%s", secret, h.logs)
			}
		}
	})
}

// time_ms is when the payload was made; the form is the protocol's to the byte.
func TestBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.start()
		h.notify(broker.MemberRemoved, "presence-a", "10")
		h.after(3 * time.Second)
		want := fmt.Sprintf(`{"time_ms":%d,"events":[{"name":"member_removed","channel":"presence-a","user_id":"10"}]}`, time.Now().UnixMilli())
		if got := h.receiver.all()[0].body; got != want {
			t.Errorf("body %s\nwant %s", got, want)
		}
		if !json.Valid([]byte(want)) {
			t.Error("no JSON")
		}
		h.stop()
	})
}

// What several nodes may tell has an ID and is told once; what isn't in the queue yet is known to be waiting.
func TestNoticesOfTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.start()
		notice := func(ch broker.Channel, mark uint64) {
			h.w.Notify(&broker.Notice{
				App: "shop", Channel: ch, Kind: broker.ChannelOccupied, Time: time.Now(), ID: "epoch-" + string(ch), Mark: mark,
			})
		}
		notice("a", 7)
		h.after(time.Second)
		notice("a", 7)
		h.after(time.Second)
		if diff := cmp.Diff([]string{"channel_occupied a"}, h.told()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		if _, waiting := h.w.Waiting(); waiting {
			t.Error("something waits that is in the queue")
		}
		h.queue.set(func() { h.queue.down = true })
		h.notify(broker.ChannelOccupied, "b", "") // of this node alone
		notice("c", 8)
		notice("d", 9)
		h.after(time.Second)
		if mark, waiting := h.w.Waiting(); mark != 8 || !waiting {
			t.Errorf("waiting: %v, from %d; want 8", waiting, mark)
		}
		h.queue.set(func() { h.queue.down = false })
		h.after(10 * time.Second)
		if _, waiting := h.w.Waiting(); waiting {
			t.Error("something still waits")
		}
		h.stop()
	})
}
