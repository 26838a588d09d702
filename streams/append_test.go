package streams_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/playhead/playhead/adapters/embedded"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/streams"
	"github.com/prometheus/client_golang/prometheus"
)

// modes are the ways to send, each on a server that fits.
var modes = map[string]struct {
	interval time.Duration
	change   func(*streams.Config)
}{
	"always":   {0, func(*streams.Config) {}},
	"interval": {time.Second, interval},
	"commit":   {time.Second, commitsTo(func() error { return nil })},
}

// each runs a test in both modes.
func each(t *testing.T, test func(t *testing.T, r *rig, change func(*streams.Config))) {
	t.Helper()
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newRig(t, mode.interval), mode.change)
		})
	}
}

// stored reads a channel back from its beginning.
func stored(t testing.TB, s *streams.Streams, app broker.AppID, ch broker.Channel, upto uint64) []*broker.Event {
	t.Helper()
	var all []*broker.Event
	for e, err := range s.Range(soon(t), app, ch, 0, upto) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func TestNewReportsEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := streams.New(streams.Config{
		Prefix: "a.b", Replicas: 2, MaxAge: -2, MaxBytes: -2, MaxMsgs: -2, Duplicates: time.Second, Sync: 7, QueueBytes: -1, Survey: -2,
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{
		"publish connection", "tail connection", "read connection", "node name", "prefix", "replicas",
		"max age", "max bytes", "max messages", "duplicates", "sync", "queue bytes", "survey",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
}

// commits returns how many acknowledgements stored how many events.
func commits(t *testing.T, reg *prometheus.Registry) (acks, events int) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "playhead_stream_commit_events" {
			h := f.GetMetric()[0].GetHistogram()
			return int(h.GetSampleCount()), int(h.GetSampleSum())
		}
	}
	t.Fatal("no metric")
	return 0, 0
}

// What arrives while a commit is in flight is the next one, whole.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	s := newRig(t, 0).streams(func(c *streams.Config) { c.Registerer = reg })
	const callers, each = 64, 20
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for range each {
				if err := s.Append(soon(t), event("app", broker.Channel(fmt.Sprint(c)))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	acks, events := commits(t, reg)
	if events != callers*each || acks > callers*each/4 {
		t.Errorf("%d events in %d commits", events, acks)
	}
	t.Logf("%d events in %d commits", events, acks)
}

// A publish whose acknowledgement is lost is sent again, found to be stored, and is no duplicate in
// its caller's eyes; one that somebody else stored under its ID meanwhile is.
func TestLostAcknowledgement(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *rig, change func(*streams.Config)) {
		publish := r.connect()
		s := r.streams(change, func(c *streams.Config) { c.Publish = publish })
		other := r.streams(change)
		for _, size := range []int{1, 5} {
			app := broker.AppID(fmt.Sprint("app-", size))
			appendAll(t, s, event(app, "before"))
			own := make([]*broker.Event, size)
			for i := range own {
				own[i] = event(app, "ch")
			}
			r.line(publish).deafen()
			done := make(chan error, 1)
			go func() { done <- s.Append(soon(t), own...) }()
			eventually(t, "stored, unheard", func() bool {
				e, err := other.At(soon(t), app, uint64(size)+1)
				return err == nil && e != nil
			})
			select {
			case err := <-done:
				t.Fatalf("answered without having heard: %v", err)
			default:
			}
			r.line(publish).cut(false)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			for i, e := range own {
				if e.Duplicate || e.Position.Serial != uint64(i)+2 || e.Position.Time != e.Time.UnixMilli() {
					t.Errorf("event %d: duplicate %v, %+v", i, e.Duplicate, e.Position)
				}
			}
			if all := stored(t, s, app, "ch", uint64(size)+1); len(all) != size {
				t.Errorf("stored %d times", len(all))
			}

			// The same, but what is sent again was stored by another node, earlier.
			first, again := event(app, "ch"), event(app, "ch")
			again.ID, again.Time = first.ID, first.Time.Add(5*time.Millisecond)
			more := []*broker.Event{again}
			for range size - 1 {
				more = append(more, event(app, "ch"))
			}
			r.line(publish).cut(true)
			go func() { done <- s.Append(soon(t), more...) }()
			appendAll(t, other, first)
			r.line(publish).cut(false)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if !again.Duplicate || again.Position != first.Position {
				t.Errorf("duplicate %v at %+v, the first at %+v", again.Duplicate, again.Position, first.Position)
			}
			for _, e := range more[1:] {
				if e.Duplicate || e.Position.Serial <= first.Position.Serial {
					t.Errorf("beside a duplicate: duplicate %v at %+v", e.Duplicate, e.Position)
				}
			}
		}
	})
}

// A first event that the stream has forgotten already still counts as the first; its time isn't
// known.
func TestDuplicateOfForgotten(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *rig, change func(*streams.Config)) {
		s := r.streams(change, func(c *streams.Config) { c.MaxMsgs = 1 })
		first, again := event("app", "a"), event("app", "a")
		again.ID = first.ID
		appendAll(t, s, first, event("app", "a"), again)
		want := first.Position
		want.Time = 0
		among := event("app", "a")
		among.ID = first.ID
		if err := s.Append(soon(t), event("app", "a"), among, event("app", "a")); err != nil {
			t.Fatal(err)
		}
		for _, e := range []*broker.Event{again, among} {
			if !e.Duplicate || e.Position != want {
				t.Errorf("duplicate %v at %+v, want %+v", e.Duplicate, e.Position, want)
			}
		}
	})
}

func TestAppendUnreachable(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *rig, change func(*streams.Config)) {
		const timeout = 500 * time.Millisecond
		s := r.streams(change, func(c *streams.Config) {
			c.AppendTimeout = timeout
			c.QueueBytes = 10_000
		})
		appendAll(t, s, event("app", "a"))
		r.stop()

		ctx, cancel := context.WithTimeout(context.Background(), timeout/5)
		defer cancel()
		e := event("app", "a")
		if err := s.Append(ctx, e); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("the caller had less time: %v", err)
		}

		var wg sync.WaitGroup
		big := make([]*broker.Event, 20) // more than there is room for at a time
		for i := range big {
			big[i] = event("app", "a")
			wg.Go(func() {
				if err := s.Append(context.Background(), big[i]); !errors.Is(err, broker.ErrUnavailable) {
					t.Errorf("got %v", err)
				}
				if big[i].Position.Serial != 0 {
					t.Errorf("not stored, yet at %+v", big[i].Position)
				}
			})
		}
		wg.Wait()

		r.start()
		eventually(t, "it comes back", func() bool { return s.Append(soon(t), e) == nil })
		appendAll(t, s, big...)
		if all := stored(t, s, "app", "a", big[len(big)-1].Position.Serial); len(all) != 2+len(big) {
			t.Errorf("%d events stored", len(all))
		}
	})
}

func TestAppendRefused(t *testing.T) {
	t.Parallel()
	s := newRig(t, 0).streams()
	big := event("app", "a")
	big.Data = make([]byte, 2<<20)
	named := event("app", "a")
	named.Name = strings.Repeat("é", 20_000) // as a header, three times as long
	many := make([]*broker.Event, 1001)
	for i := range many {
		many[i] = event("app", "a")
	}
	for name, events := range map[string][]*broker.Event{
		"too big": {big}, "headers too big": {named}, "too many": many,
		"channel too long": {event("app", broker.Channel(strings.Repeat("é", 1000)))},
		"without channel":  {event("app", "")}, "without app": {event("", "a")},
		"of two apps": {event("app", "a"), event("other", "a")},
	} {
		if err := s.Append(soon(t), events...); err == nil || errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	most := many[:1000]
	if err := s.Append(soon(t), most...); err != nil {
		t.Fatal(err)
	}
	if a, b := most[0].Position.Serial, most[999].Position.Serial; b != a+999 {
		t.Errorf("from %d to %d", a, b)
	}
}

// A store that is full is an error at once, with its cause, and what was stored stays.
func TestAppendOverTheStoreLimit(t *testing.T) {
	t.Parallel()
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mode.interval, func(c *embedded.Config) { c.MaxStore = 200_000 })
			s := r.streams(mode.change, func(c *streams.Config) { c.MaxBytes = -1 })
			n := 0
			var err error
			for ; err == nil && n < 1000; n++ {
				e := event("app", "a")
				e.Data = make([]byte, 10_000)
				err = s.Append(soon(t), e)
			}
			if !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "resource") {
				t.Fatalf("after %d events: %v", n, err)
			}
			if all := stored(t, s, "app", "a", uint64(n-1)); len(all) != n-1 {
				t.Errorf("%d stored, %d acknowledged", len(all), n-1)
			}
		})
	}
}

// JetStream doesn't answer when it can't write. The cause then comes from the server's health, long
// before the append's time is over.
func TestAppendToASickServer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *rig, change func(*streams.Config)) {
		publish := r.connect()
		var mu sync.Mutex
		sick := errors.New("no space left on device")
		s := r.streams(change, func(c *streams.Config) {
			c.Publish = publish
			c.AppendTimeout = time.Minute
			c.Health = func() error {
				mu.Lock()
				defer mu.Unlock()
				return sick
			}
		})
		appendAll(t, s, event("app", "a"))
		r.line(publish).deafen()
		for range 2 { // the second is not even tried
			if err := s.Append(soon(t), event("app", "a")); !errors.Is(err, broker.ErrUnavailable) || !errors.Is(err, sick) {
				t.Errorf("got %v", err)
			}
		}
		mu.Lock()
		sick = nil
		mu.Unlock()
		r.line(publish).cut(false)
		appendAll(t, s, event("app", "a"))
	})
}

func TestAppendBeforeAndAfterRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	s, err := streams.New(streams.Config{Publish: r.connect(), Tail: r.connect(), Read: r.connect(), NodeName: "n"})
	if err != nil {
		t.Fatal(err)
	}
	early := make(chan error, 1)
	go func() { early <- s.Append(soon(t), event("app", "a")) }()
	select {
	case err := <-early:
		t.Fatalf("answered before Run: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	stop := run(t, s)
	if err := <-early; err != nil {
		t.Error(err)
	}
	stop()
	for _, app := range []broker.AppID{"app", "other"} {
		if err := s.Append(soon(t), event(app, "a")); !errors.Is(err, broker.ErrClosed) {
			t.Errorf("after Run, app %s: %v", app, err)
		}
	}
}
