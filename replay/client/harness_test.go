package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/broker/rest"
	"github.com/playhead/playhead/broker/ws"
	"github.com/playhead/playhead/replay"
	"github.com/prometheus/client_golang/prometheus"
)

// patience bounds waits for conditions; it only passes when a test has failed.
const patience = 30 * time.Second

// setup says what a server is made of.
type setup struct {
	maxEvents  int  // that one replay may have; default the server's
	queueBytes int  // that may wait for one client; default the server's
	amnesia    bool // the medium has no memory
}

// harness is a server with both its doors, and the lines that lead to it.
type harness struct {
	tb       testing.TB
	memory   *brokertest.Memory
	history  *brokertest.FaultyHistory
	log      *brokertest.Faulty
	app      *broker.App
	node     *broker.Node
	registry *prometheus.Registry
	http     *httptest.Server
	lines    *lines
}

// ByID implements [rest.Apps].
func (h *harness) ByID(_ context.Context, id broker.AppID) (*broker.App, error) {
	if id != h.app.ID {
		return nil, broker.ErrNoApp
	}
	return h.app, nil
}

// ByKey implements [rest.Apps] and [ws.Apps].
func (h *harness) ByKey(_ context.Context, key string) (*broker.App, error) {
	if _, ok := h.app.Secret(key); !ok {
		return nil, broker.ErrNoApp
	}
	return h.app, nil
}

// Notify implements [presence.Notifier].
func (h *harness) Notify(n *broker.Notice) { h.node.Notify(n) }

// start runs a server until the test ends.
func start(tb testing.TB, s setup) *harness {
	tb.Helper()
	h := &harness{tb: tb, memory: &brokertest.Memory{}, registry: prometheus.NewRegistry()}
	h.app = &broker.App{ID: "1", Credentials: []broker.Credential{{Key: "key", Secret: "secret"}}, Limits: broker.Limits{}.WithDefaults()}
	h.log = &brokertest.Faulty{Log: h.memory}
	h.history = &brokertest.FaultyHistory{History: h.memory}
	past := replay.Config{History: h.history, Window: time.Hour, MaxEvents: s.maxEvents}
	if s.amnesia {
		h.log.Log, past = brokertest.NewCarrier(), replay.Config{}
	}
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	player, err := replay.New(past)
	must(err)
	h.node, err = broker.New(broker.Config{Log: h.log, Linger: -1, WindowEvents: -1})
	must(err)
	registry, err := presence.New(presence.Config{Notifier: h})
	must(err)
	door := ws.Config{Apps: h, Node: h.node, Presence: registry, Replay: player, QueueBytes: s.queueBytes, DrainTime: -1, Registerer: h.registry}
	api := rest.Config{Apps: h, Node: h.node, Presence: registry}
	if !s.amnesia {
		door.Cache, api.Cache, api.History = h.memory, h.memory, player
	}
	sockets, err := ws.New(door)
	must(err)
	backends, err := rest.New(api)
	must(err)
	mux := http.NewServeMux()
	mux.Handle("/app/", sockets)
	mux.Handle("/apps/", backends)
	h.http = httptest.NewServer(mux)
	h.lines = &lines{open: map[*line]bool{}}

	serving, stopServer := context.WithCancel(context.Background())
	living, stopNode := context.WithCancel(context.Background())
	var server, node sync.WaitGroup
	server.Go(func() { _ = sockets.Run(serving) })
	node.Go(func() { _ = h.node.Run(living) })
	node.Go(func() { _ = registry.Run(living) })
	tb.Cleanup(func() {
		h.lines.cut()
		stopServer()
		server.Wait()
		h.http.Close()
		stopNode()
		node.Wait()
	})
	return h
}

// client makes a client of the server's; edit may change how.
func (h *harness) client(edit func(*Config)) *Client {
	h.tb.Helper()
	transport := &http.Transport{DialContext: h.lines.dial}
	h.tb.Cleanup(transport.CloseIdleConnections)
	cfg := Config{
		URL: h.http.URL, AppID: "1", Key: "key", Secret: "secret",
		HTTPClient: &http.Client{Transport: transport},
		BackoffMin: time.Millisecond, BackoffMax: 20 * time.Millisecond,
	}
	if edit != nil {
		edit(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		h.tb.Fatal(err)
	}
	return c
}

// publish publishes an event as a backend does.
func (h *harness) publish(ch broker.Channel, name, data string) *broker.Event {
	h.tb.Helper()
	e := &broker.Event{App: h.app.ID, Channel: ch, Name: name, Data: []byte(data)}
	if err := h.node.Publish(context.Background(), e); err != nil {
		h.tb.Error(err)
	}
	return e
}

// closes returns how many sessions have ended for a reason.
func (h *harness) closes(reason string) int {
	h.tb.Helper()
	families, err := h.registry.Gather()
	if err != nil {
		h.tb.Fatal(err)
	}
	total := 0.0
	for _, f := range families {
		if f.GetName() != "playhead_closes_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == reason {
					total += m.GetCounter().GetValue()
				}
			}
		}
	}
	return int(total)
}

// lines are the connections between clients and the server.
type lines struct {
	frail atomic.Int64 // bytes after which a line breaks, give or take half of it; 0: never

	mu     sync.Mutex
	refuse bool           // guarded by mu
	open   map[*line]bool // guarded by mu
}

// line is one connection, as the client has it.
type line struct {
	net.Conn
	lines *lines
	left  int64 // what may be read before it breaks; −1 is anything; read by one goroutine at a time
}

var errLine = errors.New("the line is dead")

func (l *lines) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	refuse := l.refuse
	l.mu.Unlock()
	if refuse {
		return nil, errLine
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	n := &line{Conn: c, lines: l, left: -1}
	if frail := l.frail.Load(); frail > 0 {
		n.left = frail/2 + rand.N(frail)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse {
		c.Close()
		return nil, errLine
	}
	l.open[n] = true
	return n, nil
}

// accept says whether there are new lines.
func (l *lines) accept(yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = !yes
}

// cut cuts all lines.
func (l *lines) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.open {
		n.Conn.Close()
	}
	clear(l.open)
}

func (n *line) Read(b []byte) (int, error) {
	if n.left < 0 {
		return n.Conn.Read(b)
	}
	if n.left == 0 {
		n.Conn.Close()
		return 0, errLine
	}
	got, err := n.Conn.Read(b[:min(int64(len(b)), n.left)])
	n.left -= int64(got)
	return got, err
}

func (n *line) Close() error {
	n.lines.mu.Lock()
	delete(n.lines.open, n)
	n.lines.mu.Unlock()
	return n.Conn.Close()
}

// answers are the subscriptions that were accepted.
type answers chan Answer

func (a answers) take(tb testing.TB) Answer {
	tb.Helper()
	select {
	case answer := <-a:
		return answer
	case <-time.After(patience):
		tb.Error("no answer to a subscribe")
		return Answer{}
	}
}

// gathered is what a tail has yielded, as lines: channel, name and data of an event, channel and
// reason of a gap.
type gathered struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (g *gathered) add(line string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lines = append(g.lines, line)
}

func (g *gathered) all() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.lines...)
}

// await waits until there are so many lines, and returns them.
func (g *gathered) await(tb testing.TB, n int) []string {
	tb.Helper()
	deadline := time.Now().Add(patience)
	for len(g.all()) < n && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if all := g.all(); len(all) < n {
		tb.Fatalf("%d of %d lines: %q", len(all), n, all)
	}
	return g.all()
}

// collect tails until the test ends.
func collect(t *testing.T, c *Client, opts TailOptions) *gathered {
	t.Helper()
	g := &gathered{}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		for e, err := range c.Tail(ctx, opts) {
			var gap *Gap
			switch {
			case errors.As(err, &gap):
				g.add(fmt.Sprintf("%s gap %s", gap.Channel, gap.Reason))
			case err != nil:
				g.add("error " + err.Error())
			default:
				g.add(fmt.Sprintf("%s %s %s", e.Channel, e.Name, e.Data))
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		wait.Wait()
	})
	return g
}

func await(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(time.Millisecond)
	}
}
