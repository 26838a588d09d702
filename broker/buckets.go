package broker

import (
	"context"
	"sync"
	"time"
)

// Rate is how often something may happen: PerSecond times, and Burst times at once after a quiet
// while.
type Rate struct {
	PerSecond int // 0 is no limit
	Burst     int // default PerSecond
}

// Buckets keep rates, each key for itself: a bucket per key that so much is taken from, and that
// fills again with time. The zero Buckets are ready to use, and all buckets are full. They are safe
// for concurrent use.
//
// Memory is bounded: a bucket that is full again is forgotten, and when Max of them aren't, a new
// one costs some other its memory, which is then full. Too many keys make the rates laxer, never
// the memory larger.
type Buckets[K comparable] struct {
	// Max is how many keys are remembered. It must not be changed in use. Default 65,536.
	Max int

	mu sync.Mutex
	// full says when each bucket is full again; one that isn't here is. That time is all there is
	// to know: what is missing from a bucket is what will come until then. Guarded by mu.
	full  map[K]time.Time
	sweep int       // guarded by mu; how many buckets there must be for another look for full ones
	swept time.Time // guarded by mu
}

const (
	defaultMaxBuckets = 1 << 16
	leastSweep        = 1 << 10
)

// Take takes n from the key's bucket and returns 0, or takes nothing and returns how long until it
// can. What is more than the bucket holds is given when the bucket is full, and owed for: otherwise
// it could never be taken. It never waits, so ctx is not looked at; it is there for [Limiter].
func (b *Buckets[K]) Take(_ context.Context, key K, rate Rate, n int) (wait time.Duration) {
	if rate.PerSecond <= 0 || n <= 0 {
		return 0
	}
	burst := rate.Burst
	if burst <= 0 {
		burst = rate.PerSecond
	}
	each := time.Second / time.Duration(rate.PerSecond)
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	full, known := b.full[key]
	if !known || full.Before(now) {
		full = now
	}
	missing := full.Sub(now) + time.Duration(min(n, burst))*each
	if most := time.Duration(burst) * each; missing > most {
		return missing - most
	}
	if !known {
		b.makeRoom(now)
	}
	b.full[key] = full.Add(time.Duration(n) * each)
	return 0
}

// makeRoom forgets buckets that are full again, now and then, and some other when that leaves too
// many. It is called with b.mu held.
func (b *Buckets[K]) makeRoom(now time.Time) {
	most := b.Max
	if most <= 0 {
		most = defaultMaxBuckets
	}
	if b.full == nil {
		b.full = map[K]time.Time{}
		b.sweep = min(leastSweep, most)
	}
	// With all buckets in use a look at them for every new one would take longer than what the rates
	// protect; a second is what the fastest take to fill.
	if len(b.full) >= b.sweep && now.Sub(b.swept) >= time.Second {
		b.swept = now
		for k, full := range b.full {
			if !full.After(now) {
				delete(b.full, k)
			}
		}
		b.sweep = min(most, max(leastSweep, 2*len(b.full)))
	}
	if len(b.full) < most {
		return
	}
	for k := range b.full {
		delete(b.full, k)
		return
	}
}
