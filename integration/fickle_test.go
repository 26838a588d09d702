package integration

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
)

// fickle makes connections that break after a random number of bytes, wherever that is: between two
// frames, in the middle of one, in the handshake, or while the client is still writing.
type fickle struct {
	mu     sync.Mutex
	random *rand.Rand // guarded by mu
	bytes  int        // most bytes that a connection lives for, either way

	cuts int // guarded by mu; connections that broke
}

func newFickle(seed uint64, bytes int) *fickle {
	return &fickle{random: rand.New(rand.NewPCG(seed, 7)), bytes: bytes}
}

// transport returns one whose connections are fickle. None is used twice.
func (f *fickle) transport() *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			// Few come to an end while they write: a client writes little.
			return &fickleConn{Conn: c, fickle: f, in: f.random.IntN(f.bytes), out: f.random.IntN(4_000)}, nil
		},
	}
}

func (f *fickle) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cuts++
}

func (f *fickle) total() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cuts
}

var errCut = errors.New("the connection was cut")

// fickleConn is one connection. One goroutine reads; a ping is answered next to what is written.
type fickleConn struct {
	net.Conn
	fickle *fickle
	once   sync.Once
	in     int // bytes still to be read; owned by the reader

	mu  sync.Mutex
	out int // guarded by mu; bytes still to be written
}

// breakOff resets the connection, as a phone does that leaves its cell.
func (c *fickleConn) breakOff() error {
	c.once.Do(func() {
		if t, ok := c.Conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
		_ = c.Conn.Close()
		c.fickle.cut()
	})
	return errCut
}

func (c *fickleConn) Read(b []byte) (int, error) {
	if c.in == 0 {
		return 0, c.breakOff()
	}
	n, err := c.Conn.Read(b[:min(len(b), c.in)])
	c.in -= n
	return n, err
}

func (c *fickleConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(b) > c.out {
		n, _ := c.Conn.Write(b[:c.out])
		c.out = 0
		return n, c.breakOff()
	}
	n, err := c.Conn.Write(b)
	c.out -= n
	return n, err
}
