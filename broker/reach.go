package broker

import (
	"context"
	"slices"
)

// arrival is somebody who waits for the cursor to reach a serial.
type arrival struct {
	serial  uint64
	reached bool          // guarded by feed.mu
	over    chan struct{} // closed when the cursor is there or the feed has ended
}

// Reach waits until the feed's cursor has reached p, a position that a client was given by a node
// which was ahead of this one. It returns true when it has; false when ctx or the feed ended first,
// and at once when p isn't of the log that the feed tails.
func (f *Feed) Reach(ctx context.Context, p Position) bool {
	f.mu.Lock()
	switch {
	case p.Epoch != f.cursor.Epoch:
		f.mu.Unlock()
		return false
	case p.Serial <= f.cursor.Serial || f.broken:
		defer f.mu.Unlock()
		return p.Serial <= f.cursor.Serial
	}
	a := &arrival{serial: p.Serial, over: make(chan struct{})}
	f.arrivals = append(f.arrivals, a)
	f.mu.Unlock()
	select {
	case <-a.over:
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(f.arrivals, a); i >= 0 {
		f.arrivals = slices.Delete(f.arrivals, i, i+1)
	}
	return a.reached
}

// arrive tells those who wait for the cursor, or all of them that the feed has ended. It is called
// with mu held.
func (f *Feed) arrive() {
	f.arrivals = slices.DeleteFunc(f.arrivals, func(a *arrival) bool {
		a.reached = a.serial <= f.cursor.Serial
		if a.reached || f.broken {
			close(a.over)
			return true
		}
		return false
	})
}
