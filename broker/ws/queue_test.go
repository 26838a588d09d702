package ws

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/playhead/playhead/broker"
)

// take takes everything out as a writer does that gets at most chunk bytes accepted at a time.
func take(q *queue, chunk int) string {
	var out bytes.Buffer
	scratch := make([]byte, 64)
	for n := 0; ; {
		buf, _, _ := q.next(n, scratch, true)
		if buf == nil {
			return out.String()
		}
		n = min(chunk, len(buf))
		out.Write(buf[:n])
	}
}

// However little a socket takes at a time, the bytes come out in order and whole.
func TestQueueKeepsOrder(t *testing.T) {
	t.Parallel()
	for chunk := 1; chunk < 200; chunk += 3 {
		q := &queue{sum: new(sum), limit: 1 << 20}
		var want strings.Builder
		for i := range 100 {
			frame := strings.Repeat(fmt.Sprint(i, "."), i%40+1)
			want.WriteString(frame)
			q.push([]byte(frame))
		}
		if got := take(q, chunk); got != want.String() {
			t.Fatalf("%d bytes at a time: %q", chunk, got)
		}
		if q.size() != 0 || q.frames != nil {
			t.Fatalf("empty queue holds %d bytes, %v", q.size(), q.frames)
		}
	}
}

func TestQueueHasOneWriter(t *testing.T) {
	t.Parallel()
	q := &queue{sum: new(sum), limit: 100}
	if wake, _ := q.push([]byte("a")); !wake {
		t.Error("first frame finds no writer")
	}
	if wake, _ := q.push([]byte("b")); wake {
		t.Error("second frame finds a second writer")
	}
	if got := take(q, 10); got != "ab" {
		t.Errorf("wrote %q", got)
	}
	if wake, _ := q.push([]byte("c")); !wake {
		t.Error("frame after the writer has gone finds none")
	}
}

func TestQueueLimit(t *testing.T) {
	t.Parallel()
	q := &queue{sum: new(sum), limit: 100}
	if _, fits := q.push(make([]byte, 1000)); !fits {
		t.Error("a frame alone must fit")
	}
	if _, fits := q.push([]byte("x")); fits {
		t.Error("a frame beyond the limit fits")
	}
	take(q, 10_000)
	for i := range 4 {
		if _, fits := q.push([]byte("x")); !fits {
			t.Errorf("frame %d of 25 bytes does not fit into 100", i)
		}
	}
	if _, fits := q.push([]byte("x")); fits {
		t.Error("frame 5 of 25 bytes fits into 100")
	}
}

// A seal that drops keeps what is partly written, and what the writer has in its hands.
func TestQueueSeal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		written int  // of aaaa bbbb cccc
		taken   bool // while the writer writes the rest of the scratch
		drop    bool
		last    string
		want    string
		dropped int
	}{
		{name: "nothing written", drop: true, last: "!", want: "!", dropped: 3},
		{name: "nothing written or said", drop: true, want: "", dropped: 3},
		{name: "within a frame", written: 2, drop: true, last: "!", want: "aa!", dropped: 2},
		{name: "between frames", written: 4, drop: true, last: "!", want: "!", dropped: 2},
		{name: "in the writer's hands", written: 2, taken: true, drop: true, last: "!", want: "aabbbb!", dropped: 1},
		{name: "all is kept", written: 2, last: "!", want: "aabbbbcccc!"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			q := &queue{sum: new(sum), limit: 100}
			for _, f := range []string{"aaaa", "bbbb", "cccc"} {
				q.push([]byte(f))
			}
			scratch := make([]byte, 8)
			q.next(0, scratch, false)
			q.next(test.written, scratch, false)
			if !test.taken {
				q.pause()
			}
			told := false
			_, first, dropped := q.seal("x", bytesOf(test.last), test.drop, func() { told = true })
			if !first || !told || dropped != test.dropped {
				t.Errorf("first %v, told %v, dropped %d, want %d", first, told, dropped, test.dropped)
			}
			if _, again, _ := q.seal("y", []byte("?"), true, func() { t.Error("told twice") }); again {
				t.Error("a second seal counts")
			}
			if _, fits := q.push([]byte("late")); !fits {
				t.Error("a late frame looks like a slow reader")
			}
			if got := take(q, 100); got != test.want {
				t.Errorf("wrote %q, want %q", got, test.want)
			}
			if _, _, ended := q.next(0, scratch, true); !ended || q.size() != 0 || q.reason() != "x" {
				t.Errorf("ended %v, %d bytes, reason %s", ended, q.size(), q.reason())
			}
		})
	}
}

func bytesOf(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

func TestQueueFail(t *testing.T) {
	t.Parallel()
	q := &queue{sum: new(sum), limit: 1000}
	q.push([]byte("aaaa"))
	q.push([]byte("bbbb"))
	wait, _ := q.await(0)
	if dropped := q.fail(WriteFailed); dropped != 2 || q.size() != 0 || q.reason() != WriteFailed {
		t.Errorf("dropped %d, %d bytes left, reason %s", dropped, q.size(), q.reason())
	}
	<-wait
	if wake, _ := q.push([]byte("c")); wake {
		t.Error("a failed queue asks for a writer")
	}
	// The writer that was at it finds nothing more to do.
	if buf, _, ended := q.next(4, nil, true); buf != nil || !ended {
		t.Errorf("next after the failure: %q, %v", buf, ended)
	}
}

func TestQueueAwait(t *testing.T) {
	t.Parallel()
	q := &queue{sum: new(sum), limit: 1000}
	for range 10 {
		q.push([]byte("x"))
	}
	level := 5 * (1 + frameCost)
	wait, _ := q.await(level)
	scratch := make([]byte, 2) // two frames at a time
	for n, left := 0, 10; left > 5; left -= n {
		select {
		case <-wait:
			t.Fatalf("told with %d frames left", left)
		default:
		}
		buf, _, _ := q.next(n, scratch, false)
		n = len(buf)
	}
	q.next(2, scratch, false)
	<-wait
	if wait, _ := q.await(level); wait != nil {
		t.Error("waits for what is so already")
	}
	// Dropping what waits also makes room.
	wait, _ = q.await(0)
	q.pause()
	q.seal("x", nil, true, func() {})
	<-wait
}

// A backlog that never empties does not grow its list for ever.
func TestQueueCompacts(t *testing.T) {
	t.Parallel()
	q := &queue{sum: new(sum), limit: 1 << 20}
	scratch := make([]byte, 4)
	q.push([]byte("xx"))
	for range 10_000 {
		q.push([]byte("xx"))
		buf, _, _ := q.next(0, scratch[:3], false)
		q.next(len(buf), scratch[:3], false)
	}
	if got := cap(q.frames.frames); got > 64 {
		t.Errorf("room for %d frames where two wait", got)
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 125, 126, 65_535, 65_536, 70_000} {
		payload := strings.Repeat("x", n)
		b := textFrame(append(reserve(n), payload...))
		length, whole := frameLen(b)
		if !whole || length != len(b) || !strings.HasSuffix(string(b), payload) || b[0] != final|opText {
			t.Errorf("payload of %d: frame of %d, length %d, %v", n, len(b), length, whole)
		}
		for cut := range min(len(b), 200) {
			if _, whole := frameLen(b[:cut]); whole {
				t.Fatalf("payload of %d: %d bytes are taken for a frame", n, cut)
			}
		}
	}
}

// What the library writes in pieces is queued when it is whole.
func TestLibraryFramesAreCollected(t *testing.T) {
	t.Parallel()
	c := &conn{flusher: newFlusher(0, nil, new(sum), start(t, nil).server.metrics)}
	c.queue.limit = 1 << 20
	stream := "\x8a\x03abc" + "\x8a\x00" + "\x88\x02\x03\xe8" + "\x8a\x01z"
	for i := range len(stream) {
		if n, err := c.Write([]byte(stream[i : i+1])); n != 1 || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
		if i == 3 && c.queue.size() != 0 {
			t.Error("part of a frame is queued")
		}
	}
	if got := take(&c.queue, 100); got != stream[:len(stream)-3] {
		t.Errorf("queued %q; nothing may follow a close frame", got)
	}
	if c.queue.reason() != broker.Reason("") {
		t.Errorf("reason %s", c.queue.reason())
	}
}
