package ws

import (
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
)

// An idle session over TCP has no goroutine, before its first message, after it, and after the
// pings and pongs that keep it alive.
func TestIdleSessionsHaveNoGoroutine(t *testing.T) {
	// Not parallel: it counts the goroutines of the process.
	h := start(t, nil)
	addr := h.listen()
	var clients []*raw
	for range 100 {
		c := h.openRawTCP(addr, nil)
		subscribeRaw(c, "feed")
		c.write(clientFrame(final|opPong, "unasked"))
		c.write(clientFrame(final|opPing, "alive"))
		if op, payload, err := c.read(); err != nil || op != opPong || string(payload) != "alive" {
			t.Fatalf("opcode %d %q, %v; want the pong", op, payload, err)
		}
		clients = append(clients, c)
	}
	reading := func() int {
		stacks := make([]byte, 4<<20)
		return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "(*session).serve")
	}
	await(t, "all sessions are idle", func() bool { return reading() == 0 })
	h.publish("feed", "e", "{}")
	for _, c := range clients {
		c.text("e")
	}
	// A message that comes in pieces takes a goroutine until it is whole.
	message := clientFrame(final|opText, `{"event":"pusher:ping"}`)
	clients[0].write(message[:9])
	await(t, "one session reads", func() bool { return reading() == 1 })
	clients[0].write(message[9:])
	clients[0].text("pusher:pong")
	await(t, "all sessions are idle again", func() bool { return reading() == 0 })
	// Who has gone is forgotten.
	s := h.server.heartbeat.sessions()[0]
	if !s.reader.armed.Load() {
		t.Fatal("idle, and not armed")
	}
	p := s.reader.poller
	registered := func() (n int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, s := range p.sessions {
			if s != nil {
				n++
			}
		}
		return n
	}
	if got := registered(); got != 100 {
		t.Errorf("%d sessions are registered, want 100", got)
	}
	for _, c := range clients {
		_ = c.Close()
	}
	await(t, "all are forgotten", func() bool { return registered() == 0 })
}

// Forced: a session is closed just before, and just after, it says that it is armed. Either way it
// is noticed by exactly one.
func TestCloseWhileArming(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	srv, err := New(Config{Apps: apps{}, Node: h.node, Presence: h.presence, Replay: h.server.cfg.Replay})
	if err != nil {
		t.Fatal(err)
	}
	server, client := net.Pipe()
	defer func() { _, _ = server.Close(), client.Close() }()
	s := &session{server: srv} // which doesn't run, so that what waits for it stays there
	s.conn.init(server, nil, srv.flushers[0], &srv.heartbeat.clock, 1<<20)
	s.reader.poller = &poller{sessions: []*session{nil}}
	if err := s.arm(); !errors.Is(err, errIdle) || !s.reader.armed.Load() {
		t.Errorf("armed: %v, %v", err, s.reader.armed.Load())
	}
	s.rouse()
	s.rouse()
	if s.reader.armed.Load() || len(srv.waiting) != 1 {
		t.Errorf("roused: armed %v, %d wait for a goroutine, want 1", s.reader.armed.Load(), len(srv.waiting))
	}
	s.conn.seal(Shutdown, nil, true, s.rouse)
	if err := s.arm(); !errors.Is(err, errClosed) || s.reader.armed.Load() {
		t.Errorf("armed a closed session: %v, %v", err, s.reader.armed.Load())
	}
	if len(srv.waiting) != 1 {
		t.Errorf("%d wait for a goroutine: the one that armed goes on by itself", len(srv.waiting))
	}
}

// A session that the poller can't watch is read without it.
func TestPollerRefuses(t *testing.T) {
	t.Parallel()
	p, err := newPoller()
	if err != nil {
		t.Fatal(err)
	}
	p.close()
	s := &session{}
	p.sessions, s.reader.poller = []*session{s}, p
	if err := s.arm(); err != nil || s.reader.armed.Load() || s.reader.poller != nil || p.sessions[0] != nil {
		t.Errorf("%v, armed %v, poller %p, registered %p", err, s.reader.armed.Load(), s.reader.poller, p.sessions[0])
	}
}

// An event of a descriptor's former life names nobody.
func TestGenerations(t *testing.T) {
	t.Parallel()
	s := &session{}
	s.reader.fd, s.reader.generation = 1, 7
	p := &poller{sessions: []*session{nil, s}}
	for generation, want := range map[int32]*session{7: s, 6: nil, 8: nil} {
		if got := p.named(1, generation); got != want {
			t.Errorf("generation %d names %p, want %p", generation, got, want)
		}
	}
	if p.named(0, 0) != nil {
		t.Error("a descriptor without session names one")
	}
}
