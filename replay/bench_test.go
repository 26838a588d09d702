package replay_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/replay"
)

// benchFeed runs a node over a log of n events of so many channels, and returns its feed once that has
// them all.
func benchFeed(b *testing.B, m *brokertest.Memory, n, channels int) (*broker.Feed, []broker.Position) {
	b.Helper()
	node, err := broker.New(broker.Config{Log: m})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	f, err := node.Feed(b.Context(), app)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(f.Release)
	return f, fillBench(b, m, n, channels)
}

func fillBench(b *testing.B, m *brokertest.Memory, n, channels int) []broker.Position {
	b.Helper()
	positions := make([]broker.Position, 0, n)
	for i := range n {
		e := &broker.Event{
			App: app, Channel: broker.Channel(fmt.Sprint("channel-", i%channels)), ID: fmt.Sprint(i),
			Name: "order.updated", Data: make([]byte, 256), Time: start.Add(time.Duration(i) * time.Millisecond),
		}
		if err := m.Append(b.Context(), e); err != nil {
			b.Fatal(err)
		}
		positions = append(positions, e.Position)
	}
	return positions
}

// BenchmarkRecall shows what a returning client costs that has missed 100 events among 100 channels',
// when the window has them.
func BenchmarkRecall(b *testing.B) {
	m := &brokertest.Memory{}
	const events, channels = 20_000, 100
	f, positions := benchFeed(b, m, events, channels)
	end := positions[events-1]
	if !f.Reach(b.Context(), end) {
		b.Fatal("the feed isn't there")
	}
	r, err := replay.New(replay.Config{History: m, Window: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	q := replay.Request{
		App: app, Channel: "channel-7", Position: positions[events-1-100*channels].String(), Seam: end, Recent: f,
	}
	took := make([]time.Duration, 0, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		began := time.Now()
		if res := r.Replay(b.Context(), q); res.Reason != "" || len(res.Events) != 100 {
			b.Fatalf("%q, %d events", res.Reason, len(res.Events))
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*95/100].Nanoseconds())/1e3, "µs-p95")
}

// BenchmarkStorm lets 10,000 clients come back at once to a node that has just begun, each with 20
// missed events, over a log that takes as long as a stream to answer.
func BenchmarkStorm(b *testing.B) {
	const clients, missed, channels = 10_000, 20, 1_000
	for range b.N {
		m := &brokertest.Memory{}
		b.StopTimer()
		positions := fillBench(b, m, missed*channels+1, channels)
		f, _ := benchFeed(b, m, 0, 1)
		h := &counted{History: m, delay: 500 * time.Microsecond}
		r, err := replay.New(replay.Config{History: h, Window: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		end := f.Cursor()
		b.StartTimer()
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				res := r.Replay(b.Context(), replay.Request{
					App: app, Channel: broker.Channel(fmt.Sprint("channel-", i%channels)),
					Position: positions[0].String(), Seam: end, Recent: f,
				})
				if res.Reason != "" || len(res.Events) != missed {
					b.Errorf("%q, %d events", res.Reason, len(res.Events))
				}
			})
		}
		wg.Wait()
		all, one := h.ranges()
		b.ReportMetric(float64(all), "reads-of-all")
		b.ReportMetric(float64(one), "reads-of-one")
	}
}
