package boot

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Paths reach the doors as they were sent: what was signed must not be cleaned.
func TestRoot(t *testing.T) {
	t.Parallel()
	echo := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(name + " " + r.URL.EscapedPath()))
		})
	}
	r := &root{sockets: echo("sockets"), api: echo("api"), up: echo("up"), logger: discard}
	for _, tt := range []struct {
		path, want string
		status     int
	}{
		{"/app/key?protocol=7", "sockets /app/key", 200},
		{"/app/", "sockets /app/", 200},
		{"/apps/3/events", "api /apps/3/events", 200},
		{"/apps/3/channels/a%2Fb//../c", "api /apps/3/channels/a%2Fb//../c", 200},
		{"/up", "up /up", 200},
		{"/up/", "nothing here", 404},
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
				api:    http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(tt.p) }),
				logger: slog.New(slog.NewTextHandler(&log, nil)),
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

func TestUp(t *testing.T) {
	t.Parallel()
	var why error
	h := upHandler(func() error { return why })
	for _, tt := range []struct {
		method string
		why    error
		status int
		body   string
	}{
		{"GET", nil, 200, "OK\n"},
		{"HEAD", nil, 200, "OK\n"}, // net/http leaves the body out
		{"POST", nil, 405, "Only GET and HEAD are served here.\n"},
		{"GET", errors.New("can't store: disk full"), 503, "can't store: disk full\n"},
	} {
		why = tt.why
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(tt.method, "/up", nil))
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s, %v: %d %q", tt.method, tt.why, w.Code, w.Body)
		}
	}
}
