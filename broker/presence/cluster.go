package presence

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

// ErrNameTaken is returned by [Registry.Run] when another node runs under the same name.
var ErrNameTaken = errors.New("node name in use")

// Why a life ends.
var (
	errBuried   = errors.New("others took this node for dead")
	errOverflow = errors.New("more changes wait to be appended than may")
	errBroken   = errors.New("the log has a hole")
)

const (
	firstPause = 100 * time.Millisecond // between a life and the next one
	maxPause   = 5 * time.Second
)

// cluster is the node among the others. It has one life after the other, usually one: a node that was
// taken for dead, or has lost the log, begins anew, with nothing.
type cluster struct {
	registry *Registry
	cfg      Config

	mu       sync.Mutex
	life     *life            // guarded by mu; nil while there is none that others know
	stands   chan struct{}    // guarded by mu; closed while there is one
	places   int              // guarded by mu; joins and sign-ins of connections that haven't ended
	empty    chan struct{}    // has a value when places may be 0
	peers    map[string]*peer // guarded by mu; by name
	lastNode uint32           // guarded by mu; the last place given to a peer

	teller teller
}

// peer is a node that lives, as far as the log says.
type peer struct {
	name   string
	life   string
	node   uint32 // its place here; self for this node
	number uint64 // of its last entry
	serial uint64 // of the same in the log
	begun  uint64 // serial of its first one
	seen   time.Time
	status Status
}

func newCluster(r *Registry, cfg Config) *cluster {
	return &cluster{
		registry: r, cfg: cfg,
		stands: make(chan struct{}), empty: make(chan struct{}, 1), peers: map[string]*peer{},
	}
}

// run has one life after the other until ctx ends.
func (c *cluster) run(ctx context.Context) error {
	pause := firstPause
	for {
		began := time.Now()
		l := &life{
			cluster: c, id: rand.Text(), logger: c.cfg.Logger.With("node", c.cfg.Node),
			wake: make(chan struct{}, 1), over: make(chan struct{}),
		}
		err := l.run(ctx)
		c.fall()
		if errors.Is(err, ErrNameTaken) {
			return err
		}
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, ctx.Err()) {
				c.cfg.Logger.Warn("this node has ended without a word to the others, who will take it for dead", "node", c.cfg.Node, "err", err)
			}
			return nil
		}
		c.registry.metrics.restarts.Inc()
		c.cfg.Logger.Warn("this node starts over among the others; its connections are asked to come back", "node", c.cfg.Node, "err", err)
		c.cfg.Evict()
		if !c.emptied(ctx) {
			return nil
		}
		c.registry.clear()
		if time.Since(began) > maxPause {
			pause = firstPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, maxPause)
	}
}

// stand lets connections join.
func (c *cluster) stand(l *life) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.life = l
	close(c.stands)
}

// fall lets nobody join any more, and forgets the others.
func (c *cluster) fall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life != nil {
		c.life = nil
		c.stands = make(chan struct{})
	}
	clear(c.peers)
	c.teller.me.Store(false)
	c.registry.metrics.nodes.Set(0)
}

// emptied waits until every connection has left what it was in. Before that, one could leave in a life
// in which it never joined.
func (c *cluster) emptied(ctx context.Context) bool {
	for {
		c.mu.Lock()
		left := c.places
		c.mu.Unlock()
		if left == 0 {
			return true
		}
		select {
		case <-c.empty:
		case <-ctx.Done():
			return false
		}
	}
}

// Ready waits until the node stands among the others, and returns at once when it is alone. Error: the
// context's.
func (r *Registry) Ready(ctx context.Context) error {
	if r.cluster == nil {
		return nil
	}
	r.cluster.mu.Lock()
	stands := r.cluster.stands
	r.cluster.mu.Unlock()
	select {
	case <-stands:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the log of who is where: %w", ctx.Err())
	}
}

// Standing reports whether connections can join: whether the node is alone, or stands among the others.
func (r *Registry) Standing() bool {
	if r.cluster == nil {
		return true
	}
	r.cluster.mu.Lock()
	defer r.cluster.mu.Unlock()
	return r.cluster.life != nil
}

// NodeStatus is a node that lives, as far as is known here.
type NodeStatus struct {
	Name string
	Life string        // another one after each start
	Self bool          // the node that was asked
	Age  time.Duration // since it was heard of
	Status
}

// Nodes returns the nodes that live, in the order of their names; none when this one is alone.
func (r *Registry) Nodes() []NodeStatus {
	if r.cluster == nil {
		return nil
	}
	r.cluster.mu.Lock()
	defer r.cluster.mu.Unlock()
	all := make([]NodeStatus, 0, len(r.cluster.peers))
	for _, p := range r.cluster.peers {
		all = append(all, NodeStatus{Name: p.name, Life: p.life, Self: p.node == self, Age: time.Since(p.seen), Status: p.status})
	}
	slices.SortFunc(all, func(a, b NodeStatus) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// present returns the life that others know, with one place more taken.
func (c *cluster) present(by int) (*life, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life == nil {
		return nil, fmt.Errorf("join: %w: this node isn't among the others", broker.ErrUnavailable)
	}
	c.places += by
	return c.life, nil
}

// leaves gives a place back, and returns the life in which others are to hear of it, nil for none.
func (c *cluster) leaves() *life {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.places--; c.places == 0 {
		select {
		case c.empty <- struct{}{}:
		default:
		}
	}
	return c.life
}

// join has a connection join. Only who is shown the members waits until the log says so.
func (c *cluster) join(ctx context.Context, e Entry, ch change) (Snapshot, error) {
	l, err := c.present(1)
	if err != nil {
		return Snapshot{}, err
	}
	var j *joining
	if e.Member != nil {
		j = &joining{entry: e, done: make(chan struct{})}
	}
	if !l.say(item{change: ch, joining: j}) {
		c.leaves()
		return Snapshot{}, fmt.Errorf("join %s: %w", e.Channel, broker.ErrUnavailable)
	}
	if j == nil {
		return Snapshot{}, nil
	}
	select {
	case <-j.done:
	case <-l.over:
		err = broker.ErrUnavailable
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil && l.abandon(j) {
		c.leaves()
		return Snapshot{}, fmt.Errorf("join %s: %w", e.Channel, err)
	}
	if j.err != nil {
		c.leaves()
	}
	return j.snapshot, j.err
}

func (c *cluster) leave(ch change) {
	if l := c.leaves(); l != nil {
		l.say(item{change: ch})
	}
}

// signed tells that one more connection is signed in as a user, or one less.
func (c *cluster) signed(ch change) {
	if ch.By < 0 {
		c.leave(ch)
		return
	}
	// Without a life the connection is about to be closed, and counts until then.
	c.mu.Lock()
	c.places++
	l := c.life
	c.mu.Unlock()
	if l != nil {
		l.say(item{change: ch})
	}
}

// terminate tells the others to close a user's connections, and returns when the log has it.
func (c *cluster) terminate(ctx context.Context, app broker.AppID, userID string) error {
	l, err := c.present(0)
	if err != nil {
		return err
	}
	stored := make(chan struct{})
	if !l.say(item{kind: terminates, entry: &entry{App: app, User: userID}, stored: stored}) {
		return fmt.Errorf("terminate user: %w", broker.ErrUnavailable)
	}
	select {
	case <-stored:
		return nil
	case <-l.over:
		return fmt.Errorf("terminate user: %w", broker.ErrUnavailable)
	case <-ctx.Done():
		return fmt.Errorf("terminate user: %w", ctx.Err())
	}
}

// joining is a connection that waits until its join is read back.
type joining struct {
	entry Entry
	done  chan struct{} // closed when snapshot and err are set

	abandoned bool // guarded by the life's mu; nobody waits any more
	resolved  bool // guarded by the life's mu

	snapshot Snapshot
	err      error
}
