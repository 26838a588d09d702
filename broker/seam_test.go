package broker_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

// replayed returns what a client gets that was at serial after, up to the seam, by ID.
func replayed(t testing.TB, log *brokertest.Memory, after uint64, seam broker.Position) []string {
	t.Helper()
	var all []string
	for e, err := range log.Range(t.Context(), app, ch, after, seam.Serial) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e.ID)
	}
	return all
}

// Every way to put a subscribe, and the gate's opening, between five events: what is replayed up to
// the seam and what is delivered live is each event once, in order. The client comes back from
// every position that it can have by then. Between any two steps everything comes to rest.
func TestSeamBetweenEvents(t *testing.T) {
	t.Parallel()
	const events = 5
	for subscribed := range events + 1 {
		for opened := subscribed; opened <= events; opened++ {
			for before := range subscribed + 1 {
				t.Run(fmt.Sprintf("from %d, subscribed at %d, open at %d", before, subscribed, opened), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						testSeam(t, events, before, subscribed, opened)
					})
				})
			}
		}
	}
}

func testSeam(t *testing.T, events, before, subscribed, opened int) {
	log := &brokertest.Memory{}
	n, _ := run(t, broker.Config{Log: log})
	f, _ := feed(t, n, app)
	r := &recorder{}
	var s *broker.Subscription
	var seam broker.Position
	var got, want []string
	for i := range events + 1 {
		if i == subscribed {
			var err error
			if s, seam, err = f.Subscribe(ch, "1.1", r); err != nil {
				t.Fatal(err)
			}
			if seam.Serial != uint64(i) || seam != f.Cursor() {
				t.Errorf("seam %+v after %d events, cursor %+v", seam, i, f.Cursor())
			}
		}
		if i == opened {
			got = append(got, replayed(t, log, uint64(before), seam)...)
			r.want(t, "a session whose gate is closed")
			s.Open(0)
			synctest.Wait()
		}
		if i < events {
			id := fmt.Sprint(i + 1)
			publish(t, n, ch, id)
			synctest.Wait()
			if i >= before {
				want = append(want, id)
			}
		}
	}
	got = append(got, r.got()...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("replayed and delivered (-want +got):\n%s", diff)
	}
}

// hooked is a subscriber that acts in the middle of a fan-out.
type hooked struct {
	recorder
	hook func(d *broker.Delivery)
}

func (h *hooked) Deliver(d *broker.Delivery) {
	h.hook(d)
	h.recorder.Deliver(d)
}

// While an event is being fanned out another session subscribes: it has the event before its seam,
// or it gets it live, but not both and not neither.
func TestSeamAmidFanOut(t *testing.T) {
	t.Parallel()
	for range 50 {
		log := &brokertest.Memory{}
		n, stop := run(t, broker.Config{Log: log})
		f, release := feed(t, n, app)
		late := &recorder{}
		var seam broker.Position
		var s *broker.Subscription
		var wg sync.WaitGroup
		last := make(chan struct{})
		first := &hooked{hook: func(d *broker.Delivery) {
			switch d.Event.ID {
			case "2":
				begun := make(chan struct{})
				wg.Go(func() {
					close(begun)
					var err error
					if s, seam, err = f.Subscribe(ch, "1.2", late); err != nil {
						t.Error(err)
						return
					}
					s.Open(0)
				})
				<-begun
			case "4":
				close(last)
			}
		}}
		sub, _, err := f.Subscribe(ch, "1.1", first)
		if err != nil {
			t.Fatal(err)
		}
		sub.Open(0)
		publish(t, n, ch, "1", "2", "3", "4")
		<-last
		wg.Wait()
		stop() // whatever is under way is delivered
		got := append(replayed(t, log, 0, seam), late.got()...)
		if diff := cmp.Diff([]string{"1", "2", "3", "4"}, got); diff != "" {
			t.Errorf("seam %d: replayed and delivered (-want +got):\n%s", seam.Serial, diff)
		}
		release()
	}
}

// A flood of events against sessions that come and go as fast as they can: the first event that is
// delivered to each is the one right behind its seam. A slow subscriber, of notices, keeps the feed's
// lock for so long that everybody has to queue for it and gets it in the order of arrival (a mutex
// that was waited for for a millisecond is handed on): wherever the lock is given up, somebody gets
// in between.
func TestSeamIsOneStep(t *testing.T) {
	t.Parallel()
	const clients, visits = 4, 25
	log := &handed{events: make(chan *broker.Event)}
	// On a busy machine a gate may stay closed for long, and one that is full would be another test.
	n, _ := run(t, broker.Config{Log: log, GateBytes: 1 << 30})
	f, _ := feed(t, n, app)
	slow, _, err := f.Subscribe("slow", "1.2", subscriber(func(*broker.Delivery) {
		for began := time.Now(); time.Since(began) < 1500*time.Microsecond; {
			runtime.Gosched()
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	slow.Open(0)
	stopped := make(chan struct{})
	running := func() bool {
		select {
		case <-stopped:
			return false
		default:
			return true
		}
	}
	var flood, coming sync.WaitGroup
	flood.Go(func() {
		for serial := uint64(1); ; serial++ {
			e := &broker.Event{App: app, Channel: ch, Position: broker.Position{Epoch: "e", Serial: serial}}
			select {
			case log.events <- e:
			case <-stopped:
				return
			}
		}
	})
	flood.Go(func() {
		for running() {
			n.Notify(&broker.Notice{App: app, Channel: "slow"})
		}
	})
	visit := func(wait bool) error {
		first := make(chan uint64, 1)
		s, seam, err := f.Subscribe(ch, "1.1", subscriber(func(d *broker.Delivery) {
			select {
			case first <- d.Event.Position.Serial:
			default:
			}
		}))
		if err != nil {
			return err
		}
		s.Open(0)
		if !wait {
			s.Close()
			close(first)
		}
		if serial, ok := <-first; ok && serial != seam.Serial+1 {
			return fmt.Errorf("seam %d, but the first event delivered is %d", seam.Serial, serial)
		}
		s.Close()
		return nil
	}
	for range clients {
		coming.Go(func() {
			for range visits {
				if err := visit(true); err != nil {
					t.Error(err)
				}
			}
		})
		flood.Go(func() { // leaves again at once, and so is always at the feed's lock
			for running() {
				if err := visit(false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	coming.Wait()
	close(stopped)
	flood.Wait()
}

// subscriber is a connection that is nothing but its Deliver.
type subscriber func(*broker.Delivery)

func (s subscriber) Deliver(d *broker.Delivery) { s(d) }

func (s subscriber) Close(broker.Reason) {}
