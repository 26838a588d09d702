package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config configures a [Node].
type Config struct {
	// Log is the medium. Required.
	Log Log

	// Linger is how long an app's feed keeps tailing after its last session left, so that a
	// returning client finds it warm. Default 30 s; −1 ends it at once.
	Linger time.Duration

	// GateBytes bounds what one subscription holds back while its replay is read and sent.
	// Over it the session is closed with [GateOverflow]. Default 1 MiB.
	GateBytes int

	// WindowEvents and WindowBytes bound the newest events of each app in use that are kept in
	// memory, so that most returning clients are answered without a look at the log. Bytes are
	// those of the events with what it takes to keep them. Default 100,000 and 16 MiB; −1 in
	// either keeps none. Where the log remembers less than that, so should the window.
	WindowEvents int
	WindowBytes  int

	// WindowAge is how old an event in memory may be and still be given out: what the log has
	// forgotten by age isn't remembered here. Default, and −1: however old.
	WindowAge time.Duration

	// Pace keeps feeds from running away from those who write on sockets. Default: nothing does, and
	// what can't be written in time waits in the connections' queues.
	Pace *Pace

	// Logger takes lifecycle and faults. Default: discard.
	Logger *slog.Logger

	// Registerer takes the metrics. Default: a registry of its own, seen by nobody.
	Registerer prometheus.Registerer
}

// Node appends events to the log and fans out what the log yields. It is one of many that share
// a medium. All methods are safe for concurrent use.
type Node struct {
	cfg     Config
	metrics *metrics

	wake chan struct{} // asks Run to look at pending and idle feeds
	done chan struct{} // closed when Run has returned

	mu      sync.Mutex
	feeds   map[AppID]*Feed // guarded by mu; feeds that new sessions may use
	pending []*Feed         // guarded by mu; feeds that Run has yet to start

	// last holds, per app, the done channel of its newest feed, so that the next one starts
	// only when it is gone. Guarded by mu; as many entries as apps ever used here.
	last   map[AppID]<-chan struct{}
	closed bool // guarded by mu; Run has been told to end
}

// New checks cfg and returns a node that does nothing until [Node.Run] is called.
func New(cfg Config) (*Node, error) {
	var errs []error
	if cfg.Log == nil {
		errs = append(errs, errors.New("log: required"))
	}
	if cfg.Linger < -1 {
		errs = append(errs, fmt.Errorf("linger: %v is negative; -1 means none", cfg.Linger))
	}
	if cfg.GateBytes < 0 {
		errs = append(errs, fmt.Errorf("gate bytes: %d is negative", cfg.GateBytes))
	}
	if cfg.WindowEvents < -1 {
		errs = append(errs, fmt.Errorf("window events: %d is negative; -1 means none", cfg.WindowEvents))
	}
	if cfg.WindowBytes < -1 {
		errs = append(errs, fmt.Errorf("window bytes: %d is negative; -1 means none", cfg.WindowBytes))
	}
	if cfg.WindowAge < -1 {
		errs = append(errs, fmt.Errorf("window age: %v is negative; -1 means none", cfg.WindowAge))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	cfg.settleWindow()
	switch cfg.Linger {
	case 0:
		cfg.Linger = 30 * time.Second
	case -1:
		cfg.Linger = 0
	}
	if cfg.GateBytes == 0 {
		cfg.GateBytes = 1 << 20
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	n := &Node{
		cfg:     cfg,
		metrics: newMetrics(cfg.Registerer),
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		feeds:   map[AppID]*Feed{},
		last:    map[AppID]<-chan struct{}{},
	}
	if err := cfg.Registerer.Register(newWindows(n)); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	return n, nil
}

// settleWindow gives the window its defaults. Without a window its events are 0.
func (c *Config) settleWindow() {
	c.WindowAge = max(c.WindowAge, 0)
	if c.WindowEvents < 0 || c.WindowBytes < 0 {
		c.WindowEvents, c.WindowBytes = 0, 0
		return
	}
	if c.WindowEvents == 0 {
		c.WindowEvents = 100_000
	}
	if c.WindowBytes == 0 {
		c.WindowBytes = 16 << 20
	}
}

// Run tails the log for every app in use until ctx ends, and returns when every feed is gone. It
// may be called once.
func (n *Node) Run(ctx context.Context) error {
	defer close(n.done)
	var running sync.WaitGroup
	defer running.Wait()

	idle := time.NewTimer(time.Hour)
	defer idle.Stop()
	for {
		next := n.sweep(func(f *Feed) {
			ctx, cancel := context.WithCancelCause(ctx)
			f.cancel = cancel
			running.Go(func() {
				defer cancel(nil)
				f.run(ctx)
			})
		})
		idle.Reset(next)
		select {
		case <-ctx.Done():
			n.close()
			return nil
		case <-n.wake:
		case <-idle.C:
		}
	}
}

// sweep starts the feeds that wait for it, ends those that nobody used for the linger time, and
// says when to look again.
func (n *Node) sweep(start func(*Feed)) (next time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.pending {
		start(f)
	}
	n.pending = nil
	next = time.Hour
	now := time.Now()
	for app, f := range n.feeds {
		if f.users > 0 {
			continue
		}
		left := n.cfg.Linger - now.Sub(f.idleSince)
		if left > 0 {
			next = min(next, left)
			continue
		}
		f.cancel(nil)
		delete(n.feeds, app)
		n.cfg.Logger.Info("app no longer in use here", "app", app)
	}
	return next
}

// close refuses new feeds and fails those that were never started.
func (n *Node) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, f := range n.pending {
		f.err = ErrClosed
		close(f.ready)
		close(f.done)
	}
	n.pending = nil
}

// poke asks Run to sweep. It never blocks: one outstanding request is enough.
func (n *Node) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Publish appends events of one app to the log and returns when they are stored. It gives each
// event its Time and, where it has none, its ID. Errors are those of [Log.Append]; after one,
// publishing the same events again, with the IDs they now have, is safe.
func (n *Node) Publish(ctx context.Context, events ...*Event) error {
	if len(events) == 0 {
		return nil
	}
	app := events[0].App
	now := time.Now().UTC().Truncate(time.Millisecond)
	for _, e := range events {
		if e.App != app {
			return fmt.Errorf("publish to app %s: event for app %s among them", app, e.App)
		}
		if e.Channel == "" {
			return fmt.Errorf("publish to app %s: event without channel", app)
		}
		if e.ID == "" {
			e.ID = rand.Text()
		}
		e.Time = now
	}
	started := time.Now()
	err := n.cfg.Log.Append(ctx, events...)
	n.metrics.published(app, len(events), time.Since(started), err)
	if err != nil {
		return fmt.Errorf("publish to app %s: %w", app, err)
	}
	return nil
}

// Feed returns the app's feed, starting it when this is the app's first session on the node, and
// returns when its tail stands. The caller counts as a user of the feed until [Feed.Release].
// Errors: those of [Log.Tail], [ErrClosed], and the context's.
func (n *Node) Feed(ctx context.Context, app AppID) (*Feed, error) {
	f, err := n.acquire(app)
	if err != nil {
		return nil, fmt.Errorf("feed of app %s: %w", app, err)
	}
	select {
	case <-f.ready:
		if f.err != nil {
			f.Release()
			return nil, fmt.Errorf("feed of app %s: %w", app, f.err)
		}
		return f, nil
	case <-ctx.Done():
		f.Release()
		return nil, fmt.Errorf("feed of app %s: %w", app, ctx.Err())
	case <-n.done:
		f.Release()
		return nil, fmt.Errorf("feed of app %s: %w", app, ErrClosed)
	}
}

// acquire counts a user in on the app's feed, making one that Run will start when there is none.
func (n *Node) acquire(app AppID) (*Feed, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, ErrClosed
	}
	f := n.feeds[app]
	if f == nil {
		f = newFeed(n, app)
		n.feeds[app] = f
		n.pending = append(n.pending, f)
		n.poke()
	}
	f.users++
	return f, nil
}

// standing returns the feeds that sessions may use and whose tail stands.
func (n *Node) standing() []*Feed {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []*Feed
	for _, f := range n.feeds {
		select {
		case <-f.ready:
			all = append(all, f)
		default:
		}
	}
	return all
}

// forget takes a feed that ended by itself out of use, so that the next session starts another.
func (n *Node) forget(f *Feed) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.feeds[f.app] == f {
		delete(n.feeds, f.app)
	}
}

// errRetired is the cause of a feed's end when its app is no more.
var errRetired = errors.New("app retired")

// Retire ends the feed of an app that no longer is, or is disabled. The sessions that have subscriptions
// are closed with [AppRetired], those that haven't are when they want one: all of them are asked to come
// back, and refused then. It doesn't wait for that. A session that was on its way when the app went may
// still start another feed; so call it again after a while.
func (n *Node) Retire(app AppID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	// One that Run has yet to start has nothing to end; it is there the next time.
	if f := n.feeds[app]; f != nil && f.cancel != nil {
		f.cancel(errRetired)
		delete(n.feeds, app)
		n.cfg.Logger.Info("app retired here", "app", app)
	}
}

// Notify tells the channel's subscribers on this node. Notices of one app must come one at a time
// in the order of their serials; each lands in that order with every subscription.
func (n *Node) Notify(notice *Notice) {
	n.mu.Lock()
	f := n.feeds[notice.App]
	n.mu.Unlock()
	if f != nil {
		f.fanOut(&Delivery{Notice: notice}, notice.Channel)
	}
}
