package boot

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/playhead/playhead/adapters/redis/redistest"
)

// overRedis is a configuration for a node that has a Redis.
func overRedis(t *testing.T, s *redistest.Server) Config {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	cfg := local(t)
	cfg.Redis = RedisConfig{Host: host, Port: Port(number)}
	return cfg
}

// Each driver is chosen on its own: webhooks are told whichever queue they wait in, and rates are kept where
// they are to be.
func TestDrivers(t *testing.T) {
	t.Parallel()
	server := redistest.Single(t)
	for name, tt := range map[string]struct {
		adapter, queue, limiter string
		told                    bool
		letters, rates          bool // in Redis
	}{
		"all of NATS":                 {adapter: "nats", told: true},
		"all of Redis":                {adapter: "redis", told: true, letters: true, rates: true},
		"NATS, queue in Redis":        {adapter: "nats", queue: "redis", told: true, letters: true},
		"NATS, rates in Redis":        {adapter: "nats", limiter: "redis", told: true, rates: true},
		"NATS, queue in memory":       {adapter: "nats", queue: "memory", told: true},
		"Redis, all else in memory":   {adapter: "redis", queue: "memory", limiter: "memory", told: true},
		"Redis, nobody told anything": {adapter: "redis", queue: "none", limiter: "memory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bodies := make(chan string, 100)
			hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				bodies <- string(b)
			}))
			t.Cleanup(hook.Close)
			cfg := overRedis(t, server)
			prefix := strings.Map(func(r rune) rune {
				if r == ' ' || r == ',' {
					return -1
				}
				return r
			}, name)
			if tt.adapter == "nats" && !tt.letters && !tt.rates {
				cfg.Redis = RedisConfig{}
			} else {
				cfg.Redis.KeyPrefix = prefix
			}
			cfg.Adapter.Driver, cfg.Queue.Driver, cfg.RateLimit.Driver = tt.adapter, tt.queue, tt.limiter
			cfg.RateLimit.ConnectsPerSecond = 100
			if tt.told {
				cfg.DefaultApp.Webhooks = []WebhookConfig{{URL: hook.URL}}
			}
			r := start(t, cfg)
			await(t, "node ready", func() bool { status, _ := get(t, r.url("/ready")); return status == http.StatusOK })
			c := r.connect(t)
			write(t, c, `{"event":"pusher:subscribe","data":{"channel":"c"}}`)
			if f := read(t, c); !strings.Contains(f, "subscription_succeeded") {
				t.Fatalf("answer %s", f)
			}
			if tt.told {
				select {
				case b := <-bodies:
					if !strings.Contains(b, `"channel_occupied"`) {
						t.Errorf("webhook %s", b)
					}
				case <-time.After(patience):
					t.Error("no webhook")
				}
			}
			list, err := server.Do("--scan", "--pattern", "*"+prefix+":*")
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(list, ":letters:"); got != tt.letters {
				t.Errorf("letters in Redis: %v, want %v:\n%s", got, tt.letters, list)
			}
			// The keys of rates live for moments only.
			if got := r.medium.Load().limiter != nil; got != tt.rates {
				t.Errorf("rates in Redis: %v, want %v", got, tt.rates)
			}
			if said := r.out.String(); tt.adapter == "redis" && (!strings.Contains(said, "Redis at "+server.Addr) || !strings.Contains(said, "nothing: Redis carries events") || strings.Contains(said, cfg.DataDir)) {
				t.Errorf("start message:\n%s", said)
			}
		})
	}
}

// While Redis is away /up bears with it for the grace, and for no other reason.
func TestUpGrace(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		serving bool
		down    error
		away    time.Duration
		grace   Duration
		up      bool
	}{
		"well":          {serving: true, grace: Duration(time.Second), up: true},
		"just away":     {serving: true, down: io.EOF, away: time.Second - 1, grace: Duration(time.Second), up: true},
		"away for long": {serving: true, down: io.EOF, away: time.Second, grace: Duration(time.Second)},
		"no grace":      {serving: true, down: io.EOF, away: 1, grace: None},
		"shutting down": {down: io.EOF, away: 1, grace: Duration(time.Second)},
	} {
		n := &Node{cfg: Config{Adapter: AdapterConfig{Driver: driverRedis}, Redis: RedisConfig{UpGrace: tt.grace}}}
		if !errors.Is(n.mediumDown(), errNoRedis) {
			t.Errorf("%s: before there is a medium: %v", name, n.mediumDown())
		}
		n.serving.Store(tt.serving)
		n.medium.Store(&medium{health: func() error { return tt.down }, outage: func() time.Duration { return tt.away }})
		if err := n.up(); (err == nil) != tt.up {
			t.Errorf("%s: %v", name, err)
		}
		if err := n.down(); (err == nil) != (tt.serving && tt.down == nil) {
			t.Errorf("%s: ready: %v", name, err)
		}
	}
}

// A file of TLS that can't be used is named before anything is started.
func TestRedisFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]RedisTLSConfig{
		"ca_file":   {Enabled: On, CAFile: "/nowhere"},
		"cert_file": {Enabled: On, CertFile: "/nowhere", KeyFile: "/nowhere"},
	} {
		cfg := local(t)
		cfg.Adapter.Driver, cfg.Redis.TLS = driverRedis, c
		_, err := New(cfg)
		if want := fmt.Sprint("redis.tls.", name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
