package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/playhead/playhead/broker"
)

// Request is what a returning client wants.
type Request struct {
	App     broker.AppID
	Channel broker.Channel

	// Position is where the client was, exactly as it sent it.
	Position string

	// Seam is where its new subscription begins to be live ([broker.Feed.Subscribe]).
	Seam broker.Position

	// Socket is the client's former connection, empty when it named none. Events that
	// exclude it, its own client events among them, are left out.
	Socket broker.SocketID

	// ClientEvents says whether client events are replayed (the app's ReplayClientEvents).
	ClientEvents bool

	// Recent is the feed's window. Default: none, everything is read from the history.
	Recent Recent
}

// Result is the answer: all the events after the position and up to the seam, oldest first, or
// the reason why the client can't have them, and then none. For a [RewindRequest] see
// [Replayer.Rewind].
type Result struct {
	Events []*broker.Event
	Reason Reason // empty: recovered
}

// Replay answers a returning client. It blocks while others read and while it reads, until its
// context ends at the latest. Faults of the history are logged here and come back as
// [Unavailable].
func (r *Replayer) Replay(ctx context.Context, q Request) Result {
	began := time.Now()
	events, reason, err := r.replay(ctx, q)
	return r.answered(ctx, q.App, Result{Events: events, Reason: reason}, err, began)
}

// Holds reports whether the log has the event at a position, or can't be asked now: then a node that hasn't
// read so far is behind, and it is not the position that lies beyond the end.
func (r *Replayer) Holds(ctx context.Context, app broker.AppID, p broker.Position) bool {
	if r.cfg.History == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	e, err := r.cfg.History.At(ctx, app, p.Serial)
	if err != nil {
		r.cfg.Logger.Warn("whether a node is behind can't be found out", "app", app, "err", err)
		return true
	}
	return e != nil && e.Position.Epoch == p.Epoch && (p.Time == 0 || e.Position.Time == p.Time)
}

// replay answers what can be told from the two positions alone, and else looks into the memory and
// then the log. An error comes with [Unavailable].
func (r *Replayer) replay(ctx context.Context, q Request) ([]*broker.Event, Reason, error) {
	if r.cfg.History == nil || q.Seam.IsZero() {
		return nil, Unsupported, nil
	}
	pos, ok := position(q.Position)
	switch {
	case !ok:
		return nil, Invalid, nil
	case pos.Epoch != q.Seam.Epoch:
		return nil, Reset, nil
	case pos.Serial > q.Seam.Serial:
		return nil, Ahead, nil
	case pos.Serial == q.Seam.Serial:
		if pos.Time != 0 && q.Seam.Time != 0 && pos.Time != q.Seam.Time {
			return nil, Reset, nil
		}
		return nil, "", nil
	}
	var events []*broker.Event
	var reason Reason
	hit := false
	recall := func() bool {
		events, reason, hit = r.recall(q, pos)
		return hit
	}
	defer func() { r.metrics.looked(q.App, q.Recent, hit) }()
	if recall() {
		return events, reason, nil
	}
	err := r.admit(ctx, q.App, recall, func(ctx context.Context) error {
		if r.extended(ctx, q.App, q.Recent, pos) && recall() {
			return nil
		}
		var err error
		events, reason, err = r.read(ctx, q, pos)
		return err
	})
	if err != nil {
		return nil, Unavailable, fmt.Errorf("replay %s: %w", q.Channel, err)
	}
	return events, reason, nil
}

// position reads a position as a client sent it. What is wrong with one that isn't any is nobody's
// business: its client is told that it is invalid.
func position(text string) (broker.Position, bool) {
	p, err := broker.ParsePosition(text)
	return p, err == nil
}

// recall answers from memory, or reports that it can't.
func (r *Replayer) recall(q Request, pos broker.Position) ([]*broker.Event, Reason, bool) {
	if q.Recent == nil {
		return nil, "", false
	}
	switch same, known := q.Recent.Holds(pos); {
	case !known:
		return nil, "", false
	case !same:
		return nil, Reset, true
	}
	m := r.missed(q)
	for e, err := range q.Recent.Back(q.Channel, pos.Serial, q.Seam) {
		if err != nil {
			return nil, "", false
		}
		if !m.take(e) {
			return nil, TooFar, true
		}
	}
	slices.Reverse(m.events)
	return m.events, "", true
}

// read reads from pos to the seam and proves that nothing is missing in between.
func (r *Replayer) read(ctx context.Context, q Request, pos broker.Position) ([]*broker.Event, Reason, error) {
	if reason, err := r.check(ctx, q, pos); reason != "" {
		return nil, reason, err
	}
	events, reason, err := r.collect(ctx, q, pos)
	if reason == TooFar {
		return nil, TooFar, nil
	}
	// The log may have forgotten something after the range began and before the read came by.
	// Only its head as it is after the read tells. It may also explain why the read broke off.
	switch lost, headErr := r.head(ctx, q, pos); lost {
	case "":
		return events, reason, err
	case Unavailable:
		return nil, Unavailable, errors.Join(err, headErr)
	default:
		return nil, lost, nil
	}
}

// check looks at the event on which pos was made: after an unclean loss another one may stand at
// its serial, and what follows is not what followed then. Where nothing stands there the head is
// looked at now, so that a client that is too late costs no range.
func (r *Replayer) check(ctx context.Context, q Request, pos broker.Position) (Reason, error) {
	if pos.Serial != 0 && pos.Time != 0 {
		e, err := r.cfg.History.At(ctx, q.App, pos.Serial)
		switch {
		case err != nil:
			return Unavailable, fmt.Errorf("read the event at a position: %w", err)
		case e != nil && e.Time.UnixMilli() != pos.Time:
			return Reset, nil
		case e != nil:
			return "", nil
		}
	}
	return r.head(ctx, q, pos)
}

// head reports whether the log still holds everything after pos.
func (r *Replayer) head(ctx context.Context, q Request, pos broker.Position) (Reason, error) {
	oldest, _, err := r.cfg.History.Bounds(ctx, q.App)
	switch {
	case err != nil:
		return Unavailable, fmt.Errorf("read the log's bounds: %w", err)
	case oldest.Epoch != pos.Epoch:
		return Reset, nil
	case oldest.Serial > pos.Serial+1:
		return Expired, nil
	}
	return "", nil
}

// collect reads the range and keeps what the client is to get.
func (r *Replayer) collect(ctx context.Context, q Request, pos broker.Position) ([]*broker.Event, Reason, error) {
	m := r.missed(q)
	for e, err := range r.cfg.History.Range(ctx, q.App, q.Channel, pos.Serial, q.Seam.Serial) {
		if err != nil {
			return nil, Unavailable, fmt.Errorf("read what was missed: %w", err)
		}
		if !m.take(e) {
			return nil, TooFar, nil
		}
	}
	return m.events, "", nil
}

// missed is what a returning client has missed, as it is found.
type missed struct {
	q                     Request
	maxEvents, maxBytes   int
	events                []*broker.Event
	bytes                 int
	scanned, scannedBytes int // with what is left out
}

func (r *Replayer) missed(q Request) *missed {
	return &missed{q: q, maxEvents: r.cfg.MaxEvents, maxBytes: r.cfg.MaxBytes}
}

// take takes an event in any order, and returns false when that is more than a client may get.
func (m *missed) take(e *broker.Event) bool {
	size := sent(e)
	m.scanned++
	m.scannedBytes += size
	if wanted(m.q, e) {
		m.bytes += size
		m.events = append(m.events, e)
	}
	return len(m.events) <= m.maxEvents && m.bytes <= m.maxBytes &&
		m.scanned/scanFactor <= m.maxEvents && m.scannedBytes/scanFactor <= m.maxBytes
}

// sent is what an event counts against MaxBytes.
func sent(e *broker.Event) int { return len(e.Name) + len(e.Data) }

// wanted reports whether the client would have got the event had it been here.
func wanted(q Request, e *broker.Event) bool {
	if e.Client && !q.ClientEvents {
		return false
	}
	return q.Socket == "" || e.Exclude != q.Socket
}
