package jwtauthtest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// stores stands before the stores of an issuer and can make them fail.
type stores struct {
	sessions    jwtauth.SessionStore
	revocations jwtauth.RevocationStore
	failure     atomic.Pointer[error]
}

// standBefore completes the stores of o and takes their place.
func (s *stores) standBefore(o *jwtauth.IssuerOptions) {
	if o.Sessions == nil && o.Revocations == nil {
		memory := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: o.Now})
		o.Sessions = memory
		if !o.InsecureAccessOutlivesSession {
			o.Revocations = memory
		}
	}
	s.sessions, s.revocations = o.Sessions, o.Revocations
	if o.Sessions != nil {
		o.Sessions = s
	}
	if o.Revocations != nil {
		o.Revocations = s
	}
}

// FailStores makes every call to the issuer's stores fail with err from now on,
// before it has an effect; nil mends them. Logins, refreshing, logout and, where
// the verifier has Revocations, each request are then answered with 503.
func (i *Issuer) FailStores(err error) { i.stores.failure.Store(&err) }

func (s *stores) err() error {
	if failure := s.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

func (s *stores) Create(ctx context.Context, r jwtauth.SessionRecord) error {
	if err := s.err(); err != nil {
		return err
	}
	return s.sessions.Create(ctx, r)
}

func (s *stores) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (jwtauth.SessionRecord, bool, error) {
	if err := s.err(); err != nil {
		return jwtauth.SessionRecord{}, false, err
	}
	return s.sessions.Advance(ctx, k, r)
}

func (s *stores) Delete(ctx context.Context, k jwtauth.SessionKey) error {
	if err := s.err(); err != nil {
		return err
	}
	return s.sessions.Delete(ctx, k)
}

func (s *stores) List(ctx context.Context, issuer, subject string) ([]jwtauth.SessionRecord, error) {
	if err := s.err(); err != nil {
		return nil, err
	}
	return s.sessions.List(ctx, issuer, subject)
}

func (s *stores) Revoke(ctx context.Context, id string, until time.Time) error {
	if err := s.err(); err != nil {
		return err
	}
	return s.revocations.Revoke(ctx, id, until)
}

func (s *stores) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	if err := s.err(); err != nil {
		return false, err
	}
	return s.revocations.IsRevoked(ctx, ids...)
}
