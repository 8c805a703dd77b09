//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package keydir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// lockFile waits until it has created the file at path, which is the lock. If a process
// dies while it has the lock, the file must be removed by hand.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			return func() { f.Close(); os.Remove(path) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is there; if no process is changing the keys, remove it: %w", path, ctx.Err())
		}
	}
}
