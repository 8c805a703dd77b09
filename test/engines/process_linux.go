package engines

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// serverAttributes makes Linux kill a server when the thread that started it ends. See
// launch.
func serverAttributes(a *account) *syscall.SysProcAttr {
	attributes := unixAttributes(a)
	attributes.Pdeathsig = syscall.SIGKILL
	return attributes
}

// killAfterUs has nothing to do on Linux: see serverAttributes.
func killAfterUs(int) (release func(), err error) { return func() {}, nil }

// childrenOf returns the child processes of a process.
func childrenOf(pid int) (children []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, field := range strings.Fields(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			children = append(children, child)
		}
	}
	return children
}

// isStopped reports whether SIGSTOP has stopped a process.
func isStopped(pid int) (bool, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false, err
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "T"), nil
}
