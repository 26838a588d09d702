package boot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/playhead/playhead/broker"
)

// load loads a file of the given text, with the given environment.
func load(t *testing.T, text string, env map[string]string, flags ...Flag) (Config, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	src := Source{Getenv: func(name string) string { return env[name] }, Flags: flags}
	if text != "" {
		src.File = "playhead.yml"
		if err := os.WriteFile(src.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load(src)
}

func TestLoadDefaults(t *testing.T) {
	cfg, err := load(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "0.0.0.0" || cfg.Port != 6001 || cfg.DataDir != "./data" || cfg.Metrics.Port != 9601 ||
		cfg.Metrics.Enabled != On || cfg.Sync.Mode != "always" || cfg.Adapter.Driver != "nats" ||
		cfg.Streams.MaxAge != Duration(24*time.Hour) || cfg.Streams.MaxBytes != 1<<30 ||
		cfg.Streams.MaxEvents != None || cfg.Replay.MaxEvents != 1000 {
		t.Errorf("defaults: %+v", cfg)
	}
	var zero Config
	zero.fill()
	if diff := cmp.Diff(zero, cfg); diff != "" {
		t.Errorf("a zero Config means something else than no configuration (-zero +loaded):\n%s", diff)
	}
	want := []broker.App{{
		ID:           "app-id",
		Credentials:  []broker.Credential{{Key: "app-key", Secret: "app-secret"}},
		ClientEvents: true,
		Watchlist:    true,
		CacheTTL:     30 * time.Minute,
		Limits:       broker.Limits{}.WithDefaults(),
	}}
	if diff := cmp.Diff(want, cfg.apps()); diff != "" {
		t.Errorf("default app (-want +got):\n%s", diff)
	}
}

// Every key's variable is named after it, but for the few that other servers named before us.
func TestVariables(t *testing.T) {
	t.Parallel()
	odd := map[string]string{
		"node":                                   "INSTANCE_PROCESS_ID",
		"redis.url":                              "REDIS_URL",
		"redis.cluster_nodes":                    "REDIS_CLUSTER_NODES",
		"redis.connection_pool_size":             "REDIS_CONNECTION_POOL_SIZE",
		"redis.close_on_gap":                     "REDIS_CLOSE_ON_GAP",
		"redis.up_grace":                         "REDIS_UP_GRACE",
		"rate_limit.driver":                      "RATE_LIMITER_DRIVER",
		"database.pooling.min":                   "DATABASE_POOL_MIN",
		"database.pooling.max":                   "DATABASE_POOL_MAX",
		"default_app.id":                         "PLAYHEAD_DEFAULT_APP_ID",
		"default_app.limits.data_bytes":          "PLAYHEAD_DEFAULT_APP_LIMITS_DATA_BYTES",
		"default_app.webhooks[0].url":            "",
		"default_app.webhooks[0].name":           "",
		"default_app.webhooks[0].batch":          "",
		"default_app.webhooks[0].events":         "",
		"default_app.webhooks[0].channel_prefix": "",
		"default_app.webhooks[0].channel_suffix": "",
	}
	withWebhook := Config{DefaultApp: DefaultAppConfig{AppSettings: AppSettings{Webhooks: make([]WebhookConfig, 1)}}}
	for _, s := range settings(&withWebhook) {
		want, ok := odd[s.key]
		if !ok {
			want = strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
			switch {
			case strings.HasPrefix(s.key, "default_app."):
				want = "PLAYHEAD_" + want
			case strings.HasPrefix(s.key, "redis."): // a database, as others have it
				want = "DATABASE_" + want
			}
		}
		if s.env != want {
			t.Errorf("%s: variable %q, want %q", s.key, s.env, want)
		}
	}
}

func TestLoadPrecedence(t *testing.T) {
	cfg, err := load(t, "host: file\nport: 1\ndata_dir: file\nwebsocket:\n  queue_bytes: 2MiB\n",
		map[string]string{"PORT": "2", "DATA_DIR": "env", "LOG_LEVEL": "debug", "HOST": ""},
		Flag{Name: "--data", Key: "data_dir", Text: "flag"}, Flag{Name: "--host", Key: "host"})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{cfg.Host, cfg.Port, cfg.DataDir, cfg.Log.Level, cfg.WebSocket.QueueBytes, cfg.Metrics.Port}
	want := []any{"file", Port(2), "flag", "debug", Size(2 << 20), Port(9601)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLoadFileFromEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.yml")
	if err := os.WriteFile(path, []byte("port: 7000"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := load(t, "", map[string]string{"PLAYHEAD_CONFIG": path})
	if err != nil || cfg.Port != 7000 {
		t.Errorf("port %v, %v", cfg.Port, err)
	}
}

// All the problems of a configuration are reported, wherever they are, each with its place.
func TestLoadEveryProblem(t *testing.T) {
	_, err := load(t, `host: 127.0.0.1
prot: 6001
port: [1]
log:
  level: loud
  colour: red
metrics:
  port: 70000
sync:
  mode: sometimes
  interval: often
streams: many
replay:
  max_events: none
websocket:
  queue_bytes: 1KiB
  ping_after: 45
shutdown:
  drain: 1m
host: localhost
apps:
  - id: a
    key: k
    credentials: [{key: k, secret: s}]
  - id: a
    key: k
`, map[string]string{"SYNC_INTERVAL": "1ms", "REPLAY_MAX_BYTES": "huge", "WEBSOCKET_TERMINATION_CODE": "4300", "ADAPTER_DRIVER": "kafka", "INSTANCE_PROCESS_ID": "a b"},
		Flag{Name: "--port", Key: "port", Text: "http"})
	want := Problems{
		`playhead.yml:2: prot: unknown key; did you mean port?`,
		`playhead.yml:3: port must be a single value`,
		`playhead.yml:6: log.colour: unknown key`,
		`playhead.yml:8: metrics.port: 70000 is not a port; ports go from 1 to 65535, and 0 picks a free one`,
		`playhead.yml:11: sync.interval: "often" is not a duration; write it with its unit, like 500ms, 30s or 24h`,
		`playhead.yml:12: streams must be a mapping of keys to values`,
		`playhead.yml:17: websocket.ping_after: "45" is not a duration; write it with its unit, like 500ms, 30s or 24h`,
		`playhead.yml:20: host: given twice, first on line 1`,
		`REPLAY_MAX_BYTES in the environment: replay.max_bytes: "huge" is not a size; write bytes or a unit, like 64KiB, 1MiB or 1GiB`,
		`--port: port: "http" is not a whole number`,
		`playhead.yml:5: log.level: unknown value "loud"; known: debug, info, warn, error`,
		`ADAPTER_DRIVER in the environment: adapter.driver: unknown value "kafka"; known: nats, redis, redis-cluster`,
		`playhead.yml:10: sync.mode: unknown value "sometimes"; known: always, interval`,
		`playhead.yml:14: replay.max_events: must be more than 0`,
		`INSTANCE_PROCESS_ID in the environment: node: "a b"; a node's name is 1 to 128 letters, digits, '.', '_' and '-'`,
		`playhead.yml:19: shutdown.drain: 1m must be less than shutdown.timeout, 30s: the other steps need time too`,
		`SYNC_INTERVAL in the environment: sync.interval: 1ms is less than 10ms; mode always is what comes closest to it`,
		`playhead.yml:16: websocket.queue_bytes: 1KiB is less than 64KiB, which a large message with its frame may need`,
		`WEBSOCKET_TERMINATION_CODE in the environment: websocket.termination_code: 4300 is not between 4000 and 4299, the codes that clients act on`,
		`playhead.yml:22: apps[0]: has key and secret as well as credentials; give one of the two`,
		`playhead.yml:21: apps: app "a": id: another app has it`,
		`playhead.yml:21: apps: app "a": credential 1: secret: empty`,
		`playhead.yml:21: apps: app "a": credential 1: key "k": app "a" has it too`,
	}
	if diff := cmp.Diff(want, err); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestLoadBadFiles(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"syntax":       {"a: [", "playhead.yml: line 1: did not find expected node content"},
		"a list":       {"- a", "playhead.yml:1: the file must be a mapping of keys to values"},
		"a word":       {"playhead", "playhead.yml:1: the file must be a mapping of keys to values"},
		"two":          {"port: 1\n---\nport: 2\n", "playhead.yml:2: a second document; there may be one"},
		"broken two":   {"port: 1\n---\n{", "playhead.yml: line 3: did not find expected node content"},
		"mapping leaf": {"host: {a: b}", "playhead.yml:1: host must be a single value"},
		"apps word":    {"apps: none", "playhead.yml:1: apps must be a list"},
		"app null":     {"apps: [~]", "playhead.yml:1: apps[0] must be a mapping of keys to values"},
		"app word":     {"apps: [none]", "playhead.yml:1: apps[0] must be a mapping of keys to values"},
		"same ports":   {"port: 9601", "metrics.port: 9601 is the port of the WebSockets too; give metrics one of its own"},
		"window":       {"streams: {max_age: 1m}", "streams.duplicate_window: 2m must be at most streams.max_age, 1m: an id can't be remembered longer than its event"},
		"append":       {"streams: {append_timeout: 2m}", "playhead.yml:1: streams.append_timeout: 2m must be less than streams.duplicate_window, 2m: an event that is sent again later could be stored twice"},
		"publish":      {"http: {write_timeout: 15s}", "http.publish_timeout: 15s must be less than http.write_timeout, 15s: a late answer could no longer be written"},
		"activity":     {"websocket: {activity_timeout: 1500ms}", "playhead.yml:1: websocket.activity_timeout: 1.5s is not in whole seconds, as the protocol wants it"},
		"prefix":       {"nats: {prefix: a.b}", `playhead.yml:1: nats.prefix: "a.b"; a prefix is 1 to 32 letters, digits, '_' and '-'`},
		"root":         {"data_dir: /", `playhead.yml:1: data_dir: "/"; name a folder for this server alone`},
		"go key":       {"Output: x", "playhead.yml:1: Output: unknown key"},
		"dash":         {"'-': x", "playhead.yml:1: -: unknown key"},
		"merge":        {"metrics: {<<: {port: 1}}", "playhead.yml:1: metrics.<<: unknown key"},
		"limit":        {"apps: [{id: a, key: k, secret: s, limits: {channel_name_chars: 300}}]", `playhead.yml:1: apps: app "a": limit of channel name characters: 300 is over the protocol's 200`},
		"proxies":      {"http: {trusted_proxies: [10.0.0.1, 10.0.0.0/33]}", `playhead.yml:1: http.trusted_proxies: "10.0.0.0/33" is neither an address nor a network; write 10.1.2.3 or 10.0.0.0/8`},
		"hops":         {"http: {trusted_proxies: [10.0.0.1], trusted_hops: 1}", `playhead.yml:1: http.trusted_proxies: give either the proxies or their number, http.trusted_hops`},
		"word of list": {"http: {trusted_proxies: [[10.0.0.1]]}", `playhead.yml:1: http.trusted_proxies[0] must be a single value`},
		"null in list": {"http: {trusted_proxies: [~]}", `playhead.yml:1: http.trusted_proxies[0] must be a single value`},
		"list mapping": {"http: {trusted_proxies: {a: b}}", `playhead.yml:1: http.trusted_proxies must be a single value`},
		"origin":       {"apps: [{id: a, key: k, secret: s, allowed_origins: [https://a/]}]", `playhead.yml:1: apps: app "a": allowed origin "https://a/": an origin is a host, or scheme://host, with a port if need be, and nothing behind it`},
		"webhook":      {"apps: [{id: a, key: k, secret: s, webhooks: [{url: 'ftp://x'}]}]", `playhead.yml:1: apps[0].webhooks[0]: URL: "ftp://x" is not http://… or https://…`},
		"webhook twin": {"default_app: {webhooks: [{url: 'http://x'}, {url: 'http://x'}]}", `playhead.yml:1: default_app.webhooks[1]: has the name, or without one the URL, of webhooks[0]; give it a name of its own`},
		"webhook key":  {"default_app: {webhooks: [{url: 'http://x', event: a}]}", `playhead.yml:1: default_app.webhooks[0].event: unknown key; did you mean default_app.webhooks[0].events?`},
		"headers":      {"default_app: {webhooks: [{url: 'http://x', headers: [a]}]}", `playhead.yml:1: default_app.webhooks[0].headers must be a mapping of keys to values`},
		"header":       {"default_app: {webhooks: [{url: 'http://x', headers: {a: [b]}}]}", `playhead.yml:1: default_app.webhooks[0].headers.a must be a single value`},
		"header twice": {"default_app: {webhooks: [{url: 'http://x', headers: {a: b, a: c}}]}", `playhead.yml:1: default_app.webhooks[0].headers.a: given twice`},
		"own header":   {"default_app: {webhooks: [{url: 'http://x', headers: {x-pusher-key: b}}]}", `playhead.yml:1: default_app.webhooks[0]: headers: X-Pusher-Key is set by the protocol`},
		"no secret":    {"environment: production", `playhead.yml:1: environment: production, with a secret that everybody knows (app-secret); set PLAYHEAD_DEFAULT_APP_ID, _KEY and _SECRET, or apps`},
		"environment":  {"environment: staging", `playhead.yml:1: environment: unknown value "staging"; known: development, production`},
		"no limit":     {"apps: [{id: a, key: k, secret: s, limits: {data_bytes: none}}]", `playhead.yml:1: apps[0].limits.data_bytes: must be more than 0`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tt.text, nil)
			if diff := cmp.Diff(Problems{tt.want}, err); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		_, err := Load(Source{File: "nowhere.yml", Getenv: func(string) string { return "" }})
		if err == nil || !strings.Contains(err.Error(), "nowhere.yml: no such file") {
			t.Errorf("error %v", err)
		}
	})
}

// All that an app can be told reaches it, for the default app from the environment, too.
func TestLoadAppSettings(t *testing.T) {
	const settings = `
  replay_client_events: true
  subscription_count: true
  watchlist: false
  allowed_origins: [https://a.example, "*.b.example"]
  authorized_connections: 30s
  cache_ttl: 5m
  retention: {max_age: 48h, max_bytes: 2GiB, max_events: none}
  webhooks:
    - {url: "http://h/1", name: one, headers: {A: b}, events: [presence, client_event], channel_prefix: p-, channel_suffix: -s, batch: true}
    - url: http://h/2
      events: member_added, member_removed
  limits: {connections: 1, subscriptions_per_connection: 2, backend_events_per_second: 3, read_requests_per_second: 4, presence_members: 5}`
	want := broker.App{
		ReplayClientEvents:    true,
		SubscriptionCount:     true,
		AllowedOrigins:        []string{"https://a.example", "*.b.example"},
		AuthorizedConnections: 30 * time.Second,
		CacheTTL:              5 * time.Minute,
		Retention:             broker.Retention{Age: 48 * time.Hour, Bytes: 2 << 30, Events: -1},
		Webhooks: []broker.Endpoint{
			{Name: "one", URL: "http://h/1", Headers: map[string]string{"A": "b"}, Events: []string{"presence", "client_event"}, ChannelPrefix: "p-", ChannelSuffix: "-s", Batch: true},
			{URL: "http://h/2", Events: []string{"member_added", "member_removed"}},
		},
		Limits: broker.Limits{Connections: 1, SubscriptionsPerConnection: 2, BackendEventsPerSecond: 3, ReadRequestsPerSecond: 4, PresenceMembers: 5}.WithDefaults(),
	}
	check := func(what, text string, env map[string]string, want broker.App) {
		t.Helper()
		cfg, err := load(t, text, env)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if diff := cmp.Diff([]broker.App{want}, cfg.apps()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	one := want
	one.ID, one.Credentials = "a", []broker.Credential{{Key: "k", Secret: "s"}}
	check("an app", "apps:\n- id: a\n  key: k\n  secret: s"+settings, nil, one)

	one = want
	one.ID, one.Credentials, one.ClientEvents = "app-id", []broker.Credential{{Key: "app-key", Secret: "app-secret"}}, true
	check("the default app", "default_app:"+settings, nil, one)

	one.Webhooks, one.ClientEvents = nil, false
	check("the default app from the environment", "", map[string]string{
		"PLAYHEAD_DEFAULT_APP_CLIENT_EVENTS":                       "false",
		"PLAYHEAD_DEFAULT_APP_REPLAY_CLIENT_EVENTS":                "true",
		"PLAYHEAD_DEFAULT_APP_SUBSCRIPTION_COUNT":                  "true",
		"PLAYHEAD_DEFAULT_APP_WATCHLIST":                           "false",
		"PLAYHEAD_DEFAULT_APP_ALLOWED_ORIGINS":                     "https://a.example, *.b.example",
		"PLAYHEAD_DEFAULT_APP_AUTHORIZED_CONNECTIONS":              "30s",
		"PLAYHEAD_DEFAULT_APP_CACHE_TTL":                           "5m",
		"PLAYHEAD_DEFAULT_APP_RETENTION_MAX_AGE":                   "48h",
		"PLAYHEAD_DEFAULT_APP_RETENTION_MAX_BYTES":                 "2GiB",
		"PLAYHEAD_DEFAULT_APP_RETENTION_MAX_EVENTS":                "none",
		"PLAYHEAD_DEFAULT_APP_LIMITS_CONNECTIONS":                  "1",
		"PLAYHEAD_DEFAULT_APP_LIMITS_SUBSCRIPTIONS_PER_CONNECTION": "2",
		"PLAYHEAD_DEFAULT_APP_LIMITS_BACKEND_EVENTS_PER_SECOND":    "3",
		"PLAYHEAD_DEFAULT_APP_LIMITS_READ_REQUESTS_PER_SECOND":     "4",
		"PLAYHEAD_DEFAULT_APP_LIMITS_PRESENCE_MEMBERS":             "5",
	}, one)
}

// What is usual in YAML files works: numbers for names, anchors, nulls, an empty file.
func TestLoadUsualFiles(t *testing.T) {
	cfg, err := load(t, `
streams:
metrics: {enabled: no, port: ~}
apps:
  - {id: 42, key: 1e3, secret: "0x10", limits: &l {data_bytes: 20KiB}, client_events: true}
  - {id: b, credentials: [{key: k1, secret: s1}, {key: k2, secret: s2}], limits: *l, disabled: true}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []broker.App{
		{ID: "42", Credentials: []broker.Credential{{Key: "1e3", Secret: "0x10"}}, ClientEvents: true},
		{ID: "b", Credentials: []broker.Credential{{Key: "k1", Secret: "s1"}, {Key: "k2", Secret: "s2"}}, Disabled: true},
	}
	for i := range want {
		want[i].Limits = broker.Limits{DataBytes: 20 << 10}.WithDefaults()
		want[i].Watchlist, want[i].CacheTTL = true, 30*time.Minute
	}
	if diff := cmp.Diff(want, cfg.apps()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if cfg.Metrics.Enabled != Off || cfg.Metrics.Port != 9601 {
		t.Errorf("metrics %+v", cfg.Metrics)
	}
	if _, err := load(t, "# nothing but this\n", nil); err != nil {
		t.Errorf("file of comments: %v", err)
	}
}

// The example carries every key with its default, and so changes nothing.
func TestExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("playhead.example.yml")
	if err != nil {
		t.Fatal(err)
	}
	getenv := func(string) string { return "" }
	cfg, err := Load(Source{File: "playhead.example.yml", Getenv: getenv})
	if err != nil {
		t.Fatal(err)
	}
	none, err := Load(Source{Getenv: getenv})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(none, cfg, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the example changes the configuration (-without +with):\n%s", diff)
	}

	// The same with everything uncommented.
	all := filepath.Join(t.TempDir(), "all.yml")
	before, apps, ok := strings.Cut(string(text), "\n#apps:")
	if !ok {
		t.Fatal("no apps in the example")
	}
	text = []byte(before + "\n" + strings.ReplaceAll("#apps:"+apps, "\n#", "\n")[1:])
	if err := os.WriteFile(all, text, 0o600); err != nil {
		t.Fatal(err)
	}
	withApp := Config{Apps: make([]AppConfig, 1)}
	withApp.fill()
	withApp.Apps[0].Webhooks = []WebhookConfig{{
		URL: "https://example.com/pusher/webhooks", Headers: map[string]string{"Authorization": "Bearer 0123456789"}, Batch: Off,
	}}
	withApp.Apps[0].ID, withApp.Apps[0].Key, withApp.Apps[0].Secret = "1", "0123456789abcdef", "fedcba9876543210"
	cfg, err = Load(Source{File: all, Getenv: getenv})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(withApp, cfg, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the example with apps (-want +got):\n%s", diff)
	}
	var read Config
	l := &loader{file: all, from: map[string]string{}, bad: map[string]bool{}}
	l.readFile(&read)
	for _, s := range settings(&withApp) {
		if _, ok := l.from[s.key]; !ok {
			t.Errorf("%s: not in the example", s.key)
		}
	}
	for _, s := range settings(&Config{}) {
		made := strings.HasPrefix(s.env, "PLAYHEAD_DEFAULT_APP_") // the rule is told, and the first three
		if !made && !strings.Contains(string(text), s.env) {
			t.Errorf("%s: its variable %s isn't mentioned", s.key, s.env)
		}
	}
}

// Secrets don't reach the log, however a configuration is logged.
func TestConfigKeepsSecrets(t *testing.T) {
	t.Parallel()
	cfg := Config{Apps: []AppConfig{{ID: "a", Key: "k", Secret: "hidden", Credentials: []CredentialConfig{{Key: "c", Secret: "hidden"}}}}}
	cfg.DefaultApp.Secret = "hidden"
	hook := WebhookConfig{URL: "https://user:hidden@host/hidden", Headers: map[string]string{"A": "hidden"}}
	var out strings.Builder
	logger := NewLogger(Config{Log: LogConfig{Format: "json", Level: "debug"}}, &out)
	logger.Info("x", "config", cfg, "app", cfg.Apps[0], "default", cfg.DefaultApp, "credential", cfg.Apps[0].Credentials[0], "webhook", hook)
	if strings.Contains(out.String(), "hidden") || !strings.Contains(out.String(), `"app":"a"`) {
		t.Error(out.String())
	}
}

func FuzzFile(f *testing.F) {
	example, err := os.ReadFile("playhead.example.yml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	for _, s := range []string{"", "a: [", "apps: [&a {id: *a}]", "apps: [~, {}, []]", "? {a: b}\n: c", "<<: *x", "--- ~\n--- ~", "port: !!map x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var cfg Config
		l := &loader{file: "f", from: map[string]string{}, bad: map[string]bool{}}
		l.read(strings.NewReader(text), &cfg)
		cfg.fill()
		l.check(&cfg)
		for _, s := range settings(&cfg) {
			if len(l.problems) == 0 && s.fallback != "" && s.field.IsZero() {
				t.Errorf("%s is left zero", s.key)
			}
		}
	})
}
