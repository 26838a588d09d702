package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

const (
	// pace is the least time between two appends: what comes meanwhile is one entry. Appending each
	// join by itself cost ten times as much at 10,000 a second.
	pace = 5 * time.Millisecond

	// mostData is up to how many bytes of changes make an entry, below what NATS takes by default.
	mostData = 256 << 10

	// objecting is how long a node waits for another one to say that it has the name.
	objecting = time.Second

	// leaving bounds what a life says last, and what it was saying before.
	leaving = 5 * time.Second

	retryAfter = 50 * time.Millisecond
	retryMost  = time.Second
)

// life is the node among the others from its begin to its end. Three goroutines have a part in it: run
// folds the log, write appends what is to be said, and watch looks for dead nodes.
type life struct {
	cluster *cluster
	id      string
	logger  *slog.Logger

	die  context.CancelCauseFunc // ends the life; set before anybody can join
	wake chan struct{}           // something is to be said; has room for one
	over chan struct{}           // closed when nothing will be folded any more

	mu     sync.Mutex
	queue  []item   // guarded by mu; what is to be said
	flying [][]item // guarded by mu; what was said in each entry that hasn't been read back, oldest first
	number uint64   // guarded by mu; of the last entry said
	closed bool     // guarded by mu; nothing more is to be said

	// Of the goroutine in run:

	started time.Time
	begun   bool
	state   stateClock
}

// item is a change or an entry that is to be said.
type item struct {
	change  change
	joining *joining // who waits for the change, if anybody does

	kind   string // of entry; empty for a change
	entry  *entry
	event  *broker.Event // instead of an entry: a part of a state
	stored chan struct{} // closed when the entry is stored, if anybody waits for that
}

// say has an item appended, and reports whether it will be tried.
func (l *life) say(it item) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if l.queue = append(l.queue, it); len(l.queue) > l.cluster.cfg.QueueSize {
		l.closed = true
		l.die(errOverflow)
		return false
	}
	l.cluster.registry.metrics.waiting.Set(float64(len(l.queue)))
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

// abandon says that nobody waits for a join any more, and reports whether it was in time: then the
// connection is taken out again as soon as it is in.
func (l *life) abandon(j *joining) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if j.resolved {
		return false
	}
	j.abandoned = true
	return true
}

// run lives until ctx ends, which is said to the others, or until the life can't go on, and says why.
func (l *life) run(ctx context.Context) error {
	living, die := context.WithCancelCause(context.WithoutCancel(ctx))
	l.die = die
	var running sync.WaitGroup
	defer func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		close(l.over)
		die(nil)
		running.Wait()
	}()
	// Until it has begun, ctx ends it at once.
	unbegun := context.AfterFunc(ctx, func() { die(ctx.Err()) })
	defer unbegun()
	c := l.cluster
	if err := l.claim(living); err != nil {
		return err
	}
	from, events, err := c.cfg.Log.Tail(living, App)
	if err != nil {
		return fmt.Errorf("follow the log of who is where: %w", err)
	}
	if err := l.load(living, from); err != nil {
		return fmt.Errorf("read who is where: %w", err)
	}
	l.started = time.Now()
	running.Go(func() { l.begin(living) })
	standing := false
	for e, err := range events {
		if err == nil {
			err = l.fold(e)
		}
		if err != nil {
			die(err)
			break
		}
		if l.begun && !standing {
			standing = true
			if !unbegun() {
				break // ctx has ended, and so has living
			}
			c.stand(l)
			running.Go(func() { l.write(ctx, living) })
			running.Go(func() { l.hurry(ctx, living) })
			running.Go(func() { l.watch(living) })
		}
	}
	if err := context.Cause(living); !errors.Is(err, errEnded) {
		return err
	}
	return nil
}

// errEnded is what ends a life that has said so.
var errEnded = errors.New("ended")

// claim makes sure of the node's name, if the log knows it: a node that lives answers to a claim. It comes
// before anything that is done under the name, for that might disturb the other one.
func (l *life) claim(ctx context.Context) error {
	c := l.cluster
	_, newest, err := c.cfg.Log.Bounds(ctx, App)
	if err != nil {
		return fmt.Errorf("read who is where: %w", err)
	}
	if err := l.load(ctx, newest); err != nil {
		return fmt.Errorf("read who is where: %w", err)
	}
	c.mu.Lock()
	namesake := c.peers[c.cfg.Node]
	clear(c.peers)
	c.mu.Unlock()
	if namesake == nil {
		return nil
	}
	e, err := (&entry{Node: c.cfg.Node, Life: l.id}).event(claims)
	if err != nil {
		return err
	}
	if !l.store(ctx, e) {
		return ctx.Err()
	}
	l.logger.Info("the log knows a node of this name; it has a second to say that it lives", "life", namesake.life)
	after := e.Position.Serial
	for until := time.Now().Add(objecting); time.Now().Before(until); {
		_, newest, err := c.cfg.Log.Bounds(ctx, App)
		if err != nil {
			return fmt.Errorf("wait for another node of this name: %w", err)
		}
		for e, err := range c.cfg.Log.Range(ctx, App, happenings, after, newest.Serial) {
			if err != nil {
				return fmt.Errorf("wait for another node of this name: %w", err)
			}
			x, err := readEntry(e)
			if err != nil {
				return err
			}
			if x.Node == c.cfg.Node && x.Life == namesake.life && e.Name == beats {
				return fmt.Errorf("%w: a node called %q runs; give this one another name (INSTANCE_PROCESS_ID), or stop the other", ErrNameTaken, c.cfg.Node)
			}
		}
		after = newest.Serial
		select {
		case <-time.After(objecting / 20):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// begin says that the life begins; once that is read back it has.
func (l *life) begin(ctx context.Context) {
	l.mu.Lock()
	l.number = 1
	l.flying = append(l.flying, nil)
	l.mu.Unlock()
	l.append(ctx, begins, &entry{Node: l.cluster.cfg.Node, Life: l.id, Number: 1})
}

// append stores an entry, as often as it takes, and reports false when ctx has ended before, or it can't be
// encoded, which ends the life.
func (l *life) append(ctx context.Context, kind string, x *entry) bool {
	e, err := x.event(kind)
	if err != nil {
		l.die(err) // with its number missing the others would lose the thread
		return false
	}
	return l.store(ctx, e)
}

func (l *life) store(ctx context.Context, e *broker.Event) bool {
	wait := retryAfter
	warned := false
	for {
		e.Time = time.Now().UTC().Truncate(time.Millisecond)
		err := l.cluster.cfg.Log.Append(ctx, e)
		if err == nil {
			l.cluster.registry.metrics.entries.WithLabelValues("stored").Inc()
			return true
		}
		l.cluster.registry.metrics.entries.WithLabelValues("retried").Inc()
		if ctx.Err() != nil {
			return false
		}
		if !warned {
			warned = true
			l.logger.Warn("who is where can't be told to other nodes; trying on", "err", err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false
		}
		wait = min(2*wait, retryMost)
	}
}

// write appends what is to be said, one entry after the other, until living ends, or ctx; then the end is
// said, and the rest is up to who folds.
func (l *life) write(ctx, living context.Context) {
	beat := time.NewTimer(0) // others are told at once what this node is like
	defer beat.Stop()
	for more := true; more; {
		select {
		case <-l.wake:
			more = l.flush(living, false, false)
		case <-beat.C:
			more = l.flush(living, true, false)
		case <-ctx.Done():
			l.flush(living, false, true)
			return
		case <-living.Done():
			return
		}
		beat.Reset(l.cluster.cfg.Heartbeat)
	}
}

// hurry ends the life when its end takes too long to be said.
func (l *life) hurry(ctx, living context.Context) {
	select {
	case <-ctx.Done():
	case <-living.Done():
		return
	}
	timer := time.NewTimer(leaving)
	defer timer.Stop()
	select {
	case <-timer.C:
		l.die(fmt.Errorf("say the end: not within %v", leaving))
	case <-living.Done():
	}
}

// flush appends what waits. With nothing there it says what the node is like, when it is time to, or its
// end, when that has come. It reports false when ctx has ended.
func (l *life) flush(ctx context.Context, beating, last bool) bool {
	rest := time.NewTimer(pace)
	defer rest.Stop()
	for {
		x, kind, items, event := l.next(beating, last)
		switch {
		case event != nil:
			if !l.store(ctx, event) {
				return false
			}
		case x != nil:
			if !l.append(ctx, kind, x) {
				return false
			}
		default:
			return true
		}
		for _, it := range items {
			if it.stored != nil {
				close(it.stored)
			}
		}
		if kind == ends {
			return true
		}
		beating = false
		select {
		case <-rest.C:
			rest.Reset(pace)
		case <-ctx.Done():
			return false
		}
	}
}

// next takes out of the queue what the next entry says; nil when there is nothing.
func (l *life) next(beating, last bool) (x *entry, kind string, items []item, event *broker.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	switch {
	case len(l.queue) == 0 && last:
		kind, x = ends, &entry{}
	case len(l.queue) == 0 && beating:
		kind, x = beats, &entry{Status: l.status()}
	case len(l.queue) == 0:
		return nil, "", nil, nil
	case l.queue[0].event != nil:
		event, n = l.queue[0].event, 1
	case l.queue[0].kind != "":
		kind, x, n = l.queue[0].kind, l.queue[0].entry, 1
		if kind == beats {
			x = &entry{Status: l.status()}
		}
	default:
		kind, x = changes, &entry{}
		size := 0
		for n < len(l.queue) && n < l.cluster.cfg.BatchSize && l.queue[n].kind == "" && l.queue[n].event == nil && size < mostData {
			ch := l.queue[n].change
			size += len(ch.Info) + len(ch.Channel) + len(ch.App) + 64
			x.Changes = append(x.Changes, ch)
			n++
		}
	}
	items = append(items, l.queue[:n]...)
	clear(l.queue[:n])
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil
	}
	l.cluster.registry.metrics.waiting.Set(float64(len(l.queue)))
	if x != nil {
		l.number++
		x.Node, x.Life, x.Number = l.cluster.cfg.Node, l.id, l.number
		x.Told = l.cluster.settled()
		l.flying = append(l.flying, items)
		if kind == ends {
			l.closed = true
		}
	}
	return x, kind, items, event
}

// status is what the node says of itself. It is called with l.mu held.
func (l *life) status() *Status {
	return &Status{Connections: l.cluster.cfg.Connections(), Started: l.started.UnixMilli(), Lag: l.state.lag.Load()}
}

// watch looks for nodes that have been silent for too long, and buries them. A node that can't have its
// own word read back hears of nobody's, and takes nobody for dead.
func (l *life) watch(ctx context.Context) {
	c := l.cluster
	if c.cfg.NodeTimeout < 0 {
		return
	}
	tick := time.NewTicker(c.cfg.CleanupInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		var dead []*grave
		c.mu.Lock()
		me := c.peers[c.cfg.Node]
		if me != nil && time.Since(me.seen) <= 2*c.cfg.Heartbeat {
			for _, p := range c.peers {
				if p != me && time.Since(p.seen) > c.cfg.NodeTimeout {
					dead = append(dead, &grave{Node: p.name, Life: p.life, Serial: p.serial})
				}
			}
		}
		c.mu.Unlock()
		for _, g := range dead {
			l.say(item{kind: buries, entry: &entry{Buried: g}})
		}
	}
}
