package client

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/playhead/playhead/broker"
)

// Config says which app of which server a [Client] is for.
type Config struct {
	// URL is where the server is, http or https, with the prefix it is mounted under, if any.
	// Default: http://127.0.0.1:6001.
	URL string

	// AppID is the app's id. Required for what goes over HTTP: publishing and history.
	AppID broker.AppID

	// Key is the app's key. Required.
	Key string

	// Secret is the key's secret. Required for what is signed: requests over HTTP, and private
	// and presence channels.
	Secret string

	// HTTPClient sends the requests and opens the WebSockets. Default: [http.DefaultClient].
	HTTPClient *http.Client

	// Timeout bounds one attempt: a request until its answer is read, or a connection until it
	// is established. Default 15 s.
	Timeout time.Duration

	// RetryFor is for how long after its first attempt a request is tried again that the server
	// didn't answer, or answered with 408, 429, 502, 503 or 504. The context may end it sooner.
	// It must be shorter than the server remembers idempotency keys (2 min unless configured),
	// or what is published may be stored twice. Default 1 min; −1 is none.
	RetryFor time.Duration

	// BackoffMin and BackoffMax bound the pause before another attempt. It doubles from the one
	// to the other, and varies by half of it. Default 500 ms and 30 s.
	BackoffMin, BackoffMax time.Duration

	// PongTimeout is how long a silent connection may leave a ping unanswered before it is given
	// up. How long it may be silent before, the server says. Default 30 s.
	PongTimeout time.Duration

	// MaxMessageBytes is the largest message accepted from the server, and the largest answer.
	// Default 16 MiB.
	MaxMessageBytes int

	// Logger takes connections, at Info and Warn. Default: discard.
	Logger *slog.Logger
}

// LogValue keeps the secret out of logs.
func (cfg Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("url", cfg.URL), slog.String("app", string(cfg.AppID)), slog.String("key", cfg.Key))
}

// check reports what is wrong with cfg and fills in the defaults.
func (cfg *Config) check() error {
	var errs []error
	if cfg.URL == "" {
		cfg.URL = "http://127.0.0.1:6001"
	}
	cfg.URL = strings.TrimRight(cfg.URL, "/")
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		errs = append(errs, fmt.Errorf("%q is not the URL of a server; write it like http://127.0.0.1:6001", cfg.URL))
	}
	if cfg.Key == "" {
		errs = append(errs, errors.New("key: required"))
	}
	for _, d := range []struct {
		name   string
		field  *time.Duration
		value  time.Duration
		noneOK bool
	}{
		{"timeout", &cfg.Timeout, 15 * time.Second, false},
		{"retry for", &cfg.RetryFor, time.Minute, true},
		{"backoff min", &cfg.BackoffMin, 500 * time.Millisecond, false},
		{"backoff max", &cfg.BackoffMax, 30 * time.Second, false},
		{"pong timeout", &cfg.PongTimeout, 30 * time.Second, false},
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
	if cfg.BackoffMin > cfg.BackoffMax {
		errs = append(errs, fmt.Errorf("backoff min: %v is more than backoff max, %v", cfg.BackoffMin, cfg.BackoffMax))
	}
	switch {
	case cfg.MaxMessageBytes == 0:
		cfg.MaxMessageBytes = 16 << 20
	case cfg.MaxMessageBytes < 0:
		errs = append(errs, fmt.Errorf("max message bytes: %d is negative", cfg.MaxMessageBytes))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = http.DefaultClient
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
