package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// errInUse is what a folder lock that is taken says.
var errInUse = errors.New("another playhead process is using it")

// folderLock keeps other processes out of a folder. The lock is the system's, on an open file, so
// it is gone with the process however that ends.
type folderLock struct {
	file *os.File
}

// lockFolder makes the folder when it isn't there and locks it.
func lockFolder(dir string) (*folderLock, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make it: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("write to it: %w", err)
	}
	if err := lockFile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &folderLock{file: file}, nil
}

// release gives the folder free. The file stays: removing it would let two processes lock two files
// of one name.
func (l *folderLock) release() error { return l.file.Close() }
