package boot

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/playhead/playhead/adapters/redis"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
	"github.com/playhead/playhead/broker/webhook"
)

// redisClients are the ways to Redis, by driver; only those that are used.
type redisClients map[string]*redis.Client

// newRedisClients makes them; they connect to nothing. Error: a file can't be read, and which.
func newRedisClients(cfg *Config) (redisClients, error) {
	all := redisClients{}
	for driver, way := range map[string]func() (redis.ClientConfig, bool, error){
		driverRedis: cfg.Redis.single, driverCluster: cfg.Redis.cluster,
	} {
		if !cfg.uses(driver) {
			continue
		}
		c, encrypted, err := way()
		if err != nil {
			return nil, err
		}
		if encrypted {
			if c.TLS, err = cfg.Redis.TLS.config(); err != nil {
				return nil, err
			}
		}
		c.Logger = cfg.Logger
		if all[driver], err = redis.NewClient(c); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// config reads the files.
func (c *RedisTLSConfig) config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("redis.tls.ca_file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("redis.tls.ca_file: %s has no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile); err != nil {
			return nil, fmt.Errorf("redis.tls.cert_file and redis.tls.key_file: %w", err)
		}
		// Read with each connection: a certificate that was renewed is taken.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
			return &pair, err
		}
	}
	return cfg, nil
}

// openRedis reaches every Redis that is used, trying until startup_timeout has passed.
func (n *Node) openRedis(ctx context.Context, s *stack) error {
	start, cancel := context.WithTimeout(ctx, time.Duration(n.cfg.StartupTimeout))
	defer cancel()
	for driver, c := range n.redis {
		s.push("connections to "+driver, func(context.Context) error { return c.Close() })
		if err := c.Open(start); err != nil {
			return startError(start, err)
		}
	}
	return nil
}

// raiseRedis makes the medium over Redis.
func (n *Node) raiseRedis(s *stack) (*medium, error) {
	c := n.redis[n.cfg.Adapter.Driver]
	carrier, err := redis.New(redis.Config{
		Client: c,
		Cached: func(ch broker.Channel) bool {
			return n.cfg.cacheDriver() == n.cfg.Adapter.Driver && pusher.KindOf(ch).Cache()
		},
		GoOnAfterGap: n.cfg.Redis.CloseOnGap == Off,
		Logger:       n.logger,
		Registerer:   n.registry,
	})
	if err != nil {
		return nil, err
	}
	s.start("Redis", carrier.Run)
	members, err := redis.NewPresenceLog(redis.PresenceLogConfig{
		Client: c, MaxAge: membersRetention.Age, Logger: n.logger,
	})
	if err != nil {
		return nil, err
	}
	return &medium{
		log: carrier, cache: carrier, members: members, apps: keptNowhere{},
		leaders: func() []ClusterStream { return []ClusterStream{} },
		health:  carrier.Health, outage: carrier.Outage,
	}, nil
}

// keptNowhere is what is kept of apps by a medium without memory.
type keptNowhere struct{}

func (keptNowhere) Adapt(context.Context, ...broker.AppID) error { return nil }
func (keptNowhere) Forget(broker.AppID)                          {}

// nobody has no endpoint to tell.
type nobody struct{}

func (nobody) All() []*broker.App { return nil }

// addQueue gives the medium the queue of what backends are to be told, where that is another one than the
// medium's own.
func (n *Node) addQueue(s *stack, m *medium) error {
	c := &n.cfg.Webhooks
	switch driver := n.cfg.queueDriver(); driver {
	case driverMemory, driverNone:
		letters, err := webhook.NewMemory(webhook.MemoryConfig{MaxLetters: int64(c.QueueEvents), MaxBytes: int64(c.QueueBytes)})
		if err != nil {
			return err
		}
		m.letters = letters
	case driverRedis, driverCluster:
		letters, err := redis.NewLetters(redis.LettersConfig{
			Client:     n.redis[driver],
			MaxAge:     max(24*time.Hour, 2*time.Duration(c.MaxAge)),
			MaxBytes:   int64(c.QueueBytes),
			MaxLetters: int64(c.QueueEvents),
			DeadAge:    time.Duration(c.DeadAge),
			DeadBytes:  int64(c.DeadBytes),
			Logger:     n.logger,
		})
		if err != nil {
			return err
		}
		s.start("queue", letters.Run)
		m.letters = letters
	}
	return nil
}

// addLimiter gives the medium the limiter that all nodes share, where they do.
func (n *Node) addLimiter(m *medium) error {
	client, ok := n.redis[n.cfg.limiterDriver()]
	if !ok {
		return nil
	}
	limiter, err := redis.NewLimiter(redis.LimiterConfig{Client: client, Logger: n.logger, Registerer: n.registry})
	if err != nil {
		return err
	}
	m.limiter = limiter
	return nil
}

// up says why the node is to be taken for broken, or nil. Unlike [Node.down] it bears with a Redis that is
// away for a while: its sessions are still there.
func (n *Node) up() error {
	err := n.down()
	m := n.medium.Load()
	if err == nil || !n.serving.Load() || m == nil || m.outage == nil {
		return err
	}
	if away := m.outage(); away > 0 && away < time.Duration(n.cfg.Redis.UpGrace) {
		return nil
	}
	return err
}

// errNoRedis is why a node isn't ready before it has a medium.
var errNoRedis = errors.New("Redis has not been reached yet")

// redisPlace says which Redis carries the events.
func (c *Config) redisPlace() string {
	if c.Adapter.Driver == driverCluster {
		cfg, _, _ := c.Redis.cluster() // checked
		return "Redis Cluster at " + strings.Join(cfg.Addrs, ", ")
	}
	cfg, _, _ := c.Redis.single() // checked
	if cfg.MasterName != "" {
		return fmt.Sprintf("Redis, %s of the Sentinels at %s", cfg.MasterName, strings.Join(cfg.Addrs, ", "))
	}
	return "Redis at " + strings.Join(cfg.Addrs, ", ")
}
