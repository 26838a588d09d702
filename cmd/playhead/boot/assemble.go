package boot

import (
	"context"
	"net/http"
	"runtime"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/page"
	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/broker/rest"
	"github.com/playhead/playhead/broker/webhook"
	"github.com/playhead/playhead/broker/ws"
	"github.com/playhead/playhead/replay"
	"github.com/playhead/playhead/replay/js"
)

// assemble starts everything, bottom up, pushing for each thing the step that takes it down.
func (n *Node) assemble(ctx context.Context, s *stack) error {
	s.push("ports", func(context.Context) error {
		// Serving has closed them, unless it never began.
		_ = n.doors.Close()
		if n.metrics != nil {
			_ = n.metrics.Close()
		}
		return nil
	})
	files := claimDescriptors(max(int(n.cfg.WebSocket.MaxConnections), 0), len(n.cfg.apps()), n.logger) // its 0 is none
	s.start("garbage collector", newCollector(memoryNow().Total, n.logger).run)
	if n.metrics != nil {
		srv := n.cfg.HTTP.server(n.metricsHandler(), n.logger)
		s.start("metrics server", serve(srv, n.metrics))
		s.push("stop metrics", stopServing(srv, time.Second))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// Streams ask what their apps want to be remembered.
	if err := n.openApps(ctx, s); err != nil {
		return err
	}
	medium, err := n.raise(ctx, s)
	if err != nil {
		return err
	}
	n.medium.Store(medium)
	return n.open(ctx, s, medium, files)
}

// open starts the node over its medium, and the doors.
func (n *Node) open(ctx context.Context, s *stack, medium *medium, files descriptors) error {
	pace, err := n.cfg.pace()
	if err != nil {
		return err
	}
	hooks, err := n.hooks(medium)
	if err != nil {
		return err
	}
	memory := medium.history != nil
	windowEvents := Count(None) // without memory nobody comes back for what is in it
	if memory {
		// The window is never to remember what the log has forgotten.
		windowEvents = least(n.cfg.Feed.WindowEvents, n.cfg.Streams.MaxEvents)
	}
	node, err := broker.New(broker.Config{
		Log:          hooks.Watch(medium.log),
		Linger:       time.Duration(n.cfg.Feed.Linger),
		GateBytes:    int(n.cfg.Feed.GateBytes),
		WindowEvents: int(windowEvents),
		WindowBytes:  int(least(n.cfg.Feed.WindowBytes, n.cfg.Streams.MaxBytes)),
		WindowAge:    time.Duration(n.cfg.Streams.MaxAge),
		Pace:         pace,
		Logger:       n.logger,
		Registerer:   n.registry,
	})
	if err != nil {
		return err
	}
	s.start("node", node.Run)
	n.webhooks.Store(hooks)
	s.start("webhooks", hooks.Run)
	members, err := n.newMembers(node, hooks, medium)
	if err != nil {
		return err
	}
	n.members.Store(members)
	s.start("presence", members.Run)
	window := time.Duration(0)
	if memory {
		window = n.cfg.Streams.window()
	}
	replayer, err := replay.New(replay.Config{
		History:     medium.history,
		Window:      window,
		MaxEvents:   int(n.cfg.Replay.MaxEvents),
		MaxBytes:    int(n.cfg.Replay.MaxBytes),
		Concurrency: int(n.cfg.Replay.Concurrency),
		WaitTimeout: time.Duration(n.cfg.Replay.WaitTimeout),
		Logger:      n.logger,
		Registerer:  n.registry,
	})
	if err != nil {
		return err
	}
	sockets, err := ws.New(ws.Config{
		Apps:            n.apps,
		Node:            node,
		Presence:        members,
		Replay:          replayer,
		Cache:           medium.cache,
		Observer:        hooks,
		Alone:           n.cfg.alone(),
		ActivityTimeout: time.Duration(n.cfg.WebSocket.ActivityTimeout),
		PingAfter:       time.Duration(n.cfg.WebSocket.PingAfter),
		PongTimeout:     time.Duration(n.cfg.WebSocket.PongTimeout),
		QueueBytes:      int(n.cfg.WebSocket.QueueBytes),
		TotalQueueBytes: n.cfg.WebSocket.totalQueueBytes(memoryNow().Total),
		Pace:            pace,
		MaxMessageBytes: int(n.cfg.WebSocket.MaxMessageBytes),
		MaxConnections:  files.sessions,
		TerminationCode: int(n.cfg.WebSocket.TerminationCode),
		FlushInterval:   time.Duration(n.cfg.WebSocket.FlushInterval),
		DrainTime:       time.Duration(n.cfg.Shutdown.Drain),
		Logger:          n.logger,
		Registerer:      n.registry,
	})
	if err != nil {
		return err
	}
	api, err := rest.New(rest.Config{
		Apps:           n.apps,
		Node:           node,
		Presence:       members,
		Cache:          medium.cache,
		History:        replayer,
		Limiter:        medium.limiter,
		MaxBodyBytes:   int(n.cfg.HTTP.MaxBodyBytes),
		PublishTimeout: time.Duration(n.cfg.HTTP.PublishTimeout),
		Logger:         n.logger,
		Registerer:     n.registry,
	})
	if err != nil {
		return err
	}
	n.sockets.Store(sockets)
	s.start("doors", sockets.Run)
	if err := n.meet(ctx, s, members); err != nil {
		return err
	}
	r := &root{sockets: sockets, api: api, module: js.Handler(), health: n.health(), limiter: newLimiter(&n.cfg, n.registry, medium.limiter), logger: n.logger}
	if n.cfg.testPage() {
		if r.page, err = n.page(node); err != nil {
			return err
		}
	}
	srv := n.cfg.HTTP.server(r, n.logger)
	s.start("HTTP server", serve(srv, newDoors(n.doors, files.doors, srv)))
	s.push("stop accepting", stopServing(srv, time.Duration(n.cfg.Shutdown.Timeout)/3))
	s.push("close sessions", within(time.Duration(n.cfg.Shutdown.Timeout)/2, sockets.Drain))
	n.stepDown(s)
	s.start("configuration", n.reloader(hooks, node, medium).run)
	n.serving.Store(true)
	s.push("not ready", func(ctx context.Context) error {
		n.serving.Store(false)
		if grace := time.Duration(n.cfg.Shutdown.Grace); grace > 0 && !n.cfg.alone() {
			pause(ctx, grace)
		}
		return nil
	})
	return nil
}

// retention is what an app's stream is to remember.
func (n *Node) retention(id broker.AppID) broker.Retention {
	if id == presence.App {
		return membersRetention
	}
	app, err := n.apps.ByID(context.Background(), id) // looks at what is in memory
	if err != nil {
		return broker.Retention{} // it is gone; its stream stays as the streams' own bounds have it
	}
	return app.Retention
}

// least is how much the window may hold: no more than the log. Without a bound there is no window.
func least[N Count | Size](window, log N) N {
	if window == None || log == None {
		return window
	}
	return min(window, log)
}

// hooks makes what tells backends of what happens here.
func (n *Node) hooks(medium *medium) (*webhook.Webhooks, error) {
	c := n.cfg.Webhooks
	var told webhook.Apps = n.apps
	if n.cfg.queueDriver() == driverNone {
		told = nobody{}
	}
	return webhook.New(webhook.Config{
		Apps:          told,
		Queue:         medium.letters,
		Archive:       medium.letters,
		Source:        medium.source,
		Delay:         time.Duration(c.Delay),
		BatchEvents:   int(c.BatchEvents),
		BatchInterval: time.Duration(c.BatchInterval),
		Timeout:       time.Duration(c.Timeout),
		MaxAge:        time.Duration(c.MaxAge),
		InFlight:      int(c.InFlight),
		Logger:        n.logger,
		Registerer:    n.registry,
	})
}

// page makes the test page, which is the first app's.
func (n *Node) page(node *broker.Node) (http.Handler, error) {
	return page.New(page.Config{
		Apps:           n.apps,
		App:            n.cfg.apps()[0].ID,
		Publisher:      node,
		PublishTimeout: time.Duration(n.cfg.HTTP.PublishTimeout),
		Logger:         n.logger,
	})
}

// reloader makes what reads the configuration again.
func (n *Node) reloader(hooks *webhook.Webhooks, node *broker.Node, medium *medium) *reloader {
	return &reloader{
		source:   n.cfg.Source,
		rows:     n.source,
		hangup:   n.cfg.Hangup,
		start:    n.loaded,
		apps:     n.apps,
		webhooks: hooks,
		node:     node,
		streams:  medium.apps,
		logger:   n.logger,
		metrics:  newReloadMetrics(n.registry),
	}
}

// pace is how far fan-out may be ahead of writing, nil when it may be as far as it likes.
func (c *Config) pace() (*broker.Pace, error) {
	if c.Adapter.BufferMultiplierPerCPU == None {
		return nil, nil
	}
	return broker.NewPace(int(c.Adapter.BufferMultiplierPerCPU) * runtime.GOMAXPROCS(0))
}

// totalQueueBytes is what may wait for all connections, with so much memory; 0 when that isn't known.
func (c *WebSocketConfig) totalQueueBytes(memory uint64) int {
	switch {
	case c.TotalQueueBytes != 0:
		return int(c.TotalQueueBytes)
	case memory == 0:
		return 0 // the server's default
	}
	return max(int(memory/4), int(c.QueueBytes))
}

// forever is what clients are told where age forgets nothing: a year, and then again.
const forever = 365 * 24 * time.Hour

// window is how long clients are told they can be away.
func (c *StreamsConfig) window() time.Duration {
	if c.MaxAge == None {
		return forever
	}
	return time.Duration(c.MaxAge)
}
