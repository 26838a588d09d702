package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The size of a storm; `task soak` raises it through the environment.
var (
	stormEnds = setting("PLAYHEAD_STORM_ENDS", 4)   // times the node is ended in a storm
	stormAcks = setting("PLAYHEAD_STORM_ACKS", 600) // acknowledged events before each
)

func setting(name string, value int) int {
	if text, ok := os.LookupEnv(name); ok {
		if n, err := strconv.Atoi(text); err == nil {
			return n
		}
	}
	return value
}

// stormCutBytes is the most that a fickle connection lives for: a few dozen events.
const stormCutBytes = 100_000

const (
	stormPublishers = 6
	stormFollowers  = 4
	stormFickle     = 3 // of them, whose connections break at random instants
	stormLast       = "storm-over"
)

// TestStorm is the house's promise under the worst that one machine can do to it: publishers at
// full speed, clients that keep their place, most of whose connections break after some bytes, in
// the middle of a frame if need be, and a node that is ended in the middle and started again on its
// data, over and over. Then
//
//   - every acknowledged event is in the log, once;
//   - the events of each publisher are in its order;
//   - every client has been given the log: each event once, in order, no gap told.
func TestStorm(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		sync string
		end  func(*node)
	}{
		{"kill with sync always", "always", (*node).kill},
		{"kill with sync interval", "interval", (*node).kill},
		{"SIGTERM", "always", (*node).stop},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, nodeConfig{Env: []string{
				"SYNC_MODE=" + tt.sync,
				"SHUTDOWN_DRAIN=200ms",
				"REPLAY_MAX_EVENTS=10000000", // the last reader reads everything at once
				"REPLAY_MAX_BYTES=4GiB",
			}})
			storm(t, n, tt.end)
		})
	}
}

func storm(t *testing.T, n *node, end func(*node)) {
	ctx, cancel := context.WithTimeout(t.Context(), patience*time.Duration(2+stormEnds)+time.Duration(stormEnds*stormAcks)*20*time.Millisecond)
	defer cancel()
	channels := []string{"storm", "private-storm.a@b;c", "private-storm-2"}

	// Clients first: they are to see everything.
	var clients sync.WaitGroup
	defer clients.Wait()
	followers := make([]*follower, stormFollowers)
	results := make([]error, stormFollowers)
	subscribed := make(chan struct{}, stormFollowers)
	for i := range followers {
		followers[i] = follow(n, stormLast, channels...)
		if i < stormFickle {
			followers[i].fickle = newFickle(uint64(i), stormCutBytes)
		}
		clients.Go(func() {
			results[i] = followers[i].run(ctx, func() { subscribed <- struct{}{} })
			if results[i] != nil {
				cancel()
			}
		})
	}
	for range followers {
		select {
		case <-subscribed:
		case <-ctx.Done():
			clients.Wait()
			t.Fatalf("clients not subscribed: %v", results)
		}
	}

	s := &stormPublishing{node: n, channels: channels}
	publishing, calm := context.WithCancel(ctx)
	defer calm()
	var publishers sync.WaitGroup
	defer publishers.Wait()
	for i := range stormPublishers {
		p := n.publisher()
		publishers.Go(func() { s.run(publishing, p, i) })
	}
	for i := range stormEnds + 1 {
		s.awaitAcks(ctx, t, (i+1)*stormAcks)
		if i < stormEnds {
			end(n)
			n.start()
		}
	}
	calm()
	publishers.Wait()
	for _, ch := range channels {
		n.publisher().mustPublish(t, ch, stormLast, "{}")
	}
	clients.Wait()
	for i, err := range results {
		if err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}

	// A fresh client reads the log from its beginning.
	reader := follow(n, stormLast, channels...).from(followers[0])
	if err := reader.run(ctx, nil); err != nil {
		t.Fatalf("fresh reader: %v", err)
	}
	s.compare(t, reader)
	missed := 0
	for i, f := range followers {
		for _, ch := range channels {
			missed += f.track[ch].missed
			if diff := cmp.Diff(reader.track[ch].events, f.track[ch].events); diff != "" {
				t.Errorf("client %d did not see the log of %s (-log +seen):\n%.4000s", i, ch, diff)
			}
		}
		switch {
		case f.fickle != nil && f.fickle.total() == 0:
			t.Errorf("no connection of client %d broke", i)
		case f.fickle == nil && f.connects != stormEnds+1:
			t.Logf("client %d connected %d times for %d ends of the node", i, f.connects, stormEnds)
		}
	}
	if missed == 0 {
		t.Error("no client missed an event over a restart: the storm was no storm")
	}
	cuts := 0
	for _, f := range followers[:stormFickle] {
		cuts += f.fickle.total()
	}
	t.Logf("%d acknowledged, %d stored without an answer, %d replayed to %d clients over %d restarts and %d cuts",
		len(s.acked), s.unanswered, missed, len(followers), stormEnds, cuts)
}

// stormPublishing is the publishers' side of a storm.
type stormPublishing struct {
	node     *node
	channels []string

	acks atomic.Int64

	mu         sync.Mutex
	acked      []stormEvent // guarded by mu
	unanswered int          // stored though the publisher got no answer; set by compare
}

// stormEvent is the n-th event of a publisher.
type stormEvent struct {
	Publisher int
	N         int
	Channel   string
}

// run publishes at full speed until ctx ends, each event after the answer to the former. An event
// that gets no good answer is not sent again: it may or may not be stored.
func (s *stormPublishing) run(ctx context.Context, p *publisher, id int) {
	random := rand.New(rand.NewPCG(1, uint64(id)))
	for n := 0; ctx.Err() == nil; n++ {
		e := stormEvent{id, n, s.channels[n%len(s.channels)]}
		data := fmt.Sprintf(`{"publisher":%d,"n":%d,"pad":"%s"}`, id, n, strings.Repeat("x", random.IntN(1_500)))
		// The request outlives the storm's end, so that its outcome is known.
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		a, err := p.publish(one, e.Channel, "storm", data)
		cancel()
		if err == nil && a.status == http.StatusOK {
			s.mu.Lock()
			s.acked = append(s.acked, e)
			s.mu.Unlock()
			s.acks.Add(1)
			continue
		}
		s.awaitUp(ctx)
	}
}

// awaitUp waits until the node takes requests again.
func (s *stormPublishing) awaitUp(ctx context.Context) {
	for s.node.up() != http.StatusOK {
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *stormPublishing) awaitAcks(ctx context.Context, t *testing.T, want int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.acks.Load() < int64(want) {
		select {
		case <-ctx.Done():
			t.Fatalf("%d of %d events acknowledged: %v\n%s", s.acks.Load(), want, context.Cause(ctx), s.node.out)
		case <-tick.C:
		}
	}
}

// compare holds what was acknowledged against what is in the log.
func (s *stormPublishing) compare(t *testing.T, log *follower) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	stored := map[stormEvent]int{}
	ids := map[string]int{}
	for _, ch := range s.channels {
		newest := map[int]int{}
		for _, e := range log.track[ch].events {
			if ids[e.ID]++; ids[e.ID] > 1 {
				t.Errorf("id %s is %d times in the log", e.ID, ids[e.ID])
			}
			if e.Name == stormLast {
				continue
			}
			var data struct{ Publisher, N int }
			if err := json.Unmarshal([]byte(e.Data), &data); err != nil {
				t.Fatalf("event %s: %v", e.ID, err)
			}
			se := stormEvent{data.Publisher, data.N, ch}
			if stored[se]++; stored[se] > 1 {
				t.Errorf("stored %d times: %+v", stored[se], se)
			}
			if before, ok := newest[data.Publisher]; ok && data.N <= before {
				t.Errorf("%+v is stored after number %d of its publisher", se, before)
			}
			newest[data.Publisher] = data.N
		}
	}
	for _, e := range s.acked {
		if stored[e] == 0 {
			t.Errorf("acknowledged and not stored: %+v", e)
		}
	}
	s.unanswered = len(stored) - len(s.acked)
}
