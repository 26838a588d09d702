package broker_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

// A gate is opened while events are being fanned out: what it held comes first.
func TestGateOpensAmidFanOut(t *testing.T) {
	t.Parallel()
	for range 50 {
		n, stop := run(t, broker.Config{Log: &brokertest.Memory{}})
		f, release := feed(t, n, app)
		r := &recorder{}
		s, _, err := f.Subscribe(ch, "1.1", r)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		last := make(chan struct{})
		other, _, err := f.Subscribe(ch, "1.2", &hooked{hook: func(d *broker.Delivery) {
			switch d.Event.ID {
			case "10":
				wg.Go(func() { s.Open(0) })
			case "20":
				close(last)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		other.Open(0)
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprint(i+1))
		}
		publish(t, n, ch, want...)
		<-last
		wg.Wait()
		stop()
		if diff := cmp.Diff(want, r.got()); diff != "" {
			t.Errorf("delivered (-want +got):\n%s", diff)
		}
		release()
	}
}

// While a gate gives out what it held, the feed comes with the next event: it must wait its turn,
// and must not be held by a gate that is open by then.
func TestGateOpensAsTheNextEventComes(t *testing.T) {
	t.Parallel()
	for range 50 {
		n, stop := run(t, broker.Config{Log: &brokertest.Memory{}})
		f, release := feed(t, n, app)
		arrived := make(chan struct{}, 10)
		signal := func(*broker.Delivery) { arrived <- struct{}{} }
		before, _, err := f.Subscribe(ch, "1.1", &hooked{hook: signal}) // is served before the other
		if err != nil {
			t.Fatal(err)
		}
		before.Open(0)
		r := &hooked{}
		r.hook = func(d *broker.Delivery) {
			if d.Event.ID != "1" {
				return
			}
			publish(t, n, ch, "3")
			<-arrived // at the one before: now it is this one's turn
			for range 100 {
				runtime.Gosched()
			}
		}
		s, _, err := f.Subscribe(ch, "1.2", r)
		if err != nil {
			t.Fatal(err)
		}
		publish(t, n, ch, "1", "2")
		<-arrived
		<-arrived
		f.Cursor() // taken under the feed's lock: the fan-out of 2 is over
		s.Open(0)
		stop()
		if diff := cmp.Diff([]string{"1", "2", "3"}, r.got()); diff != "" {
			t.Errorf("delivered (-want +got):\n%s", diff)
		}
		release()
	}
}

func TestGateHoldsUntilItIsOpened(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, _ := run(t, broker.Config{Log: &brokertest.Memory{}})
		f, _ := feed(t, n, app)
		notify := func(serials ...uint64) {
			synctest.Wait()
			for _, serial := range serials {
				n.Notify(&broker.Notice{App: app, Channel: ch, Serial: serial})
			}
		}
		var all, seen recorder
		a, _, _ := f.Subscribe(ch, "1.1", &all)
		b, _, _ := f.Subscribe(ch, "1.2", &seen)
		publish(t, n, ch, "a")
		notify(1, 2)
		publish(t, n, ch, "b")
		notify(3)
		if err := n.Publish(t.Context(), &broker.Event{App: app, Channel: ch, ID: "c", Exclude: "1.1"}); err != nil {
			t.Fatal(err)
		}
		publish(t, n, "other", "d")
		all.want(t, "a closed gate")
		seen.want(t, "a closed gate")
		a.Open(0)
		b.Open(2) // its snapshot was taken at 2
		all.want(t, "an open gate", "a", "#1", "#2", "b", "#3")
		seen.want(t, "an open gate that has seen 2", "a", "b", "#3", "c")
		publish(t, n, ch, "e")
		notify(4)
		all.want(t, "an open gate", "a", "#1", "#2", "b", "#3", "e", "#4")
		seen.want(t, "an open gate that has seen 2", "a", "b", "#3", "c", "e", "#4")
	})
}

func TestGateIsBounded(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		bound int
		size  int // of each event's data
		fits  int
	}{
		"default":           {0, 64<<10 - 257, 16}, // with its overhead of 256 and a name of 1 byte
		"configured":        {3000, 743, 3},
		"events of no size": {25_700, 0, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n, _ := run(t, broker.Config{Log: &brokertest.Memory{}, GateBytes: tt.bound})
				f, _ := feed(t, n, app)
				var r, emptied recorder
				s, _, _ := f.Subscribe(ch, "1.1", &r)
				other, _, _ := f.Subscribe(ch, "1.2", &emptied)
				var ids []string
				send := func(id string) {
					t.Helper()
					e := &broker.Event{App: app, Channel: ch, ID: id, Name: "n", Data: make([]byte, tt.size)}
					if err := n.Publish(t.Context(), e); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				for i := range tt.fits {
					ids = append(ids, fmt.Sprint(i))
					send(ids[i])
				}
				if why := r.closed(); why != nil {
					t.Fatalf("closed for %v with %d events, which fit", why, tt.fits)
				}
				other.Open(0)
				for _, id := range []string{"over", "and", "above"} {
					send(id)
				}
				if diff := cmp.Diff([]broker.Reason{broker.GateOverflow}, r.closed()); diff != "" {
					t.Errorf("closed (-want +got):\n%s", diff)
				}
				if why := emptied.closed(); why != nil {
					t.Errorf("a session whose gate was open was closed: %v", why)
				}
				emptied.want(t, "a session whose gate was open", append(ids, "over", "and", "above")...)
				s.Open(0)
				r.want(t, "a session that was closed")
			})
		})
	}
}

func TestGateCountsNotices(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, _ := run(t, broker.Config{Log: &brokertest.Memory{}, GateBytes: 1000})
		f, _ := feed(t, n, app)
		var r recorder
		if _, _, err := f.Subscribe(ch, "1.1", &r); err != nil {
			t.Fatal(err)
		}
		notice := &broker.Notice{App: app, Channel: ch, Member: broker.Member{Info: make([]byte, 500)}}
		n.Notify(notice)
		if why := r.closed(); why != nil {
			t.Fatalf("closed for %v with one notice, which fits", why)
		}
		n.Notify(notice)
		if diff := cmp.Diff([]broker.Reason{broker.GateOverflow}, r.closed()); diff != "" {
			t.Errorf("closed (-want +got):\n%s", diff)
		}
	})
}

func TestSubscriptionThatIsClosedWithAClosedGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, _ := run(t, broker.Config{Log: &brokertest.Memory{}})
		f, _ := feed(t, n, app)
		var r recorder
		s, _, _ := f.Subscribe(ch, "1.1", &r)
		publish(t, n, ch, "1")
		synctest.Wait()
		s.Close()
		publish(t, n, ch, "2")
		r.want(t, "one that left before its gate was opened")
	})
}
