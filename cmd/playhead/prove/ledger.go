package prove

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

// eventID tells an event from all others: who published it, and as the how manieth.
type eventID struct {
	Publisher int `json:"p"`
	Number    int `json:"n"`
}

// String is the event's idempotency key, too.
func (id eventID) String() string { return fmt.Sprintf("p%d-%d", id.Publisher, id.Number) }

// data is what is published, a few hundred bytes.
func (id eventID) data() string {
	b, _ := json.Marshal(struct { // two numbers and a text
		eventID
		Pad string `json:"pad"`
	}{id, padding})
	return string(b)
}

const padding = "Only what is in the log is told, and what is in the log is told once, in its order, to everybody. " +
	"Only what is in the log is told, and what is in the log is told once, in its order, to everybody."

// readID reads what data wrote.
func readID(data string) (id eventID, err error) { return id, json.Unmarshal([]byte(data), &id) }

// publication is an event that was published, or tried to be.
type publication struct {
	id       eventID
	channels []broker.Channel
	began    time.Time
	acked    time.Time // zero while it isn't acknowledged
}

// ledger has what was published. It is safe for concurrent use.
type ledger struct {
	mu   sync.Mutex
	all  []*publication // guarded by mu, with the acked of each
	acks int            // guarded by mu
}

// begin notes an event before it is published.
func (l *ledger) begin(id eventID, channels ...broker.Channel) *publication {
	p := &publication{id: id, channels: channels, began: time.Now()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, p)
	return p
}

// ack notes that it was acknowledged.
func (l *ledger) ack(p *publication) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.acked = time.Now()
	l.acks++
}

func (l *ledger) numbers() (published, acked int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all), l.acks
}

// publications returns a copy of what there is.
func (l *ledger) publications() []publication {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]publication, len(l.all))
	for i, p := range l.all {
		all[i] = *p
	}
	return all
}

// delivery is an event as a client got it.
type delivery struct {
	id eventID
	ch broker.Channel
	at time.Time
}

// clientLog is what one client got. It is safe for concurrent use.
type clientLog struct {
	name     string
	channels []broker.Channel

	mu         sync.Mutex
	deliveries []delivery // guarded by mu
}

func (c *clientLog) got(d delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deliveries = append(c.deliveries, d)
}

// all returns what there is; it isn't changed by what comes later.
func (c *clientLog) all() []delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deliveries[:len(c.deliveries):len(c.deliveries)]
}
