package stack

import "syscall"

// childAttributes puts a child into a process group of its own, so that Ctrl-C in a
// terminal reaches only us and the order of stopping is ours, and has the kernel
// kill it when we die without stopping it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
