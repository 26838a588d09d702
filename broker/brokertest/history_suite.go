package brokertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
)

// TestHistory is the contract of [replay.History] as subtests of t. open is called once for each.
func TestHistory(t *testing.T, open func(t *testing.T) Medium) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Medium){
		"BoundsOfAnEmptyLog":    testBoundsEmpty,
		"Bounds":                testBounds,
		"At":                    testAt,
		"RangeIsWhatATailSaw":   testRangeTail,
		"RangeBounds":           testRangeBounds,
		"RangeOfNothing":        testRangeNothing,
		"RangeOfAllChannels":    testRangeAll,
		"RangeCanBeLeft":        testRangeBreak,
		"RangeAtOnce":           testRangeAtOnce,
		"RangeAmidAppends":      testRangeAmidAppends,
		"RangesConcurrently":    testRangesConcurrently,
		"Since":                 testSince,
		"SinceAnEmptyLog":       testSinceEmpty,
		"EndedContextIsAnError": testHistoryCanceled,
		"Forgotten":             testForgotten,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := open(t)
			if m.Log == nil || m.History == nil {
				t.Fatal("the medium lacks a log or a history")
			}
			test(t, m)
		})
	}
}

// readRange reads a whole range.
func readRange(ctx context.Context, m Medium, app broker.AppID, ch broker.Channel, after, upto uint64) ([]*broker.Event, error) {
	var all []*broker.Event
	for e, err := range m.History.Range(ctx, app, ch, after, upto) {
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
	return all, nil
}

// wantRange checks what a range yields.
func wantRange(t *testing.T, m Medium, app broker.AppID, ch broker.Channel, after, upto uint64, want []*broker.Event) {
	t.Helper()
	have, err := readRange(bounded(t), m, app, ch, after, upto)
	if err != nil {
		t.Errorf("range of %s in (%d, %d]: %v", ch, after, upto, err)
		return
	}
	sameEvents(t, fmt.Sprintf("range of %s in (%d, %d]", ch, after, upto), arrived(m, want...), have)
}

// within returns those of a channel, or of all where ch is empty, with serials in (after, upto].
func within(events []*broker.Event, ch broker.Channel, after, upto uint64) []*broker.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e *broker.Event) bool {
		return ch != "" && e.Channel != ch || e.Position.Serial <= after || e.Position.Serial > upto
	})
}

// mixed appends n events of several channels, some in several-event appends, and returns them.
// Channel "rare" has every fiftieth.
func mixed(t *testing.T, m Medium, mk *maker, n int) []*broker.Event {
	t.Helper()
	var events []*broker.Event
	for i := range n {
		ch := broker.Channel([]string{"a", "b", "a.b"}[rand.IntN(3)])
		if i%50 == 25 {
			ch = "rare"
		}
		e := mk.event(ch)
		e.Client = i%5 == 0
		events = append(events, e)
	}
	for rest := events; len(rest) > 0; {
		size := min(1+rand.IntN(20), len(rest))
		appendOnce(t, m.Log, rest[:size]...)
		rest = rest[size:]
	}
	return events
}

// wantBounds checks the serials of the log's ends.
func wantBounds(t *testing.T, m Medium, app broker.AppID, epoch broker.Epoch, oldest, newest uint64) {
	t.Helper()
	first, last, err := m.History.Bounds(bounded(t), app)
	if err != nil {
		t.Fatalf("bounds: %v", err)
	}
	if first.Epoch != epoch || first.Serial != oldest {
		t.Errorf("oldest: epoch %s, serial %d, want %s, %d", first.Epoch, first.Serial, epoch, oldest)
	}
	if last.Epoch != epoch || last.Serial != newest {
		t.Errorf("newest: epoch %s, serial %d, want %s, %d", last.Epoch, last.Serial, epoch, newest)
	}
}

func testBoundsEmpty(t *testing.T, m Medium) {
	app := newApp()
	f := follow(t, m.Log, app)
	wantBounds(t, m, app, f.from.Epoch, 1, 0)
}

// What is acknowledged is within the bounds at once.
func testBounds(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	events := mk.events("a", 30)
	for _, e := range events {
		appendAll(t, m.Log, e)
		wantBounds(t, m, mk.app, events[0].Position.Epoch, events[0].Position.Serial, e.Position.Serial)
	}
	first, last, err := m.History.Bounds(bounded(t), mk.app)
	if err != nil {
		t.Fatalf("bounds: %v", err)
	}
	for _, end := range []struct {
		have broker.Position
		want int64
	}{{first, events[0].Position.Time}, {last, events[29].Position.Time}} {
		if end.have.Time != 0 && end.have.Time != end.want {
			t.Errorf("bound at serial %d has the time %d, want that of its event, %d, or none", end.have.Serial, end.have.Time, end.want)
		}
	}
}

func testAt(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	events := mixed(t, m, mk, 30)
	for _, e := range events {
		have, err := m.History.At(bounded(t), mk.app, e.Position.Serial)
		if err != nil {
			t.Fatalf("at %d: %v", e.Position.Serial, err)
		}
		if have == nil {
			t.Fatalf("at %d: nothing", e.Position.Serial)
		}
		sameEvents(t, fmt.Sprint("at ", e.Position.Serial), arrived(m, e), []*broker.Event{have})
	}
	for _, serial := range []uint64{0, events[29].Position.Serial + 1, events[29].Position.Serial + 1000} {
		if have, err := m.History.At(bounded(t), mk.app, serial); have != nil || err != nil {
			t.Errorf("at %d: %v, %v, want nothing", serial, have, err)
		}
	}
}

func testRangeTail(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	mixed(t, m, mk, 600) // more than one read's worth of each
	seen := f.all(t, m.Log, mk)
	end := seen[len(seen)-1].Position.Serial
	for _, ch := range []broker.Channel{"a", "b", "a.b", "rare"} {
		wantRange(t, m, mk.app, ch, 0, end, within(seen, ch, 0, end))
	}
}

func testRangeBounds(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	events := mixed(t, m, mk, 300)
	end := events[len(events)-1].Position.Serial
	type bounds struct{ after, upto uint64 }
	all := []bounds{{0, end}, {0, 1}, {end - 1, end}, {0, end - 1}, {1, end}}
	for _, e := range within(events, "rare", 0, end) { // on, before and behind an event of the channel
		s := e.Position.Serial
		all = append(all, bounds{s - 1, s}, bounds{s, end}, bounds{0, s}, bounds{0, s - 1}, bounds{s, s + 1}, bounds{s - 1, s + 1})
	}
	for range 20 {
		after := rand.Uint64N(end)
		all = append(all, bounds{after, after + 1 + rand.Uint64N(end-after)})
	}
	for _, b := range all {
		for _, ch := range []broker.Channel{"a", "rare"} {
			wantRange(t, m, mk.app, ch, b.after, b.upto, within(events, ch, b.after, b.upto))
		}
	}
}

func testRangeNothing(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	follow(t, m.Log, mk.app)
	wantRange(t, m, mk.app, "a", 0, 0, nil)
	events := mk.events("a", 10)
	appendAll(t, m.Log, events...)
	end := events[9].Position.Serial
	wantRange(t, m, mk.app, "never", 0, end, nil)
	wantRange(t, m, mk.app, "a", end, end, nil)
	wantRange(t, m, mk.app, "a", 5, 5, nil)
	wantRange(t, m, mk.app, "a", 6, 5, nil)
	late := mk.event("b")
	appendAll(t, m.Log, late)
	wantRange(t, m, mk.app, "a", end, late.Position.Serial, nil)
}

// The range of all channels is the log itself, and what other apps append is none of it.
func testRangeAll(t *testing.T, m Medium) {
	mk, other := &maker{app: newApp()}, &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	mixed(t, m, other, 10)
	mixed(t, m, mk, 600)
	mixed(t, m, other, 10)
	seen := f.all(t, m.Log, mk)
	end := seen[len(seen)-1].Position.Serial
	wantRange(t, m, mk.app, "", 0, end, seen)
	wantRange(t, m, mk.app, "", end, end, nil)
	for range 20 {
		after := rand.Uint64N(end)
		upto := after + 1 + rand.Uint64N(end-after)
		wantRange(t, m, mk.app, "", after, upto, within(seen, "", after, upto))
	}
}

// clockSlack is how much smaller than it need be the serial of a Since may be, as the times of the
// events that it leaves in.
const clockSlack = time.Minute

// wantSince checks that none of the events, which are all that the log holds, is left out by its
// time, and not many left in. The log takes them when they are taken by a node.
func wantSince(t *testing.T, m Medium, app broker.AppID, since time.Time, events []*broker.Event) {
	t.Helper()
	serial, err := m.History.Since(bounded(t), app, since)
	if err != nil {
		t.Errorf("since %v: %v", since, err)
		return
	}
	for _, e := range events {
		switch s := e.Position.Serial; {
		case !e.Time.Before(since) && s <= serial:
			t.Errorf("since %v: serial %d, but event %d was taken at %v", since, serial, s, e.Time)
			return
		case e.Time.Before(since.Add(-clockSlack)) && s > serial:
			t.Errorf("since %v: serial %d, but event %d was taken at %v, long before", since, serial, s, e.Time)
			return
		}
	}
}

func testSince(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	var events []*broker.Event
	for range 40 {
		e := mk.event("a")
		appendAll(t, m.Log, mk.event("b"), e)
		events = append(events, e)
	}
	for _, e := range events {
		wantSince(t, m, mk.app, e.Time, events)
		wantSince(t, m, mk.app, e.Time.Add(time.Millisecond), events)
	}
	end := events[len(events)-1]
	for _, since := range []time.Time{{}, time.Unix(0, 0), events[0].Time.Add(-24 * time.Hour), end.Time.Add(24 * time.Hour)} {
		wantSince(t, m, mk.app, since, events)
	}
	if serial, err := m.History.Since(bounded(t), mk.app, end.Time.Add(24*time.Hour)); err != nil || serial != end.Position.Serial {
		t.Errorf("since tomorrow: serial %d, %v, want the end, %d", serial, err, end.Position.Serial)
	}
}

func testSinceEmpty(t *testing.T, m Medium) {
	app := newApp()
	follow(t, m.Log, app)
	for _, since := range []time.Time{{}, time.Now(), time.Now().Add(time.Hour)} {
		if serial, err := m.History.Since(bounded(t), app, since); err != nil || serial != 0 {
			t.Errorf("since %v of an empty log: serial %d, %v, want 0", since, serial, err)
		}
	}
}

func testRangeBreak(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	events := mk.events("a", 300)
	appendOnce(t, m.Log, events...)
	end := events[299].Position.Serial
	for _, n := range []int{1, 150, 299} {
		var have []*broker.Event
		for e, err := range m.History.Range(bounded(t), mk.app, "a", 0, end) {
			if err != nil {
				t.Fatalf("range: %v", err)
			}
			if have = append(have, e); len(have) == n {
				break
			}
		}
		sameIDs(t, "range that was left", events[:n], have)
	}
	wantRange(t, m, mk.app, "a", 0, end, events)
}

// What is acknowledged is in a range that is read at once, whichever replica answers.
func testRangeAtOnce(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	var events []*broker.Event
	for range 100 {
		e := mk.event("a")
		appendAll(t, m.Log, mk.event("b"), e)
		events = append(events, e)
		from := max(0, len(events)-5)
		after := uint64(0)
		if from > 0 {
			after = events[from-1].Position.Serial
		}
		have, err := readRange(bounded(t), m, mk.app, "a", after, e.Position.Serial)
		if err != nil {
			t.Fatalf("range: %v", err)
		}
		if !slices.Equal(ids(events[from:]), ids(have)) {
			t.Fatalf("range right after append %d: serials %d, want %d", len(events), serials(have), serials(events[from:]))
		}
	}
}

// What a tail gave is in a range that is read at once, while others append.
func testRangeAmidAppends(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	events := mk.events("a", 300)
	ctx := bounded(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; i < len(events); i += 3 {
			if err := m.Log.Append(ctx, events[i:i+3]...); err != nil {
				t.Errorf("append: %v", err)
				return
			}
		}
	})
	var seen []*broker.Event
	for range events {
		seen = append(seen, f.next(t, 1)...)
		if len(seen)%5 != 0 {
			continue
		}
		recent := seen[max(0, len(seen)-50):]
		have, err := readRange(ctx, m, mk.app, "a", recent[0].Position.Serial-1, recent[len(recent)-1].Position.Serial)
		if err != nil {
			t.Errorf("range: %v", err)
			break
		}
		if !slices.Equal(ids(recent), ids(have)) {
			t.Errorf("range: serials %d, want what the tail gave: %d", serials(have), serials(recent))
			break
		}
	}
	wg.Wait()
}

func testRangesConcurrently(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	events := mixed(t, m, mk, 500)
	end := events[len(events)-1].Position.Serial
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			ch := []broker.Channel{"a", "b", "a.b", "rare"}[i%4]
			wantRange(t, m, mk.app, ch, uint64(i), end, within(events, ch, uint64(i), end))
		})
	}
	wg.Wait()
}

// A range that ends without an error is complete; one whose context ended can't say so.
func testHistoryCanceled(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	events := mk.events("a", 500)
	appendOnce(t, m.Log, events...)
	end := events[499].Position.Serial
	_, err := readRange(canceled(t), m, mk.app, "a", 0, end)
	wantCanceled(t, "range", err)
	_, _, err = m.History.Bounds(canceled(t), mk.app)
	wantCanceled(t, "bounds", err)
	_, err = m.History.Since(canceled(t), mk.app, events[0].Time)
	wantCanceled(t, "since", err)
	_, err = m.History.At(canceled(t), mk.app, 1)
	wantCanceled(t, "at", err)

	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	var have []*broker.Event
	for e, rangeErr := range m.History.Range(ctx, mk.app, "a", 0, end) {
		if err = rangeErr; err != nil {
			break
		}
		have = append(have, e)
		cancel()
	}
	if err == nil && len(have) != len(events) {
		t.Errorf("range whose context ended in the middle: %d of %d events and no error", len(have), len(events))
	}
	sameIDs(t, "range whose context ended", events[:len(have)], have)
}

func testForgotten(t *testing.T, m Medium) {
	if m.Forget == nil {
		t.Skip("the medium doesn't forget on command")
	}
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	events := mixed(t, m, mk, 300)
	f.next(t, len(events))
	epoch, end := f.from.Epoch, events[299].Position.Serial
	for _, upto := range []uint64{1, 100, 250, end} {
		m.Forget(t, mk.app, upto)
		wantBounds(t, m, mk.app, epoch, upto+1, end)
		wantSince(t, m, mk.app, events[0].Time, events[upto:])
		for _, serial := range []uint64{1, upto} {
			if e, err := m.History.At(bounded(t), mk.app, serial); e != nil || err != nil {
				t.Errorf("at %d, forgotten: %v, %v, want nothing", serial, e, err)
			}
		}
		for _, ch := range []broker.Channel{"a", "rare", ""} {
			wantRange(t, m, mk.app, ch, upto, end, within(events, ch, upto, end)) // all is there
			wantRange(t, m, mk.app, ch, 0, end, within(events, ch, upto, end))    // what is left
		}
	}
	next := mk.event("a")
	appendAll(t, m.Log, next)
	if want := (broker.Position{Epoch: epoch, Serial: end + 1, Time: next.Time.UnixMilli()}); next.Position != want {
		t.Errorf("after everything was forgotten an event is at %+v, want %+v", next.Position, want)
	}
	wantBounds(t, m, mk.app, epoch, end+1, end+1)
}
