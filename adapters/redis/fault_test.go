package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/playhead/playhead/adapters/redis"
	"github.com/playhead/playhead/adapters/redis/redistest"
	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// quick notices faults sooner than would be good for a busy server.
func quick(c *redis.Config) { c.Heartbeat, c.Timeout = 100*time.Millisecond, 3*time.Second }

// gathered has the metrics in a registry of the test's.
func gathered(r *prometheus.Registry) func(*redis.Config) {
	return func(c *redis.Config) { c.Registerer = r }
}

// metric returns the sum of a metric's values, of a histogram how many there were.
func metric(t testing.TB, r *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				sum += m.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				sum += m.GetGauge().GetValue()
			case dto.MetricType_HISTOGRAM:
				sum += float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func appendAll(t testing.TB, log broker.Log, events ...*broker.Event) {
	t.Helper()
	for _, e := range events {
		if err := log.Append(soon(t), e); err != nil {
			t.Fatal(err)
		}
	}
}

// wantHeard checks that a new event comes out of a tail.
func wantHeard(t testing.TB, log broker.Log, f *follower, app broker.AppID) {
	t.Helper()
	e := event(app, "a")
	appendAll(t, log, e)
	eventually(t, "the event is heard", func() bool {
		seen := f.seen()
		return len(seen) > 0 && seen[len(seen)-1] == e.ID
	})
}

// However a connection that listens is lost, its tails end with an error, publishing fails as long as
// nobody is there, and then everything works again.
func TestLostServer(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		begin, end func(*redistest.Server)
		down       bool
	}{
		"killed": {(*redistest.Server).Kill, (*redistest.Server).Start, true},
		"silent": {(*redistest.Server).Pause, (*redistest.Server).Resume, true},
		"cut": {func(s *redistest.Server) {
			if _, err := s.Do("CLIENT", "KILL", "TYPE", "pubsub"); err != nil {
				panic(err)
			}
		}, func(*redistest.Server) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Single(t)
			r := prometheus.NewRegistry()
			m := newMedium(t, singleConfig(s), quick, gathered(r))
			one, two := follow(t, m, "1"), follow(t, m, "2")
			wantHeard(t, m, one, "1")
			fault.begin(s)
			one.wantGap(t)
			two.wantGap(t)
			if gaps := metric(t, r, "playhead_redis_tail_gaps_total"); gaps != 2 {
				t.Errorf("%v gaps, want 2", gaps)
			}
			if fault.down {
				eventually(t, "the fault is noticed", func() bool { return m.Health() != nil })
				if err := m.Health(); err == nil || !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "since") {
					t.Errorf("health: %v", err)
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				if err := m.Append(ctx, event("1", "a")); err == nil {
					t.Error("append to a server that isn't there: no error")
				}
			}
			fault.end(s)
			eventually(t, "it is well again", func() bool { return m.Health() == nil })
			if outages := metric(t, r, "playhead_redis_outage_seconds"); (outages == 1) != fault.down {
				t.Errorf("%v outages", outages)
			}
			again := follow(t, m, "1")
			wantHeard(t, m, again, "1")
		})
	}
}

func TestGoOnAfterGap(t *testing.T) {
	t.Parallel()
	s := redistest.Single(t)
	r := prometheus.NewRegistry()
	m := newMedium(t, singleConfig(s), quick, gathered(r), func(c *redis.Config) { c.GoOnAfterGap = true })
	f := follow(t, m, "1")
	wantHeard(t, m, f, "1")
	for n := range 2 {
		s.Kill()
		eventually(t, "the gap is counted", func() bool { return metric(t, r, "playhead_redis_tail_gaps_total") == float64(n+1) })
		before := len(f.seen())
		s.Start()
		eventually(t, "the tail listens again", func() bool {
			_ = m.Append(soon(t), event("1", "a")) // until then nobody hears
			return len(f.seen()) > before
		})
		wantHeard(t, m, f, "1")
	}
	f.stop()
	<-f.ended
	if f.err != nil {
		t.Errorf("the tail's last word: %v", f.err)
	}
}

// A server that has become a replica still takes what is published, and only who listens there hears it.
func TestReplicaTakesNothing(t *testing.T) {
	t.Parallel()
	s, other := redistest.Single(t), redistest.Single(t)
	m := newMedium(t, singleConfig(s))
	appendAll(t, m, event("1", "a"))
	if _, err := s.Do("REPLICAOF", "127.0.0.1", strings.Split(other.Addr, ":")[1]); err != nil {
		t.Fatal(err)
	}
	for _, ch := range []broker.Channel{"a", "cache-a"} {
		if err := m.Append(soon(t), event("1", ch)); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("append to a replica: %v", err)
		}
	}
}

func TestSlowReader(t *testing.T) {
	t.Parallel()
	m := newMedium(t, kinds["Single"](t), func(c *redis.Config) { c.QueueBytes = 4000 })
	app := broker.AppID(t.Name())
	_, events, err := m.Tail(soon(t), app)
	if err != nil {
		t.Fatal(err)
	}
	other := follow(t, m, app+"-other")
	var sent []string
	for range 20 {
		e := event(app, "a")
		appendAll(t, m, e)
		sent = append(sent, e.ID)
	}
	wantHeard(t, m, other, app+"-other") // and so the line has brought all of that
	var got []string
	var last error
	for e, err := range events {
		if last = err; err != nil {
			break
		}
		got = append(got, e.ID)
	}
	if !errors.Is(last, broker.ErrUnavailable) || !strings.Contains(last.Error(), "too slow") {
		t.Errorf("last word: %v", last)
	}
	if len(got) == 0 || len(got) == len(sent) || strings.Join(got, " ") != strings.Join(sent[:len(got)], " ") {
		t.Errorf("before it: %v", got)
	}
}

// What nobody of ours wrote is passed over, and what is too large isn't sent.
func TestForeignMessages(t *testing.T) {
	t.Parallel()
	for name, config := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := prometheus.NewRegistry()
			client := newClient(t, config(t))
			m := newMedium(t, config(t), gathered(r))
			app := broker.AppID(t.Name())
			f := follow(t, m, app)
			for _, text := range []string{"", "x", "\x01", "\x01\x00", "\x02\x00\x00", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
				var err error
				if name == "Cluster" {
					err = client.Universal().SPublish(soon(t), m.Channel(app), text).Err()
				} else {
					err = client.Universal().Publish(soon(t), m.Channel(app), text).Err()
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			wantHeard(t, m, f, app)
			if n := metric(t, r, "playhead_redis_foreign_total"); n != 6 {
				t.Errorf("%v foreign messages, want 6", n)
			}
			large := event(app, "a")
			large.Data = make([]byte, 9<<20)
			if err := m.Append(soon(t), large); err == nil || errors.Is(err, broker.ErrUnavailable) {
				t.Errorf("append of 9 MiB: %v, want an error that another try doesn't mend", err)
			}
		})
	}
}

// load is a publisher of an app on one node, and a reader on another that comes back whenever its tail ends.
type load struct {
	app   broker.AppID
	mu    sync.Mutex
	acked map[int]bool // guarded by mu
	lives [][]int      // guarded by mu; what each tail gave
	gaps  int          // guarded by mu
}

func (l *load) publish(ctx context.Context, m broker.Log) {
	for n := 0; ctx.Err() == nil; n++ {
		e := event(l.app, "a")
		e.ID = fmt.Sprint(n)
		err := m.Append(ctx, e)
		l.mu.Lock()
		l.acked[n] = err == nil
		l.mu.Unlock()
		select {
		case <-time.After(time.Millisecond): // a rate, not a wait
		case <-ctx.Done():
		}
	}
}

func (l *load) read(ctx context.Context, m broker.Log) {
	for ctx.Err() == nil {
		_, events, err := m.Tail(ctx, l.app)
		if err != nil {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		l.mu.Lock()
		l.lives = append(l.lives, nil)
		l.mu.Unlock()
		for e, err := range events {
			l.mu.Lock()
			if err != nil {
				l.gaps++
			} else {
				var n int
				_, _ = fmt.Sscan(e.ID, &n)
				l.lives[len(l.lives)-1] = append(l.lives[len(l.lives)-1], n)
			}
			l.mu.Unlock()
		}
	}
}

// heard reports how many tails there were, and whether the last one has given an event after n.
func (l *load) heard(n int) (tails int, after bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, life := range l.lives {
		after = len(life) > 0 && life[len(life)-1] > n
	}
	return len(l.lives), after
}

func (l *load) newest() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// check checks that nothing came twice or out of order, and that between any two events of a tail there
// is everything that was acknowledged.
func (l *load) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	last := -1
	for i, life := range l.lives {
		for j, n := range life {
			if n <= last {
				t.Errorf("app %s, tail %d: %d after %d", l.app, i, n, last)
			}
			for missing := last + 1; j > 0 && missing < n; missing++ {
				if l.acked[missing] {
					t.Errorf("app %s, tail %d: %d is missing in silence", l.app, i, missing)
				}
			}
			last = n
		}
	}
}

// underLoad runs publishers and readers of apps on two nodes around a fault, and returns them when
// everything works again, with how long that took.
func underLoad(t *testing.T, client redis.ClientConfig, apps []broker.AppID, fault func()) (loads []*load, took time.Duration) {
	t.Helper()
	r := prometheus.NewRegistry()
	from, to := newMedium(t, client, quick, gathered(r)), newMedium(t, client, quick)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, app := range apps {
		l := &load{app: app, acked: map[int]bool{}}
		loads = append(loads, l)
		running.Go(func() { l.read(ctx, to) })
		running.Go(func() { l.publish(ctx, from) })
	}
	for _, l := range loads {
		eventually(t, "events come", func() bool { _, ok := l.heard(20); return ok })
	}
	began := time.Now()
	fault()
	for _, m := range []*redis.Medium{from, to} {
		eventually(t, "the fault is over", func() bool { return m.Health() == nil })
	}
	for _, l := range loads {
		n := l.newest()
		eventually(t, "events come again", func() bool { _, ok := l.heard(n + 20); return ok })
	}
	return loads, time.Since(began)
}

// hurts are what happens to a master.
var hurts = map[string]func(*redistest.Server){"Killed": (*redistest.Server).Kill, "Silent": (*redistest.Server).Pause}

func TestSentinelMasterLost(t *testing.T) {
	t.Parallel()
	for name, hurt := range hurts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := redistest.Sentinel(t)
			loads, took := underLoad(t, sentinelConfig(w), []broker.AppID{"1", "2"}, func() {
				was, other := w.Master(), w.Servers[1]
				hurt(was)
				eventually(t, "there is another master", func() bool {
					out, _ := other.Do("INFO", "replication")
					return strings.Contains(out, "role:master")
				})
			})
			t.Logf("events came again %v after the fault", took.Round(time.Millisecond))
			for _, l := range loads {
				l.check(t)
				if l.gaps == 0 {
					t.Errorf("app %s: its tail hasn't said that events may be missing", l.app)
				}
			}
		})
	}
}

// One master of three is lost: only its apps are concerned.
func TestClusterMasterLost(t *testing.T) {
	t.Parallel()
	for name, hurt := range hurts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := redistest.Cluster(t)
			probe := newMedium(t, clusterConfig(c))
			var lost *redistest.Server
			var apps []broker.AppID
			concerned := map[broker.AppID]bool{}
			for i := 0; len(apps) < 3; i++ {
				app := broker.AppID(fmt.Sprint("app-", i))
				at := c.Master(probe.Channel(app))
				if lost == nil {
					lost = at
				}
				if at == lost == (len(apps) < 2) {
					apps = append(apps, app)
					concerned[app] = at == lost
				}
			}
			replica := c.Replica(lost)
			loads, took := underLoad(t, clusterConfig(c), apps, func() {
				hurt(lost)
				eventually(t, "there is another master", func() bool {
					out, _ := replica.Do("INFO", "replication")
					return strings.Contains(out, "role:master")
				})
			})
			t.Logf("events came again %v after the fault", took.Round(time.Millisecond))
			for _, l := range loads {
				l.check(t)
				// While a cluster isn't whole it refuses all that is published, and who waits for its
				// own words too long takes the others' for lost; a master that hangs takes longer.
				if concerned[l.app] && l.gaps == 0 || !concerned[l.app] && l.gaps > 0 && name == "Killed" {
					t.Errorf("app %s: %d gaps; its master was lost: %v", l.app, l.gaps, concerned[l.app])
				}
			}
		})
	}
}

// What couldn't even be sent was once taken for published: the library leaves such answers without an error.
func TestAppendToDeadNode(t *testing.T) {
	t.Parallel()
	s := wholeNode(t)
	m := newMedium(t, redis.ClientConfig{Addrs: []string{s.Addr}, Cluster: true})
	appendAll(t, m, event("1", "a"), event("1", "cache-a"))
	s.Kill()
	for _, ch := range []broker.Channel{"a", "cache-a"} {
		for range 5 {
			if err := m.Append(soon(t), event("1", ch)); !errors.Is(err, broker.ErrUnavailable) {
				t.Errorf("append to a node that is dead: %v", err)
			}
		}
	}
}

// do runs a command at a server that must not refuse it.
func do(t testing.TB, s *redistest.Server, args ...string) string {
	t.Helper()
	out, err := s.Do(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// An app's slot moves to another master: the tail says so.
func TestClusterSlotMoves(t *testing.T) {
	t.Parallel()
	c := redistest.Cluster(t)
	const app = "1"
	channel := newMedium(t, clusterConfig(c)).Channel(app)
	from := c.Master(channel)
	slot := do(t, from, "CLUSTER", "KEYSLOT", channel)
	var to *redistest.Server
	for i := 0; to == nil; i++ {
		if s := c.Master(fmt.Sprint(i)); s != from {
			to = s
		}
	}
	loads, _ := underLoad(t, clusterConfig(c), []broker.AppID{app}, func() {
		// In this order and with these words: the receiver's claim must be the newer one.
		id := do(t, to, "CLUSTER", "MYID")
		do(t, to, "CLUSTER", "SETSLOT", slot, "IMPORTING", do(t, from, "CLUSTER", "MYID"))
		do(t, from, "CLUSTER", "SETSLOT", slot, "MIGRATING", id)
		do(t, to, "CLUSTER", "SETSLOT", slot, "NODE", id)
		do(t, from, "CLUSTER", "SETSLOT", slot, "NODE", id)
		eventually(t, "the slot has moved", func() bool { return c.Master(channel) == to })
	})
	loads[0].check(t)
	if loads[0].gaps == 0 {
		t.Error("the slot has moved, and the tail hasn't said so")
	}
}

// A master gives its place to its replica: the tail says so.
func TestClusterHandover(t *testing.T) {
	t.Parallel()
	c := redistest.Cluster(t)
	const app = "1"
	channel := newMedium(t, clusterConfig(c)).Channel(app)
	to := c.Replica(c.Master(channel))
	loads, _ := underLoad(t, clusterConfig(c), []broker.AppID{app}, func() {
		asked := time.Time{}
		eventually(t, "the replica is the master", func() bool {
			if time.Since(asked) > 6*time.Second { // it is tried for 5 s, and may find no majority
				asked = time.Now()
				do(t, to, "CLUSTER", "FAILOVER")
			}
			return c.Master(channel) == to
		})
	})
	loads[0].check(t)
	if loads[0].gaps == 0 {
		t.Error("the master has given its place to its replica, and the tail hasn't said so")
	}
}
