// Package presence knows who is where across all nodes: occupied channels, present members.
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

	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
)

// Notifier is told of each change of a presence channel's members, one at a time per app and in
// the order of the serials. It must not call back into the registry and must not block.
type Notifier interface {
	Notify(n *broker.Notice)
}

// Config configures a [Registry].
type Config struct {
	// Notifier tells subscribers of changes; broker.Node does. Required.
	Notifier Notifier

	// Registerer takes the metrics. Default: a registry of its own, seen by nobody.
	Registerer prometheus.Registerer
}

// Registry holds the subscriptions of all apps. It is safe for concurrent use. Its locks stand
// above those of the node: it is never called while one of those is held.
type Registry struct {
	notifier Notifier
	metrics  *metrics

	mu   sync.Mutex
	apps map[broker.AppID]*app // guarded by mu; one for each app ever joined here
}

// app is what is known of one app.
type app struct {
	mu       sync.Mutex
	serial   uint64                      // guarded by mu; of the last change of members
	channels map[broker.Channel]*channel // guarded by mu; occupied ones only
}

// channel is an occupied channel.
type channel struct {
	subscriptions int
	users         map[string]*user // nil unless it is a presence channel
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
	r := &Registry{notifier: cfg.Notifier, apps: map[broker.AppID]*app{}}
	r.metrics = newMetrics(cfg.Registerer)
	return r, nil
}

// Entry is one connection's place in one channel. Leave gets the Entry that Join got.
type Entry struct {
	App     broker.AppID
	Channel broker.Channel
	Socket  broker.SocketID
	Member  *broker.Member // nil unless it is a presence channel
}

// Snapshot is who is in a presence channel, right after a join.
type Snapshot struct {
	Members []broker.Member // one per user, in no order; nil unless it is a presence channel
	Serial  uint64          // of the newest notice the members already reflect
}

// Join enters a connection into a channel and returns who is there, itself included. When it is
// its user's first connection the other subscribers are told before Join returns. At most limit
// users are admitted; a further connection of a present user always is. The newest connection's
// user_info stands for the user from then on. Error: [ErrFull], and nothing has changed.
func (r *Registry) Join(e Entry, limit int) (Snapshot, error) {
	a := r.app(e.App)
	a.mu.Lock()
	defer a.mu.Unlock()
	ch := a.channels[e.Channel]
	if e.Member != nil && ch != nil && len(ch.users) >= limit && ch.users[e.Member.UserID] == nil {
		return Snapshot{}, fmt.Errorf("join %s: %w (%d users)", e.Channel, ErrFull, limit)
	}
	if ch == nil {
		ch = &channel{}
		a.channels[e.Channel] = ch
		r.metrics.channels.Inc()
	}
	ch.subscriptions++
	if e.Member == nil {
		return Snapshot{}, nil
	}
	if ch.users == nil {
		ch.users = map[string]*user{}
	}
	u := ch.users[e.Member.UserID]
	if u == nil {
		u = &user{}
		ch.users[e.Member.UserID] = u
		r.metrics.members.Inc()
		r.tell(a, e, broker.MemberAdded)
	}
	u.member = *e.Member
	u.connections++
	s := Snapshot{Members: make([]broker.Member, 0, len(ch.users)), Serial: a.serial}
	for _, u := range ch.users {
		s.Members = append(s.Members, u.member)
	}
	return s, nil
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
				r.tell(a, e, broker.MemberRemoved)
			}
		}
	}
	ch.subscriptions--
	if ch.subscriptions == 0 {
		delete(a.channels, e.Channel)
		r.metrics.channels.Dec()
	}
}

// tell numbers the change and tells the channel's subscribers. It is called with a.mu held, so
// that they hear of changes in the order in which they were made.
func (r *Registry) tell(a *app, e Entry, kind broker.NoticeKind) {
	a.serial++
	r.notifier.Notify(&broker.Notice{
		App:     e.App,
		Channel: e.Channel,
		Kind:    kind,
		Member:  *e.Member,
		Exclude: e.Socket,
		Serial:  a.serial,
	})
}

// app returns what is known of an app, making a place for it when there is none.
func (r *Registry) app(id broker.AppID) *app {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.apps[id]
	if a == nil {
		a = &app{channels: map[broker.Channel]*channel{}}
		r.apps[id] = a
	}
	return a
}
