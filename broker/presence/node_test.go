package presence_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/broker/presence"
)

// client is a connection that keeps what it gets, as text.
type client struct {
	mu  sync.Mutex
	got []string
}

func (c *client) note(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, s)
}

func (c *client) Deliver(d *broker.Delivery) {
	if d.Event != nil {
		c.note(d.Event.Name)
		return
	}
	c.note(fmt.Sprint("count ", d.Notice.Count))
}

func (*client) Close(broker.Reason) {}

// node returns a running node, its registry and the feed of app 1.
func node(t testing.TB) (*broker.Node, *presence.Registry, *broker.Feed) {
	t.Helper()
	n, err := broker.New(broker.Config{Log: &brokertest.Memory{}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := presence.New(presence.Config{Notifier: n})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	f, err := n.Feed(t.Context(), "1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Release)
	return n, r, f
}

// A joiner hears its own count behind the answer to its subscribe, with whatever else happened
// before its gate opened, in order; those who were there hear it at once; who has left hears nothing.
func TestCountsComeThroughTheGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, r, f := node(t)
		enter := func(c *client, socket broker.SocketID) (opened, left func()) {
			s, _, err := f.Subscribe("a", socket, c)
			if err != nil {
				t.Fatal(err)
			}
			e := presence.Entry{App: "1", Channel: "a", Socket: socket, Counted: true}
			there, err := r.Join(t.Context(), e, 100)
			if err != nil {
				t.Fatal(err)
			}
			return func() {
					c.note("subscription_succeeded")
					s.Open(there.Serial)
				}, func() {
					s.Close()
					r.Leave(e)
				}
		}
		var first, second client
		open, leave := enter(&first, "1.1")
		open()
		open2, _ := enter(&second, "1.2")
		if err := n.Publish(t.Context(), &broker.Event{App: "1", Channel: "a", Name: "event"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		leave()
		open2()
		for _, c := range []struct {
			client *client
			want   []string
		}{
			{&first, []string{"subscription_succeeded", "count 1", "count 2", "event"}},
			{&second, []string{"subscription_succeeded", "count 2", "event", "count 1"}},
		} {
			if diff := cmp.Diff(c.want, c.client.got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	})
}

// BenchmarkSubscription shows the bytes one more subscription costs in the node and the registry, in
// a channel of its own and in one that others are in.
func BenchmarkSubscription(b *testing.B) {
	const many = 50_000
	for name, channels := range map[string]int{"own_channel": many, "shared_channel": 10} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, r, f := node(b)
				names := make([]broker.Channel, channels)
				for i := range names {
					names[i] = broker.Channel(fmt.Sprint("orders.", i))
				}
				subs := make([]*broker.Subscription, many)
				c := &client{}
				before := heap()
				for i := range subs {
					ch := names[i%channels]
					s, _, err := f.Subscribe(ch, "1.1", c)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := r.Join(b.Context(), presence.Entry{App: "1", Channel: ch, Socket: "1.1"}, 100); err != nil {
						b.Fatal(err)
					}
					s.Open(0)
					subs[i] = s
				}
				b.ReportMetric(float64(heap()-before)/many, "bytes/subscription")
				runtime.KeepAlive(subs)
				runtime.KeepAlive(r)
			}
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
