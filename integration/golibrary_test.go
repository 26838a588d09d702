package integration

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	library "github.com/pusher/pusher-http-go/v5"
)

// TestGoLibrary: the official Go library triggers, asks and signs, with requests of the form it has
// by default. It verifies webhooks wherever a test receives some.
func TestGoLibrary(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{Env: []string{"SHUTDOWN_DRAIN=none"}})
	backend := library.Client{
		AppID: appID, Key: appKey, Secret: appSecret, Host: n.addr(),
		EncryptionMasterKeyBase64: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
	}
	is := func(what string, got any, err error, want any) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}

	// Signatures.
	ada, bob := mustDial(t, n, false), mustDial(t, n, false)
	ask := func(c *client, event, channel string, sign func(params []byte) ([]byte, error)) {
		t.Helper()
		data := map[string]any{"channel": channel}
		if sign != nil {
			form := url.Values{"socket_id": {c.socket}, "channel_name": {channel}}
			signed, err := sign([]byte(form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(signed, &data); err != nil {
				t.Fatal(err)
			}
		}
		c.mustAsk(t, event, data)
	}
	ask(ada, "pusher:signin", "", func(params []byte) ([]byte, error) {
		return backend.AuthenticateUser(params, map[string]any{"id": "ada", "user_info": map[string]string{"name": "Ada å"}})
	})
	if f := ada.mustRead(t); f.Event != "pusher:signin_success" {
		t.Fatalf("sign-in answered %s %s", f.Event, f.Data)
	}
	ask(ada, "pusher:subscribe", "#server-to-user-ada", nil)
	for i, c := range []*client{ada, bob} {
		id := []string{"ada", "bob"}[i]
		ask(c, "pusher:subscribe", "news", nil)
		ask(c, "pusher:subscribe", "private-orders", backend.AuthorizePrivateChannel)
		ask(c, "pusher:subscribe", "private-encrypted-notes", backend.AuthorizePrivateChannel)
		ask(c, "pusher:subscribe", "presence-room", func(params []byte) ([]byte, error) {
			return backend.AuthorizePresenceChannel(params, library.MemberData{UserID: id, UserInfo: map[string]string{"name": strings.ToUpper(id)}})
		})
		for _, f := range c.alive(t) {
			if f.Event != "pusher_internal:subscription_succeeded" && f.Event != "pusher_internal:member_added" {
				t.Errorf("%s was answered %s %s", id, f.Event, f.Data)
			}
		}
	}
	ada.alive(t) // it has heard of bob

	// Publishing.
	two := 2
	socket, counts := ada.socket, "user_count,subscription_count"
	is("trigger", nil, backend.Trigger("news", "hi", map[string]int{"n": 1}), nil)
	is("trigger several", nil, backend.TriggerMulti([]string{"news", "private-orders"}, "hi", "text å"), nil)
	none, err := backend.TriggerWithParams("news", "echo", "", library.TriggerParams{SocketID: &socket})
	is("trigger with a socket id", none, err, &library.TriggerChannelsList{})
	is("trigger encrypted", nil, backend.Trigger("private-encrypted-notes", "note", "do not tell"), nil)
	is("send to user", nil, backend.SendToUser("ada", "for you", "2"), nil)
	channels, err := backend.TriggerMultiWithParams([]string{"presence-room", "news"}, "counted", "", library.TriggerParams{SocketID: &socket, Info: &counts})
	is("trigger with params", channels, err, &library.TriggerChannelsList{Channels: map[string]library.TriggerChannelListItem{
		"presence-room": {UserCount: &two, SubscriptionCount: &two}, "news": {SubscriptionCount: &two},
	}})
	subscriptions := "subscription_count"
	batch, err := backend.TriggerBatch([]library.Event{
		{Channel: "news", Name: "first", Data: "1", Info: &subscriptions},
		{Channel: "private-orders", Name: "second", Data: "2", Info: &subscriptions},
		{Channel: "news", Name: "third", Data: "3", SocketID: &socket},
	})
	is("batch", batch, err, &library.TriggerBatchChannelsList{Batch: []library.TriggerBatchChannelListItem{
		{SubscriptionCount: &two}, {SubscriptionCount: &two}, {},
	}})
	for c, want := range map[*client][]string{
		ada: {`news hi {"n":1}`, "news hi text å", "private-orders hi text å", "private-encrypted-notes note", "#server-to-user-ada for you 2", "news first 1", "private-orders second 2"},
		bob: {`news hi {"n":1}`, "news hi text å", "private-orders hi text å", "news echo ", "private-encrypted-notes note", "presence-room counted ", "news counted ", "news first 1", "private-orders second 2", "news third 3"},
	} {
		var got []string
		for range want {
			f := c.mustRead(t)
			text := f.Channel + " " + f.Event
			if f.Channel == "private-encrypted-notes" {
				if !strings.Contains(f.text(), `"ciphertext"`) || strings.Contains(f.text(), "do not tell") {
					t.Errorf("encrypted event %s", f.text())
				}
			} else {
				text += " " + f.text()
			}
			got = append(got, text)
		}
		is("events", got, nil, want)
		is("frames behind them", c.alive(t), nil, []frame(nil))
	}

	// Questions.
	prefix, users := "presence-", "user_count"
	list, err := backend.Channels(library.ChannelsParams{FilterByPrefix: &prefix, Info: &users})
	is("channels", list, err, &library.ChannelsList{Channels: map[string]library.ChannelListItem{"presence-room": {UserCount: 2}}})
	channel, err := backend.Channel("presence-room", library.ChannelParams{Info: &counts})
	is("channel", channel, err, &library.Channel{Name: "presence-room", Occupied: true, UserCount: 2, SubscriptionCount: 2})
	members, err := backend.GetChannelUsers("presence-room")
	if err != nil || len(members.List) != 2 {
		t.Errorf("users: %+v, %v", members, err)
	}
	if _, err := backend.GetChannelUsers("news"); err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("users of a channel that has none: %v", err)
	}
	forger := backend
	forger.Secret = "guess"
	if err := forger.Trigger("news", "forged", ""); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("forged: %v", err)
	}
}
