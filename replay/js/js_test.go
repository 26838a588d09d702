package js

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func get(t *testing.T, method, path string, header map[string]string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for name, value := range header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestHandlerServes(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]struct{ contentType, begins, has string }{
		"/replay.js":         {"text/javascript; charset=utf-8", "// Replay for pusher-js", "\nexport function withReplay("},
		"/replay.classic.js": {"text/javascript; charset=utf-8", "var PlayheadReplay = ", "\nfunction withReplay("},
		"/replay.d.ts":       {"application/typescript; charset=utf-8", "/** What", "\nexport function withReplay<"},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			r := get(t, http.MethodGet, path, nil)
			text := body(t, r)
			if r.StatusCode != http.StatusOK || !strings.HasPrefix(text, want.begins) || !strings.Contains(text, want.has) {
				t.Errorf("status %d, %.100q…", r.StatusCode, text)
			}
			for name, value := range map[string]string{
				"Content-Type":                 want.contentType,
				"Content-Encoding":             "",
				"X-Content-Type-Options":       "nosniff",
				"Cache-Control":                "no-cache",
				"Access-Control-Allow-Origin":  "*",
				"Cross-Origin-Resource-Policy": "cross-origin",
				"Vary":                         "Accept-Encoding",
			} {
				if got := r.Header.Get(name); got != value {
					t.Errorf("%s: %q, want %q", name, got, value)
				}
			}
			head := get(t, http.MethodHead, path, nil)
			if head.StatusCode != http.StatusOK || body(t, head) != "" || head.Header.Get("ETag") != r.Header.Get("ETag") {
				t.Errorf("HEAD: %d, %v", head.StatusCode, head.Header)
			}
		})
	}
}

func TestHandlerRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/", http.StatusNotFound},
		{http.MethodGet, "/replay", http.StatusNotFound},
		{http.MethodGet, "/replay.js/", http.StatusNotFound},
		{http.MethodGet, "/js.go", http.StatusNotFound},
		{http.MethodPost, "/replay.js", http.StatusMethodNotAllowed},
		{http.MethodDelete, "/replay.classic.js", http.StatusMethodNotAllowed},
	} {
		if r := get(t, tt.method, tt.path, nil); r.StatusCode != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, r.StatusCode, tt.status)
		}
	}
}

func TestHandlerCompresses(t *testing.T) {
	t.Parallel()
	plain := get(t, http.MethodGet, "/replay.js", nil)
	text := body(t, plain)
	for accept, zipped := range map[string]bool{
		"gzip":               true,
		"br, GZIP":           true,
		"gzip;q=0.5, br":     true,
		"deflate, gzip; q=1": true,
		"":                   false,
		"br":                 false,
		"gzip;q=0":           false,
		"gzip; q=0.000":      false,
		"gzip;q=much":        false,
		"x-gzipped":          false,
	} {
		r := get(t, http.MethodGet, "/replay.js", map[string]string{"Accept-Encoding": accept})
		got := body(t, r)
		if zipped {
			z, err := gzip.NewReader(strings.NewReader(got))
			if err != nil {
				t.Errorf("%q: %v", accept, err)
				continue
			}
			b, err := io.ReadAll(z)
			if err != nil {
				t.Errorf("%q: %v", accept, err)
			}
			got = string(b)
		}
		if got != text || (r.Header.Get("Content-Encoding") == "gzip") != zipped {
			t.Errorf("%q: Content-Encoding %q, %d bytes of %d", accept, r.Header.Get("Content-Encoding"), len(got), len(text))
		}
		if same := r.Header.Get("ETag") == plain.Header.Get("ETag"); same == zipped {
			t.Errorf("%q: ETag %s", accept, r.Header.Get("ETag"))
		}
	}
}

// A browser that has the file asks whether it is still the same, and is told so.
func TestHandlerKnowsWhatIsKept(t *testing.T) {
	t.Parallel()
	for _, accept := range []string{"", "gzip"} {
		etag := get(t, http.MethodGet, "/replay.js", map[string]string{"Accept-Encoding": accept}).Header.Get("ETag")
		r := get(t, http.MethodGet, "/replay.js", map[string]string{"Accept-Encoding": accept, "If-None-Match": etag})
		if r.StatusCode != http.StatusNotModified || body(t, r) != "" {
			t.Errorf("%q with ETag %s: %d", accept, etag, r.StatusCode)
		}
		r = get(t, http.MethodGet, "/replay.classic.js", map[string]string{"Accept-Encoding": accept, "If-None-Match": etag})
		if r.StatusCode != http.StatusOK {
			t.Errorf("%q with another file's ETag: %d", accept, r.StatusCode)
		}
	}
}

// What a page loads stays under 3 kB.
func TestSize(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"module": module, "classic script": classic(module)} {
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes, %d gzipped", name, len(text), zipped.Len())
		if zipped.Len() >= 3_000 {
			t.Errorf("%s: %d bytes gzipped", name, zipped.Len())
		}
	}
}

// The classic script is the module but for how it is handed out.
func TestClassic(t *testing.T) {
	t.Parallel()
	if n := strings.Count(module, "export "); n != 1 {
		t.Errorf("the module has %d exports; the script knows of one", n)
	}
	if strings.Contains(classic(module), "export ") {
		t.Error("the script exports")
	}
	if !strings.HasSuffix(module, "\n") {
		t.Error("the module's last line has no end")
	}
}
