package streams

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/broker"
)

// The streams of letters. An app's id can't make these names: in those, two upper-case hex digits
// follow a %.
const (
	lettersName     = "%webhooks"
	deadLettersName = "%webhooks-dead"
)

// LettersConfig configures [Letters].
type LettersConfig struct {
	// Streams lends its connections, prefix, replicas, logger and what is to be done when a
	// stream was made. Required.
	Streams *Streams

	// MaxAge is how long a letter waits before it is forgotten. It has to be longer than
	// letters are tried. Default 24 h.
	MaxAge time.Duration

	// MaxBytes is how much may wait in all; over it letters are refused. Default 256 MiB.
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
	// Default 15 s, at least 6 s.
	Takeover time.Duration
}

// Letters keeps letters in JetStream: a work queue of those that wait, with a subject and a durable
// consumer per endpoint, and a stream of the dead. All methods are safe for concurrent use.
type Letters struct {
	cfg LettersConfig
	s   *Streams

	name, deadName         string // of the streams
	subjects, deadSubjects string // what their subjects begin with, up to and with a dot

	making chan struct{} // holds a value while somebody makes the streams

	mu   sync.Mutex
	made bool             // guarded by mu; the streams are there, as far as is known
	held map[uint64]*held // guarded by mu; letters taken here and not done, by their serials
}

// NewLetters checks cfg and returns letters whose streams are made when they are first needed.
func NewLetters(cfg LettersConfig) (*Letters, error) {
	var errs []error
	problem := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	problem(cfg.Streams == nil, "streams: required")
	orDefault(&cfg.MaxAge, 24*time.Hour)
	problem(cfg.MaxAge < 0, "max age: %v is negative", cfg.MaxAge)
	orDefault(&cfg.MaxBytes, 256<<20)
	problem(cfg.MaxBytes < 0, "max bytes: %d is negative", cfg.MaxBytes)
	orDefault(&cfg.MaxLetters, 100_000)
	problem(cfg.MaxLetters < 0, "max letters: %d is negative", cfg.MaxLetters)
	orDefault(&cfg.DeadAge, 7*24*time.Hour)
	problem(cfg.DeadAge < 0, "dead age: %v is negative", cfg.DeadAge)
	orDefault(&cfg.DeadBytes, 64<<20)
	problem(cfg.DeadBytes < 0, "dead bytes: %d is negative", cfg.DeadBytes)
	orDefault(&cfg.Window, 5000)
	problem(cfg.Window < 0, "window: %d is negative", cfg.Window)
	orDefault(&cfg.Takeover, 15*time.Second)
	problem(cfg.Takeover < pullExpiry+pullHeartbeat, "takeover: %v is shorter than %v, which a living taker may be silent for", cfg.Takeover, pullExpiry+pullHeartbeat)
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("letters: %w", err)
	}
	prefix := cfg.Streams.cfg.Prefix
	return &Letters{
		cfg:          cfg,
		s:            cfg.Streams,
		name:         prefix + "_" + lettersName,
		deadName:     prefix + "_" + deadLettersName,
		subjects:     prefix + "." + lettersName + ".",
		deadSubjects: prefix + "." + deadLettersName + ".",
		making:       make(chan struct{}, 1),
		held:         map[uint64]*held{},
	}, nil
}

// ensure makes the streams, or brings their limits to what the configuration says.
func (l *Letters) ensure(ctx context.Context) error {
	select {
	case l.making <- struct{}{}:
		defer func() { <-l.making }()
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	made := l.made
	l.mu.Unlock()
	if made {
		return nil
	}
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	for _, cfg := range l.configs() {
		for {
			try, cancel := context.WithTimeout(ctx, 2*tryTimeout)
			err := keepReplicas(try, l.s.publish, &cfg)
			if err == nil {
				_, err = l.s.publish.CreateOrUpdateStream(try, cfg)
			}
			if cfg.Replicas > 1 && tooFew(err) {
				// While there are too few servers: one replica, or as many as it has.
				cfg.Replicas = 1
				if err = keepReplicas(try, l.s.publish, &cfg); err == nil {
					_, err = l.s.publish.CreateOrUpdateStream(try, cfg)
				}
			}
			cancel()
			if err == nil {
				break
			}
			// Of two nodes that make it at once one is told that the name is taken.
			if !passing(err) && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) || !pause(ctx, tryPause) {
				return fmt.Errorf("make stream %s: %w", cfg.Name, err)
			}
		}
	}
	if err := l.s.cfg.AfterCreate(); err != nil {
		return fmt.Errorf("after making stream %s: %w", l.name, err)
	}
	l.mu.Lock()
	l.made = true
	l.mu.Unlock()
	return nil
}

// doubt lets the next ensure look again.
func (l *Letters) doubt(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		l.mu.Lock()
		l.made = false
		l.mu.Unlock()
	}
	return err
}

func (l *Letters) configs() [2]jetstream.StreamConfig {
	queue := jetstream.StreamConfig{
		Name:        l.name,
		Description: "Webhooks that wait to be delivered, kept by Playhead",
		Subjects:    []string{l.subjects + "*.*"},
		Retention:   jetstream.WorkQueuePolicy,
		Storage:     jetstream.FileStorage,
		Replicas:    l.s.cfg.Replicas,
		MaxAge:      l.cfg.MaxAge,
		Duplicates:  min(l.s.cfg.Duplicates, l.cfg.MaxAge),
		// What is full refuses; and one endpoint alone can't fill it.
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,
		MaxBytes:             l.cfg.MaxBytes,
		MaxMsgsPerSubject:    l.cfg.MaxLetters,
		MaxConsumers:         -1,
		AllowAtomicPublish:   true,
	}
	dead := jetstream.StreamConfig{
		Name:         l.deadName,
		Description:  "Webhooks that could not be delivered, kept by Playhead",
		Subjects:     []string{l.deadSubjects + "*.*"},
		Retention:    jetstream.LimitsPolicy,
		Storage:      jetstream.FileStorage,
		Replicas:     l.s.cfg.Replicas,
		MaxAge:       l.cfg.DeadAge,
		MaxBytes:     l.cfg.DeadBytes,
		Duplicates:   min(l.s.cfg.Duplicates, l.cfg.DeadAge),
		Discard:      jetstream.DiscardOld,
		MaxConsumers: -1,
	}
	return [2]jetstream.StreamConfig{queue, dead}
}

// endpointSubject is the subject of an endpoint's letters below what the stream's begin with.
func endpointSubject(subjects string, app broker.AppID, endpoint string) string {
	return subjects + inToken.escape(string(app)) + "." + inToken.escape(endpoint)
}

// parseEndpoint takes such a subject apart.
func parseEndpoint(subjects, subject string) (app broker.AppID, endpoint string, ok bool) {
	rest, ok := strings.CutPrefix(subject, subjects)
	if !ok {
		return "", "", false
	}
	first, second, ok := strings.Cut(rest, ".")
	if !ok {
		return "", "", false
	}
	id, ok1 := inToken.unescape(first)
	endpoint, ok2 := inToken.unescape(second)
	return broker.AppID(id), endpoint, ok1 && ok2
}

// letter reads a message of one of the streams.
func (l *Letters) letter(subjects, subject string, h nats.Header, data []byte) (*broker.Letter, error) {
	app, endpoint, ok := parseEndpoint(subjects, subject)
	if !ok {
		return nil, fmt.Errorf("%w: subject %q", errNotLetter, subject)
	}
	ms, err := strconv.ParseInt(header(h, headerTime), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: time %q", errNotLetter, header(h, headerTime))
	}
	id, ok := inHeader.unescape(header(h, headerID))
	if !ok {
		return nil, fmt.Errorf("%w: id %q", errNotLetter, header(h, headerID))
	}
	return &broker.Letter{ID: id, App: app, Endpoint: endpoint, Time: time.UnixMilli(ms).UTC(), Body: data}, nil
}

// errNotLetter is what a message is that no Put wrote.
var errNotLetter = errors.New("not a letter")

// Backlog says how much waits, for each endpoint that something waits for. Errors:
// [broker.ErrUnavailable], the context's.
func (l *Letters) Backlog(ctx context.Context) ([]broker.Backlog, error) {
	fail := func(err error) ([]broker.Backlog, error) {
		return nil, fmt.Errorf("ask for the backlog of letters: %w", failed(ctx, l.doubt(err)))
	}
	if err := l.ensure(ctx); err != nil {
		return fail(err)
	}
	try, cancel := bounded(ctx, callTimeout)
	defer cancel()
	handle, err := l.s.read.Stream(try, l.name)
	if err != nil {
		return fail(err)
	}
	info, err := handle.Info(try, jetstream.WithSubjectFilter(l.subjects+">"))
	if err != nil {
		return fail(err)
	}
	backlog := make([]broker.Backlog, 0, len(info.State.Subjects))
	for subject, n := range info.State.Subjects {
		if app, endpoint, ok := parseEndpoint(l.subjects, subject); ok {
			backlog = append(backlog, broker.Backlog{App: app, Endpoint: endpoint, Letters: n})
		}
	}
	return backlog, nil
}
