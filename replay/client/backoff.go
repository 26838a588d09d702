package client

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff says how long to pause before the next attempt. Many clients lose a server at the same
// time; the jitter keeps them from coming back at the same time.
type backoff struct {
	least, most time.Duration
	tries       int
}

// next returns the pause before the next attempt: between half and the whole of what doubles with
// every attempt.
func (b *backoff) next() time.Duration {
	d := b.most
	if b.tries < 32 { // beyond, the shift would overflow
		d = min(b.most, b.least<<b.tries)
	}
	b.tries++
	if d <= 0 {
		d = b.most
	}
	return d/2 + rand.N(d/2+1)
}

// reset forgets the attempts: one of them was a success.
func (b *backoff) reset() { b.tries = 0 }

// pause waits, at most until ctx ends, whose error it returns then.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
