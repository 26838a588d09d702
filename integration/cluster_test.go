package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/adapters/embedded"
)

// natsCluster starts three NATS servers that replicate, and returns their addresses.
func natsCluster(tb testing.TB) string {
	tb.Helper()
	var routes, clients []string
	for range 3 {
		routes = append(routes, fmt.Sprintf("127.0.0.1:%d", freePort(tb)))
	}
	var servers []*embedded.Server
	for i := range 3 {
		address := fmt.Sprintf("127.0.0.1:%d", freePort(tb))
		s, err := embedded.New(embedded.Config{
			DataDir: filepath.Join(tb.TempDir(), "nats"), ServerName: fmt.Sprint("nats-", i), SyncInterval: time.Second,
			Listen: address, Cluster: embedded.Cluster{Listen: routes[i], Routes: routes},
		})
		if err != nil {
			tb.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Start(ctx); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := s.Shutdown(ctx); err != nil {
				tb.Error(err)
			}
		})
		servers = append(servers, s)
		clients = append(clients, "nats://"+address)
	}
	for _, s := range servers {
		ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
		defer cancel()
		if err := s.Join(ctx); err != nil {
			tb.Fatal(err)
		}
	}
	return strings.Join(clients, ",")
}

// startNodes starts nodes that share a NATS cluster.
func startNodes(tb testing.TB, count int, cfg nodeConfig) []*node {
	tb.Helper()
	servers := natsCluster(tb)
	var nodes []*node
	for i := range count {
		c := cfg
		c.Env = append([]string{
			"ADAPTER_DRIVER=nats", "STARTUP_TIMEOUT=2m", "SHUTDOWN_GRACE=none", "NATS_SERVERS=" + servers, fmt.Sprint("INSTANCE_PROCESS_ID=node-", i+1),
		}, cfg.Env...)
		n := newNode(tb, c)
		n.launch()
		nodes = append(nodes, n)
	}
	// A cluster that elects on a busy machine takes its time; the nodes wait for it, and so do we.
	deadline := time.Now().Add(4 * patience)
	for _, n := range nodes {
		for n.running() && n.up() != http.StatusOK && time.Now().Before(deadline) {
			time.Sleep(50 * time.Millisecond)
		}
		n.waitReady()
	}
	return nodes
}

// TestPusherClientsOnSeveralNodes runs tests of js/*.test.js once more, with every client and every
// request to the HTTP API on another node than the one before.
func TestPusherClientsOnSeveralNodes(t *testing.T) {
	for _, count := range []int{2, 3} {
		t.Run(fmt.Sprint(count), func(t *testing.T) { clientsOnNodes(t, count) })
	}
}

func clientsOnNodes(t *testing.T, count int) {
	hooks := freePort(t)
	nodes := startNodes(t, count, nodeConfig{
		Config: fmt.Sprintf(`
default_app:
  subscription_count: true
  webhooks:
    - url: http://127.0.0.1:%d/hook
      channel_suffix: -hooked
`, hooks),
		Env: []string{
			"WEBSOCKET_ACTIVITY_TIMEOUT=1s", "WEBSOCKET_PING_AFTER=2s", "WEBSOCKET_PONG_TIMEOUT=10s", "SHUTDOWN_DRAIN=100ms",
		},
	})
	var ports []string
	for _, n := range nodes {
		ports = append(ports, fmt.Sprint(n.cfg.Port))
	}
	for _, file := range []string{
		"cache", "channels", "count", "echo", "encrypted", "http", "presence", "replay", "replay.history", "webhooks",
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			cmd := javascript(ctx, t, nodes[0], "--test", "--test-timeout=150000", file+".test.js")
			cmd.Env = append(cmd.Env, fmt.Sprintf("PLAYHEAD_WEBHOOKS_PORT=%d", hooks), "PLAYHEAD_PORTS="+strings.Join(ports, ","))
			output, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}

// TestClusterStatus: a node says which others there are, and the command prints it.
func TestClusterStatus(t *testing.T) {
	nodes := startNodes(t, 2, nodeConfig{})
	url := fmt.Sprintf("http://127.0.0.1:%d", nodes[1].metrics)
	names := func() (names []string) {
		resp, err := http.Get(url + "/cluster")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var status struct {
			Nodes []struct {
				Name string
				Self bool
			}
		}
		if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
			t.Fatal(err)
		}
		for _, n := range status.Nodes {
			names = append(names, fmt.Sprint(n.Name, " ", n.Self))
		}
		return names
	}
	want := []string{"node-1 false", "node-2 true"}
	await(t, "both nodes known", func() bool { return cmp.Equal(want, names()) })
	cmd := exec.Command(nodes[0].cfg.Binary, "cluster", "status", "--url", url)
	cmd.Env = environment()
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, text := range []string{"NODE", "node-1 ", "node-2 *"} {
		if !strings.Contains(string(output), text) {
			t.Errorf("no %q in\n%s", text, output)
		}
	}
	nodes[0].stop()
	await(t, "one node left", func() bool { return cmp.Equal(want[1:], names()) })
}

// TestNodeNameInUse: of two nodes with one name the second refuses to start and says why.
func TestNodeNameInUse(t *testing.T) {
	nodes := startNodes(t, 1, nodeConfig{})
	second := newNode(t, nodeConfig{Env: nodes[0].cfg.Env})
	second.launch()
	if code := second.wait(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if text := second.out.String(); !strings.Contains(text, "node name in use") || !strings.Contains(text, "INSTANCE_PROCESS_ID") {
		t.Errorf("output:\n%s", text)
	}
	if nodes[0].up() != http.StatusOK {
		t.Error("the first node isn't ready any more")
	}
}
