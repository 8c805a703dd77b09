package loginserver

import (
	"context"
	"log/slog"

	"github.com/jwtauth-go/jwtauth"
)

// Stores keeps the sessions and the revocations of a server.
type Stores struct {
	Sessions    jwtauth.SessionStore
	Revocations jwtauth.RevocationStore
	// Lasting is true if the sessions outlive the process.
	Lasting bool
	// Ready returns an error while revocations of other processes may be missing.
	Ready func(ctx context.Context) error
	// Close closes the stores. It is called once, after the last request.
	Close func()
}

// OpenMemory makes stores in memory. Their content ends with the process.
func OpenMemory(context.Context, string, *slog.Logger) (*Stores, error) {
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	return &Stores{
		Sessions: store, Revocations: store,
		Ready: func(context.Context) error { return nil },
		Close: func() {},
	}, nil
}

// warnIfSessionsAreLost logs which flags are missing for sessions that outlive the
// process.
func warnIfSessionsAreLost(c *config, log *slog.Logger) {
	if c.secretEnv == "" && len(c.keyFiles) == 0 {
		log.Warn("the sessions outlive this process, but its key does not: -key is expected")
	}
	if c.issuer == "" {
		log.Warn("the sessions belong to an issuer, whose name is now the address of this server: -issuer is expected")
	}
}
