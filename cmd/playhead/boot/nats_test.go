package boot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/adapters/embedded"
)

// elections bounds waits for a cluster; they take long on a busy machine.
const elections = 90 * time.Second

// awaitLong is await for what needs an election.
func awaitLong(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(elections)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, elections)
		}
		<-tick.C
	}
}

// freeAddresses returns addresses whose ports nobody listens on.
func freeAddresses(t *testing.T, n int) []string {
	t.Helper()
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all at the end, so that no port comes twice
		all = append(all, l.Addr().String())
	}
	return all
}

// away is a configuration for a node that uses servers of its own cluster.
func away(t *testing.T, name string, servers ...string) Config {
	t.Helper()
	cfg := local(t)
	cfg.Node, cfg.NATS.Servers = name, servers
	return cfg
}

// failing runs a node that can't start, and returns why.
func failing(t *testing.T, cfg Config) (string, time.Duration) {
	t.Helper()
	began := time.Now()
	err := start(t, cfg).ended(t)
	if err == nil {
		t.Fatal("the node ended without an error")
	}
	return err.Error(), time.Since(began)
}

// Servers that can't be reached are tried for as long as is configured, and named with why.
func TestNATSUnreachable(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone := freeAddresses(t, 1)[0]
	cfg := away(t, "a", "nats://"+gone, "nats://user:hidden@"+silent.Addr().String(), "nats://nowhere.invalid:4222")
	cfg.StartupTimeout = Duration(600 * time.Millisecond)
	why, took := failing(t, cfg)
	for _, part := range []string{
		"connect to NATS: not within startup_timeout", "nats://" + gone + ": connection refused",
		"nats://" + silent.Addr().String() + ": ", "nats://nowhere.invalid:4222: ", "no such host",
	} {
		if !strings.Contains(why, part) {
			t.Errorf("%q lacks %q", why, part)
		}
	}
	if strings.Contains(why, "hidden") {
		t.Errorf("%q tells a password", why)
	}
	if took < 600*time.Millisecond {
		t.Errorf("given up after %v", took)
	}
}

// A node that waits for servers ends when it is told to, without an error; and goes on when they come.
func TestNATSAwaited(t *testing.T) {
	t.Parallel()
	address := freeAddresses(t, 1)[0]
	r := start(t, away(t, "a", "nats://"+address))
	await(t, "a warning", func() bool { return strings.Contains(r.log.String(), "no NATS server can be reached") })
	if status, body := get(t, "http://"+r.MetricsAddr().String()+"/ready"); status != http.StatusServiceUnavailable {
		t.Errorf("/ready: %d %s", status, body)
	}
	r.stop()
	if err := r.ended(t); err != nil {
		t.Error(err)
	}

	r = start(t, away(t, "a", "nats://"+address))
	await(t, "a warning", func() bool { return strings.Contains(r.log.String(), "no NATS server can be reached") })
	natsServer(t, embedded.Config{Listen: address})
	await(t, "the start message", func() bool { return strings.Contains(r.out.String(), "Ctrl-C stops the server") })
	if !strings.Contains(r.log.String(), `"replicas":1`) || !strings.Contains(r.out.String(), "what was answered 200 ends with its server's disk") {
		t.Errorf("one server: %s", r.out)
	}
}

// natsServer starts a NATS server with a folder of its own.
func natsServer(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	cfg.SyncInterval = time.Second
	s, err := embedded.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// What the servers refuse is said at once, and what it is.
func TestNATSRefused(t *testing.T) {
	t.Parallel()
	rich, poor := server.NewAccount("rich"), server.NewAccount("poor")
	may := func(deny string) *server.Permissions {
		return &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{deny}}}
	}
	opts := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, ServerName: "refuser",
		JetStream: true, StoreDir: t.TempDir(), Accounts: []*server.Account{rich, poor},
		Users: []*server.User{
			{Username: "poor", Password: "p", Account: poor},
			{Username: "mute", Password: "p", Account: rich, Permissions: may("$JS.API.>")},
			{Username: "reader", Password: "p", Account: rich, Permissions: may("playhead.>")},
			{Username: "good", Password: "p", Account: rich},
		},
	}
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server isn't ready")
	}
	has, err := s.LookupAccount("rich") // the server's own copy of it
	if err != nil {
		t.Fatal(err)
	}
	if err := has.EnableJetStream(nil, nil); err != nil {
		t.Fatal(err)
	}
	plain, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, ServerName: "plain"})
	if err != nil {
		t.Fatal(err)
	}
	plain.Start()
	t.Cleanup(func() { plain.Shutdown(); plain.WaitForShutdown() })
	if !plain.ReadyForConnections(patience) {
		t.Fatal("the server isn't ready")
	}

	for name, tt := range map[string]struct {
		user, password string
		at             *server.Server
		want           string
	}{
		"stranger":     {"stranger", "hidden", s, "connect to NATS: %s: nats: Authorization Violation"},
		"account":      {"poor", "p", s, "JetStream at %s: it is not enabled for the account: enable it there"},
		"no API":       {"mute", "p", s, `JetStream at %s: the user has no permission: nats: permissions violation: Permissions Violation for Publish to "$JS.API.INFO"`},
		"no publish":   {"reader", "p", s, `publish at %s: the user has no permission: nats: permissions violation: Permissions Violation for Publish to "playhead.`},
		"no JetStream": {"", "", plain, "JetStream at %s: it is not enabled on server plain: start it with JetStream (-js)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := "nats://" + tt.at.Addr().String()
			cfg := away(t, "a", at)
			cfg.NATS.Username, cfg.NATS.Password = tt.user, tt.password
			why, _ := failing(t, cfg)
			if want := fmt.Sprintf(tt.want, at); !strings.Contains(why, want) || strings.Contains(why, "startup_timeout") {
				t.Errorf("got %q, want %q", why, want)
			}
		})
	}
	t.Run("good", func(t *testing.T) {
		t.Parallel()
		cfg := away(t, "a", "nats://"+s.Addr().String())
		cfg.NATS.Username, cfg.NATS.Password = "good", "p"
		r := start(t, cfg)
		await(t, "the node up", func() bool { return r.serving.Load() })
	})
}

// rigged starts a cluster of three plain NATS servers and returns it with its addresses.
func rigged(t *testing.T) ([]*embedded.Server, []string) {
	t.Helper()
	routes := freeAddresses(t, 3)
	var all []*embedded.Server
	var addresses []string
	for i, listen := range routes {
		s := natsServer(t, embedded.Config{
			ServerName: fmt.Sprint("s", i), Listen: "127.0.0.1:0",
			Cluster: embedded.Cluster{Name: "c", Listen: listen, Routes: routes},
		})
		all = append(all, s)
		addresses = append(addresses, "nats://"+s.Addr().String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), elections)
	defer cancel()
	for _, s := range all {
		if err := s.Join(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return all, addresses
}

// subscribed connects, subscribes to the channel c, and returns what reads the next frame and what hangs
// up: a node that ends waits for those who don't answer.
func (r *running) subscribed(t *testing.T) (next func() string, hangUp func()) {
	t.Helper()
	c := r.connect(t)
	write(t, c, `{"event":"pusher:subscribe","data":{"channel":"c"}}`)
	if f := read(t, c); !strings.Contains(f, "subscription_succeeded") {
		t.Fatalf("answer %s", f)
	}
	return func() string { return read(t, c) }, func() { _ = c.CloseNow() }
}

// Two nodes on a NATS cluster are one server: what is published on one is heard on the other, three
// servers hold it, and one of them may go. Not parallel: in a crowd servers elect for ever.
func TestNATSCluster(t *testing.T) {
	servers, addresses := rigged(t)
	a, b := start(t, away(t, "a", addresses...)), start(t, away(t, "b", addresses...))
	for _, r := range []*running{a, b} {
		awaitLong(t, "the node up", func() bool { return r.serving.Load() })
		if !strings.Contains(r.log.String(), `"replicas":3`) || !strings.Contains(r.out.String(), "replicas of each stream: 3") {
			t.Errorf("replicas aren't said at start: %s", r.out)
		}
	}
	next, hangUp := a.subscribed(t)
	if err := publish(t, Target{URL: b.url("")}, "1"); err != nil {
		t.Fatal(err)
	}
	if f := next(); !strings.Contains(f, `"data":"1"`) {
		t.Errorf("heard %s", f)
	}
	js, err := jetstream.New(b.links.conns[2])
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "playhead_app-id")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().Config.Replicas; n != 3 {
		t.Errorf("%d replicas", n)
	}
	if _, err := js.Stream(t.Context(), "playhead_%start"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the stream that was tried with: %v", err)
	}

	// The server that b publishes through goes. It says so for as long as it has no other.
	at := b.links.conns[0].ConnectedServerName()
	i := slices.IndexFunc([]string{"s0", "s1", "s2"}, func(name string) bool { return name == at })
	if err := servers[i].Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitLong(t, "a publish without the server", func() bool { return publish(t, Target{URL: b.url("")}, "2") == nil })
	for f := next(); !strings.Contains(f, `"data":"2"`); f = next() {
		t.Logf("heard %s", f)
	}
	awaitLong(t, "ready", func() bool {
		status, _ := get(t, b.url("/ready"))
		return status == http.StatusOK
	})
	if !strings.Contains(b.log.String(), "NATS connection lost") || !strings.Contains(b.log.String(), "NATS connection is back") {
		t.Errorf("nothing is said of the connection")
	}

	// A node that starts meanwhile takes what streams have, though three can't be made now.
	c := start(t, away(t, "c", addresses...))
	awaitLong(t, "the node up", func() bool { return c.serving.Load() })
	if c.replicas != 3 {
		t.Errorf("%d replicas with a server away", c.replicas)
	}

	// There are others to come back to, so its sessions are told to come at once.
	hangUp()
	d := a.connect(t)
	a.stop()
	if got := code(t, d); got != 4200 {
		t.Errorf("closed with %d, want 4200", got)
	}
	if err := a.ended(t); err != nil {
		t.Error(err)
	}
}

// A probe is told which connection is cut, and since when, until it is back.
func TestLinksHealth(t *testing.T) {
	t.Parallel()
	address := freeAddresses(t, 1)[0]
	cfg := embedded.Config{Listen: address, DataDir: t.TempDir()}
	s := natsServer(t, cfg)
	r := start(t, away(t, "a", "nats://"+address))
	await(t, "the node up", func() bool { return r.serving.Load() })
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "not ready", func() bool {
		status, body := get(t, r.url("/ready"))
		return status == http.StatusServiceUnavailable &&
			strings.Contains(body, "ERROR: no connection to NATS (publish) since "+time.Now().UTC().Format("2006-01-02T")) && strings.Contains(body, " ago: EOF")
	})
	natsServer(t, cfg)
	await(t, "ready", func() bool {
		status, _ := get(t, r.url("/ready"))
		return status == http.StatusOK
	})
	await(t, "a publish", func() bool { return publish(t, Target{URL: r.url("")}, "1") == nil })
	for _, c := range r.links.conns {
		if c.Status() != nats.CONNECTED {
			t.Errorf("%s: %v", c.Opts.Name, c.Status())
		}
	}
}
