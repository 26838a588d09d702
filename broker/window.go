package broker

import (
	"iter"
	"slices"
	"time"
)

// window is the newest part of an app's log, kept in memory for clients that were away for a short
// while. Its events stand in segments of about a sixteenth of what it may hold; when it is full the
// oldest segment goes as a whole. So an event costs one look into the index when it comes and nothing
// when it goes, and a reader needs the lock only to take the list of segments. Guarded by feed.mu.
type window struct {
	maxEvents int // 0: the window is off
	maxBytes  int

	base   Position // of the last event before the oldest one held
	end    Position // of the newest event, held or not
	events int      // that are held
	bytes  int      // that they take

	sealed  []*segment // oldest first; a view may have this slice, so its elements never change
	filling *segment   // nil when there is none

	misses int  // questions that the window didn't reach back for, since it was last extended
	cut    bool // an extension had more than there was room for: there is no room for another
}

const (
	// windowSegments is in how many segments a full window stands.
	windowSegments = 16

	// maxSegments bounds them where extensions left short ones.
	maxSegments = 8 * windowSegments

	// missPays is how many events may be read, per question that the window couldn't answer, to
	// extend it; see DESIGN.md.
	missPays = 1_000
)

// begin empties the window; what comes after p is what it will hold.
func (w *window) begin(p Position) {
	*w = window{maxEvents: w.maxEvents, maxBytes: w.maxBytes, base: p, end: p}
}

// add takes the log's next event.
func (w *window) add(e *Event, age time.Duration) {
	p := e.Position
	if p.IsZero() {
		return
	}
	if w.maxEvents == 0 {
		w.base, w.end = p, p // it holds nothing, and must not look as if there were nothing
		return
	}
	size := e.Size()
	if p.Epoch != w.end.Epoch || p.Serial <= w.end.Serial || size > w.maxBytes {
		w.begin(p)
		return
	}
	w.makeRoom(1, size)
	if w.filling == nil {
		w.filling = newSegment(w.end, w.newest())
	}
	w.filling.add(e, size)
	w.end = p
	w.events++
	w.bytes += size
	if w.full(w.filling) {
		w.sealed = append(w.sealed, w.filling)
		w.filling = nil
		w.age(age)
	}
}

// age drops segments of which every event is older than what is remembered; 0: none is too old.
func (w *window) age(most time.Duration) {
	if most == 0 {
		return
	}
	oldest := time.Now().Add(-most).UnixMilli()
	for len(w.sealed) > 0 && w.sealed[0].end().Time < oldest {
		w.drop()
	}
}

// newest returns the newest sealed segment, nil when there is none.
func (w *window) newest() *segment {
	if len(w.sealed) == 0 {
		return nil
	}
	return w.sealed[len(w.sealed)-1]
}

// full reports whether a segment has its share.
func (w *window) full(s *segment) bool {
	return len(s.entries) >= w.maxEvents/windowSegments || s.bytes >= w.maxBytes/windowSegments
}

// makeRoom drops the oldest segments until so much more fits in.
func (w *window) makeRoom(events, bytes int) {
	for w.events > 0 && (w.events+events > w.maxEvents || w.bytes+bytes > w.maxBytes) {
		w.drop()
	}
}

// drop forgets the oldest segment.
func (w *window) drop() {
	s := w.filling
	if len(w.sealed) > 0 {
		s = w.sealed[0]
		w.sealed = slices.Clone(w.sealed[1:])
	} else {
		w.filling = nil
	}
	w.base = s.end()
	w.events -= len(s.entries)
	w.bytes -= s.bytes
	w.cut = false
}

// view returns the window as it is, for reading one channel and single serials.
func (w *window) view(ch Channel) view {
	v := view{base: w.base, segments: w.sealed[:len(w.sealed):len(w.sealed)]}
	if f := w.filling; f != nil {
		// The entries that are there now won't change. The index will, so it is read here.
		v.newest = f.last[ch]
		v.segments = append(v.segments, &segment{base: f.base, entries: f.entries[:len(f.entries):len(f.entries)]})
	}
	return v
}

// Room is what a window may be extended by: the events of all channels in (After, Upto], of these the
// newest that Events and Bytes allow.
type Room struct {
	After, Upto   uint64
	Events, Bytes int
}

// missed counts a question about what came after p and says whether, and for what, there is room;
// so many more will be asked at once.
func (w *window) missed(p Position, more int) (Room, bool) {
	r := Room{
		After:  max(p.Serial, 1) - 1,
		Upto:   w.base.Serial,
		Events: w.maxEvents - w.events,
		Bytes:  w.maxBytes - w.bytes,
	}
	if p.Epoch != w.base.Epoch || p.Serial >= r.Upto || w.cut || len(w.sealed) >= maxSegments {
		return Room{}, false
	}
	span := r.Upto - r.After
	each := eventOverhead // bytes an event, as far as one knows
	if w.events > 0 {
		each = w.bytes / w.events
	}
	if span > uint64(r.Events) || span > uint64(r.Bytes/each) {
		return Room{}, false
	}
	w.misses++
	if uint64(w.misses+more)*missPays < span {
		return Room{}, false
	}
	w.misses = 0
	// With less than a miss is worth, clients that were away longer each than the one before would
	// be read for one by one.
	r.After = r.Upto - min(r.Upto, max(span, min(missPays, uint64(r.Events))))
	return r, true
}

// build makes segments of events that stand before the window.
func (w *window) build(base Position, events []*Event) []*segment {
	var all []*segment
	var s *segment
	for _, e := range events {
		if s == nil || w.full(s) {
			s = newSegment(base, s)
			all = append(all, s)
		}
		s.add(e, e.Size())
		base = e.Position
	}
	return all
}

// extend puts segments in front, where they end at the window's base.
func (w *window) extend(base Position, segments []*segment, upto uint64, cut bool) bool {
	if base.Epoch != w.base.Epoch || base.Serial >= upto || upto != w.base.Serial {
		return false // the window has gone on without them
	}
	for _, s := range segments {
		w.events += len(s.entries)
		w.bytes += s.bytes
	}
	w.sealed = append(segments, w.sealed...)
	w.base = base
	w.makeRoom(0, 0)
	w.cut = w.cut || cut
	return true
}

// view returns the feed's window as it is, for questions about a channel.
func (f *Feed) view(ch Channel) view {
	f.mu.Lock()
	v := f.window.view(ch)
	f.mu.Unlock()
	if age := f.node.cfg.WindowAge; age > 0 {
		v.forget(time.Now().Add(-age))
	}
	return v
}

// Holds reports whether the feed's window has the place p of the log, so that [Feed.Back] gives all
// that came after it, and whether it is the place that p says: after an unclean loss another event
// may stand at its serial. When the window doesn't know, only the log does.
func (f *Feed) Holds(p Position) (same, known bool) {
	v := f.view("")
	return v.holds(p)
}

// Back yields the channel's events with serials in (after, upto.Serial], newest first, out of the feed's
// window: the newest of the log, up to the cursor. When the window doesn't reach back to after, its
// last word is an [*EdgeError]; of another life of the log it has nothing else to say. It holds no lock
// while it yields.
func (f *Feed) Back(ch Channel, after uint64, upto Position) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		v := f.view(ch)
		v.back(ch, after, upto, yield)
	}
}

// Missed counts a question about what came after p that had to be answered from the log, and says
// whether it pays by now to extend the window that far back, and by what; more questions like it are
// known to wait. Whoever is told so reads it and calls [Feed.Extend].
func (f *Feed) Missed(p Position, more int) (Room, bool) {
	if age := f.node.cfg.WindowAge; age > 0 && p.Time != 0 && p.Time < time.Now().Add(-age).UnixMilli() {
		return Room{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.window.missed(p, more)
}

// Extend puts events in front of the window: all those of the log, of any channel, in (base.Serial,
// upto], oldest first. Cut says that there would have been more of them, but for the room. It returns
// false, and does nothing, when the window no longer begins after upto.
func (f *Feed) Extend(base Position, events []*Event, upto uint64, cut bool) bool {
	segments := f.window.build(base, events)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.window.extend(base, segments, upto, cut)
}

// windowSize returns how many events the window holds, and the bytes that they take.
func (f *Feed) windowSize() (events, bytes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.window.events, f.window.bytes
}
