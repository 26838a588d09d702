package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/playhead/playhead/adapters/database"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// appSource is the database that the apps are in, and what was last read of it. All but its metrics is one
// goroutine's: the start's, and then the reloader's.
type appSource struct {
	cfg      *Config
	database appStore
	logger   *slog.Logger
	reads    *prometheus.CounterVec

	revision int64        // of what was last read
	down     bool         // whether the last look found nobody
	asked    atomic.Int64 // when the database last answered, Unix ns; 0 when it hasn't
}

// appStore is what apps are read from; a [database.Database] is.
type appStore interface {
	Check(ctx context.Context) error
	Revision(ctx context.Context) (int64, error)
	Apps(ctx context.Context) (database.Set, error)
	String() string
}

func newAppSource(cfg *Config, from appStore, logger *slog.Logger, r prometheus.Registerer) *appSource {
	a := &appSource{cfg: cfg, database: from, logger: logger}
	a.reads = promauto.With(r).NewCounterVec(prometheus.CounterOpts{
		Name: "playhead_apps_reads_total",
		Help: "How often the database was asked for the apps, by what came of it.",
	}, []string{"result"})
	for _, result := range []string{"taken", "unchanged", "refused", "unreachable"} {
		a.reads.WithLabelValues(result)
	}
	promauto.With(r).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "playhead_apps_age_seconds",
		Help: "How long ago the database last said what the apps are, or that they are unchanged.",
	}, func() float64 {
		if at := a.asked.Load(); at != 0 {
			return time.Since(time.Unix(0, at)).Seconds()
		}
		return 0
	})
	return a
}

// again is how long a database that can't be reached at the start is left alone.
const again = time.Second

// begin reads the apps at the start, for which it waits until ctx ends. What a database refuses, tables
// that aren't there, and rows with mistakes aren't waited for.
func (a *appSource) begin(ctx context.Context) ([]AppConfig, error) {
	tick := time.NewTicker(again)
	defer tick.Stop()
	var why error // why not yet
	for {
		list, err := a.first(ctx)
		var wrong mistakes
		if err == nil || errors.As(err, &wrong) || !waitable(err) {
			return list, err
		}
		if why == nil {
			a.logger.Warn("apps can't be read yet; trying on", "err", err)
		}
		if why == nil || ctx.Err() == nil {
			why = err // and not that the time is up
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("read the apps: %w", why)
		}
	}
}

// waitable reports whether an error may pass while one waits.
func waitable(err error) bool {
	for _, final := range []error{database.ErrRefused, database.ErrNoSchema, database.ErrOldSchema, database.ErrNewSchema} {
		if errors.Is(err, final) {
			return false
		}
	}
	return true
}

func (a *appSource) first(ctx context.Context) ([]AppConfig, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if err := a.database.Check(ctx); err != nil {
		return nil, advised(err)
	}
	list, _, err := a.read(ctx)
	return list, err
}

// look reads the apps if they have changed since they were last read, or in any case. Without an error and
// without a change nothing has to be done. Errors: of type mistakes for rows with mistakes, which is told
// once; else the database can't be reached.
func (a *appSource) look(ctx context.Context, anyway bool) (list []AppConfig, changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	revision, err := a.database.Revision(ctx)
	if err != nil {
		return nil, false, err
	}
	a.asked.Store(time.Now().UnixNano())
	if revision == a.revision && !anyway {
		return nil, false, nil
	}
	return a.read(ctx)
}

func (a *appSource) read(ctx context.Context) (list []AppConfig, changed bool, err error) {
	set, err := a.database.Apps(ctx)
	if err != nil {
		return nil, false, err
	}
	a.asked.Store(time.Now().UnixNano())
	a.revision = set.Revision
	if list, err = a.cfg.appsFrom(set.Apps); err != nil {
		return nil, false, fmt.Errorf("%s: %w", a.database, err)
	}
	return list, true, nil
}

// openApps reads the apps where they are in a database, and has the reloader look for changes of them.
func (n *Node) openApps(ctx context.Context, s *stack) error {
	if n.cfg.AppManager.file() {
		return nil
	}
	d, err := n.cfg.openDatabase()
	if err != nil {
		return err
	}
	s.push("database", func(context.Context) error { return d.Close() })
	n.source = newAppSource(&n.loaded, d, n.logger, n.registry)
	start, cancel := context.WithTimeout(ctx, time.Duration(n.cfg.StartupTimeout))
	defer cancel()
	list, err := n.source.begin(start)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err() // told to end meanwhile
		}
		return startError(start, err)
	}
	n.logger.Info("apps read", "from", d.String(), "apps", len(list))
	n.cfg.Apps = list
	_, err = n.apps.Replace(n.cfg.apps())
	return err
}
