//go:build unix

package boot

import (
	"io/fs"
	"os"
	"syscall"
)

// own gives a file the owner that another has. Who may not do that keeps it.
func own(file *os.File, like fs.FileInfo) error {
	stat, ok := like.Sys().(*syscall.Stat_t)
	if !ok || os.Getuid() != 0 {
		return nil
	}
	return file.Chown(int(stat.Uid), int(stat.Gid))
}
