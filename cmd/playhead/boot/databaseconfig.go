package boot

import (
	"log/slog"
	"time"

	"github.com/playhead/playhead/adapters/database"
)

// AppManagerConfig says where the apps stand.
type AppManagerConfig struct {
	// Driver is file: the apps are [Config].Apps, or the default app; or the database they are in, which
	// has to have been made ready by `playhead apps migrate`. Default "file".
	Driver string `yaml:"driver" env:"APP_MANAGER_DRIVER" default:"file" oneof:"file mysql postgres"`

	// PollInterval is how often the database is asked whether an app has changed. Default 5s.
	PollInterval Duration `yaml:"poll_interval" env:"APP_MANAGER_POLL_INTERVAL" default:"5s"`
}

// file says that the apps stand in the file, or in the environment.
func (c *AppManagerConfig) file() bool {
	return c.Driver != string(database.MySQL) && c.Driver != string(database.PostgreSQL)
}

// DatabaseConfig is about the databases that apps may be in. The variable of each setting of MySQL and
// Postgres is its key, DATABASE_MYSQL_HOST.
type DatabaseConfig struct {
	Pooling  PoolingConfig  `yaml:"pooling"`
	MySQL    MySQLConfig    `yaml:"mysql"`
	Postgres PostgresConfig `yaml:"postgres"`
}

// PoolingConfig bounds the connections of this node to a database.
type PoolingConfig struct {
	// Enabled keeps connections for the next time. Default true; without, each is closed after its use.
	Enabled Switch `yaml:"enabled" env:"DATABASE_POOLING_ENABLED" default:"true"`

	// Min is how many stay open while nothing is asked. Default 2; none closes all.
	Min Count `yaml:"min" env:"DATABASE_POOL_MIN" default:"2" none:"yes"`

	// Max bounds those that are open at a time. Default 10.
	Max Count `yaml:"max" env:"DATABASE_POOL_MAX" default:"10"`
}

// MySQLConfig is how MySQL or MariaDB is reached.
type MySQLConfig struct {
	SQLConfig `yaml:"-"`

	// Port is its port. Default 3306.
	Port Port `yaml:"port" default:"3306"`
}

// PostgresConfig is how PostgreSQL is reached.
type PostgresConfig struct {
	SQLConfig `yaml:"-"`

	// Port is its port. Default 5432.
	Port Port `yaml:"port" default:"5432"`
}

// SQLConfig is how a database is reached.
type SQLConfig struct {
	// Host is a name or an address; or, with a / in front, a Unix socket: for MySQL its path, for
	// PostgreSQL that of the folder it is in. Default "localhost".
	Host string `yaml:"host" default:"localhost"`

	// Username and Password are who logs in. Default "playhead", without a password.
	Username string `yaml:"username" default:"playhead"`
	Password string `yaml:"password"`

	// Database is the database's name. Default "playhead".
	Database string `yaml:"database" default:"playhead"`

	// PoolMin and PoolMax are used instead of those of [PoolingConfig]. Default: those.
	PoolMin Count `yaml:"pool_min" none:"yes"`
	PoolMax Count `yaml:"pool_max"`

	TLS SQLTLSConfig `yaml:"tls"`
}

// SQLTLSConfig is about TLS to a database.
type SQLTLSConfig struct {
	// Enabled has it, and the server's certificate verified. Default false.
	Enabled Switch `yaml:"enabled" default:"false"`

	// CAFile has the certificates of the authorities that are trusted, in PEM. Default: the system's.
	CAFile string `yaml:"ca_file"`

	// CertFile and KeyFile are the client's own certificate and its key, in PEM. Default: none.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// LogValue keeps the password out of logs.
func (c SQLConfig) LogValue() slog.Value {
	return slog.GroupValue(slog.String("host", c.Host), slog.String("database", c.Database))
}

// LogValue keeps the password out of logs.
func (c MySQLConfig) LogValue() slog.Value { return c.SQLConfig.LogValue() }

// LogValue keeps the password out of logs.
func (c PostgresConfig) LogValue() slog.Value { return c.SQLConfig.LogValue() }

// LogValue keeps the passwords out of logs.
func (c DatabaseConfig) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("mysql", c.MySQL), slog.Any("postgres", c.Postgres))
}

// used returns the key and the settings of the database that the apps are in.
func (c *Config) used() (key string, s *SQLConfig, port Port) {
	if c.AppManager.Driver == string(database.MySQL) {
		return "database.mysql", &c.Database.MySQL.SQLConfig, c.Database.MySQL.Port
	}
	return "database.postgres", &c.Database.Postgres.SQLConfig, c.Database.Postgres.Port
}

// pool returns how many connections stay open, and how many there may be.
func (c *Config) pool() (least, most Count) {
	_, s, _ := c.used()
	least, most = c.Database.Pooling.Min, c.Database.Pooling.Max
	if s.PoolMin != 0 {
		least = s.PoolMin
	}
	if s.PoolMax != 0 {
		most = s.PoolMax
	}
	if c.Database.Pooling.Enabled == Off {
		least = None
	}
	return least, most
}

// readTimeout bounds each look into the database.
const readTimeout = 10 * time.Second

// openDatabase makes the database that the apps are in, of a filled configuration.
func (c *Config) openDatabase() (*database.Database, error) {
	_, s, port := c.used()
	least, most := c.pool()
	cfg := database.Config{
		Kind: database.Kind(c.AppManager.Driver), Host: s.Host, Port: port.number(),
		Username: s.Username, Password: s.Password, Name: s.Database,
		MinConns: int(least), MaxConns: int(most), Timeout: readTimeout,
	}
	if s.TLS.Enabled == On {
		cfg.TLS = &database.TLS{CAFile: s.TLS.CAFile, CertFile: s.TLS.CertFile, KeyFile: s.TLS.KeyFile}
	}
	return database.New(cfg)
}

// checkDatabase checks where the apps stand.
func (l *loader) checkDatabase(c *Config) {
	if c.AppManager.file() {
		return
	}
	if len(c.Apps) > 0 {
		l.problem("%s: with app_manager.driver %s the apps are in the database; give one of the two", l.at("apps"), c.AppManager.Driver)
	}
	key, s, port := c.used()
	if port == AnyPort {
		l.problem("%s: the server's port has to be known", l.at(key+".port"))
	}
	least, most := c.pool()
	at := func(name, general string) string {
		if _, ok := l.from[key+".pool_"+name]; ok {
			return key + ".pool_" + name
		}
		return general
	}
	few, many := at("min", "database.pooling.min"), at("max", "database.pooling.max")
	if l.good(few, many) && most > 0 && least > most {
		l.problem("%s: %v must be at most %s, %v: no more than that are ever open", l.at(few), least, many, most)
	}
	if (s.TLS.CertFile == "") != (s.TLS.KeyFile == "") {
		l.problem("%s: give both %s.tls.cert_file and key_file, or neither",
			l.at(key+".tls."+either(s.TLS.CertFile != "", "cert_file", "key_file")), key)
	}
	for _, f := range []struct{ name, text string }{{"ca_file", s.TLS.CAFile}, {"cert_file", s.TLS.CertFile}, {"key_file", s.TLS.KeyFile}} {
		if f.text != "" && s.TLS.Enabled != On {
			l.problem("%s: means nothing without %s.tls.enabled", l.at(key+".tls."+f.name), key)
		}
	}
}
