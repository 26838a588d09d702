package apps

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

func one(id broker.AppID, keys ...string) broker.App {
	app := broker.App{ID: id}
	for _, k := range keys {
		app.Credentials = append(app.Credentials, broker.Credential{Key: k, Secret: "secret of " + k})
	}
	return app
}

func TestFindsByIDAndByAnyKey(t *testing.T) {
	t.Parallel()
	apps, err := New(Config{Apps: []broker.App{one("1", "a", "b"), one("2", "c")}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for key, want := range map[string]broker.AppID{"a": "1", "b": "1", "c": "2"} {
		app, err := apps.ByKey(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if app.ID != want {
			t.Errorf("key %s: app %s, want %s", key, app.ID, want)
		}
		same, err := apps.ByID(ctx, want)
		if err != nil {
			t.Fatal(err)
		}
		if same != app {
			t.Errorf("app %s by id and by key %s are two", want, key)
		}
	}
	var ids []broker.AppID
	for _, app := range apps.All() {
		ids = append(ids, app.ID)
	}
	if diff := cmp.Diff([]broker.AppID{"1", "2"}, ids); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
}

func TestUnknownIsErrNoApp(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{"one app": {Apps: []broker.App{one("1", "a")}}, "no apps": {}} {
		apps, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for how, find := range map[string]func() (*broker.App, error){
			"unknown id":  func() (*broker.App, error) { return apps.ByID(t.Context(), "a") },
			"empty id":    func() (*broker.App, error) { return apps.ByID(t.Context(), "") },
			"unknown key": func() (*broker.App, error) { return apps.ByKey(t.Context(), "1") },
			"empty key":   func() (*broker.App, error) { return apps.ByKey(t.Context(), "") },
		} {
			if app, err := find(); !errors.Is(err, broker.ErrNoApp) || app != nil {
				t.Errorf("%s, %s: %v, %v; want ErrNoApp", name, how, app, err)
			}
		}
	}
}

func TestAppsAreCopiedAndCompleted(t *testing.T) {
	t.Parallel()
	given := []broker.App{one("1", "a")}
	given[0].Limits.DataBytes = 99
	apps, err := New(Config{Apps: given})
	if err != nil {
		t.Fatal(err)
	}
	given[0].Disabled = true
	given[0].Credentials[0].Key = "changed"
	app, err := apps.ByID(context.Background(), "1")
	if err != nil {
		t.Fatal(err)
	}
	want := one("1", "a")
	want.Limits = broker.Limits{DataBytes: 99}.WithDefaults()
	if diff := cmp.Diff(&want, app); diff != "" {
		t.Errorf("app (-want +got):\n%s", diff)
	}
	apps.All()[0] = nil
	if apps.All()[0] == nil {
		t.Error("All gives its own slice away")
	}
}

func TestEveryProblemIsReported(t *testing.T) {
	t.Parallel()
	origins := one("origins", "o")
	origins.AllowedOrigins = []string{
		"*", "example.com", "*.example.com", "https://example.com:8443", "https://*.example.com", "localhost:3000", "[::1]:3000", "app://x",
		"", "https://example.com/", "example.com/path", "ex*mple.com", "*example.com", "://example.com", "https://", "a b", "user@example.com",
	}
	origins.CacheTTL, origins.AuthorizedConnections = -1, -2
	limits := one("limits", "l")
	limits.Limits = broker.Limits{DataBytes: -1, ChannelNameChars: 201}
	empty := one("empty", "e")
	empty.Credentials = append(empty.Credentials, broker.Credential{})
	_, err := New(Config{Apps: []broker.App{
		one("", "n"),
		one("none"),
		empty,
		one("twice", "t1"),
		one("twice", "t2"),
		one("thief", "t1"),
		one("stutter", "s", "s"),
		one("a/b", "ab"),
		one("bad\xff", "bad"),
		one("keys", "a:b", "a/b", "a b"),
		limits,
		origins,
		one("fine", "fine"),
	}})
	if err == nil {
		t.Fatal("accepted")
	}
	got := strings.Split(err.Error(), "\n")
	want := []string{
		`apps: app without id (number 1): id: empty`,
		`app "none": credentials: none; at least one key and secret is needed`,
		`app "empty": credential 2: secret: empty`,
		`app "empty": credential 2: key: empty`,
		`app "twice": id: another app has it`,
		`app "thief": credential 1: key "t1": app "twice" has it too`,
		`app "stutter": credential 2: key "s": listed twice`,
		`app "a/b": id: only printable characters but '/' are allowed`,
		`app "bad\xff": id: not UTF-8`,
		`app "keys": credential 1: key "a:b": only printable ASCII but ' ', ':' and '/' is allowed`,
		`app "keys": credential 2: key "a/b": only printable ASCII but ' ', ':' and '/' is allowed`,
		`app "keys": credential 3: key "a b": only printable ASCII but ' ', ':' and '/' is allowed`,
		`app "limits": limit of data bytes: -1 is negative`,
		`app "limits": limit of channel name characters: 201 is over the protocol's 200`,
		`app "origins": cache TTL: -1ns is negative`,
		`app "origins": authorized connections: -2ns is negative`,
		`app "origins": allowed origin "": an origin is a host, or scheme://host, with a port if need be, and nothing behind it`,
		`app "origins": allowed origin "https://example.com/": an origin is a host, or scheme://host, with a port if need be, and nothing behind it`,
		`app "origins": allowed origin "example.com/path": an origin is a host, or scheme://host, with a port if need be, and nothing behind it`,
		`app "origins": allowed origin "ex*mple.com": '*' may stand alone, or as *. before a host`,
		`app "origins": allowed origin "*example.com": '*' may stand alone, or as *. before a host`,
		`app "origins": allowed origin "://example.com": no scheme before ://`,
		`app "origins": allowed origin "https://": an origin is a host, or scheme://host, with a port if need be, and nothing behind it`,
		`app "origins": allowed origin "a b": an origin is a host, or scheme://host, with a port if need be, and nothing behind it`,
		`app "origins": allowed origin "user@example.com": an origin is a host, or scheme://host, with a port if need be, and nothing behind it`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if strings.Contains(err.Error(), "secret of") {
		t.Error("a secret is in the error")
	}
}

// A limit that is added to broker.Limits must be checked here too.
func TestEveryLimitIsChecked(t *testing.T) {
	t.Parallel()
	for i := range reflect.TypeFor[broker.Limits]().NumField() {
		app := one("1", "a")
		field := reflect.ValueOf(&app.Limits).Elem().Field(i)
		field.SetInt(-1)
		if _, err := New(Config{Apps: []broker.App{app}}); err == nil {
			t.Errorf("%s: -1 is accepted", reflect.TypeFor[broker.Limits]().Field(i).Name)
		}
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	kept, gone, changed := one("kept", "k"), one("gone", "g"), one("changed", "old")
	kept.Webhooks = []broker.Endpoint{{URL: "http://a", Headers: map[string]string{"A": "b"}}}
	apps, err := New(Config{Apps: []broker.App{kept, gone, changed}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	before, err := apps.ByKey(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	former, err := apps.ByKey(ctx, "old")
	if err != nil {
		t.Fatal(err)
	}

	// A bad set changes nothing, whatever is good about it.
	if _, err := apps.Replace([]broker.App{one("new", "n"), one("", "x")}); err == nil || !strings.HasPrefix(err.Error(), "apps: ") {
		t.Fatalf("a bad set: %v", err)
	}
	if _, err := apps.ByKey(ctx, "n"); !errors.Is(err, broker.ErrNoApp) {
		t.Errorf("an app of a bad set: %v", err)
	}
	if app, err := apps.ByKey(ctx, "k"); err != nil || app != before {
		t.Errorf("after a bad set: %v, %v", app, err)
	}

	kept.Webhooks = []broker.Endpoint{{URL: "http://a", Headers: map[string]string{"A": "b"}}}
	kept.Limits = broker.Limits{}.WithDefaults() // what it had anyway
	got, err := apps.Replace([]broker.App{one("new", "g"), one("changed", "new"), kept})
	if err != nil {
		t.Fatal(err)
	}
	want := Changes{Added: []broker.AppID{"new"}, Removed: []broker.AppID{"gone"}, Changed: []broker.AppID{"changed"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	for how, find := range map[string]func() (*broker.App, error){
		"id":  func() (*broker.App, error) { return apps.ByID(ctx, "kept") },
		"key": func() (*broker.App, error) { return apps.ByKey(ctx, "k") },
		"all": func() (*broker.App, error) { return apps.All()[2], nil },
	} {
		if app, err := find(); err != nil || app != before {
			t.Errorf("an app that didn't change, by %s: %p, %v; was %p", how, app, err, before)
		}
	}
	if _, err := apps.ByKey(ctx, "old"); !errors.Is(err, broker.ErrNoApp) {
		t.Errorf("key that was removed: %v", err)
	}
	if _, err := apps.ByID(ctx, "gone"); !errors.Is(err, broker.ErrNoApp) {
		t.Errorf("app that was removed: %v", err)
	}
	if app, err := apps.ByKey(ctx, "g"); err != nil || app.ID != "new" {
		t.Errorf("key that another app took over: %v, %v", app, err)
	}
	if diff := cmp.Diff([]broker.Credential{{Key: "old", Secret: "secret of old"}}, former.Credentials); diff != "" {
		t.Errorf("an app that was handed out has changed:\n%s", diff)
	}
	if c, err := apps.Replace([]broker.App{kept, one("new", "g"), one("changed", "new")}); err != nil || !c.None() {
		t.Errorf("the same in another order: %+v, %v", c, err)
	}
}

// Whoever searches while the set is replaced finds an app of one set or of the other.
func TestReplaceUnderSearch(t *testing.T) {
	t.Parallel()
	sets := [2][]broker.App{{one("1", "a"), one("2", "b")}, {one("2", "a"), one("1", "b")}}
	apps, err := New(Config{Apps: sets[0]})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 2 {
		wg.Go(func() {
			for range 2000 {
				if app, err := apps.ByKey(t.Context(), "a"); err != nil || len(app.Credentials) != 1 || app.Credentials[0].Key != "a" {
					t.Errorf("%v, %v", app, err)
					return
				}
			}
		})
	}
	for i := range 200 {
		if _, err := apps.Replace(sets[i%2]); err != nil {
			t.Error(err)
		}
	}
}
