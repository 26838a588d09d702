package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
)

// A loop that is slow is closed by the server and loses nothing, even when it missed more than the
// server replays; its memory is the socket's buffer.
func TestTailOfSlowLoop(t *testing.T) {
	t.Parallel()
	const events = 3_000
	h := start(t, setup{queueBytes: 32 << 10, maxEvents: 100})
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		return c, err
	}}
	t.Cleanup(transport.CloseIdleConnections)
	c := h.client(func(cfg *Config) { cfg.HTTPClient = &http.Client{Transport: transport} })
	ready := make(answers, 100)
	var wait sync.WaitGroup
	wait.Go(func() {
		ready.take(t)
		for i := range events {
			h.publish("a", "e", fmt.Sprintf("%d %s", i, strings.Repeat("x", 500)))
		}
	})
	defer wait.Wait()
	next := 0
	for e, err := range c.Tail(t.Context(), TailOptions{
		Subscriptions: subscriptions("a"),
		Subscribed: func(a Answer) {
			select {
			case ready <- a:
			default:
			}
		},
	}) {
		if err != nil {
			t.Fatal(err)
		}
		if number, _, _ := strings.Cut(e.Data, " "); number != fmt.Sprint(next) {
			t.Fatalf("got %s, want %d", number, next)
		}
		if next++; next == events {
			break
		}
		if next == 1 {
			wait.Wait()
			await(t, "closed for being slow", func() bool { return h.closes("slow_reader") >= 1 })
		}
	}
	if next != events {
		t.Errorf("ended before number %d", next)
	}
}

// Publishers at full speed, lines that break in the middle of whatever they carry, a tail that
// breaks, a log that can't be read: every event once, in order, for several clients at a time.
func TestTailOverFrailLines(t *testing.T) {
	t.Parallel()
	const events, publishers = 600, 2
	h := start(t, setup{maxEvents: 50})
	h.lines.frail.Store(20 << 10)
	var wait sync.WaitGroup
	ready := make(answers, 1_000)
	for n := range 3 {
		c := h.client(func(cfg *Config) { cfg.RetryFor = -1 })
		var first sync.Once
		opts := TailOptions{
			Subscriptions: subscriptions("a", "b"),
			Subscribed: func(a Answer) {
				if a.Channel == "b" { // the second to be answered
					first.Do(func() { ready <- a })
				}
			},
		}
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			next := map[string]int{}
			total := 0
			for e, err := range c.Tail(ctx, opts) {
				var gap *Gap
				if errors.As(err, &gap) && total == 0 {
					t.Errorf("client %d: %v before there was anything", n, gap)
				}
				if err != nil {
					t.Errorf("client %d: %v after %d events", n, err, total)
					return
				}
				stream := string(e.Channel) + " " + e.Name
				if e.Data != fmt.Sprint(next[stream]) {
					t.Errorf("client %d: %s of %s, want %d", n, e.Data, stream, next[stream])
					return
				}
				next[stream]++
				if total++; total == events*publishers {
					return
				}
			}
			t.Errorf("client %d: ended after %d events", n, total)
		})
	}
	for range 3 {
		ready.take(t)
	}
	for p := range publishers {
		wait.Go(func() {
			next := map[broker.Channel]int{}
			for i := range events {
				ch := broker.Channel([]string{"a", "b"}[i%2])
				h.publish(ch, fmt.Sprint("from-", p), fmt.Sprint(next[ch]))
				next[ch]++
				switch {
				case p == 0 && i%150 == 100:
					h.log.BreakTail(1)
				case p == 0 && i%150 == 50:
					h.history.FailRange(1)
				case i%10 == 0:
					time.Sleep(time.Millisecond) // the clients get to break, too
				}
			}
		})
	}
	wait.Wait()
}

// Very many channels on one connection.
func TestTailOfManyChannels(t *testing.T) {
	t.Parallel()
	h := start(t, setup{})
	const channels = 500
	var subs []Subscription
	for i := range channels {
		subs = append(subs, Subscription{Channel: broker.Channel(fmt.Sprintf("private-%d", i))})
	}
	ready := make(answers, channels)
	g := collect(t, h.client(nil), TailOptions{Subscriptions: subs, Subscribed: func(a Answer) { ready <- a }})
	for range subs {
		ready.take(t)
	}
	h.lines.accept(false)
	h.lines.cut()
	for _, s := range subs {
		h.publish(s.Channel, "e", "1")
	}
	h.lines.accept(true)
	all := g.await(t, channels)
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != channels {
		t.Errorf("%d of %d channels", n, channels)
	}
}
