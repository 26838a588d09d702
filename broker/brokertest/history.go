package brokertest

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/playhead/playhead/broker"
)

// page is how many events a range reads at a time; what is forgotten between two pages is missing
// from it, as in a real one.
const page = 100

// Bounds implements [replay.History].
func (m *Memory) Bounds(ctx context.Context, app broker.AppID) (oldest, newest broker.Position, err error) {
	if err := ctx.Err(); err != nil {
		return broker.Position{}, broker.Position{}, fmt.Errorf("read the bounds of app %s: %w", app, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.life(app)
	oldest = broker.Position{Epoch: l.epoch, Serial: l.first}
	if len(l.events) > 0 {
		oldest.Time = l.events[0].Position.Time
	}
	return oldest, l.end(), nil
}

// Since implements [replay.History].
func (m *Memory) Since(ctx context.Context, app broker.AppID, t time.Time) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("find the events of app %s since %v: %w", app, t, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.life(app)
	for _, e := range l.events {
		if !e.Time.Before(t) {
			return e.Position.Serial - 1, nil
		}
	}
	return l.end().Serial, nil
}

// At implements [replay.History].
func (m *Memory) At(ctx context.Context, app broker.AppID, serial uint64) (*broker.Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read serial %d of app %s: %w", serial, app, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.life(app)
	if serial < l.first || serial >= l.next() {
		return nil, nil
	}
	return l.events[serial-l.first], nil
}

// Range implements [replay.History].
func (m *Memory) Range(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error] {
	return func(yield func(*broker.Event, error) bool) {
		for after < upto {
			if err := ctx.Err(); err != nil {
				yield(nil, fmt.Errorf("read %s after %d: %w", ch, after, err))
				return
			}
			var events []*broker.Event
			events, after = m.read(app, ch, after, upto)
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// read returns the next page of a range, and the serial after which the one behind it begins.
func (m *Memory) read(app broker.AppID, ch broker.Channel, after, upto uint64) ([]*broker.Event, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var events []*broker.Event
	for _, e := range m.life(app).from(after) {
		if e.Position.Serial > upto {
			break
		}
		if ch != "" && e.Channel != ch {
			continue
		}
		events = append(events, e)
		if len(events) == page {
			return events, e.Position.Serial
		}
	}
	return events, upto
}

// Forget lets the app's log forget, at its head, everything up to a serial, as retention does.
// Serials go on as before.
func (m *Memory) Forget(app broker.AppID, upto uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.life(app)
	if upto < l.first {
		return
	}
	keep := l.from(upto)
	l.first = min(upto+1, l.next())
	l.events = append([]*broker.Event(nil), keep...)
}

// Lose takes back, at the log's end, everything after a serial, as a power cut does that loses
// what wasn't synced: the epoch stays and the lost serials are given out again. Tails end with
// [ErrTail].
func (m *Memory) Lose(app broker.AppID, after uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.life(app)
	for _, e := range l.from(after) {
		delete(l.ids, e.ID)
	}
	l.events = l.events[:len(l.events)-len(l.from(after))]
	l.breakTails(fmt.Errorf("%w: its end was lost", ErrTail))
}

// Reset deletes the app's log; the next one has another epoch. Tails end with [ErrTail].
func (m *Memory) Reset(app broker.AppID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.life(app).breakTails(fmt.Errorf("%w: the log was deleted", ErrTail))
	delete(m.apps, app)
}

// Break ends the app's present tails with an error, and does nothing to the log.
func (m *Memory) Break(app broker.AppID, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.life(app).breakTails(why)
}

// breakTails ends the present tails; it is called with Memory.mu held.
func (l *life) breakTails(why error) {
	l.why = why
	close(l.broken)
	l.broken = make(chan struct{})
}
