package streams_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/streams"
	"github.com/prometheus/client_golang/prometheus"
)

// follower collects what a tail yields, in a goroutine of its own.
type follower struct {
	from broker.Position
	stop context.CancelFunc
	done chan struct{}

	mu   sync.Mutex
	seen []*broker.Event // guarded by mu
	last error           // guarded by mu; the tail's last word
}

func follow(t testing.TB, s *streams.Streams, app broker.AppID) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	from, events, err := s.Tail(ctx, app)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	f := &follower{from: from, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		for e, err := range events {
			f.mu.Lock()
			if err != nil {
				f.last = err
			} else {
				f.seen = append(f.seen, e)
			}
			f.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-f.done
	})
	return f
}

func (f *follower) events() ([]*broker.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*broker.Event(nil), f.seen...), f.last
}

// await waits until n events have come.
func (f *follower) await(t testing.TB, n int) []*broker.Event {
	t.Helper()
	eventually(t, fmt.Sprint("events come: ", n), func() bool {
		seen, err := f.events()
		if err != nil {
			t.Fatalf("tail ended: %v", err)
		}
		return len(seen) >= n
	})
	seen, _ := f.events()
	return seen
}

// sameOrder checks that the tail gave exactly these, in the order of their serials.
func (f *follower) wantSerials(t testing.TB, from, upto uint64) {
	t.Helper()
	seen := f.await(t, int(upto-from+1))
	for i, e := range seen {
		if want := from + uint64(i); e.Position.Serial != want {
			t.Fatalf("event %d has serial %d, want %d", i, e.Position.Serial, want)
		}
	}
	if len(seen) != int(upto-from+1) {
		t.Fatalf("%d events, want %d", len(seen), upto-from+1)
	}
}

func consumers(t testing.TB, js jetstream.JetStream, stream string) []string {
	t.Helper()
	handle, err := js.Stream(soon(t), stream)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	list := handle.ConsumerNames(soon(t))
	for name := range list.Name() {
		names = append(names, name)
	}
	if list.Err() != nil {
		t.Fatal(list.Err())
	}
	return names
}

// The consumer is there while the tail is, and gone with it; one that a killed process of the same
// node left is replaced.
func TestTailsConsumer(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	s, js := r.streams(interval, func(c *streams.Config) { c.NodeName = "node.1" }), r.jetStream()
	appendAll(t, s, event("app", "a"))
	_, err := js.CreateConsumer(soon(t), "playhead_app", jetstream.ConsumerConfig{
		Durable: "node%2E1", AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	f := follow(t, s, "app")
	if names := consumers(t, js, "playhead_app"); len(names) != 1 || names[0] != "node%2E1" {
		t.Errorf("consumers %q", names)
	}
	consumer, err := js.Consumer(soon(t), "playhead_app", "node%2E1")
	if err != nil {
		t.Fatal(err)
	}
	cfg := consumer.CachedInfo().Config
	if cfg.AckPolicy != jetstream.AckNonePolicy || !cfg.MemoryStorage || cfg.Replicas != 1 || cfg.OptStartSeq != 2 || cfg.InactiveThreshold != 10*time.Minute {
		t.Errorf("consumer %+v", cfg)
	}
	appendAll(t, s, event("app", "a"))
	f.wantSerials(t, 2, 2)
	f.stop()
	<-f.done
	if _, err := f.events(); err != nil {
		t.Errorf("a tail that was stopped ended with %v", err)
	}
	if names := consumers(t, js, "playhead_app"); len(names) != 0 {
		t.Errorf("left behind: %q", names)
	}
}

// Two tails of one app on one node don't take each other's events.
func TestTwoTails(t *testing.T) {
	t.Parallel()
	s := newRig(t, time.Second).streams(interval)
	one, two := follow(t, s, "app"), follow(t, s, "app")
	for range 20 {
		appendAll(t, s, event("app", "a"))
	}
	one.wantSerials(t, 1, 20)
	two.wantSerials(t, 1, 20)
}

// Whatever happens to the consumer or to the connection, the tail goes on after its last event:
// nothing is lost, doubled or out of order.
func TestTailSurvives(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(t *testing.T, r *rig, tail *nats.Conn){
		"restart": func(_ *testing.T, r *rig, _ *nats.Conn) {
			r.stop()
			r.start()
		},
		"cut": func(_ *testing.T, r *rig, tail *nats.Conn) { r.line(tail).cut(false) },
		"lost on the way": func(_ *testing.T, r *rig, tail *nats.Conn) {
			r.line(tail).deafen()
			time.Sleep(30 * time.Millisecond)
			r.line(tail).cut(false)
		},
		"consumer deleted": func(t *testing.T, r *rig, _ *nats.Conn) {
			js := r.jetStream()
			eventually(t, "there is a consumer to delete", func() bool {
				return js.DeleteConsumer(soon(t), "playhead_app", "node") == nil
			})
		},
		"consumer read by another": func(t *testing.T, r *rig, _ *nats.Conn) {
			js := r.jetStream()
			var consumer jetstream.Consumer
			eventually(t, "there is a consumer to read", func() (found bool) {
				var err error
				consumer, err = js.Consumer(soon(t), "playhead_app", "node")
				return err == nil
			})
			batch, err := consumer.Fetch(10, jetstream.FetchMaxWait(300*time.Millisecond))
			if err != nil {
				t.Error(err)
				return
			}
			for range batch.Messages() { // they are lost to the tail
			}
		},
		"consumer set back": func(t *testing.T, r *rig, _ *nats.Conn) {
			js := r.jetStream()
			eventually(t, "there is a consumer to set back", func() bool {
				_, err := js.ResetConsumerToSequence(soon(t), "playhead_app", "node", 1)
				return err == nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, time.Second)
			tail, reg := r.connect(), prometheus.NewRegistry()
			s := r.streams(interval, func(c *streams.Config) { c.Tail, c.NodeName, c.Registerer = tail, "node", reg })
			f := follow(t, s, "app")
			var stop atomic.Bool
			var wg sync.WaitGroup
			var last uint64
			wg.Go(func() {
				for !stop.Load() {
					e := event("app", "a")
					appendAll(t, s, e)
					last = e.Position.Serial
					time.Sleep(100 * time.Microsecond)
				}
			})
			for i := range 3 {
				f.await(t, (i+1)*50)
				fault(t, r, tail)
			}
			before, _ := f.events()
			f.await(t, len(before)+100)
			stop.Store(true)
			wg.Wait()
			f.wantSerials(t, 1, last)
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, family := range families {
				if family.GetName() == "playhead_stream_tail_resumes_total" && family.GetMetric()[0].GetCounter().GetValue() < 1 {
					t.Error("the fault was none")
				}
			}
		})
	}
}

// When nothing is appended there is nothing whose absence could be noticed but the sign of life.
func TestTailNoticesSilence(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	tail := r.connect()
	s := r.streams(interval, func(c *streams.Config) { c.Tail, c.NodeName = tail, "node" })
	f := follow(t, s, "app")
	appendAll(t, s, event("app", "a"))
	f.wantSerials(t, 1, 1)
	r.line(tail).deafen()
	appendAll(t, s, event("app", "a"))
	eventually(t, "the consumer sends it in vain", func() bool {
		consumer, err := r.jetStream().Consumer(soon(t), "playhead_app", "node")
		return err == nil && consumer.CachedInfo().Delivered.Stream >= 2
	})
	r.line(tail).mu.Lock()
	r.line(tail).deaf = false
	r.line(tail).mu.Unlock()
	f.wantSerials(t, 1, 2)
}

// What the stream forgot before the tail could read it is a hole, and so an error.
func TestTailMissesWhatIsForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	tail := r.connect()
	s := r.streams(interval, func(c *streams.Config) { c.Tail, c.MaxMsgs = tail, 10 })
	f := follow(t, s, "app")
	appendAll(t, s, event("app", "a"))
	f.wantSerials(t, 1, 1)
	r.line(tail).cut(true)
	for range 20 {
		appendAll(t, s, event("app", "a"))
	}
	r.line(tail).cut(false)
	<-f.done
	seen, err := f.events()
	if err == nil || !strings.Contains(err.Error(), "forgotten") || len(seen) != 1 {
		t.Errorf("%d events, then %v", len(seen), err)
	}
}

// A node whose tail was away while the stream forgot only what the tail had seen goes on.
func TestTailIsNotDisturbedByRetention(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	tail := r.connect()
	s := r.streams(interval, func(c *streams.Config) { c.Tail, c.MaxMsgs = tail, 10 })
	f := follow(t, s, "app")
	for i := range 30 {
		appendAll(t, s, event("app", "a"))
		f.wantSerials(t, 1, uint64(i)+1)
	}
	r.line(tail).cut(true)
	for range 10 {
		appendAll(t, s, event("app", "a"))
	}
	r.line(tail).cut(false)
	f.wantSerials(t, 1, 40)
}

// A message that no Append wrote is passed over, in tails and in ranges alike.
func TestForeignMessagesArePassedOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	s, js := r.streams(interval), r.jetStream()
	f := follow(t, s, "app")
	appendAll(t, s, event("app", "a"))
	for _, subject := range []string{"playhead.app.a.b", "playhead.app.a", "playhead.app.a.b.c"} {
		if _, err := js.Publish(soon(t), subject, []byte("who?")); err != nil {
			t.Fatal(err)
		}
	}
	appendAll(t, s, event("app", "a"))
	seen := f.await(t, 2)
	if seen[0].Position.Serial != 1 || seen[1].Position.Serial != 5 {
		t.Errorf("tail gave %d and %d", seen[0].Position.Serial, seen[1].Position.Serial)
	}
	if all := stored(t, s, "app", "a", 5); len(all) != 2 || all[1].Position.Serial != 5 {
		t.Errorf("range gave %d events", len(all))
	}
	if e, err := s.At(soon(t), "app", 2); e != nil || err != nil {
		t.Errorf("at 2: %+v, %v", e, err)
	}
}

func TestTailWithoutServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	s := r.streams(interval)
	r.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, _, err := s.Tail(ctx, "app"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	for e, err := range s.Range(ctx, "app", "a", 0, 5) {
		if e != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("range: %+v, %v", e, err)
		}
	}
	r.start()
	if _, _, err := s.Tail(soon(t), "app"); err != nil {
		t.Errorf("got %v", err)
	}
}
