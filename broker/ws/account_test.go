package ws

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// sendSignIn sends a sign-in that is signed as it must be.
func (c *client) sendSignIn(userData string) {
	c.tb.Helper()
	data, err := json.Marshal(map[string]string{"auth": pusher.SignUser(cred, c.id, userData), "user_data": userData})
	if err != nil {
		c.tb.Fatal(err)
	}
	c.send(`{"event":"pusher:signin","data":%s}`, data)
}

// signIn signs in and takes the answer.
func (c *client) signIn(userData string) {
	c.tb.Helper()
	c.sendSignIn(userData)
	f := c.expect("pusher:signin_success")
	var data struct {
		UserData string `json:"user_data"`
	}
	f.decode(c.tb, &data)
	if data.UserData != userData || f.Channel != "" {
		c.tb.Errorf("signed in with %q of channel %q, want %q", data.UserData, f.Channel, userData)
	}
}

// watched takes the next frame, which must tell of watched users, and returns its data.
func (c *client) watched() string {
	c.tb.Helper()
	f := c.expect("pusher_internal:watchlist_events")
	if f.Channel != "" {
		c.tb.Errorf("watchlist events of channel %q", f.Channel)
	}
	return f.text(c.tb)
}

// Checklist 88, 90: who signs in is answered with its user_data, letter by letter; again as the same
// user, too, but not as another.
func TestSignIn(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("")
	c.signIn(`{ "id":"ada","user_info":{"name":"\u0041\/da"},"watchlist":["bob"]}`)
	c.sync() // no watchlist in an app without
	c.signIn(`{"id":"ada"}`)
	c.sendSignIn(`{"id":"bob"}`)
	if e := c.complaint(); e.Code != nil || !strings.Contains(e.Message, "ada") {
		t.Errorf("sign-in as another user: %+v", e)
	}
	c.subscribe("#server-to-user-ada")
	c.sendSubscribe("#server-to-user-bob", "")
	c.refusal("#server-to-user-bob")
	if n := len(h.presence.Connections("1", "ada")); n != 1 {
		t.Errorf("connections of the user: %d", n)
	}
	if n := len(h.presence.Connections("1", "bob")); n != 0 {
		t.Errorf("connections of another user: %d", n)
	}
}

// Checklist 89: who isn't let in as a user, and stays nobody, but stays.
func TestSignInRefusals(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("")
	good := pusher.SignUser(cred, c.id, `{"id":"ada"}`)
	signed := func(userData string) string {
		return fmt.Sprintf(`{"auth":%q,"user_data":%q}`, pusher.SignUser(cred, c.id, userData), userData)
	}
	for name, data := range map[string]string{
		"nothing":               `null`,
		"text":                  `"nonsense"`,
		"no auth":               `{"user_data":"{\"id\":\"ada\"}"}`,
		"empty auth":            `{"auth":"","user_data":"{\"id\":\"ada\"}"}`,
		"auth of another type":  `{"auth":7,"user_data":"{\"id\":\"ada\"}"}`,
		"auth without colon":    `{"auth":"key","user_data":"{\"id\":\"ada\"}"}`,
		"no user_data":          fmt.Sprintf(`{"auth":%q}`, good),
		"user_data an object":   fmt.Sprintf(`{"auth":%q,"user_data":{"id":"ada"}}`, good),
		"other user_data":       fmt.Sprintf(`{"auth":%q,"user_data":"{\"id\":\"bob\"}"}`, good),
		"wrong digest":          fmt.Sprintf(`{"auth":"%s0","user_data":"{\"id\":\"ada\"}"}`, good[:len(good)-1]+"x"),
		"unknown key":           fmt.Sprintf(`{"auth":"nobody%s","user_data":"{\"id\":\"ada\"}"}`, good[3:]),
		"another connection":    fmt.Sprintf(`{"auth":%q,"user_data":"{\"id\":\"ada\"}"}`, pusher.SignUser(cred, "1.1", `{"id":"ada"}`)),
		"signed for a channel":  fmt.Sprintf(`{"auth":%q,"user_data":"{\"id\":\"ada\"}"}`, pusher.SignChannel(cred, c.id, "private-a", nil)),
		"no id":                 signed(`{"user_info":{}}`),
		"empty id":              signed(`{"id":""}`),
		"id a number":           signed(`{"id":7}`),
		"id with a space":       signed(`{"id":"a b"}`),
		"id too long":           signed(`{"id":"` + strings.Repeat("x", 201) + `"}`),
		"user_data not JSON":    signed(`nonsense`),
		"watchlist not a list":  signed(`{"id":"ada","watchlist":"bob"}`),
		"watchlist not strings": signed(`{"id":"ada","watchlist":[7]}`),
	} {
		c.send(`{"event":"pusher:signin","data":%s}`, data)
		if e := c.complaint(); e.Code != nil {
			t.Errorf("%s: code %d, want none", name, *e.Code)
		}
		if n := len(h.presence.Connections("1", "ada")); n != 0 {
			t.Fatalf("%s: signed in", name)
		}
	}
	c.sendSubscribe("#server-to-user-ada", "")
	c.refusal("#server-to-user-ada")
	c.signIn(`{"id":"ada"}`)
	c.subscribe("#server-to-user-ada")
}

// Checklist 91, 92: a user's own channel is heard on all of the user's connections that subscribe to
// it, and by nobody else. It is no channel like others: nobody is told of it or finds it listed.
func TestServerToUser(t *testing.T) {
	t.Parallel()
	const own broker.Channel = "#server-to-user-ada"
	h := start(t, func(h *harness, _ *Config) { h.app.SubscriptionCount = true })
	one, two, unsubscribed, other, nobody := h.dial(""), h.dial(""), h.dial(""), h.dial(""), h.dial("")
	for _, c := range []*client{one, two, unsubscribed} {
		c.signIn(`{"id":"ada"}`)
	}
	other.signIn(`{"id":"adam"}`)
	other.subscribe("#server-to-user-adam")
	one.send(`{"event":"pusher:subscribe","data":{"auth":"","channel":%q}}`, own)
	if f := one.expect("pusher_internal:subscription_succeeded"); f.Channel != string(own) || f.text(t) != "{}" {
		t.Errorf("answer %s of %s", f.Data, f.Channel)
	}
	two.subscribe(own)
	for _, c := range []*client{other, nobody} {
		c.sendSubscribe(own, "")
		if e := c.refusal(string(own)); e.Type != "AuthError" || e.Status != 401 {
			t.Errorf("somebody else: %+v", e)
		}
		// A signature is of no use: the channel needs a sign-in.
		c.send(`{"event":"pusher:subscribe","data":{"channel":%q,"auth":%q}}`, own, pusher.SignChannel(cred, c.id, own, nil))
		c.refusal(string(own))
	}
	h.publish(own, "hi", `{"n":1}`)
	for _, c := range []*client{one, two} {
		if f := c.expect("hi"); f.Channel != string(own) || f.text(t) != `{"n":1}` {
			t.Errorf("event %+v", f)
		}
		c.sync()
	}
	for _, c := range []*client{unsubscribed, other, nobody} {
		c.sync()
	}
	one.send(`{"event":"client-x","channel":%q,"data":{}}`, own)
	one.complaint()
	if o := h.presence.Occupied("1", ""); len(o) != 0 {
		t.Errorf("listed: %v", o)
	}
	for _, kind := range []broker.NoticeKind{broker.ChannelOccupied, broker.SubscriptionCount} {
		if told := h.observer.channels(kind); len(told) != 0 {
			t.Errorf("told of %v", told)
		}
	}
	if o := h.presence.Occupancy("1", own); o.Subscriptions != 2 {
		t.Errorf("subscriptions: %d", o.Subscriptions)
	}
	one.send(`{"event":"pusher:unsubscribe","data":{"channel":%q}}`, own)
	one.sync()
	if o := h.presence.Occupancy("1", own); o.Subscriptions != 1 {
		t.Errorf("subscriptions, when one has left: %d", o.Subscriptions)
	}
	if told := h.observer.channels(broker.ChannelVacated); len(told) != 0 {
		t.Errorf("told that %v are vacated", told)
	}
}

// Checklist 68: a user needs no channel_data to be a member, nobody is one without, and channel_data
// counts where both are.
func TestMemberBySignIn(t *testing.T) {
	t.Parallel()
	h := start(t, func(h *harness, _ *Config) { h.app.Limits.PresenceUserInfoBytes = 20 })
	c, nobody := h.dial(""), h.dial("")
	info := `{"name":"\u0041da"}`
	c.signIn(`{"id":"ada","user_info":` + info + `}`)
	if f := c.subscribe("presence-a"); f.text(t) != `{"presence":{"count":1,"ids":["ada"],"hash":{"ada":`+info+`}}}` {
		t.Errorf("snapshot %s", f.text(t))
	}
	if f := c.subscribeAs("presence-b", `{"user_id":"someone"}`); f.text(t) != `{"presence":{"count":1,"ids":["someone"],"hash":{"someone":null}}}` {
		t.Errorf("snapshot %s", f.text(t))
	}
	c.send(`{"event":"pusher:subscribe","data":{"channel":"presence-c","channel_data":null,"auth":%q}}`, pusher.SignChannel(cred, c.id, "presence-c", nil))
	c.expect("pusher_internal:subscription_succeeded")
	nobody.sendSubscribe("presence-a", "")
	if e := nobody.refusal("presence-a"); e.Type != "InvalidData" || e.Status != 400 {
		t.Errorf("nobody: %+v", e)
	}
	c.sendSubscribe("private-a", "")
	c.expect("pusher_internal:subscription_succeeded")
	c.send(`{"event":"pusher:subscribe","data":{"channel":"presence-d","auth":"key:wrong"}}`)
	if e := c.refusal("presence-d"); e.Type != "AuthError" {
		t.Errorf("without a signature: %+v", e)
	}
	// Its client events are those of the member.
	other := h.dial("")
	other.subscribeAs("presence-a", `{"user_id":"bob"}`)
	c.expect("pusher_internal:member_added")
	c.send(`{"event":"client-x","channel":"presence-a","data":{}}`)
	if f := other.expect("client-x"); f.UserID == nil || *f.UserID != "ada" {
		t.Errorf("client event %+v", f)
	}
	large := h.dial("")
	large.signIn(`{"id":"large","user_info":"` + strings.Repeat("x", 20) + `"}`)
	large.sendSubscribe("presence-a", "")
	if e := large.refusal("presence-a"); e.Type != "LimitReached" || e.Status != 4301 {
		t.Errorf("user_info over the limit: %+v", e)
	}
}

// Checklist 93, 94, 95: who watches whom is told how it is and what changes, each change once.
func TestWatchlist(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(h *harness, _ *Config) { h.app.Watchlist = true })
		bob := h.dial("")
		bob.signIn(`{"id":"bob"}`)
		bob.sync() // watches nobody
		ada, tab := h.dial(""), h.dial("")
		ada.signIn(`{"id":"ada","watchlist":["bob","eve","bob"]}`)
		if got, want := ada.watched(), `{"events":[{"name":"online","user_ids":["bob"]},{"name":"offline","user_ids":["eve"]}]}`; got != want {
			t.Errorf("at first %s, want %s", got, want)
		}
		tab.signIn(`{"id":"ada","watchlist":["eve"]}`)
		if got, want := tab.watched(), `{"events":[{"name":"offline","user_ids":["eve"]}]}`; got != want {
			t.Errorf("in another tab at first %s, want %s", got, want)
		}
		// Who merely is a member somewhere isn't online.
		h.dial("").subscribeAs("presence-a", `{"user_id":"eve"}`)
		ada.sync()
		eve, again := h.dial(""), h.dial("")
		eve.signIn(`{"id":"eve"}`)
		for _, c := range []*client{ada, tab} {
			if got, want := c.watched(), `{"events":[{"name":"online","user_ids":["eve"]}]}`; got != want {
				t.Errorf("eve is there: %s, want %s", got, want)
			}
		}
		again.signIn(`{"id":"eve"}`)
		_ = eve.ws.CloseNow()
		synctest.Wait()
		for _, c := range []*client{ada, tab, bob} {
			c.sync()
		}
		_ = again.ws.CloseNow()
		for _, c := range []*client{ada, tab} {
			if got, want := c.watched(), `{"events":[{"name":"offline","user_ids":["eve"]}]}`; got != want {
				t.Errorf("eve is gone: %s, want %s", got, want)
			}
		}
		// Another watchlist is another interest.
		tab.signIn(`{"id":"ada","watchlist":["bob"]}`)
		if got, want := tab.watched(), `{"events":[{"name":"online","user_ids":["bob"]}]}`; got != want {
			t.Errorf("with another watchlist %s, want %s", got, want)
		}
		h.dial("").signIn(`{"id":"eve"}`)
		ada.watched()
		tab.sync()
	})
}

// Checklist 95: of a long watchlist the first hundred count, and the client is told.
func TestLongWatchlist(t *testing.T) {
	t.Parallel()
	h := start(t, func(h *harness, _ *Config) { h.app.Watchlist = true })
	c := h.dial("")
	var list []string
	for i := range 101 {
		list = append(list, fmt.Sprintf("%03d", i))
	}
	userData := func(list []string) string {
		return `{"id":"ada","watchlist":["` + strings.Join(list, `","`) + `"]}`
	}
	c.signIn(userData(list))
	if e := c.complaint(); e.Code == nil || *e.Code != 4302 {
		t.Errorf("told %+v, want 4302", e)
	}
	var events struct {
		Events []struct {
			Name    string
			UserIDs []string `json:"user_ids"`
		}
	}
	if err := json.Unmarshal([]byte(c.watched()), &events); err != nil || len(events.Events) != 1 {
		t.Fatalf("watchlist events %+v, %v", events, err)
	}
	slices.Sort(events.Events[0].UserIDs)
	if diff := cmp.Diff(list[:100], events.Events[0].UserIDs); diff != "" {
		t.Errorf("watched (-want +got):\n%s", diff)
	}
	h.dial("").signIn(`{"id":"100"}`)
	c.signIn(userData(list[:100]))
	c.watched()
	c.sync()
}

// Checklist 96: all connections that are signed in as the user are closed, and no other.
func TestTerminate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(h *harness, _ *Config) { h.app.Watchlist = true })
		one, two, member, other := h.dial(""), h.dial(""), h.dial(""), h.dial("")
		one.signIn(`{"id":"ada"}`)
		two.signIn(`{"id":"ada"}`)
		one.subscribe("presence-a")
		member.subscribeAs("presence-a", `{"user_id":"ada"}`)
		other.signIn(`{"id":"bob","watchlist":["ada"]}`)
		other.watched()
		for _, s := range h.presence.Connections("1", "ada") {
			s.Close(broker.Terminated)
		}
		for _, c := range []*client{one, two} {
			code, reason, before := c.ended()
			if code != 4009 || len(before) != 1 || before[0].Event != "pusher:error" {
				t.Errorf("closed with %d %q after %v", code, reason, before)
			}
		}
		if got, want := other.watched(), `{"events":[{"name":"offline","user_ids":["ada"]}]}`; got != want {
			t.Errorf("the watcher was told %s, want %s", got, want)
		}
		member.sync()
		other.sync()
		synctest.Wait()
		if got := h.metric("playhead_closes_total", "reason=terminated"); got != 2 {
			t.Errorf("closes for terminated: %v", got)
		}
		if n := len(h.presence.Connections("1", "ada")); n != 0 {
			t.Errorf("connections: %d", n)
		}
	})
}
