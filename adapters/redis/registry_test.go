package redis_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/adapters/redis"
	"github.com/playhead/playhead/adapters/redis/redistest"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/presence"
)

// backend keeps what nodes tell it, each thing once: by its ID, as a queue of webhooks does.
type backend struct {
	mu   sync.Mutex
	ids  map[string]bool // guarded by mu
	told []string        // guarded by mu
}

func (b *backend) Notify(n *broker.Notice) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n.ID != "" && b.ids[n.ID] {
		return
	}
	b.ids[n.ID] = true
	switch n.Kind {
	case broker.ChannelOccupied:
		b.told = append(b.told, fmt.Sprint("occupied ", n.Channel))
	case broker.ChannelVacated:
		b.told = append(b.told, fmt.Sprint("vacated ", n.Channel))
	case broker.MemberAdded:
		b.told = append(b.told, fmt.Sprint("added ", n.Member.UserID, " to ", n.Channel))
	case broker.MemberRemoved:
		b.told = append(b.told, fmt.Sprint("removed ", n.Member.UserID, " from ", n.Channel))
	}
}

func (b *backend) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	told := b.told
	b.told = nil
	return told
}

type nobody struct{}

func (nobody) Notify(*broker.Notice) {}

// node is a node's registry, with connections that come back when they are sent home.
type node struct {
	*presence.Registry
	name   string
	client *redis.Client
	stop   func() // ends it as it should be

	mu      sync.Mutex
	entries []presence.Entry // guarded by mu; its connections
	evicted int              // guarded by mu
	coming  sync.WaitGroup
	ctx     context.Context //nolint:containedctx // the connections', until the test ends
}

func newNode(t testing.TB, client redis.ClientConfig, name string, b *backend) *node {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{name: name, client: newClient(t, client), ctx: ctx}
	log, err := redis.NewPresenceLog(redis.PresenceLogConfig{Client: n.client})
	if err != nil {
		t.Fatal(err)
	}
	n.Registry, err = presence.New(presence.Config{
		Notifier: nobody{}, Observer: b, Log: log, Node: name,
		Heartbeat: 300 * time.Millisecond, NodeTimeout: 3 * time.Second, CleanupInterval: 300 * time.Millisecond,
		Evict: n.evict,
	})
	if err != nil {
		t.Fatal(err)
	}
	n.stop = run(t, n.Registry)
	t.Cleanup(func() {
		cancel()
		n.coming.Wait()
	})
	if err := n.Ready(soon(t)); err != nil {
		t.Fatal(err)
	}
	return n
}

// evict sends all connections home; they come back.
func (n *node) evict() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.evicted++
	entries := n.entries
	n.entries = nil
	for _, e := range entries {
		n.Leave(e)
		n.coming.Go(func() { n.join(e) })
	}
}

// join joins, as often as it takes.
func (n *node) join(e presence.Entry) {
	for n.ctx.Err() == nil {
		if err := n.Ready(n.ctx); err != nil {
			return
		}
		if _, err := n.Join(n.ctx, e, 100); err == nil {
			n.mu.Lock()
			n.entries = append(n.entries, e)
			n.mu.Unlock()
			return
		}
	}
}

func (n *node) leave(e presence.Entry) {
	n.mu.Lock()
	n.entries = slices.DeleteFunc(n.entries, func(x presence.Entry) bool { return x.Channel == e.Channel && x.Socket == e.Socket })
	n.mu.Unlock()
	n.Leave(e)
}

func in(ch broker.Channel, user string, socket int) presence.Entry {
	e := presence.Entry{App: "1", Channel: ch, Socket: broker.SocketID(fmt.Sprint("1.", socket))}
	if user != "" {
		e.Member = &broker.Member{UserID: user}
	}
	return e
}

// who is in a channel, as a node knows it.
func (n *node) who(ch broker.Channel) string {
	return fmt.Sprint(n.Occupancy("1", ch).Subscriptions, " ", n.Users("1", ch))
}

func wantWho(t *testing.T, nodes []*node, ch broker.Channel, want string) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, fmt.Sprintf("%s knows that in %s are %s", n.name, ch, want), func() bool { return n.who(ch) == want })
	}
}

// Nodes that share Redis know the same, whatever happens to it: who is where, told once, the dead buried
// once; and when a master is killed, or Redis forgets everything, all is as it was a moment later.
func TestRegistries(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) (redis.ClientConfig, func(log string)){
		"Single": func(t *testing.T) (redis.ClientConfig, func(string)) {
			s := redistest.Single(t)
			return singleConfig(s), func(string) {
				s.Kill()
				s.Start() // with nothing left
			}
		},
		"Sentinel": func(t *testing.T) (redis.ClientConfig, func(string)) {
			w := redistest.Sentinel(t)
			return sentinelConfig(w), func(string) {
				was := w.Master()
				was.Kill()
				eventually(t, "there is another master", func() bool { m := w.Master(); return m != nil && m != was })
			}
		},
		"Cluster": func(t *testing.T) (redis.ClientConfig, func(string)) {
			c := redistest.Cluster(t)
			return clusterConfig(c), func(log string) {
				was := c.Master(log)
				was.Kill()
				eventually(t, "there is another master", func() bool { m := c.Master(log); return m != nil && m != was })
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, fault := start(t)
			b := &backend{ids: map[string]bool{}}
			nodes := []*node{newNode(t, client, "a", b), newNode(t, client, "b", b), newNode(t, client, "c", b)}
			for i, n := range nodes {
				n.join(in("presence-x", "ada", 10+i))
				n.join(in("presence-x", "user-"+n.name, 20+i))
				n.join(in("plain", "", 30+i))
			}
			wantWho(t, nodes, "presence-x", "6 [ada user-a user-b user-c]")
			wantWho(t, nodes, "plain", "3 []")
			nodes[0].leave(in("presence-x", "user-a", 20))
			nodes[0].leave(in("presence-x", "ada", 10))
			nodes[0].leave(in("plain", "", 30))
			wantWho(t, nodes, "presence-x", "4 [ada user-b user-c]")
			wantWho(t, nodes, "plain", "2 []")
			if diff := cmp.Diff([]string{
				"added ada to presence-x", "added user-a to presence-x", "added user-b to presence-x", "added user-c to presence-x",
				"occupied plain", "occupied presence-x", "removed user-a from presence-x",
			}, slices.Sorted(slices.Values(b.take()))); diff != "" {
				t.Errorf("the backend was told (-want +got):\n%s", diff)
			}

			// The connection of a node to Redis is gone for good: the others bury it, and tell once.
			_ = nodes[2].client.Close()
			wantWho(t, nodes[:2], "presence-x", "2 [ada user-b]")
			wantWho(t, nodes[:2], "plain", "1 []")
			if diff := cmp.Diff([]string{"removed user-c from presence-x"}, b.take()); diff != "" {
				t.Errorf("the backend was told of a dead node (-want +got):\n%s", diff)
			}
			nodes = append(nodes[:2], newNode(t, client, "d", b))
			nodes[2].join(in("presence-x", "user-d", 40))
			wantWho(t, nodes, "presence-x", "3 [ada user-b user-d]")

			log, err := redis.NewPresenceLog(redis.PresenceLogConfig{Client: newClient(t, client)})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			for range 3 { // it happens again and again
				fault(log.StreamKey(presence.App))
				nodes[0].join(in("plain", "", 50))
				wantWho(t, nodes, "presence-x", "3 [ada user-b user-d]")
				wantWho(t, nodes, "plain", "2 []")
				nodes[0].leave(in("plain", "", 50))
				wantWho(t, nodes, "plain", "1 []")
				if name != "Single" {
					break // there is no replica any more
				}
			}
			t.Logf("all was as before %v after the fault; nodes started over %d, %d, %d times", time.Since(began).Round(time.Millisecond), nodes[0].evicted, nodes[1].evicted, nodes[2].evicted)
			if name == "Single" && (nodes[0].evicted == 0 || nodes[1].evicted == 0) {
				t.Error("Redis has forgotten everything, and nodes didn't start over")
			}
			for _, line := range b.take() {
				if strings.Contains(line, "ada") && name != "Single" && nodes[1].evicted == 0 {
					t.Errorf("the backend was told %q, though nothing was lost", line)
				}
			}
		})
	}
}
