package webhook

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/playhead/playhead/broker"
)

// entry is a letter that waits in a line.
type entry struct {
	letter *broker.Letter
	name   string // of the event
	ch     broker.Channel
	user   string

	due    time.Time // before it, it is held back
	late   bool      // it came when that was over
	silent bool      // there only to take something back, or to be taken back; isn't told
}

// newEntry reads a letter.
func newEntry(l *broker.Letter) (*entry, error) {
	var body struct {
		Name    string         `json:"name"`
		Channel broker.Channel `json:"channel"`
		UserID  string         `json:"user_id"`
	}
	if err := json.Unmarshal(l.Body, &body); err != nil {
		return nil, fmt.Errorf("read letter %s: %w", l.ID, err)
	}
	return &entry{letter: l, name: body.Name, ch: body.Channel, user: body.UserID}, nil
}

// line is what waits for one endpoint. It decides what may be told and when; it knows no clock. It is
// owned by the worker.
//
// Events of one channel keep their order: while one is held back, or on its way, the later ones of its
// channel wait. Other channels pass.
type line struct {
	delay   time.Duration
	entries []*entry                    // oldest first
	busy    map[broker.Channel]struct{} // channels with an event on its way
}

func newLine(delay time.Duration) *line {
	return &line{delay: delay, busy: map[broker.Channel]struct{}{}}
}

// add puts e at the line's end, unless it takes back an event that is held: then neither is told, and
// that event is returned, out of the line. What may be taken back is held until the delay after it
// happened has passed; should its time be of a clock that is ahead, until the delay after now. What
// comes here only then isn't taken back any more, for it may have been told by whoever took the letters before.
func (l *line) add(now time.Time, e *entry) (takenBack *entry) {
	if counterpart(e.name) != "" {
		e.due = e.letter.Time.Add(l.delay)
		if latest := now.Add(l.delay); e.due.After(latest) {
			e.due = latest
		}
		e.late = !now.Before(e.due)
	}
	for i, held := range slices.Backward(l.entries) {
		if held.ch != e.ch || held.user != e.user || counterpart(held.name) != e.name {
			continue
		}
		if held.late || !e.letter.Time.Before(held.letter.Time.Add(l.delay)) {
			break
		}
		l.entries = slices.Delete(l.entries, i, i+1)
		return held
	}
	l.entries = append(l.entries, e)
	return nil
}

// free yields, oldest first, what may be told now, and returns when more may be; zero for not before
// something else happens.
func (l *line) free(now time.Time, yield func(*entry) bool) (next time.Time) {
	var held map[broker.Channel]struct{}
	for _, e := range l.entries {
		if _, busy := l.busy[e.ch]; busy {
			continue
		}
		if _, waits := held[e.ch]; waits {
			continue
		}
		if now.Before(e.due) {
			if held == nil {
				held = map[broker.Channel]struct{}{}
			}
			held[e.ch] = struct{}{}
			if next.IsZero() || e.due.Before(next) {
				next = e.due
			}
			continue
		}
		if !yield(e) {
			break
		}
	}
	return next
}

// ready returns how many may be told now, at most most, and when more may be.
func (l *line) ready(now time.Time, most int) (n int, next time.Time) {
	next = l.free(now, func(*entry) bool {
		n++
		return n < most
	})
	return n, next
}

// cut takes out what may be told now, at most most, and makes its channels busy.
func (l *line) cut(now time.Time, most int) []*entry {
	var out []*entry
	l.free(now, func(e *entry) bool {
		out = append(out, e)
		return len(out) < most
	})
	l.remove(out)
	for _, e := range out {
		l.busy[e.ch] = struct{}{}
	}
	return out
}

// silence takes out those that may be told now, but aren't to be.
func (l *line) silence(now time.Time) []*entry {
	var out []*entry
	l.free(now, func(e *entry) bool {
		if e.silent {
			out = append(out, e)
		}
		return true
	})
	l.remove(out)
	return out
}

func (l *line) remove(out []*entry) {
	if len(out) == 0 {
		return
	}
	gone := make(map[*entry]struct{}, len(out))
	for _, e := range out {
		gone[e] = struct{}{}
	}
	l.entries = slices.DeleteFunc(l.entries, func(e *entry) bool {
		_, ok := gone[e]
		return ok
	})
}

// release makes the channels of entries that were cut free again.
func (l *line) release(entries []*entry) {
	for _, e := range entries {
		delete(l.busy, e.ch)
	}
}
