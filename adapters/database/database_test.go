//go:build unix

package database_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/playhead/playhead/adapters/database"
	"github.com/playhead/playhead/adapters/database/databasetest"
	"github.com/playhead/playhead/broker"
)

// patience bounds waits for conditions; it only passes when a test has failed.
const patience = 30 * time.Second

// open opens a database until the test ends.
func open(t *testing.T, cfg database.Config) *database.Database {
	t.Helper()
	d, err := database.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// ready opens a database of its own with tables in it.
func ready(t *testing.T, s *databasetest.Server) *database.Database {
	t.Helper()
	d := open(t, s.Database(t))
	if _, err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

func app(id broker.AppID, keys ...string) database.App {
	a := database.App{ID: id, Settings: "{}"}
	for _, k := range keys {
		a.Keys = append(a.Keys, database.Key{Credential: broker.Credential{Key: k, Secret: "secret of " + k}})
	}
	return a
}

// read returns what is kept, its times checked and left out.
func read(t *testing.T, d *database.Database) database.Set {
	t.Helper()
	set, err := d.Apps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fresh := func(at time.Time) {
		t.Helper()
		if age := time.Since(at); age < -time.Minute || age > 10*time.Minute {
			t.Errorf("created %v, %v ago", at, age)
		}
	}
	for i := range set.Apps {
		fresh(set.Apps[i].Created)
		for _, k := range set.Apps[i].Keys {
			fresh(k.Created)
		}
	}
	return set
}

var timeless = cmpopts.IgnoreTypes(time.Time{})

// All that is promised of a database, over each kind.
func TestDatabase(t *testing.T) {
	t.Parallel()
	for _, kind := range databasetest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := databasetest.Start(t, kind)
			for name, test := range map[string]func(*testing.T, *databasetest.Server){
				"migrate":         testMigrate,
				"migrate at once": testMigrateAtOnce,
				"changes":         testChanges,
				"refusals":        testRefusals,
				"at one moment":   testAtOneMoment,
				"pool":            testPool,
				"who may":         testWhoMay,
				"socket":          testSocket,
			} {
				t.Run(name, func(t *testing.T) { test(t, s) })
			}
			t.Run("crash", func(t *testing.T) { testCrash(t, s) })
			t.Run("TLS", func(t *testing.T) { testTLS(t, s) })
		})
	}
}

func testMigrate(t *testing.T, s *databasetest.Server) {
	cfg := s.Database(t)
	d := open(t, cfg)
	ctx := t.Context()
	_, of := d.Revision(ctx)
	for what, err := range map[string]error{"check": d.Check(ctx), "revision": of, "add": d.Add(ctx, app("a", "k"))} {
		if !errors.Is(err, database.ErrNoSchema) || !strings.Contains(err.Error(), d.String()) {
			t.Errorf("%s without tables: %v", what, err)
		}
	}
	if n, err := d.Migrate(ctx); err != nil || n != 1 {
		t.Fatalf("migrate: %d, %v", n, err)
	}
	if err := d.Check(ctx); err != nil {
		t.Error(err)
	}
	if n, err := d.Migrate(ctx); err != nil || n != 0 {
		t.Errorf("migrate again: %d, %v", n, err)
	}
	s.Ask(t, cfg.Name, "INSERT INTO playhead_migrations (version_id, is_applied) VALUES (99, TRUE)")
	if err := d.Check(ctx); !errors.Is(err, database.ErrNewSchema) || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("tables of a later version: %v", err)
	}
	if _, err := d.Migrate(ctx); !errors.Is(err, database.ErrNewSchema) {
		t.Errorf("migrate back: %v", err)
	}
	s.Ask(t, cfg.Name, "DELETE FROM playhead_migrations WHERE version_id > 0")
	if err := d.Check(ctx); !errors.Is(err, database.ErrNoSchema) {
		t.Errorf("no migration done: %v", err)
	}
}

// However many begin, one makes the tables.
func testMigrateAtOnce(t *testing.T, s *databasetest.Server) {
	cfg := s.Database(t)
	var wg sync.WaitGroup
	defer wg.Wait()
	done := make(chan int, 4)
	for range cap(done) {
		d := open(t, cfg)
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			n, err := d.Migrate(ctx)
			if err != nil {
				t.Error(err)
			}
			done <- n
		})
	}
	total := 0
	for range cap(done) {
		total += <-done
	}
	if total != 1 {
		t.Errorf("%d migrations were done, want 1", total)
	}
}

func testChanges(t *testing.T, s *databasetest.Server) {
	d := ready(t, s)
	ctx := t.Context()
	if set := read(t, d); len(set.Apps) != 0 {
		t.Errorf("apps of nobody's: %+v", set.Apps)
	}
	one, two := app("one", "k1", "a0"), app("zwei ☃", "K1")
	two.Settings, two.Disabled = `{"limits": {"data_bytes": "20KiB"}, "webhooks": []}`, true
	last := read(t, d).Revision
	for _, step := range []struct {
		what string
		do   error
		want []database.App
	}{
		{"add", d.Add(ctx, one), nil},
		{"add another", d.Add(ctx, two), nil},
	} {
		if step.do != nil {
			t.Fatalf("%s: %v", step.what, step.do)
		}
	}
	expect := func(what string, err error, want ...database.App) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		set := read(t, d)
		if diff := cmp.Diff(want, set.Apps, timeless, cmpopts.EquateEmpty(), settings); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		if now, err := d.Revision(ctx); err != nil || now != set.Revision || now == last {
			t.Errorf("%s: revision %d, read %d, before %d, %v", what, now, set.Revision, last, err)
		}
		last = set.Revision
	}
	expect("two added", nil, one, two)
	one.Keys = append(one.Keys, app("", "a1").Keys...)
	expect("key added", d.AddKey(ctx, "one", one.Keys[2].Credential), one, two)
	one.Keys = one.Keys[2:]
	expect("keys dropped", d.DropKeys(ctx, "one", "k1", "a0", "k1"), one, two)
	one.Disabled = true
	expect("disabled", d.SetDisabled(ctx, "one", true), one, two)
	expect("disabled again", d.SetDisabled(ctx, "one", true), one, two)
	two.Disabled = false
	expect("enabled", d.SetDisabled(ctx, two.ID, false), one, two)
	expect("removed", d.Remove(ctx, "one"), two)
	expect("its keys are free again", d.Add(ctx, app("third", "a1")), two, app("third", "a1"))
}

// settings compares JSON without its spaces, which MySQL sets as it likes.
var settings = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Settings" },
	cmp.Transformer("json", func(s string) string { return strings.ReplaceAll(s, " ", "") }))

// What is refused changes nothing, and tells nobody that something had changed.
func testRefusals(t *testing.T, s *databasetest.Server) {
	d := ready(t, s)
	ctx := t.Context()
	if err := d.Add(ctx, app("a", "k1", "k2")); err != nil {
		t.Fatal(err)
	}
	if err := d.Add(ctx, app("b", "k3")); err != nil {
		t.Fatal(err)
	}
	before := read(t, d)
	long := strings.Repeat("é", 256)
	for what, tt := range map[string]struct {
		err  error
		want error
	}{
		"id":           {d.Add(ctx, app("a", "k9")), database.ErrTaken},
		"key":          {d.Add(ctx, app("c", "k9", "k3")), database.ErrTaken},
		"key twice":    {d.Add(ctx, app("c", "k9", "k9")), database.ErrTaken},
		"another key":  {d.AddKey(ctx, "a", broker.Credential{Key: "k3", Secret: "s"}), database.ErrTaken},
		"key of none":  {d.AddKey(ctx, "A", broker.Credential{Key: "k9", Secret: "s"}), broker.ErrNoApp},
		"drop of none": {d.DropKeys(ctx, "c", "k1"), broker.ErrNoApp},
		"drop other's": {d.DropKeys(ctx, "a", "k1", "k3"), database.ErrNoKey},
		"drop all":     {d.DropKeys(ctx, "a", "k1", "k2"), database.ErrLastKey},
		"disable none": {d.SetDisabled(ctx, "c", true), broker.ErrNoApp},
		"remove none":  {d.Remove(ctx, "c"), broker.ErrNoApp},
		"long id":      {d.Add(ctx, app(broker.AppID(long), "k9")), nil},
		"long key":     {d.Add(ctx, app("c", long)), nil},
		"no JSON":      {d.Add(ctx, database.App{ID: "c", Settings: "{"}), nil},
	} {
		if tt.err == nil || tt.want != nil && !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v, want %v", what, tt.err, tt.want)
		}
		if tt.err != nil && strings.Contains(tt.err.Error(), "secret of") {
			t.Errorf("%s: a secret is in the error: %v", what, tt.err)
		}
	}
	if diff := cmp.Diff(before, read(t, d)); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
}

// Who reads while others change sees each change whole, with its revision.
func testAtOneMoment(t *testing.T, s *databasetest.Server) {
	d := ready(t, s)
	ctx := t.Context()
	first := read(t, d).Revision
	const apps = 15
	var wg sync.WaitGroup
	defer wg.Wait()
	for w := range 2 {
		wg.Go(func() {
			for i := range apps {
				if err := d.Add(ctx, app(broker.AppID(fmt.Sprint(w, "-", i)), fmt.Sprint("a", w, "-", i), fmt.Sprint("b", w, "-", i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for {
		set, err := d.Apps(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got := set.Revision - first; got != int64(len(set.Apps)) {
			t.Fatalf("%d apps after %d changes", len(set.Apps), got)
		}
		for _, a := range set.Apps {
			if len(a.Keys) != 2 || a.Keys[0].Key[0] != 'a' {
				t.Fatalf("app %s has keys %v", a.ID, a.Keys)
			}
		}
		if len(set.Apps) == 2*apps || t.Failed() {
			return
		}
	}
}

// As many connections as were allowed, whatever comes at once; as many stay as were to stay.
func testPool(t *testing.T, s *databasetest.Server) {
	for _, tt := range []struct{ most, stay, want int }{{3, 2, 2}, {2, -1, 0}, {1, 5, 1}} {
		cfg := s.Database(t)
		cfg.MaxConns, cfg.MinConns = tt.most, tt.stay
		d := open(t, cfg)
		if _, err := d.Migrate(t.Context()); tt.most > 1 && err != nil {
			t.Fatal(err)
		} else if tt.most == 1 && err != nil {
			t.Fatalf("migrations need more than one connection: %v", err)
		}
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for range 12 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := d.Apps(t.Context()); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		seen := 0
		for range 10 {
			seen = max(seen, s.Connections(t, cfg.Name))
		}
		close(stop)
		wg.Wait()
		if seen > tt.most || seen == 0 {
			t.Errorf("%d connections, at most %d wanted", seen, tt.most)
		}
		await(t, fmt.Sprintf("%d connections left", tt.want), func() bool { return s.Connections(t, cfg.Name) == tt.want })
	}
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		<-tick.C
	}
}

func testWhoMay(t *testing.T, s *databasetest.Server) {
	good := s.Database(t)
	for what, tt := range map[string]struct {
		spoil   func(*database.Config)
		refused bool
	}{
		"password": {func(c *database.Config) { c.Password = "hidden" }, true},
		"user":     {func(c *database.Config) { c.Username = "nobody" }, true},
		"database": {func(c *database.Config) { c.Name = "nothing" }, true},
		"port":     {func(c *database.Config) { c.Port = 1 }, false},
		"host":     {func(c *database.Config) { c.Host = "host.invalid" }, false},
		"socket":   {func(c *database.Config) { c.Host = "/nowhere" }, false},
		"TLS":      {func(c *database.Config) { c.TLS = &database.TLS{} }, false},
	} {
		cfg := good
		tt.spoil(&cfg)
		d := open(t, cfg)
		err := d.Check(t.Context())
		if err == nil || errors.Is(err, database.ErrRefused) != tt.refused {
			t.Errorf("wrong %s: %v, refused: want %v", what, err, tt.refused)
		}
		if err != nil && (!strings.HasPrefix(err.Error(), d.String()) || strings.Contains(err.Error(), cfg.Password)) {
			t.Errorf("wrong %s: %v", what, err)
		}
	}
}

func testSocket(t *testing.T, s *databasetest.Server) {
	cfg := s.Database(t)
	cfg.Host = s.Socket()
	d := open(t, cfg)
	if _, err := d.Migrate(t.Context()); err != nil {
		t.Error(err)
	}
	if want := fmt.Sprintf("%s %s/%s", s.Kind, s.Socket(), cfg.Name); d.String() != want {
		t.Errorf("it says it is %s, want %s", d, want)
	}
}

// A server that was away is asked again with the same database.
func testCrash(t *testing.T, s *databasetest.Server) {
	cfg := s.Database(t)
	d, idle := open(t, cfg), open(t, cfg)
	if _, err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Add(t.Context(), app("a", "k")); err != nil {
		t.Fatal(err)
	}
	want := read(t, d)
	read(t, idle)
	s.Kill()
	if _, err := d.Revision(t.Context()); err == nil || errors.Is(err, database.ErrRefused) {
		t.Errorf("a server that isn't there: %v", err)
	}
	s.Run(t)
	if err := idle.SetDisabled(t.Context(), "a", false); err != nil {
		t.Errorf("over a connection that had been idle: %v", err)
	}
	want.Revision++
	if diff := cmp.Diff(want, read(t, d)); diff != "" {
		t.Errorf("after a crash (-before +after):\n%s", diff)
	}
}

// What can't be used is refused before anything is connected to.
func TestNew(t *testing.T) {
	t.Parallel()
	for what, cfg := range map[string]database.Config{
		"kind":      {Kind: "oracle"},
		"no kind":   {},
		"port":      {Kind: database.MySQL, Port: 65536},
		"conns":     {Kind: database.MySQL, MaxConns: -1},
		"authority": {Kind: database.PostgreSQL, TLS: &database.TLS{CAFile: "nowhere.pem"}},
		"no PEM":    {Kind: database.PostgreSQL, TLS: &database.TLS{CAFile: "database_test.go"}},
		"pair":      {Kind: database.MySQL, TLS: &database.TLS{CertFile: "nowhere.pem", KeyFile: "nowhere.pem"}},
	} {
		if _, err := database.New(cfg); err == nil || !strings.HasPrefix(err.Error(), "database: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if d := open(t, database.Config{Kind: database.PostgreSQL}); d.String() != "postgres localhost:5432/playhead" {
		t.Errorf("by default it is %s", d)
	}
}
