package ws

import (
	"context"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
	"github.com/playhead/playhead/replay"
)

// unreachedFor is how long a session that waited in vain for the node's cursor doesn't wait again: a
// client with hundreds of channels may bring hundreds of positions that nobody will ever reach.
const unreachedFor = time.Minute

// behindFor is how long a session waits for the cursor of a node that is known to be behind: longer than a
// tail takes to find another server. Then the client is sent to another node.
const behindFor = 15 * time.Second

// reach waits until the node's cursor has reached where the client was. It comes from another node
// that was ahead of this one, by milliseconds as a rule, and would be told that its position lies
// beyond the end. When it takes longer the log knows who is wrong: if it has the event, this node is
// behind. What can't be a matter of time is left to the replay to answer. It reports false when the
// session is over.
func (s *session) reach(ctx context.Context, r *pusher.Resume) bool {
	p, err := broker.ParsePosition(r.Position)
	if err != nil || s.server.cfg.AheadTimeout == 0 {
		return true
	}
	if cursor := s.feed.Cursor(); p.Epoch != cursor.Epoch || p.Serial <= cursor.Serial {
		return true
	}
	now := s.conn.clock.Load()
	if now < s.waitFrom {
		return true
	}
	s.attend(ctx, func(ctx context.Context) {
		within := func(d time.Duration) bool {
			ctx, cancel := context.WithTimeout(ctx, d)
			defer cancel()
			return s.feed.Reach(ctx, p)
		}
		switch {
		case within(s.server.cfg.AheadTimeout):
		case !s.server.cfg.Replay.Holds(ctx, s.app.ID, p):
			s.waitFrom = now + ticks(unreachedFor)
		case !within(behindFor):
			s.Close(broker.TailBroken)
		}
	})
	return !s.conn.queue.closed()
}

// past reads what the client asked for of the time before the seam.
func (s *session) past(ctx context.Context, q pusher.Subscribe, seam broker.Position) (past replay.Result) {
	if r := q.Resume; r != nil && r.Position == "" {
		// A client that comes for the first time and wants positions. It has missed nothing, so this
		// is no replay, least of all one that went wrong.
		if seam.IsZero() {
			return replay.Result{Reason: replay.Unsupported}
		}
		return replay.Result{Reason: replay.Invalid}
	}
	s.attend(ctx, func(ctx context.Context) {
		if r := q.Resume; r != nil {
			past = s.server.cfg.Replay.Replay(ctx, replay.Request{
				App:          s.app.ID,
				Channel:      q.Channel,
				Position:     r.Position,
				Seam:         seam,
				Socket:       r.Socket,
				ClientEvents: s.app.ReplayClientEvents,
				Recent:       s.feed,
			})
			return
		}
		past = s.server.cfg.Replay.Rewind(ctx, replay.RewindRequest{
			App:          s.app.ID,
			Channel:      q.Channel,
			Seam:         seam,
			Count:        q.Rewind.Count,
			Since:        since(*q.Rewind, time.Now()),
			ClientEvents: s.app.ReplayClientEvents,
			Recent:       s.feed,
		})
	})
	return past
}

// since returns from when on a rewind wants events; zero when it wants a number of them.
func since(r pusher.Rewind, now time.Time) time.Time {
	if r.Back == 0 {
		return r.Since
	}
	if first := time.UnixMilli(0); now.Add(-r.Back).Before(first) {
		return first
	}
	return now.Add(-r.Back)
}

// replay sends the past and says that this was all, or that it isn't. It reports false when not
// everything could be sent; the session is at its end then.
func (s *session) replay(ctx context.Context, ch broker.Channel, begin broker.Position, past replay.Result) (whole bool) {
	s.attend(ctx, func(ctx context.Context) {
		for _, e := range past.Events {
			if !s.answer(ctx, encodeDelivery(&broker.Delivery{Event: e}, broker.Positioned)) {
				return
			}
		}
		last := reserve(256)
		if past.Reason == "" {
			last = pusher.AppendReplayed(last, ch, len(past.Events), begin)
		} else {
			last = pusher.AppendGap(last, ch, string(past.Reason), len(past.Events), begin)
		}
		whole = s.answer(ctx, textFrame(last))
	})
	return whole
}
