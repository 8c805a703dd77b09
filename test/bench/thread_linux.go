package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime returns the CPU time of this thread. The time in which the thread does
// not run is not included.
func threadTime() time.Duration {
	var t unix.Timespec
	must(unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t))
	return time.Duration(t.Nano())
}
