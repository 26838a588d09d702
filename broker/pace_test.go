package broker_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

func TestPaceNeedsRoom(t *testing.T) {
	t.Parallel()
	for _, ahead := range []int{0, -1} {
		if _, err := broker.NewPace(ahead); err == nil {
			t.Errorf("a pace of %d: no error", ahead)
		}
	}
}

// Fan-out is at most so many events ahead of the slowest writer that has something to write, hurries it,
// and goes on when a pass has ended; what isn't fanned out is still in the log, and in order.
func TestPaceKeepsFanOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pace, err := broker.NewPace(3)
		if err != nil {
			t.Fatal(err)
		}
		var busy atomic.Bool
		var hurried atomic.Int32
		w := pace.Writer(func() bool {
			hurried.Add(1)
			return !busy.Load()
		})
		pace.Writer(func() bool { return true }) // has nothing to write, ever
		n, _ := run(t, broker.Config{Log: &brokertest.Memory{}, Pace: pace})
		f, _ := feed(t, n, app)
		s, _ := subscribe(t, f, ch, "1.1")
		got := func() int {
			synctest.Wait()
			return len(s.got())
		}
		publish(t, n, ch, "1", "2", "3", "4", "5")
		if got() != 5 {
			t.Fatalf("%d of 5 events while nobody has to write", got())
		}
		busy.Store(true)
		hurried.Store(0)
		publish(t, n, ch, "6", "7", "8", "9", "10", "11", "12", "13", "14", "15")
		before := got()
		if before > 5+3 || hurried.Load() == 0 {
			t.Fatalf("%d events fanned out, 5 of them written; hurried %d times", before, hurried.Load())
		}
		w.Begin()
		if now := got(); now != before {
			t.Errorf("went on when a pass began: %d events after %d", now, before)
		}
		w.End()
		if now := got(); now != before+3 {
			t.Errorf("%d events after a pass, want 3 more than %d", now, before)
		}
		for range 4 {
			w.Begin()
			w.End()
			synctest.Wait()
		}
		want := []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"}
		if diff := cmp.Diff(want, s.got()); diff != "" {
			t.Errorf("when all is written (-want +got):\n%s", diff)
		}
	})
}

// Events that nobody subscribed to, and notices, are no work for writers.
func TestPaceCountsWhatIsQueued(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pace, err := broker.NewPace(1)
		if err != nil {
			t.Fatal(err)
		}
		pace.Writer(func() bool { return false })
		n, _ := run(t, broker.Config{Log: &brokertest.Memory{}, Pace: pace})
		f, _ := feed(t, n, app)
		s, _ := subscribe(t, f, ch, "1.1")
		publish(t, n, "elsewhere", "1", "2", "3", "4")
		for i := range 5 {
			n.Notify(&broker.Notice{App: app, Channel: ch, Kind: broker.MemberAdded, Serial: uint64(i + 1)})
		}
		publish(t, n, ch, "5")
		synctest.Wait()
		if len(s.got()) != 6 {
			t.Errorf("%d deliveries, want 5 notices and an event", len(s.got()))
		}
	})
}

// A node that is told to end doesn't wait for a writer that never writes.
func TestPaceEndsWithTheNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pace, err := broker.NewPace(1)
		if err != nil {
			t.Fatal(err)
		}
		pace.Writer(func() bool { return false })
		n, stop := run(t, broker.Config{Log: &brokertest.Memory{}, Pace: pace})
		f, _ := feed(t, n, app)
		subscribe(t, f, ch, "1.1")
		publish(t, n, ch, "1", "2", "3", "4")
		synctest.Wait()
		stop()
	})
}
