package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/playhead/playhead/adapters/embedded"
	"github.com/playhead/playhead/broker/apps"
	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/broker/webhook"
	"github.com/playhead/playhead/broker/ws"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Node is a whole server: its medium, its node and its doors.
type Node struct {
	cfg      Config
	loaded   Config // as it came, complete
	logger   *slog.Logger
	registry *prometheus.Registry
	apps     *apps.Apps
	source   *appSource       // nil where the apps are the configuration's; set before anything is served
	server   *embedded.Server // nil where no NATS server is inside
	links    *links           // nil where Redis carries the events
	redis    redisClients
	replicas int // of each stream; set before anything is served

	doors   net.Listener
	metrics net.Listener // nil when metrics are off

	serving    atomic.Bool                       // whether /up answers OK
	leaderless atomic.Int64                      // since when probes have found the cluster without a leader, Unix ns; 0 when they haven't
	webhooks   atomic.Pointer[webhook.Webhooks]  // nil until they are there
	members    atomic.Pointer[presence.Registry] // likewise
	sockets    atomic.Pointer[ws.Server]         // likewise
	medium     atomic.Pointer[medium]            // likewise
}

// New checks cfg, and binds its ports. Nothing else is started until [Node.Run], which must be
// called, because it also gives the ports free. The error says which setting to change.
func New(cfg Config) (*Node, error) {
	cfg.fill()
	l := &loader{}
	l.check(&cfg)
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	loaded := cfg
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Node == "" {
		cfg.Node = hostName()
	}
	n := &Node{cfg: cfg, loaded: loaded, logger: cfg.Logger, registry: prometheus.NewRegistry()}
	n.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	var err error
	if n.apps, err = apps.New(apps.Config{Apps: cfg.apps()}); err != nil {
		return nil, err
	}
	if cfg.onNATS() {
		if n.server, err = newServer(&cfg); err != nil {
			return nil, err
		}
		if n.links, err = newLinks(&cfg, n.server, n.logger); err != nil {
			return nil, err
		}
	}
	if n.redis, err = newRedisClients(&cfg); err != nil {
		return nil, err
	}
	n.doors, err = listen(cfg.Host, cfg.Port, "port, PORT or --port")
	if err == nil && cfg.Metrics.Enabled == On {
		if n.metrics, err = listen(cfg.Metrics.Host, cfg.Metrics.Port, "metrics.port or METRICS_PORT"); err != nil {
			err = fmt.Errorf("metrics: %w", errors.Join(err, n.doors.Close()))
		}
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

// every is what the embedded server is told: 0 syncs before each acknowledgement.
func (c *SyncConfig) every() time.Duration {
	if c.Mode == "interval" {
		return time.Duration(c.Interval)
	}
	return 0
}

// Addr returns where WebSockets and HTTP are served.
func (n *Node) Addr() net.Addr { return n.doors.Addr() }

// MetricsAddr returns where metrics are served, or nil when they are off.
func (n *Node) MetricsAddr() net.Addr {
	if n.metrics == nil {
		return nil
	}
	return n.metrics.Addr()
}

// Run serves until ctx ends or a part fails, then takes everything down, and returns when that is
// done. It may be called once. The error is that of the part that failed, and names the steps of
// the teardown that did; nil means that the node was told to end and ended well.
func (n *Node) Run(ctx context.Context) error {
	s := newStack(n.logger)
	err := n.assemble(ctx, s)
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		err = nil // told to end before it was up
	case err == nil:
		n.announce()
		select {
		case <-ctx.Done():
		case err = <-s.ended:
		}
	}
	began := time.Now()
	n.logger.Info("shutting down", "timeout", time.Duration(n.cfg.Shutdown.Timeout))
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(n.cfg.Shutdown.Timeout))
	defer cancel()
	err = errors.Join(err, s.unwind(down))
	n.logger.Info("shut down", "dur", time.Since(began))
	return err
}

// down says why the node is not ready, or nil.
func (n *Node) down() error {
	if !n.serving.Load() {
		return errors.New("not serving: starting or shutting down")
	}
	if members := n.members.Load(); members != nil && !members.Standing() {
		return errors.New("not among the other nodes: they took this one for dead, or it can't follow who is where")
	}
	return n.mediumDown()
}

// health answers probes of this node.
func (n *Node) health() *health {
	return &health{down: n.down, up: n.up, apps: n.apps, memory: memoryNow}
}

// announce says that the node is up: to people in a message, to machines in a line of the log.
func (n *Node) announce() {
	kept := []any{"addr", n.Addr().String(), "node", n.cfg.Node, "medium", n.cfg.medium()}
	if n.cfg.onNATS() {
		kept = append(kept, "replicas", n.replicas, "sync", n.cfg.Sync.Mode)
	}
	n.logger.Info("serving", kept...)
	if n.cfg.forDevelopment() {
		n.logger.Warn("the default app's credentials are known to everybody: for development only; set PLAYHEAD_DEFAULT_APP_ID, _KEY and _SECRET, or apps in the configuration file")
	}
	if n.cfg.Output == nil || n.cfg.Log.Format == "json" {
		return
	}
	m := started{cfg: &n.cfg, replicas: n.replicas, clients: reachable(n.Addr()), now: time.Now()}
	if n.metrics != nil {
		m.metrics = reachable(n.metrics.Addr())
	}
	if err := m.write(n.cfg.Output); err != nil {
		n.logger.Warn("start message could not be written", "err", err)
	}
}

// hostName is the host's name as a node's.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "playhead"
	}
	name = strings.Trim(regexp.MustCompile(`[^A-Za-z0-9._-]+`).ReplaceAllString(name, "-"), ".-_")
	if name == "" {
		return "playhead"
	}
	return name[:min(len(name), 128)]
}
