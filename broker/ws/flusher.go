package ws

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

const (
	// scratchBytes is the most that one write merges.
	scratchBytes = 64 << 10

	// writeTimeout is how long a socket may take nothing at all before it is given up.
	writeTimeout = 30 * time.Second

	// restFactor is how much longer than it took a pass of a flusher keeps the next one away.
	restFactor = 8

	// shortestRest is the shortest rest worth taking: timers aren't finer.
	shortestRest = time.Millisecond
)

// flusher writes what the queues of its connections hold. It goes from one to the next and never
// blocks: a socket that takes nothing is left to a goroutine of its own until it takes again.
//
// Writes are what a delivery costs, so under load it pays to let frames gather. After a pass the
// flusher rests for a multiple of the time the pass took, up to the interval: a node that has
// little to say says it at once, one with much to say has an eighth of a core's time for writing
// before it starts to merge. Where the rest brings nothing together, because each connection is told
// something now and then only, it is shortened: it would only be latency.
type flusher struct {
	interval time.Duration // longest rest, counted from the start of the pass before
	metrics  *metrics
	pace     *broker.Writer // nil where nothing keeps fan-out back
	sum      *sum           // of the queues that are written
	wake     chan struct{}  // something is ready
	hurried  chan struct{}  // somebody waits for what is ready

	mu      sync.Mutex
	ready   []*conn // guarded by mu; queues that have this flusher for a writer, and it doesn't know
	writing bool    // guarded by mu; a pass is under way

	blocked sync.WaitGroup // goroutines that write on slow sockets; run waits for them

	// What follows is owned by run.

	longest time.Duration // rest at present, at most interval
	spare   []*conn
	scratch []byte
	attempt func(fd uintptr) bool // writes buf; made once, because a closure for each write would be garbage
	buf     []byte
	n       int
	full    bool
	err     error
}

func newFlusher(interval time.Duration, p *broker.Pace, all *sum, m *metrics) *flusher {
	f := &flusher{
		interval: interval,
		longest:  interval,
		metrics:  m,
		sum:      all,
		wake:     make(chan struct{}, 1),
		hurried:  make(chan struct{}, 1),
		scratch:  make([]byte, scratchBytes),
	}
	f.pace = p.Writer(f.hurry)
	f.attempt = func(fd uintptr) bool {
		f.n, f.full, f.err = writeDescriptor(fd, f.buf)
		return true // whatever came of it: waiting is not for the flusher
	}
	return f
}

// add makes the flusher the writer of a connection's queue. It never blocks.
func (f *flusher) add(c *conn) {
	f.mu.Lock()
	f.ready = append(f.ready, c)
	first := len(f.ready) == 1
	f.mu.Unlock()
	if first {
		poke(f.wake)
	}
}

// hurry ends the flusher's rest, and says whether it has nothing to do. It never blocks.
func (f *flusher) hurry() (idle bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.ready) > 0 {
		poke(f.hurried)
	}
	return len(f.ready) == 0 && !f.writing
}

// run writes until ctx ends, and returns when nobody writes any more.
func (f *flusher) run(ctx context.Context) {
	defer f.blocked.Wait()
	rest := time.NewTimer(time.Hour)
	defer rest.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		started := time.Now()
		f.pass()
		took := time.Since(started)
		left := min(restFactor*took, f.longest) - took
		if left < shortestRest {
			continue
		}
		rest.Reset(left)
		select {
		case <-ctx.Done():
			return
		case <-rest.C:
		case <-f.hurried:
		}
	}
}

// pass writes for every connection that is ready.
func (f *flusher) pass() {
	f.pace.Begin()
	f.mu.Lock()
	ready := f.ready
	f.ready = f.spare[:0]
	f.writing = true
	f.mu.Unlock()
	var t tally
	for _, c := range ready {
		f.flush(c, &t)
	}
	f.mu.Lock()
	f.writing = false
	f.mu.Unlock()
	f.pace.End()
	f.adapt(t)
	t.report(f.metrics)
	clear(ready)
	f.spare = ready
	if cap(ready) > maxSpare {
		f.spare = nil
	}
}

// adapt makes the longest rest longer when writes had five frames for four or more to merge, else
// shorter, down to none. What gathers during a pass is merged anyway, so the flusher learns of it when
// resting would pay again.
func (f *flusher) adapt(t tally) {
	if t.writes == 0 {
		return
	}
	if 4*t.frames >= 5*t.writes {
		f.longest = min(max(2*f.longest, 2*shortestRest), f.interval)
		return
	}
	f.longest /= 2
}

// maxSpare keeps the list of one great fan-out from being kept for ever.
const maxSpare = 1 << 17

// flush writes until the queue is empty or the socket full.
func (f *flusher) flush(c *conn, t *tally) {
	if c.raw == nil {
		f.blocked.Go(func() { f.writePlain(c) })
		return
	}
	for n := 0; ; {
		buf, frames, ended := c.queue.next(n, f.scratch, true)
		t.frames += frames
		if buf == nil {
			if ended {
				c.endOutput()
			}
			return
		}
		f.buf = buf
		if err := c.raw.Write(f.attempt); err != nil {
			f.err = err
		}
		f.buf = nil
		switch {
		case f.err != nil:
			f.err = nil
			c.fail(WriteFailed)
			return
		case f.full:
			f.full = false
			c.queue.pause()
			f.blocked.Go(func() { f.writeBlocked(c) })
			return
		}
		n = f.n
		t.writes++
		t.bytes += n
	}
}

// writeBlocked writes on a socket that was full until the queue is empty. The buffer is there
// only while the socket takes something: a stalled client costs its queue and a goroutine.
func (f *flusher) writeBlocked(c *conn) {
	f.metrics.blocked.Inc()
	defer f.metrics.blocked.Dec()
	var t tally
	defer func() { t.report(f.metrics) }()
	for n, done := 0, false; !done; {
		_ = c.SetWriteDeadline(time.Now().Add(writeTimeout)) // an error means that it is closed, and Write says so
		var fault error
		err := c.raw.Write(func(fd uintptr) bool {
			scratch := scratches.Get().(*[scratchBytes]byte)
			defer scratches.Put(scratch)
			buf, frames, _ := c.queue.next(n, scratch[:], false)
			n = 0
			t.frames += frames
			if buf == nil {
				done = true
				return true
			}
			var full bool
			if n, full, fault = writeDescriptor(fd, buf); full {
				c.queue.pause()
				return false
			}
			t.writes++
			t.bytes += n
			return true
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.fail(WriteTimeout)
			return
		case err != nil || fault != nil:
			c.fail(WriteFailed)
			return
		case !done:
			continue
		}
		// The flusher must not find a deadline that has passed, so it goes before the queue does.
		_ = c.SetWriteDeadline(time.Time{})
		empty, ended := c.queue.release()
		if ended {
			c.endOutput()
		}
		done = empty
	}
}

// writePlain writes on a connection without a descriptor until the queue is empty.
func (f *flusher) writePlain(c *conn) {
	var t tally
	defer func() { t.report(f.metrics) }()
	scratch := scratches.Get().(*[scratchBytes]byte)
	defer scratches.Put(scratch)
	for n := 0; ; {
		buf, frames, ended := c.queue.next(n, scratch[:], true)
		t.frames += frames
		if buf == nil {
			if ended {
				c.endOutput()
			}
			return
		}
		_ = c.SetWriteDeadline(time.Now().Add(writeTimeout)) // an error means that it is closed, and Write says so
		var err error
		if n, err = c.Conn.Write(buf); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.fail(WriteTimeout)
			} else {
				c.fail(WriteFailed)
			}
			return
		}
		t.writes++
		t.bytes += n
	}
}

var scratches = sync.Pool{New: func() any { return new([scratchBytes]byte) }}

// tally adds up what was written, so that the shared counters are touched once for many writes.
type tally struct{ writes, frames, bytes int }

func (t *tally) report(m *metrics) {
	m.writes.Add(float64(t.writes))
	m.frames.Add(float64(t.frames))
	m.bytes.Add(float64(t.bytes))
}
