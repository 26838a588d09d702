package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/broker"
)

// limits are what a stream remembers, in JetStream's words: no bound is 0 for an age, else −1.
type limits struct {
	age           time.Duration
	bytes, events int64
	duplicates    time.Duration // how long IDs are remembered
}

func limitsOf(c *jetstream.StreamConfig) limits {
	return limits{age: c.MaxAge, bytes: c.MaxBytes, events: c.MaxMsgs, duplicates: c.Duplicates}
}

func (l limits) put(c *jetstream.StreamConfig) {
	c.MaxAge, c.MaxBytes, c.MaxMsgs, c.Duplicates = l.age, l.bytes, l.events, l.duplicates
}

// limits returns what the app's stream is to remember, as the configuration has it now.
func (st *stream) limits() limits {
	cfg := &st.s.cfg
	l := limits{age: cfg.MaxAge, bytes: cfg.MaxBytes, events: cfg.MaxMsgs, duplicates: cfg.Duplicates}
	own := cfg.Retention(st.app)
	switch {
	case own.Age < 0:
		l.age = 0
	case own.Age > 0:
		l.age = max(own.Age, 2*cfg.AppendTimeout)
	}
	if own.Bytes != 0 {
		l.bytes = max(own.Bytes, -1)
	}
	if own.Events != 0 {
		l.events = max(own.Events, -1)
	}
	if l.age > 0 {
		l.duplicates = min(l.duplicates, l.age) // JetStream takes no more
	}
	return l
}

// Adapt brings the limits of the apps' streams to what the configuration's Retention says now. A
// stream keeps its epoch, its serials and whoever tails it; what is over the new limits it forgets.
// An app that has no stream gets none. A stream that can't be adapted doesn't keep the others from
// it, but when JetStream can't be reached the rest isn't tried; each will be when it is next opened or
// asked for its bounds. Errors: [broker.ErrUnavailable], the context's.
func (s *Streams) Adapt(ctx context.Context, apps ...broker.AppID) error {
	var errs []error
	for i, app := range apps {
		err := s.adapt(ctx, app)
		if err == nil {
			continue
		}
		errs = append(errs, fmt.Errorf("adapt the stream of app %s: %w", app, failed(ctx, err)))
		if ctx.Err() != nil || passing(err) {
			if left := len(apps) - i - 1; left > 0 {
				errs = append(errs, fmt.Errorf("%d more were not tried", left))
			}
			break
		}
	}
	return errors.Join(errs...)
}

func (s *Streams) adapt(ctx context.Context, app broker.AppID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	st, err := s.peek(app)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	for {
		info, err := st.info(ctx, s.read)
		if err == nil {
			_, err = epochOf(info)
		}
		if err == nil {
			_, err = st.adapt(ctx, s.read, info)
		}
		if err == nil || errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if !passing(err) || !pause(ctx, tryPause) {
			return err
		}
	}
}

// adapt brings the limits of a stream to what the configuration says, keeping its metadata, and its
// replicas to what it says if they are fewer. Any other difference is an error: it was made for something else, or somebody changed what our
// promises rest on.
func (st *stream) adapt(ctx context.Context, js jetstream.JetStream, info *jetstream.StreamInfo) (*jetstream.StreamInfo, error) {
	want, have := st.config(), info.Config
	if diff := differences(want, have); len(diff) > 0 {
		return nil, fmt.Errorf("it is not as Playhead makes it: %s", strings.Join(diff, "; "))
	}
	if limitsOf(&want) == limitsOf(&have) {
		return st.replicate(ctx, js, info)
	}
	limitsOf(&want).put(&have)
	change, cancel := context.WithTimeout(ctx, 2*tryTimeout)
	defer cancel()
	handle, err := js.UpdateStream(change, have)
	if err != nil {
		return nil, fmt.Errorf("change its limits: %w", err)
	}
	st.s.cfg.Logger.Info("stream's limits changed", "app", st.app, "stream", st.name,
		"age", have.MaxAge, "bytes", have.MaxBytes, "events", have.MaxMsgs)
	return st.replicate(ctx, js, handle.CachedInfo())
}
