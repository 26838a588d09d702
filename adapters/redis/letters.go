package redis

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
	goredis "github.com/redis/go-redis/v9"
)

const (
	// letterPlaces is how many places letters are spread over, by their apps. Everything of one
	// place is in one slot of a cluster, so that a script can change it at once.
	letterPlaces = 16
	// letterWindow is for how long the ID of a letter is remembered.
	letterWindow = 2 * time.Minute
	// callTimeout bounds one call when the caller has no deadline of its own.
	callTimeout = 5 * time.Second
	// tryPauseMin and tryPauseMax bound the pause of a taker after Redis could not be reached.
	tryPauseMin = 50 * time.Millisecond
	tryPauseMax = time.Second
)

// LettersConfig configures [Letters].
type LettersConfig struct {
	// Client reaches Redis, of 6.2 or newer, and lends its prefix. Required.
	Client *Client

	// MaxAge is how long the letters of an endpoint wait since the last one was put, before they
	// are forgotten. It has to be longer than letters are tried. Default 24 h.
	MaxAge time.Duration

	// MaxBytes is how much may wait for one endpoint; over it letters for this endpoint are
	// refused. Default 64 MiB.
	MaxBytes int64

	// MaxLetters is how many letters may wait for one endpoint; over it those for this endpoint
	// are refused. Default 100,000.
	MaxLetters int64

	// DeadAge is how long dead letters are kept. Default 7 days.
	DeadAge time.Duration

	// DeadBytes is how much of dead letters is kept; over it the oldest are forgotten. Default
	// 64 MiB.
	DeadBytes int64

	// Window is how many letters of an endpoint may be taken and not done. Their taker holds
	// them in memory; and only those that are taken together can take each other back. Default
	// 5,000.
	Window int

	// Takeover is after how much silence of an endpoint's taker another may take its place.
	// Default 15 s, at least 1 s.
	Takeover time.Duration

	// Look is how often a taker looks for what it wasn't told of. Default 1 s.
	Look time.Duration

	// Logger takes lifecycle and faults. Default: discard.
	Logger *slog.Logger
}

// Letters keeps letters in Redis: a stream per endpoint of those that wait, with one taker at a time,
// and a stream of the dead. How durable they are is up to how Redis is set up: without an append-only
// file a restart of Redis loses them, and a failover loses what the replica hadn't got yet. All methods
// are safe for concurrent use.
type Letters struct {
	cfg    LettersConfig
	rdb    goredis.UniversalClient
	prefix string // of all keys
	wake   string // the channel that takers are woken by

	mu     sync.Mutex
	serial uint64                     // guarded by mu; of the letter that was taken last
	held   map[uint64]*held           // guarded by mu; letters taken here and not done, by their serials
	takers map[string]map[*taker]bool // guarded by mu; those of this process, by their endpoint's key
}

// NewLetters checks cfg and returns letters. The error names every problem there is. Nothing is asked
// of Redis before the first call.
func NewLetters(cfg LettersConfig) (*Letters, error) {
	var errs []error
	problem := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	problem(cfg.Client == nil, "client: required")
	for _, f := range []struct {
		name  string
		field *time.Duration
		value time.Duration
	}{
		{"max age", &cfg.MaxAge, 24 * time.Hour},
		{"dead age", &cfg.DeadAge, 7 * 24 * time.Hour},
		{"takeover", &cfg.Takeover, 15 * time.Second},
		{"look", &cfg.Look, time.Second},
	} {
		problem(*f.field < 0, "%s: %v is negative", f.name, *f.field)
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	for _, f := range []struct {
		name  string
		field *int64
		value int64
	}{
		{"max bytes", &cfg.MaxBytes, 64 << 20},
		{"max letters", &cfg.MaxLetters, 100_000},
		{"dead bytes", &cfg.DeadBytes, 64 << 20},
	} {
		problem(*f.field < 0, "%s: %d is negative", f.name, *f.field)
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	problem(cfg.Window < 0, "window: %d is negative", cfg.Window)
	if cfg.Window == 0 {
		cfg.Window = 5000
	}
	problem(cfg.Takeover > 0 && cfg.Takeover < time.Second, "takeover: %v is shorter than 1s, which a living taker may be silent for", cfg.Takeover)
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("letters: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Letters{
		cfg:    cfg,
		rdb:    cfg.Client.rdb,
		prefix: cfg.Client.cfg.Prefix,
		wake:   cfg.Client.cfg.Prefix + ":letters:wake",
		held:   map[uint64]*held{},
		takers: map[string]map[*taker]bool{},
	}, nil
}

// Run listens, until ctx ends, for word of letters that other nodes have put. Without it everything works
// too, but what others put is noticed only when a taker looks ([LettersConfig].Look). It may be called once.
func (l *Letters) Run(ctx context.Context) error {
	words := l.rdb.Subscribe(ctx, l.wake)
	defer words.Close()
	// The library's read doesn't end with its context.
	end := context.AfterFunc(ctx, func() { _ = words.Close() })
	defer end()
	for ctx.Err() == nil {
		m, err := words.ReceiveMessage(ctx)
		if err != nil {
			// It connects again by itself; what it misses meanwhile the takers find by looking.
			pause(ctx, tryPauseMax)
			continue
		}
		l.poke(m.Payload)
	}
	return nil
}

// poke makes the takers of an endpoint that are here look.
func (l *Letters) poke(endpoint string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for t := range l.takers[endpoint] {
		t.poke()
	}
}

// endpointKey names an endpoint among all apps'.
func endpointKey(app broker.AppID, endpoint string) string {
	return string(app) + "/" + url.PathEscape(endpoint)
}

// parseEndpoint takes such a name apart.
func parseEndpoint(key string) (app broker.AppID, endpoint string, ok bool) {
	i := strings.LastIndexByte(key, '/')
	if i < 0 {
		return "", "", false
	}
	endpoint, err := url.PathUnescape(key[i+1:])
	return broker.AppID(key[:i]), endpoint, err == nil
}

// place returns what the keys of an app's letters begin with.
func (l *Letters) place(app broker.AppID) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(app)) // never an error
	return l.placeAt(int(h.Sum32() % letterPlaces))
}

func (l *Letters) placeAt(n int) string {
	return "{" + l.prefix + ":letters:" + strconv.Itoa(n) + "}:"
}

// The keys of a place. In all hashes the fields are endpoints' keys.
func waitingKey(place string) string          { return place + "waiting" }       // hash: how many letters wait
func bytesKey(place string) string            { return place + "bytes" }         // hash: how much they take
func ownersKey(place string) string           { return place + "owners" }        // hash: tokens of the latest takers
func sleepersKey(place string) string         { return place + "sleepers" }      // hash: whose taker wants to be woken
func idsKey(place string) string              { return place + "ids" }           // sorted set: IDs, by when they were put
func streamKey(place, endpoint string) string { return place + "s:" + endpoint } // stream: the letters that wait
func leaseKey(place, endpoint string) string  { return place + "l:" + endpoint } // string: there while the taker lives

// Backlog says how much waits, for each endpoint that something waits for. Errors:
// [broker.ErrUnavailable], the context's.
func (l *Letters) Backlog(ctx context.Context) ([]broker.Backlog, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	pipe := l.rdb.Pipeline()
	var answers [letterPlaces]*goredis.MapStringStringCmd
	for n := range answers {
		answers[n] = pipe.HGetAll(ctx, waitingKey(l.placeAt(n)))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("ask for the backlog of letters: %w", unavailable(ctx, err))
	}
	var backlog []broker.Backlog
	for _, answer := range answers {
		for key, text := range answer.Val() {
			app, endpoint, ok := parseEndpoint(key)
			n, err := strconv.ParseUint(text, 10, 64)
			if ok && err == nil && n > 0 {
				backlog = append(backlog, broker.Backlog{App: app, Endpoint: endpoint, Letters: n})
			}
		}
	}
	return backlog, nil
}

// unavailable makes an error of Redis one that callers branch on: the context's when that has ended.
func unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
}

// bounded gives ctx a deadline if it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
