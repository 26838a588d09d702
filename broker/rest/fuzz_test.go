package rest

import (
	"net/http"
	"testing"
	"unicode/utf8"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// checkPublication fails when a body was neither refused with words and a status of the caller's
// nor understood as events that keep the limits.
func checkPublication(t *testing.T, app *broker.App, p *publication, err error) {
	t.Helper()
	if err != nil {
		status, text := refusal(err)
		if status != http.StatusBadRequest && status != http.StatusRequestEntityTooLarge {
			t.Fatalf("status %d for %v", status, err)
		}
		if text == "" || len(text) > 2000 || !utf8.ValidString(text) {
			t.Fatalf("answer %q", text)
		}
		return
	}
	if len(p.events) == 0 || p.asked != nil && len(p.asked) != len(p.events) {
		t.Fatalf("%d events, %d of them asked about", len(p.events), len(p.asked))
	}
	for _, e := range p.events {
		for _, err := range []error{
			pusher.CheckChannel(e.Channel, app.Limits),
			pusher.CheckEventName(e.Name, app.Limits),
			pusher.CheckData(e.Data, app.Limits),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if e.Exclude != "" {
			if err := pusher.CheckSocketID(e.Exclude); err != nil {
				t.Fatal(err)
			}
		}
		if e.App != app.ID || e.Data == nil || !utf8.Valid(e.Data) || !utf8.ValidString(e.Name) {
			t.Fatalf("event %+v", e)
		}
	}
}

func fuzzApp() *broker.App {
	return &broker.App{ID: "3", Limits: broker.Limits{DataBytes: 20, EventNameChars: 5, ChannelNameChars: 20, ChannelsPerPublish: 3, EventsPerBatch: 2}.WithDefaults()}
}

func FuzzPublishBody(f *testing.F) {
	for _, seed := range []string{
		plainBody,
		`{"name":"n","channel":"c","data":"d","socket_id":"1.2","info":"user_count,subscription_count"}`,
		`{"name":"n","channels":["a","b","a","#server-to-user-1"],"data":{"a":[1,null]},"socket_id":null}`,
		`{"name":"\u0070usher:x","channel":"c","data":"\ud83d\ude00\ud83d"}`,
		`{"name":7,"channels":{},"data":0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		app := fuzzApp()
		p, err := readTrigger(app, body)
		checkPublication(t, app, p, err)
		if err != nil {
			return
		}
		seen := map[broker.Channel]bool{}
		for _, e := range p.events {
			if seen[e.Channel] {
				t.Fatalf("two events for %s", e.Channel)
			}
			seen[e.Channel] = true
		}
		if len(p.events) > app.Limits.ChannelsPerPublish {
			t.Fatalf("%d events", len(p.events))
		}
	})
}

func FuzzBatchBody(f *testing.F) {
	for _, seed := range []string{
		`{"batch":[{"name":"n","channel":"c","data":"d"},{"name":"m","channel":"c","data":{},"socket_id":"1.2","info":"user_count"}]}`,
		`{"batch":[]}`, `{"batch":[null]}`, `{"batch":{}}`, `{"batch":[{}],"batch":[{"name":"n","channel":"c","data":""}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		app := fuzzApp()
		p, err := readBatch(app, body)
		checkPublication(t, app, p, err)
		if err == nil && len(p.events) > app.Limits.EventsPerBatch {
			t.Fatalf("%d events", len(p.events))
		}
	})
}
