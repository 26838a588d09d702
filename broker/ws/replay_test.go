package ws

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/replay"
)

// resume is the member that asks for what was missed.
func resume(position string, socket broker.SocketID) string {
	if socket == "" {
		return fmt.Sprintf(`"resume":{"position":%q}`, position)
	}
	return fmt.Sprintf(`"resume":{"position":%q,"socket_id":%q}`, position, socket)
}

// The journey: a client leaves with a position and comes back. It gets what it missed in order,
// between its answer and the word that this was all, and then what is live.
func TestReturn(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("&replay=1")
	answer := c.subscribe("private-orders")
	if answer.Position == "" || answer.Resume != nil {
		t.Errorf("answer of a client that opted in: %+v", answer)
	}
	first := h.publish("private-orders", "one", "1")
	got := c.expect("one")
	if got.ID != first.ID || got.Position != first.Position.String() {
		t.Errorf("event %+v, want id %s and position %s", got, first.ID, first.Position)
	}
	_ = c.ws.CloseNow()
	witness := h.dial("")
	witness.subscribe("other")
	for i := range 5 {
		h.publish("private-orders", fmt.Sprint("missed-", i), "{}")
		h.publish("other", "noise", "{}")
		witness.expect("noise") // the node's cursor is behind both
	}
	for _, visit := range []struct {
		name, position string
		missed         []string
	}{
		{"answer's", answer.Position, []string{"one", "missed-0", "missed-1", "missed-2", "missed-3", "missed-4"}},
		{"event's", got.Position, []string{"missed-0", "missed-1", "missed-2", "missed-3", "missed-4", "live"}},
	} {
		name, count := visit.name, len(visit.missed)
		again := h.dial("")
		f := again.subscribeAs("private-orders", "", resume(visit.position, ""))
		if string(f.Resume) != fmt.Sprintf(`{"recovered":true,"count":%d}`, count) || f.Position == "" {
			t.Errorf("%s position: answer %+v, resume %s", name, f, f.Resume)
		}
		for _, missed := range visit.missed {
			e := again.expect(missed)
			if e.ID == "" || e.Position == "" || e.Channel != "private-orders" {
				t.Errorf("%s position: replayed %+v", name, e)
			}
		}
		over := again.expect("playhead:replayed")
		if want := fmt.Sprintf(`{"recovered":true,"count":%d,"position":%q}`, count, f.Position); over.text(t) != want || over.Channel != "private-orders" {
			t.Errorf("%s position: %s of %s, want %s", name, over.text(t), over.Channel, want)
		}
		h.publish("private-orders", "live", "{}")
		if e := again.expect("live"); e.Position == "" {
			t.Errorf("resuming did not opt in: %+v", e)
		}
		f = again.subscribe("elsewhere")
		if f.Position == "" || f.Resume != nil {
			t.Errorf("later answer of a connection that resumed: %+v", f)
		}
		_ = again.ws.CloseNow()
	}
}

// gate is a history whose next range stops before its first event until it is released.
type gate struct {
	replay.History
	entered, release chan struct{}
}

func newGate(h *harness, cfg *Config) *gate {
	g := &gate{History: h.memory, entered: make(chan struct{}), release: make(chan struct{})}
	player, err := replay.New(replay.Config{History: g, Window: time.Hour, Registerer: h.registry})
	if err != nil {
		h.tb.Fatal(err)
	}
	cfg.Replay = player
	return g
}

// Range implements [replay.History].
func (g *gate) Range(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error] {
	close(g.entered)
	<-g.release
	return g.History.Range(ctx, app, ch, after, upto)
}

// What is published while the replay is read waits for its turn, and is neither lost nor doubled.
// What is published to other channels of the connection does not wait.
func TestLiveEventsWaitForTheReplay(t *testing.T) {
	t.Parallel()
	var g *gate
	h := start(t, func(h *harness, cfg *Config) { g = newGate(h, cfg) })
	c := h.dial("")
	c.subscribe("other")
	from := h.publish("orders", "zero", "{}")
	h.publish("orders", "missed", "{}")
	h.publish("other", "seen", "{}")
	c.expect("seen") // the node's cursor is at the end
	c.sendSubscribe("orders", "", resume(from.Position.String(), ""))
	<-g.entered
	held := h.publish("orders", "held", "{}")
	h.publish("other", "meanwhile", "{}")
	c.expect("meanwhile")
	close(g.release)
	if f := c.expect("pusher_internal:subscription_succeeded"); f.Position >= held.Position.String() && len(f.Position) == len(held.Position.String()) {
		t.Errorf("seam %s is not before the held event at %s", f.Position, held.Position)
	}
	c.expect("missed")
	c.expect("playhead:replayed")
	c.expect("held")
	c.sync()
}

// Over the gate's bound the session is closed with a code that brings the client back later.
func TestGateOverflow(t *testing.T) {
	t.Parallel()
	var g *gate
	h := start(t, func(h *harness, cfg *Config) { g = newGate(h, cfg) })
	c, other := h.dial(""), h.dial("")
	other.subscribe("orders")
	from := h.publish("orders", "zero", "{}")
	h.publish("orders", "one", "{}")
	other.expect("zero")
	other.expect("one")
	c.sendSubscribe("orders", "", resume(from.Position.String(), ""))
	<-g.entered
	for range 20 {
		h.publish("orders", "big", strings.Repeat("x", 100_000))
		other.expect("big")
	}
	close(g.release)
	if code, _, _ := c.ended(); code != 4100 {
		t.Errorf("closed with %d, want 4100", code)
	}
	await(t, "the session is gone", func() bool { return h.metric("playhead_closes_total", "reason=gate_overflow") == 1 })
}

// Who can't have what it missed is told why, and is live all the same.
func TestGap(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, reason string
		position     func(h *harness, p broker.Position) string
	}{
		{"nothing", "invalid", func(*harness, broker.Position) string { return "" }},
		{"no position", "invalid", func(*harness, broker.Position) string { return "whatever" }},
		{"cut", "invalid", func(_ *harness, p broker.Position) string { s := p.String(); return s[:strings.LastIndex(s, "-")] }},
		{"absurd length", "invalid", func(_ *harness, p broker.Position) string { return p.String() + strings.Repeat("0", 50_000) }},
		{"other version", "invalid", func(_ *harness, p broker.Position) string { return "2" + p.String()[1:] }},
		{"other life", "reset", func(_ *harness, p broker.Position) string { p.Epoch = "other"; return p.String() }},
		{"other app", "reset", func(h *harness, _ broker.Position) string {
			e := &broker.Event{App: "2", Channel: "orders", Name: "e"}
			if err := h.node.Publish(context.Background(), e); err != nil {
				h.tb.Fatal(err)
			}
			return e.Position.String()
		}},
		{"serial given out again", "reset", func(_ *harness, p broker.Position) string { p.Time--; return p.String() }},
		{"ahead", "ahead", func(_ *harness, p broker.Position) string { p.Serial += 100; return p.String() }},
		{"unavailable", "unavailable", func(h *harness, p broker.Position) string {
			h.history.FailAt(1)
			return p.String()
		}},
		{"expired", "expired", func(h *harness, p broker.Position) string { h.memory.Forget("1", p.Serial+1); return p.String() }},
		{"too far", "too_far", func(h *harness, p broker.Position) string {
			for range 1001 {
				h.publish("orders", "many", "{}")
			}
			return p.String()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := start(t, nil)
				c := h.dial("")
				from := h.publish("orders", "zero", "{}")
				h.publish("orders", "one", "{}")
				synctest.Wait() // the node's cursor is at the end
				position := test.position(h, from.Position)
				synctest.Wait()
				f := c.subscribeAs("orders", "", resume(position, ""))
				if want := fmt.Sprintf(`{"recovered":false,"reason":%q}`, test.reason); string(f.Resume) != want {
					t.Errorf("resume %s, want %s", f.Resume, want)
				}
				gap := c.expect("playhead:gap")
				if want := fmt.Sprintf(`{"reason":%q,"position":%q}`, test.reason, f.Position); gap.text(t) != want || gap.Channel != "orders" {
					t.Errorf("gap %s of %s, want %s", gap.text(t), gap.Channel, want)
				}
				h.publish("orders", "live", "{}")
				c.expect("live")
			})
		})
	}
}

// noMemory gives a harness a medium that has none.
func noMemory(h *harness, cfg *Config) {
	h.log.Log = brokertest.NewCarrier()
	player, err := replay.New(replay.Config{})
	if err != nil {
		h.tb.Fatal(err)
	}
	cfg.Replay, cfg.Cache = player, nil
}

// A medium without memory announces so, and no frame carries a position.
func TestNoMemory(t *testing.T) {
	t.Parallel()
	h := start(t, noMemory)
	c := h.open("/app/key?protocol=7&replay=1", nil)
	if f := c.established(); !strings.Contains(f.text(t), `"replay":{"version":1,"window_seconds":0}`) {
		t.Errorf("first frame: %s", f.Data)
	}
	f := c.subscribeAs("orders", "", resume("1-a-1-1", ""))
	if f.Position != "" || string(f.Resume) != `{"recovered":false,"reason":"unsupported"}` {
		t.Errorf("answer %+v", f)
	}
	if gap := c.expect("playhead:gap"); gap.text(t) != `{"reason":"unsupported"}` {
		t.Errorf("gap %s", gap.Data)
	}
	h.publish("orders", "live", "{}")
	if f := c.expect("live"); f.Position != "" || f.ID == "" {
		t.Errorf("event %+v", f)
	}
}

// A client is not replayed what it sent itself, or what excluded it.
func TestReturnWithoutEcho(t *testing.T) {
	t.Parallel()
	h := start(t, func(h *harness, _ *Config) { h.app.ReplayClientEvents = true })
	c := h.dial("")
	other := h.dial("")
	other.subscribe("private-a")
	answer := c.subscribeAs("private-a", "", resume("", ""))
	c.expect("playhead:gap")
	c.send(`{"event":"client-mine","channel":"private-a"}`)
	other.expect("client-mine")
	_ = c.ws.CloseNow()
	other.send(`{"event":"client-theirs","channel":"private-a"}`)
	other.sync()
	again := h.dial("")
	f := again.subscribeAs("private-a", "", resume(answer.Position, c.id))
	if string(f.Resume) != `{"recovered":true,"count":1}` {
		t.Errorf("resume %s", f.Resume)
	}
	again.expect("client-theirs")
	again.expect("playhead:replayed")
}

// A position opens no door: who may not subscribe gets nothing.
func TestReturnIsAuthorised(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("")
	h.publish("private-a", "secret", "{}")
	c.send(`{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"key:0",%s}}`, resume("1-a-0-0", ""))
	if e := c.refusal("private-a"); e.Type != "AuthError" {
		t.Errorf("refusal %+v", e)
	}
	c.sync()
}

func TestResumeAndRewind(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("")
	for _, more := range []string{
		`"resume":{"position":"x"},"rewind":{"count":5}`, `"rewind":{"count":0}`, `"rewind":{}`,
		`"resume":7`, `"resume":{}`, `"resume":{"position":"x","socket_id":"y"}`,
	} {
		c.sendSubscribe("orders", "", more)
		if e := c.refusal("orders"); e.Type != "InvalidData" || e.Status != 400 {
			t.Errorf("%s: %+v", more, e)
		}
	}
	if f := c.subscribe("orders"); f.Position == "" {
		t.Error("a wrong rewind did not opt in")
	}
}

// A replay may be far larger than the queue: it is sent at the client's pace, and a client that
// reads at all is not too slow.
func TestLargeReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(_ *harness, cfg *Config) { cfg.QueueBytes = 8 << 10 })
		c := h.dial("")
		var from *broker.Event
		for i := range 500 {
			e := h.publish("orders", fmt.Sprint("e-", i), strings.Repeat("x", 1000))
			if i == 0 {
				from = e
			}
		}
		synctest.Wait()
		c.subscribeAs("orders", "", resume(from.Position.String(), ""))
		for i := 1; i < 500; i++ {
			if i%50 == 0 {
				time.Sleep(5 * time.Second)
			}
			c.expect(fmt.Sprint("e-", i))
		}
		c.expect("playhead:replayed")
		c.sync()
	})
}

// A client that takes nothing of its replay is closed in the end.
func TestReplayToNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(_ *harness, cfg *Config) { cfg.QueueBytes = 8 << 10; cfg.PongTimeout = 20 * time.Second })
		c := h.dial("")
		var from *broker.Event
		for i := range 100 {
			e := h.publish("orders", "e", strings.Repeat("x", 1000))
			if i == 0 {
				from = e
			}
		}
		synctest.Wait()
		c.sendSubscribe("orders", "", resume(from.Position.String(), ""))
		time.Sleep(time.Minute)
		if got := h.metric("playhead_closes_total", "reason=slow_reader"); got != 1 {
			t.Errorf("closes for slow_reader: %v", got)
		}
		if got := h.metric("playhead_queue_bytes"); got != 0 {
			t.Errorf("queue bytes: %v", got)
		}
	})
}

// Publishers against a client that comes and goes: every event once, in order, whether what it missed
// comes from memory, the log, or now one, now the other.
func TestSeamUnderLoad(t *testing.T) {
	t.Parallel()
	for name, window := range map[string]int{"from memory": 10_000, "half from memory": 16, "from the log": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seamUnderLoad(t, start(t, func(h *harness, _ *Config) { h.window = window }))
		})
	}
}

func seamUnderLoad(t *testing.T, h *harness) {
	t.Helper()
	const events, visits = 600, 40
	c := h.dial("&replay=1")
	position := c.subscribe("orders").Position
	_ = c.ws.CloseNow()
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for i := range events {
			h.publish("orders", "e", fmt.Sprint(i))
		}
	})
	defer publishing.Wait()
	for next := 0; next < events; {
		c := h.dial("")
		if f := c.subscribeAs("orders", "", resume(position, "")); !strings.Contains(string(f.Resume), `"recovered":true`) {
			t.Fatalf("resume %s", f.Resume)
		}
		for n := 0; next < events && n < events/visits; {
			f := c.next()
			if f.Event == "playhead:replayed" {
				continue
			}
			if got := f.text(t); got != fmt.Sprint(next) {
				t.Fatalf("event %s, want %d", got, next)
			}
			position = f.Position
			next++
			n++
		}
		_ = c.ws.CloseNow()
	}
}
