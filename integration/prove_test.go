package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// proved is what the test looks at of a report.
type proved struct {
	Passed bool `json:"passed"`
	Events struct {
		Published    int `json:"published"`
		Acknowledged int `json:"acknowledged"`
		Deliveries   int `json:"deliveries"`
	} `json:"events"`
	Webhooks struct {
		Received int `json:"received"`
	} `json:"webhooks"`
	Kinds []struct {
		Kind  string `json:"kind"`
		Times int    `json:"times"`
	} `json:"kinds"`
}

// proof prepares a playhead prove.
func proof(t *testing.T, args ...string) (cmd *exec.Cmd, out *output) {
	t.Helper()
	out = &output{}
	cmd = exec.CommandContext(t.Context(), testBinary(t), append([]string{"prove", "--rate=60"}, args...)...)
	// The kill would leave its processes to themselves where they don't die with it.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	cmd.Env = append(environment(), "GORACE=atexit_sleep_ms=0")
	cmd.Stdout, cmd.Stderr = out, out
	dieWithTest(cmd)
	return cmd, out
}

// A node and the leader of its stream are killed, and a link is cut, with the race detector in all
// processes: nothing that was acknowledged is lost. `playhead prove` without arguments does all it can.
// It isn't parallel: six processes want the machine for themselves.
func TestProve(t *testing.T) {
	report := filepath.Join(t.TempDir(), "report.json")
	cmd, out := proof(t, "--minutes=0.45", "--seed=1", "--kinds=kill-node,kill-leader,cut-links", "--json="+report, "--data="+filepath.Join(t.TempDir(), "data"))
	if err := cmd.Run(); err != nil {
		t.Fatalf("prove: %v\n%s", err, out)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var got proved
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if !got.Passed || len(got.Kinds) != 3 || got.Events.Acknowledged < 300 || got.Events.Deliveries < got.Events.Acknowledged || got.Webhooks.Received < 40 {
		t.Errorf("too little was proved: %+v\n%s", got, out)
	}
}

// Who interrupts it finds neither processes nor data left.
func TestProveInterrupted(t *testing.T) {
	tmp := t.TempDir()
	cmd, out := proof(t)
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "a folder of its own", func() bool {
		logs, err := filepath.Glob(filepath.Join(tmp, "playhead-prove-*", "node-1.log"))
		return err == nil && len(logs) == 1
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("it goes on\n%s", out)
	}
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1\n%s", code, out)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
