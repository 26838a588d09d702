package prove

import "github.com/playhead/playhead/broker"

// compare looks for what was acknowledged in what is stored and in what each client got, and says of
// the rest whether it is where it should be:
//
//   - everything acknowledged is stored, once, in the order of its publisher;
//   - every client has each acknowledged event of its channels, once;
//   - what a client has is stored, and in that order.
//
// What was not acknowledged may be stored or not, and late; then it is no different from the rest.
func compare(published []publication, stored map[broker.Channel][]eventID, clients []*clientLog, f *faults) {
	acked := map[broker.Channel]map[eventID]bool{}
	for _, p := range published {
		if p.acked.IsZero() {
			continue
		}
		for _, ch := range p.channels {
			if acked[ch] == nil {
				acked[ch] = map[eventID]bool{}
			}
			acked[ch][p.id] = true
		}
	}
	rank := map[broker.Channel]map[eventID]int{}
	for ch, ids := range stored {
		rank[ch] = compareStored(ch, ids, acked[ch], f)
	}
	for ch, ids := range acked {
		for id := range ids {
			if _, ok := rank[ch][id]; !ok {
				f.add(faultLost, "%v was acknowledged and is not in the log of %s", id, ch)
			}
		}
	}
	for _, c := range clients {
		compareClient(c, acked, rank, f)
	}
}

// compareStored checks a channel's log and returns the place of each event in it.
func compareStored(ch broker.Channel, ids []eventID, acked map[eventID]bool, f *faults) map[eventID]int {
	rank := make(map[eventID]int, len(ids))
	last := map[int]int{}
	for i, id := range ids {
		if _, ok := rank[id]; ok {
			f.add(faultDoubled, "%v is in the log of %s twice", id, ch)
			continue
		}
		rank[id] = i
		if !acked[id] {
			continue
		}
		if n := last[id.Publisher]; id.Number < n {
			f.add(faultReordered, "%v comes after p%d-%d in the log of %s", id, id.Publisher, n, ch)
		}
		last[id.Publisher] = id.Number
	}
	return rank
}

func compareClient(c *clientLog, acked map[broker.Channel]map[eventID]bool, rank map[broker.Channel]map[eventID]int, f *faults) {
	seen := map[broker.Channel]map[eventID]bool{}
	for _, ch := range c.channels {
		seen[ch] = map[eventID]bool{}
	}
	last := map[broker.Channel]delivery{}
	for _, d := range c.all() {
		if seen[d.ch] == nil {
			f.add(faultUnknown, "%s got %v in %s, which it doesn't follow", c.name, d.id, d.ch)
			continue
		}
		if seen[d.ch][d.id] {
			f.add(faultDoubled, "%s got %v in %s twice, again at %s", c.name, d.id, d.ch, clock(d.at))
			continue
		}
		seen[d.ch][d.id] = true
		at, ok := rank[d.ch][d.id]
		if !ok {
			f.add(faultUnknown, "%s got %v in %s, which is not in the log", c.name, d.id, d.ch)
			continue
		}
		if before, ok := last[d.ch]; ok && at < rank[d.ch][before.id] {
			f.add(faultReordered, "%s got %v in %s after %v, at %s", c.name, d.id, d.ch, before.id, clock(d.at))
			continue
		}
		last[d.ch] = d
	}
	for _, ch := range c.channels {
		for id := range acked[ch] {
			if !seen[ch][id] {
				f.add(faultLost, "%s did not get %v in %s", c.name, id, ch)
			}
		}
	}
}
