package ws

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/playhead/playhead/broker"
)

// Whatever happens to queues, the sum knows of each what it holds, in whole steps, and of an empty one
// nothing.
func TestSumFollowsQueues(t *testing.T) {
	t.Parallel()
	frame := make([]byte, 3_000)
	for _, tt := range []struct {
		name string
		do   func(q *queue)
	}{
		{"filled", func(q *queue) {}},
		{"written", func(q *queue) { take(q, 1_000) }},
		{"partly written", func(q *queue) {
			q.next(0, nil, true)
			q.next(2_000, nil, true)
		}},
		{"sealed", func(q *queue) { q.seal(SlowReader, frame, false, func() {}) }},
		{"sealed and emptied", func(q *queue) { q.seal(SlowReader, []byte("bye"), true, func() {}) }},
		{"failed", func(q *queue) { q.fail(WriteFailed) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var all sum
			all.add(100)
			q := &queue{limit: 1 << 20, sum: &all}
			for range 10 {
				q.push(frame)
			}
			tt.do(q)
			if got, want := int(all.bytes.Load())-100, q.size()/sumStep*sumStep; got != want {
				t.Errorf("sum %d, want %d of a queue of %d bytes", got, want, q.size())
			}
		})
	}
}

// When more waits for all connections than may, those go for which most waits, with a code that brings
// them back, and the others notice nothing; each alone is within its own bound.
func TestQueuesFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most = 256 << 10
		h := start(t, func(_ *harness, cfg *Config) { cfg.QueueBytes, cfg.TotalQueueBytes = most, most })
		full, half, light := h.openRaw(nil), h.openRaw(nil), h.openRaw(nil)
		subscribeRaw(full, "full")
		subscribeRaw(half, "half")
		subscribeRaw(light, "light")
		synctest.Wait()
		send := func(ch broker.Channel, events int) {
			for range events {
				h.publish(ch, "e", strings.Repeat("x", 10_000))
			}
			synctest.Wait()
		}
		send("full", 18)
		send("light", 1)
		if n := h.metric("playhead_closes_total") + h.metric("playhead_frames_dropped_total"); n != 0 {
			t.Fatalf("%v closed or dropped before too much waited", n)
		}
		send("half", 10)
		if h.metric("playhead_frames_dropped_total") == 0 {
			t.Fatal("nobody was closed")
		}
		if waits := h.server.sum.bytes.Load(); waits > most*7/8 {
			t.Errorf("%d bytes wait, want an eighth of %d free", waits, most)
		}
		said := func(c *raw) (code string) {
			for {
				op, payload, err := c.read()
				if err != nil || op == opClose {
					return code
				}
				if strings.Contains(string(payload), `"code":4100`) {
					code = "4100"
				}
				if strings.Contains(string(payload), `"event":"last"`) {
					return "last"
				}
			}
		}
		if got := said(full); got != "4100" {
			t.Errorf("the fullest heard %q, want 4100", got)
		}
		_ = full.Close()
		for ch, c := range map[broker.Channel]*raw{"half": half, "light": light} {
			h.publish(ch, "last", "{}")
			if got := said(c); got != "last" {
				t.Errorf("who reads %s got %q, want its events", ch, got)
			}
		}
		synctest.Wait()
		if n := h.metric("playhead_closes_total", "reason=queues_full"); n != 1 {
			t.Errorf("%v closed for queues_full, want the fullest alone", n)
		}
	})
}

// Answers are sent in smaller pieces while much waits for others.
func TestRoomWhileTight(t *testing.T) {
	t.Parallel()
	srv := &Server{sum: sum{most: 1000, over: make(chan struct{}, 1)}}
	s := &session{server: srv}
	s.conn.queue.limit, s.conn.queue.sum = 80_000, &srv.sum
	s.conn.queue.push(make([]byte, 15_000))
	srv.sum.bytes.Store(0)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	srv.cfg.PongTimeout = 1 << 40
	if !s.room(ended, 5_000) {
		t.Error("no room though little waits")
	}
	srv.sum.bytes.Store(501)
	if s.room(ended, 5_000) {
		t.Error("room for an answer, as if little waited")
	}
}

func TestTotalQueueBytes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ queue, total, want int }{
		{0, 0, 256 << 20},
		{512 << 20, 0, 512 << 20},
		{0, -1, 0},
		{0, 1 << 20, 1 << 20},
	} {
		h := start(t, func(_ *harness, cfg *Config) { cfg.QueueBytes, cfg.TotalQueueBytes = tt.queue, tt.total })
		if got := h.server.cfg.TotalQueueBytes; got != tt.want {
			t.Errorf("queue bytes %d, total %d: %d, want %d", tt.queue, tt.total, got, tt.want)
		}
	}
	h := start(t, nil)
	for _, total := range []int{-2, 1<<20 - 1} {
		cfg := h.server.cfg
		cfg.Registerer, cfg.TotalQueueBytes, cfg.QueueBytes = nil, total, 1<<20
		if _, err := New(cfg); err == nil {
			t.Errorf("total of %d: no error", total)
		}
	}
}
