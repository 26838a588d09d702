package integration

import (
	"fmt"
	"strings"
	"time"
)

// report is what a run prints.
type report struct {
	appends   []appends
	latencies []latencies
	fanOuts   []fanOut
	halves    []half
	idles     []idle
	mores     []more
	comebacks []comeback
	positions []positionCost
	crossings []crossing
	joins     []joinRate
	quiets    []quiet
	stalls    []stall
}

func (r *report) String() string {
	var s strings.Builder
	if len(r.appends) > 0 {
		s.WriteString("\n| sync | publishers | per request | acknowledged events/s | p50 ms | p99 ms | node CPU µs per event |\n|---|--:|--:|--:|--:|--:|--:|\n")
		for _, a := range r.appends {
			fmt.Fprintf(&s, "| %s | %d | %d | %.0f | %s | %s | %.0f |\n", a.mode, a.publishers, a.batch, a.perSecond, ms(a.p50), ms(a.p99), us(a.cpu))
		}
	}
	if len(r.latencies) > 0 {
		s.WriteString("\n| sync | events/s | per request | publish→deliver p50 ms | p99 ms | max ms | node cores |\n|---|--:|--:|--:|--:|--:|--:|\n")
		for _, l := range r.latencies {
			fmt.Fprintf(&s, "| %s | %d | %d | %s | %s | %s | %.2f |\n", l.mode, l.rate, l.batch, ms(l.p50), ms(l.p99), ms(l.max), l.cpu)
		}
	}
	if len(r.fanOuts) > 0 {
		s.WriteString("\n| channels × subscribers | events per request | deliveries/s | node CPU µs per delivery | node cores | clients' cores |\n|---|--:|--:|--:|--:|--:|\n")
		for _, f := range r.fanOuts {
			fmt.Fprintf(&s, "| %d × %d | %d | %.0f | %.2f | %.2f | %.2f |\n", f.channels, f.subscribers, f.per, f.perSecond, us(f.cpu), f.cores, f.clients)
		}
	}
	if len(r.halves) > 0 {
		s.WriteString("\n| at half the rate of | deliveries/s | node CPU µs per delivery | p50 ms | p99 ms | node cores | clients' cores |\n|---|--:|--:|--:|--:|--:|--:|\n")
		for _, h := range r.halves {
			fmt.Fprintf(&s, "| %d × %d | %.0f | %.2f | %s | %s | %.2f | %.2f |\n", h.channels, h.subscribers, h.perSecond, us(h.cpu), ms(h.p50), ms(h.p99), h.cores, h.clients)
		}
	}
	if len(r.mores) > 0 {
		s.WriteString("\n| | resident bytes each |\n|---|--:|\n")
		for _, m := range r.mores {
			fmt.Fprintf(&s, "| %s | %.0f |\n", m.what, m.bytes)
		}
	}
	if len(r.idles) > 0 {
		s.WriteString("\n| idle connections | resident bytes each | heap and stacks in use each | goroutines each | node CPU µs per connect | node without them MB |\n|--:|--:|--:|--:|--:|--:|\n")
		for _, i := range r.idles {
			fmt.Fprintf(&s, "| %d | %.0f | %.0f | %.2f | %.0f | %.1f |\n", i.connections, i.bytes, i.inUse, max(0, i.goroutines), us(i.connect), float64(i.base)/1e6)
		}
	}
	if len(r.comebacks) > 0 {
		s.WriteString("\n| clients | events missed by each | whole after s | all connected after s | node CPU s | node resident MB |\n|--:|--:|--:|--:|--:|--:|\n")
		for _, c := range r.comebacks {
			fmt.Fprintf(&s, "| %d | %d | %.2f | %.2f | %.2f | %.0f |\n", c.clients, comebackMissed, c.took.Seconds(), c.connect.Seconds(), c.cpu.Seconds(), float64(c.resident)/1e6)
		}
	}
	if len(r.positions) > 0 {
		s.WriteString("\n| sync | publish p50 ms | with info=position | ratio | ratio of node CPU |\n|---|--:|--:|--:|--:|\n")
		for _, p := range r.positions {
			fmt.Fprintf(&s, "| %s | %.3f | %.3f | %.3f | %.3f |\n", p.mode, us(p.plain)/1e3, us(p.asked)/1e3, p.asked.Seconds()/p.plain.Seconds(), p.ratio)
		}
	}
	if len(r.crossings) > 0 {
		s.WriteString("\n| replicas | publish acknowledged p50 ms | p99 ms | heard at another node p50 ms | p99 ms |\n|---|--:|--:|--:|--:|\n")
		for _, c := range r.crossings {
			fmt.Fprintf(&s, "| %d | %s | %s | %s | %s |\n", c.replicas, ms(c.ack50), ms(c.ack99), ms(c.heard50), ms(c.heard99))
		}
	}
	if len(r.joins) > 0 {
		s.WriteString("\n| replicas | joins/s over three nodes | p50 ms | p99 ms |\n|---|--:|--:|--:|\n")
		for _, j := range r.joins {
			fmt.Fprintf(&s, "| %d | %.0f | %s | %s |\n", j.replicas, j.perSecond, ms(j.p50), ms(j.p99))
		}
	}
	if len(r.quiets) > 0 {
		s.WriteString("\n| quiet apps in use | resident KB per app | node cores |\n|--:|--:|--:|\n")
		for _, q := range r.quiets {
			fmt.Fprintf(&s, "| %d | %.1f | %.3f |\n", q.apps, q.resident/1e3, q.cores)
		}
	}
	if len(r.stalls) > 0 {
		s.WriteString("\n| healthy | stalled | p50 ms without | p99 | max | p50 ms with | p99 | max | ratio of p99 | node MB before | most | queued MB, most | bound |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
		for _, l := range r.stalls {
			without, with := quantile(l.without, 0.99), quantile(l.with, 0.99)
			fmt.Fprintf(&s, "| %d | %d | %s | %s | %s | %s | %s | %s | %.2f | %.0f | %.0f | %.1f | %.1f |\n", l.healthy, l.stalled,
				ms(quantile(l.without, 0.5)), ms(without), ms(l.without[len(l.without)-1]),
				ms(quantile(l.with, 0.5)), ms(with), ms(l.with[len(l.with)-1]), with.Seconds()/without.Seconds(),
				float64(l.before)/1e6, float64(l.peak)/1e6, l.queued/1e6, float64(l.bound)/1e6)
		}
	}
	return s.String() + "\n"
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Microseconds())/1e3) }

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
