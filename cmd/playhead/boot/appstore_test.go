package boot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/adapters/database"
	"github.com/playhead/playhead/broker"
)

// stored opens a store on a file of the test's own.
func stored(t *testing.T, text string) (s *AppStore, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "playhead.yml")
	if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	s, err := OpenApps(Source{File: file, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	return s, file
}

const garden = `# Ours.
port: 7000   # not 6001

apps:
  # The shop of customer A.
  - id: "1"   # never changes
    key: 0123456789abcdef
    secret: "s1" # ask Eve

    limits:
        data_bytes: 20KiB   # more than others
    # disabled: true

  # The desk.
  - {id: desk, key: kd, secret: sd, client_events: true}
  # B
  - credentials:
    - key: k3
      secret: s3
    - {key: k4, secret: s4}
    id: b
    webhooks:
      - url: |-
          http://h/

# How long.
streams: {max_age: 1h}
# The end.
`

// A change touches the app that it is about, and keeps what people wrote beside it.
func TestAppFileEdits(t *testing.T) {
	t.Parallel()
	c := broker.Credential{Key: "new", Secret: "s"}
	for name, tt := range map[string]struct {
		text string
		do   func(ctx context.Context, s *AppStore) error
		want string // a diff: lines that go and come
	}{
		"add": {garden, func(ctx context.Context, s *AppStore) error {
			return s.Add(ctx, "77", c, `{"limits": {"connections": 5}, "allowed_origins": ["a.b"]}`)
		}, `+  - id: "77"
+    key: new
+    secret: s
+    limits:
+      connections: 5
+    allowed_origins:
+      - a.b
`},
		"disable": {garden, func(ctx context.Context, s *AppStore) error { return s.SetDisabled(ctx, "desk", true) },
			`-  - {id: desk, key: kd, secret: sd, client_events: true}
+  - {id: desk, disabled: true, key: kd, secret: sd, client_events: true}
`},
		"disable with comments": {garden, func(ctx context.Context, s *AppStore) error { return s.SetDisabled(ctx, "1", true) },
			`-  - id: "1"   # never changes
+  - id: "1" # never changes
+    disabled: true
-
-        data_bytes: 20KiB   # more than others
+      data_bytes: 20KiB # more than others
`},
		"rotate": {garden, func(ctx context.Context, s *AppStore) error { return s.AddKey(ctx, "desk", c) },
			`-  - {id: desk, key: kd, secret: sd, client_events: true}
+  - {id: desk, credentials: [{key: kd, secret: sd}, {key: new, secret: s}], client_events: true}
`},
		"rotate again": {garden, func(ctx context.Context, s *AppStore) error { return s.AddKey(ctx, "b", c) },
			`-    - key: k3
-      secret: s3
-    - {key: k4, secret: s4}
+      - key: k3
+        secret: s3
+      - {key: k4, secret: s4}
+      - key: new
+        secret: s
`},
		"drop": {garden, func(ctx context.Context, s *AppStore) error { return s.DropKeys(ctx, "b", "k3") },
			`-    - key: k3
-      secret: s3
-    - {key: k4, secret: s4}
+      - {key: k4, secret: s4}
`},
		"remove the first": {garden, func(ctx context.Context, s *AppStore) error { return s.Remove(ctx, "1") },
			`-  # The shop of customer A.
-  - id: "1"   # never changes
-    key: 0123456789abcdef
-    secret: "s1" # ask Eve
-
-    limits:
-        data_bytes: 20KiB   # more than others
-    # disabled: true
-
`},
		"remove the last": {garden, func(ctx context.Context, s *AppStore) error { return s.Remove(ctx, "b") },
			`-  # B
-  - credentials:
-    - key: k3
-      secret: s3
-    - {key: k4, secret: s4}
-    id: b
-    webhooks:
-      - url: |-
-          http://h/
`},
		"enable what is": {garden, func(ctx context.Context, s *AppStore) error { return s.SetDisabled(ctx, "b", false) }, ""},
		"enable": {"apps:\n- id: a\n  disabled: yes # for now\n  key: k\n  secret: s", func(ctx context.Context, s *AppStore) error { return s.SetDisabled(ctx, "a", false) },
			"-  disabled: yes # for now\n+  disabled: false # for now\n"},
		"add the first":      {"port: 1 # one\n", func(ctx context.Context, s *AppStore) error { return s.Add(ctx, "a", c, "") }, "+\n+apps:\n+  - id: a\n+    key: new\n+    secret: s\n"},
		"add to nothing":     {"", func(ctx context.Context, s *AppStore) error { return s.Add(ctx, "a", c, "") }, "-\n+apps:\n+  - id: a\n+    key: new\n+    secret: s\n"},
		"add to comments":    {"# nothing yet", func(ctx context.Context, s *AppStore) error { return s.Add(ctx, "a", c, "") }, "+\n+apps:\n+  - id: a\n+    key: new\n+    secret: s\n"},
		"add to no apps":     {"apps: [] # none\nport: 1", func(ctx context.Context, s *AppStore) error { return s.Add(ctx, "a", c, "") }, "-apps: [] # none\n+apps: # none\n+  - id: a\n+    key: new\n+    secret: s\n"},
		"add to null":        {"apps:\n\n# p\nport: 1", func(ctx context.Context, s *AppStore) error { return s.Add(ctx, "a", c, "") }, "+  - id: a\n+    key: new\n+    secret: s\n"},
		"add to one line":    {"apps: [{id: b, key: k, secret: s}]\nport: 1", func(ctx context.Context, s *AppStore) error { return s.Add(ctx, "a", c, "") }, "-apps: [{id: b, key: k, secret: s}]\n+apps: [{id: b, key: k, secret: s}, {id: a, key: new, secret: s}]\n"},
		"remove from a line": {"apps: [{id: b, key: k, secret: s}, {id: a, key: l, secret: s}]", func(ctx context.Context, s *AppStore) error { return s.Remove(ctx, "b") }, "-apps: [{id: b, key: k, secret: s}, {id: a, key: l, secret: s}]\n+apps: [{id: a, key: l, secret: s}]\n"},
		"disable in JSON":    {`{"apps": [{"id": "b", "key": "k", "secret": "s"}]}`, func(ctx context.Context, s *AppStore) error { return s.SetDisabled(ctx, "b", true) }, `-{"apps": [{"id": "b", "key": "k", "secret": "s"}]}` + "\n" + `+{"apps": [{"id": "b", disabled: true, "key": "k", "secret": "s"}]}` + "\n"},
		"add to JSON":        {`{"port": 1}`, func(ctx context.Context, s *AppStore) error { return s.Add(ctx, "b", c, "") }, `-{"port": 1}` + "\n+{\"port\": 1, apps: [{id: b, key: new, secret: s}]}\n"},
		"a dash by itself":   {"apps:\n  -\n    id: b\n    key: k\n    secret: s\n", func(ctx context.Context, s *AppStore) error { return s.SetDisabled(ctx, "b", true) }, "-  -\n-    id: b\n+  - id: b\n+    disabled: true\n"},
		"Windows":            {"apps:\r\n- id: b\r\n  key: k\r\n  secret: s\r\nport: 1\r\n", func(ctx context.Context, s *AppStore) error { return s.SetDisabled(ctx, "b", true) }, "+  disabled: true\n"},
		"a list that is empty": {"apps:\n- id: b\n  credentials: []\n  key: k\n  secret: s\n", func(ctx context.Context, s *AppStore) error { return s.AddKey(ctx, "b", c) },
			"-  credentials: []\n-  key: k\n-  secret: s\n+  credentials:\n+    - key: k\n+      secret: s\n+    - key: new\n+      secret: s\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, file := stored(t, tt.text)
			if err := tt.do(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			after, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if crlf := strings.Count(tt.text, "\r\n"); crlf > 0 && strings.Count(string(after), "\r\n") != strings.Count(string(after), "\n") {
				t.Errorf("ends of lines: %q", after)
			}
			got := lineDiff(tt.text, strings.ReplaceAll(string(after), "\r\n", "\n"))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s\nthe file:\n%s", diff, after)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// lineDiff writes the lines that go and come from one text to another.
func lineDiff(from, to string) string {
	a := strings.Split(strings.TrimSuffix(strings.ReplaceAll(from, "\r\n", "\n"), "\n"), "\n")
	b := strings.Split(strings.TrimSuffix(to, "\n"), "\n")
	common := make([][]int, len(a)+1) // how many lines the rests have in common, in order
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out strings.Builder
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case j >= len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			out.WriteString("-" + a[i] + "\n")
			i++
		default:
			out.WriteString("+" + b[j] + "\n")
			j++
		}
	}
	return out.String()
}

// What can't be done is said, and the file stays as it is.
func TestAppFileRefusals(t *testing.T) {
	t.Parallel()
	c := broker.Credential{Key: "new", Secret: "s"}
	for name, tt := range map[string]struct {
		text string
		do   func(ctx context.Context, s *AppStore) error
		is   error
		says string
	}{
		"id in use": {garden, func(ctx context.Context, s *AppStore) error { return s.Add(ctx, "desk", c, "") }, database.ErrTaken, `id "desk": in use already`},
		"key in use": {garden, func(ctx context.Context, s *AppStore) error {
			return s.Add(ctx, "x", broker.Credential{Key: "k3", Secret: "s"}, "")
		}, nil, `app "x": credential 1: key "k3": app "b" has it too`},
		"bad key": {garden, func(ctx context.Context, s *AppStore) error {
			return s.AddKey(ctx, "b", broker.Credential{Key: "a b", Secret: "s"})
		}, nil, "only printable ASCII"},
		"bad settings": {garden, func(ctx context.Context, s *AppStore) error { return s.Add(ctx, "x", c, `{"limitz": 1}`) }, nil, `app "x": settings: limitz: unknown key; did you mean limits?`},
		"no JSON":      {garden, func(ctx context.Context, s *AppStore) error { return s.Add(ctx, "x", c, `{`) }, nil, `app "x": settings: `},
		"no such app":  {garden, func(ctx context.Context, s *AppStore) error { return s.SetDisabled(ctx, "x", true) }, broker.ErrNoApp, ""},
		"remove none":  {garden, func(ctx context.Context, s *AppStore) error { return s.Remove(ctx, "x") }, broker.ErrNoApp, ""},
		"no such key":  {garden, func(ctx context.Context, s *AppStore) error { return s.DropKeys(ctx, "b", "kd") }, database.ErrNoKey, ""},
		"all keys":     {garden, func(ctx context.Context, s *AppStore) error { return s.DropKeys(ctx, "b", "k3", "k4") }, database.ErrLastKey, ""},
		"the only key": {garden, func(ctx context.Context, s *AppStore) error { return s.DropKeys(ctx, "1", "0123456789abcdef") }, database.ErrLastKey, ""},
		"last app":     {"apps: [{id: a, key: k, secret: s}]", func(ctx context.Context, s *AppStore) error { return s.Remove(ctx, "a") }, nil, "it is the last app of the file"},
		"default app":  {"port: 1", func(ctx context.Context, s *AppStore) error { return s.SetDisabled(ctx, "app-id", true) }, nil, "is the default app, which is set by default_app there"},
		"default keys": {"port: 1", func(ctx context.Context, s *AppStore) error { return s.DropKeys(ctx, "app-id", "app-key") }, nil, "playhead apps add makes one"},
		"migrate":      {"port: 1", func(ctx context.Context, s *AppStore) error { _, err := s.Migrate(ctx); return err }, nil, "a file needs no migration"},
		"anchors":      {"default_app: {limits: &l {data_bytes: 1KiB}}\napps:\n- id: a\n  key: k\n  secret: s\n  limits: *l\n", func(ctx context.Context, s *AppStore) error { return s.SetDisabled(ctx, "a", true) }, nil, "line 3: the app can't be read by itself"},
		"anchor away":  {"apps:\n- {id: a, key: k, secret: s, limits: &l {data_bytes: 1KiB}}\n- {id: b, key: k2, secret: s, limits: *l}\n", func(ctx context.Context, s *AppStore) error { return s.Remove(ctx, "a") }, nil, "nothing was changed, for it would not load"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, file := stored(t, tt.text)
			err := tt.do(t.Context(), s)
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v; want %v, %q", err, tt.is, tt.says)
			}
			if after, _ := os.ReadFile(file); string(after) != tt.text {
				t.Errorf("the file has changed:\n%s", after)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A link stays one; what it leads to is changed.
func TestAppFileBehindALink(t *testing.T) {
	t.Parallel()
	_, file := stored(t, garden)
	link := filepath.Join(t.TempDir(), "link.yml")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	s, err := OpenApps(Source{File: link, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetDisabled(t.Context(), "b", true); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != file {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if text, _ := os.ReadFile(file); !strings.Contains(string(text), "id: b\n    disabled: true\n    webhooks") {
		t.Errorf("the file:\n%s", text)
	}
}

// Without a file there is nothing to change; it says what to do instead.
func TestAppsOfTheEnvironment(t *testing.T) {
	t.Parallel()
	s, err := OpenApps(Source{Getenv: func(name string) string { return map[string]string{"PLAYHEAD_DEFAULT_APP_ID": "mine"}[name] }})
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != "mine" || !s.Default() || s.String() != "the environment" {
		t.Errorf("%+v, %v", list, err)
	}
	for what, err := range map[string]error{
		"add":    s.Add(t.Context(), "a", broker.Credential{Key: "k", Secret: "s"}, ""),
		"rotate": s.AddKey(t.Context(), "mine", broker.Credential{Key: "k", Secret: "s"}),
		"remove": s.Remove(t.Context(), "mine"),
	} {
		if err == nil || !strings.Contains(err.Error(), "--config") || !strings.Contains(err.Error(), "PLAYHEAD_DEFAULT_APP_ID") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Whatever is in a file, a change of it does what it was to do and nothing else, or says that it can't.
func FuzzAppFile(f *testing.F) {
	for _, s := range []string{garden, "", "apps: []", "apps:\n- {id: a, key: k, secret: s}\n- {id: b, key: l, secret: s}", "{}", "apps: ~\n...\n", "apps: &a\n- id: a\n  key: k\n  secret: s\n"} {
		f.Add(s, "b", uint8(0))
		f.Add(s, "a", uint8(3))
	}
	f.Fuzz(func(t *testing.T, text, id string, what uint8) {
		file := filepath.Join(t.TempDir(), "f.yml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		src := Source{File: file, Getenv: func(string) string { return "" }}
		s, err := OpenApps(src)
		if err != nil || s.database != nil {
			return
		}
		before, _ := s.List(t.Context())
		ctx, app, c := t.Context(), broker.AppID(id), broker.Credential{Key: "a new key of it"[2:5], Secret: "s"}
		switch what % 5 {
		case 0:
			err = s.Add(ctx, app, c, `{"cache_ttl": "1m"}`)
		case 1:
			err = s.AddKey(ctx, app, c)
		case 2:
			err = s.SetDisabled(ctx, app, true)
		case 3:
			err = s.Remove(ctx, app)
		case 4:
			err = s.DropKeys(ctx, app, "k3")
		}
		after, loadErr := OpenApps(src)
		if loadErr != nil {
			t.Fatalf("it doesn't load any more: %v", loadErr)
		}
		list, _ := after.List(ctx)
		if err != nil && !cmp.Equal(before, list) {
			t.Errorf("%v, and yet changed: %v, before %v", err, list, before)
		}
	})
}
