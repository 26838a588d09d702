package webhook

import (
	"context"
	"iter"
	"time"

	"github.com/playhead/playhead/broker"
)

// Apps are the apps there are.
type Apps interface {
	All() []*broker.App
}

// Queue keeps letters until they are delivered. All methods are safe for concurrent use. Package
// streams has one that survives restarts.
type Queue interface {
	// Put stores letters, in order for each endpoint, and returns when they are as durable as
	// the queue makes them. A letter whose ID was put a short while ago is not stored again. It
	// returns those that are refused, because too much waits. After an error some may be
	// stored; calling again with the same letters is safe for that short while.
	Put(ctx context.Context, letters ...*broker.Letter) (refused []*broker.Letter, err error)

	// Take yields an endpoint's letters, oldest first, each once, and then those that come. It
	// waits until no other taker of the endpoint is left in the cluster. It gives out only so
	// many before some are done; the loop, for its part, always comes back for more at once,
	// because a taker that isn't heard of is replaced. It ends when ctx or the loop ends, or
	// with an error as its last word when others may have been given the letters. What is not
	// done then is given to the next taker, in the same order.
	Take(ctx context.Context, app broker.AppID, endpoint string) iter.Seq2[*broker.Letter, error]

	// Done takes letters of one endpoint out. They must have been taken by a loop that still
	// runs; others are passed over.
	Done(ctx context.Context, letters ...*broker.Letter) error

	// Bury moves letters of one endpoint, taken as for Done, to the dead.
	Bury(ctx context.Context, why string, letters ...*broker.Letter) error
}

// Archive shows what is in a queue and brings back the dead. All methods are safe for concurrent
// use.
type Archive interface {
	// Backlog says how much waits, for each endpoint that something waits for.
	Backlog(ctx context.Context) ([]broker.Backlog, error)

	// Dead yields dead letters of an app, or of all when it is empty, those first that died
	// first. An error is its last word.
	Dead(ctx context.Context, app broker.AppID) iter.Seq2[*broker.DeadLetter, error]

	// Retry puts dead letters into the queue again, by their numbers, and returns how many.
	// Numbers that no dead letter has are passed over.
	Retry(ctx context.Context, numbers ...uint64) (int, error)
}

// Source gives the client events of an app from its log, so that none is missed that was stored,
// whatever happened to the node that stored it. All methods are safe for concurrent use.
type Source interface {
	// Follow yields client events that nobody has followed yet, in the order of the log, some
	// at a time: when the app wasn't followed before, those stored after since. They count as
	// followed when the loop comes back for more. It waits until nobody else in the cluster
	// follows the app. It ends when ctx or the loop ends, or with an error as its last word.
	Follow(ctx context.Context, app broker.AppID, since time.Time) iter.Seq2[[]*broker.Event, error]

	// Unfollow forgets how far the app was followed.
	Unfollow(ctx context.Context, app broker.AppID) error
}
