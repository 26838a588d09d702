package webhook

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

// What was put and not delivered is delivered by the next run; a request that is under way at the end is
// waited for and not sent again.
func TestRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.receiver.answers(func(p post) int {
			if strings.Contains(p.body, `"slow"`) {
				time.Sleep(3 * time.Second)
				return 200
			}
			return 500
		})
		h.start()
		h.notify(broker.ChannelOccupied, "slow", "")
		h.notify(broker.ChannelOccupied, "a", "")
		h.after(time.Second)
		h.notify(broker.ChannelOccupied, "b", "")
		h.stop()
		if n := h.left(); n != 2 {
			t.Errorf("%d letters left, want those of a and b", n)
		}
		h.receiver.answers(nil)
		before := len(h.receiver.all())
		h.start()
		h.after(time.Second)
		if diff := cmp.Diff([]string{"channel_occupied a", "channel_occupied b"}, sorted(h.told()[before:])); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		h.stop()
	})
}

// A delivery that the queue didn't hear of, as when the process is killed in between, is made again.
func TestDeliveredAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.start()
		h.queue.set(func() { h.queue.undone = true })
		h.notify(broker.ChannelOccupied, "a", "")
		h.after(time.Second)
		h.stop()
		h.queue.set(func() { h.queue.undone = false })
		h.start()
		h.after(time.Second)
		if diff := cmp.Diff([]string{"channel_occupied a", "channel_occupied a"}, h.told()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		if n := h.left(); n != 0 {
			t.Errorf("%d letters left", n)
		}
		h.stop()
	})
}

// What can't be buried is tried again, and stays in the queue meanwhile.
func TestBuriedLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.receiver.answers(func(post) int { return 500 })
		h.start()
		h.queue.set(func() { h.queue.undone = true })
		h.notify(broker.ChannelOccupied, "a", "")
		h.after(10 * time.Minute)
		if len(h.dead()) != 0 || h.left() != 1 {
			t.Fatalf("dead %v, left %d", h.dead(), h.left())
		}
		h.queue.set(func() { h.queue.undone = false })
		h.after(2 * time.Minute)
		if len(h.dead()) != 1 || h.left() != 0 {
			t.Errorf("dead %v, left %d", h.dead(), h.left())
		}
		h.stop()
	})
}

// While the queue can't be reached, notices wait in memory, so many and no more, and are told in their
// order afterwards.
func TestQueueDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.start(func(c *Config) { c.BufferNotices = 1000 })
		h.notify(broker.MemberAdded, "presence-a", "first")
		h.after(time.Second)
		h.queue.set(func() { h.queue.down = true })
		h.notify(broker.MemberAdded, "presence-a", "0") // what the writer has in its hand
		h.after(time.Millisecond)
		for i := range 10_000 {
			h.notify(broker.MemberAdded, "presence-a", fmt.Sprint(i+1))
		}
		h.after(time.Minute)
		if n := h.metric("playhead_webhook_dropped_total", "app=shop", "reason=buffer_full"); n != 9000 {
			t.Errorf("dropped %v, want 9000", n)
		}
		h.queue.set(func() { h.queue.down = false })
		h.after(time.Minute)
		want := []string{"member_added presence-a first"}
		for i := range 1001 {
			want = append(want, fmt.Sprintf("member_added presence-a %d", i))
		}
		if diff := cmp.Diff(want, h.told()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		h.stop()
		if n := strings.Count(h.logs.String(), "webhooks dropped"); n != 1 {
			t.Errorf("%d lines about drops:\n%s", n, h.logs)
		}
	})
}

// What can't be put before the end is counted.
func TestQueueDownAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.queue.down = true
		h.start()
		for range 3 {
			h.notify(broker.ChannelOccupied, "a", "")
		}
		h.after(time.Second)
		h.notify(broker.ChannelOccupied, "a", "")
		began := time.Now()
		h.stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the end took %v", took)
		}
		if n := h.metric("playhead_webhook_dropped_total", "reason=shutdown"); n != 4 {
			t.Errorf("dropped %v, want 4", n)
		}
	})
}

// What was told just before the end comes into the queue.
func TestPutAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.receiver.answers(func(post) int { return 500 })
		h.start()
		h.after(time.Second)
		for i := range 2000 {
			h.notify(broker.ChannelOccupied, broker.Channel(fmt.Sprintf("c%d", i)), "")
		}
		h.stop()
		if n := h.left(); n != 2000 {
			t.Errorf("%d letters in the queue, want 2000", n)
		}
	})
}

// A full queue refuses, which is counted.
func TestQueueFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.queue.most = 10
		h.receiver.answers(func(post) int { return 500 })
		h.start()
		for i := range 25 {
			h.notify(broker.ChannelOccupied, broker.Channel(fmt.Sprintf("c%d", i)), "")
		}
		h.after(time.Second)
		if n := h.metric("playhead_webhook_dropped_total", "reason=queue_full"); n != 15 {
			t.Errorf("dropped %v, want 15", n)
		}
		h.stop()
	})
}

// A burst is told whole, in a few puts.
func TestBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		batched := hook
		batched.Batch = true
		h := newHarness(t, batched)
		h.start()
		for i := range 10_000 {
			h.notify(broker.MemberAdded, broker.Channel(fmt.Sprintf("presence-%d", i%100)), fmt.Sprint(i))
		}
		h.after(time.Minute)
		got := h.told()
		if len(got) != 10_000 {
			t.Errorf("%d events told", len(got))
		}
		last := map[string]int{}
		for _, e := range got {
			var ch string
			var n int
			if _, err := fmt.Sscanf(e, "member_added %s %d", &ch, &n); err != nil {
				t.Fatal(err)
			}
			if before, ok := last[ch]; ok && n <= before {
				t.Fatalf("%s: %d after %d", ch, n, before)
			}
			last[ch] = n
		}
		if h.queue.puts > 100 {
			t.Errorf("%d puts", h.queue.puts)
		}
		if n := h.metric("playhead_webhook_queued_total", "app=shop", "event=member_added"); n != 10_000 {
			t.Errorf("queued: %v", n)
		}
		h.stop()
	})
}

// A worker ends when nothing comes, and there is one again when something does, also when another node
// put it.
func TestWorkersOnDemand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.start()
		if n := h.metric("playhead_webhook_workers"); n != 0 {
			t.Errorf("%v workers without work", n)
		}
		h.notify(broker.ChannelOccupied, "a", "")
		h.after(time.Second)
		if n := h.metric("playhead_webhook_workers"); n != 1 {
			t.Errorf("%v workers, want 1", n)
		}
		h.after(5 * time.Minute)
		if n := h.metric("playhead_webhook_workers"); n != 0 {
			t.Errorf("%v workers after the linger time", n)
		}
		put(t, h, "b")
		h.after(10 * time.Second)
		if diff := cmp.Diff([]string{"channel_occupied a", "channel_occupied b"}, h.told()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		if n := h.metric("playhead_webhook_backlog", "app=shop"); n > 1 {
			t.Errorf("backlog %v", n)
		}
		h.stop()
	})
}

// When the queue fails, the worker drops what it has and begins again with it.
func TestTakeFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.receiver.answers(func(post) int { return 500 })
		h.start()
		h.notify(broker.ChannelOccupied, "a", "")
		h.after(time.Second)
		h.queue.set(func() { h.queue.down = true })
		h.after(20 * time.Second)
		h.queue.set(func() { h.queue.down = false })
		h.receiver.answers(nil)
		before := len(h.told())
		h.after(20 * time.Second)
		if diff := cmp.Diff([]string{"channel_occupied a"}, h.told()[before:]); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		if h.left() != 0 {
			t.Errorf("%d left", h.left())
		}
		h.stop()
	})
}
