package streams

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/playhead/playhead/broker"
)

const (
	// window is how many flights are in the air at a time with [SyncInterval], as long as each
	// is one event.
	window = 256
	// flightBytes is about what a flight of several requests has at most: one lives in the
	// server's memory until it is stored.
	flightBytes = 4 << 20
	// ackTimeout is how long nothing may be acknowledged before everything in the air is sent
	// again.
	ackTimeout = 2 * time.Second
	// resendMin and resendMax bound what lies between a failure and sending again.
	resendMin = 10 * time.Millisecond
	resendMax = time.Second
	// idleTimeout is how long an appender waits for another request.
	idleTimeout = 30 * time.Second
	// appenderTick is how often deadlines are looked at.
	appenderTick = 100 * time.Millisecond
)

// errLife is what a stream's answer shows that has serials from before again.
var errLife = errors.New("the stream gives serials out again")

// appender sends the appends of one app, one after the other, and sorts the answers. Everything in
// it is owned by the goroutine in run.
//
// Its rule is go-back-N: when something goes wrong with what is in the air, nothing new is sent
// until all of it has been sent again, in order, under the same IDs; the stream drops what it has
// already. Trying each message by itself would let later ones overtake it.
type appender struct {
	stream *stream
	s      *Streams
	nc     *nats.Conn
	inbox  string         // answers come to inbox + the flight's number
	batch  string         // what the IDs of its batches begin with
	acks   chan *nats.Msg // the answers
	lines  chan nats.Status

	epoch   broker.Epoch // of the stream's present life; empty when it must be asked for
	newest  uint64       // the highest serial acknowledged in it
	waiting []*request   // not sent yet, oldest first
	flights []*flight    // sent, oldest first, numbered without a hole; the first is unanswered
	number  uint64       // of the next flight
	probes  uint64       // rounds of questions for duplicates

	late []*nats.Msg // answers that came while duplicates were asked for

	down     error         // why nothing is sent now; nil when all is well
	why      error         // what went wrong last; nil since something was stored
	backoff  time.Duration // what the next pause is
	resend   *time.Timer   // ends the pause; runs only while down
	sick     error         // what Health said last; nil when it was well
	heard    time.Time     // when the last answer came, or the first flight left
	lastUsed time.Time
}

func newAppender(st *stream) *appender {
	return &appender{stream: st, s: st.s, nc: st.s.cfg.Publish}
}

// run sends until ctx ends, or nothing has been to send for a while.
func (a *appender) run(ctx context.Context) {
	a.inbox = a.nc.NewInbox() + "."
	a.batch = rand.Text() + "-"
	a.acks = make(chan *nats.Msg, 4*window+2*appendEvents)
	sub, err := a.nc.ChanSubscribe(a.inbox+"*", a.acks)
	if err != nil {
		a.end(fmt.Errorf("%w: subscribe to acknowledgements: %w", broker.ErrUnavailable, err))
		return
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only with the connection
	a.lines = a.nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	defer a.nc.RemoveStatusListener(a.lines)
	a.resend = time.NewTimer(time.Hour)
	defer a.resend.Stop()
	tick := time.NewTicker(appenderTick)
	defer tick.Stop()

	a.lastUsed = time.Now()
	for {
		a.waiting = a.stream.queue.take(a.waiting)
		a.fill(ctx)
		select {
		case m := <-a.acks:
			a.hear(ctx, m)
			for len(a.acks) > 0 { // nobody else takes from it
				a.hear(ctx, <-a.acks)
			}
			for len(a.late) > 0 {
				m, a.late = a.late[0], a.late[1:]
				a.hear(ctx, m)
			}
		case <-a.stream.queue.wake:
		case <-a.resend.C:
			a.again(ctx)
		case line := <-a.lines:
			a.line(ctx, line)
		case now := <-tick.C:
			if a.tick(now) {
				return
			}
		case <-ctx.Done():
			a.end(broker.ErrClosed)
			return
		}
	}
}

// end answers all there is and all that comes.
func (a *appender) end(err error) {
	a.refuse(err)
	if errors.Is(err, broker.ErrClosed) {
		a.stream.queue.close()
		return
	}
	for !a.stream.queue.leave() {
		a.waiting = a.stream.queue.take(a.waiting)
		a.refuse(err)
	}
}

// tick looks at deadlines; true when the appender is idle and has left.
func (a *appender) tick(now time.Time) bool {
	a.expire(now)
	if len(a.flights) > 0 || len(a.waiting) > 0 {
		a.lastUsed = now
		if len(a.flights) > 0 && a.down == nil && now.Sub(a.heard) > ackTimeout {
			a.fail(fmt.Errorf("no acknowledgement for %v", ackTimeout))
			a.examine()
		}
		return false
	}
	return now.Sub(a.lastUsed) > idleTimeout && a.stream.queue.leave()
}

// expire fails the requests whose time is over.
func (a *appender) expire(now time.Time) {
	keep := a.waiting[:0]
	for _, r := range a.waiting {
		if r.abandoned.Load() || now.After(r.deadline) {
			a.giveUp(r)
		} else {
			keep = append(keep, r)
		}
	}
	clear(a.waiting[len(keep):])
	a.waiting = keep
	for _, f := range a.flights {
		for r := range f.requests {
			if now.After(r.deadline) {
				a.giveUp(r)
			}
		}
	}
	a.trim()
}

// giveUp fails a request that could not be stored in time.
func (a *appender) giveUp(r *request) {
	cause := a.why
	if cause == nil {
		cause = errors.New("no acknowledgement")
	}
	a.fulfil(r, fmt.Errorf("%w: not stored within %v: %w", broker.ErrUnavailable, a.s.cfg.AppendTimeout, cause))
}

// fulfil gives a request its answer, once.
func (a *appender) fulfil(r *request, err error) {
	if r.left < 0 {
		return
	}
	r.left = -1
	a.stream.queue.finish(r, err)
}

// refuse fails everything that waits or is in the air.
func (a *appender) refuse(err error) {
	for _, f := range a.flights {
		for r := range f.requests {
			a.fulfil(r, err)
		}
	}
	for _, r := range a.waiting {
		a.fulfil(r, err)
	}
	clear(a.waiting)
	a.flights, a.waiting = nil, a.waiting[:0]
}

// examine asks why nothing is acknowledged. When that is known, waiting is in vain.
func (a *appender) examine() {
	a.sick = a.s.cfg.Health()
	if a.sick != nil {
		a.refuse(fmt.Errorf("%w: %w", broker.ErrUnavailable, a.sick))
	}
}

// fail stops sending, until everything in the air is to be sent again.
func (a *appender) fail(cause error) {
	if a.down == nil {
		a.s.cfg.Logger.Debug("appends are held up", "app", a.stream.app, "err", cause)
		a.backoff = min(max(a.backoff, resendMin), resendMax)
		a.resend.Reset(a.backoff)
		a.backoff *= 2
	}
	a.down, a.why = cause, cause
}

// line acts on the state of the connection.
func (a *appender) line(ctx context.Context, line nats.Status) {
	switch {
	case line != nats.CONNECTED:
		a.fail(fmt.Errorf("connection %s", line))
	case a.down != nil:
		a.again(ctx)
	}
}

// again sends everything that is in the air a second time, in order.
func (a *appender) again(ctx context.Context) {
	if a.down == nil {
		return
	}
	cause := a.down
	a.down = nil
	if !a.nc.IsConnected() {
		a.fail(cause)
		return
	}
	if len(a.flights) == 0 {
		return
	}
	if !a.prepare(ctx) {
		return
	}
	flights := a.flights
	a.flights = nil
	for _, f := range flights {
		if f.answered {
			continue
		}
		for r := range f.requests {
			if r.abandoned.Load() {
				a.giveUp(r) // sent again it could come behind what its caller did since
			}
		}
		var items []*item
		for _, it := range f.items {
			if it.awaited() {
				it.resent = true
				items = append(items, it)
			}
		}
		if len(items) == 0 {
			continue
		}
		a.s.metrics.resends.Add(float64(len(items)))
		if a.down == nil {
			a.send(&flight{items: items})
		} else {
			a.board(&flight{items: items})
		}
	}
}

// prepare makes sure that there is a stream and that its epoch is known.
func (a *appender) prepare(ctx context.Context) bool {
	if a.epoch != "" && a.epoch == a.stream.known() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout+tryTimeout/2)
	defer cancel()
	epoch, err := a.stream.open(ctx, a.s.publish)
	switch {
	case err == nil:
		if epoch != a.epoch {
			a.epoch, a.newest = epoch, 0
		}
		return true
	case passing(err) || ctx.Err() != nil:
		a.fail(err)
	default:
		a.refuse(fmt.Errorf("%w: %w", broker.ErrUnavailable, err))
	}
	return false
}

// forget lets the stream be looked for again: it may have been deleted and made anew.
func (a *appender) forget() {
	a.stream.doubt(a.epoch)
	a.epoch = ""
}

// fill sends what waits, as far as the window allows.
func (a *appender) fill(ctx context.Context) {
	if len(a.waiting) == 0 || a.down != nil {
		return
	}
	if a.sick != nil {
		if a.examine(); a.sick != nil {
			return
		}
	}
	if !a.prepare(ctx) {
		return
	}
	sent := 0
	for sent < len(a.waiting) && a.down == nil {
		var f *flight
		var n int
		if a.s.cfg.Sync == SyncInterval && len(a.waiting[sent].items) == 1 {
			if len(a.flights) >= window {
				break
			}
			f, n = a.commit(a.waiting[sent : sent+1])
		} else {
			// One batch in the air at a time: the server stages each in files of its own,
			// which takes longer than storing it, so those that wait share the next one.
			if len(a.flights) > 0 {
				break
			}
			f, n = a.commit(a.waiting[sent:])
		}
		for _, f := range f.split() {
			if a.down == nil {
				a.send(f)
			} else {
				a.board(f)
			}
		}
		sent += n
	}
	left := copy(a.waiting, a.waiting[sent:])
	clear(a.waiting[left:])
	a.waiting = a.waiting[:left]
}

// hear takes an answer.
func (a *appender) hear(ctx context.Context, m *nats.Msg) {
	f := a.flight(m.Subject)
	if f == nil || len(m.Data) == 0 && len(m.Header) == 0 {
		return // of an earlier try; or a batch whose first message was taken
	}
	if a.epoch == "" {
		return // in doubt; everything is sent again when the epoch is known
	}
	answer, err := parseAck(m)
	a.heard = time.Now()
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		a.forget()
		a.fail(fmt.Errorf("stream %s: %w", a.stream.name, err))
	case err != nil:
		a.fail(err)
	case answer.Error == nil:
		a.stored(f, answer)
	case answer.Error.ErrCode == codeBatchDuplicate:
		a.findDuplicates(ctx, f)
	case answer.Error.transient():
		a.fail(answer.Error)
	default:
		for r := range f.requests {
			a.fulfil(r, fmt.Errorf("%w: refused by stream %s: %w", broker.ErrUnavailable, a.stream.name, answer.Error))
		}
		f.answered = true
	}
	a.trim()
}

// flight returns the unanswered flight that an answer belongs to, or nil.
func (a *appender) flight(subject string) *flight {
	if len(a.flights) == 0 || len(subject) <= len(a.inbox) {
		return nil
	}
	number, err := strconv.ParseUint(subject[len(a.inbox):], 36, 64)
	if err != nil || number < a.flights[0].number || number-a.flights[0].number >= uint64(len(a.flights)) {
		return nil
	}
	f := a.flights[number-a.flights[0].number]
	if f.answered {
		return nil
	}
	return f
}

// stored takes note that a flight is in the stream.
func (a *appender) stored(f *flight, answer ack) {
	first := answer.Serial
	if n := len(f.items); n > 1 {
		if answer.Count != n || answer.Serial < uint64(n) {
			a.fail(fmt.Errorf("%d of %d events acknowledged", answer.Count, n))
			return
		}
		first -= uint64(n) - 1
	}
	if !answer.Duplicate {
		if first <= a.newest {
			// Deleted and made again, or the end was lost: what the epoch is now has to be
			// asked. Sent again, the flight is found to be stored.
			a.forget()
			a.fail(errLife)
			return
		}
		a.newest = answer.Serial
	}
	a.backoff, a.why = 0, nil
	a.s.metrics.commitEvents.Observe(float64(len(f.items)))
	for i, it := range f.items {
		a.found(it, first+uint64(i), answer.Duplicate)
	}
	f.answered = true
}

// found takes note of where an item stands.
func (a *appender) found(it *item, serial uint64, duplicate bool) {
	it.serial, it.duplicate = serial, duplicate
	if it.request.answered(a.epoch) {
		a.fulfil(it.request, nil)
	}
	for _, twin := range it.twins {
		twin.serial, twin.duplicate = serial, true
		if twin.request.answered(a.epoch) {
			a.fulfil(twin.request, nil)
		}
	}
}

// trim takes flights that have their answer, or that nobody waits for any more, off the front.
func (a *appender) trim() {
	n := 0
	for n < len(a.flights) && (a.flights[n].answered || a.flights[n].over()) {
		n++
	}
	if n > 0 {
		left := copy(a.flights, a.flights[n:])
		clear(a.flights[left:])
		a.flights = a.flights[:left]
	}
}
