package jwtauth

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Policy says whether a request with a verified token may pass: nil lets it. An
// *[Error] speaks for itself, ErrUnavailable is answered with 503, any other
// error with 403 access_denied; the client does not see its text. It is called
// from many goroutines at a time.
type Policy func(r *http.Request, t Token) error

// Scopes lets tokens pass that have all of the scopes (RFC 6749, section 3.3);
// others get 403 insufficient_scope with the scopes that are needed (RFC 6750,
// section 3.1). Without a scope, or with one that is none, it lets no token
// pass.
func Scopes(all ...string) Policy {
	return scopePolicy(all, func(t Token, scopes []string) bool {
		return !slices.ContainsFunc(scopes, func(s string) bool { return !t.HasScope(s) })
	})
}

// AnyScope lets tokens pass that have at least one of the scopes; otherwise it is
// like [Scopes].
func AnyScope(any ...string) Policy {
	return scopePolicy(any, func(t Token, scopes []string) bool { return slices.ContainsFunc(scopes, t.HasScope) })
}

func scopePolicy(scopes []string, enough func(Token, []string) bool) Policy {
	scopes = slices.Clone(scopes)
	if len(scopes) == 0 || slices.ContainsFunc(scopes, func(s string) bool { return !isScope(s) }) {
		return func(*http.Request, Token) error {
			return fmt.Errorf("a policy needs scopes of RFC 6749, section 3.3, got %s", quotedList(scopes))
		}
	}
	needed := strings.Join(scopes, " ")
	return func(_ *http.Request, t Token) error {
		if enough(t, scopes) {
			return nil
		}
		e := newError(http.StatusForbidden, codeScope, ErrRefused, ErrPolicy, nil)
		e.Check, e.Expected, e.Got = "scope", needed, quotedList(t.Scopes())
		e.challenge.scope = needed
		return e
	}
}

// LoginWithin lets tokens pass whose user logged in (auth_time) at most d ago;
// others, and tokens without auth_time, get 401
// insufficient_user_authentication with max_age, on which the client has the
// user log in again (RFC 9470). Refreshing does not make a login younger.
// Durations that are not at least a second let no token pass.
func LoginWithin(d time.Duration) Policy {
	return func(_ *http.Request, t Token) error {
		now := t.at
		if now.IsZero() {
			now = time.Now()
		}
		age := now.Sub(t.AuthTime)
		if d >= time.Second && !t.AuthTime.IsZero() && age <= d && age >= -maxLeeway {
			return nil
		}
		e := newError(http.StatusUnauthorized, codeLoginTooOld, ErrRefused, ErrPolicy, nil)
		e.Check, e.Expected, e.Got = "login_age", "a login at most "+d.String()+" ago", when(t.AuthTime)
		e.challenge.maxAge = strconv.Itoa(int(max(d, 0).Seconds()))
		return e
	}
}

// policyError is what the error of a policy means.
func policyError(err error) error {
	return fromCaller("policy", err, func() *Error {
		return newError(http.StatusForbidden, codeAccessDenied, ErrRefused, ErrPolicy, nil)
	})
}
