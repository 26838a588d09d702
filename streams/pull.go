package streams

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// pullBytes bounds the messages asked for in bytes, but never below what one message may have.
	pullBytes = 16 << 20
	// pullExpiry ends a request that nothing came for; while it lasts the server gives a sign of
	// life every pullHeartbeat. Three without one are a fault.
	pullExpiry    = 5 * time.Second
	pullHeartbeat = time.Second
	pullSilence   = 3 * pullHeartbeat
)

var (
	// errEnd is what ends a pull when nobody wants more: the context, or idle.
	errEnd = errors.New("no more is wanted")
	// errTaken is how a taker hears that another one may have been given what it has.
	errTaken = errors.New("another taker may have it now")
	// errPinned is what ends a pull that has just been pinned.
	errPinned = errors.New("now the only taker")
	// errWaiting is what ends a pull that waits to be pinned, now and then.
	errWaiting = errors.New("look whether there is a taker")
)

// pull asks a pull consumer for messages, takes them, and notices when one may have been lost on the
// way: by a hole in the consumer's numbers, a sign of life that tells of more than came, a silence, or
// a lost connection. What is to be done about it is its owner's business. It is owned by the goroutine
// of its tail or taker: open, then begin and next until that is an error, as often as need be, close.
type pull struct {
	nc     *nats.Conn
	asks   string                     // the subject of requests
	window int                        // messages asked for at most; when half have come, as many more
	idle   func(context.Context) bool // called before it waits for the next, if set; false ends it

	group string // the consumer's priority group; empty when it pins nobody
	pin   string // what the server pinned us as; empty while it didn't, and then one is asked for

	lines   chan nats.Status
	inbox   string         // where messages come; another after each fault, so that old ones don't
	arrived chan *nats.Msg // the messages
	sub     *nats.Subscription
	silence *time.Timer
	sent    uint64 // consumer's number of the last message that came; without a hole
	asked   int    // messages asked for that have not come
}

// newPull returns a pull on a consumer.
func newPull(s *Streams, stream, consumer string, window int) *pull {
	return &pull{nc: s.cfg.Tail, asks: s.api + "CONSUMER.MSG.NEXT." + stream + "." + consumer, window: window}
}

func (p *pull) open() {
	p.lines = p.nc.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
}

func (p *pull) close() {
	p.stop()
	p.nc.RemoveStatusListener(p.lines)
}

// begin listens. The consumer's numbers begin with 1.
func (p *pull) begin() error {
	p.stop()
	for len(p.lines) > 0 { // what led to the fault is known
		<-p.lines
	}
	p.sent, p.asked = 0, 0
	p.inbox = p.nc.NewInbox()
	p.arrived = make(chan *nats.Msg, 2*p.window+16)
	sub, err := p.nc.ChanSubscribe(p.inbox, p.arrived)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	p.sub, p.silence = sub, time.NewTimer(pullSilence)
	return nil
}

// stop listens no more.
func (p *pull) stop() {
	if p.sub != nil {
		_ = p.sub.Unsubscribe() // fails only with the connection
		p.sub = nil
		p.silence.Stop()
	}
}

// next returns the next message, or why there is none.
func (p *pull) next(ctx context.Context) (*nats.Msg, delivery, error) {
	for {
		if err := p.ask(); err != nil {
			return nil, delivery{}, err
		}
		m, err := p.await(ctx)
		if err != nil {
			return nil, delivery{}, err
		}
		if status := header(m.Header, "Status"); status != "" && len(m.Data) == 0 {
			if err := p.status(status, m); err != nil {
				return nil, delivery{}, err
			}
			continue
		}
		d, err := p.take(m)
		if err == nil && ctx.Err() != nil {
			err = errEnd
		}
		return m, d, err
	}
}

// waiting reports whether it isn't pinned and has to be.
func (p *pull) waiting() bool { return p.group != "" && p.pin == "" }

// ask asks for more messages, if it is time to.
func (p *pull) ask() error {
	n := p.window - p.asked
	switch waiting := p.waiting(); {
	case waiting && p.asked > 0, !waiting && p.asked > p.window/2:
		return nil
	case waiting:
		n = 1
	}
	as := ""
	if p.group != "" {
		as = fmt.Sprintf(`,"group":%q,"id":%q`, p.group, p.pin)
	}
	request := fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d%s}`,
		n, max(pullBytes, 2*p.nc.MaxPayload()), pullExpiry.Nanoseconds(), pullHeartbeat.Nanoseconds(), as)
	if err := p.nc.PublishRequest(p.asks, p.inbox, request); err != nil {
		return fmt.Errorf("ask for messages: %w", err)
	}
	p.asked += n
	return nil
}

// await returns what comes next, be it a message or what the server says about a request.
func (p *pull) await(ctx context.Context) (*nats.Msg, error) {
	select {
	case m := <-p.arrived:
		return m, nil
	default:
	}
	if p.idle != nil && !p.idle(ctx) {
		return nil, errEnd
	}
	p.silence.Reset(pullSilence)
	select {
	case m := <-p.arrived:
		return m, nil
	case line := <-p.lines:
		return nil, fmt.Errorf("connection %s", line)
	case <-p.silence.C:
		return nil, fmt.Errorf("no sign of the consumer for %v", pullSilence)
	case <-ctx.Done():
		return nil, errEnd
	}
}

// status acts on what the server says about a request.
func (p *pull) status(status string, m *nats.Msg) error {
	what := header(m.Header, "Description")
	switch {
	case status == "100": // sign of life; says what was sent last
		if n := header(m.Header, "Nats-Last-Consumer"); !p.waiting() && n != "" && n != strconv.FormatUint(p.sent, 10) {
			return fmt.Errorf("the consumer has sent %s messages, %d came", n, p.sent)
		}
		return nil
	case status == "408", status == "409" && (what == "Batch Completed" || what == "Message Size Exceeds MaxBytes"):
		// The request is over. What it still had open doesn't come. Where the consumer is
		// replicated, the last message of a batch comes after this.
		open, err := strconv.Atoi(header(m.Header, "Nats-Pending-Messages"))
		if err != nil || open < 0 {
			return fmt.Errorf("request over: %s %s without what was open", status, what)
		}
		p.asked = max(0, p.asked-open)
		if p.waiting() && status == "408" {
			return errWaiting
		}
		return nil
	case status == "423" && p.group != "":
		return errTaken
	}
	return fmt.Errorf("the consumer says %s %s", status, what)
}

// take checks that a message is the next one.
func (p *pull) take(m *nats.Msg) (delivery, error) {
	d, ok := parseDelivery(m.Reply)
	if !ok {
		return d, fmt.Errorf("delivery without numbers: %q", m.Reply)
	}
	if p.waiting() {
		// This message only brings the pin; it comes again.
		if p.pin = header(m.Header, "Nats-Pin-Id"); p.pin == "" {
			return d, errors.New("delivery without a pin")
		}
		return d, errPinned
	}
	if d.consumer != p.sent+1 {
		return d, fmt.Errorf("message %d of the consumer after %d", d.consumer, p.sent)
	}
	p.sent++
	p.asked--
	return d, nil
}

// delivery is what the reply subject of a consumer's message says.
type delivery struct {
	serial   uint64
	consumer uint64 // 1 for the first message of the consumer, 2 for the second
	stamp    int64  // when it was stored, Unix ns
}

// parseDelivery reads $JS.ACK.<stream>.<consumer>.<tries>.<serial>.<consumer's>.<stamp>.<pending>,
// or the later form, which has a domain and an account before the stream and may have more at the
// end.
func parseDelivery(reply string) (d delivery, ok bool) {
	rest, ok := strings.CutPrefix(reply, "$JS.ACK.")
	if !ok {
		return d, false
	}
	skip := 3
	switch n := strings.Count(rest, "."); {
	case n == 6:
	case n >= 8:
		skip = 5
	default:
		return d, false
	}
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	var serial, consumer, stamp string
	serial, rest, _ = strings.Cut(rest, ".")
	consumer, rest, _ = strings.Cut(rest, ".")
	stamp, _, _ = strings.Cut(rest, ".")
	var err [3]error
	d.serial, err[0] = strconv.ParseUint(serial, 10, 64)
	d.consumer, err[1] = strconv.ParseUint(consumer, 10, 64)
	d.stamp, err[2] = strconv.ParseInt(stamp, 10, 64)
	return d, err == [3]error{}
}
