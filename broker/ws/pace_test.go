package ws

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/playhead/playhead/broker"
)

// Fan-out that may be one event ahead of writing goes on whatever the clients do: read, read nothing,
// leave in the middle, or sit behind a connection without a descriptor. Who reads gets everything in order,
// and who doesn't is closed and holds up nobody.
func TestPaceHoldsUpNobody(t *testing.T) {
	t.Parallel()
	const (
		events  = 2_000
		readers = 12
		stalled = 4
		leavers = 8
		ahead   = 100 // events that publishing may be ahead of the slowest reader: less than a queue takes
	)
	h := start(t, func(_ *harness, cfg *Config) {
		cfg.Flushers = 3
		cfg.QueueBytes = 256 << 10
	})
	addr := h.listen()
	join := clientFrame(final|opText, `{"event":"pusher:subscribe","data":{"channel":"a"}}`)
	open := func() *raw {
		c := h.openRawTCP(addr, join)
		c.text("pusher:connection_established")
		c.text("pusher_internal:subscription_succeeded")
		return c
	}
	var group sync.WaitGroup
	defer group.Wait()
	var got [readers]atomic.Int64
	listen := func(i int, read func() ([]byte, error)) {
		group.Go(func() {
			for want := range events {
				frame, err := read()
				if err != nil {
					t.Errorf("reader %d, after %d events: %v", i, want, err)
					got[i].Store(events)
					return
				}
				if !bytes.Contains(frame, fmt.Appendf(nil, "#%d#", want)) {
					t.Errorf("reader %d: got %.80s, want event %d", i, frame, want)
				}
				got[i].Store(int64(want + 1))
			}
		})
	}
	for i := range readers - 1 {
		c := open()
		listen(i, func() ([]byte, error) {
			for {
				if op, payload, err := c.read(); err != nil || op == opText {
					return payload, err
				}
			}
		})
	}
	plain := h.dial("")
	plain.subscribe("a")
	listen(readers-1, func() ([]byte, error) {
		f, err := plain.receive()
		return f.Data, err
	})
	for range stalled {
		open()
	}
	var leaving []*raw
	for range leavers {
		leaving = append(leaving, open())
	}
	slowest := func() int64 {
		least := int64(events)
		for i := range got {
			least = min(least, got[i].Load())
		}
		return least
	}
	pad := strings.Repeat("x", 1_000)
	for n := range events {
		await(t, "readers follow, at event "+strconv.Itoa(n), func() bool { return int64(n)-slowest() < ahead })
		h.publish("a", "e", fmt.Sprintf("#%d#%s", n, pad))
		if n%200 == 100 && len(leaving) > 0 {
			_ = leaving[0].Close() // with much that it hasn't read, so it is reset
			leaving = leaving[1:]
		}
	}
	await(t, "everything arrived", func() bool { return slowest() == events })
	if n := h.metric("playhead_closes_total", "reason="+string(SlowReader)); n < stalled {
		t.Errorf("%v connections closed as too slow, want the %d that read nothing", n, stalled)
	}
	if n := h.metric("playhead_fanout_waits_total"); n == 0 {
		t.Error("fan-out was never kept back, so nothing was shown")
	}
}

// Two apps' feeds that wait for the same writers both go on, each with its own events.
func TestPaceOfTwoFeeds(t *testing.T) {
	t.Parallel()
	const events = 500
	h := start(t, nil)
	addr := h.listen()
	apps := []struct {
		id  broker.AppID
		key string
	}{{"1", "key"}, {"2", "other"}}
	var group sync.WaitGroup
	for _, app := range apps {
		c := h.openRawTCPAs(addr, app.key, clientFrame(final|opText, `{"event":"pusher:subscribe","data":{"channel":"a"}}`))
		c.text("pusher:connection_established")
		c.text("pusher_internal:subscription_succeeded")
		group.Go(func() {
			for range events {
				e := &broker.Event{App: app.id, Channel: "a", Name: "e", Data: []byte("x")}
				if err := h.node.Publish(t.Context(), e); err != nil {
					t.Error(err)
				}
			}
		})
		group.Go(func() {
			for n := range events {
				if _, _, err := c.read(); err != nil {
					t.Errorf("app %s, after %d events: %v", app.id, n, err)
					return
				}
			}
		})
	}
	group.Wait()
}
