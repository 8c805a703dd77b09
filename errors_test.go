package jwtauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

func quietLogger() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// newStrictWorld is a world whose verifier has every check configured.
func newStrictWorld(t testing.TB) *world {
	return newWorld(t, func(_ *jwtauth.IssuerOptions, vo *jwtauth.VerifierOptions) {
		vo.MaxAge = time.Hour
		vo.RequiredClaims = []string{"role"}
		vo.Check = func(_ context.Context, t jwtauth.Token) error {
			if t.Subject == "banned" {
				return errors.New("banned")
			}
			return nil
		}
	})
}

// with signs claims that are good but for the changes.
func (w *world) with(changes map[string]any) string {
	claims := w.claims(changes)
	if _, ok := changes["role"]; !ok {
		claims["role"] = "user"
	}
	return w.sign(claims)
}

// headed signs good claims under a header with a change.
func (w *world) headed(name string, value any) string {
	return signWith(w.t, w.key, header(w.key, map[string]any{name: value}), w.claims(map[string]any{"role": "user"}))
}

// refusals has a token for each reason for which a verifier refuses one, with
// the name of the check and the errors of this package and of golang-jwt.
var refusals = []struct {
	name, check    string
	reason, theirs error
	token          func(w *world) string
}{
	{"too long", "size", jwtauth.ErrTokenMalformed, jwt.ErrTokenMalformed, func(w *world) string { return strings.Repeat("x", 8193) }},
	{"two segments", "form", jwtauth.ErrTokenMalformed, jwt.ErrTokenMalformed, func(w *world) string { return "x.y" }},
	{"a header that is none", "header", jwtauth.ErrTokenMalformed, jwt.ErrTokenMalformed, func(w *world) string { return signWith(w.t, w.key, `[]`, w.claims(nil)) }},
	{"a critical extension", "crit", jwtauth.ErrTokenMalformed, jwt.ErrTokenMalformed, func(w *world) string { return w.headed("crit", []string{"x"}) }},
	{"another kind", "typ", jwtauth.ErrTokenType, jwt.ErrTokenUnverifiable, func(w *world) string { return w.headed("typ", "JWT") }},
	{"another key", "key", jwtauth.ErrTokenKey, jwt.ErrTokenUnverifiable, func(w *world) string { return w.headed("kid", "x") }},
	{"another algorithm", "key", jwtauth.ErrTokenKey, jwt.ErrTokenUnverifiable, func(w *world) string { return w.headed("alg", "none") }},
	{"a bad signature", "signature", jwtauth.ErrTokenSignature, jwt.ErrTokenSignatureInvalid, func(w *world) string {
		good, other := strings.Split(w.with(nil), "."), strings.Split(w.with(map[string]any{"jti": "2"}), ".")
		return good[0] + "." + good[1] + "." + other[2]
	}},
	{"claims that are none", "claims", jwtauth.ErrTokenMalformed, jwt.ErrTokenMalformed, func(w *world) string { return w.sign(`{"iss":1}`) }},
	{"another issuer", "iss", jwtauth.ErrTokenIssuer, jwt.ErrTokenInvalidIssuer, func(w *world) string { return w.with(map[string]any{"iss": "https://other.test"}) }},
	{"another audience", "aud", jwtauth.ErrTokenAudience, jwt.ErrTokenInvalidAudience, func(w *world) string { return w.with(map[string]any{"aud": "https://other.test"}) }},
	{"no end", "exp", jwtauth.ErrTokenClaim, jwt.ErrTokenRequiredClaimMissing, func(w *world) string { return w.with(map[string]any{"exp": nil}) }},
	{"expired", "exp", jwtauth.ErrTokenExpired, jwt.ErrTokenExpired, func(w *world) string { return w.with(map[string]any{"exp": w.clock.Now().Unix() - 60}) }},
	{"not valid yet", "nbf", jwtauth.ErrTokenNotYetValid, jwt.ErrTokenNotValidYet, func(w *world) string { return w.with(map[string]any{"nbf": w.clock.Now().Unix() + 60}) }},
	{"issued in the future", "iat", jwtauth.ErrTokenNotYetValid, jwt.ErrTokenNotValidYet, func(w *world) string { return w.with(map[string]any{"iat": w.clock.Now().Unix() + 60}) }},
	{"for two days", "lifetime", jwtauth.ErrTokenTooLong, nil, func(w *world) string { return w.with(map[string]any{"exp": w.clock.Now().Unix() + 2*86400}) }},
	{"two hours old", "age", jwtauth.ErrTokenTooLong, nil, func(w *world) string { return w.with(map[string]any{"iat": w.clock.Now().Unix() - 7200}) }},
	{"of unknown age", "age", jwtauth.ErrTokenClaim, jwt.ErrTokenRequiredClaimMissing, func(w *world) string { return w.with(map[string]any{"iat": nil}) }},
	{"nobody's", "sub", jwtauth.ErrTokenClaim, jwt.ErrTokenRequiredClaimMissing, func(w *world) string { return w.with(map[string]any{"sub": nil}) }},
	{"without a name", "jti", jwtauth.ErrTokenClaim, jwt.ErrTokenRequiredClaimMissing, func(w *world) string { return w.with(map[string]any{"jti": nil}) }},
	{"without a claim", "required", jwtauth.ErrTokenClaim, jwt.ErrTokenRequiredClaimMissing, func(w *world) string { return w.with(map[string]any{"role": nil}) }},
	{"bound to a sender", "cnf", jwtauth.ErrTokenBound, nil, func(w *world) string { return w.with(map[string]any{"cnf": map[string]any{"jkt": "x"}}) }},
	{"refused by the caller", "check", jwtauth.ErrTokenCheck, jwt.ErrTokenInvalidClaims, func(w *world) string { return w.with(map[string]any{"sub": "banned"}) }},
	{"revoked", "revocation", jwtauth.ErrTokenRevoked, nil, func(w *world) string {
		require.NoError(w.t, w.store.Revoke(w.t.Context(), jwtauth.TokenID(testIssuer, "revoked"), w.clock.Now().Add(time.Hour)))
		return w.with(map[string]any{"jti": "revoked"})
	}},
}

// theirs are golang-jwt's errors that a token can be refused with.
var theirs = []error{
	jwt.ErrTokenMalformed, jwt.ErrTokenUnverifiable, jwt.ErrTokenSignatureInvalid, jwt.ErrTokenRequiredClaimMissing, jwt.ErrTokenInvalidAudience,
	jwt.ErrTokenExpired, jwt.ErrTokenUsedBeforeIssued, jwt.ErrTokenInvalidIssuer, jwt.ErrTokenInvalidSubject, jwt.ErrTokenNotValidYet, jwt.ErrTokenInvalidId, jwt.ErrTokenInvalidClaims,
}

// reasons are this package's errors that a refusal can have as its reason, and
// ErrUnavailable, which no refusal matches.
var reasons = []error{
	jwtauth.ErrNoToken, jwtauth.ErrTokenNotAlone, jwtauth.ErrTokenMalformed, jwtauth.ErrTokenType, jwtauth.ErrTokenKey, jwtauth.ErrTokenSignature, jwtauth.ErrTokenIssuer, jwtauth.ErrTokenAudience,
	jwtauth.ErrTokenExpired, jwtauth.ErrTokenNotYetValid, jwtauth.ErrTokenTooLong, jwtauth.ErrTokenClaim, jwtauth.ErrTokenBound, jwtauth.ErrTokenCheck, jwtauth.ErrTokenRevoked, jwtauth.ErrTokenReused,
	jwtauth.ErrNoSession, jwtauth.ErrGrantRefused, jwtauth.ErrPolicy, jwtauth.ErrUnavailable,
}

func TestEachReasonIsARefusalAndNoOtherReason(t *testing.T) {
	for _, reason := range reasons {
		require.Equal(t, reason != jwtauth.ErrUnavailable, errors.Is(reason, jwtauth.ErrRefused), "%v", reason)
		for _, other := range reasons {
			require.Equal(t, reason == other, errors.Is(reason, other), "%v and %v", reason, other)
		}
	}
}

func TestEveryRefusalMatchesItsReasonAndGolangJWTsAndNoOther(t *testing.T) {
	covered := map[string]bool{"context": true} // no refusal, but an unavailable
	for _, r := range refusals {
		w := newStrictWorld(t)
		w.requireAccepted(w.with(nil))
		token := r.token(w)
		e := w.requireRefused(token)
		require.Equal(t, r.check, e.Check, r.name)
		for _, err := range reasons {
			require.Equal(t, err == r.reason, errors.Is(e, err), "%s and %v", r.name, err)
		}
		for _, err := range theirs {
			require.Equal(t, err == r.theirs, errors.Is(e, err), "%s and golang-jwt's %v", r.name, err)
		}
		require.Zero(t, e.RetryAfter)
		covered[r.check] = true
	}
	for _, check := range jwtauth.Checks() {
		require.True(t, covered[check], "no refusal by the check %s", check)
	}
}

func TestNoErrorHoldsAToken(t *testing.T) {
	for _, r := range refusals {
		w := newStrictWorld(t)
		token := r.token(w)
		forbid := newForbidden()
		if r.check != "size" && r.check != "form" {
			forbid.token(token)
		}
		forbid.token(w.login("alice").RefreshToken)
		for _, verify := range []func(string) error{
			func(s string) error { _, err := w.verifier.Verify(t.Context(), s); return err },
			func(s string) error { _, err := w.issuer.Refresh(t.Context(), s); return err },
			func(s string) error { return w.issuer.Logout(t.Context(), s+"x") },
			func(s string) error { _, err := w.auth.Authenticate(request("GET", "/", "Bearer "+s)); return err },
			func(s string) error {
				_, err := w.auth.Authenticate(request("GET", "/", "Bearer "+s+" "+s))
				return err
			},
		} {
			err := verify(token)
			require.Error(t, err)
			for way, output := range printed(err) {
				forbid.requireAbsent(t, way, output)
				require.Less(t, len(output), 1000)
			}
			require.NotContains(t, err.Error(), "\n")
		}
	}
}

func TestAnErrorTellsTheLogWhatWasExpected(t *testing.T) {
	w := newStrictWorld(t)
	for token, want := range map[string]string{
		w.with(map[string]any{"iss": "https://other.test"}):                   `jwtauth: refused: wrong issuer (check iss, expected "https://issuer.test", got "https://other.test")`,
		w.with(map[string]any{"iss": strings.Repeat("\n", 100)}):              `jwtauth: refused: wrong issuer (check iss, expected "https://issuer.test", got "` + strings.Repeat(`\n`, 64) + `"…)`,
		w.with(map[string]any{"aud": []string{"a", "b", "c", "d", "e", "f"}}): `jwtauth: refused: wrong audience (check aud, expected "https://api.test", got "a" "b" "c" "d" …)`,
		w.with(map[string]any{"exp": 0}):                                      `jwtauth: refused: expired (check exp, expected later than 2026-11-01T12:00:00Z, got 1970-01-01T00:00:00Z)`,
		w.with(map[string]any{"sub": "banned"}):                               `jwtauth: refused: refused by a check: banned (check check)`,
	} {
		_, err := w.verifier.Verify(t.Context(), token)
		require.EqualError(t, err, want)
	}
	require.EqualError(t, &jwtauth.Error{Status: 418}, "jwtauth: 418")
}

// The one text that clients get with each code.
const (
	textNoToken   = "authentication is required"
	textTwoTokens = "exactly one access token in one place is expected"
	textBadToken  = "the access token is malformed, expired, revoked or not meant for this service"
	textNoScope   = "the access token does not have the scope that this request needs"
	textOldLogin  = "this request needs a more recent login"
	textBadGrant  = "the login or the refresh token is wrong, expired, revoked or has been used before"
	textDenied    = "this request is not allowed"
	textNoAnswer  = "the request could not be authenticated just now; try again"
	textMistake   = "the request could not be processed"
)

// answered is what a client gets.
type answered struct {
	status                int
	challenge, retryAfter string
	body                  string
}

func answeredTo(err error, accept ...string) answered {
	r := request("GET", "/")
	if len(accept) > 0 {
		r.Header["Accept"] = accept
	}
	answer := httptest.NewRecorder()
	jwtauth.WriteError(answer, r, err)
	return answered{answer.Code, answer.Header().Get("WWW-Authenticate"), answer.Header().Get("Retry-After"), strings.TrimSpace(answer.Body.String())}
}

func TestWriteErrorAnswersEachKindOfError(t *testing.T) {
	w := newStrictWorld(t)
	token := w.login("alice", "read").AccessToken
	broken, store := newHookedWorld(t)
	lost := broken.login("alice").AccessToken
	store.before = failing
	authenticate := func(w *world, authorization ...string) error {
		_, err := w.auth.Authenticate(request("GET", "/", authorization...))
		return err
	}
	policy := func(p jwtauth.Policy) error { return p(request("GET", "/"), aliceToken(t)) }
	_, unavailable := broken.verifier.Verify(t.Context(), lost)
	_, invalidGrant := w.issuer.Refresh(t.Context(), token)
	_, cannotIssue := w.issuer.Issue(t.Context(), jwtauth.Grant{})
	const (
		noAnswer = `{"error":"temporarily_unavailable","error_description":"` + textNoAnswer + `"}`
		mistake  = `{"error":"server_error","error_description":"` + textMistake + `"}`
	)
	both := func(status int, code, text, more string) answered {
		return answered{status, `Bearer error="` + code + `", error_description="` + text + `"` + more, "", `{"error":"` + code + `","error_description":"` + text + `"}`}
	}
	none := answered{401, `Bearer`, "", `{"error_description":"` + textNoToken + `"}`}
	bad := both(401, "invalid_token", textBadToken, "")
	for _, c := range []struct {
		name string
		err  error
		want answered
	}{
		{"no token", authenticate(w), none},
		{"no token, from BearerToken", fmt.Errorf("in a handler: %w", jwtauth.ErrNoToken), none},
		{"a bad token", authenticate(w, "Bearer x"), bad},
		{"a bad token, wrapped", fmt.Errorf("in a handler: %w", authenticate(w, "Bearer x")), bad},
		{"a refusal without details", fmt.Errorf("in a handler: %w", jwtauth.ErrRefused), bad},
		{"an expired token, said by somebody else", jwtauth.ErrTokenExpired, bad},
		{"two tokens, said by somebody else", fmt.Errorf("gateway: %w", jwtauth.ErrTokenNotAlone), both(400, "invalid_request", textTwoTokens, "")},
		{"a policy, said by somebody else", jwtauth.ErrPolicy, answered{403, "", "", `{"error":"access_denied","error_description":"` + textDenied + `"}`}},
		{"a wrong password", fmt.Errorf("login: %w", jwtauth.ErrGrantRefused), answered{400, "", "", `{"error":"invalid_grant","error_description":"` + textBadGrant + `"}`}},
		{"a session that is gone", jwtauth.ErrNoSession, answered{400, "", "", `{"error":"invalid_grant","error_description":"` + textBadGrant + `"}`}},
		{"two tokens", authenticate(w, "Bearer x", "Bearer y"), both(400, "invalid_request", textTwoTokens, "")},
		{"a scope that is missing", policy(jwtauth.Scopes("a", "b")), both(403, "insufficient_scope", textNoScope, `, scope="a b"`)},
		{"an old login", policy(jwtauth.LoginWithin(-1)), both(401, "insufficient_user_authentication", textOldLogin, `, max_age="0"`)},
		{"a bad refresh token", invalidGrant, answered{400, "", "", `{"error":"invalid_grant","error_description":"` + textBadGrant + `"}`}},
		{"a store that is down", unavailable, answered{503, "", "1", noAnswer}},
		{"unavailable", jwtauth.ErrUnavailable, answered{503, "", "1", noAnswer}},
		{"a request that is over", context.Canceled, answered{503, "", "1", noAnswer}},
		{"a deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), answered{503, "", "1", noAnswer}},
		{"a grant that cannot be issued", cannotIssue, answered{500, "", "", mistake}},
		{"an error of somebody else", errors.New("dial tcp 10.0.0.1: password wrong"), answered{500, "", "", mistake}},
		{"no error", nil, answered{500, "", "", mistake}},
		{"an error of a policy", &jwtauth.Error{Status: 402, Code: "payment_required", Description: "pay first", RetryAfter: 1500 * time.Millisecond}, answered{402, "", "2", `{"error":"payment_required","error_description":"pay first"}`}},
		{"one that would inject", &jwtauth.Error{Status: 401, Code: "a\"\r\nX: y", Description: `b"`}, answered{401, `Bearer`, "", `{"error":"a\"\r\nX: y","error_description":"b\""}`}},
		{"one that is no error", &jwtauth.Error{Status: 200, Code: "ok"}, answered{500, "", "", `{"error":"ok"}`}},
	} {
		require.Equal(t, c.want, answeredTo(c.err), c.name)
	}
}

func TestWriteErrorAnswersWithProblemDetailsWhereTheyAreAccepted(t *testing.T) {
	_, err := newWorld(t).verifier.Verify(t.Context(), "x")
	for accept, problem := range map[string]bool{
		"application/problem+json": true, "text/html, application/problem+json;q=0.9": true, "Application/Problem+JSON": true, "application/json,application/problem+json": true,
		"": false, "application/json": false, "*/*": false, "application/*": false, "application/problem+xml": false, "application/problem+jsonx": false,
	} {
		r := request("GET", "/")
		r.Header.Set("Accept", accept)
		answer := httptest.NewRecorder()
		jwtauth.WriteError(answer, r, err)
		require.Equal(t, http.StatusUnauthorized, answer.Code)
		require.Equal(t, "nosniff", answer.Header().Get("X-Content-Type-Options"))
		require.Contains(t, answer.Header().Get("WWW-Authenticate"), "invalid_token")
		if !problem {
			require.Equal(t, "application/json", answer.Header().Get("Content-Type"), accept)
			continue
		}
		require.Equal(t, "application/problem+json", answer.Header().Get("Content-Type"), accept)
		require.JSONEq(t, `{"type":"about:blank","title":"Unauthorized","status":401,"error":"invalid_token","detail":"`+textBadToken+`"}`, answer.Body.String())
	}
	require.Equal(t, `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"`+textNoToken+`"}`, answeredTo(jwtauth.ErrNoToken, "text/html", "application/problem+json").body)
	jwtauth.WriteError(httptest.NewRecorder(), nil, err) // for which there is no Accept
}

func TestWriteTokensAnswersAsRFC6749Says(t *testing.T) {
	w := newWorld(t)
	r := w.login("alice", "read", "write")
	answer := httptest.NewRecorder()
	jwtauth.WriteTokens(answer, r)
	require.Equal(t, http.StatusOK, answer.Code)
	require.Equal(t, "application/json", answer.Header().Get("Content-Type"))
	require.Equal(t, "no-store", answer.Header().Get("Cache-Control"))
	var body map[string]any
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &body))
	require.Equal(t, map[string]any{"access_token": r.AccessToken, "token_type": "Bearer", "expires_in": 900.0, "refresh_token": r.RefreshToken, "scope": "read write"}, body)
}

func TestAnErrorIsFoundBehindOthers(t *testing.T) {
	_, err := newWorld(t).verifier.Verify(t.Context(), "x")
	e, ok := errors.AsType[*jwtauth.Error](fmt.Errorf("in a handler: %w", errors.Join(io.EOF, err)))
	require.True(t, ok)
	require.Equal(t, "form", e.Check)
	require.Equal(t, http.StatusUnauthorized, e.Status)
	require.Equal(t, "invalid_token", e.Code)
}
