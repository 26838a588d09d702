package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/adapters/database"
	"github.com/playhead/playhead/broker"
	"go.yaml.in/yaml/v3"
)

func row(id broker.AppID, settings string, keys ...string) database.App {
	a := database.App{ID: id, Settings: settings}
	for _, k := range keys {
		a.Keys = append(a.Keys, database.Key{Credential: broker.Credential{Key: k, Secret: "secret of " + k}})
	}
	return a
}

// What a file may say of an app a row may say, too, and it means the same; what is refused in a file is
// refused in a row, in the same words.
func TestRowsAreAsTheFile(t *testing.T) {
	for name, settings := range map[string]string{
		"none":          "{}",
		"null":          "null",
		"everything":    `{"client_events": true, "replay_client_events": true, "subscription_count": "yes", "watchlist": false, "allowed_origins": ["https://a.example", "*.b.example"], "authorized_connections": "30s", "cache_ttl": "5m", "retention": {"max_age": "48h", "max_bytes": 1048576, "max_events": "none"}, "limits": {"connections": 1, "data_bytes": "20KiB"}, "webhooks": [{"url": "http://h/1", "headers": {"A": "b"}, "events": ["presence"], "batch": true}, {"url": "http://h/2", "events": "member_added, member_removed"}]}`,
		"surrogates":    `{"webhooks": [{"url": "http://h/\ud83d\ude00"}]}`,
		"nulls":         `{"cache_ttl": null, "limits": null}`,
		"unknown":       `{"limitz": {}, "limits": {"data_byte": 1}}`,
		"unit":          `{"cache_ttl": 30}`,
		"kind":          `{"limits": [], "webhooks": {}, "cache_ttl": {}, "allowed_origins": [[]]}`,
		"twice":         `{"cache_ttl": "1m", "cache_ttl": "2m"}`,
		"too much":      `{"limits": {"channel_name_chars": 300}}`,
		"negative":      `{"limits": {"data_bytes": "none", "presence_members": -5}}`,
		"origin":        `{"allowed_origins": ["https://a/"]}`,
		"webhook":       `{"webhooks": [{"url": "ftp://x"}, {"url": "http://x"}, {"url": "http://x"}]}`,
		"webhook key":   `{"webhooks": [{"url": "http://x", "event": "a"}]}`,
		"webhook items": `{"webhooks": [1]}`,
	} {
		t.Run(name, func(t *testing.T) {
			var cfg Config
			cfg.AppManager.Driver = "mysql"
			cfg.fill()
			list, err := cfg.appsFrom([]database.App{row("a", settings, "k1", "k2")})
			// The same in a file. JSON is YAML, but for what only JSON has.
			var doc yaml.Node
			node, jsonErr := yamlFrom(settings)
			if jsonErr != nil {
				t.Fatal(jsonErr)
			}
			if node.Kind == yaml.MappingNode {
				doc = *node
			} else {
				doc = yaml.Node{Kind: yaml.MappingNode}
			}
			doc.Content = append(doc.Content, mapping("id", "a").Content...)
			doc.Content = append(doc.Content, scalar("credentials"), &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{
				mapping("key", "k1", "secret", "secret of k1"), mapping("key", "k2", "secret", "secret of k2"),
			}})
			text, encodeErr := encoded(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{scalar("apps"), {Kind: yaml.SequenceNode, Content: []*yaml.Node{&doc}}}})
			if encodeErr != nil {
				t.Fatal(encodeErr)
			}
			fromFile, fileErr := load(t, string(text), nil)
			if (err == nil) != (fileErr == nil) {
				t.Fatalf("rows: %v\nfile: %v", err, fileErr)
			}
			if err == nil {
				cfg.Apps = list
				if diff := cmp.Diff(fromFile.apps(), cfg.apps()); diff != "" {
					t.Errorf("(-file +rows):\n%s", diff)
				}
				return
			}
			var got mistakes
			var want Problems
			if !errors.As(err, &got) || !errors.As(fileErr, &want) {
				t.Fatalf("%T, %T", err, fileErr)
			}
			bare := func(p []string) (words []string) {
				for _, w := range p {
					w = strings.TrimPrefix(w, `app "a": settings: `)
					w = strings.TrimPrefix(w, `app "a": `)
					for i := range 40 {
						w = strings.ReplaceAll(w, fmt.Sprintf("playhead.yml:%d: ", i), "")
						w = strings.ReplaceAll(w, fmt.Sprintf(", first on line %d", i), ", first on line 0")
					}
					w = strings.ReplaceAll(w, "apps[0].", "")
					w = strings.TrimPrefix(strings.TrimPrefix(w, "apps: "), `app "a": `)
					words = append(words, w)
				}
				return words
			}
			if diff := cmp.Diff(bare(want), bare(got)); diff != "" {
				t.Errorf("(-file +rows):\n%s", diff)
			}
			for _, p := range got {
				if !strings.HasPrefix(p, `app "a": `) {
					t.Errorf("%s: doesn't name its app", p)
				}
			}
		})
	}
}

// All mistakes of all rows are told at once, each with its app, and no secret.
func TestRowsWithMistakes(t *testing.T) {
	t.Parallel()
	var cfg Config
	cfg.AppManager.Driver, cfg.Environment = "postgres", production
	cfg.fill()
	known := row("known", "{}", "k5")
	known.Keys[0].Secret = "app-secret"
	_, err := cfg.appsFrom([]database.App{
		row("a", `{"cache_ttl": "soon"}`, "k1"), row("none", "{}"), row("b", `{"id": "c"}`, "k1"), row("c", "[]", "k2"),
		row("d", `{"a": `, "k3"), row("e", "{} {}", "k4"), row("a/b", "{}", "k6"), known,
	})
	var got mistakes
	if !errors.As(err, &got) {
		t.Fatal(err)
	}
	want := mistakes{
		`app "a": settings: cache_ttl: "soon" is not a duration; write it with its unit, like 500ms, 30s or 24h`,
		`app "b": settings: id: unknown key`,
		`app "c": settings: it must be a mapping of keys to values`,
		`app "d": settings: unexpected EOF`,
		`app "e": settings: there is more behind the object`,
		`app "none": credentials: none; at least one key and secret is needed`,
		`app "b": credential 1: key "k1": app "a" has it too`,
		`app "a/b": id: only printable characters but '/' are allowed`,
		`app "known": environment is production, with a secret that everybody knows (app-secret)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzSettings(f *testing.F) {
	for _, s := range []string{"{}", "null", `{"limits": {"data_bytes": "1e309"}}`, `{"webhooks": [{"url": "http://x", "headers": {"a": null}}]}`, `[[`, `{"a":1}{`, `"\ud800"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, problems := settingsFrom("x", text)
		if len(problems) == 0 && (!json.Valid([]byte(text)) || s.CacheTTL == 0 || s.CacheTTL > Duration(1<<63-1)) {
			t.Errorf("%q was taken", text)
		}
	})
}

// The pool's settings of one database go over the general ones, and the guide's names are understood.
func TestLoadDatabase(t *testing.T) {
	cfg, err := load(t, "database: {mysql: {pool_min: 4}, postgres: {host: pg}}", map[string]string{
		"APP_MANAGER_DRIVER": "mysql", "DATABASE_POOL_MIN": "1", "DATABASE_POOL_MAX": "20", "DATABASE_MYSQL_POOL_MAX": "32",
		"DATABASE_MYSQL_HOST": "h", "DATABASE_MYSQL_PORT": "1", "DATABASE_MYSQL_USERNAME": "u", "DATABASE_MYSQL_PASSWORD": "p",
		"DATABASE_MYSQL_DATABASE": "d", "DATABASE_POSTGRES_TLS_ENABLED": "true", "DATABASE_POSTGRES_PASSWORD": "q",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := MySQLConfig{Port: 1, SQLConfig: SQLConfig{Host: "h", Username: "u", Password: "p", Database: "d", PoolMin: 4, PoolMax: 32}}
	want.TLS.Enabled = Off
	if diff := cmp.Diff(want, cfg.Database.MySQL); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if least, most := cfg.pool(); least != 4 || most != 32 {
		t.Errorf("pool of MySQL: %d to %d", least, most)
	}
	cfg.AppManager.Driver = "postgres"
	if least, most := cfg.pool(); least != 1 || most != 20 {
		t.Errorf("pool of PostgreSQL: %d to %d", least, most)
	}
	cfg.Database.Pooling.Enabled = Off
	if least, most := cfg.pool(); least != None || most != 20 {
		t.Errorf("without pooling: %d to %d", least, most)
	}
	if _, s, port := cfg.used(); s.Host != "pg" || port != 5432 || s.TLS.Enabled != On {
		t.Errorf("PostgreSQL: %+v, %d", s, port)
	}
	if len(cfg.apps()) != 0 || cfg.AppManager.PollInterval != Duration(5*time.Second) {
		t.Errorf("apps %v, asked every %v", cfg.apps(), cfg.AppManager.PollInterval)
	}
}

func TestLoadDatabaseMistakes(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"driver":     {"app_manager: {driver: oracle}", `playhead.yml:1: app_manager.driver: unknown value "oracle"; known: file, mysql, postgres`},
		"both":       {"app_manager: {driver: mysql}\napps: [{id: a, key: k, secret: s}]", `playhead.yml:2: apps: with app_manager.driver mysql the apps are in the database; give one of the two`},
		"pool":       {"app_manager: {driver: mysql}\ndatabase: {pooling: {min: 11}}", `playhead.yml:2: database.pooling.min: 11 must be at most database.pooling.max, 10: no more than that are ever open`},
		"own pool":   {"app_manager: {driver: postgres}\ndatabase: {postgres: {pool_max: 1}}", `database.pooling.min: 2 must be at most database.postgres.pool_max, 1: no more than that are ever open`},
		"pool none":  {"database: {pooling: {max: none}}", `playhead.yml:1: database.pooling.max: must be more than 0`},
		"port":       {"app_manager: {driver: mysql}\ndatabase: {mysql: {port: 0}}", `playhead.yml:2: database.mysql.port: the server's port has to be known`},
		"plain":      {"app_manager: {driver: mysql}\ndatabase: {mysql: {tls: {ca_file: x}}}", `playhead.yml:2: database.mysql.tls.ca_file: means nothing without database.mysql.tls.enabled`},
		"half":       {"app_manager: {driver: postgres}\ndatabase: {postgres: {tls: {enabled: true, cert_file: x}}}", `playhead.yml:2: database.postgres.tls.cert_file: give both database.postgres.tls.cert_file and key_file, or neither`},
		"interval":   {"app_manager: {poll_interval: none}", `playhead.yml:1: app_manager.poll_interval: must be more than 0`},
		"misspelled": {"database: {mysql: {user: x}}", `playhead.yml:1: database.mysql.user: unknown key`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tt.text, nil)
			if diff := cmp.Diff(Problems{tt.want}, err); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
