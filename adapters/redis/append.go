package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/playhead/playhead/broker"
	goredis "github.com/redis/go-redis/v9"
)

const (
	// laneQueue is how many appends wait for a round trip before further ones wait to be queued.
	laneQueue = 1024
	// tripAppends and tripBytes bound the appends that share a round trip.
	tripAppends = 512
	tripBytes   = 1 << 20
	// sharedBytes bounds a message that several appends of an app share.
	sharedBytes = 64 << 10
	// laneTrips is how many round trips to a server are under way at a time.
	laneTrips = 2
	// moves is how often an append follows an app that has moved.
	moves = 5
)

// Append publishes the events, all of one app, as one message, so all of them or none. It returns when
// Redis has taken it. The events get no Position. Of cache channels it keeps the last backend event in
// the same step. Errors: [broker.ErrUnavailable], after which the message may have been published or
// not; [broker.ErrClosed]; the context's.
func (m *Medium) Append(ctx context.Context, events ...*broker.Event) error {
	if len(events) == 0 {
		return nil
	}
	app := events[0].App
	fail := func(err error) error { return fmt.Errorf("append to app %s: %w", app, err) }
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	r := &request{app: app, events: len(events), done: make(chan struct{})}
	for _, e := range events {
		if e.App != app {
			return fail(errors.New("an event of another app among them"))
		}
		r.message = appendEvent(r.message, e)
	}
	if len(r.message) >= messageBytes {
		return fail(fmt.Errorf("%d bytes are more than the %d of a message", len(r.message), messageBytes))
	}
	r.last = m.kept(events)
	for {
		err := m.try(ctx, r)
		if r.moved == moves || !errors.Is(err, errMoved) {
			if err != nil {
				return fail(failed(ctx, err))
			}
			return nil
		}
		// It was not published: the server doesn't have the app any more, and says who does.
		r.moved++
		m.unwell(ctx)
		r.state.Store(waiting)
		r.done = make(chan struct{})
	}
}

// errMoved is what a server answers that doesn't have the app (any more): nothing was done.
var errMoved = errors.New("the app has moved")

// request is an append that waits for its answer.
type request struct {
	app     broker.AppID
	message []byte // its events, without the version
	events  int
	last    []last // what is kept of cache channels
	moved   int

	state atomic.Int32
	done  chan struct{} // closed when err is set
	err   error
}

// The states of a request: who changes it from waiting decides.
const (
	waiting   = iota
	taken     // it is on its way to Redis
	abandoned // nobody waits any more, and it won't be sent
)

// try has a request sent, and waits for its answer.
func (m *Medium) try(ctx context.Context, r *request) error {
	l, err := m.lane(ctx, r.app)
	if err != nil {
		m.unwell(ctx)
		return err
	}
	select {
	case l.queue <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-m.done:
		return broker.ErrClosed
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		r.state.CompareAndSwap(waiting, abandoned)
		return ctx.Err()
	case <-m.done:
		return broker.ErrClosed
	}
}

// lane is a server's: it takes the appends that wait to it, as many as there are in one round trip.
type lane struct {
	medium *Medium
	name   string
	queue  chan *request
	server goredis.Cmdable // guarded by the medium's mu; one at the same address may take its place
}

// lane returns the lane to the server that has the app.
func (m *Medium) lane(ctx context.Context, app broker.AppID) (*lane, error) {
	server, name, err := m.server(ctx, m.channel(app))
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lanes[name]
	if l == nil {
		l = &lane{medium: m, name: name, queue: make(chan *request, laneQueue)}
		m.lanes[name] = l
		for range laneTrips {
			m.run(l.run)
		}
	}
	l.server = server
	return l, nil
}

// run makes one round trip after the other.
func (l *lane) run(ctx context.Context) {
	for {
		select {
		case r := <-l.queue:
			l.trip(ctx, l.more(r))
		case <-ctx.Done():
			return
		}
	}
}

// more returns a request and those that wait behind it.
func (l *lane) more(r *request) []*request {
	var all []*request
	for bytes := 0; ; {
		if r.state.CompareAndSwap(waiting, taken) {
			all = append(all, r)
			bytes += len(r.message)
		}
		if len(all) >= tripAppends || bytes >= tripBytes {
			return all
		}
		select {
		case r = <-l.queue:
		default:
			return all
		}
	}
}

// parcel is a message with the requests that share it.
type parcel struct {
	app      broker.AppID
	message  []byte
	last     []last
	requests []*request
	answer   goredis.Cmder
}

// pack puts the requests of an app into one message, in order, up to a size: Redis and every node that
// listens have less to do than with one each.
func pack(requests []*request) []*parcel {
	var all []*parcel
	open := map[broker.AppID]*parcel{}
	for _, r := range requests {
		p := open[r.app]
		if p == nil || len(p.message)+len(r.message) > sharedBytes {
			p = &parcel{app: r.app, message: append(make([]byte, 0, 1+len(r.message)), version)}
			open[r.app] = p
			all = append(all, p)
		}
		p.message = append(p.message, r.message...)
		p.last = append(p.last, r.last...)
		p.requests = append(p.requests, r)
	}
	return all
}

// trip sends requests and answers them.
func (l *lane) trip(ctx context.Context, requests []*request) {
	if len(requests) == 0 {
		return
	}
	m := l.medium
	m.mu.Lock()
	pipe := l.server.Pipeline()
	m.mu.Unlock()
	parcels := pack(requests)
	for _, p := range parcels {
		p.answer = m.publish(ctx, pipe, p)
		events := 0
		for _, r := range p.requests {
			events += r.events
		}
		m.metrics.events.Observe(float64(events))
	}
	// A replica takes a message too, and nobody hears of it but who listens there. A server that says
	// behind the messages that it is a master was one when it took them.
	var role *goredis.Cmd
	if l.name == "" {
		role = pipe.Do(ctx, "ROLE")
	}
	exec(ctx, pipe)
	var replica error
	if role != nil {
		replica = checkMaster(role)
	}
	unwell := false
	for _, p := range parcels {
		err := p.answer.Err()
		if err == nil {
			err = replica
		}
		if err != nil {
			unwell = true
			if text := err.Error(); strings.HasPrefix(text, "MOVED ") || strings.HasPrefix(text, "ASK ") {
				err = fmt.Errorf("%w: %w", errMoved, err)
			}
		}
		for _, r := range p.requests {
			r.err = err
			close(r.done)
		}
	}
	if unwell {
		m.unwell(ctx)
	}
}

// exec sends a pipeline and sees to it that each answer has its error: the library sets none when there was
// no connection to send it over, and what never left would pass for done.
func exec(ctx context.Context, pipe goredis.Pipeliner) {
	answers, err := pipe.Exec(ctx)
	if err == nil || slices.ContainsFunc(answers, func(a goredis.Cmder) bool { return a.Err() != nil }) {
		return
	}
	for _, a := range answers {
		a.SetErr(err)
	}
}

// checkMaster checks what ROLE has answered.
func checkMaster(role *goredis.Cmd) error {
	answer, err := role.Slice()
	if err != nil {
		if strings.HasPrefix(err.Error(), "NOPERM") {
			return nil // whoever forbids to ask vouches for it
		}
		return err
	}
	if len(answer) == 0 || answer[0] != "master" {
		return fmt.Errorf("the server is no master but %v", answer)
	}
	return nil
}

// channel is where an app's events are published. Unlike keys, channels are those of all databases.
func (m *Medium) channel(app broker.AppID) string {
	return m.cfg.Client.key(app, "events", fmt.Sprint(m.cfg.Client.cfg.DB))
}
