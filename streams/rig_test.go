package streams_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/adapters/embedded"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/streams"
)

// rig is a server in the process that can be stopped and started again under connections that
// stay, and whose connections can be disturbed.
type rig struct {
	t   testing.TB
	cfg embedded.Config

	mu     sync.Mutex
	server *embedded.Server // guarded by mu; nil while stopped
	lines  map[*nats.Conn]*line
}

func newRig(t testing.TB, interval time.Duration, change ...func(*embedded.Config)) *rig {
	t.Helper()
	r := &rig{
		t:     t,
		cfg:   embedded.Config{DataDir: t.TempDir(), SyncInterval: interval, MaxStore: 1 << 40},
		lines: map[*nats.Conn]*line{},
	}
	for _, c := range change {
		c(&r.cfg)
	}
	t.Cleanup(r.stop)
	r.start()
	return r
}

func (r *rig) start() {
	r.t.Helper()
	s, err := embedded.New(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := s.Start(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.server = s
}

func (r *rig) stop() {
	r.mu.Lock()
	s := r.server
	r.server = nil
	r.mu.Unlock()
	if s == nil {
		return
	}
	if err := s.Shutdown(context.Background()); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) connect() *nats.Conn {
	r.t.Helper()
	l := &line{rig: r}
	nc, err := nats.Connect("nats://in.process", nats.InProcessServer(l),
		nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines[nc] = l
	return nc
}

func (r *rig) line(nc *nats.Conn) *line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lines[nc]
}

// line is what one client's connections run through.
type line struct {
	rig *rig

	mu   sync.Mutex
	deaf bool       // guarded by mu; what the server says is lost
	dead bool       // guarded by mu; there is no way to the server
	conn *disturbed // guarded by mu; the present connection
}

// InProcessConn implements nats.InProcessConnProvider.
func (l *line) InProcessConn() (net.Conn, error) {
	l.rig.mu.Lock()
	s := l.rig.server
	l.rig.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if s == nil || l.dead {
		return nil, errors.New("no server now")
	}
	conn, err := s.InProcessConn()
	if err != nil {
		return nil, err
	}
	l.conn = &disturbed{Conn: conn, line: l}
	return l.conn, nil
}

// deafen loses what the server says from now on, without the client noticing.
func (l *line) deafen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = true
}

// cut ends the connection. The client connects again by itself, unless dead.
func (l *line) cut(dead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf, l.dead = false, dead
	if l.conn != nil {
		_ = l.conn.Close()
	}
}

// disturbed is a connection that may lose what is read from it.
type disturbed struct {
	net.Conn
	line *line
}

func (d *disturbed) Read(b []byte) (int, error) {
	for {
		n, err := d.Conn.Read(b)
		d.line.mu.Lock()
		deaf := d.line.deaf && d.line.conn == d
		d.line.mu.Unlock()
		if !deaf || err != nil {
			return n, err
		}
	}
}

// streams opens a node's view, and runs it until the test ends.
func (r *rig) streams(change ...func(*streams.Config)) *streams.Streams {
	r.t.Helper()
	return open(r.t, r.connect, change...)
}

func open(t testing.TB, connect func() *nats.Conn, change ...func(*streams.Config)) *streams.Streams {
	t.Helper()
	cfg := streams.Config{
		Publish:  connect(),
		Tail:     connect(),
		Read:     connect(),
		NodeName: "node-" + rand.Text(),
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := streams.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	return s
}

func run(t testing.TB, s *streams.Streams) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func interval(c *streams.Config) { c.Sync = streams.SyncInterval }

func (r *rig) jetStream() jetstream.JetStream {
	r.t.Helper()
	js, err := jetstream.New(r.connect())
	if err != nil {
		r.t.Fatal(err)
	}
	return js
}

var sequence struct {
	sync.Mutex
	n int
}

// event makes an event with an ID of its own.
func event(app broker.AppID, ch broker.Channel) *broker.Event {
	sequence.Lock()
	defer sequence.Unlock()
	sequence.n++
	return &broker.Event{
		App:     app,
		Channel: ch,
		ID:      fmt.Sprintf("id-%d", sequence.n),
		Name:    "test.event",
		Data:    fmt.Appendf(nil, `{"n":%d}`, sequence.n),
		Time:    time.Now().UTC().Truncate(time.Millisecond),
	}
}

// patience bounds every wait. It is generous, for a wait ends when its condition holds: a cluster that
// elects on a busy machine may need several rounds of up to 9 s.
const patience = 2 * time.Minute

// soon bounds what a test waits for.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func appendAll(t testing.TB, log broker.Log, events ...*broker.Event) {
	t.Helper()
	for _, e := range events {
		if err := log.Append(soon(t), e); err != nil {
			t.Fatal(err)
		}
	}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx := soon(t)
	for !holds() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("in vain: %s", what)
		}
	}
}
