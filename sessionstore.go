package jwtauth

import (
	"context"
	"math"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
)

// SessionStore is the allow list of sessions. A session that is not in the store cannot
// be refreshed. A store that loses its rows therefore logs users out, and lets nobody in.
// A store must honor the context of each call and be safe for concurrent use. Each method names
// its errors. A call that returns any other error may or may not have taken effect.
type SessionStore interface {
	// Create adds a row. It returns ErrSessionExists if there is a row with the same Key, even an
	// expired one. r.RotatedAt is the time of the login. A row is live if its ExpiresAt is after
	// that time and its Generation is not math.MaxInt64, which marks a session that has ended. If
	// limit is positive and the subject already has as many live rows as limit, Create returns
	// ErrSessionLimit. A limit is at most 1000; 0 means none. Concurrent calls of Create never
	// exceed the limit together.
	Create(ctx context.Context, r SessionRecord, limit int) error
	// Advance replaces the row by the result of SessionRecord.Step, in one atomic step. It returns the
	// row as it is afterwards, and whether the step was made. If there is no row, or r.At is not
	// before the ExpiresAt of the row, Advance returns ErrNoSession and changes nothing. Of several
	// callers with the same r.From, at most one gets true. If From and Epoch of the Rotation are both
	// 0, Advance changes nothing.
	Advance(ctx context.Context, k SessionKey, r Rotation) (row SessionRecord, advanced bool, err error)
	// Delete removes a row. It returns nil if there is none.
	Delete(ctx context.Context, k SessionKey) error
	// List returns a page of the rows of a subject. The page has at most limit rows; limit is from
	// 1 to 1000. The store orders the rows by a function of their ID, such as the ID itself or its
	// hash. The parameter after is an ID. The page begins with the first row that follows this ID
	// in the order, even if no row has this ID. If after is "", the page is the first one. Only the
	// last page has fewer than limit rows. A page may not skip a row if Create returned before the
	// call of List, and Advance can still find the row. A store must keep a row for at least five
	// minutes after its ExpiresAt. Clocks may be a minute apart. A refresh that has begun may still
	// prolong the session. Verifiers accept an access token for a leeway after its end, so
	// EndSession and ForceRefresh must still find the row. The subject can be one that has no
	// sessions, also the empty text.
	List(ctx context.Context, issuer, subject, after string, limit int) ([]SessionRecord, error)
}

// SessionKey names a session. Sessions of one Issuer and Subject belong together, and a
// store may partition by them. The parts are UTF-8.
type SessionKey struct{ Issuer, Subject, ID string }

// event returns an event that names the session, without a kind.
func (k SessionKey) event() event.Event {
	return event.Event{Issuer: k.Issuer, Subject: k.Subject, SessionID: k.ID}
}

// SessionRecord is the row of a session. A session has one row, however often it is refreshed.
// A step replaces the Generation of the row by a higher one; see Step. The engine is the server of
// the store, such as a database: its clock sets Age, and RotatedAt at each step. A store keeps
// every other field as it got it. All times are UTC, in microseconds. A row holds no token.
type SessionRecord struct {
	Key        SessionKey
	Generation int64         // of the newest refresh token; the first has 1
	Previous   int64         // the Generation before the last step; 0 before the first step
	Parent     int64         // the generation of the token that was presented at the last step
	ParentStep int64         // the Generation that was set together with Parent. Parent counts only if both are equal: an older version of this library makes steps that set neither
	Epoch      int64         // of the access tokens that are good. Issuer.ForceRefresh revokes the tokens of this epoch, and then raises Epoch
	RotatedAt  time.Time     // the time of the last step, by the clock of the engine; before the first step, the time of the login, by the caller's clock
	ExpiresAt  time.Time     // Advance does not find the row from this time on, by the clocks of the callers
	Age        time.Duration // how long ago RotatedAt was, by the clock of the engine; Advance computes it, and it is not stored
	Data       []byte        // set by Create, and never changed; at most 8 KiB, opaque to the store
	Details    []byte        // replaced by a Rotation that has Details; at most 1 KiB, opaque to the store
}

// Rotation is the step that Advance makes.
type Rotation struct {
	From      int64     // the step is made only if the row's Generation is at most From; the new Generation is From + 1. From is at most math.MaxInt64 - 1
	Parent    int64     // the generation of the token that was presented; lower than From if a lost answer is recovered
	Epoch     int64     // the step is made only if the row's Epoch is at most Epoch. A lower Epoch of the row is raised to Epoch, even if the step is not made
	At        time.Time // now, or some minutes ago, by the caller's clock; Advance finds the row only if At is before its ExpiresAt
	ExpiresAt time.Time // the row's new ExpiresAt
	Details   []byte    // the row's new Details; nil means that they stay
}

// Step returns the row as it is after r, and whether the step was made. now is the time by
// the clock of the engine. Step is the contract of SessionStore.Advance, as code. A store
// that is written in Go can call it.
func (s SessionRecord) Step(r Rotation, now time.Time) (next SessionRecord, advanced bool) {
	advanced = s.Generation <= r.From && s.Epoch <= r.Epoch
	if advanced {
		s.Previous, s.Generation = s.Generation, r.From+1
		s.Parent, s.ParentStep = r.Parent, r.From+1
		s.RotatedAt, s.ExpiresAt = now.UTC().Truncate(time.Microsecond), r.ExpiresAt
		if r.Details != nil {
			s.Details = r.Details
		}
	}
	s.Epoch = max(s.Epoch, r.Epoch)
	s.Age = now.Sub(s.RotatedAt).Truncate(time.Microsecond)
	return s, advanced
}

// endedGeneration is the Generation of a session that has ended. No step can follow it. The
// row is deleted as soon as the revocation of the session is stored.
const endedGeneration = math.MaxInt64

// parent returns the generation of the refresh token that was presented at the last step. An
// older version of this library does not set Parent. If it has made the last step, the parent is
// the generation before.
func (s *SessionRecord) parent() int64 {
	if s.ParentStep != s.Generation {
		return s.Generation - 1
	}
	return s.Parent
}
