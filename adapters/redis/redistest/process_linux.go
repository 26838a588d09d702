package redistest

import (
	"os/exec"
	"runtime"
	"syscall"
)

// starts is where processes are started: by a thread that lives as long as the test binary, for they
// are killed with the thread that started them.
var starts = func() chan func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range c {
			start()
		}
	}()
	return c
}()

// run starts a process that ends when the test binary does, however that ends.
func run(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	done := make(chan error)
	starts <- func() { done <- cmd.Start() }
	return <-done
}
