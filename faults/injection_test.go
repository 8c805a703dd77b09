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
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

var errInjected = errors.New("connection reset by peer")

// faulty is a store of which one call fails: the one with a number, counted from 0,
// before or after it has its effect.
type faulty struct {
	store sharedStore

	mu    sync.Mutex
	calls []string
	fails int // -1: none
	after bool
}

// arm lets a call fail, and counts from 0 again.
func (f *faulty) arm(call int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.fails, f.after = nil, call, after
}

func (f *faulty) made() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func (f *faulty) around(name string, call func() error) error {
	f.mu.Lock()
	fails, after := len(f.calls) == f.fails, f.after
	f.calls = append(f.calls, name)
	f.mu.Unlock()
	if fails && !after {
		return errInjected
	}
	if err := call(); err != nil || !fails {
		return err
	}
	return errInjected
}

func (f *faulty) Create(ctx context.Context, r jwtauth.SessionRecord) error {
	return f.around("Create", func() error { return f.store.Create(ctx, r) })
}

func (f *faulty) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced bool, err error) {
	var refused error // an answer, as far as the connection is concerned
	err = f.around("Advance", func() (err error) {
		row, advanced, err = f.store.Advance(ctx, k, r)
		if errors.Is(err, jwtauth.ErrNoSession) {
			refused, err = err, nil
		}
		return err
	})
	if err != nil {
		return jwtauth.SessionRecord{}, false, err
	}
	return row, advanced, refused
}

func (f *faulty) Delete(ctx context.Context, k jwtauth.SessionKey) error {
	return f.around("Delete", func() error { return f.store.Delete(ctx, k) })
}

func (f *faulty) List(ctx context.Context, issuer, subject string) (rows []jwtauth.SessionRecord, err error) {
	err = f.around("List", func() (err error) {
		rows, err = f.store.List(ctx, issuer, subject)
		return err
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

func (f *faulty) Revoke(ctx context.Context, id string, until time.Time) error {
	return f.around("Revoke", func() error { return f.store.Revoke(ctx, id, until) })
}

func (f *faulty) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	return f.store.IsRevoked(ctx, ids...)
}

// injection is a service whose store fails at times, and the tokens of its sessions.
// It asks the store for revocations itself, without a replica.
type injection struct {
	t        *testing.T
	place    place
	subject  string
	store    *faulty
	issuer   *jwtauth.Issuer
	verifier *jwtauth.Verifier

	mine, other, older jwtauth.TokenResponse // of the subject: a session, another one, and mine when it began
	got                jwtauth.TokenResponse // what the call answered
}

// recover is a new process on the same engine.
func (i *injection) recover() {
	i.store = &faulty{store: i.place.store(i.t), fails: -1}
	key, err := jwtauth.ParseSigningKey("", testKey())
	require.NoError(i.t, err)
	ring, err := jwtauth.NewKeyRing(key)
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
	i.recover()
	for _, r := range []*jwtauth.TokenResponse{&i.mine, &i.other} {
		var err error
		*r, err = i.issuer.Issue(t.Context(), jwtauth.Grant{Subject: i.subject})
		require.NoError(t, err)
	}
	var err error
	i.older = i.mine
	for range 2 {
		i.mine, err = i.issuer.Refresh(t.Context(), i.mine.RefreshToken)
		require.NoError(t, err)
	}
	i.store.arm(-1, false)
	return i
}

// alive finds that a session goes on: its access token is good and its refresh token
// is redeemed.
func (i *injection) alive(r jwtauth.TokenResponse) {
	i.t.Helper()
	_, err := i.verifier.Verify(i.t.Context(), r.AccessToken)
	require.NoError(i.t, err)
	next, err := i.issuer.Refresh(i.t.Context(), r.RefreshToken)
	require.NoError(i.t, err)
	require.Equal(i.t, claimsOf(r.RefreshToken).Generation+1, claimsOf(next.RefreshToken).Generation)
	_, err = i.verifier.Verify(i.t.Context(), next.AccessToken)
	require.NoError(i.t, err)
}

// over finds that nothing is left of a session.
func (i *injection) over(r jwtauth.TokenResponse) {
	i.t.Helper()
	_, err := i.verifier.Verify(i.t.Context(), r.AccessToken)
	require.ErrorIs(i.t, err, jwtauth.ErrTokenRevoked)
	_, err = i.issuer.Refresh(i.t.Context(), r.RefreshToken)
	require.ErrorIs(i.t, err, jwtauth.ErrNoSession)
}

// rows are the sessions of the subject.
func (i *injection) rows() int {
	i.t.Helper()
	rows, err := i.issuer.Sessions(i.t.Context(), i.subject)
	require.NoError(i.t, err)
	return len(rows)
}

// operation is what a client asks for.
type operation struct {
	name string
	do   func(i *injection) error
	want []string // the calls that it makes where all is well
	// between is what holds when a call has failed, before anybody has tried again;
	// finally when the client has, and was answered.
	between, finally func(i *injection)
}

var operations = []operation{
	{
		"Issue", func(i *injection) (err error) {
			i.got, err = i.issuer.Issue(i.t.Context(), jwtauth.Grant{Subject: i.subject})
			return err
		}, []string{"Create"},
		func(i *injection) {
			require.LessOrEqual(i.t, i.rows(), 3, "a login that failed leaves one session at most, which nobody has")
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
			i.got, err = i.issuer.Refresh(i.t.Context(), i.mine.RefreshToken)
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
			_, err := i.issuer.Refresh(i.t.Context(), i.older.RefreshToken)
			if errors.Is(err, jwtauth.ErrTokenReused) || errors.Is(err, jwtauth.ErrNoSession) {
				err = nil // the answer that the thief is to get
			}
			return err
		}, []string{"Advance", "Delete", "Revoke"},
		func(i *injection) { i.alive(i.other) },
		func(i *injection) { i.over(i.mine); i.alive(i.other) },
	},
	{
		"Logout", func(i *injection) error { return i.issuer.Logout(i.t.Context(), i.mine.RefreshToken) },
		[]string{"Delete", "Revoke"},
		func(i *injection) { i.alive(i.other) },
		func(i *injection) { i.over(i.mine); i.alive(i.other) },
	},
	{
		"EndSession", func(i *injection) error { return i.issuer.EndSession(i.t.Context(), i.subject, i.mine.SessionID) },
		[]string{"Delete", "Revoke"},
		func(i *injection) { i.alive(i.other) },
		func(i *injection) { i.over(i.mine); i.alive(i.other) },
	},
	{
		"EndAllSessions", func(i *injection) error { return i.issuer.EndAllSessions(i.t.Context(), i.subject) },
		[]string{"List", "Delete", "Revoke", "Delete", "Revoke", "List"},
		func(*injection) {},
		func(i *injection) {
			require.Zero(i.t, i.rows())
			for _, r := range []jwtauth.TokenResponse{i.mine, i.other} {
				_, err := i.issuer.Refresh(i.t.Context(), r.RefreshToken)
				require.ErrorIs(i.t, err, jwtauth.ErrNoSession)
				i.over(r) // a genuine token heals what was half done
			}
		},
	},
}

func TestAFailureAtAnyCallIsHealedByTheClientsNextAttempt(t *testing.T) {
	onEach(t, func(t *testing.T, p place) {
		for _, o := range operations {
			t.Run(o.name, func(t *testing.T) {
				i := newInjection(t, p)
				require.NoError(t, o.do(i))
				require.Equal(t, o.want, i.store.made(), "the calls in which a failure is injected are all that there are")
				o.finally(i)
			})
			for call, name := range o.want {
				for when, after := range map[string]bool{"before": false, "after": true} {
					t.Run(fmt.Sprintf("%s, call %d, %s its effect: %s", o.name, call, when, name), func(t *testing.T) {
						i := newInjection(t, p)
						i.store.arm(call, after)
						err := o.do(i)
						require.ErrorIs(t, err, jwtauth.ErrUnavailable)
						require.NotErrorIs(t, err, jwtauth.ErrRefused)
						require.Zero(t, i.got)
						require.Equal(t, o.want[:call+1], i.store.made()[:call+1])
						i.recover()
						o.between(i)
						require.NoError(t, o.do(i), "the next attempt")
						o.finally(i)
					})
				}
			}
		}
	})
}
