package broker_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

// stood makes an event as the log yields it.
func stood(serial uint64, ch broker.Channel) *broker.Event {
	at := time.UnixMilli(1_700_000_000_000 + int64(serial)).UTC()
	return &broker.Event{
		App: app, Channel: ch, ID: fmt.Sprint(serial), Data: []byte("12345678"), Time: at,
		Position: broker.Position{Epoch: "e", Serial: serial, Time: at.UnixMilli()},
	}
}

// windowed is a feed whose log is what the test hands it. It lives in a bubble.
type windowed struct {
	*broker.Feed
	log *handed
}

func newWindowed(t *testing.T, cfg broker.Config) windowed {
	t.Helper()
	log := &handed{events: make(chan *broker.Event)}
	cfg.Log = log
	n, _ := run(t, cfg)
	f, _ := feed(t, n, app)
	return windowed{f, log}
}

func (w windowed) take(events ...*broker.Event) {
	for _, e := range events {
		w.log.events <- e
	}
	synctest.Wait()
}

// walk is what Back yields, by serial, and where the window begins when that is its last word.
func walk(t *testing.T, f *broker.Feed, ch broker.Channel, after, upto uint64) (serials []uint64, base *broker.Position) {
	t.Helper()
	for e, err := range f.Back(ch, after, broker.Position{Epoch: f.Cursor().Epoch, Serial: upto}) {
		var edge *broker.EdgeError
		switch {
		case base != nil:
			t.Error("events after the edge")
		case errors.As(err, &edge):
			base = &edge.Base
		case err != nil:
			t.Error(err)
		default:
			serials = append(serials, e.Position.Serial)
		}
	}
	return serials, base
}

// baseOf is where the window begins.
func baseOf(t *testing.T, f *broker.Feed) broker.Position {
	t.Helper()
	if _, base := walk(t, f, "none", 0, f.Cursor().Serial); base != nil {
		return *base
	}
	return broker.Position{Epoch: f.Cursor().Epoch}
}

// wantWindow checks every answer of a window against the events that it should have been built of.
func wantWindow(t *testing.T, f *broker.Feed, all []*broker.Event) {
	t.Helper()
	base := baseOf(t, f)
	held := map[uint64]bool{}
	for _, e := range all {
		p := e.Position
		same, known := f.Holds(p)
		if want := p.Serial >= base.Serial; same != want || known != want {
			t.Errorf("window after %d holds %d: %v, %v, want %v", base.Serial, p.Serial, same, known, want)
		}
		held[p.Serial] = true
		p.Time++
		if same, known := f.Holds(p); same || known != (p.Serial >= base.Serial) {
			t.Errorf("window after %d holds %d of another time: %v, %v", base.Serial, p.Serial, same, known)
		}
		p.Time = 0
		if _, known := f.Holds(p); known {
			t.Errorf("it is known whether %d is the place when its time isn't", p.Serial)
		}
		p.Time, p.Epoch = e.Position.Time, "other"
		if _, known := f.Holds(p); known {
			t.Errorf("a place in another life of the log is known")
		}
	}
	end := f.Cursor().Serial
	if _, known := f.Holds(broker.Position{Epoch: "e", Serial: end + 1, Time: 1}); known {
		t.Error("a place beyond the end is known")
	}
	for range 60 {
		ch := broker.Channel([]string{"a", "b", "rare", "never"}[rand.IntN(4)])
		after := rand.Uint64N(end + 1)
		upto := after + rand.Uint64N(end+1-after)
		var want []uint64
		for _, e := range slices.Backward(all) {
			if s := e.Position.Serial; e.Channel == ch && s > max(after, base.Serial) && s <= upto {
				want = append(want, s)
			}
		}
		have, edge := walk(t, f, ch, after, upto)
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s in (%d, %d], window after %d (-want +got):\n%s", ch, after, upto, base.Serial, diff)
		}
		for _, err := range f.Back(ch, after, broker.Position{Epoch: "other", Serial: upto}) {
			if other := new(broker.EdgeError); !errors.As(err, &other) || other.Base.Serial != upto {
				t.Errorf("of another life the window yields %v", err)
			}
		}
		if (edge != nil) != (after < base.Serial) {
			t.Errorf("%s in (%d, %d], window after %d: edge %v", ch, after, upto, base.Serial, edge)
		}
	}
	for s := base.Serial + 1; s <= end; s++ {
		if _, known := f.Holds(broker.Position{Epoch: "e", Serial: s, Time: 1}); known != held[s] {
			t.Errorf("serial %d is known: %v, want %v", s, known, held[s])
		}
	}
}

// draw makes n events of several channels after a serial, with holes between their serials.
func draw(after uint64, n int) []*broker.Event {
	var all []*broker.Event
	for i := range n {
		ch := broker.Channel([]string{"a", "b"}[rand.IntN(2)])
		if i%50 == 25 {
			ch = "rare"
		}
		after++
		if rand.IntN(5) == 0 {
			after += rand.Uint64N(4)
		}
		all = append(all, stood(after, ch))
	}
	return all
}

func TestWindow(t *testing.T) {
	t.Parallel()
	const each = 320 + 8 + 1 + 3 // bytes of an event with a serial of three digits, of a or b
	for name, tt := range map[string]struct {
		events, bytes int
		least, most   int // of 500 events are held
	}{
		"default":       {0, 0, 500, 500},
		"one":           {1, 0, 1, 1},
		"two":           {2, 0, 2, 2},
		"less than 16":  {15, 0, 15, 15},
		"an odd number": {41, 0, 38, 41},
		"some":          {200, 0, 188, 200},
		"all but one":   {499, 0, 468, 499},
		"as many":       {500, 0, 500, 500},
		"bytes of none": {0, 100, 0, 0},
		"bytes of one":  {0, each + 20, 1, 1},
		"bytes of ten":  {0, 10*each + 20, 9, 10},
		"some bytes":    {0, 200 * each, 180, 200},
		"both":          {100, 200 * each, 93, 100},
		"off by events": {-1, 0, 0, 0},
		"off by bytes":  {0, -1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWindowed(t, broker.Config{WindowEvents: tt.events, WindowBytes: tt.bytes})
				all := draw(0, 500)
				w.take(all...)
				if tt.most == 0 {
					if _, known := w.Holds(all[498].Position); known {
						t.Error("a window that can hold nothing knows a place")
					}
					if have, base := walk(t, w.Feed, "a", 0, w.Cursor().Serial); have != nil || base == nil {
						t.Errorf("a window that can hold nothing yields %d, edge %v", have, base)
					}
					return
				}
				wantWindow(t, w.Feed, all)
				base := baseOf(t, w.Feed)
				held := 0
				for _, e := range all {
					if e.Position.Serial > base.Serial {
						held++
					}
				}
				if held < tt.least || held > tt.most {
					t.Errorf("%d events are held, want %d to %d", held, tt.least, tt.most)
				}
			})
		})
	}
}

// A log that goes on in another life, or goes back, is none that the window was of.
func TestWindowBeginsAnew(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]broker.Position{
		"another life": {Epoch: "f", Serial: 6, Time: 5},
		"going back":   {Epoch: "e", Serial: 3, Time: 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWindowed(t, broker.Config{})
				all := []*broker.Event{stood(1, "a"), stood(2, "a"), stood(5, "a")}
				w.take(all...)
				odd := stood(9, "a")
				odd.Position = p
				w.take(odd)
				for _, e := range all {
					if _, known := w.Holds(e.Position); known {
						t.Errorf("%v is still known", e.Position)
					}
				}
				if have, base := walk(t, w.Feed, "a", 0, p.Serial); have != nil || base == nil || *base != p {
					t.Errorf("%d, edge %v, want none and %v", have, base, p)
				}
			})
		})
	}
}

// With a broken tail goes the window: the log may be another one.
func TestWindowOfABrokenFeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Memory{}
		n, _ := run(t, broker.Config{Log: log})
		f, _ := feed(t, n, app)
		publish(t, n, ch, "1", "2", "3")
		synctest.Wait()
		first, err := log.At(t.Context(), app, 1)
		if err != nil {
			t.Fatal(err)
		}
		if same, known := f.Holds(first.Position); !same || !known {
			t.Errorf("before: %v, %v", same, known)
		}
		log.Reset(app)
		synctest.Wait()
		if _, known := f.Holds(first.Position); known {
			t.Error("the window of a broken feed is still used")
		}
		if have, base := walk(t, f, ch, 0, 3); have != nil || base == nil {
			t.Errorf("the window of a broken feed yields %d, edge %v", have, base)
		}
	})
}

// Where positions mean nothing nothing is kept.
func TestWindowWithoutMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, _ := run(t, broker.Config{Log: brokertest.NewCarrier()})
		f, _ := feed(t, n, app)
		publish(t, n, ch, "1", "2")
		synctest.Wait()
		if have, _ := walk(t, f, ch, 0, 10); have != nil {
			t.Errorf("%d are held", have)
		}
	})
}

func TestWindowAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWindowed(t, broker.Config{WindowAge: time.Minute, WindowEvents: 64})
		var all []*broker.Event
		for s := range uint64(60) {
			e := stood(s+1, "a")
			e.Time = time.Now().UTC()
			e.Position.Time = e.Time.UnixMilli()
			all = append(all, e)
			w.take(e)
			time.Sleep(2 * time.Second)
		}
		// Event 60 is 2 s old, event 31 60 s.
		wantWindow(t, w.Feed, all)
		if base := baseOf(t, w.Feed); base != all[29].Position {
			t.Errorf("the window begins after %v, want the last that is too old, %v", base, all[29].Position)
		}
		if room, ok := w.Missed(all[10].Position, 1_000_000); ok {
			t.Errorf("what is too old would be read: %+v", room)
		}
		time.Sleep(2 * time.Minute)
		if base := baseOf(t, w.Feed); base != all[59].Position {
			t.Errorf("when all is too old the window begins after %v", base)
		}
		wantWindow(t, w.Feed, all)
	})
}

func TestExtend(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		events, bytes int
		before, live  int
		held          int // at least
	}{
		"default":          {0, 0, 300, 100, 399},
		"nothing live yet": {0, 0, 300, 0, 299},
		"just enough":      {400, 0, 300, 100, 399},
		"too many":         {200, 0, 300, 100, 180},
		"too many bytes":   {0, 200 * 340, 300, 100, 180},
		"tiny":             {5, 0, 20, 2, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				all := draw(0, tt.before+tt.live)
				base := all[0].Position
				from := all[tt.before-1].Position
				log := &handed{events: make(chan *broker.Event), from: from}
				n, _ := run(t, broker.Config{Log: log, WindowEvents: tt.events, WindowBytes: tt.bytes})
				f, _ := feed(t, n, app)
				w := windowed{f, log}
				w.take(all[tt.before:]...)
				if w.Extend(base, all[1:tt.before-1], from.Serial-1, false) {
					t.Error("what doesn't reach up to the window was put in front of it")
				}
				other := base
				other.Epoch = "other"
				if w.Extend(other, all[1:tt.before], from.Serial, false) {
					t.Error("what is of another life was put in front")
				}
				wantWindow(t, f, all)
				if !w.Extend(base, all[1:tt.before], from.Serial, false) {
					t.Error("the window wasn't extended")
				}
				wantWindow(t, f, all)
				more := draw(all[len(all)-1].Position.Serial, 50)
				held, size := 0, 0
				for _, e := range all {
					if e.Position.Serial > baseOf(t, f).Serial {
						held++
						size += e.Size()
					}
				}
				if held < tt.held || tt.events > 0 && held > tt.events || tt.bytes > 0 && size > tt.bytes {
					t.Errorf("%d events of %d bytes are held, want %d", held, size, tt.held)
				}
				w.take(more...)
				wantWindow(t, f, append(all, more...))
			})
		})
	}
}

func TestMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &handed{events: make(chan *broker.Event), from: stood(10_000, "a").Position}
		n, _ := run(t, broker.Config{Log: log, WindowEvents: 6_000})
		f, _ := feed(t, n, app)
		w := windowed{f, log}
		w.take(stood(10_001, "a"))

		for name, p := range map[string]broker.Position{
			"in the window": stood(10_000, "a").Position,
			"out of reach":  stood(3_000, "a").Position,
			"another life":  {Epoch: "f", Serial: 9_000},
		} {
			if room, pays := w.Missed(p, 1_000_000); pays {
				t.Errorf("%s: it would pay to read %+v", name, room)
			}
		}
		p := stood(5_001, "a").Position // the span is 5,000
		asked := 1
		room, pays := w.Missed(p, 0)
		for ; !pays && asked < 1_000; asked++ {
			room, pays = w.Missed(p, 0)
		}
		if want := 5; asked != want { // a thousand events each
			t.Errorf("it pays with question %d, want %d", asked, want)
		}
		if want := (broker.Room{After: 5_000, Upto: 10_000, Events: 5_999, Bytes: 16<<20 - 334}); room != want {
			t.Errorf("room: %+v, want %+v", room, want)
		}
		if _, pays := w.Missed(p, 0); pays {
			t.Error("it pays again with the next question")
		}
		// A single question is worth a thousand events; so many are read even when fewer would do.
		room, pays = w.Missed(stood(9_900, "a").Position, 0)
		if want := (broker.Room{After: 9_000, Upto: 10_000, Events: 5_999, Bytes: 16<<20 - 334}); !pays || room != want {
			t.Errorf("room for little: %+v, %v, want %+v", room, pays, want)
		}
		if _, pays := w.Missed(p, 1_000); !pays {
			t.Error("it doesn't pay though many wait")
		}
		// An extension that had to be cut can't be had any longer.
		if !w.Extend(stood(9_998, "a").Position, []*broker.Event{stood(9_999, "a"), stood(10_000, "a")}, 10_000, true) {
			t.Fatal("not extended")
		}
		if _, pays := w.Missed(p, 1_000_000); pays {
			t.Error("a window without room would be extended")
		}
	})
}

// Readers walk through the window while the feed goes on; what they see is whole.
func TestWindowUnderWay(t *testing.T) {
	t.Parallel()
	log := &handed{events: make(chan *broker.Event)}
	n, _ := run(t, broker.Config{Log: log, WindowEvents: 300})
	f, _ := feed(t, n, app)
	const events = 2_000
	var wg sync.WaitGroup
	wg.Go(func() {
		for s := range uint64(events) {
			log.events <- stood(s+1, broker.Channel([]string{"a", "b"}[s%2])) // odd serials are a's
		}
	})
	for range 4 {
		wg.Go(func() {
			for f.Cursor().Serial < events-1 {
				upto := f.Cursor().Serial
				least := upto
				after := upto - min(upto, 250)
				known := true
				for e, err := range f.Back("a", after, broker.Position{Epoch: "e", Serial: upto}) {
					if known = err == nil; !known {
						break
					}
					s := e.Position.Serial
					if s%2 != 1 || least-s > 2 || s > least {
						t.Errorf("%d after %d", s, least)
						return
					}
					least = s
				}
				if known && least-after > 2 {
					t.Errorf("(%d, %d] ends at %d", after, upto, least)
					return
				}
				f.Holds(stood(max(after, 1), "a").Position)
			}
		})
	}
	wg.Wait()
}

// BenchmarkBack shows what it costs to find a returning client's hundred events among a thousand
// channels'.
func BenchmarkBack(b *testing.B) {
	log := &handed{events: make(chan *broker.Event)}
	n, stop := run(b, broker.Config{Log: log})
	f, _ := feed(b, n, app)
	for s := range uint64(40_000) {
		ch := broker.Channel(fmt.Sprint("channel-", rand.IntN(1_000)))
		if s%50 == 0 {
			ch = "a"
		}
		log.events <- stood(s+1, ch)
	}
	p := stood(35_000, "a").Position
	b.ReportAllocs()
	for b.Loop() {
		if same, known := f.Holds(p); !same || !known {
			b.Fatal("not known")
		}
		n := 0
		for _, err := range f.Back("a", p.Serial, broker.Position{Epoch: "e", Serial: 40_000}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 100 {
			b.Fatalf("%d events", n)
		}
	}
	b.StopTimer()
	stop()
}
