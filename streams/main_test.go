package streams_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails when a goroutine of ours outlives the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := leftovers(); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines left behind:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// leftovers returns the stacks of goroutines with our code in them, after giving them time to end.
func leftovers() string {
	var ours []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		ours = nil
		for _, stack := range strings.Split(string(stacks), "\n\n") {
			if strings.Contains(stack, "playhead/streams.") || strings.Contains(stack, "playhead/adapters/") {
				ours = append(ours, stack)
			}
		}
		if len(ours) == 0 {
			return ""
		}
	}
	return strings.Join(ours, "\n\n")
}
