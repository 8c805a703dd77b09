package attacks_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/hookstore"
	"github.com/jwtauth-go/jwtauth/jwk"
)

var denialAttacks = []attack{
	{"D01", "fuzz Verify", attackGarbageTokens},
	{"D02", "fuzz the other parsers", attackGarbageElsewhere},
	{"D03", "unsigned tokens cost no store call", attackStoreCalls},
	{"D05", "goroutine and connection leaks", attackGoroutines},
	{"D06", "race detector", attackRaces},
	{"D09", "deadline", attackDeadline},
	{"D10", "memory store growth by strangers", attackGrowth},
	{"D11", "hundreds of ranges of a JWK Set", attackRanges},
	{"D12", "iss that is dear to compare with known ones", attackComparedIssuer},
	{"D13", "header of a thousand names", attackManyNames},
}

// garbage makes texts that a stranger might send: noise, and mutations of good texts. Its
// seed is fixed, so it makes the same texts from the same good texts.
type garbage struct {
	*rand.Rand
	good []string
}

func newGarbage(good ...string) *garbage { return &garbage{rand.New(rand.NewPCG(1, 2)), good} }

const tokenAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// specials are texts that mean something to some parser of tokens, headers or keys.
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

// shaped returns noise in the form of a token.
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

// attackGarbageTokens verifies 100,000 texts. Only tokens that the issuer made may be
// accepted. An ES256 token has a twin with the signature (r, n-s), which would be
// accepted too; the mutations do not find the twin. S09 shows that it is of no use to an
// attacker.
func attackGarbageTokens(t *testing.T) {
	for alg, texts := range map[jwk.Algorithm]int{jwk.HS256: 60_000, jwk.ES256: 20_000, jwk.EdDSA: 10_000, jwk.RS256: 10_000} {
		w := fixture.NewWith(t, alg)
		alice, bob := w.Login("alice"), w.Login("bob")
		minted := []string{alice.AccessToken, bob.AccessToken}
		g := newGarbage(append(minted, alice.RefreshToken)...)
		for range texts {
			text := g.text()
			token, err := w.Verifier.Verify(t.Context(), text)
			if err == nil {
				require.Contains(t, minted, text)
				continue
			}
			if _, ok := isRefusal(err); !ok || token.Subject != "" {
				t.Fatalf("%q: %v", text, err)
			}
		}
		w.RequireAccepted(alice.AccessToken)
	}
}

// isRefusal reports whether err is a refusal of the library, and returns it.
func isRefusal(err error) (*jwtauth.Error, bool) {
	e, ok := err.(*jwtauth.Error)
	return e, ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusBadRequest) && e.Check != ""
}

func attackGarbageElsewhere(t *testing.T) {
	t.Run("refresh", func(t *testing.T) {
		w := fixture.NewWith(t, jwk.HS256)
		alice, bob := w.Login("alice"), w.Login("bob")
		minted := []string{alice.RefreshToken, bob.RefreshToken}
		g := newGarbage(append(minted, alice.AccessToken)...)
		for range 30_000 {
			text := g.text()
			if slices.Contains(minted, text) {
				continue
			}
			got, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: text})
			if _, ok := isRefusal(err); !ok || got != (jwtauth.TokenResponse{}) {
				t.Fatalf("%q: %v", text, err)
			}
			if text == alice.AccessToken {
				continue
			}
			if err := w.Issuer.Logout(t.Context(), text); err == nil {
				t.Fatalf("%q ended a session", text)
			}
		}
		w.Refresh(alice.RefreshToken)
		w.Refresh(bob.RefreshToken)
	})
	t.Run("keys", func(t *testing.T) {
		var good []string
		for _, alg := range []jwk.Algorithm{jwk.HS256, jwk.RS256, jwk.ES256, jwk.ES384, jwk.EdDSA} {
			k := fixture.KeyFor(t, alg)
			for _, encode := range []func() ([]byte, error){k.PrivateJWK, k.PrivatePEM, k.Verification().JWK, k.Verification().PEM} {
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
			if k, err := jwk.ParseVerification("", []byte(text)); err == nil {
				// A text that is accepted is a whole public key, and stays the same key.
				again, err := k.JWK()
				require.NoError(t, err, "%q", text)
				same, err := jwk.ParseVerification("", again)
				require.NoError(t, err, "%q", text)
				require.Equal(t, k.ID(), same.ID())
				require.Equal(t, fixture.PublicOf(k), fixture.PublicOf(same))
			}
			if k, err := jwk.ParseSigning("", []byte(text)); err == nil {
				signature, err := fixture.SignRaw(k, `{}`, `{}`)
				require.NoError(t, err, "%q", text)
				require.NotEmpty(t, signature)
			}
		}
		for range 20_000 {
			text := []byte(g.noise())
			_, err := jwk.ParseVerification("", text)
			require.Error(t, err)
			_, err = jwk.ParseSigning("", text)
			require.Error(t, err)
		}
	})
	t.Run("headers", func(t *testing.T) {
		w := fixture.NewWith(t, jwk.HS256)
		const prefix = "jwt.bearer."
		auth, err := jwtauth.NewMiddleware(w.Verifier, jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromWebSocketProtocol(prefix)}})
		require.NoError(t, err)
		token := w.Login("alice").AccessToken
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
		handler.ServeHTTP(discard{}, fixture.Request("GET", "/", "Bearer "+token))
		require.True(t, ran)
	})
}

// discard is a ResponseWriter that keeps nothing.
type discard struct{}

func (discard) Header() http.Header         { return make(http.Header) }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

func attackStoreCalls(t *testing.T) {
	w, store := fixture.NewHooked(t)
	calls := 0
	store.Before = func(context.Context, string) error {
		calls++
		return nil
	}
	r := w.Login("alice")
	require.Equal(t, 1, calls)
	w.RequireAccepted(r.AccessToken)
	require.Equal(t, 3, calls, "the calls are not counted")
	calls = 0
	stranger := fixture.NewKey(t, jwk.ES256)
	for i := range 1000 {
		claims := w.Claims(map[string]any{"jti": fmt.Sprint(i), "sid": r.SessionID, "gen": 1})
		refresh := w.Claims(map[string]any{"jti": fmt.Sprint(i), "sid": r.SessionID, "gen": 1, "aud": fixture.Issuer + "#refresh"})
		var forged string
		switch i % 5 {
		case 0: // another key under our kid
			forged = fixture.SignWith(t, stranger, fixture.Header(w.Key, nil), claims)
		case 1: // and as a refresh token
			forged = fixture.SignWith(t, stranger, fixture.Header(w.Key, map[string]any{"typ": "rt+jwt"}), refresh)
		case 2:
			forged = fixture.SignWith(t, stranger, fixture.Header(stranger, nil), claims)
		case 3:
			forged = fixture.SignWith(t, stranger, map[string]any{"alg": "none", "typ": "rt+jwt"}, refresh)
		case 4:
			forged = fmt.Sprintf("%s.%d.%s", r.AccessToken[:20], i, r.AccessToken[30:])
		}
		_, ran := w.Get(forged)
		require.False(t, ran)
		require.Equal(t, http.StatusBadRequest, w.Redeem(forged).Code)
		require.ErrorIs(t, w.Issuer.Logout(t.Context(), forged), jwtauth.ErrRefused)
		_, ran = w.Do(fixture.Request("GET", "/"))
		require.False(t, ran)
	}
	// Tokens of the issuer that are refused for their claims cost no call either.
	for _, claims := range []map[string]any{{"exp": 1}, {"aud": "https://other.test"}, {"sub": nil}, {"jti": nil}, {"cnf": map[string]any{}}} {
		_, ran := w.Get(w.Sign(w.Claims(claims)))
		require.False(t, ran)
	}
	require.Zero(t, calls, "a stranger reaches the store")
}

func attackGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 1000 {
		w := fixture.NewWith(t, jwk.HS256, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
			o.Sessions = &hookstore.Store{Sessions: o.Sessions}
		})
		r := w.Login("alice")
		_, ran := w.Get(r.AccessToken)
		require.True(t, ran)
		r = w.Refresh(r.RefreshToken)
		require.NoError(t, w.Issuer.Logout(t.Context(), r.RefreshToken))
	}
	// Nothing needs a Close, since no goroutine was started.
	require.LessOrEqual(t, runtime.NumGoroutine(), before)
}

func attackDeadline(t *testing.T) {
	w := fixture.New(t)
	r := w.Login("alice")
	token := w.RequireAccepted(r.AccessToken)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	either, err := jwtauth.AnyOf(w.Verifier)
	require.NoError(t, err)
	calls := map[string]func(ctx context.Context) error{
		"Verify":          func(ctx context.Context) error { _, err := w.Verifier.Verify(ctx, r.AccessToken); return err },
		"Verify of AnyOf": func(ctx context.Context) error { _, err := either.Verify(ctx, r.AccessToken); return err },
		"Recheck":         func(ctx context.Context) error { return w.Verifier.Recheck(ctx, token) },
		"Revoke":          func(ctx context.Context) error { return w.Verifier.Revoke(ctx, token) },
		"Issue": func(ctx context.Context) error {
			_, err := w.Issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
			return err
		},
		"IssueAccess": func(ctx context.Context) error {
			_, err := w.Issuer.IssueAccess(ctx, jwtauth.Grant{Subject: "alice"})
			return err
		},
		"Refresh": func(ctx context.Context) error {
			_, err := w.Issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: r.RefreshToken})
			return err
		},
		"Sessions":         func(ctx context.Context) error { _, _, err := w.Issuer.Sessions(ctx, "alice", ""); return err },
		"Logout":           func(ctx context.Context) error { return w.Issuer.Logout(ctx, r.RefreshToken) },
		"EndAllSessions":   func(ctx context.Context) error { return w.Issuer.EndAllSessions(ctx, "alice") },
		"EndOtherSessions": func(ctx context.Context) error { return w.Issuer.EndOtherSessions(ctx, "alice", r.SessionID) },
		"ForceRefreshAll":  func(ctx context.Context) error { _, err := w.Issuer.ForceRefreshAll(ctx, "alice", ""); return err },
		"Session":          func(ctx context.Context) error { _, err := w.Issuer.Session(ctx, r.RefreshToken); return err },
		"Ready":            func(ctx context.Context) error { return w.Issuer.Ready(ctx) },
		"Exchange": func(ctx context.Context) error {
			_, err := w.Issuer.Exchange(ctx, token, jwtauth.ExchangeRequest{Audiences: []string{fixture.Audience}, Actor: "a"})
			return err
		},
	}
	for name, call := range calls {
		err := call(ended)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable, name)
		require.ErrorIs(t, err, context.Canceled, name)
		require.NotErrorIs(t, err, jwtauth.ErrRefused, name)
	}
	answer, ran := w.Do(fixture.Request("GET", "/", "Bearer "+r.AccessToken).WithContext(ended))
	require.False(t, ran)
	require.Equal(t, http.StatusServiceUnavailable, answer.Code)
	w.RequireAccepted(r.AccessToken)

	synctest.Test(t, func(t *testing.T) {
		w, store := fixture.NewHooked(t)
		r := w.Login("alice")
		store.Before = hanging
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := w.Verifier.Verify(ctx, r.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Millisecond, time.Since(began))
		ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = w.Issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: r.RefreshToken})
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.Equal(t, 2*time.Millisecond, time.Since(began))
	})
}

func attackGrowth(t *testing.T) {
	w := fixture.NewWith(t, jwk.HS256, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.OnEvent = nil })
	r := w.Login("alice")
	var ran atomic.Int64
	handler := w.Auth.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran.Add(1) }))
	stranger := fixture.NewKey(t, jwk.HS256)
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
				text = fixture.SignWith(t, stranger, `{"alg":"HS256","typ":"at+jwt","kid":"`+kid+`"}`, `{"iss":"`+fixture.Issuer+`","sub":"`+kid+`"}`)
			case 3:
				text = fixture.SignWith(t, stranger, `{"alg":"HS256","typ":"rt+jwt","kid":"`+w.Key.ID()+`"}`, `{"iss":"`+fixture.Issuer+`","sid":"`+fmt.Sprint(i)+`"}`)
			}
			if text != "" {
				r.Header["Authorization"] = []string{"Bearer " + text}
			}
			handler.ServeHTTP(discard{}, r)
			_, _ = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: text})
			_ = w.Issuer.Logout(t.Context(), text)
		}
	}
	requests(2000)
	before := fixture.Heap()
	requests(100_000)
	require.Less(t, fixture.Heap()-before, int64(2<<20))
	require.Zero(t, ran.Load())
	runtime.KeepAlive(w)
}

// attackRanges asks for every second byte of a JWK Set. Each part of the answer would have
// a header of its own.
func attackRanges(t *testing.T) {
	w := fixture.New(t)
	get := func(header http.Header) *httptest.ResponseRecorder {
		answer := httptest.NewRecorder()
		w.Keys.ServeHTTP(answer, &http.Request{Method: "GET", Header: header})
		return answer
	}
	whole := get(http.Header{})
	ranges := "bytes=0-0"
	for n := 2; n < whole.Body.Len(); n += 2 {
		ranges += fmt.Sprintf(",%d-%d", n, n)
	}
	answer := get(http.Header{"Range": {ranges}})
	require.Equal(t, http.StatusOK, answer.Code)
	require.Equal(t, whole.Body.String(), answer.Body.String())
}

// attackComparedIssuer sends names that look like those of known issuers. test/allocs has
// all refusals and closer limits; this one also holds with the race detector.
func attackComparedIssuer(t *testing.T) {
	w := fixture.New(t)
	members := []*jwtauth.Verifier{w.Verifier}
	for n := range 15 {
		members = append(members, w.Foreign(func(o *jwtauth.VerifierOptions) { o.Issuer = fmt.Sprintf("%s/%d", fixture.Issuer, n) }))
	}
	all, err := jwtauth.AnyOf(members...)
	require.NoError(t, err)
	for _, issuer := range []string{fixture.Issuer + ":443/" + strings.Repeat("ä", 490), "https://" + strings.Repeat("%40", 300) + "@issuer.test"} {
		token := w.Sign(w.Claims(map[string]any{"iss": issuer}))
		requireAllocs(t, 100, func() {
			if _, err := all.Verify(t.Context(), token); !errors.Is(err, jwtauth.ErrTokenIssuer) {
				t.Fatal(err)
			}
		})
	}
}

// attackManyNames sends names that must be unescaped and folded before they are compared.
func attackManyNames(t *testing.T) {
	w := fixture.New(t)
	var names strings.Builder
	for n := 0; names.Len() < 5800; n++ {
		fmt.Fprintf(&names, `"\/%X":1,`, n)
	}
	header := fixture.Text(t, fixture.Header(w.Key, nil))
	token := fixture.SignWith(t, fixture.NewKey(t, jwk.ES256), "{"+names.String()+header[1:], w.Claims(nil))
	requireAllocs(t, float64(len(token)/9+100), func() {
		if _, err := w.Verifier.Verify(t.Context(), token); !errors.Is(err, jwtauth.ErrTokenSignature) {
			t.Fatal(err)
		}
	})
}

// requireAllocs fails if f makes more allocations than that.
func requireAllocs(t *testing.T, most float64, f func()) {
	t.Helper()
	require.LessOrEqual(t, testing.AllocsPerRun(20, f), most)
}
