package main

import (
	"context"
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// ours is the name of this library in the tables.
const ours = "jwtauth"

// withoutCache turns off the cache of a verifier.
func withoutCache(o *jwtauth.VerifierOptions) { o.CacheSize = -1 }

// withRevocations gives a verifier a store of revocations.
func withRevocations(r jwtauth.RevocationStore) func(*jwtauth.VerifierOptions) {
	return func(o *jwtauth.VerifierOptions) { o.Revocations = r }
}

func (w *work) verifier(change ...func(*jwtauth.VerifierOptions)) *jwtauth.Verifier {
	keys, err := jwk.Static(w.key().Verification())
	must(err)
	o := jwtauth.VerifierOptions{Issuer: issuer, Audiences: []string{audience}}
	for _, c := range change {
		c(&o)
	}
	v, err := jwtauth.NewVerifier(keys, o)
	must(err)
	return v
}

// key returns the key of w as a key of this library.
func (w *work) key() *jwk.SigningKey {
	var k *jwk.SigningKey
	var err error
	if w.private == nil {
		k, err = jwk.NewHMAC(jwk.HS256, keyID, w.secret)
	} else {
		k, err = jwk.NewSigning(jwk.Algorithm(w.alg), w.private)
	}
	must(err)
	return k.WithID(keyID)
}

// ourVerify returns the verify function of this library; see peer.verify.
func ourVerify(v *jwtauth.Verifier) func(string) (answer, error) {
	ctx := context.Background()
	return func(token string) (answer, error) {
		t, err := v.Verify(ctx, token)
		return answer{t.Subject, t.HasScope(wantedScope)}, err
	}
}

// ourVerifyStruct is like ourVerify, and also decodes the custom claims into a struct.
func ourVerifyStruct(v *jwtauth.Verifier) func(string) (answer, error) {
	ctx := context.Background()
	return func(token string) (answer, error) {
		t, err := v.Verify(ctx, token)
		if err != nil {
			return answer{}, err
		}
		c, err := jwtauth.ClaimsAs[custom](t)
		return answer{t.Subject, t.HasScope(wantedScope) && c.Tenant == tenant && len(c.Roles) == len(roles)}, err
	}
}

func ourMiddleware(v *jwtauth.Verifier, seen func(string)) http.Handler {
	m, err := jwtauth.NewMiddleware(v, jwtauth.MiddlewareOptions{})
	must(err)
	return m.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t, _ := jwtauth.FromContext(r.Context())
		seen(t.Subject)
	}))
}

func (w *work) issuer(change ...func(*jwtauth.IssuerOptions)) *jwtauth.Issuer {
	ring, err := jwk.NewRing(w.key())
	must(err)
	o := jwtauth.IssuerOptions{Issuer: issuer, Audiences: []string{audience}, AccessTTL: lifetime}
	for _, c := range change {
		c(&o)
	}
	i, err := jwtauth.NewIssuer(ring, o)
	must(err)
	return i
}

// ourIssue returns the issue function of this library; see peer.issue. claims are the custom
// claims: a struct, as for most peers, or JSON.
func ourIssue(w *work, claims any) func() (string, error) {
	i, ctx := w.issuer(), context.Background()
	return func() (string, error) {
		r, err := i.IssueAccess(ctx, jwtauth.Grant{Subject: subject, Scopes: scopes, Claims: claims})
		if err != nil {
			return "", err
		}
		return r.AccessToken, nil
	}
}

var scopes = []string{"orders:read", "orders:write"}

// revoked returns a store with n revocations. None of them revokes a measured token.
func revoked(n int) *jwtauth.MemoryStore {
	store, ctx, until := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{}), context.Background(), time.Now().Add(lifetime)
	for range n {
		must(store.Revoke(ctx, newID(), until))
	}
	return store
}

// largeSize is the number of entries of a large store. -short reduces it.
var largeSize = 1_000_000

// largeStore returns a store that begins with largeSize revocations. Every call returns the same
// store.
var largeStore = sync.OnceValue(func() *jwtauth.MemoryStore { return revoked(largeSize) })

// newIDs returns n random identifiers.
func newIDs(n int) []string {
	ids := make([]string, n)
	b := make([]byte, 16*n)
	rand.Read(b)
	for i := range ids {
		ids[i] = encode(b[16*i:][:16])
	}
	return ids
}
