package boot

import (
	"context"
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
		Commit:       cfg.Sync.Mode == "always" && len(cfg.Cluster.Routes) == 0,
		ServerName:   cfg.Node,
		Logger:       cfg.Logger,
	}
	if len(cfg.Cluster.Routes) > 0 {
		c.Cluster = embedded.Cluster{Name: cfg.Cluster.Name, Listen: hostPort(cfg.Cluster.Host, cfg.Cluster.Port), Routes: cfg.Cluster.Routes}
	}
	return embedded.New(c)
}

// raiseNATS starts the embedded server, or reaches others, and makes the streams over it.
func (n *Node) raiseNATS(ctx context.Context, s *stack) (*medium, error) {
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
	all, err := n.streams()
	if err != nil {
		return nil, err
	}
	s.start("streams", all.Run)
	letters, err := n.letters(all)
	if err != nil {
		return nil, err
	}
	m := &medium{log: all, cache: all, history: all, letters: letters, source: letters, apps: all}
	if !n.cfg.alone() {
		m.members = all
	}
	m.leaders = func() []ClusterStream {
		list := []ClusterStream{}
		for _, l := range all.Leaders() {
			list = append(list, ClusterStream{App: string(l.App), Leader: l.Server})
		}
		return list
	}
	return m, nil
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

// streams makes the streams.
func (n *Node) streams() (*streams.Streams, error) {
	sync, afterCreate := streams.SyncAlways, func() error { return nil }
	var commit func() error
	if n.server != nil && n.server.Commits() {
		commit = n.server.Commit
	}
	if n.cfg.Sync.Mode == "interval" || commit != nil {
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
		Commit:        commit,
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

// letters makes the queue of what backends are to be told.
func (n *Node) letters(all *streams.Streams) (*streams.Letters, error) {
	c := &n.cfg.Webhooks
	return streams.NewLetters(streams.LettersConfig{
		Streams:    all,
		MaxBytes:   int64(c.QueueBytes),
		MaxLetters: int64(c.QueueEvents),
		DeadAge:    time.Duration(c.DeadAge),
		DeadBytes:  int64(c.DeadBytes),
	})
}

// natsDown says why nothing can be stored, or nil.
func (n *Node) natsDown() error {
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
