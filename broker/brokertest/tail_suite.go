package brokertest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/playhead/playhead/broker"
)

func testTailBegins(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	first := follow(t, m.Log, mk.app)
	if m.remembers() {
		if first.from.Epoch == "" || first.from.Serial != 0 || first.from.Time != 0 {
			t.Errorf("tail of an empty log from %+v, want an epoch and serial 0", first.from)
		}
	} else if !first.from.IsZero() {
		t.Errorf("without memory, yet from %+v", first.from)
	}
	before := mk.events("a", 3)
	appendAll(t, m.Log, before...)
	first.next(t, 3)
	if err := first.stop(); err != nil {
		t.Fatalf("tail: %v", err)
	}
	second := follow(t, m.Log, mk.app)
	if m.remembers() && second.from != before[2].Position {
		t.Errorf("tail from %+v, want the last event's %+v", second.from, before[2].Position)
	}
	after := mk.events("a", 3)
	appendAll(t, m.Log, after...)
	sameEvents(t, "tail", arrived(m, after...), second.all(t, m.Log, mk))
}

// Tails begin while somebody appends: each sees exactly what comes after its from, and in any case
// what was appended after Tail had returned.
func testTailBeginsAmidAppends(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	const tails = 8
	var begun atomic.Int64 // appends begun
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var events []*broker.Event
	ctx := bounded(t)
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			e := mk.event("a")
			events = append(events, e)
			begun.Add(1)
			if err := m.Log.Append(ctx, e); err != nil {
				t.Errorf("append: %v", err)
				return
			}
		}
	})
	type seen struct {
		from   broker.Position
		begun  int
		events []*broker.Event
	}
	var all []seen
	for range tails {
		f := follow(t, m.Log, mk.app)
		s := seen{from: f.from, begun: int(begun.Load())}
		s.events = f.next(t, 20)
		if err := f.stop(); err != nil {
			t.Errorf("tail: %v", err)
		}
		all = append(all, s)
	}
	close(stop)
	wg.Wait()
	for _, s := range all {
		at := slices.IndexFunc(events, func(e *broker.Event) bool { return e.ID == s.events[0].ID })
		if at < 0 {
			t.Fatal("the tail gave an event that nobody appended")
		}
		if at > s.begun {
			t.Errorf("the tail began with event %d, though only %d had been begun when Tail returned", at+1, s.begun)
		}
		sameIDs(t, "tail", events[at:at+len(s.events)], s.events)
		if m.remembers() && at > 0 && events[at-1].Position != s.from {
			t.Errorf("the tail is from %+v, but the event before its first is at %+v", s.from, events[at-1].Position)
		}
	}
}

func testTailContext(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	appendAll(t, m.Log, mk.event("a"))
	f.next(t, 1)
	if err := f.stop(); err != nil {
		t.Errorf("tail whose context ended: %v, want no error", err)
	}
	_, _, err := m.Log.Tail(canceled(t), mk.app)
	wantCanceled(t, "tail", err)
}

func testTailBreak(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	for range 3 {
		_, tail, err := m.Log.Tail(bounded(t), mk.app)
		if err != nil {
			t.Fatalf("tail: %v", err)
		}
		events := mk.events("a", 5)
		appendAll(t, m.Log, events...)
		var seen []*broker.Event
		for e, err := range tail {
			if err != nil {
				t.Fatalf("tail: %v", err)
			}
			seen = append(seen, e)
			if len(seen) == 3 {
				break
			}
		}
		sameIDs(t, "tail", events[:3], seen)
	}
}

func testTailTwoNodes(t *testing.T, m Medium) {
	if m.Other == nil {
		t.Skip("the medium was opened for one node")
	}
	mk := &maker{app: newApp()}
	logs := []broker.Log{m.Log, m.Other}
	tails := []*follower{follow(t, m.Log, mk.app), follow(t, m.Other, mk.app)}
	if a, b := tails[0].from, tails[1].from; a != b {
		t.Errorf("tails of the same log from %+v and %+v", a, b)
	}
	var wg sync.WaitGroup
	ctx := bounded(t)
	var events [2][]*broker.Event
	for i, log := range logs {
		events[i] = mk.events(broker.Channel(fmt.Sprint("ch-", i)), 50)
		wg.Go(func() {
			for _, e := range events[i] {
				if err := log.Append(ctx, e); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	wg.Wait()
	mark := mk.event("mark")
	appendAll(t, m.Log, mark)
	seen := tails[0].until(t, mark.ID)
	other := tails[1].until(t, mark.ID)
	if len(seen) != 100 {
		t.Errorf("tail gave %d events, want 100", len(seen))
	}
	if m.remembers() {
		sameEvents(t, "the second node's tail against the first's", seen, other)
		return
	}
	for i := range logs { // without memory each node may have an order of its own among appenders
		for _, s := range [][]*broker.Event{seen, other} {
			own := slices.DeleteFunc(slices.Clone(s), func(e *broker.Event) bool { return e.Channel != events[i][0].Channel })
			sameIDs(t, fmt.Sprint("tail of what node ", i, " appended"), events[i], own)
		}
	}
}
