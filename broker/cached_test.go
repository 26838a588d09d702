package broker_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

// stepped is a log whose tails yield an event for each step.
type stepped struct {
	*brokertest.Memory
	steps chan struct{}
}

// Tail implements [broker.Log].
func (l *stepped) Tail(ctx context.Context, app broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	from, events, err := l.Memory.Tail(ctx, app)
	return from, func(yield func(*broker.Event, error) bool) {
		for e, err := range events {
			select {
			case <-l.steps:
			case <-ctx.Done():
				return
			}
			if !yield(e, err) {
				return
			}
		}
	}, err
}

// step lets the tail yield an event, and waits until that has been fanned out.
func (l *stepped) step() {
	l.steps <- struct{}{}
	synctest.Wait()
}

// Every way to put a subscribe and the gate's opening between the steps of a tail, for every event
// that the log may have given as the channel's last one by then: that one and older ones aren't
// delivered, whether the gate held them or they come after it was opened; newer ones are, once and
// in order.
func TestSubscriptionBeginsAtTheCachedEvent(t *testing.T) {
	t.Parallel()
	const events = 5
	for subscribed := range events + 1 {
		for opened := subscribed; opened <= events; opened++ {
			for last := subscribed; last <= events; last++ {
				t.Run(fmt.Sprintf("subscribed at %d, open at %d, last %d", subscribed, opened, last), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { testCached(t, events, subscribed, opened, last) })
				})
			}
		}
	}
}

func testCached(t *testing.T, events, subscribed, opened, last int) {
	log := &stepped{Memory: &brokertest.Memory{}, steps: make(chan struct{})}
	n, _ := run(t, broker.Config{Log: log})
	f, _ := feed(t, n, app)
	var places []broker.Position
	for i := range events {
		e := &broker.Event{App: app, Channel: ch, ID: fmt.Sprint(i + 1)}
		if err := n.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		places = append(places, e.Position)
	}
	synctest.Wait()
	var r recorder
	var s *broker.Subscription
	var want []string
	for i := range events + 1 {
		if i == subscribed {
			var err error
			if s, _, err = f.Subscribe(ch, "1.1", &r); err != nil {
				t.Fatal(err)
			}
		}
		if i == opened {
			var from broker.Position
			if last > 0 {
				from = places[last-1]
			}
			s.OpenAfter(0, from)
		}
		if i == events {
			break
		}
		log.step()
		n.Notify(&broker.Notice{App: app, Channel: ch, Serial: uint64(i + 1)})
		if i >= last {
			want = append(want, fmt.Sprint(i+1))
		}
		if i >= subscribed {
			want = append(want, fmt.Sprint("#", i+1))
		}
	}
	if diff := cmp.Diff(want, r.got()); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
}

// A place in another life of the log says nothing of this one.
func TestSubscriptionBeginsInAnotherEpoch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, _ := run(t, broker.Config{Log: &brokertest.Memory{}})
		f, _ := feed(t, n, app)
		var r recorder
		s, _, err := f.Subscribe(ch, "1.1", &r)
		if err != nil {
			t.Fatal(err)
		}
		publish(t, n, ch, "1")
		synctest.Wait()
		s.OpenAfter(0, broker.Position{Epoch: "another", Serial: 10})
		publish(t, n, ch, "2")
		synctest.Wait()
		r.want(t, "a session that was given an event of another epoch", "1", "2")
	})
}
