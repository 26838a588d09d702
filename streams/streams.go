// Package streams is one JetStream stream per app, one durable consumer per node and app.
//
// [Streams] is the medium with memory: a [broker.Log], a [broker.Cache], and the history that
// package replay reads. See DESIGN.md for why things are as they are.
package streams

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/broker"
)

// readsAtOnce is how many reads are in flight. Reads hold a stream's lock while they walk it: a
// thousand at once stall appends for a second and are not done sooner.
const readsAtOnce = 2

// Streams keeps the events of all apps in JetStream. All methods are safe for concurrent use.
type Streams struct {
	cfg     Config
	began   time.Time // when New was called
	metrics *metrics
	api     string // what the subjects of JetStream's API begin with, up to and with the dot
	publish jetstream.JetStream
	tail    jetstream.JetStream
	read    jetstream.JetStream
	reads   chan struct{} // holds one value per read in flight
	commits *commits
	wake    chan struct{} // asks Run to look at pending

	mu      sync.Mutex
	apps    map[broker.AppID]*stream // guarded by mu; every app used here
	pending []*stream                // guarded by mu; those that wait for Run to start their appender
	closed  bool                     // guarded by mu; Run has been told to end
}

var (
	_ broker.Log   = (*Streams)(nil)
	_ broker.Cache = (*Streams)(nil)
)

// New checks cfg and returns streams that can be tailed and read, and appended to while
// [Streams.Run] runs.
func New(cfg Config) (*Streams, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Streams{
		cfg:   cfg,
		began: time.Now(),
		api:   "$JS.API.",
		reads: make(chan struct{}, readsAtOnce),
		wake:  make(chan struct{}, 1),
		apps:  map[broker.AppID]*stream{},
	}
	if cfg.Domain != "" {
		s.api = "$JS." + cfg.Domain + ".API."
	}
	for _, use := range []struct {
		js *jetstream.JetStream
		nc *nats.Conn
	}{{&s.publish, cfg.Publish}, {&s.tail, cfg.Tail}, {&s.read, cfg.Read}} {
		*use.js, err = jetstream.New(use.nc)
		if cfg.Domain != "" {
			*use.js, err = jetstream.NewWithDomain(use.nc, cfg.Domain)
		}
		if err != nil {
			return nil, fmt.Errorf("streams: JetStream context: %w", err)
		}
	}
	s.commits = newCommits(cfg.Commit)
	s.metrics = newMetrics(cfg.Registerer)
	return s, nil
}

// Run appends until ctx ends, and returns when nothing is in flight any more. It also looks at the
// streams now and then, for the metrics of what they hold. It may be called once. Appends made before
// it wait for it; those that are under way when it ends get [broker.ErrClosed], and so do later ones.
func (s *Streams) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { s.survey(ctx) })
	running.Go(func() { s.commits.run(ctx) })
	for {
		s.mu.Lock()
		pending := s.pending
		s.pending = nil
		s.closed = ctx.Err() != nil
		closed := s.closed
		s.mu.Unlock()
		for _, st := range pending {
			if closed {
				st.queue.close()
				continue
			}
			running.Go(func() { newAppender(st).run(ctx) })
		}
		if closed {
			return nil
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
}

// start asks Run for an appender; false when Run has ended.
func (s *Streams) start(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.pending = append(s.pending, st)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return true
}

// stream returns what is known of an app's stream.
func (s *Streams) stream(app broker.AppID) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.apps[app]; st != nil {
		st.forgotten = false
		return st, nil
	}
	st, err := newStream(s, app)
	if err != nil {
		return nil, err
	}
	s.apps[app] = st
	return st, nil
}

// peek returns what is known of an app's stream, and doesn't count as a use of the app.
func (s *Streams) peek(app broker.AppID) (*stream, error) {
	s.mu.Lock()
	st := s.apps[app]
	s.mu.Unlock()
	if st != nil {
		return st, nil
	}
	return newStream(s, app)
}

// failed gives an error of JetStream's to callers: as the context's when that has ended, else as
// [broker.ErrUnavailable].
func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, broker.ErrUnavailable) || errors.Is(err, broker.ErrClosed) {
		return err
	}
	return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
}
