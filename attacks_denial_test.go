package jwtauth_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

var denialAttacks = []attack{
	{"D01", "fuzz Verify", attackGarbageTokens},
	{"D02", "fuzz the other parsers", attackGarbageElsewhere},
	{"D03", "unsigned tokens cost no store call", attackStoreCalls},
	{"D05", "goroutine and connection leaks", attackGoroutines},
	{"D06", "race detector", attackRaces},
	{"D09", "deadline", attackDeadline},
	{"D10", "memory store growth by strangers", attackGrowth},
}

// garbage makes texts that a stranger might send: noise, and mutations of texts
// that are good. Its seed is fixed, so that it makes the same ones each time,
// as far as the good texts are the same.
type garbage struct {
	*rand.Rand
	good []string
}

func newGarbage(good ...string) *garbage { return &garbage{rand.New(rand.NewPCG(1, 2)), good} }

const tokenAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// specials are characters that some reader of tokens, headers or keys takes for
// something.
var specials = []string{".", "..", "=", "==", "+", "/", " ", "\t", "\r\n", "\n", "\x00", ",", ";", `"`, `\`, "%", "%2e", "\u00a0", "\u017f", "\xff", "-", "_", "{", "}", "Bearer "}

func (g *garbage) pick(from []string) string { return from[g.IntN(len(from))] }

func (g *garbage) noise() string {
	b := make([]byte, g.IntN(200))
	for i := range b {
		if g.IntN(2) == 0 {
			b[i] = tokenAlphabet[g.IntN(len(tokenAlphabet))]
		} else {
			b[i] = byte(g.IntN(256))
		}
	}
	return string(b)
}

// shaped is noise in the shape of a token.
func (g *garbage) shaped() string {
	segment := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	headers := []string{
		`{"alg":"none"}`, `{"alg":"ES256"}`, `{"alg":"HS256","typ":"at+jwt"}`, `{}`, `[]`, `null`, `{"alg":"ES256","alg":"none"}`, "\xff", `{"alg":` + strings.Repeat("[", 50), g.noise(),
	}
	return segment(g.pick(headers)) + "." + segment(g.noise()) + "." + segment(g.noise())
}

func (g *garbage) mutation() string {
	text := g.pick(g.good)
	for range 1 + g.IntN(3) {
		at := g.IntN(len(text) + 1)
		to := at + g.IntN(min(len(text)-at, 20)+1)
		switch g.IntN(10) {
		case 0: // another character of the alphabet
			if at < len(text) {
				text = text[:at] + string(tokenAlphabet[g.IntN(len(tokenAlphabet))]) + text[at+1:]
			}
		case 1: // another bit
			if at < len(text) {
				b := []byte(text)
				b[at] ^= 1 << g.IntN(8)
				text = string(b)
			}
		case 2:
			text = text[:at] + g.pick(specials) + text[at:]
		case 3:
			text = text[:at] + text[to:]
		case 4:
			text = text[:at] + text[at:to] + text[at:]
		case 5:
			text = text[:at]
		case 6:
			text = text[at:]
		case 7: // segments of another text
			mine, theirs := strings.Split(text, "."), strings.Split(g.pick(g.good), ".")
			mine[g.IntN(len(mine))] = theirs[g.IntN(len(theirs))]
			text = strings.Join(mine, ".")
		case 8:
			text = text[:at] + strings.ToUpper(text[at:to]) + text[to:]
		case 9:
			text += g.pick(specials)
		}
	}
	return text
}

func (g *garbage) text() string {
	switch g.IntN(5) {
	case 0:
		return g.noise()
	case 1:
		return g.shaped()
	default:
		return g.mutation()
	}
}

// attackGarbageTokens: of 100,000 texts, none is accepted but those that were
// minted. For ES256 there would be one more: with a signature (r, s), (r, n-s)
// is one, too; the mutations do not come across it, and S09 shows that it gives
// an attacker nothing.
func attackGarbageTokens(t *testing.T) {
	for alg, texts := range map[jwtauth.Algorithm]int{jwtauth.HS256: 60_000, jwtauth.ES256: 20_000, jwtauth.EdDSA: 10_000, jwtauth.RS256: 10_000} {
		w := newWorldWith(t, alg)
		alice, bob := w.login("alice"), w.login("bob")
		minted := []string{alice.AccessToken, bob.AccessToken}
		g := newGarbage(append(minted, alice.RefreshToken)...)
		for range texts {
			text := g.text()
			token, err := w.verifier.Verify(t.Context(), text)
			if err == nil {
				require.Contains(t, minted, text)
				continue
			}
			if _, ok := isRefusal(err); !ok || token.Subject != "" {
				t.Fatalf("%q: %v", text, err)
			}
		}
		w.requireAccepted(alice.AccessToken)
	}
}

// isRefusal says whether err is a refusal of this library, and which.
func isRefusal(err error) (*jwtauth.Error, bool) {
	e, ok := err.(*jwtauth.Error)
	return e, ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusBadRequest) && e.Check != ""
}

func attackGarbageElsewhere(t *testing.T) {
	t.Run("refresh", func(t *testing.T) {
		w := newWorldWith(t, jwtauth.HS256)
		alice, bob := w.login("alice"), w.login("bob")
		minted := []string{alice.RefreshToken, bob.RefreshToken}
		g := newGarbage(append(minted, alice.AccessToken)...)
		for range 30_000 {
			text := g.text()
			if slices.Contains(minted, text) {
				continue
			}
			got, err := w.issuer.Refresh(t.Context(), text)
			if _, ok := isRefusal(err); !ok || got != (jwtauth.TokenResponse{}) {
				t.Fatalf("%q: %v", text, err)
			}
			if text == alice.AccessToken {
				continue
			}
			if err := w.issuer.Logout(t.Context(), text); err == nil {
				t.Fatalf("%q ended a session", text)
			}
		}
		w.refresh(alice.RefreshToken)
		w.refresh(bob.RefreshToken)
	})
	t.Run("keys", func(t *testing.T) {
		var good []string
		for _, alg := range []jwtauth.Algorithm{jwtauth.HS256, jwtauth.RS256, jwtauth.ES256, jwtauth.ES384, jwtauth.EdDSA} {
			k := keyFor(t, alg)
			for _, encode := range []func() ([]byte, error){k.PrivateJWK, k.PrivatePEM, k.VerificationKey().JWK, k.VerificationKey().PEM} {
				if b, err := encode(); err == nil {
					good = append(good, string(b))
				}
			}
		}
		require.Len(t, good, 17)
		g := newGarbage(good...)
		g.good = append(g.good, `{"kty":"oct","k":"AA"}`, `{"kty":"RSA","n":"AQAB","e":"AQAB"}`, "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n")
		for range 10_000 {
			text := g.text()
			if k, err := jwtauth.ParseVerificationKey("", []byte(text)); err == nil {
				// What is taken is a whole public key, and stays the same one.
				again, err := k.JWK()
				require.NoError(t, err, "%q", text)
				same, err := jwtauth.ParseVerificationKey("", again)
				require.NoError(t, err, "%q", text)
				require.Equal(t, k.ID(), same.ID())
				require.Equal(t, jwtauth.PublicOf(k), jwtauth.PublicOf(same))
			}
			if k, err := jwtauth.ParseSigningKey("", []byte(text)); err == nil {
				signature, err := jwtauth.SignRaw(k, `{}`, `{}`)
				require.NoError(t, err, "%q", text)
				require.NotEmpty(t, signature)
			}
		}
		for range 20_000 {
			text := []byte(g.noise())
			_, err := jwtauth.ParseVerificationKey("", text)
			require.Error(t, err)
			_, err = jwtauth.ParseSigningKey("", text)
			require.Error(t, err)
		}
	})
	t.Run("headers", func(t *testing.T) {
		w := newWorldWith(t, jwtauth.HS256)
		const prefix = "jwt.bearer."
		auth, err := jwtauth.NewMiddleware(w.verifier, jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{jwtauth.FromHeader(), jwtauth.FromWebSocketProtocol(prefix)}})
		require.NoError(t, err)
		token := w.login("alice").AccessToken
		ran := false
		handler := auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			ran = true
			for protocol := range strings.SplitSeq(strings.Join(r.Header["Sec-Websocket-Protocol"], ","), ",") {
				if strings.HasPrefix(strings.TrimSpace(protocol), prefix) {
					t.Error("the handler sees the token's subprotocol")
				}
			}
		}))
		g := newGarbage("Bearer "+token, "bearer "+token, "chat, "+prefix+token, prefix+token+", chat", token)
		for range 30_000 {
			text := g.text()
			r := &http.Request{Method: "GET", Header: http.Header{"Authorization": {text}}}
			if got, err := jwtauth.BearerToken(r); err == nil {
				require.True(t, len(text) > 7 && strings.EqualFold(text[:7], "Bearer ") && text[7:] == got, "%q: %q", text, got)
			} else {
				require.Empty(t, got)
			}
			if g.IntN(2) == 0 {
				r.Header["Authorization"][0] = g.text()
			}
			if g.IntN(2) == 0 {
				r.Header["Sec-Websocket-Protocol"] = []string{g.text(), g.text()}[:1+g.IntN(2)]
			}
			if g.IntN(2) == 0 {
				delete(r.Header, "Authorization")
			}
			sent := strings.Join(r.Header["Authorization"], ",") + strings.Join(r.Header["Sec-Websocket-Protocol"], ",")
			ran = false
			handler.ServeHTTP(discard{}, r)
			require.True(t, !ran || strings.Contains(sent, token), "%q", sent)
		}
		handler.ServeHTTP(discard{}, request("GET", "/", "Bearer "+token))
		require.True(t, ran)
	})
}

// discard is a ResponseWriter that keeps nothing.
type discard struct{}

func (discard) Header() http.Header         { return make(http.Header) }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

func attackStoreCalls(t *testing.T) {
	w, store := newHookedWorld(t)
	calls := 0
	store.before = func(context.Context, string) error {
		calls++
		return nil
	}
	r := w.login("alice")
	require.Equal(t, 1, calls)
	w.requireAccepted(r.AccessToken)
	require.Equal(t, 3, calls, "the calls are not counted")
	calls = 0
	stranger := newKey(t, jwtauth.ES256, false)
	for i := range 1000 {
		claims := w.claims(map[string]any{"jti": fmt.Sprint(i), "sid": r.SessionID, "gen": 1})
		refresh := w.claims(map[string]any{"jti": fmt.Sprint(i), "sid": r.SessionID, "gen": 1, "aud": testIssuer + "#refresh"})
		var forged string
		switch i % 5 {
		case 0: // another key under our kid
			forged = signWith(t, stranger, header(w.key, nil), claims)
		case 1: // and as a refresh token
			forged = signWith(t, stranger, header(w.key, map[string]any{"typ": "rt+jwt"}), refresh)
		case 2:
			forged = signWith(t, stranger, header(stranger, nil), claims)
		case 3:
			forged = signWith(t, stranger, map[string]any{"alg": "none", "typ": "rt+jwt"}, refresh)
		case 4:
			forged = fmt.Sprintf("%s.%d.%s", r.AccessToken[:20], i, r.AccessToken[30:])
		}
		_, ran := w.get(forged)
		require.False(t, ran)
		require.Equal(t, http.StatusBadRequest, w.redeem(forged).Code)
		require.ErrorIs(t, w.issuer.Logout(t.Context(), forged), jwtauth.ErrRefused)
		_, ran = w.do(request("GET", "/"))
		require.False(t, ran)
	}
	// Tokens that are ours, and refused for what they say, are not looked up, either.
	for _, claims := range []map[string]any{{"exp": 1}, {"aud": "https://other.test"}, {"sub": nil}, {"jti": nil}, {"cnf": map[string]any{}}} {
		_, ran := w.get(w.sign(w.claims(claims)))
		require.False(t, ran)
	}
	require.Zero(t, calls, "a stranger reaches the store")
}

func attackGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 1000 {
		w := newWorldWith(t, jwtauth.HS256, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
			o.Sessions = &hookedStore{MemoryStore: o.Sessions.(*jwtauth.MemoryStore)}
		})
		r := w.login("alice")
		_, ran := w.get(r.AccessToken)
		require.True(t, ran)
		r = w.refresh(r.RefreshToken)
		require.NoError(t, w.issuer.Logout(t.Context(), r.RefreshToken))
	}
	// Nothing has to be closed, since nothing was started.
	require.LessOrEqual(t, runtime.NumGoroutine(), before)
}

func attackRaces(t *testing.T) {
	w := newWorldWith(t, jwtauth.HS256)
	ctx := t.Context()
	first, second := w.key, newKey(t, jwtauth.HS256, false)
	r := w.login("alice", "read")
	token := w.requireAccepted(r.AccessToken)
	public := keyFor(t, jwtauth.ES256)
	either, err := jwtauth.AnyOf(w.verifier)
	require.NoError(t, err)
	elsewhere := newWorld(t)
	metadata, err := elsewhere.issuer.MetadataHandler(jwtauth.IssuerMetadata{JWKSURI: testIssuer + "/keys"})
	require.NoError(t, err)
	handler := w.auth.With(jwtauth.Scopes("read")).Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { jwtauth.FromContext(r.Context()) }))
	send := func(h http.Handler) {
		h.ServeHTTP(httptest.NewRecorder(), request("GET", "/", "Bearer "+r.AccessToken))
	}
	row := jwtauth.SessionRecord{Key: jwtauth.SessionKey{Issuer: testIssuer, Subject: "carol", ID: "1"}, Generation: 1, ExpiresAt: w.clock.Now().Add(time.Hour)}
	rotation := jwtauth.Rotation{From: 1, At: w.clock.Now(), ExpiresAt: row.ExpiresAt}
	end := w.clock.Now().Add(time.Minute)
	event := jwtauth.Event{Kind: jwtauth.TokenReused, Err: jwtauth.ErrTokenReused}
	var failure *jwtauth.Error
	_, err = w.verifier.Verify(ctx, "x")
	require.ErrorAs(t, err, &failure)

	// A key set that is fetched, with forged kids among the tokens and keys that are due.
	foreign := newRemote(t)
	require.NoError(t, foreign.set.Ready(ctx))

	life := newRingWorld(t, jwtauth.MemoryKeys())
	replica := newReplica(t, new(engine))

	// Rotation refuses no token that an old key has signed: this many must be good.
	good := func(_ any, err error) {
		if err != nil {
			t.Error(err)
		}
	}
	methods := map[string]func(){
		"KeyRing.Set": func() {
			good(nil, w.keys.Set(second, first.VerificationKey()))
			good(nil, w.keys.Set(first, second.VerificationKey()))
		},
		"KeyRing.ServeHTTP": func() { send(w.keys); send(life.keys) },
		"Replica.Format":    func() { _ = fmt.Sprint(replica) },
		"Replica.Ready":     func() { good(nil, replica.Ready(ctx)) },
		"Replica.Status":    func() { replica.Status() },
		"Replica.Revoke":    func() { good(nil, replica.Revoke(ctx, "x", time.Now().Add(time.Hour))) },
		"Replica.IsRevoked": func() { good(replica.IsRevoked(ctx, "x", "y")) },
		"Replica.Close": func() {
			r := newReplica(t, new(engine))
			r.Close()
			r.Close()
		},
		"KeyRing.Rotate": func() {
			life.clock.Advance(24 * time.Hour)
			_, _ = life.keys.Rotate(ctx) // or there are too many keys already
		},
		"KeyRing.RevokeKey": func() { _ = life.keys.RevokeKey(ctx, life.keys.Status().SigningKey) }, // or another call was first
		"KeyRing.Plan":      func() { life.keys.Plan() },
		"KeyPlan.LogValue":  func() { life.keys.Plan()[0].LogValue() },
		"KeyRing.Status":    func() { life.keys.Status() },
		"Issuer.MetadataHandler": func() {
			h, err := elsewhere.issuer.MetadataHandler(jwtauth.IssuerMetadata{JWKSURI: testIssuer + "/keys"})
			good(h, err)
			send(h)
			send(metadata)
		},
		"Verifier.Verify": func() {
			good(w.verifier.Verify(ctx, r.AccessToken))
			good(either.Verify(ctx, r.AccessToken))
			foreign.clock.Advance(time.Second)
			good(foreign.verifier.Verify(ctx, foreign.token()))
			_, err := foreign.verifier.Verify(ctx, foreign.unknown(fmt.Sprint(rand.Int())))
			if err == nil {
				t.Error("a key that nobody knows")
			}
		},
		"Verifier.CacheStats": func() { w.verifier.CacheStats(); either.CacheStats() },
		"Verifier.Recheck":    func() { good(nil, w.verifier.Recheck(ctx, token)) },
		"Verifier.Revoke": func() {
			doomed, err := w.issuer.IssueAccess(ctx, jwtauth.Grant{Subject: "dora"})
			good(nil, err)
			revokeText(t, w, doomed.AccessToken)
		},
		"Issuer.NewVerifier": func() { good(w.issuer.NewVerifier(jwtauth.VerifierOptions{})) },
		"Issuer.IssueAccess": func() { good(w.issuer.IssueAccess(ctx, jwtauth.Grant{Subject: "bob"})) },
		"Issuer.Issue":       func() { good(w.issuer.Issue(ctx, jwtauth.Grant{Subject: "bob"})) },
		"Issuer.Refresh":     func() { good(w.issuer.Refresh(ctx, r.RefreshToken)) },
		"Issuer.Logout": func() {
			doomed, err := w.issuer.Issue(ctx, jwtauth.Grant{Subject: "eve"})
			good(nil, err)
			good(nil, w.issuer.Logout(ctx, doomed.RefreshToken))
		},
		"Issuer.Sessions":         func() { good(w.issuer.Sessions(ctx, "alice")) },
		"Issuer.EndSession":       func() { good(nil, w.issuer.EndSession(ctx, "bob", r.SessionID)) },
		"Issuer.EndOtherSessions": func() { good(nil, w.issuer.EndOtherSessions(ctx, "alice", r.SessionID)) },
		"Issuer.EndAllSessions":   func() { good(nil, w.issuer.EndAllSessions(ctx, "bob")) },
		"Middleware.With":         func() { send(w.auth.With(jwtauth.LoginWithin(time.Hour)).Require(handler)) },
		"Middleware.Require":      func() { send(handler) },
		"Middleware.Optional":     func() { send(w.auth.Optional(handler)) },
		"Middleware.Authenticate": func() { good(w.auth.Authenticate(request("GET", "/", "Bearer "+r.AccessToken))) },
		"MemoryStore.Create":      func() { _ = w.store.Create(ctx, row) },
		"MemoryStore.Advance":     func() { _, _, _ = w.store.Advance(ctx, row.Key, rotation) },
		"MemoryStore.Delete":      func() { good(nil, w.store.Delete(ctx, row.Key)) },
		"MemoryStore.List":        func() { good(w.store.List(ctx, testIssuer, "carol")) },
		"MemoryStore.Revoke":      func() { good(nil, w.store.Revoke(ctx, "x", end)) },
		"MemoryStore.IsRevoked":   func() { good(w.store.IsRevoked(ctx, "x", "y")) },
		"MemoryStore.Format":      func() { _ = fmt.Sprint(w.store) },
		"RemoteKeySet.Ready":      func() { good(nil, foreign.set.Ready(ctx)) },
		"RemoteKeySet.Status":     func() { foreign.set.Status() },
		"RemoteKeySet.Snapshot":   func() { foreign.newSet(func(o *jwtauth.RemoteKeySetOptions) { o.Seed = foreign.set.Snapshot() }) },
		"RemoteKeySet.Close": func() {
			set := foreign.newSet(func(o *jwtauth.RemoteKeySetOptions) { o.Background = true })
			set.Ready(ctx)
			set.Close()
		},
		"Token.Audiences":            func() { token.Audiences()[0] = "" },
		"Token.Scopes":               func() { token.Scopes()[0] = "" },
		"Token.AMR":                  func() { token.AMR() },
		"Token.HasScope":             func() { token.HasScope("read") },
		"Token.String":               func() { _ = token.String() },
		"Token.Format":               func() { _ = fmt.Sprint(token) },
		"Token.LogValue":             func() { token.LogValue() },
		"Token.MarshalText":          func() { good(token.MarshalText()) },
		"VerificationKey.ID":         func() { _ = first.VerificationKey().ID() },
		"VerificationKey.Algorithm":  func() { _ = first.VerificationKey().Algorithm() },
		"VerificationKey.WithID":     func() { first.VerificationKey().WithID("a").ID() },
		"VerificationKey.JWK":        func() { good(public.VerificationKey().JWK()) },
		"VerificationKey.PEM":        func() { good(public.VerificationKey().PEM()) },
		"SigningKey.ID":              func() { _ = first.ID() },
		"SigningKey.Algorithm":       func() { _ = first.Algorithm() },
		"SigningKey.WithID":          func() { first.WithID("a").ID() },
		"SigningKey.VerificationKey": func() { _ = first.VerificationKey() },
		"SigningKey.PrivateJWK":      func() { good(first.PrivateJWK()) },
		"SigningKey.PrivatePEM":      func() { good(public.PrivatePEM()) },
		"Error.Error":                func() { _ = failure.Error() },
		"Error.Unwrap":               func() { failure.Unwrap() },
		"Event.Level":                func() { event.Level() },
		"Event.LogValue":             func() { event.LogValue() },
	}
	for _, printable := range []struct {
		name  string
		value any
	}{{"VerificationKey", first.VerificationKey()}, {"SigningKey", first}, {"Grant", jwtauth.Grant{Subject: "a"}}, {"TokenResponse", r}} {
		show := func() {
			_ = printed(printable.value)
		}
		for _, method := range []string{"String", "Format", "LogValue", "MarshalText"} {
			methods[printable.name+"."+method] = show
		}
	}
	delete(methods, "TokenResponse.MarshalText") // its JSON is the answer
	for _, name := range declaredIn(t).methods {
		require.Contains(t, methods, name, "a method is not called here")
	}
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
	w.requireAccepted(r.AccessToken)
}

// revokeText revokes the token of a text and wants it refused from then on.
func revokeText(t *testing.T, w *world, text string) {
	token, err := w.verifier.Verify(t.Context(), text)
	if err == nil {
		err = w.verifier.Revoke(t.Context(), token)
	}
	if err != nil {
		t.Error(err)
	}
	if _, err = w.verifier.Verify(t.Context(), text); err == nil {
		t.Error("a revoked token was accepted")
	}
}

func attackDeadline(t *testing.T) {
	w := newWorld(t)
	r := w.login("alice")
	token := w.requireAccepted(r.AccessToken)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	either, err := jwtauth.AnyOf(w.verifier)
	require.NoError(t, err)
	calls := map[string]func(ctx context.Context) error{
		"Verify":          func(ctx context.Context) error { _, err := w.verifier.Verify(ctx, r.AccessToken); return err },
		"Verify of AnyOf": func(ctx context.Context) error { _, err := either.Verify(ctx, r.AccessToken); return err },
		"Recheck":         func(ctx context.Context) error { return w.verifier.Recheck(ctx, token) },
		"Revoke":          func(ctx context.Context) error { return w.verifier.Revoke(ctx, token) },
		"Issue": func(ctx context.Context) error {
			_, err := w.issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
			return err
		},
		"IssueAccess": func(ctx context.Context) error {
			_, err := w.issuer.IssueAccess(ctx, jwtauth.Grant{Subject: "alice"})
			return err
		},
		"Refresh":          func(ctx context.Context) error { _, err := w.issuer.Refresh(ctx, r.RefreshToken); return err },
		"Sessions":         func(ctx context.Context) error { _, err := w.issuer.Sessions(ctx, "alice"); return err },
		"Logout":           func(ctx context.Context) error { return w.issuer.Logout(ctx, r.RefreshToken) },
		"EndAllSessions":   func(ctx context.Context) error { return w.issuer.EndAllSessions(ctx, "alice") },
		"EndOtherSessions": func(ctx context.Context) error { return w.issuer.EndOtherSessions(ctx, "alice", "") },
	}
	for name, call := range calls {
		err := call(ended)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable, name)
		require.ErrorIs(t, err, context.Canceled, name)
		require.NotErrorIs(t, err, jwtauth.ErrRefused, name)
	}
	answer, ran := w.do(request("GET", "/", "Bearer "+r.AccessToken).WithContext(ended))
	require.False(t, ran)
	require.Equal(t, http.StatusServiceUnavailable, answer.Code)
	w.requireAccepted(r.AccessToken)

	synctest.Test(t, func(t *testing.T) {
		w, store := newHookedWorld(t)
		r := w.login("alice")
		store.before = hanging
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := w.verifier.Verify(ctx, r.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Millisecond, time.Since(began))
		ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = w.issuer.Refresh(ctx, r.RefreshToken)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.Equal(t, 2*time.Millisecond, time.Since(began))
	})
}

func attackGrowth(t *testing.T) {
	w := newWorldWith(t, jwtauth.HS256, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.OnEvent = nil })
	r := w.login("alice")
	var ran atomic.Int64
	handler := w.auth.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran.Add(1) }))
	stranger := newKey(t, jwtauth.HS256, false)
	g := newGarbage(r.AccessToken, r.RefreshToken)
	requests := func(n int) {
		for i := range n {
			r := &http.Request{Method: "GET", Header: make(http.Header)}
			text := ""
			switch i % 4 {
			case 0:
			case 1:
				text = g.noise()
			case 2: // a kid and a subject that were never seen
				kid := fmt.Sprint("kid ", i)
				text = signWith(t, stranger, `{"alg":"HS256","typ":"at+jwt","kid":"`+kid+`"}`, `{"iss":"`+testIssuer+`","sub":"`+kid+`"}`)
			case 3:
				text = signWith(t, stranger, `{"alg":"HS256","typ":"rt+jwt","kid":"`+w.key.ID()+`"}`, `{"iss":"`+testIssuer+`","sid":"`+fmt.Sprint(i)+`"}`)
			}
			if text != "" {
				r.Header["Authorization"] = []string{"Bearer " + text}
			}
			handler.ServeHTTP(discard{}, r)
			_, _ = w.issuer.Refresh(t.Context(), text)
			_ = w.issuer.Logout(t.Context(), text)
		}
	}
	requests(2000)
	before := heap()
	requests(100_000)
	require.Less(t, heap()-before, int64(2<<20))
	require.Zero(t, ran.Load())
	runtime.KeepAlive(w)
}
