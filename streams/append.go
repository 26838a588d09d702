package streams

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/playhead/playhead/broker"
	"golang.org/x/sync/semaphore"
)

const (
	// appendEvents is how many events one Append may have: what JetStream takes as one batch.
	appendEvents = 1000
	// headersMax is what JetStream takes of headers, in bytes.
	headersMax = 1<<16 - 1
	// subjectMax bounds a subject, which travels with another one in a line of 4 KiB.
	subjectMax = 3 << 10
	// itemOverhead is what a waiting event takes beside its payload, in bytes, rounded up.
	itemOverhead = 1024
)

// Append implements [broker.Log]. Several events in one call are stored together or not at all, and
// stand behind each other in the stream; there may be up to 1,000. It waits while the app's queue
// is full. An append that can't be stored for AppendTimeout is [broker.ErrUnavailable], with the
// cause in its text, and so is one that the stream refuses; one made when Run has ended is
// [broker.ErrClosed]. Events need IDs: one without may be stored twice when an acknowledgement is
// lost.
func (s *Streams) Append(ctx context.Context, events ...*broker.Event) error {
	if len(events) == 0 {
		return nil
	}
	app := events[0].App
	if err := s.append(ctx, app, events); err != nil {
		return fmt.Errorf("append to app %s: %w", app, err)
	}
	return nil
}

func (s *Streams) append(ctx context.Context, app broker.AppID, events []*broker.Event) error {
	if err := errors.Join(ctx.Err(), s.commits.down()); err != nil {
		return err
	}
	st, err := s.stream(app)
	if err != nil {
		return err
	}
	r, err := st.request(events)
	if err != nil {
		return err
	}
	if err := st.queue.add(ctx, r); err != nil {
		return err
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		select {
		case <-r.done: // both at once; what is known is said
		default:
			r.abandoned.Store(true)
			return ctx.Err()
		}
	}
	if r.err != nil {
		return r.err
	}
	// A duplicate waits like others: the first one may have been stored a moment ago.
	if err := s.commits.wait(ctx, r.deadline); err != nil {
		return err
	}
	return st.settle(ctx, r, events)
}

// request is one call of Append on its way. The caller's events are not touched until it is done,
// for the caller may leave before.
type request struct {
	items     []item
	cost      int64         // bytes taken from the queue's room
	deadline  time.Time     // when it becomes an error
	abandoned atomic.Bool   // its caller has left; it need not be sent again
	left      int           // items without an answer; owned by the appender
	epoch     broker.Epoch  // of the stream that stored it; set before done is closed
	err       error         // why it was not stored; set before done is closed
	done      chan struct{} // closed when it has its answer
}

// item is one event of a request. It is owned by the appender until the request is done.
type item struct {
	request *request
	id      string // as it stands in the header; empty for none
	msg     *nats.Msg
	twins   []*item // later ones of the same commit that have the same ID

	serial    uint64 // where it, or the first one with its ID, stands; 0 until answered
	duplicate bool   // the ID was stored already
	resent    bool   // and perhaps by us: an earlier try had no answer
}

// request makes the messages of an append. That is done by the caller, not by the one goroutine
// that sends them all.
func (st *stream) request(events []*broker.Event) (*request, error) {
	if len(events) > appendEvents {
		return nil, fmt.Errorf("%d events at once: more than %d", len(events), appendEvents)
	}
	r := &request{
		items:    make([]item, len(events)),
		left:     len(events),
		deadline: time.Now().Add(st.s.cfg.AppendTimeout),
		done:     make(chan struct{}),
	}
	for i, e := range events {
		if e.App != st.app {
			return nil, fmt.Errorf("an event of app %s among them", e.App)
		}
		if e.Channel == "" {
			return nil, errors.New("event without channel")
		}
		m := encode(st.subjects, e)
		if len(m.Subject) > subjectMax {
			return nil, fmt.Errorf("channel of %d bytes: too long for a subject", len(e.Channel))
		}
		headers := headerBytes(m)
		most := st.s.cfg.Publish.MaxPayload() // 0 before the first connection
		if size := headers + len(m.Data); headers > headersMax || most > 0 && int64(size) > most {
			return nil, fmt.Errorf("event %s of %d bytes, headers of %d: the server takes no more than %d, headers of %d",
				e.ID, size, headers, most, headersMax)
		}
		r.items[i] = item{request: r, id: header(m.Header, headerID), msg: m}
		r.cost += int64(len(m.Data) + headers + itemOverhead)
	}
	return r, nil
}

// answered takes note that one more item has its answer; true when it was the last one.
func (r *request) answered(epoch broker.Epoch) bool {
	if r.left <= 0 {
		return false // the caller has an answer already
	}
	r.left--
	if r.left > 0 {
		return false
	}
	r.epoch = epoch
	return true
}

// settle puts the answer into the caller's events. Of a duplicate it reads the first one: its
// position carries the first one's time. That also tells whether it was really stored by somebody
// else, or by a try of ours whose acknowledgement was lost.
func (st *stream) settle(ctx context.Context, r *request, events []*broker.Event) error {
	for i, e := range events {
		it := &r.items[i]
		position := broker.Position{Epoch: r.epoch, Serial: it.serial, Time: e.Time.UnixMilli()}
		duplicate := it.duplicate
		if it.duplicate {
			m, err := st.at(ctx, it.serial)
			if err != nil {
				return fmt.Errorf("read the first event with id %s: %w", e.ID, failed(ctx, err))
			}
			first := st.event(m, r.epoch)
			if first != nil && first.ID != e.ID {
				first = nil
			}
			switch {
			case first == nil && !it.resent:
				position.Time = 0 // forgotten already
			case first != nil && it.resent && first.Position.Time == position.Time:
				duplicate = false
			case first != nil:
				position.Time = first.Position.Time
			default:
				duplicate = false
			}
		}
		e.Position, e.Duplicate = position, duplicate
	}
	return nil
}

// queue holds the requests of one app that no appender has taken yet.
type queue struct {
	stream *stream
	room   *semaphore.Weighted // bytes of all requests without an answer
	size   int64               // of the room
	wake   chan struct{}       // tells the appender that something waits

	mu      sync.Mutex
	waiting []*request // guarded by mu
	tended  bool       // guarded by mu; an appender is there, or asked for
	closed  bool       // guarded by mu; there will be no appender any more
}

func newQueue(st *stream) *queue {
	size := st.s.cfg.QueueBytes
	return &queue{
		stream: st,
		room:   semaphore.NewWeighted(size),
		size:   size,
		wake:   make(chan struct{}, 1),
	}
}

// add hands r to the app's appender, and asks for one when there is none. It waits for room.
func (q *queue) add(ctx context.Context, r *request) error {
	r.cost = min(r.cost, q.size) // one that is bigger than all the room goes alone
	if !q.room.TryAcquire(r.cost) {
		full, cancel := context.WithDeadline(ctx, r.deadline)
		defer cancel()
		if err := q.room.Acquire(full, r.cost); err != nil {
			return failed(ctx, fmt.Errorf("no room among the %d bytes that wait to be stored", q.size))
		}
	}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		q.room.Release(r.cost)
		return broker.ErrClosed
	}
	q.waiting = append(q.waiting, r)
	tended := q.tended
	q.tended = true
	q.mu.Unlock()
	if !tended && !q.stream.s.start(q.stream) {
		q.close() // which answers r
		return nil
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// take appends what waits to requests.
func (q *queue) take(requests []*request) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	requests = append(requests, q.waiting...)
	clear(q.waiting)
	q.waiting = q.waiting[:0]
	return requests
}

// leave ends the appender's care for the queue; false when something waits.
func (q *queue) leave() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tended = len(q.waiting) > 0
	return !q.tended
}

// close fails what waits and what comes.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	waiting := q.waiting
	q.waiting = nil
	q.mu.Unlock()
	for _, r := range waiting {
		q.finish(r, broker.ErrClosed)
	}
}

// finish gives r its answer; err is nil when it is stored.
func (q *queue) finish(r *request, err error) {
	r.err = err
	q.room.Release(r.cost)
	close(r.done)
}
