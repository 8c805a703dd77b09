//go:build linux

package faults_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/storetest"
)

// checkedStore is a store that porcupine checks.
type checkedStore struct {
	name      string
	histories int // fewer for a slower store
	// open returns a handle of an empty store for each client. If the store has an engine,
	// the handles are in three processes.
	open func(t *testing.T, clients int) []storetest.Store
}

var checkedStores = []checkedStore{
	{"MemoryStore", 300, func(_ *testing.T, clients int) []storetest.Store {
		return handles(clients, jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{}))
	}},
	{"redis", 150, handlesOf("redis")},
	{"postgres", 100, handlesOf("postgres")},
	{"mariadb", 60, handlesOf("mariadb")},
	{"sqlite", 60, handlesOf("sqlite")},
}

func handlesOf(engine string) func(t *testing.T, clients int) []storetest.Store {
	return func(t *testing.T, clients int) (all []storetest.Store) {
		p := newPlace(t, engine)
		processes := []storetest.Store{p.store(t), p.remote(t), p.remote(t)}
		for i := range clients {
			all = append(all, processes[i%len(processes)])
		}
		return all
	}
}

// handles returns the same handle for all clients.
func handles(clients int, store storetest.Store) []storetest.Store {
	return slices.Repeat([]storetest.Store{store}, clients)
}

// The operations of both stores.
const (
	create = iota
	advance
	remove
	list
	revoke
	isRevoked
)

// input is one call, output its answer.
type input struct {
	op                  int
	from, parent, epoch int64     // of Advance
	stamp               int64     // a different number in each Create and Advance
	ids                 [2]uint16 // Revoke uses the first, IsRevoked both
}

// keepsDetails reports whether an Advance sets no details, so that the row keeps its old ones.
func (i input) keepsDetails() bool { return i.stamp%3 == 0 }

type output struct {
	failed, advanced, revoked bool
	rows                      int
	row                       sessionRow
}

// sessionRow has the parts of a row that can change.
type sessionRow struct {
	generation, previous, parent, parentStep, epoch int64

	expires, created, details int64 // the stamps of the calls that have set these parts
	rotated                   int64 // RotatedAt, by the clock of the engine
}

var begin = time.Now().UTC().Truncate(time.Microsecond) // close to the time of the engines

func at(stamp int64) time.Time { return begin.Add(time.Duration(stamp) * time.Microsecond) }

// expiry returns a different ExpiresAt for each stamp.
func expiry(stamp int64) time.Time { return at(stamp).Add(time.Hour) }

func rowOf(r jwtauth.SessionRecord) sessionRow {
	row := sessionRow{
		generation: r.Generation, previous: r.Previous, parent: r.Parent, parentStep: r.ParentStep, epoch: r.Epoch,
		expires: r.ExpiresAt.Sub(expiry(0)).Microseconds(), rotated: r.RotatedAt.Sub(begin).Microseconds(),
	}
	fmt.Sscanf(string(r.Data), `{"created":%d}`, &row.created)
	fmt.Sscanf(string(r.Details), `{"details":%d}`, &row.details)
	return row
}

// maxClockStep is how far the clock of an engine may go back during a call.
const maxClockStep = 100 * time.Millisecond

// call makes one call. Each history uses its own session and ids.
func call(ctx context.Context, store storetest.Store, history uint64, in input) (out output, err error) {
	key := jwtauth.SessionKey{Issuer: issuerName, Subject: fmt.Sprint(history), ID: "session"}
	id := func(n uint16) string { return fmt.Sprint(history, " ", n) }
	switch in.op {
	case create:
		err = store.Create(ctx, jwtauth.SessionRecord{
			Key: key, Generation: 1, RotatedAt: at(in.stamp), ExpiresAt: expiry(in.stamp), Data: fmt.Appendf(nil, `{"created":%d}`, in.stamp),
		}, int(in.stamp%2)) // with a limit of 1, the subject has no room if the session is there
		if errors.Is(err, jwtauth.ErrSessionExists) || errors.Is(err, jwtauth.ErrSessionLimit) {
			return output{failed: true}, nil
		}
		return output{}, err
	case advance:
		rotation := jwtauth.Rotation{From: in.from, Parent: in.parent, Epoch: in.epoch, At: at(in.stamp), ExpiresAt: expiry(in.stamp)}
		if !in.keepsDetails() {
			rotation.Details = fmt.Appendf(nil, `{"details":%d}`, in.stamp)
		}
		row, advanced, err := store.Advance(ctx, key, rotation)
		if errors.Is(err, jwtauth.ErrNoSession) {
			return output{failed: true}, nil
		}
		if row.Age < -maxClockStep {
			return output{}, fmt.Errorf("Age is %v", row.Age)
		}
		return output{advanced: advanced, row: rowOf(row)}, err
	case remove:
		return output{}, store.Delete(ctx, key)
	case list:
		rows, err := store.List(ctx, key.Issuer, key.Subject, "", 10)
		out.rows = len(rows)
		if len(rows) > 0 {
			out.row = rowOf(rows[0])
		}
		return out, err
	case revoke:
		return output{}, store.Revoke(ctx, id(in.ids[0]), begin.Add(time.Hour+time.Duration(in.stamp%7)*time.Minute))
	default:
		out.revoked, err = store.IsRevoked(ctx, id(in.ids[0]), id(in.ids[1]))
		return out, err
	}
}

// sessionModel is the contract of a SessionStore for one session. Its state is the row; the zero
// value means that there is none. The model accepts any RotatedAt that the store returns for a
// step, unless it is more than maxClockStep before the previous one.
var sessionModel = porcupine.Model{
	Init: func() any { return sessionRow{} },
	Step: func(state, in, out any) (bool, any) {
		row, i, o := state.(sessionRow), in.(input), out.(output)
		there := row != sessionRow{}
		switch i.op {
		case create:
			if there {
				return o.failed, row
			}
			return !o.failed, sessionRow{generation: 1, expires: i.stamp, created: i.stamp, rotated: i.stamp}
		case advance:
			if !there {
				return o.failed, row
			}
			advanced, rotated := row.generation <= i.from && row.epoch <= i.epoch, row.rotated
			if advanced {
				row.generation, row.previous, row.parent, row.parentStep = i.from+1, row.generation, i.parent, i.from+1
				row.expires, row.rotated = i.stamp, o.row.rotated
				if !i.keepsDetails() {
					row.details = i.stamp
				}
			}
			row.epoch = max(row.epoch, i.epoch)
			return !o.failed && o.advanced == advanced && o.row == row && row.rotated >= rotated-maxClockStep.Microseconds(), row
		case remove:
			return true, sessionRow{}
		default:
			return (o.rows == 1) == there && o.rows <= 1 && o.row == row, row
		}
	},
}

// revocationModel is the contract of a RevocationStore while no entry ends. Its state is the
// set of entries.
var revocationModel = porcupine.Model{
	Init: func() any { return uint16(0) },
	Step: func(state, in, out any) (bool, any) {
		entries, i := state.(uint16), in.(input)
		if i.op == revoke {
			return true, entries | 1<<i.ids[0]
		}
		return out.(output).revoked == (entries&(1<<i.ids[0]|1<<i.ids[1]) != 0), entries
	},
}

// The size of a history.
const (
	clients = 6
	calls   = 20 // of each client
)

// history lets clients call a store concurrently, each with its own handle, and records
// when each call began and ended.
func history(t *testing.T, store []storetest.Store, seed uint64, choose func(r *rand.Rand, stamp int64) input) []porcupine.Operation {
	t.Helper()
	var clock atomic.Int64
	operations := make([][]porcupine.Operation, clients)
	start := make(chan struct{})
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(client)))
			<-start
			for n := range calls {
				in := choose(r, int64(1+client+n*clients))
				o := porcupine.Operation{ClientId: client, Input: in, Call: clock.Add(1)}
				if r.IntN(2) == 0 {
					runtime.Gosched() // so that calls overlap
				}
				out, err := call(t.Context(), store[client], seed, in)
				o.Output, o.Return = out, clock.Add(1)
				if err != nil {
					t.Errorf("%+v: %v", in, err)
				}
				operations[client] = append(operations[client], o)
			}
		})
	}
	close(start)
	all.Wait()
	var whole []porcupine.Operation
	for _, own := range operations {
		whole = append(whole, own...)
	}
	return whole
}

func sessionCalls(r *rand.Rand, stamp int64) input {
	op := []int{create, create, advance, advance, advance, advance, advance, remove, list, list}[r.IntN(10)]
	from := 1 + r.Int64N(5)
	return input{op: op, from: from, parent: from - r.Int64N(2), epoch: []int64{0, 0, 0, 1, 1, 2}[r.IntN(6)], stamp: stamp}
}

func revocationCalls(r *rand.Rand, stamp int64) input {
	return input{op: []int{revoke, isRevoked, isRevoked, isRevoked}[r.IntN(4)], stamp: stamp, ids: [2]uint16{uint16(r.IntN(12)), uint16(r.IntN(12))}}
}

// judge lets porcupine check many histories, and returns how many it refuses.
func judge(t *testing.T, model porcupine.Model, histories int, run func(seed uint64) []porcupine.Operation) (refused int) {
	t.Helper()
	first := rand.Uint64()
	t.Logf("%d histories, seeds from %d", histories, first)
	for n := range uint64(histories) {
		seed := first + n
		switch porcupine.CheckOperationsTimeout(model, run(seed), 20*time.Second) {
		case porcupine.Illegal:
			refused++
		case porcupine.Unknown:
			t.Errorf("seed %d: no verdict", seed)
		}
	}
	return refused
}

// linearizable lets porcupine check histories of every store.
func linearizable(t *testing.T, model porcupine.Model, choose func(r *rand.Rand, stamp int64) input) {
	for _, store := range checkedStores {
		t.Run(store.name, func(t *testing.T) {
			handles := store.open(t, clients)
			require.Zero(t, judge(t, model, store.histories, func(seed uint64) []porcupine.Operation {
				return history(t, handles, seed, choose)
			}))
		})
	}
}

func TestTheSessionsOfAStoreAreLinearizable(t *testing.T) {
	linearizable(t, sessionModel, sessionCalls)
}

func TestTheRevocationsOfAStoreAreLinearizable(t *testing.T) {
	linearizable(t, revocationModel, revocationCalls)
}

// torn is a store with one session whose Advance is not atomic: it reads in one step and
// writes in another.
type torn struct {
	mu  sync.Mutex
	row *jwtauth.SessionRecord
}

func (s *torn) load() *jwtauth.SessionRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.row
}

func (s *torn) store(row *jwtauth.SessionRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.row = row
}

func (s *torn) Create(_ context.Context, r jwtauth.SessionRecord, _ int) error {
	if s.load() != nil {
		return jwtauth.ErrSessionExists
	}
	s.store(&r)
	return nil
}

func (s *torn) Advance(_ context.Context, _ jwtauth.SessionKey, r jwtauth.Rotation) (jwtauth.SessionRecord, bool, error) {
	was := s.load()
	if was == nil {
		return jwtauth.SessionRecord{}, false, jwtauth.ErrNoSession
	}
	runtime.Gosched()
	row, advanced := was.Step(r, time.Now())
	s.store(&row)
	return row, advanced, nil
}

func (s *torn) Delete(context.Context, jwtauth.SessionKey) error {
	s.store(nil)
	return nil
}

func (s *torn) List(context.Context, string, string, string, int) ([]jwtauth.SessionRecord, error) {
	if row := s.load(); row != nil {
		return []jwtauth.SessionRecord{*row}, nil
	}
	return nil, nil
}

// late is a store that writes each revocation only when the next one comes.
type late struct {
	*jwtauth.MemoryStore
	queue chan func()
}

func (s late) Revoke(ctx context.Context, id string, until time.Time) error {
	select {
	case write := <-s.queue:
		write()
	default:
	}
	s.queue <- func() { _ = s.MemoryStore.Revoke(ctx, id, until) }
	return nil
}

func TestTheJudgeFindsAStoreThatIsNotLinearizable(t *testing.T) {
	require.Positive(t, judge(t, sessionModel, 50, func(seed uint64) []porcupine.Operation {
		store := struct {
			jwtauth.SessionStore
			jwtauth.RevocationStore
		}{SessionStore: new(torn)}
		return history(t, handles(clients, store), seed, sessionCalls)
	}))
	require.Positive(t, judge(t, revocationModel, 50, func(seed uint64) []porcupine.Operation {
		store := late{jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{}), make(chan func(), 100)}
		return history(t, handles(clients, store), seed, revocationCalls)
	}))
}
