package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/playhead/playhead/broker"
)

// timeSlack is how far the events of a log may be from the order of their times: more than how long
// after it was taken an event is stored at the latest, and what the clocks of nodes differ.
const timeSlack = time.Minute

const (
	// firstWidth is how many serials the first range of a scan spans, at least.
	firstWidth = 256

	// widen is by how much a range is wider than the one before, as long as that found little.
	widen = 4

	// spareEvents and spareBytes are what a range may have beyond what is still looked for. With
	// more it is left and read again by halves: its newest events would come last.
	spareEvents = 200
	spareBytes  = 1 << 20
)

// scan finds the newest events of a channel before some place. A log can only be read forward, so it
// reads ranges that lie one before the other, each wider than the one after it, until it has enough.
// It never has more than limit + spareEvents events at a time, and reads again at most that many per
// halving, of which there are no more than the widest range has bits.
type scan struct {
	app    broker.AppID
	ch     broker.Channel
	wanted func(*broker.Event) bool
	limit  int       // of events; reaching it ends the scan
	bytes  int       // of what they are sent as; going over it ends the scan. 0: however many
	since  time.Time // older events aren't wanted; zero: however old
	most   int       // events read in vain at most, of those that aren't wanted

	at    uint64 // all wanted events after it are found
	least uint64 // the scan ends here

	events []*broker.Event // newest first
	size   int             // of events, as sent
	vain   int             // read and not wanted
}

// done reports whether the scan has come to its end.
func (s *scan) done() bool { return s.at <= s.least || s.full() }

// full reports whether it was ended by a limit; older events that are wanted may exist.
func (s *scan) full() bool {
	return len(s.events) >= s.limit || s.bytes > 0 && s.size > s.bytes || s.vain > s.most
}

// take takes the next older event.
func (s *scan) take(e *broker.Event) {
	if !s.wanted(e) {
		s.vain++
		return
	}
	s.events = append(s.events, e)
	s.size += sent(e)
}

// recall takes what is in memory, and reports whether that ends the scan.
func (s *scan) recall(recent Recent, epoch broker.Epoch) bool {
	if recent == nil {
		return s.done()
	}
	for e, err := range recent.Back(s.ch, s.least, broker.Position{Epoch: epoch, Serial: s.at}) {
		var end *broker.EdgeError
		switch {
		case errors.As(err, &end):
			s.at = min(s.at, end.Base.Serial)
			if end.Base.Time != 0 && s.older(end.Base.Time) {
				s.at = min(s.at, s.least)
			}
			return s.done()
		case err != nil:
			return false
		case s.older(e.Position.Time):
			s.at = s.least
			return true
		}
		if s.take(e); s.full() {
			s.at = e.Position.Serial - 1
			return true
		}
	}
	s.at = s.least
	return true
}

// older reports whether an event taken at that time, Unix ms, and all before it are too old.
func (s *scan) older(ms int64) bool {
	return !s.since.IsZero() && ms < s.since.Add(-timeSlack).UnixMilli()
}

// read takes the rest from the log.
func (s *scan) read(ctx context.Context, h History) error {
	width := s.first()
	dense := s.least // more is in (dense, at] than a range may have; when it is least, that isn't known
	for !s.done() {
		low := s.at - min(width, s.at-s.least)
		events, ok, err := s.span(ctx, h, low)
		switch {
		case err != nil:
			return err
		case !ok:
			dense = low
		default:
			s.at = low
			for _, e := range slices.Backward(events) {
				if s.take(e); s.full() {
					s.at = e.Position.Serial - 1
					break
				}
			}
			width = s.next(width, len(events))
		}
		if s.at <= dense && dense > s.least {
			dense, width = s.least, s.first()
		}
		if dense > s.least || !ok {
			width = max(1, (s.at-dense)/2)
		}
	}
	return nil
}

// first is how many serials to begin with.
func (s *scan) first() uint64 { return uint64(max(firstWidth, s.limit-len(s.events))) }

// next is how many serials should give the rest, when so many gave n events.
func (s *scan) next(width uint64, n int) uint64 {
	if n == 0 {
		return width * widen
	}
	missing := uint64(max(s.limit-len(s.events), 1))
	return min(width*widen, width*missing*3/2/uint64(n)+1)
}

// span reads the events of one range, oldest first, but gives up when they are too many.
func (s *scan) span(ctx context.Context, h History, low uint64) (events []*broker.Event, ok bool, err error) {
	size, most := 0, s.limit-len(s.events)+spareEvents
	for e, err := range h.Range(ctx, s.app, s.ch, low, s.at) {
		if err != nil {
			return nil, false, fmt.Errorf("read back %s: %w", s.ch, err)
		}
		events = append(events, e)
		size += sent(e)
		over := len(events) > most || s.bytes > 0 && size > s.bytes-s.size+spareBytes
		if over && s.at-low > 1 {
			return nil, false, nil
		}
	}
	return events, true, nil
}
