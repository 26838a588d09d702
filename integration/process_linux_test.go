package integration

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// dieWithTest ends the process when the test's own ends, so that a test run that is killed leaves
// no node behind; and keeps a terminal's Ctrl-C from reaching it.
func dieWithTest(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// disk is a small file system of its own, in memory.
type disk struct {
	tb   testing.TB
	path string
}

// mountDisk mounts a disk of a size, for example "16m". Only root may; where it can't, the test is
// skipped, but not in CI.
func mountDisk(tb testing.TB, size string) *disk {
	tb.Helper()
	d := &disk{tb: tb, path: tb.TempDir()}
	err := syscall.Mount("tmpfs", d.path, "tmpfs", 0, "size="+size)
	if errors.Is(err, syscall.EPERM) && os.Getenv("CI") == "" {
		tb.Skip("only root can mount a small disk to fill")
	}
	if err != nil {
		tb.Fatalf("mount a disk: %v", err)
	}
	tb.Cleanup(func() {
		// Lazily: a file may still be open in a process that is just going.
		if err := syscall.Unmount(d.path, syscall.MNT_DETACH); err != nil {
			tb.Errorf("unmount: %v", err)
		}
	})
	return d
}

// fill writes a file that leaves so many bytes of the disk free.
func (d *disk) fill(file string, free uint64) {
	d.tb.Helper()
	var room syscall.Statfs_t
	if err := syscall.Statfs(d.path, &room); err != nil {
		d.tb.Fatal(err)
	}
	size := room.Bavail*uint64(room.Bsize) - free
	if err := os.WriteFile(file, make([]byte, size), 0o600); err != nil {
		d.tb.Fatalf("fill the disk: %v", err)
	}
}

// readOnly lets nobody write to the disk any more, not even root.
func (d *disk) readOnly() {
	d.tb.Helper()
	if err := syscall.Mount("tmpfs", d.path, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		d.tb.Fatalf("make the disk read-only: %v", err)
	}
}
