package redisstore

import "time"

// SetSilence sets silence, until undo is called.
func SetSilence(d time.Duration) (undo func()) {
	old := silence
	silence = d
	return func() { silence = old }
}
