package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/streams"
)

// crossing is a row: what it costs to publish at one node and hear at another.
type crossing struct {
	replicas         int
	ack50, ack99     time.Duration
	heard50, heard99 time.Duration
}

// joinRate is a row: how quickly members join a presence channel of three nodes.
type joinRate struct {
	replicas  int
	perSecond float64
	p50, p99  time.Duration
}

// quiet is a row: what a node with many apps in use costs on which nothing happens.
type quiet struct {
	apps     int
	resident float64 // bytes per app
	cores    float64
}

// BenchmarkNodes measures three nodes on three NATS servers, all of which share the machine with the
// clients.
func BenchmarkNodes(b *testing.B) {
	var r report
	for _, replicas := range []int{1, 3} {
		b.Run(fmt.Sprintf("publish/R%d", replicas), func(b *testing.B) { r.crossings = append(r.crossings, benchCrossing(b, replicas)) })
	}
	for _, replicas := range []int{1, 3} {
		b.Run(fmt.Sprintf("join/R%d", replicas), func(b *testing.B) { r.joins = append(r.joins, benchJoins(b, replicas)) })
	}
	b.Run("quiet", func(b *testing.B) { r.quiets = append(r.quiets, benchQuiet(b, 1_000)) })
	fmt.Print(r.String())
}

func benchCrossing(b *testing.B, replicas int) crossing {
	const publishes = 2_000
	nodes := startNodes(b, 3, nodeConfig{
		Binary: benchBinary(b),
		Env:    []string{"LOG_LEVEL=warn", "SHUTDOWN_DRAIN=none", fmt.Sprint("NATS_REPLICAS=", replicas)},
	})
	heard := make(chan time.Time, publishes)
	stop := listen(b, nodes[1], "news", func([]byte) { heard <- time.Now() })
	defer stop()
	w := newWire(b, nodes[0])
	defer w.conn.Close()
	request := nodes[0].publisher().request("events", fmt.Sprintf(`{"name":"n","channel":"news","data":%q}`, strings.Repeat("x", 256)))
	var acks, hears []time.Duration
	for i := range publishes + 100 {
		began := time.Now()
		if err := w.do(request); err != nil {
			b.Fatal(err)
		}
		acked := time.Since(began)
		at := <-heard
		if i >= 100 { // the first ones make the stream
			acks, hears = append(acks, acked), append(hears, at.Sub(began))
		}
	}
	slices.Sort(acks)
	slices.Sort(hears)
	b.ReportMetric(0, "ns/op")
	return crossing{replicas, quantile(acks, 0.5), quantile(acks, 0.99), quantile(hears, 0.5), quantile(hears, 0.99)}
}

// nobody is told of members.
type nobody struct{}

func (nobody) Notify(*broker.Notice) {}

func benchJoins(b *testing.B, replicas int) joinRate {
	const joins, atOnce = 30_000, 300
	servers := strings.Split(natsCluster(b), ",")
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var registries []*presence.Registry
	for i := range 3 {
		var conns [3]*nats.Conn
		for k := range conns {
			c, err := nats.Connect(servers[i])
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			conns[k] = c
		}
		name := fmt.Sprint("node-", i)
		s, err := streams.New(streams.Config{
			Publish: conns[0], Tail: conns[1], Read: conns[2], NodeName: name, Replicas: replicas, Sync: streams.SyncInterval,
		})
		if err != nil {
			b.Fatal(err)
		}
		running.Go(func() { _ = s.Run(ctx) }) // ends with ctx
		r, err := presence.New(presence.Config{Notifier: nobody{}, Log: s, Node: name, Evict: func() { b.Error("evicted") }})
		if err != nil {
			b.Fatal(err)
		}
		running.Go(func() { _ = r.Run(ctx) }) // ends with ctx
		if err := r.Ready(b.Context()); err != nil {
			b.Fatal(err)
		}
		registries = append(registries, r)
	}
	took := make([]time.Duration, joins)
	next := make(chan int, joins)
	for i := range joins {
		next <- i
	}
	close(next)
	began := time.Now()
	var joining sync.WaitGroup
	for k := range atOnce {
		joining.Go(func() {
			for i := range next {
				e := presence.Entry{
					App: "app", Channel: broker.Channel(fmt.Sprint("presence-", i%3_000)), Socket: "1.1",
					Member: &broker.Member{UserID: fmt.Sprint("user-", i), Info: []byte(`{"name":"Ada"}`)},
				}
				at := time.Now()
				if _, err := registries[k%3].Join(b.Context(), e, 100); err != nil {
					b.Error(err)
					return
				}
				took[i] = time.Since(at)
			}
		})
	}
	joining.Wait()
	all := time.Since(began)
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	return joinRate{replicas, joins / all.Seconds(), quantile(took, 0.5), quantile(took, 0.99)}
}

func benchQuiet(b *testing.B, apps int) quiet {
	var config strings.Builder
	config.WriteString("apps:\n")
	for i := range apps {
		fmt.Fprintf(&config, "  - id: \"%d\"\n    key: key-%d\n    secret: secret-%d\n", i, i, i)
	}
	n := startNodes(b, 1, nodeConfig{Binary: benchBinary(b), Config: config.String(), Env: []string{"LOG_LEVEL=warn", "SHUTDOWN_DRAIN=none"}})[0]
	before := n.resident(b)
	for i := range apps {
		ctx, cancel := context.WithTimeout(b.Context(), patience)
		defer cancel()
		c, err := dialApp(ctx, n, fmt.Sprint("key-", i))
		if err != nil {
			b.Fatal(err)
		}
		defer c.conn.CloseNow()
		if err := c.subscribe(ctx, "news", nil); err != nil {
			b.Fatal(err)
		}
		if _, err := c.read(ctx); err != nil {
			b.Fatal(err)
		}
	}
	cpu, began := n.cpu(), time.Now()
	time.Sleep(20 * time.Second)
	cores := (n.cpu() - cpu).Seconds() / time.Since(began).Seconds()
	b.ReportMetric(0, "ns/op")
	return quiet{apps, float64(n.resident(b)-before) / float64(apps), cores}
}
