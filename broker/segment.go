package broker

import "sort"

// segment is a run of an app's events in memory, with the way from each to its channel's one before.
// While it is being filled it is guarded by feed.mu; once sealed it never changes and is read
// without a lock.
type segment struct {
	base    Position // of the last event before the segment's first, in any channel
	entries []entry  // at least one, in the order of their serials
	bytes   int

	// last holds, per channel, the number of its newest entry. Entries are numbered from 1, so
	// that 0 is none.
	last map[Channel]int32
}

// entry is one event in a segment.
type entry struct {
	event    *Event
	previous int32 // number of the channel's entry before this one; 0: none in the segment
}

// newSegment makes the segment that begins after base. It will probably be like the one before it, nil
// when there is none.
func newSegment(base Position, like *segment) *segment {
	s := &segment{base: base}
	if like != nil {
		s.entries = make([]entry, 0, len(like.entries))
		s.last = make(map[Channel]int32, len(like.last))
		return s
	}
	s.last = map[Channel]int32{}
	return s
}

// add takes an event of the given size.
func (s *segment) add(e *Event, size int) {
	s.entries = append(s.entries, entry{event: e, previous: s.last[e.Channel]})
	s.last[e.Channel] = int32(len(s.entries))
	s.bytes += size
}

// end returns the position of the segment's last event.
func (s *segment) end() Position { return s.entries[len(s.entries)-1].event.Position }

// at returns the event at a serial, nil when there is none.
func (s *segment) at(serial uint64) *Event {
	// Serials rise by 1 at least, so the event is at this index or before it; mostly at it.
	first := s.entries[0].event.Position.Serial
	if serial < first {
		return nil
	}
	most := int(min(serial-first, uint64(len(s.entries)-1)))
	if e := s.entries[most].event; e.Position.Serial == serial {
		return e
	}
	i := sort.Search(most, func(i int) bool { return s.entries[i].event.Position.Serial >= serial })
	if e := s.entries[i].event; e.Position.Serial == serial {
		return e
	}
	return nil
}

// before returns the position after which the segment's events were taken at or after a time, Unix
// ms. It takes their times to rise, which they do but for what nodes' clocks differ.
func (s *segment) before(time int64) Position {
	i := sort.Search(len(s.entries), func(i int) bool { return s.entries[i].event.Position.Time >= time })
	if i == 0 {
		return s.base
	}
	return s.entries[i-1].event.Position
}
