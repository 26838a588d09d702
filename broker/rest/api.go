// Package rest serves the HTTP API through which backends publish and ask.
package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/broker/pusher"
	"github.com/playhead/playhead/replay"
	"github.com/prometheus/client_golang/prometheus"
)

// Apps finds apps. The error of an unknown id or key is [broker.ErrNoApp].
type Apps interface {
	ByID(ctx context.Context, id broker.AppID) (*broker.App, error)
	ByKey(ctx context.Context, key string) (*broker.App, error)
}

// Publisher appends events, all of one app, to its log, and returns when they are stored;
// [broker.Node] does.
type Publisher interface {
	Publish(ctx context.Context, events ...*broker.Event) error
}

// Presence knows who is where; [presence.Registry] does. Occupied lists in the order of the
// names, users' own channels too. Terminate closes the connections that are signed in as a user, on every
// node.
type Presence interface {
	Occupancy(app broker.AppID, ch broker.Channel) presence.Occupancy
	Occupied(app broker.AppID, prefix string) []presence.Occupancy
	Users(app broker.AppID, ch broker.Channel) []string
	// Standing reports whether the answers of the others are those of all nodes.
	Standing() bool
	Terminate(ctx context.Context, app broker.AppID, userID string) error
}

// History reads a channel's past back; [replay.Replayer] does. Errors are of type *[replay.PageError].
type History interface {
	Page(ctx context.Context, q replay.PageRequest) (replay.Page, error)
}

// Config configures an [API].
type Config struct {
	// Apps finds the app of a request. Required.
	Apps Apps

	// Node publishes. Required.
	Node Publisher

	// Presence answers questions. Required.
	Presence Presence

	// Cache knows the last events of cache channels. Default: the medium has none, and every
	// cache is said to be empty.
	Cache broker.Cache

	// History reads channels' pasts back. Default: the medium has no memory; questions about the
	// past are answered with 501, and publishes that went wrong are told that trying again may
	// deliver them twice, whatever idempotency key they have.
	History History

	// MaxBodyBytes bounds the body of a request. A larger one is answered with 413 and not
	// read. Default 1 MiB: a batch of ten full events fits in, however its data is escaped.
	MaxBodyBytes int

	// PublishTimeout bounds how long a publish may wait to be stored, and a cached event or a page
	// of history to be read, where the request's context has no deadline. Default 15 s; −1 waits as long as the
	// caller does.
	PublishTimeout time.Duration

	// Limiter keeps the apps' budgets. Default: this node's own, each app having its limits on each node.
	Limiter broker.Limiter

	// PathPrefix is where the API is mounted: "/pusher" serves /pusher/apps/…. Libraries may
	// sign the path with or without it. Default: none.
	PathPrefix string

	// Now is the clock that requests' timestamps and the age of cached events are checked
	// against. Default [time.Now].
	Now func() time.Time

	// Logger takes faults. Default: discard.
	Logger *slog.Logger

	// Registerer takes the metrics. Default: a registry of its own, seen by nobody.
	Registerer prometheus.Registerer
}

// API is the HTTP API of all apps. It is safe for concurrent use. Deadlines for reading a request
// and writing its answer are those of the server it is mounted in.
type API struct {
	cfg     Config
	mux     *http.ServeMux
	metrics *metrics
	bodies  sync.Pool // of *[]byte, to read bodies into

	complained atomic.Int64 // Unix seconds of the last warning that publishes are refused
}

// New checks cfg and returns the API.
func New(cfg Config) (*API, error) {
	var errs []error
	if cfg.Apps == nil {
		errs = append(errs, errors.New("apps: required"))
	}
	if cfg.Node == nil {
		errs = append(errs, errors.New("node: required"))
	}
	if cfg.Presence == nil {
		errs = append(errs, errors.New("presence: required"))
	}
	if cfg.MaxBodyBytes < 0 {
		errs = append(errs, fmt.Errorf("max body bytes: %d is negative", cfg.MaxBodyBytes))
	}
	if cfg.PublishTimeout < -1 {
		errs = append(errs, fmt.Errorf("publish timeout: %v is negative; -1 means none", cfg.PublishTimeout))
	}
	if p := cfg.PathPrefix; p != "" && (!strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") || strings.ContainsAny(p, "{}% ")) {
		errs = append(errs, fmt.Errorf("path prefix: %q must begin with a slash, not end with one, and hold no '{', '}', '%%' or ' '", p))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("rest: %w", err)
	}
	if cfg.MaxBodyBytes == 0 {
		cfg.MaxBodyBytes = 1 << 20
	}
	if cfg.PublishTimeout == 0 {
		cfg.PublishTimeout = 15 * time.Second
	}
	if cfg.Limiter == nil {
		cfg.Limiter = &broker.Buckets[string]{}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	a := &API{
		cfg:     cfg,
		mux:     http.NewServeMux(),
		metrics: newMetrics(cfg.Registerer),
		bodies:  sync.Pool{New: func() any { return new([]byte) }},
	}
	a.route("POST", "/apps/{app}/events", "events", a.trigger)
	a.route("POST", "/apps/{app}/batch_events", "batch_events", a.batch)
	a.route("GET", "/apps/{app}/channels", "channels", a.reading(a.channels))
	a.route("GET", "/apps/{app}/channels/{channel}", "channel", a.reading(a.channel))
	a.route("GET", "/apps/{app}/channels/{channel}/users", "users", a.reading(a.users))
	a.route("GET", "/apps/{app}/channels/{channel}/history", "history", a.reading(a.history))
	a.route("POST", "/apps/{app}/users/{user}/terminate_connections", "terminate", a.terminate)
	a.route("POST", "/users/{user}/terminate_connections", "terminate", a.terminate) // Python's library
	unknown := a.metrics.of("unknown")
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.serve(w, r, unknown, func(http.ResponseWriter, *http.Request) ([]byte, error) { return nil, errPath })
	})
	return a, nil
}

// contentType is that of all answers but errors.
const contentType = "application/json"

// ServeHTTP serves one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// call is an authenticated request.
type call struct {
	*http.Request
	app  *broker.App
	body []byte // valid until the endpoint returns

	answer http.ResponseWriter
}

// write sends a part of the answer, after which the endpoint can't return an error any more. Its own
// error means that the caller is gone; there is nobody to tell.
func (c call) write(b []byte) error {
	c.answer.Header().Set("Content-Type", contentType)
	_, err := c.answer.Write(b)
	return err
}

// endpoint does what a request asks for and returns the answer's body, or what it hasn't written yet.
type endpoint func(call) ([]byte, error)

// route serves an endpoint. A path without an app is of the app whose key signed the request.
func (a *API) route(method, path, name string, do endpoint) {
	path = a.cfg.PathPrefix + path
	counted := a.metrics.of(name)
	a.mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) {
		a.serve(w, r, counted, func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
			return a.authenticated(w, r, do)
		})
	})
	a.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		a.serve(w, r, counted, func(w http.ResponseWriter, _ *http.Request) ([]byte, error) {
			w.Header().Set("Allow", method)
			return nil, errMethod
		})
	})
}

// serve answers a request with what do returns, and counts it.
func (a *API) serve(w http.ResponseWriter, r *http.Request, counted *endpointMetrics, do func(http.ResponseWriter, *http.Request) ([]byte, error)) {
	started := time.Now()
	a.metrics.inFlight.Inc()
	status := http.StatusInternalServerError // if do panics
	defer func() {
		a.metrics.inFlight.Dec()
		counted.served(status, time.Since(started))
	}()
	answer, err := do(w, r)
	header := w.Header()
	if err == nil {
		status = http.StatusOK
		if len(answer) > 0 {
			header.Set("Content-Type", contentType)
			_, _ = w.Write(answer) // the caller may be gone; there is nobody to tell
		}
		return
	}
	var text string
	status, text = refusal(err)
	a.log(r, status, err)
	sent := status
	if sent == statusGone {
		// Should it be the server that is going and not the caller, silence would read as 200.
		sent = http.StatusServiceUnavailable
	}
	var over *overLimit
	switch {
	case errors.As(err, &over):
		header.Set("Retry-After", over.retryAfter())
	case sent == http.StatusServiceUnavailable:
		header.Set("Retry-After", "1")
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(sent)
	_, _ = w.Write(append([]byte(text), '\n'))
}

// authenticated does what is asked if the request is signed by the app it is for. Nothing is
// looked at or told before that is known.
func (a *API) authenticated(w http.ResponseWriter, r *http.Request, do endpoint) ([]byte, error) {
	app, err := a.find(r)
	if err != nil {
		return nil, err
	}
	buf := a.bodies.Get().(*[]byte)
	defer a.release(buf)
	body, err := a.read(w, r, buf)
	if err != nil {
		return nil, err
	}
	a.metrics.bodyBytes.Add(float64(len(body)))
	signed := pusher.Request{
		Method:   r.Method,
		Path:     r.URL.EscapedPath(),
		Mount:    a.cfg.PathPrefix,
		RawQuery: r.URL.RawQuery,
		Body:     body,
	}
	if err := signed.Verify(app, a.cfg.Now()); err != nil {
		return nil, err
	}
	if app.Disabled {
		return nil, errDisabled
	}
	return do(call{Request: r, app: app, body: body, answer: w})
}

// find returns the app a request is for. Where only the key tells it, an unknown one is of an app
// without credentials, whom no signature is right for.
func (a *API) find(r *http.Request) (*broker.App, error) {
	if id := r.PathValue("app"); id != "" {
		return a.cfg.Apps.ByID(r.Context(), broker.AppID(id))
	}
	app, err := a.cfg.Apps.ByKey(r.Context(), readQuery(r.URL.RawQuery).key)
	if errors.Is(err, broker.ErrNoApp) {
		return &broker.App{}, nil
	}
	return app, err
}

// complainEvery is the least number of seconds between two warnings that publishes are refused:
// while the log is down every publish is.
const complainEvery = 10

// log logs what somebody should look at. What is the caller's fault is told to the caller only.
func (a *API) log(r *http.Request, status int, err error) {
	switch status {
	case http.StatusInternalServerError:
		a.cfg.Logger.Error("HTTP request could not be served", "app", r.PathValue("app"), "err", err)
	case http.StatusServiceUnavailable:
		now := a.cfg.Now().Unix()
		if last := a.complained.Load(); now-last >= complainEvery && a.complained.CompareAndSwap(last, now) {
			a.cfg.Logger.Warn("HTTP requests are refused; said at most every 10 s", "app", r.PathValue("app"), "err", err)
		}
	}
}
