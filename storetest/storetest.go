// Package storetest proves that a store keeps the contracts of
// [jwtauth.SessionStore] and [jwtauth.RevocationStore], and of
// [jwtauth.RevocationLog] where it has one. Who writes a store adds one test:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Store {
//			return mystore.New(engine, mystore.Options{Prefix: rand.Text()})
//		})
//	}
//
// A store of one kind alone is completed with a MemoryStore:
//
//	struct {
//		jwtauth.SessionStore
//		jwtauth.RevocationStore
//	}{mine, jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})}
//
// Each subtest is named after what must hold. What the interfaces leave open is
// not asked for; where they are short, this is how they are read:
//
//   - An expiry is judged by the time that the caller sends. The engine's own
//     expiry only clears away, and not before a minute has passed, since clocks
//     may be that far apart. Until a row is gone, Advance finds it, List has it
//     and its ID is taken.
//   - Parts of a key, and ids of revocations, are any UTF-8 text, of up to 8 KiB,
//     and are stored literally. A key that is not UTF-8 is not stored.
//   - No call fails while the engine is well, however many race.
//
// The engine's clock should be that of this machine to a tenth of a second. The
// suite takes a few seconds, since it waits for revocations to end. What it cannot
// see is an engine that fails, restarts or forgets, and a row or index that the
// engine drops too early, more than a minute later: test these with the engine at
// hand.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/replica"
)

// Store is what [Run] tests.
type Store interface {
	jwtauth.SessionStore
	jwtauth.RevocationStore
}

// LogStore is what [RunLog] tests.
type LogStore interface {
	replica.Log
}

// Run proves that a store keeps its contracts. newStore returns a handle to an
// empty store each time it is called; where stores share an engine, it hands out
// another prefix or schema, and clears it away in a t.Cleanup.
func Run(t *testing.T, newStore func(t *testing.T) Store) {
	t.Helper()
	for _, r := range storeRules {
		t.Run(r.name, func(t *testing.T) {
			store := newStore(t)
			r.try(t, trial{sessions: store, revocations: store})
		})
	}
}

// RunLog proves that a store tells what it was told, as [jwtauth.RevocationLog]
// says. newStore is as in [Run], which is to be called too.
func RunLog(t *testing.T, newStore func(t *testing.T) LogStore) {
	t.Helper()
	for _, r := range logRules {
		t.Run(r.name, func(t *testing.T) {
			store := newStore(t)
			r.try(t, trial{revocations: store, log: store})
		})
	}
}

// rule is one sentence that must hold, and its check.
type rule struct {
	name  string
	check func(c *trial)
}

// tb is the part of testing.TB that checks use, so that the suite can be tested
// with stores that fail it.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}

// patience is how long a check may take, for a store that honours its context.
const patience = time.Minute

func (r rule) try(t tb, c trial) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c.tb, c.ctx, c.now = t, ctx, time.Now().UTC().Truncate(time.Microsecond)
	r.check(&c)
}
