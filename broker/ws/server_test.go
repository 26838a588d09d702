package ws

import (
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// Draining sends everybody home with a code that brings them back at once, one after the other
// over the drain time.
func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(_ *harness, cfg *Config) { cfg.DrainTime = 10 * time.Second })
		const n = 50
		began := time.Now()
		var mu sync.Mutex
		var at []time.Duration
		var clients sync.WaitGroup
		for range n {
			c := h.dial("")
			c.patience = time.Hour
			c.subscribe("orders")
			clients.Go(func() {
				code, reason, _ := c.ended()
				if code != 4200 || reason != "Please reconnect immediately" {
					t.Errorf("closed with %d %q", code, reason)
				}
				mu.Lock()
				defer mu.Unlock()
				at = append(at, time.Since(began))
			})
		}
		if err := h.server.Drain(t.Context()); err != nil {
			t.Errorf("drain: %v", err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
		clients.Wait()
		slices.Sort(at)
		for i := range at {
			if want := time.Duration(i) * 10 * time.Second / n; at[i] < want-time.Millisecond || at[i] > want+time.Second {
				t.Errorf("goodbye %d after %v, want about %v", i, at[i], want)
			}
		}
		if got := h.metric("playhead_closes_total", "reason=shutdown"); got != n {
			t.Errorf("closes for shutdown: %v", got)
		}
	})
}

// Who has no other node to go to is asked back after a second: at once it would find nobody.
func TestDrainAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(_ *harness, cfg *Config) { cfg.Alone = true })
		c := h.dial("")
		var leaving sync.WaitGroup
		leaving.Go(func() {
			if code, reason, _ := c.ended(); code != 4100 || reason != "Server is restarting" {
				t.Errorf("closed with %d %q", code, reason)
			}
			// It may be quicker than the server.
			if code, _, _ := h.open("/app/key", nil).ended(); code != 4100 {
				t.Errorf("back too early: closed with %d", code)
			}
		})
		if err := h.server.Drain(t.Context()); err != nil {
			t.Errorf("drain: %v", err)
		}
		leaving.Wait()
		if got := h.metric("playhead_closes_total", "reason=restart"); got != 1 {
			t.Errorf("closes for restart: %v", got)
		}
	})
}

// Who does not leave in time is cut off, and Drain says so; a short deadline shortens the spread.
func TestDrainDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(_ *harness, cfg *Config) { cfg.DrainTime = time.Minute })
		polite, stubborn := h.dial(""), h.openRaw(nil)
		polite.patience = time.Hour
		stubborn.text("pusher:connection_established")
		began := time.Now()
		go func() {
			if code, _, _ := polite.ended(); code != 4200 {
				t.Errorf("closed with %d", code)
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		err := h.server.Drain(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 connections") {
			t.Errorf("drain: %v", err)
		}
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("took %v", took)
		}
		synctest.Wait()
		if got := h.metric("playhead_connections"); got != 0 {
			t.Errorf("connections: %v", got)
		}
	})
}

// Nothing is left running, whatever the sessions were doing. A bubble fails when a goroutine in it
// doesn't end.
func TestRunLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		idle, stalled, publishing := h.dial(""), h.openRaw(nil), h.dial("")
		idle.subscribeAs("presence-a", `{"user_id":"1"}`)
		subscribeRaw(stalled, "feed")
		for range 20 {
			h.publish("feed", "e", strings.Repeat("x", 9_000))
		}
		publishing.subscribe("private-a")
		release := h.log.BlockAppends()
		defer release()
		publishing.send(`{"event":"client-x","channel":"private-a"}`)
		synctest.Wait()
		began := time.Now()
		h.stop()
		if took := time.Since(began); took > 0 {
			t.Errorf("took %v", took)
		}
		if _, err := idle.receive(); err == nil {
			t.Error("still connected")
		}
		if got := h.metric("playhead_connections"); got != 0 {
			t.Errorf("connections: %v", got)
		}
		if o := h.presence.Occupied("1", ""); len(o) != 0 {
			t.Errorf("occupied: %v", o)
		}
		// Later ones are refused, not left waiting.
		if code, _, _ := h.open("/app/key", nil).ended(); code != 4100 {
			t.Errorf("after the end: closed with %d", code)
		}
	})
}

// The same over TCP, where goroutines of net/http and of blocked sockets are about.
func TestRunLeavesNothingTCP(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	addr := h.listen()
	for range 5 {
		h.dialTCP(addr).subscribe("feed")
	}
	stalled := h.openRawTCP(addr, nil)
	subscribeRaw(stalled, "feed")
	for range 100 {
		h.publish("feed", "e", strings.Repeat("x", 9_000))
	}
	await(t, "a socket is full", func() bool { return h.metric("playhead_sockets_blocked") > 0 })
	h.stop() // returns when all that Run started has ended
	if got := h.metric("playhead_connections"); got != 0 {
		t.Errorf("connections: %v", got)
	}
	if got := h.metric("playhead_sockets_blocked"); got != 0 {
		t.Errorf("sockets waited for: %v", got)
	}
}

// Behind TLS there is no descriptor to work on: everything goes another way, and works as well.
func TestTLS(t *testing.T) {
	t.Parallel()
	h := start(t, func(_ *harness, cfg *Config) { cfg.DrainTime = -1 })
	web := httptest.NewTLSServer(h.server)
	defer web.Close()
	var clients []*client
	for range 5 {
		ws, _, err := websocket.Dial(t.Context(), strings.Replace(web.URL, "https", "wss", 1)+"/app/key?protocol=7",
			&websocket.DialOptions{HTTPClient: web.Client()})
		if err != nil {
			t.Fatal(err)
		}
		ws.SetReadLimit(-1)
		defer func() { _ = ws.CloseNow() }()
		c := &client{tb: t, ws: ws, patience: patience}
		c.established()
		c.subscribe("feed")
		clients = append(clients, c)
	}
	for range 20 {
		h.publish("feed", "e", strings.Repeat("x", 30_000))
	}
	var reading sync.WaitGroup
	for _, c := range clients {
		for range 20 {
			c.expect("e")
		}
		c.sync()
		reading.Go(func() {
			if code, _, _ := c.ended(); code != 4200 {
				t.Errorf("closed with %d", code)
			}
		})
	}
	if err := h.server.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	reading.Wait()
}
