package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// takerGroup is the group of a taker's requests; JetStream wants a name for it.
	takerGroup = "taker"
	// takerAckWait is when the server gives out again what wasn't acknowledged. It is long: what
	// a taker held that is gone, the next one has before that, and what was lost on the way is
	// noticed by its number.
	takerAckWait = time.Hour
	// takerRestarts is the longest pause between two tries of a taker.
	takerRestarts = time.Second
	// takerEnd bounds what a taker does last.
	takerEnd = 2 * time.Second
)

// taker is given, by a durable consumer, the messages that nobody has acknowledged yet: each once,
// in the order of the stream, and as the only one in the cluster, however many ask. It is owned by
// the goroutine in run.
//
// The server pins a consumer to one of those that ask. Whoever finds itself pinned sets the consumer
// back to the first message without an acknowledgement, and so begins with what its predecessor
// held, before anything later. Without that, later messages would overtake the earlier ones until
// the server's time for their acknowledgement is over.
type taker struct {
	s      *Streams
	nc     *nats.Conn
	js     jetstream.JetStream
	stream string
	cfg    jetstream.ConsumerConfig
	window int                         // messages asked for at most
	ensure func(context.Context) error // makes the stream

	take func(context.Context, *nats.Msg, delivery) bool // given each message; false ends run
	idle func(context.Context) bool                      // called before it waits for the next; false ends run

	pull *pull
	last uint64 // serial of the last message taken
}

// run takes until ctx ends, or take or idle ends it; then the error is nil. It survives restarts of
// the server and cuts, as long as nobody else was pinned meanwhile; then it is [errTaken].
func (t *taker) run(ctx context.Context) error {
	t.pull = newPull(t.s, t.stream, t.cfg.Durable, t.window)
	t.pull.group, t.pull.idle = takerGroup, t.idle
	t.pull.open()
	defer t.end(ctx)
	wait := tryPause
	for {
		err := t.prepare(ctx)
		if err == nil {
			var more bool
			more, err = t.follow(ctx)
			if !more {
				return nil
			}
			if t.pull.sent > 0 {
				wait = tryPause
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errTaken), errors.Is(err, nats.ErrConnectionClosed):
			return err
		case errors.Is(err, errPinned), errors.Is(err, errWaiting):
			continue
		}
		t.s.cfg.Logger.Debug("taker is held up", "consumer", t.cfg.Durable, "stream", t.stream, "err", err)
		if !pause(ctx, wait) {
			return nil
		}
		wait = min(2*wait, takerRestarts)
	}
}

// prepare makes what isn't there, and sets the consumer back to the first message without an
// acknowledgement, unless somebody else is its taker.
func (t *taker) prepare(ctx context.Context) error {
	t.pull.stop()
	if err := t.ensure(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*tryTimeout)
	defer cancel()
	handle, err := t.js.Consumer(ctx, t.stream, t.cfg.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		if t.pull.pin != "" {
			return errTaken
		}
		handle, err = t.js.CreateConsumer(ctx, t.stream, t.cfg)
		if err == nil {
			err = t.s.cfg.AfterCreate()
		}
	}
	if err != nil {
		return fmt.Errorf("make consumer %s: %w", t.cfg.Durable, err)
	}
	info := handle.CachedInfo()
	switch pinned := pinnedTo(info); {
	case pinned != t.pull.pin && t.pull.pin != "":
		return errTaken
	case pinned != t.pull.pin, pinned == "" && info.NumAckPending == 0:
		return nil
	}
	// We are the taker; or there is none, and what the last one held would not come before its
	// time is over. Should another taker begin in this moment, it sees the numbers begin anew.
	if _, err := t.js.ResetConsumer(ctx, t.stream, t.cfg.Durable); err != nil {
		return fmt.Errorf("set consumer %s back: %w", t.cfg.Durable, err)
	}
	return nil
}

// pinnedTo says who the taker is, empty for nobody.
func pinnedTo(info *jetstream.ConsumerInfo) string {
	for _, g := range info.PriorityGroups {
		if g.Group == takerGroup {
			return g.PinnedClientID
		}
	}
	return ""
}

// follow takes what comes. It returns with more set when something is to be done about the error.
func (t *taker) follow(ctx context.Context) (more bool, err error) {
	if err := t.pull.begin(); err != nil {
		return true, err
	}
	for {
		m, d, err := t.pull.next(ctx)
		if errors.Is(err, errEnd) {
			return false, nil
		}
		if err != nil {
			return true, err
		}
		if !t.take(ctx, m, d) {
			return false, nil
		}
		t.last = max(t.last, d.serial)
	}
}

// end lets the next taker begin at once. What it can't say, the server finds out by the silence.
func (t *taker) end(ctx context.Context) {
	t.pull.close()
	if t.pull.pin == "" || !t.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takerEnd)
	defer cancel()
	handle, err := t.js.Consumer(ctx, t.stream, t.cfg.Durable)
	if err != nil {
		return
	}
	if pinnedTo(handle.CachedInfo()) != t.pull.pin {
		return // it is somebody else's by now
	}
	request := fmt.Appendf(nil, `{"group":%q}`, takerGroup)
	if _, err := t.nc.RequestWithContext(ctx, t.s.api+"CONSUMER.UNPIN."+t.stream+"."+t.cfg.Durable, request); err != nil {
		t.s.cfg.Logger.Debug("taker leaves a pinned consumer behind", "consumer", t.cfg.Durable, "err", err)
	}
}

// acknowledge confirms messages to the server by what they came with, and returns when the server
// has said that it knows. All are of one consumer.
func acknowledge(ctx context.Context, nc *nats.Conn, receipts []string) error {
	if len(receipts) == 0 {
		return nil
	}
	last := len(receipts) - 1
	for _, receipt := range receipts[:last] {
		if err := nc.Publish(receipt, []byte("+ACK")); err != nil {
			return err
		}
	}
	// The server takes them in order: who knows of the last knows of all.
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	_, err := nc.RequestWithContext(ctx, receipts[last], []byte("+ACK"))
	return err
}
