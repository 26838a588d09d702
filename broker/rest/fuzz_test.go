package rest

import (
	"net/http"
	"strings"
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
	if len(p.events) == 0 || p.asks != nil && len(p.asks) != len(p.events) {
		t.Fatalf("%d events, %d of them asked about", len(p.events), len(p.asks))
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
		if !strings.Contains(e.ID, keyMark) && e.ID != "" {
			if err := checkKey("key", e.ID); err != nil {
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
		`{"name":"n","channels":["a","b"],"data":"","idempotency_key":"k","info":"position"}`,
		`{"name":"n","channel":"a","data":"","idempotency_key":"\u006b\u00b72"}`,
	} {
		f.Add([]byte(seed), "")
		f.Add([]byte(seed), "k")
	}
	f.Fuzz(func(t *testing.T, body []byte, key string) {
		if checkKey("key", key) != nil {
			key = ""
		}
		app := fuzzApp()
		p, err := readTrigger(app, body, key)
		checkPublication(t, app, &p, err)
		if err != nil {
			return
		}
		seen := map[broker.Channel]bool{}
		ids := map[string]bool{}
		for _, e := range p.events {
			if seen[e.Channel] {
				t.Fatalf("two events for %s", e.Channel)
			}
			if p.keyed() && ids[e.ID] || key != "" && !p.keyed() {
				t.Fatalf("event with id %q", e.ID)
			}
			seen[e.Channel], ids[e.ID] = true, true
		}
		if len(p.events) > app.Limits.ChannelsPerPublish {
			t.Fatalf("%d events", len(p.events))
		}
	})
}

func FuzzBatchBody(f *testing.F) {
	for _, seed := range []string{
		`{"batch":[{"name":"n","channel":"c","data":"d"},{"name":"m","channel":"c","data":{},"socket_id":"1.2","info":"user_count"}]}`,
		`{"batch":[{"name":"n","channel":"c","data":"d","idempotency_key":"k"},{"name":"m","channel":"c","data":{},"info":"position"}]}`,
		`{"batch":[]}`, `{"batch":[null]}`, `{"batch":{}}`, `{"batch":[{}],"batch":[{"name":"n","channel":"c","data":""}]}`,
	} {
		f.Add([]byte(seed), "")
		f.Add([]byte(seed), "k")
	}
	f.Fuzz(func(t *testing.T, body []byte, key string) {
		if checkKey("key", key) != nil {
			key = ""
		}
		app := fuzzApp()
		p, err := readBatch(app, body, key)
		checkPublication(t, app, &p, err)
		if err == nil && key != "" && !p.keyed() {
			t.Fatal("an event without an id")
		}
		if err == nil && len(p.events) > app.Limits.EventsPerBatch {
			t.Fatalf("%d events", len(p.events))
		}
	})
}

func FuzzHistoryQuery(f *testing.F) {
	for _, seed := range []string{
		"", "limit=100&direction=oldest_first&after=1-e-1-0&before=1-e-9-0&start_time_ms=1&end_time_ms=2",
		"limit=0", "limit=%31&limit=2", "direction=", "before=%00&x=[]", "start_time_ms=9223372036854775807&end_time_ms=-1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := readPage(raw)
		if err != nil {
			if status, text := refusal(err); status != http.StatusBadRequest || len(text) > 2000 || !utf8.ValidString(text) {
				t.Fatalf("%d %q for %v", status, text, err)
			}
			return
		}
		if q.Limit < 0 || q.Limit > historyLimit || !q.From.IsZero() && !q.To.IsZero() && q.From.After(q.To) {
			t.Fatalf("page %+v", q)
		}
	})
}
