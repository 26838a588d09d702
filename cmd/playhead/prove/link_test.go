package prove

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// echo is a server that says back what it is told, through a link.
func echo(t *testing.T) *link {
	t.Helper()
	srv, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := through(t, to(srv.Addr().String()))
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := srv.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		srv.Close()
		all.Wait()
	})
	return l
}

// through is a link that runs for as long as the test does.
func through(t *testing.T, targets func() []string) *link {
	t.Helper()
	l, err := newLink("127.0.0.1:0", targets)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { l.run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return l
}

// refused connects and is reset, if not already while it connects.
func refused(t *testing.T, l *link) {
	t.Helper()
	c, err := net.Dial("tcp", l.addr())
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	(&line{c, bufio.NewReader(c)}).ended(t)
}

// line is a connection through a link.
type line struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, l *link) *line {
	t.Helper()
	c, err := net.Dial("tcp", l.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &line{c, bufio.NewReader(c)}
}

// say says something and waits for the echo.
func (c *line) say(t *testing.T, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text + "\n")); err != nil {
		t.Fatal(err)
	}
	c.hear(t, text)
}

func (c *line) hear(t *testing.T, want string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got, err := c.r.ReadString('\n'); err != nil || got != want+"\n" {
		t.Fatalf("%q, %v; want %q", got, err, want)
	}
}

// ended waits for the end of the connection, which must be a reset.
func (c *line) ended(t *testing.T) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := c.r.ReadByte()
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v, want a reset", err)
	}
}

func TestLinkCarries(t *testing.T) {
	t.Parallel()
	l := echo(t)
	c, d := dial(t, l), dial(t, l)
	c.say(t, "hello")
	d.say(t, "hello, too")
	c.say(t, "and again")
	// A side that has said all it has to is still told the rest.
	if _, err := c.Write([]byte("last\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.hear(t, "last")
	if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want the end", err)
	}
}

func TestLinkCut(t *testing.T) {
	t.Parallel()
	l := echo(t)
	c := dial(t, l)
	c.say(t, "hello")
	l.cut()
	c.ended(t)
	refused(t, l)
	l.open()
	dial(t, l).say(t, "hello again")
}

func TestLinkStall(t *testing.T) {
	t.Parallel()
	l := echo(t)
	c := dial(t, l)
	c.say(t, "hello")
	l.stall()
	late := dial(t, l) // can connect, and no more
	for _, c := range []*line{c, late} {
		if _, err := c.Write([]byte("held\n")); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if b, err := c.r.Peek(1); err == nil {
			t.Errorf("%q went through a stalled link", b)
		}
	}
	l.open()
	c.hear(t, "held")
	late.hear(t, "held")
	c.say(t, "and on")
}

// A stalled link can be cut, and what it held is gone.
func TestLinkCutWhileStalled(t *testing.T) {
	t.Parallel()
	l := echo(t)
	c := dial(t, l)
	c.say(t, "hello")
	l.stall()
	if _, err := c.Write([]byte("held\n")); err != nil {
		t.Fatal(err)
	}
	l.cut()
	c.ended(t)
}

func TestLinkSlow(t *testing.T) {
	t.Parallel()
	const delay = 100 * time.Millisecond
	l := echo(t)
	c := dial(t, l)
	c.say(t, "hello")
	l.slow(delay)
	began := time.Now()
	for range 10 { // late, but not one after the other
		if _, err := c.Write([]byte("late\n")); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		c.hear(t, "late")
	}
	if took := time.Since(began); took < 2*delay {
		t.Errorf("there and back in %v, want at least twice %v", took, delay)
	} else if took > 10*delay {
		t.Errorf("ten at once took %v, with %v each way", took, delay)
	}
}

func TestLinkResetsSome(t *testing.T) {
	t.Parallel()
	l := echo(t)
	var all []*line
	for range 5 {
		c := dial(t, l)
		c.say(t, "hello")
		all = append(all, c)
	}
	l.resetSome(2)
	reset := 0
	for _, c := range all {
		_, _ = c.Write([]byte("still there?\n"))
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.r.ReadString('\n'); err != nil {
			reset++
		}
	}
	if reset != 2 {
		t.Errorf("%d connections were reset, want 2", reset)
	}
}

// A link whose target isn't there lets nobody think that it is.
func TestLinkToNobody(t *testing.T) {
	t.Parallel()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	nobody := gone.Addr().String()
	refused(t, through(t, func() []string { return []string{nobody} }))
	there := echo(t).addr()
	dial(t, through(t, func() []string { return []string{nobody, there} })).say(t, "the second is")
}
