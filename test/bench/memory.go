package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// The names of the cells in the group "store".
const (
	isRevokedAbsent  = "IsRevoked, two ids that are not there"
	isRevokedPresent = "IsRevoked, an id that is there"
	revokeNew        = "Revoke, an id that is not there"
)

// storeGroup measures IsRevoked and Revoke of MemoryStores that begin with largeSize revocations.
func storeGroup() group {
	return group{name: "store", cells: func() []cell {
		ctx, until := context.Background(), time.Now().Add(lifetime)
		store := largeStore()
		absent := newIDs(1 << 16)
		next := 0
		findAbsent := sequential(isRevokedAbsent, func() {
			found, err := store.IsRevoked(ctx, absent[next:next+2]...)
			if found || err != nil {
				panic("IsRevoked reports an id that was not revoked")
			}
			next = (next + 2) % len(absent)
		})
		present := newIDs(1 << 14)
		for _, id := range present {
			must(store.Revoke(ctx, id, until))
		}
		at := 0
		findPresent := sequential(isRevokedPresent, func() {
			found, err := store.IsRevoked(ctx, present[at])
			if !found || err != nil {
				panic("IsRevoked does not report a revoked id")
			}
			at = (at + 1) % len(present)
		})
		growing := revoked(largeSize)
		revoke := cell{name: revokeNew, opsPerRound: 20_000, time: func(n int) time.Duration {
			ids := newIDs(n)
			start := time.Now()
			for _, id := range ids {
				if err := growing.Revoke(ctx, id, until); err != nil {
					panic(err)
				}
			}
			return time.Since(start)
		}}
		w := newWork("ES256")
		return []cell{sequential(raw, rawVerify(w, w.token())), findAbsent, findPresent, revoke}
	}}
}

// pause is the longest call of a sequence.
type pause struct {
	call  string // the method, and the state of the store
	calls int    // how many calls were measured
	nanos float64
}

const (
	replays = 5    // how often each sequence runs, each time with a new store
	stretch = 1000 // how many calls in a row form a stretch
)

// sequence is a number of calls of one method to a new store.
type sequence struct {
	method string
	state  string             // of the store
	calls  int                // how many
	start  func() func(i int) // makes the store, and returns the function that makes call i
}

// longestCalls measures the longest call to a MemoryStore in each of these states: the store
// grows to n entries, it is full, or all its entries have just ended. If methods are given,
// longestCalls measures only the sequences of these methods.
//
// A call can seem long because the system runs something else meanwhile. Therefore the garbage
// collector is off, and on Linux the clock counts only the CPU time of the thread. Each sequence
// also runs several times (replays), each time with a new store. A slow call of the store is slow
// in every replay; an interrupt makes a call slow in only some. So longestCalls divides the calls
// into stretches. The time of a stretch is the time of its longest call, in the replay in which
// this time is shortest. The result is the longest time of all stretches.
func longestCalls(n int, methods ...string) []pause {
	var pauses []pause
	for _, s := range sequences(n) {
		if len(methods) > 0 && !slices.Contains(methods, s.method) {
			continue
		}
		var replayed [][]float64
		for range replays {
			replayed = append(replayed, stretchTimes(s.calls, s.start()))
		}
		pauses = append(pauses, pause{s.method + ", " + s.state, s.calls, longestInAll(replayed)})
	}
	return pauses
}

func sequences(n int) []sequence {
	var (
		ctx   = context.Background()
		begin = time.Now()
		end   = begin.Add(time.Hour)
		later = end.Add(time.Hour)
		ids   = newIDs(2*n + 10*stretch) // a full store holds the first n
		data  = make([]byte, 256)
	)
	revoke := func(s *jwtauth.MemoryStore, i int, until time.Time) error { return s.Revoke(ctx, ids[i], until) }
	createOf := func(s *jwtauth.MemoryStore, subject, id string, until time.Time) error {
		return s.Create(ctx, jwtauth.SessionRecord{
			Key: jwtauth.SessionKey{Issuer: issuer, Subject: subject, ID: id}, Generation: 1, RotatedAt: begin, ExpiresAt: until, Data: data,
		}, 0)
	}
	create := func(s *jwtauth.MemoryStore, i int, until time.Time) error { return createOf(s, ids[i], ids[i], until) }
	createForOne := func(s *jwtauth.MemoryStore, i int, until time.Time) error { return createOf(s, "one", ids[i], until) }
	keyOfOne := func(i int) jwtauth.SessionKey { return jwtauth.SessionKey{Issuer: issuer, Subject: "one", ID: ids[i]} }
	// store returns a MemoryStore and its clock, which the caller can set. If fill
	// is not nil, the store is full of entries that all end at the time end.
	store := func(fill func(*jwtauth.MemoryStore, int, time.Time) error) (*jwtauth.MemoryStore, *time.Time) {
		now := begin
		s := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{MaxRevocations: n, MaxSessions: n, Now: func() time.Time { return now }})
		for i := range n {
			if fill != nil {
				must(fill(s, i, end))
			}
		}
		return s, &now
	}
	const growing, full, over = "from none to full", "full", "full of entries that have all ended"
	return []sequence{
		{"Revoke", growing, n, func() func(int) {
			s, _ := store(nil)
			return func(i int) { must(revoke(s, i, end)) }
		}},
		{"Revoke", full, 10 * stretch, func() func(int) {
			s, _ := store(revoke)
			return func(i int) { mustNot(revoke(s, n+i, end)) }
		}},
		{"Revoke", over, n, func() func(int) {
			s, now := store(revoke)
			*now = later
			return func(i int) { must(revoke(s, n+i, later.Add(time.Hour))) }
		}},
		{"IsRevoked", full, n, func() func(int) {
			s, _ := store(revoke)
			return func(i int) { s.IsRevoked(ctx, ids[i]) }
		}},
		{"IsRevoked", over, n, func() func(int) {
			s, now := store(revoke)
			*now = later
			return func(i int) { s.IsRevoked(ctx, ids[i]) }
		}},
		{"Create", growing, n, func() func(int) {
			s, _ := store(nil)
			return func(i int) { must(create(s, i, end)) }
		}},
		{"Create", full, 10 * stretch, func() func(int) {
			s, _ := store(create)
			return func(i int) { mustNot(create(s, n+i, end)) }
		}},
		{"Create", over, n, func() func(int) {
			s, now := store(create)
			*now = later
			return func(i int) { must(create(s, n+i, later.Add(time.Hour))) }
		}},
		{"Advance", full, n, func() func(int) {
			s, _ := store(create)
			return func(i int) {
				k := jwtauth.SessionKey{Issuer: issuer, Subject: ids[i], ID: ids[i]}
				_, _, err := s.Advance(ctx, k, jwtauth.Rotation{From: 1, At: begin, ExpiresAt: end})
				must(err)
			}
		}},

		{oneSubject + "Create", growing, n, func() func(int) {
			s, _ := store(nil)
			return func(i int) { must(createForOne(s, i, end)) }
		}},
		{oneSubject + "Create", over, n, func() func(int) {
			s, now := store(createForOne)
			*now = later
			return func(i int) { must(createForOne(s, n+i, later.Add(time.Hour))) }
		}},
		{oneSubject + "Advance", full, n, func() func(int) {
			s, _ := store(createForOne)
			return func(i int) {
				_, _, err := s.Advance(ctx, keyOfOne(i), jwtauth.Rotation{From: 1, At: begin, ExpiresAt: end})
				must(err)
			}
		}},
		{oneSubject + "List of 100", full, 10 * stretch, func() func(int) { // the collector is off, and a page is 20 kB
			s, _ := store(createForOne)
			return func(i int) {
				_, err := s.List(ctx, issuer, "one", ids[i*n/(10*stretch)], 100)
				must(err)
			}
		}},
		{oneSubject + "Delete", full, n, func() func(int) {
			s, _ := store(createForOne)
			return func(i int) { must(s.Delete(ctx, keyOfOne(i))) }
		}},
	}
}

// oneSubject is the prefix of the method of a sequence whose sessions all belong to one subject.
const oneSubject = "one subject: "

// mustNot panics if a full store has accepted an entry.
func mustNot(err error) {
	if err == nil {
		panic("a full store accepted one more entry")
	}
}

// stretchTimes makes the calls, and returns the time of the longest call of each stretch, in
// nanoseconds.
func stretchTimes(calls int, call func(i int)) []float64 {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	longest := make([]float64, (calls+stretch-1)/stretch)
	for i := range calls {
		start := threadTime()
		call(i)
		took := float64(threadTime() - start)
		longest[i/stretch] = max(longest[i/stretch], took)
	}
	return longest
}

// longestInAll takes the shortest time of each stretch over all replays, and returns the longest
// of these times.
func longestInAll(replays [][]float64) (longest float64) {
	for i := range replays[0] {
		shortest := replays[0][i]
		for _, r := range replays[1:] {
			shortest = min(shortest, r[i])
		}
		longest = max(longest, shortest)
	}
	return longest
}
