package brokertest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// TestLog is the contract of [broker.Log] as subtests of t. open is called once for each.
func TestLog(t *testing.T, open func(t *testing.T) Medium) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Medium){
		"AppendSetsPositions":         testPositions,
		"AppendKeepsOrder":            testAppendOrder,
		"AppendOfSeveralIsTogether":   testAppendSeveral,
		"AppendOfNothing":             testAppendNothing,
		"AppendConcurrently":          testAppendConcurrently,
		"AppendWithEndedContext":      testAppendCanceled,
		"AppendLeavesReadersAlone":    testAppendCopies,
		"TailBeginsAtThePresentEnd":   testTailBegins,
		"TailBeginsAmidAppends":       testTailBeginsAmidAppends,
		"TailEndsWithItsContext":      testTailContext,
		"TailEndsWithTheLoop":         testTailBreak,
		"TailOfTwoNodes":              testTailTwoNodes,
		"EventsArriveAsTheyAre":       testEvents,
		"AppsAreIsolated":             testApps,
		"DuplicatesAreStoredOnce":     testDuplicates,
		"DuplicatesAmongSeveral":      testPartialDuplicates,
		"DuplicatesAtTheSameTime":     testConcurrentDuplicates,
		"DuplicatesAreOfTheirAppOnly": testDuplicatesOfApps,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := open(t)
			if m.Log == nil {
				t.Fatal("the medium has no log")
			}
			test(t, m)
		})
	}
}

func testPositions(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	events := mk.events("a", 20)
	appendAll(t, m.Log, events...)
	if !m.remembers() {
		for _, e := range events {
			if !e.Position.IsZero() || e.Duplicate {
				t.Fatalf("without memory, yet position %+v, duplicate %v", e.Position, e.Duplicate)
			}
		}
		return
	}
	for i, e := range events {
		p := e.Position
		if p.Time != e.Time.UnixMilli() {
			t.Errorf("event %d: the position's time is %d, the event's %d", i, p.Time, e.Time.UnixMilli())
		}
		if back, err := broker.ParsePosition(p.String()); err != nil || back != p {
			t.Errorf("event %d: position %+v comes back as %+v, %v", i, p, back, err)
		}
		if i == 0 {
			continue
		}
		before := events[i-1].Position
		if p.Epoch != before.Epoch || p.Serial <= before.Serial {
			t.Errorf("event %d: position %+v after %+v", i, p, before)
		}
	}
}

func testAppendOrder(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	var events []*broker.Event
	for i := range 100 {
		events = append(events, mk.event(broker.Channel(fmt.Sprint("ch-", i%7))))
	}
	appendAll(t, m.Log, events...)
	sameEvents(t, "tail", arrived(m, events...), f.all(t, m.Log, mk))
}

func testAppendSeveral(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	const appenders, each, size = 4, 10, 5
	var all [appenders * each][]*broker.Event
	for i := range all {
		for j := range size {
			all[i] = append(all[i], mk.event(broker.Channel(fmt.Sprint("ch-", j%3))))
		}
	}
	var wg sync.WaitGroup
	ctx := bounded(t)
	for i := range appenders {
		wg.Go(func() {
			for _, events := range all[i*each : (i+1)*each] {
				if err := m.Log.Append(ctx, events...); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	wg.Wait()
	seen := ids(f.all(t, m.Log, mk))
	if len(seen) != len(all)*size {
		t.Fatalf("tail gave %d events, want %d", len(seen), len(all)*size)
	}
	for _, events := range all {
		if !m.remembers() { // in order is all that is promised then
			own := slices.DeleteFunc(slices.Clone(seen), func(id string) bool { return !slices.Contains(ids(events), id) })
			if diff := cmp.Diff(ids(events), own); diff != "" {
				t.Fatalf("events of one append in the tail, by id (-want +got):\n%s", diff)
			}
			continue
		}
		at := slices.Index(seen, events[0].ID)
		if at < 0 || at+size > len(seen) {
			t.Fatalf("the events of one append aren't together in the tail")
		}
		if diff := cmp.Diff(ids(events), seen[at:at+size]); diff != "" {
			t.Fatalf("events of one append in the tail, by id (-want +got):\n%s", diff)
		}
		for i, e := range events {
			if want := events[0].Position.Serial + uint64(i); e.Position.Serial != want {
				t.Fatalf("event %d of one append has serial %d, want %d: no other may be in between", i, e.Position.Serial, want)
			}
		}
	}
}

func testAppendNothing(t *testing.T, m Medium) {
	if err := m.Log.Append(bounded(t)); err != nil {
		t.Errorf("append of no events: %v", err)
	}
}

func testAppendConcurrently(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	const appenders, each = 8, 50
	var events [appenders][]*broker.Event
	for i := range events {
		events[i] = mk.events(broker.Channel(fmt.Sprint("ch-", i)), each)
	}
	var wg sync.WaitGroup
	ctx := bounded(t)
	for i := range events {
		wg.Go(func() {
			for _, e := range events[i] {
				if err := m.Log.Append(ctx, e); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	seen := f.all(t, m.Log, mk)
	if len(seen) != appenders*each {
		t.Errorf("tail gave %d events, want %d", len(seen), appenders*each)
	}
	for i := range events {
		var own []*broker.Event
		for _, e := range seen {
			if e.Channel == events[i][0].Channel {
				own = append(own, e)
			}
		}
		sameEvents(t, fmt.Sprint("events of appender ", i), arrived(m, events[i]...), own)
	}
	if m.remembers() && !strictlyGrowing(serials(seen)) {
		t.Errorf("serials in the tail don't grow: %d", serials(seen))
	}
}

func strictlyGrowing(serials []uint64) bool {
	for i := 1; i < len(serials); i++ {
		if serials[i] <= serials[i-1] {
			return false
		}
	}
	return true
}

func testAppendCanceled(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	wantCanceled(t, "append", m.Log.Append(canceled(t), mk.event("a")))
	appendAll(t, m.Log, mk.event("a")) // and the log is none the worse for it
}

// Whoever appends may do so again, with the same events: Append then sets their positions, while
// others read what the tail gave.
func testAppendCopies(t *testing.T, m Medium) {
	if !m.remembers() {
		t.Skip("without memory nothing is appended a second time under the same ID")
	}
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	e := mk.event("a")
	appendAll(t, m.Log, e)
	got := f.next(t, 1)[0]
	var wg sync.WaitGroup
	wg.Go(func() {
		e.Position, e.Duplicate = broker.Position{}, false
		if err := m.Log.Append(bounded(t), e); err != nil {
			t.Errorf("append: %v", err)
		}
	})
	if got.Duplicate || got.Position.IsZero() {
		t.Errorf("the tail's event: position %+v, duplicate %v", got.Position, got.Duplicate)
	}
	wg.Wait()
	if got == e {
		t.Error("the tail gave the caller's own event")
	}
}

func testEvents(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	var events []*broker.Event
	add := func(edit func(*broker.Event)) {
		e := mk.event("a")
		edit(e)
		events = append(events, e)
	}
	for _, ch := range []broker.Channel{
		"private-a", "a.b", "a..b", ".a", "a.", "=,;@_-", "a%2Eb", "a,b;c=d@e_f-g", "#server-to-user-1",
		"presence-cache-A.b", "private-encrypted-x", "A", "*", ">", "a.*.>", broker.Channel(strings.Repeat("x.", 100)),
	} {
		add(func(e *broker.Event) { e.Channel = ch })
	}
	for _, name := range []string{
		"", " ", " leading", "trailing ", "two\nlines", "cr\r\nlf", "tab\t", `back\slash\n`, `"quoted"`, "ü→😀", "a:b", "%41", "\x00", "\x7f",
		"pusher:x", strings.Repeat("n", 200), strings.Repeat("ü", 200),
	} {
		add(func(e *broker.Event) { e.Name = name })
	}
	for _, data := range [][]byte{
		nil, {}, {0}, []byte("\n"), []byte(`"s"`), []byte(" {} "), []byte("ü→😀"), binary, bytes.Repeat([]byte("64KB"), 16<<10),
	} {
		add(func(e *broker.Event) { e.Data = data })
	}
	add(func(e *broker.Event) { e.Exclude = "123.456" })
	add(func(e *broker.Event) { e.Client = true })
	add(func(e *broker.Event) {
		e.Client, e.Exclude, e.Name, e.UserID = true, "9007199254740991.9007199254740991", "client-x", "user"
	})
	for _, user := range []string{"1", "ü 😀", " a\nb\\", strings.Repeat("u", 128)} {
		add(func(e *broker.Event) { e.Client, e.UserID = true, user })
	}
	for _, id := range []string{"a b", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", strings.Repeat("k", 128-32)} {
		add(func(e *broker.Event) { e.ID += id })
	}
	add(func(e *broker.Event) { e.Time = e.Time.AddDate(-10, 0, 0) })
	appendAll(t, m.Log, events...)
	sameEvents(t, "tail", arrived(m, events...), f.all(t, m.Log, mk))
}

func testApps(t *testing.T, m Medium) {
	base := newApp()
	apps := []broker.AppID{base, base + ".a", base + "_a", base + "-a", base + " a", base + "/a", base + "*", base + ">", base + "ü", "." + base}
	var tails []*follower
	for _, app := range apps {
		tails = append(tails, follow(t, m.Log, app))
	}
	for i, app := range apps {
		mk := &maker{app: app}
		events := mk.events("shared", 2)
		appendAll(t, m.Log, events...)
		sameEvents(t, fmt.Sprintf("tail of app %q", app), arrived(m, events...), tails[i].all(t, m.Log, mk))
		if m.remembers() && events[0].Position.Serial != 1 {
			t.Errorf("first event of app %q has serial %d: each app has serials of its own", app, events[0].Position.Serial)
		}
	}
	if !m.remembers() {
		return
	}
	epochs := map[broker.Epoch]bool{}
	for _, f := range tails {
		epochs[f.from.Epoch] = true
	}
	if len(epochs) != len(apps) {
		t.Errorf("%d epochs for %d apps", len(epochs), len(apps))
	}
}
