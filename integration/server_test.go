package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a condition. It is generous, because it only passes when a test
// has already failed, and a busy machine with the race detector is slow.
const patience = 30 * time.Second

// The app of a node that is configured without one.
const (
	appID     = "app-id"
	appKey    = "app-key"
	appSecret = "app-secret"
)

// nodeConfig says how a node is started.
type nodeConfig struct {
	Binary string // default: the one with the race detector
	Data   string // data folder; default: a temporary one
	Port   int    // default: a free one
	Config string // text of the configuration file; default: no file
	Env    []string
}

// node is a running playhead process, or one that has been stopped and may be started again on
// the same data and ports.
type node struct {
	tb      testing.TB
	cfg     nodeConfig
	metrics int // port
	out     *output

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
}

// newNode prepares a node without starting it.
func newNode(tb testing.TB, cfg nodeConfig) *node {
	tb.Helper()
	if cfg.Binary == "" {
		cfg.Binary = testBinary(tb)
	}
	if cfg.Data == "" {
		cfg.Data = filepath.Join(tb.TempDir(), "data")
	}
	if cfg.Port == 0 {
		cfg.Port = freePort(tb)
	}
	if cfg.Config != "" {
		file := filepath.Join(tb.TempDir(), "playhead.yml")
		if err := os.WriteFile(file, []byte(cfg.Config), 0o600); err != nil {
			tb.Fatal(err)
		}
		cfg.Env = append(slices.Clone(cfg.Env), "PLAYHEAD_CONFIG="+file)
	}
	n := &node{tb: tb, cfg: cfg, metrics: freePort(tb), out: &output{}}
	tb.Cleanup(n.check)
	return n
}

// startNode starts a node and waits until it is ready.
func startNode(tb testing.TB, cfg nodeConfig) *node {
	tb.Helper()
	n := newNode(tb, cfg)
	n.start()
	return n
}

// launch starts the process without waiting for it to be ready.
func (n *node) launch() {
	n.tb.Helper()
	cmd := exec.Command(n.cfg.Binary, "serve")
	cmd.Env = append(environment(),
		"HOST=127.0.0.1",
		fmt.Sprintf("PORT=%d", n.cfg.Port),
		"METRICS_HOST=127.0.0.1",
		fmt.Sprintf("METRICS_PORT=%d", n.metrics),
		"DATA_DIR="+n.cfg.Data,
		"INSTANCE_PROCESS_ID=node-1",
		"GORACE=atexit_sleep_ms=0", // the race detector's second of grace at exit
	)
	cmd.Env = append(cmd.Env, n.cfg.Env...)
	cmd.Stdout, cmd.Stderr = n.out, n.out
	dieWithTest(cmd)
	if err := cmd.Start(); err != nil {
		n.tb.Fatal(err)
	}
	n.cmd, n.exited = cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait() // the outcome is read from ProcessState
		close(n.exited)
	}()
}

// start launches the process and waits until it says that it is up.
func (n *node) start() {
	n.tb.Helper()
	n.launch()
	n.waitReady()
}

func (n *node) waitReady() {
	n.tb.Helper()
	await(n.tb, "node ready", func() bool {
		select {
		case <-n.exited:
			n.tb.Fatalf("node ended before it was ready: %v\n%s", n.cmd.ProcessState, n.out)
		default:
		}
		return n.up() == http.StatusOK
	})
}

// up returns the status that the node's /up answers with, or 0.
func (n *node) up() int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url("/up"), nil)
	if err != nil {
		n.tb.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func (n *node) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", n.cfg.Port, path) }

func (n *node) addr() string { return fmt.Sprintf("127.0.0.1:%d", n.cfg.Port) }

// running reports whether the process is there.
func (n *node) running() bool {
	if n.exited == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

// signal sends the process a signal.
func (n *node) signal(sig os.Signal) {
	n.tb.Helper()
	if err := n.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.tb.Fatal(err)
	}
}

// wait waits for the process to end and returns its exit code, −1 when a signal ended it.
func (n *node) wait() int {
	n.tb.Helper()
	select {
	case <-n.exited:
	case <-time.After(patience):
		n.signal(syscall.SIGQUIT) // the runtime prints where every goroutine stands
		select {
		case <-n.exited:
		case <-time.After(5 * time.Second):
			n.signal(os.Kill)
			<-n.exited
		}
		n.tb.Fatalf("node did not end\n%s", n.out)
	}
	return n.cmd.ProcessState.ExitCode()
}

// stop ends the node as an operator does, and fails the test unless it ends well.
func (n *node) stop() {
	n.tb.Helper()
	n.signal(syscall.SIGTERM)
	if code := n.wait(); code != 0 {
		n.tb.Fatalf("node ended with exit code %d after SIGTERM\n%s", code, n.out)
	}
}

// kill ends the node as a crash does.
func (n *node) kill() {
	n.tb.Helper()
	n.signal(os.Kill)
	n.wait()
}

// check runs when the test ends: a node that is still up must go down well, and none may have
// said anything that tells of a defect.
func (n *node) check() {
	if n.running() {
		n.stop()
	}
	text := n.out.String()
	for _, sign := range []string{"WARNING: DATA RACE", "panic:", "fatal error:", "panic serving"} {
		if strings.Contains(text, sign) {
			n.tb.Errorf("the node's output has %q\n%s", sign, text)
			return
		}
	}
	if n.tb.Failed() {
		n.tb.Logf("the node's output:\n%s", text)
	}
}

// environment is what a node inherits: nothing that would configure it.
func environment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// output keeps what processes print.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// await waits until the condition holds, and fails the test when it doesn't within patience.
func await(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not within %v", what, patience)
		}
		<-tick.C
	}
}

// ports hands every port out once.
var ports = struct {
	sync.Mutex
	next int
}{next: 20_000 + os.Getpid()%8_000}

// freePort returns a port nobody listens on. It lies below the range that the system takes the
// ports of outgoing connections from, so that a node can be restarted on it.
func freePort(tb testing.TB) int {
	tb.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 1_000 {
		ports.next++
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports.next))
		if err != nil {
			continue
		}
		l.Close()
		return ports.next
	}
	tb.Fatal("no free port")
	return 0
}
