package client

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// Each close code is obeyed: stay away, come back after a pause, come back at once.
func TestTailObeysCloseCodes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code        websocket.StatusCode // 0 ends the connection without one
		lasts       time.Duration
		least, most time.Duration // of the pause; both 0 is none
		final       bool
	}{
		"unknown app":        {code: 4001, lasts: 2 * time.Second, final: true},
		"last of its kind":   {code: 4099, lasts: 2 * time.Second, final: true},
		"back off":           {code: 4100, lasts: 2 * time.Second, least: 250 * time.Millisecond, most: 500 * time.Millisecond},
		"at once":            {code: 4200, lasts: 2 * time.Second},
		"at once, and again": {code: 4200, least: 250 * time.Millisecond, most: 500 * time.Millisecond},
		"not ours":           {code: 4300, lasts: 2 * time.Second, least: 250 * time.Millisecond, most: 500 * time.Millisecond},
		"going away":         {code: 1001, lasts: 2 * time.Second, least: 250 * time.Millisecond, most: 500 * time.Millisecond},
		"cut":                {lasts: 2 * time.Second, least: 250 * time.Millisecond, most: 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				f := &fake{serve: func(c *fakeConn) {
					if c.number > 0 {
						c.welcome(recovered)
						cancel()
						return
					}
					c.welcome(succeeded)
					time.Sleep(tt.lasts)
					if tt.code != 0 {
						_ = c.ws.Close(tt.code, "why")
					}
				}}
				var lost time.Time
				opts := TailOptions{Subscriptions: subscriptions("a"), Lost: func(error, time.Duration) { lost = time.Now() }}
				var got error
				for _, err := range f.client(t).Tail(ctx, opts) {
					got = err
				}
				f.wait.Wait()
				var closed *CloseError
				switch {
				case tt.final:
					if !errors.As(got, &closed) || closed.Code != int(tt.code) || closed.Reason != "why" || len(f.came) != 1 {
						t.Errorf("ended with %v after %d connections", got, len(f.came))
					}
				case got != nil || len(f.came) != 2:
					t.Fatalf("%v, %d connections", got, len(f.came))
				default:
					if pause := f.came[1].Sub(lost); pause < tt.least || pause > tt.most {
						t.Errorf("came back after %v", pause)
					}
				}
			})
		})
	}
}

// A server that can't be reached is tried less and less often, never less than twice a minute or so.
func TestTailBacksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{serve: func(*fakeConn) {}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for e, err := range f.client(t).Tail(ctx, TailOptions{Subscriptions: subscriptions("a")}) {
			t.Errorf("%+v, %v", e, err)
		}
		f.wait.Wait()
		if n := len(f.came); n < 120 || n > 250 {
			t.Errorf("%d attempts in an hour", n)
		}
		for i := range f.came[1:] {
			pause := f.came[i+1].Sub(f.came[i])
			whole := min(30*time.Second, 500*time.Millisecond<<min(i, 10))
			if pause < whole/2 || pause > whole {
				t.Errorf("pause %d: %v of %v", i, pause, whole)
			}
		}
	})
}

// A silent server is asked whether it is there; one that isn't is left.
func TestTailFindsSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var asked time.Duration
		f := &fake{serve: func(c *fakeConn) {
			if c.number > 0 {
				c.welcome(recovered)
				cancel()
				return
			}
			c.welcome(succeeded)
			began := time.Now()
			if event, _ := c.hear(); event != "pusher:ping" {
				t.Errorf("heard %q", event)
			}
			asked = time.Since(began)
			c.hear() // it gives up
		}}
		var why error
		began := time.Now()
		var lost time.Duration
		opts := TailOptions{Subscriptions: subscriptions("a"), Lost: func(err error, _ time.Duration) {
			why, lost = err, time.Since(began)
		}}
		for e, err := range f.client(t).Tail(ctx, opts) {
			t.Errorf("%+v, %v", e, err)
		}
		f.wait.Wait()
		if !errors.Is(why, errSilent) || asked != 30*time.Second || lost != time.Minute {
			t.Errorf("asked after %v, left after %v: %v", asked, lost, why)
		}
	})
}

// A quiet connection to a server that answers pings, or sends its own of either kind, lasts; and so
// does one whose loop is busy for longer than a server may be silent.
func TestTailStays(t *testing.T) {
	t.Parallel()
	const event = `{"event":"e","channel":"a","data":"1","id":"x","position":"Q"}`
	for name, serve := range map[string]func(c *fakeConn){
		"pongs": func(c *fakeConn) {
			for {
				switch heard, _ := c.hear(); heard {
				case "pusher:ping":
					c.say(`{"event":"pusher:pong","data":"{}"}`)
				case "":
					return
				default:
					c.say(`{"event":"pusher:error","data":{"message":"unexpected"}}`)
				}
			}
		},
		"pings": func(c *fakeConn) {
			for {
				time.Sleep(20 * time.Second)
				c.say(`{"event":"pusher:ping","data":"{}"}`)
				if heard, _ := c.hear(); heard != "pusher:pong" {
					return
				}
			}
		},
		"frames that ping": func(c *fakeConn) {
			ctx := c.ws.CloseRead(context.Background())
			for ctx.Err() == nil {
				time.Sleep(20 * time.Second)
				_ = c.ws.Ping(ctx) // the client may be gone
			}
		},
		"a busy loop": func(c *fakeConn) {
			c.say(event)
			for {
				if heard, _ := c.hear(); heard == "" {
					return
				}
				c.say(`{"event":"pusher:pong","data":"{}"}`)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fake{serve: func(c *fakeConn) {
					c.welcome(succeeded)
					serve(c)
				}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				opts := TailOptions{Subscriptions: subscriptions("a"), Lost: func(err error, _ time.Duration) { t.Error(err) }}
				for _, err := range f.client(t).Tail(ctx, opts) {
					if err != nil {
						t.Error(err)
					}
					time.Sleep(20 * time.Minute)
				}
				f.wait.Wait()
				if len(f.came) != 1 {
					t.Errorf("%d connections", len(f.came))
				}
			})
		})
	}
}

// What the client sends when it comes back, and what it makes of servers that don't know of positions,
// of frames that aren't its business and of such as look like the protocol's.
func TestTailSpeaks(t *testing.T) {
	t.Parallel()
	event := func(name, data, id, position string) string {
		return fmt.Sprintf(`{"event":%q,"channel":"a","data":%q,"id":%q,"position":%q}`, name, data, id, position)
	}
	for name, tt := range map[string]struct {
		subscription Subscription
		rounds       [][]string // what each connection says, an answer first
		asked        []string   // each subscribe, beside the channel
		want         []string
	}{
		"from event to event": {
			rounds: [][]string{{succeeded, event("e", "1", "i1", "P1"), event("e", "2", "i2", "P2")}, {recovered, event("e", "3", "i3", "P3")}},
			asked:  []string{``, `,"resume":{"position":"P2","socket_id":"1.2"}`},
			want:   []string{"e 1", "e 2", "e 3"},
		},
		"from the answer": {
			rounds: [][]string{{succeeded}, {recovered, event("e", "1", "i1", "P1")}},
			asked:  []string{``, `,"resume":{"position":"P","socket_id":"1.2"}`},
			want:   []string{"e 1"},
		},
		"cut in a replay": {
			subscription: Subscription{After: "P0"},
			rounds: [][]string{
				{`{"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}","position":"P9","resume":{"recovered":true,"count":2}}`, event("e", "1", "i1", "P1")},
				{recovered},
			},
			asked: []string{`,"resume":{"position":"P0"}`, `,"resume":{"position":"P1","socket_id":"1.2"}`},
			want:  []string{"e 1"},
		},
		"a rewind is asked for until something came of it": {
			subscription: Subscription{Rewind: Rewind{Last: 5}},
			rounds:       [][]string{{`{"event":"pusher:error","data":{"code":4100,"message":"later"}}`}, {recovered, event("e", "1", "i1", "P1")}, {recovered}},
			asked:        []string{`,"rewind":{"count":5}`, `,"rewind":{"count":5}`, `,"resume":{"position":"P1","socket_id":"1.2"}`},
			want:         []string{"e 1"},
		},
		"a rewind of a cache channel": {
			subscription: Subscription{Channel: "cache-a", Rewind: Rewind{Last: 1}},
			rounds: [][]string{{
				`{"event":"pusher_internal:subscription_succeeded","channel":"cache-a","data":"{}","position":"P9","resume":{"recovered":true,"count":1}}`,
				`{"event":"e","channel":"cache-a","data":"1","id":"i1","position":"P1"}`,
				`{"event":"playhead:replayed","channel":"cache-a","data":"{}"}`,
				`{"event":"e","channel":"cache-a","data":"2","id":"i2","position":"P10"}`,
			}, {}},
			asked: []string{`,"rewind":{"count":1}`, `,"resume":{"position":"P10","socket_id":"1.2"}`},
			want:  []string{"e 1", "e 2"},
		},
		"cut before the cached event": {
			subscription: Subscription{Channel: "cache-a"},
			rounds: [][]string{
				{`{"event":"pusher_internal:subscription_succeeded","channel":"cache-a","data":"{}","position":"P1"}`},
				{`{"event":"pusher_internal:subscription_succeeded","channel":"cache-a","data":"{}","position":"P9"}`,
					`{"event":"e","channel":"cache-a","data":"9","id":"i9","position":"P8"}`},
				{},
			},
			asked: []string{``, ``, `,"resume":{"position":"P9","socket_id":"1.2"}`},
			want:  []string{"gap unavailable", "e 9"},
		},
		"not Playhead": {
			subscription: Subscription{After: "P0"},
			rounds:       [][]string{{plain, `{"event":"e","channel":"a","data":"1"}`}, {plain, `{"event":"e","channel":"a","data":{"json":1}}`}},
			asked:        []string{`,"resume":{"position":"P0"}`, ``},
			want:         []string{"gap unsupported", "e 1", "gap unsupported", `e {"json":1}`},
		},
		"not its business": {
			rounds: [][]string{{
				event("early", "", "i0", "P0"), // no answer yet
				succeeded, succeeded,
				`{"event":"e","channel":"b","data":"1"}`,
				`{"event":"pusher_internal:member_added","channel":"a","data":"{}"}`,
				`{"event":"pusher:subscription_count","channel":"a","data":"{}"}`,
				`{"event":"playhead:replayed","channel":"a","data":"{}"}`,
				`{"event":"playhead:history","channel":"a","data":"{}"}`,
				event("playhead:gap", "a backend's own", "i1", "P1"),
			}},
			asked: []string{``},
			want:  []string{"playhead:gap a backend's own"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				f := &fake{serve: func(c *fakeConn) {
					if c.number == len(tt.rounds) {
						cancel()
						return
					}
					frames := tt.rounds[c.number]
					if len(frames) == 0 {
						frames = []string{`{}`} // what it asks for is all that matters
					}
					c.welcome(frames[0])
					c.say(frames[1:]...)
					time.Sleep(time.Second) // all is read by then
				}}
				var got []string
				s := tt.subscription
				if s.Channel == "" {
					s.Channel = "a"
				}
				for e, err := range f.client(t).Tail(ctx, TailOptions{Subscriptions: []Subscription{s}}) {
					var gap *Gap
					switch {
					case errors.As(err, &gap):
						got = append(got, "gap "+string(gap.Reason))
					case err != nil:
						got = append(got, err.Error())
					default:
						got = append(got, e.Name+" "+e.Data)
					}
				}
				f.wait.Wait()
				var want []string
				for _, a := range tt.asked {
					want = append(want, fmt.Sprintf(`{"channel":%q%s}`, s.Channel, a))
				}
				if diff := cmp.Diff(want, f.asked); diff != "" {
					t.Errorf("asked (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("yielded (-want +got):\n%s", diff)
				}
			})
		})
	}
}
