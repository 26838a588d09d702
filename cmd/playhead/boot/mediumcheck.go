package boot

import (
	"net/url"
	"slices"
	"strings"

	"github.com/playhead/playhead/adapters/embedded"
)

// checkMedium checks what is said of NATS servers, of the cluster, and of its health.
func (l *loader) checkMedium(c *Config) {
	l.checkHealth(&c.Adapter.ClusterHealth)
	if l.good("cleanup.batch_size", "cleanup.queue_buffer_size") && c.Cleanup.BatchSize > c.Cleanup.QueueBufferSize {
		l.problem("%s: %v must be at most cleanup.queue_buffer_size, %v: no more than that ever waits",
			l.at("cleanup.batch_size"), c.Cleanup.BatchSize, c.Cleanup.QueueBufferSize)
	}
	if r := c.NATS.Replicas; l.good("nats.replicas") && !slices.Contains([]Count{0, 1, 3, 5}, r) && r != None {
		l.problem("%s: %v is not 1, 3 or 5: an even number survives no more than one less does", l.at("nats.replicas"), r)
	}
	l.checkServers(&c.NATS)
	l.checkRoutes(c)
}

// checkHealth checks the times that must fit each other.
func (l *loader) checkHealth(c *ClusterHealthConfig) {
	const at = "adapter.cluster_health."
	if c.HeartbeatInterval <= 0 || c.NodeTimeout <= 0 || c.CleanupInterval <= 0 {
		return // told by checkSetting
	}
	if l.good(at+"node_timeout_ms", at+"heartbeat_interval_ms") && c.NodeTimeout < 2*c.HeartbeatInterval {
		l.problem("%s: %v must be at least twice %sheartbeat_interval_ms, %v: one late heartbeat would bury a node",
			l.at(at+"node_timeout_ms"), c.NodeTimeout, at, c.HeartbeatInterval)
	}
	if l.good(at+"cleanup_interval_ms", at+"node_timeout_ms") && c.CleanupInterval > c.NodeTimeout {
		l.problem("%s: %v must be at most %snode_timeout_ms, %v: the dead would be seen for that much longer",
			l.at(at+"cleanup_interval_ms"), c.CleanupInterval, at, c.NodeTimeout)
	}
}

// checkServers checks how NATS servers are reached.
func (l *loader) checkServers(c *NATSConfig) {
	for i, text := range c.Servers {
		if !natsURL(text) {
			l.problem("%s: server %d is not an address of the form nats://host:4222 or tls://host:4222", l.at("nats.servers"), i+1)
		}
	}
	if (c.Username == "") != (c.Password == "") {
		l.problem("%s: give both nats.username and nats.password, or neither", l.at(either(c.Username != "", "nats.username", "nats.password")))
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		l.problem("%s: give both nats.tls.cert_file and nats.tls.key_file, or neither",
			l.at(either(c.TLS.CertFile != "", "nats.tls.cert_file", "nats.tls.key_file")))
	}
	var ways []string
	for _, s := range []struct{ key, text string }{
		{"nats.credentials_file", c.CredentialsFile}, {"nats.username", c.Username}, {"nats.token", c.Token},
	} {
		if s.text != "" {
			ways = append(ways, s.key)
		}
	}
	if len(ways) > 1 {
		l.problem("%s: with %s given, too, who is logged in? give one of them", l.at(ways[0]), strings.Join(ways[1:], " and "))
	}
	if len(c.Servers) > 0 {
		return
	}
	for _, s := range []struct{ key, text string }{
		{"nats.credentials_file", c.CredentialsFile}, {"nats.username", c.Username}, {"nats.password", c.Password}, {"nats.token", c.Token},
		{"nats.tls.ca_file", c.TLS.CAFile}, {"nats.tls.cert_file", c.TLS.CertFile}, {"nats.tls.key_file", c.TLS.KeyFile},
	} {
		if s.text != "" {
			l.problem("%s: means nothing without nats.servers", l.at(s.key))
		}
	}
}

// checkRoutes checks the cluster of embedded servers.
func (l *loader) checkRoutes(c *Config) {
	n := len(c.Cluster.Routes)
	if !prefixForm.MatchString(c.Cluster.Name) {
		l.problem("%s: %q; a cluster's name is 1 to 32 letters, digits, '_' and '-'", l.at("cluster.name"), c.Cluster.Name)
	}
	if n == 0 {
		if l.good("nats.replicas") && len(c.NATS.Servers) == 0 && c.NATS.Replicas > 1 {
			l.problem("%s: %v replicas on one server; set nats.servers or cluster.routes, or leave it out", l.at("nats.replicas"), c.NATS.Replicas)
		}
		return
	}
	at := l.at("cluster.routes")
	if len(c.NATS.Servers) > 0 {
		l.problem("%s: with nats.servers the nodes have a cluster already; give one of the two", at)
	}
	switch n {
	case 1:
		l.problem("%s: one route is no cluster; list three or five nodes, this one among them, or none", at)
	case 2:
		l.problem("%s: with two nodes either one's end stops both; list three or five, this node among them", at)
	}
	seen := map[string]bool{}
	for i, text := range c.Cluster.Routes {
		u, err := embedded.ParseRoute(text)
		switch {
		case err != nil:
			l.problem("%s: route %d %v", at, i+1, err)
		case seen[u.Host]:
			l.problem("%s: %s is listed twice", at, u.Host)
		default:
			seen[u.Host] = true
		}
	}
	if c.Cluster.Port == AnyPort {
		l.problem("%s: the other nodes have to know the port", l.at("cluster.port"))
	}
	if c.Node == "" {
		l.problem("%s: required with cluster.routes, and the same after each start: "+
			"under another name the cluster would count a node more and lose its quorum sooner", l.at("node"))
	}
	if l.good("nats.replicas") && c.NATS.Replicas > Count(n) && n > 2 {
		l.problem("%s: %v replicas on %d nodes", l.at("nats.replicas"), c.NATS.Replicas, n)
	}
	for _, other := range []struct {
		key  string
		port Port
	}{{"port", c.Port}, {"metrics.port", c.Metrics.Port}} {
		if l.good("cluster.port", other.key) && other.port == c.Cluster.Port && c.Cluster.Port != AnyPort {
			l.problem("%s: %v is %s, too; give the cluster one of its own", l.at("cluster.port"), c.Cluster.Port, other.key)
		}
	}
}

// natsURL reports whether a text is the address of a NATS server.
func natsURL(text string) bool {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	return err == nil && u.Hostname() != "" && slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) &&
		strings.Trim(u.Path, "/") == "" && u.RawQuery == ""
}

// withoutSecrets returns addresses as they may be shown to anybody.
func withoutSecrets(addresses []string) []string {
	shown := make([]string, 0, len(addresses))
	for _, text := range addresses {
		scheme, rest, ok := strings.Cut(text, "://")
		if !ok {
			scheme, rest = "nats", text
		}
		shown = append(shown, scheme+"://"+rest[strings.LastIndexByte(rest, '@')+1:])
	}
	return shown
}

func either(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}
