// Package webhook tells an app's backend, signed and at least once, what happened.
//
// What is to be told becomes a letter for each endpoint that wants it, and letters go into a durable
// [Queue]: notices through a buffer in memory, client events from the log through a [Source]. A
// worker per endpoint takes them from there, holds back what may be taken back, and posts.
// See DESIGN.md for what can be lost, and what can come twice.
package webhook

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// Webhooks tells the backends of all apps. All methods are safe for concurrent use.
type Webhooks struct {
	cfg     Config
	metrics *metrics
	client  *http.Client

	endpoints atomic.Pointer[endpoints]
	buffer    *buffer
	run       string // part of the IDs of what this run of the process tells

	wake  chan struct{} // asks Run to look at poked and at the endpoints
	sweep chan struct{} // asks for a look at the backlog

	mu      sync.Mutex
	poked   map[key]struct{}           // guarded by mu; endpoints that something waits for
	workers map[key]struct{}           // guarded by mu; endpoints that have a worker
	since   map[broker.AppID]time.Time // guarded by mu; since when an app wants client events told
}

// New checks cfg and the apps' endpoints, and returns webhooks that are told while [Webhooks.Run]
// runs. The error names every problem there is.
func New(cfg Config) (*Webhooks, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	w := &Webhooks{
		cfg:     cfg,
		metrics: newMetrics(cfg.Registerer),
		client: &http.Client{
			Transport: cfg.Transport,
			// A redirect is an answer like any other: not a success.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		buffer:  newBuffer(cfg.BufferNotices, cfg.BufferBytes),
		run:     rand.Text(),
		wake:    make(chan struct{}, 1),
		sweep:   make(chan struct{}, 1),
		poked:   map[key]struct{}{},
		workers: map[key]struct{}{},
		since:   map[broker.AppID]time.Time{},
	}
	if err := w.Reload(); err != nil {
		return nil, err
	}
	return w, nil
}

// Reload reads the apps' endpoints again. What waits for an endpoint that is gone is buried; one that
// kept its name gets what waits for it at its new URL. On an error, which names every problem, nothing
// has changed.
func (w *Webhooks) Reload() error {
	all, err := newEndpoints(w.cfg.Apps.All())
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	w.endpoints.Store(all)
	w.mu.Lock()
	since := make(map[broker.AppID]time.Time)
	for app, list := range all.byApp {
		for _, e := range list {
			if w.cfg.Source == nil || !e.follow {
				continue
			}
			at, ok := w.since[app]
			if !ok {
				at = time.Now()
			}
			since[app] = at
		}
	}
	w.since = since
	w.mu.Unlock()
	poke(w.wake)
	return nil
}

// poke leaves a word in a channel of capacity 1. It never blocks: one word is enough.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Notify tells of a notice. It never blocks and may be called with locks held. What webhooks don't
// tell of is passed over: other kinds, users' own channels, and what no endpoint wants. Notices are
// told in the order of the calls, for each channel. A notice without a Time gets the present one.
func (w *Webhooks) Notify(n *broker.Notice) {
	name := pusher.WebhookName(n.Kind)
	if name == "" || pusher.KindOf(n.Channel) == pusher.ServerToUser {
		return
	}
	wanted := false
	for _, e := range w.endpoints.Load().byApp[n.App] {
		wanted = wanted || e.needs(name, n.Channel)
	}
	if !wanted {
		return
	}
	kept := broker.Notice{
		App: n.App, Channel: n.Channel, Kind: n.Kind, Count: n.Count, Time: n.Time,
		Member: broker.Member{UserID: n.Member.UserID}, ID: n.ID, Mark: n.Mark,
	}
	if kept.Time.IsZero() {
		kept.Time = time.Now()
	}
	if !w.buffer.add(told{Notice: kept}) {
		w.metrics.drop(n.App, "buffer_full", 1)
	}
}

// Waiting reports whether there are notices that aren't in the queue yet, and the mark of the oldest that
// has one.
func (w *Webhooks) Waiting() (mark uint64, waiting bool) { return w.buffer.oldest() }

// Run puts and delivers until ctx ends, and returns when what was under way is over: requests get
// their time to be answered, and the buffer is emptied into the queue if that takes no longer. It
// may be called once.
func (w *Webhooks) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { w.write(ctx) })
	running.Go(func() { w.watch(ctx) })
	followed := map[broker.AppID]context.CancelFunc{}
	for {
		for _, k := range w.takePoked() {
			running.Go(func() { w.work(ctx, k) })
		}
		w.follow(ctx, &running, followed)
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// takePoked returns the endpoints that want a worker and have none, and counts them as having one.
func (w *Webhooks) takePoked() []key {
	w.mu.Lock()
	defer w.mu.Unlock()
	var keys []key
	for k := range w.poked {
		if _, ok := w.workers[k]; !ok {
			keys = append(keys, k)
			w.workers[k] = struct{}{}
			delete(w.poked, k)
		}
	}
	return keys
}

// want asks for a worker for an endpoint that something waits for.
func (w *Webhooks) want(k key) {
	w.mu.Lock()
	w.poked[k] = struct{}{}
	w.mu.Unlock()
	poke(w.wake)
}

// work is the life of an endpoint's worker.
func (w *Webhooks) work(ctx context.Context, k key) {
	defer func() {
		w.mu.Lock()
		delete(w.workers, k)
		w.mu.Unlock()
		poke(w.wake)
	}()
	w.metrics.workers.Inc()
	defer w.metrics.workers.Dec()
	if err := newWorker(w, k).run(ctx); err != nil {
		// What it held is in the queue, and the next one begins with it.
		w.cfg.Logger.Warn("webhook worker is held up", "app", k.app, "endpoint", k.name, "err", err)
		if pause(ctx, workerPause) {
			w.want(k)
		}
	}
}

// workerPause is what lies between the end of a worker whose queue failed and the next one.
const workerPause = time.Second

// watch asks the queue, now and then, for endpoints that something waits for: since before this run,
// or put by another node that is gone.
func (w *Webhooks) watch(ctx context.Context) {
	tick := time.NewTicker(w.cfg.Sweep)
	defer tick.Stop()
	needed, healthy := false, true
	for {
		// Where no app has webhooks, the queue isn't even made.
		if needed = needed || len(w.endpoints.Load().byKey) > 0; needed {
			healthy = w.look(ctx, healthy)
		}
		select {
		case <-tick.C:
		case <-w.sweep:
		case <-ctx.Done():
			return
		}
	}
}

// look asks the queue once; false when that went wrong.
func (w *Webhooks) look(ctx context.Context, healthy bool) bool {
	backlog, err := w.cfg.Archive.Backlog(ctx)
	if err != nil {
		if healthy && ctx.Err() == nil {
			w.cfg.Logger.Warn("webhook queue can't be looked at", "err", err)
		}
		return false
	}
	w.metrics.waiting(backlog)
	for _, b := range backlog {
		w.want(key{b.App, b.Endpoint})
	}
	return true
}

// Retry puts dead letters into the queue again, by their numbers, and returns how many. Errors are
// the archive's.
func (w *Webhooks) Retry(ctx context.Context, numbers ...uint64) (int, error) {
	n, err := w.cfg.Archive.Retry(ctx, numbers...)
	if n > 0 {
		poke(w.sweep)
	}
	return n, err
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

// ended reports whether an error is of a context that has ended.
func ended(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, ctx.Err())
}
