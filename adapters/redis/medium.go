package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
	goredis "github.com/redis/go-redis/v9"
)

// Medium carries events by Redis pub/sub, without memory: who doesn't listen misses them. It keeps the
// last event of cache channels. All methods are safe for concurrent use; [Medium.Run] has to run.
type Medium struct {
	cfg     Config
	metrics *metrics

	done chan struct{} // closed when Run has ended
	wake chan struct{} // asks Run to look at work; has room for one
	look chan struct{} // asks watch to look at once; has room for one

	mu        sync.Mutex
	work      []func(context.Context) // guarded by mu; what Run has yet to start
	lines     map[string]*line        // guarded by mu; by the server's address, "" where there is but one
	lanes     map[string]*lane        // guarded by mu; likewise
	down      error                   // guarded by mu; why Redis isn't well
	downSince time.Time               // guarded by mu; zero while it is
}

var (
	_ broker.Log   = (*Medium)(nil)
	_ broker.Cache = (*Medium)(nil)
)

// New checks cfg and returns a medium that does nothing until [Medium.Run] is called.
func New(cfg Config) (*Medium, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Medium{
		cfg:     cfg,
		metrics: newMetrics(cfg.Registerer),
		done:    make(chan struct{}),
		wake:    make(chan struct{}, 1),
		lines:   map[string]*line{},
		lanes:   map[string]*lane{},
		look:    make(chan struct{}, 1),
	}, nil
}

// Run appends and listens until ctx ends, and returns when all of that has ended. It may be called once.
func (m *Medium) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	defer close(m.done)
	running.Go(func() { m.watch(ctx) })
	for {
		m.mu.Lock()
		work := m.work
		m.work = nil
		m.mu.Unlock()
		for _, w := range work {
			running.Go(func() { w(ctx) })
		}
		select {
		case <-m.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// run has Run do something. It is called with mu held. After Run's end it isn't done.
func (m *Medium) run(work func(context.Context)) {
	m.work = append(m.work, work)
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// server returns who has a key, and a name for it.
func (m *Medium) server(ctx context.Context, key string) (goredis.Cmdable, string, error) {
	cluster := m.cfg.Client.cluster()
	if cluster == nil {
		return m.cfg.Client.rdb, "", nil
	}
	node, err := cluster.MasterForKey(ctx, key)
	if err != nil {
		return nil, "", fmt.Errorf("find who has %s: %w", key, err)
	}
	return node, node.Options().Addr, nil
}

// unwell says that something didn't work, which the next look may find the reason for; and in a cluster
// has the client ask who has what.
func (m *Medium) unwell(ctx context.Context) {
	m.cfg.Client.mistrust(ctx)
	select {
	case m.look <- struct{}{}:
	default:
	}
}

// failed makes an error of Redis one that callers branch on: the context's own, [broker.ErrClosed], or
// [broker.ErrUnavailable].
func failed(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, broker.ErrUnavailable), errors.Is(err, broker.ErrClosed):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
}
