package broker

import (
	"context"
	"errors"
	"iter"
)

// Log is the road every event travels. One log serves all apps of a deployment; each app has
// its own order, epoch and serials. All methods are safe for concurrent use.
//
// Implementations: package streams (JetStream, with memory), adapters/redis (without). Both run
// the suite in package brokertest.
type Log interface {
	// Append stores the events, all of one app, in order, and sets each one's Position (and
	// Duplicate). It returns nil only when every event is stored at the durability the
	// configuration names. Appends of one caller, each made after the former returned, are
	// stored in that order; concurrent ones in any order.
	//
	// On an error, an event whose Position is still zero may or may not be stored; calling
	// again with the same IDs within the duplicate window stores it once. Media without
	// memory set no Position and do not deduplicate. Errors: [ErrUnavailable] when the
	// medium can't be reached or refuses to store, the context's when it ended first.
	Append(ctx context.Context, events ...*Event) error

	// Tail returns the present end of the app's log and an iterator over what follows: each
	// later event once, in order. The iterator may be ranged over once; it ends when ctx ends
	// or the loop breaks, without an error, or with an error as its last word when order or
	// completeness can't be kept. Tail returns once events appended from now on are sure to
	// be seen. It makes what the app needs (its stream) when it isn't there.
	Tail(ctx context.Context, app AppID) (from Position, events iter.Seq2[*Event, error], err error)
}

// Cache gives the last event of a channel, for cache channels. A medium that can't has none.
type Cache interface {
	// Last returns the channel's newest event that a backend published, or nil when the
	// medium holds none. It is never older than what a tail has delivered before the call.
	Last(ctx context.Context, app AppID, ch Channel) (*Event, error)
}

// Errors that callers branch on.
var (
	// ErrUnavailable: the medium can't be reached or can't store now; trying again is safe.
	ErrUnavailable = errors.New("log unavailable")
	// ErrClosed: the node is not running.
	ErrClosed = errors.New("node closed")
	// ErrBroken: the feed has lost its tail; its sessions must come back.
	ErrBroken = errors.New("feed broken")
)
