package webhook

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

var errQueue = errors.New("queue down")

// memory is a queue, an archive and a source in the process. The zero value is ready.
type memory struct {
	most int // letters of one endpoint; 0 is no bound

	mu       sync.Mutex
	serial   uint64
	ids      map[string]bool
	letters  map[key][]*broker.Letter // waiting, taken or not
	taken    map[uint64]bool          // serials that the present taker was given
	takers   map[key]bool
	changed  chan struct{}
	down     bool // every call fails
	undone   bool // Done and Bury fail
	puts     int  // calls of Put that stored something
	dead     []*broker.DeadLetter
	events   map[broker.AppID][]*broker.Event
	followed map[broker.AppID]int // how many events were followed
	since    map[broker.AppID]time.Time
	unfollow []broker.AppID
}

// change wakes who waits; it is called with mu held.
func (m *memory) change() {
	if m.changed != nil {
		close(m.changed)
	}
	m.changed = nil
}

// wait returns a channel that is closed at the next change; it is called with mu held.
func (m *memory) wait() chan struct{} {
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	return m.changed
}

func (m *memory) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	m.change()
}

func (m *memory) Put(_ context.Context, letters ...*broker.Letter) (refused []*broker.Letter, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return nil, errQueue
	}
	if m.ids == nil {
		m.ids, m.letters = map[string]bool{}, map[key][]*broker.Letter{}
	}
	m.puts++
	for _, l := range letters {
		k := key{l.App, l.Endpoint}
		switch {
		case m.ids[l.ID]:
			continue
		case m.most > 0 && len(m.letters[k]) >= m.most:
			refused = append(refused, l)
			continue
		}
		m.ids[l.ID] = true
		m.serial++
		stored := *l
		stored.Serial, stored.Queued = m.serial, time.Now()
		m.letters[k] = append(m.letters[k], &stored)
	}
	m.change()
	return refused, nil
}

func (m *memory) Take(ctx context.Context, app broker.AppID, endpoint string) iter.Seq2[*broker.Letter, error] {
	return func(yield func(*broker.Letter, error) bool) {
		k := key{app, endpoint}
		mine := false
		given := map[uint64]bool{}
		defer func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			if mine {
				delete(m.takers, k)
				for serial := range given {
					delete(m.taken, serial)
				}
				m.change()
			}
		}()
		for {
			m.mu.Lock()
			if m.takers == nil {
				m.takers, m.taken = map[key]bool{}, map[uint64]bool{}
			}
			if m.down {
				m.mu.Unlock()
				yield(nil, errQueue)
				return
			}
			if !mine && !m.takers[k] {
				mine, m.takers[k] = true, true
			}
			var next *broker.Letter
			if mine {
				for _, l := range m.letters[k] {
					if !m.taken[l.Serial] {
						next = l
						m.taken[l.Serial], given[l.Serial] = true, true
						break
					}
				}
			}
			changed := m.wait()
			m.mu.Unlock()
			if next != nil {
				if !yield(next, nil) {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (m *memory) Done(_ context.Context, letters ...*broker.Letter) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down || m.undone {
		return errQueue
	}
	m.remove(letters)
	return nil
}

func (m *memory) remove(letters []*broker.Letter) {
	for _, l := range letters {
		k := key{l.App, l.Endpoint}
		if m.taken[l.Serial] {
			m.letters[k] = slices.DeleteFunc(m.letters[k], func(o *broker.Letter) bool { return o.Serial == l.Serial })
		}
	}
	m.change()
}

func (m *memory) Bury(_ context.Context, why string, letters ...*broker.Letter) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down || m.undone {
		return errQueue
	}
	for _, l := range letters {
		m.dead = append(m.dead, &broker.DeadLetter{Letter: *l, Number: uint64(len(m.dead) + 1), Why: why, Died: time.Now()})
	}
	m.remove(letters)
	return nil
}

func (m *memory) Backlog(context.Context) ([]broker.Backlog, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return nil, errQueue
	}
	var all []broker.Backlog
	for k, letters := range m.letters {
		if len(letters) > 0 {
			all = append(all, broker.Backlog{App: k.app, Endpoint: k.name, Letters: uint64(len(letters))})
		}
	}
	return all, nil
}

func (m *memory) Dead(_ context.Context, app broker.AppID) iter.Seq2[*broker.DeadLetter, error] {
	return func(yield func(*broker.DeadLetter, error) bool) {
		m.mu.Lock()
		down, dead := m.down, slices.Clone(m.dead)
		m.mu.Unlock()
		if down {
			yield(nil, errQueue)
			return
		}
		for _, d := range dead {
			if (app == "" || d.App == app) && !yield(d, nil) {
				return
			}
		}
	}
}

func (m *memory) Retry(ctx context.Context, numbers ...uint64) (int, error) {
	m.mu.Lock()
	down := m.down
	var again []*broker.Letter
	m.dead = slices.DeleteFunc(m.dead, func(d *broker.DeadLetter) bool {
		if down || !slices.Contains(numbers, d.Number) {
			return false
		}
		l := d.Letter
		l.ID += "/again"
		again = append(again, &l)
		return true
	})
	m.mu.Unlock()
	if down {
		return 0, errQueue
	}
	_, err := m.Put(ctx, again...)
	return len(again), err
}

// store is what a log does with a client event.
func (m *memory) store(e *broker.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.events == nil {
		m.events, m.followed = map[broker.AppID][]*broker.Event{}, map[broker.AppID]int{}
	}
	e.Position = broker.Position{Epoch: "e", Serial: uint64(len(m.events[e.App]) + 1)}
	m.events[e.App] = append(m.events[e.App], e)
	m.change()
}

func (m *memory) Follow(ctx context.Context, app broker.AppID, since time.Time) iter.Seq2[[]*broker.Event, error] {
	return func(yield func([]*broker.Event, error) bool) {
		m.mu.Lock()
		if m.since == nil {
			m.since = map[broker.AppID]time.Time{}
		}
		m.since[app] = since
		m.mu.Unlock()
		for {
			m.mu.Lock()
			at := m.followed[app]
			events := slices.Clone(m.events[app][at:])
			down, changed := m.down, m.wait()
			m.mu.Unlock()
			switch {
			case down:
				yield(nil, errQueue)
				return
			case len(events) > 0:
				if !yield(events, nil) {
					return
				}
				m.mu.Lock()
				m.followed[app] = at + len(events)
				m.mu.Unlock()
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (m *memory) Unfollow(_ context.Context, app broker.AppID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unfollow = append(m.unfollow, app)
	return nil
}
