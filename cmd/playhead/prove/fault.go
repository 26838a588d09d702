package prove

import (
	"fmt"
	"sync"
)

// Fault is something that a cluster must not do.
type Fault struct {
	Kind string `json:"kind"` // lost, doubled, ghost …
	Text string `json:"text"`
}

// The kinds of faults.
const (
	faultLost      = "lost"            // acknowledged, and not delivered or not in the log
	faultDoubled   = "doubled"         // delivered or stored twice
	faultReordered = "reordered"       // not in the publisher's order, or not in the log's
	faultUnknown   = "unknown"         // delivered, and not in the log
	faultGap       = "gap"             // told by a server whose log holds everything
	faultTail      = "tail"            // a client that keeps its place gave up
	faultGhost     = "ghost"           // present, and not there
	faultDrift     = "drift"           // not all see the same people, or not those who are there
	faultTurn      = "out of turn"     // joined who is there, left who isn't
	faultHook      = "webhook"         // the same of webhooks, or a signature that isn't ours
	faultProcess   = "process"         // ended by itself, or not when told, or cried
	faultHeal      = "not healed"      // not whole again within the time it has
	faultQuiet     = "not caught up"   // clients that don't get to the end
	faultVacated   = "not vacated"     // everybody has left, and somebody is told to be there
	faultConnected = "still connected" // a session that outlived its node's burial
)

// mostTexts is how many faults of a kind are told; all are counted.
const mostTexts = 10

// faults collects what was found. It is safe for concurrent use.
type faults struct {
	mu     sync.Mutex
	counts map[string]int // guarded by mu
	told   []Fault        // guarded by mu
	known  int            // guarded by mu; how many of told news has given out
}

func newFaults() *faults { return &faults{counts: map[string]int{}} }

func (f *faults) add(kind, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[kind]++
	if f.counts[kind] <= mostTexts {
		f.told = append(f.told, Fault{kind, fmt.Sprintf(format, args...)})
	}
}

// count is how many there are of a kind.
func (f *faults) count(kind string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[kind]
}

// total is how many there are.
func (f *faults) total() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.counts {
		n += c
	}
	return n
}

// list returns those that are told.
func (f *faults) list() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Fault{}, f.told...)
}

// news returns those that are told and were not returned before.
func (f *faults) news() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	fresh := append([]Fault{}, f.told[f.known:]...)
	f.known = len(f.told)
	return fresh
}
