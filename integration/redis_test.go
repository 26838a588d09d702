package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/playhead/playhead/adapters/redis/redistest"
)

// redisNodes starts nodes over one Redis, which env says how to reach.
func redisNodes(tb testing.TB, count int, cfg nodeConfig, env ...string) []*node {
	tb.Helper()
	var nodes []*node
	for i := range count {
		c := cfg
		c.Env = append(append([]string{"SHUTDOWN_GRACE=none", "SHUTDOWN_DRAIN=100ms", fmt.Sprint("INSTANCE_PROCESS_ID=node-", i+1)}, env...), cfg.Env...)
		n := newNode(tb, c)
		n.launch()
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		n.waitReady()
	}
	return nodes
}

// single is the environment of nodes over one Redis, as the guide has it.
func single(s *redistest.Server) []string {
	host, port, _ := strings.Cut(s.Addr, ":")
	return []string{"ADAPTER_DRIVER=redis", "DATABASE_REDIS_HOST=" + host, "DATABASE_REDIS_PORT=" + port}
}

// clustered is that of nodes over a Redis Cluster.
func clustered(c *redistest.Nodes) []string {
	return []string{"ADAPTER_DRIVER=redis-cluster", "REDIS_CLUSTER_NODES=" + strings.Join(c.Addrs(), ",")}
}

// watched is that of nodes over a master that Sentinels watch.
func watched(w *redistest.Watched) []string {
	return []string{"ADAPTER_DRIVER=redis", "DATABASE_REDIS_SENTINELS=" + strings.Join(w.Addrs(), ","), "DATABASE_REDIS_SENTINEL_MASTER=" + w.Name}
}

// TestPusherClientsOverRedis runs tests of js/*.test.js with every client and every request on another of
// two nodes than the one before, over one Redis and over a cluster of six.
func TestPusherClientsOverRedis(t *testing.T) {
	for name, env := range map[string]func(t *testing.T) []string{
		"Redis":         func(t *testing.T) []string { return single(redistest.Single(t)) },
		"Redis Cluster": func(t *testing.T) []string { return clustered(redistest.Cluster(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			hooks := freePort(t)
			nodes := redisNodes(t, 2, nodeConfig{
				Config: fmt.Sprintf(`
default_app:
  subscription_count: true
  webhooks:
    - url: http://127.0.0.1:%d/hook
      channel_suffix: -hooked
`, hooks),
				Env: []string{"WEBSOCKET_ACTIVITY_TIMEOUT=1s", "WEBSOCKET_PING_AFTER=2s", "WEBSOCKET_PONG_TIMEOUT=10s"},
			}, env(t)...)
			ports := fmt.Sprintf("PLAYHEAD_PORTS=%d,%d", nodes[0].cfg.Port, nodes[1].cfg.Port)
			for _, file := range []string{"cache", "channels", "count", "echo", "encrypted", "http", "presence", "users", "webhooks"} {
				t.Run(file, func(t *testing.T) {
					t.Parallel()
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
					defer cancel()
					cmd := javascript(ctx, t, nodes[0], "--test", "--test-timeout=150000", file+".test.js")
					cmd.Env = append(cmd.Env, fmt.Sprintf("PLAYHEAD_WEBHOOKS_PORT=%d", hooks), ports)
					if output, err := cmd.CombinedOutput(); err != nil {
						t.Errorf("%v\n%s", err, output)
					}
				})
			}
		})
	}
}

// probe asks a node's path and returns the status.
func probe(tb testing.TB, n *node, path string) int {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url(path), nil)
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// heard publishes at one node until a client of another one hears an event of that name.
func heard(t *testing.T, from *node, c *client, name string) {
	t.Helper()
	from.publisher().mustPublish(t, "news", name, "{}")
	for {
		if f := c.mustRead(t); f.Event == name {
			return
		}
	}
}

// TestRedisAway: while Redis is away nodes say that they aren't ready and refuse publishes, but stay up; their
// sessions are asked to come back, because they may have missed something; and when Redis is back all works
// again. There is nothing to resume from, and clients are told so.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	server := redistest.Single(t)
	nodes := redisNodes(t, 2, nodeConfig{Env: []string{"REDIS_UP_GRACE=5m", "HTTP_PUBLISH_TIMEOUT=2s"}}, single(server)...)

	c := mustDial(t, nodes[1], true)
	var hello struct {
		Replay struct {
			Version int `json:"version"`
			Window  int `json:"window_seconds"`
		} `json:"replay"`
	}
	if err := json.Unmarshal([]byte(c.hello.text()), &hello); err != nil {
		t.Fatal(err)
	}
	if hello.Replay.Version != 1 || hello.Replay.Window != 0 {
		t.Errorf("the node says of replay: %+v", hello.Replay)
	}
	if f := c.mustSubscribe(t, "news", &resume{Position: "AAAA"}); f.Resume == nil || f.Resume.Recovered || f.Resume.Reason != "unsupported" {
		t.Errorf("resume is answered %+v", f.Resume)
	}
	heard(t, nodes[0], c, "before")

	server.Kill()
	await(t, "not ready", func() bool { return probe(t, nodes[0], "/ready") == http.StatusServiceUnavailable })
	if code := probe(t, nodes[0], "/up"); code != http.StatusOK {
		t.Errorf("/up says %d within the grace", code)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if a, err := nodes[0].publisher().publish(ctx, "news", "lost", "{}"); err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("publish: %v, %v", a, err)
	}
	if code := c.closed(t); code != 4200 {
		t.Errorf("closed with %d, want 4200", code)
	}

	server.Start()
	for _, n := range nodes {
		await(t, "ready again", func() bool { return probe(t, n, "/ready") == http.StatusOK })
	}
	c = mustDial(t, nodes[1], false)
	c.mustSubscribe(t, "news", nil)
	heard(t, nodes[0], c, "after")
}

// TestRedisFailover: the master is killed, of those that Sentinels watch and of a cluster; another takes over,
// and events come again without anybody's help.
func TestRedisFailover(t *testing.T) {
	t.Parallel()
	for name, rig := range map[string]func(t *testing.T) (env []string, master *redistest.Server){
		"Sentinel": func(t *testing.T) ([]string, *redistest.Server) {
			w := redistest.Sentinel(t)
			return watched(w), w.Master()
		},
		"Cluster": func(t *testing.T) ([]string, *redistest.Server) {
			c := redistest.Cluster(t)
			return clustered(c), c.Servers[0]
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, master := rig(t)
			nodes := redisNodes(t, 2, nodeConfig{Env: []string{"HTTP_PUBLISH_TIMEOUT=2s"}}, env...)
			c := mustDial(t, nodes[1], false)
			c.mustSubscribe(t, "news", nil)
			heard(t, nodes[0], c, "before")
			began := time.Now()
			master.Kill()
			await(t, "the loss is noticed", func() bool { return probe(t, nodes[0], "/ready") == http.StatusServiceUnavailable })
			for _, n := range nodes {
				await(t, "ready again", func() bool { return probe(t, n, "/ready") == http.StatusOK })
			}
			t.Logf("ready again %v after the kill", time.Since(began).Round(time.Millisecond))
			var again *client
			await(t, "an event after the failover", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				if again == nil {
					d, err := dial(ctx, nodes[1], false)
					if err != nil {
						return false
					}
					if err := d.subscribe(ctx, "news", nil); err != nil {
						return false
					}
					again = d
				}
				if err := nodes[0].publisher().publishStored(ctx, "news", "after", "{}"); err != nil {
					return false
				}
				for {
					f, err := again.read(ctx)
					if err != nil {
						again.conn.CloseNow()
						again = nil
						return false
					}
					if f.Event == "after" {
						again.conn.CloseNow()
						return true
					}
				}
			})
			t.Logf("events again %v after the kill", time.Since(began).Round(time.Millisecond))
		})
	}
}

// TestRedisRefused: what can't work ends the start with exit code 1 and says what to change.
func TestRedisRefused(t *testing.T) {
	t.Parallel()
	open, locked := redistest.Single(t), redistest.Single(t, "--requirepass", "secret")
	for name, tt := range map[string]struct {
		env  []string
		want string
	}{
		"unreachable":    {[]string{"ADAPTER_DRIVER=redis", "STARTUP_TIMEOUT=500ms", "DATABASE_REDIS_PORT=" + fmt.Sprint(freePort(t))}, "startup_timeout has passed"},
		"no password":    {single(locked), "wants a password"},
		"wrong password": {append(single(locked), "DATABASE_REDIS_PASSWORD=wrong"), "refuses the username or password"},
		"no cluster":     {[]string{"ADAPTER_DRIVER=redis-cluster", "REDIS_CLUSTER_NODES=" + open.Addr}, "set ADAPTER_DRIVER=redis"},
		"unknown driver": {[]string{"ADAPTER_DRIVER=kafka"}, "known: nats, redis, redis-cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, nodeConfig{Env: tt.env})
			n.launch()
			if code := n.wait(); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if text := n.out.String(); !strings.Contains(text, tt.want) {
				t.Errorf("no %q in\n%s", tt.want, text)
			}
		})
	}
}

// TestUserTerminatedOverRedis: a user is terminated at one node and closed at the other.
func TestUserTerminatedOverRedis(t *testing.T) {
	t.Parallel()
	nodes := redisNodes(t, 2, nodeConfig{}, single(redistest.Single(t))...)
	c := mustDial(t, nodes[1], false)
	user := `{"id":"ada"}`
	c.mustAsk(t, "pusher:signin", map[string]string{
		"user_data": user, "auth": appKey + ":" + signature(appSecret, c.socket+"::user::"+user),
	})
	if f := c.mustRead(t); f.Event != "pusher:signin_success" {
		t.Fatalf("sign-in answered %s %s", f.Event, f.Data)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if a, err := nodes[0].publisher().post(ctx, "users/ada/terminate_connections", struct{}{}); err != nil || a.status != http.StatusOK {
		t.Fatalf("terminate: %v, %v", a, err)
	}
	if code := c.closed(t); code != websocket.StatusCode(4009) {
		t.Errorf("closed with %d, want 4009", code)
	}
}
