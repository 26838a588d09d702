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
	index      int         // guarded by feed.mu; the place in the channel's slice
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

// Open releases what the gate held and lets later deliveries through. Notices with a serial up
// to seen are left out: the snapshot that the session was answered with has them already. Pass 0
// when there was no snapshot.
func (s *Subscription) Open(seen uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil {
		for _, d := range s.held.deliveries {
			if d.Notice == nil || d.Notice.Serial > seen {
				s.subscriber.Deliver(d)
			}
		}
		s.held = nil
	}
	s.open.Store(true)
}

// Close unsubscribes: no delivery of the channel begins after it has returned. Closing again
// does nothing.
func (s *Subscription) Close() { s.feed.unsubscribe(s) }
