//go:build unix

package stack

import (
	"fmt"
	"syscall"
)

// killGroup kills the process pid and all that it started: childAttributes made it
// the head of a process group.
func killGroup(pid int) error {
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill process group %d: %w", pid, err)
	}
	return nil
}
