// Package fault holds the two roots of the errors of this module. Package jwtauth
// exports them; the packages below it need them, too.
package fault

import (
	"context"
	"errors"
	"fmt"
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
