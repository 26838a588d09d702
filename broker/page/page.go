// Package page serves the test page, through which people see what a server does.
//
// The page signs and publishes for whoever opens it, so it belongs where everybody who reaches the
// server is a developer. What it can do is one app's: the default app's.
package page

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/playhead/playhead/broker"
)

// Path is where the page is, seen from the server's own root. Whatever begins with it is the
// page's, and so is the path without its last slash, which leads there.
const Path = "/client/"

// maxBody bounds the body of a request, in bytes. Data may be as large as the app's limit, and JSON
// may write each byte of it as six.
const maxBody = 1 << 20

// Apps finds the app of the page, anew for each request, because apps are reloaded.
type Apps interface {
	// ByID returns the app with the id. Error: [broker.ErrNoApp].
	ByID(ctx context.Context, id broker.AppID) (*broker.App, error)
}

// Publisher publishes what the page publishes; see [broker.Node.Publish].
type Publisher interface {
	Publish(ctx context.Context, events ...*broker.Event) error
}

// Config configures a [Page].
type Config struct {
	// Apps and App say which app the page signs for and publishes to. Required.
	Apps Apps
	App  broker.AppID

	// Publisher takes what is published on the page. Required.
	Publisher Publisher

	// PublishTimeout is how long a publish may take to be stored. Default 15 s; −1 leaves it to
	// the request.
	PublishTimeout time.Duration

	// Logger takes the log. Default: discard.
	Logger *slog.Logger
}

// Page is the test page and what it asks of its server: its settings, signatures, and to publish.
// Pages of other sites are refused those, so that they can do nothing through the browser of who
// runs this one. It is safe for concurrent use.
type Page struct {
	cfg    Config
	assets map[string]*asset // by name
	posts  map[string]post   // by name
	own    *http.CrossOriginProtection
}

// post answers a POST of the page: its body is read, what is returned goes back as JSON.
type post func(ctx context.Context, app *broker.App, body []byte) (any, error)

// New returns a page. Error: what is missing from the Config.
func New(cfg Config) (*Page, error) {
	if cfg.Apps == nil || cfg.App == "" {
		return nil, errors.New("page: Apps and App are required")
	}
	if cfg.Publisher == nil {
		return nil, errors.New("page: Publisher is required")
	}
	if cfg.PublishTimeout == 0 {
		cfg.PublishTimeout = 15 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	all, err := readAssets()
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	p := &Page{cfg: cfg, assets: all, own: http.NewCrossOriginProtection()}
	p.posts = map[string]post{
		"auth":      p.authorize,
		"user-auth": p.signIn,
		"publish":   p.publish,
	}
	return p, nil
}

// ServeHTTP serves [Path] and everything below it.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")

	name, below := strings.CutPrefix(r.URL.Path, Path)
	if !below {
		if r.URL.Path+"/" == Path {
			// Relative, so that it holds behind a proxy that puts the server below a path.
			h.Set("Location", strings.TrimPrefix(Path, "/"))
			w.WriteHeader(http.StatusFound)
			return
		}
		http.NotFound(w, r)
		return
	}
	if post, ok := p.posts[name]; ok {
		p.servePost(w, r, post)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		p.refuse(w, errMethod)
		return
	}
	if name == "config.json" {
		p.serveSettings(w, r)
		return
	}
	if name == "" {
		name = "index.html"
	}
	a, ok := p.assets[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	a.ServeHTTP(w, r)
}

// policy lets the page load what this server serves and connect to WebSockets, and nothing else; nobody
// may frame it. Sockets are named by their schemes because behind a proxy the page may be told of another
// host, and not every browser takes 'self' to mean them.
const policy = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; object-src 'none'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// settings are what the page must know of its app.
type settings struct {
	App          broker.AppID `json:"app"`
	Key          string       `json:"key"`
	ClientEvents bool         `json:"client_events"`
}

func (p *Page) serveSettings(w http.ResponseWriter, r *http.Request) {
	app, err := p.app(r.Context())
	if err != nil {
		p.refuse(w, err)
		return
	}
	p.answer(w, settings{App: app.ID, Key: app.Credentials[0].Key, ClientEvents: app.ClientEvents})
}

// app returns the page's app as it is now.
func (p *Page) app(ctx context.Context) (*broker.App, error) {
	app, err := p.cfg.Apps.ByID(ctx, p.cfg.App)
	if err != nil {
		return nil, err
	}
	if app.Disabled || len(app.Credentials) == 0 {
		return nil, errDisabled
	}
	return app, nil
}

// servePost answers a POST. One from another site's page is refused: by what browsers say of where
// a request comes from, and, should one say nothing, because a page can't send JSON to another
// site's server without asking that first.
func (p *Page) servePost(w http.ResponseWriter, r *http.Request, post post) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		p.refuse(w, errMethod)
		return
	}
	if p.own.Check(r) != nil {
		p.refuse(w, errForeign)
		return
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		p.refuse(w, errType)
		return
	}
	body, err := readBody(w, r)
	if err != nil {
		p.refuse(w, err)
		return
	}
	app, err := p.app(r.Context())
	if err != nil {
		p.refuse(w, err)
		return
	}
	result, err := post(r.Context(), app, body)
	if err != nil {
		p.refuse(w, err)
		return
	}
	p.answer(w, result)
}

// answer sends what the page asked for; none of it is for keeping.
func (p *Page) answer(w http.ResponseWriter, result any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	p.send(w, result)
}
