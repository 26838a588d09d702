package boot

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/apps"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	known, err := apps.New(apps.Config{Apps: []broker.App{
		{ID: "1", Credentials: []broker.Credential{{Key: "a", Secret: "s"}}},
		{ID: "off", Credentials: []broker.Credential{{Key: "b", Secret: "s"}}, Disabled: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("can't store: disk full")
	for _, tt := range []struct {
		method, path string
		down         error
		status       int
		body         string
	}{
		{"GET", "/up", nil, 200, "OK"},
		{"HEAD", "/up", nil, 200, "OK"}, // net/http leaves the body out
		{"GET", "/ready", nil, 200, "OK"},
		{"GET", "/live", nil, 200, "OK"},
		{"GET", "/up", full, 503, "ERROR: can't store: disk full"},
		{"GET", "/ready", full, 503, "ERROR: can't store: disk full"},
		{"GET", "/live", full, 200, "OK"},
		{"GET", "/up/1", nil, 200, "OK"},
		{"GET", "/up/1", full, 503, "ERROR: can't store: disk full"},
		{"GET", "/up/2", nil, 404, "ERROR: unknown app_id"},
		{"GET", "/up/2", full, 404, "ERROR: unknown app_id"},
		{"GET", "/up/", nil, 404, "ERROR: unknown app_id"},
		{"GET", "/up/1/x", nil, 404, "ERROR: unknown app_id"},
		{"GET", "/up/off", nil, 503, "ERROR: application disabled"},
		{"HEAD", "/up/off", nil, 503, "ERROR: application disabled"},
		{"POST", "/up", nil, 405, "Only GET and HEAD are served here.\n"},
		{"DELETE", "/up/1", nil, 405, "Only GET and HEAD are served here.\n"},
	} {
		h := &health{down: func() error { return tt.down }, up: func() error { return tt.down }, apps: known}
		w := httptest.NewRecorder()
		if !h.answers(tt.path) {
			t.Errorf("%s isn't for health", tt.path)
		}
		h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s %s, %v: %d %q, want %d %q", tt.method, tt.path, tt.down, w.Code, w.Body, tt.status, tt.body)
		}
		want := "ERROR"
		switch tt.status {
		case 200:
			want = "OK"
		case 405:
			want = ""
		}
		if got := w.Header().Get("X-Health-Check"); got != want {
			t.Errorf("%s %s, %v: X-Health-Check %q, want %q", tt.method, tt.path, tt.down, got, want)
		}
		if got := w.Header().Get("Cache-Control"); tt.status != 405 && got != "no-store" {
			t.Errorf("%s: Cache-Control %q", tt.path, got)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		memory memory
		want   string
	}{
		"known":         {filled(1000, 250), `{"memory":{"total":1000,"used":250,"free":750,"percent":25}}`},
		"over":          {filled(1000, 1500), `{"memory":{"total":1000,"used":1500,"free":0,"percent":150}}`},
		"total unknown": {filled(0, 250), `{"memory":{"total":0,"used":250,"free":0,"percent":0}}`},
	} {
		h := &health{memory: func() memory { return tt.memory }}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/usage", nil))
		if w.Code != 200 || w.Body.String() != tt.want+"\n" || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	h := &health{memory: memoryNow}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/usage", nil))
	var got struct{ Memory memory }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	// This process takes something, and not all there is.
	if m := got.Memory; m.Used < 1<<20 || m.Total > 0 && (m.Used > m.Total || m.Percent <= 0 || m.Percent > 100) {
		t.Errorf("%+v", m)
	}
}
