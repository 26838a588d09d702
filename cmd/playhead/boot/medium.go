package boot

import (
	"context"
	"errors"
	"fmt"

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
}

// letters keep what backends are to be told.
type letters interface {
	webhook.Queue
	webhook.Archive
}

// raise starts the medium, or reaches it. What it starts it pushes.
func (n *Node) raise(ctx context.Context, s *stack) (*medium, error) {
	return n.raiseNATS(ctx, s)
}

// alone says that the medium is in this process and no other node has it.
func (c *Config) alone() bool { return len(c.NATS.Servers) == 0 && len(c.Cluster.Routes) == 0 }

// mediumDown says why the medium can't carry events, or nil.
func (n *Node) mediumDown() error { return n.natsDown() }

// startError says which setting a start's context has ended by.
func startError(start context.Context, err error) error {
	if errors.Is(start.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("startup_timeout has passed: %w", err)
	}
	return err
}
