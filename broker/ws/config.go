package ws

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/broker/pusher"
	"github.com/playhead/playhead/replay"
	"github.com/prometheus/client_golang/prometheus"
)

// Config configures a [Server].
type Config struct {
	Apps     Apps               // finds apps; required
	Node     *broker.Node       // publishes and delivers; required
	Presence *presence.Registry // knows who is in a channel; required
	Replay   *replay.Replayer   // reads what returning clients missed; required

	// Cache knows the last events of cache channels. Default: the medium has none, and who
	// subscribes to a cache channel is told that it is empty.
	Cache broker.Cache

	// Observer is told of cache channels that are empty when a client subscribes: the road to
	// webhooks. It must not block. Default: nobody.
	Observer presence.Notifier

	// PathPrefix stands before /app/{key} in the paths that are served. Default: nothing.
	PathPrefix string

	// ActivityTimeout is announced to clients: after so much silence of the server they ping.
	// Whole seconds. Default 120 s.
	ActivityTimeout time.Duration

	// PingAfter is the silence of a client after which the server sends a WebSocket ping.
	// Rounded up to seconds. Default 45 s.
	PingAfter time.Duration

	// PongTimeout is the further silence after which the session is closed with [PongTimeout],
	// and how long a client may take nothing of an answer it asked for. Rounded up to seconds.
	// Default 30 s.
	PongTimeout time.Duration

	// AheadTimeout is how long a returning client waits whose position is ahead of this node, because
	// it comes from one that was quicker. Over it the client is told that its position lies beyond
	// the end. Default 2 s; −1 is none.
	AheadTimeout time.Duration

	// HistoryRate is how often a connection may ask for history. Over it the answer is an error, and
	// the connection stays. Default 10 a second, 50 at once; a PerSecond of −1 is no limit.
	HistoryRate broker.Rate

	// QueueBytes bounds what waits for one client. Over it the session is closed with
	// [SlowReader]; one frame that waits alone is always kept, whatever its size. Half of it bounds
	// a page of history. Default 1 MiB.
	QueueBytes int

	// TotalQueueBytes bounds what waits for all clients together, less up to 4 KiB for each, which
	// isn't counted. Over it the sessions for which most waits are closed with [QueuesFull] until an
	// eighth is free; from half of it on, answers to returning clients are sent in smaller pieces.
	// A frame that waits for many clients is in memory once and counted for each. Default 256 MiB,
	// at least QueueBytes; −1 is none.
	TotalQueueBytes int

	// MaxMessageBytes is the largest message a client may send; a larger one ends the session
	// with code 1009. Default 64 KiB.
	MaxMessageBytes int

	// MaxConnections is how many connections there may be; further ones are refused with code
	// 4100. Default: no limit.
	MaxConnections int

	// Flushers is how many goroutines write. Default GOMAXPROCS.
	Flushers int

	// FlushInterval is the longest time a flusher waits, under load, for frames to merge.
	// Default 5 ms; −1 is none: each frame is written at once.
	FlushInterval time.Duration

	// Pace keeps the node's feeds from running away from the flushers; the node has the same one.
	// Default: nothing does.
	Pace *broker.Pace

	// Alone says that no other node serves these clients. [Server.Drain] then asks them to come
	// back after a second instead of at once: a port that nobody listens on holds a client up
	// for longer.
	Alone bool

	// TerminationCode closes the connections of a user whom a backend terminates: 4000 to 4299.
	// With 4009, the default, pusher-js stays away; with 4200 it comes straight back and has to
	// authorise anew.
	TerminationCode int

	// DrainTime is over how long [Server.Drain] spreads the goodbyes. Default 5 s; −1 is none:
	// all at once.
	DrainTime time.Duration

	// Logger takes lifecycle and, at Debug, sessions. Default: discard.
	Logger *slog.Logger

	// Registerer takes the metrics. Default: a registry of its own, seen by nobody.
	Registerer prometheus.Registerer
}

// check reports what is wrong with cfg and fills in the defaults.
func (cfg *Config) check() error {
	var errs []error
	for _, part := range []struct {
		name    string
		missing bool
	}{
		{"apps", cfg.Apps == nil},
		{"node", cfg.Node == nil},
		{"presence", cfg.Presence == nil},
		{"replay", cfg.Replay == nil},
	} {
		if part.missing {
			errs = append(errs, fmt.Errorf("%s: required", part.name))
		}
	}
	for _, d := range []struct {
		name   string
		field  *time.Duration
		value  time.Duration
		noneOK bool
	}{
		{"activity timeout", &cfg.ActivityTimeout, 120 * time.Second, false},
		{"ping after", &cfg.PingAfter, 45 * time.Second, false},
		{"pong timeout", &cfg.PongTimeout, 30 * time.Second, false},
		{"ahead timeout", &cfg.AheadTimeout, 2 * time.Second, true},
		{"flush interval", &cfg.FlushInterval, 5 * time.Millisecond, true},
		{"drain time", &cfg.DrainTime, 5 * time.Second, true},
	} {
		switch {
		case *d.field == 0:
			*d.field = d.value
		case *d.field == -1 && d.noneOK:
			*d.field = 0
		case *d.field < 0:
			errs = append(errs, fmt.Errorf("%s: %v is negative", d.name, *d.field))
		}
	}
	for _, n := range []struct {
		name  string
		field *int
		value int
	}{
		{"queue bytes", &cfg.QueueBytes, 1 << 20},
		{"max message bytes", &cfg.MaxMessageBytes, 64 << 10},
		{"max connections", &cfg.MaxConnections, 0},
		{"flushers", &cfg.Flushers, runtime.GOMAXPROCS(0)},
		{"termination code", &cfg.TerminationCode, int(pusher.CodeUnauthorized)},
	} {
		if *n.field < 0 {
			errs = append(errs, fmt.Errorf("%s: %d is negative", n.name, *n.field))
		}
		if *n.field == 0 {
			*n.field = n.value
		}
	}
	switch n := &cfg.TotalQueueBytes; {
	case *n == 0:
		*n = max(256<<20, cfg.QueueBytes)
	case *n == -1:
		*n = 0
	case *n < cfg.QueueBytes:
		errs = append(errs, fmt.Errorf("total queue bytes: %d is less than one connection may have, %d", *n, cfg.QueueBytes))
	}
	switch r := &cfg.HistoryRate; {
	case r.PerSecond < -1 || r.Burst < 0:
		errs = append(errs, fmt.Errorf("history rate: %d a second, %d at once: negative", r.PerSecond, r.Burst))
	case r.PerSecond == 0 && r.Burst == 0:
		*r = broker.Rate{PerSecond: 10, Burst: 50}
	case r.PerSecond == 0:
		r.PerSecond = 10
	}
	if cfg.TerminationCode > 0 && (cfg.TerminationCode < 4000 || cfg.TerminationCode > 4299) {
		errs = append(errs, fmt.Errorf("termination code: %d is not between 4000 and 4299", cfg.TerminationCode))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("ws: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	return nil
}
