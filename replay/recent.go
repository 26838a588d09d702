package replay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/playhead/playhead/broker"
)

// Recent is the newest part of an app's log as a feed keeps it in memory; [*broker.Feed] is one.
// All methods are safe for concurrent use and return at once.
type Recent interface {
	// Holds reports whether the place p of the log is known here, so that Back gives all that
	// came after it, and whether it is the place that p says: another event may stand at its
	// serial after an unclean loss.
	Holds(p broker.Position) (same, known bool)

	// Back yields the channel's events with serials in (after, upto.Serial], newest first; where
	// what is known begins only after that, or is of another epoch than upto, with a
	// [*broker.EdgeError] as the last word. upto is not beyond the feed's cursor.
	Back(ch broker.Channel, after uint64, upto broker.Position) iter.Seq2[*broker.Event, error]

	// Missed counts a question about what came after p that the log had to answer, while more
	// like it wait, and says whether it pays to extend what is known back to p, and by what.
	Missed(p broker.Position, more int) (broker.Room, bool)

	// Extend puts events in front: all of the log in (base.Serial, upto], oldest first. Cut
	// says that more were asked for than there is room. It returns false when that is no longer
	// where they belong.
	Extend(base broker.Position, events []*broker.Event, upto uint64, cut bool) bool
}

var _ Recent = (*broker.Feed)(nil)

// extended extends what is known in memory back to p when that pays, with the caller's turn. It
// returns whether it did; when the log is at fault, the read that then follows says so.
func (r *Replayer) extended(ctx context.Context, app broker.AppID, recent Recent, p broker.Position) bool {
	if recent == nil {
		return false
	}
	room, pays := recent.Missed(p, r.turns.waiting(app))
	if !pays {
		return false
	}
	over, mine := r.extend(app)
	if !mine {
		return false
	}
	defer over()
	base, events, cut, err := r.readAll(ctx, app, p.Epoch, room)
	if err != nil || !recent.Extend(base, events, room.Upto, cut) {
		return false
	}
	r.metrics.extensions.WithLabelValues(string(app)).Inc()
	return true
}

// errNothing: there is nothing, or nothing any more, to extend the memory with.
var errNothing = errors.New("nothing to extend by")

// readAll reads what there is room for, of all channels: one such read costs as much as many of one
// channel, and answers them all.
func (r *Replayer) readAll(ctx context.Context, app broker.AppID, epoch broker.Epoch, room broker.Room) (base broker.Position, events []*broker.Event, cut bool, err error) {
	bytes := 0
	for e, err := range r.cfg.History.Range(ctx, app, "", room.After, room.Upto) {
		if err != nil {
			return broker.Position{}, nil, false, fmt.Errorf("read the newest events: %w", err)
		}
		events = append(events, e)
		bytes += e.Size()
		for len(events) > room.Events || bytes > room.Bytes {
			bytes -= events[0].Size()
			events[0] = nil
			events, cut = events[1:], true
		}
	}
	// What was forgotten in the meantime may be missing in the middle; after it nothing is.
	oldest, _, err := r.cfg.History.Bounds(ctx, app)
	if err != nil {
		return broker.Position{}, nil, false, fmt.Errorf("read the log's bounds: %w", err)
	}
	if oldest.Epoch != epoch {
		return broker.Position{}, nil, false, errNothing
	}
	for len(events) > 0 && events[0].Position.Serial < oldest.Serial {
		events = events[1:]
	}
	if room.After == 0 && !cut && oldest.Serial <= 1 {
		return broker.Position{Epoch: epoch}, events, false, nil
	}
	// A place is known by its event, so the first one becomes the place after which the others come.
	if len(events) == 0 {
		return broker.Position{}, nil, false, errNothing
	}
	return events[0].Position, events[1:], cut, nil
}

// extend begins an extension for an app, unless one is under way; over ends it.
func (r *Replayer) extend(app broker.AppID) (over func(), mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.extending[app] != nil {
		return nil, false
	}
	done := make(chan struct{})
	r.extending[app] = done
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.extending, app)
		close(done)
	}, true
}

// underway returns what is closed when the extension that is under way for an app has ended; nil when
// there is none.
func (r *Replayer) underway(app broker.AppID) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.extending[app]
}

// admit waits for a turn and calls read with it. Recall is a look into the memory, true when that was
// enough: it may be by the time, and then no turn is needed. When ctx has no deadline, the wait and the
// read are bounded by the Config's.
func (r *Replayer) admit(ctx context.Context, app broker.AppID, recall func() bool, read func(context.Context) error) error {
	var wait time.Duration
	if _, ok := ctx.Deadline(); !ok {
		wait = r.cfg.WaitTimeout
	}
	for waited := false; ; waited = true {
		if err := r.turns.take(ctx, app, wait); err != nil {
			return err
		}
		if recall() {
			r.turns.done()
			return nil
		}
		done := r.underway(app)
		if done == nil || waited {
			break
		}
		// Somebody reads what will answer this one too. Others may have the turn until then.
		r.turns.done()
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("wait for an extension: %w", ctx.Err())
		}
		if recall() {
			return nil
		}
	}
	defer r.turns.done()
	if wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.cfg.Timeout)
		defer cancel()
	}
	return read(ctx)
}
