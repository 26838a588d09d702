package ws

import (
	"sync"

	"github.com/playhead/playhead/broker"
)

// queue holds what is to be written on one socket: whole, immutable frames, most of them shared
// with other queues, in the order in which they go out. At any time at most one goroutine, the
// queue's writer, takes from it and writes; whoever finds the queue without a writer sees to it
// that it gets one. No lock is held while the writer writes.
type queue struct {
	limit int  // bytes of waiting frames over which the reader on the other side is too slow
	sum   *sum // what waits in all queues together

	mu         sync.Mutex
	frames     *frameList    // guarded by mu; nil when nothing waits
	bytes      int           // guarded by mu; cost of what waits
	counted    int           // guarded by mu; how much of that the sum knows of, in whole steps
	offset     int           // guarded by mu; bytes of the first frame that are written
	taken      int           // guarded by mu; bytes the writer is writing now
	written    bool          // guarded by mu; has a writer, or waits for its flusher to be it
	sealed     bool          // guarded by mu; takes no more frames
	why        broker.Reason // guarded by mu; why it is sealed
	waiter     chan struct{} // guarded by mu; nil, or closed once bytes is down to waterline
	waterline  int           // guarded by mu
	progressed uint64        // guarded by mu; all bytes ever written
}

// frameCost is what a waiting frame takes beside its bytes: its place in the list.
const frameCost = 24

// push appends a frame. wake says that the queue has no writer and now needs one. It doesn't fit
// when more than the limit would wait; a frame that would wait alone always fits, so that the
// limit is never below the largest message. Frames after the seal are dropped, and fit.
func (q *queue) push(frame []byte) (wake, fits bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sealed {
		return false, true
	}
	if q.bytes > 0 && q.bytes+len(frame)+frameCost > q.limit {
		return false, false
	}
	q.append(frame)
	return q.wantWriter(), true
}

// append adds a frame to the list. It is called with q.mu held.
func (q *queue) append(frame []byte) {
	if q.frames == nil {
		q.frames = newFrameList()
	}
	q.frames.push(frame)
	q.bytes += len(frame) + frameCost
	q.count()
}

// count tells the sum what waits. It is called with q.mu held, whenever bytes has changed.
func (q *queue) count() {
	if now := q.bytes / sumStep * sumStep; now != q.counted {
		q.sum.add(now - q.counted)
		q.counted = now
	}
}

// wantWriter reports whether the caller must find the queue a writer. It is called with q.mu held.
func (q *queue) wantWriter() bool {
	if q.written {
		return false
	}
	q.written = true
	return true
}

// seal appends the last frames, if any, and refuses all later ones. With drop, what waits before
// them goes, but for the frame whose first bytes are written and what the writer has in its hands.
// Only the first seal counts (first), and only it calls then, with the lock held: whoever sees the
// seal sees what then did. dropped is the number of frames that went.
func (q *queue) seal(why broker.Reason, last []byte, drop bool, then func()) (wake, first bool, dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sealed {
		return false, false, 0
	}
	q.sealed, q.why = true, why
	if drop && q.frames != nil {
		freed, n := q.frames.truncate(q.offset + q.taken)
		q.bytes -= freed + n*frameCost
		dropped = n
		if len(q.frames.waiting()) == 0 {
			q.frames.free()
			q.frames = nil
		}
	}
	if last != nil {
		q.append(last)
	}
	q.count()
	q.tellWaiter()
	then()
	return q.wantWriter(), true, dropped
}

// next is the writer's: it takes written bytes off the front and returns the next bytes to write,
// or nil when there are none; then, with release, the writer is the writer no more. Several frames
// are merged into scratch; one alone, or one too large for it, is returned as it is. Only whole
// frames are taken. frames is the number of frames that written has completed; ended says that
// all is written up to the seal.
func (q *queue) next(written int, scratch []byte, release bool) (buf []byte, frames int, ended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	frames = q.advance(written)
	q.taken = 0
	q.tellWaiter()
	if q.frames == nil {
		if release {
			q.written = false
		}
		return nil, frames, q.sealed
	}
	waiting := q.frames.waiting()
	buf = waiting[0][q.offset:]
	if len(waiting) > 1 && len(buf)+len(waiting[1]) <= len(scratch) {
		n := copy(scratch, buf)
		for _, f := range waiting[1:] {
			if len(f) > len(scratch)-n {
				break
			}
			n += copy(scratch[n:], f)
		}
		buf = scratch[:n]
	}
	q.taken = len(buf)
	return buf, frames, false
}

// release is the writer's: it is the writer no more if nothing waits, and goes on otherwise.
func (q *queue) release() (empty, ended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.frames != nil {
		return false, false
	}
	q.written = false
	return true, q.sealed
}

// pause tells the queue that of what was taken nothing was written and nothing is being written.
func (q *queue) pause() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = 0
}

// advance takes n bytes off the front and returns how many frames that completed. It is called
// with q.mu held.
func (q *queue) advance(n int) (frames int) {
	q.progressed += uint64(n)
	for q.frames != nil && n > 0 {
		first := len(q.frames.waiting()[0])
		if n < first-q.offset {
			q.offset += n
			break
		}
		n -= first - q.offset
		q.offset = 0
		q.bytes -= first + frameCost
		frames++
		if q.frames.pop() == 0 {
			q.frames.free()
			q.frames = nil
		}
	}
	q.count()
	return frames
}

// fail ends the queue: nothing more can be written, so all that waits goes.
func (q *queue) fail(why broker.Reason) (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.sealed {
		q.sealed, q.why = true, why
	}
	if q.frames != nil {
		dropped = len(q.frames.waiting())
		q.frames.free()
		q.frames = nil
	}
	q.bytes, q.offset, q.taken = 0, 0, 0
	q.count()
	q.written = false
	q.tellWaiter()
	return dropped
}

// await returns a channel that is closed once no more than level bytes wait, or nil when that is
// so now, and how many bytes were written by now. There is one waiter at a time.
func (q *queue) await(level int) (drained <-chan struct{}, written uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes <= level {
		return nil, q.progressed
	}
	q.waiter, q.waterline = make(chan struct{}), level
	return q.waiter, q.progressed
}

// progress returns how many bytes were written by now.
func (q *queue) progress() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.progressed
}

// tellWaiter is called with q.mu held.
func (q *queue) tellWaiter() {
	if q.waiter != nil && q.bytes <= q.waterline {
		close(q.waiter)
		q.waiter = nil
	}
}

// closed reports whether the queue is sealed.
func (q *queue) closed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.sealed
}

// reason returns why the queue was sealed, empty when the library did it.
func (q *queue) reason() broker.Reason {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.why
}

// size returns the bytes that wait.
func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

// frameList is a list of frames. An idle connection has none; lists go around between those that
// have something to say. The first frames have their places beside the header, because a fan-out
// touches thousands of lists and each cache line counts.
type frameList struct {
	frames [][]byte
	first  int
	near   [16][]byte
}

var frameLists = sync.Pool{New: func() any { return new(frameList) }}

func newFrameList() *frameList {
	l := frameLists.Get().(*frameList)
	l.frames = l.near[:0]
	return l
}

// free gives the list back; it must not be used after.
func (l *frameList) free() {
	*l = frameList{}
	frameLists.Put(l)
}

func (l *frameList) waiting() [][]byte { return l.frames[l.first:] }

func (l *frameList) push(frame []byte) {
	if len(l.frames) == cap(l.frames) && l.first > len(l.frames)/2 {
		n := copy(l.frames, l.frames[l.first:])
		clear(l.frames[n:])
		l.frames, l.first = l.frames[:n], 0
	}
	l.frames = append(l.frames, frame)
}

// pop takes the first frame off and returns how many are left.
func (l *frameList) pop() (left int) {
	l.frames[l.first] = nil
	l.first++
	return len(l.frames) - l.first
}

// truncate keeps the frames that the first keep bytes touch and drops the others. It returns how
// many bytes and frames went.
func (l *frameList) truncate(keep int) (bytes, dropped int) {
	end := l.first
	for ; end < len(l.frames) && keep > 0; end++ {
		keep -= len(l.frames[end])
	}
	for i := end; i < len(l.frames); i++ {
		bytes += len(l.frames[i])
		l.frames[i] = nil
	}
	dropped = len(l.frames) - end
	l.frames = l.frames[:end]
	return bytes, dropped
}
