package jwtauthtest

import (
	"context"
	"sync/atomic"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/hookstore"
)

// stores wraps the stores of an issuer and can make them fail.
type stores struct {
	hookstore.Store
	failure atomic.Pointer[error]
}

// wrap completes the stores of o and replaces them by s.
func (s *stores) wrap(o *jwtauth.IssuerOptions) {
	if o.Sessions == nil && o.Revocations == nil {
		memory := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: o.Now})
		o.Sessions = memory
		if !o.InsecureAccessOutlivesSession {
			o.Revocations = memory
		}
	}
	s.Sessions, s.Revocations, s.Before = o.Sessions, o.Revocations, s.fail
	if o.Sessions != nil {
		o.Sessions = s
	}
	if o.Revocations != nil {
		o.Revocations = s
	}
}

func (s *stores) fail(context.Context, string) error {
	if failure := s.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

// FailStores makes every call to the stores of the issuer fail with err from now on,
// before the call has an effect; nil mends them. Logins, refreshing, logout and, if the
// verifier has Revocations, each request are then answered with 503.
func (i *Issuer) FailStores(err error) { i.stores.failure.Store(&err) }
