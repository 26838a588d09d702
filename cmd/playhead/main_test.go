//go:build unix

package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds waits for conditions; it only passes when a test has failed.
const patience = 30 * time.Second

// asMain makes the test binary behave as the command, so that signals and exit codes are real.
const asMain = "PLAYHEAD_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// text is output that grows while it is looked at.
type text struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *text) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *text) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// process is a running command.
type process struct {
	cmd  *exec.Cmd
	out  *text
	errs *text
	done chan struct{} // closed when it has ended
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startWith(t, "", nil, args...)
}

// startWith is start with standard input and more of an environment.
func startWith(t *testing.T, in string, env []string, args ...string) *process {
	t.Helper()
	p := &process{out: &text{}, errs: &text{}, done: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0], args...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = []string{asMain + "=1", "METRICS_ENABLED=false", "HOST=127.0.0.1", "HOME=" + p.cmd.Dir, "GORACE=atexit_sleep_ms=0"}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdin = strings.NewReader(in)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.errs
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		_ = p.cmd.Wait() // the outcome is read from ProcessState
		close(p.done)
	})
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		wait.Wait()
		if t.Failed() {
			t.Logf("standard output:\n%s\nstandard error:\n%s", p.out, p.errs)
		}
	})
	return p
}

func (p *process) await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		<-tick.C
	}
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// exit waits for the end and returns the exit code.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatal("it did not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// up waits until the node is up and returns its address.
func (p *process) up(t *testing.T) string {
	t.Helper()
	p.await(t, "the node up", func() bool { return strings.Contains(p.out.String(), "Ctrl-C") })
	_, rest, _ := strings.Cut(p.out.String(), "ws://")
	address, _, _ := strings.Cut(rest, "/")
	return address
}

// The commands take their server from the environment, their data from standard input, and end with
// the first signal.
func TestConsole(t *testing.T) {
	t.Parallel()
	server := start(t, "--port", "0")
	address := server.up(t)
	ask := func(args ...string) *process {
		t.Helper()
		return startWith(t, "hello", []string{"PLAYHEAD_URL=http://" + address, "PLAYHEAD_KEY=app-key", "PLAYHEAD_SECRET=app-secret", "PLAYHEAD_APP_ID=app-id"}, args...)
	}
	sent := ask("publish", "c", "e", "-")
	if code := sent.exit(t); code != exitOK {
		t.Fatalf("publish: exit %d", code)
	}
	tail := ask("tail", "c", "private-d", "--count", "1")
	tail.await(t, "the event", func() bool { return strings.HasSuffix(tail.out.String(), "\tc\te\thello\n") })
	if past := ask("history", "c"); past.exit(t) != exitOK || past.out.String() != tail.out.String() {
		t.Errorf("the history differs from what was followed")
	}
	tail.signal(t, os.Interrupt)
	if code := tail.exit(t); code != exitOK {
		t.Errorf("tail: exit %d after SIGINT", code)
	}
}

// Without arguments it serves; publish reaches it; the first signal ends it well.
func TestServe(t *testing.T) {
	t.Parallel()
	p := start(t, "--port", "0", "--data", "streams")
	address := p.up(t)
	sent := start(t, "publish", "--url", "http://"+address, "c", "e", `{"n":1}`)
	if code := sent.exit(t); code != exitOK || !strings.HasPrefix(sent.out.String(), "1-") {
		t.Errorf("publish: exit %d", code)
	}
	if _, err := os.Stat(filepath.Join(p.cmd.Dir, "streams", "jetstream")); err != nil {
		t.Errorf("data isn't where it was told to be: %v", err)
	}
	other := start(t, "--port", "0", "--data", filepath.Join(p.cmd.Dir, "streams"))
	if code := other.exit(t); code != exitError || !strings.Contains(other.errs.String(), "another playhead process is using it") {
		t.Errorf("second process on the folder: exit %d", code)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit %d after SIGTERM", code)
	}
}

// SIGHUP has the process read its apps again, and doesn't end it, whatever is in the file.
func TestHangup(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "playhead.yml")
	become := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	become("apps: [{id: one, key: k1, secret: s}]")
	p := start(t, "--port", "0", "--config", file)
	address := p.up(t)
	publish := func(app, key string) int {
		t.Helper()
		return start(t, "publish", "--url", "http://"+address, "--app-id", app, "--key", key, "--secret", "s", "c", "e", "d").exit(t)
	}
	if code := publish("two", "k2"); code != exitError {
		t.Errorf("publish to an app that isn't there yet: exit %d", code)
	}
	become("apps: [{id: one, key: k1, secret: s}, {id: two, key: k2, secret: s}]")
	p.signal(t, syscall.SIGHUP)
	p.await(t, "the apps taken", func() bool { return strings.Contains(p.errs.String(), "apps taken from the configuration") })
	if code := publish("two", "k2"); code != exitOK {
		t.Errorf("publish to the new app: exit %d", code)
	}
	become("apps: [{id: two, kee: k2}]")
	p.signal(t, syscall.SIGHUP)
	p.await(t, "the mistake told", func() bool { return strings.Contains(p.errs.String(), "did you mean apps[0].key?") })
	if code := publish("one", "k1"); code != exitOK {
		t.Errorf("publish after a mistake in the file: exit %d", code)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
}

// A second signal ends a teardown that takes its time.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		second syscall.Signal
		want   int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}} {
		t.Run(tt.second.String(), func(t *testing.T) {
			t.Parallel()
			p := start(t, "serve", "--port", "0")
			address := p.up(t)
			// A request whose body never comes holds the teardown up.
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprint(c, "POST /apps/app-id/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
			if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			p.signal(t, os.Interrupt)
			p.await(t, "the teardown begun", func() bool { return strings.Contains(p.errs.String(), "shutting down") })
			select {
			case <-p.done:
				t.Fatal("the request didn't hold it up")
			default:
			}
			p.signal(t, tt.second)
			if code := p.exit(t); code != tt.want {
				t.Errorf("exit %d, want %d", code, tt.want)
			}
		})
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "bad.yml")
	if err := os.WriteFile(bad, []byte("prot: 1\nlog: {level: loud}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	away := filepath.Join(t.TempDir(), "away.yml")
	if err := os.WriteFile(away, []byte("startup_timeout: 50ms\napp_manager: {driver: postgres}\n"+
		"database: {postgres: {host: 127.0.0.1, port: 1, password: hidden, database: kept}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args []string
		code int
		out  string // part of standard output
		errs string // part of standard error
	}{
		"help":           {[]string{"--help"}, exitOK, "publish <channel> <event> <data>", ""},
		"serve's help":   {[]string{"serve", "--help"}, exitOK, "$PLAYHEAD_CONFIG", ""},
		"version":        {[]string{"version"}, exitOK, "playhead ", ""},
		"check":          {[]string{"config", "check"}, exitOK, "The configuration is fine.", ""},
		"bad check":      {[]string{"config", "check", "--config", bad}, exitError, "", "configuration: 2 problems:\n  " + bad + ":1: prot: unknown key; did you mean port?\n  " + bad + `:2: log.level: unknown value "loud"`},
		"missing file":   {[]string{"--config", "/nowhere.yml"}, exitError, "", "configuration: open /nowhere.yml: no such file or directory"},
		"bad flag":       {[]string{"--port", "http"}, exitError, "", `configuration: --port: port: "http" is not a whole number`},
		"port in use":    {[]string{"--port", port}, exitError, "", "port " + port + " is in use on 127.0.0.1"},
		"folder a file":  {[]string{"--port", "0", "--data", bad}, exitError, "", "data folder " + bad},
		"curl":           {[]string{"publish", "c", "e", "d", "--print-curl"}, exitOK, "curl -sS", ""},
		"no server":      {[]string{"publish", "c", "e", "d", "--url", "http://127.0.0.1:1"}, exitError, "", "is the server running?"},
		"tail's help":    {[]string{"tail", "--help"}, exitOK, "$PLAYHEAD_SECRET", ""},
		"two beginnings": {[]string{"tail", "c", "--since", "1m", "--count", "1"}, exitUsage, "", "can't be used together"},
		"bad time":       {[]string{"history", "c", "--since", "soon"}, exitUsage, "", "neither so long ago"},
		"history":        {[]string{"history", "c", "--url", "http://127.0.0.1:1"}, exitError, "", "is the server running?"},
		"tail what":      {[]string{"tail", "a/b"}, exitError, "", "tail: a/b: "},
		"dead":           {[]string{"webhooks", "dead", "--url", "http://127.0.0.1:1"}, exitError, "", "list dead webhooks: ask http://127.0.0.1:1: "},
		"retry":          {[]string{"webhooks", "retry", "1", "2", "--url", "http://127.0.0.1:1"}, exitError, "", "retry dead webhooks: ask http://127.0.0.1:1: "},
		"retry what":     {[]string{"webhooks", "retry", "x"}, exitUsage, "", "expected a valid 64 bit uint"},
		"apps":           {[]string{"apps", "list"}, exitOK, "app-id  enabled  app-key", ""},
		"add nowhere":    {[]string{"apps", "add"}, exitError, "", "apps add: there is no configuration file in which apps could be added: name one with --config"},
		"rotate what":    {[]string{"apps", "rotate"}, exitUsage, "", "<id>"},
		"rotate how":     {[]string{"apps", "rotate", "a", "--drop-old", "--drop", "k"}, exitUsage, "", "can't be used together"},
		"no database":    {[]string{"--port", "0", "--config", away}, exitError, "", "startup_timeout has passed: read the apps: postgres 127.0.0.1:1/kept: "},
		"unknown":        {[]string{"fly"}, exitUsage, "", "unexpected argument fly"},
		"unknown flag":   {[]string{"serve", "--fly"}, exitUsage, "", "unknown flag --fly"},
		"too few":        {[]string{"publish", "c"}, exitUsage, "", "<event>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, tt.args...)
			if code := p.exit(t); code != tt.code {
				t.Errorf("exit %d, want %d", code, tt.code)
			}
			if !strings.Contains(p.out.String(), tt.out) || !strings.Contains(p.errs.String(), tt.errs) {
				t.Errorf("want %q and %q", tt.out, tt.errs)
			}
		})
	}
}

// What the configuration comes to is told without its secrets, and what a node is told by its
// environment.
func TestConfigTold(t *testing.T) {
	t.Parallel()
	p := startWith(t, "", []string{"PLAYHEAD_DEFAULT_APP_SECRET=hidden-one", "PORT=7007"}, "config", "print")
	if code := p.exit(t); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	for _, line := range []string{"port: 7007 # PORT in the environment", `  secret: "***" # PLAYHEAD_DEFAULT_APP_SECRET in the environment`} {
		if !strings.Contains(p.out.String(), line) {
			t.Errorf("no line %q", line)
		}
	}
	if strings.Contains(p.out.String(), "hidden-one") {
		t.Error("the secret is told")
	}
	p = start(t, "config", "env")
	if code := p.exit(t); code != exitOK || !strings.Contains(p.out.String(), "\nPORT=6001\n  port\n") {
		t.Errorf("exit code %d, no PORT", code)
	}
}

// The health command says how a node is by its exit code.
func TestHealth(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint("PORT=", l.Addr().(*net.TCPAddr).Port)
	l.Close()
	p := startWith(t, "", []string{port}, "health")
	if code := p.exit(t); code != exitError || !strings.Contains(p.errs.String(), "ask the node") {
		t.Errorf("without a node: exit code %d", code)
	}
	node := startWith(t, "", []string{port, "SYNC_MODE=interval"}, "serve")
	node.await(t, "the node ready", func() bool {
		p := startWith(t, "", []string{port}, "health")
		return p.exit(t) == exitOK && p.out.String() == "OK\n"
	})
}
