package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/coder/websocket"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// TailOptions say what a tail follows.
type TailOptions struct {
	// Subscriptions are the channels, each once. At least one. They share one connection.
	Subscriptions []Subscription

	// Subscribed is told of each channel whenever the server has accepted its subscription: at
	// first, and again after every return. It is called by the loop's goroutine, before the
	// events it speaks of are yielded. Default: nobody is told.
	Subscribed func(Answer)

	// Lost is told why there is no connection and after how long the next attempt is made. It is
	// called by the loop's goroutine. Default: nobody is told; the Logger is in any case.
	Lost func(err error, wait time.Duration)
}

// Subscription is a channel to follow, and from where. At most one of After and Rewind is set;
// without either the tail begins with what is published after the server's answer.
type Subscription struct {
	// Channel is any but a user's own (#server-to-user-…). Of encrypted channels the ciphertext
	// is yielded. Required.
	Channel broker.Channel

	// ChannelData is who the client is on a presence channel: a JSON object with a user_id and
	// perhaps a user_info. Required there; allowed on private channels.
	ChannelData string

	// After is a position that was kept: the tail begins with the event after it, however many
	// that are. More than the server replays at once are read from the history.
	After Position

	// Rewind begins with a part of the channel's past. It is best effort: what is no longer there
	// is told by a [Gap] before what is.
	Rewind Rewind
}

// Rewind is a part of a channel's past; at most one field is set.
type Rewind struct {
	Last   int           // the last events, so many; up to 1,000
	Within time.Duration // the events of so long, by the server's clock; whole seconds, rounded up
	Since  time.Time     // the events published at this time or later
}

// check says whether at most one field is set, and to something that makes sense.
func (r Rewind) check() error {
	given := 0
	for _, is := range []bool{r.Last != 0, r.Within != 0, !r.Since.IsZero()} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return errors.New("a rewind has one of last, within and since")
	case r.Last < 0 || r.Last > 1_000:
		return fmt.Errorf("rewind: last %d is not between 1 and 1,000", r.Last)
	case r.Within < 0:
		return fmt.Errorf("rewind: within %v is negative", r.Within)
	}
	return nil
}

// wire is what is asked for when that much time has passed since it was first; nil for nothing.
func (r Rewind) wire(passed time.Duration) *rewind {
	switch {
	case r.Last != 0:
		return &rewind{Count: r.Last}
	case r.Within != 0:
		return &rewind{Seconds: int64((r.Within + passed + time.Second - 1) / time.Second)}
	case !r.Since.IsZero():
		return &rewind{SinceMS: r.Since.UnixMilli()}
	}
	return nil
}

// Answer is an accepted subscription.
type Answer struct {
	Channel broker.Channel

	// SocketID is the connection's, to be named by publishers that want it left out.
	SocketID broker.SocketID

	// Position is where the channel is live from. Empty where there are no positions.
	Position Position

	// Replayed is how many events of before follow.
	Replayed int
}

// Tail follows channels and yields their events until the loop is left or ctx ends; then it ends
// without an error. It connects when it is ranged over, in the loop's goroutine, and hangs up before
// the loop is left, for which it waits for the server 5 s at most.
//
// The promise, for each channel: every event after where the subscription begins is yielded once and
// in the log's order, or a [Gap] is, as an error after which the tail goes on. Cuts, restarts, other
// nodes and a loop that is slow, for hours if need be, don't change that: nothing is read ahead, and
// what the server can't keep is asked for again by position. Between channels there is no order.
//
// Any other error is the last thing that is yielded: [CloseError] when the server tells the client to
// stay away, [SubscriptionError] when it doesn't accept a subscription, [StatusError] when what answers, at the
// first attempt, is no such server. In all other cases it tries again, at once or after a pause as the
// server's close codes ask for, for as long as ctx lives.
//
// A cache channel begins with its last event, if there is one, and has it again after a gap. Events
// of a medium without memory have no positions: whatever is published during a cut is a gap then, and
// of a server that isn't Playhead, too. What a publisher excluded this connection from is left out,
// but for what is read from the history.
func (c *Client) Tail(ctx context.Context, opts TailOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		t, err := newTail(c, opts, yield)
		if err != nil {
			yield(Event{}, fmt.Errorf("tail: %w", err))
			return
		}
		t.run(ctx)
	}
}

// tail is one loop over Client.Tail. It belongs to the loop's goroutine.
type tail struct {
	client  *Client
	opts    TailOptions
	yield   func(Event, error) bool
	stays   []*stay
	stay    map[broker.Channel]*stay
	backoff backoff
	began   time.Time
	met     bool // whether there has been a connection
	page    int  // how many events are read at once in catching up
}

func newTail(c *Client, opts TailOptions, yield func(Event, error) bool) (*tail, error) {
	t := &tail{
		client:  c,
		opts:    opts,
		yield:   yield,
		stay:    map[broker.Channel]*stay{},
		backoff: backoff{least: c.cfg.BackoffMin, most: c.cfg.BackoffMax},
		began:   time.Now(),
		page:    mostPage,
	}
	if len(opts.Subscriptions) == 0 {
		return nil, errors.New("no subscription")
	}
	for _, s := range opts.Subscriptions {
		if err := c.checkSubscription(s); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Channel, err)
		}
		if t.stay[s.Channel] != nil {
			return nil, fmt.Errorf("%s: subscribed twice", s.Channel)
		}
		p := &stay{Subscription: s, position: s.After}
		t.stay[s.Channel] = p
		t.stays = append(t.stays, p)
	}
	return t, nil
}

// checkSubscription finds what the server would refuse only after a connection was made for it.
func (c *Client) checkSubscription(s Subscription) error {
	if err := pusher.CheckChannel(s.Channel, broker.Limits{}.WithDefaults()); err != nil {
		return err
	}
	kind := pusher.KindOf(s.Channel)
	switch {
	case kind == pusher.ServerToUser:
		return errors.New("a user's own channel can't be followed")
	case kind.NeedsAuth() && c.cfg.Secret == "":
		return errors.New("secret: required for private and presence channels")
	case kind.Presence() && s.ChannelData == "":
		return errors.New("channel data: required for presence channels")
	case s.After != "" && s.Rewind != Rewind{}:
		return errors.New("after and rewind exclude each other")
	}
	return s.Rewind.check()
}

// run has one connection after the other until there is a reason not to.
func (t *tail) run(ctx context.Context) {
	for ctx.Err() == nil {
		started := time.Now()
		whole, err := t.round(ctx)
		if whole {
			t.backoff.reset()
		}
		switch {
		case errors.Is(err, errStopped), ctx.Err() != nil:
			return
		case errors.Is(err, errBehind):
			continue
		case t.final(err):
			t.yield(Event{}, err)
			return
		}
		wait := t.wait(err, whole && time.Since(started) >= time.Second)
		t.client.cfg.Logger.Warn("connection lost", "app", t.client.cfg.AppID, "err", err, "dur", wait)
		if t.opts.Lost != nil {
			t.opts.Lost(err, wait)
		}
		if pause(ctx, wait) != nil {
			return
		}
	}
}

// round reads what is too far behind, and then follows for the life of a connection. whole says that
// every channel's subscription was accepted.
func (t *tail) round(ctx context.Context) (whole bool, err error) {
	if err := t.catchUp(ctx); err != nil {
		return false, err
	}
	c, err := t.client.dial(ctx)
	if err != nil {
		return false, err
	}
	t.met = true
	s := &session{tail: t, conn: c}
	err = s.run(ctx)
	return s.whole, err
}

// final reports whether an error is the tail's end.
func (t *tail) final(err error) bool {
	var closed *CloseError
	var refused *SubscriptionError
	var status *StatusError
	switch {
	case errors.As(err, &refused), errors.Is(err, websocket.ErrMessageTooBig):
		return true
	case errors.As(err, &closed):
		return 4000 <= closed.Code && closed.Code < 4100
	case errors.As(err, &status):
		// Once it was the server, it will be again: proxies answer a lot while it restarts.
		return !t.met && !status.temporary() && status.Status < 500
	}
	return false
}

// wait returns the pause before the next connection. Who is asked to come back at once does, but a
// server that asks for it again and again, before there was anything to see, gets the pause too.
func (t *tail) wait(err error, lasted bool) time.Duration {
	var closed *CloseError
	if lasted && errors.As(err, &closed) && 4200 <= closed.Code && closed.Code < 4300 {
		return 0
	}
	return t.backoff.next()
}
