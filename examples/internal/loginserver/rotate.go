package loginserver

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwk/keydir"
)

// keyDir returns the directory that -key names, or "" if -key names files.
func keyDir(c *config) (string, error) {
	for _, name := range c.keyFiles {
		if info, err := os.Stat(name); err != nil || !info.IsDir() {
			continue // loadKeyFiles returns the error
		}
		if len(c.keyFiles) > 1 {
			return "", fmt.Errorf("-key: %s is a directory, which has all keys: no other -key is expected", name)
		}
		return name, nil
	}
	return "", nil
}

// keyDirTimeout bounds each operation on the directory, which another process may
// have locked.
const keyDirTimeout = 10 * time.Second

// openKeyDir opens the ring of a directory, which other servers may share.
func openKeyDir(dir string, log *slog.Logger) (*jwk.Ring, error) {
	ctx, cancel := context.WithTimeout(context.Background(), keyDirTimeout)
	defer cancel()
	ring, err := jwk.OpenRing(ctx, keydir.New(dir), jwk.RingOptions{OnEvent: event.Log(log)})
	if err != nil {
		return nil, fmt.Errorf("-key: %w", err)
	}
	return ring, nil
}

// rotateOnHangUp makes the next key of a ring at each SIGHUP, until stop is called.
// If all servers of a directory get the signal at once, they make only one key.
func rotateOnHangUp(ring *jwk.Ring, log *slog.Logger) (stop func()) {
	hangUps, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangUps, syscall.SIGHUP)
	go func() {
		defer close(done)
		for range hangUps {
			rotate(ring, log)
		}
	}()
	return func() {
		signal.Stop(hangUps)
		close(hangUps)
		<-done
	}
}

func rotate(ring *jwk.Ring, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), keyDirTimeout)
	defer cancel()
	next, err := ring.Rotate(ctx)
	if err != nil {
		log.Error("rotating the keys failed", "error", err)
		return
	}
	logPlan(ring, log)
	log.Info("the next key is published", "key", next.ID, "signs_from", next.SignsFrom)
}

// logPlan logs the dates of each key.
func logPlan(ring *jwk.Ring, log *slog.Logger) {
	for _, k := range ring.Plan() {
		log.Info("plan", "key", k)
	}
}
