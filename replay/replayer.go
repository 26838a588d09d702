// Package replay finds the events between a client's position and the seam, or the reason it
// cannot have them.
package replay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
)

// History is a log that remembers. All methods are safe for concurrent use.
//
// Implementation: package streams. It runs the suite in package brokertest.
type History interface {
	// First returns the epoch of the app's log and the serial of the oldest event it still
	// holds; of an empty log, its last serial + 1. It is asked where it can't be stale, and
	// within an epoch it never goes back.
	First(ctx context.Context, app broker.AppID) (broker.Position, error)

	// Range yields the events of one channel with serials in (after, upto], oldest first: all
	// that the log holds of them, or an error as its last word. A context that ends is such
	// an error. Breaking the loop ends the read. What the log forgets at its head while the
	// range is read may be missing without an error: whoever needs to know asks First, and
	// asks it afterwards.
	Range(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error]

	// At returns the event, of any channel, at a serial; nil when nothing stands there: it
	// was forgotten or never was.
	At(ctx context.Context, app broker.AppID, serial uint64) (*broker.Event, error)
}

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

	// Concurrency is how many replays read at the same time; the others wait for their turn.
	// Default 2: more don't make a storm of returning clients shorter, they only slow down
	// appends.
	Concurrency int

	// Timeout bounds a replay, waiting included, when its context has no deadline. Over it
	// the answer is [Unavailable]. Default 10 s.
	Timeout time.Duration

	// Logger takes faults of the history. Default: discard.
	Logger *slog.Logger

	// Registerer takes the metrics. Default: a registry of its own, seen by nobody.
	Registerer prometheus.Registerer
}

// Replayer answers returning clients. It is safe for concurrent use.
type Replayer struct {
	cfg     Config
	metrics *metrics
	turns   chan struct{} // holds one value per replay that reads
	warned  atomic.Int64  // when a fault was last logged at Warn, Unix ms
}

// scanFactor bounds what is read in vain. Events that are left out (the client's own, client
// events) don't count against MaxEvents and MaxBytes, but over this many times the limits,
// counted in what was read, the replay is [TooFar] all the same.
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
	if cfg.Timeout < 0 {
		errs = append(errs, fmt.Errorf("timeout: %v is negative", cfg.Timeout))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
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
	return &Replayer{
		cfg:     cfg,
		metrics: newMetrics(cfg.Registerer),
		turns:   make(chan struct{}, cfg.Concurrency),
	}, nil
}

// Window returns how long the medium remembers; 0 when it has no memory.
func (r *Replayer) Window() time.Duration { return r.cfg.Window }

// Request is what a returning client wants.
type Request struct {
	App     broker.AppID
	Channel broker.Channel

	// Position is where the client was, exactly as it sent it.
	Position string

	// Seam is where its new subscription begins to be live ([broker.Feed.Subscribe]).
	Seam broker.Position

	// Socket is the client's former connection, empty when it named none. Events that
	// exclude it, its own client events among them, are left out.
	Socket broker.SocketID

	// ClientEvents says whether client events are replayed (the app's ReplayClientEvents).
	ClientEvents bool
}

// Result is the answer: all the events after the position and up to the seam, oldest first, or
// the reason why the client can't have them, and then none.
type Result struct {
	Events []*broker.Event
	Reason Reason // empty: recovered
}

// Replay answers a returning client. It blocks while others read and while it reads, until its
// context ends at the latest. Faults of the history are logged here and come back as
// [Unavailable].
func (r *Replayer) Replay(ctx context.Context, q Request) Result {
	started := time.Now()
	events, reason, err := r.replay(ctx, q)
	outcome := string(reason)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		outcome = "canceled" // the client has left; nobody's fault
	case err != nil:
		r.warn(ctx, q.App, err)
	case reason == "":
		outcome = "recovered"
	}
	r.metrics.answered(q.App, outcome, len(events), time.Since(started))
	return Result{Events: events, Reason: reason}
}

// replay answers what can be told from the two positions alone, and reads for the rest. An error
// comes with [Unavailable].
func (r *Replayer) replay(ctx context.Context, q Request) ([]*broker.Event, Reason, error) {
	if r.cfg.History == nil || q.Seam.IsZero() {
		return nil, Unsupported, nil
	}
	pos, err := broker.ParsePosition(q.Position)
	switch {
	case err != nil:
		return nil, Invalid, nil
	case pos.Epoch != q.Seam.Epoch:
		return nil, Reset, nil
	case pos.Serial > q.Seam.Serial:
		return nil, Ahead, nil
	case pos.Serial == q.Seam.Serial:
		if pos.Time != 0 && q.Seam.Time != 0 && pos.Time != q.Seam.Time {
			return nil, Reset, nil
		}
		return nil, "", nil
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.cfg.Timeout)
		defer cancel()
	}
	select {
	case r.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, Unavailable, fmt.Errorf("wait to replay %s: %w", q.Channel, ctx.Err())
	}
	defer func() { <-r.turns }()
	return r.read(ctx, q, pos)
}

// read reads from pos to the seam and proves that nothing is missing in between.
func (r *Replayer) read(ctx context.Context, q Request, pos broker.Position) ([]*broker.Event, Reason, error) {
	if reason, err := r.check(ctx, q, pos); reason != "" {
		return nil, reason, err
	}
	events, reason, err := r.collect(ctx, q, pos)
	if reason == TooFar {
		return nil, TooFar, nil
	}
	// The log may have forgotten something after the range began and before the read came by.
	// Only its head as it is after the read tells. It may also explain why the read broke off.
	switch lost, headErr := r.head(ctx, q, pos); lost {
	case "":
		return events, reason, err
	case Unavailable:
		return nil, Unavailable, errors.Join(err, headErr)
	default:
		return nil, lost, nil
	}
}

// check looks at the event on which pos was made: after an unclean loss another one may stand at
// its serial, and what follows is not what followed then. Where nothing stands there the head is
// looked at now, so that a client that is too late costs no range.
func (r *Replayer) check(ctx context.Context, q Request, pos broker.Position) (Reason, error) {
	if pos.Serial != 0 && pos.Time != 0 {
		e, err := r.cfg.History.At(ctx, q.App, pos.Serial)
		switch {
		case err != nil:
			return Unavailable, fmt.Errorf("read the event at a position: %w", err)
		case e != nil && e.Time.UnixMilli() != pos.Time:
			return Reset, nil
		case e != nil:
			return "", nil
		}
	}
	return r.head(ctx, q, pos)
}

// head reports whether the log still holds everything after pos.
func (r *Replayer) head(ctx context.Context, q Request, pos broker.Position) (Reason, error) {
	first, err := r.cfg.History.First(ctx, q.App)
	switch {
	case err != nil:
		return Unavailable, fmt.Errorf("read the log's first serial: %w", err)
	case first.Epoch != pos.Epoch:
		return Reset, nil
	case first.Serial > pos.Serial+1:
		return Expired, nil
	}
	return "", nil
}

// collect reads the range and keeps what the client is to get.
func (r *Replayer) collect(ctx context.Context, q Request, pos broker.Position) ([]*broker.Event, Reason, error) {
	var kept []*broker.Event
	var events, bytes, scanned, scannedBytes int
	for e, err := range r.cfg.History.Range(ctx, q.App, q.Channel, pos.Serial, q.Seam.Serial) {
		if err != nil {
			return nil, Unavailable, fmt.Errorf("read what %s missed: %w", q.Channel, err)
		}
		size := len(e.Name) + len(e.Data)
		scanned++
		scannedBytes += size
		if wanted(q, e) {
			events++
			bytes += size
			kept = append(kept, e)
		}
		if events > r.cfg.MaxEvents || bytes > r.cfg.MaxBytes ||
			scanned/scanFactor > r.cfg.MaxEvents || scannedBytes/scanFactor > r.cfg.MaxBytes {
			return nil, TooFar, nil
		}
	}
	return kept, "", nil
}

// wanted reports whether the client would have got the event had it been here.
func wanted(q Request, e *broker.Event) bool {
	if e.Client && !q.ClientEvents {
		return false
	}
	return q.Socket == "" || e.Exclude != q.Socket
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
