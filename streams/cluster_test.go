package streams_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/streams"
)

// cluster is three servers that replicate.
type cluster struct {
	t       *testing.T
	servers [3]*server.Server
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t}
	// Each has to know all from the start: the number of routes says how many will elect.
	var routes []*url.URL
	var ports [3]int
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
		ports[i] = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range c.servers {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("s-", i),
			Host:       "127.0.0.1",
			Port:       server.RANDOM_PORT,
			NoSigs:     true,
			NoLog:      true,
			JetStream:  true,
			StoreDir:   t.TempDir(),

			JetStreamMaxMemory: 1 << 30,
			JetStreamMaxStore:  1 << 40,
			SyncInterval:       time.Second,
			JetStreamLimits:    server.JSLimitOpts{DefaultMaxConsumers: -1},
			Cluster:            server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i]},
			Routes:             routes,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		s.Start()
		c.servers[i] = s
	}
	eventually(t, "the cluster has a leader that knows all", func() bool {
		for _, s := range c.servers {
			if s.JetStreamIsLeader() {
				return len(s.JetStreamClusterPeers()) == len(c.servers)
			}
		}
		return false
	})
	return c
}

// connect connects to one of the servers.
func (c *cluster) connect(to int) *nats.Conn {
	c.t.Helper()
	nc, err := nats.Connect("nats://in.process", nats.InProcessServer(c.servers[to]),
		nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	return nc
}

// node opens a view whose connections lead to one of the servers.
func (c *cluster) node(to int, change ...func(*streams.Config)) *streams.Streams {
	c.t.Helper()
	replicated := func(cfg *streams.Config) { cfg.Replicas = 3 }
	return open(c.t, func() *nats.Conn { return c.connect(to) }, append(change, replicated)...)
}

func TestCluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t)

	// Reads go to servers that don't lead the stream and lag behind: what was acknowledged, or what
	// a tail gave, is in a range that is read at once all the same.
	t.Run("range at once", func(t *testing.T) {
		t.Parallel()
		writer := c.node(0, interval)
		readers := []*streams.Streams{c.node(0), c.node(1), c.node(2)}
		noise := unleash(t, c.node(1, interval), "ranges", 4) // so that replicas lag
		defer func() {
			noise.stop.Store(true)
			noise.wg.Wait()
		}()
		var serials []uint64
		for n := range 200 {
			e := event("ranges", "a")
			appendAll(t, writer, e)
			serials = append(serials, e.Position.Serial)
			after := serials[max(0, n-5)] - 1
			want := min(n+1, 6)
			var wg sync.WaitGroup
			for i, reader := range readers {
				wg.Go(func() {
					have := 0
					for _, err := range reader.Range(soon(t), "ranges", "a", after, e.Position.Serial) {
						if err != nil {
							t.Errorf("append %d, server %d: %v", n, i, err)
							return
						}
						have++
					}
					if have != want {
						t.Errorf("append %d, server %d: %d events in (%d, %d], want %d", n, i, have, after, e.Position.Serial, want)
					}
				})
			}
			wg.Wait()
			if n%10 > 0 {
				continue
			}
			if first, err := readers[(n+1)%3].First(soon(t), "ranges"); err != nil || first.Serial != 1 {
				t.Fatalf("first %+v, %v", first, err)
			}
			if last, err := readers[(n+2)%3].Last(soon(t), "ranges", "a"); err != nil || last == nil || last.ID != e.ID {
				t.Fatalf("append %d: last %+v, %v", n, last, err)
			}
		}
	})

	for name, mode := range modes {
		t.Run("duplicates "+name, func(t *testing.T) {
			t.Parallel()
			app := broker.AppID("duplicates-" + name)
			one, two := c.node(0, mode.change), c.node(1, mode.change)
			first := []*broker.Event{event(app, "a"), event(app, "a"), event(app, "a")}
			appendAll(t, one, first...)
			again := []*broker.Event{event(app, "a"), event(app, "a"), event(app, "a"), event(app, "a")}
			again[1].ID, again[3].ID = first[2].ID, first[0].ID
			if err := two.Append(soon(t), again...); err != nil {
				t.Fatal(err)
			}
			for i, want := range []struct {
				serial    uint64
				duplicate bool
			}{{4, false}, {3, true}, {5, false}, {1, true}} {
				if e := again[i]; e.Position.Serial != want.serial || e.Duplicate != want.duplicate {
					t.Errorf("event %d: %+v, duplicate %v, want %+v", i, e.Position, e.Duplicate, want)
				}
			}
		})
		t.Run("storm "+name, func(t *testing.T) {
			t.Parallel()
			app := broker.AppID("storm-" + name)
			s := c.node(1, mode.change)
			f := follow(t, c.node(2), app)
			w := unleash(t, s, app, 16)
			js, err := jetstream.New(c.connect(0))
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				f.await(t, 300*(i+1))
				stepDown(t, js, "playhead_"+string(app))
			}
			seen, _ := f.events()
			f.await(t, len(seen)+300)
			w.calm(t, s, app, f)
		})
	}
}

// stepDown makes the leader of a stream give up.
func stepDown(t *testing.T, js jetstream.JetStream, stream string) {
	t.Helper()
	leader := func() string {
		ctx, cancel := context.WithTimeout(soon(t), time.Second)
		defer cancel()
		handle, err := js.Stream(ctx, stream)
		if err != nil || handle.CachedInfo().Cluster == nil {
			return ""
		}
		return handle.CachedInfo().Cluster.Leader
	}
	before := leader()
	if _, err := js.Conn().Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil, 2*time.Second); err != nil && !errors.Is(err, nats.ErrTimeout) {
		t.Error(err)
	}
	eventually(t, "another leader", func() bool {
		now := leader()
		return now != "" && now != before
	})
}
