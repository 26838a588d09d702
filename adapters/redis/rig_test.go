package redis_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/playhead/playhead/adapters/redis"
	"github.com/playhead/playhead/adapters/redis/redistest"
	"github.com/playhead/playhead/broker"
)

// patience bounds every wait. It is generous, for a wait ends when its condition holds.
const patience = time.Minute

// soon bounds what a test waits for.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx := soon(t)
	for !holds() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("in vain: %s", what)
		}
	}
}

func newClient(t testing.TB, cfg redis.ClientConfig) *redis.Client {
	t.Helper()
	c, err := redis.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// kinds are the ways to reach Redis, each as a client's configuration. Servers are started when asked for.
var kinds = map[string]func(t testing.TB) redis.ClientConfig{
	"Single":  func(t testing.TB) redis.ClientConfig { return singleConfig(redistest.SharedSingle(t)) },
	"Cluster": func(t testing.TB) redis.ClientConfig { return clusterConfig(redistest.SharedCluster(t)) },
}

func singleConfig(s *redistest.Server) redis.ClientConfig {
	return redis.ClientConfig{Addrs: []string{s.Addr}, PoolSize: 50}
}

func sentinelConfig(w *redistest.Watched) redis.ClientConfig {
	return redis.ClientConfig{Addrs: w.Addrs(), MasterName: w.Name, PoolSize: 50}
}

func clusterConfig(c *redistest.Nodes) redis.ClientConfig {
	return redis.ClientConfig{Addrs: c.Addrs(), Cluster: true, PoolSize: 50}
}

// run runs something until the test ends, or it is stopped.
func run(t testing.TB, r interface{ Run(context.Context) error }) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// newMedium makes a node's medium and runs it.
func newMedium(t testing.TB, client redis.ClientConfig, edit ...func(*redis.Config)) *redis.Medium {
	t.Helper()
	cfg := redis.Config{Client: newClient(t, client), Cached: isCache}
	for _, e := range edit {
		e(&cfg)
	}
	m, err := redis.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, m)
	return m
}

// isCache is what the pusher protocol says, near enough.
func isCache(ch broker.Channel) bool {
	return len(ch) > 6 && (ch[:6] == "cache-" || len(ch) > 14 && ch[:14] == "private-cache-")
}

var number atomic.Int64

// event makes an event with an ID of its own.
func event(app broker.AppID, ch broker.Channel) *broker.Event {
	n := number.Add(1)
	return &broker.Event{
		App: app, Channel: ch, ID: fmt.Sprintf("id-%d", n), Name: "test.event",
		Data: fmt.Appendf(nil, `{"n":%d}`, n), Time: time.Now().UTC().Truncate(time.Millisecond),
	}
}

// follower follows a tail in a goroutine of its own.
type follower struct {
	mu    sync.Mutex
	ids   []string      // guarded by mu
	ended chan struct{} // closed when the tail has ended
	err   error         // set before ended is closed
	stop  context.CancelFunc
}

func follow(t testing.TB, log broker.Log, app broker.AppID) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	_, events, err := log.Tail(ctx, app)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	f := &follower{ended: make(chan struct{}), stop: cancel}
	go func() {
		defer close(f.ended)
		for e, err := range events {
			if err != nil {
				f.err = err
				return
			}
			f.mu.Lock()
			f.ids = append(f.ids, e.ID)
			f.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-f.ended
	})
	return f
}

func (f *follower) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.ids...)
}

// wantGap waits until the tail has ended and checks that it says so as it should.
func (f *follower) wantGap(t testing.TB) {
	t.Helper()
	select {
	case <-f.ended:
	case <-soon(t).Done():
		t.Fatal("in vain: the tail ends")
	}
	if !errors.Is(f.err, broker.ErrUnavailable) {
		t.Errorf("the tail's last word: %v, want one that the log is unavailable", f.err)
	}
}
