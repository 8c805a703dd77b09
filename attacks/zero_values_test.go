package attacks_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwk/keydir"
	"github.com/jwtauth-go/jwtauth/migrate"
	"github.com/jwtauth-go/jwtauth/provider"
	"github.com/jwtauth-go/jwtauth/replica"
)

// zeroValues has the zero value and the nil pointer of each type that has methods, so
// that all of these methods are called.
var zeroValues = map[string][]any{
	"Issuer":         {&jwtauth.Issuer{}, (*jwtauth.Issuer)(nil)},
	"Verifier":       {&jwtauth.Verifier{}, (*jwtauth.Verifier)(nil)},
	"Middleware":     {&jwtauth.Middleware{}, (*jwtauth.Middleware)(nil)},
	"MemoryStore":    {&jwtauth.MemoryStore{}, (*jwtauth.MemoryStore)(nil)},
	"Error":          {&jwtauth.Error{}, (*jwtauth.Error)(nil)},
	"Token":          {jwtauth.Token{}, &jwtauth.Token{}, (*jwtauth.Token)(nil)},
	"TokenResponse":  {jwtauth.TokenResponse{}, &jwtauth.TokenResponse{}, (*jwtauth.TokenResponse)(nil)},
	"Grant":          {jwtauth.Grant{}, &jwtauth.Grant{}, (*jwtauth.Grant)(nil)},
	"RefreshRequest": {jwtauth.RefreshRequest{}, &jwtauth.RefreshRequest{}, (*jwtauth.RefreshRequest)(nil)},
	"Session":        {jwtauth.Session{}}, "SessionKey": {jwtauth.SessionKey{}}, "SessionRecord": {jwtauth.SessionRecord{}}, "Rotation": {jwtauth.Rotation{}},
	"Extractor": {jwtauth.Extractor{}}, "Policy": {jwtauth.Policy{}, (*jwtauth.Policy)(nil)},

	"endpoints.Metadata":       {&endpoints.Metadata{}, (*endpoints.Metadata)(nil)},
	"endpoints.Handlers":       {&endpoints.Handlers{}, (*endpoints.Handlers)(nil)},
	"endpoints.MemoryThrottle": {&endpoints.MemoryThrottle{}, (*endpoints.MemoryThrottle)(nil)},
	"event.Event":              {event.Event{}, &event.Event{}, (*event.Event)(nil)}, "event.Kind": {event.Kind("")},
	"jwk.Algorithm":       {jwk.Algorithm("")},
	"jwk.SigningKey":      {jwk.SigningKey{}, &jwk.SigningKey{}, (*jwk.SigningKey)(nil)},
	"jwk.VerificationKey": {jwk.VerificationKey{}, &jwk.VerificationKey{}, (*jwk.VerificationKey)(nil)},
	"jwk.StaticSet":       {jwk.StaticSet{}, &jwk.StaticSet{}, (*jwk.StaticSet)(nil)},
	"jwk.Ring":            {&jwk.Ring{}, (*jwk.Ring)(nil)},
	"jwk.Remote":          {&jwk.Remote{}, (*jwk.Remote)(nil)},
	"jwk.MemorySource":    {&jwk.MemorySource{}, (*jwk.MemorySource)(nil)},
	"jwk.FixedSource":     {&jwk.FixedSource{}, (*jwk.FixedSource)(nil)},
	"jwk.Planned":         {jwk.Planned{}, &jwk.Planned{}},
	"keydir.Source":       {&keydir.Source{}, (*keydir.Source)(nil)},
	"provider.Provider":   {&provider.Provider{}, (*provider.Provider)(nil)},
	"replica.Replica":     {&replica.Replica{}, (*replica.Replica)(nil)},
}

// zeroUses puts the zero value of each type to use. Nothing may open because of it.
var zeroUses = map[string]func(t *testing.T, w *fixture.World){
	"jwk.Algorithm": func(t *testing.T, w *fixture.World) {
		_, err := jwk.Generate("")
		require.Error(t, err)
		_, err = jwk.NewHMAC("", "", make([]byte, 64))
		require.Error(t, err)
	},
	"CacheStats": func(t *testing.T, w *fixture.World) {
		for _, v := range []*jwtauth.Verifier{nil, {}} {
			require.Zero(t, v.CacheStats())
		}
	},
	"event.Kind": func(t *testing.T, w *fixture.World) {
		event.Log(fixture.QuietLogger())(t.Context(), event.Event{})
	},
	"jwk.SigningKey": func(t *testing.T, w *fixture.World) {
		for _, k := range []*jwk.SigningKey{nil, {}, (*jwk.SigningKey)(nil).WithID("a"), new(jwk.SigningKey).WithID("a")} {
			_, err := jwk.NewRing(k)
			require.Error(t, err)
			require.Error(t, w.Keys.Replace(k))
		}
		w.Login("alice") // a Replace that fails leaves the ring as it was
	},
	"jwk.VerificationKey": func(t *testing.T, w *fixture.World) {
		for _, k := range []*jwk.VerificationKey{nil, {}, new(jwk.VerificationKey).WithID("a"), new(jwk.SigningKey).Verification()} {
			_, err := jwk.Static(k)
			require.Error(t, err)
			_, err = jwk.Static(w.Key.Verification(), k)
			require.Error(t, err)
			_, err = jwk.NewRing(w.Key, k)
			require.Error(t, err)
		}
	},
	"jwk.Remote": func(t *testing.T, w *fixture.World) {
		for _, keys := range []*jwk.Remote{nil, {}} {
			_, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
			require.Error(t, err)
			require.ErrorIs(t, keys.Ready(t.Context()), jwtauth.ErrUnavailable)
			require.Error(t, keys.Status().LastError)
			require.Nil(t, keys.Snapshot())
			keys.Close()
		}
	},
	"endpoints.Handlers": func(t *testing.T, w *fixture.World) {
		for _, h := range []*endpoints.Handlers{nil, {}} {
			for _, handler := range []http.Handler{h, h.Auth().Require(http.NotFoundHandler())} {
				answer := httptest.NewRecorder()
				handler.ServeHTTP(answer, fixture.Request("POST", "/auth/refresh"))
				require.Equal(t, http.StatusServiceUnavailable, answer.Code)
			}
			_, err := h.Start(httptest.NewRecorder(), fixture.Request("POST", "/"), jwtauth.Grant{Subject: "alice"})
			require.Error(t, err)
		}
	},
	"endpoints.Options": func(t *testing.T, w *fixture.World) {
		for _, issuer := range []*jwtauth.Issuer{nil, {}} {
			_, err := endpoints.New(issuer, endpoints.Options{})
			require.Error(t, err)
		}
		h, err := endpoints.New(w.Issuer, endpoints.Options{})
		require.NoError(t, err)
		for path, status := range map[string]int{"login": 404, "token": 404, "revoke": 404, "introspect": 404, "refresh": 400, "sessions/end-all": 401} {
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, fixture.Request("POST", "/auth/"+path))
			require.Equal(t, status, answer.Code, path)
		}
	},
	"endpoints.Cookie": func(t *testing.T, w *fixture.World) {
		h, err := endpoints.New(w.Issuer, endpoints.Options{RefreshCookie: &endpoints.Cookie{}})
		require.NoError(t, err)
		answer := httptest.NewRecorder()
		_, err = h.Start(answer, fixture.Request("POST", "/"), jwtauth.Grant{Subject: "alice"})
		require.NoError(t, err)
		for _, c := range answer.Result().Cookies() {
			require.True(t, c.Secure && c.HttpOnly && c.SameSite == http.SameSiteStrictMode && c.Path == "/" && c.Domain == "", c)
		}
	},
	"migrate.Options": func(t *testing.T, w *fixture.World) {
		keys, err := jwk.Static(w.Key.Verification())
		require.NoError(t, err)
		_, err = migrate.NewVerifier(keys, migrate.Options{})
		require.ErrorContains(t, err, "Issuer is missing")
		_, err = migrate.NewVerifier(&jwk.StaticSet{}, migrate.Options{})
		require.Error(t, err)
	},
	"migrate.Date": func(t *testing.T, w *fixture.World) {
		keys, err := jwk.Static(w.Key.Verification())
		require.NoError(t, err)
		_, err = migrate.NewVerifier(keys, migrate.Options{Issuer: fixture.Issuer, Revocations: w.Store})
		require.ErrorContains(t, err, "Until is missing")
	},
	"endpoints.MetadataOptions": func(t *testing.T, w *fixture.World) {
		_, err := endpoints.NewMetadata(w.Issuer, endpoints.MetadataOptions{})
		require.ErrorContains(t, err, "JWKSURI")
	},
	"endpoints.ResourceOptions": func(t *testing.T, w *fixture.World) {
		_, err := endpoints.NewResourceMetadata(endpoints.ResourceOptions{})
		require.ErrorContains(t, err, "Resource")
	},
	"endpoints.Throttle": func(t *testing.T, w *fixture.World) {
		for _, throttle := range []endpoints.Throttle{(*endpoints.MemoryThrottle)(nil), &endpoints.MemoryThrottle{}} {
			done, retryAfter, err := throttle.Begin(t.Context(), "alice", netip.MustParseAddr("192.0.2.1"))
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.Nil(t, done)
			require.Zero(t, retryAfter)
		}
	},
	"endpoints.MemoryThrottle": func(t *testing.T, w *fixture.World) {},
	"endpoints.ThrottleOptions": func(t *testing.T, w *fixture.World) {
		throttle, err := endpoints.NewThrottle(endpoints.ThrottleOptions{})
		require.NoError(t, err)
		for range 10 {
			done, _, err := throttle.Begin(t.Context(), "alice", netip.MustParseAddr("192.0.2.1"))
			require.NoError(t, err)
			done(false)
		}
		done, _, err := throttle.Begin(t.Context(), "alice", netip.MustParseAddr("192.0.2.1"))
		require.NoError(t, err)
		require.Nil(t, done)
	},
	"jwk.RemoteOptions": func(t *testing.T, w *fixture.World) {
		_, err := jwk.NewRemote("http://127.0.0.1/keys", jwk.RemoteOptions{})
		require.ErrorContains(t, err, "https")
	},
	"provider.Provider": func(t *testing.T, w *fixture.World) {
		_, err := provider.Provider{}.NewVerifier()
		require.ErrorContains(t, err, "Issuers is empty")
	},
	"replica.Log": func(t *testing.T, w *fixture.World) {
		_, err := replica.New(nil, replica.Options{})
		require.Error(t, err)
	},
	"replica.Watcher": func(t *testing.T, w *fixture.World) {
		require.NoError(t, fixture.NewReplica(t, &fixture.Engine{}).Ready(t.Context())) // an engine that cannot push is polled
	},
	"replica.Options": func(t *testing.T, w *fixture.World) {
		require.NoError(t, fixture.NewReplica(t, &fixture.Engine{}).Ready(t.Context()))
	},
	"replica.Status": func(t *testing.T, w *fixture.World) { require.Error(t, new(replica.Replica).Status().LastError) },
	"replica.Replica": func(t *testing.T, w *fixture.World) {
		for _, r := range []*replica.Replica{nil, {}} {
			foreign := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Revocations = r })
			_, err := foreign.Verify(t.Context(), w.Login("alice").AccessToken)
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		}
	},
	"ResolveOptions": func(t *testing.T, w *fixture.World) {
		_, err := jwtauth.ResolveIssuers(nil, jwtauth.ResolveOptions{})
		require.Error(t, err)
		all, err := jwtauth.ResolveIssuers(func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) { return nil, nil }, jwtauth.ResolveOptions{})
		require.NoError(t, err)
		_, err = all.Verify(t.Context(), w.Login("alice").AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenIssuer)
	},
	"jwk.Source": func(t *testing.T, w *fixture.World) {
		_, err := jwk.OpenRing(t.Context(), nil, jwk.RingOptions{})
		require.ErrorContains(t, err, "no Source")
	},
	"jwk.Stored": func(t *testing.T, w *fixture.World) {
		_, err := jwk.OpenRing(t.Context(), jwk.NewFixedSource(jwk.Stored{}), jwk.RingOptions{})
		require.Error(t, err)
	},
	"jwk.Durations": func(t *testing.T, w *fixture.World) { // nobody knows when a key may leave
		ring, err := jwk.OpenRing(t.Context(), jwk.NewMemorySource(), jwk.RingOptions{})
		require.NoError(t, err)
		_, err = ring.Rotate(t.Context())
		require.ErrorContains(t, err, "does not say how long tokens live")
	},
	"jwk.StoredKey": func(t *testing.T, w *fixture.World) {
		_, err := jwk.OpenRing(t.Context(), jwk.NewFixedSource(jwk.Stored{Keys: []jwk.StoredKey{{}}}), jwk.RingOptions{})
		require.ErrorContains(t, err, "missing")
	},
	"jwk.Life": func(t *testing.T, w *fixture.World) {
		key := jwk.StoredKey{Key: w.Key} // without any dates
		ring, err := jwk.OpenRing(t.Context(), jwk.NewFixedSource(jwk.Stored{Keys: []jwk.StoredKey{key}}), jwk.RingOptions{})
		require.NoError(t, err)
		require.Equal(t, w.Key.ID(), ring.Plan()[0].ID)
	},
	"jwk.Planned": func(t *testing.T, w *fixture.World) { require.Empty(t, new(jwk.Ring).Plan()) },
	"jwk.State":   func(t *testing.T, w *fixture.World) { require.Zero(t, jwk.Planned{}.State) },
	"jwk.RingOptions": func(t *testing.T, w *fixture.World) {
		ring, err := jwk.OpenRing(t.Context(), jwk.NewMemorySource(), jwk.RingOptions{})
		require.NoError(t, err)
		require.Equal(t, jwk.ES256, ring.Plan()[0].Algorithm)
	},
	"jwk.RingStatus": func(t *testing.T, w *fixture.World) { require.Error(t, new(jwk.Ring).Status().LastError) },
	"jwk.RemoteStatus": func(t *testing.T, w *fixture.World) {
		keys, err := jwk.NewRemote("https://issuer.test/keys", jwk.RemoteOptions{})
		require.NoError(t, err)
		require.Zero(t, keys.Status())
	},
	"jwk.Ring": func(t *testing.T, w *fixture.World) {
		for _, ring := range []*jwk.Ring{nil, {}} {
			_, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
			require.Error(t, err)
			_, err = jwtauth.NewVerifier(ring, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
			require.Error(t, err)
			answer := httptest.NewRecorder()
			ring.ServeHTTP(answer, fixture.Request("GET", "/"))
			require.Equal(t, http.StatusServiceUnavailable, answer.Code)
		}
		_, err := jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, RefreshKeys: &jwk.Ring{}})
		require.Error(t, err)
	},
	"jwk.Set": func(t *testing.T, w *fixture.World) {
		_, err := jwtauth.NewVerifier(nil, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
		require.Error(t, err)
	},
	"jwk.StaticSet": func(t *testing.T, w *fixture.World) {
		for _, keys := range []*jwk.StaticSet{nil, {}} {
			_, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
			require.Error(t, err)
		}
	},
	"jwk.MemorySource": func(t *testing.T, w *fixture.World) { // it is empty, as NewMemorySource returns it
		ring, err := jwk.OpenRing(t.Context(), &jwk.MemorySource{}, jwk.RingOptions{})
		require.NoError(t, err)
		other := fixture.New(t)
		other.VerifyWith(ring, jwtauth.VerifierOptions{})
		other.RequireUnknown(other.Sign(other.Claims(nil)))
	},
	"jwk.FixedSource": func(t *testing.T, w *fixture.World) {
		keys, err := new(jwk.FixedSource).Load(t.Context())
		require.NoError(t, err)
		require.Empty(t, keys.Keys)
		_, err = jwk.OpenRing(t.Context(), &jwk.FixedSource{}, jwk.RingOptions{})
		require.ErrorContains(t, err, "FixedSource")
	},
	"keydir.Source": func(t *testing.T, w *fixture.World) {
		t.Chdir(t.TempDir())
		for _, source := range []*keydir.Source{{}, keydir.New("")} {
			_, err := jwk.OpenRing(t.Context(), source, jwk.RingOptions{})
			require.Error(t, err)
			err = source.Update(t.Context(), func(jwk.Stored) (jwk.Stored, error) {
				return jwk.Stored{Keys: []jwk.StoredKey{{Life: jwk.Life{ID: w.Key.ID()}, Key: w.Key}}}, nil
			})
			require.Error(t, err)
			files, err := os.ReadDir(".")
			require.NoError(t, err)
			require.Empty(t, files, "keys in the folder that the program happens to run in")
		}
	},
	"endpoints.Metadata": func(t *testing.T, w *fixture.World) {
		for _, m := range []*endpoints.Metadata{nil, {}} {
			answer := httptest.NewRecorder()
			m.ServeHTTP(answer, fixture.Request("GET", "/"))
			require.Equal(t, http.StatusServiceUnavailable, answer.Code)
		}
		for _, issuer := range []*jwtauth.Issuer{nil, {}} {
			_, err := endpoints.NewMetadata(issuer, endpoints.MetadataOptions{JWKSURI: fixture.Issuer + "/keys"})
			require.Error(t, err)
		}
	},
	"jwk.ContextSigner": func(t *testing.T, w *fixture.World) {
		_, err := jwk.NewSigning(jwk.ES256, nil)
		require.Error(t, err)
		_, err = jwk.NewSigning(jwk.ES256, (*ecdsa.PrivateKey)(nil))
		require.Error(t, err)
		_, err = jwk.NewSigning(jwk.RS256, &rsa.PrivateKey{})
		require.Error(t, err)
	},
	"Issuer": func(t *testing.T, w *fixture.World) {},
	"IssuerOptions": func(t *testing.T, w *fixture.World) {
		_, err := jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{})
		require.Error(t, err)
	},
	"Verifier": func(t *testing.T, w *fixture.World) {
		for _, v := range []*jwtauth.Verifier{nil, {}} {
			_, err := jwtauth.AnyOf(v)
			require.Error(t, err)
			_, err = jwtauth.AnyOf(w.Verifier, v)
			require.Error(t, err)
			_, err = jwtauth.NewMiddleware(v, jwtauth.MiddlewareOptions{})
			require.Error(t, err)
		}
		_, err := jwtauth.AnyOf()
		require.Error(t, err)
	},
	"VerifierOptions": func(t *testing.T, w *fixture.World) {
		_, err := jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{})
		require.ErrorContains(t, err, "Issuer")
		_, err = jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer})
		require.ErrorContains(t, err, "Audiences")
	},
	"TokenVerifier": func(t *testing.T, w *fixture.World) {
		_, err := jwtauth.NewMiddleware(nil, jwtauth.MiddlewareOptions{})
		require.Error(t, err)
	},
	"Middleware":        func(t *testing.T, w *fixture.World) {},
	"MiddlewareOptions": func(t *testing.T, w *fixture.World) { w.RequireNone(fixture.Request("GET", "/")) }, // fixture.New uses the zero value
	"Extractor": func(t *testing.T, w *fixture.World) {
		for _, e := range []jwtauth.Extractor{{}, jwtauth.NewExtractor(nil), jwtauth.FromWebSocketProtocol(""), jwtauth.FromCookie(""), jwtauth.FromCookie("a", "nonsense"), jwtauth.FirstOf(), jwtauth.FirstOf(jwtauth.Extractor{})} {
			_, seamErr := e.EndpointsSeam().Tokens(fixture.Request("GET", "/"), false)
			require.ErrorIs(t, seamErr, jwtauth.ErrUnavailable)
			_, err := jwtauth.NewMiddleware(w.Verifier, jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{jwtauth.FromHeader("Authorization", "Bearer"), e}})
			require.Error(t, err)
		}
	},
	"Policy": func(t *testing.T, w *fixture.World) {
		for _, m := range []*jwtauth.Middleware{w.Auth.With(), w.Auth.With(jwtauth.Policy{}), w.Auth.With(jwtauth.TokenPolicy("x", nil)), w.Auth.With(jwtauth.RequestPolicy("x", nil)), w.Auth.With(jwtauth.ClaimsPolicy[struct{}]("", nil)), w.Auth.With(jwtauth.Scopes()), w.Auth.With(jwtauth.AnyScope()), w.Auth.With(jwtauth.LoginWithin(0))} {
			requireClosed(t, w, m.Require, m.Optional)
		}
	},
	"Token": func(t *testing.T, w *fixture.World) {
		_, err := jwtauth.ClaimsAs[map[string]any](jwtauth.Token{})
		require.ErrorIs(t, err, jwtauth.ErrNoToken)
		require.ErrorIs(t, w.Verifier.Recheck(t.Context(), jwtauth.Token{}), jwtauth.ErrNoToken)
		require.ErrorIs(t, w.Verifier.Revoke(t.Context(), jwtauth.Token{}), jwtauth.ErrNoToken)
		ctx := jwtauth.NewContext(t.Context(), jwtauth.Token{})
		answer, ran := w.Do(fixture.Request("GET", "/").WithContext(ctx))
		require.False(t, ran)
		require.Equal(t, http.StatusUnauthorized, answer.Code)
		for _, policy := range []jwtauth.Policy{jwtauth.Scopes("a"), jwtauth.AnyScope("a"), jwtauth.AnyScope(""), jwtauth.LoginWithin(time.Hour)} {
			require.Error(t, policy.Check(t.Context(), jwtauth.Token{}))
		}
	},
	"TokenResponse": func(t *testing.T, w *fixture.World) {
		answer := httptest.NewRecorder()
		jwtauth.WriteTokens(answer, jwtauth.TokenResponse{})
		require.Equal(t, http.StatusInternalServerError, answer.Code)
	},
	"Grant": func(t *testing.T, w *fixture.World) {
		for _, issue := range []func(context.Context, jwtauth.Grant) (jwtauth.TokenResponse, error){w.Issuer.Issue, w.Issuer.IssueAccess} {
			r, err := issue(t.Context(), jwtauth.Grant{})
			require.Error(t, err)
			require.Zero(t, r)
		}
	},
	"Session": func(t *testing.T, w *fixture.World) {
		require.ErrorIs(t, w.Issuer.EndSession(t.Context(), "", ""), jwtauth.ErrNoSession)
	},
	"RefreshRequest": func(t *testing.T, w *fixture.World) {
		_, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{})
		require.ErrorIs(t, err, jwtauth.ErrRefused)
	},
	"ExchangeRequest": func(t *testing.T, w *fixture.World) {
		r, err := w.Issuer.Exchange(t.Context(), w.RequireAccepted(w.Login("alice").AccessToken), jwtauth.ExchangeRequest{})
		require.Error(t, err)
		require.Zero(t, r)
	},
	"SessionKey": func(t *testing.T, w *fixture.World) {
		require.NoError(t, w.Store.Delete(t.Context(), jwtauth.SessionKey{}))
		_, _, err := w.Store.Advance(t.Context(), jwtauth.SessionKey{}, jwtauth.Rotation{})
		require.ErrorIs(t, err, jwtauth.ErrNoSession)
	},
	"SessionRecord": func(t *testing.T, w *fixture.World) { // the zero ExpiresAt is long ago
		require.NoError(t, w.Store.Create(t.Context(), jwtauth.SessionRecord{}, 0))
		_, advanced, err := w.Store.Advance(t.Context(), jwtauth.SessionKey{}, jwtauth.Rotation{From: 1, At: w.Clock.Now()})
		require.ErrorIs(t, err, jwtauth.ErrNoSession)
		require.False(t, advanced)
	},
	"Rotation": func(t *testing.T, w *fixture.World) {
		key := jwtauth.SessionKey{Issuer: fixture.Issuer, Subject: "zoe", ID: "1"}
		require.NoError(t, w.Store.Create(t.Context(), jwtauth.SessionRecord{Key: key, Generation: 1, ExpiresAt: w.Clock.Now().Add(time.Hour)}, 0))
		_, advanced, err := w.Store.Advance(t.Context(), key, jwtauth.Rotation{})
		require.NoError(t, err)
		require.False(t, advanced)
	},
	"SessionStore": func(t *testing.T, w *fixture.World) {
		i, err := jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Revocations: w.Store})
		require.NoError(t, err)
		_, err = i.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		require.Error(t, err)
		_, err = i.Refresh(t.Context(), jwtauth.RefreshRequest{Token: w.Login("alice").RefreshToken})
		require.Error(t, err)
		require.Error(t, i.EndAllSessions(t.Context(), "alice"))
	},
	"RevocationStore": func(t *testing.T, w *fixture.World) {
		_, err := jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Sessions: w.Store})
		require.ErrorContains(t, err, "Revocations")
		v, err := jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now})
		require.NoError(t, err)
		token, err := v.Verify(t.Context(), w.Login("alice").AccessToken)
		require.NoError(t, err)
		require.Error(t, v.Revoke(t.Context(), token), "a revocation that nobody keeps is no success")
	},
	"MemoryStore": func(t *testing.T, w *fixture.World) {
		for _, store := range []*jwtauth.MemoryStore{nil, {}} {
			broken := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.Sessions, o.Revocations = store, store })
			_, err := broken.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			r := w.Login("alice")
			broken.RequireRefreshUnavailable(r.RefreshToken)
			require.ErrorIs(t, broken.Issuer.Logout(t.Context(), r.AccessToken), jwtauth.ErrUnavailable)
			broken.RequireUnavailable(r.AccessToken)
		}
	},
	"MemoryStoreOptions": func(t *testing.T, w *fixture.World) {
		store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
		require.NoError(t, store.Revoke(t.Context(), "x", time.Now().Add(time.Hour)))
		revoked, err := store.IsRevoked(t.Context(), "x")
		require.NoError(t, err)
		require.True(t, revoked)
	},
	"Error": func(t *testing.T, w *fixture.World) {
		for _, err := range []error{nil, (*jwtauth.Error)(nil), &jwtauth.Error{}, &jwtauth.Error{Status: 200}, &jwtauth.Error{Status: 302}} {
			answer := httptest.NewRecorder()
			jwtauth.WriteError(answer, fixture.Request("GET", "/"), err)
			require.Equal(t, http.StatusInternalServerError, answer.Code)
			m := w.Auth.With(jwtauth.TokenPolicy("policy", func(context.Context, jwtauth.Token) (bool, error) { return true, err }))
			if err != nil {
				requireClosed(t, w, m.Require, m.Optional)
			}
		}
	},
	"event.Event": func(t *testing.T, w *fixture.World) {},
}

// requireClosed fails the test if a handler runs that is wrapped in one of these ways.
func requireClosed(t *testing.T, w *fixture.World, wraps ...func(http.Handler) http.Handler) {
	t.Helper()
	token := "Bearer " + w.Login("alice").AccessToken
	for _, wrap := range wraps {
		ran := false
		h := wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran = true }))
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, fixture.Request("GET", "/", token))
		require.False(t, ran, "the handler ran")
		require.GreaterOrEqual(t, answer.Code, 400)
	}
}

// maySucceed has the methods that may succeed on a zero value, but not on a nil pointer:
// they print the value, fill it, or read that it is empty.
var maySucceed = map[string]bool{
	"jwk.SigningKey.MarshalText": true, "jwk.VerificationKey.MarshalText": true, "Token.MarshalText": true, "Grant.MarshalText": true, "RefreshRequest.MarshalText": true,
	"jwk.Ring.Replace": true, "jwk.MemorySource.Load": true, "jwk.MemorySource.Update": true, "jwk.FixedSource.Load": true,
}

func attackZeroValues(t *testing.T) {
	declared := declaredIn(t)
	w := fixture.New(t)
	require.ElementsMatch(t, declared.types, slices.Collect(maps.Keys(zeroUses)), "a type whose zero value nobody tried")
	for name, use := range zeroUses {
		t.Run(name, func(t *testing.T) { use(t, w) })
	}
	called := make(map[string]bool)
	for name, values := range zeroValues {
		require.Contains(t, declared.types, name)
		for _, v := range values {
			for i := range reflect.TypeOf(v).NumMethod() {
				method := name + "." + reflect.TypeOf(v).Method(i).Name
				if !slices.Contains(declared.methods, method) {
					continue // a method of an embedded type
				}
				t.Run(fmt.Sprintf("%s of %T", method, v), func(t *testing.T) { callZero(t, w, method, reflect.ValueOf(v), i) })
				called[method] = true
			}
			require.NotPanics(t, func() { fixture.Printed(v) })
		}
	}
	for _, method := range declared.methods {
		require.True(t, called[method], "%s is not called", method)
	}
}

// callZero calls a method of a zero value with good arguments. The method must not
// panic, and its results must not open anything.
func callZero(t *testing.T, w *fixture.World, name string, v reflect.Value, i int) {
	method := v.Type().Method(i)
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = reflect.New(v.Type().Elem()) // which no other method has filled
	}
	isNil := v.Kind() == reflect.Pointer && v.IsNil()
	if isNil {
		if _, byValue := v.Type().Elem().MethodByName(method.Name); byValue {
			return // such a call does not reach the method; fmt, slog and JSON print nil
		}
	}
	t.Chdir(t.TempDir())
	tokens := w.Login("alice")
	verified := w.RequireAccepted(tokens.AccessToken)
	good := map[reflect.Type]any{
		reflect.TypeFor[context.Context](): t.Context(), reflect.TypeFor[string](): tokens.AccessToken,
		reflect.TypeFor[*http.Request](): fixture.Request("GET", "/", "Bearer "+tokens.AccessToken), reflect.TypeFor[http.ResponseWriter](): httptest.NewRecorder(),
		reflect.TypeFor[jwtauth.Token](): verified, reflect.TypeFor[jwtauth.Grant](): jwtauth.Grant{Subject: "alice"}, reflect.TypeFor[*jwk.SigningKey](): w.Key,
		reflect.TypeFor[jwtauth.VerifierOptions](): jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}},
		reflect.TypeFor[http.Handler]():            http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") }),
		reflect.TypeFor[fmt.State]():               state{},
		reflect.TypeFor[jwtauth.SessionRecord]():   jwtauth.SessionRecord{ExpiresAt: w.Clock.Now().Add(time.Hour)},
		reflect.TypeFor[jwtauth.Rotation]():        jwtauth.Rotation{From: -1}, // a step that a row of generation 0 does not make
		reflect.TypeFor[time.Time]():               w.Clock.Now().Add(time.Hour),

		reflect.TypeFor[func(jwk.Stored) (jwk.Stored, error)](): func(s jwk.Stored) (jwk.Stored, error) { return s, nil },
	}
	var in []reflect.Value
	f := v.Method(i)
	for n := range f.Type().NumIn() {
		if f.Type().IsVariadic() && n == f.Type().NumIn()-1 {
			break
		}
		if arg, ok := good[f.Type().In(n)]; ok {
			in = append(in, reflect.ValueOf(arg))
		} else {
			in = append(in, reflect.Zero(f.Type().In(n)))
		}
	}
	var out []reflect.Value
	require.NotPanics(t, func() { out = f.Call(in) })
	for n, result := range out {
		switch r := result.Interface().(type) {
		case http.Handler:
			requireClosed(t, w, func(http.Handler) http.Handler { return r })
		case *jwtauth.Middleware:
			requireClosed(t, w, r.Require, r.Optional)
		case bool:
			require.False(t, r)
		case error:
		case *jwk.VerificationKey:
			_, err := jwk.Static(r)
			require.Error(t, err)
		case *jwk.SigningKey:
			_, err := jwk.NewRing(r)
			require.Error(t, err)
		case revoked.Memory:
			isRevoked, err := r.HasAny(t.Context(), revoked.IDs{N: 1}, w.Clock.Now())
			require.Error(t, err)
			require.False(t, isRevoked)
		default:
			if last := out[len(out)-1]; n < len(out)-1 && last.Type() == reflect.TypeFor[error]() && !maySucceed[name] {
				require.True(t, result.IsZero(), "%v", result)
			}
		}
	}
	if len(out) > 0 && out[len(out)-1].Type() == reflect.TypeFor[error]() && (isNil || !maySucceed[name]) {
		require.False(t, out[len(out)-1].IsNil(), "%s reports success", name)
	}
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	require.Empty(t, files, "%s left a file", name)
}

// state is a fmt.State that writes nowhere.
type state struct{ bytes.Buffer }

func (state) Write(b []byte) (int, error) { return len(b), nil }
func (state) Width() (int, bool)          { return 0, false }
func (state) Precision() (int, bool)      { return 0, false }
func (state) Flag(int) bool               { return true }
