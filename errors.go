package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The two roots. Every error of this package about a request is one or the
// other: refused means that the answer is no, unavailable that there is no
// answer. What is neither is a mistake in the program that calls it, such as a
// [Grant] that cannot be issued.
var (
	ErrRefused     = errors.New("refused")
	ErrUnavailable = errors.New("unavailable")
)

// The reasons for which a token, a grant or a request is refused. Each matches
// ErrRefused, and the error that golang-jwt has for the same reason, so that
// errors.Is(err, jwt.ErrTokenExpired) keeps its meaning. A hook, a policy or a
// TokenVerifier may return one of them as it is.
var (
	ErrNoToken          = reason("no token")                                        // none was presented
	ErrTokenNotAlone    = reason("more than one token")                             // RFC 6750, section 2: one method, once
	ErrTokenMalformed   = reason("malformed", jwt.ErrTokenMalformed)                // size, form, header, JSON, a claim of a wrong type
	ErrTokenType        = reason("wrong typ", jwt.ErrTokenUnverifiable)             // another kind of token (RFC 8725, section 3.11)
	ErrTokenKey         = reason("no key for it", jwt.ErrTokenUnverifiable)         // alg and kid name no key in use
	ErrTokenSignature   = reason("bad signature", jwt.ErrTokenSignatureInvalid)     // not made with that key
	ErrTokenIssuer      = reason("wrong issuer", jwt.ErrTokenInvalidIssuer)         // iss
	ErrTokenAudience    = reason("wrong audience", jwt.ErrTokenInvalidAudience)     // aud
	ErrTokenExpired     = reason("expired", jwt.ErrTokenExpired)                    // exp
	ErrTokenNotYetValid = reason("not valid yet", jwt.ErrTokenNotValidYet)          // nbf or iat lies ahead
	ErrTokenTooLong     = reason("lives too long")                                  // exp is too far from iat, or iat too long ago
	ErrTokenClaim       = reason("claim missing", jwt.ErrTokenRequiredClaimMissing) // exp, sub, jti, iat or one of RequiredClaims
	ErrTokenBound       = reason("bound to a sender")                               // cnf: not a bearer token (RFC 7800)
	ErrTokenCheck       = reason("refused by a check", jwt.ErrTokenInvalidClaims)   // VerifierOptions.Check
	ErrTokenRevoked     = reason("revoked")                                         // it, or its session
	ErrTokenReused      = reason("reused")                                          // a refresh token that was redeemed before
	ErrNoSession        = reason("no session")                                      // ended, expired or never there
	ErrGrantRefused     = reason("grant refused")                                   // for IssuerOptions.Reload, or a wrong password
	ErrPolicy           = reason("refused by a policy")                             // scope, age of the login, or the caller's own
)

// refusal is a reason: an error that matches ErrRefused and those of another
// library that mean the same.
type refusal struct {
	text  string
	kinds []error
}

func reason(text string, same ...error) error {
	return &refusal{text, append([]error{ErrRefused}, same...)}
}

func (r *refusal) Error() string   { return r.text }
func (r *refusal) Unwrap() []error { return r.kinds }

// Error is what a refusal or a missing answer consists of: what the client may
// see, and what the log may see. It matches its root, its reason and its cause
// with [errors.Is], and is itself found with [errors.AsType]. Nothing in it is
// a token, a secret or a signature.
type Error struct {
	// For the client. Code is an error code of RFC 6749, RFC 6750 or RFC 9470,
	// empty where no token was presented (RFC 6750, section 3.1); Description is
	// one fixed text for each code.
	Status            int
	Code, Description string
	RetryAfter        time.Duration // of 503; 0 otherwise

	// For the log. Check is the name of the check that failed, from a bounded
	// set: fit for the label of a metric. Expected and Got are texts of bounded
	// length; Got may have come from a stranger.
	Check         string
	Expected, Got string

	root, reason, cause error
	challenge           challenge
}

// challenge is what a WWW-Authenticate header holds beside the code.
type challenge struct {
	realm, resourceMetadata, scope, maxAge string
}

// Error tells everything that the log may know, on one line.
func (e *Error) Error() string {
	if e == nil {
		return "jwtauth: a nil *Error"
	}
	var b strings.Builder
	b.WriteString("jwtauth: ")
	if e.root != nil {
		b.WriteString(e.root.Error())
	} else {
		b.WriteString(strconv.Itoa(e.Status))
	}
	for _, err := range []error{e.reason, e.cause} {
		if err != nil {
			b.WriteString(": ")
			b.WriteString(strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	if e.Check != "" {
		fmt.Fprintf(&b, " (check %s", e.Check)
		if e.Expected != "" {
			fmt.Fprintf(&b, ", expected %s", e.Expected)
		}
		if e.Got != "" {
			fmt.Fprintf(&b, ", got %s", e.Got)
		}
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap returns the root, the reason and the cause, as far as there are any.
func (e *Error) Unwrap() []error {
	if e == nil {
		return nil
	}
	errs := make([]error, 0, 3)
	for _, err := range []error{e.root, e.reason, e.cause} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// The error codes.
const (
	codeInvalidRequest = "invalid_request"                  // RFC 6750
	codeInvalidToken   = "invalid_token"                    // RFC 6750
	codeScope          = "insufficient_scope"               // RFC 6750
	codeLoginTooOld    = "insufficient_user_authentication" // RFC 9470
	codeInvalidGrant   = "invalid_grant"                    // RFC 6749
	codeAccessDenied   = "access_denied"                    // RFC 6749
	codeUnavailable    = "temporarily_unavailable"          // RFC 6749
	codeServerError    = "server_error"                     // RFC 6749
)

// describe is the one text that clients get with a code.
func describe(code string) string {
	switch code {
	case "":
		return "authentication is required"
	case codeInvalidRequest:
		return "exactly one access token in one place is expected"
	case codeInvalidToken:
		return "the access token is malformed, expired, revoked or not meant for this service"
	case codeScope:
		return "the access token does not have the scope that this request needs"
	case codeLoginTooOld:
		return "this request needs a more recent login"
	case codeInvalidGrant:
		return "the login or the refresh token is wrong, expired, revoked or has been used before"
	case codeAccessDenied:
		return "this request is not allowed"
	case codeUnavailable:
		return "the request could not be authenticated just now; try again"
	default:
		return "the request could not be processed"
	}
}

func newError(status int, code string, root, reason, cause error) *Error {
	return &Error{Status: status, Code: code, Description: describe(code), root: root, reason: reason, cause: cause}
}

// refused is a refusal of a token: 401 invalid_token.
func refused(check string, reason error, expected, got string) *Error {
	e := newError(401, codeInvalidToken, ErrRefused, reason, nil)
	e.Check, e.Expected, e.Got = check, expected, got
	return e
}

// noAnswer is an unavailable, with what kept the answer away: 503, worth
// another try in a second.
func noAnswer(check string, cause error) *Error {
	if known, ok := errors.AsType[*Error](cause); ok && known != nil && known.root == ErrUnavailable {
		return known
	}
	if errors.Is(cause, ErrRefused) {
		cause = errors.New(cause.Error()) // somebody else's refusal is none of ours
	}
	e := newError(503, codeUnavailable, ErrUnavailable, nil, cause)
	e.Check, e.RetryAfter = check, time.Second
	return e
}

// fromCaller is what the error of a hook or policy means: an *Error speaks for
// itself, no answer is none, and any other one becomes what other makes of it.
func fromCaller(check string, err error, other func() *Error) *Error {
	e, ok := errors.AsType[*Error](err)
	switch {
	case ok && e != nil && (e.root == ErrUnavailable || !isNoAnswer(err)):
		own := *e
		if own.root == nil {
			own.root = ErrRefused
			if own.Status >= 500 || own.Status < 400 {
				own.root = ErrUnavailable
			}
		}
		if own.Check == "" {
			own.Check = check
		}
		return &own
	case ok && e == nil:
		return noAnswer(check, errors.New("a nil *Error was returned as an error"))
	case isNoAnswer(err):
		return noAnswer(check, err)
	}
	e = other()
	e.Check, e.cause = check, err
	return e
}

// asGrant is the same refusal as the answer of a token endpoint: 400
// invalid_grant (RFC 6749, section 5.2). What is no refusal stays as it is.
func asGrant(e *Error) *Error {
	if e.root != ErrRefused {
		return e
	}
	g := *e
	g.Status, g.Code, g.Description = 400, codeInvalidGrant, describe(codeInvalidGrant)
	return &g
}

// asError finds the *Error that an answer to err is made from, for errors that
// have passed through other hands, too.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok && e != nil && (e.root != ErrRefused || !isNoAnswer(err)) {
		return e
	}
	switch {
	case isNoAnswer(err): // also where a refusal is joined with it
		return noAnswer("", err)
	case errors.Is(err, ErrNoToken):
		return newError(401, "", ErrRefused, ErrNoToken, err)
	case errors.Is(err, ErrTokenNotAlone):
		return newError(400, codeInvalidRequest, ErrRefused, ErrTokenNotAlone, err)
	case errors.Is(err, ErrGrantRefused), errors.Is(err, ErrNoSession), errors.Is(err, ErrTokenReused):
		return newError(400, codeInvalidGrant, ErrRefused, nil, err)
	case errors.Is(err, ErrPolicy):
		return newError(403, codeAccessDenied, ErrRefused, ErrPolicy, err)
	case errors.Is(err, ErrRefused):
		return newError(401, codeInvalidToken, ErrRefused, nil, err)
	default:
		return newError(500, codeServerError, nil, nil, err)
	}
}

// isNoAnswer says whether err means that a question could not be answered.
func isNoAnswer(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// maxQuoted bounds what an error repeats of a text that a stranger sent.
const maxQuoted = 64

// quoted makes a text fit for an error: escaped and of bounded length.
func quoted(s string) string {
	if len(s) > maxQuoted {
		return strconv.Quote(s[:maxQuoted]) + "…"
	}
	return strconv.Quote(s)
}
