package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	goredis "github.com/redis/go-redis/v9"
)

// LimiterConfig configures a [Limiter].
type LimiterConfig struct {
	// Client reaches Redis and lends its prefix. Required.
	Client *Client

	// Timeout is how long Redis may take to answer; then this node decides by itself. Default
	// 100 ms.
	Timeout time.Duration

	// Pause is for how long Redis isn't asked after it didn't answer. Default 1 s.
	Pause time.Duration

	// MaxKeys is how many keys are remembered while this node decides by itself. Default 65,536.
	MaxKeys int

	// Logger takes lifecycle and faults. Default: discard.
	Logger *slog.Logger

	// Registerer takes the metrics. Default: a registry of its own, seen by nobody.
	Registerer prometheus.Registerer
}

// Limiter keeps rates that all nodes share: a bucket per key, as [broker.Buckets] has it, in Redis. While
// Redis doesn't answer, each node keeps the whole rate by itself: n nodes then let n times as much pass,
// but nobody is refused for it, and nobody gets in without bounds. It is safe for concurrent use.
type Limiter struct {
	cfg         LimiterConfig
	alone       broker.Buckets[string] // while Redis doesn't answer
	unavailable prometheus.Counter
	until       atomic.Int64 // Unix ns before which Redis isn't asked; 0 while it answers
}

// NewLimiter checks cfg and returns a limiter. Nothing is asked of Redis before the first call.
func NewLimiter(cfg LimiterConfig) (*Limiter, error) {
	var errs []error
	if cfg.Client == nil {
		errs = append(errs, errors.New("client: required"))
	}
	if cfg.MaxKeys < 0 {
		errs = append(errs, fmt.Errorf("max keys: %d is negative", cfg.MaxKeys))
	}
	for _, f := range []struct {
		name  string
		field *time.Duration
		value time.Duration
	}{
		{"timeout", &cfg.Timeout, 100 * time.Millisecond},
		{"pause", &cfg.Pause, time.Second},
	} {
		if *f.field < 0 {
			errs = append(errs, fmt.Errorf("%s: %v is negative", f.name, *f.field))
		}
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("limiter: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	l := &Limiter{cfg: cfg, unavailable: promauto.With(cfg.Registerer).NewCounter(prometheus.CounterOpts{
		Name: "playhead_redis_limiter_unavailable_total",
		Help: "Rates that this node decided by itself, because Redis did not answer.",
	})}
	l.alone.Max = cfg.MaxKeys
	return l, nil
}

// bucketScript takes from a bucket. KEYS: the bucket, which says when it is full again, in µs by the clock
// of Redis. ARGV: per second, burst, n. It answers how many µs to wait.
var bucketScript = goredis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local each, burst, n = 1000000 / ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local full = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
local missing = full - now + math.min(n, burst) * each
if missing > burst * each + 0.5 then return math.ceil(missing - burst * each) end
full = full + n * each
redis.call('SET', KEYS[1], string.format('%.2f', full), 'PX', string.format('%.0f', math.ceil((full - now) / 1000)))
return 0
`)

// Take takes n from the key's bucket and returns 0, or takes nothing and returns how long until it can, as
// [broker.Buckets] does. Keys of different kinds have to differ. It returns soon, also when Redis doesn't.
func (l *Limiter) Take(ctx context.Context, key string, rate broker.Rate, n int) (wait time.Duration) {
	if rate.PerSecond <= 0 || n <= 0 {
		return 0
	}
	burst := rate.Burst
	if burst <= 0 {
		burst = rate.PerSecond
	}
	until := l.until.Load()
	if until != 0 && time.Now().UnixNano() < until {
		l.unavailable.Inc()
		return l.alone.Take(ctx, key, rate, n)
	}
	try, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
	defer cancel()
	micros, err := bucketScript.Run(try, l.cfg.Client.rdb, []string{l.cfg.Client.cfg.Prefix + ":limit:" + key}, rate.PerSecond, burst, n).Int64()
	if err == nil {
		if until != 0 && l.until.CompareAndSwap(until, 0) {
			l.cfg.Logger.Info("rates are shared by all nodes again")
		}
		return time.Duration(micros) * time.Microsecond
	}
	// Whoever asked may have gone, which says nothing about Redis.
	if ctx.Err() == nil && l.until.CompareAndSwap(until, time.Now().Add(l.cfg.Pause).UnixNano()) && until == 0 {
		l.cfg.Logger.Warn("rates are kept by each node alone: Redis doesn't answer", "err", err)
	}
	l.unavailable.Inc()
	return l.alone.Take(ctx, key, rate, n)
}
