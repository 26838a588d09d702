package broker

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBucketsTake(t *testing.T) {
	t.Parallel()
	type take struct {
		after time.Duration // since the former one
		key   string
		n     int
		wait  time.Duration
	}
	for name, tt := range map[string]struct {
		rate  Rate
		takes []take
	}{
		"no limit": {Rate{}, []take{{0, "a", 1_000_000, 0}, {0, "a", 1_000_000, 0}}},
		"burst is the rate": {Rate{PerSecond: 2}, []take{
			{0, "a", 1, 0}, {0, "a", 1, 0}, {0, "a", 1, 500 * time.Millisecond}, {500 * time.Millisecond, "a", 1, 0}, {0, "a", 1, 500 * time.Millisecond},
		}},
		"burst of its own": {Rate{PerSecond: 1, Burst: 3}, []take{
			{0, "a", 3, 0}, {0, "a", 1, time.Second}, {2 * time.Second, "a", 2, 0}, {0, "a", 2, 2 * time.Second},
		}},
		"quiet for long": {Rate{PerSecond: 10}, []take{
			{time.Hour, "a", 10, 0}, {time.Hour, "a", 10, 0}, {0, "a", 1, 100 * time.Millisecond},
		}},
		"keys are apart": {Rate{PerSecond: 1}, []take{
			{0, "a", 1, 0}, {0, "b", 1, 0}, {0, "a", 1, time.Second}, {0, "b", 1, time.Second},
		}},
		"refused takes nothing": {Rate{PerSecond: 1}, []take{
			{0, "a", 1, 0}, {999 * time.Millisecond, "a", 1, time.Millisecond}, {0, "a", 1, time.Millisecond}, {time.Millisecond, "a", 1, 0},
		}},
		"more than fits is owed for": {Rate{PerSecond: 10}, []take{
			{0, "a", 30, 0}, {0, "a", 1, 2100 * time.Millisecond}, {2100 * time.Millisecond, "a", 1, 0}, {0, "a", 30, time.Second}, {time.Second, "a", 30, 0},
		}},
		"none is free": {Rate{PerSecond: 1}, []take{{0, "a", 1, 0}, {0, "a", 0, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var b Buckets[string]
				for i, step := range tt.takes {
					time.Sleep(step.after)
					if got := b.Take(t.Context(), step.key, tt.rate, step.n); got != step.wait {
						t.Errorf("take %d, of %d: wait %v, want %v", i+1, step.n, got, step.wait)
					}
				}
			})
		})
	}
}

// However many keys come, memory stays bounded; and full buckets are forgotten.
func TestBucketsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := Buckets[int]{Max: 2000}
		for i := range 50_000 {
			if b.Take(t.Context(), i, Rate{PerSecond: 1}, 1) != 0 {
				t.Fatalf("key %d is refused at its first", i)
			}
			if len(b.full) > b.Max {
				t.Fatalf("%d buckets after %d keys", len(b.full), i+1)
			}
		}
		if len(b.full) != b.Max {
			t.Errorf("%d buckets, want all %d", len(b.full), b.Max)
		}
		time.Sleep(2 * time.Second)
		b.Take(t.Context(), -1, Rate{PerSecond: 1}, 1)
		if len(b.full) != 1 {
			t.Errorf("%d buckets when all but one are full", len(b.full))
		}
	})
}

// What is in use isn't forgotten while there is room.
func TestBucketsRememberWhatIsInUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b Buckets[int]
		slow := Rate{PerSecond: 1, Burst: 1}
		b.Take(t.Context(), -1, Rate{PerSecond: 1, Burst: 3600}, 3600)
		for i := range 10_000 {
			b.Take(t.Context(), i, slow, 1)
			time.Sleep(time.Millisecond)
		}
		if b.Take(t.Context(), -1, slow, 1) == 0 {
			t.Error("a bucket that is still empty was forgotten")
		}
		if len(b.full) > 3*leastSweep {
			t.Errorf("%d buckets, of which a thousand are in use", len(b.full))
		}
	})
}

func TestBucketsConcurrently(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b Buckets[string]
		var taken atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 100 {
					if b.Take(t.Context(), "a", Rate{PerSecond: 50}, 1) == 0 {
						taken.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if taken.Load() != 50 {
			t.Errorf("%d taken at once, want 50", taken.Load())
		}
	})
}
