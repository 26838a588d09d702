package boot

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// openDoors serves h on a port with so many places.
func openDoors(t *testing.T, most int, h http.HandlerFunc) (addr string, srv *http.Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv = &http.Server{Handler: h}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := srv.Serve(newDoors(l, most, srv)); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		_ = srv.Close()
		serving.Wait()
	})
	return l.Addr().String(), srv
}

// requestOn sends a request on a connection of its own.
func requestOn(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return c
}

// When all places are taken the next client waits, and comes in when one is free.
func TestDoorsAreBounded(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	addr, _ := openDoors(t, 2, func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-leave
	})
	defer close(leave)
	for range 5 {
		requestOn(t, addr)
	}
	<-entered
	<-entered
	select {
	case <-entered:
		t.Fatal("three are in, with two places")
	default:
	}
	for range 3 {
		leave <- struct{}{} // and its connection, kept alive otherwise, with it
		<-entered
	}
}

// Connections that are only kept alive make room, but only when somebody waits.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	addr, _ := openDoors(t, 2, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	buf := make([]byte, 1_024)
	first, second := requestOn(t, addr), requestOn(t, addr)
	for _, c := range []net.Conn{first, second} {
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	third := requestOn(t, addr)
	if _, err := third.Read(buf); err != nil {
		t.Fatal(err)
	}
	// With room again they are kept: two requests are answered on one.
	fourth := requestOn(t, addr)
	for range 2 {
		if _, err := fourth.Read(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(fourth, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
}

// Closing ends the wait of who has no place.
func TestDoorsCloseOnWhoWaits(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	addr, srv := openDoors(t, 1, func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-leave
	})
	defer close(leave)
	requestOn(t, addr)
	<-entered
	waiting := requestOn(t, addr)
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if _, err := waiting.Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v, want the end", err)
	}
}

// Whoever looks for the methods of TCP finds them.
func TestVisitorsAreTCP(t *testing.T) {
	t.Parallel()
	var c net.Conn = &visitor{}
	if _, ok := c.(interface {
		CloseRead() error
		CloseWrite() error
		SetWriteBuffer(int) error
		io.ReaderFrom
	}); !ok {
		t.Error("not all there")
	}
}
