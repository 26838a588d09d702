package prove

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// person is a user of a presence channel, on one connection at a time, who keeps an eye on who else is
// there. It is no client that keeps its place: membership is as of now.
type person struct {
	id     string
	ch     broker.Channel
	url    string
	app    *credentials
	faults *faults

	mu    sync.Mutex
	here  bool            // guarded by mu; it means to be there
	sees  view            // guarded by mu; nil without a subscription
	conn  *websocket.Conn // guarded by mu; nil without a connection
	heard time.Time       // guarded by mu; when the node last said something
}

const (
	personPing     = 2 * time.Second // how often a person asks whether the node is there
	personPatience = 6 * time.Second // and how long it may be silent
)

// frame is what a server sends.
type frame struct {
	Event   string         `json:"event"`
	Channel broker.Channel `json:"channel"`
	Data    string         `json:"data"`
}

// read takes the frame's data.
func (f *frame) read(into any) error { return json.Unmarshal([]byte(f.Data), into) }

// stay has the person there, over as many connections as it takes, until it leaves or ctx ends; a
// guest stays for one.
func (p *person) stay(ctx context.Context, guest bool) {
	for p.means() && ctx.Err() == nil {
		_ = p.session(ctx) // however it ended, it comes back
		p.mu.Lock()
		p.sees, p.conn = nil, nil
		p.mu.Unlock()
		if guest {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(50+rand.IntN(250)) * time.Millisecond):
		}
	}
}

// come says that the person means to be there.
func (p *person) come() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.here = true
}

func (p *person) means() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.here
}

// view returns a copy of whom the person sees; nil while it isn't subscribed.
func (p *person) view() view {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.sees)
}

// fresh returns a copy of whom the person sees, if the node said something just now: who is connected
// to one that hangs can't know. Else nil.
func (p *person) fresh() view {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.heard) > personPing+personPing/2 {
		return nil
	}
	return maps.Clone(p.sees)
}

// leave says that the person is going, and ends the connection in one of the ways that people do.
func (p *person) leave(ctx context.Context) {
	p.mu.Lock()
	p.here = false
	conn, sees := p.conn, p.sees
	p.mu.Unlock()
	if conn == nil {
		return
	}
	how := rand.IntN(3)
	if how == 0 || sees == nil {
		_ = conn.CloseNow() // it is gone either way
		return
	}
	if how == 1 {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		_ = p.send(ctx, conn, pusher.EventUnsubscribe, map[string]any{"channel": p.ch})
		cancel()
	}
	_ = conn.Close(websocket.StatusNormalClosure, "") // it is gone either way
}

func (p *person) send(ctx context.Context, c *websocket.Conn, event string, data any) error {
	b, err := json.Marshal(map[string]any{"event": event, "data": data})
	if err != nil {
		return err
	}
	return c.Write(ctx, websocket.MessageText, b)
}

// session is one connection, from its beginning to its end.
func (p *person) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dialing, stop := context.WithTimeout(ctx, personPatience)
	defer stop()
	c, _, err := websocket.Dial(dialing, "ws://"+p.url+"/app/"+p.app.Key+"?protocol=7&client=prove", nil) //nolint:bodyclose // the library has
	if err != nil {
		return err
	}
	defer func() { _ = c.CloseNow() }() // it is gone either way
	c.SetReadLimit(4 << 20)
	p.mu.Lock()
	p.conn = c
	here := p.here
	p.mu.Unlock()
	if !here {
		return nil // it left while it was connecting
	}
	var pinging sync.WaitGroup
	defer pinging.Wait()
	defer cancel()
	pinging.Go(func() { p.ping(ctx, c) })
	for {
		f, err := p.next(ctx, c)
		if err == nil {
			err = p.take(ctx, c, f)
		}
		if err != nil {
			return err
		}
	}
}

// ping makes a node that is there say something now and then.
func (p *person) ping(ctx context.Context, c *websocket.Conn) {
	tick := time.NewTicker(personPing)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if p.send(ctx, c, pusher.EventPing, struct{}{}) != nil {
			return // who reads finds out
		}
	}
}

func (p *person) next(ctx context.Context, c *websocket.Conn) (f frame, err error) {
	ctx, cancel := context.WithTimeout(ctx, personPatience)
	defer cancel()
	_, b, err := c.Read(ctx)
	if err != nil {
		return f, err
	}
	p.mu.Lock()
	p.heard = time.Now()
	p.mu.Unlock()
	var raw struct {
		frame
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return f, err
	}
	f = raw.frame
	if json.Unmarshal(raw.Data, &f.Data) != nil {
		f.Data = string(raw.Data)
	}
	return f, nil
}

// take acts on a frame.
func (p *person) take(ctx context.Context, c *websocket.Conn, f frame) error {
	var member struct {
		UserID string `json:"user_id"`
	}
	switch f.Event {
	case "pusher:connection_established":
		var hello struct {
			SocketID broker.SocketID `json:"socket_id"`
		}
		if err := f.read(&hello); err != nil {
			return err
		}
		data := fmt.Sprintf(`{"user_id":%q}`, p.id)
		return p.send(ctx, c, pusher.EventSubscribe, map[string]any{
			"channel": p.ch, "channel_data": data, "auth": pusher.SignChannel(p.app.Credential, hello.SocketID, p.ch, &data),
		})
	case pusher.EventPing:
		return p.send(ctx, c, pusher.EventPong, struct{}{})
	case "pusher:subscription_error":
		return fmt.Errorf("subscription of %s refused: %s", p.ch, f.Data)
	case "pusher_internal:subscription_succeeded":
		var doc struct {
			Presence struct {
				IDs []string `json:"ids"`
			} `json:"presence"`
		}
		if err := f.read(&doc); err != nil {
			return err
		}
		p.mu.Lock()
		p.sees = newView(doc.Presence.IDs)
		p.mu.Unlock()
	case "pusher_internal:member_added", "pusher_internal:member_removed":
		if err := f.read(&member); err != nil {
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.sees == nil {
			p.faults.add(faultTurn, "%s was told of %s before its subscription was answered", p.id, member.UserID)
			return nil
		}
		change := p.sees.added
		if f.Event == "pusher_internal:member_removed" {
			change = p.sees.removed
		}
		if err := change(member.UserID); err != nil {
			p.faults.add(faultTurn, "%s in %s was told at %s that %v", p.id, p.ch, clock(time.Now()), err)
		}
	}
	return nil
}
