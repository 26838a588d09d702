package brokertest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/playhead/playhead/broker"
)

// Outcome is what became of an append that reported an error.
type Outcome int

// What can have become of it. A caller must cope with both, and can't tell which it was.
const (
	NotStored    Outcome = iota + 1 // the append failed
	StoredAnyway                    // the append was stored, only the answer was lost
)

// ErrFault is wrapped by the errors of reads and tails that fail on command.
var ErrFault = errors.New("fault on command")

// Faulty is a log that fails on command and else does what the log in it does. The zero value
// with a Log is ready; all methods are safe for concurrent use.
type Faulty struct {
	Log broker.Log

	mu       sync.Mutex
	outcomes []Outcome     // guarded by mu; of the next appends
	gate     chan struct{} // guarded by mu; nil, or closed when blocked appends may go on
	blocked  int           // guarded by mu; appends at the gate
	changed  chan struct{} // guarded by mu; nil, or closed when blocked changes
	tails    int           // guarded by mu; of the next Tail calls, how many fail
	breaks   []int         // guarded by mu; after how many events the next tails break
	held     chan struct{} // guarded by mu; nil, or closed when tails may go on
}

var _ broker.Log = (*Faulty)(nil)

// FailAppends lets the next n appends report [broker.ErrUnavailable], after nothing or
// everything was stored.
func (f *Faulty) FailAppends(n int, o Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		f.outcomes = append(f.outcomes, o)
	}
}

// BlockAppends lets appends from now on wait until release is called or their context ends; in
// the latter case they are not stored. Release may be called again.
func (f *Faulty) BlockAppends() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gate := make(chan struct{})
	f.gate = gate
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.gate == gate {
			f.gate = nil
		}
		close(gate)
	})
}

// AwaitBlocked waits until n appends are blocked at the same time.
func (f *Faulty) AwaitBlocked(ctx context.Context, n int) error {
	for {
		f.mu.Lock()
		if f.blocked >= n {
			f.mu.Unlock()
			return nil
		}
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d blocked appends: %w", n, ctx.Err())
		}
	}
}

// FailTails lets the next n calls of Tail report [broker.ErrUnavailable].
func (f *Faulty) FailTails(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tails = n
}

// BreakTail lets the next tail that is begun yield n events and then [ErrFault] as its last word.
// Called again, it is about the one after that.
func (f *Faulty) BreakTail(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.breaks = append(f.breaks, n)
}

// Append implements [broker.Log].
func (f *Faulty) Append(ctx context.Context, events ...*broker.Event) error {
	if err := f.pass(ctx); err != nil {
		return err
	}
	switch f.outcome() {
	case NotStored:
		return fmt.Errorf("append: %w: %w", broker.ErrUnavailable, ErrFault)
	case StoredAnyway:
		// Copies: the positions are part of the answer, which is lost.
		stored := make([]*broker.Event, len(events))
		for i, e := range events {
			own := *e
			stored[i] = &own
		}
		if err := f.Log.Append(ctx, stored...); err != nil {
			return err
		}
		return fmt.Errorf("append: %w: %w", broker.ErrUnavailable, ErrFault)
	}
	return f.Log.Append(ctx, events...)
}

// outcome takes the next append's outcome, 0 for none.
func (f *Faulty) outcome() Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.outcomes) == 0 {
		return 0
	}
	o := f.outcomes[0]
	f.outcomes = f.outcomes[1:]
	return o
}

// pass waits at the gate, if there is one.
func (f *Faulty) pass(ctx context.Context) error {
	f.mu.Lock()
	gate := f.gate
	if gate != nil {
		f.block(1)
	}
	f.mu.Unlock()
	if gate == nil {
		return nil
	}
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.block(-1)
	}()
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("append: %w", ctx.Err())
	}
}

// block counts an append in or out; it is called with mu held.
func (f *Faulty) block(n int) {
	f.blocked += n
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// Tail implements [broker.Log].
func (f *Faulty) Tail(ctx context.Context, app broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	left, breaks, err := f.tail()
	if err != nil {
		return broker.Position{}, nil, err
	}
	from, events, err := f.Log.Tail(ctx, app)
	if err != nil {
		return from, events, err
	}
	events = f.holding(ctx, events)
	if breaks {
		events = failing(events, left)
	}
	return from, events, nil
}

// tail takes the next tail's fate.
func (f *Faulty) tail() (left int, breaks bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tails > 0 {
		f.tails--
		return 0, false, fmt.Errorf("tail: %w: %w", broker.ErrUnavailable, ErrFault)
	}
	if len(f.breaks) == 0 {
		return 0, false, nil
	}
	left, f.breaks = f.breaks[0], f.breaks[1:]
	return left, true, nil
}

// HoldTails keeps back what tails have yet to yield, until release is called.
func (f *Faulty) HoldTails() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	held := make(chan struct{})
	f.held = held
	return sync.OnceFunc(func() { close(held) })
}

// holding yields a sequence, but nothing while tails are held.
func (f *Faulty) holding(ctx context.Context, events iter.Seq2[*broker.Event, error]) iter.Seq2[*broker.Event, error] {
	return func(yield func(*broker.Event, error) bool) {
		for e, err := range events {
			f.mu.Lock()
			held := f.held
			f.mu.Unlock()
			if held != nil {
				select {
				case <-held:
				case <-ctx.Done():
					return
				}
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// failing yields left events of a sequence and then an error.
func failing(events iter.Seq2[*broker.Event, error], left int) iter.Seq2[*broker.Event, error] {
	return func(yield func(*broker.Event, error) bool) {
		if left > 0 {
			for e, err := range events {
				if !yield(e, err) || err != nil {
					return
				}
				if left--; left == 0 {
					break
				}
			}
		}
		if left == 0 {
			yield(nil, ErrFault)
		}
	}
}
