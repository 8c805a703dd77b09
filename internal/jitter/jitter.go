// Package jitter varies durations, so that processes which were started together do not
// call a server together for ever.
package jitter

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// Of returns d, or up to a tenth less.
func Of(d time.Duration) time.Duration {
	var b [2]byte
	rand.Read(b[:])
	return d - d/10*time.Duration(binary.LittleEndian.Uint16(b[:]))/(1<<16)
}
