package boot

import "testing"

// Memory is given back when a burst is over, not during it, and not again and again.
func TestCollectorWorth(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for _, tt := range []struct {
		name      string
		last, now heap
		lowest    uint64
		want      bool
	}{
		{"a burst has gone quiet", heap{900 * mb, 200 * mb}, heap{901 * mb, 200 * mb}, 50 * mb, true},
		{"the burst goes on", heap{900 * mb, 190 * mb}, heap{950 * mb, 200 * mb}, 50 * mb, false},
		{"quiet as before", heap{900 * mb, 50 * mb}, heap{901 * mb, 50 * mb}, 50 * mb, false},
		{"quiet, and a little has gathered", heap{900 * mb, 50 * mb}, heap{901 * mb, 51 * mb}, 50 * mb, false},
		{"quiet, and enough has gathered", heap{900 * mb, 51 * mb}, heap{901 * mb, 52 * mb}, 50 * mb, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.now.worth(tt.last, tt.lowest); got != tt.want {
				t.Errorf("worth %v, want %v", got, tt.want)
			}
		})
	}
}

// What may wait for all connections follows the memory there is, unless it is said.
func TestTotalQueueBytes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		set    Size
		memory uint64
		want   int
	}{
		{0, 1 << 30, 256 << 20},
		{0, 0, 0},
		{0, 1 << 20, 1 << 20}, // never less than one connection may have
		{5 << 20, 1 << 30, 5 << 20},
		{None, 1 << 30, -1},
	} {
		c := WebSocketConfig{QueueBytes: 1 << 20, TotalQueueBytes: tt.set}
		if got := c.totalQueueBytes(tt.memory); got != tt.want {
			t.Errorf("set to %v, with memory of %d: %d, want %d", tt.set, tt.memory, got, tt.want)
		}
	}
}

// The multiplier is per CPU; none keeps nobody.
func TestPace(t *testing.T) {
	t.Parallel()
	c := Config{Adapter: AdapterConfig{BufferMultiplierPerCPU: 64}}
	if p, err := c.pace(); err != nil || p == nil {
		t.Errorf("64: %v, %v", p, err)
	}
	c.Adapter.BufferMultiplierPerCPU = None
	if p, err := c.pace(); err != nil || p != nil {
		t.Errorf("none: %v, %v", p, err)
	}
}
