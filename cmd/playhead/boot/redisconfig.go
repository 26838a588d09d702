package boot

import (
	"cmp"
	"log/slog"
)

// The drivers that more than one setting knows.
const (
	driverNATS    = "nats"
	driverRedis   = "redis"
	driverCluster = "redis-cluster"
	driverMemory  = "memory"
	driverNone    = "none"
)

// RedisConfig is how Redis is reached by what has the driver redis or redis-cluster.
type RedisConfig struct {
	// Host and Port are where a single Redis is. Default "127.0.0.1" and 6379.
	Host string `yaml:"host" env:"DATABASE_REDIS_HOST" default:"127.0.0.1"`
	Port Port   `yaml:"port" env:"DATABASE_REDIS_PORT" default:"6379"`

	// Username and Password are who logs in, to a cluster's nodes too. Default: nobody does.
	Username string `yaml:"username" env:"DATABASE_REDIS_USERNAME"`
	Password string `yaml:"password" env:"DATABASE_REDIS_PASSWORD"`

	// DB is the number of the database. Default 0; a cluster has no other.
	DB Count `yaml:"db" env:"DATABASE_REDIS_DB" default:"0" none:"yes"`

	// URL says it all in one, and goes over the settings above: redis://user:password@host:6379/0, or
	// rediss:// for TLS. Default: they stand.
	URL string `yaml:"url" env:"REDIS_URL"`

	// Sentinels are the addresses, host:26379, of those who know which Redis is the master. Instead of
	// Host and Port. Default: there are none.
	Sentinels List `yaml:"sentinels" env:"DATABASE_REDIS_SENTINELS"`

	// SentinelMaster is what they call the master. Default "mymaster".
	SentinelMaster string `yaml:"sentinel_master" env:"DATABASE_REDIS_SENTINEL_MASTER" default:"mymaster"`

	// SentinelUsername and SentinelPassword are who logs in to them. Default: nobody does.
	SentinelUsername string `yaml:"sentinel_username" env:"DATABASE_REDIS_SENTINEL_USERNAME"`
	SentinelPassword string `yaml:"sentinel_password" env:"DATABASE_REDIS_SENTINEL_PASSWORD"`

	// ClusterNodes are addresses of a Redis Cluster's nodes, of which one has to answer at the start:
	// host:6379, or redis:// or rediss:// with it. Required by the driver redis-cluster.
	ClusterNodes List `yaml:"cluster_nodes" env:"REDIS_CLUSTER_NODES"`

	// KeyPrefix begins the name of every key and channel, so that installations can share a Redis.
	// Default "playhead".
	KeyPrefix string `yaml:"key_prefix" env:"DATABASE_REDIS_KEY_PREFIX" default:"playhead"`

	// ConnectionPoolSize bounds the connections to each server, without those that listen. Default: 10
	// per CPU.
	ConnectionPoolSize Count `yaml:"connection_pool_size" env:"REDIS_CONNECTION_POOL_SIZE"`

	// CloseOnGap closes connections (4200) whose app may have missed events while Redis was away, so that
	// clients fetch what they show anew instead of believing that they have it all. Default true.
	CloseOnGap Switch `yaml:"close_on_gap" env:"REDIS_CLOSE_ON_GAP" default:"true"`

	// UpGrace is for how long /up goes on saying OK while Redis, as the adapter, is away; /ready says 503
	// at once. Who restarts nodes by /up would make it worse. Default 10s; none: no longer than /ready.
	UpGrace Duration `yaml:"up_grace" env:"REDIS_UP_GRACE" default:"10s" none:"yes"`

	TLS RedisTLSConfig `yaml:"tls"`
}

// RedisTLSConfig is about TLS to Redis, and to the Sentinels.
type RedisTLSConfig struct {
	// Enabled has it, and the servers' certificates verified. Default false; rediss:// in an address does
	// the same.
	Enabled Switch `yaml:"enabled" env:"DATABASE_REDIS_TLS_ENABLED" default:"false"`

	// CAFile has the certificates of the authorities that are trusted, in PEM. Default: the system's.
	CAFile string `yaml:"ca_file" env:"DATABASE_REDIS_TLS_CA_FILE"`

	// CertFile and KeyFile are the node's own certificate and its key, in PEM. Default: none.
	CertFile string `yaml:"cert_file" env:"DATABASE_REDIS_TLS_CERT_FILE"`
	KeyFile  string `yaml:"key_file" env:"DATABASE_REDIS_TLS_KEY_FILE"`
}

// CacheConfig is about the last events of cache channels.
type CacheConfig struct {
	// Driver is where they are kept: where the events go (nats, redis, redis-cluster); memory, where each node
	// knows what it has heard while the app was in use there, and the next session of an app that wasn't
	// finds nothing; none, and then cache channels never have one. Default: as [AdapterConfig].Driver.
	Driver string `yaml:"driver" env:"CACHE_DRIVER" oneof:"nats redis redis-cluster memory none"`
}

// QueueConfig is about the webhooks that wait.
type QueueConfig struct {
	// Driver is where they wait: nats, redis or redis-cluster; memory, where a restart loses them; none,
	// and then nobody is told anything. Default: as [AdapterConfig].Driver.
	Driver string `yaml:"driver" env:"QUEUE_DRIVER" oneof:"nats redis redis-cluster memory none"`
}

// LogValue keeps secrets out of logs; addresses may have theirs in them.
func (c RedisConfig) LogValue() slog.Value {
	return slog.GroupValue(slog.String("host", c.Host), slog.String("url", masked(c.URL)), slog.String("prefix", c.KeyPrefix))
}

// onNATS says that events go over NATS.
func (c *Config) onNATS() bool {
	return c.Adapter.Driver != driverRedis && c.Adapter.Driver != driverCluster
}

// cacheDriver, queueDriver and limiterDriver are what a filled configuration comes to.
func (c *Config) cacheDriver() string { return cmp.Or(c.Cache.Driver, c.Adapter.Driver) }

func (c *Config) queueDriver() string { return cmp.Or(c.Queue.Driver, c.Adapter.Driver) }

func (c *Config) limiterDriver() string {
	if c.RateLimit.Driver == "" && c.onNATS() {
		return driverMemory
	}
	return cmp.Or(c.RateLimit.Driver, c.Adapter.Driver)
}

// uses says that something has this driver.
func (c *Config) uses(driver string) bool {
	return c.Adapter.Driver == driver || c.cacheDriver() == driver || c.queueDriver() == driver || c.limiterDriver() == driver
}
