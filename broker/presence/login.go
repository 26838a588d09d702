package presence

import (
	"context"
	"time"

	"github.com/playhead/playhead/broker"
)

// Login is one connection that is signed in as a user. Its methods are called by the connection's
// session, one at a time.
type Login struct {
	registry   *Registry
	app        *app
	subscriber broker.Subscriber
	account    *account // the user's; guarded by app.mu, nil once signed out
	place      int      // guarded by app.mu; in account.logins
	watches    []watch  // guarded by app.mu; whom the connection watches, each once
}

// watch is a login's end of its interest in a user, [watcher] is the user's. Each knows the other's
// place, so that a popular user is left as quickly as any.
type watch struct {
	account *account
	place   int // in account.watchers
}

type watcher struct {
	login *Login
	place int // in login.watches
}

// account is a user who is online or watched. Its fields are guarded by the app's lock.
type account struct {
	id       string
	logins   []*Login // of this node, in no order
	online   int      // connections that are signed in, of all nodes; the user is online while there are any
	others   shares   // those of other nodes
	watchers []watcher
}

// SignIn makes a connection one of a user's. When it is the first one those who watch the user are
// told before SignIn returns. A connection is signed in once at most; the caller sees to that.
func (r *Registry) SignIn(id broker.AppID, userID string, s broker.Subscriber) *Login {
	a := r.app(id)
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.account(userID)
	l := &Login{registry: r, app: a, subscriber: s, account: u, place: len(u.logins)}
	u.logins = append(u.logins, l)
	r.signed(a, u, 1)
	return l
}

// signed makes, or has the log make, the number of a user's connections another one. It is called with
// a.mu held.
func (r *Registry) signed(a *app, u *account, by int32) {
	c := change{App: a.id, User: &u.id, By: by}
	if r.cluster != nil {
		r.cluster.signed(c)
		return
	}
	_ = r.apply(a, &c, origin{time: time.Now()}) // only who joins a channel can be refused
}

// Watch makes users, known or not, those whom the connection watches, in place of those it watched
// before. Before Watch returns the connection is delivered a notice of who of them is online and who
// isn't, unless there are none; after that, one for each change, in order and without a hole. After
// SignOut it does nothing.
func (l *Login) Watch(userIDs []string) {
	a := l.app
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.account == nil {
		return
	}
	l.unwatch()
	if len(userIDs) == 0 {
		return
	}
	l.watches = make([]watch, 0, len(userIDs))
	known := make(map[string]bool, len(userIDs))
	n := a.notice(broker.WatchedUsers, "", time.Now())
	for _, id := range userIDs {
		if known[id] {
			continue
		}
		known[id] = true
		u := a.account(id)
		u.watchers = append(u.watchers, watcher{login: l, place: len(l.watches)})
		l.watches = append(l.watches, watch{account: u, place: len(u.watchers) - 1})
		if u.online > 0 {
			n.Online = append(n.Online, id)
		} else {
			n.Offline = append(n.Offline, id)
		}
	}
	l.subscriber.Deliver(&broker.Delivery{Notice: n})
}

// SignOut ends the login. When it was its user's last one those who watch the user are told before
// SignOut returns. No notice of watched users is delivered to the connection after it has returned.
// Signing out again does nothing.
func (l *Login) SignOut() {
	a := l.app
	a.mu.Lock()
	defer a.mu.Unlock()
	u := l.account
	if u == nil {
		return
	}
	l.unwatch()
	l.account = nil
	last := len(u.logins) - 1
	u.logins[l.place] = u.logins[last]
	u.logins[l.place].place = l.place
	u.logins[last] = nil
	u.logins = u.logins[:last]
	l.registry.signed(a, u, -1)
	a.tidy(u)
}

// unwatch ends the connection's interest in others. It is called with the app's lock held.
func (l *Login) unwatch() {
	for _, w := range l.watches {
		u := w.account
		last := len(u.watchers) - 1
		moved := u.watchers[last]
		u.watchers[w.place] = moved
		moved.login.watches[moved.place].place = w.place
		u.watchers[last] = watcher{}
		u.watchers = u.watchers[:last]
		l.app.tidy(u)
	}
	l.watches = nil
}

// Terminate closes the connections that are signed in as a user, of this node before it returns, of
// others a moment later. Those who merely are in a presence channel under the id are not among them.
// Error: [broker.ErrUnavailable] when the other nodes may not have been told, and the context's.
func (r *Registry) Terminate(ctx context.Context, id broker.AppID, userID string) error {
	for _, s := range r.Connections(id, userID) {
		s.Close(broker.Terminated)
	}
	if r.cluster != nil {
		return r.cluster.terminate(ctx, id, userID)
	}
	return nil
}

// Connections returns this node's connections that are signed in as a user.
func (r *Registry) Connections(id broker.AppID, userID string) []broker.Subscriber {
	a := r.app(id)
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.accounts[userID]
	if u == nil {
		return nil
	}
	var all []broker.Subscriber
	for _, l := range u.logins {
		all = append(all, l.subscriber)
	}
	return all
}

// account returns what is known of a user, making a place for it when there is none. It is called
// with a.mu held.
func (a *app) account(userID string) *account {
	u := a.accounts[userID]
	if u == nil {
		u = &account{id: userID}
		a.accounts[userID] = u
	}
	return u
}

// tidy forgets a user who is neither online nor watched. It is called with a.mu held.
func (a *app) tidy(u *account) {
	if u.online == 0 && len(u.logins) == 0 && len(u.watchers) == 0 {
		delete(a.accounts, u.id)
	}
}

// tellWatchers tells that a user has come online or gone offline. It hands the notice over itself,
// under the lock under which watching begins and ends: it is for connections, not for a channel.
// It is called with a.mu held.
func (a *app) tellWatchers(u *account, t time.Time) {
	if len(u.watchers) == 0 {
		return
	}
	n := a.notice(broker.WatchedUsers, "", t)
	if u.online > 0 {
		n.Online = []string{u.id}
	} else {
		n.Offline = []string{u.id}
	}
	d := &broker.Delivery{Notice: n}
	for _, w := range u.watchers {
		w.login.subscriber.Deliver(d)
	}
}
