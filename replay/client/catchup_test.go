package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// What isn't a WebSocket frame of the protocol's ends a connection, and never the process.
func TestTailOfNonsense(t *testing.T) {
	t.Parallel()
	for name, nonsense := range map[string]func(c *fakeConn){
		"not JSON":       func(c *fakeConn) { c.say("{") },
		"a list":         func(c *fakeConn) { c.say("[]") },
		"binary":         func(c *fakeConn) { _ = c.ws.Write(context.Background(), websocket.MessageBinary, []byte("{}")) },
		"no hello":       func(c *fakeConn) { c.say(succeeded) },
		"a bad hello":    func(c *fakeConn) { c.say(`{"event":"pusher:connection_established","data":"x"}`) },
		"a bad id":       func(c *fakeConn) { c.say(`{"event":"pusher:connection_established","data":"{\"socket_id\":\"x\"}"}`) },
		"a strange type": func(c *fakeConn) { c.say(`{"event":7}`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				f := &fake{serve: func(c *fakeConn) {
					nonsense(c)
					c.hear()
				}}
				lost := 0
				opts := TailOptions{Subscriptions: subscriptions("a"), Lost: func(error, time.Duration) {
					if lost++; lost == 2 {
						cancel()
					}
				}}
				for e, err := range f.client(t).Tail(ctx, opts) {
					t.Errorf("%+v, %v", e, err)
				}
				f.wait.Wait()
				if lost != 2 {
					t.Errorf("%d times", lost)
				}
			})
		})
	}
}

// What is too far to be replayed is read page by page, in smaller ones when a line doesn't carry large
// ones, and from the last event read the rest is resumed.
func TestTailCatchesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const last = 40
		var limits []string
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f := &fake{
			serve: func(c *fakeConn) {
				if c.number == 0 {
					c.welcome(`{"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}","position":"P99","resume":{"recovered":false,"reason":"too_far"}}`)
					c.say(`{"event":"e","channel":"a","data":"too early","id":"x","position":"P100"}`)
					c.hear() // the client hangs up
					return
				}
				c.welcome(recovered)
				time.Sleep(time.Second)
				cancel()
			},
			history: func(r *http.Request) (*http.Response, error) {
				q := r.URL.Query()
				limits = append(limits, q.Get("limit"))
				limit, err := strconv.Atoi(q.Get("limit"))
				if err != nil || limit > 20 {
					return nil, errors.New("the line broke")
				}
				after, err := strconv.Atoi(strings.TrimPrefix(q.Get("after"), "P"))
				if err != nil {
					return nil, err
				}
				var items []string
				for i := after + 1; i <= min(after+limit, last); i++ {
					items = append(items, fmt.Sprintf(`{"id":"i%d","event":"e","data":"%d","position":"P%d"}`, i, i, i))
				}
				end := min(after+limit, last)
				return answer(200, fmt.Sprintf(`{"items":[%s],"has_more":%t,"next":"P%d"}`, strings.Join(items, ","), end < last, end)), nil
			},
		}
		next := 1
		for e, err := range f.client(t).Tail(ctx, TailOptions{Subscriptions: []Subscription{{Channel: "a", After: "P0"}}}) {
			if err != nil || e.Data != fmt.Sprint(next) {
				t.Fatalf("%+v, %v; want %d", e, err, next)
			}
			next++
		}
		f.wait.Wait()
		want := []string{`{"channel":"a","resume":{"position":"P0"}}`, fmt.Sprintf(`{"channel":"a","resume":{"position":"P%d"}}`, last)}
		if diff := cmp.Diff(want, f.asked); diff != "" || next != last+1 {
			t.Errorf("ended before %d; asked (-want +got):\n%s", next, diff)
		}
		if got := slices.Compact(limits); !slices.Equal(got, []string{"1000", "250", "62", "15"}) {
			t.Errorf("pages of %v", got)
		}
	})
}

// However many channels there are, the server is never owed more answers than it can give while the
// client isn't reading.
func TestTailWaitsForAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const channels = 3 * maxWaiting
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f := &fake{serve: func(c *fakeConn) {
			c.say(`{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}`)
			var heard atomic.Int64
			var hearing sync.WaitGroup
			hearing.Go(func() {
				for {
					if event, _ := c.hear(); event == "" {
						return
					}
					heard.Add(1)
				}
			})
			for answered := range channels {
				time.Sleep(time.Second) // what the client has to say has been said
				if n := heard.Load(); n > int64(answered+maxWaiting) {
					t.Errorf("%d subscribes with %d answers", n, answered)
				}
				c.say(fmt.Sprintf(`{"event":"pusher_internal:subscription_succeeded","channel":"c%d","data":"{}","position":"P"}`, answered))
			}
			hearing.Wait()
		}}
		var subs []Subscription
		for i := range channels {
			subs = append(subs, Subscription{Channel: broker.Channel(fmt.Sprint("c", i))})
		}
		accepted := 0
		for e, err := range f.client(t).Tail(ctx, TailOptions{Subscriptions: subs, Subscribed: func(Answer) {
			if accepted++; accepted == channels {
				cancel()
			}
		}}) {
			t.Errorf("%+v, %v", e, err)
		}
		f.wait.Wait()
		if accepted != channels {
			t.Errorf("%d accepted", accepted)
		}
	})
}
