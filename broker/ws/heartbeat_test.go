package ws

import (
	"encoding/binary"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Checklist 31, 34: a silent client gets a WebSocket ping after 45 s and is closed with 4201 after
// 30 more, never later.
func TestSilentClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		time.Sleep(500 * time.Millisecond) // between two ticks
		c := h.openRaw(nil)
		began := time.Now()
		c.text("pusher:connection_established")
		op, _, err := c.read()
		if err != nil || op != opPing {
			t.Fatalf("got opcode %d, %v; want a ping", op, err)
		}
		if silence := time.Since(began); silence < 44*time.Second || silence > 45*time.Second {
			t.Errorf("ping after %v", silence)
		}
		c.text("pusher:error")
		if silence := time.Since(began); silence < 74*time.Second || silence > 75*time.Second {
			t.Errorf("closed after %v", silence)
		}
		op, payload, err := c.read()
		if err != nil || op != opClose || binary.BigEndian.Uint16(payload) != 4201 {
			t.Errorf("got opcode %d %q, %v; want close 4201", op, payload, err)
		}
		time.Sleep(closeGrace + time.Second)
		if _, err := c.Conn.Write([]byte{0}); err == nil {
			t.Error("still open after the grace")
		}
		if got := h.metric("playhead_closes_total", "reason=pong_timeout"); got != 1 {
			t.Errorf("closes for pong_timeout: %v", got)
		}
	})
}

// The others learn of a silent member's end when it is closed, not when its grace is over.
func TestSilentMemberLeavesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		watcher := h.dial("")
		watcher.patience = time.Hour
		watcher.subscribeAs("presence-a", `{"user_id":"1"}`)
		silent := h.dial("")
		silent.subscribeAs("presence-a", `{"user_id":"2"}`)
		watcher.expect("pusher_internal:member_added")
		began := time.Now()
		go func() { // keeps the watcher alive
			for range 4 {
				time.Sleep(20 * time.Second)
				watcher.send(`{"event":"pusher:pong"}`)
			}
		}()
		watcher.expect("pusher_internal:member_removed")
		if took := time.Since(began); took > 75*time.Second {
			t.Errorf("member removed after %v", took)
		}
		time.Sleep(90 * time.Second)
	})
}

// Checklist 32, 33: who answers pings, or pings itself, stays for as long as it likes.
func TestLiveClients(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		answering, pinging, trickling := h.dial(""), h.dial(""), h.openRaw(nil)
		trickling.text("pusher:connection_established")
		answering.patience, pinging.patience = 2*time.Hour, 2*time.Hour
		go func() { _, _ = answering.receive() }() // answers pings meanwhile
		pongs := 0
		go func() {
			for {
				if _, err := pinging.receive(); err != nil {
					return
				}
				pongs++
			}
		}()
		message := clientFrame(final|opText, `{"event":"pusher:pong"}`)
		for i := range 90 { // an hour; the announced activity time-out is 120 s
			time.Sleep(40 * time.Second)
			trickling.write(message[i%len(message) : i%len(message)+1])
			if i%3 == 2 {
				pinging.send(`{"event":"pusher:ping","data":{}}`)
			}
		}
		synctest.Wait()
		if pongs != 30 {
			t.Errorf("pongs: %d, want 30", pongs)
		}
		if got := h.metric("playhead_closes_total"); got != 0 {
			t.Errorf("closed: %v", got)
		}
		if got := h.metric("playhead_heartbeat_pings_total"); got == 0 {
			t.Error("nobody was pinged")
		}
	})
}

// The wheel forgets who has gone, wherever it stood.
func TestWheelForgets(t *testing.T) {
	t.Parallel()
	h := newHeartbeat(3*time.Second, 10*time.Second)
	h.metrics = start(t, nil).server.metrics
	var all []*session
	for i := range 100 {
		s := &session{}
		s.conn.clock = &h.clock
		s.conn.queue.limit = 1 << 20
		s.conn.queue.written = true // nobody writes here
		s.conn.heard.Store(h.clock.Load())
		h.add(s)
		all = append(all, s)
		if i%20 == 19 {
			h.turn()
		}
	}
	for i, s := range all {
		if left := h.remove(s); left != len(all)-1-i {
			t.Fatalf("%d left after %d of %d went", left, i+1, len(all))
		}
		if got := len(h.sessions()); got != len(all)-1-i {
			t.Fatalf("%d on the wheel after %d of %d went", got, i+1, len(all))
		}
	}
}

// Checklist 97: in an app that wants its clients to authorise, who has neither signed in nor subscribed
// with a signature in time is closed with 4009, however lively it is; who has, stays, whatever it does
// then.
func TestAuthorizedConnections(t *testing.T) {
	t.Parallel()
	for _, within := range []time.Duration{10 * time.Second, 9500 * time.Millisecond, 5 * time.Minute} { // the last is more than a turn of the wheel
		t.Run(within.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := start(t, func(h *harness, _ *Config) { h.app.AuthorizedConnections = within })
				time.Sleep(300 * time.Millisecond) // between two ticks
				began := time.Now()
				silent, lively, refused := h.dial(""), h.dial(""), h.dial("")
				user, private, member := h.dial(""), h.dial(""), h.dial("")
				lively.subscribe("public")
				refused.sendSubscribe("presence-a", "")
				refused.refusal("presence-a")
				refused.sendSubscribe("#server-to-user-ada", "")
				refused.refusal("#server-to-user-ada")
				refused.send(`{"event":"pusher:signin","data":{"auth":"x:y","user_data":"{\"id\":\"ada\"}"}}`)
				refused.complaint()
				user.signIn(`{"id":"ada"}`)
				private.subscribe("private-a")
				private.send(`{"event":"pusher:unsubscribe","data":{"channel":"private-a"}}`)
				member.subscribeAs("presence-b", `{"user_id":"1"}`)

				var closing sync.WaitGroup
				for name, c := range map[string]*client{"silent": silent, "lively": lively, "refused": refused} {
					c.patience = time.Hour
					closing.Go(func() {
						code, reason, before := c.ended()
						if code != 4009 || reason != "Connection not authorized within timeout." || len(before) == 0 || before[len(before)-1].Event != "pusher:error" {
							t.Errorf("%s: closed with %d %q after %v", name, code, reason, before)
						}
						if took := time.Since(began); took < within || took > within.Round(time.Second)+time.Second {
							t.Errorf("%s: closed after %v, want %v", name, took, within)
						}
					})
				}
				for _, c := range []*client{user, private, member} {
					c.patience = time.Hour
					go func() { _, _ = c.receive() }() // answers the server's pings
				}
				for time.Since(began) < within-8*time.Second { // its last word is not long before the end
					time.Sleep(8 * time.Second)
					lively.send(`{"event":"pusher:ping"}`)
				}
				closing.Wait()
				time.Sleep(within + time.Minute)
				if got := h.metric("playhead_connections"); got != 3 {
					t.Errorf("connections that authorised and are there: %v, want 3", got)
				}
				if got := h.metric("playhead_closes_total", "reason=unauthorized"); got != 3 {
					t.Errorf("closes for unauthorized: %v, want 3", got)
				}
			})
		})
	}
}

// Forced: a client authorises when its time has just run out. It is not told that it did, because it
// is about to be closed.
func TestAuthorisesTooLate(t *testing.T) {
	t.Parallel()
	h := start(t, func(h *harness, _ *Config) { h.app.AuthorizedConnections = time.Hour })
	c := h.dial("")
	for _, s := range h.server.heartbeat.sessions() {
		s.standing.Store(expired)
	}
	c.sendSignIn(`{"id":"ada"}`)
	c.sendSubscribe("private-a", "")
	c.sync()
	if n := len(h.presence.Connections("1", "ada")); n != 0 {
		t.Errorf("signed in on %d connections", n)
	}
	for _, s := range h.server.heartbeat.sessions() {
		s.Close(Unauthorised)
	}
	if code, _, before := c.ended(); code != 4009 || len(before) != 1 {
		t.Errorf("closed with %d after %v", code, before)
	}
	await(t, "its channel is vacated", func() bool { return len(h.presence.Occupied("1", "")) == 0 })
}
