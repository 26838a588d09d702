package brokertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/replay"
)

// Memory is a medium with memory, in the process: a log, a cache and a history. The zero value is
// ready. What streams do by accident or with time it does on command: Forget, Lose, Reset, Break.
// All methods are safe for concurrent use.
type Memory struct {
	// Window is how long an ID is remembered. Default 2 minutes.
	Window time.Duration

	mu   sync.Mutex
	apps map[broker.AppID]*life // guarded by mu
}

var (
	_ broker.Log     = (*Memory)(nil)
	_ broker.Cache   = (*Memory)(nil)
	_ replay.History = (*Memory)(nil)
)

// ErrTail is what tails end with that were broken by [Memory.Lose], [Memory.Reset], or by
// [Memory.Forget] when it took what they had yet to yield.
var ErrTail = errors.New("tail can't go on")

// life is one life of one app's log, from one epoch to the next. Guarded by Memory.mu.
type life struct {
	epoch  broker.Epoch
	first  uint64          // the serial of events[0], or of the next event when there are none
	events []*broker.Event // what is held, without holes
	ids    map[string]stored
	grown  chan struct{} // closed and replaced at every append
	broken chan struct{} // closed and replaced when tails are to end
	why    error         // why the former broken was closed
}

// stored is what is known of an ID.
type stored struct {
	position broker.Position
	at       time.Time
}

// next is the serial that the next event will get.
func (l *life) next() uint64 { return l.first + uint64(len(l.events)) }

// end is the position of the last event.
func (l *life) end() broker.Position {
	if n := len(l.events); n > 0 {
		return l.events[n-1].Position
	}
	return broker.Position{Epoch: l.epoch, Serial: l.first - 1}
}

// from returns what is held with serials over after.
func (l *life) from(after uint64) []*broker.Event {
	if after+1 < l.first {
		return l.events
	}
	return l.events[min(after+1-l.first, uint64(len(l.events))):]
}

// life returns the app's present life; it is called with m.mu held.
func (m *Memory) life(app broker.AppID) *life {
	l := m.apps[app]
	if l == nil {
		if m.apps == nil {
			m.apps = map[broker.AppID]*life{}
		}
		l = &life{
			epoch:  broker.Epoch(rand.Text()),
			first:  1,
			ids:    map[string]stored{},
			grown:  make(chan struct{}),
			broken: make(chan struct{}),
		}
		m.apps[app] = l
	}
	return l
}

// Append implements [broker.Log]. It fails only when ctx has ended, or when the events are of
// several apps; then nothing was stored.
func (m *Memory) Append(ctx context.Context, events ...*broker.Event) error {
	if len(events) == 0 {
		return nil
	}
	app := events[0].App
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("append to app %s: %w", app, err)
	}
	if slices.ContainsFunc(events, func(e *broker.Event) bool { return e.App != app }) {
		return fmt.Errorf("append to app %s: an event of another app among them", app)
	}
	window := m.Window
	if window == 0 {
		window = 2 * time.Minute
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.life(app)
	now := time.Now()
	for _, e := range events {
		if before, ok := l.ids[e.ID]; ok && e.ID != "" && now.Sub(before.at) < window {
			e.Position, e.Duplicate = before.position, true
			continue
		}
		// The log's copy, as if it had been sent somewhere: what the caller does to its own
		// from here on, appending it again for instance, doesn't reach those who read.
		c := *e
		c.Data = slices.Clone(e.Data)
		c.Time = time.UnixMilli(e.Time.UnixMilli()).UTC()
		c.Position = broker.Position{Epoch: l.epoch, Serial: l.next(), Time: c.Time.UnixMilli()}
		c.Duplicate = false
		l.events = append(l.events, &c)
		l.ids[e.ID] = stored{position: c.Position, at: now}
		e.Position, e.Duplicate = c.Position, false
	}
	close(l.grown)
	l.grown = make(chan struct{})
	return nil
}

// Tail implements [broker.Log]. An app may have any number of tails.
func (m *Memory) Tail(ctx context.Context, app broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	if err := ctx.Err(); err != nil {
		return broker.Position{}, nil, fmt.Errorf("tail app %s: %w", app, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.life(app)
	t := &tail{memory: m, app: app, life: l, after: l.end().Serial, broken: l.broken}
	return l.end(), func(yield func(*broker.Event, error) bool) { t.run(ctx, yield) }, nil
}

// tail is one tail of a Memory.
type tail struct {
	memory *Memory
	app    broker.AppID
	life   *life
	after  uint64        // of the last event yielded
	broken chan struct{} // as it was when the tail began
	ranged bool
}

func (t *tail) run(ctx context.Context, yield func(*broker.Event, error) bool) {
	if t.ranged {
		yield(nil, fmt.Errorf("tail app %s: ranged over a second time", t.app))
		return
	}
	t.ranged = true
	for ctx.Err() == nil {
		events, grown, err := t.more()
		if err != nil {
			yield(nil, fmt.Errorf("tail app %s: %w", t.app, err))
			return
		}
		for _, e := range events {
			if ctx.Err() != nil || !yield(e, nil) {
				return
			}
			t.after = e.Position.Serial
		}
		if len(events) > 0 {
			continue
		}
		select {
		case <-grown:
		case <-t.broken:
		case <-ctx.Done():
		}
	}
}

// more returns what the tail has yet to yield, and what is closed when there is more than that.
func (t *tail) more() (events []*broker.Event, grown <-chan struct{}, err error) {
	t.memory.mu.Lock()
	defer t.memory.mu.Unlock()
	select {
	case <-t.broken:
		return nil, nil, t.life.why
	default:
	}
	if t.life.first > t.after+1 {
		return nil, nil, fmt.Errorf("%w: serial %d was forgotten", ErrTail, t.after+1)
	}
	return slices.Clone(t.life.from(t.after)), t.life.grown, nil
}

// Last implements [broker.Cache].
func (m *Memory) Last(ctx context.Context, app broker.AppID, ch broker.Channel) (*broker.Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read the last event of %s: %w", ch, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range slices.Backward(m.life(app).events) {
		if e.Channel == ch && !e.Client {
			return e, nil
		}
	}
	return nil, nil
}
