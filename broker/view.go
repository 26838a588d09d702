package broker

import (
	"fmt"
	"sort"
	"time"
)

// EdgeError is the last word of [Feed.Back] when the window begins after what was asked for: it has all
// events after Base, in any channel, and none up to it.
type EdgeError struct {
	Base Position // its Time may be 0 when it isn't known
}

func (e *EdgeError) Error() string {
	return fmt.Sprintf("the window begins after serial %d", e.Base.Serial)
}

// view is a window as it was at one instant. It is read without a lock, so that however many events
// somebody walks through, fan-out goes on.
type view struct {
	base     Position   // all events after it are in the segments
	segments []*segment // oldest first; one that is being filled is there as it was, without its index
	newest   int32      // of the channel that the view is for: its entry in such a segment
}

// forget takes out what was taken before a time. The events of a log don't come exactly in the order
// of their times; the newest of the old ones decides.
func (v *view) forget(before time.Time) {
	oldest := before.UnixMilli()
	for len(v.segments) > 0 && v.segments[0].end().Time < oldest {
		v.base = v.segments[0].end()
		v.segments = v.segments[1:]
	}
	if len(v.segments) > 0 {
		if p := v.segments[0].before(oldest); p.Serial > v.base.Serial {
			v.base = p
		}
	}
}

// holds implements [Feed.Holds].
func (v *view) holds(p Position) (same, known bool) {
	switch {
	case p.Epoch != v.base.Epoch || p.Serial < v.base.Serial:
		return false, false
	case p.Serial == 0: // before the first event of this life, and so is the base
		return p.Time == 0, true
	case p.Time == 0:
		return false, false
	case p.Serial == v.base.Serial:
		return p.Time == v.base.Time, v.base.Time != 0
	}
	i := sort.Search(len(v.segments), func(i int) bool { return v.segments[i].base.Serial >= p.Serial }) - 1
	if i < 0 {
		return false, false
	}
	if e := v.segments[i].at(p.Serial); e != nil {
		return p.Time == e.Position.Time, true
	}
	return false, false
}

// back yields the channel's events after a serial and up to a place, newest first, and its edge when it
// doesn't reach back that far.
func (v *view) back(ch Channel, after uint64, until Position, yield func(*Event, error) bool) {
	if until.Epoch != v.base.Epoch {
		yield(nil, &EdgeError{Base: Position{Epoch: until.Epoch, Serial: until.Serial}})
		return
	}
	least, upto := max(after, v.base.Serial), until.Serial
	for i := len(v.segments) - 1; i >= 0 && upto > least; i-- {
		s := v.segments[i]
		if s.base.Serial >= upto {
			continue
		}
		n := v.newest
		if s.last != nil {
			n = s.last[ch]
		}
		for ; n != 0; n = s.entries[n-1].previous {
			e := s.entries[n-1].event
			if e.Position.Serial <= least {
				break
			}
			if e.Position.Serial <= upto && !yield(e, nil) {
				return
			}
		}
		if s.base.Serial <= least {
			break
		}
	}
	if after < v.base.Serial {
		yield(nil, &EdgeError{Base: v.base})
	}
}
