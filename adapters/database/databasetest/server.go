//go:build unix

package databasetest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/playhead/playhead/adapters/database"
)

// patience bounds waits for a server; it only passes when a test has failed.
const patience = time.Minute

// Kinds are all there are.
var Kinds = []database.Kind{database.MySQL, database.PostgreSQL}

// Server is a server of a test's own, from the system's packages: an ordinary process on a folder, a
// Unix socket and a port that nobody else has.
type Server struct {
	Kind   database.Kind
	Folder string
	Port   int

	owner  *syscall.Credential // whom the process runs as; nil for whoever runs the test
	name   string              // of the owner
	cmd    *exec.Cmd
	log    *os.File
	wait   sync.WaitGroup
	gone   chan struct{} // closed when the process has ended
	number atomic.Int64  // of databases made
}

// Start starts a server, waits until it answers, and ends it with the test. The test fails when the
// machine has no such server.
func Start(t testing.TB, kind database.Kind) *Server {
	t.Helper()
	s := &Server{Kind: kind}
	folder, err := os.MkdirTemp("", "pdb") // t.TempDir is closed to others, and too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	s.Folder = folder
	s.own(t)
	if s.log, err = os.Create(filepath.Join(folder, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(s.log.Name())
			t.Logf("log of %s:\n%s", kind, text[max(0, len(text)-4000):])
		}
		s.log.Close()
	})
	s.install(t)
	s.Port = freePort(t)
	s.Run(t)
	t.Cleanup(s.Kill)
	return s
}

// own finds out whom the server has to run as: it refuses to be root's.
func (s *Server) own(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	s.name = map[database.Kind]string{database.MySQL: "mysql", database.PostgreSQL: "postgres"}[s.Kind]
	u, err := user.Lookup(s.name)
	if err != nil {
		t.Fatalf("%s: %v; `task deps` installs what is missing", s.Kind, err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	s.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), NoSetGroups: true}
	s.Give(t, s.Folder)
}

// program finds a program of the server's: Debian has those of PostgreSQL in a folder per version, and
// mariadbd where only root looks.
func program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		more, _ := filepath.Glob("/usr/sbin/" + name)
		if found = append(found, more...); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Fatalf("no %s; `task deps` installs it", strings.Join(names, " or "))
	return ""
}

// command makes one that runs as the server's owner, in its folder.
func (s *Server) command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = s.Folder
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Folder, "LC_ALL=C"}
	cmd.SysProcAttr = attributes(s.owner)
	return cmd
}

func (s *Server) data() string { return filepath.Join(s.Folder, "data") }

// install makes the data folder.
func (s *Server) install(t testing.TB) {
	t.Helper()
	var cmd *exec.Cmd
	switch s.Kind {
	case database.MySQL:
		cmd = s.command(program(t, "mariadb-install-db"), "--no-defaults", "--datadir="+s.data(),
			"--auth-root-authentication-method=normal", "--skip-test-db")
	default:
		cmd = s.command(program(t, "initdb"), "-D", s.data(), "-U", "postgres", "--auth-local=trust",
			"--auth-host=scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd.Path, err, out)
	}
}

// Run starts the process, on the data there is, and waits until it answers. More are settings of the
// server's, as its command line has them.
func (s *Server) Run(t testing.TB, more ...string) {
	t.Helper()
	switch s.Kind {
	case database.MySQL:
		s.cmd = s.command(program(t, "mariadbd", "mysqld"), slices.Concat([]string{
			"--no-defaults", "--datadir=" + s.data(), "--socket=" + s.Socket(), "--port=" + strconv.Itoa(s.Port),
			"--bind-address=127.0.0.1", "--pid-file=" + filepath.Join(s.Folder, "pid"),
			"--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=2", "--skip-name-resolve",
		}, more)...)
	default:
		s.cmd = s.command(program(t, "postgres"), slices.Concat([]string{
			"-D", s.data(), "-p", strconv.Itoa(s.Port), "-c", "unix_socket_directories=" + s.Folder,
			"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB",
		}, more)...)
	}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	began := make(chan error)
	s.gone = make(chan struct{})
	s.wait.Go(func() {
		defer close(s.gone)
		runtime.LockOSThread() // and never unlocked: the process ends with the thread that started it
		err := s.cmd.Start()
		began <- err
		if err == nil {
			_ = s.cmd.Wait() // it was killed
		}
	})
	if err := <-began; err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for {
		_, err := s.ask("", "SELECT 1")
		if err == nil {
			return
		}
		select {
		case <-s.gone:
			t.Fatalf("%s ended: %v", s.Kind, s.cmd.ProcessState)
		case <-tick.C:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s doesn't answer: %v", s.Kind, err)
		}
	}
}

// Give gives a file to whom the server runs as.
func (s *Server) Give(t testing.TB, path string) {
	t.Helper()
	if s.owner == nil {
		return
	}
	if err := os.Chown(path, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the process as a crash does. It may be run again.
func (s *Server) Kill() {
	how := syscall.SIGKILL
	if s.Kind == database.PostgreSQL {
		how = syscall.SIGQUIT // its many processes end at once, and write nothing more
	}
	_ = syscall.Kill(s.cmd.Process.Pid, how) // it may have ended
	s.wait.Wait()
}

// Socket is the Unix socket as [database.Config] has it.
func (s *Server) Socket() string {
	if s.Kind == database.MySQL {
		return filepath.Join(s.Folder, "socket")
	}
	return s.Folder
}

// Database makes a database, and a user with a password that may do anything in it, and returns how to
// connect to it.
func (s *Server) Database(t testing.TB) database.Config {
	t.Helper()
	name := fmt.Sprintf("d%d", s.number.Add(1))
	cfg := database.Config{Kind: s.Kind, Host: "127.0.0.1", Port: s.Port, Username: name, Password: "pass'word of @" + name, Name: name}
	password := strings.ReplaceAll(cfg.Password, "'", "''")
	if s.Kind == database.MySQL {
		s.Ask(t, "", "CREATE DATABASE "+name)
		s.Ask(t, "", fmt.Sprintf("CREATE USER %s@'%%' IDENTIFIED BY '%s'", name, password))
		s.Ask(t, "", fmt.Sprintf("GRANT ALL ON %s.* TO %s@'%%'", name, name))
		return cfg
	}
	s.Ask(t, "", fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", name, password))
	s.Ask(t, "", fmt.Sprintf("CREATE DATABASE %s OWNER %s", name, name))
	return cfg
}

// Ask has the server carry out a statement in a database, as its administrator, and returns the rows: a
// line each, with tabs between the columns.
func (s *Server) Ask(t testing.TB, name, statement string) string {
	t.Helper()
	out, err := s.ask(name, statement)
	if err != nil {
		t.Fatalf("%s: %s: %v", s.Kind, statement, err)
	}
	return out
}

// AskAll is Ask for statements that are too long for a command line.
func (s *Server) AskAll(t testing.TB, name string, statements ...string) {
	t.Helper()
	cmd := s.client(name)
	cmd.Stdin = strings.NewReader(strings.Join(statements, ";\n") + ";\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", s.Kind, err, out)
	}
}

func (s *Server) ask(name, statement string) (string, error) {
	cmd := s.client(name)
	if s.Kind == database.MySQL {
		cmd.Args = append(cmd.Args, "--execute="+statement)
	} else {
		cmd.Args = append(cmd.Args, "-c", statement)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, errs.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// client makes a command that carries out statements as the administrator: it is the servers' own, so that
// what is tested isn't what tests.
func (s *Server) client(name string) *exec.Cmd {
	var words []string
	switch {
	case s.Kind == database.PostgreSQL && name == "":
		name = "postgres"
		fallthrough
	case s.Kind == database.PostgreSQL:
		words = []string{"psql", "--no-psqlrc", "-h", s.Folder, "-p", strconv.Itoa(s.Port), "-U", "postgres", "-d", name,
			"--quiet", "--tuples-only", "--no-align", "--field-separator=\t", "--set=ON_ERROR_STOP=1"}
	default:
		words = []string{"mariadb", "--no-defaults", "--socket=" + s.Socket(), "--user=root", "--batch", "--skip-column-names"}
		if name != "" {
			words = append(words, "--database="+name)
		}
	}
	return s.command(words[0], words[1:]...)
}

// Connections returns how many connections a database has, but for the one that asks.
func (s *Server) Connections(t testing.TB, name string) int {
	t.Helper()
	query := "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = '" + name + "'"
	if s.Kind == database.MySQL {
		query = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = '" + name + "'"
	}
	n, err := strconv.Atoi(s.Ask(t, "", query))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
