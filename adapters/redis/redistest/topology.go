package redistest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Single starts a server; args are added to its command line.
func Single(t testing.TB, args ...string) *Server {
	t.Helper()
	s, err := newSingle(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

func newSingle(dir string, args ...string) (*Server, error) {
	s, err := newServer(dir, args...)
	if err != nil {
		return nil, err
	}
	return s, s.start()
}

// FreeAddr returns an address at which nobody listens.
func FreeAddr(t testing.TB) string {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// Watched is a master with a replica, and three Sentinels that watch them.
type Watched struct {
	Name      string // of the master
	Servers   []*Server
	Sentinels []*Server
}

// Sentinel starts a master, a replica and three Sentinels, and returns when these know all.
func Sentinel(t testing.TB, args ...string) *Watched {
	t.Helper()
	w := &Watched{Name: "mymaster"}
	dir := t.TempDir()
	add := func(list *[]*Server, sentinel bool, args ...string) *Server {
		s, err := newServer(dir, args...)
		if err != nil {
			t.Fatal(err)
		}
		s.sentinel = sentinel
		t.Cleanup(s.Kill)
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
		*list = append(*list, s)
		return s
	}
	master := add(&w.Servers, false, args...)
	add(&w.Servers, false, append([]string{"--replicaof", "127.0.0.1 " + strconv.Itoa(master.port)}, args...)...)
	wait(t, "the replica is there", func() error { return has(master, "connected_slaves:1", "INFO", "replication") })
	for i := range 3 {
		conf := filepath.Join(dir, fmt.Sprintf("sentinel%d.conf", i))
		text := fmt.Sprintf("sentinel monitor %[1]s 127.0.0.1 %[2]d 2\nsentinel down-after-milliseconds %[1]s 1000\nsentinel failover-timeout %[1]s 5000\n", w.Name, master.port)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		add(&w.Sentinels, true, conf)
	}
	wait(t, "the Sentinels know each other", func() error {
		for _, s := range w.Sentinels {
			for _, known := range []string{"num-other-sentinels\n2", "num-slaves\n1"} {
				if err := has(s, known, "SENTINEL", "MASTER", w.Name); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return w
}

// Addrs are those of the Sentinels.
func (w *Watched) Addrs() []string { return addrs(w.Sentinels) }

// Master returns the present master.
func (w *Watched) Master() *Server {
	for _, s := range w.Servers {
		if has(s, "role:master", "INFO", "replication") == nil {
			return s
		}
	}
	return nil
}

// Nodes is a cluster: three masters and a replica of each.
type Nodes struct {
	Servers []*Server
}

// Cluster starts six servers and makes a cluster of them, as the guide does, and returns when all of
// them know it and every replica follows its master.
func Cluster(t testing.TB, args ...string) *Nodes {
	t.Helper()
	c, err := newCluster(t.TempDir(), args...)
	t.Cleanup(c.kill)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newCluster(dir string, args ...string) (*Nodes, error) {
	c := &Nodes{}
	for range 6 {
		bus, err := freePort()
		if err != nil {
			return c, err
		}
		s, err := newServer(dir, append([]string{
			"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus), "--cluster-node-timeout", "1500",
		}, args...)...)
		if err != nil {
			return c, err
		}
		c.Servers = append(c.Servers, s)
		if err := s.start(); err != nil {
			return c, err
		}
	}
	create := append([]string{"--cluster", "create"}, c.Addrs()...)
	if _, err := cli(append(create, "--cluster-replicas", "1", "--cluster-yes")...); err != nil {
		return c, err
	}
	return c, eventually("the cluster stands", func() error { return c.stands(len(c.Servers)) })
}

// stands checks that all servers that run agree on a whole cluster of at least n nodes.
func (c *Nodes) stands(n int) error {
	for _, s := range c.Servers {
		if !s.runs() {
			continue
		}
		if err := has(s, "cluster_state:ok", "CLUSTER", "INFO"); err != nil {
			return err
		}
		if err := has(s, "cluster_known_nodes:"+strconv.Itoa(n), "CLUSTER", "INFO"); err != nil {
			return err
		}
		if has(s, "role:slave", "INFO", "replication") == nil {
			if err := has(s, "master_link_status:up", "INFO", "replication"); err != nil {
				return err
			}
		}
	}
	return nil
}

// Addrs are those of all nodes.
func (c *Nodes) Addrs() []string { return addrs(c.Servers) }

// At returns the node at an address.
func (c *Nodes) At(addr string) *Server {
	for _, s := range c.Servers {
		if s.Addr == addr {
			return s
		}
	}
	return nil
}

// Master returns the node that has a key, as those that run see it.
func (c *Nodes) Master(key string) *Server {
	for _, s := range c.Servers {
		if !s.runs() || has(s, "role:master", "INFO", "replication") != nil {
			continue
		}
		if _, err := s.Do("EXISTS", key); err == nil {
			return s
		}
	}
	return nil
}

// Replica returns a replica of a master; nil when it has none.
func (c *Nodes) Replica(master *Server) *Server {
	for _, s := range c.Servers {
		if s.runs() && has(s, "master_port:"+strconv.Itoa(master.port)+"\r", "INFO", "replication") == nil {
			return s
		}
	}
	return nil
}

func (c *Nodes) kill() {
	for _, s := range c.Servers {
		s.Kill()
	}
}

func (s *Server) runs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd != nil
}

func addrs(servers []*Server) []string {
	var all []string
	for _, s := range servers {
		all = append(all, s.Addr)
	}
	return all
}

// has checks that what a server answers contains a text.
func has(s *Server, text string, args ...string) error {
	out, err := s.Do(args...)
	if err != nil {
		return err
	}
	if !strings.Contains(out, text) {
		return fmt.Errorf("%s says no %s: %s", net.JoinHostPort("", strconv.Itoa(s.port)), text, out)
	}
	return nil
}

func wait(t testing.TB, what string, holds func() error) {
	t.Helper()
	if err := eventually(what, holds); err != nil {
		t.Fatal(err)
	}
}

// shared are the servers of the whole test binary.
type shared struct {
	single  func() (*Server, error)
	cluster func() (*Nodes, error)
}

var binary *shared // set by Main

// Main runs the tests of a binary in which servers are shared, and returns its exit code.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "redistest")
	must(err)
	defer os.RemoveAll(dir)
	var single *Server
	cluster := &Nodes{}
	defer func() {
		if single != nil {
			single.Kill()
		}
		cluster.kill()
	}()
	binary = &shared{
		single: sync.OnceValues(func() (*Server, error) {
			var err error
			single, err = newSingle(dir)
			return single, err
		}),
		cluster: sync.OnceValues(func() (*Nodes, error) {
			var err error
			cluster, err = newCluster(dir)
			return cluster, err
		}),
	}
	return m.Run()
}

// SharedSingle returns the one server of the test binary, which nobody may disturb.
func SharedSingle(t testing.TB) *Server {
	t.Helper()
	if binary == nil {
		t.Fatal("the test binary's TestMain doesn't call redistest.Main")
	}
	s, err := binary.single()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// SharedCluster returns the one cluster of the test binary, which nobody may disturb.
func SharedCluster(t testing.TB) *Nodes {
	t.Helper()
	if binary == nil {
		t.Fatal("the test binary's TestMain doesn't call redistest.Main")
	}
	c, err := binary.cluster()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
