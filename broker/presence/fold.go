package presence

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/playhead/playhead/broker"
)

// fold takes in the next entry of the log. All nodes fold the same entries in the same order, so they
// come to the same, and whose connection was the first or the last is decided by that order. An error
// ends the life.
func (l *life) fold(e *broker.Event) error {
	c := l.cluster
	lag := max(time.Since(e.Time), 0)
	l.state.lag.Store(lag.Milliseconds())
	c.registry.metrics.lag.Set(lag.Seconds())
	if e.Channel == states {
		l.state.saw(e)
		return nil
	}
	x, err := readEntry(e)
	if err != nil {
		return err
	}
	mine := x.Node == c.cfg.Node && x.Life == l.id
	if e.Name == claims {
		if l.begun && x.Node == c.cfg.Node {
			l.say(item{kind: beats, entry: &entry{}}) // the name is in use
		}
		return nil
	}
	if e.Name == begins {
		return l.foldBegin(e, x, mine)
	}
	p, err := l.heard(e, x, mine)
	if p == nil || err != nil {
		return err
	}
	var said []item
	if mine {
		said = l.landed()
	}
	by := origin{node: p.node, time: e.Time, place: &place{position: e.Position}}
	switch e.Name {
	case changes:
		l.foldChanges(x, by, said)
	case buries:
		err = l.foldBury(x, by, mine)
	case terminates:
		if !mine { // whose own connections are closed already
			for _, s := range c.registry.Connections(x.App, x.User) {
				s.Close(broker.Terminated)
			}
		}
	case ends:
		l.remove(p, by)
		if mine {
			return errEnded
		}
		l.log().Info("a node has ended", "peer", p.name)
	}
	if err != nil {
		return err
	}
	c.teller.folded.Store(e.Position.Serial)
	if x.Told > 0 {
		c.teller.told(x.Told)
	}
	if mine {
		l.writeState(e)
	}
	return nil
}

// log takes what happens to others; what happened before this node was there it doesn't take.
func (l *life) log() *slog.Logger {
	if l.begun {
		return l.logger
	}
	return slog.New(slog.DiscardHandler)
}

// heard notes that a node has said something, and returns it: nil when there is nothing to do, because the
// node is dead and doesn't know it, or because the entry stands in the log twice. Errors: this node is the
// one that is dead; an entry is missing.
func (l *life) heard(e *broker.Event, x *entry, mine bool) (*peer, error) {
	c := l.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[x.Node]
	switch {
	case p == nil || p.life != x.Life:
		if mine && l.begun {
			return nil, errBuried
		}
		return nil, nil
	case x.Number <= p.number:
		return nil, nil
	case x.Number != p.number+1:
		return nil, fmt.Errorf("%w: after entry %d of node %s comes %d", errBroken, p.number, p.name, x.Number)
	}
	now := time.Now()
	if mine && now.Sub(p.seen) > 2*c.cfg.Heartbeat {
		// We have heard nobody, not even ourselves: it doesn't mean that the others are dead.
		for _, other := range c.peers {
			other.seen = now
		}
	}
	p.seen, p.number, p.serial = now, x.Number, e.Position.Serial
	if x.Status != nil {
		p.status = *x.Status
	}
	return p, nil
}

// landed returns what was said in the oldest entry that hadn't been read back.
func (l *life) landed() []item {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.flying) == 0 {
		return nil
	}
	said := l.flying[0]
	l.flying[0] = nil
	l.flying = l.flying[1:]
	return said
}

// foldBegin takes in a new life. What the node had in its former one is gone.
func (l *life) foldBegin(e *broker.Event, x *entry, mine bool) error {
	c := l.cluster
	c.mu.Lock()
	former := c.peers[x.Node]
	c.mu.Unlock()
	if former != nil {
		if former.life == x.Life {
			return nil // said twice
		}
		if former.node == self {
			return fmt.Errorf("%w: another node has begun as %q", errBuried, x.Node)
		}
	}
	p := &peer{name: x.Node, life: x.Life, number: x.Number, serial: e.Position.Serial, begun: e.Position.Serial, seen: time.Now()}
	if mine {
		p.node = self
		l.landed()
		l.begun = true
	} else {
		p.node = c.place()
	}
	if former != nil {
		l.remove(former, origin{time: e.Time, place: &place{position: e.Position}})
	}
	c.mu.Lock()
	c.peers[x.Node] = p
	c.registry.metrics.nodes.Set(float64(len(c.peers)))
	c.mu.Unlock()
	c.elect()
	c.teller.folded.Store(e.Position.Serial)
	if !mine {
		l.log().Info("a node has begun", "peer", x.Node)
	}
	return nil
}

// place gives a peer a place of its own.
func (c *cluster) place() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastNode++
	return c.lastNode
}

// foldBury takes in that a node is dead. That is void when the node has said something since it was
// looked at, and when it was buried before: so each is buried once, by the one who was first.
func (l *life) foldBury(x *entry, by origin, mine bool) error {
	c := l.cluster
	if x.Buried == nil {
		return nil
	}
	c.mu.Lock()
	p := c.peers[x.Buried.Node]
	c.mu.Unlock()
	if p == nil || p.life != x.Buried.Life || p.serial > x.Buried.Serial {
		return nil
	}
	if p.node == self {
		return errBuried
	}
	l.log().Warn("a node is dead; what it had is taken away", "peer", p.name, "by", x.Node)
	if mine {
		c.registry.metrics.buried.Inc()
	}
	l.remove(p, by)
	return nil
}

// remove takes a node out, and everything it had.
func (l *life) remove(p *peer, by origin) {
	c := l.cluster
	c.mu.Lock()
	if c.peers[p.name] == p {
		delete(c.peers, p.name)
	}
	c.registry.metrics.nodes.Set(float64(len(c.peers)))
	c.mu.Unlock()
	c.elect() // the teller may be gone: first what it may not have told, then what this changes
	c.registry.withdraw(p.node, by)
}

// foldChanges takes in that connections have come and gone. said is what this node has to do with them.
func (l *life) foldChanges(x *entry, by origin, said []item) {
	r := l.cluster.registry
	for i := range x.Changes {
		ch := &x.Changes[i]
		var j *joining
		if i < len(said) {
			j = said[i].joining
		}
		if j != nil {
			by.socket = j.entry.Socket
		} else {
			by.socket = ""
		}
		a := r.app(ch.App)
		a.mu.Lock()
		err := r.apply(a, ch, by)
		if j != nil {
			if j.err = err; err == nil {
				j.snapshot = a.snapshot(j.entry)
			}
		}
		a.mu.Unlock()
		if j != nil {
			l.resolve(j)
		}
	}
}

// resolve lets a connection go on that waited, or takes it out again when it has left.
func (l *life) resolve(j *joining) {
	l.mu.Lock()
	j.resolved = true
	left := j.abandoned && j.err == nil
	l.mu.Unlock()
	close(j.done)
	if left {
		l.say(item{change: j.entry.change(-1)})
	}
}
