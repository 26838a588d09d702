package boot

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// live is a running node whose configuration is a file that the test changes.
type live struct {
	*running
	file    string
	hangups chan os.Signal
}

// fromFile runs a node from a file of the given text about apps.
func fromFile(t *testing.T, apps string) *live {
	t.Helper()
	l := &live{file: filepath.Join(t.TempDir(), "playhead.yml"), hangups: make(chan os.Signal, 1)}
	if err := os.WriteFile(l.file, []byte(apps), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"HOST": "127.0.0.1", "PORT": "0", "METRICS_HOST": "127.0.0.1", "METRICS_PORT": "0", "SHUTDOWN_DRAIN": "none", "SHUTDOWN_GRACE": "none",
		"DATA_DIR": filepath.Join(t.TempDir(), "data"), "INSTANCE_PROCESS_ID": "node-1",
	}
	source := Source{File: l.file, Getenv: func(name string) string { return env[name] }}
	cfg, err := Load(source)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Source, cfg.Hangup = &source, l.hangups
	l.running = start(t, cfg)
	await(t, "the node up", func() bool { return l.serving.Load() })
	return l
}

// become changes the file, asks for it to be read, and waits until the log says so.
func (l *live) become(t *testing.T, apps, said string) {
	t.Helper()
	if err := os.WriteFile(l.file, []byte(apps), 0o600); err != nil {
		t.Fatal(err)
	}
	before := strings.Count(l.log.String(), said)
	l.hangups <- syscall.SIGHUP
	await(t, said, func() bool { return strings.Count(l.log.String(), said) > before })
}

// publish publishes to the channel c with a pair of credentials; the error is the server's answer.
func (l *live) publish(t *testing.T, app, key, secret string) error {
	t.Helper()
	return publish(t, Target{URL: l.url(""), AppID: app, Key: key, Secret: secret}, "d")
}

// oldest is where the log of app a begins, as its history says.
func (l *live) oldest(t *testing.T) broker.Position {
	t.Helper()
	q := pusher.Request{Method: http.MethodGet, Path: "/apps/a/channels/c/history", RawQuery: "limit=1"}
	query, err := q.Sign(broker.Credential{Key: "ka", Secret: "s"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(l.url(q.Path + "?" + query))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var page struct{ Oldest struct{ Position string } }
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		t.Fatalf("history: %s: %v", resp.Status, err)
	}
	p, err := broker.ParsePosition(page.Oldest.Position)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// joined connects with a key and subscribes to the channel c.
func (l *live) joined(t *testing.T, key string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), "ws://"+l.Addr().String()+"/app/"+key+"?protocol=7", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	if f := read(t, c); !strings.Contains(f, "pusher:connection_established") {
		t.Fatalf("first frame %s", f)
	}
	write(t, c, `{"event":"pusher:subscribe","data":{"channel":"c"}}`)
	if f := read(t, c); !strings.Contains(f, "subscription_succeeded") {
		t.Fatalf("answer %s", f)
	}
	return c
}

// code reads until a connection is closed and returns the close code.
func code(t *testing.T, c *websocket.Conn) websocket.StatusCode {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		if _, _, err := c.Read(ctx); err != nil {
			return websocket.CloseStatus(err)
		}
	}
}

const taken = "apps taken from the configuration"

// Changing the secret of an app: neither connections nor publishes suffer, and the old pair is of no
// use when it has been taken out.
func TestRotation(t *testing.T) {
	t.Parallel()
	l := fromFile(t, "apps: [{id: a, key: old, secret: s1}]")
	c := l.joined(t, "old")
	delivered := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("publish %s: %v", what, err)
			return
		}
		if f := read(t, c); !strings.Contains(f, `"event":"e"`) {
			t.Errorf("%s: %s", what, f)
		}
	}
	delivered("before", l.publish(t, "a", "old", "s1"))
	if err := l.publish(t, "a", "new", "s2"); err == nil || !strings.Contains(err.Error(), "Unknown auth_key") {
		t.Errorf("publish with the new pair, too early: %v", err)
	}
	l.become(t, "apps: [{id: a, credentials: [{key: old, secret: s1}, {key: new, secret: s2}]}]", taken)
	delivered("with the old of two", l.publish(t, "a", "old", "s1"))
	delivered("with the new of two", l.publish(t, "a", "new", "s2"))
	l.joined(t, "new")
	l.become(t, "apps: [{id: a, key: new, secret: s2}]", taken)
	delivered("with the new one", l.publish(t, "a", "new", "s2"))
	if err := l.publish(t, "a", "old", "s1"); err == nil || !strings.Contains(err.Error(), "Unknown auth_key") {
		t.Errorf("publish with the old pair, too late: %v", err)
	}
	late, _, err := websocket.Dial(t.Context(), "ws://"+l.Addr().String()+"/app/old?protocol=7", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := code(t, late); got != 4001 {
		t.Errorf("connection with the old key closed with %d, want 4001", got)
	}
}

// Apps come and go beside one that notices nothing; sessions of those that went are asked to come
// back, and are told then why they can't.
func TestAppsComeAndGo(t *testing.T) {
	t.Parallel()
	const steady = "{id: steady, key: ks, secret: s}"
	l := fromFile(t, "apps: ["+steady+", {id: gone, key: kg, secret: s}, {id: off, key: ko, secret: s}]")
	c, gone, off := l.joined(t, "ks"), l.joined(t, "kg"), l.joined(t, "ko")
	l.become(t, "apps: ["+steady+", {id: off, key: ko, secret: s, disabled: true}, {id: new, key: kn, secret: s}]", taken)
	for name, was := range map[string]*websocket.Conn{"kg": gone, "ko": off} {
		if got := code(t, was); got != 4200 {
			t.Errorf("session of %s closed with %d, want 4200", name, got)
		}
		again, _, err := websocket.Dial(t.Context(), "ws://"+l.Addr().String()+"/app/"+name+"?protocol=7", nil)
		if err != nil {
			t.Fatal(err)
		}
		want := websocket.StatusCode(4001)
		if name == "ko" {
			want = 4003
		}
		if got := code(t, again); got != want {
			t.Errorf("%s comes back and is closed with %d, want %d", name, got, want)
		}
	}
	if err := l.publish(t, "gone", "kg", "s"); err == nil || !strings.Contains(err.Error(), "Unknown app_id") {
		t.Errorf("publish to an app that is gone: %v", err)
	}
	if err := l.publish(t, "off", "ko", "s"); err == nil || !strings.Contains(err.Error(), "Application disabled") {
		t.Errorf("publish to a disabled app: %v", err)
	}
	l.joined(t, "kn")
	for path, want := range map[string]int{"/up": 200, "/up/steady": 200, "/up/new": 200, "/up/gone": 404, "/up/off": 503, "/live": 200, "/ready": 200, "/usage": 200} {
		for _, address := range []string{l.Addr().String(), l.MetricsAddr().String()} {
			if got, body := get(t, "http://"+address+path); got != want {
				t.Errorf("%s%s: %d %s, want %d", address, path, got, body, want)
			}
		}
	}

	l.become(t, "apps: [{id: steady}, {id: x", "configuration not taken")
	l.become(t, "", "configuration not taken")
	l.joined(t, "kn")
	if err := l.publish(t, "steady", "ks", "s"); err != nil {
		t.Error(err)
	}
	if f := read(t, c); !strings.Contains(f, `"event":"e"`) {
		t.Errorf("the session of the steady app: %s", f)
	}
}

// A limit that is set while the node runs holds at once.
func TestLimitsAreReloaded(t *testing.T) {
	t.Parallel()
	l := fromFile(t, "apps: [{id: a, key: k, secret: s}]")
	l.become(t, "apps: [{id: a, key: k, secret: s, limits: {read_requests_per_second: 1, data_bytes: 0x1}}]", "configuration not taken")
	l.become(t, "apps: [{id: a, key: k, secret: s, limits: {backend_events_per_second: 1}}]", taken)
	over := 0
	for range 20 { // in much less than 20 seconds
		if err := l.publish(t, "a", "k", "s"); err != nil {
			if !strings.Contains(err.Error(), "backend_events_per_second") {
				t.Fatal(err)
			}
			over++
		}
	}
	if over == 0 {
		t.Error("20 events at once at a limit of one a second")
	}
	l.become(t, "apps: [{id: a, key: k, secret: s}]", taken)
	for range 5 {
		if err := l.publish(t, "a", "k", "s"); err != nil {
			t.Error(err)
		}
	}
}

// What happens in a node is told to the endpoint in its configuration, and after a change to the new
// one.
func TestWebhooksAreWired(t *testing.T) {
	t.Parallel()
	receive := func() (url string, bodies chan string) {
		bodies = make(chan string, 100)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			bodies <- r.Header.Get("X-Pusher-Key") + " " + r.Header.Get("X-Own") + " " + string(b)
		})}
		go func() { _ = srv.Serve(listener) }()
		t.Cleanup(func() { _ = srv.Close() })
		return "http://" + listener.Addr().String(), bodies
	}
	next := func(from chan string) string {
		t.Helper()
		select {
		case b := <-from:
			return b
		case <-time.After(patience):
			t.Fatal("no webhook")
			return ""
		}
	}
	one, first := receive()
	two, second := receive()
	app := "apps: [{id: a, key: k, secret: s, webhooks: [{url: %q, headers: {X-Own: mine}, events: [channel_existence, cache_channels]}]}]"
	l := fromFile(t, fmt.Sprintf(app, one))
	c := l.joined(t, "k")
	if got := next(first); !strings.HasPrefix(got, "k mine {") || !strings.Contains(got, `[{"name":"channel_occupied","channel":"c"}]`) {
		t.Errorf("webhook %s", got)
	}
	l.become(t, fmt.Sprintf(app, two), taken)
	write(t, c, `{"event":"pusher:subscribe","data":{"channel":"cache-x"}}`)
	got := []string{next(second), next(second)}
	all := strings.Join(got, "\n")
	if !strings.Contains(all, `[{"name":"channel_occupied","channel":"cache-x"}]`) || !strings.Contains(all, `[{"name":"cache_miss","channel":"cache-x"}]`) {
		t.Errorf("webhooks\n%s", all)
	}
}

// Neither a header nor a body that never comes to its end holds a connection for long.
func TestSlowRequests(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	cfg.HTTP.ReadHeaderTimeout, cfg.HTTP.ReadTimeout = Duration(50*time.Millisecond), Duration(100*time.Millisecond)
	r := start(t, cfg)
	for _, address := range []string{r.Addr().String(), r.MetricsAddr().String()} {
		for name, tt := range map[string]struct{ sent, want string }{
			"nothing":          {"", ""},
			"half a header":    {"GET /up HTTP/1.1\r\nHost: x\r\nX-", ""},
			"half a body":      {"POST /apps/app-id/events HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345", "HTTP/1.1 4"},
			"a body for /up":   {"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", "HTTP/1.1 405"},
			"half a chunk":     {"POST /apps/app-id/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "HTTP/1.1 4"},
			"half a websocket": {"GET /app/app-key HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n", ""},
		} {
			t.Run(name+" to "+address, func(t *testing.T) {
				t.Parallel()
				c, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(c, tt.sent); err != nil {
					t.Fatal(err)
				}
				answer, err := io.ReadAll(bufio.NewReader(c))
				if err != nil && !strings.Contains(err.Error(), "reset") {
					t.Fatalf("the connection wasn't closed: %v", err)
				}
				if !strings.HasPrefix(string(answer), tt.want) {
					t.Errorf("%q, want %q", answer, tt.want)
				}
			})
		}
	}
}

// The test page signs for whoever opens it, so it is for development only.
func TestTestPage(t *testing.T) {
	t.Parallel()
	for environment, want := range map[string]int{"development": http.StatusOK, "production": http.StatusNotFound} {
		t.Run(environment, func(t *testing.T) {
			t.Parallel()
			l := fromFile(t, "environment: "+environment+"\napps: [{id: a, key: ka, secret: s}]\n")
			for _, path := range []string{"/client/", "/client/config.json"} {
				resp, err := http.Get(l.url(path))
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != want {
					t.Errorf("%s: %s, want %d", path, resp.Status, want)
				}
			}
		})
	}
}

// What an app's stream remembers changes with the configuration, and the positions stay good.
func TestRetentionOfARunningNode(t *testing.T) {
	t.Parallel()
	const app = "apps: [{id: a, key: ka, secret: s%s}]\n"
	l := fromFile(t, fmt.Sprintf(app, ""))
	for range 10 {
		if err := l.publish(t, "a", "ka", "s"); err != nil {
			t.Fatal(err)
		}
	}
	before := l.oldest(t)
	if before.Serial != 1 {
		t.Errorf("the stream begins at %d, want 1", before.Serial)
	}
	l.become(t, fmt.Sprintf(app, ", retention: {max_events: 3}"), taken)
	await(t, "the stream to begin at 8", func() bool {
		now := l.oldest(t)
		if now.Epoch != before.Epoch {
			t.Fatalf("epoch %s became %s", before.Epoch, now.Epoch)
		}
		return now.Serial == 8
	})
}
