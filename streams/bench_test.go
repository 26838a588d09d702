package streams_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/streams"
)

// payload is what every benchmark's events carry: 256 bytes.
var payload = make([]byte, 256)

func benchEvent(app broker.AppID, ch broker.Channel, n int64) *broker.Event {
	return &broker.Event{
		App: app, Channel: ch, ID: fmt.Sprintf("bench-%d", n), Name: "order.updated",
		Data: payload, Time: time.Now().UTC().Truncate(time.Millisecond),
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, mode := range []struct {
		name     string
		interval time.Duration
		change   func(*streams.Config)
	}{
		{"always", 0, func(*streams.Config) {}},
		{"interval", time.Second, interval},
	} {
		for _, callers := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/%d", mode.name, callers), func(b *testing.B) {
				s := newRig(b, mode.interval).streams(mode.change)
				appendAll(b, s, benchEvent("app", "ch", -1)) // makes the stream
				var next atomic.Int64
				var wg sync.WaitGroup
				b.ReportAllocs()
				b.ResetTimer()
				for c := range callers {
					wg.Go(func() {
						ch := broker.Channel(fmt.Sprint("ch-", c))
						for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
							if err := s.Append(context.Background(), benchEvent("app", ch, n)); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}

// fillStream appends b.N or more events in batches and returns how many.
func fillStream(b *testing.B, s *streams.Streams, n, channels int) {
	b.Helper()
	for i := 0; i < n; i += 1000 {
		var events []*broker.Event
		for j := range min(1000, n-i) {
			events = append(events, benchEvent("app", broker.Channel(fmt.Sprint("ch-", j%channels)), int64(i+j)))
		}
		if err := s.Append(context.Background(), events...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTail measures how fast a tail takes in what is already there, as after a cut.
func BenchmarkTail(b *testing.B) {
	s := newRig(b, time.Second).streams(interval, func(c *streams.Config) { c.QueueBytes = 64 << 20 })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, events, err := s.Tail(ctx, "app")
	if err != nil {
		b.Fatal(err)
	}
	fillStream(b, s, b.N, 100)
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for _, err := range events {
		if err != nil {
			b.Fatal(err)
		}
		if n++; n == b.N {
			b.StopTimer()
			break
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkRange reads 100 events of one of 100 channels, from half a stream of 200,000 back.
func BenchmarkRange(b *testing.B) {
	s := newRig(b, time.Second).streams(interval, func(c *streams.Config) { c.QueueBytes = 64 << 20 })
	const size = 200_000
	fillStream(b, s, size, 100)
	b.ReportAllocs()
	b.ResetTimer()
	read := 0
	for range b.N {
		n := 0
		for _, err := range s.Range(context.Background(), "app", "ch-7", size/2, size/2+10_000) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 100 {
			b.Fatalf("%d events", n)
		}
		read += n
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "events/s")
}
