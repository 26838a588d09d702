package brokertest

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/replay"
)

// FaultyHistory is a history that fails on command and else does what the history in it does. The
// zero value with a History is ready; all methods are safe for concurrent use. Reads have one kind
// of failure, for nothing is left behind by them.
type FaultyHistory struct {
	History replay.History

	mu     sync.Mutex
	bounds int   // guarded by mu; of the next calls of Bounds, how many fail
	ats    int   // guarded by mu; the same of At
	sinces int   // guarded by mu; the same of Since
	ranges []int // guarded by mu; after how many events the next ranges fail
}

var _ replay.History = (*FaultyHistory)(nil)

// FailBounds lets the next n calls of Bounds fail with [ErrFault].
func (f *FaultyHistory) FailBounds(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bounds = n
}

// FailAt lets the next n calls of At fail with [ErrFault].
func (f *FaultyHistory) FailAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ats = n
}

// FailSince lets the next n calls of Since fail with [ErrFault].
func (f *FaultyHistory) FailSince(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sinces = n
}

// FailRange lets the next range yield n events, or what there is when that is less, and then
// [ErrFault] as its last word. Called again, it is about the range after that.
func (f *FaultyHistory) FailRange(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ranges = append(f.ranges, n)
}

// Bounds implements [replay.History].
func (f *FaultyHistory) Bounds(ctx context.Context, app broker.AppID) (oldest, newest broker.Position, err error) {
	if f.take(&f.bounds) {
		return broker.Position{}, broker.Position{}, ErrFault
	}
	return f.History.Bounds(ctx, app)
}

// At implements [replay.History].
func (f *FaultyHistory) At(ctx context.Context, app broker.AppID, serial uint64) (*broker.Event, error) {
	if f.take(&f.ats) {
		return nil, ErrFault
	}
	return f.History.At(ctx, app, serial)
}

// Since implements [replay.History].
func (f *FaultyHistory) Since(ctx context.Context, app broker.AppID, t time.Time) (uint64, error) {
	if f.take(&f.sinces) {
		return 0, ErrFault
	}
	return f.History.Since(ctx, app, t)
}

// take reports whether a call is one that fails, and counts it.
func (f *FaultyHistory) take(left *int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *left == 0 {
		return false
	}
	*left--
	return true
}

// Range implements [replay.History].
func (f *FaultyHistory) Range(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error] {
	return func(yield func(*broker.Event, error) bool) {
		events := f.History.Range(ctx, app, ch, after, upto)
		left, fails := f.nextRange()
		if !fails {
			events(yield)
			return
		}
		for e, err := range events {
			if left == 0 {
				break
			}
			if !yield(e, err) || err != nil {
				return
			}
			left--
		}
		yield(nil, ErrFault)
	}
}

// nextRange takes the next range's fate.
func (f *FaultyHistory) nextRange() (left int, fails bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.ranges) == 0 {
		return 0, false
	}
	left, f.ranges = f.ranges[0], f.ranges[1:]
	return left, true
}
