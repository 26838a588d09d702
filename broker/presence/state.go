package presence

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/playhead/playhead/broker"
)

const (
	// stateBytes is after how many bytes of entries a state is written, and at least twice what the
	// former one took.
	stateBytes = 4 << 20

	// stateMost is after how long one is written at the latest: the log remembers longer.
	stateMost = 10 * time.Minute

	// stateLeast is after how long one is written, when what came since is a quarter of it.
	stateLeast = time.Minute
)

// part is a part of what all entries up to a serial come to, in an event's data. A node that comes reads
// the last state and the entries after it.
type part struct {
	State  string `json:"state"`  // which one; all parts of it have the same
	Serial uint64 `json:"serial"` // of the last entry that is in it
	Part   int    `json:"part"`   // 0 is the first
	Parts  int    `json:"parts"`

	Peers   []statePeer `json:"peers,omitempty"` // in the first part
	Node    string      `json:"node,omitempty"`  // whose changes these are
	Changes []change    `json:"changes,omitempty"`
}

type statePeer struct {
	Node   string `json:"node"`
	Life   string `json:"life"`
	Number uint64 `json:"number"`
	Serial uint64 `json:"serial"`
	Begun  uint64 `json:"begun"`
	Status Status `json:"status"`
}

// stateClock says when the next state is due. All but lag are of the goroutine that folds.
type stateClock struct {
	lag   atomic.Int64 // ms between the time of the last entry and its folding
	since int          // bytes of entries since the last state
	size  int          // of the last state
	last  time.Time    // when the last state was seen
}

// saw notes that a part of a state went by.
func (s *stateClock) saw(e *broker.Event) {
	if e.Name == "0" {
		s.size = 0
		s.since = 0
		s.last = time.Now()
	}
	s.size += len(e.Data)
}

// due reports whether a state is to be written.
func (s *stateClock) due(e *broker.Event) bool {
	s.since += len(e.Data)
	age := time.Since(s.last)
	return s.since > max(stateBytes, 2*s.size) || age > stateMost || age > stateLeast && 4*s.since > s.size
}

// writeState has the state written up to an entry of this node's, when it is due and nobody has lived longer.
func (l *life) writeState(e *broker.Event) {
	c := l.cluster
	if !l.state.due(e) {
		return
	}
	if c.oldest().node != self {
		return
	}
	parts := c.state(e.Position.Serial)
	size := 0
	for i, p := range parts {
		data, err := json.Marshal(p)
		if err != nil {
			l.logger.Error("the state of who is where can't be encoded", "err", err)
			return
		}
		size += len(data)
		l.say(item{event: &broker.Event{
			App: App, Channel: states, ID: fmt.Sprintf("%s-%d", p.State, i), Name: fmt.Sprint(i), Data: data,
		}})
	}
	c.registry.metrics.state.Set(float64(size))
	// Until it is seen in the log.
	l.state.since, l.state.size, l.state.last = 0, size, time.Now()
}

// state is what all entries up to a serial, the last one folded, come to.
func (c *cluster) state(serial uint64) []part {
	c.mu.Lock()
	var peers []*peer
	first := part{}
	for _, p := range c.peers {
		peers = append(peers, p)
		first.Peers = append(first.Peers, statePeer{Node: p.name, Life: p.life, Number: p.number, Serial: p.serial, Begun: p.begun, Status: p.status})
	}
	c.mu.Unlock()
	slices.SortFunc(peers, func(a, b *peer) int { return strings.Compare(a.name, b.name) })
	slices.SortFunc(first.Peers, func(a, b statePeer) int { return strings.Compare(a.Node, b.Node) })
	parts := []part{first}
	for _, p := range peers {
		size := mostData // begin another part
		for _, a := range c.registry.all() {
			a.mu.Lock()
			all := a.of(p.node)
			a.mu.Unlock()
			for _, ch := range all {
				if size >= mostData {
					parts = append(parts, part{Node: p.name})
					size = 0
				}
				last := &parts[len(parts)-1]
				last.Changes = append(last.Changes, ch)
				size += len(ch.Info) + len(ch.Channel) + len(ch.App) + 64
			}
		}
	}
	name := rand.Text()
	for i := range parts {
		parts[i].State, parts[i].Serial, parts[i].Part, parts[i].Parts = name, serial, i, len(parts)
	}
	return parts
}

// load folds what the log holds up to a position: the last whole state, and the entries after it. Without
// a state that is everything; a log that has forgotten its beginning and holds no state was not written to
// by anybody who lives.
func (l *life) load(ctx context.Context, upto broker.Position) error {
	c := l.cluster
	c.registry.clear()
	c.teller.untold = nil
	l.state.last = time.Now()
	oldest, _, err := c.cfg.Log.Bounds(ctx, App)
	if err != nil {
		return err
	}
	parts, err := l.lastState(ctx, oldest.Serial, upto.Serial)
	if err != nil {
		return err
	}
	after := max(oldest.Serial, 1) - 1
	if len(parts) > 0 {
		if after = parts[0].Serial; after+1 < oldest.Serial {
			return fmt.Errorf("%w: the last state is of serial %d, and the log begins with %d", errBroken, after, oldest.Serial)
		}
		c.restore(parts)
	}
	for e, err := range c.cfg.Log.Range(ctx, App, "", after, upto.Serial) {
		if err != nil {
			return err
		}
		if err := l.fold(e); err != nil {
			return err
		}
	}
	// What was forgotten while it was read may have been left out.
	if oldest, _, err = c.cfg.Log.Bounds(ctx, App); err != nil {
		return err
	}
	if after+1 < oldest.Serial && len(parts) > 0 {
		return fmt.Errorf("%w: the log forgot what was being read", errBroken)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.peers {
		p.seen = time.Now()
	}
	return nil
}

// lastState returns the last whole state in the log, or nil when there is none. Usually its last part is
// the last of all.
func (l *life) lastState(ctx context.Context, oldest, upto uint64) ([]part, error) {
	last, err := l.cluster.cfg.Log.Last(ctx, App, states)
	if err != nil || last == nil {
		return nil, err
	}
	var p part
	if err := json.Unmarshal(last.Data, &p); err != nil {
		return nil, fmt.Errorf("read a state at serial %d: %w", last.Position.Serial, err)
	}
	after := max(oldest, 1) - 1
	if p.Part == p.Parts-1 && last.Position.Serial <= upto {
		after = max(after, p.Serial)
	}
	var whole, some []part
	for e, err := range l.cluster.cfg.Log.Range(ctx, App, states, after, upto) {
		if err != nil {
			return nil, err
		}
		var p part
		if err := json.Unmarshal(e.Data, &p); err != nil {
			return nil, fmt.Errorf("read a state at serial %d: %w", e.Position.Serial, err)
		}
		switch {
		case p.Part == 0:
			some = []part{p}
		case len(some) == p.Part && some[0].State == p.State:
			some = append(some, p)
		}
		if len(some) > 0 && len(some) == some[0].Parts {
			whole, some = some, nil
		}
	}
	return whole, nil
}

// restore brings about a state.
func (c *cluster) restore(parts []part) {
	nodes := map[string]uint32{}
	for _, s := range parts[0].Peers {
		p := &peer{name: s.Node, life: s.Life, number: s.Number, serial: s.Serial, begun: s.Begun, status: s.Status, node: c.place()}
		nodes[s.Node] = p.node
		c.mu.Lock()
		c.peers[s.Node] = p
		c.mu.Unlock()
	}
	for _, part := range parts {
		for i := range part.Changes {
			ch := &part.Changes[i]
			a := c.registry.app(ch.App)
			a.mu.Lock()
			_ = c.registry.apply(a, ch, origin{node: nodes[part.Node], time: time.Now()}) // no limit is in it; nobody is told
			a.mu.Unlock()
		}
	}
}
