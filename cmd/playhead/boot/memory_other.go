//go:build !linux

package boot

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
)

// memoryNow knows what the runtime has from the system, and as the most there is GOMEMLIMIT, if set.
func memoryNow() memory {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	total := uint64(0)
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		total = uint64(limit)
	}
	return filled(total, samples[0].Value.Uint64()-samples[1].Value.Uint64())
}
