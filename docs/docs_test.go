// Package docs_test holds the Go code of the documents, so that it is compiled, and tests
// that the documents agree with the repository.
package docs_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/browser"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwk/keydir"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
	"github.com/jwtauth-go/jwtauth/migrate"
	"github.com/jwtauth-go/jwtauth/provider"
	"github.com/jwtauth-go/jwtauth/replica"
	"github.com/jwtauth-go/jwtauth/storetest"
)

// keys.md

func openKeys(ctx context.Context, dir string) (*jwk.Ring, error) {
	ring, err := jwk.OpenRing(ctx, keydir.New(dir), jwk.RingOptions{}) // makes the first key
	return ring, err
}

func rotateKeys(ctx context.Context, ring *jwk.Ring) error {
	next, err := ring.Rotate(ctx)
	if err != nil {
		return err
	}
	fmt.Println("a new key signs from", next.SignsFrom)
	return nil
}

func ExampleRing_Rotate() {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ring, err := openKeys(context.Background(), dir)
	if err != nil {
		panic(err)
	}
	fmt.Println(len(ring.Plan()), rotateKeys(context.Background(), ring) != nil, "without an Issuer")

	// Output: 1 true without an Issuer
}

// deploying.md

func fromEnvironment(ctx context.Context, store *jwtauth.MemoryStore, login func(*http.Request, string, string) (jwtauth.Grant, error)) (*endpoints.Handlers, error) {
	keys, err := keydir.RingFromEnv(ctx, jwk.RingOptions{})
	if err != nil {
		return nil, err
	}
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{FromEnv: true, Sessions: store, Revocations: store})
	if err != nil {
		return nil, err
	}
	return endpoints.New(issuer, endpoints.Options{Login: login})
}

func TestAServiceIsConfiguredByItsEnvironmentAlone(t *testing.T) {
	login := func(_ *http.Request, name, _ string) (jwtauth.Grant, error) { return jwtauth.Grant{Subject: name}, nil }
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	for _, c := range []struct{ name, value, want string }{
		{"", "", "JWTAUTH_KEY_DIR"}, {"JWTAUTH_KEY_DIR", t.TempDir(), "JWTAUTH_ISSUER"},
		{"JWTAUTH_ISSUER", "https://api.example.com", "JWTAUTH_AUDIENCES"}, {"JWTAUTH_AUDIENCES", "https://api.example.com", ""},
	} {
		if c.name != "" {
			t.Setenv(c.name, c.value)
		}
		handlers, err := fromEnvironment(t.Context(), store, login)
		if c.want != "" {
			require.ErrorContains(t, err, c.want)
			continue
		}
		require.NoError(t, err)
		answer := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/auth/login", strings.NewReader("username=alice&password=x"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		handlers.ServeHTTP(answer, r)
		require.Equal(t, http.StatusOK, answer.Code, answer.Body)
	}
}

// providers.md

func verifyCognito() (*jwtauth.Verifier, error) {
	verifier, err := provider.Cognito("eu-west-1_AbCdEfGhI", "my-client-id").NewVerifier()
	if err != nil {
		return nil, err
	}
	return verifier, nil
}

func verifyKeycloak() (*jwtauth.Verifier, error) {
	p := provider.Keycloak("https://login.example.com/realms/shop", "orders-api")
	p.Clients = []string{"web", "mobile"}         // accepts only these clients, which are in azp
	p.Options.AllowNoSubject = true               // lightweight access tokens have no sub
	p.Options.OnEvent = event.Log(slog.Default()) // says why a token was refused
	verifier, err := p.NewVerifier()
	if err != nil {
		return nil, err
	}
	return verifier, nil
}

func verifyLogin(ctx context.Context, verifier *jwtauth.Verifier, idToken, sentNonce string) (jwtauth.Token, error) {
	type login struct {
		Nonce string `json:"nonce"`
	}
	isOfThisLogin := jwtauth.ClaimsPolicy("nonce", func(_ context.Context, _ jwtauth.Token, l login) (bool, error) {
		return l.Nonce != "" && l.Nonce == sentNonce, nil
	})
	token, err := verifier.Verify(ctx, idToken)
	if err == nil {
		err = isOfThisLogin.Check(ctx, token)
	}
	return token, err
}

func ExampleProvider_NewVerifier() {
	for _, newVerifier := range []func() (*jwtauth.Verifier, error){verifyCognito, verifyKeycloak} {
		verifier, err := newVerifier()
		if err != nil {
			panic(err)
		}
		_, err = verifyLogin(context.Background(), verifier, "no token", "n")
		fmt.Println(err != nil)
	}
	// Output:
	// true
	// true
}

// sessions.md

type user struct {
	Disabled bool
	Role     string
}

type userTable map[string]user

func (t userTable) Find(_ context.Context, name string) (user, error) {
	u, ok := t[name]
	if !ok {
		return u, errors.New("no such user")
	}
	return u, nil
}

func withReload(users userTable) jwtauth.IssuerOptions {
	type profile struct{ Role string }
	return jwtauth.IssuerOptions{
		Reload: func(ctx context.Context, s jwtauth.Session, g *jwtauth.Grant) error {
			user, err := users.Find(ctx, s.Subject)
			switch {
			case err != nil:
				return err // nobody knows: 503, and the refresh token stays good
			case user.Disabled:
				return jwtauth.ErrGrantRefused // the session ends
			}
			g.Claims = profile{Role: user.Role}
			return nil
		},
	}
}

func TestTheReloadOfTheDocumentDoesWhatItSays(t *testing.T) {
	users := userTable{"alice": {Role: "admin"}, "bob": {Disabled: true}}
	issuer := jwtauthtest.NewIssuer(t, withReload(users))
	for name, want := range map[string]error{"alice": nil, "bob": jwtauth.ErrGrantRefused, "carol": jwtauth.ErrUnavailable} {
		tokens, err := issuer.Issue(t.Context(), jwtauth.Grant{Subject: name})
		require.NoError(t, err)
		_, err = issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: tokens.RefreshToken})
		require.ErrorIs(t, err, want, name)
	}
}

// stores.md

func newIssuer(ctx context.Context, keys *jwk.Ring, store interface {
	jwtauth.SessionStore
	replica.Log
}) (*jwtauth.Issuer, error) {
	revocations, err := replica.New(store, replica.Options{})
	if err != nil {
		return nil, err
	}
	if err := revocations.Ready(ctx); err != nil { // before the program listens
		return nil, err
	}
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
		Sessions: store, Revocations: revocations,
	})
	return issuer, err
}

var _ = newIssuer

func newMyStore(*testing.T) storetest.Store {
	return jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
}

func TestMyStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Store { return newMyStore(t) })
}

// verifying.md

func newVerifier() (*jwtauth.Verifier, error) {
	keys, err := jwk.Discover("https://login.example.com", jwk.RemoteOptions{})
	if err != nil {
		return nil, err
	}
	verifier, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{
		Issuer: "https://login.example.com", Audiences: []string{"https://reports.example.com"},
		AcceptTypJWT: true,                      // most OpenID providers do not write at+jwt
		OnEvent:      event.Log(slog.Default()), // says why a token was refused
	})
	return verifier, err
}

func TestTheVerifierOfTheDocumentIsMade(t *testing.T) {
	_, err := newVerifier()
	require.NoError(t, err)
}

func keysWithoutAlg() (*jwk.Remote, error) {
	keys, err := jwk.Discover("https://login.example.com", jwk.RemoteOptions{
		Algorithms: []jwk.Algorithm{jwk.RS256, jwk.PS256}, // for each RSA key without alg
	})
	return keys, err
}

func forTenants(isCustomer func(ctx context.Context, issuer string) (bool, error), clientID string) (*jwtauth.Verifier, error) {
	keys, err := jwk.NewRemote("https://login.microsoftonline.com/common/discovery/v2.0/keys", jwk.RemoteOptions{})
	if err != nil {
		return nil, err
	}
	verifier, err := jwtauth.ResolveIssuers(func(ctx context.Context, issuer string, known *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		if ok, err := isCustomer(ctx, issuer); err != nil || !ok { // looks the whole issuer up in your list
			return nil, err
		}
		if known != nil {
			return known, nil
		}
		return jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{
			Issuer: issuer, Audiences: []string{clientID}, AcceptTypJWT: true, CacheSize: 1000,
		})
	}, jwtauth.ResolveOptions{})
	return verifier, err
}

func TestTheKeysOfTheDocumentAreMade(t *testing.T) {
	_, err := keysWithoutAlg()
	require.NoError(t, err)
	var asked []string
	verifier, err := forTenants(func(_ context.Context, issuer string) (bool, error) {
		asked = append(asked, issuer)
		return false, nil
	}, "client")
	require.NoError(t, err)
	tenant := "https://login.microsoftonline.com/1/v2.0"
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{Issuer: tenant})
	_, err = verifier.Verify(t.Context(), issuer.Token(t, jwtauth.Grant{Subject: "alice"}))
	require.ErrorIs(t, err, jwtauth.ErrTokenIssuer)
	require.Equal(t, []string{tenant}, asked)
}

func TestThePolicyOfTheDocumentDecides(t *testing.T) {
	type profile struct {
		Tenant string `json:"tenant"`
	}
	sameTenant := jwtauth.ClaimsPolicy("tenant", func(_ context.Context, _ jwtauth.Token, p profile) (bool, error) {
		return p.Tenant == "acme", nil
	})
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	require.NoError(t, sameTenant.Check(t.Context(), issuer.Verified(t, jwtauth.Grant{Subject: "alice", Claims: profile{"acme"}})))
	require.ErrorIs(t, sameTenant.Check(t.Context(), issuer.Verified(t, jwtauth.Grant{Subject: "alice"})), jwtauth.ErrPolicy)
}

// testing.md

func newService(auth *jwtauth.Middleware) http.Handler {
	return auth.With(jwtauth.Scopes("admin")).Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}

func TestOnlyAdminsMayDelete(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	service := newService(issuer.Middleware)
	for token, want := range map[string]int{
		issuer.Token(t, jwtauth.Grant{Subject: "alice", Scopes: []string{"admin"}}):                      http.StatusOK,
		issuer.Token(t, jwtauth.Grant{Subject: "bob"}):                                                   http.StatusForbidden,
		issuer.Token(t, jwtauth.Grant{Subject: "alice", Scopes: []string{"admin"}}, jwtauthtest.Expired): http.StatusUnauthorized,
		"": http.StatusUnauthorized,
	} {
		answer := httptest.NewRecorder()
		service.ServeHTTP(answer, jwtauthtest.NewRequest("DELETE", "/orders/1", nil, token))
		if answer.Code != want {
			t.Errorf("%d, want %d", answer.Code, want)
		}
	}
}

// browsers.md

func withCookies(issuer *jwtauth.Issuer, checkPassword func(*http.Request, string, string) (jwtauth.Grant, error), me http.Handler) (http.Handler, error) {
	logins, err := endpoints.New(issuer, endpoints.Options{
		Login:         checkPassword,
		RefreshCookie: &endpoints.Cookie{},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", logins)
	mux.Handle("GET /me", logins.Auth().Require(me))
	mux.Handle("GET /jwtauth.mjs", browser.Handler())
	return mux, nil
}

func withPages(issuer *jwtauth.Issuer, checkPassword func(*http.Request, string, string) (jwtauth.Grant, error)) (*endpoints.Handlers, error) {
	logins, err := endpoints.New(issuer, endpoints.Options{
		Login:         checkPassword,
		RefreshCookie: &endpoints.Cookie{},
		AccessCookie:  &endpoints.Cookie{},
		LoginPage:     "/login",
	})
	return logins, err
}

func withFrontEnd(issuer *jwtauth.Issuer, checkPassword func(*http.Request, string, string) (jwtauth.Grant, error)) (*endpoints.Handlers, error) {
	logins, err := endpoints.New(issuer, endpoints.Options{
		Login:          checkPassword,
		RefreshCookie:  &endpoints.Cookie{}, // SameSite=Strict is enough: both hosts are one site
		TrustedOrigins: []string{"https://app.example.com"},
	})
	return logins, err
}

func startLogin(logins *endpoints.Handlers, w http.ResponseWriter, r *http.Request, user string) {
	tokens, err := logins.Start(w, r, jwtauth.Grant{Subject: user, AMR: []string{"hwk"}})
	if err != nil {
		jwtauth.WriteError(w, r, err)
		return
	}
	jwtauth.WriteTokens(w, tokens) // without the refresh token, which is in the cookie
}

func TestTheCookiesOfTheDocumentWork(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	checkPassword := func(_ *http.Request, name, _ string) (jwtauth.Grant, error) {
		return jwtauth.Grant{Subject: name}, nil
	}
	service, err := withCookies(issuer.Issuer, checkPassword, http.NotFoundHandler())
	require.NoError(t, err)
	r := httptest.NewRequest("POST", "/auth/login", strings.NewReader(`{"username":"alice","password":"x"}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-CSRF", "fetch")
	answer := httptest.NewRecorder()
	service.ServeHTTP(answer, r)
	require.Equal(t, 200, answer.Code, answer.Body)
	require.Len(t, answer.Result().Cookies(), 2)

	logins, err := withPages(issuer.Issuer, checkPassword)
	require.NoError(t, err)
	answer = httptest.NewRecorder()
	startLogin(logins, answer, httptest.NewRequest("POST", "/callback", nil), "alice")
	require.Equal(t, 200, answer.Code)
	require.Len(t, answer.Result().Cookies(), 3)
	require.NotContains(t, answer.Body.String(), "refresh_token\"")

	logins, err = withFrontEnd(issuer.Issuer, checkPassword)
	require.NoError(t, err)
	for origin, want := range map[string]int{"https://app.example.com": 200, "https://other.example.com": 403} {
		r = httptest.NewRequest("POST", "https://api.example.com/auth/login", strings.NewReader(`{"username":"alice","password":"x"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-CSRF", "1")
		r.Header.Set("Origin", origin)
		r.Header.Set("Sec-Fetch-Site", "same-site")
		answer = httptest.NewRecorder()
		logins.ServeHTTP(answer, r)
		require.Equal(t, want, answer.Code, origin)
	}
}

// clients.md

func TestTheHandlersOfAnAppNeedItsClientID(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	logins, err := withoutCookies(issuer.Issuer, func(_ *http.Request, name, _ string) (jwtauth.Grant, error) {
		return jwtauth.Grant{Subject: name, ClientID: "my-app"}, nil
	})
	require.NoError(t, err)
	r := httptest.NewRequest("POST", "/auth/login", strings.NewReader(`{"username":"alice","password":"x"}`))
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	logins.ServeHTTP(answer, r)
	require.Equal(t, 200, answer.Code, answer.Body)
	require.Contains(t, answer.Body.String(), `"refresh_token"`)
}

func withoutCookies(issuer *jwtauth.Issuer, checkPassword func(*http.Request, string, string) (jwtauth.Grant, error)) (*endpoints.Handlers, error) {
	logins, err := endpoints.New(issuer, endpoints.Options{
		Login:    checkPassword,
		ClientID: "my-app",
	})
	return logins, err
}

// moving.md

func withOldTokens(verifier *jwtauth.Verifier, store jwtauth.RevocationStore, oldSecret []byte) (*jwtauth.Verifier, error) {
	key, err := jwk.NewHMAC(jwk.HS256, "", oldSecret) // or jwk.ParseVerification for a public key
	if err != nil {
		return nil, err
	}
	old, err := migrate.NewVerifier(key.Verification(), migrate.Options{
		Until:        migrate.Date{Year: 2027, Month: time.March, Day: 1}, // the first day without old tokens
		Issuer:       "https://api.example.com",                           // may be the name of the new issuer
		SubjectClaim: "user_id",
		Map: func(claims map[string]any) (map[string]any, error) {
			if claims["role"] == "admin" {
				claims["scope"] = "orders:read orders:write"
			}
			return claims, nil
		},
		Revocations: store, // that of the issuer
		OnEvent:     event.Log(slog.Default()),
	})
	if err != nil {
		return nil, err
	}
	both, err := jwtauth.AnyOf(verifier, old) // verifier is that of Issuer.NewVerifier
	return both, err
}

func insecureKeys() (jwk.Set, error) {
	keys, err := migrate.InsecureSecret(jwk.HS256, "", []byte(os.Getenv("OLD_SECRET")))
	return keys, err
}

func TestTheMoveOfTheDocumentWorks(t *testing.T) {
	// The date of the document is fixed, so the clock is too.
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2027, time.January, 15, 0, 0, 0, 0, time.UTC)))
		store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
		issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"}, Sessions: store, Revocations: store})
		secret := []byte(rand.Text() + rand.Text())
		both, err := withOldTokens(issuer.Verifier, store, secret)
		require.NoError(t, err)
		auth, err := jwtauth.NewMiddleware(both, jwtauth.MiddlewareOptions{})
		require.NoError(t, err)
		old, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"user_id": 7, "role": "admin", "exp": time.Now().Add(72 * time.Hour).Unix()}).SignedString(secret)
		require.NoError(t, err)
		post := func(h http.Handler) *httptest.ResponseRecorder {
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, jwtauthtest.NewRequest("POST", "/", nil, old))
			return answer
		}
		orders := auth.With(jwtauth.Scopes("orders:write")).Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		require.Equal(t, 200, post(orders).Code)
		require.NoError(t, issuer.Logout(t.Context(), old))
		require.Equal(t, 401, post(orders).Code)
	})
	t.Setenv("OLD_SECRET", "secret")
	_, err := insecureKeys()
	require.NoError(t, err)
}

func parseWithGolangJWT(keys jwk.Set, token string) (*jwt.Token, error) {
	parser := jwt.NewParser(jwt.WithExpirationRequired(), jwt.WithIssuer("https://api.example.com"), jwt.WithAudience("https://api.example.com"))
	parsed, err := parser.Parse(token, migrate.Keyfunc(keys))
	return parsed, err
}

func roleFromMapClaims(r *http.Request) string {
	token, _ := jwtauth.FromContext(r.Context())
	claims := migrate.MapClaims(token)
	role, _ := claims["role"].(string)
	return role
}

func withOldPlaces(verifier *jwtauth.Verifier) (*jwtauth.Middleware, error) {
	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{
		jwtauth.FirstOf(jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromHeader("Authorization", "Token"), jwtauth.FromHeader("X-Access-Token", "")),
	}})
	return auth, err
}

func TestTheBridgesOfTheDocumentWork(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"}})
	token := issuer.Token(t, jwtauth.Grant{Subject: "alice", Claims: map[string]string{"role": "admin"}})
	parsed, err := parseWithGolangJWT(issuer.Keys, token)
	require.NoError(t, err)
	require.Equal(t, "admin", parsed.Claims.(jwt.MapClaims)["role"])

	auth, err := withOldPlaces(issuer.Verifier)
	require.NoError(t, err)
	h := auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, roleFromMapClaims(r)) }))
	for value, name := range map[string]string{"Bearer " + token: "Authorization", "Token " + token: "Authorization", token: "X-Access-Token"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set(name, value)
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		require.Equal(t, "admin", answer.Body.String())
	}
}

// documents returns the texts of the documents by their names.
func documents(t *testing.T) map[string]string {
	names, err := filepath.Glob("*.md")
	require.NoError(t, err)
	moving, err := filepath.Glob("moving/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	require.NotEmpty(t, moving)
	texts := make(map[string]string)
	for _, name := range slices.Concat(names, moving, []string{"../README.md"}) {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		texts[name] = string(text)
	}
	return texts
}

// withoutIndent returns a text without the blanks at the beginnings of its lines.
func withoutIndent(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimLeft(lines[i], "\t ")
	}
	return strings.Join(lines, "\n")
}

func TestTheCodeOfTheDocumentsIsCompiled(t *testing.T) {
	code, err := os.ReadFile("docs_test.go")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)<!-- docs_test.go -->\n```go\n(.*?)```")
	found := 0
	for name, text := range documents(t) {
		for _, block := range blocks.FindAllStringSubmatch(text, -1) {
			found++
			require.Contains(t, withoutIndent(string(code)), withoutIndent(block[1]), name)
		}
		if name != "../README.md" {
			require.Equal(t, strings.Count(text, "```go"), strings.Count(text, "<!-- docs_test.go -->")+strings.Count(text, "<!-- test/moving/"), "%s has code that is not compiled", name)
		}
	}
	require.Greater(t, found, 5)
}

func TestTheProgramsOfTheDocumentsAreThoseThatAreTested(t *testing.T) {
	blocks := regexp.MustCompile("(?s)<!-- (test/moving/[^ ]*\\.go) -->\n```go\n(.*?)```")
	tested, err := filepath.Glob("../test/moving/*/*.go")
	require.NoError(t, err)
	var found []string
	for name, text := range documents(t) {
		for _, block := range blocks.FindAllStringSubmatch(text, -1) {
			program, err := os.ReadFile(filepath.Join("..", block[1]))
			require.NoError(t, err, name)
			_, withoutImports, ok := strings.Cut(string(program), "\n)\n\n")
			require.True(t, ok, block[1])
			require.Equal(t, withoutImports, block[2], "%s and %s", name, block[1])
			found = append(found, filepath.Join("..", block[1]))
		}
	}
	require.ElementsMatch(t, tested, found)
}

func TestEveryLinkOfTheDocumentsLeadsToAFile(t *testing.T) {
	links := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	code := regexp.MustCompile("(?s)```.*?```|`[^`]*`")
	for name, text := range documents(t) {
		text = code.ReplaceAllString(text, "")
		for _, link := range links.FindAllStringSubmatch(text, -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			_, err := os.Stat(filepath.Join(filepath.Dir(name), link[1]))
			require.NoError(t, err, name)
		}
	}
}

func TestEveryAttackThatADocumentNamesIsInTheList(t *testing.T) {
	list, err := os.ReadFile("../testdata/attacks.txt")
	require.NoError(t, err)
	ids := regexp.MustCompile(`\b[HESCTRVJDAPM][0-9]{2}\b`)
	for name, text := range documents(t) {
		for _, id := range ids.FindAllString(text, -1) {
			require.Contains(t, string(list), "\n"+id+" ", name)
		}
	}
}

func TestTheDocumentsNameEveryKindOfEventWithTheLevelError(t *testing.T) {
	text, err := os.ReadFile("deploying.md")
	require.NoError(t, err)
	for _, kind := range []event.Kind{
		event.TokenReused, event.GenerationBehind, event.Unavailable, event.KeysUnavailable,
		event.RevocationsUnavailable, event.RevocationsReset, event.RevocationsNearlyFull, event.PolicyMissing,
		event.RevocationUnknown, event.KeyRevoked,
	} {
		require.Equal(t, slog.LevelError, event.Event{Kind: kind}.Level())
		require.Contains(t, string(text), "`"+string(kind)+"`")
	}
}
