package replay

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// A turn that comes at the moment its waiter leaves goes on to the next.
func TestTurnForWhoLeaves(t *testing.T) {
	t.Parallel()
	turns := newTurns(1, newMetrics(prometheus.NewRegistry()))
	for range 300 {
		if err := turns.take(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		took := make(chan error)
		go func() { took <- turns.take(ctx, "a", 0) }()
		for turns.waiting("a") == 0 {
			select {
			case err := <-took:
				t.Fatalf("took a second turn: %v", err)
			default:
			}
		}
		turns.mu.Lock()
		cancel() // it finds the lock taken
		turns.pass()
		turns.mu.Unlock()
		if err := <-took; err == nil {
			turns.done()
		}
		turns.mu.Lock()
		free := turns.free
		turns.mu.Unlock()
		if free != 1 {
			t.Fatalf("%d turns are free, want 1", free)
		}
	}
}
