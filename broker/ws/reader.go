package ws

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"
)

// reader takes a session's messages off the connection and has them handled, one after the other.
//
// With a poller it has a goroutine only while there is input: once everything has been handled it
// arms the session and the goroutine ends; input, or [session.rouse], starts another. Without one
// (TLS, memory, other systems than Linux) a goroutine waits in the connection's Read for as long as
// the session lives. Either way there is one goroutine at a time, and each sees what the one before
// it did: they hand over through armed.
type reader struct {
	poller *poller     // nil: there is none, or it can't watch this connection
	armed  atomic.Bool // no goroutine; whoever sets it to false must start one
	begun  bool        // owned by the goroutine; it isn't the session's first

	fd         int32 // set by poller.add
	generation int32 // set by poller.add
	registered bool  // guarded by poller.mu; the epoll knows the descriptor
}

// errIdle says that there is no input now, and that the session is armed: it belongs to the next
// goroutine from here on, and may be gone already.
var errIdle = errors.New("no input")

// errClosed says that the session was closed from this side.
var errClosed = errors.New("session closed")

// read has messages handled until the connection ends, the session is closed, or it is idle, and
// returns which it was.
func (s *session) read(ctx context.Context, p *poller) error {
	if !s.reader.begun {
		if err := s.begin(p); err != nil {
			return err
		}
	}
	more := true // may have come; if we think wrongly that none has, the armed session is named at once
	for {
		var err error
		switch {
		case s.conn.queue.closed():
			return errClosed
		case s.reader.poller == nil || s.conn.buffered():
			err = s.next(ctx)
		case more:
			more, err = s.conn.fill()
		default:
			err = s.arm()
		}
		if err != nil {
			return err
		}
	}
}

// begin prepares a new session for reading: what came together with the handshake comes first.
func (s *session) begin(p *poller) error {
	s.reader.begun = true
	if p != nil && s.conn.raw != nil && p.add(s) == nil {
		s.reader.poller = p
	}
	early := s.conn.early
	s.conn.early = nil
	return s.conn.sift(early)
}

// arm lets go of the session until there is input, unless it is closed. Looking for that after it
// is armed is what keeps a close from being overlooked: either the close finds the session armed, or
// we find it closed. When the poller can't watch it (the system limits how many it may) it goes on
// without.
func (s *session) arm() error {
	p := s.reader.poller
	s.reader.armed.Store(true)
	if !s.conn.queue.closed() && p.arm(s) == nil {
		return errIdle
	}
	if !s.reader.armed.CompareAndSwap(true, false) {
		return errIdle
	}
	if s.conn.queue.closed() {
		return errClosed
	}
	p.remove(s)
	s.reader.poller = nil
	return nil
}

// rouse makes a reader that waits, for input or as an armed session, look whether the session was
// closed. It never blocks.
func (s *session) rouse() {
	s.conn.wake()
	if s.reader.armed.CompareAndSwap(true, false) {
		s.server.wait(s)
	}
}

// next reads one message and has it handled. It waits for as long as the message takes to come.
func (s *session) next(ctx context.Context) error {
	// Without a deadline or an end the library needs no timer; conn.wake is what ends a read.
	kind, from, err := s.ws.Reader(context.Background())
	if err != nil {
		return fmt.Errorf("wait for a message: %w", err)
	}
	if kind != websocket.MessageText {
		s.Close(BinaryMessage)
		return errClosed
	}
	message := messages.Get().(*bytes.Buffer)
	defer recycle(message)
	if _, err := message.ReadFrom(from); err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	s.handle(ctx, message.Bytes())
	return nil
}

// messages are buffers for messages. A session has one from the first byte of a message until it
// is handled; whoever keeps a part of the message copies it.
var messages = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, 1024)) }}

// maxPooledMessage keeps the buffer of an unusually large message from being kept.
const maxPooledMessage = 64 << 10

func recycle(message *bytes.Buffer) {
	if message.Cap() <= maxPooledMessage {
		message.Reset()
		messages.Put(message)
	}
}
