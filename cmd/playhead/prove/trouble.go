package prove

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	healTime  = time.Minute      // how long the cluster may take to be whole again once trouble is over
	ghostTime = 20 * time.Second // how long who is gone may be told to be present
	agreeTime = 20 * time.Second // how long it may take until all see the same people
	wholeness = 3                // how often in a row the replicas must be found whole
)

// outcome is what a step did.
type outcome struct {
	step   Step
	span   span          // from the trouble to the time it had healed
	healed time.Duration // from the end of the trouble until the cluster was whole
	agreed time.Duration // from then until all saw the same people
	ghosts time.Duration // from the trouble to when the last ghost was gone; 0 when there were none
}

// carryOut has a step's trouble, and waits until it has healed. An error ends the run.
func (r *run) carryOut(ctx context.Context, s Step) (outcome, error) {
	o := outcome{step: s, span: span{from: time.Now()}}
	err := r.trouble(ctx, s, &o)
	over := time.Now()
	if err == nil {
		err = r.heal(ctx)
	}
	o.healed = time.Since(over)
	if err == nil {
		o.agreed, err = r.agree(ctx)
	}
	o.span.to = time.Now()
	return o, err
}

// heal waits until all nodes are up and all replicas whole: what one NATS server alone has must not be
// lost with it in the next step.
func (r *run) heal(ctx context.Context) error {
	times := 0
	return await(ctx, healTime, func(ctx context.Context) error {
		if !r.door.allUp() {
			times = 0
			return errors.New("not all nodes are up")
		}
		if err := r.overseer.whole(ctx); err != nil {
			times = 0
			return err
		}
		if times++; times < wholeness {
			return errors.New("the replicas have only just become whole")
		}
		return nil
	})
}

// hookTime is how long webhooks may take to have told of everything that has happened: what a killed node was
// delivering is taken over after 15 s, and that somebody has left is held back for three, in case of a return.
const hookTime = 30 * time.Second

// agree waits until all see the same people, with nobody coming or going meanwhile, and says how long
// that took; and then until webhooks have told the same.
func (r *run) agree(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	release := r.crowd.hold()
	defer release()
	err := await(ctx, agreeTime, r.crowd.agree)
	took := time.Since(began)
	if err != nil && ctx.Err() == nil {
		r.faults.add(faultDrift, "%v, at %s", err, clock(time.Now()))
	}
	if ctx.Err() != nil || err != nil {
		return took, ctx.Err()
	}
	err = await(ctx, hookTime, func(context.Context) error { return r.receiver.agree(r.crowd.there()) })
	if err != nil && ctx.Err() == nil {
		r.faults.add(faultHook, "%v, at %s", err, clock(time.Now()))
		r.receiver.forgive(r.crowd.there())
	}
	return took, ctx.Err()
}

func (r *run) trouble(ctx context.Context, s Step, o *outcome) error {
	c := r.cluster
	switch s.Kind {
	case KillNode:
		return r.killNode(ctx, s.Node-1, o)
	case KillLeader, KillFollower:
		return r.killServer(ctx, s)
	case CutLinks, StallLinks, SlowLinks:
		for _, l := range c.meant(s) {
			switch s.Kind {
			case CutLinks:
				l.cut()
			case StallLinks:
				l.stall()
			default:
				l.slow(s.Latency)
			}
		}
		err := pass(ctx, s.Lasts)
		for _, l := range c.meant(s) {
			l.open()
		}
		return err
	case PauseShort:
		c.nodes[s.Node-1].pause()
		defer c.nodes[s.Node-1].resume()
		return pass(ctx, s.Lasts)
	case PauseLong:
		return r.pauseNode(ctx, s, o)
	case RollNodes:
		for i := range c.nodes {
			if err := r.restartNode(ctx, i, o); err != nil {
				return err
			}
		}
		return nil
	case RollNATS:
		for _, p := range c.nats {
			if err := r.stop(ctx, p); err != nil {
				return err
			}
			if err := p.start(); err != nil {
				return err
			}
			if err := r.heal(ctx); err != nil {
				return fmt.Errorf("after the restart of %s: %w", p.name, err)
			}
		}
		return nil
	}
	return fmt.Errorf("unknown trouble %q", s.Kind)
}

// visitors brings guests to a node. That they can't be brought is a fault, and there are none then.
func (r *run) visitors(ctx context.Context, node int) *guests {
	r.guests++
	g, err := r.crowd.invite(ctx, node, fmt.Sprint(r.guests))
	if err != nil && ctx.Err() == nil {
		r.faults.add(faultDrift, "%v", err)
	}
	return g
}

// bury waits until the guests are gone.
func (r *run) bury(ctx context.Context, g *guests, since time.Time, o *outcome) {
	if g != nil {
		o.ghosts = max(o.ghosts, g.gone(ctx, since))
	}
}

func (r *run) killNode(ctx context.Context, i int, o *outcome) error {
	g := r.visitors(ctx, i)
	o.span.from = time.Now()
	r.cluster.nodes[i].kill()
	r.bury(ctx, g, o.span.from, o)
	if g != nil {
		g.disperse()
	}
	return r.startNode(ctx, i)
}

func (r *run) startNode(ctx context.Context, i int) error {
	if err := r.cluster.nodes[i].start(); err != nil {
		return err
	}
	return r.cluster.awaitNode(ctx, i)
}

// killServer kills the NATS server that leads the app's stream, or one that doesn't.
func (r *run) killServer(ctx context.Context, s Step) error {
	var victim string
	err := await(ctx, healTime, func(ctx context.Context) error {
		leader, followers, err := r.overseer.leader(ctx, r.stream())
		switch {
		case err != nil:
			return err
		case s.Kind == KillLeader:
			victim = leader
		case len(followers) == 0:
			return fmt.Errorf("%s has no followers", r.stream())
		default:
			victim = followers[0]
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range r.cluster.nats {
		if p.name != victim {
			continue
		}
		r.say("          it is %s", victim)
		p.kill()
		if err := pass(ctx, s.Lasts); err != nil {
			return err
		}
		return p.start()
	}
	return fmt.Errorf("%s is led by %q, which is none of ours", r.stream(), victim)
}

// stream is the name of the app's stream.
func (r *run) stream() string { return "playhead_" + string(r.cluster.app.app) }

// pauseNode stops a node for longer than the others wait for it. They bury it, and when it goes on it
// sends everybody away.
func (r *run) pauseNode(ctx context.Context, s Step, o *outcome) error {
	g := r.visitors(ctx, s.Node-1)
	o.span.from = time.Now()
	p := r.cluster.nodes[s.Node-1]
	p.pause()
	r.bury(ctx, g, o.span.from, o)
	err := pass(ctx, s.Lasts-time.Since(o.span.from))
	p.resume()
	if g != nil {
		g.sentAway(ctx)
	}
	return err
}

// restartNode ends a node as an operator does, and starts it again.
func (r *run) restartNode(ctx context.Context, i int, o *outcome) error {
	g := r.visitors(ctx, i)
	began := time.Now()
	err := r.stop(ctx, r.cluster.nodes[i])
	r.bury(ctx, g, began, o)
	if g != nil {
		g.disperse()
	}
	if err != nil {
		return err
	}
	return r.startNode(ctx, i)
}

// stop ends a process as an operator does. One that doesn't end well is a fault, no error.
func (r *run) stop(ctx context.Context, p *process) error {
	if err := p.stop(ctx, stopTime); err != nil && ctx.Err() == nil {
		r.faults.add(faultProcess, "%v", err)
	}
	return ctx.Err()
}

// pass lets time pass.
func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
