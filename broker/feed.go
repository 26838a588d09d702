package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Feed is one app in use on one node: it tails the app's log, holds the node's cursor in it, and
// fans out to the app's subscriptions. It is got from [Node.Feed].
type Feed struct {
	node  *Node
	app   AppID
	after <-chan struct{} // closed when the app's former feed is gone; a node has one tail per app
	ready chan struct{}   // closed when the tail stands or err is set
	done  chan struct{}   // closed when the feed's goroutine has ended
	err   error           // why the tail couldn't be started; set before ready is closed

	users     int                     // guarded by node.mu; sessions between Node.Feed and Release
	idleSince time.Time               // guarded by node.mu; when users became 0
	cancel    context.CancelCauseFunc // guarded by node.mu; ends run, nil before it is started

	mu       sync.Mutex
	cursor   Position                    // guarded by mu; of the last event fanned out
	broken   bool                        // guarded by mu; the tail has ended
	channels map[Channel][]*Subscription // guarded by mu; no empty slices
	window   window                      // guarded by mu, but its bounds never change
	arrivals []*arrival                  // guarded by mu; those who wait for the cursor
}

// newFeed is called with node.mu held.
func newFeed(n *Node, app AppID) *Feed {
	f := &Feed{
		node:     n,
		app:      app,
		ready:    make(chan struct{}),
		done:     make(chan struct{}),
		channels: map[Channel][]*Subscription{},
		window:   window{maxEvents: n.cfg.WindowEvents, maxBytes: n.cfg.WindowBytes},
	}
	f.after = n.last[app]
	n.last[app] = f.done
	return f
}

// run tails the log until ctx ends (the node stops, the app is retired, or nobody has used the feed for
// the linger time) or the tail breaks.
func (f *Feed) run(ctx context.Context) {
	defer close(f.done)
	if f.after != nil {
		<-f.after
	}
	from, events, err := f.node.cfg.Log.Tail(ctx, f.app)
	if err != nil {
		f.err = err
		if ctx.Err() != nil {
			f.err = ErrClosed // what is canceled while somebody waits for it has no other reason
		}
		f.node.forget(f)
		close(f.ready)
		return
	}
	f.mu.Lock()
	f.cursor = from
	f.window.begin(from)
	f.mu.Unlock()
	close(f.ready)
	f.node.metrics.feeds.Inc()
	defer f.node.metrics.feeds.Dec()
	f.node.cfg.Logger.Info("app in use here", "app", f.app, "serial", from.Serial, "epoch", from.Epoch)

	tailed := f.node.metrics.tailEvents.WithLabelValues(string(f.app))
	for e, err := range events {
		if err != nil {
			f.node.cfg.Logger.Error("tail broken, its sessions are asked to come back", "app", f.app, "err", err)
			f.node.metrics.tailBreaks.WithLabelValues(string(f.app)).Inc()
			break
		}
		tailed.Inc()
		f.node.metrics.tailLag.Observe(max(0, time.Since(e.Time).Seconds()))
		if f.fanOut(&Delivery{Event: e}, e.Channel) > 0 && f.node.cfg.Pace.keep(ctx) {
			f.node.metrics.paced.Inc()
		}
	}
	f.node.forget(f)
	why := TailBroken
	if errors.Is(context.Cause(ctx), errRetired) {
		why = AppRetired
	}
	f.sendHome(why)
}

// fanOut hands d to the channel's subscriptions and, for an event, moves the cursor, as one step:
// a subscription made before it gets the event live, one made after it has it before its seam. It
// returns how many subscriptions got it.
func (f *Feed) fanOut(d *Delivery, ch Channel) (delivered int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d.Event != nil {
		f.cursor = d.Event.Position
		f.remember(d.Event)
	}
	exclude := d.exclude()
	for _, s := range f.channels[ch] {
		if exclude != "" && s.socket == exclude {
			continue
		}
		s.deliver(d)
		delivered++
	}
	f.node.metrics.deliveries.Add(float64(delivered))
	return delivered
}

// remember keeps an event for those who were away when it came, and tells those who wait for it. It
// is called with mu held.
func (f *Feed) remember(e *Event) {
	f.window.add(e, f.node.cfg.WindowAge)
	if len(f.arrivals) > 0 {
		f.arrive()
	}
}

// sendHome ends the sessions of every subscription: the tail is gone, and only a new one, from a
// seam of its own, is sure to have no hole.
func (f *Feed) sendHome(why Reason) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = true
	f.window.begin(f.cursor) // the log may be another one by now; it will tell
	f.arrive()
	for _, subs := range f.channels {
		for _, s := range subs {
			s.subscriber.Close(why)
		}
	}
}

// Subscribe registers the subscriber's connection on a channel, and returns the subscription and
// its seam, read in the same step: what is in the log up to the seam will not be delivered, what
// comes after it will be, once [Subscription.Open] is called. Until then the subscription's gate
// holds it. A connection has at most one subscription per channel; the caller sees to that.
// Error: [ErrBroken] when the feed has ended, and the session must come back.
func (f *Feed) Subscribe(ch Channel, socket SocketID, subscriber Subscriber) (*Subscription, Position, error) {
	s := &Subscription{feed: f, channel: ch, socket: socket, subscriber: subscriber}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken {
		return nil, Position{}, fmt.Errorf("subscribe to %s: %w", ch, ErrBroken)
	}
	subs := f.channels[ch]
	if len(subs) > 0 {
		s.channel = subs[0].channel // all share one copy of the name, instead of each its client's
	}
	s.index = int32(len(subs))
	f.channels[ch] = append(subs, s)
	f.node.metrics.subscriptions.Inc()
	return s, f.cursor, nil
}

// unsubscribe takes s out. It moves the last subscription into its place: their order carries
// no meaning, and moving one is cheaper than moving all.
func (f *Feed) unsubscribe(s *Subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	subs := f.channels[s.channel]
	if int(s.index) >= len(subs) || subs[s.index] != s {
		return
	}
	last := len(subs) - 1
	subs[s.index] = subs[last]
	subs[s.index].index = s.index
	subs[last] = nil
	if last == 0 {
		delete(f.channels, s.channel)
	} else {
		f.channels[s.channel] = subs[:last]
	}
	f.node.metrics.subscriptions.Dec()
}

// Cursor returns the position of the last event the feed has fanned out, in any channel.
func (f *Feed) Cursor() Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cursor
}

// Release ends the caller's use of the feed. When nobody uses it any more it ends after the
// linger time. It must be called once for every [Node.Feed] that returned no error.
func (f *Feed) Release() {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	f.users--
	if f.users == 0 {
		f.idleSince = time.Now()
		f.node.poke()
	}
}
