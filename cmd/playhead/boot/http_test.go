package boot

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Paths reach the doors as they were sent: what was signed must not be cleaned.
func TestRoot(t *testing.T) {
	t.Parallel()
	echo := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(name + " " + r.URL.EscapedPath()))
		})
	}
	r := &root{
		sockets: echo("sockets"), api: echo("api"), logger: discard,
		health: &health{down: func() error { return nil }, up: func() error { return nil }}, limiter: &limiter{},
	}
	for _, tt := range []struct {
		path, want string
		status     int
	}{
		{"/app/key?protocol=7", "sockets /app/key", 200},
		{"/app/", "sockets /app/", 200},
		{"/apps/3/events", "api /apps/3/events", 200},
		{"/apps/3/channels/a%2Fb//../c", "api /apps/3/channels/a%2Fb//../c", 200},
		{"/users/1/terminate_connections", "api /users/1/terminate_connections", 200},
		{"/up", "OK", 200},
		{"/live", "OK", 200},
		{"/upper", "nothing here", 404},
		{"/live/", "nothing here", 404},
		{"/app", "nothing here", 404},
		{"/", "nothing here", 404},
		{"//app/key", "nothing here", 404},
	} {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://host"+tt.path, nil))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s: %d %q", tt.path, w.Code, w.Body)
		}
	}
}

// A panic costs the request and is logged once, with its place.
func TestRootPanics(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		p      any
		logged bool
	}{
		"defect":  {"index out of range", true},
		"error":   {errors.New("nil map"), true},
		"aborted": {http.ErrAbortHandler, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log strings.Builder
			r := &root{
				api:     http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(tt.p) }),
				limiter: &limiter{},
				logger:  slog.New(slog.NewTextHandler(&log, nil)),
			}
			defer func() {
				if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // it is what net/http compares with
					t.Errorf("panic %v", p)
				}
				if got := strings.Contains(log.String(), "http_test.go"); got != tt.logged {
					t.Errorf("log %q", log.String())
				}
			}()
			r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/apps/1/events", nil))
		})
	}
}

// Profiles are served when the configuration asks for them, and only then.
func TestProfiling(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		profiling Switch
		want      int
	}{"by default": {0, 404}, "off": {Off, 404}, "on": {On, 200}} {
		n := &Node{cfg: Config{Metrics: MetricsConfig{Profiling: tt.profiling}}, logger: discard, registry: prometheus.NewRegistry()}
		h := n.metricsHandler()
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/symbol"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code != tt.want {
				t.Errorf("%s: %s is answered %d, want %d", name, path, w.Code, tt.want)
			}
		}
	}
}
