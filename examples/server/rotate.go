package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/keydir"
)

// keyDir is the directory that -key names, "" where it names files.
func keyDir(c *config) (string, error) {
	for _, name := range c.keyFiles {
		if info, err := os.Stat(name); err != nil || !info.IsDir() {
			continue // an error comes again when the file is read
		}
		if len(c.keyFiles) > 1 {
			return "", fmt.Errorf("-key: %s is a directory, which holds all keys: no other -key beside it is expected", name)
		}
		return name, nil
	}
	return "", nil
}

// keyDirTimeout bounds what is done to the directory: another process may hold it.
const keyDirTimeout = 10 * time.Second

// openKeyDir opens the ring of a directory, which other servers may share. Its
// keys outlive the server.
func openKeyDir(dir string, c *config, log *slog.Logger) (*jwtauth.KeyRing, error) {
	ctx, cancel := context.WithTimeout(context.Background(), keyDirTimeout)
	defer cancel()
	ring, err := jwtauth.OpenKeyRing(ctx, keydir.New(dir), jwtauth.KeyRingOptions{
		AccessTTL: c.accessTTL, RefreshTTL: min(c.refreshTTL, c.sessionTTL), OnEvent: jwtauth.LogEvents(log),
	})
	if err != nil {
		return nil, fmt.Errorf("-key: %w", err)
	}
	return ring, nil
}

// rotateOnHangUp makes the next key of a ring at each SIGHUP from now on, until
// stop is called. Where all servers of a directory are told at once, they make one
// key.
func rotateOnHangUp(ring *jwtauth.KeyRing, log *slog.Logger) (stop func()) {
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

func rotate(ring *jwtauth.KeyRing, log *slog.Logger) {
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

// logPlan tells when each key does what.
func logPlan(ring *jwtauth.KeyRing, log *slog.Logger) {
	for _, k := range ring.Plan() {
		log.Info("plan", "key", k)
	}
}
