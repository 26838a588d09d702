package broker

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// Pace keeps fan-out from running away from the writing on sockets: of the events that feeds have put
// into queues, only so many may be ones that a writer has yet to write. Beyond that feeds wait before
// they take the next event off their tails. So what a node can't write in time waits where it is safe
// and takes no memory, in the log, and a full queue says that its reader is slow, not that the node is.
// A nil Pace keeps nobody. Its methods are safe for concurrent use.
type Pace struct {
	ahead   uint64        // events that may be unwritten
	fanned  atomic.Uint64 // events fanned out so far
	written atomic.Uint64 // events up to here were written when somebody last looked
	waiting atomic.Int32  // feeds that wait

	mu      sync.Mutex    // no other lock of the node is held under it; writers' locks are
	writers []*Writer     // guarded by mu
	moved   chan struct{} // guarded by mu; closed when a writer has ended a pass
}

// Writer is one that writes what feeds have queued, in passes: each writes at least what was queued
// when it began. Begin and End are called by one goroutine.
type Writer struct {
	pace    *Pace
	hurry   func() (idle bool)
	begun   uint64        // events fanned out when the present pass began
	written atomic.Uint64 // the same of the last pass that ended
}

// NewPace returns a pace at which so many events may be fanned out and not written. Error: less than 1.
func NewPace(ahead int) (*Pace, error) {
	if ahead < 1 {
		return nil, fmt.Errorf("pace: %d events ahead; the least is 1", ahead)
	}
	return &Pace{ahead: uint64(ahead), moved: make(chan struct{})}, nil
}

// Writer counts a writer in, for good. Hurry is called while a feed waits: it has a writer that rests
// begin its pass, and says whether there is nothing to write and no pass under way. It must not block.
// The Writer of a nil Pace is nil, and its methods do nothing.
func (p *Pace) Writer(hurry func() (idle bool)) *Writer {
	if p == nil {
		return nil
	}
	w := &Writer{pace: p, hurry: hurry}
	w.written.Store(p.fanned.Load())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writers = append(p.writers, w)
	return w
}

// Begin is called before a writer takes up what is queued.
func (w *Writer) Begin() {
	if w != nil {
		w.begun = w.pace.fanned.Load()
	}
}

// End is called when all that has been taken up is written.
func (w *Writer) End() {
	if w == nil {
		return
	}
	w.written.Store(w.begun)
	p := w.pace
	if p.waiting.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.moved)
	p.moved = make(chan struct{})
}

// keep counts an event that has been fanned out, and waits while too many are unwritten or until ctx
// ends. It reports whether it had to. It is called without any lock.
func (p *Pace) keep(ctx context.Context) (waited bool) {
	if p == nil {
		return false
	}
	mine := p.fanned.Add(1)
	if mine < p.written.Load()+p.ahead {
		return false
	}
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	for {
		written, moved := p.look()
		if mine < written+p.ahead {
			return waited
		}
		waited = true
		select {
		case <-moved:
		case <-ctx.Done():
			return waited
		}
	}
}

// look finds out up to which event everything is written, and hurries the writers that are behind.
func (p *Pace) look() (written uint64, moved <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Taken before the writers are asked: what is fanned out after may be in a queue that was empty.
	written = p.fanned.Load()
	for _, w := range p.writers {
		if !w.hurry() {
			written = min(written, w.written.Load())
		}
	}
	written = max(written, p.written.Load()) // an idle writer may have got something since
	p.written.Store(written)
	return written, p.moved
}
