package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// Result is what a run found. Times are of what was due in the measured seconds; faults of all.
type Result struct {
	Scenario    string  `json:"scenario"`
	URL         string  `json:"url"`
	Channels    int     `json:"channels"`
	Connections int     `json:"connections"`
	Seconds     float64 `json:"seconds"` // measured
	Rate        float64 `json:"rate"`    // events per second that were asked for; −1: as many as go

	OpenSeconds float64 `json:"open_seconds"` // until all connections were subscribed
	Published   int64   `json:"published"`    // events accepted, warm-up included
	Refused     int64   `json:"refused"`      // events not accepted
	Refusal     string  `json:"refusal,omitempty"`
	Delivered   int64   `json:"delivered"` // warm-up included

	EventsPerSecond     float64 `json:"events_per_second"`
	DeliveriesPerSecond float64 `json:"deliveries_per_second"`

	Connect   *Times `json:"connect,omitempty"`   // from when it was due to connection_established
	Subscribe *Times `json:"subscribe,omitempty"` // from then to subscription_succeeded
	Publish   *Times `json:"publish,omitempty"`   // from when it was due to the answer
	Delivery  *Times `json:"delivery,omitempty"`  // from when it was due to each subscriber
	Return    *Times `json:"return,omitempty"`    // from dialing again to having everything

	Visits int64  `json:"visits,omitempty"`
	Gaps   int64  `json:"gaps"` // returns that the server said it can't make whole
	Faults Faults `json:"faults"`
	First  string `json:"first_fault,omitempty"`

	Generator Generator `json:"generator"`
}

func (r *run) result(opening, used, over time.Duration) *Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &Result{
		Scenario: r.cfg.Scenario, URL: r.cfg.URL, Channels: r.cfg.Channels, Connections: r.cfg.Channels * r.cfg.Subscribers,
		Seconds: r.cfg.Seconds, Rate: r.cfg.Rate, OpenSeconds: opening.Seconds(),
		Published: r.published.Load(), Refused: r.refused, Delivered: r.delivered.Load(),
		Connect: r.connects.times(), Subscribe: r.subscribes.times(), Publish: r.publishes.times(),
		Delivery: r.deliveries.times(), Return: r.returns.times(),
		Visits: r.visits.Load(), Gaps: r.gaps.Load(), Faults: r.faults, First: r.first,
		Generator: r.generator(used, over),
	}
	if r.refusal != nil {
		s.Refusal = r.refusal.Error()
	}
	if r.cfg.Scenario != Connect {
		s.EventsPerSecond = float64(r.accepted.Load()) / r.cfg.Seconds
		s.DeliveriesPerSecond = float64(r.measured.Load()) / r.cfg.Seconds
	}
	return s
}

// String lists the faults that there are.
func (f Faults) String() string {
	var all []string
	for _, n := range []struct {
		count int64
		what  string
	}{{f.Lost, "lost"}, {f.Doubled, "doubled"}, {f.Reordered, "reordered"}, {f.Foreign, "foreign"}, {f.Closed, "connections ended"}} {
		if n.count > 0 {
			all = append(all, fmt.Sprintf("%d %s", n.count, n.what))
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

func (b *Bench) write(r *Result) (err error) {
	if b.cfg.JSON != "-" {
		if _, err := io.WriteString(b.cfg.Output, r.Table()); err != nil {
			return err
		}
	}
	if b.cfg.JSON == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if b.cfg.JSON == "-" {
		_, err = b.cfg.Output.Write(text)
		return err
	}
	return os.WriteFile(b.cfg.JSON, text, 0o644)
}

// Table is the result for people.
func (r *Result) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s: %d connections on %d channels, open in %.1f s\n", r.Scenario, r.URL, r.Connections, r.Channels, r.OpenSeconds)
	if r.Scenario == Connect {
		fmt.Fprintf(&b, "%.0f connections/s\n", float64(r.Connections)/r.OpenSeconds)
	} else {
		asked := "as many as go"
		if r.Rate != None {
			asked = fmt.Sprintf("%.0f asked for", r.Rate)
		}
		fmt.Fprintf(&b, "%.0f events/s (%s), %.0f deliveries/s over %.0f s\n", r.EventsPerSecond, asked, r.DeliveriesPerSecond, r.Seconds)
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "ms\tcount\tp50\tp90\tp99\tp99.9\tmax\t")
	for _, row := range []struct {
		name string
		t    *Times
	}{
		{"connect", r.Connect}, {"subscribe", r.Subscribe}, {"publish", r.Publish}, {"delivery", r.Delivery},
		{"return", r.Return}, {"generator's lag", r.Generator.Lag},
	} {
		if t := row.t; t != nil {
			fmt.Fprintf(w, "%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", row.name, t.Count, t.P50, t.P90, t.P99, t.P999, t.Max)
		}
	}
	_ = w.Flush() // into memory
	fmt.Fprintf(&b, "faults: %s\n", r.Faults)
	if r.Refused > 0 {
		fmt.Fprintf(&b, "%d events were not accepted; first: %s\n", r.Refused, r.Refusal)
	}
	if r.Visits > 0 {
		fmt.Fprintf(&b, "%d visits\n", r.Visits)
	}
	if r.Gaps > 0 {
		fmt.Fprintf(&b, "%d returns were answered with a gap\n", r.Gaps)
	}
	g := r.Generator
	fmt.Fprintf(&b, "the generator used %.2f of %d cores", g.CPU, g.Cores)
	if g.Skipped > 0 {
		fmt.Fprintf(&b, " and skipped %d turns", g.Skipped)
	}
	if g.Unsent > 0 {
		fmt.Fprintf(&b, "; %d events were due and not sent: the server answers too slowly for the rate", g.Unsent)
	}
	b.WriteString("\n")
	if g.Bottleneck != "" {
		fmt.Fprintf(&b, "THE GENERATOR WAS AT ITS LIMIT, so the times are its own as well: %s\n", g.Bottleneck)
	}
	return b.String()
}
