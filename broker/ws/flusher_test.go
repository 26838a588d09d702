package ws

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/playhead/playhead/broker"
)

// subscribeRaw subscribes a client that speaks frames by hand.
func subscribeRaw(c *raw, ch broker.Channel) {
	c.tb.Helper()
	c.text("pusher:connection_established")
	c.write(clientFrame(final|opText, fmt.Sprintf(`{"event":"pusher:subscribe","data":{"channel":%q}}`, ch)))
	c.text("pusher_internal:subscription_succeeded")
}

// A client that stops reading is closed when more waits for it than may. The others notice
// nothing; its memory is free at once; and if it reads again in time it finds the code.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	h := start(t, func(_ *harness, cfg *Config) { cfg.QueueBytes = 256 << 10 })
	addr := h.listen()
	slow, healthy := h.openRawTCP(addr, nil), h.dialTCP(addr)
	subscribeRaw(slow, "feed")
	healthy.subscribe("feed")
	data := strings.Repeat("x", 9_000)
	sent := 0
	for h.metric("playhead_frames_dropped_total") == 0 {
		h.publish("feed", "e", data)
		healthy.expect("e")
		if sent++; sent > 10_000 {
			t.Fatal("never too slow")
		}
	}
	if got := h.metric("playhead_queue_bytes"); got > scratchBytes {
		t.Errorf("queue bytes after the seal: %v", got)
	}
	// A while later, but within the grace, it reads what is left: whole frames, then the code.
	events := 0
	for {
		op, payload, err := slow.read()
		if err != nil {
			t.Fatalf("after %d events: %v", events, err)
		}
		if op == opText && strings.Contains(string(payload), `"event":"e"`) {
			events++
			continue
		}
		if op == opText && strings.Contains(string(payload), `"code":4100`) {
			continue
		}
		if op != opClose || binary.BigEndian.Uint16(payload) != 4100 {
			t.Errorf("opcode %d %.80q, want close 4100", op, payload)
		}
		break
	}
	if _, _, err := slow.read(); !errors.Is(err, io.EOF) {
		t.Errorf("after the close frame: %v, want the end", err)
	}
	if events >= sent {
		t.Errorf("got all of %d events", sent)
	}
	_ = slow.Close()
	await(t, "the session is gone", func() bool { return h.metric("playhead_closes_total", "reason=slow_reader") == 1 })
	h.publish("feed", "after", "{}")
	healthy.expect("after")
}

// A client that never reads again is cut off when its grace is over.
func TestSlowReaderGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(_ *harness, cfg *Config) { cfg.QueueBytes = 64 << 10 })
		c := h.openRaw(nil)
		subscribeRaw(c, "feed")
		for range 20 {
			h.publish("feed", "e", strings.Repeat("x", 9_000))
		}
		synctest.Wait()
		if h.metric("playhead_connections") != 1 {
			t.Error("closed before its grace was over")
		}
		if o := h.presence.Occupancy("1", "feed"); o.Subscriptions != 0 {
			t.Error("still in the channel while it has its grace")
		}
		time.Sleep(closeGrace)
		synctest.Wait()
		if h.metric("playhead_connections") != 0 || h.metric("playhead_closes_total", "reason=slow_reader") != 1 {
			t.Error("not closed when its grace was over")
		}
	})
}

// A socket that takes nothing at all is given up, even when little waits for it.
func TestWriteTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		c := h.openRaw(nil)
		subscribeRaw(c, "feed")
		h.publish("feed", "e", "{}")
		for range 4 { // it is not silent
			time.Sleep(9 * time.Second)
			if h.metric("playhead_connections") == 1 {
				c.write(clientFrame(final|opText, `{"event":"pusher:pong"}`))
			}
		}
		if h.metric("playhead_closes_total", "reason=write_timeout") != 1 {
			t.Error("not closed for write_timeout")
		}
	})
}

// A client that is slow, but not too slow, gets everything: through partial writes, a full socket,
// and the goroutine that waits for it.
func TestBlockedSocketGoesOn(t *testing.T) {
	t.Parallel()
	h := start(t, func(_ *harness, cfg *Config) { cfg.QueueBytes = 64 << 20 })
	c := h.openRawTCP(h.listen(), nil)
	// With less the kernel opens the window in steps of 200 ms, and this takes a minute.
	if err := c.Conn.(*net.TCPConn).SetReadBuffer(256 << 10); err != nil {
		t.Fatal(err)
	}
	subscribeRaw(c, "feed")
	const events = 600
	for round := range 2 { // blocked, free, and blocked again
		for i := range events {
			h.publish("feed", fmt.Sprint("e-", i), strings.Repeat("x", i%20*1000))
			if round == 0 && i == events/2 {
				await(t, "the socket is full", func() bool { return h.metric("playhead_sockets_blocked") == 1 })
			}
		}
		for i := range events {
			if f := c.text(fmt.Sprint("e-", i)); len(f.text(t)) != i%20*1000 {
				t.Fatalf("event %d has %d bytes", i, len(f.text(t)))
			}
		}
		await(t, "the socket is free", func() bool { return h.metric("playhead_sockets_blocked") == 0 })
	}
	if got := h.metric("playhead_frames_dropped_total"); got != 0 {
		t.Errorf("dropped %v frames", got)
	}
}

// Everything at once: a wide fan-out of small and big events, answers, pongs and pings from the
// library and from us, and closes. Every client can read every frame, in order, up to its close.
func TestFramesDontMix(t *testing.T) {
	t.Parallel()
	h := start(t, func(_ *harness, cfg *Config) {
		cfg.QueueBytes = 64 << 20
		cfg.PingAfter = time.Second
		cfg.Flushers = 3
	})
	addr := h.listen()
	const clients, events = 24, 400
	var reading sync.WaitGroup
	for n := range clients {
		c := h.openRawTCP(addr, nil)
		subscribeRaw(c, "feed")
		reading.Go(func() {
			var writing sync.WaitGroup
			defer writing.Wait()
			writing.Go(func() {
				for i := range 100 {
					c.write(clientFrame(final|opPing, fmt.Sprint("ping-", i)))
					c.write(clientFrame(final|opText, `{"event":"pusher:ping"}`))
					if n%3 == 0 && i == 50 {
						c.write(clientFrame(final|opClose, "\x03\xe8bye"))
						return
					}
				}
			})
			next, pongs, answers := 0, 0, 0
			for {
				op, payload, err := c.read()
				if err != nil {
					t.Errorf("client %d after event %d: %v", n, next, err)
					return
				}
				switch op {
				case opPing:
				case opPong:
					if want := fmt.Sprint("ping-", pongs); string(payload) != want {
						t.Errorf("client %d: pong %q, want %q", n, payload, want)
					}
					pongs++
				case opClose:
					if n%3 != 0 || string(payload) != "\x03\xe8bye" || pongs != 51 || answers != 51 {
						t.Errorf("client %d: close %q after %d pongs and %d answers", n, payload, pongs, answers)
					}
					return
				case opText:
					var f frame
					if err := json.Unmarshal(payload, &f); err != nil {
						t.Errorf("client %d: %v in %.80q", n, err, payload)
						return
					}
					if f.Event == "pusher:pong" {
						answers++
						continue
					}
					if f.Event != fmt.Sprint("e-", next) || len(f.text(t)) != size(next) {
						t.Errorf("client %d: %s of %d bytes, want e-%d", n, f.Event, len(f.Data), next)
						return
					}
					next++
				default:
					t.Errorf("client %d: opcode %d", n, op)
					return
				}
				if n%3 != 0 && next == events && pongs == 100 && answers == 100 {
					return
				}
			}
		})
	}
	for i := range events {
		h.publish("feed", fmt.Sprint("e-", i), strings.Repeat("x", size(i)))
	}
	reading.Wait()
}

// size is that of event i: most are small, some larger than what one write merges.
func size(i int) int {
	if i%50 == 49 {
		return 100_000
	}
	return i % 300
}

// An idle flusher writes at once, however long it might let frames gather under load.
func TestNoWaitWithoutLoad(t *testing.T) {
	t.Parallel()
	h := start(t, func(_ *harness, cfg *Config) { cfg.FlushInterval = time.Hour })
	c := h.dialTCP(h.listen())
	c.subscribe("feed")
	for range 20 {
		h.publish("feed", "e", "{}")
		c.expect("e")
	}
}

// Under load a flusher lets frames gather, so that a write carries several; an idle one does not
// wait.
func TestMerging(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dialTCP(h.listen())
	c.subscribe("feed")
	for range 20 {
		h.publish("feed", "single", "{}")
		c.expect("single")
	}
	// Frames that are there when the flusher comes go out together.
	var s *session
	for _, s = range h.server.heartbeat.sessions() {
	}
	await(t, "the flusher is done, and kept away", func() bool {
		s.conn.queue.mu.Lock()
		defer s.conn.queue.mu.Unlock()
		done := !s.conn.queue.written
		s.conn.queue.written = true
		return done
	})
	before := h.metric("playhead_socket_writes_total")
	const events = 100
	for range events {
		h.publish("feed", "e", "{}")
	}
	await(t, "all wait", func() bool { return h.metric("playhead_queue_bytes") >= events*frameCost })
	await(t, "all wait", func() bool {
		s.conn.queue.mu.Lock()
		defer s.conn.queue.mu.Unlock()
		return s.conn.queue.frames != nil && len(s.conn.queue.frames.waiting()) == events
	})
	s.conn.flusher.add(&s.conn)
	for range events {
		c.expect("e")
	}
	await(t, "the write is counted", func() bool { return h.metric("playhead_socket_writes_total") == before+1 })
}
