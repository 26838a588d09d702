// Package apps finds an app by id or key.
package apps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/playhead/playhead/broker"
)

// Config configures [Apps].
type Config struct {
	// Apps are the apps there are. They are copied, and their zero limits get their
	// defaults. Default: none, and every search ends in [broker.ErrNoApp].
	Apps []broker.App
}

// Apps is a fixed set of apps. It is safe for concurrent use. The apps it hands out are shared
// and must not be changed.
type Apps struct {
	set atomic.Pointer[index] // one load per search, so that a search sees one set throughout
}

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
		checkLimits(app.Limits, report)

		set.all = append(set.all, &app)
		if app.ID != "" {
			set.byID[app.ID] = &app
		}
	}
	return set, errors.Join(errs...)
}

// checkID reports what makes an id unfit for paths, metric labels and logs.
func checkID(id broker.AppID, report func(error)) {
	switch {
	case id == "":
		report(errors.New("id: empty"))
	case !utf8.ValidString(string(id)):
		report(errors.New("id: not UTF-8"))
	case strings.ContainsFunc(string(id), func(r rune) bool { return !unicode.IsPrint(r) || r == '/' }):
		report(errors.New("id: only printable characters but '/' are allowed"))
	}
}

// checkCredentials reports what is wrong with the app's credentials and enters its keys into
// taken.
func checkCredentials(app *broker.App, taken map[string]*broker.App, report func(error)) {
	if len(app.Credentials) == 0 {
		report(errors.New("credentials: none; at least one key and secret is needed"))
	}
	for i, c := range app.Credentials {
		what := fmt.Sprintf("credential %d", i+1)
		if c.Secret == "" {
			report(fmt.Errorf("%s: secret: empty", what))
		}
		if c.Key == "" {
			report(fmt.Errorf("%s: key: empty", what))
			continue
		}
		// A key is followed by ':' in signatures and is a segment of WebSocket paths.
		if strings.ContainsFunc(c.Key, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' || r == '/' }) {
			report(fmt.Errorf("%s: key %q: only printable ASCII but ' ', ':' and '/' is allowed", what, c.Key))
		}
		switch other := taken[c.Key]; {
		case other == app:
			report(fmt.Errorf("%s: key %q: listed twice", what, c.Key))
		case other != nil:
			report(fmt.Errorf("%s: key %q: app %q has it too", what, c.Key, other.ID))
		default:
			taken[c.Key] = app
		}
	}
}

// maxChannelName is the longest channel name the protocol knows, in characters: client libraries
// refuse longer ones, so nobody could subscribe.
const maxChannelName = 200

// checkLimits reports limits that can't be kept.
func checkLimits(l broker.Limits, report func(error)) {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"data bytes", l.DataBytes},
		{"channel name characters", l.ChannelNameChars},
		{"event name characters", l.EventNameChars},
		{"channels per publish", l.ChannelsPerPublish},
		{"events per batch", l.EventsPerBatch},
		{"presence members", l.PresenceMembers},
		{"presence user id characters", l.PresenceUserIDChars},
		{"presence user info bytes", l.PresenceUserInfoBytes},
		{"client events per second", l.ClientEventsPerSecond},
	} {
		if f.value < 0 {
			report(fmt.Errorf("limit of %s: %d is negative", f.name, f.value))
		}
	}
	if l.ChannelNameChars > maxChannelName {
		report(fmt.Errorf("limit of channel name characters: %d is over the protocol's %d", l.ChannelNameChars, maxChannelName))
	}
}
