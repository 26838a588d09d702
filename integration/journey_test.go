package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// TestOptedInFrames: who asks for positions gets them on every event, who doesn't gets plain
// Pusher frames.
func TestOptedInFrames(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{})
	plain, keeper := mustDial(t, n, false), mustDial(t, n, true)

	var hello struct {
		Replay *struct {
			Version int
			Seconds int `json:"window_seconds"`
		}
	}
	if err := json.Unmarshal([]byte(keeper.hello.text()), &hello); err != nil {
		t.Fatal(err)
	}
	if hello.Replay == nil || hello.Replay.Version != 1 || hello.Replay.Seconds != 24*60*60 {
		t.Errorf("connection_established says %s", keeper.hello.text())
	}
	if f := plain.mustSubscribe(t, "news", nil); f.Position != "" || f.Resume != nil {
		t.Errorf("plain subscription answered %+v", f)
	}
	if f := keeper.mustSubscribe(t, "news", nil); f.Position == "" || f.Resume != nil {
		t.Errorf("opted-in subscription answered %+v", f)
	}
	p := n.publisher()
	p.mustPublish(t, "news", "hi", `{"n":1}`)
	if f := plain.mustRead(t); f.Event != "hi" || f.text() != `{"n":1}` || f.ID != "" || f.Position != "" {
		t.Errorf("plain event %+v", f)
	}
	if f := keeper.mustRead(t); f.Event != "hi" || f.text() != `{"n":1}` || f.ID == "" || f.Position == "" {
		t.Errorf("opted-in event %+v", f)
	}
}

// TestReturnFrames: the frames of a return, in the protocol's order and to the letter.
func TestReturnFrames(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{Env: []string{"REPLAY_MAX_EVENTS=5"}})
	p := n.publisher()

	c := mustDial(t, n, true)
	c.mustSubscribe(t, "private-orders", nil)
	p.mustPublish(t, "private-orders", "order", "0")
	first := c.mustRead(t)
	if first.text() != "0" {
		t.Fatalf("event %+v", first)
	}
	c.conn.CloseNow()

	for i := 1; i <= 3; i++ {
		p.mustPublish(t, "elsewhere", "order", "x")
		p.mustPublish(t, "private-orders", "order", fmt.Sprint(i))
	}
	back := mustDial(t, n, true)
	succeeded := back.mustSubscribe(t, "private-orders", &resume{Position: first.Position, SocketID: c.socket})
	if succeeded.text() != "{}" || succeeded.Resume == nil || !succeeded.Resume.Recovered || succeeded.Resume.Count != 3 {
		t.Fatalf("answer %+v %+v", succeeded, succeeded.Resume)
	}
	for i := 1; i <= 3; i++ {
		if f := back.mustRead(t); f.Event != "order" || f.text() != fmt.Sprint(i) || f.ID == "" || f.Position == "" {
			t.Fatalf("replayed event %d: %+v", i, f)
		}
	}
	done := back.mustRead(t)
	want := fmt.Sprintf(`{"recovered":true,"count":3,"position":%q}`, succeeded.Position)
	if done.Event != "playhead:replayed" || done.Channel != "private-orders" || done.text() != want {
		t.Fatalf("end of replay: %+v %s", done, done.text())
	}
	p.mustPublish(t, "private-orders", "order", "4")
	if f := back.mustRead(t); f.text() != "4" {
		t.Fatalf("live event: %+v", f)
	}

	t.Run("nothing missed", func(t *testing.T) {
		c := mustDial(t, n, true)
		start := c.mustSubscribe(t, "private-orders", nil)
		c.conn.CloseNow()
		again := mustDial(t, n, true)
		f := again.mustSubscribe(t, "private-orders", &resume{Position: start.Position})
		if f.Resume == nil || !f.Resume.Recovered || f.Resume.Count != 0 {
			t.Errorf("answer %+v", f.Resume)
		}
		if f := again.mustRead(t); f.Event != "playhead:replayed" {
			t.Errorf("then %+v", f)
		}
	})
	for reason, from := range map[string]func(*testing.T) string{
		"too_far": func(t *testing.T) string {
			c := mustDial(t, n, true)
			start := c.mustSubscribe(t, "private-orders", nil).Position
			c.conn.CloseNow()
			for range 6 {
				p.mustPublish(t, "private-orders", "order", "more")
			}
			return start
		},
		"invalid": func(*testing.T) string { return "no position of this server" },
	} {
		t.Run(reason, func(t *testing.T) { gapTold(t, n, from(t), reason) })
	}
}

// gapTold resumes from a position that can't be had and checks that the client is told why, and
// is live.
func gapTold(t *testing.T, n *node, position, reason string) {
	t.Helper()
	c := mustDial(t, n, true)
	f := c.mustSubscribe(t, "private-orders", &resume{Position: position})
	if f.Resume == nil || f.Resume.Recovered || f.Resume.Reason != reason || f.Position == "" {
		t.Fatalf("answer %+v", f.Resume)
	}
	gap := c.mustRead(t)
	if want := fmt.Sprintf(`{"reason":%q,"position":%q}`, reason, f.Position); gap.Event != "playhead:gap" || gap.text() != want {
		t.Fatalf("then %s %s", gap.Event, gap.text())
	}
	n.publisher().mustPublish(t, "private-orders", "order", "live")
	if f := c.mustRead(t); f.text() != "live" {
		t.Fatalf("live event: %+v", f)
	}
}

// TestReturnAfterLostData: who returns to a node whose data is gone is told so.
func TestReturnAfterLostData(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{Env: []string{"SHUTDOWN_DRAIN=none"}})
	c := mustDial(t, n, true)
	c.mustSubscribe(t, "private-orders", nil)
	n.publisher().mustPublish(t, "private-orders", "order", "1")
	position := c.mustRead(t).Position
	c.conn.CloseNow() // the node would wait for it to answer the close
	n.stop()
	if err := os.RemoveAll(n.cfg.Data); err != nil {
		t.Fatal(err)
	}
	n.start()
	gapTold(t, n, position, "reset")
}

// TestReturnWhilePublishing cuts a client again and again while events are published at full
// speed, so that its returns fall into every moment of a publish.
func TestReturnWhilePublishing(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{Env: []string{"REPLAY_MAX_EVENTS=100000"}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()

	const returns = 25
	var enough atomic.Bool
	published := 0
	var refused error
	var publishing sync.WaitGroup
	start := make(chan struct{})
	p := n.publisher()
	publishing.Go(func() {
		<-start
		for name := "n"; name != "last" && refused == nil; published++ {
			if enough.Load() {
				name = "last"
			}
			refused = p.publishStored(ctx, "news", name, fmt.Sprint(published))
		}
	})
	f := follow(n, "last", "news")
	started := false
	for i := range returns {
		// Each connection lives for a few more events than the one before.
		f.cutAfter(ctx, t, i%7, func() {
			if !started {
				started = true
				close(start)
			}
		})
	}
	enough.Store(true)
	publishing.Wait()
	if refused != nil {
		t.Fatal(refused)
	}
	if err := f.run(ctx, nil); err != nil {
		t.Fatal(err)
	}
	got := f.track["news"]
	if len(got.events) != published {
		t.Errorf("%d events seen, %d published", len(got.events), published)
	}
	for i, e := range got.events {
		if e.Data != fmt.Sprint(i) {
			t.Fatalf("event %d is number %s", i, e.Data)
		}
	}
	if got.resumed < returns-1 || got.missed == 0 {
		t.Errorf("%d returns recovered, %d events missed: the cuts did not cut", got.resumed, got.missed)
	}
	t.Logf("%d events over %d returns, %d of them replayed", published, got.resumed, got.missed)
}

// cutAfter lets the follower connect, and cuts it once it has seen so many events live; with none
// in the middle of its replay, when there is one.
func (f *follower) cutAfter(ctx context.Context, tb testing.TB, live int, ready func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ch := f.channels[0]
	t := f.track[ch]
	c, err := dial(ctx, f.node, true)
	if err != nil {
		tb.Fatal(err)
	}
	defer c.conn.CloseNow()
	f.connects++
	var from *resume
	if t.position != "" {
		from = &resume{Position: t.position, SocketID: f.socket}
	}
	t.replaying, t.owed = false, 0
	if err := c.subscribe(ctx, ch, from); err != nil {
		tb.Fatal(err)
	}
	f.socket = c.socket
	want := -1
	for want != len(t.events) {
		fr, err := c.read(ctx)
		if err != nil {
			tb.Fatalf("read: %v", err)
		}
		f.take(fr, t)
		if slices.Contains([]string{"pusher_internal:subscription_succeeded", "playhead:replayed"}, fr.Event) {
			ready()
			if !t.replaying {
				want = len(t.events) + live
			} else if live == 0 && t.owed > 1 {
				want = len(t.events) + t.owed/2
			}
		}
	}
	if len(f.faults) > 0 {
		tb.Fatal(f.faults)
	}
}
