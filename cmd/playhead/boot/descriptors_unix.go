//go:build unix

package boot

import "syscall"

// raiseDescriptors raises the limit of open files, which bounds the connections, as far as the
// process may, and returns it.
func raiseDescriptors() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	if limit.Cur < limit.Max {
		raised := limit
		raised.Cur = limit.Max
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
			return uint64(limit.Cur), err //nolint:unconvert // it is signed on some systems
		}
		limit = raised
	}
	return uint64(limit.Cur), nil //nolint:unconvert // see above
}
