package boot

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// doors is the clients' port with a bound on the connections that are open at once. Whoever comes when
// there is no place waits, without costing anything but its own descriptor, until somebody has left;
// requests that nobody makes at the moment leave at once.
type doors struct {
	net.Listener
	places chan struct{} // has one for each connection that is open
	scarce func(bool)    // told when somebody begins to wait for a place, and when it has one
	closed chan struct{}
	once   sync.Once
}

// newDoors bounds the connections that srv serves on l; 0 is no bound.
func newDoors(l net.Listener, most int, srv *http.Server) net.Listener {
	if most == 0 {
		return l
	}
	return &doors{
		Listener: l,
		places:   make(chan struct{}, most),
		// Without keep-alive idle connections are closed, and busy ones after their answer.
		scarce: func(yes bool) { srv.SetKeepAlivesEnabled(!yes) },
		closed: make(chan struct{}),
	}
}

// Accept implements [net.Listener]. The client is accepted before there is a place for it: only then
// is it known that one is missed.
func (d *doors) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	select {
	case d.places <- struct{}{}:
	default:
		d.scarce(true)
		select {
		case d.places <- struct{}{}:
			d.scarce(false)
		case <-d.closed:
			_ = c.Close() // it was never served
			return nil, net.ErrClosed
		}
	}
	return &visitor{TCPConn: tcp, from: d}, nil
}

// Close implements [net.Listener]. Who waits for a place is hung up on.
func (d *doors) Close() error {
	d.once.Do(func() { close(d.closed) })
	return d.Listener.Close()
}

// visitor is a connection that gives its place back when it is closed. It keeps the methods of TCP:
// those who move bytes straight on the descriptor look for them.
type visitor struct {
	*net.TCPConn
	from *doors
	gone atomic.Bool
}

// Close implements [net.Conn].
func (v *visitor) Close() error {
	err := v.TCPConn.Close()
	if !v.gone.Swap(true) {
		<-v.from.places
	}
	return err
}
