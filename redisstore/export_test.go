package redisstore

import "time"

// SetSilence sets for how long Watch waits before it asks whether the connection
// is still there, and returns what sets it back.
func SetSilence(d time.Duration) (back func()) {
	old := silence
	silence = d
	return func() { silence = old }
}
