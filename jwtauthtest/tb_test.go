package jwtauthtest_test

import (
	"fmt"
	"testing"
)

// t stands for the *testing.T of a test, which an example has not.
var t testing.TB = new(fake)

// fake is a testing.TB that remembers why a test would have ended.
type fake struct {
	testing.TB
	fatal string
}

func (*fake) Helper() {}

func (f *fake) Fatalf(format string, args ...any) { f.fatal = fmt.Sprintf(format, args...) }
