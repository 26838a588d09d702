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

// newCluster starts three servers and waits until they have elected. Its tests run alone in the package:
// in a crowd, heartbeats come too late and they elect for ever.
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
	c := newCluster(t) // not parallel: see newCluster

	// Reads go to servers that don't lead the stream and lag behind: what was acknowledged, or what
	// a tail gave, is in a range that is read at once all the same, of one channel or of all, within
	// the bounds, and since before it.
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
			before := time.Now()
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
			if n%5 > 0 {
				continue
			}
			for _, reader := range readers {
				wg.Go(func() { wantWhole(t, reader, "ranges", after, e.Position.Serial, before) })
			}
			wg.Wait()
			if last, err := readers[(n+2)%3].Last(soon(t), "ranges", "a"); err != nil || last == nil || last.ID != e.ID {
				t.Fatalf("append %d: last %+v, %v", n, last, err)
			}
		}
	})

	// A range of a stream whose leader changes is whole or an error.
	t.Run("all over elections", func(t *testing.T) {
		t.Parallel()
		writer, reader := c.node(0, interval), c.node(2)
		var end uint64
		for range 5 {
			events := make([]*broker.Event, 500)
			for i := range events {
				events[i] = event("elections", "a")
			}
			if err := writer.Append(soon(t), events...); err != nil {
				t.Fatal(err)
			}
			end = events[499].Position.Serial
		}
		js, err := jetstream.New(c.connect(1))
		if err != nil {
			t.Fatal(err)
		}
		var over sync.WaitGroup
		over.Go(func() {
			for range 2 {
				stepDown(t, js, "playhead_elections")
			}
		})
		whole := 0
		var ended bool
		done := make(chan struct{})
		go func() {
			over.Wait()
			close(done)
		}()
		for !ended || whole == 0 {
			select {
			case <-done:
				ended = true
			default:
			}
			for _, ch := range []broker.Channel{"", "a"} {
				next := uint64(1)
				var last error
				for e, err := range reader.Range(soon(t), "elections", ch, 0, end) {
					if last = err; err != nil {
						break
					}
					if e.Position.Serial != next {
						t.Fatalf("channel %q: serial %d, want %d", ch, e.Position.Serial, next)
					}
					next++
				}
				switch {
				case last == nil && next != end+1:
					t.Fatalf("channel %q: ends before %d, want %d", ch, next, end+1)
				case last == nil:
					whole++
				default:
					t.Logf("channel %q, up to %d: %v", ch, next, last)
				}
			}
		}
		t.Logf("%d ranges", whole)
	})

	t.Run("adapt", func(t *testing.T) {
		t.Parallel()
		var own retentions
		s, tailing := c.node(0, interval, own.put), c.node(2, own.put)
		f := follow(t, tailing, "adapted")
		w := unleash(t, s, "adapted", 4)
		for i, limit := range []int64{1000, 3000, 500, -1} {
			f.await(t, 500*(i+1))
			own.set("adapted", broker.Retention{Events: limit})
			if err := s.Adapt(soon(t), "adapted"); err != nil {
				t.Fatal(err)
			}
			oldest, newest, err := tailing.Bounds(soon(t), "adapted")
			if err != nil || oldest.Epoch != f.from.Epoch || newest.Epoch != f.from.Epoch {
				t.Errorf("bounds %+v, %+v, %v; the tail began in %s", oldest, newest, err, f.from.Epoch)
			}
			if held := int64(newest.Serial - oldest.Serial + 1); limit > 0 && held > limit {
				t.Errorf("%d events held, the limit is %d", held, limit)
			}
		}
		seen, _ := f.events()
		f.await(t, len(seen)+500)
		w.stop.Store(true)
		w.wg.Wait()
		_, newest, err := s.Bounds(soon(t), "adapted")
		if err != nil {
			t.Fatal(err)
		}
		f.wantSerials(t, 1, newest.Serial)
	})

	// A stream that was made for one server is brought to three while it is used, keeps its life and
	// its serials, and isn't taken back by a node that was told of one.
	t.Run("replicas", func(t *testing.T) {
		t.Parallel()
		one := func(cfg *streams.Config) { cfg.Replicas = 1 }
		s := c.node(0, interval)
		lone := open(t, func() *nats.Conn { return c.connect(1) }, interval, one)
		f := follow(t, lone, "grows")
		w := unleash(t, lone, "grows", 2)
		f.await(t, 100)
		if err := s.Adapt(soon(t), "grows"); err != nil {
			t.Fatal(err)
		}
		if err := lone.Adapt(soon(t), "grows"); err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(c.connect(2))
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "three replicas that are as new as the leader", func() bool {
			stream, err := js.Stream(soon(t), "playhead_grows")
			if err != nil {
				return false
			}
			info := stream.CachedInfo()
			return info.Config.Replicas == 3 && info.Cluster != nil && len(info.Cluster.Replicas) == 2 &&
				info.Cluster.Replicas[0].Current && info.Cluster.Replicas[1].Current
		})
		seen, _ := f.events()
		f.await(t, len(seen)+100)
		w.stop.Store(true)
		w.wg.Wait()
		_, newest, err := s.Bounds(soon(t), "grows")
		if err != nil {
			t.Fatal(err)
		}
		f.wantSerials(t, 1, newest.Serial)
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

// wantWhole checks what is told of a stream of which an event, appended after a time, was acknowledged at
// the serial upto.
func wantWhole(t *testing.T, s *streams.Streams, app broker.AppID, after, upto uint64, before time.Time) {
	next := after + 1
	for e, err := range s.Range(soon(t), app, "", after, upto) {
		if err != nil || e.Position.Serial != next {
			t.Errorf("range (%d, %d]: %+v, %v, want serial %d", after, upto, e, err, next)
			return
		}
		next++
	}
	if next != upto+1 {
		t.Errorf("range (%d, %d] ends before %d", after, upto, next)
	}
	oldest, newest, err := s.Bounds(soon(t), app)
	if err != nil || oldest.Serial != 1 || newest.Serial < upto {
		t.Errorf("bounds %d and %d, %v, though %d is acknowledged", oldest.Serial, newest.Serial, err, upto)
	}
	if serial, err := s.Since(soon(t), app, before.Add(clockSlack)); err != nil || serial >= upto {
		t.Errorf("since before it: %d, %v, though it is at %d", serial, err, upto)
	}
	if serial, err := s.Since(soon(t), app, before.Add(time.Hour)); err != nil || serial < upto {
		t.Errorf("since later: %d, %v, though %d is acknowledged", serial, err, upto)
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
