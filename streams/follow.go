package streams

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/broker"
)

const (
	// followName is the durable consumer of an app's stream that gives out its client events.
	// No node's name can make it.
	followName = "%webhooks"
	// followEvents is how many client events are yielded at once, at most.
	followEvents = 256
	// followKept is how long it is kept known how far an app's client events were followed, when
	// nobody follows.
	followKept = 3 * 24 * time.Hour
)

// Follow yields the client events of an app that nobody has followed yet, those that have arrived at
// a time, oldest first: when they were stored after since, if the app was not followed before. Those
// yielded count as followed when the loop comes back for more; if it doesn't, they are yielded to
// the next. It waits until nobody else, on any node, follows the app, and ends when the loop or ctx
// does, or with an error as its last word.
func (l *Letters) Follow(ctx context.Context, app broker.AppID, since time.Time) iter.Seq2[[]*broker.Event, error] {
	return func(yield func([]*broker.Event, error) bool) {
		fail := func(err error) {
			yield(nil, fmt.Errorf("follow client events of app %s: %w", app, failed(ctx, err)))
		}
		st, err := l.s.stream(app)
		if err != nil {
			fail(err)
			return
		}
		f := &follower{stream: st, yield: yield}
		f.taker = &taker{
			s: l.s, nc: l.s.cfg.Tail, js: l.s.tail,
			stream: st.name, window: followEvents,
			cfg:    l.followConsumer(st, since),
			ensure: f.ensure, take: f.take, idle: f.flush,
		}
		if err := f.taker.run(ctx); err != nil {
			fail(err)
		}
	}
}

func (l *Letters) followConsumer(st *stream, since time.Time) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:           followName,
		Description:       "Client events on their way to webhooks",
		FilterSubject:     st.subjects + "*" + byClient,
		DeliverPolicy:     jetstream.DeliverByStartTimePolicy,
		OptStartTime:      &since,
		AckPolicy:         jetstream.AckExplicitPolicy,
		AckWait:           takerAckWait,
		MaxDeliver:        -1,
		MaxAckPending:     4 * followEvents,
		MaxWaiting:        128,
		PriorityPolicy:    jetstream.PriorityPolicyPinned,
		PriorityGroups:    []string{takerGroup},
		PinnedTTL:         l.cfg.Takeover,
		InactiveThreshold: followKept,
	}
}

// Unfollow forgets how far an app's client events were followed. Errors: [broker.ErrUnavailable],
// the context's.
func (l *Letters) Unfollow(ctx context.Context, app broker.AppID) error {
	name, err := streamName(l.s.cfg.Prefix, app)
	if err != nil {
		return err
	}
	try, cancel := bounded(ctx, tryTimeout)
	defer cancel()
	err = l.s.tail.DeleteConsumer(try, name, followName)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("unfollow client events of app %s: %w", app, failed(ctx, err))
	}
	return nil
}

// follower is one loop over [Letters.Follow]. It is owned by the goroutine that runs the taker.
type follower struct {
	taker    *taker
	stream   *stream
	epoch    broker.Epoch
	yield    func([]*broker.Event, error) bool
	events   []*broker.Event // taken and not yielded
	receipts []string        // what they are acknowledged by
}

func (f *follower) ensure(ctx context.Context) error {
	info, err := f.stream.find(ctx, f.stream.s.tail)
	if err != nil {
		return err
	}
	f.epoch, err = epochOf(info)
	return err
}

func (f *follower) take(ctx context.Context, m *nats.Msg, d delivery) bool {
	if d.serial <= f.taker.last {
		// Yielded already, but the server didn't hear that it was followed, or it is among
		// those that wait to be yielded.
		if len(f.events) == 0 || d.serial < f.events[0].Position.Serial {
			_ = f.taker.nc.Publish(m.Reply, []byte("+ACK")) // it comes again if this fails
		}
		return true
	}
	e, err := decode(f.stream.app, f.stream.subjects, m.Subject, m.Header, m.Data, f.epoch, d.serial)
	if err != nil {
		f.stream.s.metrics.foreign.Inc()
		_ = f.taker.nc.Publish(m.Reply, []byte("+TERM")) // it comes again if this fails
		return true
	}
	f.events = append(f.events, e)
	f.receipts = append(f.receipts, m.Reply)
	return len(f.events) < followEvents || f.flush(ctx)
}

// flush yields what was taken and acknowledges it; false when the loop has ended.
func (f *follower) flush(ctx context.Context) bool {
	if len(f.events) == 0 {
		return true
	}
	if !f.yield(f.events, nil) {
		return false
	}
	// The loop has come back, so they are followed, though ctx may end now.
	if err := acknowledge(context.WithoutCancel(ctx), f.taker.nc, f.receipts); err != nil {
		// They come again, and are known by their serials.
		f.stream.s.cfg.Logger.Debug("client events not acknowledged", "app", f.stream.app, "err", err)
	}
	f.events, f.receipts = nil, nil
	return true
}
