package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/adapters/embedded"
)

// patience bounds waits for conditions. Elections take long on a busy machine.
const patience = time.Minute

// clusterOf returns the configurations of servers of a cluster on free ports.
func clusterOf(t *testing.T, n int, user string) []embedded.Config {
	t.Helper()
	var routes, listen []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all at the end, so that no port comes twice
		listen = append(listen, l.Addr().String())
		routes = append(routes, "nats://"+user+l.Addr().String())
	}
	var all []embedded.Config
	for i := range n {
		all = append(all, embedded.Config{
			DataDir:      t.TempDir(),
			SyncInterval: time.Second,
			ServerName:   fmt.Sprint("n", i+1),
			Listen:       "127.0.0.1:0",
			Cluster:      embedded.Cluster{Name: "c", Listen: listen[i], Routes: routes},
		})
	}
	return all
}

// join waits until a server has joined.
func join(t *testing.T, servers ...*embedded.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, s := range servers {
		if err := s.Join(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		<-tick.C
	}
}

// leader returns who leads a stream.
func leader(t *testing.T, js jetstream.JetStream, stream string) string {
	t.Helper()
	var name string
	await(t, "a leader", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s, err := js.Stream(ctx, stream)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		name = s.CachedInfo().Cluster.Leader
		return name != ""
	})
	return name
}

// Three servers with a password make a cluster; the lead of streams is given away before a planned stop,
// one that is missing doesn't stop the others, and it is taken back. Not parallel: in a crowd,
// heartbeats come too late and servers elect for ever.
func TestCluster(t *testing.T) {
	cfgs := clusterOf(t, 3, "me:secret@")
	var servers []*embedded.Server
	for _, cfg := range cfgs {
		servers = append(servers, start(t, cfg))
	}
	join(t, servers...)
	if err := errors.Join(servers[0].Health(), servers[0].Quorum(), servers[0].Lost()); err != nil {
		t.Error(err)
	}

	nc, err := nats.Connect("nats://" + servers[1].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	// A leader that is new hasn't heard from every server yet, and finds no room for a replica there.
	await(t, "a stream of three replicas", func() bool {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Replicas: 3})
		return err == nil
	})
	if _, err := js.CreateConsumer(t.Context(), "S", jetstream.ConsumerConfig{Durable: "D", AckPolicy: jetstream.AckExplicitPolicy, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	byName := map[string]int{"n1": 0, "n2": 1, "n3": 2}
	first := byName[leader(t, js, "S")]
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := servers[first].StepDown(ctx); err != nil {
		t.Fatal(err)
	}
	if now := leader(t, js, "S"); now == cfgs[first].ServerName {
		t.Errorf("%s still leads", now)
	}

	// One is down: two go on, but neither may go.
	if err := servers[0].Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "a publish with two servers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := js.Publish(ctx, "s.a", nil)
		return err == nil
	})
	await(t, "a warning of the next stop", func() bool { return servers[1].Lost() != nil })
	if err := servers[1].Lost(); err == nil || !strings.Contains(err.Error(), "1 of the cluster's 3 servers are left") {
		t.Errorf("the next stop: %v", err)
	}
	servers[0] = start(t, cfgs[0])
	join(t, servers[0])
	await(t, "no warning", func() bool { return servers[1].Lost() == nil })

	// One is left: it says why nothing is stored, and is as such in order.
	for _, s := range servers[:2] {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "a lost quorum", func() bool { return servers[2].Quorum() != nil })
	if err := servers[2].Quorum(); err == nil || !strings.Contains(err.Error(), "no leader; of its other 2 servers these are connected: ") {
		t.Errorf("one server of three: %v", err)
	}
	if err := servers[2].Health(); err != nil {
		t.Error(err)
	}
	// It is not held up by a lead that nobody can take.
	if err := servers[2].StepDown(ctx); err != nil {
		t.Error(err)
	}
}

// Servers without a listener for others make a cluster all the same, and let nobody else in.
func TestClusterWithoutListen(t *testing.T) {
	cfgs := clusterOf(t, 3, "")
	var servers []*embedded.Server
	for i := range cfgs {
		cfgs[i].Listen = ""
		servers = append(servers, start(t, cfgs[i]))
	}
	join(t, servers...)
	nc, js := connect(t, servers[0])
	// A leader that is new hasn't heard from every server yet, and finds no room for a replica there.
	await(t, "a stream of three replicas", func() bool {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Replicas: 3})
		return err == nil
	})
	if a := servers[0].Addr(); a != nil {
		t.Errorf("listens on %v", a)
	}
	if found := nc.DiscoveredServers(); len(found) > 0 {
		t.Errorf("tells clients of %q", found)
	}
	conn, err := servers[1].InProcessConn()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	said := make(chan string, 1)
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		b, _ := io.ReadAll(conn) // until the server closes it
		said <- string(b)
	})
	if _, err := conn.Write([]byte("CONNECT {}\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	if text := <-said; !strings.Contains(text, "Authorization Violation") || strings.Contains(text, "PONG") {
		t.Errorf("without the password: %s", text)
	}
}

// What would lose the quorum, or streams, isn't started.
func TestFolderOfAnother(t *testing.T) {
	t.Parallel()
	cfg := clusterOf(t, 3, "")[0]
	lone := embedded.Config{DataDir: cfg.DataDir}
	refused := func(cfg embedded.Config, want string) {
		t.Helper()
		err := newServer(t, cfg).Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), cfg.DataDir) {
			t.Errorf("got %v, want %q", err, want)
		}
	}

	// A folder that was used alone, but holds nothing, may join; with streams it may not.
	s := start(t, lone)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = start(t, cfg)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused(lone, "it belongs to server n1 of cluster c: alone it would go its own way")
	renamed := cfg
	renamed.ServerName = "n9"
	refused(renamed, "it belongs to server n1: under the name n9 the cluster would count one server more")
	moved := cfg
	moved.Cluster.Name = "d"
	refused(moved, "it belongs to cluster c, not d")

	cfg.DataDir = filepath.Join(t.TempDir(), "[data]*")
	lone.DataDir = cfg.DataDir
	s = start(t, lone)
	_, js := connect(t, s)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused(cfg, "it holds the streams of a server that ran alone")
}

// Of two servers with one name the second one says so; one that is alone says who is missing.
func TestJoinAlone(t *testing.T) {
	cfgs := clusterOf(t, 3, "")
	cfgs[1].ServerName = "n1"
	first := start(t, cfgs[0])
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err := first.Join(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "of its other 2 servers these are connected: none") ||
		!strings.Contains(err.Error(), "connection refused") {
		t.Errorf("one server of three: %v", err)
	}
	second := start(t, cfgs[1])
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := second.Join(ctx); err == nil || !strings.Contains(err.Error(), "another server in it is called n1, too") {
		t.Errorf("two servers of one name: %v", err)
	}
}

func TestClusterPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := clusterOf(t, 3, "")[0]
	cfg.Cluster.Listen = l.Addr().String()
	err = newServer(t, cfg).Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
}

func TestNewReportsEveryProblemOfACluster(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cluster embedded.Cluster
		want    []string
	}{
		"two":     {embedded.Cluster{Listen: ":1", Routes: []string{"a:1", "b:1"}}, []string{"2 routes: with fewer than three", "server name: required"}},
		"none":    {embedded.Cluster{Listen: "x"}, []string{"0 routes", "listen"}},
		"listen":  {embedded.Cluster{Routes: []string{"a:1", "b:1", "c:1"}}, []string{"listen: required"}},
		"port":    {embedded.Cluster{Listen: ":0", Routes: []string{"a:1", "b:1", "c:1"}}, []string{"have to know the port"}},
		"routes":  {embedded.Cluster{Listen: ":1", Routes: []string{"a", "http://b:1", "c:1", "nats://c:1"}}, []string{"route 1: is not an address", "route 2: is not", "route 4: c:1 is given twice"}},
		"secrets": {embedded.Cluster{Listen: ":1", Routes: []string{"u:hidden@a:1", "b:1", "u:hidden@:1/%"}}, []string{"route 2: b:1 has not the user", "route 3: is not"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := embedded.New(embedded.Config{DataDir: "x", Cluster: tt.cluster})
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "hidden") {
				t.Errorf("%q tells a password", err)
			}
		})
	}
}
