package prove

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// link is a TCP proxy, in which connections can be cut, stalled and slowed. It binds its port when it
// is made, and carries while run does.
type link struct {
	listener net.Listener
	targets  func() []string // where to connect to, the best first; asked for each connection
	from     *net.TCPAddr    // which address to connect from; nil for any

	mu      sync.Mutex
	state   linkState          // guarded by mu
	delay   time.Duration      // guarded by mu; each way
	changed chan struct{}      // guarded by mu; closed when state or delay changes
	pairs   map[*pair]struct{} // guarded by mu
}

type linkState int

const (
	linkOpen    linkState = iota
	linkCut               // connections are reset, new ones too
	linkStalled           // bytes are held
)

// pair is a connection through a link: of who connected, and the one made for it.
type pair struct {
	near, far *net.TCPConn
	gone      chan struct{} // closed by end
	once      sync.Once
}

// dialTimeout bounds a link's attempt to connect to one target.
const dialTimeout = 2 * time.Second

// newLink binds an address.
func newLink(addr string, targets func() []string) (*link, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &link{listener: listener, targets: targets, changed: make(chan struct{}), pairs: map[*pair]struct{}{}}, nil
}

// to is the targets of a link that has one.
func to(addr string) func() []string { return func() []string { return []string{addr} } }

// addr is where to connect to.
func (l *link) addr() string { return l.listener.Addr().String() }

// run carries until ctx ends, resets what there is then and returns when it is gone.
func (l *link) run(ctx context.Context) {
	var serving sync.WaitGroup
	defer serving.Wait()
	stop := context.AfterFunc(ctx, func() { l.listener.Close() })
	defer stop()
	for ctx.Err() == nil {
		c, err := l.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, or it was gone before it was taken
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		serving.Go(func() { l.serve(ctx, c.(*net.TCPConn)) })
	}
}

// open undoes cut, stall and slow.
func (l *link) open() { l.set(linkOpen, 0) }

// slow has bytes come late, each way.
func (l *link) slow(delay time.Duration) { l.set(linkOpen, delay) }

// stall holds bytes, of new connections too, until the link is open again.
func (l *link) stall() { l.set(linkStalled, 0) }

// cut resets all connections, and new ones as they come.
func (l *link) cut() {
	l.set(linkCut, 0)
	l.resetSome(-1)
}

func (l *link) set(state linkState, delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.delay = state, delay
	close(l.changed)
	l.changed = make(chan struct{})
}

// resetSome resets some connections, chosen by chance; −1 is all.
func (l *link) resetSome(n int) {
	l.mu.Lock()
	all := make([]*pair, 0, len(l.pairs))
	for p := range l.pairs {
		all = append(all, p)
	}
	l.mu.Unlock()
	if n >= 0 && n < len(all) {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:n]
	}
	for _, p := range all {
		p.end(true)
	}
}

// serve carries one connection until either side is done with it.
func (l *link) serve(ctx context.Context, near *net.TCPConn) {
	p := &pair{near: near, gone: make(chan struct{})}
	if p.far = l.connect(ctx); p.far == nil || !l.add(p) {
		p.end(true)
		return
	}
	defer l.remove(p)
	stop := context.AfterFunc(ctx, func() { p.end(true) })
	defer stop()
	var back sync.WaitGroup
	back.Go(func() { l.carry(p, p.far, p.near) })
	l.carry(p, p.near, p.far)
	back.Wait()
	p.end(false)
}

// connect connects to the first target that can be connected to; nil when none can, or the link is cut.
func (l *link) connect(ctx context.Context) *net.TCPConn {
	if l.now() == linkCut {
		return nil
	}
	d := net.Dialer{Timeout: dialTimeout}
	if l.from != nil {
		d.LocalAddr = l.from
	}
	for _, target := range l.targets() {
		if c, err := d.DialContext(ctx, "tcp", target); err == nil {
			return c.(*net.TCPConn)
		}
	}
	return nil
}

func (l *link) now() linkState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// add notes a connection; it is false when the link was cut meanwhile.
func (l *link) add(p *pair) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == linkCut {
		return false
	}
	l.pairs[p] = struct{}{}
	return true
}

func (l *link) remove(p *pair) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pairs, p)
}

// end closes both connections, by a reset where that is asked for.
func (p *pair) end(reset bool) {
	p.once.Do(func() {
		close(p.gone)
		for _, c := range []*net.TCPConn{p.near, p.far} {
			if c == nil {
				continue
			}
			if reset {
				_ = c.SetLinger(0) // then it is closed without one
			}
			c.Close()
		}
	})
}

// parcel is bytes on their way.
type parcel struct {
	bytes []byte
	due   time.Time
}

// carry brings bytes from one connection to the other until the first ends, and tells the other.
func (l *link) carry(p *pair, from, to *net.TCPConn) {
	parcels := make(chan parcel, 64)
	var delivering sync.WaitGroup
	delivering.Go(func() { l.deliver(p, to, parcels) })
	defer delivering.Wait()
	defer close(parcels)
	for {
		b := make([]byte, 16<<10)
		n, err := from.Read(b)
		if n > 0 {
			l.mu.Lock()
			due := time.Now().Add(l.delay)
			l.mu.Unlock()
			select {
			case parcels <- parcel{b[:n], due}:
			case <-p.gone:
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				p.end(true)
			}
			return
		}
	}
}

// deliver writes parcels when they are due and the link doesn't hold them.
func (l *link) deliver(p *pair, to *net.TCPConn, parcels <-chan parcel) {
	for it := range parcels {
		if !l.wait(p, it.due) {
			return
		}
		if _, err := to.Write(it.bytes); err != nil {
			p.end(true)
			return
		}
	}
	_ = to.CloseWrite() // who is gone needn't be told
}

// wait returns when a parcel may be delivered, or false when its connection is gone.
func (l *link) wait(p *pair, due time.Time) bool {
	for {
		l.mu.Lock()
		state, changed := l.state, l.changed
		l.mu.Unlock()
		left := time.Until(due)
		if state == linkCut {
			return false // what was held is lost
		}
		if state != linkStalled && left <= 0 {
			return true
		}
		if state == linkStalled {
			select {
			case <-changed:
			case <-p.gone:
				return false
			}
			continue
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-changed:
		case <-p.gone:
			timer.Stop()
			return false
		}
		timer.Stop()
	}
}
