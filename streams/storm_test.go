package streams_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/streams"
)

// storm is many publishers at once, each with a channel of its own and waiting for each answer.
type storm struct {
	stop  atomic.Bool
	wg    sync.WaitGroup
	acked [][]*broker.Event // per publisher, in the order of its appends
}

// unleash starts publishers that append one event, and every so often several, until calm.
func unleash(t *testing.T, s *streams.Streams, app broker.AppID, publishers int) *storm {
	w := &storm{acked: make([][]*broker.Event, publishers)}
	for p := range publishers {
		w.wg.Go(func() {
			for n := 0; !w.stop.Load(); n++ {
				events := make([]*broker.Event, 1+n%7/6*4)
				for i := range events {
					events[i] = event(app, broker.Channel(fmt.Sprint("p-", p)))
				}
				if err := s.Append(soon(t), events...); err != nil {
					t.Errorf("publisher %d: %v", p, err)
					return
				}
				w.acked[p] = append(w.acked[p], events...)
			}
		})
	}
	return w
}

// calm ends the storm and checks that the stream and a tail hold what was acknowledged: each event
// once, in the order of its publisher, and no publisher's call torn apart.
func (w *storm) calm(t *testing.T, s *streams.Streams, app broker.AppID, f *follower) {
	t.Helper()
	w.stop.Store(true)
	w.wg.Wait()
	total, end := 0, uint64(0)
	for _, events := range w.acked {
		total += len(events)
		for _, e := range events {
			end = max(end, e.Position.Serial)
			if e.Duplicate {
				t.Errorf("event %s is told to be a duplicate", e.ID)
			}
		}
	}
	f.wantSerials(t, 1, end) // so nothing was lost or doubled on the way
	if int(end) != total {
		t.Errorf("%d events stored, %d acknowledged", end, total)
	}
	seen, _ := f.events()
	byPublisher := map[broker.Channel][]*broker.Event{}
	for _, e := range seen {
		byPublisher[e.Channel] = append(byPublisher[e.Channel], e)
	}
	for p, events := range w.acked {
		if len(events) == 0 {
			continue
		}
		ch := events[0].Channel
		same(t, fmt.Sprint("tail of publisher ", p), events, byPublisher[ch])
		same(t, fmt.Sprint("range of publisher ", p), events, stored(t, s, app, ch, end))
	}
	t.Logf("%d events", total)
}

func same(t *testing.T, what string, want, have []*broker.Event) {
	t.Helper()
	if len(want) != len(have) {
		t.Errorf("%s: %d events, want %d", what, len(have), len(want))
		return
	}
	for i := range want {
		if want[i].ID != have[i].ID || want[i].Position != have[i].Position {
			t.Errorf("%s: event %d is %s at %+v, want %s at %+v", what, i, have[i].ID, have[i].Position, want[i].ID, want[i].Position)
			return
		}
	}
}

func TestStormOverRestarts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *rig, change func(*streams.Config)) {
		publish := r.connect()
		s := r.streams(change, func(c *streams.Config) { c.Publish = publish })
		f := follow(t, s, "app")
		w := unleash(t, s, "app", 32)
		for i := range 3 {
			f.await(t, 500*(i+1))
			switch i {
			case 0:
				r.stop()
				time.Sleep(50 * time.Millisecond)
				r.start()
			case 1:
				r.line(publish).deafen() // acknowledgements are lost, and then the connection
				time.Sleep(50 * time.Millisecond)
				r.line(publish).cut(false)
			case 2:
				r.stop()
				r.start()
			}
		}
		seen, _ := f.events()
		f.await(t, len(seen)+500)
		w.calm(t, s, "app", f)
	})
}
