package rest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
)

// memory is a cache that knows one event of each channel.
type memory map[broker.Channel]*broker.Event

func (m memory) Last(_ context.Context, app broker.AppID, ch broker.Channel) (*broker.Event, error) {
	if app != "3" {
		return nil, errors.New("asked for app " + string(app))
	}
	return m[ch], nil
}

// broken is a cache that can't be read.
type broken struct{ err error }

func (b broken) Last(context.Context, broker.AppID, broker.Channel) (*broker.Event, error) {
	return nil, b.err
}

// Checklist 119 and 120.
func TestCachedEvent(t *testing.T) {
	t.Parallel()
	known := memory{}
	for ch, age := range map[broker.Channel]time.Duration{
		"cache-new": 0, "cache-half": 14*time.Minute + 500*time.Millisecond, "cache-nearly": 30*time.Minute - time.Millisecond,
		"cache-old": 30 * time.Minute, "private-cache-a": 0, "presence-cache-a": 0, "private-encrypted-cache-a": 0,
	} {
		known[ch] = &broker.Event{App: "3", Channel: ch, Name: "e", Data: []byte(`{"a":"é\"\n"}`), Time: vectorTime.Add(-age)}
	}
	s := open(t, func(c *Config, _ *broker.App) { c.Cache = known })
	s.join(t, "presence-cache-a", "1.1", "10")
	const data = `"data":"{\"a\":\"é\\\"\\n\"}"`
	for ch, v := range map[string]struct{ info, want string }{
		"cache-new":                 {"cache", `{"occupied":false,"cache":{` + data + `,"ttl":1800}}`},
		"cache-half":                {"cache", `{"occupied":false,"cache":{` + data + `,"ttl":960}}`},
		"cache-nearly":              {"cache", `{"occupied":false,"cache":{` + data + `,"ttl":1}}`},
		"cache-old":                 {"cache", `{"occupied":false,"cache":null}`},
		"cache-none":                {"cache", `{"occupied":false,"cache":null}`},
		"private-cache-a":           {"subscription_count,cache", `{"occupied":false,"subscription_count":0,"cache":{` + data + `,"ttl":1800}}`},
		"presence-cache-a":          {"cache,user_count,subscription_count", `{"occupied":true,"user_count":1,"subscription_count":1,"cache":{` + data + `,"ttl":1800}}`},
		"private-encrypted-cache-a": {"cache", `{"occupied":false,"cache":{` + data + `,"ttl":1800}}`},
	} {
		if status, body := s.do(t, "GET", "/apps/3/channels/"+ch, "info="+v.info, ""); status != 200 || body != v.want {
			t.Errorf("%s: %d %s\nwant %s", ch, status, body, v.want)
		}
	}
}

func TestCachedEventWithTTLOfItsOwn(t *testing.T) {
	t.Parallel()
	known := memory{"cache-a": {Data: []byte("x"), Time: vectorTime.Add(-time.Minute)}}
	s := open(t, func(c *Config, app *broker.App) {
		c.Cache = known
		app.CacheTTL = 90 * time.Second
	})
	if _, body := s.do(t, "GET", "/apps/3/channels/cache-a", "info=cache", ""); body != `{"occupied":false,"cache":{"data":"x","ttl":30}}` {
		t.Error(body)
	}
}

// A cache that can't be read isn't an empty one; and who doesn't ask for it isn't bothered.
func TestCacheUnavailableIs503(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"unavailable": broker.ErrUnavailable, "too slow": context.DeadlineExceeded, "something else": errors.New("inside")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, func(c *Config, _ *broker.App) { c.Cache = broken{err} })
			w := s.send(s.request(t, "GET", "/apps/3/channels/cache-a", "info=cache", ""))
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" ||
				!strings.HasPrefix(w.Body.String(), "The channel's cached event can't be read now") {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if status, body := s.do(t, "GET", "/apps/3/channels/cache-a", "", ""); status != 200 {
				t.Errorf("without the cache: %d %s", status, body)
			}
		})
	}
}
