package broker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/playhead/playhead/broker"
)

func TestReach(t *testing.T) {
	t.Parallel()
	at := func(serial uint64) broker.Position { return stood(serial, "a").Position }
	for name, tt := range map[string]struct {
		p     broker.Position
		then  func(w windowed, leave context.CancelFunc, stop func()) // while it waits
		waits bool
		want  bool
	}{
		"behind":       {p: at(1), want: true},
		"here":         {p: at(2), want: true},
		"another life": {p: broker.Position{Epoch: "f", Serial: 1}},
		"no place":     {p: broker.Position{}},
		"ahead": {
			p:     at(4),
			then:  func(w windowed, _ context.CancelFunc, _ func()) { w.take(stood(3, "a"), stood(4, "b")) },
			waits: true, want: true,
		},
		"passed over": {
			p:     at(4),
			then:  func(w windowed, _ context.CancelFunc, _ func()) { w.take(stood(9, "a")) },
			waits: true, want: true,
		},
		"not far enough, and the client leaves": {
			p: at(4),
			then: func(w windowed, leave context.CancelFunc, _ func()) {
				w.take(stood(3, "a"))
				leave()
			},
			waits: true,
		},
		"the feed ends": {
			p:     at(4),
			then:  func(_ windowed, _ context.CancelFunc, stop func()) { stop() },
			waits: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := &handed{events: make(chan *broker.Event)}
				n, stop := run(t, broker.Config{Log: log})
				f, _ := feed(t, n, app)
				w := windowed{f, log}
				w.take(stood(1, "a"), stood(2, "a"))
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				reached := make(chan bool, 3)
				for range 3 {
					go func() { reached <- f.Reach(ctx, tt.p) }()
				}
				synctest.Wait()
				if waits := len(reached) == 0; waits != tt.waits {
					t.Errorf("waits: %v, want %v", waits, tt.waits)
				}
				if tt.then != nil {
					tt.then(w, leave, stop)
				}
				began := time.Now()
				for range 3 {
					if have := <-reached; have != tt.want {
						t.Errorf("reached: %v, want %v", have, tt.want)
					}
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("told after %v", took)
				}
				stop()
				if have := f.Reach(t.Context(), at(99)); have {
					t.Error("an ended feed has reached what it hasn't")
				}
				if have := f.Reach(t.Context(), at(1)); !have {
					t.Error("an ended feed hasn't reached what it has")
				}
			})
		})
	}
}
