package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// span is a time that is measured, since the run began.
type span struct{ from, upto time.Duration }

// run is what the clients and publishers of one run share.
type run struct {
	cfg    Config
	id     string
	client *http.Client
	lanes  []lane // by channel and publisher
	began  time.Time

	// Set before the first event is published.
	loadFrom time.Duration
	measure  span

	connects, subscribes, returns, publishes, deliveries, lags recorder

	published, accepted, unsent atomic.Int64 // events
	delivered, measured         atomic.Int64 // deliveries
	gaps, visits, skipped       atomic.Int64
	opened                      atomic.Int64 // of those who stay

	mu      sync.Mutex
	faults  Faults // guarded by mu
	first   string // guarded by mu; the first fault in words
	refused int64  // guarded by mu; events
	refusal error  // guarded by mu; the first
}

func (r *run) channel(i int) string { return fmt.Sprintf("bench-%s-%d", r.id, i) }

func (r *run) lane(channel, publisher int) *lane {
	return &r.lanes[channel*r.cfg.Publishers+publisher]
}

// room is whether one more event may be published when there is no rate: what is under way is
// bounded, else the slowest queue would decide.
func (r *run) room() bool {
	const underWay = 64 // events per channel, and for the publishers what they have in hand
	lag := r.published.Load()*int64(r.cfg.Subscribers) - r.delivered.Load()
	return lag <= int64(r.cfg.Subscribers)*int64(underWay*r.cfg.Channels+r.cfg.Publishers*r.cfg.Batch)
}

func (r *run) refuse(events int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused += events
	if r.refusal == nil {
		r.refusal = err
	}
}

// blame adds the faults of a client.
func (r *run) blame(f Faults, c *conn) {
	if f.sum() == 0 {
		return
	}
	r.note(f, fmt.Sprintf("client %d of %s: %s", c.number, r.channel(c.channel), f))
}

func (r *run) note(f Faults, words string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults.add(f)
	if r.first == "" {
		r.first = words
	}
}

// wait waits until a condition holds, for as long as patience lasts.
func (r *run) wait(ctx context.Context, condition func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Patience)
	defer cancel()
	for !condition() {
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// paced calls do at a rate until it says no or ctx ends, with the time that each call was due at.
func paced(ctx context.Context, rate float64, do func(k int, due time.Time) bool) {
	began := time.Now()
	for k := 0; ; k++ {
		due := time.Now()
		if rate != None {
			due = began.Add(time.Duration(float64(k) / rate * float64(time.Second)))
		}
		if wait := time.Until(due); wait > 0 && pause(ctx, wait) != nil {
			return
		}
		if ctx.Err() != nil || !do(k, due) {
			return
		}
	}
}

// open opens the connections of those who stay. The first that can't be opened ends it.
func (r *run) open(ctx context.Context, replay bool) ([]*conn, error) {
	count := r.cfg.Channels * r.cfg.Subscribers
	conns := make([]*conn, count)
	for i := range conns {
		conns[i] = r.newConn(i, replay)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var opening sync.WaitGroup
	places := make(chan struct{}, 64)
	paced(ctx, r.cfg.DialRate, func(k int, due time.Time) bool {
		if k == count {
			return false
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return false
		}
		if r.cfg.DialRate == None {
			due = time.Now()
		}
		opening.Go(func() {
			defer func() { <-places }()
			if err := conns[k].open(ctx, due); err != nil {
				cancel(fmt.Errorf("connection %d of %d: %w", k+1, count, err))
				return
			}
			r.opened.Add(1)
		})
		return true
	})
	opening.Wait()
	if err := context.Cause(ctx); err != nil {
		for _, c := range conns {
			c.hangUp()
		}
		return nil, err
	}
	return conns, nil
}

// stay reads what comes until the connection ends. Who is cut by us comes back.
func (c *conn) stay(ctx context.Context, ending *atomic.Bool) {
	defer close(c.end)
	for {
		err := c.listen()
		switch {
		case ending.Load() || ctx.Err() != nil:
			return
		case !c.cut.Load():
			c.closed(err)
			return
		}
		if pause(ctx, absence) != nil {
			return
		}
		if err := c.open(ctx, time.Now()); err != nil {
			if !ending.Load() && ctx.Err() == nil {
				c.closed(err)
			}
			return
		}
		if ending.Load() { // whoever hung up may have done it before there was this one
			c.hangUp()
			return
		}
		c.cut.Store(false)
	}
}

// absence is how long a client that was cut stays away, so that it misses something.
const absence = 200 * time.Millisecond

func (c *conn) closed(err error) {
	c.run.note(Faults{Closed: 1}, fmt.Sprintf("client %d was ended: %v", c.number, err))
}

// visit is a visitor: it comes, stays a moment, waits for what it was promised, and leaves.
func (r *run) visit(ctx context.Context, k int, due time.Time) {
	c := r.newConn(k, false)
	if err := c.open(ctx, due); err != nil {
		if ctx.Err() == nil {
			c.closed(err)
		}
		return
	}
	c.end = make(chan struct{})
	var leaving atomic.Bool
	var reading sync.WaitGroup
	reading.Go(func() { c.stay(ctx, &leaving) })
	_ = pause(ctx, time.Second) // it leaves early when the run ends
	c.finish(context.WithoutCancel(ctx))
	leaving.Store(true)
	_ = c.ws.Close(websocket.StatusNormalClosure, "") // it is gone either way
	reading.Wait()
	r.visits.Add(1)
}

// turns is what happens besides publishing, until ctx ends.
func (r *run) turns(ctx context.Context, conns []*conn) {
	switch r.cfg.Scenario {
	case Reconnect:
		paced(ctx, r.cfg.Turns, func(k int, _ time.Time) bool {
			c := conns[k%len(conns)]
			if c.gone() {
				return true
			}
			if !c.cut.CompareAndSwap(false, true) {
				r.skipped.Add(1) // it isn't back yet
				return true
			}
			c.hangUp()
			return true
		})
	case Churn:
		var visitors sync.WaitGroup
		defer visitors.Wait()
		places := make(chan struct{}, 2_000)
		// Those who visit finish by themselves when the load ends.
		paced(ctx, r.cfg.Turns, func(k int, due time.Time) bool {
			select {
			case places <- struct{}{}:
			default:
				r.skipped.Add(1)
				return true
			}
			visitors.Go(func() {
				defer func() { <-places }()
				r.visit(ctx, k, due)
			})
			return true
		})
	}
}

// publish has the publishers do their work, with what happens besides.
func (r *run) publish(ctx context.Context, conns []*conn) {
	if r.cfg.Scenario == Connect {
		p := &publisher{run: r}
		for range max(1, r.cfg.Channels/r.cfg.Batch) {
			p.publish(ctx, time.Since(r.began))
		}
		return
	}
	turning, stop := context.WithCancel(ctx)
	var turns, publishing sync.WaitGroup
	turns.Go(func() { r.turns(turning, conns) })
	for i := range r.cfg.Publishers {
		p := &publisher{run: r, number: i, next: i % r.cfg.Channels}
		publishing.Go(func() { p.load(ctx) })
	}
	publishing.Wait()
	stop()
	turns.Wait()
}

// whole is whether every client has everything, and is back.
func whole(conns []*conn) bool {
	for _, c := range conns {
		if c.gone() {
			continue
		}
		if c.cut.Load() || c.lost(c.marks()) > 0 {
			return false
		}
	}
	return true
}

var errInterrupted = errors.New("interrupted")
