package integration

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ends starts a node that must refuse to run, and returns what it said.
func (n *node) ends(code int) string {
	n.tb.Helper()
	n.launch()
	if got := n.wait(); got != code {
		n.tb.Fatalf("exit code %d, want %d\n%s", got, code, n.out)
	}
	return n.out.String()
}

func says(tb testing.TB, text string, words ...string) {
	tb.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			tb.Errorf("the node does not say %q:\n%s", w, text)
		}
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	for _, port := range []struct {
		name string
		of   func(*node) int
	}{
		{"port", func(n *node) int { return n.cfg.Port }},
		{"metrics port", func(n *node) int { return n.metrics }},
	} {
		t.Run(port.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, nodeConfig{})
			address := fmt.Sprintf("127.0.0.1:%d", port.of(n))
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			says(t, n.ends(1), fmt.Sprint(port.of(n)), "in use")
		})
	}
}

func TestDataFolderInUse(t *testing.T) {
	t.Parallel()
	first := startNode(t, nodeConfig{})
	second := newNode(t, nodeConfig{Data: first.cfg.Data})
	says(t, second.ends(1), first.cfg.Data, "another")

	c := mustDial(t, first, false)
	c.mustSubscribe(t, "news", nil)
	first.publisher().mustPublish(t, "news", "hi", "{}")
	if f := c.mustRead(t); f.Event != "hi" {
		t.Errorf("the first node delivers %+v", f)
	}
	// What the second one left behind must not keep the folder locked.
	first.kill()
	second.start()
}

func TestUnwritableDataFolder(t *testing.T) {
	t.Parallel()
	t.Run("below a file", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		data := filepath.Join(file, "data")
		says(t, newNode(t, nodeConfig{Data: data}).ends(1), data)
	})
	t.Run("read-only", func(t *testing.T) {
		t.Parallel()
		d := mountDisk(t, "1m")
		d.readOnly()
		says(t, newNode(t, nodeConfig{Data: d.path}).ends(1), d.path, "read-only")
	})
	t.Run("read-only with data", func(t *testing.T) {
		t.Parallel()
		d := mountDisk(t, "64m")
		n := startNode(t, nodeConfig{Data: d.path, Env: []string{"SHUTDOWN_DRAIN=none", "STREAMS_MAX_BYTES=16MiB"}})
		n.publisher().mustPublish(t, "news", "hi", "{}")
		n.stop()
		d.readOnly()
		says(t, n.ends(1), d.path, "read-only")
	})
}

// TestFullDisk: what can't be stored is refused with 503; when the disk has room again the node
// stores again by itself, and what was acknowledged before is there.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, sync := range []string{"always", "interval"} {
		t.Run("sync "+sync, func(t *testing.T) {
			t.Parallel()
			d := mountDisk(t, "64m")
			n := startNode(t, nodeConfig{Data: filepath.Join(d.path, "data"), Env: []string{
				"SYNC_MODE=" + sync,
				"SHUTDOWN_DRAIN=none",
				"STREAMS_MAX_BYTES=32MiB",
				"HTTP_PUBLISH_TIMEOUT=5s",
				"REPLAY_MAX_EVENTS=1000000",
				"REPLAY_MAX_BYTES=1GiB",
			}})
			c := mustDial(t, n, true)
			reader := follow(n, "last", "news")
			reader.track["news"].position = c.mustSubscribe(t, "news", nil).Position
			c.conn.CloseNow()

			ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
			defer cancel()
			ballast := filepath.Join(d.path, "ballast")
			d.fill(ballast, 8<<20)
			p := n.publisher()
			acknowledged := map[string]bool{}
			var refusals []answer
			for i := 0; len(refusals) < 3; i++ {
				data := fmt.Sprintf("%d %s", i, strings.Repeat("x", 9_000))
				a, err := p.publish(ctx, "news", "n", data)
				if err != nil {
					t.Fatalf("publish %d: %v", i, err)
				}
				if a.status == http.StatusOK {
					acknowledged[data] = true
				} else {
					refusals = append(refusals, a)
				}
				if i > 2_000 {
					t.Fatalf("%d events fit on a disk with 8 MiB left", i)
				}
			}
			for _, a := range refusals {
				if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
					t.Errorf("on a full disk a publish is answered %s, Retry-After %q", a, a.header.Get("Retry-After"))
				}
			}
			if len(acknowledged) < 100 {
				t.Errorf("refused after %d events", len(acknowledged))
			}
			t.Logf("%d acknowledged, then: %s", len(acknowledged), refusals[0])
			says(t, n.out.String(), "no space left on device")

			// It tells whoever routes to it, and goes on answering questions.
			await(t, "node says that it is not up", func() bool { return n.up() == http.StatusServiceUnavailable })
			if a, err := p.do(ctx, http.MethodGet, "/apps/"+appID+"/channels", nil); err != nil || a.status != http.StatusOK {
				t.Errorf("GET channels on a full disk: %s, %v", a, err)
			}

			// With room again it heals without a restart.
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			await(t, "node is up again", func() bool { return n.up() == http.StatusOK })
			if err := p.publishStored(ctx, "news", "last", "{}"); err != nil {
				t.Fatal(err)
			}
			if err := reader.run(ctx, nil); err != nil {
				t.Fatal(err)
			}
			stored := map[string]int{}
			for _, e := range reader.track["news"].events {
				if stored[e.Data]++; stored[e.Data] > 1 {
					t.Errorf("stored twice: %.20s", e.Data)
				}
			}
			for data := range acknowledged {
				if stored[data] == 0 {
					t.Errorf("acknowledged and not stored: %.20s", data)
				}
			}
		})
	}
}

// TestBadConfiguration: every problem is reported at once, wherever it comes from.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "playhead.yml")
	err := os.WriteFile(file, []byte(`
prot: 6001
metrics:
  port: many
sync:
  mode: sometimes
websocket:
  queue_bytes: 5 parsecs
apps:
  - id: one
    key: same
    secret: a
  - id: two
    key: same
    secret: b
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"serve", "--config", file}, {"config", "check", "--config", file}} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, testBinary(t), args...)
			cmd.Dir = t.TempDir()
			cmd.Env = append(environment(), "PORT=99999999", "LOG_LEVEL=chatty")
			output, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("%v, want exit code 1", err)
			}
			says(t, string(output), "prot", "metrics.port", "sync.mode", "websocket.queue_bytes", "PORT", "LOG_LEVEL", "same")
			if _, err := os.Stat(filepath.Join(cmd.Dir, "data")); err == nil {
				t.Error("a data folder was made")
			}
		})
	}
}

// TestSecondInterrupt: the first asks the node to go down in order, the second ends it at once.
func TestSecondInterrupt(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{Env: []string{"SHUTDOWN_DRAIN=10m", "SHUTDOWN_TIMEOUT=11m"}})
	// So many that somebody is still there when the second interrupt comes.
	for range 50 {
		mustDial(t, n, false)
	}
	n.signal(os.Interrupt)
	await(t, "first interrupt noticed", func() bool { return n.up() != http.StatusOK })
	if !n.running() {
		t.Fatalf("the node ended with %v though clients were still connected\n%s", n.cmd.ProcessState, n.out)
	}
	asked := time.Now()
	n.signal(os.Interrupt)
	if code := n.wait(); code == 0 {
		t.Errorf("exit code 0 after a second interrupt, want another\n%s", n.out)
	}
	if took := time.Since(asked); took > 5*time.Second {
		t.Errorf("the second interrupt took %v", took)
	}
}
