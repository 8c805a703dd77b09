// Package storetest checks that a store implements [jwtauth.SessionStore] and
// [jwtauth.RevocationStore] correctly, and [replica.Log] if it has a log. To check your own
// store, add one test:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Store {
//			return mystore.New(engine, mystore.Options{Prefix: rand.Text()})
//		})
//	}
//
// If your store implements only one of the interfaces, add a MemoryStore for the other:
//
//	struct {
//		jwtauth.SessionStore
//		jwtauth.RevocationStore
//	}{mine, jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})}
//
// The name of each subtest is the rule that it checks. The suite does not check what the
// interfaces leave open. It interprets them as follows:
//
//   - Advance compares ExpiresAt with the time in the Rotation, not with the clock of the
//     engine. The engine may remove an expired row only a minute after its end, since
//     clocks may differ by a minute. Until a row is removed, Advance finds it, List returns
//     it, and Create with its ID is ErrSessionExists.
//   - Advance does what SessionRecord.Step does: the suite computes each expected row with
//     it. RotatedAt of a step and Age come from the clock of the engine. Age is negative if
//     RotatedAt is ahead of that clock. The largest From is math.MaxInt64-1, since no
//     Generation follows math.MaxInt64.
//   - Create keeps RotatedAt as it is given, and compares it with the ExpiresAt of the other
//     rows if it has a limit. If a Create has the ID of another row and the limit is reached as well, ErrSessionExists and ErrSessionLimit are both correct. List returns Age 0.
//   - The place of a row in the pages of List depends on its ID alone. It does not change if
//     the row is advanced, or deleted and created again. The last page may be empty.
//   - The parts of a key, the argument after of List, and the ids of revocations may be any
//     UTF-8 text of up to 8 KiB. They are stored literally. A key that is not UTF-8 is not
//     stored. Data and Details may be any bytes.
//   - While the engine works, no call fails, even if many calls run concurrently.
//
// The suite compares RotatedAt and Age with the clock of the machine that runs the test. The
// two clocks must differ by less than 100 milliseconds, and must not be set during the test.
// The suite takes a few seconds, since it waits for revocations to end. In a store that
// takes a millisecond for each call, it takes about half a minute.
//
// The suite cannot test an engine that fails, restarts or loses data. It also cannot see
// whether the engine removes a row or an index too early, if this happens more than a minute
// after the row was written. It cannot write the rows that an older version of the store has
// written. Test these with your engine.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/replica"
)

// Store is a store that [Run] can check.
type Store interface {
	jwtauth.SessionStore
	jwtauth.RevocationStore
}

// LogStore is a store that [RunLog] can check.
type LogStore interface {
	replica.Log
}

// Run checks that a store implements its interfaces correctly. Each call of newStore must
// return an empty store. If all stores share one engine, newStore uses a new prefix or
// schema each time, and removes it with t.Cleanup.
func Run(t *testing.T, newStore func(t *testing.T) Store) {
	t.Helper()
	for _, r := range storeRules {
		t.Run(r.name, func(t *testing.T) {
			store := newStore(t)
			r.run(t, trial{sessions: store, revocations: store})
		})
	}
}

// RunLog checks that a store implements Since of [replica.Log] correctly. Each call of
// newStore must return an empty store, as for [Run]. Call Run as well, since RunLog does not
// check the other methods.
func RunLog(t *testing.T, newStore func(t *testing.T) LogStore) {
	t.Helper()
	for _, r := range logRules {
		t.Run(r.name, func(t *testing.T) {
			store := newStore(t)
			r.run(t, trial{revocations: store, log: store})
		})
	}
}

// rule is a rule that a store must keep. name is the rule as a sentence, and check checks
// it.
type rule struct {
	name  string
	check func(c *trial)
}

// tb has the methods of testing.TB that checks use. The tests of this package implement it,
// to run the checks with broken stores.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}

// checkTimeout bounds the contexts of the calls of one check.
const checkTimeout = time.Minute

// run runs the check of a rule with the stores of c.
func (r rule) run(t tb, c trial) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), checkTimeout)
	defer cancel()
	c.tb, c.ctx, c.now = t, ctx, time.Now().UTC().Truncate(time.Microsecond)
	r.check(&c)
}
