package ws

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/replay"
	"github.com/prometheus/client_golang/prometheus"
)

var (
	cred  = broker.Credential{Key: "key", Secret: "secret"}
	young = broker.Credential{Key: "young", Secret: "young-secret"}
)

// apps is a fixed set of apps.
type apps []*broker.App

func (a apps) ByKey(_ context.Context, key string) (*broker.App, error) {
	if key == "broken" {
		return nil, errors.New("database away")
	}
	for _, app := range a {
		if _, ok := app.Secret(key); ok {
			return app, nil
		}
	}
	return nil, broker.ErrNoApp
}

// harness is a node with a server, in the process.
type harness struct {
	tb       testing.TB
	memory   *brokertest.Memory
	history  *brokertest.FaultyHistory
	log      *brokertest.Faulty
	app      *broker.App
	node     *broker.Node
	presence *presence.Registry
	server   *Server
	registry *prometheus.Registry
	observer observer             // what webhooks are told
	noticed  func(*broker.Notice) // called before the node learns of a notice; may be nil
	window   int                  // events that the node keeps in memory; 0 is none, all is read from the log
	stop     func()               // ends the server and the node and waits for them
}

// start runs a node with a server; edit may change what they are made of. Both end with the test.
func start(tb testing.TB, edit func(h *harness, cfg *Config)) *harness {
	tb.Helper()
	h := &harness{tb: tb, memory: &brokertest.Memory{}, registry: prometheus.NewRegistry()}
	h.log = &brokertest.Faulty{Log: h.memory}
	h.history = &brokertest.FaultyHistory{History: h.memory}
	h.app = &broker.App{ID: "1", Credentials: []broker.Credential{cred, young}, ClientEvents: true}
	all := apps{
		h.app,
		{ID: "2", Credentials: []broker.Credential{{Key: "other", Secret: "x"}}},
		{ID: "3", Credentials: []broker.Credential{{Key: "disabled", Secret: "x"}}, Disabled: true},
	}
	// The least there is, so that every test also shows that keeping fan-out back holds up nobody for good.
	pace, err := broker.NewPace(1)
	if err != nil {
		tb.Fatal(err)
	}
	cfg := Config{Apps: all, Cache: h.memory, Observer: &h.observer, Pace: pace, Registerer: h.registry}
	if edit != nil {
		edit(h, &cfg)
	}
	if cfg.Replay == nil {
		if cfg.Replay, err = replay.New(replay.Config{History: h.history, Window: time.Hour, Registerer: h.registry}); err != nil {
			tb.Fatal(err)
		}
	}
	if h.window == 0 {
		h.window = -1
	}
	if h.node, err = broker.New(broker.Config{Log: h.log, Linger: -1, WindowEvents: h.window, Pace: cfg.Pace, Registerer: h.registry}); err != nil {
		tb.Fatal(err)
	}
	if h.presence, err = presence.New(presence.Config{Notifier: h, Observer: &h.observer}); err != nil {
		tb.Fatal(err)
	}
	cfg.Node, cfg.Presence = h.node, h.presence
	if h.server, err = New(cfg); err != nil {
		tb.Fatal(err)
	}
	serving, stopServer := context.WithCancel(context.Background())
	nodeCtx, stopNode := context.WithCancel(context.Background())
	var server, node sync.WaitGroup
	server.Go(func() { _ = h.server.Run(serving) })
	node.Go(func() { _ = h.node.Run(nodeCtx) })
	node.Go(func() { _ = h.presence.Run(nodeCtx) })
	h.stop = sync.OnceFunc(func() {
		stopServer()
		server.Wait()
		stopNode()
		node.Wait()
	})
	tb.Cleanup(h.stop)
	return h
}

// observer keeps what it is told.
type observer struct {
	mu      sync.Mutex
	notices []broker.Notice // guarded by mu
}

// Notify implements [presence.Notifier].
func (o *observer) Notify(n *broker.Notice) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.notices = append(o.notices, *n)
}

// channels returns the channels of the notices of a kind, in order.
func (o *observer) channels(kind broker.NoticeKind) []broker.Channel {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []broker.Channel
	for _, n := range o.notices {
		if n.Kind == kind {
			all = append(all, n.Channel)
		}
	}
	return all
}

// Notify implements [presence.Notifier].
func (h *harness) Notify(n *broker.Notice) {
	if h.noticed != nil {
		h.noticed(n)
	}
	h.node.Notify(n)
}

// publish publishes an event as a backend does.
func (h *harness) publish(ch broker.Channel, name, data string) *broker.Event {
	h.tb.Helper()
	e := &broker.Event{App: h.app.ID, Channel: ch, Name: name, Data: []byte(data)}
	if err := h.node.Publish(context.Background(), e); err != nil {
		h.tb.Fatal(err)
	}
	return e
}

// metric returns the value of a metric, summed over the labels that are not named.
func (h *harness) metric(name string, labels ...string) float64 {
	h.tb.Helper()
	families, err := h.registry.Gather()
	if err != nil {
		h.tb.Fatal(err)
	}
	total := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := func(want string) bool {
				for _, l := range m.GetLabel() {
					if l.GetName()+"="+l.GetValue() == want {
						return true
					}
				}
				return false
			}
			matches := true
			for _, want := range labels {
				matches = matches && has(want)
			}
			if matches {
				total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return total
}

// pipeTransport connects a client to the handler through memory.
type pipeTransport struct {
	handler http.Handler
	early   []byte   // what the client sends together with its handshake
	client  net.Conn // the client's end, once connected
}

// RoundTrip implements [http.RoundTripper].
func (t *pipeTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	client, server := net.Pipe()
	w := &pipeWriter{ResponseRecorder: httptest.NewRecorder(), server: server, early: t.early, hijacked: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.handler.ServeHTTP(w, r)
	}()
	select {
	case <-w.hijacked:
	case <-done:
	}
	resp := w.Result()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = client
		t.client = client
	}
	return resp, nil
}

type pipeWriter struct {
	*httptest.ResponseRecorder
	server   net.Conn
	early    []byte
	hijacked chan struct{}
}

func (w *pipeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	defer close(w.hijacked)
	br := bufio.NewReader(io.MultiReader(bytes.NewReader(w.early), w.server))
	if len(w.early) > 0 {
		if _, err := br.Peek(len(w.early)); err != nil {
			return nil, nil, err
		}
	}
	return w.server, bufio.NewReadWriter(br, bufio.NewWriter(w.server)), nil
}
