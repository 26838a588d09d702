package bench

import (
	"sync"
	"sync/atomic"
)

// lane is the events of one publisher on one channel. They are numbered from 0, and the next isn't
// sent before the last is answered: so their order is known, whatever others publish.
type lane struct {
	begun   atomic.Uint64 // events whose request may have been sent
	settled atomic.Uint64 // events whose request is over

	mu     sync.Mutex
	unsure map[uint64]bool // guarded by mu; settled without a yes: they may be stored or not
}

func (l *lane) doubt(n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unsure == nil {
		l.unsure = map[uint64]bool{}
	}
	l.unsure[n] = true
}

func (l *lane) doubted(n uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unsure[n]
}

// Faults counts what must not happen.
type Faults struct {
	Lost      int64 `json:"lost"`      // accepted by the server and not delivered
	Doubled   int64 `json:"doubled"`   // delivered again
	Reordered int64 `json:"reordered"` // delivered after a later one of the same publisher
	Foreign   int64 `json:"foreign"`   // delivered to a subscriber of another channel, or not what was published
	Closed    int64 `json:"closed"`    // connections that the server ended or didn't give back
}

// sum is how many faults there are.
func (f Faults) sum() int64 { return f.Lost + f.Doubled + f.Reordered + f.Foreign + f.Closed }

func (f *Faults) add(o Faults) {
	f.Lost += o.Lost
	f.Doubled += o.Doubled
	f.Reordered += o.Reordered
	f.Foreign += o.Foreign
	f.Closed += o.Closed
}

// tally is what one subscriber was given of one lane.
type tally struct {
	seen    bool
	next    uint64          // the number that comes next
	missing map[uint64]bool // those before it that were left out
}

// begin says that the subscription stands: what is begun from now on has to be delivered.
func (t *tally) begin(l *lane) { t.next = l.begun.Load() }

// take notes an event.
func (t *tally) take(n uint64, f *Faults) {
	// The one whose request was under way at the subscription may be delivered, or not.
	if !t.seen && n < t.next {
		t.next = n
	}
	t.seen = true
	switch {
	case n == t.next:
		t.next++
	case n > t.next:
		if t.missing == nil {
			t.missing = map[uint64]bool{}
		}
		for ; t.next < n; t.next++ {
			t.missing[t.next] = true
		}
		t.next = n + 1
	case t.missing[n]:
		delete(t.missing, n)
		f.Reordered++
	default:
		f.Doubled++
	}
}

// lost counts the events before upto that were accepted and aren't here.
func (t *tally) lost(l *lane, upto uint64) (count int64) {
	for n := range t.missing {
		if !l.doubted(n) {
			count++
		}
	}
	for n := t.next; n < upto; n++ {
		if !l.doubted(n) {
			count++
		}
	}
	return count
}
