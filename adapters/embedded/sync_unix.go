//go:build unix && !linux

package embedded

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncFolder syncs every filesystem: there is no call for one.
func syncFolder(string) error {
	unix.Sync()
	return nil
}

// canCommit says that a sync of all files doesn't tell what it could not write.
func canCommit(string) error {
	return errors.New("the system can't sync a filesystem and tell of errors")
}

// syncHeld syncs an open file; it is not used, as canCommit says.
func syncHeld(f *os.File) error { return f.Sync() }
