package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// recorder keeps times as a histogram of microseconds up to ten minutes, true to three digits. Its
// shards keep thousands of connections from queueing at one lock.
type recorder struct{ shards [8]shard }

type shard struct {
	mu   sync.Mutex
	hist *hdrhistogram.Histogram // guarded by mu; nil until there is a time
}

const longest = 10 * time.Minute

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longest.Microseconds(), 3)
}

// add records a time; by is any number of whoever does. A time beyond the longest counts as that.
func (r *recorder) add(by int, d time.Duration) {
	s := &r.shards[by%len(r.shards)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hist == nil {
		s.hist = newHistogram()
	}
	_ = s.hist.RecordValue(min(max(d, time.Microsecond), longest).Microseconds()) // it is within the bounds
}

// Times are quantiles in milliseconds.
type Times struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p99_9_ms"`
	Max   float64 `json:"max_ms"`
}

// times returns nil if nothing was recorded.
func (r *recorder) times() *Times {
	all := newHistogram()
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		if s.hist != nil {
			all.Merge(s.hist)
		}
		s.mu.Unlock()
	}
	if all.TotalCount() == 0 {
		return nil
	}
	at := func(q float64) float64 { return float64(all.ValueAtQuantile(q)) / 1e3 }
	return &Times{all.TotalCount(), at(50), at(90), at(99), at(99.9), float64(all.Max()) / 1e3}
}
