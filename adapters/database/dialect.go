package database

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// dialect is what differs between the kinds.
type dialect struct {
	migrations string // folder of them
	goose      goose.Dialect
	lock       string // takes the lock of migrations for the connection: 1 when it has it, 0 when another has
	unlock     string
	bind       func(query string) string // writes a query's parameters, which are ? in this package
	connector  func(*Config) (driver.Connector, error)
	kindOf     func(error) errorKind
}

// errorKind is what an error of a database means for its callers.
type errorKind int

const (
	other   errorKind = iota
	refused           // ErrRefused
	missing           // ErrNoSchema
)

var mysqlDialect = dialect{
	migrations: "migrations/mysql",
	goose:      goose.DialectMySQL,
	lock:       "SELECT GET_LOCK('playhead.migrations', 0)",
	unlock:     "SELECT RELEASE_LOCK('playhead.migrations')",
	bind:       func(query string) string { return query },
	connector:  mysqlConnector,
	kindOf: func(err error) errorKind {
		var told *mysql.MySQLError
		if !errors.As(err, &told) {
			return other
		}
		switch told.Number {
		case 1044, 1045, 1049, 1130, 1142, 1143, 1251, 1698: // of login, database, host, table, column, protocol and plugin
			return refused
		case 1146:
			return missing
		}
		return other
	},
}

var postgresDialect = dialect{
	migrations: "migrations/postgres",
	goose:      goose.DialectPostgres,
	lock:       "SELECT CASE WHEN pg_try_advisory_lock(7018351042) THEN 1 ELSE 0 END",
	unlock:     "SELECT pg_advisory_unlock(7018351042)",
	bind:       numbered,
	connector:  postgresConnector,
	kindOf: func(err error) errorKind {
		var told *pgconn.PgError
		if !errors.As(err, &told) {
			return other
		}
		switch {
		case slices.Contains([]string{"28000", "28P01", "3D000", "42501"}, told.Code): // of login, password, database and table
			return refused
		case told.Code == "42P01":
			return missing
		}
		return other
	},
}

// numbered writes $1, $2 and so on for each ?.
func numbered(query string) string {
	var b strings.Builder
	for i, part := range strings.Split(query, "?") {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	return b.String()
}

func mysqlConnector(c *Config) (driver.Connector, error) {
	my := mysql.NewConfig()
	my.User, my.Passwd, my.DBName = c.Username, c.Password, c.Name
	my.Net, my.Addr = "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	if c.socket() {
		my.Net, my.Addr = "unix", c.Host
	}
	my.Timeout = c.Timeout
	my.ParseTime = true
	my.Logger = &mysql.NopLogger{} // what it would write is returned, too
	// Without this a server may cut what is too long, and store it. Times are those of the connection.
	my.Params = map[string]string{"sql_mode": "'TRADITIONAL'", "time_zone": "'+00:00'"}
	var err error
	if my.TLS, err = c.TLS.config(c.Host); err != nil {
		return nil, err
	}
	return mysql.NewConnector(my)
}

func postgresConnector(c *Config) (driver.Connector, error) {
	// The library's own reading is asked for as little as it allows, since it reads the environment.
	pg, err := pgx.ParseConfig("host=localhost sslmode=disable")
	if err != nil {
		return nil, err
	}
	pg.Host, pg.Port = c.Host, uint16(c.Port) // New has checked it
	pg.User, pg.Password, pg.Database = c.Username, c.Password, c.Name
	pg.ConnectTimeout = c.Timeout
	pg.Fallbacks = nil
	pg.ValidateConnect = nil
	pg.RuntimeParams = map[string]string{"application_name": "playhead"}
	if pg.TLSConfig, err = c.TLS.config(c.Host); err != nil {
		return nil, err
	}
	// A connection that lay idle while its server went is noticed before it is used, as the other driver
	// does: what had begun on it could not be tried again.
	always := func(context.Context, stdlib.ShouldPingParams) bool { return true }
	return stdlib.GetConnector(*pg, stdlib.OptionShouldPing(always)), nil
}

// config reads the files; nil for no TLS.
func (t *TLS) config(host string) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	cfg := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read authorities: %s has no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
