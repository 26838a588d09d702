package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// openTick is how often it is tried to reach what can't be reached at first.
const openTick = 250 * time.Millisecond

// errSetting marks what another try doesn't change: the configuration is wrong, or the servers' is.
var errSetting = errors.New("wrong setting")

// setting returns an error that only another configuration mends.
func setting(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errSetting, fmt.Errorf(format, args...))
}

// Open reaches Redis and checks that it is what the configuration says. It tries until ctx ends, and
// returns what the last try said; what trying doesn't mend, a wrong password for instance, it returns at
// once.
func (c *Client) Open(ctx context.Context) error {
	warned := false
	for {
		bounded, cancel := context.WithTimeout(ctx, 2*c.cfg.Timeout)
		err := c.check(bounded)
		cancel()
		if err == nil || errors.Is(err, errSetting) {
			return err
		}
		if ctx.Err() == nil && !warned {
			warned = true
			c.cfg.Logger.Warn("Redis isn't there yet; trying on", "err", err)
		}
		select {
		case <-time.After(openTick):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

func (c *Client) check(ctx context.Context) error {
	switch {
	case c.cfg.Cluster:
		return c.checkCluster(ctx)
	case c.cfg.MasterName != "":
		return c.checkSentinels(ctx)
	}
	return c.checkSingle(ctx)
}

// checkSingle checks that there is one Redis, which is nobody's replica.
func (c *Client) checkSingle(ctx context.Context) error {
	addr := c.cfg.Addrs[0]
	info, err := c.rdb.Info(ctx).Result()
	if err != nil {
		return c.refusal("Redis at "+addr, err)
	}
	switch field(info, "redis_mode") {
	case "cluster":
		return setting("Redis at %s is a node of a Redis Cluster: set ADAPTER_DRIVER=redis-cluster, and REDIS_CLUSTER_NODES", addr)
	case "sentinel":
		return setting("Redis at %s is a Sentinel: set DATABASE_REDIS_SENTINELS, and the master's name", addr)
	}
	if field(info, "role") == "slave" {
		return setting("Redis at %s is a replica of %s:%s: give the master's address, or Sentinels that know it", addr, field(info, "master_host"), field(info, "master_port"))
	}
	c.warn(addr, info)
	return nil
}

// checkSentinels checks that the Sentinels know the master, and that it is one.
func (c *Client) checkSentinels(ctx context.Context) error {
	if err := c.askSentinels(ctx); err != nil {
		return err
	}
	info, err := c.rdb.Info(ctx).Result()
	if err != nil {
		return c.refusal(fmt.Sprintf("the master %q", c.cfg.MasterName), err)
	}
	if role := field(info, "role"); role != "master" {
		return fmt.Errorf("who the Sentinels say is the master %q has the role %s; a failover may be under way", c.cfg.MasterName, role)
	}
	c.warn(c.cfg.MasterName, info)
	return nil
}

// askSentinels checks that a Sentinel answers and knows the master. Those that don't answer are named in
// a warning: one is enough to begin with.
func (c *Client) askSentinels(ctx context.Context) error {
	var silent []error
	for _, addr := range c.cfg.Addrs {
		o := c.seed(addr)
		o.Username, o.Password, o.DB = c.cfg.SentinelUsername, c.cfg.SentinelPassword, 0
		s := goredis.NewClient(o)
		masters, err := s.Do(ctx, "SENTINEL", "MASTERS").Slice()
		_ = s.Close() // nothing is under way on it
		if err != nil {
			if strings.Contains(err.Error(), "unknown command") {
				return setting("%s is no Sentinel: without DATABASE_REDIS_SENTINEL_MASTER it is a single Redis", addr)
			}
			if err = c.refusal("the Sentinel at "+addr, err); errors.Is(err, errSetting) {
				return err
			}
			silent = append(silent, err)
			continue
		}
		var names []string
		for _, m := range masters {
			if pairs, _ := m.([]any); len(pairs) > 1 {
				names = append(names, fmt.Sprint(pairs[1]))
			}
		}
		if !slices.Contains(names, c.cfg.MasterName) {
			slices.Sort(names)
			return setting("the Sentinel at %s knows no master %q; it knows %s", addr, c.cfg.MasterName, listed(names))
		}
	}
	if len(silent) == len(c.cfg.Addrs) {
		return errors.Join(silent...)
	}
	if len(silent) > 0 {
		c.cfg.Logger.Warn("some Sentinels don't answer", "err", errors.Join(silent...))
	}
	return nil
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// checkCluster checks that the addresses are nodes of one cluster, that it is whole, and that its masters
// can be reached where it says they are.
func (c *Client) checkCluster(ctx context.Context) error {
	var silent []error
	var known, first string
	for _, addr := range c.cfg.Addrs {
		nodes, err := c.checkNode(ctx, addr)
		if errors.Is(err, errSetting) {
			return err
		}
		if err != nil {
			silent = append(silent, err)
			continue
		}
		id := myself(nodes)
		if known == "" {
			known, first = nodes, addr
		} else if !strings.Contains(known, id) {
			return setting("Redis at %s and at %s aren't of one cluster", first, addr)
		}
	}
	if len(silent) == len(c.cfg.Addrs) {
		return errors.Join(silent...)
	}
	if len(silent) > 0 {
		c.cfg.Logger.Warn("some of the cluster's nodes don't answer", "err", errors.Join(silent...))
	}
	if err := c.answers(ctx); err != nil {
		return fmt.Errorf("the cluster that Redis at %s is of (a node that can't be reached where the cluster says it is needs cluster-announce-ip): %w", first, c.refusal("one of its masters", err))
	}
	return nil
}

// checkNode checks one address, and returns what that node knows of the others.
func (c *Client) checkNode(ctx context.Context, addr string) (nodes string, err error) {
	node := goredis.NewClient(c.seed(addr))
	defer node.Close()
	who := "Redis at " + addr
	info, err := node.Info(ctx).Result()
	if err != nil {
		return "", c.refusal(who, err)
	}
	switch mode := field(info, "redis_mode"); mode {
	case "cluster":
	case "sentinel":
		return "", setting("%s is a Sentinel, not a node of a cluster: set ADAPTER_DRIVER=redis, and DATABASE_REDIS_SENTINELS", who)
	default:
		return "", setting("%s is not a node of a Redis Cluster but a single Redis: set ADAPTER_DRIVER=redis", who)
	}
	if err := checkVersion(who, field(info, "redis_version")); err != nil {
		return "", err
	}
	state, err := node.ClusterInfo(ctx).Result()
	if err != nil {
		return "", c.refusal(who, err)
	}
	if field(state, "cluster_state") != "ok" {
		return "", fmt.Errorf("%s: the cluster is down: %s of its 16384 slots are with a master, %s of them with one that answers", who, field(state, "cluster_slots_assigned"), field(state, "cluster_slots_ok"))
	}
	c.warn(addr, info)
	nodes, err = node.ClusterNodes(ctx).Result()
	if err != nil {
		return "", c.refusal(who, err)
	}
	return nodes, nil
}

// seed is how one address is reached that a client of several was given.
func (c *Client) seed(addr string) *goredis.Options {
	cfg := c.cfg
	cfg.Addrs, cfg.PoolSize = []string{addr}, 1
	return cfg.options().Simple()
}

// myself returns the id of the node that has answered CLUSTER NODES.
func myself(nodes string) string {
	for line := range strings.Lines(nodes) {
		if f := strings.Fields(line); len(f) > 2 && slices.Contains(strings.Split(f[2], ","), "myself") {
			return f[0]
		}
	}
	return ""
}

// checkVersion checks that a cluster's node has sharded pub/sub.
func checkVersion(who, version string) error {
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < 7 {
		return setting("%s has version %q: a cluster takes Redis 7 or later, for sharded pub/sub", who, version)
	}
	return nil
}

// warn says what works, but not for ever.
func (c *Client) warn(addr, info string) {
	if policy := field(info, "maxmemory_policy"); strings.HasPrefix(policy, "allkeys-") && field(info, "maxmemory") != "0" {
		c.cfg.Logger.Warn("Redis may drop keys that have no time to live when its memory is full, and with them what nodes know of each other", "server", addr, "policy", policy)
	}
}

// refusal says what an answer means to who configures.
func (c *Client) refusal(who string, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "NOAUTH"):
		return setting("%s wants a password, and none is configured: %w", who, err)
	case strings.Contains(text, "WRONGPASS"), strings.Contains(text, "invalid password"):
		return setting("%s refuses the username or password: %w", who, err)
	case strings.Contains(text, "NOPERM"):
		return setting("%s doesn't let this user do what is needed: %w", who, err)
	case strings.Contains(text, "DB index is out of range"), strings.Contains(text, "SELECT is not allowed"):
		return setting("%s has no database %d: %w", who, c.cfg.DB, err)
	case strings.Contains(text, "does not look like a TLS handshake"):
		return setting("%s doesn't speak TLS: %w", who, err)
	case strings.Contains(text, "x509:"), strings.Contains(text, "tls:"):
		return setting("%s: TLS: %w", who, err)
	case c.cfg.TLS != nil && !strings.Contains(text, "refused"):
		return fmt.Errorf("%s can't be used (it is spoken to in TLS, which may not be what it speaks): %w", who, err)
	case errors.Is(err, io.EOF), strings.Contains(text, "reset by peer"):
		return fmt.Errorf("%s hangs up (it may want TLS): %w", who, err)
	}
	return fmt.Errorf("%s can't be used: %w", who, err)
}
