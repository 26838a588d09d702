//go:build unix && !linux

package databasetest

import "syscall"

// attributes have a process run as somebody else.
func attributes(owner *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: owner, Setpgid: true}
}
