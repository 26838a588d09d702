package boot

import (
	"net/http"
	"net/netip"
	"strings"
)

// addresses finds out where requests come from.
type addresses struct {
	trusted []netip.Prefix // proxies that are believed
	hops    int            // or how many proxies there are, whatever their addresses
}

// addresses returns what a checked configuration means.
func (c *HTTPConfig) addresses() addresses {
	a := addresses{hops: max(int(c.TrustedHops), 0)}
	for _, text := range c.TrustedProxies {
		if n, err := network(text); err == nil {
			a.trusted = append(a.trusted, n)
		}
	}
	return a
}

// network reads an address or a network.
func network(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	n, err := netip.ParsePrefix(text)
	return n.Masked(), err
}

// of returns the address of the client that made a request; the zero Addr when it can't be told. What
// a request says of itself counts only as far as a trusted proxy stands behind it: a client can send
// the headers, too, and a proxy adds to them at their end.
func (a *addresses) of(r *http.Request) netip.Addr {
	peer := address(r.RemoteAddr)
	if a.hops > 0 {
		return a.beyond(r, peer)
	}
	if !a.trusts(peer) {
		return peer
	}
	// From the end, past our own proxies. What can't be read was written by somebody else than they.
	client := peer
	chain := forwardedFor(r)
	for i := len(chain) - 1; i >= 0 && a.trusts(client); i-- {
		next := address(chain[i])
		if !next.IsValid() {
			return client
		}
		client = next
	}
	if len(chain) == 0 {
		if client := address(r.Header.Get("X-Real-IP")); client.IsValid() {
			return client
		}
	}
	return client
}

// beyond returns the address that the outermost of so many proxies saw. The peer is the innermost.
func (a *addresses) beyond(r *http.Request, peer netip.Addr) netip.Addr {
	chain := forwardedFor(r)
	if len(chain) == 0 && a.hops == 1 {
		if client := address(r.Header.Get("X-Real-IP")); client.IsValid() {
			return client
		}
	}
	if len(chain) >= a.hops {
		if client := address(chain[len(chain)-a.hops]); client.IsValid() {
			return client
		}
	}
	return peer
}

func (a *addresses) trusts(addr netip.Addr) bool {
	for _, n := range a.trusted {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// forwardedFor lists whom a request passed, the client first, the last proxy not included.
func forwardedFor(r *http.Request) []string {
	values := r.Header.Values("X-Forwarded-For")
	if len(values) == 0 {
		return nil
	}
	return strings.Split(strings.Join(values, ","), ",")
}

// address reads an address, which may have a port; the zero Addr when it is none.
func address(text string) netip.Addr {
	text = strings.TrimSpace(text)
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		with, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}
		}
		addr = with.Addr()
	}
	return addr.Unmap().WithZone("")
}
