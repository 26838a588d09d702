package presence_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/broker/presence"
)

// told keeps what a node tells, as "occupied a", "added ada to presence-a", but nothing twice that has an
// ID: a queue would not take it.
type told struct {
	mu    sync.Mutex
	list  []string
	queue *queue // where a node's backend is told; nil for what has no IDs
}

// queue remembers the IDs that it was given, by whichever node.
type queue struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (q *queue) takes(id string) bool {
	if q == nil || id == "" {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	known := q.ids[id]
	q.ids[id] = true
	return !known
}

func (t *told) Notify(n *broker.Notice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.queue.takes(n.ID) {
		return
	}
	switch n.Kind {
	case broker.ChannelOccupied:
		t.list = append(t.list, fmt.Sprint("occupied ", n.Channel))
	case broker.ChannelVacated:
		t.list = append(t.list, fmt.Sprint("vacated ", n.Channel))
	case broker.MemberAdded:
		t.list = append(t.list, fmt.Sprint("added ", n.Member.UserID, " to ", n.Channel))
	case broker.MemberRemoved:
		t.list = append(t.list, fmt.Sprint("removed ", n.Member.UserID, " from ", n.Channel))
	case broker.SubscriptionCount:
		t.list = append(t.list, fmt.Sprint(n.Count, " in ", n.Channel))
	}
}

func (t *told) take() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.list
	t.list = nil
	return list
}

// peer is a node's registry in a cluster.
type peer struct {
	*presence.Registry
	name           string
	clients, hooks told // what subscribers and the observer are told
	evicted        chan struct{}
	stop           context.CancelCauseFunc
	ended          chan error
}

// flaky is a node's way to the log, which can be cut: then nothing gets through, in either direction.
type flaky struct {
	presence.Log
	mu  sync.Mutex
	cut chan struct{} // closed while it isn't cut
}

func (f *flaky) way() chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cut
}

func (f *flaky) block() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = make(chan struct{})
}

func (f *flaky) open() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.cut)
}

func newFlaky(log presence.Log) *flaky {
	f := &flaky{Log: log, cut: make(chan struct{})}
	close(f.cut)
	return f
}

func (f *flaky) Append(ctx context.Context, events ...*broker.Event) error {
	select {
	case <-f.way():
		return f.Log.Append(ctx, events...)
	case <-ctx.Done():
		return fmt.Errorf("append: %w", ctx.Err())
	}
}

func (f *flaky) Tail(ctx context.Context, app broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	from, events, err := f.Log.Tail(ctx, app)
	return from, func(yield func(*broker.Event, error) bool) {
		for e, err := range events {
			select {
			case <-f.way():
			case <-ctx.Done():
				return
			}
			if !yield(e, err) {
				return
			}
		}
	}, err
}

const (
	heartbeat = time.Second
	timeout   = 5 * time.Second
)

// begin starts a node, which must be stopped or killed before the test ends.
func begin(t *testing.T, log presence.Log, name string, edit ...func(*presence.Config)) *peer {
	t.Helper()
	p := &peer{name: name, evicted: make(chan struct{}, 10), ended: make(chan error, 1)}
	p.hooks.queue = queueOf(log)
	cfg := presence.Config{
		Notifier: &p.clients, Observer: &p.hooks, Log: log, Node: name,
		Heartbeat: heartbeat, NodeTimeout: timeout, CleanupInterval: time.Second,
		Evict: func() { p.evicted <- struct{}{} },
	}
	for _, e := range edit {
		e(&cfg)
	}
	var err error
	if p.Registry, err = presence.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	p.stop = cancel
	go func() { p.ended <- p.Run(ctx) }()
	return p
}

// queues are those of all logs: nodes that share a log share a queue.
var queues sync.Map

func queueOf(log presence.Log) *queue {
	if f, ok := log.(*flaky); ok {
		log = f.Log
	}
	q, _ := queues.LoadOrStore(log, &queue{ids: map[string]bool{}})
	return q.(*queue)
}

func (p *peer) ready(t *testing.T) *peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Ready(ctx); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	return p
}

// end stops a node as it should be.
func (p *peer) end(t *testing.T) {
	t.Helper()
	p.stop(nil)
	if err := <-p.ended; err != nil {
		t.Errorf("%s: %v", p.name, err)
	}
}

func in(ch broker.Channel, user string) presence.Entry {
	e := presence.Entry{App: "1", Channel: ch, Socket: "1.1"}
	if user != "" {
		e.Member = &broker.Member{UserID: user}
	}
	return e
}

func (p *peer) joins(t *testing.T, e presence.Entry) presence.Snapshot {
	t.Helper()
	s, err := p.Join(t.Context(), e, 100)
	if err != nil {
		t.Fatalf("%s joins %s: %v", p.name, e.Channel, err)
	}
	return s
}

// settle lets everything that is to be said be said and heard.
func settle() {
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// Which connection is the first and which the last is decided by the log: subscribers hear of it on
// every node, and one node tells the backend.
func TestFirstAndLastOfSeveralNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Memory{}
		a, b := begin(t, log, "a").ready(t), begin(t, log, "b").ready(t)
		ada := in("presence-x", "ada")
		a.joins(t, ada)
		if got := len(b.joins(t, ada).Members); got != 1 {
			t.Errorf("%d members, want the one", got)
		}
		if got := len(b.joins(t, in("presence-x", "bob")).Members); got != 2 {
			t.Errorf("%d members, want those of both nodes", got)
		}
		b.joins(t, in("plain", ""))
		settle()
		want(t, "subscribers at a", a.clients.take(), "added ada to presence-x", "added bob to presence-x")
		want(t, "subscribers at b", b.clients.take(), "added ada to presence-x", "added bob to presence-x")
		want(t, "backend, by a", a.hooks.take(), "occupied presence-x", "added ada to presence-x", "added bob to presence-x", "occupied plain")
		want(t, "backend, by b", b.hooks.take())
		for _, p := range []*peer{a, b} {
			if o := p.Occupancy("1", "presence-x"); o.Subscriptions != 3 || o.Users != 2 {
				t.Errorf("%s: %+v", p.name, o)
			}
			if got := p.Occupied("1", ""); len(got) != 2 {
				t.Errorf("%s: %+v", p.name, got)
			}
		}
		a.Leave(ada)
		settle()
		want(t, "subscribers at b", b.clients.take())
		b.Leave(ada)
		b.Leave(in("presence-x", "bob"))
		b.Leave(in("plain", ""))
		settle()
		want(t, "subscribers at a", a.clients.take(), "removed ada from presence-x", "removed bob from presence-x")
		want(t, "backend, by a", a.hooks.take(), "removed ada from presence-x", "removed bob from presence-x", "vacated presence-x", "vacated plain")
		want(t, "backend, by b", b.hooks.take())
		a.end(t)
		b.end(t)
	})
}

// A presence channel has room for so many users, however many nodes try at once.
func TestLimitOfSeveralNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Memory{}
		a, b := begin(t, log, "a").ready(t), begin(t, log, "b").ready(t)
		var mu sync.Mutex
		admitted := 0
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				p := []*peer{a, b}[i%2]
				_, err := p.Join(t.Context(), in("presence-x", fmt.Sprint(i)), 10)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					admitted++
				case !errors.Is(err, presence.ErrFull):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if admitted != 10 {
			t.Errorf("%d admitted, want 10", admitted)
		}
		settle()
		for _, p := range []*peer{a, b} {
			if o := p.Occupancy("1", "presence-x"); o.Users != 10 || o.Subscriptions != 10 {
				t.Errorf("%s: %+v", p.name, o)
			}
		}
		a.stop(nil)
		b.stop(nil)
		<-a.ended
		<-b.ended
	})
}

// A dead node is buried once, by one of the others, which tells the backend; everybody's subscribers hear
// that its members are gone.
func TestDeadNodeIsBuriedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Memory{}
		way := newFlaky(log)
		a, b, c := begin(t, log, "a").ready(t), begin(t, log, "b").ready(t), begin(t, way, "c").ready(t)
		a.joins(t, in("presence-x", "ada"))
		c.joins(t, in("presence-x", "ada"))
		c.joins(t, in("presence-x", "cid"))
		c.joins(t, in("only-c", ""))
		settle()
		for _, p := range []*peer{a, b, c} {
			p.clients.take()
			p.hooks.take()
		}
		way.block()
		died := time.Now()
		for len(a.Nodes()) == 3 {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(died); took < timeout-heartbeat || took > timeout+2*time.Second {
			t.Errorf("buried after %v", took)
		}
		settle()
		want(t, "subscribers at a", a.clients.take(), "removed cid from presence-x")
		want(t, "subscribers at b", b.clients.take(), "removed cid from presence-x")
		both := append(a.hooks.take(), b.hooks.take()...)
		slices.Sort(both)
		want(t, "backend, by both", both, "removed cid from presence-x", "vacated only-c")

		// It was only cut off: it learns that it is buried, closes its sessions and begins anew.
		way.open()
		<-c.evicted
		if c.Standing() {
			t.Error("c still lets clients join")
		}
		if _, err := c.Join(t.Context(), in("presence-x", "late"), 10); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("join while evicted: %v", err)
		}
		for _, e := range []presence.Entry{in("presence-x", "ada"), in("presence-x", "cid"), in("only-c", "")} {
			c.Leave(e)
		}
		c.ready(t)
		settle()
		want(t, "subscribers at a after c's return", a.clients.take())
		if s := c.joins(t, in("presence-x", "cid")); len(s.Members) != 2 {
			t.Errorf("members after the return: %v", s.Members)
		}
		settle()
		want(t, "subscribers at a", a.clients.take(), "added cid to presence-x")
		want(t, "backend, by a", a.hooks.take(), "added cid to presence-x")
		for _, p := range []*peer{a, b, c} {
			p.stop(nil)
			<-p.ended
		}
	})
}

// When nobody can append, nobody is dead.
func TestSilenceOfTheLogBuriesNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newFlaky(&brokertest.Memory{})
		a, b := begin(t, log, "a").ready(t), begin(t, log, "b").ready(t)
		b.joins(t, in("presence-x", "bob"))
		settle()
		log.block()
		time.Sleep(10 * timeout)
		log.open()
		time.Sleep(timeout)
		for _, p := range []*peer{a, b} {
			if n := len(p.Nodes()); n != 2 {
				t.Errorf("%s knows %d nodes", p.name, n)
			}
			if len(p.evicted) > 0 {
				t.Errorf("%s was buried", p.name)
			}
			if o := p.Occupancy("1", "presence-x"); o.Users != 1 {
				t.Errorf("%s: %+v", p.name, o)
			}
		}
		b.Leave(in("presence-x", "bob"))
		a.end(t)
		b.end(t)
	})
}

// A node that was killed and comes back takes its former life's place; one whose name is in use refuses to
// start.
func TestNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Memory{}
		way := newFlaky(log)
		a, dead := begin(t, log, "a").ready(t), begin(t, way, "b").ready(t)
		dead.joins(t, in("presence-x", "bob"))
		way.block() // for good
		settle()
		a.clients.take()
		a.hooks.take()
		b := begin(t, log, "b").ready(t)
		settle()
		want(t, "subscribers at a", a.clients.take(), "removed bob from presence-x")
		want(t, "backend, by a", a.hooks.take(), "removed bob from presence-x", "vacated presence-x")
		second := begin(t, log, "b")
		if err := <-second.ended; !errors.Is(err, presence.ErrNameTaken) || !strings.Contains(err.Error(), `"b"`) {
			t.Errorf("second node of the name: %v", err)
		}
		settle()
		if len(b.evicted) != 0 || !b.Standing() {
			t.Error("the first node of the name was disturbed")
		}
		a.end(t)
		b.end(t)
		dead.stop(nil)
		dead.Leave(in("presence-x", "bob"))
		way.open()
		<-dead.ended
	})
}

// Who is to be closed is closed on every node.
func TestTerminateOnSeveralNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Memory{}
		a, b := begin(t, log, "a").ready(t), begin(t, log, "b").ready(t)
		var here, there, other, watcher ended
		l1, l2 := a.SignIn("1", "ada", &here), b.SignIn("1", "ada", &there)
		l3, w := b.SignIn("1", "bob", &other), a.SignIn("1", "eve", &watcher)
		settle()
		w.Watch([]string{"ada", "bob", "nobody"})
		want(t, "watcher", watcher.take(), "online ada bob offline nobody")
		if err := a.Terminate(t.Context(), "1", "ada"); err != nil {
			t.Fatal(err)
		}
		settle()
		want(t, "here", here.take(), "closed terminated")
		want(t, "there", there.take(), "closed terminated")
		want(t, "other", other.take())
		l1.SignOut()
		settle()
		want(t, "watcher", watcher.take())
		l2.SignOut()
		l3.SignOut()
		settle()
		want(t, "watcher", watcher.take(), "online offline ada", "online offline bob")
		w.SignOut()
		a.end(t)
		b.end(t)
	})
}

// ended is a connection that keeps what it is told.
type ended struct{ told }

func (e *ended) Deliver(d *broker.Delivery) {
	e.mu.Lock()
	defer e.mu.Unlock()
	slices.Sort(d.Notice.Online)
	e.list = append(e.list, strings.TrimSpace(fmt.Sprint("online ", strings.Join(append(d.Notice.Online, append([]string{"offline"}, d.Notice.Offline...)...), " "))))
}

func (e *ended) Close(why broker.Reason) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, fmt.Sprint("closed ", why))
}

// Random histories of three nodes that come, die and return, against a model: at the end all know what is,
// and what each told along the way leads there.
func TestNodesAgree(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { nodesAgree(t, rand.New(rand.NewPCG(seed, 5))) })
		})
	}
}

func nodesAgree(t *testing.T, rng *rand.Rand) {
	log := &brokertest.Memory{}
	small := func(cfg *presence.Config) { cfg.BatchSize = 1 + rng.IntN(20) }
	type running struct {
		*peer
		way  *flaky
		held []presence.Entry
	}
	var nodes [3]*running
	start := func(i int) {
		way := newFlaky(log)
		nodes[i] = &running{peer: begin(t, way, fmt.Sprint("node-", i), small).ready(t), way: way}
	}
	var mu sync.Mutex
	hooks := map[string]int{} // occupied or added less vacated or removed
	collect := func(p *peer) {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range p.hooks.take() {
			what, thing, _ := strings.Cut(s, " ")
			thing = strings.NewReplacer(" to ", " ", " from ", " ").Replace(thing)
			by := map[string]int{"occupied": 1, "added": 1, "vacated": -1, "removed": -1}[what]
			// Of two nodes that tell the backend of one thing the later one may be first here.
			hooks[thing] += by
		}
	}
	for i := range nodes {
		start(i)
	}
	for range 300 {
		i := rng.IntN(3)
		n := nodes[i]
		switch k := rng.IntN(100); {
		case k < 55:
			e := in(broker.Channel(fmt.Sprint("presence-", rng.IntN(4))), fmt.Sprint("user-", rng.IntN(5)))
			if rng.IntN(3) == 0 {
				e = in(broker.Channel(fmt.Sprint("plain-", rng.IntN(4))), "")
			}
			n.joins(t, e)
			n.held = append(n.held, e)
		case k < 92 && len(n.held) > 0:
			j := rng.IntN(len(n.held))
			n.Leave(n.held[j])
			n.held = slices.Delete(n.held, j, j+1)
		case k < 94:
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		case k < 96: // killed, and started again at once or after its burial
			settle()
			n.way.block()
			collect(n.peer)
			n.stop(nil)
			for _, e := range n.held {
				n.Leave(e)
			}
			if rng.IntN(2) == 0 {
				time.Sleep(2 * timeout)
			}
			dead := n
			start(i)
			dead.way.open()
			<-dead.ended
		case k < 98: // cut off for so long that it is buried
			settle()
			n.way.block()
			time.Sleep(2 * timeout)
			n.way.open()
			<-n.evicted
			for _, e := range n.held {
				n.Leave(e)
			}
			n.held = nil
			n.ready(t)
		default: // ends as it should
			for _, e := range n.held {
				n.Leave(e)
			}
			n.end(t)
			collect(n.peer)
			start(i)
		}
	}
	settle()
	time.Sleep(2 * timeout)
	synctest.Wait()

	counts, users := map[broker.Channel]int{}, map[broker.Channel]map[string]bool{}
	for _, n := range nodes {
		for _, e := range n.held {
			counts[e.Channel]++
			if e.Member != nil {
				if users[e.Channel] == nil {
					users[e.Channel] = map[string]bool{}
				}
				users[e.Channel][e.Member.UserID] = true
			}
		}
	}
	balance := map[string]int{}
	for ch := range counts {
		balance[string(ch)] = 1
		for u := range users[ch] {
			balance[u+" "+string(ch)] = 1
		}
	}
	for _, n := range nodes {
		got := map[broker.Channel]int{}
		for _, o := range n.Occupied("1", "") {
			got[o.Channel] = o.Subscriptions
			ids := append([]string{}, slices.Sorted(maps.Keys(users[o.Channel]))...)
			if diff := cmp.Diff(ids, n.Users("1", o.Channel)); diff != "" {
				t.Errorf("%s: users of %s (-want +got):\n%s", n.name, o.Channel, diff)
			}
		}
		if diff := cmp.Diff(counts, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", n.name, diff)
		}
		collect(n.peer)
	}
	maps.DeleteFunc(hooks, func(_ string, n int) bool { return n == 0 })
	if diff := cmp.Diff(balance, hooks); diff != "" {
		t.Errorf("what backends were told comes to (-want +got):\n%s", diff)
	}
	// A newcomer knows the same.
	late := begin(t, log, "late").ready(t)
	got := map[broker.Channel]int{}
	for _, o := range late.Occupied("1", "") {
		got[o.Channel] = o.Subscriptions
	}
	if diff := cmp.Diff(counts, got); diff != "" {
		t.Errorf("newcomer (-want +got):\n%s", diff)
	}
	late.end(t)
	for _, n := range nodes {
		for _, e := range n.held {
			n.Leave(e)
		}
		n.end(t)
	}
}

// A newcomer begins with the last state and what came after it; the log may have forgotten the rest.
func TestNewcomerBeginsWithState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Memory{}
		a, b := begin(t, log, "a").ready(t), begin(t, log, "b").ready(t)
		for i := range 50 {
			b.joins(t, in("presence-x", fmt.Sprint("user-", i)))
			b.joins(t, in("plain", ""))
		}
		time.Sleep(2 * time.Minute)
		b.joins(t, in("presence-x", "late"))
		b.Leave(in("presence-x", "user-7"))
		settle()
		last, err := log.Last(t.Context(), presence.App, "states")
		if err != nil || last == nil {
			t.Fatalf("no state was written: %v", err)
		}
		var state struct{ Serial uint64 }
		if err := json.Unmarshal(last.Data, &state); err != nil {
			t.Fatal(err)
		}
		log.Forget(presence.App, state.Serial)
		c := begin(t, log, "c").ready(t)
		if o := c.Occupancy("1", "presence-x"); o.Users != 50 || o.Subscriptions != 50 {
			t.Errorf("presence-x: %+v", o)
		}
		if o := c.Occupancy("1", "plain"); o.Subscriptions != 50 {
			t.Errorf("plain: %+v", o)
		}
		if got := c.Users("1", "presence-x"); slices.Contains(got, "user-7") || !slices.Contains(got, "late") {
			t.Errorf("users: %q", got)
		}
		if n := len(c.Nodes()); n != 3 {
			t.Errorf("%d nodes", n)
		}
		// And it knows whose they are: b's are gone with b.
		b.stop(nil)
		if err := <-b.ended; err != nil {
			t.Error(err)
		}
		settle()
		if got := c.Occupied("1", ""); len(got) != 0 {
			t.Errorf("left by b: %+v", got)
		}
		a.end(t)
		c.end(t)
	})
}

// A node with more to say than it may keep starts over, and so does one that loses the log.
func TestNodeStartsOver(t *testing.T) {
	t.Parallel()
	for name, break_ := range map[string]func(*testing.T, *peer, *brokertest.Memory, *flaky) []presence.Entry{
		"too much to say": func(t *testing.T, p *peer, _ *brokertest.Memory, way *flaky) (held []presence.Entry) {
			way.block()
			for i := range 200 {
				e := in(broker.Channel(fmt.Sprint("plain-", i)), "")
				if _, err := p.Join(t.Context(), e, 0); err != nil {
					break
				}
				held = append(held, e)
			}
			if n := len(held); n < 90 || n > 101 {
				t.Errorf("%d joined", n)
			}
			way.open()
			return held
		},
		"log lost": func(_ *testing.T, _ *peer, log *brokertest.Memory, _ *flaky) []presence.Entry {
			log.Reset(presence.App)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := &brokertest.Memory{}
				way := newFlaky(log)
				p := begin(t, way, "a", func(cfg *presence.Config) { cfg.QueueSize = 100 }).ready(t)
				p.joins(t, in("presence-x", "ada"))
				for _, e := range break_(t, p, log, way) {
					defer p.Leave(e)
				}
				select {
				case <-p.evicted:
				case <-time.After(timeout / 2):
					t.Error("not evicted")
				}
				if p.Standing() {
					t.Error("clients can still join")
				}
				p.stop(nil)
				<-p.ended
			})
		})
	}
}

// A client that leaves while it waits for its join is not left behind.
func TestAbandonedJoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		way := newFlaky(&brokertest.Memory{})
		p := begin(t, way, "a").ready(t)
		way.block()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Join(ctx, in("presence-x", "ada"), 10); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("join: %v", err)
		}
		way.open()
		settle()
		want(t, "subscribers", p.clients.take(), "added ada to presence-x", "removed ada from presence-x")
		if got := p.Occupied("1", ""); len(got) != 0 {
			t.Errorf("left behind: %+v", got)
		}
		p.end(t)
	})
}

// A node that is told to end while the log can't be reached ends all the same.
func TestEndWithoutLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		way := newFlaky(&brokertest.Memory{})
		p := begin(t, way, "a").ready(t)
		way.block()
		p.joins(t, in("plain", ""))
		time.Sleep(time.Second) // it is being said
		p.Leave(in("plain", ""))
		began := time.Now()
		p.end(t)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// When the teller dies, another one tells what it didn't, in order, and what both tell has the same ID.
func TestTellerIsReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Memory{}
		way := newFlaky(log)
		var lost atomic.Bool
		a := begin(t, way, "a", func(cfg *presence.Config) {
			// What it was told last isn't in the queue, and never will be.
			cfg.Waiting = func() (uint64, bool) { return 1, lost.Load() }
		}).ready(t)
		b, c := begin(t, log, "b").ready(t), begin(t, log, "c").ready(t)
		a.joins(t, in("presence-x", "ada"))
		settle()
		want(t, "backend, by a", a.hooks.take(), "occupied presence-x", "added ada to presence-x")
		time.Sleep(2 * heartbeat) // it says that it has told
		lost.Store(true)
		way.block()
		b.joins(t, in("presence-x", "bob"))
		settle()
		want(t, "backend, by b", b.hooks.take())
		time.Sleep(2 * timeout)
		want(t, "backend, by b", b.hooks.take(), "added bob to presence-x", "removed ada from presence-x")
		want(t, "backend, by c", c.hooks.take())
		way.open()
		<-a.evicted
		settle()
		want(t, "backend, by a", a.hooks.take())
		a.Leave(in("presence-x", "ada"))
		b.Leave(in("presence-x", "bob"))
		settle()
		want(t, "backend, by b", b.hooks.take(), "removed bob from presence-x", "vacated presence-x")
		for _, p := range []*peer{a, b, c} {
			p.stop(nil)
			<-p.ended
		}
	})
}

// twice appends every event of a node a second time, under another ID, as if the log had forgotten the first.
type twice struct{ presence.Log }

func (l twice) Append(ctx context.Context, events ...*broker.Event) error {
	if err := l.Log.Append(ctx, events...); err != nil {
		return err
	}
	again := *events[0]
	again.ID += "-again"
	return l.Log.Append(ctx, &again)
}

// What stands in the log twice counts once.
func TestEntriesThatComeTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Memory{}
		a, b := begin(t, twice{log}, "a").ready(t), begin(t, log, "b").ready(t)
		a.joins(t, in("presence-x", "ada"))
		a.joins(t, in("plain", ""))
		time.Sleep(2 * heartbeat)
		for _, p := range []*peer{a, b} {
			if o := p.Occupancy("1", "presence-x"); o.Subscriptions != 1 {
				t.Errorf("%s: %+v", p.name, o)
			}
			if len(p.evicted) > 0 {
				t.Errorf("%s started over", p.name)
			}
		}
		a.Leave(in("presence-x", "ada"))
		a.Leave(in("plain", ""))
		a.end(t)
		settle()
		if got := b.Occupied("1", ""); len(got) > 0 {
			t.Errorf("left behind: %+v", got)
		}
		b.end(t)
	})
}
