package prove

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Kind is a kind of trouble.
type Kind string

// The kinds of trouble.
const (
	KillNode     Kind = "kill-node"     // kill -9 of a node
	KillLeader   Kind = "kill-leader"   // kill -9 of the NATS server that leads the app's stream
	KillFollower Kind = "kill-follower" // kill -9 of one that doesn't
	CutLinks     Kind = "cut-links"     // connections are reset, new ones too
	StallLinks   Kind = "stall-links"   // bytes are held, nobody is told
	SlowLinks    Kind = "slow-links"    // bytes come late
	PauseShort   Kind = "pause-short"   // SIGSTOP of a node for less than its peers wait
	PauseLong    Kind = "pause-long"    // SIGSTOP of a node for longer
	RollNodes    Kind = "roll-nodes"    // SIGTERM and start of one node after the other
	RollNATS     Kind = "roll-nats"     // the same of NATS servers
)

// Kinds returns all kinds of trouble.
func Kinds() []Kind {
	return []Kind{KillNode, KillLeader, KillFollower, CutLinks, StallLinks, SlowLinks, PauseShort, PauseLong, RollNodes, RollNATS}
}

// ParseKinds reads kinds, separated by commas; the empty text is all of them. The error lists them.
func ParseKinds(text string) ([]Kind, error) {
	if text == "" {
		return Kinds(), nil
	}
	var kinds []Kind
	for word := range strings.SplitSeq(text, ",") {
		k := Kind(strings.TrimSpace(word))
		if !slices.Contains(Kinds(), k) {
			return nil, fmt.Errorf("unknown kind %q; known: %s", k, join(Kinds()))
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

func join(kinds []Kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}

// Step is one trouble of a plan.
type Step struct {
	Kind Kind `json:"kind"`

	// Node and NATS are who is meant, counted from 1; 0 is nobody in particular. For links: a
	// node alone is cut off from all NATS servers, with a NATS server from that one; a NATS server
	// alone is cut off from its peers.
	Node int `json:"node,omitempty"`
	NATS int `json:"nats,omitempty"`

	Lasts   time.Duration `json:"lasts_ns,omitempty"`   // until it is taken back; 0 where that is a matter of others
	Latency time.Duration `json:"latency_ns,omitempty"` // of slow links, each way
	Rest    time.Duration `json:"rest_ns"`              // after it has healed
}

// String tells the step.
func (s Step) String() string {
	lasts := s.Lasts.Round(100 * time.Millisecond)
	switch s.Kind {
	case KillNode:
		return fmt.Sprintf("kill -9 node-%d", s.Node)
	case KillLeader:
		return fmt.Sprintf("kill -9 the stream's leader, back after %v", lasts)
	case KillFollower:
		return fmt.Sprintf("kill -9 a follower, back after %v", lasts)
	case CutLinks:
		return fmt.Sprintf("cut %s for %v", s.links(), lasts)
	case StallLinks:
		return fmt.Sprintf("stall %s for %v", s.links(), lasts)
	case SlowLinks:
		return fmt.Sprintf("slow %s by %v for %v", s.links(), s.Latency, lasts)
	case PauseShort, PauseLong:
		return fmt.Sprintf("pause node-%d for %v", s.Node, lasts)
	case RollNodes:
		return "restart the nodes, one after the other"
	case RollNATS:
		return "restart the NATS servers, one after the other"
	}
	return string(s.Kind)
}

func (s Step) links() string {
	switch {
	case s.Node > 0 && s.NATS > 0:
		return fmt.Sprintf("node-%d from nats-%d", s.Node, s.NATS)
	case s.Node > 0:
		return fmt.Sprintf("node-%d from all NATS servers", s.Node)
	}
	return fmt.Sprintf("nats-%d from its peers", s.NATS)
}

// servers is how many NATS servers there are: the least that outlive one.
const servers = 3

// stepTime is what a step takes, from the trouble to the end of the rest, on average.
const stepTime = 9 * time.Second

// plan draws the steps for a run of about a duration: in each round every kind once, in an order of
// its own. The same arguments give the same plan. It has at least one step.
func plan(seed uint64, nodes int, kinds []Kind, duration time.Duration) []Step {
	rng := rand.New(rand.NewPCG(seed, 0))
	steps := make([]Step, 0, max(1, int((duration+stepTime-1)/stepTime)))
	for len(steps) < cap(steps) {
		for _, i := range rng.Perm(len(kinds)) {
			if len(steps) == cap(steps) {
				break
			}
			steps = append(steps, draw(rng, kinds[i], nodes))
		}
	}
	return steps
}

// draw draws a step of a kind.
func draw(rng *rand.Rand, kind Kind, nodes int) Step {
	between := func(least, most int) time.Duration {
		return time.Duration(least+rng.IntN(most-least+1)) * time.Millisecond
	}
	s := Step{Kind: kind}
	switch kind {
	case KillNode:
		s.Node = 1 + rng.IntN(nodes)
	case KillLeader, KillFollower:
		s.Lasts = between(500, 3000)
	case CutLinks, StallLinks, SlowLinks:
		switch rng.IntN(3) {
		case 0:
			s.Node = 1 + rng.IntN(nodes)
		case 1:
			s.Node, s.NATS = 1+rng.IntN(nodes), 1+rng.IntN(servers)
		default:
			s.NATS = 1 + rng.IntN(servers)
		}
		s.Lasts = between(1000, 6000)
		if kind == SlowLinks {
			s.Latency = between(20, 200)
		}
	case PauseShort:
		s.Node, s.Lasts = 1+rng.IntN(nodes), between(200, int(nodeTimeout.Milliseconds())/2)
	case PauseLong:
		s.Node, s.Lasts = 1+rng.IntN(nodes), between(2*int(nodeTimeout.Milliseconds()), 4*int(nodeTimeout.Milliseconds()))
	}
	s.Rest = between(500, 2000)
	return s
}
