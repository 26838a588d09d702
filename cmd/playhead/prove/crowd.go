package prove

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

const (
	rooms      = 4 // presence channels
	residents  = 2 // in each: people who stay
	passersby  = 5 // in each: people who come and go
	guestsEach = 1 // in each: people who come to a node that is about to be in trouble
)

// crowd is the people on presence channels.
type crowd struct {
	cluster *cluster
	faults  *faults
	door    string // where people connect
	people  []*person

	mu    sync.Mutex
	still chan struct{} // guarded by mu; not nil while nobody comes or goes by themselves, closed then
}

func roomNames() []broker.Channel {
	names := make([]broker.Channel, rooms)
	for i := range names {
		names[i] = broker.Channel(fmt.Sprint("presence-room-", i+1))
	}
	return names
}

func newCrowd(c *cluster, door string, f *faults) *crowd {
	w := &crowd{cluster: c, faults: f, door: door}
	for _, ch := range roomNames() {
		for i := range residents {
			w.people = append(w.people, w.person(fmt.Sprintf("resident-%d-of-%s", i+1, ch), ch, door))
		}
		for i := range passersby {
			w.people = append(w.people, w.person(fmt.Sprintf("passer-%d-of-%s", i+1, ch), ch, door))
		}
	}
	return w
}

func (w *crowd) person(id string, ch broker.Channel, url string) *person {
	return &person{id: id, ch: ch, url: url, app: &w.cluster.app, faults: w.faults}
}

// run has people come, stay and go until ctx ends; then they break off. When over ends everybody
// leaves, for good.
func (w *crowd) run(ctx, over context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for i, p := range w.people {
		stays := i%(residents+passersby) < residents
		all.Go(func() {
			for ctx.Err() == nil && over.Err() == nil {
				if !stays {
					w.pass(ctx, over, time.Duration(500+rand.IntN(6000))*time.Millisecond)
				}
				if over.Err() != nil {
					return
				}
				w.visit(ctx, over, p, stays)
			}
		})
	}
}

// visit has a person there for a while, or until over ends.
func (w *crowd) visit(ctx, over context.Context, p *person, stays bool) {
	p.come()
	var staying sync.WaitGroup
	staying.Go(func() { p.stay(ctx, false) })
	if stays {
		select {
		case <-ctx.Done():
		case <-over.Done():
		}
	} else {
		w.pass(ctx, over, time.Duration(2000+rand.IntN(8000))*time.Millisecond)
	}
	p.leave(ctx)
	staying.Wait()
}

// pass lets time pass, and then whatever time everybody is to be still; it ends with over.
func (w *crowd) pass(ctx, over context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-over.Done():
	case <-timer.C:
	}
	for ctx.Err() == nil && over.Err() == nil {
		w.mu.Lock()
		still := w.still
		w.mu.Unlock()
		if still == nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-over.Done():
		case <-still:
		}
	}
}

// hold has nobody come or go by themselves until release.
func (w *crowd) hold() (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	still := make(chan struct{})
	w.still = still
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.still = nil
		close(still)
	}
}

// there returns who means to be in each channel.
func (w *crowd) there() map[broker.Channel]view {
	all := map[broker.Channel]view{}
	for _, ch := range roomNames() {
		all[ch] = view{}
	}
	for _, p := range w.people {
		if p.means() {
			all[p.ch][p.id] = true
		}
	}
	return all
}

// agree returns nil when everybody sees those who are there, and every node says so too.
func (w *crowd) agree(ctx context.Context) error {
	there := w.there()
	for _, p := range w.people {
		if !p.means() {
			continue
		}
		v := p.view()
		if v == nil {
			return fmt.Errorf("%s is not in %s yet", p.id, p.ch)
		}
		if says := v.differs(there[p.ch]); says != "" {
			return fmt.Errorf("%s in %s %s", p.id, p.ch, says)
		}
	}
	for i := range w.cluster.nodes {
		for ch, who := range there {
			v, err := w.users(ctx, i, ch)
			if err != nil {
				return err
			}
			if says := v.differs(who); says != "" {
				return fmt.Errorf("%s in %s %s", w.cluster.nodes[i].name, ch, says)
			}
		}
	}
	return nil
}

// users asks a node who is in a channel.
func (w *crowd) users(ctx context.Context, node int, ch broker.Channel) (view, error) {
	var answer struct {
		Users []struct {
			ID string `json:"id"`
		} `json:"users"`
	}
	if err := w.cluster.ask(ctx, node, "/channels/"+url.PathEscape(string(ch))+"/users", &answer); err != nil {
		return nil, err
	}
	v := view{}
	for _, u := range answer.Users {
		v[u.ID] = true
	}
	return v, nil
}

// guests are people on one node who don't come back when it is gone.
type guests struct {
	crowd   *crowd
	node    int
	people  []*person
	staying sync.WaitGroup
}

// invite brings guests to a node, and returns when they are seen.
func (w *crowd) invite(ctx context.Context, node int, name string) (*guests, error) {
	g := &guests{crowd: w, node: node}
	for _, ch := range roomNames() {
		for i := range guestsEach {
			p := w.person(fmt.Sprintf("guest-%d-%s-of-%s", i+1, name, ch), ch, w.cluster.nodeAddr[node])
			p.come()
			g.people = append(g.people, p)
			g.staying.Go(func() { p.stay(ctx, true) })
		}
	}
	err := await(ctx, healTime, func(ctx context.Context) error {
		for _, p := range g.people {
			if p.view() == nil {
				return fmt.Errorf("%s is not in %s yet", p.id, p.ch)
			}
		}
		return g.seen(ctx, true)
	})
	if err != nil {
		g.disperse()
		return nil, fmt.Errorf("bring guests to %s: %w", w.cluster.nodes[node].name, err)
	}
	return g, nil
}

// seen returns nil when everybody sees all guests, or when nobody sees any: people on other nodes,
// and those nodes themselves.
func (g *guests) seen(ctx context.Context, all bool) error {
	check := func(who string, ch broker.Channel, v view) error {
		for _, p := range g.people {
			if p.ch == ch && v[p.id] != all {
				return fmt.Errorf("%s in %s: %s is seen: %t", who, ch, p.id, !all)
			}
		}
		return nil
	}
	for _, p := range g.crowd.people {
		if v := p.fresh(); v != nil {
			if err := check(p.id, p.ch, v); err != nil {
				return err
			}
		}
	}
	for i := range g.crowd.cluster.nodes {
		if i == g.node {
			continue
		}
		for _, ch := range roomNames() {
			v, err := g.crowd.users(ctx, i, ch)
			if err == nil {
				err = check(g.crowd.cluster.nodes[i].name, ch, v)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// gone waits until nobody sees any guest any more, and returns how long that was since the trouble
// began.
func (g *guests) gone(ctx context.Context, since time.Time) time.Duration {
	err := await(ctx, ghostTime, func(ctx context.Context) error { return g.seen(ctx, false) })
	if err != nil && ctx.Err() == nil {
		g.crowd.faults.add(faultGhost, "%v", err)
	}
	return time.Since(since)
}

// sentAway waits until the guests' connections have ended.
func (g *guests) sentAway(ctx context.Context) {
	err := await(ctx, ghostTime, func(context.Context) error {
		for _, p := range g.people {
			if p.view() != nil {
				return errors.New(p.id + " is still connected to a node that was buried")
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		g.crowd.faults.add(faultConnected, "%v", err)
	}
	g.disperse()
}

// disperse ends the guests' connections, and returns when nobody is left.
func (g *guests) disperse() {
	for _, p := range g.people {
		p.mu.Lock()
		p.here = false
		c := p.conn
		p.mu.Unlock()
		if c != nil {
			_ = c.CloseNow() // it is gone either way
		}
	}
	g.staying.Wait()
}

// left returns nil when no node knows of anybody or any channel.
func (w *crowd) left(ctx context.Context) error {
	for i := range w.cluster.nodes {
		var answer struct {
			Channels map[string]any `json:"channels"`
		}
		if err := w.cluster.ask(ctx, i, "/channels", &answer); err != nil {
			return err
		}
		for ch := range answer.Channels {
			return fmt.Errorf("%s says that %s is occupied, and %d more", w.cluster.nodes[i].name, ch, len(answer.Channels)-1)
		}
	}
	return nil
}
