package ws

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// poller says which idle sessions have input: an epoll of our own beside that of the runtime, so
// that a session needs no goroutine, and none of the buffers on its stack, to wait for a message.
// Registrations are one-shot: a session that was named is not named again before it is armed.
//
// Descriptors are used again as soon as they are closed, and an event may be on its way by then.
// So each registration has a generation, which its events carry.
type poller struct {
	epoll *os.File // waited for by the runtime's own epoll, so that waiting takes no thread
	raw   syscall.RawConn
	fd    int // the epoll's own

	mu       sync.Mutex
	sessions []*session // guarded by mu; by descriptor, nil where none is registered
	last     int32      // guarded by mu; generation of the newest registration
	closed   bool       // guarded by mu
}

const interest = syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open an epoll: %w", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		_ = syscall.Close(fd) // of no use any more
		return nil, fmt.Errorf("make the epoll non-blocking: %w", err)
	}
	epoll := os.NewFile(uintptr(fd), "epoll")
	raw, err := epoll.SyscallConn()
	if err == nil {
		err = epoll.SetReadDeadline(time.Time{}) // says whether the runtime can wait for it
	}
	if err != nil {
		_ = epoll.Close() // of no use any more
		return nil, fmt.Errorf("wait for the epoll: %w", err)
	}
	return &poller{epoll: epoll, raw: raw, fd: fd}, nil
}

// run calls ready for every session that has input and was armed, until ctx ends.
func (p *poller) run(ctx context.Context, ready func(*session)) {
	stop := context.AfterFunc(ctx, func() {
		_ = p.epoll.SetReadDeadline(time.Unix(1, 0)) // it could be set before
	})
	defer stop()
	events := make([]syscall.EpollEvent, 256)
	for {
		n := 0
		var fault error
		err := p.raw.Read(func(fd uintptr) bool {
			n, fault = syscall.EpollWait(int(fd), events, 0)
			return n != 0
		})
		if err != nil || fault != nil && !errors.Is(fault, syscall.EINTR) {
			return
		}
		for i := range n {
			if s := p.named(events[i].Fd, events[i].Pad); s != nil && s.reader.armed.CompareAndSwap(true, false) {
				ready(s)
			}
		}
	}
}

// named returns the session of an event, nil when it is of a registration that is no more.
func (p *poller) named(fd, generation int32) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sessions[fd]; s != nil && s.reader.generation == generation {
		return s
	}
	return nil
}

// close is called when run has ended. Sessions can't be armed any more then.
func (p *poller) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	_ = p.epoll.Close() // nothing depends on it any more
}

// add takes a session in, not yet armed. Its reader calls it, and may not use the poller when it
// fails.
func (p *poller) add(s *session) error {
	fd := int32(-1)
	if err := s.conn.raw.Control(func(d uintptr) { fd = int32(d) }); err != nil {
		return fmt.Errorf("find the descriptor: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	s.reader.fd, s.reader.generation = fd, p.last
	for len(p.sessions) <= int(fd) {
		p.sessions = append(p.sessions, nil)
	}
	p.sessions[fd] = s
	return nil
}

// arm lets the session be named once it has input, which may be at once. The caller has said
// before that it is armed ([reader.armed]), and doesn't touch the session after. When the session
// was roused and has ended meanwhile, nothing happens.
func (p *poller) arm(s *session) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sessions[s.reader.fd] != s {
		return nil
	}
	op := syscall.EPOLL_CTL_MOD
	if !s.reader.registered {
		op = syscall.EPOLL_CTL_ADD
	}
	if err := p.control(op, s); err != nil {
		return fmt.Errorf("arm the descriptor: %w", err)
	}
	s.reader.registered = true
	return nil
}

// remove forgets a session. It must be called before the descriptor is closed.
func (p *poller) remove(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions[s.reader.fd] = nil
	if s.reader.registered {
		_ = p.control(syscall.EPOLL_CTL_DEL, s) // closing the descriptor would do it as well
	}
}

// control is called with p.mu held.
func (p *poller) control(op int, s *session) error {
	if p.closed {
		return os.ErrClosed
	}
	e := syscall.EpollEvent{Events: interest, Fd: s.reader.fd, Pad: s.reader.generation}
	return syscall.EpollCtl(p.fd, op, int(s.reader.fd), &e)
}
