package redis

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

// retryMin and retryMost bound what lies between two attempts to listen.
const (
	retryMin  = 50 * time.Millisecond
	retryMost = time.Second
)

// errSlow ends a tail whose events aren't taken as fast as they come.
var errSlow = errors.New("the reader is too slow: its queue is full")

// tail is a reader of an app's events, on a line.
type tail struct {
	app     broker.AppID
	line    *line
	channel string
	round   int           // guarded by the line's mu; which answer of the server it waits for
	most    int           // bytes of events that may wait
	wake    chan struct{} // there are events or an end; has room for one
	stands  chan struct{} // closed when it hears everything, or has ended

	mu     sync.Mutex
	live   bool            // guarded by mu; it hears everything
	events []*broker.Event // guarded by mu; not taken yet
	bytes  int             // guarded by mu; of events
	err    error           // guarded by mu; its last word
}

// stand says that from now on the tail hears everything. What it is given before is of a former
// subscription on the line, and may have a hole behind it.
func (t *tail) stand() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.live && t.err == nil {
		t.live = true
		close(t.stands)
	}
}

func (t *tail) push(events []*broker.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.live || t.err != nil {
		return
	}
	for _, e := range events {
		t.bytes += e.Size()
	}
	if t.bytes > t.most {
		t.err = errSlow
	} else {
		t.events = append(t.events, events...)
	}
	t.poke()
}

// end is the tail's last word, behind the events that it has.
func (t *tail) end(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return
	}
	t.err = why
	if !t.live {
		close(t.stands)
	}
	t.poke()
}

func (t *tail) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// last returns the last word, if it has been said.
func (t *tail) last() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// take returns the events that have come, and the last word.
func (t *tail) take() ([]*broker.Event, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	events := t.events
	t.events, t.bytes = nil, 0
	return events, t.err
}

// Tail returns the zero Position and an iterator over the app's events that are published from now on.
// It ends with an error as its last word when one may have been missed: the connection was lost, Redis
// has moved the app elsewhere, or what came wasn't taken; with [Config.GoOnAfterGap] it listens anew
// instead. An app may have any number of tails. Errors: [broker.ErrUnavailable], [broker.ErrClosed], the
// context's.
func (m *Medium) Tail(ctx context.Context, app broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	t, err := m.listen(ctx, app)
	if err != nil {
		return broker.Position{}, nil, fmt.Errorf("tail app %s: %w", app, err)
	}
	stop := context.AfterFunc(ctx, func() { t.line.leave(t.channel, t) }) // should nobody range over it
	ranged := false
	return broker.Position{}, func(yield func(*broker.Event, error) bool) {
		if ranged {
			yield(nil, fmt.Errorf("tail app %s: ranged over a second time", app))
			return
		}
		ranged = true
		defer stop()
		m.follow(ctx, t, yield)
	}, nil
}

// listen begins to listen, and returns when nothing will be missed any more.
func (m *Medium) listen(ctx context.Context, app broker.AppID) (*tail, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	channel := m.channel(app)
	l, err := m.line(ctx, channel)
	if err != nil {
		m.unwell(ctx)
		return nil, failed(ctx, err)
	}
	t := &tail{app: app, line: l, channel: channel, most: m.cfg.QueueBytes, wake: make(chan struct{}, 1), stands: make(chan struct{})}
	if err := l.join(channel, t); err != nil {
		return nil, failed(ctx, err)
	}
	timer := time.NewTimer(m.cfg.Timeout)
	defer timer.Stop()
	select {
	case <-t.stands:
		if err = t.last(); err == nil {
			err = l.master(ctx)
		}
	case <-timer.C:
		err = errUnasked
	case <-ctx.Done():
		err = ctx.Err()
	case <-m.done:
		err = broker.ErrClosed
	}
	if err != nil {
		l.leave(channel, t)
		m.unwell(ctx)
		return nil, failed(ctx, err)
	}
	return t, nil
}

// follow yields what comes until ctx or the loop ends, or the tail with an error.
func (m *Medium) follow(ctx context.Context, t *tail, yield func(*broker.Event, error) bool) {
	defer func() { t.line.leave(t.channel, t) }()
	for {
		select {
		case <-t.wake:
		case <-ctx.Done():
			return
		}
		events, err := t.take()
		for _, e := range events {
			if ctx.Err() != nil || !yield(e, nil) {
				return
			}
		}
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		t.line.leave(t.channel, t)
		closed := errors.Is(err, broker.ErrClosed)
		if !closed {
			m.metrics.gaps.WithLabelValues(string(t.app)).Inc()
			m.unwell(ctx)
		}
		if closed || !m.cfg.GoOnAfterGap {
			yield(nil, fmt.Errorf("tail app %s: %w", t.app, failed(ctx, err)))
			return
		}
		m.cfg.Logger.Warn("events may have been missed", "app", t.app, "err", err)
		if t = m.again(ctx, t); t == nil {
			return
		}
	}
}

// again listens anew, as often as it takes; nil when ctx has ended before.
func (m *Medium) again(ctx context.Context, t *tail) *tail {
	for wait := retryMin; ; wait = min(2*wait, retryMost) {
		next, err := m.listen(ctx, t.app)
		if err == nil {
			return next
		}
		select {
		case <-time.After(wait):
		case <-m.done:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}
