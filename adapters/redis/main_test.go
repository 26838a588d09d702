package redis_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/playhead/playhead/adapters/redis/redistest"
)

// TestMain looks for goroutines of ours that outlive the tests.
func TestMain(m *testing.M) {
	code := redistest.Main(m)
	if left := leftovers(); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "goroutines left behind:\n", left)
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
			if strings.Contains(stack, "playhead/adapters/redis.") {
				ours = append(ours, stack)
			}
		}
		if len(ours) == 0 {
			return ""
		}
	}
	return strings.Join(ours, "\n\n")
}
