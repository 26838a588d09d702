// Package presence knows who is where across all nodes: occupied channels, present members.
//
// It knows two things of an app: which connections are in which channel ([Registry.Join]), and
// which are signed in as which user and watch whom ([Registry.SignIn]).
//
// Of a node that is alone all is in the process. Several nodes append what changes to one log, which
// each of them folds: they know the same, in the same order, and nobody asks anybody (see DESIGN.md).
package presence

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

// Notifier is told of changes, one at a time per app and in the order of the serials. It must not
// call back into the registry and must not block.
type Notifier interface {
	Notify(n *broker.Notice)
}

// Registry holds the subscriptions and the signed-in users of all apps. It is safe for concurrent
// use. What an app's lock guards is changed by those who join and leave, or, where there are several
// nodes, by the goroutine that folds the log. Its locks stand above those of the node: it is never called while one of those is held.
type Registry struct {
	notifier Notifier
	observer Notifier // nil when nobody observes
	metrics  *metrics
	pauses   pauses
	cluster  *cluster // nil when the node is alone

	mu   sync.Mutex
	apps map[broker.AppID]*app // guarded by mu; one for each app ever joined here
}

// app is what is known of one app.
type app struct {
	id broker.AppID

	mu       sync.Mutex
	serial   uint64                      // guarded by mu; of the last notice
	channels map[broker.Channel]*channel // guarded by mu; occupied ones only
	paused   map[broker.Channel]*pause   // guarded by mu; channels that were told a large count lately
	accounts map[string]*account         // guarded by mu; users who are online or watched
}

// channel is an occupied channel.
type channel struct {
	subscriptions int              // of all nodes
	others        shares           // of other nodes
	users         map[string]*user // nil unless it is a presence channel
	unlisted      bool
	counted       bool // its subscribers are told how many they are
}

// user is a member of a presence channel, on however many connections.
type user struct {
	member      broker.Member // as the newest connection described it
	connections int           // of all nodes
	others      shares        // of other nodes
}

// ErrFull is returned by [Registry.Join] when a presence channel has as many users as it may.
var ErrFull = errors.New("presence channel is full")

// Entry is one connection's place in one channel. Leave gets the Entry that Join got.
type Entry struct {
	App     broker.AppID
	Channel broker.Channel
	Socket  broker.SocketID
	Member  *broker.Member // nil unless it is a presence channel

	// Counted: the channel's subscribers, the new one among them, are told how many they are.
	// For apps with SubscriptionCount, in channels that aren't presence channels.
	Counted bool

	// Unlisted: the channel is a user's own. It is not listed and nobody is told of it.
	Unlisted bool
}

// Snapshot is who is in a presence channel, right after a join.
type Snapshot struct {
	// Members are one per user, in no order; nil unless it is a presence channel.
	Members []broker.Member

	// Serial is that of the newest notice the members already reflect, which the
	// subscription's gate leaves out; 0, which leaves out none, unless it is a presence channel.
	Serial uint64
}

// Join enters a connection into a channel and returns who is there, itself included. When it is
// its user's first connection the other subscribers are told before Join returns. At most limit
// users are admitted; a further connection of a present user always is. The newest connection's
// user_info stands for the user from then on. Among several nodes the join of a presence channel
// returns when this node has read it back from the log; any other counts a moment later. Errors:
// [ErrFull], and nothing has changed; [broker.ErrUnavailable], and the context's.
//
// The caller has subscribed the connection to the channel's feed before, and opens its gate once
// the join is answered: so the connection hears its own count, after the answer.
func (r *Registry) Join(ctx context.Context, e Entry, limit int) (Snapshot, error) {
	c := e.change(1)
	c.Limit = limit
	if r.cluster != nil {
		return r.cluster.join(ctx, e, c)
	}
	a := r.app(e.App)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := r.apply(a, &c, origin{socket: e.Socket, time: time.Now()}); err != nil {
		return Snapshot{}, err
	}
	return a.snapshot(e), nil
}

// Leave takes a connection out of a channel. When it was its user's last one the remaining
// subscribers are told before Leave returns; among several nodes, a moment later.
func (r *Registry) Leave(e Entry) {
	c := e.change(-1)
	if r.cluster != nil {
		r.cluster.leave(c)
		return
	}
	a := r.app(e.App)
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = r.apply(a, &c, origin{socket: e.Socket, time: time.Now()}) // only who joins can be refused
}

// change is that so many connections more have the entry.
func (e Entry) change(by int32) change {
	c := change{App: e.App, Channel: e.Channel, By: by, Counted: e.Counted, Unlisted: e.Unlisted}
	if e.Member != nil {
		c.User, c.Info = &e.Member.UserID, e.Member.Info
	}
	return c
}

// snapshot says who is in a connection's channel. It is called with a.mu held.
func (a *app) snapshot(e Entry) Snapshot {
	if e.Member == nil {
		return Snapshot{}
	}
	ch := a.channels[e.Channel]
	s := Snapshot{Members: make([]broker.Member, 0, len(ch.users)), Serial: a.serial}
	for _, u := range ch.users {
		s.Members = append(s.Members, u.member)
	}
	return s
}

// tellMember tells the channel's other subscribers of a member. It is called with a.mu held.
func (r *Registry) tellMember(a *app, ch broker.Channel, m broker.Member, kind broker.NoticeKind, by origin) {
	n := a.notice(kind, ch, by.time)
	n.Member = m
	n.Exclude = by.socket
	r.tell(n, by)
}

// tell tells the channel's subscribers, and the observer. It is called with the lock of the app held, so
// that they hear of changes in the order in which they were made.
func (r *Registry) tell(n *broker.Notice, by origin) {
	r.notifier.Notify(n)
	r.report(n, by)
}

// observe tells only the observer. It is called with a.mu held.
func (r *Registry) observe(a *app, ch broker.Channel, kind broker.NoticeKind, by origin) {
	if r.observer != nil {
		r.report(a.notice(kind, ch, by.time), by)
	}
}

// report tells the observer, or leaves that to the node whose part it is.
func (r *Registry) report(n *broker.Notice, by origin) {
	switch {
	case r.observer == nil:
	case r.cluster != nil:
		r.cluster.report(n, by.place)
	default:
		r.observer.Notify(n)
	}
}

// notice numbers a change. It is called with a.mu held.
func (a *app) notice(kind broker.NoticeKind, ch broker.Channel, t time.Time) *broker.Notice {
	a.serial++
	return &broker.Notice{App: a.id, Channel: ch, Kind: kind, Time: t, Serial: a.serial}
}

// app returns what is known of an app, making a place for it when there is none.
func (r *Registry) app(id broker.AppID) *app {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.apps[id]
	if a == nil {
		a = &app{
			id:       id,
			channels: map[broker.Channel]*channel{},
			paused:   map[broker.Channel]*pause{},
			accounts: map[string]*account{},
		}
		r.apps[id] = a
	}
	return a
}

// all returns all apps.
func (r *Registry) all() []*app {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.apps))
}

// New checks cfg and returns an empty registry. With a log nobody can join before [Registry.Run] has
// caught up with it.
func New(cfg Config) (*Registry, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Registry{notifier: cfg.Notifier, observer: cfg.Observer, apps: map[broker.AppID]*app{}}
	r.pauses.wake = make(chan struct{}, 1)
	r.metrics = newMetrics(cfg.Registerer)
	if cfg.Log != nil {
		r.cluster = newCluster(r, cfg)
	}
	return r, nil
}

// Run tells the subscribers of large channels (over 100 subscriptions) their number, at most once in
// 5 s and as long as it changes, and keeps the node among the others, until ctx ends; then it appends
// what is left to say. It may be called once. Error: [ErrNameTaken].
func (r *Registry) Run(ctx context.Context) error {
	if r.cluster == nil {
		r.runPauses(ctx)
		return nil
	}
	pausing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var pauses sync.WaitGroup
	defer pauses.Wait()
	defer stop()
	pauses.Go(func() { r.runPauses(pausing) })
	return r.cluster.run(ctx)
}

// clear forgets everything, for a node that begins anew and has no connections left.
func (r *Registry) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pauses.clear()
	r.apps = map[broker.AppID]*app{}
	r.metrics.channels.Set(0)
	r.metrics.members.Set(0)
	r.metrics.online.Set(0)
}
