package boot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
)

// listen binds a port and says, when it can't, what to do about it. The keys are where address and
// port are set: "port, PORT or --port".
func listen(host string, port Port, keys string) (net.Listener, error) {
	address := hostPort(host, port)
	var cfg net.ListenConfig
	l, err := cfg.Listen(context.Background(), "tcp", address)
	var dns *net.DNSError
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %v is in use on %s: end the process that has it, or choose another with %s", port, host, keys)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("port %v on %s needs privileges this user doesn't have: choose one from 1024 up with %s", port, host, keys)
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.As(err, &dns):
		return nil, fmt.Errorf("%s is no address of this machine: choose another host (0.0.0.0 is all of them)", host)
	}
	return nil, fmt.Errorf("listen on %s: %w", address, err)
}

func hostPort(host string, port Port) string {
	return net.JoinHostPort(host, strconv.Itoa(port.number()))
}

// reachable is an address to show people: where there are several it takes the nearest.
func reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return a.String()
	}
	if tcp.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return tcp.String()
}
