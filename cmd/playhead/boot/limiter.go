package boot

import (
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// limiter bounds how often one address may knock at each door.
type limiter struct {
	addresses addresses
	api       door
	connects  door
}

// door is what is bounded by itself.
type door struct {
	name    string
	what    string
	rate    broker.Rate
	limiter broker.Limiter
	refused prometheus.Counter
}

// newLimiter makes a limiter whose rates are kept by shared; each door's in this process when that is nil.
func newLimiter(c *Config, r prometheus.Registerer, shared broker.Limiter) *limiter {
	refused := promauto.With(r).NewCounterVec(prometheus.CounterOpts{
		Name: "playhead_rate_limited_total",
		Help: "Requests refused because their address had made too many, by what they wanted.",
	}, []string{"door"})
	rate := func(perSecond, burst Count) broker.Rate {
		return broker.Rate{PerSecond: bound(perSecond), Burst: bound(burst)}
	}
	keeper := func() broker.Limiter {
		if shared != nil {
			return shared
		}
		return &broker.Buckets[string]{}
	}
	return &limiter{
		addresses: c.HTTP.addresses(),
		api: door{
			name: "api", what: "requests", rate: rate(c.RateLimit.APIPerSecond, c.RateLimit.APIBurst), limiter: keeper(),
			refused: refused.WithLabelValues("api"),
		},
		connects: door{
			name: "connect", what: "connections", rate: rate(c.RateLimit.ConnectsPerSecond, c.RateLimit.ConnectsBurst), limiter: keeper(),
			refused: refused.WithLabelValues("connect"),
		},
	}
}

// admits lets a request through a door, or answers it. A refused WebSocket isn't upgraded first to be
// told a code: that is what the refusal is to save.
func (l *limiter) admits(d *door, w http.ResponseWriter, r *http.Request) bool {
	if d.rate.PerSecond == 0 {
		return true
	}
	wait := d.limiter.Take(r.Context(), d.name+"/"+site(l.addresses.of(r)).String(), d.rate, 1)
	if wait == 0 {
		return true
	}
	d.refused.Inc()
	w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	http.Error(w, "Rate limit exceeded: too many "+d.what+" from this address", http.StatusTooManyRequests)
	return false
}

// site is what counts as one address: whoever has one of IPv6 has 2^64 of them.
func site(addr netip.Addr) netip.Addr {
	if addr.Is6() {
		if n, err := addr.Prefix(64); err == nil {
			return n.Addr()
		}
	}
	return addr
}
