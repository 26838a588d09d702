package database

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
)

// migrations are the definitions of the tables, one folder per kind. What was released doesn't change any
// more; what is to be different is a migration of its own.
//
//go:embed migrations
var migrations embed.FS

// migrationsTable notes which were done.
const migrationsTable = "playhead_migrations"

// provider makes what carries out migrations. It holds nothing but the database.
func (d *Database) provider() (*goose.Provider, error) {
	folder, err := fs.Sub(migrations, d.dialect.migrations)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(d.dialect.goose, d.db, folder,
		goose.WithTableName(migrationsTable),
		goose.WithSessionLocker(&migrationsLock{take: d.dialect.lock, release: d.dialect.unlock}),
		goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()),
	)
}

// Migrate makes the tables what this version wants, and returns how many migrations that took: 0 when
// they were so. Several may migrate at once: one does, and the others wait. Errors: [ErrNewSchema] for
// tables of a later version, [ErrRefused].
func (d *Database) Migrate(ctx context.Context) (int, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	if err := d.Check(ctx); errors.Is(err, ErrNewSchema) {
		return 0, err
	}
	p, err := d.provider()
	if err != nil {
		return 0, d.explain(err)
	}
	done, err := p.Up(ctx)
	if err != nil {
		return len(done), d.explain(fmt.Errorf("migrate: %w", err))
	}
	return len(done), nil
}

// Check reports whether the tables are as this version wants them. It changes nothing. Errors:
// [ErrNoSchema], [ErrOldSchema] and [ErrNewSchema], [ErrRefused].
func (d *Database) Check(ctx context.Context) error {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	p, err := d.provider()
	if err != nil {
		return d.explain(err)
	}
	var want int64
	for _, s := range p.ListSources() {
		want = max(want, s.Version)
	}
	var have sql.NullInt64
	err = d.db.QueryRowContext(ctx, "SELECT MAX(version_id) FROM "+migrationsTable+" WHERE is_applied").Scan(&have)
	switch {
	case err != nil:
		return d.explain(err)
	case have.Int64 == 0:
		return d.explain(ErrNoSchema)
	case have.Int64 < want:
		return d.explain(fmt.Errorf("%w: version %d, not %d", ErrOldSchema, have.Int64, want))
	case have.Int64 > want:
		return d.explain(fmt.Errorf("%w: version %d, not %d", ErrNewSchema, have.Int64, want))
	}
	return nil
}

// migrationsLock is one that a connection holds: it ends with it.
type migrationsLock struct{ take, release string }

// SessionLock waits for the lock.
func (l *migrationsLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		var mine int
		if err := conn.QueryRowContext(ctx, l.take).Scan(&mine); err != nil || mine == 1 {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("another is migrating: %w", ctx.Err())
		}
	}
}

// SessionUnlock gives it back.
func (l *migrationsLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, l.release)
	return err
}
