package ws

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// tick is the wheel's step, and the precision of all that hangs on it.
const tick = time.Second

// heartbeat finds silent clients, and those that must authorise and don't: one wheel with a slot per
// tick for all sessions, where a timer for each would cost more than the session. A session stands in
// the slot of the tick at which, had it been silent until then, something would have to be done;
// whether it has been is looked at only then. Every live session stands in exactly one slot, so the
// wheel is also the list of them.
type heartbeat struct {
	ping    uint32 // silence after which a session is pinged, in ticks
	timeout uint32 // silence after which it is closed, in ticks
	metrics *metrics
	clock   atomic.Uint32 // ticks since the server was made

	mu    sync.Mutex
	slots [][]*session // guarded by mu; slot t%len holds what is due at tick t
	count int          // guarded by mu
}

// pulse is a session's place on the wheel.
type pulse struct {
	slot, place int // guarded by heartbeat.mu
}

// ticks returns a time in ticks, rounded up.
func ticks(d time.Duration) uint32 { return uint32((d + tick - 1) / tick) }

func newHeartbeat(pingAfter, pongTimeout time.Duration) *heartbeat {
	h := &heartbeat{ping: ticks(pingAfter), timeout: ticks(pingAfter) + ticks(pongTimeout)}
	h.slots = make([][]*session, h.timeout+1)
	return h
}

// run turns the wheel until ctx ends.
func (h *heartbeat) run(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			h.turn()
		}
	}
}

// turn looks at the sessions of the next slot. Silence counts from the beginning of the tick in
// which something was last heard, so that nothing is noticed later than promised.
func (h *heartbeat) turn() {
	now := h.clock.Add(1)
	var silent, dead, unknown []*session
	h.mu.Lock()
	slot := int(now % uint32(len(h.slots)))
	due := h.slots[slot]
	h.slots[slot] = nil
	for _, s := range due {
		switch silence := now - s.conn.heard.Load(); {
		case s.deadline != 0 && now >= s.deadline && s.standing.CompareAndSwap(pending, expired):
			unknown = append(unknown, s)
			h.put(s, now+h.timeout)
		case silence >= h.timeout:
			dead = append(dead, s)
			h.put(s, now+h.timeout)
		case silence >= h.ping:
			silent = append(silent, s)
			h.put(s, now-silence+h.timeout)
		default:
			h.put(s, now-silence+h.ping)
		}
	}
	h.mu.Unlock()
	for _, s := range silent {
		h.metrics.pings.Inc()
		s.send(pingFrame)
	}
	for _, s := range unknown {
		s.Close(Unauthorised)
	}
	for _, s := range dead {
		s.Close(PongTimeout)
	}
}

// put places s in the slot of a tick, or of the one at which it must have authorised if that comes
// before. It is called with h.mu held.
func (h *heartbeat) put(s *session, at uint32) {
	if s.deadline > h.clock.Load() && s.standing.Load() == pending {
		at = min(at, s.deadline)
	}
	slot := int(at % uint32(len(h.slots)))
	s.pulse = pulse{slot: slot, place: len(h.slots[slot])}
	h.slots[slot] = append(h.slots[slot], s)
}

// add takes a new session in.
func (h *heartbeat) add(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.put(s, max(s.conn.heard.Load()+h.ping, h.clock.Load()+1))
	h.count++
}

// remove takes a session out, and says how many are left.
func (h *heartbeat) remove(s *session) (left int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	in := h.slots[s.pulse.slot]
	last := len(in) - 1
	in[s.pulse.place] = in[last]
	in[s.pulse.place].pulse.place = s.pulse.place
	in[last] = nil
	h.slots[s.pulse.slot] = in[:last]
	h.count--
	return h.count
}

// sessions returns all that live.
func (h *heartbeat) sessions() []*session {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*session, 0, h.count)
	for _, in := range h.slots {
		all = append(all, in...)
	}
	return all
}
