// Package fault holds the two roots of the errors of this module. Package jwtauth
// exports them; the packages below it need them, too.
package fault

import (
	"context"
	"errors"
	"fmt"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// ErrRefused means that the answer is no. ErrUnavailable means that there is no answer.
var (
	ErrRefused     = errors.New("refused")
	ErrUnavailable = errors.New("unavailable")
)

// IsUnavailable reports whether err means that a question could not be answered.
func IsUnavailable(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// NoAnswer returns an error that matches ErrUnavailable and cause. pkg is the name of
// the package that returns it.
func NoAnswer(pkg string, cause error) error {
	return fmt.Errorf("%s: %w: %w", pkg, ErrUnavailable, cause)
}

// Recover calls f and makes a panic of f an error. It is for functions of the program that
// run in a goroutine of this module, whose panic would end the process.
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
