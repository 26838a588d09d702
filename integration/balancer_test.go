package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/csv"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// balancer is nginx or HAProxy in front of nodes, run with the very files of deploy but for addresses.
type balancer struct {
	tb    testing.TB
	port  int // plain
	tls   int
	stats string // HAProxy's socket
	out   *output
}

// edit is what a test changes in a file of deploy; each text must be there.
type edit [2]string

// configure writes a file of deploy with the addresses of this test in it.
func (b *balancer) configure(file string, nodes []*node, edits ...edit) string {
	b.tb.Helper()
	text, err := os.ReadFile(filepath.Join("..", "deploy", file))
	if err != nil {
		b.tb.Fatal(err)
	}
	dir := b.tb.TempDir()
	for i, n := range nodes {
		edits = append(edits, edit{fmt.Sprintf("node%d:6001", i+1), n.addr()})
	}
	config := string(text)
	for _, e := range edits {
		if !strings.Contains(config, e[0]) {
			b.tb.Fatalf("%s has no %q any more", file, e[0])
		}
		config = strings.ReplaceAll(config, e[0], e[1])
	}
	path := filepath.Join(dir, filepath.Base(file))
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		b.tb.Fatal(err)
	}
	return path
}

// run starts the balancer and waits until it serves.
func (b *balancer) run(name string, args ...string) {
	b.tb.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = b.out, b.out
	dieWithTest(cmd)
	if err := cmd.Start(); err != nil {
		b.tb.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(exited)
	}()
	b.tb.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-exited:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-exited
		}
		if b.tb.Failed() {
			b.tb.Logf("%s:\n%s", name, b.out)
		}
	})
	await(b.tb, name+" serves", func() bool { return b.node().up() == http.StatusOK })
}

// node is the balancer as clients see it: as a node.
func (b *balancer) node() *node { return &node{tb: b.tb, cfg: nodeConfig{Port: b.port}} }

// certificate makes one for 127.0.0.1, and returns its file, its key's and that of both.
func certificate(tb testing.TB) (cert, key, both string, roots *x509.CertPool) {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		tb.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	hidden := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
	dir := tb.TempDir()
	cert, key, both = filepath.Join(dir, "crt"), filepath.Join(dir, "key"), filepath.Join(dir, "pem")
	for file, text := range map[string][]byte{cert: public, key: hidden, both: append(public, hidden...)} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(public)
	return cert, key, both, roots
}

// haproxy starts HAProxy with one of its back ends.
func haproxy(tb testing.TB, nodes []*node, backend, pem string) *balancer {
	tb.Helper()
	b := &balancer{tb: tb, port: freePort(tb), tls: freePort(tb), out: &output{}}
	// The path of a Unix socket is short.
	dir, err := os.MkdirTemp("", "haproxy")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	b.stats = filepath.Join(dir, "sock")
	file := b.configure("haproxy/haproxy.cfg", nodes,
		edit{"bind :80", fmt.Sprintf("bind 127.0.0.1:%d", b.port)},
		edit{"# bind :443 ssl crt /etc/haproxy/certs/realtime.pem", fmt.Sprintf("bind 127.0.0.1:%d ssl crt %s", b.tls, pem)},
		edit{"/var/run/haproxy.sock", b.stats},
		edit{"maxconn 100000", "maxconn 4000"}, // the descriptors of whoever runs tests
		edit{"default_backend playhead", "default_backend " + backend},
	)
	if output, err := exec.Command("haproxy", "-c", "-f", file).CombinedOutput(); err != nil || strings.Contains(string(output), "WARNING") {
		tb.Errorf("haproxy -c: %v\n%s", err, output)
	}
	b.run("haproxy", "-db", "-f", file)
	return b
}

// nginx starts nginx; edits change how it chooses a node.
func nginx(tb testing.TB, nodes []*node, cert, key string, edits ...edit) *balancer {
	tb.Helper()
	b := &balancer{tb: tb, port: freePort(tb), tls: freePort(tb), out: &output{}}
	file := b.configure("nginx/nginx.conf", nodes, append(edits,
		edit{"listen 80;", fmt.Sprintf("listen 127.0.0.1:%d;", b.port)},
		edit{"# listen 443 ssl;", fmt.Sprintf("listen 127.0.0.1:%d ssl;", b.tls)},
		edit{"# ssl_certificate     /etc/nginx/certs/realtime.crt", "ssl_certificate " + cert},
		edit{"# ssl_certificate_key /etc/nginx/certs/realtime.key", "ssl_certificate_key " + key},
		edit{"worker_rlimit_nofile 200000;", ""},
		edit{"worker_connections 65536;", "worker_connections 4096;"},
	)...)
	args := []string{"-c", file, "-p", filepath.Dir(file), "-e", "stderr", "-g", "daemon off; pid " + filepath.Join(filepath.Dir(file), "pid") + ";"}
	if output, err := exec.Command("nginx", append(args, "-t", "-q")...).CombinedOutput(); err != nil || len(output) > 0 {
		tb.Errorf("nginx -t: %v\n%s", err, output)
	}
	b.run("nginx", args...)
	return b
}

// states are what HAProxy thinks of its servers, by name, in the back end named playhead.
func (b *balancer) states() map[string]string {
	b.tb.Helper()
	conn, err := net.Dial("unix", b.stats)
	if err != nil {
		b.tb.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "show stat\n"); err != nil {
		b.tb.Fatal(err)
	}
	r := csv.NewReader(conn)
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil || len(rows) == 0 {
		b.tb.Fatalf("HAProxy's statistics: %v", err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	states := map[string]string{}
	for _, row := range rows[1:] {
		if len(row) > column["status"] && row[0] == "playhead" && strings.HasPrefix(row[column["svname"]], "node") {
			states[row[column["svname"]]] = row[column["status"]]
		}
	}
	return states
}

// balanced are nodes for a balancer to stand before.
func balanced(t *testing.T, env ...string) []*node {
	t.Helper()
	return startNodes(t, 3, nodeConfig{Env: append([]string{
		"SHUTDOWN_GRACE=3s", "SHUTDOWN_DRAIN=1s", "WEBSOCKET_ACTIVITY_TIMEOUT=1s", "HTTP_TRUSTED_PROXIES=127.0.0.0/8",
	}, env...)})
}

// TestBalancers: pusher-js, Pusher's HTTP library and WebSockets over TLS through nginx and HAProxy, with
// every way of choosing a node that the files of deploy have.
func TestBalancers(t *testing.T) {
	nodes := balanced(t)
	cert, key, both, roots := certificate(t)
	for name, start := range map[string]func(testing.TB) *balancer{
		"haproxy":        func(tb testing.TB) *balancer { return haproxy(tb, nodes, "playhead", both) },
		"haproxy cookie": func(tb testing.TB) *balancer { return haproxy(tb, nodes, "playhead_cookie", both) },
		"haproxy source": func(tb testing.TB) *balancer { return haproxy(tb, nodes, "playhead_source", both) },
		"nginx":          func(tb testing.TB) *balancer { return nginx(tb, nodes, cert, key) },
		"nginx ip_hash": func(tb testing.TB) *balancer {
			return nginx(tb, nodes, cert, key, edit{"least_conn;", "ip_hash;"})
		},
		"nginx round robin": func(tb testing.TB) *balancer {
			return nginx(tb, nodes, cert, key, edit{"least_conn;", ""})
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			throughTLS(t, b, roots)
			if strings.Contains(name, "cookie") {
				sticky(t, b)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := javascript(ctx, t, b.node(), "--test", "--test-timeout=60000", "channels.test.js", "http.test.js")
			// Several ports have the tests know that there are several nodes, who tell each other.
			cmd.Env = append(cmd.Env, fmt.Sprintf("PLAYHEAD_PORTS=%d,%d", b.port, b.port))
			output, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}

// throughTLS subscribes over wss, publishes over https and hears it.
func throughTLS(t *testing.T, b *balancer, roots *x509.CertPool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	host := fmt.Sprintf("127.0.0.1:%d", b.tls)
	c, err := dialURL(ctx, "wss://"+host+"/app/"+appKey+"?protocol=7&client=test&version=1.0.0", transport)
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.CloseNow()
	if err := c.subscribe(ctx, "news", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.read(ctx); err != nil {
		t.Fatal(err)
	}
	p := b.node().publisher()
	p.url, p.client = "https://"+host, &http.Client{Transport: transport}
	p.mustPublish(t, "news", "headline", "through TLS")
	if f, err := c.read(ctx); err != nil || f.text() != "through TLS" {
		t.Errorf("heard %+v, %v", f, err)
	}
}

// sticky: whoever brings the cookie meets the same node again.
func sticky(t *testing.T, b *balancer) {
	t.Helper()
	var first string
	for range 6 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.node().url("/up"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if first != "" {
			req.AddCookie(&http.Cookie{Name: "PLAYHEAD_NODE", Value: first})
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		switch cookies := resp.Cookies(); {
		case first == "" && len(cookies) == 1:
			first = cookies[0].Value
		case first == "" || len(cookies) > 0:
			t.Fatalf("cookies %v after %q: another node, or none told", cookies, first)
		}
	}
}

// TestRollingRestart: all nodes are restarted one after the other behind HAProxy, under load. Publishers
// never try again and never see an error, and clients that keep their place miss nothing.
func TestRollingRestart(t *testing.T) {
	nodes := balanced(t)
	_, _, both, _ := certificate(t)
	b := haproxy(t, nodes, "playhead", both)
	const publishers, followers = 4, 12
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()

	var following, publishing sync.WaitGroup
	var ready atomic.Int32
	var crowd []*follower
	for i := range followers {
		f := follow(b.node(), "last", fmt.Sprint("news-", i%publishers))
		crowd = append(crowd, f)
		following.Go(func() {
			if err := f.run(ctx, func() { ready.Add(1) }); err != nil {
				t.Error(err)
			}
		})
	}
	await(t, "all subscribed", func() bool { return ready.Load() == followers || t.Failed() })
	var over atomic.Bool
	stored := make([][]string, publishers)
	for i := range publishers {
		p, channel := b.node().publisher(), fmt.Sprint("news-", i)
		publishing.Go(func() {
			for n := 0; !over.Load() && ctx.Err() == nil; n++ {
				data := fmt.Sprint(channel, " ", n)
				if err := p.publishStored(ctx, channel, "headline", data); err != nil {
					t.Errorf("a publish that would have to be tried again: %v", err)
				}
				stored[i] = append(stored[i], data)
			}
			p.mustPublish(t, channel, "last", "")
		})
	}
	for i, n := range nodes {
		name := fmt.Sprint("node", i+1)
		n.signal(os.Interrupt)
		await(t, name+" out of rotation", func() bool { return strings.HasPrefix(b.states()[name], "DOWN") })
		if code := n.wait(); code != 0 {
			t.Fatalf("%s ended with exit code %d\n%s", name, code, n.out)
		}
		n.start()
		await(t, name+" in rotation again", func() bool { return b.states()[name] == "UP" })
	}
	over.Store(true)
	publishing.Wait()
	following.Wait()
	total, resumed := 0, 0
	for i, f := range crowd {
		tr := f.track[fmt.Sprint("news-", i%publishers)]
		var heard []string
		for _, e := range tr.events {
			if e.Name == "headline" {
				heard = append(heard, e.Data)
			}
		}
		if diff := cmp.Diff(stored[i%publishers], heard); diff != "" {
			t.Errorf("follower %d (-stored +heard):\n%s", i, diff)
		}
		total, resumed = total+len(heard), resumed+tr.resumed
	}
	if resumed < followers {
		t.Errorf("%d resumes of %d followers: nobody had to come back", resumed, followers)
	}
	t.Logf("%d events heard, %d resumes", total, resumed)
}

// TestKilledNodeOutOfRotation: a crash is noticed by HAProxy's checks, and nobody is sent there.
func TestKilledNodeOutOfRotation(t *testing.T) {
	nodes := balanced(t, "ADAPTER_CLUSTER_HEALTH_HEARTBEAT_INTERVAL_MS=500", "ADAPTER_CLUSTER_HEALTH_NODE_TIMEOUT_MS=2000", "ADAPTER_CLUSTER_HEALTH_CLEANUP_INTERVAL_MS=500")
	_, _, both, _ := certificate(t)
	b := haproxy(t, nodes, "playhead", both)
	await(t, "all in rotation", func() bool {
		return cmp.Equal(b.states(), map[string]string{"node1": "UP", "node2": "UP", "node3": "UP"})
	})
	nodes[1].kill()
	await(t, "it is out of rotation", func() bool { return strings.HasPrefix(b.states()["node2"], "DOWN") })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 9 {
		c, err := dial(ctx, b.node(), false)
		if err != nil {
			t.Fatal(err)
		}
		c.conn.CloseNow()
		b.node().publisher().mustPublish(t, "news", "headline", "x")
	}
}
