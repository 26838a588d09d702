package streams

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// An appender that has been idle leaves, but never a request behind.
func TestIdleAppenderLeaves(t *testing.T) {
	t.Parallel()
	cfg, err := Config{Publish: &nats.Conn{}, Tail: &nats.Conn{}, Read: &nats.Conn{}, NodeName: "n"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	s := &Streams{cfg: cfg, metrics: newMetrics(cfg.Registerer), wake: make(chan struct{}, 1)}
	st, err := newStream(s, "app")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	a := newAppender(st)
	a.lastUsed = now
	add := func() {
		if err := st.queue.add(t.Context(), &request{cost: 1, left: 1, deadline: now.Add(time.Hour), done: make(chan struct{})}); err != nil {
			t.Fatal(err)
		}
	}
	add()
	if len(s.pending) != 1 {
		t.Fatalf("%d appenders asked for", len(s.pending))
	}
	a.waiting = st.queue.take(a.waiting)
	if a.tick(now.Add(time.Minute)) {
		t.Error("left with a request in hand")
	}
	a.waiting = nil
	if a.tick(now.Add(time.Minute + idleTimeout/2)) {
		t.Error("left too soon")
	}
	add()
	if len(s.pending) != 1 {
		t.Fatalf("%d appenders asked for, with one there", len(s.pending))
	}
	if a.tick(now.Add(time.Hour - time.Second)) {
		t.Error("left with a request in the queue")
	}
	a.waiting = st.queue.take(a.waiting)
	a.waiting = nil
	if !a.tick(now.Add(3 * time.Hour)) {
		t.Error("stayed")
	}
	add()
	if len(s.pending) != 2 {
		t.Error("no other appender was asked for")
	}
}
