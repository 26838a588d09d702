package boot

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	ready := true
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/up":
			t.Errorf("asked for %s", r.URL.Path)
		case !ready:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("ERROR: can't store: no quorum"))
		}
	}))
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"", "127.0.0.1"} {
		if err := Probe(t.Context(), Config{Host: host, Port: Port(port)}, ""); err != nil {
			t.Errorf("host %q: %v", host, err)
		}
	}
	ready = false
	if err := Probe(t.Context(), Config{}, srv.URL); err == nil || !strings.Contains(err.Error(), "not ready: can't store: no quorum") {
		t.Errorf("a node that isn't ready: %v", err)
	}
	srv.Close()
	if err := Probe(t.Context(), Config{}, srv.URL); err == nil || !strings.Contains(err.Error(), "ask the node") {
		t.Errorf("a node that isn't there: %v", err)
	}
	if err := Probe(t.Context(), Config{}, "localhost:6001"); err == nil || !strings.Contains(err.Error(), "not a node's URL") {
		t.Errorf("no URL: %v", err)
	}
}
