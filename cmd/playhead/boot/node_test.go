package boot

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// patience bounds waits for conditions; it only passes when a test has failed.
const patience = 30 * time.Second

// logged is a log that tests look into. It is safe for concurrent use.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// steps lists the steps of the teardown in the order they were taken.
func (l *logged) steps() []string {
	var steps []string
	for line := range strings.Lines(l.String()) {
		var record struct{ Msg, Step string }
		if json.Unmarshal([]byte(line), &record) == nil && record.Msg == "step of teardown" {
			steps = append(steps, record.Step)
		}
	}
	return steps
}

// running is a node under test.
type running struct {
	*Node
	log  *logged
	out  *logged
	stop context.CancelFunc
	end  chan error // takes what Run returned
}

// local is a configuration for a node of a test's own.
func local(t *testing.T) Config {
	t.Helper()
	return Config{
		Host: "127.0.0.1", Port: AnyPort, DataDir: filepath.Join(t.TempDir(), "data"), Node: "node-1",
		Metrics:  MetricsConfig{Host: "127.0.0.1", Port: AnyPort},
		Shutdown: ShutdownConfig{Drain: None, Grace: None},
	}
}

// start runs a node and stops it when the test ends.
func start(t *testing.T, cfg Config) *running {
	t.Helper()
	r := &running{log: &logged{}, out: &logged{}, end: make(chan error, 1)}
	cfg.Logger = slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.Output = r.out
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Node = n
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	var run sync.WaitGroup
	run.Go(func() { r.end <- n.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		run.Wait()
		if t.Failed() {
			t.Logf("log of the node:\n%s", r.log)
		}
	})
	return r
}

// ended waits for Run to return.
func (r *running) ended(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.end:
		return err
	case <-time.After(patience):
		t.Fatal("the node did not end")
		return nil
	}
}

func (r *running) url(path string) string { return "http://" + r.Addr().String() + path }

// connect opens a WebSocket and reads the first frame.
func (r *running) connect(t *testing.T) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+r.Addr().String()+"/app/app-key?protocol=7", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	if f := read(t, c); !strings.Contains(f, "pusher:connection_established") {
		t.Fatalf("first frame %s", f)
	}
	return c
}

func read(t *testing.T, c *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, b, err := c.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, c *websocket.Conn, frame string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
		t.Fatal(err)
	}
}

// get asks for a page and returns status and body.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// await waits until a condition holds.
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

// steps is the teardown, in order.
var steps = []string{
	"not ready", "configuration", "close sessions", "stop accepting", "HTTP server", "doors", "presence", "webhooks", "node",
	"streams",
	"NATS drain: read", "NATS drain: tail", "NATS drain: publish", "mending", "embedded server",
	"stop metrics", "metrics server", "garbage collector", "ports",
}

// An event goes all the way, and the end comes in order.
func TestNode(t *testing.T) {
	t.Parallel()
	r := start(t, local(t))
	c := r.connect(t)
	write(t, c, `{"event":"pusher:subscribe","data":{"channel":"c"}}`)
	if f := read(t, c); !strings.Contains(f, "subscription_succeeded") {
		t.Fatalf("answer %s", f)
	}
	err := publish(t, Target{URL: r.url("")}, `{"hello":"wörld"}`)
	if err != nil {
		t.Fatal(err)
	}
	if f, want := read(t, c), `{"event":"e","channel":"c","data":"{\"hello\":\"wörld\"}"}`; f != want {
		t.Errorf("event %s, want %s", f, want)
	}

	if status, body := get(t, r.url("/up")); status != http.StatusOK || body != "OK" {
		t.Errorf("/up: %d %q", status, body)
	}
	if status, _ := get(t, r.url("/nothing")); status != http.StatusNotFound {
		t.Errorf("/nothing: %d", status)
	}
	status, text := get(t, "http://"+r.MetricsAddr().String()+"/metrics")
	for _, name := range []string{"go_goroutines ", "process_open_fds ", "playhead_publishes_total{", "playhead_deliveries_total "} {
		if status != http.StatusOK || !strings.Contains(text, "\n"+name) {
			t.Errorf("/metrics: %d without %s", status, name)
		}
	}

	r.stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for err == nil { // a pusher:error frame may come first
		_, _, err = c.Read(ctx)
	}
	if code := websocket.CloseStatus(err); code != 4100 {
		t.Errorf("session closed with %d, %v; want 4100, which asks it to come back after a second", code, err)
	}
	if err := r.ended(t); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(steps, r.log.steps()); diff != "" {
		t.Errorf("steps of the teardown (-want +got):\n%s", diff)
	}
}

// While the node goes down it says so, a request under way is finished, and a new one refused.
func TestNodeFinishesRequests(t *testing.T) {
	t.Parallel()
	r := start(t, local(t))
	body := []byte(`{"name":"e","channel":"c","data":"d"}`)
	signed := pusher.Request{Method: http.MethodPost, Path: "/apps/app-id/events", Body: body}
	query, err := signed.Sign(broker.Credential{Key: "app-key", Secret: "app-secret"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	half := len(body) / 2
	fmt.Fprintf(conn, "POST /apps/app-id/events?%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", query, len(body))
	answer := bufio.NewReader(conn)
	// The node asks for the body: the request is under way.
	if line, err := answer.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := answer.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(body[:half]); err != nil {
		t.Fatal(err)
	}

	r.stop()
	await(t, "503 from /up", func() bool {
		status, _ := get(t, "http://"+r.MetricsAddr().String()+"/up")
		return status == http.StatusServiceUnavailable
	})
	await(t, "the port closed", func() bool {
		c, err := net.Dial("tcp", r.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if _, err := conn.Write(body[half:]); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(answer, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("the request under way was answered %s", res.Status)
	}
	if err := r.ended(t); err != nil {
		t.Error(err)
	}
}

// What a node kept is there when the next one starts on its folder, and it has the same ports.
func TestNodeAgain(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	cfg.Sync.Mode = "interval"
	first := start(t, cfg)
	if err := publish(t, Target{URL: first.url("")}, "1"); err != nil {
		t.Fatal(err)
	}
	c := first.connect(t)
	write(t, c, `{"event":"pusher:subscribe","data":{"channel":"c","resume":{"position":"x"}}}`)
	var answer struct{ Position string }
	if err := json.Unmarshal([]byte(read(t, c)), &answer); err != nil || answer.Position == "" {
		t.Fatalf("no position: %v", err)
	}
	if err := publish(t, Target{URL: first.url("")}, "2"); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseNow() // it would be waited for otherwise
	first.stop()
	if err := first.ended(t); err != nil {
		t.Fatal(err)
	}

	cfg.Port = Port(first.Addr().(*net.TCPAddr).Port)
	second := start(t, cfg)
	c = second.connect(t)
	write(t, c, `{"event":"pusher:subscribe","data":{"channel":"c","resume":{"position":"`+answer.Position+`"}}}`)
	if f := read(t, c); !strings.Contains(f, `"resume":{"recovered":true,"count":1}`) {
		t.Errorf("answer %s", f)
	}
	if f := read(t, c); !strings.Contains(f, `"data":"2"`) {
		t.Errorf("replayed %s", f)
	}
}

func TestNodeStartMessage(t *testing.T) {
	t.Parallel()
	r := start(t, local(t))
	await(t, "start message", func() bool { return strings.Contains(r.out.String(), "Ctrl-C") })
	text := r.out.String()
	for _, part := range []string{
		"ws://" + r.Addr().String() + "/app/app-key",
		"http://" + r.MetricsAddr().String() + "/metrics",
		"http://" + r.Addr().String() + "/apps/app-id",
		r.cfg.DataDir,
		"survives a power cut",
		"the last 24h or 1GiB",
		"node-1",
		"publish --url http://" + r.Addr().String(),
		"\n  curl ",
		"FOR DEVELOPMENT",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in:\n%s", part, text)
		}
	}
	if !strings.Contains(r.log.String(), `"level":"WARN","msg":"the default app's credentials`) {
		t.Error("the log doesn't warn of the default credentials")
	}
}

func TestStartMessageWords(t *testing.T) {
	t.Parallel()
	cfg := Config{
		Sync:    SyncConfig{Mode: "interval", Interval: Duration(2 * time.Second)},
		Streams: StreamsConfig{MaxAge: None, MaxBytes: None, MaxEvents: None},
		Apps:    []AppConfig{{ID: "1", Key: "k", Secret: "s"}, {ID: "2", Key: "l", Secret: "s"}},
	}
	cfg.fill()
	cfg.Streams.MaxAge, cfg.Streams.MaxBytes, cfg.Streams.MaxEvents = None, None, None
	var out strings.Builder
	m := started{cfg: &cfg, clients: "10.0.0.1:80", now: time.Now()}
	if err := m.write(&out); err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]bool{
		"a power cut may take up to the last 2s":   true,
		"everything, as long as the disk has room": true,
		"/app/k   (and 1 more)":                    true,
		"metrics":                                  false,
		"FOR DEVELOPMENT":                          false,
		"curl":                                     false,
	} {
		if strings.Contains(out.String(), part) != want {
			t.Errorf("%q: want %v in:\n%s", part, want, out.String())
		}
	}
}

// A part that fails takes the node down, in order, with an error that names it.
func TestNodePartFails(t *testing.T) {
	t.Parallel()
	r := start(t, local(t))
	await(t, "the node up", func() bool { return r.serving.Load() })
	if err := r.doors.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.ended(t); err == nil || !strings.HasPrefix(err.Error(), "HTTP server: accept ") {
		t.Errorf("ended with %v", err)
	}
	if diff := cmp.Diff(steps, r.log.steps()); diff != "" {
		t.Errorf("steps of the teardown (-want +got):\n%s", diff)
	}
}

func TestNewProblems(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // not defer: the subtests run after this function
	port := Port(taken.Addr().(*net.TCPAddr).Port)
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"port in use":         {func(c *Config) { c.Port = port }, fmt.Sprintf("port %d is in use on 127.0.0.1: end the process that has it, or choose another with port, PORT or --port", port)},
		"metrics port in use": {func(c *Config) { c.Metrics.Port = port }, fmt.Sprintf("metrics: port %d is in use on 127.0.0.1: end the process that has it, or choose another with metrics.port or METRICS_PORT", port)},
		"foreign host":        {func(c *Config) { c.Host = "192.0.2.1" }, "192.0.2.1 is no address of this machine: choose another host (0.0.0.0 is all of them)"},
		"bad setting":         {func(c *Config) { c.Adapter.Driver = "kafka" }, `configuration: adapter.driver: unknown value "kafka"; known: nats, redis, redis-cluster`},
		"negative":            {func(c *Config) { c.Replay.MaxBytes = -5 }, `configuration: replay.max_bytes: -5 is negative`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := local(t)
			tt.change(&cfg)
			_, err := New(cfg)
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

// What is wrong with the data folder is said, the ports are free again, and what was started
// before is taken down.
func TestNodeDataFolder(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	used := start(t, local(t))
	await(t, "the first node up", func() bool { return used.serving.Load() })
	for name, tt := range map[string]struct{ dir, want string }{
		"in use":     {used.cfg.DataDir, "another playhead process is using it"},
		"a file":     {file, "not a directory"},
		"below one":  {filepath.Join(file, "data"), "not a directory"},
		"not to be":  {"/proc/self/data", "no such file or directory"},
		"not for us": {"/sys/playhead", "operation not permitted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.HasPrefix(tt.dir, "/sys") && os.Getuid() != 0 {
				tt.want = "permission denied"
			}
			cfg := local(t)
			cfg.DataDir = tt.dir
			r := start(t, cfg)
			err := r.ended(t)
			if err == nil || !strings.Contains(err.Error(), "data folder "+tt.dir) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			l, err := net.Listen("tcp", r.Addr().String())
			if err != nil {
				t.Fatalf("the port is still taken: %v", err)
			}
			l.Close()
		})
	}
}

// on calls a function when a line that has a text is logged.
type on struct {
	text string
	call func()
}

func (o on) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(o.text)) {
		o.call()
	}
	return len(p), nil
}

// A node that is told to end before it is up ends well, wherever it was.
func TestNodeStoppedEarly(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"first":           "descriptor limit",
		"server starting": "Starting JetStream",
		"server ready":    "Server is ready",
		"up":              "serving",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			reached := make(chan struct{})
			cfg := local(t)
			cfg.Logger = slog.New(slog.NewTextHandler(on{text, sync.OnceFunc(func() {
				close(reached)
				cancel()
			})}, &slog.HandlerOptions{Level: slog.LevelDebug}))
			n, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Run(ctx); err != nil {
				t.Error(err)
			}
			select {
			case <-reached:
			default:
				t.Errorf("%q was never logged", text)
			}
			start(t, cfg).connect(t) // nothing holds the folder any more
		})
	}
}

func TestHostName(t *testing.T) {
	t.Parallel()
	if name := hostName(); !nodeForm.MatchString(name) {
		t.Errorf("%q", name)
	}
}
