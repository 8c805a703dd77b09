package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is how long this thread has been running: what it does not get to run
// does not count.
func threadTime() time.Duration {
	var t unix.Timespec
	must(unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t))
	return time.Duration(t.Nano())
}
