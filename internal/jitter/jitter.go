// Package jitter varies durations, so that processes that were started at the same time do
// not call a server at the same times (thundering herd).
package jitter

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// Of returns a random duration between 0.9·d and d.
func Of(d time.Duration) time.Duration {
	var b [2]byte
	rand.Read(b[:])
	return d - d/10*time.Duration(binary.LittleEndian.Uint16(b[:]))/(1<<16)
}
