package redis_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/playhead/playhead/adapters/redis"
	"github.com/playhead/playhead/adapters/redis/redistest"
)

func TestClientConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cfg  redis.ClientConfig
		want string
	}{
		"cluster without nodes":      {redis.ClientConfig{Cluster: true}, "addresses: required"},
		"sentinels without any":      {redis.ClientConfig{MasterName: "m"}, "addresses: required"},
		"both":                       {redis.ClientConfig{Addrs: []string{"a:1"}, Cluster: true, MasterName: "m"}, "no Sentinels"},
		"cluster with a database":    {redis.ClientConfig{Addrs: []string{"a:1"}, Cluster: true, DB: 3}, "only 0"},
		"negative database":          {redis.ClientConfig{DB: -1}, "negative"},
		"several for one":            {redis.ClientConfig{Addrs: []string{"a:1", "b:1"}}, "ADAPTER_DRIVER=redis-cluster"},
		"half a list":                {redis.ClientConfig{Addrs: []string{"a:1", ""}, Cluster: true}, `address 2 of 2: "" is not host:port`},
		"no port":                    {redis.ClientConfig{Addrs: []string{"a:1", "b"}, Cluster: true}, `address 2 of 2: "b" is not host:port`},
		"empty port":                 {redis.ClientConfig{Addrs: []string{"a:"}}, "no port"},
		"port too large":             {redis.ClientConfig{Addrs: []string{"a:70000"}}, "no port"},
		"no host":                    {redis.ClientConfig{Addrs: []string{":6379"}}, "no host"},
		"a prefix that moves keys":   {redis.ClientConfig{Prefix: "a{b}"}, "braces"},
		"everything is said at once": {redis.ClientConfig{Addrs: []string{"a"}, PoolSize: -1, Timeout: -1}, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := redis.NewClient(test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q in it", err, test.want)
			}
		})
	}
}

func TestSecretsStayOutOfLogs(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	cfg := redis.ClientConfig{Addrs: []string{"a:1"}, Username: "hidden", Password: "hidden", SentinelPassword: "hidden"}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("redis", "config", cfg)
	if strings.Contains(out.String(), "hidden") || !strings.Contains(out.String(), "a:1") {
		t.Error(out.String())
	}
}

// What is wrong is said in words that name what to change, and at once.
func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	open := redistest.SharedSingle(t)
	locked := redistest.Single(t, "--requirepass", "secret")
	replica := redistest.Single(t, "--replicaof", strings.Replace(open.Addr, ":", " ", 1))
	nodes := redistest.SharedCluster(t)
	watched := redistest.Sentinel(t)
	apart := redistest.Single(t, "--cluster-enabled", "yes", "--cluster-port", strings.Split(redistest.FreeAddr(t), ":")[1])
	for name, test := range map[string]struct {
		cfg  redis.ClientConfig
		want []string
	}{
		"password missing":      {redis.ClientConfig{Addrs: []string{locked.Addr}}, []string{locked.Addr, "wants a password"}},
		"wrong password":        {redis.ClientConfig{Addrs: []string{locked.Addr}, Password: "x"}, []string{locked.Addr, "refuses the username or password"}},
		"wrong user":            {redis.ClientConfig{Addrs: []string{locked.Addr}, Username: "x", Password: "secret"}, []string{"refuses the username or password"}},
		"no such database":      {redis.ClientConfig{Addrs: []string{open.Addr}, DB: 99}, []string{"has no database 99"}},
		"a replica":             {redis.ClientConfig{Addrs: []string{replica.Addr}}, []string{"is a replica of 127.0.0.1:"}},
		"one node of a cluster": {redis.ClientConfig{Addrs: nodes.Addrs()[:1]}, []string{"is a node of a Redis Cluster", "ADAPTER_DRIVER=redis-cluster"}},
		"one Sentinel":          {redis.ClientConfig{Addrs: watched.Addrs()[:1]}, []string{"is a Sentinel"}},
		"a cluster of one":      {redis.ClientConfig{Addrs: []string{open.Addr}, Cluster: true}, []string{"is not a node of a Redis Cluster", "ADAPTER_DRIVER=redis"}},
		"two clusters":          {redis.ClientConfig{Addrs: []string{nodes.Addrs()[0], wholeNode(t).Addr}, Cluster: true}, []string{"aren't of one cluster"}},
		"unknown master":        {redis.ClientConfig{Addrs: watched.Addrs(), MasterName: "other"}, []string{`no master "other"`, "it knows mymaster"}},
		"no Sentinel":           {redis.ClientConfig{Addrs: []string{open.Addr}, MasterName: "mymaster"}, []string{"is no Sentinel"}},
		"cluster as Sentinels":  {redis.ClientConfig{Addrs: watched.Addrs(), Cluster: true}, []string{"is a Sentinel, not a node"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			err := newClient(t, test.cfg).Open(soon(t))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q in it", err, want)
				}
			}
			if time.Since(began) > patience/2 {
				t.Errorf("said after %v", time.Since(began))
			}
		})
	}

	// What may pass is tried until the time is over.
	for name, test := range map[string]struct {
		cfg  redis.ClientConfig
		want string
	}{
		"TLS not spoken":      {redis.ClientConfig{Addrs: []string{open.Addr}, TLS: &tls.Config{}}, "TLS"},
		"nobody there":        {redis.ClientConfig{Addrs: []string{redistest.FreeAddr(t)}}, "refused"},
		"no Sentinels there":  {redis.ClientConfig{Addrs: []string{redistest.FreeAddr(t)}, MasterName: "mymaster"}, "refused"},
		"no nodes there":      {redis.ClientConfig{Addrs: []string{redistest.FreeAddr(t)}, Cluster: true}, "refused"},
		"a cluster not whole": {redis.ClientConfig{Addrs: []string{apart.Addr}, Cluster: true}, "the cluster is down: 0 of its 16384 slots"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			err := newClient(t, test.cfg).Open(ctx)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "deadline") {
				t.Errorf("%v, want %q and the deadline in it", err, test.want)
			}
		})
	}

	for name, cfg := range map[string]redis.ClientConfig{
		"one":              singleConfig(open),
		"one with a key":   {Addrs: []string{locked.Addr}, Password: "secret"},
		"cluster":          clusterConfig(nodes),
		"half the cluster": {Addrs: append(nodes.Addrs()[:2:2], redistest.FreeAddr(t)), Cluster: true},
		"Sentinels":        sentinelConfig(watched),
		"one Sentinel up":  {Addrs: []string{redistest.FreeAddr(t), watched.Addrs()[0]}, MasterName: watched.Name},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := newClient(t, cfg).Open(soon(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// wholeNode starts a cluster of a single node.
func wholeNode(t *testing.T) *redistest.Server {
	s := redistest.Single(t, "--cluster-enabled", "yes", "--cluster-port", strings.Split(redistest.FreeAddr(t), ":")[1])
	if _, err := s.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16383"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster of one stands", func() bool {
		out, _ := s.Do("CLUSTER", "INFO")
		return strings.Contains(out, "cluster_state:ok")
	})
	return s
}

// A server that comes up late is waited for.
func TestOpenWaits(t *testing.T) {
	t.Parallel()
	s := redistest.Single(t)
	s.Kill()
	opened := make(chan error, 1)
	c := newClient(t, singleConfig(s))
	ctx := soon(t)
	go func() { opened <- c.Open(ctx) }()
	s.Start()
	if err := <-opened; err != nil {
		t.Error(err)
	}
}
