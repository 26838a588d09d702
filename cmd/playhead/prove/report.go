package prove

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/playhead/playhead/broker"
)

// Report is what a run has shown.
type Report struct {
	Passed  bool      `json:"passed"`
	Seed    uint64    `json:"seed"`
	Nodes   int       `json:"nodes"`
	Servers int       `json:"nats_servers"`
	Began   time.Time `json:"began"`
	Seconds Seconds   `json:"seconds"`
	Plan    []Step    `json:"plan"`

	Events   EventCounts   `json:"events"`
	Presence PresenceFacts `json:"presence"`
	Webhooks WebhookCounts `json:"webhooks"`
	Kinds    []KindFacts   `json:"kinds"`

	FaultCount int     `json:"fault_count"`
	Faults     []Fault `json:"faults"` // the first of each kind
	// LastRefusal is why the last event that was not acknowledged was not.
	LastRefusal string `json:"last_refusal,omitempty"`
}

// EventCounts are about what was published, and what clients that keep their place got.
type EventCounts struct {
	Published      int `json:"published"`
	Acknowledged   int `json:"acknowledged"`
	Unacknowledged int `json:"unacknowledged"`
	Clients        int `json:"clients"`
	Deliveries     int `json:"deliveries"`
	Lost           int `json:"lost"`
	Doubled        int `json:"doubled"`
	Reordered      int `json:"reordered"`
	Unknown        int `json:"unknown"`
	Gaps           int `json:"gaps"`
}

// PresenceFacts are about who is told to be present.
type PresenceFacts struct {
	People       int     `json:"people"`
	Drift        int     `json:"drift"`
	Ghosts       int     `json:"ghosts"`
	OutOfTurn    int     `json:"out_of_turn"` // member_added and member_removed that can't be
	NotVacated   int     `json:"not_vacated"`
	SlowestGhost Seconds `json:"slowest_ghost_seconds"`
}

// WebhookCounts are about webhooks.
type WebhookCounts struct {
	Received int `json:"received"`
	Repeated int `json:"repeated"` // told nothing new; in a trouble at least once allows a few
	Faults   int `json:"faults"`
	// Again are the first of those repeated, with the time of day.
	Again []string `json:"again,omitempty"`
}

// KindFacts are about one kind of trouble: the worst of its times.
type KindFacts struct {
	Kind            Kind    `json:"kind"`
	Times           int     `json:"times"`
	NoAck           Seconds `json:"no_ack_seconds"`
	SlowestPublish  Seconds `json:"slowest_publish_seconds"`
	NoDelivery      Seconds `json:"no_delivery_seconds"`
	GhostsGoneAfter Seconds `json:"ghosts_gone_after_seconds,omitempty"`
	AgreedAfter     Seconds `json:"agreed_after_seconds"`
	HealedAfter     Seconds `json:"healed_after_seconds"`
}

// Seconds is a time in seconds, to the millisecond.
type Seconds float64

func seconds(d time.Duration) Seconds { return Seconds(d.Milliseconds()) / 1000 }

// short writes a time for people.
func short(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

func (s Seconds) String() string { return fmt.Sprintf("%.2fs", float64(s)) }

// report compares, and sums up.
func (r *run) report(outcomes []outcome, stored map[broker.Channel][]eventID) *Report {
	published := r.load.ledger.publications()
	compare(published, stored, r.load.logs, r.faults)
	spans := make([]span, len(outcomes))
	for i, o := range outcomes {
		spans[i] = o.span
	}
	repeated := r.receiver.judge(spans, r.cfg.Nodes)
	total, acked := r.load.ledger.numbers()
	f := r.faults
	rep := &Report{
		Seed: r.cfg.Seed, Nodes: r.cfg.Nodes, Servers: servers, Began: r.began, Seconds: seconds(time.Since(r.began)), Plan: r.plan,
		Events: EventCounts{
			Published: total, Acknowledged: acked, Unacknowledged: total - acked, Clients: len(r.load.logs),
			Lost: f.count(faultLost), Doubled: f.count(faultDoubled), Reordered: f.count(faultReordered),
			Unknown: f.count(faultUnknown), Gaps: f.count(faultGap),
		},
		Presence: PresenceFacts{
			People: len(r.crowd.people), Drift: f.count(faultDrift), Ghosts: f.count(faultGhost),
			OutOfTurn: f.count(faultTurn), NotVacated: f.count(faultVacated),
		},
		Webhooks:   WebhookCounts{Received: r.receiver.count(), Repeated: repeated, Faults: f.count(faultHook)},
		FaultCount: f.total(), Faults: f.list(), LastRefusal: r.load.lastRefusal(),
	}
	rep.Webhooks.Again = r.receiver.again()
	rep.Passed = rep.FaultCount == 0
	for _, c := range r.load.logs {
		rep.Events.Deliveries += len(c.all())
	}
	rep.sum(outcomes, listen(spans, published, r.load.logs))
	return rep
}

// sum gathers the outcomes by kind.
func (r *Report) sum(outcomes []outcome, quiet []silences) {
	for _, kind := range Kinds() {
		k := KindFacts{Kind: kind}
		for i, o := range outcomes {
			if o.step.Kind != kind {
				continue
			}
			k.Times++
			k.NoAck = max(k.NoAck, seconds(quiet[i].Ack))
			k.SlowestPublish = max(k.SlowestPublish, seconds(quiet[i].Publish))
			k.NoDelivery = max(k.NoDelivery, seconds(quiet[i].Delivery))
			k.GhostsGoneAfter = max(k.GhostsGoneAfter, seconds(o.ghosts))
			k.AgreedAfter = max(k.AgreedAfter, seconds(o.agreed))
			k.HealedAfter = max(k.HealedAfter, seconds(o.healed))
		}
		if k.Times > 0 {
			r.Kinds = append(r.Kinds, k)
		}
		r.Presence.SlowestGhost = max(r.Presence.SlowestGhost, k.GhostsGoneAfter)
	}
}

// write writes the report for people. What can't be written they won't miss.
func (r *Report) write(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	e, p, h := r.Events, r.Presence, r.Webhooks
	fmt.Fprintf(w, "\nevents\tpublished %d, acknowledged %d, not acknowledged %d\n", e.Published, e.Acknowledged, e.Unacknowledged)
	fmt.Fprintf(w, "clients\t%d, with %d deliveries: lost %d, doubled %d, reordered %d, unknown %d, gaps %d\n",
		e.Clients, e.Deliveries, e.Lost, e.Doubled, e.Reordered, e.Unknown, e.Gaps)
	fmt.Fprintf(w, "presence\t%d people: drift %d, ghosts %d (the last gone after %v), out of turn %d, not vacated %d\n",
		p.People, p.Drift, p.Ghosts, p.SlowestGhost, p.OutOfTurn, p.NotVacated)
	fmt.Fprintf(w, "webhooks\t%d received, of them %d again; faults %d\n", h.Received, h.Repeated, h.Faults)
	_ = w.Flush()
	fmt.Fprintln(out)
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "longest\ttimes\tno ack\tone publish\tno delivery\tghosts\tagreed\thealed\t")
	for _, k := range r.Kinds {
		ghosts := "–"
		if k.GhostsGoneAfter > 0 {
			ghosts = k.GhostsGoneAfter.String()
		}
		fmt.Fprintf(w, "%s\t%d\t%v\t%v\t%v\t%s\t%v\t%v\t\n", k.Kind, k.Times, k.NoAck, k.SlowestPublish, k.NoDelivery, ghosts, k.AgreedAfter, k.HealedAfter)
	}
	_ = w.Flush()
	fmt.Fprintln(out)
	if r.LastRefusal != "" {
		fmt.Fprintf(out, "The last event that was not acknowledged: %s\n", r.LastRefusal)
	}
	for _, f := range r.Faults {
		fmt.Fprintf(out, "FAULT  %s: %s\n", f.Kind, f.Text)
	}
	verdict := "NOT PASSED"
	if r.Passed {
		verdict = "PASSED"
	}
	fmt.Fprintf(out, "%s  seed %d, %d nodes, %d faults in %.0fs\n", verdict, r.Seed, r.Nodes, r.FaultCount, float64(r.Seconds))
}
