package webhook

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

func TestCheckEndpoint(t *testing.T) {
	t.Parallel()
	good := broker.Endpoint{
		Name: "My_hook-1", URL: "https://user:pw@x.example:8443/hook?token=1",
		Headers: map[string]string{"Authorization": "Bearer\tx é", "x-y": ""},
		Events:  []string{"channel_existence", "presence", "client_events", "cache_channels", "subscription_count", "member_added"},
	}
	if err := CheckEndpoint(good); err != nil {
		t.Errorf("good one refused: %v", err)
	}
	for problem, change := range map[string]func(e *broker.Endpoint){
		"name":                       func(e *broker.Endpoint) { e.Name = "a.b" },
		"more than 64":               func(e *broker.Endpoint) { e.Name = strings.Repeat("a", 65) },
		"URL: required":              func(e *broker.Endpoint) { e.URL = "" },
		"is not http":                func(e *broker.Endpoint) { e.URL = "ftp://x.example" },
		"is not http://":             func(e *broker.Endpoint) { e.URL = "/hook" },
		"can't be read":              func(e *broker.Endpoint) { e.URL = "http://[::1" },
		"no name of a header":        func(e *broker.Endpoint) { e.Headers = map[string]string{"a b": ""} },
		"aren't allowed":             func(e *broker.Endpoint) { e.Headers = map[string]string{"a": "x\r\nb: y"} },
		"Content-Type is set":        func(e *broker.Endpoint) { e.Headers = map[string]string{"content-type": "text/plain"} },
		"X-Pusher-Signature is set":  func(e *broker.Endpoint) { e.Headers = map[string]string{"x-pusher-signature": "1"} },
		"X-Pusher-Key is set":        func(e *broker.Endpoint) { e.Headers = map[string]string{"X-PUSHER-KEY": "1"} },
		"neither an event nor group": func(e *broker.Endpoint) { e.Events = []string{"everything"} },
	} {
		e := good
		change(&e)
		err := CheckEndpoint(e)
		if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(problem, "nor group", "nor a group")) {
			t.Errorf("%s: %v", problem, err)
		}
	}
	all := CheckEndpoint(broker.Endpoint{Name: "a b", Events: []string{"x", "y"}})
	if n := strings.Count(all.Error(), "\n") + 1; n != 4 {
		t.Errorf("%d problems reported of 4:\n%v", n, all)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	q := &memory{}
	good := Config{Apps: &fixed{}, Queue: q, Archive: q}
	if _, err := New(good); err != nil {
		t.Errorf("good one refused: %v", err)
	}
	for problem, change := range map[string]func(c *Config){
		"apps":           func(c *Config) { c.Apps = nil },
		"queue":          func(c *Config) { c.Queue = nil },
		"archive":        func(c *Config) { c.Archive = nil },
		"delay":          func(c *Config) { c.Delay = -2 },
		"buffer notices": func(c *Config) { c.BufferNotices = -1 },
		"buffer bytes":   func(c *Config) { c.BufferBytes = -1 },
		"batch events":   func(c *Config) { c.BatchEvents = -1 },
		"batch interval": func(c *Config) { c.BatchInterval = -1 },
		"in flight":      func(c *Config) { c.InFlight = -1 },
		"timeout":        func(c *Config) { c.Timeout = -1 },
		"max age":        func(c *Config) { c.MaxAge = -1 },
		"retry max":      func(c *Config) { c.RetryMin, c.RetryMax = 2, 1 },
		"linger":         func(c *Config) { c.Linger = -1 },
		"sweep":          func(c *Config) { c.Sweep = -1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("bad %s: %v", problem, err)
		}
	}
	apps := &fixed{}
	apps.set(hook, hook, broker.Endpoint{URL: "https://two.example"}, broker.Endpoint{URL: "https://two.example"}, broker.Endpoint{URL: "nowhere"})
	bad := good
	bad.Apps = apps
	_, err := New(bad)
	if err == nil {
		t.Fatal("bad endpoints accepted")
	}
	for _, problem := range []string{"webhook 2: name", "webhook 4: name", "webhook 5: URL"} {
		if !strings.Contains(err.Error(), problem) {
			t.Errorf("%q isn't reported in: %v", problem, err)
		}
	}
}

// A named endpoint may move, with what waits for it; what waits for one that is gone is dead; a bad set
// of endpoints changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nameless := broker.Endpoint{URL: "https://two.example/", Events: []string{"presence"}}
		h := newHarness(t, hook, nameless)
		h.receiver.answers(func(p post) int {
			if strings.Contains(p.url, "moved") {
				return 200
			}
			return 500
		})
		h.start()
		h.notify(broker.MemberAdded, "presence-a", "1")
		h.notify(broker.MemberAdded, "presence-a", "2")
		h.after(time.Second / 4)
		h.apps.set(broker.Endpoint{URL: "nowhere"})
		if err := h.w.Reload(); err == nil {
			t.Error("bad endpoints accepted")
		}
		moved := hook
		moved.URL = "https://moved.example/"
		h.apps.set(moved)
		if err := h.w.Reload(); err != nil {
			t.Fatal(err)
		}
		h.after(10 * time.Second)
		var got []string
		for _, p := range h.receiver.all() {
			if strings.Contains(p.url, "moved") {
				got = append(got, p.events(t)...)
			}
		}
		if diff := cmp.Diff([]string{"member_added presence-a 1", "member_added presence-a 2"}, got); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		dead := h.dead()
		if len(dead) != 2 || dead[0].Why != "endpoint_removed" || dead[1].Why != "endpoint_removed" || h.left() != 0 {
			t.Errorf("dead %+v, left %d", dead, h.left())
		}
		h.stop()

		// So is what waits for one that went while nothing ran.
		put(t, h, "a")
		h.apps.set(nameless)
		h.start()
		h.after(time.Second)
		if dead := h.dead(); len(dead) != 3 || h.left() != 0 {
			t.Errorf("dead %+v, left %d", dead, h.left())
		}
		h.stop()
	})
}
