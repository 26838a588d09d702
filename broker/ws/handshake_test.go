package ws

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/playhead/playhead/broker"
)

// Checklist 1, 2, 3, 5, 6: the first frame.
func TestFirstFrame(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"/app/key?protocol=7",
		"/app/key?protocol=7&client=js&version=8.6.0&flash=false&foo=bar",
		"/app/key?protocol=5&client=java-client&version=2.4.0",
		"/app/key?protocol=4",
		"/app/key", // 9
		"/app/young?protocol=7",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			h := start(t, nil)
			f := h.open(path, nil).expect("pusher:connection_established")
			var data struct {
				SocketID string `json:"socket_id"`
				Timeout  int    `json:"activity_timeout"`
				Replay   any
			}
			f.decode(t, &data)
			if !regexp.MustCompile(`^\d+\.\d+$`).MatchString(data.SocketID) {
				t.Errorf("socket id %q", data.SocketID)
			}
			if data.Timeout != 120 {
				t.Errorf("activity timeout %d, want 120", data.Timeout)
			}
			if data.Replay != nil {
				t.Errorf("replay announced to a client that did not ask: %v", data.Replay)
			}
		})
	}
}

func TestFirstFrameAnnouncesReplay(t *testing.T) {
	t.Parallel()
	for age, want := range map[time.Duration]int{0: 3600, 2 * time.Hour: 7200} { // the medium's, the app's own
		h := start(t, func(h *harness, _ *Config) { h.app.Retention.Age = age })
		f := h.open("/app/key?protocol=7&replay=1", nil).expect("pusher:connection_established")
		var data struct {
			Replay struct {
				Version int
				Window  int `json:"window_seconds"`
			}
		}
		f.decode(t, &data)
		if data.Replay.Version != 1 || data.Replay.Window != want {
			t.Errorf("replay %+v, want version 1 and %d s", data.Replay, want)
		}
	}
}

// Checklist 4: socket ids are distinct.
func TestSocketIDsAreDistinct(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	seen := map[broker.SocketID]bool{}
	for range 100 {
		c := h.dial("")
		if seen[c.id] {
			t.Fatalf("socket id %s twice", c.id)
		}
		seen[c.id] = true
	}
}

// Checklist 7, 8, 10, 11, 12, 13, 14: who is refused is upgraded, told why, and closed.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, path string
		origin     string
		edit       func(*harness, *Config)
		prepare    func(t *testing.T, h *harness)
		code       int
		result     string
	}{
		{name: "old protocol", path: "/app/key?protocol=2", code: 4007, result: "version_unsupported"},
		{name: "future protocol", path: "/app/key?protocol=99", code: 4007, result: "version_unsupported"},
		{name: "no number", path: "/app/key?protocol=abc", code: 4007, result: "version_unsupported"},
		{name: "unknown key", path: "/app/nobody?protocol=7", code: 4001, result: "unknown_app"},
		{name: "disabled app", path: "/app/disabled?protocol=5", code: 4003, result: "app_disabled"},
		{name: "apps away", path: "/app/broken?protocol=7", code: 4100, result: "unavailable"},
		{name: "other path", path: "/ape/key?protocol=7", code: 4005, result: "path_not_found"},
		{name: "below the path", path: "/app/key/more?protocol=7", code: 4005, result: "path_not_found"},
		{
			name: "too many", path: "/app/key?protocol=7", code: 4100, result: "too_many_connections",
			edit:    func(_ *harness, cfg *Config) { cfg.MaxConnections = 1 },
			prepare: func(_ *testing.T, h *harness) { h.dial("") },
		},
		{
			name: "over quota", path: "/app/key?protocol=7", code: 4004, result: "app_over_quota",
			edit:    func(h *harness, _ *Config) { h.app.Limits.Connections = 1 },
			prepare: func(_ *testing.T, h *harness) { h.dial("") },
		},
		{
			name: "page of another origin", path: "/app/key?protocol=7", code: 4009, result: "origin_not_allowed",
			origin: "https://evil.example",
			edit:   func(h *harness, _ *Config) { h.app.AllowedOrigins = []string{"https://example.com"} },
		},
		{
			name: "log away", path: "/app/key?protocol=7", code: 4100, result: "unavailable",
			prepare: func(_ *testing.T, h *harness) { h.log.FailTails(1) },
		},
		{
			name: "draining", path: "/app/key?protocol=7", code: 4100, result: "draining",
			prepare: func(t *testing.T, h *harness) {
				if err := h.server.Drain(context.Background()); err != nil {
					t.Error(err)
				}
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := start(t, test.edit)
				if test.prepare != nil {
					test.prepare(t, h)
				}
				header := http.Header{}
				if test.origin != "" {
					header.Set("Origin", test.origin)
				}
				c := h.open(test.path, header)
				e := c.complaint()
				if e.Code == nil || *e.Code != test.code {
					t.Errorf("error code %v, want %d", e.Code, test.code)
				}
				code, reason, before := c.ended()
				if code != test.code || reason != e.Message || len(before) != 0 {
					t.Errorf("closed with %d %q after %v, want %d %q", code, reason, before, test.code, e.Message)
				}
				if got := h.metric("playhead_connects_total", "result="+test.result); got != 1 {
					t.Errorf("connects with result %s: %v", test.result, got)
				}
			})
		})
	}
}

// A refused connection gives its place back.
func TestRefusedDontCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(_ *harness, cfg *Config) { cfg.MaxConnections = 1 })
		for range 3 {
			h.log.FailTails(1)
			h.open("/app/key", nil).ended()
		}
		c := h.dial("")
		_ = c.ws.CloseNow()
		synctest.Wait()
		h.dial("")
	})
}

// An app's quota is its own, and a connection that has gone leaves its place.
func TestConnectionQuota(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(h *harness, _ *Config) { h.app.Limits.Connections = 2 })
		first, second := h.dial(""), h.dial("")
		for range 2 {
			if code, reason, _ := h.open("/app/key", nil).ended(); code != 4004 || reason != "Application is over connection quota" {
				t.Errorf("closed with %d %q", code, reason)
			}
		}
		h.open("/app/other", nil).established()
		_ = second.ws.CloseNow()
		synctest.Wait()
		h.dial("")
		first.sync()
	})
}

// Who isn't a browser, and pages that the app allows, may connect.
func TestAllowedOrigins(t *testing.T) {
	t.Parallel()
	h := start(t, func(h *harness, _ *Config) { h.app.AllowedOrigins = []string{"https://example.com", "*.example.org"} })
	for _, origin := range []string{"", "https://example.com", "http://a.example.org:8080"} {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		h.open("/app/key", header).established()
	}
}

// Checklist 15: the subprotocol is echoed when it was offered, and only then.
func TestSubprotocol(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	for offered, want := range map[string]string{
		"pusher-channels-protocol-7": "pusher-channels-protocol-7",
		"something":                  "",
		"":                           "",
	} {
		header := http.Header{}
		if offered != "" {
			header.Set("Subprotocol", offered)
		}
		if got := h.open("/app/key?protocol=7", header).ws.Subprotocol(); got != want {
			t.Errorf("offered %q, got %q, want %q", offered, got, want)
		}
	}
}

func TestAnyOrigin(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	h.open("/app/key?protocol=7", http.Header{"Origin": {"https://elsewhere.example"}}).established()
}

// What is no WebSocket handshake is answered in HTTP, and costs no place.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	h := start(t, func(_ *harness, cfg *Config) { cfg.PathPrefix = "/pusher"; cfg.MaxConnections = 1 })
	upgrade := http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"}}
	for _, test := range []struct {
		name, method, path string
		header             http.Header
		status             int
	}{
		{"not an upgrade", http.MethodGet, "/pusher/app/key", nil, http.StatusUpgradeRequired},
		{"unknown path", http.MethodGet, "/app/key", nil, http.StatusNotFound},
		{"http fallback", http.MethodPost, "/pusher/sockjs", nil, http.StatusNotFound},
		{"broken handshake", http.MethodGet, "/pusher/app/key", upgrade, http.StatusBadRequest},
		{"wrong method", http.MethodPost, "/pusher/app/key", upgrade, http.StatusMethodNotAllowed},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(test.method, test.path, nil)
		for k, v := range test.header {
			r.Header[k] = v
		}
		h.server.ServeHTTP(w, r)
		if w.Code != test.status {
			t.Errorf("%s: status %d, want %d", test.name, w.Code, test.status)
		}
	}
	h.open("/pusher/app/key", nil).established()
}

// What the client sends together with its handshake isn't lost.
func TestEarlyFrame(t *testing.T) {
	t.Parallel()
	early := clientFrame(final|opText, `{"event":"pusher:subscribe","data":{"channel":"orders"}}`)
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		h := start(t, nil)
		c := h.openRaw(early)
		c.text("pusher:connection_established")
		c.text("pusher_internal:subscription_succeeded")
	})
	t.Run("tcp", func(t *testing.T) {
		t.Parallel()
		h := start(t, nil)
		addr := h.listen()
		for range 20 {
			c := h.openRawTCP(addr, early)
			c.text("pusher:connection_established")
			c.text("pusher_internal:subscription_succeeded")
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	good := Config{Apps: apps{}, Node: h.node, Presence: h.presence, Replay: h.server.cfg.Replay}
	if _, err := New(good); err != nil {
		t.Errorf("good configuration: %v", err)
	}
	for name, edit := range map[string]func(*Config){
		"no apps":             func(c *Config) { c.Apps = nil },
		"no node":             func(c *Config) { c.Node = nil },
		"no presence":         func(c *Config) { c.Presence = nil },
		"no replay":           func(c *Config) { c.Replay = nil },
		"negative time":       func(c *Config) { c.PingAfter = -time.Second },
		"none where it isn't": func(c *Config) { c.PongTimeout = -1 },
		"negative bytes":      func(c *Config) { c.QueueBytes = -1 },
		"negative count":      func(c *Config) { c.MaxConnections = -1 },
		"negative wait":       func(c *Config) { c.AheadTimeout = -time.Second },
		"negative rate":       func(c *Config) { c.HistoryRate.PerSecond = -2 },
		"negative burst":      func(c *Config) { c.HistoryRate = broker.Rate{PerSecond: 5, Burst: -1} },
	} {
		cfg := good
		edit(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
