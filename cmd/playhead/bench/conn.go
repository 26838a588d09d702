package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/playhead/playhead/broker/pusher"
)

// errNoReplay is what a server says that offers none.
var errNoReplay = errors.New("the server offers no replay (playhead:replay), which this scenario is about")

// conn is one client: a goroutine, a WebSocket and a buffer as large as its largest frame, some 25 KB.
type conn struct {
	run     *run
	number  int
	channel int
	replay  bool

	cut atomic.Bool   // it is being cut by us
	end chan struct{} // closed when nothing is read any more

	position string // its goroutine's; of the last event, or of the subscription
	buf      bytes.Buffer

	mu      sync.Mutex
	ws      *websocket.Conn // guarded by mu where others than its goroutine look at it; nil before there is one
	begun   bool            // guarded by mu; it was subscribed once
	tallies []tally         // guarded by mu; by publisher
	faults  Faults          // guarded by mu
}

func (r *run) newConn(number int, replay bool) *conn {
	return &conn{run: r, number: number, channel: number % r.cfg.Channels, replay: replay, tallies: make([]tally, r.cfg.Publishers)}
}

// frame is what a server sends, as far as it matters.
type frame struct {
	Event    string          `json:"event"`
	Data     json.RawMessage `json:"data"`
	Position string          `json:"position"`
	Resume   struct {
		Recovered bool   `json:"recovered"`
		Reason    string `json:"reason"`
	} `json:"resume"`
}

// open connects and subscribes. A client that was subscribed before comes back with its position, and
// has open read what it missed.
func (c *conn) open(ctx context.Context, due time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, c.run.cfg.Patience)
	defer cancel()
	query := "?protocol=7&client=playhead-bench&version=1"
	if c.replay {
		query += "&replay=1"
	}
	ws, _, err := websocket.Dial(ctx, c.run.cfg.URL+"/app/"+url.PathEscape(c.run.cfg.Key)+query, nil) //nolint:bodyclose // the library sees to it
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	ws.SetReadLimit(16 << 20)
	c.mu.Lock()
	c.ws = ws
	c.mu.Unlock()
	if err := c.subscribe(ctx, due); err != nil {
		_ = ws.CloseNow() // it is of no use any more
		return err
	}
	return nil
}

func (c *conn) subscribe(ctx context.Context, due time.Time) error {
	hello, err := c.await(ctx, "pusher:connection_established")
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	now := time.Now()
	back := c.position != ""
	if !back {
		c.run.connects.add(c.number, now.Sub(due))
	}
	if c.replay && !bytes.Contains(hello.Data, []byte(`replay`)) {
		return errNoReplay
	}
	data := map[string]any{"channel": c.run.channel(c.channel)}
	if back {
		data["resume"] = map[string]any{"position": c.position}
	}
	if err := c.send(ctx, pusher.EventSubscribe, data); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	answer, err := c.await(ctx, "pusher_internal:subscription_succeeded")
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if back {
		// What was missed comes next, and says itself where it ends.
		if answer.Resume.Recovered {
			_, err = c.await(ctx, "playhead:replayed")
		} else {
			c.run.gaps.Add(1)
			_, err = c.await(ctx, "playhead:gap")
		}
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		c.run.returns.add(c.number, time.Since(due))
		return nil
	}
	c.position = answer.Position
	c.run.subscribes.add(c.number, time.Since(now))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = true
	for p := range c.tallies {
		c.tallies[p].begin(c.run.lane(c.channel, p))
	}
	return nil
}

func (c *conn) send(ctx context.Context, name string, data any) error {
	b, err := json.Marshal(map[string]any{"event": name, "data": data})
	if err != nil {
		return err
	}
	return c.ws.Write(ctx, websocket.MessageText, b)
}

// await reads up to a frame of the server's own.
func (c *conn) await(ctx context.Context, name string) (f frame, err error) {
	for {
		if f, err = c.read(ctx); err != nil {
			return f, err
		}
		switch f.Event {
		case name:
			return f, nil
		case "pusher:error", "pusher:subscription_error":
			return f, fmt.Errorf("the server said %s: %s", f.Event, f.Data)
		}
	}
}

// read reads a frame. One that is an event is noted, and returned without being taken apart unless
// positions matter.
func (c *conn) read(ctx context.Context) (f frame, err error) {
	_, in, err := c.ws.Reader(ctx)
	if err != nil {
		return f, err
	}
	c.buf.Reset()
	if _, err := c.buf.ReadFrom(in); err != nil {
		return f, err
	}
	b := c.buf.Bytes()
	e, ours, ok := findEvent(b, c.run.id, c.run.cfg.Size)
	if ours {
		c.take(e, ok)
		if !c.replay {
			return f, nil
		}
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("read a frame: %w", err)
	}
	if ours && f.Position != "" {
		c.position = f.Position
	}
	if f.Event == pusher.EventPing {
		return f, c.send(ctx, pusher.EventPong, struct{}{})
	}
	return f, nil
}

func (c *conn) take(e event, whole bool) {
	r, now := c.run, time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !whole || e.lane < 0 || e.lane/r.cfg.Publishers != c.channel {
		c.faults.Foreign++
		return
	}
	c.tallies[e.lane%r.cfg.Publishers].take(e.number, &c.faults)
	r.delivered.Add(1)
	if e.due >= r.measure.from && e.due < r.measure.upto {
		r.measured.Add(1)
		r.deliveries.add(c.number, now.Sub(r.began)-e.due)
	}
}

// listen reads until the connection ends. Without a context that could end, the library has nothing
// to watch for each frame: CloseNow ends it.
func (c *conn) listen() error {
	for {
		if _, err := c.read(context.Background()); err != nil {
			return err
		}
	}
}

// lost counts what of the events before the marks isn't here.
func (c *conn) lost(upto []uint64) (count int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.begun {
		return 0
	}
	for p := range c.tallies {
		count += c.tallies[p].lost(c.run.lane(c.channel, p), upto[p])
	}
	return count
}

// marks returns how far the lanes of the client's channel are settled.
func (c *conn) marks() []uint64 {
	upto := make([]uint64, c.run.cfg.Publishers)
	for p := range upto {
		upto[p] = c.run.lane(c.channel, p).settled.Load()
	}
	return upto
}

// finish waits for what was settled by now, for as long as patience lasts, and adds the client's
// faults to the run's.
func (c *conn) finish(ctx context.Context) {
	upto := c.marks()
	_ = c.run.wait(ctx, func() bool { return c.lost(upto) == 0 || c.gone() }) // what isn't here by then is lost
	c.account(upto)
}

func (c *conn) account(upto []uint64) {
	lost := c.lost(upto)
	c.mu.Lock()
	f := c.faults
	c.mu.Unlock()
	f.Lost += lost
	c.run.blame(f, c)
}

// hangUp ends the connection without a goodbye, whoever calls.
func (c *conn) hangUp() {
	c.mu.Lock()
	ws := c.ws
	c.mu.Unlock()
	if ws != nil {
		_ = ws.CloseNow() // it is of no use any more
	}
}

func (c *conn) gone() bool {
	select {
	case <-c.end:
		return true
	default:
		return false
	}
}
