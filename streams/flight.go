package streams

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// flight is what is stored by one acknowledgement: one event as a plain publish, or several as an
// atomic batch. It is owned by its appender.
type flight struct {
	items    []*item // with different IDs
	number   uint64  // the last token of the subject its answer comes to
	answered bool
}

// over reports whether nobody waits for any of it.
func (f *flight) over() bool {
	return !slices.ContainsFunc(f.items, (*item).awaited)
}

// requests yields the request of each item and twin.
func (f *flight) requests(yield func(*request) bool) {
	for _, it := range f.items {
		if !yield(it.request) {
			return
		}
		for _, twin := range it.twins {
			if !yield(twin.request) {
				return
			}
		}
	}
}

// awaited reports whether somebody waits for the item, or for a twin of it.
func (it *item) awaited() bool {
	if it.request.left > 0 {
		return true
	}
	return slices.ContainsFunc(it.twins, (*item).awaited)
}

// commit makes a flight of the first requests, as many as fit; it returns how many those are. A
// request is never split. Requests whose callers have left are passed over, so there may be none.
func (a *appender) commit(requests []*request) (*flight, int) {
	f := &flight{}
	bytes := int64(0)
	for n, r := range requests {
		if r.abandoned.Load() {
			a.giveUp(r)
			continue
		}
		if len(f.items) > 0 && (len(f.items)+len(r.items) > appendEvents || bytes+r.cost > flightBytes) {
			f.pair()
			return f, n
		}
		bytes += r.cost
		for i := range r.items {
			f.items = append(f.items, &r.items[i])
		}
	}
	f.pair()
	return f, len(requests)
}

// pair leaves of several items with one ID the first; the others get its answer. The stream would
// refuse the whole batch.
func (f *flight) pair() {
	if len(f.items) < 2 {
		return
	}
	byID := make(map[string]*item, len(f.items))
	items := f.items[:0]
	for _, it := range f.items {
		if it.id != "" {
			if first := byID[it.id]; first != nil {
				first.twins = append(first.twins, it)
				continue
			}
			byID[it.id] = it
		}
		items = append(items, it)
	}
	f.items = items
}

// few is up to how many events of as many requests fly better by themselves than as a batch. The
// server stages a batch in files of its own, which costs as much as storing about this many one by
// one.
const few = 8

// split returns the flight, or, when it has few items that don't belong together, one for each.
func (f *flight) split() []*flight {
	together := func(it *item) bool { return len(it.request.items) > 1 || len(it.twins) > 0 }
	switch {
	case len(f.items) == 0:
		return nil
	case len(f.items) == 1 || len(f.items) > few || slices.ContainsFunc(f.items, together):
		return []*flight{f}
	}
	flights := make([]*flight, len(f.items))
	for i := range f.items {
		flights[i] = &flight{items: f.items[i : i+1 : i+1]}
	}
	return flights
}

// board puts a flight behind those in the air, without publishing it yet.
func (a *appender) board(f *flight) {
	f.number = a.number
	a.number++
	if len(a.flights) == 0 {
		a.heard = time.Now()
	}
	a.flights = append(a.flights, f)
}

// send publishes a flight and puts it behind those in the air. An error of the connection stops
// the appender; the flight is then sent again with the others.
func (a *appender) send(f *flight) {
	a.board(f)
	number := strconv.FormatUint(f.number, 36)
	reply, batch := a.inbox+number, a.batch+number
	for i, it := range f.items {
		m := it.msg
		m.Reply = ""
		delete(m.Header, headerBatchCommit)
		if len(f.items) == 1 {
			delete(m.Header, headerBatchID)
			delete(m.Header, headerBatchSerial)
			m.Reply = reply
		} else {
			m.Header[headerBatchID] = []string{batch}
			m.Header[headerBatchSerial] = []string{strconv.Itoa(i + 1)}
			if i == 0 {
				m.Reply = reply // tells why, when the stream takes no batch
			}
			if i == len(f.items)-1 {
				m.Reply = reply
				m.Header[headerBatchCommit] = []string{"1"}
			}
		}
		if err := a.nc.PublishMsg(m); err != nil {
			a.fail(fmt.Errorf("publish to stream %s: %w", a.stream.name, err))
			return
		}
	}
}

// findDuplicates answers the items of a batch whose IDs the stream knows, and sends the others in
// a new flight. The stream refuses a batch as a whole and doesn't say which item is to blame, so it
// is asked for each: by a message of the same ID and without content that asks for a rollup. A
// known ID is answered as a duplicate, with the serial; an unknown one is refused, for the stream
// permits no rollups, and nothing is stored or remembered of it.
func (a *appender) findDuplicates(ctx context.Context, f *flight) {
	a.probes++
	prefix := a.inbox + "p" + strconv.FormatUint(a.probes, 36) + "_"
	for i, it := range f.items {
		if it.id == "" {
			continue
		}
		err := a.nc.PublishMsg(&nats.Msg{
			Subject: it.msg.Subject,
			Reply:   prefix + strconv.Itoa(i),
			Header:  nats.Header{headerID: {it.id}, headerRollup: {"sub"}},
		})
		if err != nil {
			a.fail(fmt.Errorf("ask stream %s for duplicates: %w", a.stream.name, err))
			return
		}
	}
	missing, ok := a.hearProbes(ctx, f, prefix)
	if !ok {
		return
	}
	f.answered = true
	if len(missing) > 0 {
		a.send(&flight{items: missing})
	}
}

// hearProbes waits for the answers about a flight's items and returns those that aren't stored,
// unless something went wrong. The answers of other flights are kept for later.
func (a *appender) hearProbes(ctx context.Context, f *flight, prefix string) (missing []*item, ok bool) {
	type answer struct {
		serial uint64
		known  bool
	}
	answers := make([]answer, len(f.items))
	open := 0
	for _, it := range f.items {
		if it.id != "" {
			open++
		}
	}
	timeout := time.NewTimer(ackTimeout)
	defer timeout.Stop()
	for open > 0 {
		select {
		case m := <-a.acks:
			rest, mine := strings.CutPrefix(m.Subject, prefix)
			if !mine {
				a.late = append(a.late, m)
				continue
			}
			i, err := strconv.Atoi(rest)
			if err != nil || i < 0 || i >= len(answers) || answers[i].known {
				continue
			}
			ack, err := parseAck(m)
			switch {
			case err == nil && ack.Error == nil && ack.Duplicate:
				answers[i].serial = ack.Serial
			case err == nil && ack.Error != nil && ack.Error.ErrCode == codeRollupRefused:
			case err == nil && ack.Error != nil:
				a.fail(ack.Error)
				return nil, false
			default:
				a.fail(fmt.Errorf("ask stream %s for duplicates: %q %w", a.stream.name, m.Data, err))
				return nil, false
			}
			answers[i].known = true
			open--
		case <-timeout.C:
			a.fail(fmt.Errorf("no answer about duplicates for %v", ackTimeout))
			return nil, false
		case <-ctx.Done():
			return nil, false
		}
	}
	for i, it := range f.items {
		if serial := answers[i].serial; serial > 0 {
			a.found(it, serial, true)
		} else {
			missing = append(missing, it)
		}
	}
	return missing, true
}
