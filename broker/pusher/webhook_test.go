package pusher

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

func TestWebhookVectors(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1327078148132)
	for _, v := range []struct {
		name, signature, body string
		events                [][]byte
	}{
		{
			name:      "occupied",
			signature: "c19001ae3963ccb13bf618e5b16ba9848e7e74df0993aa0689168e341c6833cf",
			body:      `{"time_ms":1327078148132,"events":[{"name":"channel_occupied","channel":"my-channel"}]}`,
			events: [][]byte{
				AppendWebhookNotice(nil, &broker.Notice{Kind: broker.ChannelOccupied, Channel: "my-channel"}),
			},
		},
		{
			name:      "member and client event",
			signature: "d6dd152360e640f55bf9d96e19e2d734bfcb228186ca8268ce86022dcdb1ab16",
			body:      `{"time_ms":1327078148132,"events":[{"name":"member_added","channel":"presence-room","user_id":"10"},{"name":"client_event","channel":"presence-room","event":"client-typing","data":"{\"on\":true}","socket_id":"1234.1234","user_id":"10"}]}`,
			events: [][]byte{
				AppendWebhookNotice(nil, &broker.Notice{
					Kind: broker.MemberAdded, Channel: "presence-room",
					Member: broker.Member{UserID: "10", Info: json.RawMessage(`{"name":"never told"}`)},
				}),
				AppendWebhookClientEvent(nil, &broker.Event{
					Channel: "presence-room", Name: "client-typing", Data: []byte(`{"on":true}`),
					Exclude: "1234.1234", UserID: "10", Client: true,
				}),
			},
		},
	} {
		body := AppendWebhook(nil, at, v.events)
		if diff := cmp.Diff(v.body, string(body)); diff != "" {
			t.Errorf("%s: body (-want +got):\n%s", v.name, diff)
		}
		if got := SignWebhook(broker.Credential{Key: vectorKey, Secret: vectorSecret}, body); got != v.signature {
			t.Errorf("%s: signed %s, want %s", v.name, got, v.signature)
		}
	}
}

func TestWebhookEvents(t *testing.T) {
	t.Parallel()
	for kind, want := range map[broker.NoticeKind]string{
		broker.ChannelOccupied:   `{"name":"channel_occupied","channel":"presence-a"}`,
		broker.ChannelVacated:    `{"name":"channel_vacated","channel":"presence-a"}`,
		broker.MemberAdded:       `{"name":"member_added","channel":"presence-a","user_id":"ü \"1\""}`,
		broker.MemberRemoved:     `{"name":"member_removed","channel":"presence-a","user_id":"ü \"1\""}`,
		broker.CacheMiss:         `{"name":"cache_miss","channel":"presence-a"}`,
		broker.SubscriptionCount: `{"name":"subscription_count","channel":"presence-a","subscription_count":3}`,
	} {
		n := &broker.Notice{Kind: kind, Channel: "presence-a", Count: 3, Member: broker.Member{UserID: `ü "1"`}}
		got := AppendWebhookNotice(nil, n)
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if !json.Valid(got) {
			t.Errorf("no JSON: %s", got)
		}
		if WebhookGroup(WebhookName(kind)) == "" {
			t.Errorf("%s has no group", WebhookName(kind))
		}
	}
	if got := WebhookName(broker.WatchedUsers); got != "" {
		t.Errorf("watched users are told as %q", got)
	}
	if got := WebhookGroup("pusher:ping"); got != "" {
		t.Errorf("group %q for what is no event", got)
	}
}

// Only presence channels have a user id; data is a string whatever the client sent.
func TestWebhookClientEvent(t *testing.T) {
	t.Parallel()
	e := &broker.Event{Channel: "private-a", Name: "client-x", Data: []byte("plain\n\"text\""), Exclude: "1.2", UserID: "7", Client: true}
	want := `{"name":"client_event","channel":"private-a","event":"client-x","data":"plain\n\"text\"","socket_id":"1.2"}`
	if got := string(AppendWebhookClientEvent(nil, e)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
