package boot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/playhead/playhead/adapters/embedded"
	"github.com/playhead/playhead/streams"
)

// quorumGrace is how long a cluster may be without a leader before a node counts as not ready:
// elections take seconds, and a load balancer has no better node then.
const quorumGrace = 10 * time.Second

// newServer makes the embedded server; nil where others are used.
func newServer(cfg *Config) (*embedded.Server, error) {
	if len(cfg.NATS.Servers) > 0 {
		return nil, nil
	}
	c := embedded.Config{
		DataDir:      cfg.DataDir,
		SyncInterval: cfg.Sync.every(),
		ServerName:   cfg.Node,
		Logger:       cfg.Logger,
	}
	if len(cfg.Cluster.Routes) > 0 {
		c.Cluster = embedded.Cluster{Name: cfg.Cluster.Name, Listen: hostPort(cfg.Cluster.Host, cfg.Cluster.Port), Routes: cfg.Cluster.Routes}
	}
	return embedded.New(c)
}

// alone says that the medium is in this process and no other node has it.
func (c *Config) alone() bool { return len(c.NATS.Servers) == 0 && len(c.Cluster.Routes) == 0 }

// raise starts the medium, or reaches it, and makes the streams over it.
func (n *Node) raise(ctx context.Context, s *stack) (*streams.Streams, error) {
	if n.server != nil {
		if err := n.server.Start(ctx); err != nil {
			return nil, err
		}
		s.push("embedded server", n.server.Shutdown)
		s.start("mending", n.server.Run)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if k := len(n.cfg.Cluster.Routes); k > 0 && k%2 == 0 {
			n.logger.Warn("an even number of nodes survives no more of them than one less does", "nodes", k)
		}
	}
	// Restoring streams isn't waiting for others, and takes as long as it takes.
	start, cancel := context.WithTimeout(ctx, time.Duration(n.cfg.StartupTimeout))
	defer cancel()
	if n.server != nil {
		if err := n.server.Join(start); err != nil {
			return nil, startError(start, err)
		}
	}
	if err := n.links.open(start, s); err != nil {
		return nil, err
	}
	var err error
	if n.replicas, err = n.replicate(start); err != nil {
		return nil, err
	}
	return n.streams()
}

// startError says which setting a start's context has ended by.
func startError(start context.Context, err error) error {
	if errors.Is(start.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("startup_timeout has passed: %w", err)
	}
	return err
}

// replicate decides on how many servers to hold each stream.
func (n *Node) replicate(ctx context.Context) (int, error) {
	switch {
	case n.cfg.NATS.Replicas > 0:
		return int(n.cfg.NATS.Replicas), nil
	case len(n.cfg.Cluster.Routes) > 0:
		return replicated, nil
	case n.server != nil:
		return 1, nil
	}
	return n.links.replicas(ctx)
}

// streams makes the medium.
func (n *Node) streams() (*streams.Streams, error) {
	sync, afterCreate := streams.SyncAlways, func() error { return nil }
	if n.cfg.Sync.Mode == "interval" {
		sync = streams.SyncInterval
		if n.server != nil {
			// A young stream would be gone after a power cut with its definition, and what was
			// stored in it with that, however long ago the interval was over.
			afterCreate = n.server.SyncStore
		}
	}
	var health func() error
	if n.server != nil {
		health = n.server.Health
	}
	return streams.New(streams.Config{
		Publish:       n.links.conns[0],
		Tail:          n.links.conns[1],
		Read:          n.links.conns[2],
		NodeName:      n.cfg.Node,
		Prefix:        n.cfg.NATS.Prefix,
		Replicas:      n.replicas,
		MaxAge:        time.Duration(n.cfg.Streams.MaxAge),
		MaxBytes:      int64(n.cfg.Streams.MaxBytes),
		MaxMsgs:       int64(n.cfg.Streams.MaxEvents),
		Retention:     n.retention,
		Duplicates:    time.Duration(n.cfg.Streams.DuplicateWindow),
		AppendTimeout: time.Duration(n.cfg.Streams.AppendTimeout),
		Sync:          sync,
		AfterCreate:   afterCreate,
		Health:        health,
		Logger:        n.logger,
		Registerer:    n.registry,
	})
}

// stepDown is the step of the teardown that gives the streams' lead away, while the sessions are still
// served: the publishers' short wait is over when they come back through other nodes.
func (n *Node) stepDown(s *stack) {
	if n.server != nil && !n.cfg.alone() {
		s.push("give the lead away", within(stepDownTime, n.server.StepDown))
	}
}

// stepDownTime is how long others may take to take the lead; the rest of the teardown needs time, too.
const stepDownTime = 5 * time.Second

// mediumDown says why the medium can't store, or nil.
func (n *Node) mediumDown() error {
	if n.server == nil {
		return n.links.health()
	}
	if err := n.server.Health(); err != nil {
		return fmt.Errorf("can't store: %w", err)
	}
	err := n.server.Quorum()
	if err == nil {
		n.leaderless.Store(0)
		return nil
	}
	now := time.Now().UnixNano()
	if n.leaderless.CompareAndSwap(0, now) || now-n.leaderless.Load() < int64(quorumGrace) {
		return nil
	}
	return fmt.Errorf("can't store: %w", err)
}
