//go:build unix

package boot

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/playhead/playhead/adapters/database"
	"github.com/playhead/playhead/adapters/database/databasetest"
	"github.com/playhead/playhead/broker"
)

// keeping is a configuration for a node of a test's own whose apps are in a database, and its store.
func keeping(t *testing.T, d database.Config) (Config, *AppStore) {
	t.Helper()
	cfg := local(t)
	cfg.AppManager = AppManagerConfig{Driver: string(d.Kind), PollInterval: Duration(50 * time.Millisecond)}
	sql := SQLConfig{Host: d.Host, Username: d.Username, Password: d.Password, Database: d.Name}
	cfg.Database.MySQL = MySQLConfig{SQLConfig: sql, Port: Port(d.Port)}
	cfg.Database.Postgres = PostgresConfig{SQLConfig: sql, Port: Port(d.Port)}
	filled := cfg
	filled.fill()
	s := &AppStore{cfg: filled}
	var err error
	if s.database, err = filled.openDatabase(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return cfg, s
}

// dial opens a WebSocket with a key, and returns what the first frame is.
func (r *running) dial(t *testing.T, key string) (*websocket.Conn, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+r.Addr().String()+"/app/"+key+"?protocol=7", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return c, read(t, c)
}

// A node's apps come from a database: what is changed there works here without a restart, and while the
// database is away those that are known go on.
func TestNodeOverDatabase(t *testing.T) {
	t.Parallel()
	for _, kind := range databasetest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			server := databasetest.Start(t, kind)
			cfg, store := keeping(t, server.Database(t))
			refuses(t, cfg, "its tables are missing", "run playhead apps migrate", fmt.Sprintf("%s 127.0.0.1:%d/d1", kind, server.Port))
			if _, err := store.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			for what, spoil := range map[string]func(*SQLConfig){
				"refused":                    func(c *SQLConfig) { c.Password = "hidden" },
				"startup_timeout has passed": func(c *SQLConfig) { c.Host = "127.0.0.2" },
			} {
				wrong := cfg
				if what != "refused" { // which isn't waited for
					wrong.StartupTimeout = Duration(100 * time.Millisecond)
				}
				spoil(&wrong.Database.MySQL.SQLConfig)
				spoil(&wrong.Database.Postgres.SQLConfig)
				_, s, _ := wrong.used()
				refuses(t, wrong, what, fmt.Sprintf("%s %s:%d/d1", kind, s.Host, server.Port))
			}

			r := start(t, cfg)
			await(t, "the node up", func() bool { return strings.Contains(r.out.String(), "0 in "+string(kind)+" 127.0.0.1") })
			if _, frame := r.dial(t, "k1"); !strings.Contains(frame, "4001") {
				t.Errorf("a key of nobody's: %s", frame)
			}
			add := func(id broker.AppID, key string) {
				t.Helper()
				if err := store.Add(t.Context(), id, broker.Credential{Key: key, Secret: "s"}, ""); err != nil {
					t.Fatal(err)
				}
			}
			works := func(key string) func() bool {
				return func() bool {
					_, frame := r.dial(t, key)
					return strings.Contains(frame, "pusher:connection_established")
				}
			}
			add("one", "k1")
			await(t, "a new app's key", works("k1"))
			c, _ := r.dial(t, "k1")
			write(t, c, `{"event":"pusher:subscribe","data":{"channel":"c"}}`)
			read(t, c)
			if err := store.AddKey(t.Context(), "one", broker.Credential{Key: "k2", Secret: "s"}); err != nil {
				t.Fatal(err)
			}
			await(t, "a new key", works("k2"))
			if err := store.DropKeys(t.Context(), "one", "k1"); err != nil {
				t.Fatal(err)
			}
			await(t, "a dropped key refused", func() bool { return !works("k1")() })

			server.Kill()
			await(t, "the database away", func() bool { return strings.Contains(r.log.String(), "can't be asked") })
			if !works("k2")() {
				t.Error("a known app isn't served while the database is away")
			}
			if err := r.down(); err != nil {
				t.Errorf("not ready while the database is away: %v", err)
			}
			server.Run(t)
			await(t, "the database back", func() bool { return strings.Contains(r.log.String(), "answers again") })
			if err := store.SetDisabled(t.Context(), "one", true); err != nil {
				t.Fatal(err)
			}
			if code := code(t, c); code != 4200 {
				t.Errorf("the session of a disabled app was closed with %d", code)
			}
			if _, frame := r.dial(t, "k2"); !strings.Contains(frame, "4003") {
				t.Errorf("a disabled app: %s", frame)
			}
			add("two", "k3")
			await(t, "another app's key", works("k3"))
			// A command finds the app, its key and its secret there, too.
			cfg.fill()
			to, err := Target{AppID: "one"}.Client(cfg)
			if err != nil || to.Key != "k2" || to.Secret != "s" {
				t.Errorf("target %+v, %v", to, err)
			}
			server.Ask(t, "d1", "UPDATE playhead_apps SET settings = '{\"limits\": {\"data_bytes\": \"none\"}}'")
			server.Ask(t, "d1", "UPDATE playhead_revision SET revision = revision + 1")
			await(t, "the mistake told", func() bool {
				return strings.Contains(r.log.String(), `app \"two\": settings: limits.data_bytes: must be more than 0`)
			})
			if !works("k3")() {
				t.Error("a mistake in the database took an app away")
			}
			if strings.Contains(r.log.String()+r.out.String(), "pass'word") {
				t.Error("the password is in the log")
			}
			least, most := cfg.pool()
			if n := server.Connections(t, "d1"); n > int(most)+int(least) {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// refuses starts a node that is to end by itself, with words.
func refuses(t *testing.T, cfg Config, words ...string) {
	t.Helper()
	r := start(t, cfg)
	err := r.ended(t)
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%v; want %q", err, w)
		}
	}
}
