package attacks_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwk/keydir"
	"github.com/jwtauth-go/jwtauth/provider"
)

func attackRaces(t *testing.T) {
	w := fixture.NewWith(t, jwk.HS256, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.ExchangeAudiences = []string{"https://billing.test"}
	})
	ctx := t.Context()
	first, second := w.Key, fixture.NewKey(t, jwk.HS256)
	r, other := w.Login("alice", "read"), w.Login("alice")
	token := w.RequireAccepted(r.AccessToken)
	public := fixture.KeyFor(t, jwk.ES256)
	either, err := jwtauth.AnyOf(w.Verifier)
	require.NoError(t, err)
	elsewhere := fixture.New(t)
	metadata, err := endpoints.NewMetadata(elsewhere.Issuer, endpoints.MetadataOptions{JWKSURI: fixture.Issuer + "/keys"})
	require.NoError(t, err)
	throttle, err := endpoints.NewThrottle(endpoints.ThrottleOptions{})
	require.NoError(t, err)
	handlers, err := endpoints.New(w.Issuer, endpoints.Options{RefreshCookie: &endpoints.Cookie{}})
	require.NoError(t, err)
	handler := w.Auth.With(jwtauth.Scopes("read")).Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { jwtauth.FromContext(r.Context()) }))
	send := func(h http.Handler) {
		h.ServeHTTP(httptest.NewRecorder(), fixture.Request("GET", "/", "Bearer "+r.AccessToken))
	}
	row := jwtauth.SessionRecord{Key: jwtauth.SessionKey{Issuer: fixture.Issuer, Subject: "carol", ID: "1"}, Generation: 1, ExpiresAt: w.Clock.Now().Add(time.Hour)}
	rotation := jwtauth.Rotation{From: 1, At: w.Clock.Now(), ExpiresAt: row.ExpiresAt}
	end := w.Clock.Now().Add(time.Minute)
	reused := event.Event{Kind: event.TokenReused, Err: jwtauth.ErrTokenReused}
	var failure *jwtauth.Error
	_, err = w.Verifier.Verify(ctx, "x")
	require.ErrorAs(t, err, &failure)

	// This key set fetches keys while they are used, and for tokens with forged kids.
	foreign := fixture.NewRemote(t)
	require.NoError(t, foreign.Set.Ready(ctx))

	place := jwtauth.FromCookie("__Host-Http-x")
	static, err := jwk.Static(public.Verification())
	require.NoError(t, err)
	fixed := jwk.NewFixedSource(jwk.Stored{Keys: []jwk.StoredKey{{Key: public}}})
	folder := keydir.New(t.TempDir())
	_, err = jwk.OpenRing(ctx, folder, jwk.RingOptions{})
	require.NoError(t, err)
	life := fixture.NewRingWorld(t, jwk.NewMemorySource())
	copied := fixture.NewReplica(t, new(fixture.Engine))

	// good fails the test if a call has failed: no token is refused because keys are rotated.
	good := func(_ any, err error) {
		if err != nil {
			t.Error(err)
		}
	}
	readKeys := func(keys jwk.Set, w *fixture.World) {
		seam, err := keys.VerifierSeam()
		good(seam, err)
		good(seam.Current(ctx, w.Clock.Now()))
		good(seam.AskForKid(ctx, w.Clock.Now(), "unknown"))
		if set, ok := seam.(keyset.Replacing); ok {
			table, err := seam.Current(ctx, w.Clock.Now())
			good(table, err)
			good(set.AskForReplacement(ctx, w.Clock.Now(), table.All()))
		}
		seam.Facts()
	}
	unchanged := func(s jwk.Stored) (jwk.Stored, error) { return s, nil }
	younger := func(s jwk.Stored) (jwk.Stored, error) {
		s.Keys[0].Published = s.Keys[0].Published.Add(time.Second)
		return s, nil
	}
	methods := map[string]func(){
		"jwk.Ring.Replace": func() {
			good(nil, w.Keys.Replace(second, first.Verification()))
			good(nil, w.Keys.Replace(first, second.Verification()))
		},
		"jwk.Ring.ServeHTTP":            func() { send(w.Keys); send(life.Keys) },
		"provider.Provider.NewVerifier": func() { good(provider.Firebase("project").NewVerifier()) },
		"replica.Replica.Format":        func() { _ = fmt.Sprint(copied) },
		"replica.Replica.Ready":         func() { good(nil, copied.Ready(ctx)) },
		"replica.Replica.Status":        func() { copied.Status() },
		"replica.Replica.Revoke":        func() { good(nil, copied.Revoke(ctx, "x", time.Now().Add(time.Hour))) },
		"replica.Replica.IsRevoked":     func() { good(copied.IsRevoked(ctx, "x", "y")) },
		"replica.Replica.Close": func() {
			r := fixture.NewReplica(t, new(fixture.Engine))
			r.Close()
			r.Close()
		},
		"jwk.Ring.Rotate": func() {
			life.Clock.Advance(24 * time.Hour)
			_, _ = life.Keys.Rotate(ctx) // an error if there are too many keys
		},
		"jwk.Ring.RevokeKey":   func() { _ = life.Keys.RevokeKey(ctx, life.Keys.Status().SigningKey) }, // an error if another call was first, or if there are too many keys
		"jwk.Ring.Plan":        func() { life.Keys.Plan() },
		"jwk.Planned.LogValue": func() { life.Keys.Plan()[0].LogValue() },
		"jwk.Ring.Status":      func() { life.Keys.Status() },
		"endpoints.Metadata.ServeHTTP": func() {
			h, err := endpoints.NewMetadata(elsewhere.Issuer, endpoints.MetadataOptions{JWKSURI: fixture.Issuer + "/keys"})
			good(h, err)
			send(h)
			send(metadata)
		},
		"endpoints.Handlers.ServeHTTP": func() { send(handlers) },
		"endpoints.Handlers.Auth":      func() { send(handlers.Auth().Require(handler)) },
		"endpoints.Handlers.Verifier":  func() { handlers.Verifier().CacheStats() },
		"endpoints.Handlers.Format":    func() { _ = fmt.Sprint(handlers) },
		"endpoints.Handlers.Start": func() {
			good(handlers.Start(httptest.NewRecorder(), fixture.Request("POST", "/"), jwtauth.Grant{Subject: "erin"}))
		},
		"endpoints.Metadata.Paths":   func() { metadata.Paths()[0] = "" },
		"endpoints.Metadata.URL":     func() { metadata.URL() },
		"endpoints.Metadata.Missing": func() { metadata.Missing() },
		"endpoints.MemoryThrottle.Begin": func() {
			done, _, err := throttle.Begin(ctx, "alice", netip.MustParseAddr("192.0.2.1"))
			good(nil, err)
			if done != nil {
				done(false)
			}
		},
		"endpoints.MemoryThrottle.Format": func() { _ = fmt.Sprint(throttle) },
		"jwk.StaticSet.VerifierSeam":      func() { readKeys(static, w) },
		"Extractor.EndpointsSeam": func() {
			good(place.EndpointsSeam().Tokens(fixture.Request("GET", "/"), false))
		},
		"jwk.VerificationKey.VerifierSeam": func() { readKeys(public.Verification(), w) },
		"jwk.Remote.VerifierSeam":          func() { readKeys(foreign.Set, foreign.World) },
		"jwk.Ring.VerifierSeam":            func() { readKeys(w.Keys, w); readKeys(life.Keys, life) },
		"jwk.Ring.IssuerSeam": func() {
			for _, w := range []*fixture.World{w, life} {
				seam, err := w.Keys.IssuerSeam()
				good(seam, err)
				good(seam.RefreshKeys().Current(ctx, w.Clock.Now()))
				if _, err := seam.Signer(ctx, w.Clock.Now()); err != nil && w != life { // in life, the key may just have been revoked
					t.Error(err)
				}
				seam.Announce(time.Minute, time.Hour)
			}
		},
		"Issuer.EndpointsSeam": func() {
			seam, err := w.Issuer.EndpointsSeam()
			good(seam, err)
			good(seam.Keys.Current(ctx, seam.Now()))
		},
		"MemoryStore.MemorySeam":     func() { good(w.Store.MemorySeam().HasAny(ctx, revoked.IDs{N: 1}, w.Clock.Now())) },
		"replica.Replica.MemorySeam": func() { good(copied.MemorySeam().HasAny(ctx, revoked.IDs{N: 1}, time.Now())) },
		"jwk.MemorySource.Load":      func() { good(life.Source.Load(ctx)) },
		"jwk.MemorySource.Update":    func() { good(nil, life.Source.Update(ctx, unchanged)) },
		"jwk.FixedSource.Load":       func() { good(fixed.Load(ctx)) },
		"jwk.FixedSource.Update":     func() { _ = fixed.Update(ctx, unchanged) }, // which is always an error
		"keydir.Source.Load":         func() { good(folder.Load(ctx)) },
		"keydir.Source.Update":       func() { good(nil, folder.Update(ctx, younger)) },
		"Verifier.Verify": func() {
			good(w.Verifier.Verify(ctx, r.AccessToken))
			good(either.Verify(ctx, r.AccessToken))
			foreign.Clock.Advance(time.Second)
			good(foreign.Verifier.Verify(ctx, foreign.Token()))
			_, err := foreign.Verifier.Verify(ctx, foreign.Unknown(fmt.Sprint(rand.Int())))
			if err == nil {
				t.Error("a key that nobody knows")
			}
		},
		"Verifier.Ready":      func() { good(nil, w.Verifier.Ready(ctx)); good(nil, either.Ready(ctx)) },
		"Verifier.CacheStats": func() { w.Verifier.CacheStats(); either.CacheStats() },
		"Verifier.Recheck":    func() { good(nil, w.Verifier.Recheck(ctx, token)) },
		"Verifier.Revoke": func() {
			doomed, err := w.Issuer.IssueAccess(ctx, jwtauth.Grant{Subject: "dora"})
			good(nil, err)
			revokeText(t, w, doomed.AccessToken)
		},
		"Issuer.NewVerifier":     func() { good(w.Issuer.NewVerifier(jwtauth.VerifierOptions{})) },
		"Issuer.IssueAccess":     func() { good(w.Issuer.IssueAccess(ctx, jwtauth.Grant{Subject: "bob"})) },
		"Issuer.Issue":           func() { good(w.Issuer.Issue(ctx, jwtauth.Grant{Subject: "bob"})) },
		"Issuer.Refresh":         func() { good(w.Issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: r.RefreshToken})) },
		"Issuer.Session":         func() { good(w.Issuer.Session(ctx, r.RefreshToken)) },
		"Issuer.Ready":           func() { good(nil, w.Issuer.Ready(ctx)) },
		"Issuer.RevokeID":        func() { good(nil, w.Issuer.RevokeID(ctx, fmt.Sprint(rand.Int()))) },
		"Issuer.ForceRefresh":    func() { good(nil, w.Issuer.ForceRefresh(ctx, "alice", other.SessionID)) },
		"Issuer.ForceRefreshAll": func() { good(w.Issuer.ForceRefreshAll(ctx, "dave", "")) },
		"Issuer.Exchange": func() {
			good(w.Issuer.Exchange(ctx, token, jwtauth.ExchangeRequest{Audiences: []string{"https://billing.test"}, Actor: "orders"}))
		},
		"Issuer.Logout": func() {
			doomed, err := w.Issuer.Issue(ctx, jwtauth.Grant{Subject: "eve"})
			good(nil, err)
			good(nil, w.Issuer.Logout(ctx, doomed.RefreshToken))
		},
		"Issuer.Sessions": func() {
			_, _, err := w.Issuer.Sessions(ctx, "alice", "")
			good(nil, err)
		},
		"Issuer.EndSession":       func() { good(nil, w.Issuer.EndSession(ctx, "bob", r.SessionID)) },
		"Issuer.EndOtherSessions": func() { good(nil, w.Issuer.EndOtherSessions(ctx, "alice", r.SessionID)) },
		"Issuer.EndAllSessions":   func() { good(nil, w.Issuer.EndAllSessions(ctx, "bob")) },
		"Middleware.With":         func() { send(w.Auth.With(jwtauth.LoginWithin(time.Hour)).Require(handler)) },
		"Middleware.Require":      func() { send(handler) },
		"Middleware.Optional":     func() { send(w.Auth.Optional(handler)) },
		"Middleware.Authenticate": func() { good(w.Auth.Authenticate(fixture.Request("GET", "/", "Bearer "+r.AccessToken))) },
		"SessionRecord.Step":      func() { row.Step(rotation, end) },
		"MemoryStore.Create":      func() { _ = w.Store.Create(ctx, row, 0) },
		"MemoryStore.Advance":     func() { _, _, _ = w.Store.Advance(ctx, row.Key, rotation) },
		"MemoryStore.Delete":      func() { good(nil, w.Store.Delete(ctx, row.Key)) },
		"MemoryStore.List":        func() { good(w.Store.List(ctx, fixture.Issuer, "carol", "", 1000)) },
		"MemoryStore.Revoke":      func() { good(nil, w.Store.Revoke(ctx, "x", end)) },
		"MemoryStore.IsRevoked":   func() { good(w.Store.IsRevoked(ctx, "x", "y")) },
		"MemoryStore.Format":      func() { _ = fmt.Sprint(w.Store) },
		"jwk.Remote.Ready":        func() { good(nil, foreign.Set.Ready(ctx)) },
		"jwk.Remote.Refetch":      func() { _ = foreign.Set.Refetch(ctx) }, // an error if another call was first
		"jwk.Remote.Status":       func() { foreign.Set.Status() },
		"jwk.Remote.Snapshot":     func() { foreign.NewSet(func(o *jwk.RemoteOptions) { o.Seed = foreign.Set.Snapshot() }) },
		"jwk.Remote.Close": func() {
			set := foreign.NewSet(func(o *jwk.RemoteOptions) { o.Background = true })
			set.Ready(ctx)
			set.Close()
		},
		"Token.Audiences":               func() { token.Audiences()[0] = "" },
		"Token.Scopes":                  func() { token.Scopes()[0] = "" },
		"Token.AMR":                     func() { token.AMR() },
		"Token.HasScope":                func() { token.HasScope("read") },
		"Policy.Check":                  func() { _ = jwtauth.Scopes("read").Check(ctx, token) },
		"Token.String":                  func() { _ = token.String() },
		"Token.Format":                  func() { _ = fmt.Sprint(token) },
		"Token.LogValue":                func() { token.LogValue() },
		"Token.MarshalText":             func() { good(token.MarshalText()) },
		"jwk.VerificationKey.ID":        func() { _ = first.Verification().ID() },
		"jwk.VerificationKey.Algorithm": func() { _ = first.Verification().Algorithm() },
		"jwk.VerificationKey.WithID":    func() { first.Verification().WithID("a").ID() },
		"jwk.VerificationKey.JWK":       func() { good(public.Verification().JWK()) },
		"jwk.VerificationKey.PEM":       func() { good(public.Verification().PEM()) },
		"jwk.SigningKey.ID":             func() { _ = first.ID() },
		"jwk.SigningKey.Algorithm":      func() { _ = first.Algorithm() },
		"jwk.SigningKey.WithID":         func() { first.WithID("a").ID() },
		"jwk.SigningKey.Verification":   func() { _ = first.Verification() },
		"jwk.SigningKey.PrivateJWK":     func() { good(first.PrivateJWK()) },
		"jwk.SigningKey.PrivatePEM":     func() { good(public.PrivatePEM()) },
		"Error.Error":                   func() { _ = failure.Error() },
		"Error.Unwrap":                  func() { failure.Unwrap() },
		"event.Event.Level":             func() { reused.Level() },
		"event.Event.LogValue":          func() { reused.LogValue() },
	}
	for _, printable := range []struct {
		name  string
		value any
	}{{"jwk.VerificationKey", first.Verification()}, {"jwk.SigningKey", first}, {"Grant", jwtauth.Grant{Subject: "a"}}, {"TokenResponse", r}, {"RefreshRequest", jwtauth.RefreshRequest{}}} {
		show := func() {
			_ = fixture.Printed(printable.value)
		}
		for _, method := range []string{"String", "Format", "LogValue", "MarshalText"} {
			methods[printable.name+"."+method] = show
		}
	}
	delete(methods, "TokenResponse.MarshalText") // there is none: its JSON has the tokens
	require.ElementsMatch(t, declaredIn(t).methods, slices.Collect(maps.Keys(methods)), "a method is not called here, or there is none of that name")
	const rounds = 60
	var all sync.WaitGroup
	for _, call := range methods {
		for range 2 {
			all.Go(func() {
				for range rounds {
					call()
				}
			})
		}
	}
	all.Wait()
	w.RequireAccepted(r.AccessToken)
}

// revokeText revokes a token, and fails the test if the token is accepted afterwards.
func revokeText(t *testing.T, w *fixture.World, text string) {
	token, err := w.Verifier.Verify(t.Context(), text)
	if err == nil {
		err = w.Verifier.Revoke(t.Context(), token)
	}
	if err != nil {
		t.Error(err)
	}
	if _, err = w.Verifier.Verify(t.Context(), text); err == nil {
		t.Error("a revoked token was accepted")
	}
}
