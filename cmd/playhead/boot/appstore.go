package boot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/playhead/playhead/adapters/database"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/apps"
)

// AppStore is where the apps of a configuration are kept, for commands that look at them and change them:
// the file or a database. A running node takes what has changed by itself.
type AppStore struct {
	cfg      Config
	file     *appFile           // nil where the apps aren't in a file
	database *database.Database // nil where they aren't in a database
}

// Entry is an app as it is kept.
type Entry struct {
	ID          broker.AppID
	Disabled    bool
	Credentials []broker.Credential // oldest first
	Created     time.Time           // zero where that isn't known
}

// OpenApps opens the store that a configuration names. Error: the configuration has mistakes.
func OpenApps(src Source) (*AppStore, error) {
	cfg, err := Load(src)
	if err != nil {
		return nil, err
	}
	s := &AppStore{cfg: cfg}
	if !cfg.AppManager.file() {
		if s.database, err = cfg.openDatabase(); err != nil {
			return nil, err
		}
		return s, nil
	}
	if src.path() != "" {
		s.file = &appFile{source: src, cfg: cfg}
	}
	return s, nil
}

// Close gives back what the store holds.
func (s *AppStore) Close() error {
	if s.database == nil {
		return nil
	}
	return s.database.Close()
}

// String says where the apps are kept.
func (s *AppStore) String() string {
	switch {
	case s.database != nil:
		return s.database.String()
	case s.file != nil:
		return s.file.source.path()
	}
	return "the environment"
}

// Clients says where clients and backends reach a node of the configuration's on this machine.
func (s *AppStore) Clients() (host string, port int) {
	return loopback(s.cfg.Host), s.cfg.Port.number()
}

// Default reports whether the store has no app of its own, so that the default app is served.
func (s *AppStore) Default() bool { return s.cfg.AppManager.file() && len(s.cfg.Apps) == 0 }

// Migrate makes a database ready, and returns how many steps that took. Error: the apps aren't in one, or
// as of [database.Database.Migrate].
func (s *AppStore) Migrate(ctx context.Context) (int, error) {
	if s.database == nil {
		return 0, errors.New("app_manager.driver is file, and a file needs no migration; set it (APP_MANAGER_DRIVER) to mysql or postgres")
	}
	n, err := s.database.Migrate(ctx)
	return n, advised(err)
}

// List returns the apps, the default app where there is no other.
func (s *AppStore) List(ctx context.Context) ([]Entry, error) {
	if s.database == nil {
		var list []Entry
		for _, a := range s.cfg.apps() {
			list = append(list, Entry{ID: a.ID, Disabled: a.Disabled, Credentials: a.Credentials})
		}
		return list, nil
	}
	if err := s.database.Check(ctx); err != nil {
		return nil, advised(err)
	}
	set, err := s.database.Apps(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Entry, 0, len(set.Apps))
	for _, a := range set.Apps {
		e := Entry{ID: a.ID, Disabled: a.Disabled, Created: a.Created}
		for _, k := range a.Keys {
			e.Credentials = append(e.Credentials, k.Credential)
		}
		list = append(list, e)
	}
	return list, nil
}

// Add adds an app with one credential and settings in JSON, "" for none. Error: what is wrong with it, or
// who has its id or key.
func (s *AppStore) Add(ctx context.Context, id broker.AppID, c broker.Credential, settings string) error {
	row := database.App{ID: id, Keys: []database.Key{{Credential: c}}}
	var err error
	if row.Settings, err = compact(fmt.Sprintf("app %q", id), settings); err != nil {
		return err
	}
	list, err := s.cfg.appsFrom([]database.App{row})
	if err != nil {
		return err
	}
	switch {
	case s.database != nil:
		return s.inDatabase(ctx, func() error { return s.database.Add(ctx, row) })
	case s.file != nil:
		return s.file.add(list[0].app(), row)
	}
	return s.nowhere("added")
}

// AddKey gives an app another credential, as its newest. Errors are as of [AppStore.Add], and
// [broker.ErrNoApp].
func (s *AppStore) AddKey(ctx context.Context, id broker.AppID, c broker.Credential) error {
	_, err := apps.New(apps.Config{Apps: []broker.App{{ID: id, Credentials: []broker.Credential{c}}}})
	switch {
	case err != nil:
		return err
	case s.database != nil:
		return s.inDatabase(ctx, func() error { return s.database.AddKey(ctx, id, c) })
	case s.file != nil && !s.Default():
		return s.file.addKey(id, c)
	}
	return s.nowhere("changed")
}

// DropKeys takes keys from an app. Errors: [broker.ErrNoApp], [database.ErrNoKey], [database.ErrLastKey],
// after all of which nothing has changed.
func (s *AppStore) DropKeys(ctx context.Context, id broker.AppID, keys ...string) error {
	switch {
	case s.database != nil:
		return s.inDatabase(ctx, func() error { return s.database.DropKeys(ctx, id, keys...) })
	case s.file != nil && !s.Default():
		return s.file.dropKeys(id, keys)
	}
	return s.nowhere("changed")
}

// SetDisabled disables an app or enables it. Error: [broker.ErrNoApp].
func (s *AppStore) SetDisabled(ctx context.Context, id broker.AppID, disabled bool) error {
	switch {
	case s.database != nil:
		return s.inDatabase(ctx, func() error { return s.database.SetDisabled(ctx, id, disabled) })
	case s.file != nil && !s.Default():
		return s.file.setDisabled(id, disabled)
	}
	return s.nowhere("changed")
}

// Remove removes an app. Errors: [broker.ErrNoApp]; the last one of a file stays, because the default app
// would be served in its place.
func (s *AppStore) Remove(ctx context.Context, id broker.AppID) error {
	switch {
	case s.database != nil:
		return s.inDatabase(ctx, func() error { return s.database.Remove(ctx, id) })
	case s.file != nil && !s.Default():
		return s.file.remove(id)
	}
	return s.nowhere("removed")
}

// inDatabase changes something in a database whose tables this version knows.
func (s *AppStore) inDatabase(ctx context.Context, do func() error) error {
	if err := s.database.Check(ctx); err != nil {
		return advised(err)
	}
	return do()
}

// nowhere says what to do where there is nothing that a command could change.
func (s *AppStore) nowhere(what string) error {
	if s.file == nil {
		return fmt.Errorf("there is no configuration file in which apps could be %s: name one with --config or PLAYHEAD_CONFIG; "+
			"the default app, %q, is set by PLAYHEAD_DEFAULT_APP_ID, _KEY and _SECRET", what, s.cfg.DefaultApp.ID)
	}
	return fmt.Errorf("%s has no apps: %q is the default app, which is set by default_app there, or PLAYHEAD_DEFAULT_APP_ID, _KEY and _SECRET; "+
		"playhead apps add makes one that takes its place", s, s.cfg.DefaultApp.ID)
}
