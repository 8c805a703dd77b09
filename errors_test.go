package jwtauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/claimrule"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// theirs has the errors of golang-jwt for refused tokens.
var theirs = []error{
	jwt.ErrTokenMalformed, jwt.ErrTokenUnverifiable, jwt.ErrTokenSignatureInvalid, jwt.ErrTokenRequiredClaimMissing, jwt.ErrTokenInvalidAudience,
	jwt.ErrTokenExpired, jwt.ErrTokenUsedBeforeIssued, jwt.ErrTokenInvalidIssuer, jwt.ErrTokenInvalidSubject, jwt.ErrTokenNotValidYet, jwt.ErrTokenInvalidId, jwt.ErrTokenInvalidClaims,
}

// reasons has the errors that say why something was refused, and ErrUnavailable, which no
// refusal matches.
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
	for _, r := range fixture.Refusals {
		w := fixture.NewStrictWorld(t)
		w.RequireAccepted(w.With(nil))
		token := r.Token(w)
		e := w.RequireRefused(token)
		require.Equal(t, r.Check, e.Check, r.Name)
		for _, err := range reasons {
			require.Equal(t, err == r.Reason, errors.Is(e, err), "%s and %v", r.Name, err)
		}
		for _, err := range theirs {
			require.Equal(t, err == r.Theirs, errors.Is(e, err), "%s and golang-jwt's %v", r.Name, err)
		}
		require.Zero(t, e.RetryAfter)
		covered[r.Check] = true
	}
	e := refusedByAProvider(t)
	require.Equal(t, "provider", e.Check)
	require.ErrorIs(t, e, jwtauth.ErrTokenCheck)
	require.ErrorIs(t, e, jwt.ErrTokenInvalidClaims)
	covered[e.Check] = true
	for _, check := range jwtauth.Checks() {
		require.True(t, covered[check], "no refusal by the check %s", check)
	}
}

// refusedByAProvider returns the error of a token that does not fulfil a rule of package provider.
func refusedByAProvider(t *testing.T) *jwtauth.Error {
	t.Helper()
	w := fixture.New(t)
	rule := claimrule.Rule{Claims: []string{"token_use"}, Expected: "token_use", Holds: func(values []strictjson.Value) bool { return values[0] != "" }}
	v, err := claimrule.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now}, []claimrule.Rule{rule})
	require.NoError(t, err)
	_, err = v.(*jwtauth.Verifier).Verify(t.Context(), w.Sign(w.Claims(nil)))
	e, ok := errors.AsType[*jwtauth.Error](err)
	require.True(t, ok)
	return e
}

func TestNoErrorHoldsAToken(t *testing.T) {
	for _, r := range fixture.Refusals {
		w := fixture.NewStrictWorld(t)
		token := r.Token(w)
		forbid := fixture.NewForbidden()
		if r.Check != "size" && r.Check != "form" {
			forbid.Token(token)
		}
		forbid.Token(w.Login("alice").RefreshToken)
		for _, verify := range []func(string) error{
			func(s string) error { _, err := w.Verifier.Verify(t.Context(), s); return err },
			func(s string) error {
				_, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: s})
				return err
			},
			func(s string) error { return w.Issuer.Logout(t.Context(), s+"x") },
			func(s string) error {
				_, err := w.Auth.Authenticate(fixture.Request("GET", "/", "Bearer "+s))
				return err
			},
			func(s string) error {
				_, err := w.Auth.Authenticate(fixture.Request("GET", "/", "Bearer "+s+" "+s))
				return err
			},
		} {
			err := verify(token)
			require.Error(t, err)
			for way, output := range fixture.Printed(err) {
				forbid.RequireAbsent(t, way, output)
				require.Less(t, len(output), 1000)
			}
			require.NotContains(t, err.Error(), "\n")
		}
	}
}

func TestAnErrorTellsTheLogWhatWasExpected(t *testing.T) {
	w := fixture.NewStrictWorld(t)
	for token, want := range map[string]string{
		w.With(map[string]any{"iss": "https://other.test"}):                   `jwtauth: refused: wrong issuer (check iss, expected "https://issuer.test", got "https://other.test")`,
		w.With(map[string]any{"iss": strings.Repeat("\n", 100)}):              `jwtauth: refused: wrong issuer (check iss, expected "https://issuer.test", got "` + strings.Repeat(`\n`, 64) + `"…)`,
		w.With(map[string]any{"aud": []string{"a", "b", "c", "d", "e", "f"}}): `jwtauth: refused: wrong audience (check aud, expected "https://api.test", got "a" "b" "c" "d" …)`,
		w.With(map[string]any{"exp": 0}):                                      `jwtauth: refused: expired (check exp, expected later than 2026-11-01T12:00:00Z, got 1970-01-01T00:00:00Z)`,
		w.With(map[string]any{"sub": "banned"}):                               `jwtauth: refused: refused by a check: banned: refused (check check)`,
	} {
		_, err := w.Verifier.Verify(t.Context(), token)
		require.EqualError(t, err, want)
	}
	require.EqualError(t, &jwtauth.Error{Status: 418}, "jwtauth: 418")
}

// answered is the answer that a client gets.
type answered struct {
	status                int
	challenge, retryAfter string
	body                  string
}

func answeredTo(err error, accept ...string) answered {
	r := fixture.Request("GET", "/")
	if len(accept) > 0 {
		r.Header["Accept"] = accept
	}
	answer := httptest.NewRecorder()
	jwtauth.WriteError(answer, r, err)
	return answered{answer.Code, answer.Header().Get("WWW-Authenticate"), answer.Header().Get("Retry-After"), strings.TrimSpace(answer.Body.String())}
}

func TestWriteErrorAnswersEachKindOfError(t *testing.T) {
	w := fixture.NewStrictWorld(t)
	token := w.Login("alice", "read").AccessToken
	broken, store := fixture.NewHooked(t)
	lost := broken.Login("alice").AccessToken
	store.Before = fixture.Failing
	authenticate := func(w *fixture.World, authorization ...string) error {
		_, err := w.Auth.Authenticate(fixture.Request("GET", "/", authorization...))
		return err
	}
	policy := func(p jwtauth.Policy) error { return p.Check(t.Context(), fixture.AliceToken(t)) }
	_, unavailable := broken.Verifier.Verify(t.Context(), lost)
	_, invalidGrant := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: token})
	_, cannotIssue := w.Issuer.Issue(t.Context(), jwtauth.Grant{})
	const (
		noAnswer = `{"error":"temporarily_unavailable","error_description":"` + fixture.TextNoAnswer + `","next":"retry"}`
		badGrant = `{"error":"invalid_grant","error_description":"` + fixture.TextBadGrant + `","next":"login"}`
		mistake  = `{"error":"server_error","error_description":"` + fixture.TextMistake + `"}`
	)
	both := func(status int, code, text, next, more string) answered {
		if next != "" {
			next = `,"next":"` + next + `"`
		}
		return answered{status, `Bearer error="` + code + `", error_description="` + text + `"` + more, "", `{"error":"` + code + `","error_description":"` + text + `"` + next + `}`}
	}
	none := answered{401, `Bearer`, "", `{"error_description":"` + fixture.TextNoToken + `"}`}
	bad := both(401, "invalid_token", fixture.TextBadToken, "login", "")
	expired := both(401, "invalid_token", fixture.TextExpired, "refresh", "")
	for _, c := range []struct {
		name string
		err  error
		want answered
	}{
		{"no token", authenticate(w), none},
		{"no token, from BearerToken", fmt.Errorf("in a handler: %w", jwtauth.ErrNoToken), none},
		{"a bad token", authenticate(w, "Bearer x"), bad},
		{"a bad token, wrapped", fmt.Errorf("in a handler: %w", authenticate(w, "Bearer x")), bad},
		{"an expired token", authenticate(w, "Bearer "+w.With(map[string]any{"exp": w.Clock.Now().Unix() - 60})), expired},
		{"a refusal without details", fmt.Errorf("in a handler: %w", jwtauth.ErrRefused), bad},
		{"an expired token, said by somebody else", jwtauth.ErrTokenExpired, expired},
		{"two tokens, said by somebody else", fmt.Errorf("gateway: %w", jwtauth.ErrTokenNotAlone), both(400, "invalid_request", fixture.TextTwoTokens, "", "")},
		{"a policy, said by somebody else", jwtauth.ErrPolicy, answered{403, "", "", `{"error":"access_denied","error_description":"` + fixture.TextDenied + `"}`}},
		{"a wrong password", fmt.Errorf("login: %w", jwtauth.ErrGrantRefused), answered{400, "", "", badGrant}},
		{"a session that is gone", jwtauth.ErrNoSession, answered{400, "", "", badGrant}},
		{"two tokens", authenticate(w, "Bearer x", "Bearer y"), both(400, "invalid_request", fixture.TextTwoTokens, "", "")},
		{"a scope that is missing", policy(jwtauth.Scopes("a", "b")), both(403, "insufficient_scope", fixture.TextNoScope, "", `, scope="a b"`)},
		{"an old login", policy(jwtauth.LoginWithin(-1)), both(401, "insufficient_user_authentication", fixture.TextOldLogin, "login", `, max_age="0"`)},
		{"a bad refresh token", invalidGrant, answered{400, "", "", badGrant}},
		{"a store that is down", unavailable, answered{503, "", "1", noAnswer}},
		{"unavailable", jwtauth.ErrUnavailable, answered{503, "", "1", noAnswer}},
		{"a request that is over", context.Canceled, answered{503, "", "1", noAnswer}},
		{"a deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), answered{503, "", "1", noAnswer}},
		{"a grant that cannot be issued", cannotIssue, answered{500, "", "", mistake}},
		{"an error of somebody else", errors.New("dial tcp 10.0.0.1: password wrong"), answered{500, "", "", mistake}},
		{"no error", nil, answered{500, "", "", mistake}},
		{"an error of a policy", &jwtauth.Error{Status: 402, Code: "payment_required", Description: "pay first", Next: "pay", RetryAfter: 1500 * time.Millisecond}, answered{402, "", "2", `{"error":"payment_required","error_description":"pay first","next":"pay"}`}},
		{"one that would inject", &jwtauth.Error{Status: 401, Code: "a\"\r\nX: y", Description: `b"`}, answered{401, `Bearer`, "", `{"error":"a\"\r\nX: y","error_description":"b\""}`}},
		{"one that is no error", &jwtauth.Error{Status: 200, Code: "ok"}, answered{500, "", "", `{"error":"ok"}`}},
	} {
		require.Equal(t, c.want, answeredTo(c.err), c.name)
	}
}

func TestAClientLearnsThatATokenHasExpiredAndNothingElse(t *testing.T) {
	for _, r := range fixture.Refusals {
		w := fixture.NewStrictWorld(t)
		answer, _ := w.Get(r.Token(w))
		text, next := fixture.TextBadToken, "login"
		if r.Reason == jwtauth.ErrTokenExpired {
			text, next = fixture.TextExpired, "refresh"
		}
		require.JSONEq(t, `{"error":"invalid_token","error_description":"`+text+`","next":"`+next+`"}`, answer.Body.String(), r.Name)
		require.Equal(t, next == "refresh", strings.Contains(answer.Header().Get("WWW-Authenticate"), "expired"), r.Name)
	}
	w := fixture.NewStrictWorld(t)
	forged := w.With(map[string]any{"exp": w.Clock.Now().Unix() - 60})
	answer, _ := w.Get(forged[:len(forged)-4] + "AAAA")
	require.Contains(t, answer.Body.String(), `"next":"login"`, "a forged token is said to have expired")
	remote := fixture.NewRemote(t)
	answer, _ = remote.Get(fixture.SignWith(t, fixture.NewKey(t, jwk.ES256), map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": "unknown"}, w.Claims(map[string]any{"exp": w.Clock.Now().Unix() - 60})))
	require.Contains(t, answer.Body.String(), `"next":"login"`, "a token without a known key is said to have expired")

	refresh := w.Login("alice").RefreshToken
	w.Clock.Advance(365 * 24 * time.Hour)
	_, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: refresh})
	e, ok := errors.AsType[*jwtauth.Error](err)
	require.True(t, ok)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
	require.Equal(t, "login", e.Next, "an expired refresh token cannot be refreshed")
}

func TestWriteErrorAnswersWithProblemDetailsWhereTheyAreAccepted(t *testing.T) {
	_, err := fixture.New(t).Verifier.Verify(t.Context(), "x")
	for accept, problem := range map[string]bool{
		"application/problem+json": true, "text/html, application/problem+json;q=0.9": true, "Application/Problem+JSON": true, "application/json,application/problem+json": true,
		"": false, "application/json": false, "*/*": false, "application/*": false, "application/problem+xml": false, "application/problem+jsonx": false,
	} {
		r := fixture.Request("GET", "/")
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
		require.JSONEq(t, `{"type":"about:blank","title":"Unauthorized","status":401,"error":"invalid_token","next":"login","detail":"`+fixture.TextBadToken+`"}`, answer.Body.String())
	}
	require.Equal(t, `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"`+fixture.TextNoToken+`"}`, answeredTo(jwtauth.ErrNoToken, "text/html", "application/problem+json").body)
	jwtauth.WriteError(httptest.NewRecorder(), nil, err) // for which there is no Accept
}

func TestWriteTokensAnswersAsRFC6749Says(t *testing.T) {
	w := fixture.New(t)
	r := w.Login("alice", "read", "write")
	answer := httptest.NewRecorder()
	jwtauth.WriteTokens(answer, r)
	require.Equal(t, http.StatusOK, answer.Code)
	require.Equal(t, "application/json", answer.Header().Get("Content-Type"))
	require.Equal(t, "no-store", answer.Header().Get("Cache-Control"))
	var body map[string]any
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &body))
	require.Equal(t, map[string]any{"access_token": r.AccessToken, "token_type": "Bearer", "expires_in": 900.0, "refresh_token": r.RefreshToken, "scope": "read write", "refresh_token_timeout": 604800.0, "authorization_expires_in": 2592000.0}, body)
}

func TestAnErrorIsFoundBehindOthers(t *testing.T) {
	_, err := fixture.New(t).Verifier.Verify(t.Context(), "x")
	e, ok := errors.AsType[*jwtauth.Error](fmt.Errorf("in a handler: %w", errors.Join(io.EOF, err)))
	require.True(t, ok)
	require.Equal(t, "form", e.Check)
	require.Equal(t, http.StatusUnauthorized, e.Status)
	require.Equal(t, "invalid_token", e.Code)
}
