package ws

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
	"github.com/playhead/playhead/replay"
)

// past takes the frames of an answer with a past: the first one, the names of the events, and the
// last one, whose data it decodes.
func (c *client) past() (answer frame, events []string, last frame) {
	c.tb.Helper()
	answer = c.expect("pusher_internal:subscription_succeeded")
	for {
		f := c.next()
		if strings.HasPrefix(f.Event, "playhead:") {
			return answer, events, f
		}
		if f.ID == "" || f.Position == "" || f.Channel != answer.Channel {
			c.tb.Errorf("event of the past: %+v", f)
		}
		events = append(events, f.Event)
	}
}

// A client that joins with a past gets it, oldest first, between its answer and the word that this was
// all, and then what is live; from memory as from the log.
func TestRewind(t *testing.T) {
	t.Parallel()
	for name, window := range map[string]int{"from memory": 1000, "half from memory": 7, "from the log": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := start(t, func(h *harness, _ *Config) { h.window = window })
				h.dial("") // the app is in use
				began := time.Now()
				for i := range 10 {
					h.publish("orders", fmt.Sprint("e-", i), "{}")
					h.publish("other", "noise", "{}")
					time.Sleep(10 * time.Second)
				}
				synctest.Wait()
				all := []string{"e-0", "e-1", "e-2", "e-3", "e-4", "e-5", "e-6", "e-7", "e-8", "e-9"}
				for rewind, want := range map[string][]string{
					`{"count":3}`:       all[7:],
					`{"count":10}`:      all,
					`{"count":1000}`:    all,
					`{"seconds":35}`:    all[7:],
					`{"seconds":10.5}`:  all[9:],
					`{"seconds":5}`:     nil,
					`{"seconds":1e100}`: all,
					fmt.Sprintf(`{"since_ms":%d}`, began.Add(50*time.Second).UnixMilli()): all[5:],
					fmt.Sprintf(`{"since_ms":%d}`, began.Add(50*time.Hour).UnixMilli()):   nil,
					`{"since_ms":0}`: all,
				} {
					c := h.dial("")
					c.sendSubscribe("orders", "", `"rewind":`+rewind)
					answer, events, last := c.past()
					if diff := cmp.Diff(want, events); diff != "" {
						t.Errorf("%s (-want +got):\n%s", rewind, diff)
					}
					if want := fmt.Sprintf(`{"recovered":true,"count":%d}`, len(want)); string(answer.Resume) != want || answer.Position == "" {
						t.Errorf("%s: answer %s, want %s", rewind, answer.Resume, want)
					}
					if want := fmt.Sprintf(`{"recovered":true,"count":%d,"position":%q}`, len(want), answer.Position); last.Event != "playhead:replayed" || last.text(t) != want {
						t.Errorf("%s: %s %s, want %s", rewind, last.Event, last.text(t), want)
					}
					live := &broker.Event{App: "1", Channel: "orders", Name: "live", Client: true} // which no rewind gives
					if err := h.node.Publish(t.Context(), live); err != nil {
						t.Fatal(err)
					}
					c.expect("live")
					c.sync()
					_ = c.ws.CloseNow()
					synctest.Wait()
				}
			})
		})
	}
}

// What is left of a past that can't be had whole is given all the same, and the client is told that
// it isn't whole.
func TestRewindOfWhatIsLeft(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason, rewind string
		prepare        func(h *harness)
		want           []string
	}{
		{"expired", `{"count":4}`, func(h *harness) { h.memory.Forget("1", 2) }, []string{"e-2", "e-3", "e-4"}},
		{"expired", `{"seconds":3600}`, func(h *harness) { h.memory.Forget("1", 4) }, []string{"e-4"}},
		{"expired", `{"seconds":3600}`, func(h *harness) { h.memory.Forget("1", 5) }, nil},
		{"too_far", `{"seconds":3600}`, nil, []string{"e-2", "e-3", "e-4"}},
		{"unavailable", `{"count":4}`, func(h *harness) { h.history.FailRange(1) }, nil},
	} {
		t.Run(fmt.Sprint(test.reason, len(test.want)), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := start(t, func(h *harness, cfg *Config) {
					if test.reason == "too_far" {
						var err error
						cfg.Replay, err = replay.New(replay.Config{History: h.history, Window: time.Hour, MaxEvents: 3})
						if err != nil {
							t.Fatal(err)
						}
					}
				})
				c := h.dial("")
				for i := range 5 {
					h.publish("orders", fmt.Sprint("e-", i), "{}")
				}
				synctest.Wait()
				if test.prepare != nil {
					test.prepare(h)
				}
				c.sendSubscribe("orders", "", `"rewind":`+test.rewind)
				answer, events, gap := c.past()
				if diff := cmp.Diff(test.want, events); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
				count := ""
				if n := len(test.want); n > 0 {
					count = fmt.Sprintf(`,"count":%d`, n)
				}
				if want := fmt.Sprintf(`{"recovered":false,"reason":%q%s}`, test.reason, count); string(answer.Resume) != want {
					t.Errorf("answer %s, want %s", answer.Resume, want)
				}
				if want := fmt.Sprintf(`{"reason":%q%s,"position":%q}`, test.reason, count, answer.Position); gap.Event != "playhead:gap" || gap.text(t) != want {
					t.Errorf("%s %s, want %s", gap.Event, gap.text(t), want)
				}
				h.publish("orders", "live", "{}")
				c.expect("live")
				c.sync()
			})
		})
	}
}

// A rewind opens no door either, and there may be members.
func TestRewindIsAuthorised(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("")
	h.publish("presence-a", "secret", "{}")
	c.send(`{"event":"pusher:subscribe","data":{"channel":"presence-a","auth":"key:0","channel_data":"{\"user_id\":\"1\"}","rewind":{"count":5}}}`)
	if e := c.refusal("presence-a"); e.Type != "AuthError" {
		t.Errorf("refusal %+v", e)
	}
	witness := h.dial("")
	witness.subscribeAs("presence-a", `{"user_id":"2"}`, `"rewind":{"count":5}`)
	witness.expect("secret")
	witness.expect("playhead:replayed")
	c.sync()
}

// Who is given a cache channel's last event by rewind isn't given it again, nor an older one; who is
// given none is, as if it had not asked.
func TestRewindOfCacheChannel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(h *harness, _ *Config) { h.app.ReplayClientEvents = true })
		empty := h.dial("")
		empty.sendSubscribe("cache-a", "", `"rewind":{"count":5}`)
		if _, events, last := empty.past(); events != nil || last.Event != "playhead:replayed" {
			t.Errorf("rewind of an empty channel: %v, %+v", events, last)
		}
		empty.miss("cache-a")

		h.publish("cache-a", "one", "{}")
		two := h.publish("cache-a", "two", "{}")
		theirs := &broker.Event{App: "1", Channel: "cache-a", Name: "client-three", Client: true}
		if err := h.node.Publish(t.Context(), theirs); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for _, test := range []struct {
			rewind string
			events []string
			cached bool
		}{
			{`{"count":5}`, []string{"one", "two", "client-three"}, false},
			{`{"count":1}`, []string{"client-three"}, false}, // the cached one is older than that
			{`{"seconds":30}`, nil, true},
		} {
			c := h.dial("")
			c.sendSubscribe("cache-a", "", `"rewind":`+test.rewind)
			_, events, _ := c.past()
			if diff := cmp.Diff(test.events, events); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.rewind, diff)
			}
			if test.cached {
				c.cached(two)
			}
			c.sync()
		}
	})
}

func TestRewindWithoutMemory(t *testing.T) {
	t.Parallel()
	h := start(t, noMemory)
	c := h.dial("")
	f := c.subscribeAs("orders", "", `"rewind":{"count":5}`)
	if f.Position != "" || string(f.Resume) != `{"recovered":false,"reason":"unsupported"}` {
		t.Errorf("answer %+v, %s", f, f.Resume)
	}
	if gap := c.expect("playhead:gap"); gap.text(t) != `{"reason":"unsupported"}` {
		t.Errorf("gap %s", gap.Data)
	}
	h.publish("orders", "live", "{}")
	c.expect("live")
}

func TestSince(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1732350000123)
	for _, test := range []struct {
		rewind pusher.Rewind
		want   time.Time
	}{
		{pusher.Rewind{Count: 5}, time.Time{}},
		{pusher.Rewind{Since: now}, now},
		{pusher.Rewind{Back: time.Second}, now.Add(-time.Second)},
		{pusher.Rewind{Back: 100 * 366 * 24 * time.Hour}, time.UnixMilli(0)},
	} {
		if got := since(test.rewind, now); !got.Equal(test.want) {
			t.Errorf("%+v: since %v, want %v", test.rewind, got, test.want)
		}
	}
}

// A client that comes for the first time asks with an empty position, to be given positions. That is
// no replay, and none that went wrong.
func TestEmptyPosition(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("")
	f := c.subscribeAs("orders", "", resume("", ""))
	if f.Position == "" || string(f.Resume) != `{"recovered":false,"reason":"invalid"}` {
		t.Errorf("answer %+v, %s", f, f.Resume)
	}
	c.expect("playhead:gap")
	if n := h.metric("playhead_replays_total"); n != 0 {
		t.Errorf("counted as %v replays", n)
	}
	c.subscribeAs("other", "", resume("nonsense", ""))
	c.expect("playhead:gap")
	if n := h.metric("playhead_replays_total", "result=invalid"); n != 1 {
		t.Errorf("what is no position is counted as %v replays, want 1", n)
	}
}

// ahead makes a position that lies n events beyond a node's cursor.
func ahead(h *harness, n uint64) string {
	p := h.publish("elsewhere", "last", "{}").Position
	synctest.Wait()
	p.Serial += n
	p.Time = 0 // of an event to come
	return p.String()
}

// A client may come from a node that was ahead of this one: it is answered when this one is there,
// and nobody else waits for that.
func TestPositionAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		c, other := h.dial(""), h.dial("")
		position := ahead(h, 2)
		began := time.Now()
		c.sendSubscribe("orders", "", resume(position, ""))
		time.Sleep(time.Second)
		other.subscribe("orders")
		other.sync()
		if took := time.Since(began); took > time.Second {
			t.Errorf("another client waited %v", took-time.Second)
		}
		h.publish("orders", "seen", "{}") // by the client, elsewhere
		last := h.publish("orders", "seen too", "{}")
		f := c.expect("pusher_internal:subscription_succeeded")
		if string(f.Resume) != `{"recovered":true,"count":0}` || f.Position != last.Position.String() {
			t.Errorf("answer %s at %s, want %s", f.Resume, f.Position, last.Position)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("answered after %v", took)
		}
		c.expect("playhead:replayed")
		h.publish("orders", "live", "{}")
		c.expect("live")
	})
}

// A node whose tail is held up doesn't tell a client that its position lies beyond the end when the log has
// it: it waits, and when it takes too long sends the client to another node.
func TestNodeBehind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		held time.Duration
		back bool
	}{
		"a while": {10 * time.Second, true}, "too long": {18 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := start(t, nil)
				c := h.dial("")
				c.subscribe("elsewhere")
				release := h.log.HoldTails()
				defer release()
				h.publish("orders", "seen", "{}") // by the client, elsewhere
				position := h.publish("orders", "seen too", "{}").Position.String()
				c.sendSubscribe("orders", "", resume(position, ""))
				time.Sleep(test.held)
				release()
				if test.back {
					if f := c.expect("pusher_internal:subscription_succeeded"); string(f.Resume) != `{"recovered":true,"count":0}` {
						t.Errorf("answer %s", f.Resume)
					}
					return
				}
				if code, _, _ := c.ended(); code != 4200 {
					t.Errorf("closed with %d, want 4200", code)
				}
			})
		})
	}
}

// A position that is never reached is waited for once, however many channels it is for.
func TestPositionFarAhead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ timeout, want time.Duration }{
		"default": {0, 2 * time.Second}, "configured": {5 * time.Second, 5 * time.Second}, "none": {-1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := start(t, func(_ *harness, cfg *Config) { cfg.AheadTimeout = test.timeout })
				c := h.dial("")
				position := ahead(h, 100)
				visit := func(want time.Duration) {
					t.Helper()
					began := time.Now()
					for i := range 200 {
						c.sendSubscribe(broker.Channel(fmt.Sprint("orders-", i)), "", resume(position, ""))
						if f, _, gap := c.past(); gap.Event != "playhead:gap" || string(f.Resume) != `{"recovered":false,"reason":"ahead"}` {
							t.Fatalf("answer %s", f.Resume)
						}
					}
					if took := time.Since(began); took != want {
						t.Errorf("200 channels took %v, want %v", took, want)
					}
					for i := range 200 {
						c.send(`{"event":"pusher:unsubscribe","data":{"channel":"orders-%d"}}`, i)
					}
				}
				visit(test.want)
				visit(0)
				var answering sync.WaitGroup
				ctx, cancel := context.WithCancel(t.Context())
				answering.Go(func() { // keeps the client alive
					for ctx.Err() == nil {
						select {
						case <-ctx.Done():
						case <-time.After(20 * time.Second):
							c.send(`{"event":"pusher:pong"}`)
						}
					}
				})
				time.Sleep(unreachedFor + test.want)
				cancel()
				answering.Wait()
				visit(test.want)
			})
		})
	}
}
