package brokertest

import (
	"sync"
	"testing"

	"github.com/playhead/playhead/broker"
)

// again returns the event as a caller sends it that doesn't know whether it was stored.
func again(e *broker.Event) *broker.Event {
	own := *e
	own.Position, own.Duplicate = broker.Position{}, false
	return &own
}

// wantDuplicate checks that e is reported as a duplicate of first.
func wantDuplicate(t *testing.T, e, first *broker.Event) {
	t.Helper()
	if !e.Duplicate || e.Position != first.Position {
		t.Errorf("duplicate %v at %+v, want true and the first one's %+v", e.Duplicate, e.Position, first.Position)
	}
}

// wantNew checks that e is not reported as a duplicate.
func wantNew(t *testing.T, e *broker.Event) {
	t.Helper()
	if e.Duplicate || e.Position.IsZero() {
		t.Errorf("duplicate %v at %+v, want false and a position", e.Duplicate, e.Position)
	}
}

func needMemory(t *testing.T, m Medium) {
	t.Helper()
	if !m.remembers() {
		t.Skip("a medium without memory doesn't know what it has carried")
	}
}

func testDuplicates(t *testing.T, m Medium) {
	needMemory(t, m)
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	first, other := mk.event("a"), mk.event("a")
	appendAll(t, m.Log, first, other)
	wantNew(t, first)
	same := again(first)
	appendAll(t, m.Log, same)
	wantDuplicate(t, same, first)
	// The ID alone counts, wherever it is used again in the app.
	elsewhere := mk.event("b")
	elsewhere.ID = first.ID
	elsewhere.Time = elsewhere.Time.AddDate(0, 0, 1)
	appendAll(t, m.Log, elsewhere)
	wantDuplicate(t, elsewhere, first)
	sameEvents(t, "tail", arrived(m, first, other), f.all(t, m.Log, mk))
}

func testPartialDuplicates(t *testing.T, m Medium) {
	needMemory(t, m)
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	old := mk.events("a", 3)
	appendOnce(t, m.Log, old...)
	fresh := mk.events("a", 3)
	twice := again(fresh[1])
	batch := []*broker.Event{fresh[0], again(old[1]), fresh[1], twice, again(old[2]), fresh[2]}
	appendOnce(t, m.Log, batch...)
	for _, e := range fresh {
		wantNew(t, e)
	}
	wantDuplicate(t, batch[1], old[1])
	wantDuplicate(t, twice, fresh[1])
	wantDuplicate(t, batch[4], old[2])
	all := again(old[0])
	appendOnce(t, m.Log, all, again(fresh[2]))
	wantDuplicate(t, all, old[0])
	sameEvents(t, "tail", arrived(m, append(old, fresh...)...), f.all(t, m.Log, mk))
}

func testConcurrentDuplicates(t *testing.T, m Medium) {
	needMemory(t, m)
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	const events, callers = 20, 4
	ctx := bounded(t)
	var stored []*broker.Event
	for range events {
		e := mk.event("a")
		var copies [callers]*broker.Event
		var wg sync.WaitGroup
		for i := range copies {
			copies[i] = again(e)
			wg.Go(func() {
				if err := m.Log.Append(ctx, copies[i]); err != nil {
					t.Errorf("append: %v", err)
				}
			})
		}
		wg.Wait()
		var first *broker.Event
		for _, c := range copies {
			if !c.Duplicate {
				if first != nil {
					t.Fatal("two callers were told that they were the first with an ID")
				}
				first = c
			}
		}
		if first == nil {
			t.Fatal("no caller was told that it was the first with an ID")
		}
		wantNew(t, first)
		for _, c := range copies {
			if c != first {
				wantDuplicate(t, c, first)
			}
		}
		stored = append(stored, first)
	}
	sameEvents(t, "tail", arrived(m, stored...), f.all(t, m.Log, mk))
}

func testDuplicatesOfApps(t *testing.T, m Medium) {
	needMemory(t, m)
	one, two := &maker{app: newApp()}, &maker{app: newApp()}
	a, b := one.event("a"), two.event("a")
	b.ID = a.ID
	appendAll(t, m.Log, a, b)
	wantNew(t, b)
}
