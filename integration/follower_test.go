package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// follower is a client that keeps its place: it follows channels over cuts and restarts, resumes
// each from the newest position it holds, and writes down what it was given. run owns it.
type follower struct {
	node     *node
	channels []string
	last     string  // name of the event that ends a channel
	fickle   *fickle // what breaks its connections; nil: nothing does

	track    map[string]*track
	socket   string // of the former connection
	connects int
	faults   []string // what no client should ever see
}

// track is one channel as a follower saw it.
type track struct {
	start    string // position in the answer to the first subscribe
	position string // newest one held
	events   []seen
	resumed  int // replays that recovered
	missed   int // events that replays brought

	replaying bool
	owed      int // events of the running replay that are still to come
	ended     bool
}

// seen is an event as it arrived.
type seen struct {
	ID   string
	Name string
	Data string
}

// follow returns a follower of channels that ends when it has seen an event called last in each.
func follow(n *node, last string, channels ...string) *follower {
	f := &follower{node: n, channels: channels, last: last, track: map[string]*track{}}
	for _, ch := range channels {
		f.track[ch] = &track{}
	}
	return f
}

// from makes the follower begin where another one did.
func (f *follower) from(other *follower) *follower {
	for ch, t := range f.track {
		t.start, t.position = other.track[ch].start, other.track[ch].start
	}
	return f
}

// run follows until every channel has ended or ctx does. It calls ready, if there is one, when
// all channels are subscribed for the first time.
func (f *follower) run(ctx context.Context, ready func()) error {
	if ready == nil {
		ready = func() {}
	}
	ready = sync.OnceFunc(ready)
	for {
		err := f.session(ctx, ready)
		if f.ended() {
			return nil
		}
		if len(f.faults) > 0 {
			return fmt.Errorf("follow: %s", f.faults[0])
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("follow, connection %d: %w (last: %w)", f.connects, ctx.Err(), err)
		case <-time.After(10 * time.Millisecond): // don't spin while the node is down
		}
	}
}

// session is one connection's life.
func (f *follower) session(ctx context.Context, ready func()) error {
	var transport *http.Transport
	if f.fickle != nil {
		transport = f.fickle.transport()
	}
	c, err := dialBy(ctx, f.node, true, transport)
	if err != nil {
		return err
	}
	defer c.conn.CloseNow()
	f.connects++
	for _, ch := range f.channels {
		t := f.track[ch]
		t.replaying, t.owed = false, 0
		var from *resume
		if t.position != "" {
			from = &resume{Position: t.position, SocketID: f.socket}
		}
		if err := c.subscribe(ctx, ch, from); err != nil {
			return err
		}
	}
	f.socket = c.socket
	answered := 0
	for !f.ended() {
		fr, err := c.read(ctx)
		if err != nil {
			return err
		}
		t := f.track[fr.Channel]
		if t == nil {
			if fr.Event == "pusher:error" {
				return fmt.Errorf("pusher:error: %s", fr.text())
			}
			continue
		}
		f.take(fr, t)
		if fr.Event == "pusher_internal:subscription_succeeded" {
			if answered++; answered == len(f.channels) {
				ready()
			}
		}
	}
	return nil
}

// take writes a channel's frame down and notes what breaks the promise.
func (f *follower) take(fr frame, t *track) {
	switch fr.Event {
	case "pusher_internal:subscription_succeeded":
		switch {
		case fr.Position == "":
			f.fault("%s: subscription answered without a position", fr.Channel)
		case t.position == "":
			t.start, t.position = fr.Position, fr.Position
		case fr.Resume == nil:
			f.fault("%s: resume was not answered", fr.Channel)
		case !fr.Resume.Recovered:
			f.fault("%s: not recovered: %s", fr.Channel, fr.Resume.Reason)
		default:
			t.replaying, t.owed = true, fr.Resume.Count
			t.resumed++
		}
	case "playhead:replayed":
		var data struct {
			Recovered bool
			Count     int
			Position  string
		}
		if err := json.Unmarshal([]byte(fr.text()), &data); err != nil || !data.Recovered || data.Position == "" {
			f.fault("%s: playhead:replayed says %s", fr.Channel, fr.Data)
		}
		if !t.replaying || t.owed != 0 {
			f.fault("%s: playhead:replayed with %d events still owed", fr.Channel, t.owed)
		}
		t.replaying = false
		t.position = data.Position
	case "playhead:gap", "pusher:subscription_error":
		f.fault("%s: %s %s", fr.Channel, fr.Event, fr.Data)
	default:
		if fr.ID == "" || fr.Position == "" {
			f.fault("%s: event without id or position: %+v", fr.Channel, fr)
		}
		if t.replaying {
			if t.owed == 0 {
				f.fault("%s: more events replayed than announced", fr.Channel)
			}
			t.owed--
			t.missed++
		}
		t.position = fr.Position
		t.events = append(t.events, seen{fr.ID, fr.Event, fr.text()})
		if fr.Event == f.last {
			t.ended = true
		}
	}
}

func (f *follower) fault(format string, args ...any) {
	f.faults = append(f.faults, fmt.Sprintf(format, args...))
}

func (f *follower) ended() bool {
	for _, t := range f.track {
		// A replay that brings the last event isn't over before playhead:replayed.
		if !t.ended || t.replaying {
			return false
		}
	}
	return true
}
