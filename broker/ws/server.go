package ws

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/replay"
	"github.com/prometheus/client_golang/prometheus"
)

// Apps finds the app that a client wants to connect to.
type Apps interface {
	// ByKey returns the app that has a credential with this key. Errors: [broker.ErrNoApp];
	// any other means that it can't be said now.
	ByKey(ctx context.Context, key string) (*broker.App, error)
}

// Config configures a [Server].
type Config struct {
	Apps     Apps               // finds apps; required
	Node     *broker.Node       // publishes and delivers; required
	Presence *presence.Registry // knows who is in a channel; required
	Replay   *replay.Replayer   // reads what returning clients missed; required

	// PathPrefix stands before /app/{key} in the paths that are served. Default: nothing.
	PathPrefix string

	// ActivityTimeout is announced to clients: after so much silence of the server they ping.
	// Whole seconds. Default 120 s.
	ActivityTimeout time.Duration

	// PingAfter is the silence of a client after which the server sends a WebSocket ping.
	// Rounded up to seconds. Default 45 s.
	PingAfter time.Duration

	// PongTimeout is the further silence after which the session is closed with [PongTimeout],
	// and how long a client may take nothing of an answer it asked for. Rounded up to seconds.
	// Default 30 s.
	PongTimeout time.Duration

	// QueueBytes bounds what waits for one client. Over it the session is closed with
	// [SlowReader]; one frame that waits alone is always kept, whatever its size. Default 1 MiB.
	QueueBytes int

	// MaxMessageBytes is the largest message a client may send; a larger one ends the session
	// with code 1009. Default 64 KiB.
	MaxMessageBytes int

	// MaxConnections is how many connections there may be; further ones are refused with code
	// 4100. Default: no limit.
	MaxConnections int

	// Flushers is how many goroutines write. Default GOMAXPROCS.
	Flushers int

	// FlushInterval is the longest time a flusher waits, under load, for frames to merge.
	// Default 5 ms; −1 is none: each frame is written at once.
	FlushInterval time.Duration

	// DrainTime is over how long [Server.Drain] spreads the goodbyes. Default 5 s; −1 is none:
	// all at once.
	DrainTime time.Duration

	// Logger takes lifecycle and, at Debug, sessions. Default: discard.
	Logger *slog.Logger

	// Registerer takes the metrics. Default: a registry of its own, seen by nobody.
	Registerer prometheus.Registerer
}

// check reports what is wrong with cfg and fills in the defaults.
func (cfg *Config) check() error {
	var errs []error
	for _, part := range []struct {
		name    string
		missing bool
	}{
		{"apps", cfg.Apps == nil},
		{"node", cfg.Node == nil},
		{"presence", cfg.Presence == nil},
		{"replay", cfg.Replay == nil},
	} {
		if part.missing {
			errs = append(errs, fmt.Errorf("%s: required", part.name))
		}
	}
	for _, d := range []struct {
		name   string
		field  *time.Duration
		value  time.Duration
		noneOK bool
	}{
		{"activity timeout", &cfg.ActivityTimeout, 120 * time.Second, false},
		{"ping after", &cfg.PingAfter, 45 * time.Second, false},
		{"pong timeout", &cfg.PongTimeout, 30 * time.Second, false},
		{"flush interval", &cfg.FlushInterval, 5 * time.Millisecond, true},
		{"drain time", &cfg.DrainTime, 5 * time.Second, true},
	} {
		switch {
		case *d.field == 0:
			*d.field = d.value
		case *d.field == -1 && d.noneOK:
			*d.field = 0
		case *d.field < 0:
			errs = append(errs, fmt.Errorf("%s: %v is negative", d.name, *d.field))
		}
	}
	for _, n := range []struct {
		name  string
		field *int
		value int
	}{
		{"queue bytes", &cfg.QueueBytes, 1 << 20},
		{"max message bytes", &cfg.MaxMessageBytes, 64 << 10},
		{"max connections", &cfg.MaxConnections, 0},
		{"flushers", &cfg.Flushers, runtime.GOMAXPROCS(0)},
	} {
		if *n.field < 0 {
			errs = append(errs, fmt.Errorf("%s: %d is negative", n.name, *n.field))
		}
		if *n.field == 0 {
			*n.field = n.value
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("ws: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	return nil
}

// Server serves WebSocket clients. Its methods are safe for concurrent use.
type Server struct {
	cfg       Config
	metrics   *metrics
	heartbeat *heartbeat
	flushers  []*flusher
	next      atomic.Uint32 // picks the flusher of the next connection

	wake chan struct{} // sessions are waiting
	gone chan struct{} // the last connection may have gone

	mu          sync.Mutex
	connections int  // guarded by mu; admitted and not gone, established or not
	draining    bool // guarded by mu; no new connections

	waitingMu sync.Mutex // taken with mu, or with a queue's lock, held; under it no other lock is
	waiting   []*session // guarded by waitingMu; sessions that want a goroutine of Run's
}

// New checks cfg and returns a server that serves nobody until [Server.Run] is called.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	srv := &Server{
		cfg:       cfg,
		heartbeat: newHeartbeat(cfg.PingAfter, cfg.PongTimeout),
		wake:      make(chan struct{}, 1),
		gone:      make(chan struct{}, 1),
	}
	srv.metrics = newMetrics(cfg.Registerer, srv.queued)
	srv.heartbeat.metrics = srv.metrics
	for range cfg.Flushers {
		srv.flushers = append(srv.flushers, newFlusher(cfg.FlushInterval, srv.metrics))
	}
	return srv, nil
}

// queued returns the bytes that wait in all queues.
func (srv *Server) queued() float64 {
	total := 0
	for _, s := range srv.heartbeat.sessions() {
		total += s.conn.queue.size()
	}
	return float64(total)
}

// Run reads, writes and keeps time for all sessions until ctx ends, and returns when nothing moves
// any more; whoever is still connected then is cut off. It may be called once. Before it is called
// clients wait; after it they are refused.
func (srv *Server) Run(ctx context.Context) error {
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	var writers sync.WaitGroup
	defer writers.Wait()
	defer stopWriting()
	for _, f := range srv.flushers {
		writers.Go(func() { f.run(writing) })
	}

	var readers sync.WaitGroup
	defer readers.Wait()
	readers.Go(func() { srv.heartbeat.run(ctx) })
	watch := sync.OnceValue(func() *poller {
		p, err := newPoller()
		if err != nil {
			srv.cfg.Logger.Warn("every connection has a goroutine that waits for input", "err", err)
			return nil
		}
		readers.Go(func() {
			defer p.close()
			p.run(ctx, func(s *session) { readers.Go(func() { s.serve(ctx, p) }) })
		})
		return p
	})
	start := func(s *session) {
		var p *poller
		if s.conn.raw != nil {
			p = watch()
		}
		readers.Go(func() { s.serve(ctx, p) })
	}
	for {
		select {
		case <-ctx.Done():
			srv.refuseNew()
			for _, s := range srv.heartbeat.sessions() {
				s.cut() // armed ones want a goroutine now, which takes them apart
			}
			srv.startWaiting(start)
			return nil
		case <-srv.wake:
			srv.startWaiting(start)
		}
	}
}

// wait lets a session wait for a goroutine, which Run starts at once. It never blocks.
func (srv *Server) wait(s *session) {
	srv.waitingMu.Lock()
	srv.waiting = append(srv.waiting, s)
	srv.waitingMu.Unlock()
	poke(srv.wake)
}

// startWaiting starts what waits.
func (srv *Server) startWaiting(start func(*session)) {
	srv.waitingMu.Lock()
	waiting := srv.waiting
	srv.waiting = nil
	srv.waitingMu.Unlock()
	for _, s := range waiting {
		start(s)
	}
}

func (srv *Server) refuseNew() {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.draining = true
}

// reserve counts a connection in, unless there are too many or the server is going down.
func (srv *Server) reserve() (refused broker.Reason) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	switch {
	case srv.draining:
		return draining
	case srv.cfg.MaxConnections > 0 && srv.connections >= srv.cfg.MaxConnections:
		return tooMany
	}
	srv.connections++
	return ""
}

// unreserve counts a connection out.
func (srv *Server) unreserve() {
	srv.mu.Lock()
	srv.connections--
	last := srv.connections == 0
	srv.mu.Unlock()
	if last {
		poke(srv.gone)
	}
}

// arrive hands a session over to Run, and queues its first frame in the same step, so that no
// goodbye comes before it. It is refused when the server has begun to go down meanwhile.
func (srv *Server) arrive(s *session, first []byte) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.draining {
		return false
	}
	srv.metrics.connections.WithLabelValues(string(s.app.ID)).Inc()
	s.send(first)
	srv.heartbeat.add(s)
	srv.wait(s)
	return true
}

// depart lets go of a session that has ended.
func (srv *Server) depart(s *session) {
	srv.heartbeat.remove(s)
	srv.unreserve()
}

// poke leaves word that something is to be looked at. Once is enough.
func poke(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// Drain refuses new connections and asks every client to come back, which then meets another
// node: the goodbyes are spread over the drain time, or half of what ctx leaves if that is less,
// so that the clients don't arrive there all at once. It returns nil when all have gone. When ctx
// ends before, the rest is cut off and the error says how many that were.
func (srv *Server) Drain(ctx context.Context) error {
	srv.refuseNew()
	all := srv.heartbeat.sessions()
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	span := srv.cfg.DrainTime
	if deadline, ok := ctx.Deadline(); ok {
		span = max(0, min(span, time.Until(deadline)/2))
	}
	started := time.Now()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for i, s := range all {
		wait := span*time.Duration(i)/time.Duration(len(all)) - time.Since(started)
		if wait >= shortestRest {
			pause.Reset(wait)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
		s.Close(Shutdown)
	}
	for srv.count() > 0 {
		select {
		case <-srv.gone:
		case <-ctx.Done():
			left := srv.heartbeat.sessions()
			for _, s := range left {
				s.cut()
			}
			return fmt.Errorf("drain: %d connections cut off: %w", len(left), context.Cause(ctx))
		}
	}
	return nil
}

// count returns how many connections there are, established or not.
func (srv *Server) count() int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return srv.connections
}
