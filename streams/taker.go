package streams

import (
	"context"
	"errors"
	"fmt"
	"strconv"
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

var (
	// errTaken is how a taker hears that another one may have been given what it has.
	errTaken = errors.New("another taker may have it now")
	// errPinned is what ends the asking of a taker that has just become the only one.
	errPinned = errors.New("now the only taker")
	// errWaiting is what ends the asking of a taker that isn't, now and then.
	errWaiting = errors.New("look whether there is a taker")
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
	ensure func(context.Context) error // makes the stream

	take func(context.Context, *nats.Msg, delivery) bool // given each message; false ends run
	idle func(context.Context) bool                      // called before it waits for the next; false ends run

	pin     string // what the server pinned us as; empty while it didn't
	inbox   string
	arrived chan *nats.Msg
	sub     *nats.Subscription
	sent    uint64 // consumer's number of the last message that came
	asked   int    // messages asked for that have not come
	window  int    // messages asked for at most
	last    uint64 // serial of the last message taken
}

// run takes until ctx ends, or take or idle ends it; then the error is nil. It survives restarts of
// the server and cuts, as long as nobody else was pinned meanwhile; then it is [errTaken].
func (t *taker) run(ctx context.Context) error {
	lines := t.nc.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer t.nc.RemoveStatusListener(lines)
	defer t.end(ctx)
	wait := tryPause
	for {
		err := t.prepare(ctx)
		if err == nil {
			var more bool
			more, err = t.follow(ctx, lines)
			if !more {
				return nil
			}
			if t.sent > 0 {
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
	t.unsubscribe()
	if err := t.ensure(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*tryTimeout)
	defer cancel()
	handle, err := t.js.Consumer(ctx, t.stream, t.cfg.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		if t.pin != "" {
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
	case pinned != t.pin && t.pin != "":
		return errTaken
	case pinned != t.pin, pinned == "" && info.NumAckPending == 0:
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
func (t *taker) follow(ctx context.Context, lines <-chan nats.Status) (more bool, err error) {
	for len(lines) > 0 {
		<-lines
	}
	t.sent, t.asked = 0, 0
	t.inbox = t.nc.NewInbox()
	t.arrived = make(chan *nats.Msg, 2*t.window+16)
	if t.sub, err = t.nc.ChanSubscribe(t.inbox, t.arrived); err != nil {
		return true, fmt.Errorf("subscribe: %w", err)
	}
	silence := time.NewTimer(pullSilence)
	defer silence.Stop()
	for {
		if err := t.pull(); err != nil {
			return true, err
		}
		var m *nats.Msg
		select {
		case m = <-t.arrived:
		default:
			if t.idle != nil && !t.idle(ctx) {
				return false, nil
			}
			silence.Reset(pullSilence)
			select {
			case m = <-t.arrived:
			case line := <-lines:
				return true, fmt.Errorf("connection %s", line)
			case <-silence.C:
				return true, fmt.Errorf("no sign of the consumer for %v", pullSilence)
			case <-ctx.Done():
				return false, nil
			}
		}
		if status := header(m.Header, "Status"); status != "" && len(m.Data) == 0 {
			if err := t.status(status, m); err != nil {
				return true, err
			}
			continue
		}
		d, ok := parseDelivery(m.Reply)
		if !ok {
			return true, fmt.Errorf("delivery without numbers: %q", m.Reply)
		}
		if t.pin == "" {
			// This message only brings the pin; it comes again.
			if t.pin = header(m.Header, "Nats-Pin-Id"); t.pin == "" {
				return true, errors.New("delivery without a pin")
			}
			return true, errPinned
		}
		if d.consumer != t.sent+1 {
			return true, fmt.Errorf("message %d of the consumer after %d", d.consumer, t.sent)
		}
		t.sent++
		t.asked--
		if ctx.Err() != nil || !t.take(ctx, m, d) {
			return false, nil
		}
		t.last = max(t.last, d.serial)
	}
}

// pull asks for more messages when half of the window has come; before it is pinned, for one.
func (t *taker) pull() error {
	n := t.window - t.asked
	switch {
	case t.pin == "" && t.asked > 0, t.pin != "" && t.asked > t.window/2:
		return nil
	case t.pin == "":
		n = 1
	}
	request := fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d,"group":%q,"id":%q}`,
		n, max(pullBytes, 2*t.nc.MaxPayload()), pullExpiry.Nanoseconds(), pullHeartbeat.Nanoseconds(), takerGroup, t.pin)
	subject := t.s.api + "CONSUMER.MSG.NEXT." + t.stream + "." + t.cfg.Durable
	if err := t.nc.PublishRequest(subject, t.inbox, request); err != nil {
		return fmt.Errorf("ask for messages: %w", err)
	}
	t.asked += n
	return nil
}

// status acts on what the server says about a request.
func (t *taker) status(status string, m *nats.Msg) error {
	what := header(m.Header, "Description")
	switch {
	case status == "100":
		if n := header(m.Header, "Nats-Last-Consumer"); t.pin != "" && n != "" && n != strconv.FormatUint(t.sent, 10) {
			return fmt.Errorf("the consumer has sent %s messages, %d came", n, t.sent)
		}
		return nil
	case status == "408", status == "409" && (what == "Batch Completed" || what == "Message Size Exceeds MaxBytes"):
		open, err := strconv.Atoi(header(m.Header, "Nats-Pending-Messages"))
		if err != nil || open < 0 {
			return fmt.Errorf("request over: %s %s without what was open", status, what)
		}
		t.asked = max(0, t.asked-open)
		if t.pin == "" && status == "408" {
			return errWaiting
		}
		return nil // where the consumer is replicated, the last message of a batch comes after this
	case status == "423":
		return errTaken
	}
	return fmt.Errorf("the consumer says %s %s", status, what)
}

// end lets the next taker begin at once. What it can't say, the server finds out by the silence.
func (t *taker) end(ctx context.Context) {
	t.unsubscribe()
	if t.pin == "" || !t.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takerEnd)
	defer cancel()
	handle, err := t.js.Consumer(ctx, t.stream, t.cfg.Durable)
	if err != nil {
		return
	}
	if pinnedTo(handle.CachedInfo()) != t.pin {
		return // it is somebody else's by now
	}
	request := fmt.Appendf(nil, `{"group":%q}`, takerGroup)
	if _, err := t.nc.RequestWithContext(ctx, t.s.api+"CONSUMER.UNPIN."+t.stream+"."+t.cfg.Durable, request); err != nil {
		t.s.cfg.Logger.Debug("taker leaves a pinned consumer behind", "consumer", t.cfg.Durable, "err", err)
	}
}

func (t *taker) unsubscribe() {
	if t.sub != nil {
		_ = t.sub.Unsubscribe() // fails only with the connection
		t.sub = nil
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
