package page

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/playhead/playhead/broker"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	const auth, userAuth, publish = "/client/auth", "/client/user-auth", "/client/publish"
	for _, c := range []struct {
		name, path, body string
		status           int
		text             string
	}{
		{"no JSON", publish, `{`, 400, "Invalid body"},
		{"another type", publish, `[]`, 400, "Invalid body"},
		{"no channel", publish, `{"event":"e","data":""}`, 400, "channel"},
		{"bad channel", publish, `{"channel":"a b","event":"e","data":""}`, 400, "channel"},
		{"long channel", publish, `{"channel":"` + strings.Repeat("a", 201) + `","event":"e","data":""}`, 400, "at most 200"},
		{"no event", publish, `{"channel":"a","data":""}`, 400, "event"},
		{"reserved event", publish, `{"channel":"a","event":"playhead:gap","data":""}`, 400, "reserved"},
		{"no data", publish, `{"channel":"a","event":"e"}`, 400, "data"},
		{"data that is no string", publish, `{"channel":"a","event":"e","data":{}}`, 400, "Invalid body"},
		{"large data", publish, `{"channel":"a","event":"e","data":"` + strings.Repeat("a", 10_241) + `"}`, 413, "10240"},
		{"bad socket id", publish, `{"channel":"a","event":"e","data":"","socket_id":"x"}`, 400, "socket"},
		{"long key", publish, `{"channel":"a","event":"e","data":"","idempotency_key":"` + strings.Repeat("k", 129) + `"}`, 400, "128"},
		{"odd key", publish, `{"channel":"a","event":"e","data":"","idempotency_key":"a\nb"}`, 400, "printable"},
		{"large body", publish, `"` + strings.Repeat("a", maxBody) + `"`, 413, "too large"},

		{"public channel", auth, `{"socket_id":"1.2","channel_name":"demo"}`, 400, "needs no signature"},
		{"own channel", auth, `{"socket_id":"1.2","channel_name":"#server-to-user-ada"}`, 400, "needs no signature"},
		{"no socket", auth, `{"channel_name":"private-a"}`, 400, "socket"},
		// What would be signed with this socket id is the sign-in of another user.
		{"socket that is text", auth, `{"socket_id":"1.2::user","channel_name":"private-a"}`, 400, "socket"},
		{"bad private channel", auth, `{"socket_id":"1.2","channel_name":"private-a:b"}`, 400, "channel"},
		{"member without id", auth, `{"socket_id":"1.2","channel_name":"presence-a","user":{}}`, 400, "user_id"},
		{"no member", auth, `{"socket_id":"1.2","channel_name":"presence-a"}`, 400, "channel_data"},
		{"large member", auth, `{"socket_id":"1.2","channel_name":"presence-a","user":{"user_id":"a","user_info":"` + strings.Repeat("a", 1_025) + `"}}`, 400, "user_info"},

		{"no user", userAuth, `{"socket_id":"1.2"}`, 400, "user_data"},
		{"user without id", userAuth, `{"socket_id":"1.2","user":{"name":"x"}}`, 400, "id"},
		{"sign-in without socket", userAuth, `{"user":{"id":"a"}}`, 400, "socket"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, pub := newPage(t, nil)
			w := ask(p, http.MethodPost, c.path, c.body, nil)
			var answer struct{ Error string }
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Fatalf("answer %q: %v", w.Body, err)
			}
			if w.Code != c.status || !strings.Contains(answer.Error, c.text) {
				t.Errorf("answered %d: %s, want %d with %q", w.Code, answer.Error, c.status, c.text)
			}
			if len(pub.events) > 0 {
				t.Error("published all the same")
			}
		})
	}
}

// A page of another site, open in the same browser, can make it send requests here. None may
// publish or be given a signature.
func TestOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	headers := func(pairs ...string) func(*http.Request) {
		return func(r *http.Request) {
			for _, h := range []string{"Origin", "Sec-Fetch-Site"} {
				r.Header.Del(h)
			}
			for i := 0; i < len(pairs); i += 2 {
				r.Header.Set(pairs[i], pairs[i+1])
			}
		}
	}
	for _, c := range []struct {
		name   string
		edit   func(*http.Request)
		status int
	}{
		{"another site", headers("Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"), 403},
		{"another port", headers("Origin", "http://localhost:3000", "Sec-Fetch-Site", "same-site"), 403},
		{"another site, in an old browser", headers("Origin", "https://evil.example"), 403},
		{"a page without an origin", headers("Origin", "null"), 403},
		{"a form's content type", headers("Content-Type", "text/plain"), 415},
		{"a form", headers("Content-Type", "application/x-www-form-urlencoded"), 415},
		{"no content type", func(r *http.Request) { r.Header.Del("Content-Type") }, 415},
		{"GET", func(r *http.Request) { r.Method = http.MethodGet }, 405},
		{"a preflight", func(r *http.Request) {
			r.Method = http.MethodOptions
			r.Header.Set("Origin", "https://evil.example")
			r.Header.Set("Access-Control-Request-Method", "POST")
		}, 405},

		{"the page", nil, 200},
		{"the page, in an old browser", headers("Origin", "http://localhost:6001"), 200},
		{"a command line", headers(), 200},
		{"a charset", headers("Content-Type", "application/json; charset=utf-8"), 200},
		{"behind a proxy that speaks TLS", headers("Origin", "https://localhost:6001", "Sec-Fetch-Site", "same-origin"), 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for path, body := range map[string]string{
				"/client/publish":   `{"channel":"demo","event":"e","data":""}`,
				"/client/auth":      `{"socket_id":"1.2","channel_name":"private-a"}`,
				"/client/user-auth": `{"socket_id":"1.2","user":{"id":"a"}}`,
			} {
				p, pub := newPage(t, nil)
				w := ask(p, http.MethodPost, path, body, c.edit)
				if w.Code != c.status {
					t.Errorf("%s: answered %d: %s, want %d", path, w.Code, w.Body, c.status)
				}
				if c.status != 200 && (len(pub.events) > 0 || strings.Contains(w.Body.String(), "key:")) {
					t.Errorf("%s: did it all the same: %s", path, w.Body)
				}
				if w.Header().Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s: another site may read the answer", path)
				}
			}
		})
	}
}

func TestAppAway(t *testing.T) {
	t.Parallel()
	disabled := testApp()
	disabled.Disabled = true
	for _, c := range []struct {
		name   string
		apps   apps
		status int
	}{
		{"gone", apps{}, 404},
		{"disabled", apps{app: disabled}, 403},
		{"can't be looked up", apps{err: errors.New("database at 10.0.0.1 away")}, 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, pub := newPage(t, func(cfg *Config) { cfg.Apps = c.apps })
			for _, w := range []*httptest.ResponseRecorder{
				ask(p, http.MethodGet, "/client/config.json", "", nil),
				ask(p, http.MethodPost, "/client/auth", `{"socket_id":"1.2","channel_name":"private-a"}`, nil),
				ask(p, http.MethodPost, "/client/publish", `{"channel":"demo","event":"e","data":""}`, nil),
			} {
				if w.Code != c.status || strings.Contains(w.Body.String(), "10.0.0.1") {
					t.Errorf("answered %d: %s, want %d", w.Code, w.Body, c.status)
				}
			}
			if len(pub.events) > 0 {
				t.Error("published all the same")
			}
			// The page itself is there, and can say so.
			if w := ask(p, http.MethodGet, "/client/", "", nil); w.Code != http.StatusOK {
				t.Errorf("page: %d", w.Code)
			}
		})
	}
}

func TestLogAway(t *testing.T) {
	t.Parallel()
	for _, err := range []error{broker.ErrUnavailable, broker.ErrClosed, context.DeadlineExceeded} {
		p, pub := newPage(t, nil)
		pub.err = err
		w := ask(p, http.MethodPost, "/client/publish", `{"channel":"demo","event":"e","data":""}`, nil)
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("%v: answered %d: %s", err, w.Code, w.Body)
		}
	}
}

// A body that breaks off is the sender's affair.
func TestBodyCutOff(t *testing.T) {
	t.Parallel()
	p, pub := newPage(t, nil)
	w := ask(p, http.MethodPost, "/client/publish", "", func(r *http.Request) {
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"channel":`), brokenReader{}))
	})
	if w.Code != http.StatusBadRequest || len(pub.events) > 0 {
		t.Errorf("answered %d: %s", w.Code, w.Body)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("cut off") }
