package redistest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience bounds what is waited for: machines that run tests are busy.
const patience = time.Minute

// Server is one redis-server process. Its methods that change it panic when they can't, which a test
// can't do anything about either.
type Server struct {
	Addr string // host:port

	port     int
	dir      string
	args     []string // of a Sentinel its file
	sentinel bool

	mu     sync.Mutex
	cmd    *exec.Cmd     // guarded by mu; nil while it doesn't run
	exited chan struct{} // guarded by mu; closed when cmd has ended
}

// newServer makes a server that listens on a port of its own once it is started.
func newServer(dir string, args ...string) (*Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir = filepath.Join(dir, strconv.Itoa(port))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), port: port, dir: dir, args: args}, nil
}

// freePort finds a port that nobody listens on, below those that the system gives to clients.
func freePort() (int, error) {
	for range 1000 {
		port := 12_000 + rand.IntN(19_000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, errors.New("no free port")
}

// start starts the process and waits until it answers.
func (s *Server) start() error {
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("%w: `task deps` installs it", err)
	}
	var args []string
	if s.sentinel {
		args = append(args, s.args...)
		args = append(args, "--sentinel")
	}
	args = append(args, "--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--daemonize", "no",
		"--loglevel", "notice", "--logfile", "redis.log")
	if !s.sentinel {
		args = append(args, "--save", "", "--repl-diskless-sync-delay", "0")
		args = append(args, s.args...)
	}
	cmd := exec.Command(bin, args...)
	if err := run(cmd); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // it was killed
	}()
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()
	return eventually("redis-server answers at "+s.Addr, func() error {
		select {
		case <-exited:
			log, _ := os.ReadFile(filepath.Join(s.dir, "redis.log"))
			return fatal{fmt.Errorf("redis-server has ended: %s", log)}
		default:
		}
		_, err := s.Do("PING")
		if err != nil && (strings.Contains(err.Error(), "NOAUTH") || strings.Contains(err.Error(), "NOPERM")) {
			return nil
		}
		return err
	})
}

// Start starts the process again, at the same address.
func (s *Server) Start() { must(s.start()) }

// Kill ends the process as a power cut would, and returns when it is gone.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Stop asks the process to end, and returns when it is gone.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

func (s *Server) end(how syscall.Signal) {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.cmd = nil
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(how) // it may have ended already
	if how == syscall.SIGKILL {
		_ = cmd.Process.Signal(syscall.SIGCONT)
	}
	<-exited
}

// Pause makes the server stop answering, with its connections left as they are.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(how syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		must(s.cmd.Process.Signal(how))
	}
}

// Do runs a command by redis-cli and returns what that prints, or an error the server answers.
func (s *Server) Do(args ...string) (string, error) {
	return cli(append([]string{"-p", strconv.Itoa(s.port)}, args...)...)
}

func cli(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "redis-cli", append([]string{"-h", "127.0.0.1", "-e"}, args...)...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("redis-cli %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return text, nil
}

// fatal is an error that waiting doesn't change.
type fatal struct{ error }

// eventually waits until a condition has no error.
func eventually(what string, holds func() error) error {
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = holds(); err == nil {
			return nil
		}
		if errors.As(err, &fatal{}) {
			return err
		}
	}
	return fmt.Errorf("in vain: %s: %w", what, err)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
