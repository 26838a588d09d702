package ws

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// Checklist 35, 37, 38: answer, then events as they were published, then, after the unsubscribe,
// none.
func TestPublicChannel(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c, other := h.dial(""), h.dial("")
	other.subscribe("orders")
	h.publish("orders", "before", "{}")
	other.expect("before")
	if f := c.subscribe("orders"); f.text(t) != "{}" || f.Position != "" {
		t.Errorf("answer %+v", f)
	}
	for _, data := range []string{`{"a":1}`, "plain text", "123", "", "{broken", "Zoë \u2028 \\ \" \x00 </script>", strings.Repeat("x", 100_000)} {
		h.publish("orders", `App\Events\Order`, data)
		f := c.expect(`App\Events\Order`)
		if f.text(t) != data || f.Channel != "orders" || f.UserID != nil || f.ID != "" || f.Position != "" {
			t.Errorf("published %.40q, got %+v", data, f)
		}
	}
	c.send(`{"event":"pusher:unsubscribe","data":{"channel":"orders"}}`)
	c.sync()
	h.publish("orders", "after", "{}")
	for range 7 {
		other.expect(`App\Events\Order`)
	}
	other.expect("after")
	c.sync()
	c.subscribe("orders") // 41
	h.publish("orders", "again", "{}")
	c.expect("again")
}

// Checklist 39: a second subscribe changes nothing.
func TestDuplicateSubscribe(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("")
	c.subscribe("orders")
	c.sendSubscribe("orders", "")
	c.complaint()
	if o := h.presence.Occupancy("1", "orders"); o.Subscriptions != 1 {
		t.Errorf("subscriptions: %d", o.Subscriptions)
	}
	h.publish("orders", "once", "{}")
	c.expect("once")
	c.sync()
}

// Checklist 42, 43, 45, 91: names.
func TestChannelNames(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("")
	for _, ch := range []broker.Channel{
		"foo-bar_1234@=,.;", broker.Channel(strings.Repeat("n", 164)), "private", "privatefoo", "presencefoo", "cachefoo", "a..b", ".",
	} {
		c.subscribe(ch)
		h.publish(ch, "e", "{}")
		if f := c.expect("e"); f.Channel != string(ch) {
			t.Errorf("event of %q, want %q", f.Channel, ch)
		}
	}
	for ch, want := range map[broker.Channel]fault{
		"":                                       {Type: "InvalidChannel", Status: 4009},
		"two words":                              {Type: "InvalidChannel", Status: 4009},
		"a/b":                                    {Type: "InvalidChannel", Status: 4009},
		"a:b":                                    {Type: "InvalidChannel", Status: 4009},
		"#foo":                                   {Type: "InvalidChannel", Status: 4009},
		"ü":                                      {Type: "InvalidChannel", Status: 4009},
		broker.Channel(strings.Repeat("n", 201)): {Type: "LimitReached", Status: 4009},
		"#server-to-user-1":                      {Type: "AuthError", Status: 401},
	} {
		c.sendSubscribe(ch, "")
		if e := c.refusal(string(ch)); e.Type != want.Type || e.Status != want.Status {
			t.Errorf("%q: %+v, want %+v", ch, e, want)
		}
	}
}

// Checklist 26, 44: many channels on one connection, one message straight after the other.
func TestManyChannels(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("")
	const n = 150
	go func() {
		for i := range n {
			c.sendSubscribe(broker.Channel(fmt.Sprint("ch-", i)), "")
		}
		for i := 0; i < n; i += 2 {
			c.send(`{"event":"pusher:unsubscribe","data":{"channel":"ch-%d"}}`, i)
		}
		c.send(`{"event":"pusher:ping"}`)
	}()
	for i := range n {
		if f := c.expect("pusher_internal:subscription_succeeded"); f.Channel != fmt.Sprint("ch-", i) {
			t.Fatalf("answer %d is for %s", i, f.Channel)
		}
	}
	c.expect("pusher:pong")
	for i := range n {
		h.publish(broker.Channel(fmt.Sprint("ch-", i)), "e", "{}")
	}
	for i := 1; i < n; i += 2 {
		if f := c.expect("e"); f.Channel != fmt.Sprint("ch-", i) {
			t.Fatalf("event of %s, want ch-%d", f.Channel, i)
		}
	}
	c.sync()
}

// Over the app's limit a subscribe is refused and nothing else changes; one that is ended makes room.
func TestSubscriptionsPerConnection(t *testing.T) {
	t.Parallel()
	h := start(t, func(h *harness, _ *Config) { h.app.Limits.SubscriptionsPerConnection = 2 })
	c := h.dial("")
	c.subscribe("a")
	c.subscribe("private-b")
	c.sendSubscribe("c", "")
	if e := c.refusal("c"); e.Type != "LimitReached" || e.Status != 4100 {
		t.Errorf("one too many: %+v", e)
	}
	c.sendSubscribe("a", "")
	c.complaint() // it has that one already
	h.publish("c", "not for it", "{}")
	h.publish("a", "still here", "{}")
	c.expect("still here")
	c.send(`{"event":"pusher:unsubscribe","data":{"channel":"a"}}`)
	c.subscribe("c")
	h.dial("").subscribe("a")
}

// The list of subscriptions and its index agree, whatever comes and goes.
func TestSubscriptionsList(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	feed, err := h.node.Feed(t.Context(), "1")
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Release()
	var subs subscriptions
	have := map[broker.Channel]bool{}
	for i := range 2000 {
		ch := broker.Channel(fmt.Sprint(i * i % 61))
		if have[ch] {
			if j, ok := subs.remove(ch); !ok || j.sub.Channel() != ch {
				t.Fatalf("step %d: removed %v, %v, want %s", i, j, ok, ch)
			}
			delete(have, ch)
		} else {
			sub, _, err := feed.Subscribe(ch, "1.1", deaf{})
			if err != nil {
				t.Fatal(err)
			}
			subs.add(joined{sub: sub})
			have[ch] = true
		}
		for i := range 61 {
			ch := broker.Channel(fmt.Sprint(i))
			if j, ok := subs.find(ch); ok != have[ch] || ok && j.sub.Channel() != ch {
				t.Fatalf("step %d: find %s: %v, want %v", i, ch, ok, have[ch])
			}
		}
	}
}

// deaf is a subscriber that takes no notice.
type deaf struct{}

func (deaf) Deliver(*broker.Delivery) {}
func (deaf) Close(broker.Reason)      {}

// Checklist 46, 47, 48, 49, 50, 51, 52: signatures.
func TestPrivateChannels(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("")
	c.subscribe("bystander")
	signed := func(cr broker.Credential, id broker.SocketID, ch broker.Channel, data *string) string {
		return pusher.SignChannel(cr, id, ch, data)
	}
	for _, ch := range []broker.Channel{
		"private-a", "private-encrypted-a", "private-cache-a", "private-encrypted-cache-a", "presence-a", "presence-cache-a",
	} {
		data := `{"user_id":"1"}`
		good := signed(cred, c.id, ch, &data)
		for name, auth := range map[string]string{
			"missing":       ``,
			"empty":         `,"auth":""`,
			"number":        `,"auth":7`,
			"no colon":      `,"auth":"key"`,
			"wrong digest":  fmt.Sprintf(`,"auth":"%sx"`, good[:len(good)-1]),
			"wrong key":     fmt.Sprintf(`,"auth":"nobody%s"`, good[3:]),
			"other socket":  fmt.Sprintf(`,"auth":%q`, signed(cred, "1.1", ch, &data)),
			"other channel": fmt.Sprintf(`,"auth":%q`, signed(cred, c.id, ch+"x", &data)),
			"without data":  fmt.Sprintf(`,"auth":%q`, signed(cred, c.id, ch, nil)),
		} {
			c.send(`{"event":"pusher:subscribe","data":{"channel":%q,"channel_data":%q%s}}`, ch, data, auth)
			if e := c.refusal(string(ch)); e.Type != "AuthError" || e.Status != 401 {
				t.Errorf("%s, %s: %+v", ch, name, e)
			}
		}
		c.send(`{"event":"pusher:subscribe","data":{"channel":%q,"channel_data":%q,"auth":%q}}`, ch, data, signed(young, c.id, ch, &data))
		c.expect("pusher_internal:subscription_succeeded")
		if pusher.KindOf(ch).Cache() {
			c.expect("pusher:cache_miss")
		}
	}
	h.publish("bystander", "still here", "{}")
	c.expect("still here")
}

// Checklist 76, 77: what is published to an encrypted channel is handed on as it came, whatever it is,
// and a secret that strays into a subscribe is no matter.
func TestEncryptedChannels(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	for _, ch := range []broker.Channel{"private-encrypted-a", "private-encrypted-cache-a"} {
		live, late := h.dial(""), h.dial("")
		live.subscribeAs(ch, "", `"shared_secret":"g3Au6SZ+UCU+IMfFsFva0rq+Gi4tzSHR6WCcWZbS9sY="`)
		if pusher.KindOf(ch).Cache() {
			live.miss(ch)
		}
		for _, data := range []string{
			`{"nonce":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYX","ciphertext":"KbHG2c0O/QvsOX9axl0ZXUsGOTg4jptpepk4mkQk7UWK7w=="}`,
			`{"ciphertext" : "\/" }`,
			"plain text",
			"",
		} {
			h.publish(ch, "e", data)
			if f := live.expect("e"); f.text(t) != data {
				t.Errorf("%s: %s became %s", ch, data, f.text(t))
			}
		}
		e := h.publish(ch, "e", `{"nonce":"n","ciphertext":"c"}`)
		late.subscribe(ch)
		if pusher.KindOf(ch).Cache() {
			late.cached(e)
		}
	}
}

type presenceDoc struct {
	Presence struct {
		Count int
		IDs   []string
		Hash  map[string]any
	}
}

// Checklist 54, 55, 56, 57, 59, 60, 61, 62, 63: who is there, and who is told, at once.
func TestPresenceChannel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		a, b, again := h.dial(""), h.dial(""), h.dial("")
		snapshot := func(f frame) presenceDoc {
			t.Helper()
			var d presenceDoc
			f.decode(t, &d)
			slices.Sort(d.Presence.IDs)
			return d
		}
		var first, second presenceDoc
		first.Presence.Count, first.Presence.IDs, first.Presence.Hash = 1, []string{"10"}, map[string]any{"10": nil}
		second.Presence.Count, second.Presence.IDs = 2, []string{"10", "11"}
		second.Presence.Hash = map[string]any{"10": nil, "11": map[string]any{"name": "B", "tags": []any{true, nil}}}
		if diff := cmp.Diff(first, snapshot(a.subscribeAs("presence-a", `{"user_id":10}`))); diff != "" {
			t.Errorf("first snapshot (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(second, snapshot(b.subscribeAs("presence-a", `{ "user_id":"11","user_info":{"name":"\u0042","tags":[true,null]}}`))); diff != "" {
			t.Errorf("second snapshot (-want +got):\n%s", diff)
		}
		if f := a.expect("pusher_internal:member_added"); f.text(t) != `{"user_id":"11","user_info":{"name":"\u0042","tags":[true,null]}}` || f.Channel != "presence-a" {
			t.Errorf("member added: %s", f.Data)
		}
		again.subscribeAs("presence-a", `{"user_id":"10"}`) // nobody is told
		a.send(`{"event":"pusher:unsubscribe","data":{"channel":"presence-a"}}`)
		a.sync()
		left := time.Now()
		_ = again.ws.Close(1000, "")
		if f := b.expect("pusher_internal:member_removed"); f.text(t) != `{"user_id":"10"}` {
			t.Errorf("member removed: %s", f.Data)
		}
		if took := time.Since(left); took >= time.Second {
			t.Errorf("told after %v", took)
		}
		a.subscribeAs("presence-a", `{"user_id":"10"}`)
		b.expect("pusher_internal:member_added")
		_ = a.ws.CloseNow() // as when the network goes
		b.expect("pusher_internal:member_removed")
		b.sync()
	})
}

// Checklist 58, 64, 65, 66, 68: who isn't let in.
func TestPresenceRefusals(t *testing.T) {
	t.Parallel()
	h := start(t, func(h *harness, _ *Config) { h.app.Limits.PresenceMembers = 2 })
	c := h.dial("")
	for data, want := range map[string]fault{
		`{}`:                  {Type: "InvalidData", Status: 400},
		`{"user_id":""}`:      {Type: "InvalidData", Status: 400},
		`{"user_id":null}`:    {Type: "InvalidData", Status: 400},
		`{"user_id":{"a":1}}`: {Type: "InvalidData", Status: 400},
		`no json`:             {Type: "InvalidData", Status: 400},
		``:                    {Type: "InvalidData", Status: 400},
		`{"user_id":"` + strings.Repeat("i", 129) + `"}`:                  {Type: "LimitReached", Status: 4301},
		`{"user_id":"1","user_info":"` + strings.Repeat("i", 1025) + `"}`: {Type: "LimitReached", Status: 4301},
	} {
		c.sendSubscribe("presence-a", data)
		if e := c.refusal("presence-a"); e.Type != want.Type || e.Status != want.Status {
			t.Errorf("%.40s: %+v, want %+v", data, e, want)
		}
	}
	c.send(`{"event":"pusher:subscribe","data":{"channel":"presence-a","auth":"x:y","channel_data":{"user_id":"1"}}}`)
	c.refusal("presence-a")

	h.dial("").subscribeAs("presence-a", `{"user_id":"1"}`)
	h.dial("").subscribeAs("presence-a", `{"user_id":"2"}`)
	c.sendSubscribe("presence-a", `{"user_id":"3"}`)
	if e := c.refusal("presence-a"); e.Type != "LimitReached" || e.Status != 4100 {
		t.Errorf("full channel: %+v", e)
	}
	h.publish("presence-a", "not for the refused", "{}")
	c.sync()
	c.subscribeAs("presence-a", `{"user_id":"2"}`)
}

// Forced: a member is announced after the joiner has registered with the feed and before it has
// joined. The announcement waits at the gate, the snapshot has it too, and it is not told twice.
func TestAnnouncementBetweenSeamAndSnapshot(t *testing.T) {
	t.Parallel()
	announcing, release := make(chan struct{}), make(chan struct{})
	h := start(t, func(h *harness, _ *Config) {
		h.noticed = func(n *broker.Notice) {
			if n.Kind == broker.MemberAdded && n.Member.UserID == "first" {
				close(announcing)
				<-release
			}
		}
	})
	first, second := h.dial(""), h.dial("")
	first.sendSubscribe("presence-a", `{"user_id":"first"}`)
	<-announcing
	second.sendSubscribe("presence-a", `{"user_id":"second"}`)
	await(t, "both are registered", func() bool { return h.metric("playhead_subscriptions") == 2 })
	close(release)
	var d presenceDoc
	second.expect("pusher_internal:subscription_succeeded").decode(t, &d)
	if d.Presence.Count != 2 {
		t.Errorf("snapshot %+v, want both", d)
	}
	second.sync()
	first.expect("pusher_internal:subscription_succeeded")
	first.expect("pusher_internal:member_added")
}

// Checklist 67: each one's snapshot and what it hears later is the membership in the end.
func TestConcurrentJoins(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	const n = 30
	members := make([]map[string]bool, n)
	var joinedAll, done sync.WaitGroup
	joinedAll.Add(n)
	for i := range n {
		c := h.dial("")
		done.Go(func() {
			var d presenceDoc
			c.subscribeAs("presence-a", fmt.Sprintf(`{"user_id":%d}`, i%20)).decode(t, &d)
			have := map[string]bool{}
			for _, id := range d.Presence.IDs {
				have[id] = true
			}
			joinedAll.Done()
			for {
				f := c.next()
				if f.Event == "over" {
					break
				}
				var m struct {
					UserID string `json:"user_id"`
				}
				f.decode(t, &m)
				if have[m.UserID] {
					t.Errorf("%s announced twice", m.UserID)
				}
				have[m.UserID] = true
			}
			members[i] = have
		})
	}
	joinedAll.Wait()
	h.publish("presence-a", "over", "{}")
	done.Wait()
	for i, have := range members {
		if len(have) != 20 {
			t.Errorf("connection %d knows of %d members, want 20", i, len(have))
		}
	}
}

// Checklist 16: apps share nothing.
func TestAppsAreApart(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	ours := h.dial("")
	ours.subscribe("orders")
	theirs := h.open("/app/other?protocol=7", nil)
	theirs.established()
	theirs.subscribe("orders")
	h.publish("orders", "ours", "{}")
	ours.expect("ours")
	theirs.sync()
	for app, want := range map[broker.AppID]int{"1": 1, "2": 1, "3": 0} {
		if o := h.presence.Occupancy(app, "orders"); o.Subscriptions != want {
			t.Errorf("app %s: %d subscriptions, want %d", app, o.Subscriptions, want)
		}
	}
}
