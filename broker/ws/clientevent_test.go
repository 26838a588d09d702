package ws

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

// Checklist 78, 79, 80, 81: who gets a client event, and what of it.
func TestClientEvents(t *testing.T) {
	t.Parallel()
	h := start(t, func(h *harness, _ *Config) { h.app.Limits.ClientEventsPerSecond = 1000 })
	sender, same, other := h.dial(""), h.dial(""), h.dial("")
	sender.subscribeAs("presence-a", `{"user_id":10}`)
	same.subscribeAs("presence-a", `{"user_id":"10"}`)
	other.subscribeAs("presence-a", `{"user_id":"11"}`)
	sender.expect("pusher_internal:member_added")
	same.expect("pusher_internal:member_added")
	for _, c := range []*client{sender, same, other} {
		c.subscribe("private-a")
	}
	for sent, want := range map[string]string{
		`,"data":{"on": true}`: `{"on": true}`,
		`,"data":[1,"x"]`:      `[1,"x"]`,
		`,"data":7`:            `7`,
		`,"data":"as \"is\""`:  `as "is"`,
		`,"data":""`:           ``,
		``:                     `{}`,
	} {
		sender.send(`{"event":"client-typing","channel":"presence-a"%s,"user_id":"forged","extra":1}`, sent)
		sender.send(`{"event":"client-typing","channel":"private-a"%s,"user_id":"forged"}`, sent)
		for _, c := range []*client{same, other} {
			f := c.expect("client-typing")
			if f.text(t) != want || f.Channel != "presence-a" || f.UserID == nil || *f.UserID != "10" {
				t.Errorf("sent %s, got %+v", sent, f)
			}
			f = c.expect("client-typing")
			if f.text(t) != want || f.Channel != "private-a" || f.UserID != nil {
				t.Errorf("sent %s, got %+v", sent, f)
			}
		}
		sender.sync()
	}
}

// Checklist 77, 82, 83: what is not sent on, and said to the sender only.
func TestRejectedClientEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		c, other := h.dial(""), h.dial("")
		for _, c := range []*client{c, other} {
			c.subscribe("public")
			c.subscribe("private-encrypted-a")
			c.subscribe("private-a")
		}
		other.subscribe("private-b")
		for _, message := range []string{
			`{"event":"client-x","channel":"public","data":"{}"}`,
			`{"event":"client-x","channel":"private-encrypted-a","data":"{}"}`,
			`{"event":"client-x","channel":"private-b","data":"{}"}`,
			`{"event":"client-x","data":"{}"}`,
			`{"event":"x","channel":"private-a","data":"{}"}`,
			`{"event":"Client-x","channel":"private-a","data":"{}"}`,
			`{"event":"client-` + strings.Repeat("x", 194) + `","channel":"private-a"}`,
			`{"event":"client-x","channel":"private-a","data":"` + strings.Repeat("x", 10_241) + `"}`,
		} {
			c.send("%s", message)
			if e := c.complaint(); e.Code != nil {
				t.Errorf("%.60s: code %d, want null", message, *e.Code)
			}
		}
		c.send(`{"event":"client-x","channel":"private-a","data":"%s"}`, strings.Repeat("x", 10_240))
		other.expect("client-x")
		other.sync()
	})
}

func TestClientEventsDisabled(t *testing.T) {
	t.Parallel()
	h := start(t, func(h *harness, _ *Config) { h.app.ClientEvents = false })
	c := h.dial("")
	c.subscribe("private-a")
	c.send(`{"event":"client-x","channel":"private-a","data":"{}"}`)
	c.complaint()
}

// Checklist 84: above ten a second events are dropped, and a second later they are not.
func TestClientEventRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		c, other := h.dial(""), h.dial("")
		c.subscribe("private-a")
		other.subscribe("private-a")
		go func() {
			for i := range 15 {
				c.send(`{"event":"client-%d","channel":"private-a"}`, i)
			}
		}()
		for range 5 {
			if e := c.complaint(); e.Code == nil || *e.Code != 4301 {
				t.Errorf("complaint %+v, want code 4301", e)
			}
		}
		for i := range 10 {
			other.expect(fmt.Sprint("client-", i))
		}
		time.Sleep(time.Second)
		c.send(`{"event":"client-later","channel":"private-a"}`)
		other.expect("client-later")
		c.sync()
	})
}

// keeping is a log that keeps what it is given as it is given it, as the contract allows.
type keeping struct {
	broker.Log
	kept chan *broker.Event
}

func (k keeping) Append(ctx context.Context, events ...*broker.Event) error {
	for _, e := range events {
		k.kept <- e
	}
	return k.Log.Append(ctx, events...)
}

// An event is the log's once it is appended: later messages don't change it.
func TestClientEventOwnsItsData(t *testing.T) {
	t.Parallel()
	kept := make(chan *broker.Event, 100)
	h := start(t, func(h *harness, _ *Config) {
		h.log.Log = keeping{Log: h.memory, kept: kept}
		h.app.Limits.ClientEventsPerSecond = 100
	})
	c := h.dial("")
	c.subscribe("private-a")
	for i := range 20 {
		c.send(`{"event":"client-%02d","channel":"private-a","data":"data %02d"}`, i, i)
	}
	c.sync()
	for i := range 20 {
		e := <-kept
		if got, want := e.Name+" "+string(e.Data), fmt.Sprintf("client-%02d data %02d", i, i); got != want {
			t.Errorf("event %d is %q now, want %q", i, got, want)
		}
	}
}

// A sender whose event the log refuses is told so, and goes on. What was stored all the same
// reaches the others, once.
func TestClientEventNotStored(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c, other := h.dial(""), h.dial("")
	c.subscribe("private-a")
	other.subscribe("private-a")
	h.log.FailAppends(1, brokertest.NotStored)
	c.send(`{"event":"client-lost","channel":"private-a"}`)
	if e := c.complaint(); e.Code != nil {
		t.Errorf("code %d, want null", *e.Code)
	}
	h.log.FailAppends(1, brokertest.StoredAnyway)
	c.send(`{"event":"client-kept","channel":"private-a"}`)
	c.complaint()
	other.expect("client-kept")
	c.send(`{"event":"client-next","channel":"private-a"}`)
	other.expect("client-next")
	c.sync()
}

// A log that doesn't answer keeps the sender waiting, not the server.
func TestClientEventBlocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		c, other := h.dial(""), h.dial("")
		c.subscribe("private-a")
		release := h.log.BlockAppends()
		defer release()
		began := time.Now()
		c.send(`{"event":"client-x","channel":"private-a"}`)
		synctest.Wait()
		other.sync()
		c.complaint()
		if took := time.Since(began); took != publishTimeout {
			t.Errorf("complaint after %v, want %v", took, publishTimeout)
		}
		c.sync()
	})
}
