package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"strings"
	"time"

	"github.com/playhead/playhead/broker/page"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxHeaderBytes bounds a request's header. A signed request has less than one KiB of it; browsers
// may add cookies to a handshake.
const maxHeaderBytes = 32 << 10

// server makes an HTTP server. A connection that becomes a WebSocket leaves these timeouts behind:
// net/http takes its deadlines off when it is hijacked.
func (c *HTTPConfig) server(h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: time.Duration(c.ReadHeaderTimeout),
		ReadTimeout:       time.Duration(c.ReadTimeout),
		WriteTimeout:      time.Duration(c.WriteTimeout),
		IdleTimeout:       time.Duration(c.IdleTimeout),
		MaxHeaderBytes:    maxHeaderBytes,
		// What net/http says here a client can cause at will; a panic is logged by root.
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// serve serves until srv is shut down, which is what ends it, not a context.
func serve(srv *http.Server, l net.Listener) func(context.Context) error {
	return func(context.Context) error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}

// stopServing closes the listener, waits for requests under way, for at most the given time, and
// cuts what is left. Hijacked connections are none of its business.
func stopServing(srv *http.Server, most time.Duration) func(context.Context) error {
	return within(most, func(ctx context.Context) error {
		if err := srv.Shutdown(ctx); err != nil {
			return errors.Join(fmt.Errorf("requests under way were cut: %w", err), srv.Close())
		}
		return nil
	})
}

// root sends requests to the doors. It looks at the beginning of the path only: a mux would clean
// paths, and what was signed has to arrive as it was sent.
type root struct {
	sockets http.Handler // /app/…
	api     http.Handler // /apps/… and /users/…
	page    http.Handler // /client/…; nil in production
	module  http.Handler // /replay.js and what belongs to it
	health  *health
	limiter *limiter
	logger  *slog.Logger
}

func (r *root) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	defer r.recover()
	switch path := req.URL.Path; {
	case strings.HasPrefix(path, "/app/"):
		if r.limiter.admits(&r.limiter.connects, w, req) {
			r.sockets.ServeHTTP(w, req)
		}
	case strings.HasPrefix(path, "/apps/"), strings.HasPrefix(path, "/users/"):
		if r.limiter.admits(&r.limiter.api, w, req) {
			r.api.ServeHTTP(w, req)
		}
	case r.page != nil && (strings.HasPrefix(path, page.Path) || path+"/" == page.Path):
		r.page.ServeHTTP(w, req)
	case strings.HasPrefix(path, "/replay."):
		r.module.ServeHTTP(w, req)
	case r.health.answers(path):
		r.health.ServeHTTP(w, req)
	default:
		http.Error(w, "There is nothing here. WebSockets connect to /app/{key}, the HTTP API is below /apps/{app_id}/.", http.StatusNotFound)
	}
}

// recover logs a panic, which costs the one request it happened in.
func (r *root) recover() {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
		r.logger.Error("panic serving a request", "err", p, "stack", string(debug.Stack()))
	}
	panic(http.ErrAbortHandler)
}

// metricsHandler is what the second listener serves: what operators want to know, and nobody else.
func (n *Node) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(n.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(n.logger.Handler(), slog.LevelWarn),
		Registry: n.registry,
	}))
	for _, path := range []string{"/up", "/up/", "/ready", "/live", "/usage"} {
		mux.Handle(path, n.health())
	}
	mux.HandleFunc(deadPath, n.dead)
	mux.HandleFunc("GET "+clusterPath, n.serveCluster)
	if n.cfg.Metrics.Profiling == On {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}
