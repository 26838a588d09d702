package redis

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
)

// Config configures a [Medium].
type Config struct {
	// Client is the way to Redis. Required.
	Client *Client

	// Cached says of which channels the last event is kept, for [Medium.Last]. Default: of none.
	Cached func(broker.Channel) bool

	// CacheTTL is how long such an event is kept. Whoever reads it may find it too old earlier
	// (broker.App.Cached). Default 24 h.
	CacheTTL time.Duration

	// GoOnAfterGap lets a tail listen anew when events may have been missed, instead of ending with an
	// error that closes the app's sessions. The gap is counted either way. Default: the tail ends.
	GoOnAfterGap bool

	// Heartbeat is how often it is tried whether what is published comes back, and whether Redis is
	// well. Default 1 s.
	Heartbeat time.Duration

	// Timeout is how long nothing may come back before a connection that listens is taken for dead. At
	// least two heartbeats. Default 5 s.
	Timeout time.Duration

	// QueueBytes bounds the events of an app that have come and weren't taken yet. With more the tail
	// ends: its reader is too slow. Default 32 MiB.
	QueueBytes int

	// Logger takes lifecycle and faults. Default: discard.
	Logger *slog.Logger

	// Registerer takes the metrics. Default: a registry of its own, seen by nobody.
	Registerer prometheus.Registerer
}

// withDefaults returns cfg checked and complete.
func (cfg Config) withDefaults() (Config, error) {
	orDefault(&cfg.CacheTTL, 24*time.Hour)
	orDefault(&cfg.Heartbeat, time.Second)
	orDefault(&cfg.Timeout, 5*time.Second)
	orDefault(&cfg.QueueBytes, 32<<20)
	if cfg.Cached == nil {
		cfg.Cached = func(broker.Channel) bool { return false }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	var errs []error
	problem := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	problem(cfg.Client == nil, "client: required")
	problem(cfg.CacheTTL < time.Millisecond, "cache ttl: %v is less than a millisecond", cfg.CacheTTL)
	problem(cfg.Heartbeat < 0, "heartbeat: %v is negative", cfg.Heartbeat)
	problem(cfg.Timeout < 2*cfg.Heartbeat, "timeout: %v is less than two heartbeats of %v", cfg.Timeout, cfg.Heartbeat)
	problem(cfg.QueueBytes < 0, "queue bytes: %d is negative", cfg.QueueBytes)
	if err := errors.Join(errs...); err != nil {
		return Config{}, fmt.Errorf("redis: %w", err)
	}
	return cfg, nil
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
