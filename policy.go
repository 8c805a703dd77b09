package jwtauth

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// Policy decides whether a request with a verified token may pass: nil means yes. An
// *[Error] decides about its own answer, ErrUnavailable is a 503, and any other error is a
// 403 access_denied; the client does not see its text. A Policy is called from many
// goroutines at a time.
type Policy func(r *http.Request, t Token) error

// Scopes allows tokens that have all of the scopes (RFC 6749, section 3.3). Others get 403
// insufficient_scope with the scopes that are needed (RFC 6750, section 3.1). Without a
// scope, or with a text that is not a scope, it allows no token.
func Scopes(all ...string) Policy {
	return scopePolicy(all, func(t Token, scopes []string) bool {
		return !slices.ContainsFunc(scopes, func(s string) bool { return !t.HasScope(s) })
	})
}

// AnyScope allows tokens that have at least one of the scopes. Otherwise it is like
// [Scopes].
func AnyScope(any ...string) Policy {
	return scopePolicy(any, func(t Token, scopes []string) bool { return slices.ContainsFunc(scopes, t.HasScope) })
}

func scopePolicy(scopes []string, enough func(Token, []string) bool) Policy {
	scopes = slices.Clone(scopes)
	if len(scopes) == 0 || slices.ContainsFunc(scopes, func(s string) bool { return !isScope(s) }) {
		return func(*http.Request, Token) error {
			return fmt.Errorf("a policy needs scopes of RFC 6749, section 3.3, got %s", errtext.QuoteList(scopes))
		}
	}
	needed := strings.Join(scopes, " ")
	return func(_ *http.Request, t Token) error {
		if enough(t, scopes) {
			return nil
		}
		e := newError(http.StatusForbidden, codeScope, ErrRefused, ErrPolicy, nil)
		e.Check, e.Expected, e.Got = "scope", needed, errtext.QuoteList(t.Scopes())
		e.challenge.scope = needed
		return e
	}
}

// LoginWithin allows tokens whose user logged in (auth_time) at most d ago. Others, and
// tokens without auth_time, get 401 insufficient_user_authentication with max_age: the
// client then has the user log in again (RFC 9470). Refreshing does not make a login
// younger. A d of less than a second allows no token.
func LoginWithin(d time.Duration) Policy {
	return func(_ *http.Request, t Token) error {
		now := t.at
		if now.IsZero() {
			now = time.Now()
		}
		age := now.Sub(t.AuthTime)
		if d >= time.Second && !t.AuthTime.IsZero() && age <= d && age >= -bound.Leeway {
			return nil
		}
		e := newError(http.StatusUnauthorized, codeLoginTooOld, ErrRefused, ErrPolicy, nil)
		e.Check, e.Expected, e.Got = "login_age", "a login at most "+d.String()+" ago", errtext.Time(t.AuthTime)
		e.challenge.maxAge = strconv.Itoa(int(max(d, 0).Seconds()))
		return e
	}
}
