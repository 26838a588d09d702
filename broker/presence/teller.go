package presence

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/playhead/playhead/broker"
)

// mostUntold is how many notices are kept for the case that this node has to tell them. With more the
// oldest are forgotten, and would not be told if the teller died now.
const mostUntold = 100_000

// teller is who tells the backends: the node that has lived longest. All letters come from one node so that
// they are queued in the order of the log; a backend that hears of a user first that it is gone and then
// that it has come is wrong for ever. The others keep what may not have been told yet. All but me and
// folded are of the goroutine that folds.
type teller struct {
	me     atomic.Bool   // this node is it
	folded atomic.Uint64 // up to which serial everything was handed to the observer
	untold []*broker.Notice
}

// report has a notice told: by this node if it is the teller, else, should it become that. What stands
// nowhere in the log only the teller knows of.
func (c *cluster) report(n *broker.Notice, at *place) {
	t := &c.teller
	if at != nil {
		at.notices++
		n.ID = fmt.Sprintf("%s-%d-%d", at.position.Epoch, at.position.Serial, at.notices)
		n.Mark = at.position.Serial
		if t.untold = append(t.untold, n); len(t.untold) > mostUntold {
			t.untold = slices.Delete(t.untold, 0, mostUntold/10)
		}
	}
	if t.me.Load() {
		c.registry.observer.Notify(n)
	}
}

// elect notes who the teller is after a node has begun or ended. A new one begins with what the former one
// may not have told.
func (c *cluster) elect() {
	t := &c.teller
	oldest := c.oldest()
	me := oldest != nil && oldest.node == self
	if t.me.Swap(me) || !me || c.registry.observer == nil {
		return
	}
	for _, n := range t.untold {
		c.registry.observer.Notify(n)
	}
}

// oldest returns the node that has lived longest, nil when there is none.
func (c *cluster) oldest() *peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var oldest *peer
	for _, p := range c.peers {
		if oldest == nil || p.begun < oldest.begun {
			oldest = p
		}
	}
	return oldest
}

// told forgets what was told.
func (t *teller) told(serial uint64) {
	n := 0
	for n < len(t.untold) && t.untold[n].Mark <= serial {
		n++
	}
	t.untold = slices.Delete(t.untold, 0, n)
}

// settled is up to which serial everything was told, if this node is the teller; else 0.
func (c *cluster) settled() uint64 {
	if !c.teller.me.Load() {
		return 0
	}
	folded := c.teller.folded.Load() // before the question: what is handed over now is later
	if mark, waiting := c.cfg.Waiting(); waiting {
		return mark - 1
	}
	return folded
}
