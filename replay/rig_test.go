package replay_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/replay"
)

// way is what a node may have in memory when a question comes. The answer must be the same.
type way struct {
	window int  // events; 0 is the default, −1 none
	none   bool // no feed is asked at all
	fresh  bool // the feed has only just begun, at the end
}

var ways = map[string]way{
	"without a feed": {none: true},
	"window off":     {window: -1},
	"tiny window":    {window: 3},
	"large window":   {},
	"fresh window":   {fresh: true},
}

// inWays runs a test in each way, in a bubble each.
func inWays(t *testing.T, test func(t *testing.T, w way)) {
	t.Helper()
	for name, w := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, w) })
		})
	}
}

// rig is a node over a log in memory.
type rig struct {
	*brokertest.Memory
	way  way
	node *broker.Node
}

func newRig(t *testing.T, w way) *rig {
	t.Helper()
	r := &rig{Memory: &brokertest.Memory{}, way: w}
	r.start(t)
	if !w.fresh {
		r.feed(t)
	}
	return r
}

// start starts the node, which ends with the test.
func (r *rig) start(t *testing.T) {
	t.Helper()
	var err error
	if r.node, err = broker.New(broker.Config{Log: r.Memory, WindowEvents: r.way.window}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	go func() { ended <- r.node.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// feed returns the node's feed as it is now, when it is where the log is.
func (r *rig) feed(t *testing.T) *broker.Feed {
	t.Helper()
	synctest.Wait()
	f, err := r.node.Feed(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Release)
	return f
}

// recent returns what a door would hand on.
func (r *rig) recent(t *testing.T) replay.Recent {
	t.Helper()
	if r.way.none {
		return nil
	}
	return r.feed(t)
}
