package boot

import (
	"context"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// collector keeps the memory that the garbage collector is responsible for in bounds: it says how much
// garbage may gather, and gives back to the system what a burst has left behind once it is over.
type collector struct {
	percent int   // garbage that may gather, in percent of what lives; negative: any
	limit   int64 // bytes of all that the runtime has
	logger  *slog.Logger
}

const (
	// collectPercent is how much garbage may gather, in percent of what lives, unless GOGC says it.
	collectPercent = 200

	// limitPercent is how much of the memory there is the runtime may have, unless GOMEMLIMIT says it.
	// The rest is for what it doesn't count, pages that map the streams' files among it.
	limitPercent = 85

	// lookInterval is how often a collector looks whether the node has become quiet.
	lookInterval = 5 * time.Second
)

// newCollector sets the runtime's two bounds, for the whole process. What the environment has set
// stays. Total is the memory that the process may have, 0 when that isn't known.
func newCollector(total uint64, logger *slog.Logger) *collector {
	c := &collector{logger: logger, limit: debug.SetMemoryLimit(-1)}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectPercent)
	}
	c.percent = debug.SetGCPercent(100) // the one way to read it
	debug.SetGCPercent(c.percent)
	if os.Getenv("GOMEMLIMIT") == "" && total > 0 {
		c.limit = int64(total / 100 * limitPercent)
		debug.SetMemoryLimit(c.limit)
	}
	limit := "none"
	if c.limit < math.MaxInt64 {
		limit = Size(c.limit).String()
	}
	logger.Info("garbage collector", "gogc", c.percent, "gomemlimit", limit)
	return c
}

// run looks at the memory until ctx ends.
func (c *collector) run(ctx context.Context) error {
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	last := readHeap()
	lowest := last.held // what was held when there was nothing to give back
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		now := readHeap()
		if now.worth(last, lowest) {
			// It collects, which is concurrent, and then returns every free page. It takes two collections
			// to get at what lies in pools: the first only asks whether anybody wants it back. What is left
			// is what lives, so this isn't done again before something has gathered.
			runtime.GC()
			debug.FreeOSMemory()
			after := readHeap()
			c.logger.Debug("memory given back", "before", now.held, "after", after.held)
			now.held, lowest = after.held, after.held
		}
		lowest = min(lowest, now.held)
		last = now
	}
}

// heap is what the runtime knows of its memory, in bytes.
type heap struct {
	allocated uint64 // ever
	held      uint64 // now, of the system's
}

func readHeap() heap {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	return heap{
		allocated: samples[0].Value.Uint64(),
		held:      samples[1].Value.Uint64() - samples[2].Value.Uint64(),
	}
}

// worth reports whether it is worth to give memory back: the node is quiet, since it has allocated
// little since it was last looked at, so that a collection disturbs nobody and what it frees stays
// free; and it holds 1/32 more than when there was nothing to give back.
func (h heap) worth(last heap, lowest uint64) bool {
	quiet := h.allocated-last.allocated < h.held/32
	return quiet && h.held > lowest+lowest/32
}
