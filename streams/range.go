package streams

import (
	"context"
	"fmt"
	"iter"

	"github.com/playhead/playhead/broker"
)

// Range yields the events of one channel, or of all where ch is empty, with serials in (after, upto],
// oldest first: all that the stream holds of them, or an error as its last word. Breaking the loop
// ends the read. What the stream forgets at its head while the range is read may be missing without
// an error; ask [Streams.Bounds] afterwards. Errors: [broker.ErrUnavailable], the context's.
func (s *Streams) Range(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error] {
	return func(yield func(*broker.Event, error) bool) {
		if err := s.readRange(ctx, app, ch, after, upto, yield); err != nil {
			what := string(ch)
			if ch == "" {
				what = "all channels"
			}
			yield(nil, fmt.Errorf("read %s of app %s in (%d, %d]: %w", what, app, after, upto, failed(ctx, err)))
		}
	}
}

func (s *Streams) readRange(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64, yield func(*broker.Event, error) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if after >= upto {
		return nil
	}
	st, epoch, err := s.opened(ctx, app)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	r := &reading{stream: st, all: ch == "", upto: upto}
	r.subject = st.subjects + ">"
	if !r.all {
		r.subject = channelSubject(st.subjects, ch, byAnyone)
	}
	for after < upto {
		some, err := r.next(ctx, after)
		if err != nil || len(some) == 0 {
			return err
		}
		for _, m := range some {
			if m.Serial > upto {
				return nil
			}
			after = m.Serial
			if e := st.event(m, epoch); e != nil && !yield(e, nil) {
				return nil
			}
		}
	}
	return nil
}

// reading is one range being read, page after page. Pages come from whichever replica answers, and a
// replica is wrong at its ends: it may lag behind the leader, and it may have forgotten more. Between
// its ends it lacks nothing. So a page has to begin with the message that comes next, and only the
// leader says which that is, and that there is none. What is in the stream at all stands without a
// gap, since it forgets only at its head: where every message is wanted a page whose serials are those
// that follow proves itself, and the leader is asked only when they aren't.
type reading struct {
	stream  *stream
	subject string
	all     bool // the subject is that of every message
	upto    uint64
	alone   int  // how many messages to take from the leader, one by one, before a page is read again
	begun   bool // a page was read
}

// next returns messages that come right after a serial, or none when there are none up to r.upto.
func (r *reading) next(ctx context.Context, after uint64) ([]*message, error) {
	var page []*message
	if r.all && r.alone == 0 {
		var err error
		if page, err = r.page(ctx, after+1); err != nil {
			return nil, err
		}
		if some := inRow(page); len(some) > 0 && some[0].Serial == after+1 {
			return some, nil
		}
	}
	next, err := r.stream.ask(ctx, leaderRequest{Serial: after + 1, NextFor: r.subject})
	switch {
	case err != nil:
		return nil, err
	case next == nil:
		return nil, r.stream.reaches(ctx, r.upto)
	case next.Serial > r.upto:
		return nil, nil
	case r.alone > 0:
		r.alone--
		return []*message{next}, nil
	}
	if page == nil {
		if page, err = r.page(ctx, next.Serial); err != nil {
			return nil, err
		}
	}
	if len(page) == 0 || page[0].Serial != next.Serial {
		// The replica isn't there yet, or has forgotten it already. For a while the leader is
		// quicker than trying one after the other.
		r.alone = pageEvents / 10
		return []*message{next}, nil
	}
	if r.all {
		page = inRow(page)
	}
	return page, nil
}

// inRow returns the messages up to the first gap between two.
func inRow(page []*message) []*message {
	for i := range page {
		if page[i].Serial != page[0].Serial+uint64(i) {
			return page[:i]
		}
	}
	return page
}

// page reads a page, again when the cause of an error passes.
func (r *reading) page(ctx context.Context, from uint64) ([]*message, error) {
	q := pageRequest{Serial: from, NextFor: r.subject, Batch: pageEvents, MaxBytes: pageBytes}
	switch {
	case r.all:
		q.NextFor = ""
	case !r.begun:
		q.Batch = firstEvents
	}
	r.begun = true
	q.Batch = int(min(uint64(q.Batch), r.upto-from+1)) // there can't be more
	for {
		page, err := r.stream.page(ctx, q)
		if err == nil || !passing(err) || !pause(ctx, tryPause) {
			return page, err
		}
	}
}

// reaches makes sure that a leader which knows of nothing more has heard of upto at all: one that
// was replaced and doesn't know it yet would not have.
func (st *stream) reaches(ctx context.Context, upto uint64) error {
	info, err := st.find(ctx, st.s.read)
	if err != nil {
		return err
	}
	if info.State.LastSeq < upto {
		return fmt.Errorf("stream %s ends at %d", st.name, info.State.LastSeq)
	}
	return nil
}
