package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

// stressed is a client that comes and goes: it takes events for a while, leaves, and resumes.
type stressed struct {
	recorder
	wake chan struct{} // has room for one
}

func (c *stressed) Deliver(d *broker.Delivery) {
	c.recorder.Deliver(d)
	c.poke()
}

func (c *stressed) Close(why broker.Reason) {
	c.recorder.Close(why)
	c.poke()
}

func (c *stressed) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// await waits until n deliveries are there or the session was closed.
func (c *stressed) await(ctx context.Context, n int) error {
	for len(c.got()) < n && len(c.closed()) == 0 {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Publishers against clients that keep resuming, while the tail breaks now and then: each client
// gets every event of its channel once, in order.
func TestSeamUnderStress(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]int{"whole tail": 0, "broken tails": 50} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stress(t, breaks)
		})
	}
}

func stress(t *testing.T, breaks int) {
	const publishers, each, clients = 3, 400, 6
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	log := &brokertest.Memory{}
	n, _ := run(t, broker.Config{Log: log})
	f, err := n.Feed(ctx, app)
	if err != nil {
		t.Fatal(err)
	}
	start := f.Cursor()
	f.Release()

	got := make([][]string, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			got[i] = come(ctx, t, n, log, start, publishers*each, i)
		})
	}
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				events := []*broker.Event{
					{App: app, Channel: ch, ID: fmt.Sprintf("%d/%d", p, i)},
					{App: app, Channel: "other"},
				}
				if err := n.Publish(ctx, events...); err != nil {
					t.Errorf("publish: %v", err)
					return
				}
				if breaks > 0 && p == 0 && i%(each/breaks) == 0 {
					log.Break(app, errors.New("cut"))
				}
			}
		})
	}
	wg.Wait()
	var want []string
	for e, err := range log.Range(t.Context(), app, ch, 0, 2*publishers*each) {
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, e.ID)
	}
	for i := range got {
		if diff := cmp.Diff(want, got[i]); diff != "" {
			t.Errorf("client %d (-want +got):\n%s", i, diff)
		}
	}
}

// come visits the node again and again until the client has had total events, and returns them.
func come(ctx context.Context, t *testing.T, n *broker.Node, log *brokertest.Memory, at broker.Position, total, client int) []string {
	var had []string
	for visit := 0; len(had) < total; visit++ {
		f, err := n.Feed(ctx, app)
		if err != nil {
			t.Errorf("feed: %v", err)
			return had
		}
		c := &stressed{wake: make(chan struct{}, 1)}
		s, seam, err := f.Subscribe(ch, broker.SocketID(fmt.Sprint(client, ".", visit)), c)
		if errors.Is(err, broker.ErrBroken) {
			f.Release()
			continue
		}
		if err != nil {
			t.Errorf("subscribe: %v", err)
			return had
		}
		for e, err := range log.Range(ctx, app, ch, at.Serial, seam.Serial) {
			if err != nil {
				t.Errorf("range: %v", err)
				return had
			}
			had = append(had, e.ID)
		}
		at = seam
		s.Open(0)
		stay := min(visit%5*(client+1), total-len(had))
		if err := c.await(ctx, stay); err != nil {
			t.Errorf("client %d waits for %d more, has %d of %d: %v", client, stay, len(had)+len(c.got()), total, err)
		}
		s.Close()
		for _, d := range c.deliveries { // none is added once Close has returned
			had = append(had, d.Event.ID)
			at = d.Event.Position
		}
		f.Release()
		if ctx.Err() != nil {
			return had
		}
	}
	return had
}
