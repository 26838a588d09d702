package boot

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// knocking is a root whose doors let everybody in, behind a limiter.
func knocking(cfg Config) (*root, *prometheus.Registry) {
	cfg.fill()
	registry := prometheus.NewRegistry()
	in := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("in")) })
	return &root{
		sockets: in, api: in, logger: discard,
		health:  &health{down: func() error { return nil }, up: func() error { return nil }},
		limiter: newLimiter(&cfg, registry, nil),
	}, registry
}

// knock asks for a path from an address; a client that claims to be another in the header.
func knock(r *root, path, from, claims string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodGet, path, nil)
	req.RemoteAddr = from
	if claims != "" {
		req.Header.Set("X-Forwarded-For", claims)
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	type step struct {
		after        time.Duration
		path         string
		from, claims string
		status       int
		retryAfter   string
	}
	const a, b = "198.51.100.1:1", "198.51.100.2:1"
	api, connect := "/apps/1/events", "/app/key"
	for name, tt := range map[string]struct {
		cfg   Config
		steps []step
	}{
		"each address for itself": {Config{RateLimit: RateLimitConfig{APIPerSecond: 2}}, []step{
			{0, api, a, "", 200, ""}, {0, "/users/1/terminate_connections", a, "", 200, ""}, {0, api, a, "", 429, "1"},
			{0, api, b, "", 200, ""}, {0, connect, a, "", 200, ""}, {0, "/up", a, "", 200, ""},
			{500 * time.Millisecond, api, a, "", 200, ""}, {0, api, a, "", 429, "1"},
		}},
		"another port is the same address": {Config{RateLimit: RateLimitConfig{APIPerSecond: 1}}, []step{
			{0, api, "198.51.100.1:1", "", 200, ""}, {0, api, "198.51.100.1:2", "", 429, "1"},
		}},
		"a network of IPv6 is one address": {Config{RateLimit: RateLimitConfig{APIPerSecond: 1}}, []step{
			{0, api, "[2001:db8::1]:1", "", 200, ""}, {0, api, "[2001:db8::2:3]:1", "", 429, "1"}, {0, api, "[2001:db8:0:1::1]:1", "", 200, ""},
		}},
		"connects": {Config{RateLimit: RateLimitConfig{ConnectsPerSecond: 1, ConnectsBurst: 2}}, []step{
			{0, connect, a, "", 200, ""}, {0, connect, a, "", 200, ""}, {0, connect, a, "", 429, "1"},
			{0, api, a, "", 200, ""}, {time.Second, connect, a, "", 200, ""}, {0, connect, a, "", 429, "1"},
		}},
		"claims of a stranger don't help": {Config{RateLimit: RateLimitConfig{ConnectsPerSecond: 1}}, []step{
			{0, connect, a, "203.0.113.1", 200, ""}, {0, connect, a, "203.0.113.2", 429, "1"},
		}},
		"clients behind a proxy are told apart": {Config{
			RateLimit: RateLimitConfig{ConnectsPerSecond: 1}, HTTP: HTTPConfig{TrustedProxies: List{"198.51.100.1"}},
		}, []step{
			{0, connect, a, "203.0.113.1", 200, ""}, {0, connect, a, "203.0.113.2", 200, ""},
			{0, connect, a, "203.0.113.9, 203.0.113.2", 429, "1"}, {0, connect, b, "203.0.113.3", 200, ""}, {0, connect, b, "203.0.113.4", 429, "1"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, registry := knocking(tt.cfg)
				refused := 0
				for i, s := range tt.steps {
					time.Sleep(s.after)
					w := knock(r, s.path, s.from, s.claims)
					if w.Code != s.status || w.Header().Get("Retry-After") != s.retryAfter {
						t.Errorf("step %d: %d %q, Retry-After %q; want %d, %q", i+1, w.Code, w.Body, w.Header().Get("Retry-After"), s.status, s.retryAfter)
					}
					if s.status == 429 {
						refused++
						if !strings.HasPrefix(w.Body.String(), "Rate limit exceeded") {
							t.Errorf("step %d: %q", i+1, w.Body)
						}
					}
				}
				total := 0.0
				families, err := registry.Gather()
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range families[0].GetMetric() {
					total += m.GetCounter().GetValue()
				}
				if total != float64(refused) {
					t.Errorf("%v counted as refused, want %d", total, refused)
				}
			})
		})
	}
}

// Without being told to, nobody is bounded, and nothing is remembered.
func TestLimiterIsOff(t *testing.T) {
	t.Parallel()
	r, registry := knocking(Config{})
	for range 1000 {
		for _, path := range []string{"/apps/1/events", "/app/key"} {
			if w := knock(r, path, "198.51.100.1:1", ""); w.Code != 200 {
				t.Fatalf("%s: %d", path, w.Code)
			}
		}
	}
	if n := testutil.CollectAndCount(registry, "playhead_rate_limited_total"); n != 2 {
		t.Errorf("%d counters", n)
	}
}
