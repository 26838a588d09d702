package prove

import (
	"slices"
	"time"
)

// longest returns the longest time without any of these, which are in order, within a span.
func longest(times []time.Time, s span) time.Duration {
	most := time.Duration(0)
	from := s.from
	first, _ := slices.BinarySearchFunc(times, s.from, time.Time.Compare)
	for _, at := range times[first:] {
		if at.After(s.to) {
			break
		}
		most = max(most, at.Sub(from))
		from = at
	}
	return max(most, s.to.Sub(from))
}

// silences are the longest times without something, during one trouble.
type silences struct {
	Ack      time.Duration // without any acknowledgement, for all publishers together
	Publish  time.Duration // from the beginning of a publish to its acknowledgement
	Delivery time.Duration // without any delivery, for one client
}

// listen measures the silences of each span, given what was published and what clients got.
func listen(spans []span, published []publication, clients []*clientLog) []silences {
	acks := make([]time.Time, 0, len(published))
	for _, p := range published {
		if !p.acked.IsZero() {
			acks = append(acks, p.acked)
		}
	}
	slices.SortFunc(acks, time.Time.Compare)
	all := make([]silences, len(spans))
	for i, s := range spans {
		all[i].Ack = longest(acks, s)
		for _, p := range published {
			if !p.acked.IsZero() && p.acked.After(s.from) && p.began.Before(s.to) {
				all[i].Publish = max(all[i].Publish, p.acked.Sub(p.began))
			}
		}
	}
	for _, c := range clients {
		deliveries := c.all()
		times := make([]time.Time, len(deliveries))
		for i, d := range deliveries {
			times[i] = d.at
		}
		for i, s := range spans {
			all[i].Delivery = max(all[i].Delivery, longest(times, s))
		}
	}
	return all
}
