package presence

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
)

// App is the app in whose log nodes tell each other who is where. No customer's app may have this id.
// Its log should remember an hour: whoever comes reads back what has happened since the last state,
// which is at most ten minutes old.
const App broker.AppID = "%presence"

// Log is the log that nodes share. Package streams has one.
type Log interface {
	broker.Log
	broker.Cache

	// Bounds and Range are those of replay.History.
	Bounds(ctx context.Context, app broker.AppID) (oldest, newest broker.Position, err error)
	Range(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error]
}

// Config configures a [Registry].
type Config struct {
	// Notifier tells the subscribers of a channel of its members and of their number;
	// broker.Node does. Required.
	Notifier Notifier

	// Observer is told all of that, and of each channel that is occupied or vacated: the road
	// to webhooks. Of several nodes one, the teller, tells its own of everything; another that takes its
	// place begins with what may not have been told, under the same IDs. Default: nobody.
	Observer Notifier

	// Waiting says whether there are notices that the observer could still lose, and the mark of the
	// oldest. Default: there never are.
	Waiting func() (mark uint64, waiting bool)

	// Log is what several nodes share. Default: the node is alone.
	Log Log

	// Node is the node's name, which no other that runs has. Required with a Log.
	Node string

	// Heartbeat is how often a node that has nothing else to say shows that it is alive. Default 10 s.
	Heartbeat time.Duration

	// NodeTimeout is after how much silence a node is taken for dead, and what it had is taken away.
	// At least two heartbeats. Default 30 s; −1 for never.
	NodeTimeout time.Duration

	// CleanupInterval is how often it is looked for dead nodes. Default 10 s.
	CleanupInterval time.Duration

	// QueueSize bounds the changes that wait to be appended. With more the node starts over: its
	// connections are closed and everything it had is taken away in one step. Default 100,000.
	QueueSize int

	// BatchSize bounds the changes that are appended as one entry. Default 1,000.
	BatchSize int

	// Evict is called when the node has been buried, or can't follow the log, and starts over: it is to
	// close every connection, and may return before they are gone. Required with a Log.
	Evict func()

	// Connections says how many there are, for others to know. Default: it isn't said.
	Connections func() int

	// Logger takes lifecycle and faults. Default: discard.
	Logger *slog.Logger

	// Registerer takes the metrics. Default: a registry of its own, seen by nobody.
	Registerer prometheus.Registerer
}

// withDefaults returns cfg checked and complete.
func (cfg Config) withDefaults() (Config, error) {
	var errs []error
	problem := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	problem(cfg.Notifier == nil, "notifier: required")
	problem(cfg.Log != nil && cfg.Node == "", "node: required with a log")
	problem(cfg.Log != nil && cfg.Evict == nil, "evict: required with a log")
	orDefault(&cfg.Heartbeat, 10*time.Second)
	problem(cfg.Heartbeat < 0, "heartbeat: %v is negative", cfg.Heartbeat)
	orDefault(&cfg.NodeTimeout, 30*time.Second)
	problem(cfg.NodeTimeout != -1 && cfg.NodeTimeout < 2*cfg.Heartbeat, "node timeout: %v is less than two heartbeats of %v", cfg.NodeTimeout, cfg.Heartbeat)
	orDefault(&cfg.CleanupInterval, 10*time.Second)
	problem(cfg.CleanupInterval < 0, "cleanup interval: %v is negative", cfg.CleanupInterval)
	orDefault(&cfg.QueueSize, 100_000)
	problem(cfg.QueueSize < 0, "queue size: %d is negative", cfg.QueueSize)
	orDefault(&cfg.BatchSize, 1000)
	problem(cfg.BatchSize < 0, "batch size: %d is negative", cfg.BatchSize)
	if err := errors.Join(errs...); err != nil {
		return Config{}, fmt.Errorf("presence: %w", err)
	}
	if cfg.Waiting == nil {
		cfg.Waiting = func() (uint64, bool) { return 0, false }
	}
	if cfg.Connections == nil {
		cfg.Connections = func() int { return 0 }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	return cfg, nil
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
