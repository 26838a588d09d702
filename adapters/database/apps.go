package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/playhead/playhead/broker"
)

// App is an app as it is kept.
type App struct {
	ID       broker.AppID
	Disabled bool
	Keys     []Key  // oldest first
	Settings string // an object in JSON, with the names that the configuration file has
	Created  time.Time
}

// Key is one of an app's credentials.
type Key struct {
	broker.Credential
	Created time.Time
}

// Set is all apps at one moment, oldest first, with the revision of then.
type Set struct {
	Apps     []App
	Revision int64
}

// maxChars bounds what the tables take of an id, a key and a secret, in characters.
const maxChars = 255

// Revision returns the number that every change of an app makes another. Errors: [ErrNoSchema],
// [ErrRefused], or that the database can't be asked.
func (d *Database) Revision(ctx context.Context) (int64, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	var revision int64
	err := d.db.QueryRowContext(ctx, selectRevision).Scan(&revision)
	return revision, d.explain(wrap("read the revision", err))
}

const selectRevision = "SELECT revision FROM playhead_revision"

// Apps returns all apps, as they were at one moment. Errors are as of [Database.Revision].
func (d *Database) Apps(ctx context.Context) (Set, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	set, err := d.apps(ctx)
	return set, d.explain(wrap("read the apps", err))
}

func (d *Database) apps(ctx context.Context) (set Set, err error) {
	tx, err := d.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return Set{}, err
	}
	defer tx.Rollback() //nolint:errcheck // nothing was changed
	if err := tx.QueryRowContext(ctx, selectRevision).Scan(&set.Revision); err != nil {
		return Set{}, err
	}
	place := map[broker.AppID]int{}
	err = each(ctx, tx, "SELECT id, disabled, settings, created_at FROM playhead_apps ORDER BY number", func(scan scanner) error {
		var a App
		if err := scan(&a.ID, &a.Disabled, &a.Settings, &a.Created); err != nil {
			return err
		}
		place[a.ID] = len(set.Apps)
		set.Apps = append(set.Apps, a)
		return nil
	})
	if err != nil {
		return Set{}, err
	}
	err = each(ctx, tx, "SELECT app_id, app_key, secret, created_at FROM playhead_app_keys ORDER BY number", func(scan scanner) error {
		var app broker.AppID
		var k Key
		if err := scan(&app, &k.Key, &k.Secret, &k.Created); err != nil {
			return err
		}
		i, ok := place[app]
		if !ok {
			return fmt.Errorf("key of app %q, which isn't there", app)
		}
		set.Apps[i].Keys = append(set.Apps[i].Keys, k)
		return nil
	})
	if err != nil {
		return Set{}, err
	}
	return set, nil
}

// scanner reads the columns of a row.
type scanner = func(into ...any) error

// each calls row for every row of a query's.
func each(ctx context.Context, tx *sql.Tx, query string, row func(scanner) error) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Add adds an app with its keys; the times are set by the database. Errors: [ErrTaken] for an id or a key
// that is in use, and those of [Database.Revision].
func (d *Database) Add(ctx context.Context, a App) error {
	return d.change(ctx, fmt.Sprintf("add app %q", a.ID), func(c *changing) error {
		if err := short("id", string(a.ID)); err != nil {
			return err
		}
		if there, err := c.there(a.ID); err != nil || there {
			return either(err, fmt.Errorf("id: %w", ErrTaken))
		}
		if a.Settings == "" {
			a.Settings = "{}"
		}
		if err := c.do("INSERT INTO playhead_apps (id, disabled, settings) VALUES (?, ?, ?)", string(a.ID), a.Disabled, a.Settings); err != nil {
			return err
		}
		for _, k := range a.Keys {
			if err := c.addKey(a.ID, k.Credential); err != nil {
				return err
			}
		}
		return nil
	})
}

// AddKey adds a key to an app, as its newest. Errors: [broker.ErrNoApp], [ErrTaken], and those of
// [Database.Revision].
func (d *Database) AddKey(ctx context.Context, app broker.AppID, key broker.Credential) error {
	return d.change(ctx, fmt.Sprintf("add a key to app %q", app), func(c *changing) error {
		if there, err := c.there(app); err != nil || !there {
			return either(err, broker.ErrNoApp)
		}
		return c.addKey(app, key)
	})
}

// DropKeys removes keys of an app. Errors: [broker.ErrNoApp], [ErrNoKey], [ErrLastKey], after all of which
// nothing has changed, and those of [Database.Revision].
func (d *Database) DropKeys(ctx context.Context, app broker.AppID, keys ...string) error {
	return d.change(ctx, fmt.Sprintf("drop keys of app %q", app), func(c *changing) error {
		if there, err := c.there(app); err != nil || !there {
			return either(err, broker.ErrNoApp)
		}
		slices.Sort(keys)
		for _, key := range slices.Compact(keys) {
			n, err := c.count("DELETE FROM playhead_app_keys WHERE app_id = ? AND app_key = ?", string(app), key)
			if err != nil || n == 0 {
				return either(err, fmt.Errorf("%q: %w", key, ErrNoKey))
			}
		}
		var left int
		if err := c.one(&left, "SELECT COUNT(*) FROM playhead_app_keys WHERE app_id = ?", string(app)); err != nil || left == 0 {
			return either(err, ErrLastKey)
		}
		return nil
	})
}

// SetDisabled disables an app, or enables it. Errors: [broker.ErrNoApp], and those of [Database.Revision].
func (d *Database) SetDisabled(ctx context.Context, app broker.AppID, disabled bool) error {
	return d.change(ctx, fmt.Sprintf("change app %q", app), func(c *changing) error {
		// Rows that are as they were aren't counted by MySQL, so it is asked for first.
		if there, err := c.there(app); err != nil || !there {
			return either(err, broker.ErrNoApp)
		}
		return c.do("UPDATE playhead_apps SET disabled = ? WHERE id = ?", disabled, string(app))
	})
}

// Remove removes an app and its keys. Errors: [broker.ErrNoApp], and those of [Database.Revision].
func (d *Database) Remove(ctx context.Context, app broker.AppID) error {
	return d.change(ctx, fmt.Sprintf("remove app %q", app), func(c *changing) error {
		n, err := c.count("DELETE FROM playhead_apps WHERE id = ?", string(app))
		if err != nil || n == 0 {
			return either(err, broker.ErrNoApp)
		}
		return nil
	})
}

// changing is a change under way: a transaction that has the revision's row to itself.
type changing struct {
	ctx  context.Context // of the change, which is one call
	tx   *sql.Tx
	bind func(string) string
}

// change carries out a change in one transaction with the revision. Changes wait for each other at the
// revision's row, so that what one has looked up holds until its end.
func (d *Database) change(ctx context.Context, act string, do func(*changing) error) error {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	return d.explain(wrap(act, func() error {
		tx, err := d.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // it says that the transaction is done, or what was returned already
		c := &changing{ctx: ctx, tx: tx, bind: d.dialect.bind}
		n, err := c.count("UPDATE playhead_revision SET revision = revision + 1")
		if err != nil || n != 1 {
			return either(err, fmt.Errorf("%w: the revision has %d rows", ErrNoSchema, n))
		}
		if err := do(c); err != nil {
			return err
		}
		return tx.Commit()
	}()))
}

func (c *changing) do(query string, args ...any) error {
	_, err := c.tx.ExecContext(c.ctx, c.bind(query), args...)
	return err
}

// count is do, and returns how many rows that changed.
func (c *changing) count(query string, args ...any) (int64, error) {
	res, err := c.tx.ExecContext(c.ctx, c.bind(query), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// one reads the one value that a query has.
func (c *changing) one(into any, query string, args ...any) error {
	return c.tx.QueryRowContext(c.ctx, c.bind(query), args...).Scan(into)
}

func (c *changing) there(app broker.AppID) (bool, error) {
	var n int
	err := c.one(&n, "SELECT COUNT(*) FROM playhead_apps WHERE id = ?", string(app))
	return n > 0, err
}

func (c *changing) addKey(app broker.AppID, key broker.Credential) error {
	if err := errors.Join(short("key", key.Key), short("secret", key.Secret)); err != nil {
		return err
	}
	var n int
	if err := c.one(&n, "SELECT COUNT(*) FROM playhead_app_keys WHERE app_key = ?", key.Key); err != nil || n > 0 {
		return either(err, fmt.Errorf("key %q: %w", key.Key, ErrTaken))
	}
	return c.do("INSERT INTO playhead_app_keys (app_id, app_key, secret) VALUES (?, ?, ?)", string(app), key.Key, key.Secret)
}

// short reports what the tables have no room for.
func short(what, text string) error {
	if n := utf8.RuneCountInString(text); n > maxChars {
		return fmt.Errorf("%s: %d characters are more than %d", what, n, maxChars)
	}
	return nil
}

// either returns the first of two that is an error.
func either(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func wrap(act string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	return nil
}
