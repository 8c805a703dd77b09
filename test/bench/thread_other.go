//go:build !linux

package main

import "time"

var began = time.Now()

// threadTime returns the elapsed time since the start of the program. Only the Linux
// version returns CPU time of the thread.
func threadTime() time.Duration { return time.Since(began) }
