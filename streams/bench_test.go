package streams_test

import (
	"context"
	"fmt"
	"slices"
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

// fillStream appends n events in batches, of so many channels, and every thousandth of one more.
func fillStream(b *testing.B, s *streams.Streams, n, channels int) {
	b.Helper()
	for i := 0; i < n; i += 1000 {
		var events []*broker.Event
		for j := range min(1000, n-i) {
			ch := broker.Channel(fmt.Sprint("ch-", j%channels))
			if j == 500 {
				ch = "rare"
			}
			events = append(events, benchEvent("app", ch, int64(i+j)))
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

// near and far are how far back, in serials, ranges are read from a stream of this many events.
const benchSize, near, far = 200_000, 10_000, 110_000

// readAll reads a range and returns how many events it has.
func readAll(tb testing.TB, s *streams.Streams, ch broker.Channel, after, upto uint64) (n int) {
	tb.Helper()
	for _, err := range s.Range(context.Background(), "app", ch, after, upto) {
		if err != nil {
			tb.Fatal(err)
		}
		n++
	}
	return n
}

// quantile reports one of how long something took each time.
func quantile(b *testing.B, took []time.Duration, q float64, unit string) {
	b.Helper()
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[int(q*float64(len(took)-1))].Microseconds())/1000, unit)
}

// BenchmarkReplay reads what a returning client missed: 100 events of one of 100 channels, the last
// ones; of a quiet channel, which are spread over 100,000; and, as who pages through a history does,
// of one of 100 channels, from 100,000 before the end.
func BenchmarkReplay(b *testing.B) {
	s := newRig(b, time.Second).streams(interval, func(c *streams.Config) { c.QueueBytes = 64 << 20 })
	fillStream(b, s, benchSize, 100)
	for _, from := range []struct {
		name       string
		ch         broker.Channel
		back, span uint64
	}{{"near", "ch-7", near, near}, {"quiet", "rare", 100_000, 100_000}, {"far", "ch-7", far, near}} {
		b.Run(from.name, func(b *testing.B) {
			b.ReportAllocs()
			took := make([]time.Duration, 0, b.N)
			after := benchSize - from.back
			for range b.N {
				started := time.Now()
				if n := readAll(b, s, from.ch, after, after+from.span); n != 100 {
					b.Fatalf("%d events", n)
				}
				took = append(took, time.Since(started))
			}
			quantile(b, took, 0.5, "ms-p50")
			quantile(b, took, 0.95, "ms-p95")
		})
	}
}

// BenchmarkRangeAll reads the last 100,000 events of a stream, as a node does that has restarted.
func BenchmarkRangeAll(b *testing.B) {
	s := newRig(b, time.Second).streams(interval, func(c *streams.Config) { c.QueueBytes = 64 << 20 })
	fillStream(b, s, benchSize, 100)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if n := readAll(b, s, "", benchSize-100_000, benchSize); n != 100_000 {
			b.Fatalf("%d events", n)
		}
	}
	b.ReportMetric(float64(100_000*b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkAppendAmidReads appends at a steady thousand a second while others read without a pause.
func BenchmarkAppendAmidReads(b *testing.B) {
	for _, reads := range []struct {
		name string
		n    int
		ch   broker.Channel
		back uint64
	}{{"none", 0, "", 0}, {"near", 8, "ch-7", near}, {"far", 8, "ch-7", far}, {"all", 8, "", far}} {
		b.Run(reads.name, func(b *testing.B) {
			s := newRig(b, time.Second).streams(interval, func(c *streams.Config) { c.QueueBytes = 64 << 20 })
			fillStream(b, s, benchSize, 100)
			var stop atomic.Bool
			var ranges atomic.Int64
			var readers, appends sync.WaitGroup
			for range reads.n {
				readers.Go(func() {
					after := benchSize - reads.back
					for !stop.Load() {
						readAll(b, s, reads.ch, after, after+near)
						ranges.Add(1)
					}
				})
			}
			took := make([]time.Duration, b.N)
			pace := time.NewTicker(time.Millisecond)
			defer pace.Stop()
			b.ResetTimer()
			for n := range b.N {
				<-pace.C
				appends.Go(func() {
					started := time.Now()
					if err := s.Append(context.Background(), benchEvent("app", "live", int64(benchSize+n))); err != nil {
						b.Error(err)
					}
					took[n] = time.Since(started)
				})
			}
			appends.Wait()
			b.StopTimer()
			stop.Store(true)
			readers.Wait()
			quantile(b, took, 0.5, "ms-p50")
			quantile(b, took, 0.99, "ms-p99")
			b.ReportMetric(float64(ranges.Load())/b.Elapsed().Seconds(), "ranges/s")
		})
	}
}

// BenchmarkBounds asks for a stream's bounds, which is what a look at it costs, for the metrics of what
// it holds and otherwise.
func BenchmarkBounds(b *testing.B) {
	s := newRig(b, time.Second).streams(interval)
	const apps = 500
	for app := range apps {
		appendAll(b, s, benchEvent(broker.AppID(fmt.Sprint("app-", app)), "ch", 0))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := range b.N {
		if _, _, err := s.Bounds(context.Background(), broker.AppID(fmt.Sprint("app-", n%apps))); err != nil {
			b.Fatal(err)
		}
	}
}
