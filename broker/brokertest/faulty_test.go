package brokertest

import (
	"context"
	"errors"
	"testing"

	"github.com/playhead/playhead/broker"
)

func TestFaultyAppends(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		outcome Outcome
		stored  bool
	}{
		"not stored":    {outcome: NotStored},
		"stored anyway": {outcome: StoredAnyway, stored: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &Memory{}
			f := &Faulty{Log: m}
			f.FailAppends(2, tt.outcome)
			mk := &maker{app: newApp()}
			e := mk.event("a")
			for range 2 {
				if err := f.Append(t.Context(), e); !errors.Is(err, broker.ErrUnavailable) || !e.Position.IsZero() {
					t.Fatalf("append: %v, position %+v; want ErrUnavailable and none", err, e.Position)
				}
			}
			if at, err := m.At(t.Context(), mk.app, 1); (at != nil) != tt.stored || err != nil {
				t.Errorf("stored: %v, %v; want %v", at, err, tt.stored)
			}
			appendAll(t, f, e) // a caller that tries again
			if e.Duplicate != tt.stored || e.Position.Serial != 1 {
				t.Errorf("tried again: duplicate %v at %d, want %v at 1", e.Duplicate, e.Position.Serial, tt.stored)
			}
		})
	}
}

func TestFaultyAppendReportsTheLogsOwnErrorFirst(t *testing.T) {
	t.Parallel()
	f := &Faulty{Log: &Memory{}}
	f.FailAppends(1, StoredAnyway)
	wantCanceled(t, "append", f.Append(canceled(t), &broker.Event{App: "1"}))
}

func TestFaultyBlocksAppends(t *testing.T) {
	t.Parallel()
	m := &Memory{}
	f := &Faulty{Log: m}
	mk := &maker{app: newApp()}
	release := f.BlockAppends()
	ctx, cancel := context.WithCancel(bounded(t))
	results := make(chan error, 2)
	one, two := mk.event("a"), mk.event("b")
	go func() { results <- f.Append(ctx, one) }()
	if err := f.AwaitBlocked(bounded(t), 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	wantCanceled(t, "blocked append", <-results)
	go func() { results <- f.Append(bounded(t), two) }()
	if err := f.AwaitBlocked(bounded(t), 1); err != nil {
		t.Fatal(err)
	}
	release()
	release()
	if err := <-results; err != nil {
		t.Errorf("released append: %v", err)
	}
	appendAll(t, f, mk.event("c"))
	if two.Position.Serial != 1 {
		t.Errorf("serial %d, want 1: the first append wasn't stored", two.Position.Serial)
	}
	wantCanceled(t, "await", f.AwaitBlocked(canceled(t), 1))
}

func TestFaultyTails(t *testing.T) {
	t.Parallel()
	f := &Faulty{Log: &Memory{}}
	mk := &maker{app: newApp()}
	f.FailTails(1)
	if _, _, err := f.Tail(t.Context(), mk.app); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("tail: %v, want ErrUnavailable", err)
	}
	f.BreakTail(0)
	f.BreakTail(2)
	none, two, whole := follow(t, f, mk.app), follow(t, f, mk.app), follow(t, f, mk.app)
	appendAll(t, f, mk.events("a", 3)...)
	whole.next(t, 3)
	two.next(t, 2)
	for _, tail := range []*follower{none, two} {
		if e, ok := <-tail.events; ok || !errors.Is(tail.err, ErrFault) {
			t.Errorf("then %v and last word %v, want nothing and ErrFault", e, tail.err)
		}
	}
	f.BreakTail(2)
	if err := follow(t, f, mk.app).stop(); err != nil {
		t.Errorf("tail that ended before it was to break: %v", err)
	}
}

func TestFaultyHistory(t *testing.T) {
	t.Parallel()
	m := &Memory{}
	f := &FaultyHistory{History: m}
	med := Medium{Log: m, History: f}
	mk := &maker{app: newApp()}
	events := mk.events("a", 5)
	appendAll(t, m, events...)
	for _, n := range []int{0, 3, 5, 9} {
		f.FailRange(n)
		have, err := readRange(t.Context(), med, mk.app, "a", 0, 5)
		if !errors.Is(err, ErrFault) {
			t.Errorf("range that fails after %d: %v, want ErrFault", n, err)
		}
		sameIDs(t, "range that fails", events[:min(n, 5)], have)
	}
	wantRange(t, med, mk.app, "a", 0, 5, events)
	f.FailBounds(1)
	if _, _, err := f.Bounds(t.Context(), mk.app); !errors.Is(err, ErrFault) {
		t.Errorf("bounds: %v, want ErrFault", err)
	}
	wantBounds(t, med, mk.app, events[0].Position.Epoch, 1, 5)
	f.FailSince(1)
	if _, err := f.Since(t.Context(), mk.app, events[0].Time); !errors.Is(err, ErrFault) {
		t.Errorf("since: %v, want ErrFault", err)
	}
	wantSince(t, med, mk.app, events[0].Time, events)
	f.FailAt(1)
	if _, err := f.At(t.Context(), mk.app, 1); !errors.Is(err, ErrFault) {
		t.Errorf("at: %v, want ErrFault", err)
	}
	if e, err := f.At(t.Context(), mk.app, 1); e == nil || err != nil {
		t.Errorf("at when the fault is over: %v, %v", e, err)
	}
}
