//go:build unix && !linux

package prove

import "syscall"

// attributes keep a terminal's Ctrl-C from a process.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
