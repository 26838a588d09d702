package boot

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/playhead/playhead/adapters/redis"
)

// checkDrivers checks what carries and keeps what, and that nothing is said that means nothing then.
func (l *loader) checkDrivers(c *Config) {
	if !slices.Contains([]string{driverNATS, driverRedis, driverCluster}, c.Adapter.Driver) {
		return // told by checkSetting, and the rest hangs on it
	}
	if d := c.cacheDriver(); d != c.Adapter.Driver && slices.Contains([]string{driverNATS, driverRedis, driverCluster}, d) {
		l.problem("%s: %s, with adapter.driver %s: the last event is kept in the step that sends it; choose %s, memory or none",
			l.at("cache.driver"), d, c.Adapter.Driver, c.Adapter.Driver)
	}
	if q := c.queueDriver(); q == driverNATS && !c.onNATS() {
		l.problem("%s: nats, with adapter.driver %s there is no NATS: choose %s, or memory or none", l.at("queue.driver"), c.Adapter.Driver, c.Adapter.Driver)
	}
	if c.queueDriver() == driverNone {
		for i := range c.Apps {
			if len(c.Apps[i].Webhooks) > 0 {
				l.problem("%s: with queue.driver none nobody is told", l.at(fmt.Sprintf("apps[%d].webhooks", i)))
			}
		}
		if len(c.Apps) == 0 && len(c.DefaultApp.Webhooks) > 0 {
			l.problem("%s: with queue.driver none nobody is told", l.at("default_app.webhooks"))
		}
	}
	l.checkRedis(c)
	l.checkMeaning(c)
}

// checkRedis checks how Redis is reached.
func (l *loader) checkRedis(c *Config) {
	r := &c.Redis
	if !prefixForm.MatchString(r.KeyPrefix) {
		l.problem("%s: %q; a prefix is 1 to 32 letters, digits, '_' and '-'", l.at("redis.key_prefix"), r.KeyPrefix)
	}
	if c.uses(driverRedis) && l.good("redis.port", "redis.db", "redis.url", "redis.sentinels") {
		if _, _, err := r.single(); err != nil {
			for _, err := range unjoin(err) {
				l.problem("%s", l.located(err))
			}
		}
		if r.Port == AnyPort {
			l.problem("%s: the server's port has to be known", l.at("redis.port"))
		}
	}
	if c.uses(driverCluster) && l.good("redis.cluster_nodes") {
		if _, _, err := r.cluster(); err != nil {
			for _, err := range unjoin(err) {
				l.problem("%s", l.located(err))
			}
		}
	}
	if r.Username != "" && r.Password == "" {
		l.problem("%s: without redis.password", l.at("redis.username"))
	}
	if r.SentinelUsername != "" && r.SentinelPassword == "" {
		l.problem("%s: without redis.sentinel_password", l.at("redis.sentinel_username"))
	}
	if (r.TLS.CertFile == "") != (r.TLS.KeyFile == "") {
		l.problem("%s: give both redis.tls.cert_file and redis.tls.key_file, or neither",
			l.at(either(r.TLS.CertFile != "", "redis.tls.cert_file", "redis.tls.key_file")))
	}
	if (c.uses(driverRedis) || c.uses(driverCluster)) && r.TLS.Enabled != On && !r.encrypted() {
		for _, f := range []struct{ key, text string }{
			{"redis.tls.ca_file", r.TLS.CAFile}, {"redis.tls.cert_file", r.TLS.CertFile}, {"redis.tls.key_file", r.TLS.KeyFile},
		} {
			if f.text != "" {
				l.problem("%s: means nothing without redis.tls.enabled, or rediss:// in an address", l.at(f.key))
			}
		}
	}
}

// encrypted says that an address asks for TLS.
func (c *RedisConfig) encrypted() bool {
	return slices.ContainsFunc(append(slices.Clone(c.ClusterNodes), c.URL), func(text string) bool { return strings.HasPrefix(text, "rediss://") })
}

// keyError is what is wrong with a key's value.
type keyError struct{ key, what string }

func (e *keyError) Error() string { return e.key + ": " + e.what }

// located writes an error with the origin of its key.
func (l *loader) located(err error) string {
	var e *keyError
	if errors.As(err, &e) {
		return l.at(e.key) + ": " + e.what
	}
	return err.Error()
}

// single is how a single Redis is reached, or a master that Sentinels watch. Its TLS is still missing.
// Each error it joins is of a key.
func (c *RedisConfig) single() (cfg redis.ClientConfig, encrypted bool, err error) {
	cfg = redis.ClientConfig{
		Addrs: []string{hostPort(c.Host, c.Port)}, Username: c.Username, Password: c.Password, DB: max(int(c.DB), 0),
		Prefix: c.KeyPrefix, PoolSize: int(c.ConnectionPoolSize),
	}
	encrypted = c.TLS.Enabled == On
	var errs []error
	if len(c.Sentinels) > 0 {
		cfg.Addrs, cfg.MasterName = c.Sentinels, c.SentinelMaster
		cfg.SentinelUsername, cfg.SentinelPassword = c.SentinelUsername, c.SentinelPassword
		for i, addr := range c.Sentinels {
			if !hasPort(addr) {
				errs = append(errs, &keyError{"redis.sentinels", fmt.Sprintf("Sentinel %d is not an address of the form host:26379", i+1)})
			}
		}
		if c.URL != "" {
			errs = append(errs, &keyError{"redis.url", "with redis.sentinels the master is known from them; give one of the two"})
		}
		return cfg, encrypted, errors.Join(errs...)
	}
	if c.URL == "" {
		return cfg, encrypted, nil
	}
	u, ok := redisURL(c.URL, "6379")
	db := 0
	if ok {
		if path := strings.Trim(u.Path, "/"); path != "" {
			n, err := strconv.ParseUint(path, 10, 31)
			ok, db = err == nil, int(n)
		}
	}
	if !ok {
		return cfg, encrypted, errors.Join(&keyError{"redis.url", "is not of the form redis://user:password@host:6379/0, or rediss:// for TLS"})
	}
	cfg.Addrs, cfg.DB = []string{u.Host}, db
	cfg.Username, cfg.Password = login(u)
	return cfg, encrypted || u.Scheme == "rediss", nil
}

// cluster is how a Redis Cluster is reached, as single is.
func (c *RedisConfig) cluster() (cfg redis.ClientConfig, encrypted bool, err error) {
	cfg = redis.ClientConfig{
		Cluster: true, Username: c.Username, Password: c.Password, Prefix: c.KeyPrefix, PoolSize: int(c.ConnectionPoolSize),
	}
	encrypted = c.TLS.Enabled == On
	wrong := func(format string, args ...any) error {
		return &keyError{"redis.cluster_nodes", fmt.Sprintf(format, args...)}
	}
	if len(c.ClusterNodes) == 0 {
		return cfg, encrypted, errors.Join(wrong("required by the driver redis-cluster: some of the cluster's nodes, host:6379,host:6379 (REDIS_CLUSTER_NODES)"))
	}
	var errs []error
	plain, secured := 0, 0
	for i, text := range c.ClusterNodes {
		if !strings.Contains(text, "://") {
			text = either(encrypted, "rediss://", "redis://") + text
			if u, err := url.Parse(text); err == nil && u.Port() == "" {
				errs = append(errs, wrong("node %d has no port; write host:6379", i+1))
				continue
			}
		}
		u, ok := redisURL(text, "6379")
		if !ok || strings.Trim(u.Path, "/") != "" {
			errs = append(errs, wrong("node %d is not an address of the form host:6379, redis://host:6379 or rediss://host:6379", i+1))
			continue
		}
		if u.Scheme == "rediss" {
			secured++
		} else {
			plain++
		}
		cfg.Addrs = append(cfg.Addrs, u.Host)
		name, password := login(u)
		if password == "" {
			continue
		}
		if cfg.Password != "" && (cfg.Username != name || cfg.Password != password) {
			errs = append(errs, wrong("node %d has another login than what is given before; a cluster has one for all nodes", i+1))
			continue
		}
		cfg.Username, cfg.Password = name, password
	}
	if plain > 0 && secured > 0 {
		errs = append(errs, wrong("some nodes are to be spoken to in TLS and some not; a cluster has one way for all"))
	}
	return cfg, encrypted || secured > 0, errors.Join(errs...)
}

// redisURL reads redis:// or rediss://, and gives the address the port if it has none.
func redisURL(text, port string) (*url.URL, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, false
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return u, hasPort(u.Host)
}

// login is who logs in, as an address says.
func login(u *url.URL) (name, password string) {
	password, _ = u.User.Password()
	return u.User.Username(), password
}

// hasPort reports whether a text is host:port.
func hasPort(text string) bool {
	host, port, err := net.SplitHostPort(text)
	n, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && bad == nil && host != "" && n > 0
}

// checkMeaning tells of settings that mean nothing with the drivers there are.
func (l *loader) checkMeaning(c *Config) {
	var fresh Config
	fresh.fill()
	usual := map[string]any{}
	for _, s := range settings(&fresh) {
		usual[s.key] = s.field.Interface()
	}
	for _, s := range settings(c) {
		if !l.good(s.key) || reflect.DeepEqual(s.field.Interface(), usual[s.key]) {
			continue
		}
		// Platforms set REDIS_URL and its like for whoever wants them; that a node doesn't is no mistake.
		foreign := strings.HasPrefix(s.key, "redis.") && strings.HasSuffix(l.from[s.key], " in the environment")
		if foreign && !c.uses(driverRedis) && !c.uses(driverCluster) {
			continue
		}
		if why := c.meaningless(s.key); why != "" {
			l.problem("%s: means nothing %s", l.at(s.key), why)
		}
	}
}

// meaningless says why a key means nothing, "" when it does mean something.
func (c *Config) meaningless(key string) string {
	group, name, _ := strings.Cut(key, ".")
	switch group {
	case "nats", "cluster", "sync", "streams", "replay":
		if !c.onNATS() {
			return "with adapter.driver " + c.Adapter.Driver + either(group == "nats" || group == "cluster", ": no NATS is used", ": it keeps no events")
		}
	case "redis":
		single, cluster := c.uses(driverRedis), c.uses(driverCluster)
		switch {
		case !single && !cluster:
			return "without redis or redis-cluster as a driver (adapter.driver, queue.driver, rate_limit.driver)"
		case slices.Contains([]string{"host", "port", "db", "url", "sentinels"}, name) && !single:
			return "with the driver redis-cluster: it has redis.cluster_nodes"
		case strings.HasPrefix(name, "sentinel_") && len(c.Redis.Sentinels) == 0:
			return "without redis.sentinels"
		case slices.Contains([]string{"host", "port"}, name) && len(c.Redis.Sentinels) > 0:
			return "with redis.sentinels: they say where the master is"
		case name == "cluster_nodes" && !cluster:
			return "without the driver redis-cluster"
		case slices.Contains([]string{"close_on_gap", "up_grace"}, name) && c.onNATS():
			return "unless Redis carries the events (adapter.driver)"
		}
	}
	return ""
}
