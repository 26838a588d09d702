// Package replay finds the events between a client's position and the seam, or the reason it
// cannot have them.
package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
)

// Config configures a [Replayer].
type Config struct {
	// History is what is read. Default: none, for a medium without memory; every replay is
	// then answered with [Unsupported].
	History History

	// Window is how long the medium remembers, as clients are told. Required with a History,
	// not allowed without; whole seconds are announced.
	Window time.Duration

	// MaxEvents is how many events one replay may have; one more is [TooFar]. Default 1,000.
	MaxEvents int

	// MaxBytes is how many bytes of event names and data one replay may have; one more is
	// [TooFar]. Default 1 MiB.
	MaxBytes int

	// Concurrency is how many read the history at the same time; the others wait for their turn,
	// which goes round the apps. Default 2: more don't make a storm of returning clients shorter,
	// they only slow down appends.
	Concurrency int

	// WaitTimeout bounds the wait for a turn, and Timeout the reading after it, when the context
	// has no deadline. Over either the answer is [Unavailable]. Default 60 s, for when a node is
	// back thousands of clients are too, and 10 s.
	WaitTimeout time.Duration
	Timeout     time.Duration

	// Logger takes faults of the history. Default: discard.
	Logger *slog.Logger

	// Registerer takes the metrics. Default: a registry of its own, seen by nobody.
	Registerer prometheus.Registerer
}

// Replayer answers returning clients. It is safe for concurrent use.
type Replayer struct {
	cfg     Config
	metrics *metrics
	turns   *turns
	warned  atomic.Int64 // when a fault was last logged at Warn, Unix ms

	mu sync.Mutex
	// extending has, per app whose memory is being extended, what is closed when that is over.
	// Guarded by mu.
	extending map[broker.AppID]chan struct{}
}

// scanFactor bounds what is read in vain. Events that are left out (the client's own, client
// events) don't count against MaxEvents and MaxBytes, but over this many times the limits,
// counted in what was read, the answer is [TooFar] all the same.
const scanFactor = 10

// quiet is how long faults are logged at Debug after one at Warn: when the log is away, every
// client of the node comes back and each one's replay runs into the same fault.
const quiet = time.Second

// New checks cfg and returns a replayer.
func New(cfg Config) (*Replayer, error) {
	var errs []error
	switch {
	case cfg.Window < 0:
		errs = append(errs, fmt.Errorf("window: %v is negative", cfg.Window))
	case cfg.History != nil && cfg.Window == 0:
		errs = append(errs, errors.New("window: required with a history"))
	case cfg.History == nil && cfg.Window != 0:
		errs = append(errs, fmt.Errorf("window: %v without a history", cfg.Window))
	}
	for _, n := range []struct {
		name  string
		field *int
		value int
	}{
		{"max events", &cfg.MaxEvents, 1_000},
		{"max bytes", &cfg.MaxBytes, 1 << 20},
		{"concurrency", &cfg.Concurrency, 2},
	} {
		if *n.field < 0 {
			errs = append(errs, fmt.Errorf("%s: %d is negative", n.name, *n.field))
		}
		if *n.field == 0 {
			*n.field = n.value
		}
	}
	if cfg.WaitTimeout < 0 {
		errs = append(errs, fmt.Errorf("wait timeout: %v is negative", cfg.WaitTimeout))
	}
	if cfg.Timeout < 0 {
		errs = append(errs, fmt.Errorf("timeout: %v is negative", cfg.Timeout))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	if cfg.WaitTimeout == 0 {
		cfg.WaitTimeout = time.Minute
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	m := newMetrics(cfg.Registerer)
	return &Replayer{
		cfg:       cfg,
		metrics:   m,
		turns:     newTurns(cfg.Concurrency, m),
		extending: map[broker.AppID]chan struct{}{},
	}, nil
}

// Window returns how long the medium remembers; 0 when it has no memory.
func (r *Replayer) Window() time.Duration { return r.cfg.Window }

// longest is what clients of an app are told whose log forgets nothing by age.
const longest = 365 * 24 * time.Hour

// WindowOf returns how long the medium remembers an app's events; 0 when it has no memory.
func (r *Replayer) WindowOf(app *broker.App) time.Duration {
	switch age := app.Retention.Age; {
	case r.cfg.History == nil || age == 0:
		return r.cfg.Window
	case age < 0:
		return longest
	default:
		return age
	}
}

// answered counts an answer, and logs why there is none when that is the log's fault.
func (r *Replayer) answered(ctx context.Context, app broker.AppID, res Result, err error, began time.Time) Result {
	outcome := string(res.Reason)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		outcome = "canceled" // the client has left; nobody's fault
	case err != nil:
		r.warn(ctx, app, err)
	case outcome == "":
		outcome = "recovered"
	}
	r.metrics.answered(app, outcome, len(res.Events), time.Since(began))
	return res
}

// warn logs a fault; after one, for a while, only at Debug.
func (r *Replayer) warn(ctx context.Context, app broker.AppID, err error) {
	level := slog.LevelDebug
	now, last := time.Now().UnixMilli(), r.warned.Load()
	if now-last >= quiet.Milliseconds() && r.warned.CompareAndSwap(last, now) {
		level = slog.LevelWarn
	}
	r.cfg.Logger.Log(ctx, level, "no replay: the log can't be read", "app", app, "err", err)
}
