package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/adapters/database"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/apps"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// shelf is a database of apps in memory, which may be away.
type shelf struct {
	mu    sync.Mutex
	set   database.Set
	err   error
	asked int // how often it was read as a whole
}

func (s *shelf) become(err error, rows ...database.App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	if err == nil {
		s.set = database.Set{Apps: rows, Revision: s.set.Revision + 1}
	}
}

func (s *shelf) Check(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *shelf) Revision(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set.Revision, s.err
}

func (s *shelf) Apps(context.Context) (database.Set, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.set, s.err
}

func (s *shelf) String() string { return "the shelf" }

// shelved is a configuration whose apps are in a database.
func shelved() *Config {
	cfg := &Config{}
	cfg.AppManager.Driver = "mysql"
	cfg.fill()
	return cfg
}

// What happens in the database happens here a moment later, or is told and happens not.
func TestPoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		from, registry, log := &shelf{}, prometheus.NewRegistry(), &logged{}
		logger := slog.New(slog.NewJSONHandler(log, nil))
		from.become(nil, row("a", "{}", "ka"), row("b", "{}", "kb"))
		cfg := shelved()
		source := newAppSource(cfg, from, logger, registry)
		list, err := source.begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		cfg.Apps = list
		all, err := apps.New(apps.Config{Apps: cfg.apps()})
		if err != nil {
			t.Fatal(err)
		}
		gone := &retiring{}
		file, hangups := filepath.Join(t.TempDir(), "playhead.yml"), make(chan os.Signal, 1)
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("app_manager: {driver: mysql}")
		r := &reloader{
			source: &Source{File: file, Getenv: func(string) string { return "" }}, hangup: hangups,
			rows: source, start: *shelved(), apps: all, webhooks: &hooks{}, node: gone, streams: &bounding{},
			logger: logger, metrics: newReloadMetrics(prometheus.NewRegistry()),
		}
		var run sync.WaitGroup
		t.Cleanup(run.Wait)
		run.Go(func() {
			if err := r.run(t.Context()); err != nil {
				t.Error(err)
			}
		})
		known := func(want ...string) {
			t.Helper()
			time.Sleep(5*time.Second + time.Millisecond)
			synctest.Wait()
			var got []string
			for _, a := range all.All() {
				id := string(a.ID)
				if a.Disabled {
					id += " disabled"
				}
				got = append(got, id)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		said := func(times int, words string) {
			t.Helper()
			if n := strings.Count(log.String(), words); n != times {
				t.Errorf("%q was logged %d times, want %d; the log:\n%s", words, n, times, log)
			}
		}
		reads := func(result string) float64 { return testutil.ToFloat64(source.reads.WithLabelValues(result)) }

		known("a", "b")
		known("a", "b")
		if from.asked != 1 || reads("unchanged") != 2 {
			t.Errorf("unchanged, and read %d times, %v looks", from.asked, reads("unchanged"))
		}
		b := row("b", "{}", "kb", "kb2")
		b.Disabled = true
		from.become(nil, b, row("c", "{}", "kc"))
		known("b disabled", "c")
		if diff := cmp.Diff([]broker.AppID{"a", "b"}, gone.take()); diff != "" {
			t.Errorf("retired (-want +got):\n%s", diff)
		}
		from.become(nil, b, row("c", `{"limitz": 1}`, "kc"), row("d", "{}", "kd"))
		known("b disabled", "c")
		known("b disabled", "c")
		said(1, `app \"c\": settings: limitz: unknown key`)
		if reads("refused") != 1 {
			t.Errorf("%v refused", reads("refused"))
		}
		from.become(errors.New("away"))
		known("b disabled", "c")
		known("b disabled", "c")
		said(1, "can't be asked")
		age := func() float64 {
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if f.GetName() == "playhead_apps_age_seconds" {
					return f.GetMetric()[0].GetGauge().GetValue()
				}
			}
			t.Fatal("no age")
			return 0
		}
		if a := age(); a < 10 || a > 11 || reads("unreachable") != 2 {
			t.Errorf("away for two looks: age %v, %v unreachable", a, reads("unreachable"))
		}
		from.become(nil, row("d", "{}", "kd"))
		known("d")
		said(1, "answers again")
		if a := age(); a > 1 {
			t.Errorf("age %v after an answer", a)
		}
		from.become(nil, row("e", "{}", "ke"))
		hangups <- syscall.SIGHUP
		synctest.Wait()
		if _, err := all.ByKey(t.Context(), "ke"); err != nil {
			t.Errorf("after SIGHUP: %v", err)
		}
		// The file has no say in the apps, and in nothing else before a restart.
		write("port: 7000\napp_manager: {driver: mysql}")
		known("e")
		said(1, "which needs a restart")
		write("apps: [{id: f, key: kf, secret: s}]\napp_manager: {driver: mysql}")
		known("e")
		said(1, "the apps are in the database; give one of the two")
		from.become(nil)
		known()
	})
}

// The start waits for a database that isn't there, and not for one that says no.
func TestBegin(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err   error
		heals bool
		waits time.Duration
		says  string
	}{
		"there":   {nil, false, 0, ""},
		"late":    {errors.New("not yet"), true, 3 * time.Second, ""},
		"never":   {errors.New("no route to host db"), false, time.Minute, "no route to host db"},
		"refused": {fmt.Errorf("%w: who are you", database.ErrRefused), false, 0, "who are you"},
		"missing": {database.ErrNoSchema, false, 0, "run playhead apps migrate"},
		"older":   {database.ErrOldSchema, false, 0, "run playhead apps migrate"},
		"newer":   {database.ErrNewSchema, false, 0, "run a later version of playhead"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				from := &shelf{}
				from.become(nil, row("a", "{}", "k"))
				from.become(tt.err, row("a", "{}", "k"))
				a := newAppSource(shelved(), from, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if tt.heals {
					time.AfterFunc(tt.waits-time.Millisecond, func() { from.become(nil, row("a", "{}", "k")) })
				}
				began := time.Now()
				list, err := a.begin(ctx)
				if waited := time.Since(began); waited != tt.waits {
					t.Errorf("waited %v, want %v", waited, tt.waits)
				}
				if tt.says == "" {
					if err != nil || len(list) != 1 {
						t.Errorf("%v, %v", list, err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), tt.says) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v; want %q", err, tt.says)
				}
			})
		})
	}
}
