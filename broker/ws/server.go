package ws

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/playhead/playhead/broker"
)

// Apps finds the app that a client wants to connect to.
type Apps interface {
	// ByKey returns the app that has a credential with this key. Errors: [broker.ErrNoApp];
	// any other means that it can't be said now.
	ByKey(ctx context.Context, key string) (*broker.App, error)
}

// Server serves WebSocket clients. Its methods are safe for concurrent use.
type Server struct {
	cfg       Config
	metrics   *metrics
	heartbeat *heartbeat
	flushers  []*flusher
	sum       sum
	next      atomic.Uint32 // picks the flusher of the next connection
	recall    *recall
	misses    misses
	histories broker.Buckets[broker.SocketID] // questions for history, by connection

	wake chan struct{} // sessions are waiting
	gone chan struct{} // the last connection may have gone

	mu          sync.Mutex
	connections int                  // guarded by mu; admitted and not gone, established or not
	ofApp       map[broker.AppID]int // guarded by mu; the same by app, of those that have any
	draining    bool                 // guarded by mu; no new connections

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
		recall:    newRecall(cfg.Cache),
		ofApp:     map[broker.AppID]int{},
		wake:      make(chan struct{}, 1),
		gone:      make(chan struct{}, 1),
	}
	srv.sum.most, srv.sum.over = int64(cfg.TotalQueueBytes), make(chan struct{}, 1)
	srv.metrics = newMetrics(cfg.Registerer, srv.queued)
	srv.heartbeat.metrics = srv.metrics
	for range cfg.Flushers {
		srv.flushers = append(srv.flushers, newFlusher(cfg.FlushInterval, cfg.Pace, &srv.sum, srv.metrics))
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
		case <-srv.sum.over:
			srv.shed()
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
func (srv *Server) reserve(app *broker.App) (refused broker.Reason) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	switch {
	case srv.draining:
		return draining
	case srv.cfg.MaxConnections > 0 && srv.connections >= srv.cfg.MaxConnections:
		return tooMany
	case app.Limits.Connections > 0 && srv.ofApp[app.ID] >= app.Limits.Connections:
		return appOverQuota
	}
	srv.connections++
	srv.ofApp[app.ID]++
	return ""
}

// unreserve counts a connection out.
func (srv *Server) unreserve(app *broker.App) {
	srv.mu.Lock()
	srv.connections--
	if srv.ofApp[app.ID]--; srv.ofApp[app.ID] == 0 {
		delete(srv.ofApp, app.ID)
	}
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
	if within := s.app.AuthorizedConnections; within > 0 {
		s.deadline = srv.heartbeat.clock.Load() + 1 + ticks(within) // the present tick has begun already
	}
	srv.heartbeat.add(s)
	srv.wait(s)
	return true
}

// depart lets go of a session that has ended.
func (srv *Server) depart(s *session) {
	srv.heartbeat.remove(s)
	srv.unreserve(s.app)
}

// poke leaves word that something is to be looked at. Once is enough.
func poke(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// Drain refuses new connections and asks every client to come back, which then meets another
// node or, when this one is alone, its next life: the goodbyes are spread over the drain time, or half of what ctx leaves if that is less,
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
	why := Shutdown
	if srv.cfg.Alone {
		why = Restart
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
		s.Close(why)
	}
	for srv.Count() > 0 {
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

// Evict asks every client that is here now to come back, at once. It doesn't wait until they have gone.
func (srv *Server) Evict() {
	for _, s := range srv.heartbeat.sessions() {
		s.Close(broker.Evicted)
	}
}

// Count returns how many connections there are, established or not.
func (srv *Server) Count() int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return srv.connections
}
