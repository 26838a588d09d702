package boot

import (
	"context"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/broker/webhook"
)

// membersRetention is what the log of who is where remembers: a node that comes reads what has happened
// since the last state, which is ten minutes old at most.
var membersRetention = broker.Retention{Age: time.Hour, Bytes: 1 << 30, Events: -1}

// newMembers makes what knows who is where: here, or on all nodes that share the medium.
func (n *Node) newMembers(node *broker.Node, hooks *webhook.Webhooks, medium *medium) (*presence.Registry, error) {
	cfg := presence.Config{Notifier: node, Observer: hooks, Logger: n.logger, Registerer: n.registry}
	if medium.members != nil {
		health := &n.cfg.Adapter.ClusterHealth
		cfg.Log, cfg.Waiting = medium.members, hooks.Waiting
		cfg.Node = n.cfg.Node
		cfg.Heartbeat = health.HeartbeatInterval.Duration()
		cfg.NodeTimeout = health.NodeTimeout.Duration()
		cfg.CleanupInterval = health.CleanupInterval.Duration()
		if health.Enabled == Off {
			cfg.NodeTimeout = -1
		}
		cfg.QueueSize = int(n.cfg.Cleanup.QueueBufferSize)
		cfg.BatchSize = int(n.cfg.Cleanup.BatchSize)
		cfg.Evict = func() {
			if sockets := n.sockets.Load(); sockets != nil {
				sockets.Evict()
			}
		}
		cfg.Connections = func() int {
			sockets := n.sockets.Load()
			if sockets == nil {
				return 0
			}
			return sockets.Count()
		}
	}
	return presence.New(cfg)
}

// meet waits until this node stands among the others.
func (n *Node) meet(ctx context.Context, s *stack, members *presence.Registry) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(n.cfg.StartupTimeout))
	defer cancel()
	ready := make(chan error, 1)
	go func() {
		defer close(ready)
		ready <- members.Ready(ctx)
	}()
	var err error
	select {
	case err = <-ready:
		if err != nil {
			err = startError(ctx, err)
		}
	case err = <-s.ended: // its name is taken, for one
	}
	cancel()
	for range ready { // until it is gone
	}
	return err
}
