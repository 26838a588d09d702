// Package presence knows who is where across all nodes: occupied channels, present members.
//
// It knows two things of an app: which connections are in which channel ([Registry.Join]), and
// which are signed in as which user and watch whom ([Registry.SignIn]).
//
// Today all means this one node: the registry is folded in the process. What it gives out is
// shaped so that a shared log of joins and leaves can feed it later (see DESIGN.md): every change
// has a serial, a join is answered with the serial its snapshot contains, and subscribers are
// told in the order of the serials.
package presence

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
)

// Notifier is told of changes, one at a time per app and in the order of the serials. It must not
// call back into the registry and must not block.
type Notifier interface {
	Notify(n *broker.Notice)
}

// Config configures a [Registry].
type Config struct {
	// Notifier tells the subscribers of a channel of its members and of their number;
	// broker.Node does. Required.
	Notifier Notifier

	// Observer is told all of that, and of each channel that is occupied or vacated: the road
	// to webhooks. Default: nobody.
	Observer Notifier

	// Registerer takes the metrics. Default: a registry of its own, seen by nobody.
	Registerer prometheus.Registerer
}

// Registry holds the subscriptions and the signed-in users of all apps. It is safe for concurrent
// use. Its locks stand above those of the node: it is never called while one of those is held.
type Registry struct {
	notifier Notifier
	observer Notifier // nil when nobody observes
	metrics  *metrics
	pauses   pauses

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
	subscriptions int
	users         map[string]*user // nil unless it is a presence channel
	unlisted      bool
}

// user is a member of a presence channel, on however many connections.
type user struct {
	member      broker.Member // as the newest connection described it
	connections int
}

// ErrFull is returned by [Registry.Join] when a presence channel has as many users as it may.
var ErrFull = errors.New("presence channel is full")

// New checks cfg and returns an empty registry.
func New(cfg Config) (*Registry, error) {
	if cfg.Notifier == nil {
		return nil, errors.New("presence: notifier: required")
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	r := &Registry{notifier: cfg.Notifier, observer: cfg.Observer, apps: map[broker.AppID]*app{}}
	r.pauses.wake = make(chan struct{}, 1)
	r.metrics = newMetrics(cfg.Registerer)
	return r, nil
}

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
// user_info stands for the user from then on. Error: [ErrFull], and nothing has changed.
//
// The caller has subscribed the connection to the channel's feed before, and opens its gate once
// the join is answered: so the connection hears its own count, after the answer.
func (r *Registry) Join(e Entry, limit int) (Snapshot, error) {
	a := r.app(e.App)
	a.mu.Lock()
	defer a.mu.Unlock()
	ch := a.channels[e.Channel]
	if e.Member != nil && ch != nil && len(ch.users) >= limit && ch.users[e.Member.UserID] == nil {
		return Snapshot{}, fmt.Errorf("join %s: %w (%d users)", e.Channel, ErrFull, limit)
	}
	if ch == nil {
		ch = &channel{unlisted: e.Unlisted}
		a.channels[e.Channel] = ch
		r.metrics.channels.Inc()
		if !e.Unlisted {
			r.observe(a, e.Channel, broker.ChannelOccupied)
		}
	}
	ch.subscriptions++
	var s Snapshot
	if e.Member != nil {
		s = r.admit(a, ch, e)
	}
	if e.Counted {
		r.count(a, e.Channel, ch.subscriptions)
	}
	return s, nil
}

// admit makes a connection one of its user's in a presence channel. It is called with a.mu held.
func (r *Registry) admit(a *app, ch *channel, e Entry) Snapshot {
	if ch.users == nil {
		ch.users = map[string]*user{}
	}
	u := ch.users[e.Member.UserID]
	if u == nil {
		u = &user{}
		ch.users[e.Member.UserID] = u
		r.metrics.members.Inc()
		r.tellMember(a, e, broker.MemberAdded)
	}
	u.member = *e.Member
	u.connections++
	s := Snapshot{Members: make([]broker.Member, 0, len(ch.users)), Serial: a.serial}
	for _, u := range ch.users {
		s.Members = append(s.Members, u.member)
	}
	return s
}

// Leave takes a connection out of a channel. When it was its user's last one the remaining
// subscribers are told before Leave returns.
func (r *Registry) Leave(e Entry) {
	a := r.app(e.App)
	a.mu.Lock()
	defer a.mu.Unlock()
	ch := a.channels[e.Channel]
	if ch == nil {
		return
	}
	if e.Member != nil {
		if u := ch.users[e.Member.UserID]; u != nil {
			u.connections--
			if u.connections == 0 {
				delete(ch.users, e.Member.UserID)
				r.metrics.members.Dec()
				r.tellMember(a, e, broker.MemberRemoved)
			}
		}
	}
	ch.subscriptions--
	if e.Counted {
		r.count(a, e.Channel, ch.subscriptions)
	}
	if ch.subscriptions == 0 {
		delete(a.channels, e.Channel)
		r.metrics.channels.Dec()
		if !ch.unlisted {
			r.observe(a, e.Channel, broker.ChannelVacated)
		}
	}
}

// tellMember tells the channel's other subscribers of a member. It is called with a.mu held.
func (r *Registry) tellMember(a *app, e Entry, kind broker.NoticeKind) {
	n := a.notice(kind, e.Channel)
	n.Member = *e.Member
	n.Exclude = e.Socket
	r.tell(n)
}

// tell tells the channel's subscribers and the observer. It is called with the lock of the app
// held, so that they hear of changes in the order in which they were made.
func (r *Registry) tell(n *broker.Notice) {
	r.notifier.Notify(n)
	if r.observer != nil {
		r.observer.Notify(n)
	}
}

// observe tells only the observer. It is called with a.mu held.
func (r *Registry) observe(a *app, ch broker.Channel, kind broker.NoticeKind) {
	if r.observer != nil {
		r.observer.Notify(a.notice(kind, ch))
	}
}

// notice numbers a change. It is called with a.mu held.
func (a *app) notice(kind broker.NoticeKind, ch broker.Channel) *broker.Notice {
	a.serial++
	return &broker.Notice{App: a.id, Channel: ch, Kind: kind, Time: time.Now(), Serial: a.serial}
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
