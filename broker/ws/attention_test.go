package ws

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/replay"
)

// slowHistory takes its time to find the event at a position, which every replay from the log needs.
type slowHistory struct {
	replay.History
	time  time.Duration   // for each
	hold  <-chan struct{} // if there is one, it waits for that instead
	begun atomic.Int32
	ended atomic.Int32 // by their context, before the time was over
}

// At implements [replay.History].
func (h *slowHistory) At(ctx context.Context, app broker.AppID, serial uint64) (*broker.Event, error) {
	h.begun.Add(1)
	hold, timeout := h.hold, (<-chan time.Time)(nil)
	if hold == nil {
		timeout = time.After(h.time)
	}
	select {
	case <-timeout:
		return h.History.At(ctx, app, serial)
	case <-hold:
		return h.History.At(ctx, app, serial)
	case <-ctx.Done():
		h.ended.Add(1)
		return nil, ctx.Err()
	}
}

// slow gives a harness a slow history, in which one replay at a time reads.
func slow(h *harness, cfg *Config, each time.Duration) *slowHistory {
	history := &slowHistory{History: h.memory, time: each}
	var err error
	cfg.Replay, err = replay.New(replay.Config{
		History: history, Window: time.Hour, Concurrency: 1, WaitTimeout: 24 * time.Hour, Timeout: 24 * time.Hour, Registerer: h.registry,
	})
	if err != nil {
		h.tb.Fatal(err)
	}
	return history
}

// missing publishes two events and returns the position of the first, so that a replay must read. The
// node's cursor is at the second: w has seen it.
func missing(h *harness, w *client) string {
	h.tb.Helper()
	from := h.publish("orders", "seen", "{}")
	h.publish("orders", "missed", "{}")
	w.expect("seen")
	w.expect("missed")
	return from.Position.String()
}

func subscribeMessage(ch, more string) []byte {
	return clientFrame(final|opText, fmt.Sprintf(`{"event":"pusher:subscribe","data":{"channel":%q,%s}}`, ch, more))
}

// While a client waits for its replay its pings are answered, and it is asked for signs of life and
// heard, for however long that is; what it says waits for its turn.
func TestWaitingClientIsHeard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const wait = 20 * time.Minute
		h := start(t, func(h *harness, cfg *Config) { slow(h, cfg, wait) })
		witness := h.dial("")
		witness.subscribe("orders")
		position := missing(h, witness)
		_ = witness.ws.CloseNow()
		c := h.openRaw(nil)
		c.text("pusher:connection_established")
		began := time.Now()
		c.write(subscribeMessage("orders", resume(position, "")))
		c.write(clientFrame(final|opText, `{"event":"pusher:ping"}`))
		c.write(clientFrame(final|opPing, "at once"))
		heard := map[string]int{}
		for done := false; !done; {
			op, payload, err := c.read()
			if err != nil {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
			switch op {
			case opPing:
				heard["ping"]++
				c.write(clientFrame(final|opPong, string(payload)))
			case opPong:
				heard["pong "+string(payload)]++
				if took := time.Since(began); took > time.Second {
					t.Errorf("a ping was answered after %v", took)
				}
			case opText:
				var f frame
				if err := json.Unmarshal(payload, &f); err != nil {
					t.Fatalf("%s: %v", payload, err)
				}
				heard[f.Event]++
				if f.Event == "pusher:ping" {
					c.write(clientFrame(final|opText, `{"event":"pusher:pong"}`))
				} else if took := time.Since(began); took < wait || took > wait+time.Second {
					t.Errorf("%s after %v", f.Event, took)
				}
				done = f.Event == "pusher:pong"
			default:
				t.Fatalf("got opcode %d %q", op, payload)
			}
		}
		// It is as silent as this only while nothing else is said: a word a minute is what the activity
		// time-out asks for.
		if heard["pusher:ping"] < 18 || heard["pusher:ping"] > 20 || heard["pong at once"] != 1 || heard["missed"] != 1 || heard["playhead:replayed"] != 1 {
			t.Errorf("heard %v", heard)
		}
		// And then it is a client like any other.
		for idle := time.Now(); time.Since(idle) < 10*time.Minute; {
			op, payload, err := c.read()
			if err != nil || op != opPing {
				t.Fatalf("after %v: got opcode %d %q, %v; want a ping", time.Since(idle), op, payload, err)
			}
			c.write(clientFrame(final|opPong, string(payload)))
		}
		c.write(clientFrame(final|opText, `{"event":"pusher:ping"}`))
		c.text("pusher:pong")
	})
}

// A client that doesn't answer is given up while it waits as at any other time, and its replay with it.
func TestSilentWhileWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var history *slowHistory
		h := start(t, func(h *harness, cfg *Config) { history = slow(h, cfg, time.Hour) })
		witness := h.dial("")
		witness.subscribe("orders")
		position := missing(h, witness)
		_ = witness.ws.CloseNow()
		synctest.Wait()
		c := h.openRaw(nil)
		c.text("pusher:connection_established")
		began := time.Now()
		c.write(subscribeMessage("orders", resume(position, "")))
		c.text("pusher:ping") // the server's own are skipped
		c.text("pusher:error")
		if took := time.Since(began); took < 74*time.Second || took > 75*time.Second {
			t.Errorf("closed after %v", took)
		}
		synctest.Wait()
		if n := history.ended.Load(); n != 1 {
			t.Errorf("%d replays were given up, want 1", n)
		}
		time.Sleep(closeGrace + time.Second)
		if got := h.metric("playhead_closes_total", "reason=pong_timeout"); got != 1 {
			t.Errorf("closes for pong_timeout: %v", got)
		}
	})
}

// A session with many channels comes back in a storm: each of its replays waits for its turn behind
// those of others, and it outlives all of that.
func TestManyChannelsWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const channels = 200
		h := start(t, func(h *harness, cfg *Config) { slow(h, cfg, 5*time.Second) })
		witness := h.dial("")
		witness.patience = time.Hour
		witness.subscribe("orders")
		position := missing(h, witness)
		var clients sync.WaitGroup
		began := time.Now()
		for range 2 {
			clients.Go(func() {
				c := h.dial("")
				c.patience = time.Hour
				for i := range channels {
					c.sendSubscribe(broker.Channel(fmt.Sprint("orders-", i)), "", resume(position, ""))
				}
				for i := range channels {
					for _, event := range []string{"pusher_internal:subscription_succeeded", "playhead:replayed"} {
						f := c.next()
						for f.Event == "pusher:ping" {
							f = c.next()
						}
						if f.Event != event || f.Channel != fmt.Sprint("orders-", i) {
							t.Errorf("got %s of %s, want %s of orders-%d", f.Event, f.Channel, event, i)
							return
						}
					}
				}
				c.sync()
			})
		}
		go func() { _, _ = witness.receive() }() // answers pings meanwhile
		clients.Wait()
		if took := time.Since(began); took < 2*channels*5*time.Second {
			t.Errorf("took %v; nobody has waited", took)
		}
		if got := h.metric("playhead_closes_total", "reason=pong_timeout"); got != 0 {
			t.Errorf("closes for pong_timeout: %v", got)
		}
	})
}

// Whoever leaves while it waits, or is sent away, gives its place up at once.
func TestLeavesWhileWaiting(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(h *harness, c *client){
		"the client":  func(_ *harness, c *client) { _ = c.ws.CloseNow() },
		"the backend": func(h *harness, _ *client) { h.server.heartbeat.sessions()[0].Close(broker.Terminated) },
		"the server": func(h *harness, c *client) {
			go func() { _, _ = c.receive() }()
			_ = h.server.Drain(context.Background())
		},
		"the process": func(h *harness, _ *client) { h.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var history *slowHistory
				h := start(t, func(h *harness, cfg *Config) {
					history = slow(h, cfg, time.Hour)
					cfg.DrainTime = -1
				})
				c := h.dial("")
				c.subscribe("orders")
				position := missing(h, c)
				const channels = 10
				for i := range channels {
					c.sendSubscribe(broker.Channel(fmt.Sprint("orders-", i)), "", resume(position, ""))
				}
				time.Sleep(time.Second)
				began := time.Now()
				leave(h, c)
				synctest.Wait()
				// What a client asked for before it left, and what wasn't begun, costs nothing.
				if begun, ended := history.begun.Load(), history.ended.Load(); begun != 1 || ended != 1 {
					t.Errorf("%d replays read, %d were given up; want 1", begun, ended)
				}
				time.Sleep(closeGrace)
				synctest.Wait()
				if n := h.metric("playhead_subscriptions"); n != 0 {
					t.Errorf("%v subscriptions are left", n)
				}
				if took := time.Since(began); took > 2*closeGrace {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// What a client says while it waits is kept up to a bound; beyond that it is up to the network, and the
// client isn't taken for dead because nobody listens.
func TestTalkativeWhileWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const wait = 10 * time.Minute
		h := start(t, func(h *harness, cfg *Config) { slow(h, cfg, wait) })
		witness := h.dial("")
		witness.subscribe("orders")
		position := missing(h, witness)
		_ = witness.ws.CloseNow()
		synctest.Wait()
		c := h.openRaw(nil)
		c.text("pusher:connection_established")
		var reading sync.WaitGroup
		defer reading.Wait()
		reading.Go(func() {
			for _, event := range []string{"pusher_internal:subscription_succeeded", "missed", "playhead:replayed"} {
				for {
					op, payload, err := c.read()
					if err != nil {
						t.Errorf("want %s, got %v", event, err)
						return
					}
					if op == opText && strings.Contains(string(payload), event) {
						break
					}
				}
			}
			for i := range 1000 {
				if f := c.text("pusher:error"); !strings.Contains(string(f.Data), fmt.Sprintf("'word-%d-", i)) {
					t.Errorf("answer %d is %s", i, f.Data)
					return
				}
			}
		})
		c.write(subscribeMessage("orders", resume(position, "")))
		talk := make(chan int, 1)
		go func() {
			for i := range 1000 {
				_ = c.SetWriteDeadline(time.Now().Add(time.Hour))
				if _, err := c.Conn.Write(clientFrame(final|opText, fmt.Sprintf(`{"event":"word-%d-%s"}`, i, strings.Repeat("x", 150)))); err != nil {
					t.Errorf("word %d: %v", i, err)
					return
				}
				if i%100 == 0 {
					select {
					case <-talk:
					default:
					}
					talk <- i
				}
			}
		}()
		time.Sleep(wait / 2)
		synctest.Wait()
		if said := <-talk * 180; said > 2*mostOverheard {
			t.Errorf("%d bytes were taken", said)
		}
	})
}

// The same over sockets that are watched: what comes while the client waits is neither lost nor
// doubled, and the session goes on as before.
func TestWaitingOverTCP(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	h := start(t, func(h *harness, cfg *Config) { slow(h, cfg, 0).hold = release })
	addr := h.listen()
	witness := h.dialTCP(addr)
	witness.subscribe("orders")
	position := missing(h, witness)
	c := h.openRawTCP(addr, nil)
	c.text("pusher:connection_established")
	const channels = 5
	for i := range channels {
		c.write(subscribeMessage(fmt.Sprint("orders-", i), resume(position, "")))
		c.write(clientFrame(final|opText, fmt.Sprintf(`{"event":"word-%d-%s"}`, i, strings.Repeat("x", 5000))))
	}
	c.write(clientFrame(final|opPing, "at once"))
	if op, payload, err := c.read(); op != opPong || string(payload) != "at once" {
		t.Fatalf("got opcode %d %q, %v; want a pong", op, payload, err)
	}
	close(release)
	for i := range channels {
		for _, event := range []string{"pusher_internal:subscription_succeeded", "playhead:replayed"} {
			if f := c.text(event); f.Channel != fmt.Sprint("orders-", i) {
				t.Errorf("%s of %s, want orders-%d", event, f.Channel, i)
			}
		}
		if f := c.text("pusher:error"); !strings.Contains(string(f.Data), fmt.Sprintf("'word-%d-", i)) {
			t.Errorf("answer %s to word %d", f.Data, i)
		}
	}
	for range 3 {
		c.write(clientFrame(final|opText, `{"event":"pusher:ping"}`))
		c.text("pusher:pong")
	}
	c.write(clientFrame(final|opClose, "\x03\xe8"))
	if op, payload, err := c.read(); op != opClose || string(payload) != "\x03\xe8" {
		t.Errorf("got opcode %d %q, %v; want a close", op, payload, err)
	}
	_ = c.Conn.Close()
	await(t, "it is gone", func() bool { return h.metric("playhead_connections") == 1 })
}

// A client that ends its half of the connection in the middle of its replay gets no more of it, and
// nothing that would look like the rest.
func TestHalfClosedInReplay(t *testing.T) {
	t.Parallel()
	h := start(t, func(_ *harness, cfg *Config) { cfg.QueueBytes = 64 << 10 })
	addr := h.listen()
	witness := h.dialTCP(addr)
	witness.subscribe("orders")
	from := h.publish("orders", "seen", "{}")
	const events = 900
	for i := range events {
		h.publish("orders", fmt.Sprint("missed-", i), strings.Repeat("x", 1000))
		witness.next()
	}
	witness.next()
	c := h.openRawTCP(addr, nil)
	c.text("pusher:connection_established")
	c.write(subscribeMessage("orders", resume(from.Position.String(), "")))
	f := c.text("pusher_internal:subscription_succeeded")
	if want := fmt.Sprintf(`{"recovered":true,"count":%d}`, events); string(f.Resume) != want {
		t.Fatalf("answer %s, want %s", f.Resume, want)
	}
	await(t, "the socket is full", func() bool { return h.metric("playhead_sockets_blocked") == 1 })
	h.publish("orders", "live", "{}") // the gate holds it
	witness.expect("live")
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	await(t, "the session has left its channel", func() bool { return h.metric("playhead_subscriptions") == 1 })
	for i := 0; ; i++ {
		op, payload, err := c.read()
		if err != nil || op == opClose {
			break
		}
		if want := fmt.Sprintf(`"missed-%d"`, i); op == opText && !strings.Contains(string(payload), want) && !strings.Contains(string(payload), "pusher:error") {
			t.Fatalf("got %.60s, want %s", payload, want)
		}
		if i == events {
			t.Fatal("got everything; the socket wasn't full")
		}
	}
}

// A thousand events of ten kilobytes are ten times what may wait for a client. One that reads them
// slowly, but does, gets them all, and no more than the bound ever waits.
func TestGreatReplayToSlowReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(h *harness, cfg *Config) {
			cfg.QueueBytes = 1 << 20
			var err error
			if cfg.Replay, err = replay.New(replay.Config{History: h.memory, Window: time.Hour, MaxBytes: 20 << 20}); err != nil {
				t.Fatal(err)
			}
		})
		c := h.openRaw(nil)
		c.text("pusher:connection_established")
		from := h.publish("orders", "seen", "{}")
		const events = 1000
		data := strings.Repeat("x", 10_000)
		for i := range events {
			h.publish("orders", fmt.Sprint("missed-", i), data)
		}
		synctest.Wait()
		c.write(subscribeMessage("orders", resume(from.Position.String(), "")))
		c.text("pusher_internal:subscription_succeeded")
		began := time.Now()
		for i := range events {
			// It takes a quarter of the bound in 37 s, which is more than the patience for one that
			// takes nothing.
			time.Sleep(1400 * time.Millisecond)
			if waiting := h.metric("playhead_queue_bytes"); waiting > 1<<20 {
				t.Fatalf("%v bytes wait", waiting)
			}
			op, payload, err := c.read()
			for op == opPing && err == nil {
				c.write(clientFrame(final|opPong, string(payload)))
				op, payload, err = c.read()
			}
			if err != nil || !strings.Contains(string(payload), fmt.Sprintf(`"missed-%d"`, i)) {
				t.Fatalf("after %v: got %.60s, %v; want missed-%d", time.Since(began), payload, err, i)
			}
		}
		c.text("playhead:replayed")
	})
}
