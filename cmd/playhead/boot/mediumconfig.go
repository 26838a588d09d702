package boot

import "log/slog"

// AdapterConfig names the medium, and says when a node of the cluster counts as dead.
type AdapterConfig struct {
	// Driver is the medium that carries events. "nats" keeps them, too, and runs inside the process unless
	// [NATSConfig].Servers has others; "redis" (one Redis, or a master that Sentinels watch) and
	// "redis-cluster" only carry them: clients that return aren't given what they missed. Default "nats".
	Driver string `yaml:"driver" env:"ADAPTER_DRIVER" default:"nats" oneof:"nats redis redis-cluster"`

	// BufferMultiplierPerCPU is how many events per CPU may be fanned out and not yet written on
	// sockets. Beyond that the node reads no further in its streams until writing has caught up: what
	// waits then waits in the log, not in memory. Fewer merge less and cost more CPU (measured in
	// broker/ws/PERFORMANCE.md). Default 64; none lets the queues of the connections take it.
	BufferMultiplierPerCPU Count `yaml:"buffer_multiplier_per_cpu" env:"ADAPTER_BUFFER_MULTIPLIER_PER_CPU" default:"64" none:"yes"`

	ClusterHealth ClusterHealthConfig `yaml:"cluster_health"`
}

// ClusterHealthConfig is about nodes watching each other. Its times are plain milliseconds, as other
// servers have them.
type ClusterHealthConfig struct {
	// Enabled has nodes tell that they are there, and dead ones be buried: whoever was connected to
	// one is told gone. Default true.
	Enabled Switch `yaml:"enabled" env:"ADAPTER_CLUSTER_HEALTH_ENABLED" default:"true"`

	// HeartbeatInterval is how often a node tells. Default 10000.
	HeartbeatInterval Milliseconds `yaml:"heartbeat_interval_ms" env:"ADAPTER_CLUSTER_HEALTH_HEARTBEAT_INTERVAL_MS" default:"10000"`

	// NodeTimeout is after how much silence a node counts as dead. At least twice the
	// HeartbeatInterval. Default 30000.
	NodeTimeout Milliseconds `yaml:"node_timeout_ms" env:"ADAPTER_CLUSTER_HEALTH_NODE_TIMEOUT_MS" default:"30000"`

	// CleanupInterval is how often the others look for dead ones. At most the NodeTimeout. Default
	// 10000.
	CleanupInterval Milliseconds `yaml:"cleanup_interval_ms" env:"ADAPTER_CLUSTER_HEALTH_CLEANUP_INTERVAL_MS" default:"10000"`
}

// CleanupConfig bounds what a mass of connections that end at once leaves to be done.
type CleanupConfig struct {
	// QueueBufferSize bounds the changes of who is where that wait to be told to the other nodes.
	// Default 100,000.
	QueueBufferSize Count `yaml:"queue_buffer_size" env:"CLEANUP_QUEUE_BUFFER_SIZE" default:"100000"`

	// BatchSize bounds how many of them are told in one entry. Default 1,000; at most the
	// QueueBufferSize.
	BatchSize Count `yaml:"batch_size" env:"CLEANUP_BATCH_SIZE" default:"1000"`
}

// NATSConfig is about the NATS servers that hold the streams. All but the prefix and the replicas
// belongs to Servers.
type NATSConfig struct {
	// Servers are the addresses of a NATS cluster, with JetStream, that all nodes use:
	// nats://host:4222, or tls://host:4222. Default: none, the server is inside the process.
	Servers List `yaml:"servers" env:"NATS_SERVERS"`

	// CredentialsFile is a file as nsc writes it, with a user's JWT and seed.
	CredentialsFile string `yaml:"credentials_file" env:"NATS_CREDENTIALS_FILE"`

	// Username and Password, instead of the file.
	Username string `yaml:"username" env:"NATS_USERNAME"`
	Password string `yaml:"password" env:"NATS_PASSWORD"`

	// Token, instead of either.
	Token string `yaml:"token" env:"NATS_TOKEN"`

	TLS NATSTLSConfig `yaml:"tls"`

	// Prefix begins the name of every stream and subject. Default "playhead".
	Prefix string `yaml:"prefix" env:"NATS_PREFIX" default:"playhead"`

	// Replicas is how many servers hold each stream: 1, 3 or 5. Streams that have fewer are given
	// more; those that have more keep them. Default: 3 where the cluster has three servers or more,
	// else 1.
	Replicas Count `yaml:"replicas" env:"NATS_REPLICAS"`
}

// NATSTLSConfig is about TLS to the servers. Default: as they and their addresses demand, with the
// system's authorities.
type NATSTLSConfig struct {
	// CAFile has the certificates of the authorities that are trusted, in PEM.
	CAFile string `yaml:"ca_file" env:"NATS_TLS_CA_FILE"`

	// CertFile and KeyFile are the client's own certificate and its key, in PEM.
	CertFile string `yaml:"cert_file" env:"NATS_TLS_CERT_FILE"`
	KeyFile  string `yaml:"key_file" env:"NATS_TLS_KEY_FILE"`
}

// ClusterConfig makes one cluster of the NATS servers that are inside the nodes' processes.
type ClusterConfig struct {
	// Routes are the addresses, nats://host:6222, of all nodes, this one's among them, the same list
	// on each. Three or five: with two the end of either stops both. With a user and a password in
	// them, the same in each, servers that don't know these are kept out. Default: none, the node is
	// alone or uses [NATSConfig].Servers.
	Routes List `yaml:"routes" env:"CLUSTER_ROUTES"`

	// Host and Port are where the others connect. Default "0.0.0.0" and 6222; nothing listens there
	// without Routes. Keep it off the public network.
	Host string `yaml:"host" env:"CLUSTER_HOST" default:"0.0.0.0"`
	Port Port   `yaml:"port" env:"CLUSTER_PORT" default:"6222"`

	// Name is the cluster's, the same on each node. Default "playhead".
	Name string `yaml:"name" env:"CLUSTER_NAME" default:"playhead"`
}

// LogValue keeps secrets out of logs; servers may have theirs in their addresses.
func (c NATSConfig) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("servers", withoutSecrets(c.Servers)), slog.String("prefix", c.Prefix))
}

// LogValue keeps secrets out of logs.
func (c ClusterConfig) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", c.Name), slog.Any("routes", withoutSecrets(c.Routes)))
}
