package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

const (
	app broker.AppID   = "42"
	ch  broker.Channel = "orders"
)

// run runs a node until the test ends, and sees to it that nothing is left of it.
func run(t testing.TB, cfg broker.Config) (n *broker.Node, stop func()) {
	t.Helper()
	n, err := broker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return n, stop
}

// feed gets a feed that is released when the test ends, at the latest.
func feed(t testing.TB, n *broker.Node, app broker.AppID) (f *broker.Feed, release func()) {
	t.Helper()
	f, err := n.Feed(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(f.Release)
	t.Cleanup(release)
	return f, release
}

// subscribe subscribes a recorder and opens the gate.
func subscribe(t testing.TB, f *broker.Feed, ch broker.Channel, socket broker.SocketID) (*recorder, *broker.Subscription) {
	t.Helper()
	r := &recorder{}
	s, _, err := f.Subscribe(ch, socket, r)
	if err != nil {
		t.Fatal(err)
	}
	s.Open(0)
	return r, s
}

// publish publishes an event for each id, on one channel.
func publish(t testing.TB, n *broker.Node, ch broker.Channel, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := n.Publish(t.Context(), &broker.Event{App: app, Channel: ch, ID: id}); err != nil {
			t.Fatal(err)
		}
	}
}

// recorder is a connection that keeps what it is delivered.
type recorder struct {
	mu         sync.Mutex
	deliveries []*broker.Delivery // guarded by mu
	reasons    []broker.Reason    // guarded by mu
}

func (r *recorder) Deliver(d *broker.Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.reasons) == 0 {
		r.deliveries = append(r.deliveries, d)
	}
}

func (r *recorder) Close(why broker.Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reasons = append(r.reasons, why)
}

// got returns the deliveries in words: an event's ID, a notice's serial behind a #.
func (r *recorder) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, d := range r.deliveries {
		if d.Notice != nil {
			all = append(all, fmt.Sprint("#", d.Notice.Serial))
		} else {
			all = append(all, d.Event.ID)
		}
	}
	return all
}

func (r *recorder) closed() []broker.Reason {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.reasons)
}

// want checks what has been delivered once everything has come to rest; for use in a bubble.
func (r *recorder) want(t *testing.T, who string, ids ...string) {
	t.Helper()
	synctest.Wait()
	if diff := cmp.Diff(ids, r.got()); diff != "" {
		t.Errorf("delivered to %s (-want +got):\n%s", who, diff)
	}
}

// Whoever waits for a feed when the node ends is told that it ended, wherever the feed stood.
func TestNodeThatEndsFailsThoseWhoWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		starting := &slow{Log: &brokertest.Memory{}}
		n, stop := run(t, broker.Config{Log: starting})
		errs := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := n.Feed(t.Context(), app)
				errs <- err
			}()
		}
		synctest.Wait()
		stop()
		for range 2 {
			if err := <-errs; !errors.Is(err, broker.ErrClosed) {
				t.Errorf("feed that was starting when the node ended: %v, want ErrClosed", err)
			}
		}
		if _, err := n.Feed(t.Context(), app); !errors.Is(err, broker.ErrClosed) {
			t.Errorf("feed of a node that has ended: %v, want ErrClosed", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		log := &tails{Log: &brokertest.Memory{}, hold: make(chan struct{})}
		n, stop := run(t, broker.Config{Log: log, Linger: -1})
		_, release := feed(t, n, app)
		release()
		synctest.Wait()
		errs := make(chan error, 1)
		go func() {
			_, err := n.Feed(t.Context(), app)
			errs <- err
		}()
		synctest.Wait()
		go stop()
		synctest.Wait()
		close(log.hold)
		if err := <-errs; !errors.Is(err, broker.ErrClosed) {
			t.Errorf("feed that waited for the former one when the node ended: %v, want ErrClosed", err)
		}
	})
}

// Feeds are asked for while the node ends: each caller gets one or learns why not; none waits.
func TestNodeEndsAmidFeeds(t *testing.T) {
	t.Parallel()
	for range 200 {
		n, stop := run(t, broker.Config{Log: &brokertest.Memory{}, Linger: -1})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 4 {
					f, err := n.Feed(t.Context(), broker.AppID(fmt.Sprint((i+j)%3)))
					if err != nil {
						if !errors.Is(err, broker.ErrClosed) {
							t.Errorf("feed: %v, want ErrClosed", err)
						}
						continue
					}
					f.Release()
				}
			})
		}
		stop()
		wg.Wait()
	}
}

func TestNodeThatEndsSendsSessionsHome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, stop := run(t, broker.Config{Log: &brokertest.Memory{}})
		f, _ := feed(t, n, app)
		r, _ := subscribe(t, f, ch, "1.1")
		stop()
		if diff := cmp.Diff([]broker.Reason{broker.TailBroken}, r.closed()); diff != "" {
			t.Errorf("closed (-want +got):\n%s", diff)
		}
	})
}

func TestPublish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Memory{}
		n, err := broker.New(broker.Config{Log: log}) // to publish it needn't run
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(1234567)
		named := &broker.Event{App: app, Channel: ch, ID: "mine"}
		made, other := &broker.Event{App: app, Channel: ch}, &broker.Event{App: app, Channel: "b"}
		if err := n.Publish(t.Context(), named, made, other); err != nil {
			t.Fatal(err)
		}
		if named.ID != "mine" || made.ID == "" || made.ID == other.ID {
			t.Errorf("ids %q, %q, %q: want mine and two of their own", named.ID, made.ID, other.ID)
		}
		want := time.Now().UTC().Truncate(time.Millisecond)
		for i, e := range []*broker.Event{named, made, other} {
			if !e.Time.Equal(want) || e.Time.Location() != time.UTC {
				t.Errorf("event %d: time %v, want %v in UTC", i, e.Time, want)
			}
			if e.Position.Serial != uint64(i+1) || e.Position.Time != want.UnixMilli() {
				t.Errorf("event %d: position %+v", i, e.Position)
			}
		}
		if err := n.Publish(t.Context()); err != nil {
			t.Errorf("publish of nothing: %v", err)
		}
		for name, events := range map[string][]*broker.Event{
			"events of two apps": {{App: app, Channel: ch}, {App: "other", Channel: ch}},
			"no channel":         {{App: app, Channel: ch}, {App: app}},
		} {
			if err := n.Publish(t.Context(), events...); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if e, err := log.At(t.Context(), app, 4); e != nil || err != nil {
			t.Errorf("at serial 4: %v, %v, want nothing", e, err)
		}
	})
}

func TestPublishAgain(t *testing.T) {
	t.Parallel()
	for name, outcome := range map[string]brokertest.Outcome{
		"failed":            brokertest.NotStored,
		"failed but stored": brokertest.StoredAnyway,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := &brokertest.Faulty{Log: &brokertest.Memory{}}
				n, _ := run(t, broker.Config{Log: log})
				f, _ := feed(t, n, app)
				r, _ := subscribe(t, f, ch, "1.1")
				log.FailAppends(1, outcome)
				e := &broker.Event{App: app, Channel: ch}
				if err := n.Publish(t.Context(), e); !errors.Is(err, broker.ErrUnavailable) {
					t.Fatalf("publish: %v, want ErrUnavailable", err)
				}
				time.Sleep(time.Second)
				if err := n.Publish(t.Context(), e); err != nil {
					t.Fatal(err)
				}
				if e.Duplicate != (outcome == brokertest.StoredAnyway) || e.Position.Serial != 1 {
					t.Errorf("again: duplicate %v at serial %d", e.Duplicate, e.Position.Serial)
				}
				r.want(t, "a subscriber", e.ID)
			})
		})
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cfg  broker.Config
		want []string // in the error
	}{
		"nothing":      {want: []string{"log: required"}},
		"all at once":  {broker.Config{Linger: -2, GateBytes: -1}, []string{"log: required", "linger: -2ns", "gate bytes: -1"}},
		"the defaults": {cfg: broker.Config{Log: &brokertest.Memory{}}},
		"no linger":    {cfg: broker.Config{Log: &brokertest.Memory{}, Linger: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := broker.New(tt.cfg)
			if (err != nil) != (len(tt.want) > 0) {
				t.Fatalf("error %v, want %q in it", err, tt.want)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %v, want %q in it", err, w)
				}
			}
		})
	}
}
