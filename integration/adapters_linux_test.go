package integration

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/playhead/playhead/adapters/redis/redistest"
	goredis "github.com/redis/go-redis/v9"
)

// carried is a row: what it costs to publish at one node and hear at another, over a medium.
type carried struct {
	over             string
	ack50, ack99     time.Duration
	heard50, heard99 time.Duration
	perSecond        float64 // heard, with many publishers
}

// BenchmarkAdapters measures publish → heard over every medium in one run, all of it, servers and clients,
// on one machine. The last row is Redis without nodes: a publish until a subscriber of the library has it.
func BenchmarkAdapters(b *testing.B) {
	quiet := nodeConfig{Binary: benchBinary(b), Env: []string{"LOG_LEVEL=warn", "SHUTDOWN_DRAIN=none"}}
	var rows []carried
	for _, m := range []struct {
		over  string
		nodes func(b *testing.B) []*node
	}{
		{"NATS inside, one node", func(b *testing.B) []*node {
			n := benchNode(b)
			return []*node{n, n}
		}},
		{"three NATS servers, two nodes", func(b *testing.B) []*node { return startNodes(b, 2, quiet) }},
		{"Redis, two nodes", func(b *testing.B) []*node { return redisNodes(b, 2, quiet, single(redistest.Single(b))...) }},
		{"Redis Cluster of six, two nodes", func(b *testing.B) []*node { return redisNodes(b, 2, quiet, clustered(redistest.Cluster(b))...) }},
	} {
		b.Run(m.over, func(b *testing.B) {
			nodes := m.nodes(b)
			rows = append(rows, benchCarried(b, m.over, nodes[0], nodes[1]))
		})
	}
	rows = append(rows, benchPlain(b)) // not by b.Run: it is so short that it would be run again and again
	fmt.Print("\n| over | acknowledged p50 ms | p99 ms | heard p50 ms | p99 ms | heard/s, 64 publishers |\n|---|--:|--:|--:|--:|--:|\n")
	for _, r := range rows {
		fmt.Printf("| %s | %s | %s | %s | %s | %.0f |\n", r.over, ms(r.ack50), ms(r.ack99), ms(r.heard50), ms(r.heard99), r.perSecond)
	}
}

func benchCarried(b *testing.B, over string, from, to *node) carried {
	const publishes, publishers = 1_000, 64
	heard := make(chan time.Time, publishes)
	var flood atomic.Bool
	var count atomic.Int64
	stop := listen(b, to, "news", func([]byte) {
		if flood.Load() {
			count.Add(1)
			return
		}
		heard <- time.Now()
	})
	defer stop()
	w := newWire(b, from)
	defer w.conn.Close()
	request := from.publisher().request("events", fmt.Sprintf(`{"name":"n","channel":"news","data":%q}`, strings.Repeat("x", 256)))
	var acks, hears []time.Duration
	for i := range publishes + 100 {
		began := time.Now()
		if err := w.do(request); err != nil {
			b.Fatal(err)
		}
		acked := time.Since(began)
		at := <-heard
		if i >= 100 { // the first ones warm up
			acks, hears = append(acks, acked), append(hears, at.Sub(began))
		}
	}
	slices.Sort(acks)
	slices.Sort(hears)
	row := carried{over, quantile(acks, 0.5), quantile(acks, 0.99), quantile(hears, 0.5), quantile(hears, 0.99), 0}

	flood.Store(true)
	var over64 atomic.Bool
	var group sync.WaitGroup
	for range publishers {
		w := newWire(b, from)
		group.Go(func() {
			defer w.conn.Close()
			for !over64.Load() {
				if err := w.do(request); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	time.Sleep(warmUp)
	before, began := count.Load(), time.Now()
	time.Sleep(span / 2)
	row.perSecond = float64(count.Load()-before) / time.Since(began).Seconds()
	over64.Store(true)
	group.Wait()
	b.ReportMetric(0, "ns/op")
	return row
}

// benchPlain is Redis by itself.
func benchPlain(b *testing.B) carried {
	const publishes = 1_000
	client := goredis.NewClient(&goredis.Options{Addr: redistest.Single(b).Addr, Protocol: 2, DisableIdentity: true})
	defer client.Close()
	sub := client.Subscribe(b.Context(), "plain")
	defer sub.Close()
	if _, err := sub.Receive(b.Context()); err != nil {
		b.Fatal(err)
	}
	heard := sub.Channel()
	data := strings.Repeat("x", 256)
	var acks, hears []time.Duration
	for i := range publishes + 100 {
		began := time.Now()
		if err := client.Publish(b.Context(), "plain", data).Err(); err != nil {
			b.Fatal(err)
		}
		acked := time.Since(began)
		<-heard
		if i >= 100 {
			acks, hears = append(acks, acked), append(hears, time.Since(began))
		}
	}
	slices.Sort(acks)
	slices.Sort(hears)
	return carried{"plain Redis pub/sub, no node", quantile(acks, 0.5), quantile(acks, 0.99), quantile(hears, 0.5), quantile(hears, 0.99), 0}
}
