package rest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/broker/pusher"
	"github.com/prometheus/client_golang/prometheus"
)

// The credentials and the clock of the protocol's vectors.
var (
	credential = broker.Credential{Key: "278d425bdf160c739803", Secret: "7ad3773142a6692b25b8"}
	vectorTime = time.Unix(1353088179, 0)
)

// recorder is a node that keeps what is published to it.
type recorder struct {
	mu    sync.Mutex
	calls [][]*broker.Event
	err   error
}

func (r *recorder) Publish(_ context.Context, events ...*broker.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	r.calls = append(r.calls, events)
	return nil
}

// published returns the events of the only call, nil when there was none.
func (r *recorder) published(t *testing.T) []*broker.Event {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch len(r.calls) {
	case 0:
		return nil
	case 1:
		return r.calls[0]
	}
	t.Fatalf("published in %d calls, want one", len(r.calls))
	return nil
}

// appsOf finds the apps given.
type appsOf map[broker.AppID]*broker.App

func (a appsOf) ByID(_ context.Context, id broker.AppID) (*broker.App, error) {
	if app := a[id]; app != nil {
		return app, nil
	}
	return nil, fmt.Errorf("find app %q: %w", id, broker.ErrNoApp)
}

func (a appsOf) ByKey(_ context.Context, key string) (*broker.App, error) {
	for _, app := range a {
		if _, ok := app.Secret(key); ok {
			return app, nil
		}
	}
	return nil, fmt.Errorf("find app by key %q: %w", key, broker.ErrNoApp)
}

// silent is told of presence changes that no test is interested in.
type silent struct{}

func (silent) Notify(*broker.Notice) {}

// site is an API and what it stands on.
type site struct {
	api      *API
	node     *recorder
	presence *presence.Registry
	registry *prometheus.Registry
	app      *broker.App
	prefix   string
}

// open makes a site with the app 3, changed by the functions given.
func open(tb testing.TB, change ...func(*Config, *broker.App)) *site {
	tb.Helper()
	s := &site{node: &recorder{}, registry: prometheus.NewRegistry()}
	var err error
	if s.presence, err = presence.New(presence.Config{Notifier: silent{}}); err != nil {
		tb.Fatal(err)
	}
	s.app = &broker.App{ID: "3", Credentials: []broker.Credential{credential}, Limits: broker.Limits{}.WithDefaults()}
	cfg := Config{
		Apps:       appsOf{"3": s.app},
		Node:       s.node,
		Presence:   s.presence,
		Now:        func() time.Time { return vectorTime },
		Registerer: s.registry,
	}
	for _, c := range change {
		c(&cfg, s.app)
	}
	if s.api, err = New(cfg); err != nil {
		tb.Fatal(err)
	}
	s.prefix = cfg.PathPrefix
	return s
}

// join lets a connection subscribe; userID is of presence channels.
func (s *site) join(t *testing.T, ch broker.Channel, socket broker.SocketID, userID string) {
	t.Helper()
	e := presence.Entry{App: "3", Channel: ch, Socket: socket}
	if userID != "" {
		e.Member = &broker.Member{UserID: userID}
	}
	if _, err := s.presence.Join(t.Context(), e, 100); err != nil {
		t.Fatal(err)
	}
}

// send sends a request as it is.
func (s *site) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, r)
	return w
}

// request makes a signed request; path and query are as on the wire.
func (s *site) request(tb testing.TB, method, path, query, body string) *http.Request {
	tb.Helper()
	path = s.prefix + path
	signed := pusher.Request{Method: method, Path: path, RawQuery: query, Body: []byte(body)}
	query, err := signed.Sign(credential, vectorTime)
	if err != nil {
		tb.Fatal(err)
	}
	return httptest.NewRequest(method, path+"?"+query, strings.NewReader(body))
}

// do sends a signed request and returns the answer's status and body.
func (s *site) do(tb testing.TB, method, path, query, body string) (int, string) {
	tb.Helper()
	w := s.send(s.request(tb, method, path, query, body))
	return w.Code, strings.TrimSuffix(w.Body.String(), "\n")
}

// remembers has the site on a medium with memory, of which no test here reads a page.
func remembers(c *Config, _ *broker.App) { c.History = &past{} }
