//go:build linux

package faults_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/hookstore"
	"github.com/jwtauth-go/jwtauth/jwk"
)

var errInjected = errors.New("connection reset by peer")

// faulty is a store that fails at one call. Calls are numbered from 0, without IsRevoked.
type faulty struct {
	hookstore.Store

	mu      sync.Mutex
	calls   []string // the methods that were called, in order
	failing int      // the number of the call that fails; -1 means none
	after   bool     // that call fails after it has taken effect, not before
}

func newFaulty(store sharedStore) *faulty {
	f := &faulty{failing: -1}
	f.Store = hookstore.Store{Sessions: store, Revocations: store, Before: f.beforeCall, After: f.afterCall}
	return f
}

// failAt makes a call fail, and numbers the calls from 0 again.
func (f *faulty) failAt(call int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.failing, f.after = nil, call, after
}

func (f *faulty) beforeCall(_ context.Context, method string) error {
	if method == "IsRevoked" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, method)
	if !f.after && len(f.calls)-1 == f.failing {
		return errInjected
	}
	return nil
}

// An operation makes one call after the other, so afterCall belongs to the last call in f.calls.
func (f *faulty) afterCall(_ context.Context, method string) error {
	if method == "IsRevoked" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.after && len(f.calls)-1 == f.failing {
		return errInjected
	}
	return nil
}

// made returns the methods that were called since failAt.
func (f *faulty) made() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// injection is a service whose store can fail, and the tokens of its sessions. The service
// reads revocations from the store, without a replica.
type injection struct {
	t        *testing.T
	place    place
	subject  string
	store    *faulty
	issuer   *jwtauth.Issuer
	verifier *jwtauth.Verifier

	mine, other jwtauth.TokenResponse // two sessions of the subject
	older       jwtauth.TokenResponse // mine, before it was refreshed
	got         jwtauth.TokenResponse // the answer of the operation
}

// restart replaces the service, like a new process on the same engine.
func (i *injection) restart() {
	i.store = newFaulty(i.place.store(i.t))
	key, err := jwk.ParseSigning("", testKey())
	require.NoError(i.t, err)
	ring, err := jwk.NewRing(key)
	require.NoError(i.t, err)
	i.issuer, err = jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{
		Issuer: issuerName, Audiences: []string{audience}, RefreshGrace: grace, Sessions: i.store, Revocations: i.store,
	})
	require.NoError(i.t, err)
	i.verifier, err = i.issuer.NewVerifier(jwtauth.VerifierOptions{})
	require.NoError(i.t, err)
}

func newInjection(t *testing.T, p place) *injection {
	i := &injection{t: t, place: p, subject: rand.Text()}
	i.restart()
	for _, r := range []*jwtauth.TokenResponse{&i.mine, &i.other} {
		var err error
		*r, err = i.issuer.Issue(t.Context(), jwtauth.Grant{Subject: i.subject})
		require.NoError(t, err)
	}
	var err error
	i.older = i.mine
	for range 2 {
		i.mine, err = i.issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: i.mine.RefreshToken})
		require.NoError(t, err)
	}
	i.store.failAt(-1, false)
	return i
}

// alive expects that a session continues: its access token is accepted and its refresh
// token can be redeemed.
func (i *injection) alive(r jwtauth.TokenResponse) {
	i.t.Helper()
	_, err := i.verifier.Verify(i.t.Context(), r.AccessToken)
	require.NoError(i.t, err)
	next, err := i.issuer.Refresh(i.t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
	require.NoError(i.t, err)
	require.Equal(i.t, claimsOf(r.RefreshToken).Generation+1, claimsOf(next.RefreshToken).Generation)
	_, err = i.verifier.Verify(i.t.Context(), next.AccessToken)
	require.NoError(i.t, err)
}

// over expects that a session has ended and its tokens are refused.
func (i *injection) over(r jwtauth.TokenResponse) {
	i.t.Helper()
	_, err := i.verifier.Verify(i.t.Context(), r.AccessToken)
	require.ErrorIs(i.t, err, jwtauth.ErrTokenRevoked)
	_, err = i.issuer.Refresh(i.t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
	require.ErrorIs(i.t, err, jwtauth.ErrNoSession)
}

// steal redeems the older token. If a commit is slow, the token seems to have arrived before the
// last refresh was stored. Then the issuer asks for another attempt.
func (i *injection) steal() error {
	for range 100 {
		_, err := i.issuer.Refresh(i.t.Context(), jwtauth.RefreshRequest{Token: i.older.RefreshToken})
		if e, ok := errors.AsType[*jwtauth.Error](err); !ok || e.Check != "wait" {
			return err
		}
		i.store.failAt(i.store.failing, i.store.after)
	}
	return errors.New("each of 100 attempts was told to wait")
}

// rows returns how many sessions the subject has.
func (i *injection) rows() int {
	i.t.Helper()
	rows, _, err := i.issuer.Sessions(i.t.Context(), i.subject, "")
	require.NoError(i.t, err)
	return len(rows)
}

// operation is one request of a client.
type operation struct {
	name string
	do   func(i *injection) error
	want []string // the calls to the store if none fails
	// between checks what must hold after a call has failed, and finally what must hold
	// after the client has tried again.
	between, finally func(i *injection)
}

var operations = []operation{
	{
		"Issue", func(i *injection) (err error) {
			i.got, err = i.issuer.Issue(i.t.Context(), jwtauth.Grant{Subject: i.subject})
			return err
		}, []string{"Create"},
		func(i *injection) {
			require.LessOrEqual(i.t, i.rows(), 3, "a login that failed leaves at most one session, whose tokens nobody has")
			i.alive(i.other)
		},
		func(i *injection) {
			require.LessOrEqual(i.t, i.rows(), 4)
			i.alive(i.got)
			i.alive(i.mine)
		},
	},
	{
		"Refresh", func(i *injection) (err error) {
			i.got, err = i.issuer.Refresh(i.t.Context(), jwtauth.RefreshRequest{Token: i.mine.RefreshToken})
			return err
		}, []string{"Advance"},
		func(i *injection) {
			_, err := i.verifier.Verify(i.t.Context(), i.mine.AccessToken)
			require.NoError(i.t, err)
			require.Equal(i.t, 2, i.rows())
		},
		func(i *injection) {
			require.EqualValues(i.t, 4, claimsOf(i.got.RefreshToken).Generation)
			i.alive(i.got)
			i.alive(i.other)
		},
	},
	{
		"Refresh of a stolen token", func(i *injection) error {
			err := i.steal()
			if errors.Is(err, jwtauth.ErrTokenReused) || errors.Is(err, jwtauth.ErrNoSession) {
				err = nil // the thief must be refused
			}
			return err
		}, []string{"Advance", "Advance", "Revoke", "Delete"},
		func(i *injection) { i.alive(i.other) },
		func(i *injection) { i.over(i.mine); i.alive(i.other) },
	},
	{
		"ForceRefresh", func(i *injection) error {
			return i.issuer.ForceRefresh(i.t.Context(), i.subject, i.mine.SessionID)
		}, []string{"Advance", "Revoke", "Advance"},
		func(i *injection) { i.alive(i.other) },
		func(i *injection) {
			_, err := i.verifier.Verify(i.t.Context(), i.mine.AccessToken)
			require.ErrorIs(i.t, err, jwtauth.ErrTokenRevoked)
			next, err := i.issuer.Refresh(i.t.Context(), jwtauth.RefreshRequest{Token: i.mine.RefreshToken})
			require.NoError(i.t, err)
			i.alive(next)
		},
	},
	{
		"Logout", func(i *injection) error { return i.issuer.Logout(i.t.Context(), i.mine.RefreshToken) },
		[]string{"Advance", "Revoke", "Delete"},
		func(i *injection) { i.alive(i.other) },
		func(i *injection) { i.over(i.mine); i.alive(i.other) },
	},
	{
		"EndSession", func(i *injection) error { return i.issuer.EndSession(i.t.Context(), i.subject, i.mine.SessionID) },
		[]string{"Advance", "Revoke", "Delete"},
		func(i *injection) { i.alive(i.other) },
		func(i *injection) { i.over(i.mine); i.alive(i.other) },
	},
	{
		"EndAllSessions", func(i *injection) error { return i.issuer.EndAllSessions(i.t.Context(), i.subject) },
		[]string{"List", "Advance", "Revoke", "Delete", "Advance", "Revoke", "Delete"},
		func(*injection) {},
		func(i *injection) {
			require.Zero(i.t, i.rows())
			i.over(i.mine)
			i.over(i.other)
		},
	},
}

func TestAFailureAtAnyCallIsHealedByTheClientsNextAttempt(t *testing.T) {
	onEach(t, func(t *testing.T, p place) {
		for _, o := range operations {
			t.Run(o.name, func(t *testing.T) {
				i := newInjection(t, p)
				require.NoError(t, o.do(i))
				require.Equal(t, o.want, i.store.made(), "the test must inject a failure into every call")
				o.finally(i)
			})
			for call, name := range o.want {
				for when, after := range map[string]bool{"before": false, "after": true} {
					t.Run(fmt.Sprintf("%s, call %d, %s its effect: %s", o.name, call, when, name), func(t *testing.T) {
						i := newInjection(t, p)
						i.store.failAt(call, after)
						err := o.do(i)
						require.ErrorIs(t, err, jwtauth.ErrUnavailable)
						require.NotErrorIs(t, err, jwtauth.ErrRefused)
						require.Zero(t, i.got)
						require.Equal(t, o.want[:call+1], i.store.made()[:call+1])
						i.restart()
						o.between(i)
						require.NoError(t, o.do(i), "the next attempt")
						o.finally(i)
					})
				}
			}
		}
	})
}
