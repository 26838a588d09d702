package ws

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/playhead/playhead/broker"
)

// Sizes of the buffers that the library gets. It keeps them for as long as the connection lives, so
// they are small: with a descriptor what comes is read by [conn.fill], and the library's buffer is
// for headers only; and all it writes of its own are close frames, which are put together here.
const (
	readBuffer       = 64
	readBufferNoFill = 512
	writeBuffer      = 16
)

// sendBuffer is what the kernel may hold for one socket, in bytes. Left to itself it would take
// megabytes for a client that has stopped reading, and that client would be noticed so much later.
const sendBuffer = 64 << 10

// conn is a client's connection. To the WebSocket library it is the [net.Conn] it reads and
// answers on; to everybody else it is where frames are sent. All that is written, the library's
// closes included, goes through the queue.
type conn struct {
	net.Conn // the connection as net/http handed it over; written to by the queue's writer only

	raw     syscall.RawConn // the descriptor; nil where bytes can't be moved straight on it
	flusher *flusher        // writes what the queue holds
	queue   queue
	clock   *atomic.Uint32 // the heartbeat's
	heard   atomic.Uint32  // when a byte last came, by clock

	library *bufio.Reader // owned by the reader; what the library has read ahead
	sieve   sieve         // owned by the reader
	early   []byte        // owned by the reader; has come, and the library hasn't read it yet
	partial []byte        // owned by the reader; the beginning of a frame that the library writes
	lost    bool          // owned by the reader; a read has failed
}

// socket is a connection with a descriptor to write on and to shut down.
type socket interface {
	net.Conn
	syscall.Conn
	CloseRead() error
	CloseWrite() error
}

// init takes over a connection and the bytes already read from it.
func (c *conn) init(under net.Conn, early []byte, f *flusher, clock *atomic.Uint32, limit int) {
	c.Conn, c.early, c.flusher, c.clock = under, early, f, clock
	c.queue.limit, c.queue.sum = limit, f.sum
	c.heard.Store(clock.Load())
	if tcp, ok := c.socket().(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // a wish; without it slow readers are only noticed later
	}
	if s, ok := under.(socket); ok && hasDescriptors {
		if raw, err := s.SyscallConn(); err == nil {
			c.raw = raw
		}
	}
}

// Read is the library's. It waits for input when there is none, and leaves out pings and pongs.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.early) == 0 {
		n, err := c.Conn.Read(p)
		if c.sieve.left >= uint64(n) && n > 0 { // within a frame, as most of a large one is
			c.heard.Store(c.clock.Load())
			c.sieve.left -= uint64(n)
			return n, nil
		}
		err = c.take(p[:n], err)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // between two fragments the other would pass for the end of the message
		}
		if err != nil {
			return 0, err
		}
	}
	n := copy(p, c.early)
	if c.early = c.early[n:]; len(c.early) == 0 {
		c.early = nil
	}
	return n, nil
}

// fill reads what has come without waiting for more. It is for connections with a descriptor. more
// says that there may be more than it has read.
func (c *conn) fill() (more bool, err error) {
	buf := inputs.Get().(*[inputBytes]byte)
	defer inputs.Put(buf)
	n, empty := 0, false
	var fault error
	err = c.raw.Read(func(fd uintptr) bool {
		n, empty, fault = readDescriptor(fd, buf[:])
		return true // whatever came of it: waiting is not for us
	})
	switch {
	case err == nil && empty:
		return false, nil
	case err == nil:
		err = fault
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n == len(buf), c.take(buf[:n], err)
}

// overhear waits for input and keeps it, for a session whose reader has something else to do. It holds
// no buffer while it waits.
func (c *conn) overhear() error {
	if c.raw == nil {
		var buf [512]byte
		n, err := c.Conn.Read(buf[:])
		if errors.Is(err, os.ErrDeadlineExceeded) && n == 0 {
			return err // the connection is as good as before
		}
		return c.take(buf[:n], err)
	}
	var taken error
	err := c.raw.Read(func(fd uintptr) bool {
		buf := inputs.Get().(*[inputBytes]byte)
		defer inputs.Put(buf)
		n, empty, fault := readDescriptor(fd, buf[:])
		if empty && fault == nil {
			return false
		}
		if n == 0 && fault == nil {
			fault = io.EOF
		}
		taken = c.take(buf[:n], fault)
		return true
	})
	if err != nil {
		return err
	}
	return taken
}

// take takes in what was read, together with what the read ended with. Whatever has come is a sign
// of life.
func (c *conn) take(in []byte, err error) error {
	if len(in) == 0 {
		c.lost = c.lost || err != nil
		return err
	}
	c.heard.Store(c.clock.Load())
	return c.sift(in)
}

// sift takes pings and pongs out of what was read, answers the pings, and leaves the rest in early
// for the library.
func (c *conn) sift(in []byte) (err error) {
	c.early = c.sieve.sift(c.early, in, func(payload []byte) {
		if !c.send(append([]byte{final | opPong, byte(len(payload))}, payload...)) {
			err = fmt.Errorf("answer a ping: %w", errTooSlow)
		}
	})
	return err
}

// buffered reports whether the library can read something without waiting.
func (c *conn) buffered() bool { return len(c.early) > 0 || c.library.Buffered() > 0 }

const inputBytes = 4 << 10

var inputs = sync.Pool{New: func() any { return new([inputBytes]byte) }}

// Write is the library's, which calls it from the reader only. Bytes are kept until a frame is
// whole; it then takes its place behind those that wait. A close frame seals the queue, but for the
// echo of a reason that is no text, which the library doesn't look at: the session answers that one.
func (c *conn) Write(p []byte) (int, error) {
	c.partial = append(c.partial, p...)
	for {
		n, whole := frameLen(c.partial)
		if !whole {
			return len(p), nil
		}
		frame := append([]byte(nil), c.partial[:n]...)
		if c.partial = c.partial[n:]; len(c.partial) == 0 {
			c.partial = nil
		}
		if frame[0]&0xf == opClose {
			if utf8.Valid(frame[min(4, len(frame)):]) {
				c.seal("", frame, false, func() {})
			}
			continue
		}
		if !c.send(frame) {
			return 0, fmt.Errorf("answer a control frame: %w", errTooSlow)
		}
	}
}

// Close is the library's, and only ends reading: the library closes as soon as it has written its
// close frame, which is then still in the queue. The session closes the socket, with shut.
func (c *conn) Close() error {
	c.wake()
	return nil
}

// send queues a frame; false means that too much waits already.
func (c *conn) send(frame []byte) bool {
	wake, fits := c.queue.push(frame)
	if wake {
		c.flusher.add(c)
	}
	return fits
}

// seal is [queue.seal], and finds the queue a writer.
func (c *conn) seal(why broker.Reason, last []byte, drop bool, then func()) (first bool) {
	wake, first, dropped := c.queue.seal(why, last, drop, then)
	c.flusher.metrics.dropped.Add(float64(dropped))
	if wake {
		c.flusher.add(c)
	}
	return first
}

// fail ends the connection for what went wrong with it: nothing can be written any more.
func (c *conn) fail(why broker.Reason) {
	c.flusher.metrics.dropped.Add(float64(c.queue.fail(why)))
	c.cut()
}

// wake makes a pending Read, and every later one, return.
func (c *conn) wake() {
	_ = c.SetReadDeadline(time.Unix(1, 0)) // an error means that it is closed, and Read returns
}

// endOutput tells the other side that nothing more will come. It may block where there is no
// descriptor, and is called by the writer.
func (c *conn) endOutput() {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite() // an error means that it is closed already
	}
}

// cut ends both directions at once, without closing: whoever reads or writes gets an error and
// lets go, and only then the reader closes. It never blocks.
func (c *conn) cut() {
	under := c.socket()
	if s, ok := under.(socket); ok {
		_ = s.CloseRead() // errors mean that it is closed already
		_ = s.CloseWrite()
		return
	}
	_ = under.Close()
}

// socket returns what is beneath TLS, if that is what the connection is.
func (c *conn) socket() net.Conn {
	if tls, ok := c.Conn.(interface{ NetConn() net.Conn }); ok {
		return tls.NetConn()
	}
	return c.Conn
}

// linger reads and forgets what still comes, until the other side has closed or the time is over.
// Closing a socket with unread input resets it, and the close frame would be lost on the way.
func (c *conn) linger(grace time.Duration) {
	_ = c.SetReadDeadline(time.Now().Add(grace)) // an error means that it is closed, and Read returns
	var discard [512]byte
	for {
		if _, err := c.Conn.Read(discard[:]); err != nil {
			return
		}
	}
}

// shut closes the connection for good. The reader calls it, as the last that uses it.
func (c *conn) shut() {
	c.cut()
	_ = c.Conn.Close() // whatever it says, there is nothing left to do
}

// hijacked is a ResponseWriter that hands a conn over to the library in place of the connection
// of net/http, with small buffers in place of its large ones.
type hijacked struct {
	http.ResponseWriter
	conn *conn
	take func(under net.Conn, early []byte)
}

// Hijack takes the connection from net/http. What the client has sent right behind its handshake
// is in net/http's buffer by now and must not be lost.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	under, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("take over the connection: %w", err)
	}
	var early []byte
	if n := rw.Reader.Buffered(); n > 0 {
		peeked, err := rw.Reader.Peek(n)
		if err != nil {
			return nil, nil, fmt.Errorf("take over the bytes behind the handshake: %w", err)
		}
		early = append(early, peeked...)
	}
	h.take(under, early)
	size := readBuffer
	if h.conn.raw == nil {
		size = readBufferNoFill
	}
	h.conn.library = bufio.NewReaderSize(h.conn, size)
	return h.conn, bufio.NewReadWriter(h.conn.library, bufio.NewWriterSize(h.conn, writeBuffer)), nil
}
