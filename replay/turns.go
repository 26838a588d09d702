package replay

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

// turns admits readers of the log, a few at a time and fairly over apps: those of one app in the
// order they came, one app after the other. However many clients of one app return at once, the only
// one of another waits for a few reads.
type turns struct {
	metrics *metrics

	mu     sync.Mutex
	free   int                       // guarded by mu; how many more may read
	queues map[broker.AppID]*waiters // guarded by mu; of apps somebody waits for
	order  list.List                 // guarded by mu; these queues, the one whose turn it is in front
}

// waiters are those who wait for a turn of one app. Guarded by turns.mu.
type waiters struct {
	app   broker.AppID
	place *list.Element // in turns.order
	list  list.List     // of *waiter, the first to come in front
}

// waiter is somebody who waits.
type waiter struct {
	turn chan struct{} // closed when it is the waiter's
}

func newTurns(free int, m *metrics) *turns {
	return &turns{metrics: m, free: free, queues: map[broker.AppID]*waiters{}}
}

// take waits for a turn, until ctx ends or for that long; 0: however long. Whoever got one calls done.
func (t *turns) take(ctx context.Context, app broker.AppID, most time.Duration) error {
	began := time.Now()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for a turn: %w", err)
	}
	t.mu.Lock()
	if t.free > 0 { // then nobody waits
		t.free--
		t.mu.Unlock()
		t.took(began)
		return nil
	}
	w := &waiter{turn: make(chan struct{})}
	q := t.queues[app]
	if q == nil {
		q = &waiters{app: app}
		q.place = t.order.PushBack(q)
		t.queues[app] = q
	}
	place := q.list.PushBack(w)
	t.mu.Unlock()
	waiting := t.metrics.waiting.WithLabelValues(string(app))
	waiting.Inc()
	defer waiting.Dec()

	if most > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, most)
		defer cancel()
	}
	select {
	case <-w.turn:
		t.took(began)
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-w.turn: // at the same moment; somebody else shall have it
		t.pass()
	default:
		q.list.Remove(place)
		if q.list.Len() == 0 {
			t.forget(q)
		}
	}
	t.metrics.waitSeconds.Observe(time.Since(began).Seconds())
	return fmt.Errorf("wait for a turn: %w", ctx.Err())
}

func (t *turns) took(began time.Time) {
	t.metrics.waitSeconds.Observe(time.Since(began).Seconds())
	t.metrics.reading.Inc()
}

// done gives a turn back.
func (t *turns) done() {
	t.metrics.reading.Dec()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pass()
}

// pass gives a turn to the next in line. It is called with mu held.
func (t *turns) pass() {
	front := t.order.Front()
	if front == nil {
		t.free++
		return
	}
	q := front.Value.(*waiters)
	close(q.list.Remove(q.list.Front()).(*waiter).turn)
	if q.list.Len() == 0 {
		t.forget(q)
	} else {
		t.order.MoveToBack(front)
	}
}

// forget takes out a queue in which nobody waits any more. It is called with mu held.
func (t *turns) forget(q *waiters) {
	t.order.Remove(q.place)
	delete(t.queues, q.app)
}

// waiting returns how many wait for a turn of the app.
func (t *turns) waiting(app broker.AppID) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q := t.queues[app]; q != nil {
		return q.list.Len()
	}
	return 0
}
