//go:build unix

package prove

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a server process, which may be ended and started again with the same arguments.
type process struct {
	name string
	path string
	args []string
	env  []string
	log  string // the file that takes its output, of all its lives

	died func(why string) // told when it ends by itself

	mu     sync.Mutex
	cmd    *exec.Cmd     // guarded by mu; nil before the first start
	exited chan struct{} // guarded by mu; closed when cmd is gone
	told   bool          // guarded by mu; it was told to end

	lives sync.WaitGroup // a goroutine per life, until the process is gone
}

// start begins a life. The process ends with this one, where the system can do that; where it can't,
// [process.end] must be called.
func (p *process) start() error {
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	defer out.Close() // the process has it too
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, out, out
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	exited := make(chan struct{})
	p.cmd, p.exited, p.told = cmd, exited, false
	p.lives.Go(func() {
		_ = cmd.Wait() // the outcome is in ProcessState
		p.mu.Lock()
		told := p.told
		p.mu.Unlock()
		close(exited)
		if !told {
			p.died(fmt.Sprintf("%s ended by itself: %v\n%s", p.name, cmd.ProcessState, p.tail()))
		}
	})
	return nil
}

// signal sends a signal; a process that is gone doesn't get it. ends says that it is to end by it.
func (p *process) signal(sig os.Signal, ends bool) (exited <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		gone := make(chan struct{})
		close(gone)
		return gone
	}
	if ends {
		p.told = true
	}
	_ = p.cmd.Process.Signal(sig) // an error says that it is gone
	return p.exited
}

// gone is closed when the present life is over.
func (p *process) gone() <-chan struct{} { return p.signal(syscall.Signal(0), false) }

// kill ends the process as a crash does, and returns when it is gone.
func (p *process) kill() { <-p.signal(syscall.SIGKILL, true) }

// pause stops the process where it is, until resume.
func (p *process) pause()  { p.signal(syscall.SIGSTOP, false) }
func (p *process) resume() { p.signal(syscall.SIGCONT, false) }

// stop ends the process as an operator does. The error says that it took too long or didn't end well.
func (p *process) stop(ctx context.Context, limit time.Duration) error {
	exited := p.signal(syscall.SIGTERM, true)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-exited:
	case <-ctx.Done():
		p.kill()
		return ctx.Err()
	case <-timer.C:
		p.signal(syscall.SIGQUIT, true) // the runtime writes into the log where everybody stands
		select {
		case <-exited:
		case <-time.After(2 * time.Second):
			p.kill()
		}
		return fmt.Errorf("%s did not end within %v of SIGTERM", p.name, limit)
	}
	p.mu.Lock()
	state := p.cmd.ProcessState
	p.mu.Unlock()
	if !state.Success() {
		return fmt.Errorf("%s ended with %v after SIGTERM\n%s", p.name, state, p.tail())
	}
	return nil
}

// end ends the process whatever it is at, and waits for what watched it.
func (p *process) end() {
	p.signal(syscall.SIGKILL, true)
	p.lives.Wait()
}

// tailBytes is how much of a log is shown.
const tailBytes = 3 << 10

// tail returns the last lines of the log.
func (p *process) tail() string {
	f, err := os.Open(p.log)
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, tailBytes)
	size, err := f.Seek(0, 2)
	if err != nil {
		return ""
	}
	from := max(0, size-tailBytes)
	n, _ := f.ReadAt(b, from) // it may end before
	text := string(b[:n])
	if from > 0 {
		_, text, _ = strings.Cut(text, "\n")
	}
	return strings.TrimRight(text, "\n")
}

// cries are what a healthy process never writes.
var cries = []string{"WARNING: DATA RACE", "panic:", "fatal error:"}

// cried returns the first line of the log that a healthy process never writes, or "".
func (p *process) cried() (string, error) {
	b, err := os.ReadFile(p.log)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the log of %s: %w", p.name, err)
	}
	for line := range strings.Lines(string(b)) {
		for _, cry := range cries {
			if strings.HasPrefix(line, cry) {
				return strings.TrimSpace(line), nil
			}
		}
	}
	return "", nil
}
