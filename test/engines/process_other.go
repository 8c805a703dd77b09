//go:build !unix

package engines

import (
	"errors"
	"syscall"
)

// canStart reports whether servers can be started on this system.
const canStart = false

var errNotUnix = errors.New("engines: servers start only on Unix systems")

func serverAttributes(*account) *syscall.SysProcAttr { return nil }

func helperAttributes() *syscall.SysProcAttr { return nil }

func killAfterUs(int) (release func(), err error) { return nil, errNotUnix }

func childrenOf(int) []int { return nil }

func isStopped(int) (bool, error) { return false, errNotUnix }
