package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// scratch is where the binaries are built; TestMain makes and removes it.
var scratch string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "playhead-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	scratch = dir
	return m.Run()
}

// The node under test is the real binary, built once and only when a test wants it.
var (
	raceBinary  = sync.OnceValues(func() (string, error) { return build("playhead-race", "-race") })
	plainBinary = sync.OnceValues(func() (string, error) { return build("playhead") })
)

func build(name string, flags ...string) (string, error) {
	out := filepath.Join(scratch, name)
	args := append([]string{"build", "-o", out}, flags...)
	cmd := exec.Command("go", append(args, "github.com/playhead/playhead/cmd/playhead")...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, output)
	}
	return out, nil
}

// testBinary returns the path of the node built with the race detector.
func testBinary(tb testing.TB) string {
	tb.Helper()
	path, err := raceBinary()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// benchBinary returns the path of the node as it is shipped, for measurements.
func benchBinary(tb testing.TB) string {
	tb.Helper()
	path, err := plainBinary()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}
