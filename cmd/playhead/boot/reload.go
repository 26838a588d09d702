package boot

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/apps"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// lookEvery is how often the configuration's file is looked at.
const lookEvery = 2 * time.Second

// reloader reads the configuration again, and the apps in a database, and puts the apps in the place of
// those there are. All other settings stay as they were at the start.
type reloader struct {
	source *Source    // nil: the configuration isn't read again
	rows   *appSource // nil: the apps are the configuration's
	hangup <-chan os.Signal
	start  Config // what the node was started with, as it was loaded

	apps     *apps.Apps
	webhooks interface{ Reload() error }
	node     interface{ Retire(broker.AppID) }
	streams  appStreams
	logger   *slog.Logger
	metrics  *reloadMetrics

	taken   Config                // what was last taken; its apps are in use
	retired map[broker.AppID]bool // apps that were in use and aren't any more, or are disabled
}

// appStreams are the streams of apps; [streams.Streams] are.
type appStreams interface {
	Adapt(ctx context.Context, apps ...broker.AppID) error
	Forget(app broker.AppID)
}

// reloadMetrics are those of the configuration.
type reloadMetrics struct {
	reads *prometheus.CounterVec
	good  prometheus.Gauge
}

func newReloadMetrics(r prometheus.Registerer) *reloadMetrics {
	m := &reloadMetrics{
		reads: promauto.With(r).NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_config_reads_total",
			Help: "How often the configuration was read again, by what came of it.",
		}, []string{"result"}),
		good: promauto.With(r).NewGauge(prometheus.GaugeOpts{
			Name: "playhead_config_good",
			Help: "1 unless the configuration, when it was last read, had mistakes and was not taken.",
		}),
	}
	m.good.Set(1)
	return m
}

// run reads whatever it has to whenever it has to, until ctx ends.
func (r *reloader) run(ctx context.Context) error {
	if r.source == nil && r.rows == nil {
		<-ctx.Done()
		return nil
	}
	var poll <-chan time.Time
	if r.rows != nil {
		ticker := time.NewTicker(time.Duration(r.start.AppManager.PollInterval))
		defer ticker.Stop()
		poll = ticker.C
	}
	r.taken, r.retired = r.start, map[broker.AppID]bool{}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	// It may have changed since it was loaded, so the first looks find a change in any case.
	var read, last fileState
	for {
		select {
		case <-r.hangup:
			if r.rows != nil {
				r.poll(ctx, true)
			}
			if r.source != nil {
				read = stateOf(r.source.path())
				r.reload(ctx, true)
			}
		case <-poll:
			r.poll(ctx, false)
		case <-look.C:
			r.retire()
			if r.source == nil {
				continue
			}
			now := stateOf(r.source.path())
			// A file that is still being written would be read too early.
			if now.same(last) && !now.same(read) {
				read = now
				r.reload(ctx, false)
			}
			last = now
		case <-ctx.Done():
			return nil
		}
	}
}

// fileState is how a file looks from outside; nil when there is none.
type fileState struct {
	looked bool
	info   fs.FileInfo
}

func stateOf(file string) fileState {
	if file == "" {
		return fileState{}
	}
	info, err := os.Stat(file)
	if err != nil {
		return fileState{looked: true}
	}
	return fileState{looked: true, info: info}
}

func (s fileState) same(as fileState) bool {
	if s.info == nil || as.info == nil {
		return s.looked == as.looked && s.info == as.info
	}
	return os.SameFile(s.info, as.info) && s.info.Size() == as.info.Size() && s.info.ModTime().Equal(as.info.ModTime())
}

// reload reads the configuration and takes its apps. asked says that somebody waits to hear of it.
func (r *reloader) reload(ctx context.Context, asked bool) {
	cfg, changes, err := r.take()
	if err != nil {
		r.metrics.reads.WithLabelValues("refused").Inc()
		r.metrics.good.Set(0)
		r.logger.Error("configuration not taken, the apps stay as they are", "err", err)
		return
	}
	r.metrics.good.Set(1)
	if keys := differing(&r.start, &cfg); len(keys) > 0 {
		r.logger.Warn("these settings have changed, which needs a restart; only apps are read again", "keys", keys)
	}
	if r.rows != nil {
		r.metrics.reads.WithLabelValues("unchanged").Inc() // no app is its
		return
	}
	if changes.None() {
		r.metrics.reads.WithLabelValues("unchanged").Inc()
		level := slog.LevelDebug
		if asked {
			level = slog.LevelInfo
		}
		r.logger.Log(ctx, level, "configuration read again, no app has changed")
		return
	}
	r.metrics.reads.WithLabelValues("taken").Inc()
	r.logger.Info("apps taken from the configuration",
		"added", changes.Added, "changed", changes.Changed, "removed", changes.Removed)
	r.follow(ctx, &cfg, changes)
}

// poll reads the apps of the database if they have changed, and takes them. asked says that somebody waits
// to hear of it.
func (r *reloader) poll(ctx context.Context, asked bool) {
	list, changed, err := r.rows.look(ctx, asked)
	cfg := r.start
	var changes apps.Changes
	if changed {
		cfg.Apps = list
		changes, err = r.put(cfg.apps())
	}
	var wrong mistakes
	if err != nil && !changed && !errors.As(err, &wrong) {
		r.away(ctx, err)
		return
	}
	if r.rows.down {
		r.rows.down = false
		r.logger.Info("the database of the apps answers again")
	}
	switch {
	case err != nil:
		r.rows.reads.WithLabelValues("refused").Inc()
		r.logger.Error("apps of the database not taken, they stay as they are", "err", err)
	case changes.None():
		r.rows.reads.WithLabelValues("unchanged").Inc()
		if asked {
			r.logger.Info("apps of the database read again, none has changed")
		}
	default:
		r.rows.reads.WithLabelValues("taken").Inc()
		r.logger.Info("apps taken from the database",
			"added", changes.Added, "changed", changes.Changed, "removed", changes.Removed)
		r.follow(ctx, &cfg, changes)
	}
}

// away notes that the database can't be asked. Whoever is known stays so.
func (r *reloader) away(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // the node ends
	}
	r.rows.reads.WithLabelValues("unreachable").Inc()
	if !r.rows.down {
		r.logger.Warn("the database of the apps can't be asked; the apps stay as they are until it can", "err", err)
	}
	r.rows.down = true
}

// follow does what follows from apps that were taken.
func (r *reloader) follow(ctx context.Context, cfg *Config, changes apps.Changes) {
	if cfg.forDevelopment() && !r.start.forDevelopment() {
		r.logger.Warn("an app's credentials are known to everybody: for development only")
	}
	r.retire()
	r.adapt(ctx, changes)
}

// adapt has the streams remember as much as the apps say now. What can't be changed at the moment is
// changed when the stream is next opened.
func (r *reloader) adapt(ctx context.Context, changes apps.Changes) {
	if err := r.streams.Adapt(ctx, slices.Concat(changes.Added, changes.Changed)...); err != nil {
		r.logger.Warn("not all streams could be given their new bounds", "err", err)
	}
	for _, app := range changes.Removed {
		r.streams.Forget(app)
	}
}

// take puts the apps of the configuration in the place of those there are. On an error nothing has
// changed.
func (r *reloader) take() (Config, apps.Changes, error) {
	cfg, err := Load(*r.source)
	if err != nil {
		return Config{}, apps.Changes{}, err
	}
	if len(cfg.Apps) == 0 && len(r.taken.Apps) > 0 {
		// The default app may be one that everybody has the secret of, and a file that lost its
		// apps is rather a mistake.
		return Config{}, apps.Changes{}, errors.New("configuration: apps: there are none any more; restart to serve the default app instead")
	}
	if r.rows != nil {
		return cfg, apps.Changes{}, nil
	}
	changes, err := r.put(cfg.apps())
	if err != nil {
		return Config{}, apps.Changes{}, err
	}
	r.taken = cfg
	return cfg, changes, nil
}

// put puts apps in the place of those there are. On an error nothing has changed.
func (r *reloader) put(list []broker.App) (apps.Changes, error) {
	was := r.apps.All()
	changes, err := r.apps.Replace(list)
	if err != nil {
		return apps.Changes{}, err
	}
	if err := r.webhooks.Reload(); err != nil {
		return apps.Changes{}, errors.Join(err, r.restore(was))
	}
	for _, app := range was {
		r.retired[app.ID] = true
	}
	for _, app := range r.apps.All() {
		r.retired[app.ID] = app.Disabled
	}
	return changes, nil
}

// restore puts former apps back.
func (r *reloader) restore(was []*broker.App) error {
	list := make([]broker.App, 0, len(was))
	for _, app := range was {
		list = append(list, *app)
	}
	_, err := r.apps.Replace(list)
	return err
}

// retire asks the sessions of apps that aren't served any more to come back, which they can't. It is
// called now and then, because a session may have been on its way when its app went.
func (r *reloader) retire() {
	for id, retired := range r.retired {
		if retired {
			r.node.Retire(id)
		}
	}
}

// differing lists the keys, those of apps aside, whose settings differ.
func differing(a, b *Config) []string {
	var keys []string
	was := map[string]any{}
	for _, s := range settings(a) {
		was[s.key] = s.field.Interface()
	}
	for _, s := range settings(b) {
		if strings.HasPrefix(s.key, "apps[") || strings.HasPrefix(s.key, "default_app.") {
			continue
		}
		if !reflect.DeepEqual(was[s.key], s.field.Interface()) {
			keys = append(keys, s.key)
		}
	}
	slices.Sort(keys)
	return keys
}
