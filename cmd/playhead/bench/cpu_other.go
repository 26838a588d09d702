//go:build !unix

package bench

import "time"

// cpuTime isn't known here; the generator's lag is.
func cpuTime() time.Duration { return 0 }
