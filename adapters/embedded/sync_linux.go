package embedded

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// syncFolder syncs the filesystem that holds dir, and no other.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(syncHeld(f), f.Close())
}

// syncHeld syncs the filesystem of an open file. It tells of everything that could not be written
// since the file was opened or synced last.
func syncHeld(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = unix.Syncfs(int(fd)); !errors.Is(failed, unix.EINTR) {
				return
			}
		}
	})
	return errors.Join(err, failed)
}

// canCommit returns nil when a sync of dir's filesystem now and then is as safe as syncing each
// file whenever it is written, or why it isn't. The server trims a block by writing a new file and
// giving it the old one's name, in this mode without a sync between: so the filesystem must have
// the new file's data on disk before its name. Ext4 does unless it is told not to.
func canCommit(dir string) error {
	if err := reportsErrors(); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return err
	}
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer file.Close()
	device := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		mount, super, ok := strings.Cut(lines.Text(), " - ")
		if fields := strings.Fields(mount); !ok || len(fields) < 3 || fields[2] != device {
			continue
		}
		return keepsOrder(super)
	}
	return errors.Join(errors.New("its filesystem is not among the mounts"), lines.Err())
}

// keepsOrder looks at what a mount's line has behind the dash: type, source, options.
func keepsOrder(super string) error {
	fields := strings.Fields(super)
	if len(fields) < 3 || fields[0] != "ext4" {
		return errors.New("the filesystem is not ext4")
	}
	for option := range strings.SplitSeq(fields[len(fields)-1], ",") {
		switch option {
		case "noauto_da_alloc", "auto_da_alloc=0", "data=writeback":
			return fmt.Errorf("the filesystem is mounted with %s", option)
		}
	}
	return nil
}

// reportsErrors returns nil when the kernel's syncfs tells of data (5.8) and of metadata (5.17) that
// could not be written.
func reportsErrors() error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	release := unix.ByteSliceToString(name.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("kernel release %q: %w", release, err)
	}
	if major < 5 || major == 5 && minor < 17 {
		return fmt.Errorf("the kernel is %s, older than 5.17", release)
	}
	return nil
}
