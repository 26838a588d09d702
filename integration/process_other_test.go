//go:build !linux

package integration

import (
	"os/exec"
	"testing"
)

// dieWithTest does nothing where the system can't end a process with its parent.
func dieWithTest(*exec.Cmd) {}

type disk struct{ path string }

func mountDisk(tb testing.TB, _ string) *disk {
	tb.Helper()
	tb.Skip("a small disk to fill can only be mounted on Linux")
	return nil
}

func (*disk) fill(string, uint64) {}

func (*disk) readOnly() {}
