//go:build unix && !linux

package engines

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

func serverAttributes(a *account) *syscall.SysProcAttr { return unixAttributes(a) }

// killAfterUs starts a helper that kills a process when this process ends, since then the
// helper's standard input ends. release ends the helper.
func killAfterUs(pid int) (release func(), err error) {
	helper := exec.Command("sh", "-c", "read line; kill -9 "+strconv.Itoa(pid))
	helper.SysProcAttr = helperAttributes()
	if _, err := helper.StdinPipe(); err != nil {
		return nil, err
	}
	if err := helper.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = helper.Process.Kill()
		_ = helper.Wait()
	}, nil
}

// childrenOf returns the child processes of a process.
func childrenOf(pid int) (children []int) {
	out, _ := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	for line := range strings.Lines(string(out)) {
		var child, parent int
		if _, err := fmt.Sscan(line, &child, &parent); err == nil && parent == pid {
			children = append(children, child)
		}
	}
	return children
}

// isStopped reports whether SIGSTOP has stopped a process.
func isStopped(pid int) (bool, error) {
	out, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(pid)).Output()
	return strings.HasPrefix(strings.TrimSpace(string(out)), "T"), err
}
