//go:build unix && !linux

package redistest

import "os/exec"

// run starts a process.
func run(cmd *exec.Cmd) error { return cmd.Start() }
