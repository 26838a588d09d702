package boot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/broker/webhook"
	"github.com/playhead/playhead/replay"
)

// medium is what carries a node's events and what it can do beside that. A field is nil where it can't.
type medium struct {
	log     broker.Log
	cache   broker.Cache
	history replay.History // nil: it has no memory
	members presence.Log   // what nodes tell each other who is where by; nil: the node is alone
	letters letters
	source  webhook.Source // of client events
	apps    appStreams     // what is kept of each app
	leaders func() []ClusterStream
	limiter broker.Limiter       // that all nodes share; nil: each has its own
	health  func() error         // why it can't carry events; nil: asked elsewhere
	outage  func() time.Duration // for how long it can't; nil: isn't known
}

// letters keep what backends are to be told.
type letters interface {
	webhook.Queue
	webhook.Archive
}

// raise starts the medium, or reaches it. What it starts it pushes.
func (n *Node) raise(ctx context.Context, s *stack) (*medium, error) {
	if err := n.openRedis(ctx, s); err != nil {
		return nil, err
	}
	var m *medium
	var err error
	if n.cfg.onNATS() {
		m, err = n.raiseNATS(ctx, s)
	} else {
		m, err = n.raiseRedis(s)
	}
	if err != nil {
		return nil, err
	}
	switch n.cfg.cacheDriver() {
	case driverNone:
		m.cache = nil
	case driverMemory:
		heard := newHeard(m.log)
		m.log, m.cache = heard, heard
	}
	return m, errors.Join(n.addQueue(s, m), n.addLimiter(m))
}

// alone says that the medium is in this process and no other node has it.
func (c *Config) alone() bool {
	return c.onNATS() && len(c.NATS.Servers) == 0 && len(c.Cluster.Routes) == 0
}

// mediumDown says why the medium can't carry events, or nil.
func (n *Node) mediumDown() error {
	switch m := n.medium.Load(); {
	case m != nil && m.health != nil:
		return m.health()
	case !n.cfg.onNATS():
		return errNoRedis
	}
	return n.natsDown()
}

// startError says which setting a start's context has ended by.
func startError(start context.Context, err error) error {
	if errors.Is(start.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("startup_timeout has passed: %w", err)
	}
	return err
}
