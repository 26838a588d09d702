package page

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

const socket = "123.456"

func testApp() *broker.App {
	return &broker.App{ID: "app", Credentials: []broker.Credential{{Key: "key", Secret: "secret"}}, ClientEvents: true}
}

// apps is the one app there is, or none.
type apps struct {
	app *broker.App
	err error
}

func (a apps) ByID(_ context.Context, id broker.AppID) (*broker.App, error) {
	if a.err != nil {
		return nil, a.err
	}
	if a.app == nil || a.app.ID != id {
		return nil, broker.ErrNoApp
	}
	return a.app, nil
}

// publisher keeps what is published, or refuses it.
type publisher struct {
	events []*broker.Event
	err    error
	hang   bool // until the context is done
}

func (p *publisher) Publish(ctx context.Context, events ...*broker.Event) error {
	if p.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if p.err != nil {
		return p.err
	}
	for i, e := range events {
		if e.ID == "" {
			e.ID = "made"
		}
		e.Time = time.UnixMilli(1_732_350_000_123)
		e.Position = broker.Position{Epoch: "abc", Serial: uint64(len(p.events) + i + 1), Time: e.Time.UnixMilli()}
	}
	p.events = append(p.events, events...)
	return nil
}

func newPage(t *testing.T, edit func(*Config)) (*Page, *publisher) {
	t.Helper()
	pub := &publisher{}
	cfg := Config{Apps: apps{app: testApp()}, App: "app", Publisher: pub}
	if edit != nil {
		edit(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p, pub
}

// ask sends a request as the page does, with a body if it is a POST; edit may change it.
func ask(p *Page, method, path, body string, edit func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost:6001"+path, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Origin", "http://localhost:6001")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

// answered decodes an answer of 200.
func answered[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if w.Code != http.StatusOK {
		t.Fatalf("answered %d: %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("answer %q: %v", w.Body, err)
	}
	return v
}

func TestNewRefusesIncompleteConfig(t *testing.T) {
	t.Parallel()
	full := Config{Apps: apps{}, App: "app", Publisher: &publisher{}}
	for name, drop := range map[string]func(*Config){
		"Apps":      func(c *Config) { c.Apps = nil },
		"App":       func(c *Config) { c.App = "" },
		"Publisher": func(c *Config) { c.Publisher = nil },
	} {
		cfg := full
		drop(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: error %v", name, err)
		}
	}
}

func TestServeAssets(t *testing.T) {
	t.Parallel()
	p, _ := newPage(t, nil)
	for _, c := range []struct {
		path, kind, has string
	}{
		{"/client/", "text/html; charset=utf-8", "<title>"},
		{"/client/page.js", "text/javascript; charset=utf-8", "import"},
		{"/client/page.css", "text/css; charset=utf-8", ":root"},
		{"/client/pusher.js", "text/javascript; charset=utf-8", "Permission is hereby granted"},
	} {
		w := ask(p, http.MethodGet, c.path, "", nil)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != c.kind || !strings.Contains(w.Body.String(), c.has) {
			t.Errorf("%s: answered %d, %s, without %q", c.path, w.Code, w.Header().Get("Content-Type"), c.has)
		}
		tag := w.Header().Get("ETag")
		again := ask(p, http.MethodGet, c.path, "", func(r *http.Request) { r.Header.Set("If-None-Match", tag) })
		if tag == "" || again.Code != http.StatusNotModified {
			t.Errorf("%s: tag %q, asked again with it: %d", c.path, tag, again.Code)
		}
	}
	if w := ask(p, http.MethodHead, "/client/", "", nil); w.Code != http.StatusOK || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d, %d bytes", w.Code, w.Body.Len())
	}
	for _, path := range []string{"/client/none.js", "/client/../client/page.js", "/client/assets/page.js", "/clients", "/"} {
		if w := ask(p, http.MethodGet, "/client/", "", func(r *http.Request) { r.URL.Path = path }); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	w := ask(p, http.MethodGet, "/client", "", nil)
	if w.Code != http.StatusFound || w.Header().Get("Location") != "client/" {
		t.Errorf("without slash: %d to %q", w.Code, w.Header().Get("Location"))
	}
	if w := ask(p, http.MethodPost, "/client/", "{}", nil); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

// The page asks nobody else for anything: it must work where there is no other server, and must not
// tell one that it is open.
func TestAssetsAskNobodyElse(t *testing.T) {
	t.Parallel()
	p, _ := newPage(t, nil)
	outside := regexp.MustCompile(`(?i)(src|href|import|from|url)\s*[=(]?\s*["'(]?(https?:)?//`)
	inline := regexp.MustCompile(`(?i)<script>|<style|\son[a-z]+="|\sstyle="`) // the policy forbids these
	for name, a := range p.assets {
		if name == "pusher.js" {
			continue
		}
		if at := outside.Find(a.text); at != nil {
			t.Errorf("%s: %q", name, at)
		}
		if at := inline.Find(a.text); at != nil {
			t.Errorf("%s: %q", name, at)
		}
	}
}

// What a file of the page asks for is there, but for the module that the server serves next to it.
func TestAssetsAreWhole(t *testing.T) {
	t.Parallel()
	p, _ := newPage(t, nil)
	needed := regexp.MustCompile(`(?m)(?:^import .*from |^import |src=|href=)["']([^"']+)["']`)
	n := 0
	for name, a := range p.assets {
		if name == "pusher.js" {
			continue
		}
		for _, m := range needed.FindAllSubmatch(a.text, -1) {
			n++
			file := strings.TrimPrefix(string(m[1]), "./")
			if p.assets[file] == nil && file != "../replay.js" {
				t.Errorf("%s: %s is not there", name, m[1])
			}
		}
	}
	if n < 10 {
		t.Errorf("found only %d", n)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	p, _ := newPage(t, nil)
	for _, path := range []string{"/client/", "/client/config.json", "/client/none", "/client"} {
		h := ask(p, http.MethodGet, path, "", nil).Header()
		policy := h.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'self'", "connect-src 'self' ws: wss:", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: policy %q lacks %s", path, policy, part)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no nosniff", path)
		}
		if h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: other sites may read it", path)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	p, _ := newPage(t, nil)
	w := ask(p, http.MethodGet, "/client/config.json", "", nil)
	got := answered[map[string]any](t, w)
	want := map[string]any{"app": "app", "key": "key", "client_events": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("settings are cached, and apps are reloaded")
	}
}

// Nothing that the page is told has the secret in it.
func TestSecretStaysHere(t *testing.T) {
	t.Parallel()
	p, _ := newPage(t, nil)
	for _, w := range []*httptest.ResponseRecorder{
		ask(p, http.MethodGet, "/client/config.json", "", nil),
		ask(p, http.MethodPost, "/client/auth", `{"socket_id":"1.2","channel_name":"private-encrypted-a"}`, nil),
		ask(p, http.MethodPost, "/client/user-auth", `{"socket_id":"1.2","user":{"id":"a"}}`, nil),
	} {
		if body := w.Body.String(); w.Code != http.StatusOK || strings.Contains(strings.ReplaceAll(body, "shared_secret", ""), "secret") {
			t.Errorf("answered %d: %s", w.Code, body)
		}
	}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	p, _ := newPage(t, nil)
	for _, c := range []struct {
		channel broker.Channel
		user    string // JSON; none when empty
		data    string // expected channel_data; none when empty
	}{
		{channel: "private-a"},
		{channel: "private-cache-a"},
		{channel: "private-encrypted-a"},
		{channel: "private-encrypted-cache-a"},
		{"presence-a", `{"user_id":"ada","user_info":{"name":"Ada"}}`, `{"user_id":"ada","user_info":{"name":"Ada"}}`},
		{"presence-cache-a", `{"user_id":7}`, `{"user_id":7}`},
		{channel: "private-a", user: `{"user_id":"ada"}`}, // only presence channels have members
	} {
		body := map[string]any{"socket_id": socket, "channel_name": c.channel}
		if c.user != "" {
			body["user"] = json.RawMessage(c.user)
		}
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		got := answered[authorization](t, ask(p, http.MethodPost, "/client/auth", string(raw), nil))
		var data *string
		if c.data != "" {
			data = &c.data
		}
		if diff := cmp.Diff(data, got.ChannelData); diff != "" {
			t.Errorf("%s: channel_data: %s", c.channel, diff)
		}
		if err := pusher.VerifyChannel(testApp(), got.Auth, socket, c.channel, data); err != nil {
			t.Errorf("%s: %v", c.channel, err)
		}
		if encrypted := pusher.KindOf(c.channel).Encrypted(); encrypted != (len(got.SharedSecret) == 44) {
			t.Errorf("%s: shared secret %q", c.channel, got.SharedSecret)
		}
	}
}

func TestSharedSecretIsTheChannelsOwn(t *testing.T) {
	t.Parallel()
	a, b := broker.Credential{Key: "a", Secret: "a"}, broker.Credential{Key: "b", Secret: "b"}
	first := sharedSecret(a, "private-encrypted-x")
	if first != sharedSecret(a, "private-encrypted-x") {
		t.Error("not the same for two tabs")
	}
	if first == sharedSecret(a, "private-encrypted-y") || first == sharedSecret(b, "private-encrypted-x") {
		t.Error("the same for another channel or app")
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	p, _ := newPage(t, nil)
	const user = `{"id":"ada","user_info":{"name":"Ada"},"watchlist":["bob"]}`
	got := answered[struct {
		Auth     string `json:"auth"`
		UserData string `json:"user_data"`
	}](t, ask(p, http.MethodPost, "/client/user-auth", `{"socket_id":"`+socket+`","user":`+user+`}`, nil))
	if got.UserData != user {
		t.Errorf("user_data %s", got.UserData)
	}
	if err := pusher.VerifyUser(testApp(), got.Auth, socket, got.UserData); err != nil {
		t.Error(err)
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	p, pub := newPage(t, nil)
	got := answered[published](t, ask(p, http.MethodPost, "/client/publish",
		`{"channel":"demo","event":"tick","data":"{\"n\": 1}","socket_id":"1.2","idempotency_key":"k1"}`, nil))
	want := &broker.Event{
		App: "app", Channel: "demo", ID: "k1", Name: "tick", Data: []byte(`{"n": 1}`), Exclude: "1.2",
		Time:     time.UnixMilli(1_732_350_000_123),
		Position: broker.Position{Epoch: "abc", Serial: 1, Time: 1_732_350_000_123},
	}
	if diff := cmp.Diff([]*broker.Event{want}, pub.events); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(published{ID: "k1", Position: want.Position.String(), TimeMS: 1_732_350_000_123}, got); diff != "" {
		t.Error(diff)
	}
	// Without a key the node makes the id.
	if got := answered[published](t, ask(p, http.MethodPost, "/client/publish", `{"channel":"demo","event":"e","data":""}`, nil)); got.ID != "made" {
		t.Errorf("id %q", got.ID)
	}
}

func TestPublishInTime(t *testing.T) {
	t.Parallel()
	p, pub := newPage(t, func(c *Config) { c.PublishTimeout = time.Millisecond })
	pub.hang = true
	w := ask(p, http.MethodPost, "/client/publish", `{"channel":"demo","event":"e","data":""}`, nil)
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("answered %d: %s", w.Code, w.Body)
	}
}
