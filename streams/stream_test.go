package streams_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/streams"
)

// Nodes that come to an app at the same time agree on one life of its stream.
func TestStreamIsMadeOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	const nodes = 8
	var positions [nodes]broker.Position
	var wg sync.WaitGroup
	for i := range nodes {
		s := r.streams(interval)
		wg.Go(func() {
			var err error
			if positions[i], _, err = s.Bounds(soon(t), "app"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, p := range positions {
		if p != positions[0] || p.Epoch == "" || p.Serial != 1 {
			t.Errorf("positions %+v", positions)
			break
		}
	}
}

func TestAnyAppID(t *testing.T) {
	t.Parallel()
	s := newRig(t, time.Second).streams(interval)
	epochs := map[broker.Epoch]bool{}
	for _, app := range []broker.AppID{"42", "my.app", "a*", "a>", "ä b", "a/../b", "%2E", "."} {
		e := event(app, "ch")
		appendAll(t, s, e)
		if got, err := s.Last(soon(t), app, "ch"); err != nil || got == nil || got.ID != e.ID {
			t.Errorf("app %q: %+v, %v", app, got, err)
		}
		epochs[e.Position.Epoch] = true
	}
	if len(epochs) != 8 {
		t.Errorf("%d streams", len(epochs))
	}
}

// A stream of a former start is taken up as it is; other limits are put in force and leave the
// epoch alone.
func TestStreamIsTakenUp(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *rig, change func(*streams.Config)) {
		first := event("app", "a")
		appendAll(t, r.streams(change), first)
		r.stop()
		r.start()
		limits := func(c *streams.Config) {
			c.MaxAge, c.MaxBytes, c.MaxMsgs, c.Duplicates = time.Hour, 1<<20, 1000, time.Minute
		}
		s := r.streams(change, limits)
		second := event("app", "a")
		again := event("app", "a")
		again.ID = first.ID
		appendAll(t, s, second, again)
		if second.Position.Epoch != first.Position.Epoch || second.Position.Serial != 2 {
			t.Errorf("%+v after %+v", second.Position, first.Position)
		}
		if !again.Duplicate || again.Position != first.Position {
			t.Errorf("duplicates are forgotten with a restart: %v, %+v", again.Duplicate, again.Position)
		}
		handle, err := r.jetStream().Stream(soon(t), "playhead_app")
		if err != nil {
			t.Fatal(err)
		}
		cfg := handle.CachedInfo().Config
		if cfg.MaxAge != time.Hour || cfg.MaxBytes != 1<<20 || cfg.MaxMsgs != 1000 || cfg.Duplicates != time.Minute {
			t.Errorf("limits %+v", cfg)
		}
		if broker.Epoch(cfg.Metadata["epoch"]) != first.Position.Epoch {
			t.Errorf("epoch %q in %v", first.Position.Epoch, cfg.Metadata)
		}
	})
}

func TestStreamOfSomebodyElse(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	s, js := r.streams(interval), r.jetStream()
	appendAll(t, s, event("good", "a"))
	handle, err := js.Stream(soon(t), "playhead_good")
	if err != nil {
		t.Fatal(err)
	}
	good := handle.CachedInfo().Config
	for app, tt := range map[broker.AppID]struct {
		change func(*jetstream.StreamConfig)
		says   string
	}{
		"no-epoch":    {func(c *jetstream.StreamConfig) { c.Metadata = nil }, "no epoch"},
		"per-subject": {func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }, "messages per subject 5"},
		"discard":     {func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew }, "discard policy"},
		"rollup":      {func(c *jetstream.StreamConfig) { c.AllowRollup, c.DenyPurge = true, false }, "rollups true"},
		"ttl":         {func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, "expiry per message true"},
		"memory":      {func(c *jetstream.StreamConfig) { c.Storage, c.MaxBytes = jetstream.MemoryStorage, 1000 }, "storage"},
		"no-batch":    {func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }, "atomic batches false"},
	} {
		cfg := good
		cfg.Name, cfg.Subjects = "playhead_"+string(app), []string{"playhead." + string(app) + ".>"}
		tt.change(&cfg)
		if _, err := js.CreateStream(soon(t), cfg); err != nil {
			t.Fatalf("%s: %v", app, err)
		}
		err := s.Append(soon(t), event(app, "a"))
		if !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", app, err)
		}
		if _, _, err := s.Tail(soon(t), app); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: tail: %v", app, err)
		}
	}
}

func TestAfterCreate(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	broken := errors.New("can't sync")
	var mu sync.Mutex
	calls := 0
	s := r.streams(interval, func(c *streams.Config) {
		c.AfterCreate = func() error {
			mu.Lock()
			defer mu.Unlock()
			if calls++; calls == 1 {
				return broken
			}
			return nil
		}
	})
	if err := s.Append(soon(t), event("app", "a")); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	appendAll(t, s, event("app", "a"), event("other", "a"), event("other", "a"))
	mu.Lock()
	defer mu.Unlock()
	if calls != 2 {
		t.Errorf("called %d times for two streams", calls)
	}
}

// A stream that is deleted under us is made again, with another epoch; who followed its former life
// is told.
func TestStreamIsDeleted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *rig, change func(*streams.Config)) {
		s := r.streams(change)
		before := event("app", "a")
		appendAll(t, s, before, event("app", "a"))
		_, events, err := s.Tail(soon(t), "app")
		if err != nil {
			t.Fatal(err)
		}
		if err := r.jetStream().DeleteStream(soon(t), "playhead_app"); err != nil {
			t.Fatal(err)
		}
		after := event("app", "a")
		appendAll(t, s, after)
		if after.Position.Epoch == before.Position.Epoch || after.Position.Serial != 1 {
			t.Errorf("%+v after %+v", after.Position, before.Position)
		}
		if first, _, err := s.Bounds(soon(t), "app"); err != nil || first.Epoch != after.Position.Epoch {
			t.Errorf("first %+v, %v", first, err)
		}
		var last error
		for e, err := range events {
			if err == nil {
				t.Fatalf("the old tail gave %+v", e)
			}
			last = err
		}
		if last == nil || !strings.Contains(last.Error(), "the stream") {
			t.Errorf("the old tail ended with %v", last)
		}
		from, _, err := s.Tail(soon(t), "app")
		if err != nil || from != after.Position {
			t.Errorf("the next tail begins at %+v, %v", from, err)
		}
	})
}

// Made again behind our back, by another node: an acknowledgement with an old serial shows it.
func TestStreamIsReplaced(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *rig, change func(*streams.Config)) {
		one, other := r.streams(change), r.streams(change)
		before := []*broker.Event{event("app", "a"), event("app", "a"), event("app", "a")}
		appendAll(t, one, before...)
		if err := r.jetStream().DeleteStream(soon(t), "playhead_app"); err != nil {
			t.Fatal(err)
		}
		first, _, err := other.Bounds(soon(t), "app")
		if err != nil {
			t.Fatal(err)
		}
		after := event("app", "a")
		appendAll(t, one, after)
		if want := (broker.Position{Epoch: first.Epoch, Serial: 1, Time: after.Time.UnixMilli()}); after.Position != want || after.Duplicate {
			t.Errorf("at %+v, duplicate %v, want %+v", after.Position, after.Duplicate, want)
		}
	})
}

// copyDir copies a stopped server's folder.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// A power cut may take what the server hadn't synced: the stream's end is lost and its serials are
// given out again. Whoever followed it must not go on as if nothing had happened.
func TestStreamLosesItsEnd(t *testing.T) {
	t.Parallel()
	for name, appended := range map[string]int{"short": 1, "as long": 3, "longer": 5} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, time.Second)
			backup := filepath.Join(t.TempDir(), "backup")
			s := r.streams(interval)
			appendAll(t, s, event("app", "a"), event("app", "a"))
			r.stop()
			copyDir(t, r.cfg.DataDir, backup)
			r.start()
			_, events, err := s.Tail(soon(t), "app")
			if err != nil {
				t.Fatal(err)
			}
			lost := []*broker.Event{event("app", "a"), event("app", "a"), event("app", "a")}
			appendAll(t, s, lost...)
			seen, begun := make(chan *broker.Event, 10), make(chan struct{})
			var last error
			go func() {
				defer close(seen)
				for e, err := range events {
					if err != nil {
						last = err
						return
					}
					seen <- e
					if e.ID == lost[2].ID {
						<-begun // what follows is read when the stream has another end
					}
				}
			}()
			for range lost {
				<-seen
			}
			r.stop()
			copyDir(t, backup, r.cfg.DataDir)
			r.start()
			next := make([]*broker.Event, appended)
			for i := range next {
				next[i] = event("app", "a")
			}
			appendAll(t, s, next...)
			if next[0].Position.Serial != 3 || next[0].Duplicate {
				t.Errorf("after the loss: %+v", next[0].Position)
			}
			close(begun)
			for e := range seen {
				t.Errorf("the tail went on with %s", e.ID)
			}
			if last == nil || !strings.Contains(last.Error(), "lost its end") {
				t.Errorf("the tail ended with %v", last)
			}
		})
	}
}
