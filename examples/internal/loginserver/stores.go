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
	// Lasting says that the sessions outlive the process.
	Lasting bool
	// Ready returns an error while revocations of other processes may be missing.
	Ready func(ctx context.Context) error
	// Close is called once, after the last request.
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
		log.Warn("sessions outlive this process and its key does not: -key is expected")
	}
	if c.issuer == "" {
		log.Warn("sessions belong to an issuer, which is the address of this server: -issuer is expected")
	}
}
