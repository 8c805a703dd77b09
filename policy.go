package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// Policy is a rule about a verified token. It is used by [Middleware.With], by
// VerifierOptions.Checks and, in RPC servers, by [Policy.Check]. [Scopes], [AnyScope],
// [LoginWithin], [TokenPolicy], [ClaimsPolicy] and [RequestPolicy] make one. A Policy is
// immutable and safe for concurrent use. The zero Policy allows nothing.
//
// TokenPolicy, ClaimsPolicy and RequestPolicy make a Policy from a function of the program.
// The function refuses a token if it returns false or an error that matches ErrRefused. An
// *[Error] keeps its own Status and Code. Any other error is ErrUnavailable, a 503.
type Policy struct {
	name    string
	allow   func(ctx context.Context, r *http.Request, t Token) (bool, error)
	refusal func(t Token) *Error // makes the error of a refusal; nil means that the caller of evaluate makes it
	// needsRequest says that allow needs r, which is nil outside of a Middleware.
	needsRequest bool
	mistake      error // why the policy cannot be used; nil if it can
}

// findMistake returns why the policy cannot be used; nil if it can.
func (p *Policy) findMistake() error {
	switch {
	case p.mistake != nil:
		return p.mistake
	case p.allow == nil:
		return errors.New("the zero Policy allows nothing: make one with Scopes, TokenPolicy and the like")
	}
	return nil
}

// evaluate returns nil if the policy allows the token. r is nil outside of a Middleware. If
// p.refusal is nil, the parameter refusal makes the error of a refusal.
func (p *Policy) evaluate(ctx context.Context, r *http.Request, t Token, refusal func() *Error) error {
	if err := p.findMistake(); err != nil {
		return unavailable(policyCheckName, err)
	}
	if p.needsRequest && r == nil {
		e := refusal()
		e.Check, e.cause = p.name, errNeedsRequest
		return e
	}
	allowed, err := p.allow(ctx, r, t)
	if err == nil && allowed {
		return nil
	}
	if p.refusal != nil {
		refusal = func() *Error { return p.refusal(t) }
	}
	if err != nil {
		return errorFromProgram(p.name, err, refusal)
	}
	e := refusal()
	if e.Check == "" {
		e.Check = p.name
	}
	return e
}

// policyCheckName is the Check of an error if a policy was made with a mistake, or the
// token is zero.
const policyCheckName = "policy"

var errNeedsRequest = errors.New("a RequestPolicy needs a request: use it with Middleware.With")

// Check asks the policy about a verified token without a request, for RPC. Its error is an
// *[Error] that matches ErrPolicy or ErrUnavailable. A [RequestPolicy] refuses every token.
func (p Policy) Check(ctx context.Context, t Token) error {
	if t.isZero() {
		e := refusedByPolicy()
		e.Check, e.cause = policyCheckName, ErrNoToken
		return e
	}
	return p.evaluate(ctx, nil, t, refusedByPolicy)
}

// refusedByPolicy returns the refusal of a request by a policy: 403 access_denied.
func refusedByPolicy() *Error {
	return newError(http.StatusForbidden, codeAccessDenied, ErrRefused, ErrPolicy, nil)
}

// Scopes allows tokens that have all of the scopes (RFC 6749, section 3.3). Others get 403
// insufficient_scope with the scopes that are needed (RFC 6750, section 3.1). It is a
// mistake to give no scope, or a text that is not a scope; see [Middleware.With].
func Scopes(all ...string) Policy {
	return scopePolicy("Scopes", all, func(t Token, scopes []string) bool {
		return !slices.ContainsFunc(scopes, func(s string) bool { return !t.HasScope(s) })
	})
}

// AnyScope allows tokens that have at least one of the scopes. Otherwise it is like [Scopes].
func AnyScope(some ...string) Policy {
	return scopePolicy("AnyScope", some, func(t Token, scopes []string) bool { return slices.ContainsFunc(scopes, t.HasScope) })
}

func scopePolicy(function string, scopes []string, isEnough func(Token, []string) bool) Policy {
	scopes = slices.Clone(scopes)
	if len(scopes) == 0 || slices.ContainsFunc(scopes, func(s string) bool { return !isScope(s) }) {
		return Policy{mistake: fmt.Errorf("%s needs scopes of RFC 6749, section 3.3, got %s", function, errtext.QuoteList(scopes))}
	}
	needed := strings.Join(scopes, " ")
	return Policy{
		name: "scope",
		allow: func(_ context.Context, _ *http.Request, t Token) (bool, error) {
			return isEnough(t, scopes), nil
		},
		refusal: func(t Token) *Error {
			e := newError(http.StatusForbidden, codeScope, ErrRefused, ErrPolicy, nil)
			e.Check, e.Expected, e.Got = "scope", needed, errtext.QuoteList(t.Scopes())
			e.challenge.scope = needed
			return e
		},
	}
}

// LoginWithin allows tokens whose user logged in (auth_time) at most d ago. Others, and
// tokens without auth_time, get 401 insufficient_user_authentication with max_age: the
// client then has the user log in again (RFC 9470). A refresh does not change auth_time.
// If d is less than a second, no token is allowed.
func LoginWithin(d time.Duration) Policy {
	return Policy{
		name: "login_age",
		allow: func(_ context.Context, _ *http.Request, t Token) (bool, error) {
			now := t.verifiedAt
			if now.IsZero() {
				now = time.Now()
			}
			age := now.Sub(t.AuthTime)
			return d >= time.Second && !t.AuthTime.IsZero() && age <= d && age >= -bound.Leeway, nil
		},
		refusal: func(t Token) *Error {
			e := newError(http.StatusUnauthorized, codeLoginTooOld, ErrRefused, ErrPolicy, nil)
			e.Check, e.Expected, e.Got = "login_age", "a login at most "+d.String()+" ago", errtext.Time(t.AuthTime)
			e.challenge.maxAge = strconv.Itoa(int(max(d, 0).Seconds()))
			return e
		},
	}
}

// TokenPolicy makes a Policy of a function that needs only the token. Errors and events
// contain name. It has 1 to 64 characters: ASCII letters, digits, underscores, hyphens and
// dots. With [Middleware.With], a refusal is 403 access_denied. In VerifierOptions.Checks,
// it is 401 invalid_token. The client does not see the text of an error. allow is called
// from many goroutines at a time.
func TokenPolicy(name string, allow func(ctx context.Context, t Token) (bool, error)) Policy {
	if allow == nil {
		return Policy{mistake: errors.New("TokenPolicy needs a function")}
	}
	return programPolicy(name, false, func(ctx context.Context, _ *http.Request, t Token) (bool, error) { return allow(ctx, t) })
}

// ClaimsPolicy is a [TokenPolicy] with typed claims; see [ClaimsAs]. It refuses a token
// whose claims do not decode into a T, so that the handler can rely on the claims. If
// allow is nil, all other tokens are allowed.
func ClaimsPolicy[T any](name string, allow func(ctx context.Context, t Token, claims T) (bool, error)) Policy {
	return programPolicy(name, false, func(ctx context.Context, _ *http.Request, t Token) (bool, error) {
		claims, err := ClaimsAs[T](t)
		if err != nil || allow == nil {
			return err == nil, err
		}
		return allow(ctx, t, claims)
	})
}

// RequestPolicy makes a Policy of a function that looks at the request, such as at its path.
// It works only with [Middleware.With]: [Policy.Check] refuses every token, and in
// VerifierOptions.Checks it is an error of NewVerifier. Otherwise it is like [TokenPolicy].
func RequestPolicy(name string, allow func(r *http.Request, t Token) (bool, error)) Policy {
	if allow == nil {
		return Policy{mistake: errors.New("RequestPolicy needs a function")}
	}
	return programPolicy(name, true, func(_ context.Context, r *http.Request, t Token) (bool, error) { return allow(r, t) })
}

func programPolicy(name string, needsRequest bool, allow func(context.Context, *http.Request, Token) (bool, error)) Policy {
	if !isPolicyName(name) {
		return Policy{mistake: fmt.Errorf("the name of a policy must have 1 to 64 characters: letters, digits, '_', '-' or '.'; got %s", errtext.Quote(name))}
	}
	return Policy{name: name, allow: allow, needsRequest: needsRequest}
}

func isPolicyName(name string) bool {
	isAllowed := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
	}
	return name != "" && len(name) <= 64 && !slices.ContainsFunc([]byte(name), func(c byte) bool { return !isAllowed(c) })
}
