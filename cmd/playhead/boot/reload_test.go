package boot

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/apps"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// retiring notes whom it is told to retire.
type retiring struct {
	mu  sync.Mutex
	ids []broker.AppID
}

func (r *retiring) Retire(id broker.AppID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids = append(r.ids, id)
}

// take returns who was retired since it was last asked, each once.
func (r *retiring) take() []broker.AppID {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.ids)
	ids := slices.Compact(r.ids)
	r.ids = nil
	return ids
}

// bounding records whose streams are given new bounds, and who is forgotten.
type bounding struct {
	mu                 sync.Mutex
	adapted, forgotten []broker.AppID
}

func (b *bounding) Adapt(_ context.Context, apps ...broker.AppID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.adapted = append(b.adapted, apps...)
	return errors.New("the log is away") // which keeps nobody from the rest
}

func (b *bounding) Forget(app broker.AppID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgotten = append(b.forgotten, app)
}

// hooks count how often they are read again.
type hooks struct {
	reads int
	err   error
}

func (h *hooks) Reload() error {
	h.reads++
	return h.err
}

// reloading is a reloader under test, its file, and what stands around it.
type reloading struct {
	*reloader
	file    string
	hangups chan os.Signal
	log     *logged
	gone    *retiring
	streams *bounding
	hooks   *hooks
}

// reload0 is what the tests begin with.
const reload0 = "apps: [{id: a, key: ka, secret: s}, {id: b, key: kb, secret: s}]\n"

// begin loads reload0 and starts a reloader in the bubble.
func begin(t *testing.T) *reloading {
	t.Helper()
	r := &reloading{
		file:    filepath.Join(t.TempDir(), "playhead.yml"),
		hangups: make(chan os.Signal, 1),
		log:     &logged{}, gone: &retiring{}, streams: &bounding{}, hooks: &hooks{},
	}
	r.write(t, reload0)
	source := Source{File: r.file, Getenv: func(string) string { return "" }}
	cfg, err := Load(source)
	if err != nil {
		t.Fatal(err)
	}
	all, err := apps.New(apps.Config{Apps: cfg.apps()})
	if err != nil {
		t.Fatal(err)
	}
	r.reloader = &reloader{
		source: &source, hangup: r.hangups, start: cfg, apps: all, webhooks: r.hooks, node: r.gone, streams: r.streams,
		logger:  slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		metrics: newReloadMetrics(prometheus.NewRegistry()),
	}
	var run sync.WaitGroup
	t.Cleanup(run.Wait)
	run.Go(func() {
		if err := r.run(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// write replaces the file's text, as an editor does that writes in place.
func (r *reloading) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// hangup sends SIGHUP and waits until it was heard.
func (r *reloading) hangup() {
	r.hangups <- syscall.SIGHUP
	synctest.Wait()
}

// settle waits until a change of the file must have been seen.
func (r *reloading) settle() {
	time.Sleep(3 * lookEvery)
	synctest.Wait()
}

func (r *reloading) ids() (ids []string) {
	for _, app := range r.apps.All() {
		id := string(app.ID)
		if app.Disabled {
			id += " disabled"
		}
		ids = append(ids, id)
	}
	return ids
}

// An app's stream remembers what the app says now, at once.
func TestReloadGivesStreamsTheirBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := begin(t)
		r.write(t, "apps: [{id: a, key: ka, secret: s, retention: {max_age: 1h}}, {id: c, key: kc, secret: s}]\n")
		r.hangup()
		app, err := r.apps.ByID(t.Context(), "a")
		if err != nil || app.Retention.Age != time.Hour {
			t.Errorf("retention %+v, %v", app.Retention, err)
		}
		if diff := cmp.Diff([]broker.AppID{"c", "a"}, r.streams.adapted); diff != "" {
			t.Errorf("adapted (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]broker.AppID{"b"}, r.streams.forgotten); diff != "" {
			t.Errorf("forgotten (-want +got):\n%s", diff)
		}
		if !strings.Contains(r.log.String(), `"level":"WARN","msg":"not all streams could be given their new bounds","err":"the log is away"`) {
			t.Errorf("log:\n%s", r.log)
		}
	})
}

func TestReload(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		text    string
		ids     []string
		retired []broker.AppID
		result  string
		logs    []string
	}{
		"added": {
			reload0[:len(reload0)-2] + ", {id: c, key: kc, secret: s}]", []string{"a", "b", "c"}, nil, "taken",
			[]string{`"level":"INFO","msg":"apps taken from the configuration","added":["c"],"changed":null,"removed":null`},
		},
		"removed": {
			"apps: [{id: a, key: ka, secret: s}]", []string{"a"}, []broker.AppID{"b"}, "taken",
			[]string{`"added":null,"changed":null,"removed":["b"]`},
		},
		"changed": {
			"apps: [{id: a, key: k2, secret: s}, {id: b, key: kb, secret: s}]", []string{"a", "b"}, nil, "taken",
			[]string{`"added":null,"changed":["a"],"removed":null`},
		},
		"disabled": {
			"apps: [{id: a, key: ka, secret: s, disabled: true}, {id: b, key: kb, secret: s}]", []string{"a disabled", "b"}, []broker.AppID{"a"}, "taken",
			[]string{`"changed":["a"]`},
		},
		"nothing": {
			"# the same\n" + reload0, []string{"a", "b"}, nil, "unchanged",
			[]string{`"msg":"configuration read again, no app has changed"`},
		},
		"other settings": {
			"port: 7000\nlog: {level: debug}\n" + reload0, []string{"a", "b"}, nil, "unchanged",
			[]string{`"level":"WARN","msg":"these settings have changed, which needs a restart; only apps are read again","keys":["log.level","port"]`},
		},
		"both": {
			"port: 7000\napps: [{id: a, key: ka, secret: s}]", []string{"a"}, []broker.AppID{"b"}, "taken",
			[]string{`"keys":["port"]`, `"removed":["b"]`},
		},
		"mistakes": {
			"prot: 1\napps: [{id: c, key: kc}, {id: c, key: ka, secret: s, webhooks: [{url: x}]}]", []string{"a", "b"}, nil, "refused",
			[]string{
				`"level":"ERROR","msg":"configuration not taken, the apps stay as they are"`, "4 problems", "prot: unknown key; did you mean port?",
				"credential 1: secret: empty", "another app has it", "webhooks[0]: URL: ",
			},
		},
		"no YAML":     {"apps: [", []string{"a", "b"}, nil, "refused", []string{"did not find expected node content"}},
		"emptied":     {"", []string{"a", "b"}, nil, "refused", []string{"apps: there are none any more; restart to serve the default app instead"}},
		"apps are []": {"apps: []", []string{"a", "b"}, nil, "refused", []string{"apps: there are none any more"}},
	} {
		for how, trigger := range map[string]func(*reloading){"on SIGHUP": (*reloading).hangup, "on change": (*reloading).settle} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := begin(t)
					r.settle()
					before := r.log.String()
					r.write(t, tt.text)
					trigger(r)
					if diff := cmp.Diff(tt.ids, r.ids()); diff != "" {
						t.Errorf("apps (-want +got):\n%s", diff)
					}
					if diff := cmp.Diff(tt.retired, r.gone.take()); diff != "" {
						t.Errorf("retired (-want +got):\n%s", diff)
					}
					log := strings.TrimPrefix(r.log.String(), before)
					for _, want := range tt.logs {
						if !strings.Contains(log, want) {
							t.Errorf("no %s in the log:\n%s", want, log)
						}
					}
					if strings.Contains(log, `secret\": \"s`) {
						t.Error("a secret is in the log")
					}
					count, good := 1.0, 1.0
					switch tt.result {
					case "unchanged":
						count++ // the one at the start
					case "refused":
						good = 0
					}
					if got := testutil.ToFloat64(r.metrics.reads.WithLabelValues(tt.result)); got != count {
						t.Errorf("%v reads %s, want %v", got, tt.result, count)
					}
					if got := testutil.ToFloat64(r.metrics.good); got != good {
						t.Errorf("good: %v, want %v", got, good)
					}
				})
			})
		}
	}
}

// The file is read when it has come to rest, once per change.
func TestReloadWaitsForTheWriter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := begin(t)
		r.settle()
		const text = "apps: [{id: a, key: ka, secret: s}, {id: c, key: kc, secret: s}]"
		for i := range len(text) {
			if i%10 != 0 {
				continue
			}
			r.write(t, text[:i])
			time.Sleep(lookEvery)
			synctest.Wait()
			if got := r.ids(); len(got) != 2 || got[1] != "b" {
				t.Fatalf("read when %d bytes were written: %v", i, got)
			}
		}
		if strings.Contains(r.log.String(), "ERROR") {
			t.Errorf("a file that is being written is complained of:\n%s", r.log)
		}
		r.write(t, text)
		r.settle()
		if got := r.ids(); got[1] != "c" {
			t.Errorf("%v", got)
		}
		before := r.log.String()
		time.Sleep(time.Hour)
		if after := r.log.String(); after != before {
			t.Errorf("read without a change:\n%s", strings.TrimPrefix(after, before))
		}
	})
}

// A file that vanishes, or is replaced by a link, as Kubernetes does.
func TestReloadOfAnotherFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := begin(t)
		r.settle()
		if err := os.Remove(r.file); err != nil {
			t.Fatal(err)
		}
		r.settle()
		time.Sleep(time.Minute)
		if n := strings.Count(r.log.String(), "no such file or directory"); n != 1 {
			t.Errorf("that the file is gone is said %d times", n)
		}
		if got := r.ids(); len(got) != 2 {
			t.Errorf("%v", got)
		}
		other := filepath.Join(t.TempDir(), "other.yml")
		if err := os.WriteFile(other, []byte("apps: [{id: z, key: kz, secret: s}]"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(other, r.file); err != nil {
			t.Fatal(err)
		}
		r.settle()
		if diff := cmp.Diff([]string{"z"}, r.ids()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// What changed between loading and running isn't missed.
func TestReloadOfWhatChangedBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := begin(t)
		r.write(t, "apps: [{id: z, key: kz, secret: s}]")
		r.settle()
		if diff := cmp.Diff([]string{"z"}, r.ids()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// An app that is gone is retired again and again, until it comes back.
func TestReloadRetires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := begin(t)
		r.write(t, "apps: [{id: a, key: ka, secret: s}]")
		r.hangup()
		for range 3 {
			if diff := cmp.Diff([]broker.AppID{"b"}, r.gone.take()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			time.Sleep(lookEvery)
			synctest.Wait()
		}
		r.write(t, reload0)
		r.hangup()
		r.gone.take()
		time.Sleep(time.Minute)
		if got := r.gone.take(); len(got) != 0 {
			t.Errorf("retired after it is back: %v", got)
		}
	})
}

// Should webhooks refuse what the configuration's check let pass, all stays as it was.
func TestReloadIsWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := begin(t)
		r.hooks.err = errors.New("no such endpoint")
		r.write(t, "apps: [{id: z, key: kz, secret: s}]")
		r.hangup()
		if diff := cmp.Diff([]string{"a", "b"}, r.ids()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if !strings.Contains(r.log.String(), "no such endpoint") || len(r.gone.take()) > 0 {
			t.Errorf("log:\n%s", r.log)
		}
	})
}
