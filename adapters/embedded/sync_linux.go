package embedded

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncFolder syncs the filesystem that holds dir, and no other.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}
