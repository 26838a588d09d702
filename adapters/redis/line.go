package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
	goredis "github.com/redis/go-redis/v9"
)

// line is a connection that listens to a server, for all apps in use that the server has. It lives from
// its first tail to its first doubt: the client underneath would connect and subscribe again in silence,
// so whatever it does that wasn't asked of it ends the line and with it every tail on it.
type line struct {
	medium *Medium
	name   string
	server goredis.Cmdable
	pubsub *goredis.PubSub
	probe  string        // a channel of its own, to which it publishes
	wake   chan struct{} // there is something to ask of the server; has room for one
	over   chan struct{} // closed when err is set

	mu       sync.Mutex
	channels map[string]*subscription // guarded by mu
	heard    time.Time                // guarded by mu; when a probe came back
	probing  error                    // guarded by mu; what became of the last probe; nil before the first
	err      error                    // guarded by mu; why the line has ended
}

// subscription is a channel on a line. At most one thing is asked of the server for it at a time.
type subscription struct {
	app   broker.AppID // of the events; empty for the probe
	state state
	round int  // how often the server was asked for it
	held  bool // the server has it
	tails []*tail
}

type state int

const (
	wanted   state = iota // the server is to be asked
	asked                 // it hasn't confirmed yet
	standing              // it has
	leaving               // it was asked to end it
)

var (
	errSilent  = errors.New("nothing that is published comes back")
	errSecret  = errors.New("the connection was lost and made again")
	errPushed  = errors.New("the server doesn't have the app any more")
	errUnasked = errors.New("not subscribed in time")
	errSent    = errors.New("it could be sent")
)

// line returns the line to the server that has a channel, making one when there is none.
func (m *Medium) line(ctx context.Context, channel string) (*line, error) {
	server, name, err := m.server(ctx, channel)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lines[name]
	if l == nil {
		l = &line{
			medium: m, name: name, server: server, probe: channel + ":probe:" + rand.Text(),
			wake: make(chan struct{}, 1), over: make(chan struct{}), channels: map[string]*subscription{},
		}
		l.pubsub = listen(ctx, server, m.cfg.Client.cfg.Cluster)
		l.channels[l.probe] = &subscription{}
		m.lines[name] = l
		m.run(l.run)
	}
	return l, nil
}

// listen returns what listens to a server. It doesn't connect yet.
func listen(ctx context.Context, server goredis.Cmdable, sharded bool) *goredis.PubSub {
	client := server.(interface {
		Subscribe(ctx context.Context, channels ...string) *goredis.PubSub
		SSubscribe(ctx context.Context, channels ...string) *goredis.PubSub
	})
	if sharded {
		return client.SSubscribe(ctx)
	}
	return client.Subscribe(ctx)
}

// run lives until ctx ends or something is wrong.
func (l *line) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	m := l.medium
	m.metrics.lines.Inc()
	running.Go(func() { l.ask(ctx) })
	running.Go(func() { l.try(ctx) })
	select {
	case <-l.over:
	case <-ctx.Done():
		l.end(broker.ErrClosed)
	}
	cancel()
	_ = l.pubsub.Close() // its connection may be broken
	running.Wait()
	m.metrics.lines.Dec()
}

// end ends the line and all tails on it, once.
func (l *line) end(why error) {
	m := l.medium
	m.mu.Lock()
	if m.lines[l.name] == l {
		delete(m.lines, l.name)
	}
	m.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err = why
	for _, s := range l.channels {
		for _, t := range s.tails {
			t.end(why)
		}
	}
	close(l.over)
	if !errors.Is(why, broker.ErrClosed) {
		m.metrics.failures.Inc()
		m.cfg.Logger.Warn("a connection that listens to Redis has ended", "server", l.name, "err", why)
	}
}

// join puts a tail on the line, for an app's channel. The server is asked for the channel again, even if
// it has it: its answer comes behind everything that was published before. Error: why the line has ended.
func (l *line) join(channel string, t *tail) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	s := l.channels[channel]
	if s == nil {
		s = &subscription{app: t.app}
		l.channels[channel] = s
	}
	t.round = s.round + 1
	s.tails = append(s.tails, t)
	if s.state == standing {
		s.state = wanted
	}
	l.poke()
	return nil
}

// master checks that the server is one, once it has confirmed a channel. In a cluster its replica would
// have confirmed it too, and would hear most of what is published. When a master stops being one it ends
// what was confirmed before.
func (l *line) master(ctx context.Context) error {
	if !l.medium.cfg.Client.cfg.Cluster {
		return nil
	}
	pipe := l.server.Pipeline()
	role := pipe.Do(ctx, "ROLE")
	exec(ctx, pipe)
	return checkMaster(role)
}

// leave takes a tail off the line.
func (l *line) leave(channel string, t *tail) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.channels[channel]
	if s == nil {
		return
	}
	for i, other := range s.tails {
		if other == t {
			s.tails = append(s.tails[:i:i], s.tails[i+1:]...)
			l.poke()
			return
		}
	}
}

func (l *line) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// ask connects, and asks of the server what is wanted. What is on its way is never asked a second time.
func (l *line) ask(ctx context.Context) {
	var hearing sync.WaitGroup
	defer hearing.Wait()
	first := true
	for {
		subscribe, unsubscribe := l.wants()
		err := l.send(ctx, subscribe, unsubscribe)
		if err != nil {
			l.end(err)
			_ = l.pubsub.Close()
			return
		}
		if first {
			first = false
			hearing.Go(func() { l.hear(ctx) })
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			_ = l.pubsub.Close()
			return
		}
	}
}

// wants returns the channels to subscribe to and those to leave, and takes them as asked.
func (l *line) wants() (subscribe, unsubscribe []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for channel, s := range l.channels {
		used := len(s.tails) > 0 || channel == l.probe
		switch {
		case s.state == asked || s.state == leaving:
		case s.state == wanted && used:
			s.state = asked
			s.round++
			subscribe = append(subscribe, channel)
		case !used && s.held:
			s.state = leaving
			unsubscribe = append(unsubscribe, channel)
		case !used:
			delete(l.channels, channel)
		}
	}
	return subscribe, unsubscribe
}

// send asks for channels. In a cluster one command may name those of one slot only.
func (l *line) send(ctx context.Context, subscribe, unsubscribe []string) error {
	if !l.medium.cfg.Client.cfg.Cluster {
		if len(subscribe) > 0 {
			if err := l.pubsub.Subscribe(ctx, subscribe...); err != nil {
				return err
			}
		}
		if len(unsubscribe) > 0 {
			return l.pubsub.Unsubscribe(ctx, unsubscribe...)
		}
		return nil
	}
	for _, channel := range subscribe {
		if err := l.pubsub.SSubscribe(ctx, channel); err != nil {
			return err
		}
	}
	for _, channel := range unsubscribe {
		if err := l.pubsub.SUnsubscribe(ctx, channel); err != nil {
			return err
		}
	}
	return nil
}

// hear takes what the server says.
func (l *line) hear(ctx context.Context) {
	for {
		said, err := l.pubsub.Receive(ctx)
		if err == nil {
			err = l.take(said)
		}
		if err != nil {
			l.end(err)
			return
		}
	}
}

// take takes one thing that the server said. An error ends the line.
func (l *line) take(said any) error {
	switch said := said.(type) {
	case *goredis.Message:
		l.deliver(said.Channel, said.Payload)
	case *goredis.Subscription:
		switch said.Kind {
		case "subscribe", "ssubscribe":
			return l.confirmed(said.Channel)
		case "unsubscribe", "sunsubscribe":
			return l.left(said.Channel)
		}
	}
	return nil
}

// deliver gives a message to the tails of a channel.
func (l *line) deliver(channel, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.channels[channel]
	switch {
	case l.err != nil || s == nil:
		return
	case channel == l.probe:
		l.heard = time.Now()
		return
	}
	events, err := readEvents(s.app, message)
	if err != nil {
		l.medium.metrics.foreign.Inc()
		l.medium.cfg.Logger.Warn("a message is passed over", "app", s.app, "err", err)
		return
	}
	for _, t := range s.tails {
		t.push(events)
	}
}

// confirmed takes in that a channel is subscribed to. Unasked it means that the connection is another
// one, and there was a time in between.
func (l *line) confirmed(channel string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.channels[channel]
	if s == nil || s.state != asked {
		return errSecret
	}
	s.state, s.held = standing, true
	if channel == l.probe {
		l.heard = time.Now()
	}
	for _, t := range s.tails {
		if t.round <= s.round {
			t.stand()
		} else {
			s.state = wanted // it came when the server had been asked already
		}
	}
	l.poke()
	return nil
}

// left takes in that a channel isn't subscribed to any more: as was asked, or because the server doesn't
// have it any more.
func (l *line) left(channel string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.channels[channel]
	switch {
	case s == nil:
	case s.state == leaving:
		s.state, s.held = wanted, false // by whoever has come meanwhile
		l.poke()
	case channel == l.probe:
		return errPushed
	default:
		delete(l.channels, channel)
		for _, t := range s.tails {
			t.end(errPushed)
		}
	}
	return nil
}

// try publishes to the line's own channel, by the way of all events, and ends the line when nothing comes
// back. That shows whether the connection lives, whoever is at fault if not, and whether it still listens
// where others publish.
func (l *line) try(ctx context.Context) {
	tick := time.NewTicker(l.medium.cfg.Heartbeat)
	defer tick.Stop()
	began := time.Now()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		l.mu.Lock()
		heard, err := l.heard, l.probing
		l.mu.Unlock()
		switch {
		case heard.IsZero() && time.Since(began) > l.medium.cfg.Timeout:
			l.end(errUnasked)
			return
		case heard.IsZero():
			continue
		case time.Since(heard) > l.medium.cfg.Timeout:
			l.end(fmt.Errorf("%w for %v: %w", errSilent, time.Since(heard).Round(time.Millisecond), err))
			return
		}
		bounded, cancel := context.WithTimeout(ctx, l.medium.cfg.Heartbeat)
		err = l.medium.send(bounded, l.probe, strconv.Itoa(n))
		cancel()
		if err == nil {
			err = errSent
		}
		l.mu.Lock()
		l.probing = err
		l.mu.Unlock()
	}
}

// send publishes a text.
func (m *Medium) send(ctx context.Context, channel, text string) error {
	return m.cfg.Client.rdb.Eval(ctx, m.script(), []string{channel}, text).Err()
}
