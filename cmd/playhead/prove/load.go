package prove

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/replay/client"
)

const (
	publishers = 10
	followers  = 3  // for each node
	followed   = 8  // channels of a follower
	channels   = 20 // of events
)

// attempt bounds one try of a publish. It is longer than what an election of NATS takes, and a node
// that hangs is left after it.
const attempt = 12 * time.Second

// channelNames are the channels that events are published to.
func channelNames() []broker.Channel {
	names := make([]broker.Channel, channels)
	for i := range names {
		prefix := "orders-"
		if i%4 == 3 {
			prefix = "private-orders-"
		}
		names[i] = broker.Channel(fmt.Sprint(prefix, i+1))
	}
	return names
}

// newClient makes a client of the app with connections of its own.
func (c *cluster) newClient(addr string) (*client.Client, error) {
	return client.New(client.Config{
		URL: "http://" + addr, AppID: c.app.app, Key: c.app.Key, Secret: c.app.Secret,
		HTTPClient: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute}},
		Timeout:    attempt,
		RetryFor:   time.Minute,
		BackoffMin: 50 * time.Millisecond, BackoffMax: time.Second,
		PongTimeout: 3 * time.Second,
	})
}

// load publishes and follows.
type load struct {
	ledger *ledger
	faults *faults
	logs   []*clientLog

	mu       sync.Mutex
	refused  string             // guarded by mu; why the last event was not acknowledged
	ends     map[*clientLog]int // guarded by mu; how many of its channels each follower knows the end of
	answered int                // guarded by mu; followers whose channels are all subscribed

}

// publish publishes at a rate until stop ends, one after the other, each once the former is settled.
// What is under way then is finished, unless ctx ends.
func (l *load) publish(ctx, stop context.Context, c *client.Client, publisher int, every time.Duration) {
	names := channelNames()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-stop.Done():
			return
		case <-tick.C:
		}
		to := []broker.Channel{names[rand.IntN(len(names))]}
		if other := names[rand.IntN(len(names))]; n%10 == 0 && other != to[0] {
			to = append(to, other)
		}
		l.publishOne(ctx, c, eventID{publisher, n}, "order.updated", to...)
	}
}

// eventEnd is the last event of a channel.
const eventEnd = "end"

// publishOne publishes one event and notes what became of it.
func (l *load) publishOne(ctx context.Context, c *client.Client, id eventID, name string, to ...broker.Channel) bool {
	p := l.ledger.begin(id, to...)
	_, err := c.Publish(ctx, client.Publication{Channels: to, Event: name, Data: id.data(), IdempotencyKey: id.String()})
	if err == nil {
		l.ledger.ack(p)
		return true
	}
	if ctx.Err() == nil {
		l.mu.Lock()
		l.refused = fmt.Sprintf("%v: %v", id, err)
		l.mu.Unlock()
	}
	return false
}

// newLog makes the log of a follower, with its share of the channels.
func (l *load) newLog(i int) *clientLog {
	names := channelNames()
	c := &clientLog{name: fmt.Sprintf("client-%d", i+1)}
	for k := range followed {
		c.channels = append(c.channels, names[(i*5+k)%len(names)])
	}
	return c
}

// follow follows channels until ctx ends.
func (l *load) follow(ctx context.Context, c *client.Client, log *clientLog) {
	opts := client.TailOptions{}
	for _, ch := range log.channels {
		opts.Subscriptions = append(opts.Subscriptions, client.Subscription{Channel: ch})
	}
	answers := map[broker.Channel]bool{}
	opts.Subscribed = func(a client.Answer) {
		if answers[a.Channel] {
			return
		}
		answers[a.Channel] = true
		if len(answers) == len(log.channels) {
			l.mu.Lock()
			l.answered++
			l.mu.Unlock()
		}
	}
	for e, err := range c.Tail(ctx, opts) {
		var gap *client.Gap
		switch {
		case errors.As(err, &gap):
			l.faults.add(faultGap, "%s was told of a %v, at %s", log.name, gap, clock(time.Now()))
			continue
		case err != nil:
			if ctx.Err() == nil {
				l.faults.add(faultTail, "%s gave up: %v", log.name, err)
			}
			return
		}
		id, err := readID(e.Data)
		if err != nil {
			l.faults.add(faultUnknown, "%s got %q in %s, which nobody published", log.name, e.Data, e.Channel)
			continue
		}
		log.got(delivery{id, e.Channel, time.Now()})
		if e.Name == eventEnd {
			l.mu.Lock()
			l.ends[log]++
			l.mu.Unlock()
		}
	}
}

// subscribed returns nil when all followers are.
func (l *load) subscribed(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answered < len(l.logs) {
		return fmt.Errorf("%d of %d clients have subscribed", l.answered, len(l.logs))
	}
	return nil
}

// ended returns nil when all followers have come to the end of all their channels.
func (l *load) ended(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	behind := 0
	for _, log := range l.logs {
		if l.ends[log] < len(log.channels) {
			behind++
		}
	}
	if behind > 0 {
		return fmt.Errorf("%d of %d clients are not at the end of their channels", behind, len(l.logs))
	}
	return nil
}

// lastRefusal says why the last event was not acknowledged; empty when all were.
func (l *load) lastRefusal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// readLog reads a channel's log over HTTP.
func readLog(ctx context.Context, c *client.Client, ch broker.Channel) ([]eventID, error) {
	var ids []eventID
	for e, err := range c.Read(ctx, ch, client.HistoryOptions{Limit: 1000, OldestFirst: true}) {
		if err != nil {
			return nil, fmt.Errorf("read the log of %s: %w", ch, err)
		}
		id, err := readID(e.Data)
		if err != nil {
			return nil, fmt.Errorf("read the log of %s: %q: %w", ch, e.Data, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// clock writes a time of the run, as logs have it.
func clock(t time.Time) string { return t.Format("15:04:05.000") }
