package ws

import (
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

const (
	// missAgain is after how long the observer is told once more of a channel that stays empty:
	// the backend may not have been able to fill it.
	missAgain = 30 * time.Minute

	// missesKept is how many channels are remembered at least. Of those over twice as many the
	// observer may be told again earlier.
	missesKept = 10_000
)

// misses remembers of which empty cache channels the observer was told. A channel's empty time is
// known by the event that was its last one, too old now, or none: after a publish that is another.
type misses struct {
	mu sync.Mutex
	// Guarded by mu. When young is full it becomes old, and what was old is forgotten.
	young, old map[place]miss
}

type miss struct {
	last string    // ID of the event that was too old; empty when there was none
	told time.Time // when the observer was told
}

// begins reports whether the channel's being empty is news, and remembers it. last is the channel's
// last event, nil when there is none.
func (m *misses) begins(at place, last *broker.Event, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.young[at]
	if !ok {
		known, ok = m.old[at]
	}
	// An event that the stream has forgotten meanwhile was too old before.
	same := last == nil || last.ID == known.last
	if ok && same && now.Sub(known.told) < missAgain {
		return false
	}
	if m.young == nil || len(m.young) >= missesKept {
		m.young, m.old = map[place]miss{}, m.young
	}
	known = miss{told: now}
	if last != nil {
		known.last = last.ID
	}
	m.young[at] = known
	return true
}

// over notes that the channel isn't empty.
func (m *misses) over(at place) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.young, at)
	delete(m.old, at)
}
