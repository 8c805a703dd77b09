//go:build unix

package engines

import "syscall"

// canStart reports whether servers can be started on this system.
const canStart = true

// unixAttributes starts a process as an account, in a process group of its own, so that
// Ctrl-C in the terminal does not reach the process.
func unixAttributes(a *account) *syscall.SysProcAttr {
	attributes := helperAttributes()
	if a != nil {
		attributes.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attributes
}

// helperAttributes starts a process that must outlive this one, to clean up after it.
func helperAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
