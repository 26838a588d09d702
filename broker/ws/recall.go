package ws

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

const (
	// recallTimeout bounds how long the log may take for a channel's last event.
	recallTimeout = 5 * time.Second

	// recallsAtOnce is how many reads there may be at a time. A JetStream server drops what
	// waits for its attention when too much does.
	recallsAtOnce = 32
)

// place is a channel of an app.
type place struct {
	app     broker.AppID
	channel broker.Channel
}

// recall reads the last events of cache channels. Thousands may come back to one channel at the
// same time: there is one read per channel, and whoever comes while it is under way shares the next.
// So each one's read has begun after it had subscribed, and with that is no older than its seam.
type recall struct {
	cache broker.Cache // nil where the medium has none
	slots chan struct{}

	mu       sync.Mutex
	awaited  map[place]*recollection // guarded by mu; those that haven't begun to read
	underWay map[place]*recollection // guarded by mu; those that have
}

// recollection is one read for all who wait for it. The first of them does it.
type recollection struct {
	done chan struct{}
	last *broker.Delivery // set before done is closed; nil when there is none
	err  error            // set before done is closed
}

func newRecall(cache broker.Cache) *recall {
	return &recall{
		cache:    cache,
		slots:    make(chan struct{}, recallsAtOnce),
		awaited:  map[place]*recollection{},
		underWay: map[place]*recollection{},
	}
}

// last returns the channel's newest event that a backend published, however old, shared by all who
// ask; nil when there is none. It is no older than what had been delivered before the call.
func (r *recall) last(ctx context.Context, at place) (*broker.Delivery, error) {
	if r.cache == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, recallTimeout)
	defer cancel()
	r.mu.Lock()
	it := r.awaited[at]
	if it == nil {
		it = &recollection{done: make(chan struct{})}
		before := r.underWay[at]
		r.awaited[at] = it
		r.mu.Unlock()
		r.read(ctx, at, it, before)
		return it.last, it.err
	}
	r.mu.Unlock()
	select {
	case <-it.done:
		return it.last, it.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the last event of %s: %w", at.channel, ctx.Err())
	}
}

// read reads for all who wait when the channel's former read is over and there is a slot. When ctx
// ends before, they get its error.
func (r *recall) read(ctx context.Context, at place, it, before *recollection) {
	err := r.turn(ctx, before)
	r.mu.Lock()
	delete(r.awaited, at) // who comes from here on may have subscribed too late for this read
	r.underWay[at] = it
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		if r.underWay[at] == it {
			delete(r.underWay, at)
		}
		r.mu.Unlock()
		close(it.done)
	}()
	if err != nil {
		it.err = fmt.Errorf("wait to read the last event of %s: %w", at.channel, err)
		return
	}
	defer func() { <-r.slots }()
	e, err := r.cache.Last(ctx, at.app, at.channel)
	switch {
	case err != nil:
		it.err = err
	case e != nil:
		it.last = &broker.Delivery{Event: e}
	}
}

// turn waits for the channel's former read, if any, and takes a slot.
func (r *recall) turn(ctx context.Context, before *recollection) error {
	if before != nil {
		select {
		case <-before.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case r.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// recall returns the last event of a cache channel for a subscription that was just made; nil when
// there is none to give, because nothing was published lately or because the log can't say. Of a
// channel that is known to be empty the observer is told, once.
func (s *session) recall(ctx context.Context, ch broker.Channel) *broker.Delivery {
	srv := s.server
	at := place{app: s.app.ID, channel: ch}
	last, err := srv.recall.last(ctx, at)
	if err != nil {
		srv.metrics.cached(s.app.ID, "unavailable")
		srv.cfg.Logger.Debug("last event can't be read", "app", s.app.ID, "session", s.id, "channel", ch, "err", err)
		return nil
	}
	var e *broker.Event
	if last != nil {
		e = last.Event
	}
	now := time.Now()
	if s.app.Cached(e, now) > 0 {
		srv.metrics.cached(s.app.ID, "event")
		srv.misses.over(at)
		return last
	}
	srv.metrics.cached(s.app.ID, "miss")
	if srv.cfg.Observer != nil && srv.misses.begins(at, e, now) {
		srv.cfg.Observer.Notify(&broker.Notice{App: s.app.ID, Channel: ch, Kind: broker.CacheMiss, Time: now})
	}
	return nil
}
