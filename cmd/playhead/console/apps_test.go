//go:build unix

package console

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/adapters/database/databasetest"
)

// kept is where a test's apps are: a configuration, whose text may be looked at.
func kept(t *testing.T, text string) (Store, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "playhead.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Store{Config: file}, file
}

// lineOf returns what a line of variables says.
func lineOf(t *testing.T, out, name string) string {
	t.Helper()
	for l := range strings.Lines(out) {
		if value, ok := strings.CutPrefix(strings.TrimSuffix(l, "\n"), name+"="); ok {
			return value
		}
	}
	t.Fatalf("no %s in %q", name, out)
	return ""
}

// The life of an app, by commands alone, wherever apps are kept.
func TestApps(t *testing.T) {
	t.Parallel()
	places := map[string]func(*testing.T) Store{
		"file": func(t *testing.T) Store {
			s, _ := kept(t, "# ours\nport: 7000\nhost: 192.0.2.1\n")
			return s
		},
	}
	for _, kind := range databasetest.Kinds {
		places[string(kind)] = func(t *testing.T) Store {
			d := databasetest.Start(t, kind).Database(t)
			s, _ := kept(t, fmt.Sprintf("port: 7000\nhost: 192.0.2.1\napp_manager: {driver: %s}\ndatabase: {%s: {host: %s, port: %d, username: %s, password: \"%s\", database: %s}}\n",
				kind, kind, d.Host, d.Port, d.Username, d.Password, d.Name))
			if _, _, err := do(t, &AppsList{Store: s}, ""); err == nil || !strings.Contains(err.Error(), "run playhead apps migrate") {
				t.Errorf("list without tables: %v", err)
			}
			for _, want := range []string{"are ready", "are up to date"} {
				if _, errs := must(t, &AppsMigrate{s}, ""); !strings.Contains(errs, want) {
					t.Errorf("migrate: %q, want %q", errs, want)
				}
			}
			return s
		}
	}
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			life(t, place(t))
		})
	}
}

func life(t *testing.T, s Store) {
	t.Helper()
	list := func(want ...string) {
		t.Helper()
		out, _ := must(t, &AppsList{Store: s, JSON: true}, "")
		var got []string
		for l := range strings.Lines(out) {
			var app struct {
				ID       string
				Disabled bool
				Keys     []string
			}
			if err := json.Unmarshal([]byte(l), &app); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(app.ID, " ", app.Disabled, " ", strings.Join(app.Keys, " ")))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("apps (-want +got):\n%s", diff)
		}
	}
	out, errs := must(t, &AppsAdd{Store: s}, "")
	id, key, secret := lineOf(t, out, "PUSHER_APP_ID"), lineOf(t, out, "PUSHER_APP_KEY"), lineOf(t, out, "PUSHER_APP_SECRET")
	for what, form := range map[string]struct{ text, form string }{
		"id": {id, "^[0-9]{7}$"}, "key": {key, "^[0-9a-f]{20}$"}, "secret": {secret, "^[0-9a-f]{40}$"},
	} {
		if !regexp.MustCompile(form.form).MatchString(form.text) {
			t.Errorf("%s %q", what, form.text)
		}
	}
	if !strings.HasSuffix(out, "PUSHER_HOST=192.0.2.1\nPUSHER_PORT=7000\nPUSHER_SCHEME=http\n") || strings.Contains(errs, secret) {
		t.Errorf("add: %q, %q", out, errs)
	}
	out, _ = must(t, &AppsAdd{Store: s, ID: "the shop", Key: "k1", Secret: "s$1", Settings: `{"client_events": true}`, JSON: true}, "")
	if out != `{"id":"the shop","key":"k1","secret":"s$1"}`+"\n" {
		t.Errorf("add: %q", out)
	}
	list(id+" false "+key, "the shop false k1")

	out, errs = must(t, &AppsRotate{Store: s, ID: "the shop"}, "")
	k2 := lineOf(t, out, "PUSHER_APP_KEY")
	if lineOf(t, out, "PUSHER_APP_ID") != `"the shop"` || !strings.Contains(errs, "--drop-old") {
		t.Errorf("rotate: %q, %q", out, errs)
	}
	must(t, &AppsRotate{Store: s, ID: "the shop", Key: "k3", Secret: "s3"}, "")
	list(id+" false "+key, "the shop false k1 "+k2+" k3")
	must(t, &AppsRotate{Store: s, ID: "the shop", Drop: []string{k2}}, "")
	list(id+" false "+key, "the shop false k1 k3")
	must(t, &AppsRotate{Store: s, ID: "the shop", DropOld: true}, "")
	must(t, &AppsDisable{Store: s, ID: "the shop"}, "")
	list(id+" false "+key, "the shop true k3")
	out, _ = must(t, &AppsList{Store: s}, "")
	if lines := strings.Split(out, "\n"); len(lines) != 4 || strings.Fields(lines[2])[2] != "disabled" || strings.Contains(out, "s3") {
		t.Errorf("list:\n%s", out)
	}
	must(t, &AppsEnable{Store: s, ID: "the shop"}, "")
	list(id+" false "+key, "the shop false k3")

	for what, tt := range map[string]struct {
		command command
		says    string
	}{
		"id in use":     {&AppsAdd{Store: s, ID: "the shop"}, "in use already"},
		"bad id":        {&AppsAdd{Store: s, ID: "a/b"}, "only printable characters but '/' are allowed"},
		"bad settings":  {&AppsAdd{Store: s, ID: "c", Settings: `{"limit": {}}`}, "limit: unknown key; did you mean limits?"},
		"rotate what":   {&AppsRotate{Store: s, ID: "nothing"}, "apps rotate: "},
		"drop of none":  {&AppsRotate{Store: s, ID: "nothing", DropOld: true}, "no such app"},
		"no old one":    {&AppsRotate{Store: s, ID: "the shop", DropOld: true}, "no old one"},
		"drop the last": {&AppsRotate{Store: s, ID: "the shop", Drop: []string{"k3"}}, "no key would be left"},
		"drop what":     {&AppsRotate{Store: s, ID: "the shop", Drop: []string{"k1"}}, "no such key"},
		"disable what":  {&AppsDisable{Store: s, ID: "nothing"}, "no such app"},
		"enable what":   {&AppsEnable{Store: s, ID: "nothing"}, "no such app"},
		"remove what":   {&AppsRemove{Store: s, ID: "nothing", Yes: true}, "no such app"},
		"remove or not": {&AppsRemove{Store: s, ID: "the shop"}, "--yes"},
	} {
		out, _, err := do(t, tt.command, "")
		if err == nil || !strings.HasPrefix(err.Error(), "apps ") || !strings.Contains(err.Error(), tt.says) || out != "" {
			t.Errorf("%s: %q, %v; want %q", what, out, err, tt.says)
		}
	}
	list(id+" false "+key, "the shop false k3")
	must(t, &AppsRemove{Store: s, ID: "the shop", Yes: true}, "")
	list(id + " false " + key)
}

// The file keeps what a person wrote; the default app is said to go.
func TestAppsOfFile(t *testing.T) {
	t.Parallel()
	s, file := kept(t, "# ours\nport: 7000 # not 6001\n")
	out, errs := must(t, &AppsList{Store: s}, "")
	if !strings.Contains(out, "app-id") || !strings.Contains(errs, "this is the default app") {
		t.Errorf("list: %q, %q", out, errs)
	}
	if _, _, err := do(t, &AppsMigrate{s}, ""); err == nil || !strings.Contains(err.Error(), "APP_MANAGER_DRIVER") {
		t.Errorf("migrate: %v", err)
	}
	if _, _, err := do(t, &AppsDisable{Store: s, ID: "app-id"}, ""); err == nil || !strings.Contains(err.Error(), "PLAYHEAD_DEFAULT_APP_ID") {
		t.Errorf("disable the default app: %v", err)
	}
	_, errs = must(t, &AppsAdd{Store: s, ID: "a", Key: "k", Secret: "s"}, "")
	if !strings.Contains(errs, "doesn't serve the default app any more") {
		t.Errorf("add: %q", errs)
	}
	text, err := os.ReadFile(file)
	if want := "# ours\nport: 7000 # not 6001\n\napps:\n  - id: a\n    key: k\n    secret: s\n"; err != nil || string(text) != want {
		t.Errorf("the file: %s, %v; want %s", text, err, want)
	}
}

func TestVariable(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{"abc-1_2.3": "abc-1_2.3", "a b": `"a b"`, `a"$\`: `"a\"\$\\"`, "": ""} {
		if got := variable(value); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}
