package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/playhead/playhead/broker/pusher"
)

// maxWaiting is how many subscriptions may wait for their answer. Without a bound a client with very many
// channels and the server could both be busy writing, and nobody reading.
const maxWaiting = 64

// session is a tail's time on one connection.
type session struct {
	tail    *tail
	conn    *conn
	asked   int  // subscriptions sent
	waiting int  // of those, how many have no answer
	behind  bool // at least one channel is too far behind to go on here
	whole   bool // all have been answered
}

// run subscribes and yields until the connection ends, and hangs up. The error says why.
func (s *session) run(ctx context.Context) (err error) {
	ctx, end := context.WithCancelCause(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() { s.conn.keep(ctx, end) })
	defer func() {
		// First the connection: a ping that is canceled in the middle would end it without a word.
		s.conn.close(errors.Is(err, errStopped) || errors.Is(err, errBehind))
		end(nil)
		keeper.Wait()
	}()
	for {
		if err := s.subscribe(ctx); err != nil {
			return err
		}
		if s.behind && s.waiting == 0 {
			return errBehind
		}
		f, err := s.conn.read(ctx)
		if err != nil {
			return err
		}
		if err := s.handle(ctx, &f); err != nil {
			return err
		}
		s.whole = s.waiting == 0 && s.asked == len(s.tail.stays)
	}
}

// subscribe sends as many subscriptions as may wait.
func (s *session) subscribe(ctx context.Context) error {
	for s.asked < len(s.tail.stays) && s.waiting < maxWaiting {
		p := s.tail.stays[s.asked]
		message, err := p.request(s.tail.client.cred, s.conn.id, time.Since(s.tail.began)).encode()
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", p.Channel, err)
		}
		if err := s.conn.write(ctx, message); err != nil {
			return fmt.Errorf("subscribe to %s: %w", p.Channel, err)
		}
		s.asked++
		s.waiting++
	}
	return nil
}

// handle acts on one frame.
func (s *session) handle(ctx context.Context, f *frame) error {
	if f.Event == pusher.EventPing {
		return s.conn.write(ctx, pongFrame)
	}
	if f.Event == fault {
		s.tail.client.cfg.Logger.Debug("the server complains", "app", s.tail.client.cfg.AppID, "data", f.text())
		return nil
	}
	p := s.tail.stay[f.Channel]
	switch {
	case p == nil:
		return nil
	case f.own():
		return s.told(p, f)
	case p.live:
		return s.event(p, f)
	}
	return nil
}

// told acts on a frame of the protocol's own about a channel.
func (s *session) told(p *stay, f *frame) error {
	switch f.Event {
	case subscribed:
		if p.live || p.behind {
			return nil
		}
		return s.answered(p, f)
	case refused:
		why := &SubscriptionError{Channel: p.Channel, Message: f.text()}
		var data struct {
			Type   string `json:"type"`
			Error  string `json:"error"`
			Status int    `json:"status"`
		}
		if f.read(&data) == nil {
			why.Type, why.Status, why.Message = data.Type, data.Status, data.Error
		}
		return why
	case replayed, gap:
		if p.replaying {
			p.replaying = false
			p.reach(p.seam, s.conn.id)
		}
	case cacheMiss:
		if !p.replaying {
			p.cached = false
			p.reach(p.seam, s.conn.id)
		}
	}
	return nil
}

// answered acts on the answer to a subscribe.
func (s *session) answered(p *stay, f *frame) error {
	s.waiting--
	out := f.Resume
	why := p.owed
	switch {
	case (p.resumed || p.rewound) && out == nil:
		out, why = &outcome{}, Unsupported // it doesn't know what it was asked for
	case p.resumed && !out.Recovered:
		why = out.Reason
		if p.resumable(why, s.tail.client) {
			if why == Unavailable {
				return fmt.Errorf("resume %s: %s", p.Channel, why.explain())
			}
			p.behind, s.behind = true, true
			return nil
		}
	case p.rewound && !out.Recovered:
		why = out.Reason
	case out == nil:
		out = &outcome{}
		if p.begun && why == "" {
			why = Unsupported // there was nothing to resume from
		}
	}
	p.live, p.begun, p.owed, p.failures = true, true, "", 0
	p.seam = f.Position
	// Who recovered has the channel's last event, and who was replayed any has it among them.
	p.cached = pusher.KindOf(p.Channel).Cache() && out.Count == 0 && (!p.resumed || why != "")
	p.replaying = out.Count > 0
	switch {
	case p.replaying: // the events themselves say how far it is
	case p.cached && f.Position != "": // the seam is reached when that event is there
	case why != "":
		p.position, p.socket = p.seam, s.conn.id // where it was before leads to nothing any more
	default:
		p.reach(p.seam, s.conn.id)
	}
	if s.tail.opts.Subscribed != nil {
		s.tail.opts.Subscribed(Answer{Channel: p.Channel, SocketID: s.conn.id, Position: f.Position, Replayed: out.Count})
	}
	if why != "" && !s.tail.yield(Event{}, &Gap{Channel: p.Channel, Reason: why, Position: f.Position}) {
		return errStopped
	}
	return nil
}

// resumable reports whether what the server could not replay can be had all the same: later, or from
// the history.
func (p *stay) resumable(why Reason, c *Client) bool {
	switch why {
	case Unavailable:
		p.failures++
		return p.failures < unreadable
	case TooFar:
		return c.signs() == nil
	}
	return false
}

// event yields an event, and notes where the loop is.
func (s *session) event(p *stay, f *frame) error {
	cached := p.cached && !p.replaying
	at := f.Position
	if cached { // it may be older than the position that the channel begins at
		p.cached = false
		at = p.seam
	}
	isNew := p.admit(f.ID, f.Position, cached)
	p.reach(at, s.conn.id)
	if !isNew {
		return nil
	}
	p.yielded = true
	if !s.tail.yield(Event{
		Channel:  p.Channel,
		ID:       f.ID,
		Name:     f.Event,
		Data:     f.text(),
		UserID:   f.UserID,
		Position: f.Position,
		Time:     timeOf(f.Position),
	}, nil) {
		return errStopped
	}
	return nil
}
