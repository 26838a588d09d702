package redis_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/playhead/playhead/adapters/redis"
	"github.com/playhead/playhead/broker"
	goredis "github.com/redis/go-redis/v9"
)

// plain is a pub/sub round trip with nothing around it.
type plain struct {
	client *redis.Client
	pubsub *goredis.PubSub
}

func newPlain(b *testing.B, cfg redis.ClientConfig) *plain {
	p := &plain{client: newClient(b, cfg)}
	if cfg.Cluster {
		p.pubsub = p.client.Universal().SSubscribe(b.Context(), "plain")
	} else {
		p.pubsub = p.client.Universal().Subscribe(b.Context(), "plain")
	}
	b.Cleanup(func() { p.pubsub.Close() })
	if _, err := p.pubsub.Receive(b.Context()); err != nil {
		b.Fatal(err)
	}
	return p
}

func (p *plain) publish(ctx context.Context, data []byte, cluster bool) error {
	if cluster {
		return p.client.Universal().SPublish(ctx, "plain", data).Err()
	}
	return p.client.Universal().Publish(ctx, "plain", data).Err()
}

// times reports what took how long.
func times(b *testing.B, all []time.Duration) {
	slices.Sort(all)
	at := func(q float64) float64 { return float64(all[int(q*float64(len(all)-1))].Nanoseconds()) / 1000 }
	b.ReportMetric(at(.5), "p50-µs")
	b.ReportMetric(at(.99), "p99-µs")
}

// BenchmarkLatency is from the call that publishes until another node has the event.
func BenchmarkLatency(b *testing.B) {
	data := make([]byte, 256)
	for name, config := range kinds {
		b.Run(name+"/plain", func(b *testing.B) {
			cfg := config(b)
			p := newPlain(b, cfg)
			var all []time.Duration
			for b.Loop() {
				began := time.Now()
				if err := p.publish(b.Context(), data, cfg.Cluster); err != nil {
					b.Fatal(err)
				}
				if _, err := p.pubsub.ReceiveMessage(b.Context()); err != nil {
					b.Fatal(err)
				}
				all = append(all, time.Since(began))
			}
			times(b, all)
		})
		b.Run(name+"/medium", func(b *testing.B) {
			from, to := newMedium(b, config(b)), newMedium(b, config(b))
			app := broker.AppID("latency")
			came := tailInto(b, to, app)
			var all []time.Duration
			for b.Loop() {
				e := event(app, "a")
				e.Data = data
				began := time.Now()
				if err := from.Append(b.Context(), e); err != nil {
					b.Fatal(err)
				}
				<-came
				all = append(all, time.Since(began))
			}
			times(b, all)
		})
	}
}

// tailInto follows a tail; each event gives a value.
func tailInto(b *testing.B, m *redis.Medium, app broker.AppID) <-chan struct{} {
	ctx, cancel := context.WithCancel(context.Background())
	_, events, err := m.Tail(ctx, app)
	if err != nil {
		b.Fatal(err)
	}
	came, done := make(chan struct{}, 1<<16), make(chan struct{})
	go func() {
		defer close(done)
		for _, err := range events {
			if err != nil {
				b.Error(err)
				return
			}
			came <- struct{}{}
		}
	}()
	b.Cleanup(func() {
		cancel()
		<-done
	})
	return came
}

// BenchmarkThroughput is events per second of so many callers until another node has all of them.
func BenchmarkThroughput(b *testing.B) {
	data := make([]byte, 256)
	for name, config := range kinds {
		for _, callers := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/plain/callers=%d", name, callers), func(b *testing.B) {
				cfg := config(b)
				p := newPlain(b, cfg)
				spread(b, callers, func(ctx context.Context, _ int) error { return p.publish(ctx, data, cfg.Cluster) }, func() {
					if _, err := p.pubsub.ReceiveMessage(b.Context()); err != nil {
						b.Error(err)
					}
				})
			})
			b.Run(fmt.Sprintf("%s/medium/callers=%d", name, callers), func(b *testing.B) {
				from, to := newMedium(b, config(b)), newMedium(b, config(b))
				app := broker.AppID("throughput")
				came := tailInto(b, to, app)
				spread(b, callers, func(ctx context.Context, n int) error {
					return from.Append(ctx, &broker.Event{App: app, Channel: "a", ID: "id", Name: "n", Data: data, Time: time.Now()})
				}, func() { <-came })
			})
		}
	}
}

// spread has callers publish b.N times, and waits until all of it has come.
func spread(b *testing.B, callers int, publish func(context.Context, int) error, receive func()) {
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for {
				i := int(n.Add(1))
				if i > b.N {
					return
				}
				if err := publish(b.Context(), i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for range b.N {
		receive()
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkInterest compares what it costs a node to subscribe per channel (to ask Redis for a channel and
// to leave it) with what it costs per app (to take an event that nobody here wants).
func BenchmarkInterest(b *testing.B) {
	b.Run("channel", func(b *testing.B) {
		p := newPlain(b, kinds["Single"](b))
		for i := range b.N {
			name := fmt.Sprint("channel-", i)
			if err := p.pubsub.Subscribe(b.Context(), name); err != nil {
				b.Fatal(err)
			}
			if _, err := p.pubsub.Receive(b.Context()); err != nil {
				b.Fatal(err)
			}
			if err := p.pubsub.Unsubscribe(b.Context(), name); err != nil {
				b.Fatal(err)
			}
			if _, err := p.pubsub.Receive(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("event", func(b *testing.B) {
		p := newPlain(b, kinds["Single"](b))
		data := make([]byte, 256)
		for sent := 0; sent < b.N; {
			pipe := p.client.Universal().Pipeline()
			n := min(500, b.N-sent)
			for range n {
				pipe.Publish(b.Context(), "plain", data)
			}
			if _, err := pipe.Exec(b.Context()); err != nil {
				b.Fatal(err)
			}
			for range n {
				if _, err := p.pubsub.Receive(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			sent += n
		}
	})
}
