package streams

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/broker"
)

// metaEpoch is the key in a stream's metadata under which its epoch stands.
const metaEpoch = "epoch"

const (
	// tryTimeout is how long one request to JetStream's API may take. The first one after a
	// start or an election gets no answer, so it is short.
	tryTimeout = 2 * time.Second
	// callTimeout bounds a call of ours that makes such requests, when its context doesn't.
	callTimeout = 10 * time.Second
	// tryPause is what lies between two tries.
	tryPause = 50 * time.Millisecond
)

// stream is the stream of one app.
type stream struct {
	s        *Streams
	app      broker.AppID
	name     string
	subjects string // what its subjects begin with, up to and with a dot
	queue    *queue // of appends

	forgotten bool // guarded by Streams.mu; nobody uses the app here any more

	making chan struct{} // holds a value while somebody finds or makes the stream

	mu    sync.Mutex
	epoch broker.Epoch // guarded by mu; of the present life, empty when it must be asked for
	tails []bool       // guarded by mu; which consumer names of this node are in use
}

func newStream(s *Streams, app broker.AppID) (*stream, error) {
	name, err := streamName(s.cfg.Prefix, app)
	if err != nil {
		return nil, err
	}
	st := &stream{
		s:        s,
		app:      app,
		name:     name,
		subjects: appSubject(s.cfg.Prefix, app),
		making:   make(chan struct{}, 1),
	}
	st.queue = newQueue(st)
	return st, nil
}

// known returns the epoch, if it is known.
func (st *stream) known() broker.Epoch {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.epoch
}

// doubt lets the next open ask for the epoch, unless that has been done since.
func (st *stream) doubt(epoch broker.Epoch) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.epoch == epoch {
		st.epoch = ""
	}
}

// open returns the epoch of the app's stream, making the stream when it isn't there. Only one
// caller at a time asks; the others wait for what it finds.
func (st *stream) open(ctx context.Context, js jetstream.JetStream) (broker.Epoch, error) {
	if epoch := st.known(); epoch != "" {
		return epoch, nil
	}
	select {
	case st.making <- struct{}{}:
		defer func() { <-st.making }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if epoch := st.known(); epoch != "" {
		return epoch, nil
	}
	info, err := st.find(ctx, js)
	if err != nil {
		return "", err
	}
	epoch, _ := epochOf(info)
	return epoch, nil
}

// find returns the stream as its leader has it, making it when it isn't there, and remembers its
// epoch. It tries again until ctx ends, or [callTimeout] has passed, when the cause may go away.
func (st *stream) find(ctx context.Context, js jetstream.JetStream) (*jetstream.StreamInfo, error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	for {
		info, err := st.findOnce(ctx, js)
		if err == nil {
			return info, nil
		}
		if !passing(err) || !pause(ctx, tryPause) {
			return nil, fmt.Errorf("open stream %s: %w", st.name, err)
		}
	}
}

func (st *stream) findOnce(ctx context.Context, js jetstream.JetStream) (*jetstream.StreamInfo, error) {
	info, err := st.info(ctx, js)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		info, err = st.create(ctx, js)
	}
	if err != nil {
		return nil, err
	}
	epoch, err := epochOf(info)
	if err != nil {
		return nil, err
	}
	if info, err = st.adapt(ctx, js, info); err != nil {
		return nil, err
	}
	st.mu.Lock()
	st.epoch = epoch
	st.mu.Unlock()
	return info, nil
}

// info asks the stream's leader for its state.
func (st *stream) info(ctx context.Context, js jetstream.JetStream) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	handle, err := js.Stream(ctx, st.name)
	if err != nil {
		return nil, err
	}
	info := handle.CachedInfo()
	st.s.weigh(st, info)
	return info, nil
}

// create makes the stream. Of two nodes that do it at the same time one is told that the name is
// taken, since epochs differ, and reads back what the other made. Updating in its place would
// overwrite the epoch without a word.
func (st *stream) create(ctx context.Context, js jetstream.JetStream) (*jetstream.StreamInfo, error) {
	cfg := st.config()
	cfg.Metadata = map[string]string{metaEpoch: rand.Text()}
	handle, err := st.makeStream(ctx, js, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return st.info(ctx, js)
	}
	if err != nil {
		return nil, fmt.Errorf("make it: %w", err)
	}
	// A crash here leaves a stream that may be gone after a power cut. Nothing was acknowledged
	// from it.
	if err := st.s.cfg.AfterCreate(); err != nil {
		return nil, fmt.Errorf("after making it: %w", err)
	}
	st.s.metrics.created.Inc()
	st.s.cfg.Logger.Info("stream made", "app", st.app, "stream", st.name, "epoch", cfg.Metadata[metaEpoch])
	info := handle.CachedInfo()
	st.s.weigh(st, info)
	return info, nil
}

// config is the stream as it should be, without its epoch. It forgets at its head only, and nobody
// may delete or purge: each other way to lose events would hide from the first serial.
func (st *stream) config() jetstream.StreamConfig {
	limits := st.limits()
	return jetstream.StreamConfig{
		Name:               st.name,
		Description:        "Events of an app, kept by Playhead",
		Subjects:           []string{st.subjects + ">"},
		Retention:          jetstream.LimitsPolicy,
		Storage:            jetstream.FileStorage,
		Discard:            jetstream.DiscardOld,
		Replicas:           st.s.cfg.Replicas,
		MaxAge:             limits.age,
		MaxBytes:           limits.bytes,
		MaxMsgs:            limits.events,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		MaxConsumers:       -1,
		Duplicates:         limits.duplicates,
		DenyDelete:         true,
		DenyPurge:          true,
		AllowDirect:        true,
		AllowAtomicPublish: true,
	}
}

// differences says how a stream differs from how it should be, limits and replicas apart.
func differences(want, have jetstream.StreamConfig) []string {
	var diff []string
	compare := func(what string, want, have any) {
		if want != have {
			diff = append(diff, fmt.Sprintf("%s %v instead of %v", what, have, want))
		}
	}
	if !slices.Equal(want.Subjects, have.Subjects) {
		compare("subjects", strings.Join(want.Subjects, " "), strings.Join(have.Subjects, " "))
	}
	compare("retention", want.Retention, have.Retention)
	compare("storage", want.Storage, have.Storage)
	compare("discard policy", want.Discard, have.Discard)
	compare("messages per subject", want.MaxMsgsPerSubject, have.MaxMsgsPerSubject)
	compare("deny delete", want.DenyDelete, have.DenyDelete)
	compare("deny purge", want.DenyPurge, have.DenyPurge)
	compare("direct reads", want.AllowDirect, have.AllowDirect)
	compare("atomic batches", want.AllowAtomicPublish, have.AllowAtomicPublish)
	compare("rollups", false, have.AllowRollup)
	compare("expiry per message", false, have.AllowMsgTTL)
	compare("acknowledgements left out", false, have.NoAck)
	compare("sealed", false, have.Sealed)
	compare("mirror", false, have.Mirror != nil)
	compare("sources", 0, len(have.Sources))
	compare("subject transform", false, have.SubjectTransform != nil)
	return diff
}

var epochForm = regexp.MustCompile(`^[0-9A-Za-z]{1,32}$`)

// epochOf returns the epoch in a stream's metadata.
func epochOf(info *jetstream.StreamInfo) (broker.Epoch, error) {
	epoch := info.Config.Metadata[metaEpoch]
	if !epochForm.MatchString(epoch) {
		return "", fmt.Errorf("stream %s has no epoch in its metadata: Playhead didn't make it", info.Config.Name)
	}
	return broker.Epoch(epoch), nil
}

// passing reports whether an error of a request to JetStream may be gone at the next try.
func passing(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case codeNotAvailable, codeNotLeader, codeNotEnabled, codeNotEnabledForAccount:
			return true
		}
		// A name that is in use and can't be read back yet.
		return errors.Is(err, jetstream.ErrStreamNotFound)
	}
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrDisconnected) ||
		errors.Is(err, nats.ErrConnectionReconnecting) || errors.Is(err, jetstream.ErrJetStreamNotEnabled)
}

// bounded returns ctx with a time-out, unless it has a deadline.
func bounded(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
