package presence

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/playhead/playhead/broker"
)

// change is that a node has more or fewer connections in a channel, or signed in as a user. It is what
// nodes tell each other.
type change struct {
	App     broker.AppID   `json:"a"`
	Channel broker.Channel `json:"c,omitempty"` // empty for a sign-in or a sign-out

	// User is the member of a presence channel, or who signed in; Info the member's user_info.
	User *string         `json:"u,omitempty"`
	Info json.RawMessage `json:"i,omitempty"`

	// By is how many connections more: 1, or −1; in a state any.
	By int32 `json:"n"`

	// Limit is how many users a presence channel may have for the join to count.
	Limit int `json:"l,omitempty"`

	Counted  bool `json:"k,omitempty"`
	Unlisted bool `json:"x,omitempty"`
}

// origin is who made a change, as those see it who fold it.
type origin struct {
	node   uint32 // its place among the peers; self is this node
	socket broker.SocketID
	time   time.Time
	place  *place // where it stands in the log that nodes share; nil for nowhere
}

// place is where a change stands in the log, and how many notices came of the entry so far.
type place struct {
	position broker.Position
	notices  int
}

// self is this node's place among the peers.
const self uint32 = 0

// apply makes a change of where connections are. It is called with a.mu held. Error: [ErrFull], and
// nothing has changed.
func (r *Registry) apply(a *app, c *change, by origin) error {
	switch {
	case c.Channel == "":
		r.applyLogin(a, c, by)
	case c.By > 0:
		return r.applyJoin(a, c, by)
	case c.By < 0:
		r.applyLeave(a, c, by)
	}
	return nil
}

func (r *Registry) applyJoin(a *app, c *change, by origin) error {
	ch := a.channels[c.Channel]
	if c.User != nil && ch != nil && c.Limit > 0 && len(ch.users) >= c.Limit && ch.users[*c.User] == nil {
		return fmt.Errorf("join %s: %w (%d users)", c.Channel, ErrFull, c.Limit)
	}
	if ch == nil {
		ch = &channel{unlisted: c.Unlisted}
		a.channels[c.Channel] = ch
		r.metrics.channels.Inc()
		if !c.Unlisted {
			r.observe(a, c.Channel, broker.ChannelOccupied, by)
		}
	}
	ch.subscriptions += int(c.By)
	ch.counted = ch.counted || c.Counted
	if by.node != self {
		ch.others.add(by.node, c.By)
	}
	if c.User != nil {
		r.admit(a, ch, c, by)
	}
	if c.Counted {
		r.count(a, c.Channel, ch.subscriptions, by)
	}
	return nil
}

// admit makes connections those of a user in a presence channel. It is called with a.mu held.
func (r *Registry) admit(a *app, ch *channel, c *change, by origin) {
	if ch.users == nil {
		ch.users = map[string]*user{}
	}
	u := ch.users[*c.User]
	m := broker.Member{UserID: *c.User, Info: c.Info}
	if u == nil {
		u = &user{}
		ch.users[*c.User] = u
		r.metrics.members.Inc()
		r.tellMember(a, c.Channel, m, broker.MemberAdded, by)
	}
	u.member = m
	u.connections += int(c.By)
	if by.node != self {
		u.others.add(by.node, c.By)
	}
}

func (r *Registry) applyLeave(a *app, c *change, by origin) {
	ch := a.channels[c.Channel]
	if ch == nil || !held(by.node, int(-c.By), ch.subscriptions, ch.others) {
		return
	}
	if c.User != nil {
		u := ch.users[*c.User]
		if u == nil || !held(by.node, int(-c.By), u.connections, u.others) {
			return
		}
		u.connections += int(c.By)
		if by.node != self {
			u.others.add(by.node, c.By)
		}
		if u.connections == 0 {
			delete(ch.users, *c.User)
			r.metrics.members.Dec()
			r.tellMember(a, c.Channel, u.member, broker.MemberRemoved, by)
		}
	}
	ch.subscriptions += int(c.By)
	if by.node != self {
		ch.others.add(by.node, c.By)
	}
	if c.Counted {
		r.count(a, c.Channel, ch.subscriptions, by)
	}
	if ch.subscriptions == 0 {
		delete(a.channels, c.Channel)
		r.metrics.channels.Dec()
		if !ch.unlisted {
			r.observe(a, c.Channel, broker.ChannelVacated, by)
		}
	}
}

// held reports whether a node has as many connections as are to be taken from it.
func held(node uint32, n, total int, others shares) bool {
	if node == self {
		return total-others.sum() >= n
	}
	return int(others.of(node)) >= n
}

func (r *Registry) applyLogin(a *app, c *change, by origin) {
	if c.User == nil {
		return
	}
	u := a.account(*c.User)
	if c.By < 0 && !held(by.node, int(-c.By), u.online, u.others) {
		a.tidy(u)
		return
	}
	was := u.online
	u.online += int(c.By)
	if by.node != self {
		u.others.add(by.node, c.By)
	}
	switch {
	case was == 0 && u.online > 0:
		r.metrics.online.Inc()
		a.tellWatchers(u, by.time)
	case was > 0 && u.online == 0:
		r.metrics.online.Dec()
		a.tellWatchers(u, by.time)
	}
	a.tidy(u)
}

// withdraw takes away all that a node has, as if its connections had left one by one.
func (r *Registry) withdraw(node uint32, by origin) {
	by.node = node
	for _, a := range r.all() {
		a.mu.Lock()
		for _, c := range a.of(node) {
			c.By, c.Limit = -c.By, 0
			_ = r.apply(a, &c, by) // only who joins can be refused
		}
		a.mu.Unlock()
	}
}

// of returns what a node has, as changes that would bring it about. It is called with a.mu held.
func (a *app) of(node uint32) []change {
	share := func(total int, others shares) int32 {
		if node == self {
			return int32(total - others.sum())
		}
		return others.of(node)
	}
	var all []change
	for name, ch := range a.channels {
		rest := share(ch.subscriptions, ch.others)
		if rest == 0 {
			continue
		}
		for id, u := range ch.users {
			if n := share(u.connections, u.others); n > 0 {
				all = append(all, change{App: a.id, Channel: name, User: &id, Info: u.member.Info, By: n, Unlisted: ch.unlisted, Counted: ch.counted})
				rest -= n
			}
		}
		if rest > 0 {
			all = append(all, change{App: a.id, Channel: name, By: rest, Unlisted: ch.unlisted, Counted: ch.counted})
		}
	}
	for id, u := range a.accounts {
		if n := share(u.online, u.others); n > 0 {
			all = append(all, change{App: a.id, User: &id, By: n})
		}
	}
	return all
}
