package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// nodeModules installs the JavaScript clients when they aren't there or the lock file is newer.
var nodeModules = sync.OnceValue(func() error {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not installed, and the real Pusher clients need it: run `task deps`", tool)
		}
	}
	lock, err := os.Stat("js/package-lock.json")
	if err != nil {
		return err
	}
	// npm writes this file last.
	installed, err := os.Stat("js/node_modules/.package-lock.json")
	if err == nil && !installed.ModTime().Before(lock.ModTime()) {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund")
	cmd.Dir = "js"
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in integration/js: %w; `task deps` runs it too\n%s", err, output)
	}
	return nil
})

// javascript returns a command that runs Node.js against a node.
func javascript(ctx context.Context, tb testing.TB, n *node, args ...string) *exec.Cmd {
	tb.Helper()
	if err := nodeModules(); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Dir = "js"
	cmd.Env = n.clientEnvironment()
	dieWithTest(cmd)
	return cmd
}

// clientEnvironment tells a client's process where the node is and how to sign.
func (n *node) clientEnvironment() []string {
	return append(environment(),
		"PLAYHEAD_HOST=127.0.0.1",
		fmt.Sprintf("PLAYHEAD_PORT=%d", n.cfg.Port),
		"PLAYHEAD_APP_ID="+appID,
		"PLAYHEAD_APP_KEY="+appKey,
		"PLAYHEAD_APP_SECRET="+appSecret,
	)
}

// TestPusherClients runs the tests of js/*.test.js, each file a subtest: stock pusher-js, Laravel
// Echo and the official HTTP library against a node.
func TestPusherClients(t *testing.T) {
	t.Parallel()
	hooks := freePort(t)
	n := startNode(t, nodeConfig{
		// Of channels whose names end so, the webhooks' test is told, and of no other test's.
		Config: fmt.Sprintf(`
default_app:
  subscription_count: true
  webhooks:
    - url: http://127.0.0.1:%d/hook
      channel_suffix: -hooked
`, hooks),
		Env: []string{
			"WEBSOCKET_ACTIVITY_TIMEOUT=1s", // an idle client pings after a second
			"WEBSOCKET_PING_AFTER=2s",
			"WEBSOCKET_PONG_TIMEOUT=10s",
			"SHUTDOWN_DRAIN=100ms",
		},
	})
	files, err := filepath.Glob("js/*.test.js")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in js: %v", err)
	}
	// The subtests share the node, so it must outlive them: a parallel subtest ends before its
	// parent's cleanup runs.
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			// The timeout holds for a test, and for all tests of the file together.
			cmd := javascript(ctx, t, n, "--test", "--test-timeout=150000", filepath.Base(file))
			cmd.Env = append(cmd.Env, fmt.Sprintf("PLAYHEAD_WEBHOOKS_PORT=%d", hooks))
			output, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}

// sight is a line that js/reconnect.js prints.
type sight struct {
	Subscribed string          `json:"subscribed"`
	Refused    json.RawMessage `json:"refused"`
	Error      int             `json:"error"`
	State      string          `json:"state"`
	Event      string          `json:"event"`
}

// TestPusherClientOutlivesNode: a stock client comes back by itself when its node is restarted,
// subscribes again and hears what is published then.
func TestPusherClientOutlivesNode(t *testing.T) {
	t.Parallel()
	for _, how := range []struct {
		name string
		stop func(*node)
		code int // close code the client sees; 0 for a cut without one
	}{
		{"SIGTERM", (*node).stop, 4100}, // back after a second, when the port may be open again
		{"kill", (*node).kill, 0},
	} {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, nodeConfig{Env: []string{"SHUTDOWN_DRAIN=100ms"}})
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			cmd := javascript(ctx, t, n, "reconnect.js", "presence-room")
			cmd.Stderr = os.Stderr
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(stdout)
			var seen []sight
			see := func(what string, accept func(sight) bool) sight {
				t.Helper()
				for lines.Scan() {
					var s sight
					if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
						t.Fatalf("reconnect.js printed %q: %v", lines.Text(), err)
					}
					seen = append(seen, s)
					if accept(s) {
						return s
					}
				}
				t.Fatalf("reconnect.js ended before: %s; seen %+v", what, seen)
				return sight{}
			}
			event := func(name string) func(sight) bool {
				return func(s sight) bool { return s.Event == name }
			}
			subscribed := func(s sight) bool { return s.Subscribed != "" }

			p := n.publisher()
			first := see("subscribed", subscribed)
			p.mustPublish(t, "presence-room", "before", "{}")
			see("event before", event("before"))

			how.stop(n)
			if how.code != 0 {
				see("close code", func(s sight) bool { return s.Error == how.code })
			}
			n.start()
			again := see("subscribed again", subscribed)
			if again.Subscribed == first.Subscribed {
				t.Errorf("socket id %s is still the same after the restart", first.Subscribed)
			}
			p.mustPublish(t, "presence-room", "after", "{}")
			see("event after", event("after"))
			p.mustPublish(t, "presence-room", "goodbye", "{}")
			see("goodbye", event("goodbye"))
			if err := cmd.Wait(); err != nil {
				t.Errorf("reconnect.js: %v", err)
			}
			for _, s := range seen {
				if s.Refused != nil {
					t.Errorf("subscription refused: %s", s.Refused)
				}
			}
		})
	}
}
