//go:build !linux

package main

import "time"

var began = time.Now()

// threadTime is the time of the clock where a thread's own cannot be read.
func threadTime() time.Duration { return time.Since(began) }
