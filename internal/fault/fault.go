// Package fault has the errors ErrRefused and ErrUnavailable, which package jwtauth exports.
// They are here, since packages that jwtauth imports need them, too.
package fault

import (
	"context"
	"errors"
	"fmt"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// ErrRefused means that a token or a request was refused. ErrUnavailable means that it
// could not be decided whether to accept or refuse, for example because a store does not
// answer.
var (
	ErrRefused     = errors.New("refused")
	ErrUnavailable = errors.New("unavailable")
)

// IsUnavailable reports whether err is ErrUnavailable or the error of a context.
func IsUnavailable(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// NoAnswer returns an error that wraps ErrUnavailable and cause. pkg is the name of the
// package that returns the error.
func NoAnswer(pkg string, cause error) error {
	return fmt.Errorf("%s: %w: %w", pkg, ErrUnavailable, cause)
}

// Recover calls f and turns a panic of f into an error. It is for functions that the
// application has passed to this module and that run in a goroutine of this module, where a
// panic would end the process.
func Recover(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = Panicked(p)
		}
	}()
	return f()
}

// Panicked returns the error for a panic with the value p.
func Panicked(p any) error { return fmt.Errorf("a panic: %s", errtext.Quote(fmt.Sprint(p))) }
