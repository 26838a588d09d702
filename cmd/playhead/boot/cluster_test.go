package boot

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// together returns configurations of nodes that make a cluster of their embedded servers.
func together(t *testing.T, n int) []Config {
	t.Helper()
	var routes List
	addresses := freeAddresses(t, n)
	for _, a := range addresses {
		routes = append(routes, "nats://user:hidden@"+a)
	}
	var all []Config
	for i, a := range addresses {
		cfg := local(t)
		cfg.Node = fmt.Sprint("n", i)
		cfg.Sync.Mode = "interval"
		cfg.Cluster = ClusterConfig{Routes: routes, Host: "127.0.0.1", Port: portOf(t, a)}
		all = append(all, cfg)
	}
	return all
}

func portOf(t *testing.T, address string) Port {
	t.Helper()
	var p Port
	if err := p.UnmarshalText([]byte(address[strings.LastIndexByte(address, ':')+1:])); err != nil {
		t.Fatal(err)
	}
	return p
}

// leaderOf returns which node leads the stream of the default app.
func leaderOf(t *testing.T, r *running) string {
	t.Helper()
	js, err := jetstream.New(r.links.conns[2])
	if err != nil {
		t.Fatal(err)
	}
	var leader string
	awaitLong(t, "a leader", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		stream, err := js.Stream(ctx, "playhead_app-id")
		if err != nil || stream.CachedInfo().Cluster == nil {
			return false
		}
		leader = stream.CachedInfo().Cluster.Leader
		return leader != ""
	})
	return leader
}

// Three nodes are one cluster. The one that leads the stream is stopped as planned: its sessions are
// told to come at once, publishers hardly notice, and it comes back. Not parallel: in a crowd servers
// elect for ever.
func TestEmbeddedCluster(t *testing.T) {
	cfgs := together(t, 3)
	var nodes []*running
	for _, cfg := range cfgs {
		nodes = append(nodes, start(t, cfg))
	}
	for _, r := range nodes {
		awaitLong(t, "the node up", func() bool { return r.serving.Load() })
	}
	if out := nodes[0].out.String(); !strings.Contains(out, "embedded, cluster playhead of nats://127.0.0.1:") || !strings.Contains(out, "replicas of each stream: 3") {
		t.Errorf("start message: %s", out)
	}
	next, hangUp := nodes[0].subscribed(t)
	if err := publish(t, Target{URL: nodes[1].url("")}, "1"); err != nil {
		t.Fatal(err)
	}
	if f := next(); !strings.Contains(f, `"data":"1"`) {
		t.Errorf("heard %s", f)
	}

	hangUp()
	var leading int
	if _, err := fmt.Sscanf(leaderOf(t, nodes[0]), "n%d", &leading); err != nil {
		t.Fatal(err)
	}
	other := nodes[(leading+1)%3]
	var stop atomic.Bool
	var longest time.Duration
	var published atomic.Int64
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for last := time.Now(); !stop.Load(); {
			if err := publish(t, Target{URL: other.url("")}, "x"); err != nil {
				t.Errorf("a publish to a node that stays: %v", err)
				return
			}
			published.Add(1)
			longest = max(longest, time.Since(last))
			last = time.Now()
		}
	})
	awaitLong(t, "publishes before the stop", func() bool { return published.Load() > 300 || t.Failed() })
	c := nodes[leading].connect(t)
	began := time.Now()
	nodes[leading].stop()
	if got := code(t, c); got != 4200 {
		t.Errorf("closed with %d, want 4200", got)
	}
	if err := nodes[leading].ended(t); err != nil {
		t.Error(err)
	}
	t.Logf("stopped in %v", time.Since(began))
	if now := leaderOf(t, other); now == cfgs[leading].Node {
		t.Errorf("%s leads, which was stopped", now)
	}
	enough := published.Load() + 300
	awaitLong(t, "publishes after the stop", func() bool { return published.Load() > enough || t.Failed() })
	stop.Store(true)
	publishing.Wait()
	t.Logf("%d publishes, one by one; the longest took %v", published.Load(), longest)
	taken := nodes[leading].log.steps()
	if len(taken) < 3 || strings.Join(taken[:4], ", ") != "not ready, configuration, give the lead away, close sessions" {
		t.Errorf("steps %q", taken)
	}

	again := start(t, cfgs[leading])
	awaitLong(t, "the node up again", func() bool { return again.serving.Load() })
	next, hangUp = again.subscribed(t)
	if err := publish(t, Target{URL: other.url("")}, "2"); err != nil {
		t.Fatal(err)
	}
	if f := next(); !strings.Contains(f, `"data":"2"`) {
		t.Errorf("heard %s", f)
	}
	hangUp()
	for _, r := range append(nodes, again) {
		if strings.Contains(r.log.String()+r.out.String(), "hidden") {
			t.Error("the routes' password is told")
		}
	}
}

// A node that finds no others says who is missing, when its time is up.
func TestEmbeddedClusterAlone(t *testing.T) {
	cfg := together(t, 3)[0]
	cfg.StartupTimeout = Duration(500 * time.Millisecond)
	why, _ := failing(t, cfg)
	if !strings.Contains(why, "startup_timeout has passed: join cluster playhead: ") || !strings.Contains(why, "of its other 2 servers these are connected: none") {
		t.Errorf("got %q", why)
	}
	// The folder is that of a cluster's node now.
	cfg.Cluster.Routes = nil
	why, _ = failing(t, cfg)
	if !strings.Contains(why, "it belongs to server n0 of cluster playhead") {
		t.Errorf("got %q", why)
	}
}

// The node that leads the stream is killed: the others elect, and publishes go on.
func TestEmbeddedClusterKill(t *testing.T) {
	cfgs := together(t, 3)
	processes := map[string]*exec.Cmd{}
	nodes := map[string]*running{}
	for i, cfg := range cfgs {
		if i == 0 {
			nodes[cfg.Node] = start(t, cfg)
			continue
		}
		processes[cfg.Node] = process(t, cfg)
	}
	r := nodes["n0"]
	awaitLong(t, "the node up", func() bool { return r.serving.Load() })
	next, hangUp := r.subscribed(t)
	awaitLong(t, "a publish", func() bool { return publish(t, Target{URL: r.url("")}, "1") == nil })
	if f := next(); !strings.Contains(f, `"data":"1"`) {
		t.Errorf("heard %s", f)
	}
	// Another one is to lead.
	awaitLong(t, "another leader", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), elections/3)
		defer cancel()
		if err := r.server.StepDown(ctx); err != nil {
			t.Log(err)
			return false
		}
		return leaderOf(t, r) != "n0"
	})
	victim := leaderOf(t, r)
	began := time.Now()
	kill(t, processes[victim])
	delete(processes, victim)
	awaitLong(t, "a publish after the kill", func() bool { return publish(t, Target{URL: r.url("")}, "2") == nil })
	t.Logf("stored %v after the kill", time.Since(began))
	for f := next(); !strings.Contains(f, `"data":"2"`); f = next() {
		t.Logf("heard %s", f)
	}
	if status, body := get(t, r.url("/ready")); status != http.StatusOK {
		t.Errorf("/ready with two of three: %d %s", status, body)
	}
	hangUp()
	r.stop() // before the other one is killed, so that it can tell that it leaves
	if err := r.ended(t); err != nil {
		t.Error(err)
	}
}

// Probes aren't told of an election, but of a quorum that stays away.
func TestQuorumGrace(t *testing.T) {
	t.Parallel()
	n, err := New(together(t, 3)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer n.doors.Close()
	defer n.metrics.Close()
	if err := n.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for range 2 {
		if err := n.mediumDown(); err != nil {
			t.Errorf("at once: %v", err)
		}
	}
	n.leaderless.Add(-int64(quorumGrace))
	if err := n.mediumDown(); err == nil || !strings.Contains(err.Error(), "can't store: the cluster has no leader; of its other 2 servers these are connected: none") {
		t.Errorf("after a while: %v", err)
	}
}

// process runs a node in a process of its own, which can be killed.
func process(t *testing.T, cfg Config) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "PLAYHEAD_TEST_PROCESS=1", "HOST=127.0.0.1", "PORT=0", "METRICS_ENABLED=false", "SYNC_MODE=interval",
		"DATA_DIR="+cfg.DataDir, "INSTANCE_PROCESS_ID="+cfg.Node, "CLUSTER_ROUTES="+strings.Join(cfg.Cluster.Routes, ","),
		"CLUSTER_HOST="+cfg.Cluster.Host, "CLUSTER_PORT="+cfg.Cluster.Port.String(), "LOG_LEVEL=warn")
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kill(t, cmd)
		if text, err := os.ReadFile(out.Name()); err == nil && t.Failed() {
			t.Logf("node %s:\n%s", cfg.Node, text)
		}
		out.Close()
	})
	return cmd
}

// kill ends a process at once; one that has ended is left alone.
func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if cmd.ProcessState != nil {
		return
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // tells that it was killed
}

// TestMain runs the tests, or a node where a test has started this as its process.
func TestMain(m *testing.M) {
	if os.Getenv("PLAYHEAD_TEST_PROCESS") == "" {
		os.Exit(m.Run())
	}
	if err := runNode(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runNode runs a node as the environment has it.
func runNode() error {
	cfg, err := Load(Source{})
	if err != nil {
		return err
	}
	cfg.Logger = NewLogger(cfg, os.Stderr)
	n, err := New(cfg)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return n.Run(ctx)
}
