package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// ClientConfig says where Redis is and how to get in.
type ClientConfig struct {
	// Addrs are host:port. One of a single Redis; those of the Sentinels where MasterName is set; some
	// nodes of a cluster, from which the others are learned, where Cluster is. Default of a single
	// Redis "127.0.0.1:6379", else required.
	Addrs []string

	// MasterName is what the Sentinels at Addrs call the master. Default: there are no Sentinels.
	MasterName string

	// Cluster says that Addrs are nodes of a Redis Cluster. Not with MasterName or DB.
	Cluster bool

	// Username and Password for Redis. Default: none.
	Username, Password string

	// SentinelUsername and SentinelPassword for the Sentinels. Default: none.
	SentinelUsername, SentinelPassword string

	// DB is the number of the database. Default 0.
	DB int

	// TLS is how to speak TLS, to the Sentinels too. Default: don't.
	TLS *tls.Config

	// Prefix begins the name of every key and channel, so that installations can share a Redis. No
	// braces. Default "playhead".
	Prefix string

	// PoolSize bounds the connections to each server, without those that listen. Default 10 per CPU.
	PoolSize int

	// Timeout is how long one answer may take, and a connection to be made. Default 3 s.
	Timeout time.Duration

	// Logger takes lifecycle and faults. Default: discard.
	Logger *slog.Logger
}

// LogValue keeps secrets out of logs.
func (c ClientConfig) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("addrs", c.Addrs), slog.String("master", c.MasterName), slog.Bool("cluster", c.Cluster), slog.String("prefix", c.Prefix))
}

// Client is the way to one Redis, to a master that Sentinels watch, or to a Redis Cluster. It is safe
// for concurrent use.
type Client struct {
	cfg ClientConfig

	// rdb never tries anything a second time after an error of the network: what was done once would
	// be done twice. In a cluster it follows a slot that has moved.
	rdb goredis.UniversalClient
}

// NewClient checks cfg and returns a client that has not connected to anything. See [Client.Open].
func NewClient(cfg ClientConfig) (*Client, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	hush.Do(func() { goredis.SetLogger(libraryLogger{cfg.Logger}) })
	o := cfg.options()
	c := &Client{cfg: cfg}
	switch {
	case cfg.Cluster:
		c.rdb = goredis.NewClusterClient(o.Cluster())
	case cfg.MasterName != "":
		c.rdb = goredis.NewFailoverClient(o.Failover())
	default:
		c.rdb = goredis.NewClient(o.Simple())
	}
	return c, nil
}

// hush gives the library's logger, of which it has one for the whole process and which writes plain lines
// to standard error, something better to do.
var hush sync.Once

// libraryLogger takes what the library logs: it tells of each attempt to connect, and of what is returned
// as an error anyway.
type libraryLogger struct{ to *slog.Logger }

func (l libraryLogger) Printf(ctx context.Context, format string, v ...any) {
	if l.to.Enabled(ctx, slog.LevelDebug) {
		l.to.Log(ctx, slog.LevelDebug, "the Redis library says", "text", fmt.Sprintf(format, v...))
	}
}

// complete checks cfg and gives it its defaults.
func (c *ClientConfig) complete() error {
	var errs []error
	problem := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	problem(c.Cluster && c.MasterName != "", "cluster and master name: a Redis Cluster has no Sentinels")
	problem(c.Cluster && c.DB != 0, "db: %d, but a Redis Cluster has only 0", c.DB)
	problem(c.DB < 0, "db: %d is negative", c.DB)
	problem(c.PoolSize < 0, "pool size: %d is negative", c.PoolSize)
	problem(c.Timeout < 0, "timeout: %v is negative", c.Timeout)
	problem(strings.ContainsAny(c.Prefix, "{}"), "prefix: %q has braces, which say where in a cluster a key belongs", c.Prefix)
	if len(c.Addrs) == 0 {
		problem(c.Cluster || c.MasterName != "", "addresses: required")
		c.Addrs = []string{"127.0.0.1:6379"}
	}
	problem(!c.Cluster && c.MasterName == "" && len(c.Addrs) > 1, "addresses: %d for a single Redis; a Redis Cluster is another driver (ADAPTER_DRIVER=redis-cluster), and Sentinels need the master's name", len(c.Addrs))
	for i, addr := range c.Addrs {
		if err := checkAddr(addr); err != nil {
			problem(true, "address %d of %d: %w", i+1, len(c.Addrs), err)
		}
	}
	if c.Prefix == "" {
		c.Prefix = "playhead"
	}
	if c.Timeout == 0 {
		c.Timeout = 3 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return errors.Join(errs...)
}

// checkAddr checks that an address is host:port.
func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not host:port", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q has no port from 1 to 65535", addr)
	}
	if host == "" {
		return fmt.Errorf("%q has no host", addr)
	}
	return nil
}

// options are those of all three kinds. RESP2 has no out-of-band messages that a reader would have to
// look for before each one, and needs no greeting that older servers and proxies don't know.
func (c *ClientConfig) options() *goredis.UniversalOptions {
	return &goredis.UniversalOptions{
		Addrs:                    c.Addrs,
		MasterName:               c.MasterName,
		DB:                       c.DB,
		Username:                 c.Username,
		Password:                 c.Password,
		SentinelUsername:         c.SentinelUsername,
		SentinelPassword:         c.SentinelPassword,
		TLSConfig:                c.TLS,
		Protocol:                 2,
		MaxRetries:               -1,
		DialTimeout:              c.Timeout,
		DialerRetries:            1,
		ReadTimeout:              c.Timeout,
		WriteTimeout:             c.Timeout,
		ContextTimeoutEnabled:    true,
		PoolSize:                 c.PoolSize,
		PoolTimeout:              c.Timeout,
		DisableIdentity:          true,
		FailingTimeoutSeconds:    1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// Close closes all connections.
func (c *Client) Close() error {
	if err := c.rdb.Close(); err != nil {
		return fmt.Errorf("close connections to Redis: %w", err)
	}
	return nil
}

// Universal returns the library's client, for what else uses Redis.
func (c *Client) Universal() goredis.UniversalClient { return c.rdb }

// cluster returns the cluster's client; nil where there is no cluster.
func (c *Client) cluster() *goredis.ClusterClient {
	cluster, _ := c.rdb.(*goredis.ClusterClient)
	return cluster
}

// mistrust has a cluster's client ask who has what, after something didn't work. It doesn't wait for that.
func (c *Client) mistrust(ctx context.Context) {
	if cluster := c.cluster(); cluster != nil {
		cluster.ReloadState(ctx)
	}
}

// buckets is over how many hash tags apps are spread: as many slots of a cluster are listened to at
// most, and an app's keys are all in one.
const buckets = 64

// tag begins the names of all keys and channels of an app. In a cluster those with the same tag are on
// the same server, so scripts and transactions may use several.
func (c *Client) tag(app broker.AppID) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(app))
	return "{" + c.cfg.Prefix + ":" + strconv.FormatUint(uint64(h.Sum32()%buckets), 10) + "}"
}

// key is the name of a key of an app: of a kind, and which one. The app's length keeps names apart
// whatever is in them.
func (c *Client) key(app broker.AppID, kind, name string) string {
	return c.tag(app) + ":" + kind + ":" + strconv.Itoa(len(app)) + ":" + string(app) + ":" + name
}
