package prove

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// The nodes are told to notice soon that one of them is gone: a proof has no half minutes to wait.
const (
	heartbeat   = 500 * time.Millisecond
	nodeTimeout = 2 * time.Second
	cleanup     = 500 * time.Millisecond
)

// stopTime is how long a process may take to end when it is told.
const stopTime = 20 * time.Second

// credentials of the only app.
type credentials struct {
	app broker.AppID
	broker.Credential
}

// cluster is the processes and the links between them.
type cluster struct {
	dir      string
	app      credentials
	nats     []*process
	nodes    []*process
	natsAddr []string  // where nodes connect, around the links
	nodeAddr []string  // host:port
	toNATS   [][]*link // by node and NATS server
	routes   [][]*link // by NATS server and peer; nil where they are the same
	asker    *http.Client
}

// natsLoopback is where the links listen, and connect from. NATS servers tell each other the address
// that a peer is seen at, with the peer's own port: nothing listens there, so nobody gets around the
// links. Where the system has no such address the common one must do.
const natsLoopback = "127.0.0.9"

// newCluster takes ports and prepares the processes; it starts none.
func newCluster(binary, dir string, nodes int, hooks string, died func(string)) (*cluster, error) {
	c := &cluster{
		dir:   dir,
		app:   credentials{"prove", broker.Credential{Key: "prove-key", Secret: strconv.FormatUint(rand.Uint64(), 36)}},
		asker: &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	ports, err := freePorts(2*servers + 2*nodes)
	if err != nil {
		return nil, err
	}
	local := func() string { // the next address
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
		ports = ports[1:]
		return addr
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var peers []string
	for range servers {
		c.natsAddr, peers = append(c.natsAddr, local()), append(peers, local())
	}
	if err := c.connect(nodes, peers); err != nil {
		return nil, errors.Join(err, c.closeLinks())
	}
	for i := range servers {
		name := fmt.Sprintf("nats-%d", i+1)
		routes := make([]string, servers)
		for j := range servers {
			routes[j] = peers[i]
			if i != j {
				routes[j] = c.routes[i][j].addr()
			}
		}
		c.nats = append(c.nats, c.process(name, binary, died,
			"prove-nats", "--name="+name, "--data="+filepath.Join(dir, name), "--listen="+c.natsAddr[i], "--peers="+peers[i],
			"--routes="+strings.Join(routes, ",")))
	}
	config, err := c.writeConfig(hooks)
	if err != nil {
		return nil, errors.Join(err, c.closeLinks())
	}
	for i := range nodes {
		name := fmt.Sprintf("node-%d", i+1)
		addr, metrics := local(), local()
		c.nodeAddr = append(c.nodeAddr, addr)
		p := c.process(name, binary, died, "serve")
		p.env = append(p.env, c.environment(i, name, config, addr, metrics)...)
		c.nodes = append(c.nodes, p)
	}
	return c, nil
}

// environment is what a node is told.
func (c *cluster) environment(i int, name, config, addr, metrics string) []string {
	to := make([]string, servers)
	for j, l := range c.toNATS[i] {
		to[j] = "nats://" + l.addr()
	}
	host, port, _ := net.SplitHostPort(addr)
	_, metricsPort, _ := net.SplitHostPort(metrics)
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	return []string{
		"HOST=" + host, "PORT=" + port, "METRICS_HOST=" + host, "METRICS_PORT=" + metricsPort,
		"PLAYHEAD_CONFIG=" + config,
		"INSTANCE_PROCESS_ID=" + name,
		"DATA_DIR=" + filepath.Join(c.dir, name),
		"NATS_SERVERS=" + strings.Join(to, ","),
		"NATS_REPLICAS=" + strconv.Itoa(servers),
		"STARTUP_TIMEOUT=1m",
		"ADAPTER_CLUSTER_HEALTH_HEARTBEAT_INTERVAL_MS=" + ms(heartbeat),
		"ADAPTER_CLUSTER_HEALTH_NODE_TIMEOUT_MS=" + ms(nodeTimeout),
		"ADAPTER_CLUSTER_HEALTH_CLEANUP_INTERVAL_MS=" + ms(cleanup),
		"SHUTDOWN_DRAIN=1s", "SHUTDOWN_GRACE=none", "SHUTDOWN_TIMEOUT=15s",
		// Clients of a node that hangs look elsewhere soon.
		"WEBSOCKET_ACTIVITY_TIMEOUT=5s", "WEBSOCKET_PING_AFTER=5s", "WEBSOCKET_PONG_TIMEOUT=5s",
	}
}

// process prepares a process. Of this one's environment it gets what has nothing to do with Playhead.
func (c *cluster) process(name, binary string, died func(string), args ...string) *process {
	p := &process{name: name, path: binary, args: args, log: filepath.Join(c.dir, name+".log"), died: died}
	p.env = []string{"GORACE=atexit_sleep_ms=0"}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOMAXPROCS", "GOTRACEBACK"} {
		if value, ok := os.LookupEnv(name); ok {
			p.env = append(p.env, name+"="+value)
		}
	}
	return p
}

// connect makes the links.
func (c *cluster) connect(nodes int, peers []string) error {
	host, from := natsLoopback, &net.TCPAddr{IP: net.ParseIP(natsLoopback)}
	if l, err := net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
		host, from = "127.0.0.1", nil
	} else {
		l.Close()
	}
	listen := func(target string) (*link, error) {
		ports, err := freePorts(1)
		if err != nil {
			return nil, err
		}
		l, err := newLink(net.JoinHostPort(host, strconv.Itoa(ports[0])), to(target))
		if err != nil {
			return nil, fmt.Errorf("link to %s: %w", target, err)
		}
		l.from = from
		return l, nil
	}
	for range nodes {
		var row []*link
		for _, addr := range c.natsAddr {
			l, err := listen(addr)
			if err != nil {
				return err
			}
			row = append(row, l)
		}
		c.toNATS = append(c.toNATS, row)
	}
	for i := range servers {
		row := make([]*link, servers)
		for j := range servers {
			if i == j {
				continue
			}
			var err error
			if row[j], err = listen(peers[j]); err != nil {
				return err
			}
		}
		c.routes = append(c.routes, row)
	}
	return nil
}

// links lists all links.
func (c *cluster) links() []*link {
	var all []*link
	for _, row := range append(append([][]*link{}, c.toNATS...), c.routes...) {
		for _, l := range row {
			if l != nil {
				all = append(all, l)
			}
		}
	}
	return all
}

// meant lists the links that a step means.
func (c *cluster) meant(s Step) []*link {
	switch {
	case s.Node > 0 && s.NATS > 0:
		return []*link{c.toNATS[s.Node-1][s.NATS-1]}
	case s.Node > 0:
		return c.toNATS[s.Node-1]
	}
	var all []*link
	for i := range servers {
		if i != s.NATS-1 {
			all = append(all, c.routes[i][s.NATS-1], c.routes[s.NATS-1][i])
		}
	}
	return all
}

func (c *cluster) closeLinks() error {
	var errs []error
	for _, l := range c.links() {
		errs = append(errs, l.listener.Close())
	}
	return errors.Join(errs...)
}

// carry runs the links until ctx ends.
func (c *cluster) carry(ctx context.Context) {
	var all sync.WaitGroup
	for _, l := range c.links() {
		all.Go(func() { l.run(ctx) })
	}
	all.Wait()
}

// writeConfig writes the nodes' configuration file; JSON is YAML.
func (c *cluster) writeConfig(hooks string) (file string, err error) {
	app := map[string]any{
		"id": c.app.app, "key": c.app.Key, "secret": c.app.Secret,
		"webhooks": []any{map[string]any{"name": "prove", "url": hooks}},
		"limits":   map[string]any{"presence_members": 10_000},
	}
	text, err := json.MarshalIndent(map[string]any{"apps": []any{app}}, "", "  ")
	if err != nil {
		return "", err
	}
	file = filepath.Join(c.dir, "playhead.yml")
	return file, os.WriteFile(file, text, 0o600)
}

// startAll starts everything and waits until it is up.
func (c *cluster) startAll(ctx context.Context, o *overseer) error {
	for _, p := range c.nats {
		if err := p.start(); err != nil {
			return err
		}
	}
	if err := await(ctx, startTime, func(ctx context.Context) error { return o.ready(ctx) }, c.nats...); err != nil {
		return fmt.Errorf("start the NATS servers: %w", err)
	}
	for _, p := range c.nodes {
		if err := p.start(); err != nil {
			return err
		}
	}
	for i, p := range c.nodes {
		if err := c.awaitNode(ctx, i); err != nil {
			return fmt.Errorf("start %s: %w", p.name, err)
		}
	}
	return nil
}

// startTime is how long a process may take to be up.
const startTime = time.Minute

// awaitNode waits until a node is up.
func (c *cluster) awaitNode(ctx context.Context, i int) error {
	return await(ctx, startTime, func(ctx context.Context) error {
		if !isUp(ctx, c.asker, c.nodeAddr[i]) {
			return errors.New("it is not up")
		}
		return nil
	}, c.nodes[i])
}

// awaitTick is how often await looks.
const awaitTick = 50 * time.Millisecond

// await waits until a condition holds. The error is what the condition said last, with the end of the
// log of those of the processes that are gone, or else of the first.
func await(ctx context.Context, limit time.Duration, holds func(context.Context) error, of ...*process) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(awaitTick)
	defer tick.Stop()
	for {
		err := holds(ctx)
		if err == nil {
			return nil
		}
		for _, p := range of {
			select {
			case <-p.gone():
				return fmt.Errorf("%s has ended: %w\n%s", p.name, err, p.tail())
			default:
			}
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		err = fmt.Errorf("not within %v: %w", limit, err)
		if len(of) > 0 {
			err = fmt.Errorf("%w\n%s", err, of[0].tail())
		}
		return err
	}
}

// end ends all processes at once.
func (c *cluster) end() {
	for _, p := range append(append([]*process{}, c.nodes...), c.nats...) {
		p.end()
	}
}

// ask asks a node over its HTTP API.
func (c *cluster) ask(ctx context.Context, node int, path string, into any) error {
	r := pusher.Request{Method: http.MethodGet, Path: "/apps/" + string(c.app.app) + path}
	query, err := r.Sign(c.app.Credential, time.Now())
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.nodeAddr[node]+r.Path+"?"+query, nil)
	if err != nil {
		return err
	}
	res, err := c.asker.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.nodes[node].name, errors.Unwrap(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.nodes[node].name, err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s: %s: %s", c.nodes[node].name, res.Status, body)
	}
	return json.Unmarshal(body, into)
}

// freePorts returns ports that are free now. They are below those that systems give to outgoing
// connections, so that a server that is down finds its port free when it comes back.
func freePorts(n int) ([]int, error) {
	const least, most = 20_000, 32_000
	var ports []int
	taken := map[int]bool{}
	for range 100 * n {
		port := least + rand.IntN(most-least)
		if taken[port] {
			continue
		}
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port)) // on all addresses
		if err != nil {
			continue
		}
		l.Close()
		taken[port] = true
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free ports")
}
