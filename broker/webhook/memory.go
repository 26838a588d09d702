package webhook

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

// MemoryConfig configures [Memory].
type MemoryConfig struct {
	// MaxLetters and MaxBytes are how much may wait for one endpoint; over it letters for this
	// endpoint are refused. Default 100,000 and 64 MiB.
	MaxLetters int64
	MaxBytes   int64

	// MaxDead is how many dead letters are kept; over it the oldest are forgotten. Default 10,000.
	MaxDead int

	// Window is how many letters of an endpoint may be taken and not done: only those can take each
	// other back. Default 5,000.
	Window int
}

// Memory is a queue, and its archive, in this process: a restart loses what waits and what is dead, and
// each node delivers what it has put itself. All methods are safe for concurrent use.
type Memory struct {
	cfg MemoryConfig

	mu      sync.Mutex
	serial  uint64               // guarded by mu; of the letter that was put last
	boxes   map[key]*box         // guarded by mu; endpoints with letters or a taker
	ids     map[string]struct{}  // guarded by mu; of letters put a short while ago
	known   []remembered         // guarded by mu; the same, oldest first
	waiting map[uint64]*inBox    // guarded by mu; letters that aren't done, by serial
	dead    []*broker.DeadLetter // guarded by mu; oldest first
	died    uint64               // guarded by mu; number of the latest dead letter
}

// box is what waits for one endpoint. It is guarded by Memory.mu.
type box struct {
	letters list.List // of *inBox, oldest first
	bytes   int64
	next    *list.Element // the oldest that wasn't taken by the present taker
	taken   int
	taker   *int          // names the present taker; nil when there is none
	changed chan struct{} // closed at the next change
}

// inBox is a letter that isn't done.
type inBox struct {
	letter *broker.Letter
	box    *box
	at     *list.Element
	taken  bool // by the present taker
}

// remembered is an ID and since when it is known.
type remembered struct {
	id    string
	since time.Time
}

// idsKept is for how long the ID of a letter is remembered.
const idsKept = 2 * time.Minute

// NewMemory checks cfg and returns an empty queue.
func NewMemory(cfg MemoryConfig) (*Memory, error) {
	var errs []error
	for _, f := range []struct {
		name  string
		bad   bool
		value any
	}{
		{"max letters", cfg.MaxLetters < 0, cfg.MaxLetters},
		{"max bytes", cfg.MaxBytes < 0, cfg.MaxBytes},
		{"max dead", cfg.MaxDead < 0, cfg.MaxDead},
		{"window", cfg.Window < 0, cfg.Window},
	} {
		if f.bad {
			errs = append(errs, fmt.Errorf("%s: %v is negative", f.name, f.value))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("queue in memory: %w", err)
	}
	if cfg.MaxLetters == 0 {
		cfg.MaxLetters = 100_000
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 64 << 20
	}
	if cfg.MaxDead == 0 {
		cfg.MaxDead = 10_000
	}
	if cfg.Window == 0 {
		cfg.Window = 5000
	}
	return &Memory{cfg: cfg, boxes: map[key]*box{}, ids: map[string]struct{}{}, waiting: map[uint64]*inBox{}}, nil
}

// size is about what a letter takes, in bytes.
func size(l *broker.Letter) int64 { return int64(len(l.Body)+len(l.ID)) + 300 }

// boxOf returns an endpoint's box, made if need be. It is called with mu held.
func (m *Memory) boxOf(k key) *box {
	b := m.boxes[k]
	if b == nil {
		b = &box{changed: make(chan struct{})}
		m.boxes[k] = b
	}
	return b
}

// tidy forgets a box that nothing needs. It is called with mu held.
func (m *Memory) tidy(k key) {
	if b := m.boxes[k]; b != nil && b.taker == nil && b.letters.Len() == 0 {
		delete(m.boxes, k)
		b.change() // who waits for it finds the next one
	}
}

// change wakes who waits. It is called with Memory.mu held.
func (b *box) change() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Put implements [Queue]. Its only error is the context's.
func (m *Memory) Put(ctx context.Context, letters ...*broker.Letter) (refused []*broker.Letter, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("put %d letters: %w", len(letters), err)
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.known) > 0 && now.Sub(m.known[0].since) > idsKept {
		delete(m.ids, m.known[0].id)
		m.known = m.known[1:]
	}
	changed := map[*box]bool{}
	full := map[key]bool{} // what came after one that was refused must not overtake it
	for _, l := range letters {
		if _, known := m.ids[l.ID]; known {
			continue
		}
		k := key{l.App, l.Endpoint}
		b := m.boxOf(k)
		if full[k] || int64(b.letters.Len()) >= m.cfg.MaxLetters || b.bytes+size(l) > m.cfg.MaxBytes {
			full[k] = true
			refused = append(refused, l)
			m.tidy(k)
			continue
		}
		m.ids[l.ID] = struct{}{}
		m.known = append(m.known, remembered{l.ID, now})
		m.serial++
		own := *l
		own.Serial, own.Queued = m.serial, now
		in := &inBox{letter: &own, box: b}
		in.at = b.letters.PushBack(in)
		if b.next == nil {
			b.next = in.at
		}
		b.bytes += size(&own)
		m.waiting[own.Serial] = in
		changed[b] = true
	}
	for b := range changed {
		b.change()
	}
	return refused, nil
}

// Take implements [Queue]. It has no error.
func (m *Memory) Take(ctx context.Context, app broker.AppID, endpoint string) iter.Seq2[*broker.Letter, error] {
	return func(yield func(*broker.Letter, error) bool) {
		k, me := key{app, endpoint}, new(int)
		defer m.leave(k, me)
		for ctx.Err() == nil {
			letter, changed := m.next(k, me)
			if letter != nil {
				if !yield(letter, nil) {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// next returns the taker's next letter, or what is closed when there may be one.
func (m *Memory) next(k key, me *int) (*broker.Letter, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.boxOf(k)
	if b.taker == nil {
		b.taker = me
	}
	if b.taker != me || b.next == nil || b.taken >= m.cfg.Window {
		return nil, b.changed
	}
	in := b.next.Value.(*inBox)
	in.taken = true
	b.taken++
	b.next = b.next.Next()
	return in.letter, nil
}

// leave makes room for the next taker, which begins with the oldest letter.
func (m *Memory) leave(k key, me *int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.boxes[k]
	if b == nil || b.taker != me {
		return
	}
	for at := b.letters.Front(); at != nil && b.taken > 0; at = at.Next() {
		if in := at.Value.(*inBox); in.taken {
			in.taken = false
			b.taken--
		}
	}
	b.taker, b.next = nil, b.letters.Front()
	b.change()
	m.tidy(k)
}

// Done implements [Queue]. It has no error.
func (m *Memory) Done(_ context.Context, letters ...*broker.Letter) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(letters)
	return nil
}

// remove takes out letters that are taken, and returns those. It is called with mu held.
func (m *Memory) remove(letters []*broker.Letter) (removed []*broker.Letter) {
	changed := map[*box]bool{}
	for _, l := range letters {
		in := m.waiting[l.Serial]
		if in == nil || !in.taken {
			continue
		}
		delete(m.waiting, l.Serial)
		in.box.letters.Remove(in.at)
		in.box.bytes -= size(in.letter)
		in.box.taken--
		removed = append(removed, in.letter)
		changed[in.box] = true
	}
	for b := range changed {
		b.change()
	}
	return removed
}

// Bury implements [Queue]. It has no error.
func (m *Memory) Bury(_ context.Context, why string, letters ...*broker.Letter) error {
	now := time.Now().UTC()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.remove(letters) {
		m.died++
		m.dead = append(m.dead, &broker.DeadLetter{Letter: *l, Number: m.died, Why: why, Died: now})
	}
	if over := len(m.dead) - m.cfg.MaxDead; over > 0 {
		m.dead = slices.Clone(m.dead[over:])
	}
	return nil
}

// Backlog implements [Archive]. It has no error.
func (m *Memory) Backlog(context.Context) ([]broker.Backlog, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []broker.Backlog
	for k, b := range m.boxes {
		if n := b.letters.Len(); n > 0 {
			all = append(all, broker.Backlog{App: k.app, Endpoint: k.name, Letters: uint64(n)})
		}
	}
	return all, nil
}

// Dead implements [Archive]. It has no error.
func (m *Memory) Dead(_ context.Context, app broker.AppID) iter.Seq2[*broker.DeadLetter, error] {
	return func(yield func(*broker.DeadLetter, error) bool) {
		m.mu.Lock()
		dead := slices.Clone(m.dead)
		m.mu.Unlock()
		for _, d := range dead {
			if (app == "" || d.App == app) && !yield(d, nil) {
				return
			}
		}
	}
}

// Retry implements [Archive]. Its errors are the context's, and one when the queue refuses a letter.
func (m *Memory) Retry(ctx context.Context, numbers ...uint64) (int, error) {
	n := 0
	for _, number := range numbers {
		m.mu.Lock()
		i := slices.IndexFunc(m.dead, func(d *broker.DeadLetter) bool { return d.Number == number })
		if i < 0 {
			m.mu.Unlock()
			continue
		}
		d := m.dead[i]
		m.dead = slices.Delete(m.dead, i, i+1)
		m.mu.Unlock()
		letter := d.Letter
		letter.ID = fmt.Sprintf("%s/%d", d.ID, number) // the queue may still remember the ID it had
		refused, err := m.Put(ctx, &letter)
		if err == nil && len(refused) > 0 {
			err = errors.New("too much waits for its endpoint")
		}
		if err != nil {
			m.mu.Lock()
			at, _ := slices.BinarySearchFunc(m.dead, number, func(d *broker.DeadLetter, number uint64) int {
				return int(int64(d.Number) - int64(number))
			})
			m.dead = slices.Insert(m.dead, at, d)
			m.mu.Unlock()
			return n, fmt.Errorf("retry dead letter %d: %w", number, err)
		}
		n++
	}
	return n, nil
}
