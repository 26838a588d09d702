package integration

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// swarm is thousands of subscribers that cost next to nothing: bare sockets under one epoll, whose
// frames are counted and not parsed. Measurements share the machine with the node, so what its
// clients use would be counted against it.
type swarm struct {
	poll    int
	members []*member
	byFD    map[int32]*member

	subscribed atomic.Int64 // members that have their subscription_succeeded
	events     atomic.Int64 // events all members were given
	hangups    atomic.Int64
	firstFault atomic.Pointer[string]

	// each is told every text frame behind the first of every so-manieth member, by the loop; nil:
	// they are counted only.
	each  func(m *member, frame []byte)
	every int

	wake    int // eventfd that ends the loop
	stopped chan struct{}
	ending  sync.Once
}

// member is one subscriber. The swarm's loop owns it.
type member struct {
	number int
	fd     int
	frames int64  // text frames, the first two of which are no events
	socket string // its id

	upgraded bool
	head     []byte // an unfinished handshake or frame header
	skip     int64  // bytes of the present frame that are still to come
	kept     []byte // payload of a frame that is looked at
	keep     bool
	opcode   byte
}

// newSwarm connects count members to a node; member i subscribes to channel(i). It returns when
// all are subscribed.
func newSwarm(tb testing.TB, n *node, count int, channel func(int) string) *swarm {
	tb.Helper()
	return newSwarmOf(tb, n, count, func(i int) string { return fmt.Sprintf(`{"channel":%q}`, channel(i)) }, nil)
}

// newSwarmOf is newSwarm whose member i subscribes with the data subscribe(i); each is told every
// text frame but a member's first.
func newSwarmOf(tb testing.TB, n *node, count int, subscribe func(int) string, each func(*member, []byte)) *swarm {
	tb.Helper()
	return newSwarmSampled(tb, n, count, subscribe, 1, each)
}

// newSwarmSampled is newSwarmOf where only every so-manieth member's frames are told.
func newSwarmSampled(tb testing.TB, n *node, count int, subscribe func(int) string, every int, each func(*member, []byte)) *swarm {
	tb.Helper()
	s := &swarm{byFD: make(map[int32]*member, count), stopped: make(chan struct{}), each: each, every: every}
	var err error
	if s.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		tb.Fatal(err)
	}
	if s.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		tb.Fatal(err)
	}
	s.watch(tb, s.wake)
	addr := &unix.SockaddrInet4{Port: n.cfg.Port, Addr: [4]byte{127, 0, 0, 1}}
	for i := range count {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			tb.Fatalf("socket of member %d: %v", i, err)
		}
		m := &member{number: i, fd: fd}
		s.members = append(s.members, m)
		s.byFD[int32(fd)] = m
	}
	go s.loop()
	tb.Cleanup(s.stop)

	// A few hundred handshakes at a time: more would only queue at the node's door.
	const under = 256
	for i, m := range s.members {
		if err := unix.Connect(m.fd, addr); err != nil {
			tb.Fatalf("connect member %d: %v", i, err)
		}
		frame := clientFrame(0x1, fmt.Appendf(nil, `{"event":"pusher:subscribe","data":%s}`, subscribe(i)))
		if _, err := unix.Write(m.fd, append([]byte(handshake), frame...)); err != nil {
			tb.Fatalf("subscribe member %d: %v", i, err)
		}
		if err := unix.SetNonblock(m.fd, true); err != nil {
			tb.Fatal(err)
		}
		s.watch(tb, m.fd)
		s.awaitSubscribed(tb, i+1-under)
	}
	s.awaitSubscribed(tb, count)
	return s
}

func (s *swarm) watch(tb testing.TB, fd int) {
	tb.Helper()
	if err := unix.EpollCtl(s.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
		tb.Fatal(err)
	}
}

func (s *swarm) awaitSubscribed(tb testing.TB, count int) {
	tb.Helper()
	if s.subscribed.Load() < int64(count) {
		await(tb, fmt.Sprintf("%d members subscribed", count), func() bool {
			s.check(tb)
			return s.subscribed.Load() >= int64(count)
		})
	}
}

// check fails the test when a member was hung up on or refused.
func (s *swarm) check(tb testing.TB) {
	tb.Helper()
	if fault := s.firstFault.Load(); fault != nil {
		tb.Fatalf("%d members lost their connection; first: %s", s.hangups.Load(), *fault)
	}
}

// loop reads until stop.
func (s *swarm) loop() {
	defer close(s.stopped)
	ready := make([]unix.EpollEvent, 512)
	buf := make([]byte, 256<<10)
	for {
		n, err := unix.EpollWait(s.poll, ready, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			s.fault("epoll: %v", err)
			return
		}
		for _, e := range ready[:n] {
			if int(e.Fd) == s.wake {
				return
			}
			m := s.byFD[e.Fd]
			got, err := unix.Read(m.fd, buf)
			switch {
			case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			case err != nil || got == 0:
				s.hangup(m, "end of the connection (%v)", err)
			default:
				s.take(m, buf[:got])
			}
		}
	}
}

// take counts the frames in b, which may begin and end anywhere.
func (s *swarm) take(m *member, b []byte) {
	events := int64(0)
	for len(b) > 0 {
		if m.skip > 0 {
			n := min(m.skip, int64(len(b)))
			if m.keep {
				m.kept = append(m.kept, b[:n]...)
			}
			b, m.skip = b[n:], m.skip-n
			if m.skip == 0 {
				events += s.end(m)
			}
			continue
		}
		m.head = append(m.head, b[0])
		b = b[1:]
		if !m.upgraded {
			if bytes.HasSuffix(m.head, []byte("\r\n\r\n")) {
				if !bytes.HasPrefix(m.head, []byte("HTTP/1.1 101 ")) {
					s.hangup(m, "no upgrade: %s", m.head)
					return
				}
				m.upgraded, m.head = true, m.head[:0]
			}
			continue
		}
		length, ok := frameLength(m.head)
		if !ok {
			continue
		}
		m.opcode, m.skip, m.head = m.head[0]&0x0f, length, m.head[:0]
		m.keep = m.opcode >= 0x8 || m.frames < 2 || s.tells(m)
		m.kept = m.kept[:0]
		if length == 0 {
			events += s.end(m)
		}
	}
	if events > 0 {
		s.events.Add(events)
	}
}

// end is called when a frame is whole; it returns the number of events in it.
func (s *swarm) end(m *member) int64 {
	switch m.opcode {
	case 0x1:
		m.frames++
		if s.tells(m) && m.frames > 1 {
			s.each(m, m.kept)
		}
		switch {
		case m.frames > 2:
			return 1
		case m.frames == 2 && bytes.Contains(m.kept, []byte(`"pusher_internal:subscription_succeeded"`)):
			m.kept, m.head = nil, nil
			s.subscribed.Add(1)
		case m.frames == 1 && bytes.Contains(m.kept, []byte(`"pusher:connection_established"`)):
			_, id, _ := bytes.Cut(m.kept, []byte(`socket_id\":\"`))
			id, _, _ = bytes.Cut(id, []byte(`\"`))
			m.socket = string(id)
		default:
			s.hangup(m, "frame %s", m.kept)
		}
	case 0x8:
		s.hangup(m, "closed with %q", m.kept)
	case 0x9:
		if _, err := unix.Write(m.fd, clientFrame(0xa, m.kept)); err != nil {
			s.hangup(m, "pong: %v", err)
		}
	}
	return 0
}

func (s *swarm) tells(m *member) bool { return s.each != nil && m.number%s.every == 0 }

// send writes a message of each member's own. The members must have been stopped from writing
// themselves, by having nothing to answer.
func (s *swarm) send(tb testing.TB, message func(m *member) string) {
	tb.Helper()
	for _, m := range s.members {
		if _, err := unix.Write(m.fd, clientFrame(0x1, []byte(message(m)))); err != nil {
			tb.Fatalf("message of member %d: %v", m.number, err)
		}
	}
}

func (s *swarm) hangup(m *member, format string, args ...any) {
	s.hangups.Add(1)
	s.fault(format, args...)
	// Otherwise the end of the stream would be reported for ever.
	_ = unix.EpollCtl(s.poll, unix.EPOLL_CTL_DEL, m.fd, nil)
}

func (s *swarm) fault(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.firstFault.CompareAndSwap(nil, &text)
}

// halt ends the loop; the connections stay.
func (s *swarm) halt() {
	if _, err := unix.Write(s.wake, binary.NativeEndian.AppendUint64(nil, 1)); err == nil {
		<-s.stopped
	}
}

// stop ends the loop and hangs up.
func (s *swarm) stop() {
	s.ending.Do(func() {
		s.halt()
		for _, m := range s.members {
			unix.Close(m.fd)
		}
		unix.Close(s.wake)
		unix.Close(s.poll)
	})
}

// frameLength reads the header of a server's frame: unmasked. ok is false while it isn't whole.
func frameLength(head []byte) (length int64, ok bool) {
	if len(head) < 2 {
		return 0, false
	}
	switch n := head[1] & 0x7f; {
	case n < 126:
		return int64(n), true
	case n == 126 && len(head) == 4:
		return int64(binary.BigEndian.Uint16(head[2:])), true
	case n == 127 && len(head) == 10:
		return int64(binary.BigEndian.Uint64(head[2:])), true
	}
	return 0, false
}

// clientFrame encodes a client's frame of up to 64 KiB, masked with zeros.
func clientFrame(opcode byte, payload []byte) []byte {
	b := []byte{0x80 | opcode}
	if len(payload) < 126 {
		b = append(b, 0x80|byte(len(payload)))
	} else {
		b = append(b, 0x80|126)
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// listen is one subscriber that is told each event's data as it arrives.
func listen(tb testing.TB, n *node, channel string, each func(data []byte)) (stop func()) {
	tb.Helper()
	conn, err := net.Dial("tcp", n.addr())
	if err != nil {
		tb.Fatal(err)
	}
	subscribe := fmt.Sprintf(`{"event":"pusher:subscribe","data":{"channel":%q}}`, channel)
	if _, err := conn.Write(append([]byte(handshake), clientFrame(0x1, []byte(subscribe))...)); err != nil {
		tb.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		tb.Fatal(err)
	}
	done, subscribed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		buf, used := make([]byte, 1<<20), 0
		frames, upgraded := 0, false
		for {
			got, err := conn.Read(buf[used:])
			if err != nil {
				return
			}
			used += got
			rest := buf[:used]
			if !upgraded {
				_, after, ok := bytes.Cut(rest, []byte("\r\n\r\n"))
				if !ok {
					continue
				}
				rest, upgraded = after, true
			}
			for {
				size, header := 0, 2
				switch {
				case len(rest) < 2:
					header = 0
				case rest[1] < 126:
					size = int(rest[1])
				case rest[1] == 126 && len(rest) >= 4:
					size, header = int(binary.BigEndian.Uint16(rest[2:])), 4
				default:
					header = 0
				}
				if header == 0 || len(rest) < header+size {
					break
				}
				switch rest[0] & 0x0f {
				case 0x9:
					if _, err := conn.Write(clientFrame(0xa, rest[header:header+size])); err != nil {
						return
					}
				case 0x1:
					if frames++; frames == 2 {
						close(subscribed)
					} else if frames > 2 {
						each(rest[header : header+size])
					}
				}
				rest = rest[header+size:]
			}
			used = copy(buf, rest)
		}
	}()
	select {
	case <-subscribed:
	case <-time.After(patience):
		tb.Fatalf("not subscribed to %s", channel)
	}
	return func() {
		conn.Close()
		<-done
	}
}
