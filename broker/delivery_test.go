package broker_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

// encoding is a subscriber of one form.
type encoding struct {
	form  broker.Form
	calls *[2]atomic.Int64 // of the encoder, by form
	bytes [][]byte
}

func (s *encoding) Deliver(d *broker.Delivery) {
	s.bytes = append(s.bytes, d.Encoded(s.form, func(d *broker.Delivery, form broker.Form) []byte {
		s.calls[form].Add(1)
		return fmt.Appendf(nil, "%d %s", form, d.Event.ID)
	}))
}

func (s *encoding) Close(broker.Reason) {}

func TestFanOutEncodesOncePerForm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, _ := run(t, broker.Config{Log: &brokertest.Memory{}})
		f, _ := feed(t, n, app)
		var calls [2]atomic.Int64
		var all [20]*encoding
		for i := range all {
			all[i] = &encoding{form: broker.Form(i % 2), calls: &calls}
			s, _, err := f.Subscribe(ch, "1.1", all[i])
			if err != nil {
				t.Fatal(err)
			}
			s.Open(0)
		}
		publish(t, n, ch, "a", "b")
		synctest.Wait()
		for form := range calls {
			if got := calls[form].Load(); got != 2 {
				t.Errorf("form %d: two events were encoded %d times for 10 subscribers", form, got)
			}
		}
		for i, s := range all {
			for j, id := range []string{"a", "b"} {
				if want := fmt.Sprint(i%2, " ", id); string(s.bytes[j]) != want {
					t.Errorf("subscriber %d got %q, want %q", i, s.bytes[j], want)
				}
				if &s.bytes[j][0] != &all[i%2].bytes[j][0] {
					t.Errorf("subscriber %d got bytes of its own", i)
				}
			}
		}
	})
}

// A gate that opens encodes on its session's goroutine while the feed may do the same.
func TestEncodedConcurrently(t *testing.T) {
	t.Parallel()
	for range 100 {
		d := &broker.Delivery{Event: &broker.Event{ID: "a"}}
		var got [8][]byte
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() {
				got[i] = d.Encoded(broker.Form(i%2), func(d *broker.Delivery, form broker.Form) []byte {
					return fmt.Appendf(nil, "%d %s", form, d.Event.ID)
				})
			})
		}
		wg.Wait()
		for i, b := range got {
			if want := fmt.Appendf(nil, "%d a", i%2); !bytes.Equal(b, want) {
				t.Fatalf("caller %d got %q, want %q", i, b, want)
			}
			if &b[0] != &got[i%2][0] {
				t.Fatalf("caller %d got bytes that the others don't share", i)
			}
		}
	}
}

// handed is a log whose tail gives what it is handed, without storing anything.
type handed struct {
	events chan *broker.Event
	from   broker.Position // where the tail begins; zero: before the first event of the epoch e
}

func (*handed) Append(context.Context, ...*broker.Event) error { return broker.ErrUnavailable }

func (l *handed) Tail(ctx context.Context, _ broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	from := l.from
	if from.IsZero() {
		from = broker.Position{Epoch: "e"}
	}
	return from, func(yield func(*broker.Event, error) bool) {
		for {
			select {
			case e := <-l.events:
				if !yield(e, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}, nil
}

// discard is a subscriber that counts.
type discard struct{ n *int64 }

func (d discard) Deliver(*broker.Delivery) { *d.n++ } // on the feed's goroutine only
func (d discard) Close(broker.Reason)      {}

// BenchmarkFanOut shows what it costs to hand one event to its subscribers: from the tail into the
// sessions' hands, without encoding or queueing; and what the window adds, when it is full.
func BenchmarkFanOut(b *testing.B) {
	for name, events := range map[string]int{"window=off": -1, "window=on": 10_000} {
		for _, subscribers := range []int{1, 1_000, 10_000} {
			b.Run(fmt.Sprint(name, "/", subscribers), func(b *testing.B) { fanOut(b, events, subscribers) })
		}
	}
}

func fanOut(b *testing.B, window, subscribers int) {
	log := &handed{events: make(chan *broker.Event)}
	n, stop := run(b, broker.Config{Log: log, WindowEvents: window})
	f, _ := feed(b, n, app)
	var delivered int64
	for i := range subscribers {
		s, _, err := f.Subscribe(ch, broker.SocketID(fmt.Sprint("1.", i)), discard{&delivered})
		if err != nil {
			b.Fatal(err)
		}
		s.Open(0)
	}
	e := broker.Event{
		App: app, Channel: ch, ID: "id", Name: "order.updated", Data: make([]byte, 256),
		Position: broker.Position{Epoch: "e", Serial: 1},
	}
	b.ReportAllocs()
	for b.Loop() {
		next := e
		log.events <- &next // taken when the one before is out
		e.Position.Serial++
	}
	b.StopTimer()
	stop()
	if want := int64(b.N) * int64(subscribers); delivered != want {
		b.Fatalf("%d deliveries, want %d", delivered, want)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(delivered), "ns/delivery")
}
