package streams

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
)

// Sync says how appends are sent, which is to fit how the server syncs what it stores. It doesn't
// change how the server syncs.
type Sync int

const (
	// SyncAlways is for servers that sync before they acknowledge: one commit is in flight per
	// stream, and what arrives meanwhile is the next one, as an atomic batch (group commit).
	SyncAlways Sync = iota
	// SyncInterval is for servers that sync now and then: many appends are in flight.
	SyncInterval
)

// Config configures [Streams].
type Config struct {
	// Publish, Tail and Read are connections for appending, for tails, and for reading back.
	// They may be one, but reads stall what else is on their connection. Required.
	Publish, Tail, Read *nats.Conn

	// NodeName names this node's consumers. It is unique among the nodes that run at a time,
	// and best the same after a restart. Any characters. Required.
	NodeName string

	// Prefix begins the names of streams and subjects: PREFIX_<app>, and
	// PREFIX.<app>.<channel>.<b or c>. Letters, digits, _ and -. Default "playhead".
	Prefix string

	// Domain is the JetStream domain of the streams, when it isn't that of the connections'
	// server. Default: none.
	Domain string

	// Replicas is how many servers hold each stream: 1, 3 or 5. A stream that has fewer, because there
	// were too few servers or it was configured so, is given more when it can be; one that has more
	// keeps them. Default 1.
	Replicas int

	// MaxAge is how long a stream remembers an event. Default 24 h; −1 for ever.
	MaxAge time.Duration

	// MaxBytes is how much a stream holds before it forgets its oldest events. Default 1 GiB;
	// −1 means no bound.
	MaxBytes int64

	// MaxMsgs is how many events a stream holds before it forgets its oldest. Default: no bound.
	MaxMsgs int64

	// Retention says what the stream of an app remembers where that is to differ: a zero field is
	// MaxAge, MaxBytes or MaxMsgs, a negative one no bound. An Age of less than twice AppendTimeout
	// is taken as that, for an event that is sent again could be stored twice. It is asked whenever
	// a stream is looked at, from several goroutines at a time, and must not block. What it says now
	// is brought to streams that are there by [Streams.Adapt]. Default: no app has its own.
	Retention func(broker.AppID) broker.Retention

	// Duplicates is how long the ID of an event is remembered, but never longer than the app's
	// events are. It must be longer than AppendTimeout, and not longer than MaxAge. Default 2 min.
	Duplicates time.Duration

	// Sync says how appends are sent. Default SyncAlways.
	Sync Sync

	// Commit is called before an append or a letter is answered, after the server has acknowledged
	// it, and syncs all that is acknowledged by then: one call for all that wait, never two at a
	// time. It is for a server in this process that syncs now and then, with SyncInterval and
	// AfterCreate; others would have to know when to sync. After an error it isn't called again:
	// all that wait and all that come are [broker.ErrUnavailable] with its text. Tails and reads
	// don't wait for it. Default: what the server acknowledges is answered.
	Commit func() error

	// AppendTimeout is how long an append is tried before it is an error. Default 10 s.
	AppendTimeout time.Duration

	// QueueBytes bounds, per app, what waits for its acknowledgement. Over it, appends wait for
	// room. Default 16 MiB.
	QueueBytes int64

	// AfterCreate is called when a stream was made, before anything is acknowledged from it: an
	// embedded server that syncs now and then would lose a young stream, with its definition, to
	// a power cut. Its error is that of the call that needed the stream. Default: nothing.
	AfterCreate func() error

	// Health is asked why the server doesn't acknowledge. JetStream doesn't answer when it
	// can't write; an error from here is then the cause that callers see, at once instead of
	// after AppendTimeout. Default: nobody is asked.
	Health func() error

	// Survey is how long lies between two looks at the streams of the apps used here, for the metrics
	// of what they hold. A look at many takes a while: 5 ms each. Default 15 s; −1 for none.
	Survey time.Duration

	// Logger takes lifecycle and faults. Default: discard.
	Logger *slog.Logger

	// Registerer takes the metrics. Default: a registry of its own, seen by nobody.
	Registerer prometheus.Registerer
}

var prefixForm = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

// withDefaults returns cfg checked and complete.
func (cfg Config) withDefaults() (Config, error) {
	var errs []error
	problem := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	problem(cfg.Publish == nil, "publish connection: required")
	problem(cfg.Tail == nil, "tail connection: required")
	problem(cfg.Read == nil, "read connection: required")
	problem(cfg.NodeName == "", "node name: required")
	orDefault(&cfg.Prefix, "playhead")
	problem(!prefixForm.MatchString(cfg.Prefix), "prefix: %q has other characters than letters, digits, _ and -, or more than 64", cfg.Prefix)
	orDefault(&cfg.Replicas, 1)
	problem(cfg.Replicas < 1 || cfg.Replicas > 5 || cfg.Replicas%2 == 0, "replicas: %d is not 1, 3 or 5", cfg.Replicas)
	orDefault(&cfg.MaxAge, 24*time.Hour)
	problem(cfg.MaxAge < -1, "max age: %v is negative; -1 means for ever", cfg.MaxAge)
	orDefault(&cfg.MaxBytes, 1<<30)
	problem(cfg.MaxBytes < -1, "max bytes: %d is negative; -1 means no bound", cfg.MaxBytes)
	orDefault(&cfg.MaxMsgs, -1)
	problem(cfg.MaxMsgs < -1, "max messages: %d is negative", cfg.MaxMsgs)
	orDefault(&cfg.AppendTimeout, 10*time.Second)
	problem(cfg.AppendTimeout < 0, "append timeout: %v is negative", cfg.AppendTimeout)
	orDefault(&cfg.Duplicates, 2*time.Minute)
	problem(cfg.Duplicates <= cfg.AppendTimeout, "duplicates: %v is not longer than the append timeout of %v, so a resent event could be stored twice", cfg.Duplicates, cfg.AppendTimeout)
	problem(cfg.MaxAge > 0 && cfg.Duplicates > cfg.MaxAge, "duplicates: %v is longer than the max age of %v", cfg.Duplicates, cfg.MaxAge)
	problem(cfg.Sync != SyncAlways && cfg.Sync != SyncInterval, "sync: %d is neither always nor interval", cfg.Sync)
	orDefault(&cfg.QueueBytes, 16<<20)
	problem(cfg.QueueBytes < 0, "queue bytes: %d is negative", cfg.QueueBytes)
	orDefault(&cfg.Survey, 15*time.Second)
	problem(cfg.Survey < -1, "survey: %v is negative; -1 means none", cfg.Survey)
	if err := errors.Join(errs...); err != nil {
		return Config{}, fmt.Errorf("streams: %w", err)
	}
	if cfg.MaxAge == -1 {
		cfg.MaxAge = 0 // JetStream's word for ever
	}
	if cfg.Retention == nil {
		cfg.Retention = func(broker.AppID) broker.Retention { return broker.Retention{} }
	}
	if cfg.AfterCreate == nil {
		cfg.AfterCreate = func() error { return nil }
	}
	if cfg.Health == nil {
		cfg.Health = func() error { return nil }
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
