package boot

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/adapters/redis"
)

// All that can be said of Redis is taken, in the words of the guide, and becomes the client's settings.
func TestLoadRedis(t *testing.T) {
	type drivers struct{ Adapter, Cache, Queue, Limiter string }
	for name, tt := range map[string]struct {
		env       map[string]string
		drivers   drivers
		single    *redis.ClientConfig
		cluster   *redis.ClientConfig
		encrypted bool
		place     string
	}{
		"nothing but the driver": {
			env:     map[string]string{"ADAPTER_DRIVER": "redis"},
			drivers: drivers{"redis", "redis", "redis", "redis"},
			single:  &redis.ClientConfig{Addrs: []string{"127.0.0.1:6379"}, Prefix: "playhead"},
			place:   "Redis at 127.0.0.1:6379",
		},
		"single": {
			env: map[string]string{
				"ADAPTER_DRIVER": "redis", "DATABASE_REDIS_HOST": "r", "DATABASE_REDIS_PORT": "7000", "DATABASE_REDIS_USERNAME": "u",
				"DATABASE_REDIS_PASSWORD": "p", "DATABASE_REDIS_DB": "3", "DATABASE_REDIS_KEY_PREFIX": "mine",
				"REDIS_CONNECTION_POOL_SIZE": "7", "CACHE_DRIVER": "none", "QUEUE_DRIVER": "memory", "RATE_LIMITER_DRIVER": "memory",
				"DATABASE_REDIS_TLS_ENABLED": "true", "DATABASE_REDIS_TLS_CA_FILE": "ca",
			},
			drivers:   drivers{"redis", "none", "memory", "memory"},
			single:    &redis.ClientConfig{Addrs: []string{"r:7000"}, Username: "u", Password: "p", DB: 3, Prefix: "mine", PoolSize: 7},
			encrypted: true,
			place:     "Redis at r:7000",
		},
		"URL": {
			env:     map[string]string{"ADAPTER_DRIVER": "redis", "DATABASE_REDIS_HOST": "r", "REDIS_URL": "redis://u:p%40@h/5"},
			drivers: drivers{"redis", "redis", "redis", "redis"},
			single:  &redis.ClientConfig{Addrs: []string{"h:6379"}, Username: "u", Password: "p@", DB: 5, Prefix: "playhead"},
			place:   "Redis at h:6379",
		},
		"URL with TLS": {
			env:       map[string]string{"ADAPTER_DRIVER": "redis", "REDIS_URL": "rediss://:p@[::1]:1", "DATABASE_REDIS_TLS_CA_FILE": "ca"},
			drivers:   drivers{"redis", "redis", "redis", "redis"},
			single:    &redis.ClientConfig{Addrs: []string{"[::1]:1"}, Password: "p", Prefix: "playhead"},
			encrypted: true,
			place:     "Redis at [::1]:1",
		},
		"Sentinels": {
			env: map[string]string{
				"ADAPTER_DRIVER": "redis", "DATABASE_REDIS_SENTINELS": "a:1, b:2", "DATABASE_REDIS_SENTINEL_MASTER": "main",
				"DATABASE_REDIS_SENTINEL_USERNAME": "su", "DATABASE_REDIS_SENTINEL_PASSWORD": "sp", "DATABASE_REDIS_PASSWORD": "p",
			},
			drivers: drivers{"redis", "redis", "redis", "redis"},
			single: &redis.ClientConfig{
				Addrs: []string{"a:1", "b:2"}, MasterName: "main", SentinelUsername: "su", SentinelPassword: "sp", Password: "p", Prefix: "playhead",
			},
			place: "Redis, main of the Sentinels at a:1, b:2",
		},
		"cluster": {
			env:     map[string]string{"ADAPTER_DRIVER": "redis-cluster", "REDIS_CLUSTER_NODES": "a:1,redis://b:2, redis://u:p@c"},
			drivers: drivers{"redis-cluster", "redis-cluster", "redis-cluster", "redis-cluster"},
			cluster: &redis.ClientConfig{Addrs: []string{"a:1", "b:2", "c:6379"}, Cluster: true, Username: "u", Password: "p", Prefix: "playhead"},
			place:   "Redis Cluster at a:1, b:2, c:6379",
		},
		"cluster with TLS, queue elsewhere": {
			env: map[string]string{
				"ADAPTER_DRIVER": "redis-cluster", "REDIS_CLUSTER_NODES": "rediss://a:1", "QUEUE_DRIVER": "redis", "DATABASE_REDIS_HOST": "q",
			},
			drivers:   drivers{"redis-cluster", "redis-cluster", "redis", "redis-cluster"},
			single:    &redis.ClientConfig{Addrs: []string{"q:6379"}, Prefix: "playhead"},
			cluster:   &redis.ClientConfig{Addrs: []string{"a:1"}, Cluster: true, Prefix: "playhead"},
			encrypted: true,
			place:     "Redis Cluster at a:1",
		},
		"NATS": {drivers: drivers{"nats", "nats", "nats", "memory"}},
		"NATS with a shared limiter and queue": {
			env:     map[string]string{"RATE_LIMITER_DRIVER": "redis", "QUEUE_DRIVER": "redis"},
			drivers: drivers{"nats", "nats", "redis", "redis"},
			single:  &redis.ClientConfig{Addrs: []string{"127.0.0.1:6379"}, Prefix: "playhead"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := load(t, "", tt.env)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.drivers, drivers{cfg.Adapter.Driver, cfg.cacheDriver(), cfg.queueDriver(), cfg.limiterDriver()}); diff != "" {
				t.Errorf("drivers (-want +got):\n%s", diff)
			}
			encrypted := false
			for driver, want := range map[string]*redis.ClientConfig{driverRedis: tt.single, driverCluster: tt.cluster} {
				if cfg.uses(driver) != (want != nil) {
					t.Errorf("%s is used: %v", driver, want == nil)
				}
				if want == nil {
					continue
				}
				got, secured, err := cfg.Redis.single()
				if driver == driverCluster {
					got, secured, err = cfg.Redis.cluster()
				}
				encrypted = encrypted || secured
				if diff := cmp.Diff(*want, got); diff != "" || err != nil {
					t.Errorf("%s: %v (-want +got):\n%s", driver, err, diff)
				}
			}
			if encrypted != tt.encrypted {
				t.Errorf("TLS %v, want %v", encrypted, tt.encrypted)
			}
			if got := cfg.medium(); tt.place != "" && got != tt.place {
				t.Errorf("medium %q, want %q", got, tt.place)
			}
			if redis := tt.drivers.Adapter != "nats"; cfg.alone() == redis {
				t.Errorf("alone %v", !redis)
			}
			if cfg.Redis.UpGrace != Duration(10*time.Second) || cfg.Redis.CloseOnGap != On {
				t.Errorf("grace %v, close on gap %v", cfg.Redis.UpGrace, cfg.Redis.CloseOnGap)
			}
		})
	}
}

func TestLoadBadRedis(t *testing.T) {
	const in = " in the environment: "
	for name, tt := range map[string]struct {
		env  map[string]string
		want []string
	}{
		"drivers": {
			map[string]string{"CACHE_DRIVER": "memcached", "QUEUE_DRIVER": "sqs", "RATE_LIMITER_DRIVER": "none"},
			[]string{
				"CACHE_DRIVER" + in + `cache.driver: unknown value "memcached"; known: nats, redis, redis-cluster, memory, none`,
				"QUEUE_DRIVER" + in + `queue.driver: unknown value "sqs"; known: nats, redis, redis-cluster, memory, none`,
				"RATE_LIMITER_DRIVER" + in + `rate_limit.driver: unknown value "none"; known: memory, redis, redis-cluster`,
			},
		},
		"nothing left of NATS": {
			map[string]string{
				"ADAPTER_DRIVER": "redis", "NATS_SERVERS": "a:4222", "SYNC_MODE": "interval", "STREAMS_MAX_AGE": "1h", "REPLAY_MAX_EVENTS": "5",
				"CACHE_DRIVER": "nats", "QUEUE_DRIVER": "nats",
			},
			[]string{
				"CACHE_DRIVER" + in + "cache.driver: nats, with adapter.driver redis: the last event is kept in the step that sends it; choose redis, memory or none",
				"QUEUE_DRIVER" + in + "queue.driver: nats, with adapter.driver redis there is no NATS: choose redis, or memory or none",
				"NATS_SERVERS" + in + "nats.servers: means nothing with adapter.driver redis: no NATS is used",
				"SYNC_MODE" + in + "sync.mode: means nothing with adapter.driver redis: it keeps no events",
				"STREAMS_MAX_AGE" + in + "streams.max_age: means nothing with adapter.driver redis: it keeps no events",
				"REPLAY_MAX_EVENTS" + in + "replay.max_events: means nothing with adapter.driver redis: it keeps no events",
			},
		},
		"cache elsewhere": {
			map[string]string{"CACHE_DRIVER": "redis"},
			[]string{"CACHE_DRIVER" + in + "cache.driver: redis, with adapter.driver nats: the last event is kept in the step that sends it; choose nats, memory or none"},
		},
		"gap without the adapter": {
			map[string]string{"QUEUE_DRIVER": "redis", "REDIS_CLOSE_ON_GAP": "false"},
			[]string{"REDIS_CLOSE_ON_GAP" + in + "redis.close_on_gap: means nothing unless Redis carries the events (adapter.driver)"},
		},
		"cluster without nodes": {
			map[string]string{"ADAPTER_DRIVER": "redis-cluster", "DATABASE_REDIS_HOST": "r"},
			[]string{
				"redis.cluster_nodes: required by the driver redis-cluster: some of the cluster's nodes, host:6379,host:6379 (REDIS_CLUSTER_NODES)",
				"DATABASE_REDIS_HOST" + in + "redis.host: means nothing with the driver redis-cluster: it has redis.cluster_nodes",
			},
		},
		"nodes": {
			map[string]string{"ADAPTER_DRIVER": "redis-cluster", "REDIS_CLUSTER_NODES": "a,redis://b:1/2,rediss://u:p@c:1,redis://u:q@d:1"},
			[]string{
				"REDIS_CLUSTER_NODES" + in + "redis.cluster_nodes: node 1 has no port; write host:6379",
				"REDIS_CLUSTER_NODES" + in + "redis.cluster_nodes: node 2 is not an address of the form host:6379, redis://host:6379 or rediss://host:6379",
				"REDIS_CLUSTER_NODES" + in + "redis.cluster_nodes: node 4 has another login than what is given before; a cluster has one for all nodes",
				"REDIS_CLUSTER_NODES" + in + "redis.cluster_nodes: some nodes are to be spoken to in TLS and some not; a cluster has one way for all",
			},
		},
		"nodes without a cluster": {
			map[string]string{"ADAPTER_DRIVER": "redis", "REDIS_CLUSTER_NODES": "a:1"},
			[]string{"REDIS_CLUSTER_NODES" + in + "redis.cluster_nodes: means nothing without the driver redis-cluster"},
		},
		"Sentinels": {
			map[string]string{"ADAPTER_DRIVER": "redis", "DATABASE_REDIS_SENTINELS": "a:1,b", "DATABASE_REDIS_HOST": "r", "REDIS_URL": "redis://x"},
			[]string{
				"DATABASE_REDIS_SENTINELS" + in + "redis.sentinels: Sentinel 2 is not an address of the form host:26379",
				"REDIS_URL" + in + "redis.url: with redis.sentinels the master is known from them; give one of the two",
				"DATABASE_REDIS_HOST" + in + "redis.host: means nothing with redis.sentinels: they say where the master is",
			},
		},
		"no Sentinels": {
			map[string]string{"ADAPTER_DRIVER": "redis", "DATABASE_REDIS_SENTINEL_MASTER": "m"},
			[]string{"DATABASE_REDIS_SENTINEL_MASTER" + in + "redis.sentinel_master: means nothing without redis.sentinels"},
		},
		"URL": {
			map[string]string{"ADAPTER_DRIVER": "redis", "REDIS_URL": "http://x"},
			[]string{"REDIS_URL" + in + "redis.url: is not of the form redis://user:password@host:6379/0, or rediss:// for TLS"},
		},
		"TLS": {
			map[string]string{"ADAPTER_DRIVER": "redis", "DATABASE_REDIS_TLS_CERT_FILE": "c", "DATABASE_REDIS_USERNAME": "u", "DATABASE_REDIS_KEY_PREFIX": "{}"},
			[]string{
				"DATABASE_REDIS_KEY_PREFIX" + in + `redis.key_prefix: "{}"; a prefix is 1 to 32 letters, digits, '_' and '-'`,
				"DATABASE_REDIS_USERNAME" + in + "redis.username: without redis.password",
				"DATABASE_REDIS_TLS_CERT_FILE" + in + "redis.tls.cert_file: give both redis.tls.cert_file and redis.tls.key_file, or neither",
				"DATABASE_REDIS_TLS_CERT_FILE" + in + "redis.tls.cert_file: means nothing without redis.tls.enabled, or rediss:// in an address",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, "", tt.env)
			var got Problems
			if !errors.As(err, &got) {
				t.Fatalf("no problems but %v", err)
			}
			if diff := cmp.Diff(tt.want, []string(got)); diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
	// A platform may set variables that nobody here asked for; a file says what is meant.
	if _, err := load(t, "", map[string]string{"DATABASE_REDIS_HOST": "r", "REDIS_URL": "redis://x"}); err != nil {
		t.Errorf("Redis unused, but in the environment: %v", err)
	}
	_, err := load(t, "redis: {host: r}", nil)
	if diff := cmp.Diff(Problems{"playhead.yml:1: redis.host: means nothing without redis or redis-cluster as a driver (adapter.driver, queue.driver, rate_limit.driver)"}, err); diff != "" {
		t.Errorf("Redis unused (-want +got):\n%s", diff)
	}
	_, err = load(t, "queue: {driver: none}\napps: [{id: a, key: k, secret: s, webhooks: [{url: 'http://x'}]}]", nil)
	if diff := cmp.Diff(Problems{"playhead.yml:2: apps[0].webhooks: with queue.driver none nobody is told"}, err); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
