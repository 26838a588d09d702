//go:build linux

package ws

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
)

// BenchmarkPace publishes 1,500 events of 1,000 bytes to 1,000 clients as fast as the log takes them,
// which is faster than they can be written, and waits until all is written. It shows what the bound of
// events ahead does: what waits in queues at most, how much a write merges, what a delivery costs, and
// how many clients are closed although they read.
func BenchmarkPace(b *testing.B) {
	const connections, events = 1_000, 1_500
	for _, perCPU := range []int{1, 8, 64, 0} {
		b.Run(fmt.Sprintf("per_cpu=%d", perCPU), func(b *testing.B) {
			h := crowdWith(b, connections, 1, func(_ *harness, cfg *Config) { cfg.Pace = pace(b, perCPU) })
			event := &broker.Event{App: "1", Channel: "bench-0", Name: "e", Data: []byte(strings.Repeat("x", 1_000))}
			most := 0.0
			for range b.N {
				start, used, began := value(b, h), cpu(b), time.Now()
				writes := h.metric("playhead_socket_writes_total")
				for range events / 100 {
					var all []*broker.Event
					for range 100 {
						e := *event
						all = append(all, &e)
					}
					if err := h.node.Publish(b.Context(), all...); err != nil {
						b.Fatal(err)
					}
					most = max(most, h.server.queued())
				}
				left := func() int { return h.server.Count() }
				for value(b, h)-start < float64(left()*events) {
					most = max(most, h.server.queued())
					time.Sleep(time.Millisecond)
				}
				deliveries := value(b, h) - start
				b.ReportMetric(deliveries/time.Since(began).Seconds(), "deliveries/s")
				b.ReportMetric(float64((cpu(b)-used).Microseconds())/deliveries, "cpu-µs/delivery")
				b.ReportMetric(deliveries/(h.metric("playhead_socket_writes_total")-writes), "frames/write")
				b.ReportMetric(most/1e6, "queued-MB")
				b.ReportMetric(float64(connections-left()), "closed")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// pace returns a pace of so many events per CPU; nil for 0.
func pace(tb testing.TB, perCPU int) *broker.Pace {
	tb.Helper()
	if perCPU == 0 {
		return nil
	}
	p, err := broker.NewPace(perCPU * runtime.GOMAXPROCS(0))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}
