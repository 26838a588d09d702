package webhook

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config configures [Webhooks].
type Config struct {
	// Apps are asked for their endpoints by [New] and [Webhooks.Reload]. Required.
	Apps Apps

	// Queue keeps what is to be told, and Archive is its other side; package streams has both
	// in one. Required.
	Queue   Queue
	Archive Archive

	// Source gives client events. Default: those that are appended through [Webhooks.Watch] are
	// told, and no others.
	Source Source

	// BufferNotices bounds the notices that wait to be put into the queue. Over it they are
	// dropped, which is counted and logged. Default 65,536.
	BufferNotices int

	// BufferBytes bounds the client events of [Webhooks.Watch] among them. Default 32 MiB.
	BufferBytes int

	// Delay is how long a channel_vacated and a member_removed are held back; when the channel
	// is occupied again, or the member is back, within it, neither is told. Default 3 s; −1
	// means none.
	Delay time.Duration

	// BatchEvents and BatchInterval bound a batch: it is sent when it has so many events, or so
	// long after its first. Default 20 events, 250 ms.
	BatchEvents   int
	BatchInterval time.Duration

	// Timeout is how long an endpoint may take to answer. Default 4 s.
	Timeout time.Duration

	// MaxAge is for how long, since the queue took it, an event is tried again; then it is
	// dead. Each is tried once, however old. Default 5 min, which is how long Pusher's
	// libraries accept a request for after it was made.
	MaxAge time.Duration

	// RetryMin and RetryMax bound the pause between two tries. It doubles with each; a random
	// part, up to half, is taken off. Default 1 s and 1 min.
	RetryMin, RetryMax time.Duration

	// InFlight bounds the requests to one endpoint at a time. Events of one channel are never
	// in two of them. Default 4.
	InFlight int

	// Linger is how long an endpoint's worker waits for more. Default 1 min.
	Linger time.Duration

	// Sweep is how often the queue is asked for endpoints that something waits for and nobody
	// works for. Default 5 s.
	Sweep time.Duration

	// Transport sends requests. Default: one of its own, over HTTP/1.1 and without a proxy.
	Transport http.RoundTripper

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
	problem(cfg.Apps == nil, "apps: required")
	problem(cfg.Queue == nil, "queue: required")
	problem(cfg.Archive == nil, "archive: required")
	problem(cfg.Delay < -1, "delay: %v is negative; -1 means none", cfg.Delay)
	for _, f := range []struct {
		name  string
		field *int
		value int
	}{
		{"buffer notices", &cfg.BufferNotices, 1 << 16},
		{"buffer bytes", &cfg.BufferBytes, 32 << 20},
		{"batch events", &cfg.BatchEvents, 20},
		{"in flight", &cfg.InFlight, 4},
	} {
		problem(*f.field < 0, "%s: %d is negative", f.name, *f.field)
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	for _, f := range []struct {
		name  string
		field *time.Duration
		value time.Duration
	}{
		{"batch interval", &cfg.BatchInterval, 250 * time.Millisecond},
		{"timeout", &cfg.Timeout, 4 * time.Second},
		{"max age", &cfg.MaxAge, 5 * time.Minute},
		{"retry min", &cfg.RetryMin, time.Second},
		{"retry max", &cfg.RetryMax, time.Minute},
		{"linger", &cfg.Linger, time.Minute},
		{"sweep", &cfg.Sweep, 5 * time.Second},
	} {
		problem(*f.field < 0, "%s: %v is negative", f.name, *f.field)
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	problem(cfg.RetryMin > cfg.RetryMax, "retry min: %v is over retry max, %v", cfg.RetryMin, cfg.RetryMax)
	if err := errors.Join(errs...); err != nil {
		return Config{}, fmt.Errorf("webhook: %w", err)
	}
	switch cfg.Delay {
	case 0:
		cfg.Delay = 3 * time.Second
	case -1:
		cfg.Delay = 0
	}
	if cfg.Transport == nil {
		// A request that times out over HTTP/1.1 closes its connection; a dead one of HTTP/2
		// would be used on and on.
		only := &http.Protocols{}
		only.SetHTTP1(true)
		cfg.Transport = &http.Transport{
			Protocols:             only,
			MaxIdleConns:          256,
			MaxIdleConnsPerHost:   cfg.InFlight,
			IdleConnTimeout:       30 * time.Second,
			TLSHandshakeTimeout:   cfg.Timeout,
			ResponseHeaderTimeout: cfg.Timeout,
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	return cfg, nil
}
