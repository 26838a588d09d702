package boot

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// All that can be said of the medium is taken, in the words of the guide.
func TestLoadMedium(t *testing.T) {
	cfg, err := load(t, "", map[string]string{
		"ADAPTER_DRIVER":                               "nats",
		"ADAPTER_CLUSTER_HEALTH_ENABLED":               "false",
		"ADAPTER_CLUSTER_HEALTH_HEARTBEAT_INTERVAL_MS": "500",
		"ADAPTER_CLUSTER_HEALTH_NODE_TIMEOUT_MS":       "1500",
		"ADAPTER_CLUSTER_HEALTH_CLEANUP_INTERVAL_MS":   "1000",
		"CLEANUP_QUEUE_BUFFER_SIZE":                    "7000",
		"CLEANUP_BATCH_SIZE":                           "70",
		"NATS_SERVERS":                                 "nats://a:4222, tls://b:4222,c:4222,nats://u:p@d",
		"NATS_USERNAME":                                "u",
		"NATS_PASSWORD":                                "p",
		"NATS_TLS_CA_FILE":                             "ca",
		"NATS_TLS_CERT_FILE":                           "cert",
		"NATS_TLS_KEY_FILE":                            "key",
		"NATS_REPLICAS":                                "5",
		"STARTUP_TIMEOUT":                              "3s",
	})
	if err != nil {
		t.Fatal(err)
	}
	health := ClusterHealthConfig{Enabled: Off, HeartbeatInterval: 500, NodeTimeout: 1500, CleanupInterval: 1000}
	if diff := cmp.Diff(health, cfg.Adapter.ClusterHealth); diff != "" {
		t.Errorf("cluster health (-want +got):\n%s", diff)
	}
	if d := cfg.Adapter.ClusterHealth.NodeTimeout.Duration(); d != 1500*time.Millisecond {
		t.Errorf("node timeout %v", d)
	}
	want := NATSConfig{
		Servers:  List{"nats://a:4222", "tls://b:4222", "c:4222", "nats://u:p@d"},
		Username: "u", Password: "p", Prefix: "playhead", Replicas: 5, TLS: NATSTLSConfig{"ca", "cert", "key"},
	}
	if diff := cmp.Diff(want, cfg.NATS); diff != "" {
		t.Errorf("NATS (-want +got):\n%s", diff)
	}
	if cfg.Cleanup != (CleanupConfig{7000, 70}) || cfg.StartupTimeout != Duration(3*time.Second) || cfg.alone() {
		t.Errorf("clean-up %+v, startup timeout %v, alone %v", cfg.Cleanup, cfg.StartupTimeout, cfg.alone())
	}

	cfg, err = load(t, "node: a\ncluster: {routes: ['nats://a:6222', 'b:6222', 'nats://c:6222'], name: mine}", map[string]string{"CLUSTER_PORT": "7222", "CLUSTER_HOST": "::1"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ClusterConfig{List{"nats://a:6222", "b:6222", "nats://c:6222"}, "::1", 7222, "mine"}, cfg.Cluster); diff != "" || cfg.alone() {
		t.Errorf("cluster (-want +got):\n%s", diff)
	}
}

func TestLoadBadMedium(t *testing.T) {
	const file = "playhead.yml:1: "
	const three = "node: a, cluster: {routes: ['a:1', 'b:1', 'c:1']}"
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"heartbeat": {"adapter: {cluster_health: {heartbeat_interval_ms: 15001}}", []string{
			`adapter.cluster_health.node_timeout_ms: 30000 must be at least twice adapter.cluster_health.heartbeat_interval_ms, 15001: one late heartbeat would bury a node`}},
		"health": {"adapter: {cluster_health: {heartbeat_interval_ms: 10s, node_timeout_ms: 0, cleanup_interval_ms: -1}}", []string{
			file + `adapter.cluster_health.heartbeat_interval_ms: "10s" is not a whole number; write milliseconds without a unit, like 10000`,
			file + `adapter.cluster_health.cleanup_interval_ms: -1 is negative; write milliseconds without a unit, like 10000`,
			file + `adapter.cluster_health.node_timeout_ms: must be more than 0`}},
		"huge": {"adapter: {cluster_health: {node_timeout_ms: 9223372036855}}", []string{
			file + `adapter.cluster_health.node_timeout_ms: 9223372036855 is too large`}},
		"look": {"adapter: {cluster_health: {node_timeout_ms: 20000, cleanup_interval_ms: 20001}}", []string{
			file + `adapter.cluster_health.cleanup_interval_ms: 20001 must be at most adapter.cluster_health.node_timeout_ms, 20000: the dead would be seen for that much longer`}},
		"batch": {"cleanup: {queue_buffer_size: 10, batch_size: 11}", []string{
			file + `cleanup.batch_size: 11 must be at most cleanup.queue_buffer_size, 10: no more than that ever waits`}},
		"no queue": {"cleanup: {queue_buffer_size: 0, batch_size: none}", []string{
			file + `cleanup.queue_buffer_size: must be more than 0`, file + `cleanup.batch_size: must be more than 0`}},
		"servers": {"nats: {servers: ['nats://a:4222', 'http://u:hidden@b', 'nats://u:hidden@%']}", []string{
			file + `nats.servers: server 2 is not an address of the form nats://host:4222 or tls://host:4222`,
			file + `nats.servers: server 3 is not an address of the form nats://host:4222 or tls://host:4222`}},
		"halves": {"nats: {servers: [a], username: u, tls: {key_file: k}}", []string{
			file + `nats.username: give both nats.username and nats.password, or neither`,
			file + `nats.tls.key_file: give both nats.tls.cert_file and nats.tls.key_file, or neither`}},
		"logins": {"nats: {servers: [a], credentials_file: f, username: u, password: p, token: t}", []string{
			file + `nats.credentials_file: with nats.username and nats.token given, too, who is logged in? give one of them`}},
		"no servers": {"nats: {token: hidden, tls: {ca_file: f}}", []string{
			file + `nats.token: means nothing without nats.servers`, file + `nats.tls.ca_file: means nothing without nats.servers`}},
		"replicas": {"nats: {replicas: 3}", []string{
			file + `nats.replicas: 3 replicas on one server; set nats.servers or cluster.routes, or leave it out`}},
		"even": {"nats: {servers: [a], replicas: 2}", []string{
			file + `nats.replicas: 2 is not 1, 3 or 5: an even number survives no more than one less does`}},
		"five of three": {"{nats: {replicas: 5}, " + three + "}", []string{file + `nats.replicas: 5 replicas on 3 nodes`}},
		"both": {"{nats: {servers: [a]}, " + three + "}", []string{
			file + `cluster.routes: with nats.servers the nodes have a cluster already; give one of the two`}},
		"one": {"{node: a, cluster: {routes: a:1}}", []string{
			file + `cluster.routes: one route is no cluster; list three or five nodes, this one among them, or none`}},
		"two": {"{node: a, cluster: {routes: 'a:1, b:1'}}", []string{
			file + `cluster.routes: with two nodes either one's end stops both; list three or five, this node among them`}},
		"routes": {"{node: a, cluster: {routes: ['a:1', 'nats://a:1', 'u:hidden@b']}}", []string{
			file + `cluster.routes: a:1 is listed twice`, file + `cluster.routes: route 3 is not an address of the form nats://host:port`}},
		"nameless": {"cluster: {routes: 'a:1, b:1, c:1'}", []string{
			`node: required with cluster.routes, and the same after each start: under another name the cluster would count a node more and lose its quorum sooner`}},
		"ports": {"{port: 6222, " + three + "}", []string{`cluster.port: 6222 is port, too; give the cluster one of its own`}},
		"any port": {"node: a\ncluster: {port: 0, routes: 'a:1, b:1, c:1'}", []string{
			`playhead.yml:2: cluster.port: the other nodes have to know the port`}},
		"cluster": {"cluster: {name: a b}", []string{
			file + `cluster.name: "a b"; a cluster's name is 1 to 32 letters, digits, '_' and '-'`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tt.text, nil)
			if diff := cmp.Diff(Problems(tt.want), err); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A node isn't made with a file that can't be read; its ports stay free.
func TestMediumFiles(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none")
	odd := filepath.Join(t.TempDir(), "odd")
	if err := os.WriteFile(odd, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]NATSConfig{
		"nats.credentials_file: open " + none:            {CredentialsFile: none},
		"nats.tls.ca_file: ":                             {TLS: NATSTLSConfig{CAFile: odd}},
		"nats.tls.cert_file and nats.tls.key_file: open": {TLS: NATSTLSConfig{CertFile: none, KeyFile: none}},
	} {
		cfg := local(t)
		cfg.NATS = c
		cfg.NATS.Servers = List{"nats://127.0.0.1:1"}
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Secrets of servers don't reach the log, wherever they stand.
func TestMediumKeepsSecrets(t *testing.T) {
	t.Parallel()
	cfg := Config{
		NATS:    NATSConfig{Servers: List{"nats://user:hid@den@a:4222", "hidden@b"}, Password: "hidden", Token: "hidden"},
		Cluster: ClusterConfig{Routes: List{"user:hidden@c:6222"}, Name: "mine"},
	}
	var out strings.Builder
	logger := slog.New(slog.NewTextHandler(&out, nil))
	logger.Info("x", "config", cfg, "nats", cfg.NATS, "cluster", cfg.Cluster, "medium", cfg.medium())
	if strings.Contains(out.String(), "hid") || !strings.Contains(out.String(), "nats://a:4222") || !strings.Contains(out.String(), "nats://c:6222") {
		t.Error(out.String())
	}
}
