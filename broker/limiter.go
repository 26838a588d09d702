package broker

import (
	"context"
	"time"
)

// Limiter keeps rates, each key for itself. It is safe for concurrent use.
//
// Implementations: [Buckets] of strings (this node's own), adapters/redis (shared by all nodes).
type Limiter interface {
	// Take takes n of what the key may have and returns 0, or takes nothing and returns how long
	// until it can. A rate without a limit always can. It takes no longer than a request may, and
	// when what it relies on doesn't answer it decides by itself: it never fails.
	Take(ctx context.Context, key string, rate Rate, n int) (wait time.Duration)
}
