//go:build unix

package ws

import "syscall"

// hasDescriptors says that bytes can be moved straight on a non-blocking descriptor.
const hasDescriptors = true

// writeDescriptor writes what the kernel takes at once. blocked means that it takes nothing now.
func writeDescriptor(fd uintptr, b []byte) (n int, blocked bool, err error) {
	for {
		n, err = syscall.Write(int(fd), b)
		switch err {
		case nil:
			return n, false, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, true, nil
		default:
			return 0, false, err
		}
	}
}

// readDescriptor reads what has come; none without an error is the end. empty means that nothing
// has come.
func readDescriptor(fd uintptr, b []byte) (n int, empty bool, err error) {
	for {
		n, err = syscall.Read(int(fd), b)
		switch err {
		case nil:
			return n, false, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, true, nil
		default:
			return 0, false, err
		}
	}
}
