package redis_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/playhead/playhead/adapters/redis"
	"github.com/playhead/playhead/adapters/redis/redistest"
	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var (
	_ broker.Limiter = (*redis.Limiter)(nil)
	_ broker.Limiter = (*broker.Buckets[string])(nil)
)

func newLimiter(t testing.TB, client redis.ClientConfig, edit ...func(*redis.LimiterConfig)) *redis.Limiter {
	t.Helper()
	// On a busy machine Redis takes its time, which is not what most of the tests are about.
	cfg := redis.LimiterConfig{Client: newClient(t, client), Timeout: 3 * time.Second}
	for _, e := range edit {
		e(&cfg)
	}
	l, err := redis.NewLimiter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Rates so slow that nothing comes back while the test runs: what is answered is exact, but for the time
// that the test takes.
func TestLimiterTake(t *testing.T) {
	t.Parallel()
	type take struct {
		key  string
		rate broker.Rate
		n    int
		wait time.Duration
	}
	slow := broker.Rate{PerSecond: 1, Burst: 1000}
	for name, takes := range map[string][]take{
		"no limit":                   {{"a", broker.Rate{}, 1_000_000, 0}, {"a", broker.Rate{}, 1_000_000, 0}},
		"none is free":               {{"a", slow, 1000, 0}, {"a", slow, 0, 0}},
		"burst is the rate":          {{"a", broker.Rate{PerSecond: 1}, 1, 0}, {"a", broker.Rate{PerSecond: 1}, 1, time.Second}},
		"burst of its own":           {{"a", slow, 1000, 0}, {"a", slow, 100, 100 * time.Second}},
		"keys are apart":             {{"a", slow, 1000, 0}, {"b", slow, 1000, 0}, {"a", slow, 50, 50 * time.Second}},
		"refused takes nothing":      {{"a", slow, 900, 0}, {"a", slow, 200, 100 * time.Second}, {"a", slow, 100, 0}},
		"more than fits is owed for": {{"a", slow, 3000, 0}, {"a", slow, 1, 2001 * time.Second}},
		"braces":                     {{"{a}b}", slow, 1000, 0}, {"{a}b", slow, 1000, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for kind, config := range kinds {
				l, other := newLimiter(t, config(t)), newLimiter(t, config(t))
				began, run := time.Now(), rand.Text() // servers are shared
				for i, step := range takes {
					got := []*redis.Limiter{l, other}[i%2].Take(soon(t), run+step.key, step.rate, step.n)
					if got > step.wait || got < step.wait-time.Since(began)-time.Millisecond || got == 0 && step.wait > time.Since(began) {
						t.Errorf("%s: take %d, of %d: wait %v, want %v", kind, i+1, step.n, got, step.wait)
					}
				}
			}
		})
	}
}

// What is taken comes back with time, not earlier than was said and then for sure.
func TestLimiterFillsAgain(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, singleConfig(redistest.SharedSingle(t)))
	rate, key := broker.Rate{PerSecond: 20, Burst: 2}, rand.Text()
	began := time.Now()
	taken := 0
	eventually(t, "twenty are taken", func() bool {
		if l.Take(soon(t), key, rate, 1) == 0 {
			taken++
		}
		return taken == 20
	})
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("2 at once and 18 at 20 a second took %v", took)
	}
}

// All nodes together take no more than the rate, whoever asks.
func TestLimiterIsShared(t *testing.T) {
	t.Parallel()
	for kind, config := range kinds {
		key := rand.Text()
		var taken atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			l := newLimiter(t, config(t))
			for range 4 {
				wg.Go(func() {
					for range 50 {
						if l.Take(soon(t), key, broker.Rate{PerSecond: 1, Burst: 300}, 1) == 0 {
							taken.Add(1)
						}
					}
				})
			}
		}
		began := time.Now()
		wg.Wait()
		if n, most := taken.Load(), 300+int64(time.Since(began)/time.Second)+1; n < 300 || n > most {
			t.Errorf("%s: %d taken, want 300 to %d", kind, n, most)
		}
	}
}

// Nothing stays of a bucket that is full again.
func TestLimiterForgets(t *testing.T) {
	t.Parallel()
	server := redistest.Single(t)
	l := newLimiter(t, singleConfig(server))
	for i := range 20 {
		l.Take(soon(t), fmt.Sprint(i), broker.Rate{PerSecond: 100}, 10)
	}
	eventually(t, "no keys are left", func() bool {
		keys, err := server.Do("DBSIZE")
		return err == nil && strings.TrimSpace(strings.TrimPrefix(keys, "(integer)")) == "0"
	})
}

// A Redis that hangs or is gone delays hardly anybody and refuses nobody for it: each node keeps the rate
// by itself, says so once, and goes back.
func TestLimiterWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Single(t)
	registry := prometheus.NewRegistry()
	logs := &lines{}
	l := newLimiter(t, singleConfig(server), func(c *redis.LimiterConfig) {
		c.Timeout, c.Pause, c.Registerer, c.Logger = 200*time.Millisecond, 300*time.Millisecond, registry, logs.logger()
	})
	rate := broker.Rate{PerSecond: 1, Burst: 100}
	eventually(t, "Redis answers", func() bool { return l.Take(soon(t), "a", rate, 100) > time.Minute })
	logs.reset()
	server.Pause()
	slow := 0
	for range 100 {
		began := time.Now()
		if wait := l.Take(soon(t), "b", rate, 1); wait != 0 {
			t.Fatalf("refused for %v", wait)
		}
		if time.Since(began) > 100*time.Millisecond {
			slow++
		}
	}
	if slow > 10 {
		t.Errorf("%d of 100 were held up", slow)
	}
	if l.Take(soon(t), "b", rate, 50) == 0 {
		t.Error("no rate is kept without Redis")
	}
	alone := logs.count("kept by each node alone")
	if alone != 1 {
		t.Errorf("said %d times", alone)
	}
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetMetric()[0].GetCounter().GetValue() < 101 {
		t.Errorf("metrics: %v, %v", families, err)
	}
	if n := testutil.CollectAndCount(registry, "playhead_redis_limiter_unavailable_total"); n != 1 {
		t.Errorf("%d metrics", n)
	}
	server.Resume()
	eventually(t, "rates are shared again", func() bool {
		return l.Take(soon(t), "a", rate, 100) > 0 && logs.count("shared by all nodes again") == 1
	})
}

// Whoever asks and goes says nothing about Redis.
func TestLimiterOfCallerThatWent(t *testing.T) {
	t.Parallel()
	logs := &lines{}
	l := newLimiter(t, singleConfig(redistest.SharedSingle(t)), func(c *redis.LimiterConfig) { c.Logger = logs.logger() })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if wait := l.Take(ctx, rand.Text(), broker.Rate{PerSecond: 1}, 1); wait != 0 {
		t.Errorf("wait %v", wait)
	}
	if n := logs.count("kept by each node alone"); n != 0 {
		t.Error("Redis was said not to answer")
	}
}

func TestLimiterConfig(t *testing.T) {
	t.Parallel()
	client := newClient(t, redis.ClientConfig{})
	for _, cfg := range []redis.LimiterConfig{
		{}, {Client: client, Timeout: -1}, {Client: client, Pause: -1}, {Client: client, MaxKeys: -1},
	} {
		if _, err := redis.NewLimiter(cfg); err == nil {
			t.Errorf("%+v accepted", cfg)
		}
	}
}

// BenchmarkLimiter is what a shared rate costs whoever asks.
func BenchmarkLimiter(b *testing.B) {
	l := newLimiter(b, singleConfig(redistest.SharedSingle(b)))
	for b.Loop() {
		l.Take(b.Context(), "bench", broker.Rate{PerSecond: 1_000_000}, 1)
	}
}
