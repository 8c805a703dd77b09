package jwtauthtest

import (
	"context"
	"sync/atomic"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/hookstore"
)

// stores wraps the stores of an issuer, and can make their methods return an error.
type stores struct {
	hookstore.Store
	storeError atomic.Pointer[error]
}

// wrapStores sets the default stores of o if there are none, and then wraps the stores of o
// with s.
func (s *stores) wrapStores(o *jwtauth.IssuerOptions) {
	if o.Sessions == nil && o.Revocations == nil {
		memory := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: o.Now})
		o.Sessions = memory
		if !o.InsecureAccessOutlivesSession {
			o.Revocations = memory
		}
	}
	s.Sessions, s.Revocations, s.Before = o.Sessions, o.Revocations, s.returnError
	if o.Sessions != nil {
		o.Sessions = s
	}
	if o.Revocations != nil {
		o.Revocations = s
	}
}

// WrappedRevocations is for package jwtauth, which compares stores.
func (s *stores) WrappedRevocations() jwtauth.RevocationStore { return s.Revocations }

func (s *stores) returnError(context.Context, string) error {
	if failure := s.storeError.Load(); failure != nil {
		return *failure
	}
	return nil
}

// FailStores makes every call to the stores of the issuer return err, before the call has
// an effect. FailStores(nil) makes them work again. While the stores fail, logins,
// refreshing and logout are answered with 503. If the verifier has Revocations, this is
// true for every request.
func (i *Issuer) FailStores(err error) { i.stores.storeError.Store(&err) }
