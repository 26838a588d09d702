// Package apps finds an app by id or key.
package apps

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/playhead/playhead/broker"
)

// Config configures [Apps].
type Config struct {
	// Apps are the apps there are. They are copied, and their zero limits get their
	// defaults. Default: none, and every search ends in [broker.ErrNoApp].
	Apps []broker.App
}

// Apps is a set of apps, which is replaced as a whole. It is safe for concurrent use. The apps it
// hands out are shared and must not be changed; who holds one when it is replaced still has the
// former one.
type Apps struct {
	set atomic.Pointer[index] // one load per search, so that a search sees one set throughout

	replacing sync.Mutex // held while the set is replaced, so that the changes are what they are said to be
}

// Changes are what replacing a set did, by the apps' ids.
type Changes struct {
	Added, Removed, Changed []broker.AppID
}

// None reports whether nothing changed.
func (c Changes) None() bool { return len(c.Added)+len(c.Removed)+len(c.Changed) == 0 }

// index is one set of apps. It is immutable once stored.
type index struct {
	all   []*broker.App // as configured
	byID  map[broker.AppID]*broker.App
	byKey map[string]*broker.App
}

// New checks the apps and returns the set of them. The error names every problem there is, not
// just the first.
func New(cfg Config) (*Apps, error) {
	set, err := newIndex(cfg.Apps)
	if err != nil {
		return nil, fmt.Errorf("apps: %w", err)
	}
	a := &Apps{}
	a.set.Store(set)
	return a, nil
}

// ByID returns the app with the id. Error: [broker.ErrNoApp]. The context is for sets that have
// to ask elsewhere; this one has not.
func (a *Apps) ByID(_ context.Context, id broker.AppID) (*broker.App, error) {
	if app := a.set.Load().byID[id]; app != nil {
		return app, nil
	}
	return nil, fmt.Errorf("find app %q: %w", id, broker.ErrNoApp)
}

// ByKey returns the app that has the key among its credentials. Error: [broker.ErrNoApp].
func (a *Apps) ByKey(_ context.Context, key string) (*broker.App, error) {
	if app := a.set.Load().byKey[key]; app != nil {
		return app, nil
	}
	return nil, fmt.Errorf("find app by key %q: %w", key, broker.ErrNoApp)
}

// Replace puts the given apps in the place of all there are, for every search that begins from now
// on. An app that is as it was stays the very same. On an error, which names every problem there is,
// nothing has changed.
func (a *Apps) Replace(by []broker.App) (Changes, error) {
	set, err := newIndex(by)
	if err != nil {
		return Changes{}, fmt.Errorf("apps: %w", err)
	}
	a.replacing.Lock()
	defer a.replacing.Unlock()
	changes := set.adopt(a.set.Load())
	a.set.Store(set)
	return changes, nil
}

// adopt takes from a former set the apps that are as they were, and returns what differs. The set
// must not be in use yet.
func (x *index) adopt(former *index) Changes {
	var c Changes
	for i, app := range x.all {
		was := former.byID[app.ID]
		switch {
		case was == nil:
			c.Added = append(c.Added, app.ID)
		case !reflect.DeepEqual(was, app):
			c.Changed = append(c.Changed, app.ID)
		default:
			x.all[i], x.byID[app.ID] = was, was
			for _, pair := range was.Credentials {
				x.byKey[pair.Key] = was
			}
		}
	}
	for _, app := range former.all {
		if x.byID[app.ID] == nil {
			c.Removed = append(c.Removed, app.ID)
		}
	}
	return c
}

// All returns the apps in the order in which they were configured.
func (a *Apps) All() []*broker.App { return slices.Clone(a.set.Load().all) }

// newIndex copies, completes and checks the apps.
func newIndex(from []broker.App) (*index, error) {
	set := &index{
		byID:  make(map[broker.AppID]*broker.App, len(from)),
		byKey: make(map[string]*broker.App, len(from)),
	}
	var errs []error
	for i := range from {
		app := from[i]
		app.Credentials = slices.Clone(app.Credentials)
		app.AllowedOrigins = slices.Clone(app.AllowedOrigins)
		app.Webhooks = slices.Clone(app.Webhooks)
		app.Limits = app.Limits.WithDefaults()

		what := "app " + strconv.Quote(string(app.ID))
		if app.ID == "" {
			what = fmt.Sprintf("app without id (number %d)", i+1)
		}
		report := func(err error) { errs = append(errs, fmt.Errorf("%s: %w", what, err)) }
		checkID(app.ID, report)
		if set.byID[app.ID] != nil {
			report(errors.New("id: another app has it"))
		}
		checkCredentials(&app, set.byKey, report)
		checkTimes(&app, report)
		checkOrigins(app.AllowedOrigins, report)
		checkLimits(app.Limits, report)

		set.all = append(set.all, &app)
		if app.ID != "" {
			set.byID[app.ID] = &app
		}
	}
	return set, errors.Join(errs...)
}
