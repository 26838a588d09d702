package database

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
)

// Kind is a database that apps can be kept in.
type Kind string

// The kinds there are. MySQL is MariaDB, too.
const (
	MySQL      Kind = "mysql"
	PostgreSQL Kind = "postgres"
)

// Config configures a [Database].
type Config struct {
	// Kind is required.
	Kind Kind

	// Host is a name or an address. One that begins with / is a Unix socket: for MySQL the socket, for
	// PostgreSQL the folder it is in. Default "localhost".
	Host string

	// Port is the port at the host. Default 3306 for MySQL, 5432 for PostgreSQL.
	Port int

	// Username and Password are who logs in, Name the database. Default "playhead", no password, and
	// "playhead".
	Username string
	Password string
	Name     string

	// TLS encrypts the connections, and verifies the server. Default: they are plain.
	TLS *TLS

	// MaxConns bounds the connections that are open at a time, MinConns those that stay open while
	// nothing is read: −1 closes each after its use. Defaults 10 and 2; a MinConns over MaxConns is
	// MaxConns.
	MaxConns int
	MinConns int

	// Timeout bounds the making of a connection, and each read and change whose context has no
	// deadline. Default 10s.
	Timeout time.Duration
}

// TLS says whom to believe. All of it may be empty.
type TLS struct {
	// CAFile has the certificates of the authorities that are trusted, in PEM. Default: the system's.
	CAFile string

	// CertFile and KeyFile are the client's own certificate and its key, in PEM. Default: none.
	CertFile string
	KeyFile  string
}

// LogValue keeps the password out of logs.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.place()) }

// connLife is after how long a connection is made anew, so that one day all of them go to where the
// host's name leads by then.
const connLife = 30 * time.Minute

// Database is where apps are kept. It is safe for concurrent use. It connects when it has to, and after
// an error again: none of its errors is the last word.
type Database struct {
	cfg     Config
	dialect dialect
	db      *sql.DB
}

// New checks cfg and returns the database. It connects to nothing yet. [Database.Close] gives the
// connections back.
func New(cfg Config) (*Database, error) {
	d := &Database{}
	switch cfg.Kind {
	case MySQL:
		d.dialect = mysqlDialect
		cfg.Port = cmp.Or(cfg.Port, 3306)
	case PostgreSQL:
		d.dialect = postgresDialect
		cfg.Port = cmp.Or(cfg.Port, 5432)
	default:
		return nil, fmt.Errorf("database: %q is neither mysql nor postgres", cfg.Kind)
	}
	cfg.Host = cmp.Or(cfg.Host, "localhost")
	cfg.Username = cmp.Or(cfg.Username, "playhead")
	cfg.Name = cmp.Or(cfg.Name, "playhead")
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	cfg.MaxConns = cmp.Or(cfg.MaxConns, 10)
	cfg.MinConns = min(cmp.Or(cfg.MinConns, 2), cfg.MaxConns)
	if cfg.MaxConns < 0 || cfg.Timeout < 0 || cfg.Port < 0 || cfg.Port > 65535 {
		return nil, fmt.Errorf("database: %d connections, %v and port %d: out of range", cfg.MaxConns, cfg.Timeout, cfg.Port)
	}
	d.cfg = cfg
	connector, err := d.dialect.connector(&cfg)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	d.db = sql.OpenDB(connector)
	d.db.SetMaxOpenConns(cfg.MaxConns)
	d.db.SetMaxIdleConns(cfg.MinConns)
	d.db.SetConnMaxLifetime(connLife)
	return d, nil
}

// Close closes all connections, once what is under way on them is done.
func (d *Database) Close() error { return d.db.Close() }

// String says which database it is, for people, without secrets: "mysql localhost:3306/playhead".
func (d *Database) String() string { return d.cfg.place() }

func (c *Config) place() string {
	host := c.Host
	if !c.socket() {
		host = net.JoinHostPort(host, strconv.Itoa(c.Port))
	}
	return fmt.Sprintf("%s %s/%s", c.Kind, host, c.Name)
}

// socket reports whether the host is a Unix socket.
func (c *Config) socket() bool { return strings.HasPrefix(c.Host, "/") }

// bounded gives a context its deadline if it has none.
func (d *Database) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d.cfg.Timeout)
}

// Errors of a database. What the database itself said is wrapped with them.
var (
	// ErrRefused is what a login, a database that isn't there, or a right that is missing comes to:
	// nothing that heals while one waits.
	ErrRefused = errors.New("refused")

	// ErrNoSchema is returned where there are no tables yet.
	ErrNoSchema = errors.New("its tables are missing")

	// ErrOldSchema is returned where the tables are those of an earlier version.
	ErrOldSchema = errors.New("its tables are older than this program")

	// ErrNewSchema is returned where the tables are those of a later version.
	ErrNewSchema = errors.New("its tables are newer than this program")

	// ErrTaken is returned for an id or a key that is in use.
	ErrTaken = errors.New("in use already")

	// ErrLastKey is returned when an app would be left without a key.
	ErrLastKey = errors.New("no key would be left")

	// ErrNoKey is returned for a key that the app doesn't have.
	ErrNoKey = errors.New("no such key")
)

// explain says of an error where it happened, and marks it as far as it is known.
func (d *Database) explain(err error) error {
	if err == nil {
		return nil
	}
	switch d.dialect.kindOf(err) {
	case refused:
		err = fmt.Errorf("%w: %w", ErrRefused, err)
	case missing:
		err = fmt.Errorf("%w: %w", ErrNoSchema, err)
	}
	return fmt.Errorf("%s: %w", d, err)
}
