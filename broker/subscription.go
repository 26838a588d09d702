package broker

import (
	"sync"
	"sync/atomic"
)

// Subscription is one connection's interest in one channel. Its gate is closed when it is made:
// deliveries are held until Open, so that the subscription's answer, and the replay before it,
// go out first. Open and Close are called by the session, one at a time.
type Subscription struct {
	feed       *Feed
	channel    Channel
	socket     SocketID
	subscriber Subscriber
	index      int32       // guarded by feed.mu; the place in the channel's slice
	open       atomic.Bool // set under mu; read without it, to keep fan-out cheap

	mu   sync.Mutex
	held *held // guarded by mu; nil unless the gate is closed and holds something
}

// held is what a closed gate keeps, in order. It stands apart because it is there for moments
// only, while a subscription lives for hours.
type held struct {
	deliveries []*Delivery
	bytes      int
	overflow   bool

	// after is not 0 when the gate has been opened, but events up to this serial are still to
	// be left out and may yet come.
	after uint64
}

// Channel returns the channel's name.
func (s *Subscription) Channel() Channel { return s.channel }

// deliver passes d on or, while the gate is closed, holds it. It is called with feed.mu held.
func (s *Subscription) deliver(d *Delivery) {
	if s.open.Load() {
		s.subscriber.Deliver(d)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open.Load() {
		s.subscriber.Deliver(d)
		return
	}
	if s.held == nil {
		s.held = &held{}
	}
	h := s.held
	if h.after > 0 {
		s.deliverAfter(d)
		return
	}
	if h.overflow {
		return
	}
	h.bytes += d.size()
	if h.bytes > s.feed.node.cfg.GateBytes {
		h.overflow, h.deliveries = true, nil
		s.subscriber.Close(GateOverflow)
		return
	}
	h.deliveries = append(h.deliveries, d)
}

// deliverAfter passes d on unless it is an event that is to be left out. With the first event that
// isn't followed by such a one the gate is like any other open gate. It is called with s.mu held.
func (s *Subscription) deliverAfter(d *Delivery) {
	after := s.held.after
	if d.Event != nil && d.Event.Position.Serial >= after {
		s.held = nil
		s.open.Store(true)
	}
	if d.Event == nil || d.Event.Position.Serial > after {
		s.subscriber.Deliver(d)
	}
}

// Open releases what the gate held and lets later deliveries through. Notices with a serial up
// to seen are left out: the snapshot that the session was answered with has them already. Pass 0
// when there was no snapshot.
func (s *Subscription) Open(seen uint64) { s.OpenAfter(seen, Position{}) }

// OpenAfter is Open for a subscription that begins later than at its seam: the session was given a
// newer event, the channel's last one, and must not get that again, nor an older one after it. Events
// up to from are left out, whether the gate holds them or they are still on their way. A from that
// isn't a place in the log as the feed tails it, the zero Position for one, leaves out none.
func (s *Subscription) OpenAfter(seen uint64, from Position) {
	// What is at or before the cursor has been fanned out, so the gate holds it or never will.
	var after uint64
	pending := false
	if !from.IsZero() {
		if cursor := s.feed.Cursor(); cursor.Epoch == from.Epoch {
			after = from.Serial
			pending = after > cursor.Serial
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil {
		for _, d := range s.held.deliveries {
			switch {
			case d.Notice != nil:
				if d.Notice.Serial > seen {
					s.subscriber.Deliver(d)
				}
			case after == 0: // also where events have no position
				s.subscriber.Deliver(d)
			default:
				if d.Event.Position.Serial > after {
					s.subscriber.Deliver(d)
				}
				if d.Event.Position.Serial >= after {
					pending = false // it came between the look at the cursor and the lock
				}
			}
		}
		s.held = nil
	}
	if pending {
		s.held = &held{after: after}
		return
	}
	s.open.Store(true)
}

// Close unsubscribes: no delivery of the channel begins after it has returned. Closing again
// does nothing.
func (s *Subscription) Close() { s.feed.unsubscribe(s) }
