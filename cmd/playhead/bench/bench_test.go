package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/playhead/playhead/cmd/playhead/boot"
)

// serve runs a node until the test ends.
func serve(t *testing.T) string {
	t.Helper()
	n, err := boot.New(boot.Config{
		Host: "127.0.0.1", Port: boot.AnyPort, DataDir: filepath.Join(t.TempDir(), "data"), Node: "node-1",
		Sync:     boot.SyncConfig{Mode: "interval"},
		Metrics:  boot.MetricsConfig{Host: "127.0.0.1", Port: boot.AnyPort},
		Shutdown: boot.ShutdownConfig{Drain: boot.None},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		run.Wait()
	})
	return "http://" + n.Addr().String()
}

// bench runs one and returns what it printed, as JSON.
func bench(t *testing.T, cfg Config) (r Result, err error) {
	t.Helper()
	cfg.AppID, cfg.Key, cfg.Secret = "app-id", "app-key", "app-secret"
	var out bytes.Buffer
	cfg.Output, cfg.JSON = &out, "-"
	if cfg.Seconds == 0 {
		cfg.Seconds = 0.7
	}
	cfg.Warmup = 0.1
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = b.Run(t.Context())
	if out.Len() > 0 {
		if e := json.Unmarshal(out.Bytes(), &r); e != nil {
			t.Fatalf("%v: %s", e, out.String())
		}
	}
	return r, err
}

// Every scenario does its work on a node, and finds nothing wrong with it.
func TestScenarios(t *testing.T) {
	t.Parallel()
	at := serve(t)
	for _, c := range []struct {
		cfg  Config
		want func(r Result) bool
	}{
		{Config{Scenario: Connect, Channels: 3, Subscribers: 5}, func(r Result) bool {
			return r.Connections == 15 && r.Connect.Count == 15 && r.Subscribe.Count == 15 && r.Delivered == 15
		}},
		{Config{Scenario: Connect, Channels: 1, Subscribers: 5, DialRate: 100}, func(r Result) bool { return r.OpenSeconds >= 0.04 }},
		{Config{Scenario: Fanout, Channels: 2, Subscribers: 5, Rate: 200}, func(r Result) bool {
			return r.Published == 160 && r.Delivered == 800 && r.Delivery.Count > 500 && r.Generator.Lag != nil
		}},
		{Config{Scenario: Fanout, Subscribers: 10, Rate: None}, func(r Result) bool { return r.Delivered == 10*r.Published && r.Published > 50 }},
		{Config{Scenario: Publish, Publishers: 3, Channels: 2, Batch: 5}, func(r Result) bool {
			return r.Published%5 == 0 && r.Delivered == r.Published && r.Publish.Count > 5
		}},
		{Config{Scenario: Reconnect, Channels: 2, Subscribers: 5, Turns: 30, Rate: 200}, func(r Result) bool {
			return r.Delivered == 5*r.Published && r.Return.Count > 5 && r.Gaps == 0
		}},
		{Config{Scenario: Churn, Channels: 2, Subscribers: 5, Turns: 30, Rate: 200}, func(r Result) bool {
			return r.Visits > 10 && r.Delivered > 5*r.Published
		}},
	} {
		t.Run(c.cfg.Scenario, func(t *testing.T) {
			t.Parallel()
			c.cfg.URL = at
			r, err := bench(t, c.cfg)
			if err != nil || r.Faults != (Faults{}) || r.Refused > 0 || !c.want(r) {
				t.Errorf("%v: %s", err, r.Table())
			}
		})
	}
}

// proxy stands before a server and treats the events that go to its first subscriber as it likes. The
// other one says which: n counts from 1.
func proxy(t *testing.T, at string, treat func(n int, frame []byte) [][]byte) string {
	t.Helper()
	to, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	plain := httputil.NewSingleHostReverseProxy(to)
	var first sync.Once
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/app/") {
			plain.ServeHTTP(w, r)
			return
		}
		down, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer down.CloseNow()
		up, _, err := websocket.Dial(r.Context(), at+r.URL.RequestURI(), nil)
		if err != nil {
			return
		}
		defer up.CloseNow()
		treats := false
		first.Do(func() { treats = true })
		var back sync.WaitGroup
		defer back.Wait()
		defer up.CloseNow()
		back.Go(func() {
			defer up.CloseNow()
			for {
				kind, b, err := down.Read(context.Background())
				if err != nil || up.Write(context.Background(), kind, b) != nil {
					return
				}
			}
		})
		defer down.CloseNow()
		for n := 0; ; {
			kind, b, err := up.Read(context.Background())
			if err != nil {
				return
			}
			all := [][]byte{b}
			if treats && bytes.Contains(b, []byte(mark)) {
				n++
				all = treat(n, b)
			}
			if all == nil {
				return
			}
			for _, b := range all {
				if len(b) > 0 && down.Write(context.Background(), kind, b) != nil {
					return
				}
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// A server that does wrong once, to one of several clients, is found.
func TestFaults(t *testing.T) {
	t.Parallel()
	at := serve(t)
	var kept []byte
	for _, c := range []struct {
		name  string
		treat func(n int, frame []byte) [][]byte
		want  string
		none  bool
	}{
		{"none", func(_ int, b []byte) [][]byte { return [][]byte{b} }, "", true},
		{"drops one", func(n int, b []byte) [][]byte {
			if n == 7 {
				return [][]byte{{}}
			}
			return [][]byte{b}
		}, "1 lost;", false},
		{"doubles one", func(n int, b []byte) [][]byte {
			if n == 7 {
				return [][]byte{b, b}
			}
			return [][]byte{b}
		}, "1 doubled;", false},
		{"swaps two", func(n int, b []byte) [][]byte {
			switch n {
			case 7:
				kept = bytes.Clone(b)
				return [][]byte{{}}
			case 8:
				return [][]byte{b, kept}
			}
			return [][]byte{b}
		}, "1 reordered;", false},
		{"changes one", func(n int, b []byte) [][]byte {
			if n == 7 {
				return [][]byte{bytes.Replace(b, []byte(".."), []byte(".,"), 1), b}
			}
			return [][]byte{b}
		}, "1 foreign;", false},
		{"hangs up", func(n int, b []byte) [][]byte {
			if n == 7 {
				return nil
			}
			return [][]byte{b}
		}, "1 connections ended;", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Scenario: Fanout, URL: proxy(t, at, c.treat), Subscribers: 3, Rate: 100, Publishers: 1, Patience: 2 * time.Second, Seconds: 0.4}
			r, err := bench(t, cfg)
			switch {
			case c.none:
				if err != nil {
					t.Error(err)
				}
			case err == nil || !strings.Contains(err.Error(), c.want):
				t.Errorf("%v, want %q; %s", err, c.want, r.Table())
			case !strings.Contains(err.Error(), "client "):
				t.Errorf("%v doesn't say whose", err)
			}
		})
	}
}

// A server that offers no replay, refuses events, or isn't there is said to.
func TestServersThatLack(t *testing.T) {
	t.Parallel()
	at := serve(t)
	to, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	noReplay := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.URL.RawQuery = strings.ReplaceAll(r.In.URL.RawQuery, "&replay=1", "")
	}})
	t.Cleanup(noReplay.Close)
	noEvents := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.Error(w, "not today", http.StatusServiceUnavailable)
			return
		}
		httputil.NewSingleHostReverseProxy(to).ServeHTTP(w, r)
	}))
	t.Cleanup(noEvents.Close)
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, c := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"no replay", Config{Scenario: Reconnect, URL: noReplay.URL}, "the server offers no replay"},
		{"no events", Config{Scenario: Fanout, URL: noEvents.URL}, "no event was accepted: publish: 503 Service Unavailable: not today"},
		{"not there", Config{Scenario: Connect, URL: gone.URL}, "connection "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.cfg.Subscribers, c.cfg.Seconds = 2, 0.2
			if _, err := bench(t, c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// The result also goes to a file, and people get the table and are told of progress.
func TestOutput(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "result.json")
	var out, progress bytes.Buffer
	b, err := New(Config{
		URL: serve(t), AppID: "app-id", Key: "app-key", Secret: "app-secret", Subscribers: 2, Seconds: 0.5, Warmup: None,
		JSON: file, Output: &out, Progress: &progress, ProgressEvery: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r Result
	if err := json.Unmarshal(text, &r); err != nil || r.Published == 0 || r.Scenario != Fanout {
		t.Errorf("%v: %s", err, text)
	}
	for _, want := range []string{"p99", "delivery", "faults: none", "the generator used"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
	if !strings.Contains(progress.String(), "2 of 2 connected") {
		t.Errorf("progress %q", progress.String())
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Scenario: "dance", Channels: -1, Size: 3, Rate: -2, Seconds: None, URL: "ws://x", Key: "k"})
	if err == nil {
		t.Fatal("it passed")
	}
	for _, want := range []string{"dance", "channels", "size", "rate", "seconds", "url", "secret"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}
