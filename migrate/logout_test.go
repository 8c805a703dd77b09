package migrate_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/migrate"
)

// handlersWithOldCookie are handlers whose tokens are in bodies, beside the cookie of the old code.
func handlersWithOldCookie(t *testing.T, w *world) *endpoints.Handlers {
	o := endpoints.Options{Verifier: w.old, Login: func(*http.Request, string, string) (jwtauth.Grant, error) {
		return jwtauth.Grant{Subject: "bob"}, nil
	}}
	o.Middleware.Extractors = []jwtauth.Extractor{jwtauth.FirstOf(jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromCookie("jwt"))}
	h, err := endpoints.New(w.Issuer, o)
	require.NoError(t, err)
	return h
}

func TestAPageOfAnotherSiteCannotLogOutWithTheOldCookie(t *testing.T) {
	w := newOldWorld(t)
	h := handlersWithOldCookie(t, w)
	text := w.sign(w.alice(nil))
	r := httptest.NewRequest("POST", "https://api.example.com/auth/logout", strings.NewReader(""))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Origin", "https://evil.example")
	r.Header.Set("Cookie", "jwt="+text)
	a := httptest.NewRecorder()
	h.ServeHTTP(a, r)
	require.Equal(t, 403, a.Code)
	requireAccepted(t, w.old, text)
}

func TestALogoutWithARefreshTokenIsNotRefusedBecauseOfAnOldCookie(t *testing.T) {
	w := newOldWorld(t)
	h := handlersWithOldCookie(t, w)
	text := w.sign(w.alice(nil))
	old := requireAccepted(t, w.old, text)
	tokens, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
	require.NoError(t, err)
	r := httptest.NewRequest("POST", "https://api.example.com/auth/logout", strings.NewReader(`{"refresh_token":"`+tokens.RefreshToken+`"}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Cookie", "jwt="+text)
	a := httptest.NewRecorder()
	h.ServeHTTP(a, r)
	require.Equal(t, 204, a.Code)
	_, err = w.Issuer.Refresh(t.Context(), fixture.Redeeming(tokens.RefreshToken))
	require.Error(t, err)
}

func TestALogoutWithRefusedTokensAloneIsRefused(t *testing.T) {
	w := newOldWorld(t)
	h := handlersWithOldCookie(t, w)
	r := httptest.NewRequest("POST", "https://api.example.com/auth/logout", nil)
	r.Header.Set("Authorization", "Bearer a.b.c")
	r.Header.Set("Cookie", "jwt=d.e.f")
	a := httptest.NewRecorder()
	h.ServeHTTP(a, r)
	require.Equal(t, 401, a.Code)
}

func TestAPlaceThatCannotBeReadHidesNoFailureOfTheStore(t *testing.T) {
	w, store := newHookedWorld(t)
	o := endpoints.Options{Verifier: w.old, RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}}
	o.Middleware.Extractors = []jwtauth.Extractor{jwtauth.FromCookie("jwt")}
	h, err := endpoints.New(w.Issuer, o)
	require.NoError(t, err)
	start := httptest.NewRecorder()
	_, err = h.Start(start, httptest.NewRequest("POST", "https://api.example.com/", nil), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	r := httptest.NewRequest("POST", "https://api.example.com/auth/logout", nil)
	r.Header.Set("X-CSRF", "1")
	for _, c := range start.Result().Cookies() {
		r.AddCookie(c)
	}
	r.Header.Set("Cookie", r.Header.Get("Cookie")+"; jwt=a; jwt=b")
	store.Before = fixture.FailingAt("Advance")
	a := httptest.NewRecorder()
	h.ServeHTTP(a, r)
	require.Equal(t, 503, a.Code)
}

func TestARefreshRevokesNoOtherTokenOfItsRequest(t *testing.T) {
	w := newOldWorld(t)
	o := endpoints.Options{Verifier: w.old, RefreshCookie: &endpoints.Cookie{}}
	o.Middleware.Extractors = []jwtauth.Extractor{jwtauth.FirstOf(jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromCookie("jwt"))}
	h, err := endpoints.New(w.Issuer, o)
	require.NoError(t, err)
	start := httptest.NewRecorder()
	_, err = h.Start(start, httptest.NewRequest("POST", "https://api.example.com/", nil), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	key, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	r := httptest.NewRequest("POST", "https://api.example.com/auth/refresh", nil)
	r.Header.Set("X-CSRF", "1")
	r.Header.Set("Authorization", "Bearer "+key.AccessToken)
	for _, c := range start.Result().Cookies() {
		r.AddCookie(c)
	}
	a := httptest.NewRecorder()
	h.ServeHTTP(a, r)
	require.Equal(t, 200, a.Code)
	requireAccepted(t, w.Verifier, key.AccessToken)
}

func TestARefreshRevokesNoOldTokenThatIsNewer(t *testing.T) {
	w := newOldWorld(t)
	o := endpoints.Options{Verifier: w.old, RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{}}
	o.Middleware.Extractors = []jwtauth.Extractor{jwtauth.FromCookie("jwt")}
	h, err := endpoints.New(w.Issuer, o)
	require.NoError(t, err)
	start := httptest.NewRecorder()
	_, err = h.Start(start, httptest.NewRequest("POST", "https://api.example.com/", nil), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	bob := w.sign(w.alice(jwt.MapClaims{"sub": "bob"}))
	r := httptest.NewRequest("GET", "https://api.example.com/orders", nil)
	for _, c := range start.Result().Cookies() {
		r.AddCookie(c)
	}
	r.AddCookie(&http.Cookie{Name: "jwt", Value: bob})
	r2 := httptest.NewRequest("POST", "https://api.example.com/auth/refresh", nil)
	r2.Header.Set("X-CSRF", "1")
	r2.Header.Set("Cookie", r.Header.Get("Cookie"))
	a := httptest.NewRecorder()
	h.ServeHTTP(a, r2)
	require.Equal(t, 200, a.Code)
	requireAccepted(t, w.old, bob)
}

func TestAResolverTakesNoVerifierOfOldTokens(t *testing.T) {
	w := newOldWorld(t)
	old := w.verifier(w.keys, func(o *migrate.Options) { o.Issuer = "https://old.example.com" })
	v, err := jwtauth.ResolveIssuers(func(_ context.Context, iss string, _ *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		if iss == fixture.Issuer {
			return w.Verifier, nil
		}
		return old, nil
	}, jwtauth.ResolveOptions{Now: w.Clock.Now})
	require.NoError(t, err)
	text := w.sign(w.alice(jwt.MapClaims{"iss": "https://old.example.com"}))
	_, err = v.Verify(t.Context(), text)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
}

func TestAnOldCookieDoesNotCountIfTheBrowserHasALogin(t *testing.T) {
	w := newOldWorld(t)
	h, err := endpoints.New(w.Issuer, endpoints.Options{
		Verifier: w.old, RefreshCookie: &endpoints.Cookie{}, AccessCookie: &endpoints.Cookie{},
		Middleware: jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{jwtauth.FromCookie("jwt")}},
	})
	require.NoError(t, err)
	start := httptest.NewRecorder()
	_, err = h.Start(start, httptest.NewRequest("POST", "https://api.example.com/", nil), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	r := httptest.NewRequest("GET", "https://api.example.com/orders", nil)
	for _, c := range start.Result().Cookies() {
		if !strings.Contains(c.Name, "access") {
			r.AddCookie(c)
		}
	}
	r.AddCookie(&http.Cookie{Name: "jwt", Value: w.sign(w.alice(jwt.MapClaims{"sub": "bob"}))})
	subject := "none"
	h.Auth().Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		tok, _ := jwtauth.FromContext(r.Context())
		subject = tok.Subject
	})).ServeHTTP(httptest.NewRecorder(), r)
	require.Equal(t, "none", subject)
}

func TestTwoTradeInsAtTheLimitOfSessionsEndNoSession(t *testing.T) {
	w := newOldWorld(t)
	hooked, store := fixture.NewHooked(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.SessionLimit, o.EndOldest = 1, true })
	w.World = hooked
	w.old = w.verifier(w.keys, func(o *migrate.Options) { o.Revocations = store })
	w.Login("alice")
	text := w.sign(w.alice(nil))
	old := requireAccepted(t, w.old, text)
	overtaken := false
	var winner jwtauth.TokenResponse
	store.Before = func(_ context.Context, method string) error {
		if method == "List" && !overtaken {
			overtaken = true
			var err error
			winner, err = fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
			require.NoError(t, err)
		}
		return nil
	}
	_, err := fixture.TradeIn(t.Context(), w.Issuer, old, jwtauth.Grant{})
	_, winnerErr := w.Verifier.Verify(t.Context(), winner.AccessToken)
	_, oldErr := w.old.Verify(t.Context(), text)
	require.NoError(t, err)
	require.NoError(t, winnerErr)
	require.NoError(t, oldErr)
}

func TestAPlaceThatDoesNotKnowItsTokenFailsALoginAndALogout(t *testing.T) {
	w := newOldWorld(t)
	h, err := endpoints.New(w.Issuer, endpoints.Options{
		Verifier: w.old, RefreshCookie: &endpoints.Cookie{},
		Login: func(*http.Request, string, string) (jwtauth.Grant, error) { return jwtauth.Grant{Subject: "bob"}, nil },
		Middleware: jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{
			jwtauth.NewExtractor(func(*http.Request) (string, error) { return "", fixture.ErrStoreDown }),
		}},
	})
	require.NoError(t, err)
	for path, body := range map[string]string{"login": `{"username":"bob","password":"x"}`, "logout": "{}"} {
		r := httptest.NewRequest("POST", "https://api.example.com/auth/"+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-CSRF", "1")
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		require.Equal(t, 503, answer.Code, path)
		require.Empty(t, answer.Result().Cookies())
	}
}

func TestALogoutIs503IfOneOfItsPlacesDoesNotKnow(t *testing.T) {
	w := newOldWorld(t)
	unknown := jwtauth.NewExtractor(func(*http.Request) (string, error) { return "", fixture.ErrStoreDown })
	places := []jwtauth.Extractor{jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromCookie("jwt"), unknown}
	for _, places := range [][]jwtauth.Extractor{places, {jwtauth.FirstOf(places...)}} {
		for _, cookie := range []*endpoints.Cookie{nil, {}} {
			h, err := endpoints.New(w.Issuer, endpoints.Options{
				Verifier: w.old, RefreshCookie: cookie, Middleware: jwtauth.MiddlewareOptions{Extractors: places},
			})
			require.NoError(t, err)
			r := httptest.NewRequest("POST", "https://api.example.com/auth/logout", nil)
			r.Header.Set("X-CSRF", "1")
			r.Header.Set("Authorization", "Bearer refused")
			r.Header.Set("Cookie", "jwt=a; jwt=b")
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			require.Equal(t, 503, answer.Code)
		}
	}
}

// A funcStore cannot be compared.
type funcStore struct {
	jwtauth.RevocationStore
	observe func(string)
}

// A nested store looks as if it could be compared.
type nestedStore struct{ jwtauth.RevocationStore }

func TestStoresThatCannotBeComparedAreAnErrorAndNoPanic(t *testing.T) {
	for _, wrap := range []func(jwtauth.RevocationStore) jwtauth.RevocationStore{
		func(s jwtauth.RevocationStore) jwtauth.RevocationStore { return funcStore{s, func(string) {}} },
		func(s jwtauth.RevocationStore) jwtauth.RevocationStore {
			return nestedStore{funcStore{s, func(string) {}}}
		},
	} {
		w := newOldWorld(t)
		s := wrap(w.Store)
		issuer := w.Another(func(o *jwtauth.IssuerOptions) { o.Revocations = s })
		v, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
		require.NoError(t, err)
		_, err = jwtauth.AnyOf(v, w.verifier(w.keys, func(o *migrate.Options) { o.Revocations = s }))
		require.ErrorContains(t, err, "such as a pointer")
	}
}

func TestALogoutEndsWhatItCanAlsoIfAPlaceCannotBeRead(t *testing.T) {
	w := newOldWorld(t)
	h := handlersWithOldCookie(t, w)
	tokens := w.Login("alice")
	r := httptest.NewRequest("POST", "https://api.example.com/auth/logout", strings.NewReader(`{"refresh_token":"`+tokens.RefreshToken+`"}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Cookie", "jwt=a; jwt=b")
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	require.Equal(t, 400, answer.Code, "the browser may still have a good old token")
	_, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(tokens.RefreshToken))
	require.ErrorIs(t, err, jwtauth.ErrNoSession)
}

func TestALogoutFindsTheVerifierOfEachOldSecret(t *testing.T) {
	w := newOldWorld(t)
	web := w.sign(w.alice(nil))
	secret := []byte(rand.Text() + rand.Text())
	key, err := jwk.NewHMAC(jwk.HS256, "", secret)
	require.NoError(t, err)
	app := signOld(t, jwt.SigningMethodHS256, secret, nil, w.alice(jwt.MapClaims{"n": 1}))
	oldApp := w.verifier(key.Verification())
	_, err = endpoints.New(w.Issuer, endpoints.Options{Verifier: oldApp})
	require.NoError(t, err)
	for v, token := range map[*jwtauth.Verifier]string{w.old: web, oldApp: app} {
		requireAccepted(t, v, token)
		require.NoError(t, w.Issuer.Logout(t.Context(), token))
		requireRefused(t, v, token, "revocation", jwtauth.ErrTokenRevoked)
	}
	require.ErrorIs(t, w.Issuer.Logout(t.Context(), web+"x"), jwtauth.ErrRefused)

	// A program that makes verifiers again and again logs out with the newest ones, and with those in use.
	for range 40 {
		_, err = jwtauth.AnyOf(w.Verifier, w.verifier(w.keys))
		require.NoError(t, err)
		_, err = jwtauth.AnyOf(w.Verifier, oldApp)
		require.NoError(t, err)
	}
	app = signOld(t, jwt.SigningMethodHS256, secret, nil, w.alice(jwt.MapClaims{"n": 3}))
	require.NoError(t, w.Issuer.Logout(t.Context(), app))
	other := w.sign(w.alice(jwt.MapClaims{"n": 2}))
	require.NoError(t, w.Issuer.Logout(t.Context(), other))
	requireRefused(t, w.old, other, "revocation", jwtauth.ErrTokenRevoked)
}

func TestALogoutIsUnavailableIfOneOfTheOldVerifiersDoesNotKnow(t *testing.T) {
	w := newOldWorld(t)
	isDown := true
	_, err := jwtauth.AnyOf(w.Verifier, w.verifier(w.keys, func(o *migrate.Options) {
		o.Map = func(claims map[string]any) (map[string]any, error) {
			if isDown {
				return nil, errors.New("no line")
			}
			return claims, nil
		}
		o.Issuer = "https://other.test"
	}))
	require.NoError(t, err)
	foreign := signOld(t, jwt.SigningMethodHS256, w.secret, nil, w.alice(jwt.MapClaims{"iss": "https://other.test"}))
	require.ErrorIs(t, w.Issuer.Logout(t.Context(), foreign), jwtauth.ErrUnavailable)
	isDown = false
	require.NoError(t, w.Issuer.Logout(t.Context(), foreign))
}

func TestATokenStaysRevokedIfTheOldIssuerGetsAnotherName(t *testing.T) {
	w := newOldWorld(t)
	renamed := w.verifier(w.keys, func(o *migrate.Options) { o.Issuer = "shop" })
	other, err := jwtauth.AnyOf(w.Verifier, renamed)
	require.NoError(t, err)
	revoked, traded := w.sign(w.alice(nil)), w.sign(w.alice(jwt.MapClaims{"n": 1}))
	require.NoError(t, w.both.Revoke(t.Context(), requireAccepted(t, w.both, revoked)))
	requireRefused(t, renamed, revoked, "revocation", jwtauth.ErrTokenRevoked)
	var ids []string
	for _, v := range []*jwtauth.Verifier{w.both, other} {
		tokens, err := fixture.TradeIn(t.Context(), w.Issuer, requireAccepted(t, v, traded), jwtauth.Grant{})
		require.NoError(t, err)
		ids = append(ids, tokens.SessionID)
	}
	require.Equal(t, ids[0], ids[1], "one session")
}

func TestALogoutRevokesATokenThatMapRefusesByNow(t *testing.T) {
	for name, mapped := range map[string]func(claims map[string]any) (map[string]any, error){
		"nil":        func(map[string]any) (map[string]any, error) { return nil, nil },
		"a refusal":  func(map[string]any) (map[string]any, error) { return nil, jwtauth.ErrRefused },
		"no subject": func(claims map[string]any) (map[string]any, error) { delete(claims, "sub"); return claims, nil },
	} {
		isBanned := false
		w := newOldWorld(t, func(o *migrate.Options) {
			o.Map = func(claims map[string]any) (map[string]any, error) {
				if isBanned {
					return mapped(claims)
				}
				return claims, nil
			}
		})
		text := w.sign(w.alice(nil))
		for range 3 { // until it is in the cache
			requireAccepted(t, w.both, text)
		}
		isBanned = true
		require.NoError(t, w.Issuer.Logout(t.Context(), text), name)
		requireRefused(t, w.both, text, "revocation", jwtauth.ErrTokenRevoked)
	}
}

func TestTheRouteRevokeDoesNotClaimToRevokeAnOldToken(t *testing.T) {
	isDown := false
	w := newOldWorld(t, func(o *migrate.Options) {
		o.Map = func(claims map[string]any) (map[string]any, error) {
			if isDown {
				return nil, errors.New("no line")
			}
			return claims, nil
		}
	})
	h, err := endpoints.New(w.Issuer, endpoints.Options{Verifier: w.old, Client: func(*http.Request, string, string) error { return nil }})
	require.NoError(t, err)
	text := w.sign(w.alice(nil))
	revoke := func() *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "https://api.example.com/auth/revoke", strings.NewReader("client_id=x&token="+text))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		a := httptest.NewRecorder()
		h.ServeHTTP(a, r)
		return a
	}
	a := revoke()
	require.Equal(t, 400, a.Code)
	require.Contains(t, a.Body.String(), "unsupported_token_type")
	requireAccepted(t, w.both, text)
	kept := text
	text, isDown = w.sign(w.alice(jwt.MapClaims{"n": 1})), true
	require.Equal(t, 503, revoke().Code)
	text, isDown = kept, false
	require.NoError(t, w.Issuer.Logout(t.Context(), text))
	require.Equal(t, 200, revoke().Code, "it is revoked")
}
