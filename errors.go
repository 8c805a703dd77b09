package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fault"
	"github.com/jwtauth-go/jwtauth/internal/hook"
	"github.com/jwtauth-go/jwtauth/internal/wire"
)

// The two roots. Every error of this package about a request matches one of them:
// ErrRefused means that the answer is no, ErrUnavailable that there is no answer. An
// error that matches neither is a mistake in the program, such as a [Grant] that
// cannot be issued.
var (
	ErrRefused     = fault.ErrRefused
	ErrUnavailable = fault.ErrUnavailable
)

// The reasons for which a token, a grant or a request is refused. Each matches
// ErrRefused and, if golang-jwt has an error for the same reason, that error too, so
// that errors.Is(err, jwt.ErrTokenExpired) keeps its meaning. A function of the program,
// such as a policy or a TokenVerifier, may return one of them to say no.
var (
	ErrNoToken          = newReason("no token")                                        // no token was presented
	ErrTokenNotAlone    = newReason("more than one token")                             // RFC 6750, section 2: one method, once
	ErrTokenMalformed   = newReason("malformed", jwt.ErrTokenMalformed)                // size, form, header, JSON, a claim of a wrong type
	ErrTokenType        = newReason("wrong typ", jwt.ErrTokenUnverifiable)             // another kind of token (RFC 8725, section 3.11)
	ErrTokenKey         = newReason("no key for it", jwt.ErrTokenUnverifiable)         // alg and kid name no key in use
	ErrTokenSignature   = newReason("bad signature", jwt.ErrTokenSignatureInvalid)     // not made with that key
	ErrTokenIssuer      = newReason("wrong issuer", jwt.ErrTokenInvalidIssuer)         // iss
	ErrTokenAudience    = newReason("wrong audience", jwt.ErrTokenInvalidAudience)     // aud
	ErrTokenExpired     = newReason("expired", jwt.ErrTokenExpired)                    // exp
	ErrTokenNotYetValid = newReason("not valid yet", jwt.ErrTokenNotValidYet)          // nbf or iat is in the future
	ErrTokenTooLong     = newReason("lives too long")                                  // exp is too far from iat, or iat too long ago
	ErrTokenClaim       = newReason("claim missing", jwt.ErrTokenRequiredClaimMissing) // exp, sub, jti, iat or one of RequiredClaims
	ErrTokenBound       = newReason("bound to a sender")                               // cnf: not a bearer token (RFC 7800)
	ErrTokenCheck       = newReason("refused by a check", jwt.ErrTokenInvalidClaims)   // VerifierOptions.Checks
	ErrTokenRevoked     = newReason("revoked")                                         // the token or its session
	ErrTokenReused      = newReason("reused")                                          // a refresh token that was redeemed before
	ErrNoSession        = newReason("no session")                                      // it has ended, or never was there
	ErrGrantRefused     = newReason("grant refused")                                   // for IssuerOptions.Reload
	ErrPolicy           = newReason("refused by a policy")                             // scope, age of the login, or a policy of the program
)

// reason is an error that matches ErrRefused and the errors of golang-jwt that mean
// the same.
type reason struct {
	text    string
	matches []error
}

func newReason(text string, matches ...error) error {
	return &reason{text, append([]error{ErrRefused}, matches...)}
}

func (r *reason) Error() string   { return r.text }
func (r *reason) Unwrap() []error { return r.matches }

// Error is a refusal or a missing answer. It separates what the client may see from
// what the log may see, and holds no token, secret or signature. It matches its root,
// its reason and its cause with [errors.Is]; find it with [errors.AsType].
type Error struct {
	// For the client. Code is an error code of RFC 6749, RFC 6750 or RFC 9470; it is
	// empty if no token was presented (RFC 6750, section 3.1). Each code has a few
	// fixed Descriptions.
	Status            int
	Code, Description string
	// Next is what the client can do: "refresh" if the access token has expired, "login"
	// if the user has to log in again, "retry" if there was no answer, and otherwise "".
	// Why a token was refused is told no closer: one that was revoked, forged or made for
	// another service is "login".
	Next       string
	RetryAfter time.Duration // of a 503; otherwise 0

	// For the log. Check is the name of the check that failed, from a bounded set, so
	// that it can be the label of a metric. Expected and Got are of bounded length. Got
	// may come from a stranger.
	Check         string
	Expected, Got string

	root, reason, cause error
	challenge           challenge
}

// challenge are the parameters of a WWW-Authenticate header besides the code.
type challenge struct {
	realm, resourceMetadata, scope, maxAge string
}

// Error returns everything that the log may see, on one line.
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

// Unwrap returns those of the root, the reason and the cause that are set.
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
	codeUnavailable    = wire.CodeUnavailable               // RFC 6749
	codeServerError    = "server_error"                     // RFC 6749
)

// describe returns the text that clients get with a code.
func describe(code string) string {
	switch code {
	case "":
		return "authentication is required"
	case codeInvalidRequest:
		return "exactly one access token in one place is expected"
	case codeInvalidToken:
		return "the access token is malformed, revoked or not meant for this service"
	case codeScope:
		return "the access token does not have the scope that this request needs"
	case codeLoginTooOld:
		return "this request needs a more recent login"
	case codeInvalidGrant:
		return "the login or the refresh token is wrong, expired, revoked or has been used before"
	case codeAccessDenied:
		return "this request is not allowed"
	case codeUnavailable:
		return wire.DescriptionUnavailable
	default:
		return "the request could not be processed"
	}
}

// The values of Error.Next, and the description of an access token that has expired. It
// is the only one with the word expired in its challenge.
const (
	nextRefresh = "refresh"
	nextLogin   = "login"

	descriptionExpired = "the access token has expired"
)

// nextStep returns what a client can do after a code.
func nextStep(code string) string {
	switch code {
	case codeInvalidToken, codeInvalidGrant, codeLoginTooOld:
		return nextLogin
	case codeUnavailable:
		return wire.NextUnavailable
	default:
		return ""
	}
}

func newError(status int, code string, root, reason, cause error) *Error {
	return &Error{Status: status, Code: code, Description: describe(code), Next: nextStep(code), root: root, reason: reason, cause: cause}
}

// badToken returns the refusal of an access token: 401 invalid_token. why is the reason, or
// matches it.
func badToken(err, reason, cause error) *Error {
	e := newError(401, codeInvalidToken, ErrRefused, reason, cause)
	if errors.Is(err, ErrTokenExpired) {
		e.Description, e.Next = descriptionExpired, nextRefresh
	}
	return e
}

// refused returns the refusal of a token: 401 invalid_token.
func refused(check string, reason error, expected, got string) *Error {
	e := badToken(reason, reason, nil)
	e.Check, e.Expected, e.Got = check, expected, got
	return e
}

// malformed returns the refusal of a token that cannot be read. err repeats at most a
// name out of the token.
func malformed(check string, err error) *Error {
	e := refused(check, ErrTokenMalformed, "", "")
	e.cause = err
	return e
}

// notAloneError returns 400 invalid_request (RFC 6750, section 3.1).
func notAloneError() error {
	e := newError(400, codeInvalidRequest, ErrRefused, ErrTokenNotAlone, nil)
	e.Check = "alone"
	return e
}

// errorClass is what an error means for the request.
type errorClass int

const (
	classRefused     errorClass = iota // the answer is no
	classUnavailable                   // there is no answer
	classOther                         // the error is of neither root
)

// classify returns what err means, and the *Error in its tree if that decides about
// the answer. It is the only place where this is decided. No answer is stronger than a
// refusal: if err matches both, the question was not answered.
func classify(err error) (errorClass, *Error) {
	e, _ := errors.AsType[*Error](err)
	switch {
	case e != nil && e.root == ErrUnavailable:
		return classUnavailable, e
	case fault.IsUnavailable(err):
		return classUnavailable, nil
	case e != nil && e.root == nil && (e.Status < 400 || e.Status >= 500): // made by the program
		return classUnavailable, e
	case e != nil:
		return classRefused, e
	case errors.Is(err, ErrRefused):
		return classRefused, nil
	}
	return classOther, nil
}

// isRefusalFor reports whether err is a refusal for that reason.
func isRefusalFor(err, reason error) bool {
	m, _ := classify(err)
	return m == classRefused && errors.Is(err, reason)
}

// unavailable returns a missing answer: 503, to be tried again in a second.
func unavailable(check string, cause error) *Error {
	if m, known := classify(cause); m == classUnavailable && known != nil && known.root == ErrUnavailable {
		return known
	}
	if errors.Is(cause, ErrRefused) {
		cause = errors.New(cause.Error()) // it is not a refusal of this request
	}
	e := newError(503, codeUnavailable, ErrUnavailable, nil, cause)
	e.Check, e.RetryAfter = check, wire.RetryAfterUnavailable
	return e
}

// errorFromProgram returns what the error of a function of the program means. An *Error
// decides about its own answer. For another error that matches ErrRefused, refusal makes
// the answer. Any other error is no answer.
func errorFromProgram(check string, err error, refusal func() *Error) *Error {
	m, found := classify(err)
	if found != nil {
		e := *found
		if e.root == nil {
			e.root = ErrRefused
			if m == classUnavailable {
				e.root = ErrUnavailable
			}
		}
		if e.Check == "" {
			e.Check = check
		}
		return &e
	}
	if nilError, ok := errors.AsType[*Error](err); ok && nilError == nil {
		return unavailable(check, errors.New("a nil *Error was returned as an error"))
	}
	if m != classRefused {
		return unavailable(check, err)
	}
	e := refusal()
	e.Check, e.cause = check, err
	return e
}

// asGrantError makes a refusal the answer of a token endpoint: 400 invalid_grant
// (RFC 6749, section 5.2). No answer stays as it is.
func asGrantError(err error) error {
	e := asError(err)
	if e.root != ErrRefused {
		return e
	}
	g := *e
	g.Status, g.Code, g.Description, g.Next = 400, codeInvalidGrant, describe(codeInvalidGrant), nextLogin
	return &g
}

// asError returns the *Error that the answer to err is made from.
func asError(err error) *Error {
	m, own := classify(err)
	switch {
	case own != nil:
		return own
	case m == classUnavailable:
		return unavailable("", err)
	case m == classOther:
		return newError(500, codeServerError, nil, nil, err)
	case errors.Is(err, ErrNoToken):
		return newError(401, "", ErrRefused, ErrNoToken, err)
	case errors.Is(err, ErrTokenNotAlone):
		return newError(400, codeInvalidRequest, ErrRefused, ErrTokenNotAlone, err)
	case errors.Is(err, ErrGrantRefused), errors.Is(err, ErrNoSession), errors.Is(err, ErrTokenReused):
		return newError(400, codeInvalidGrant, ErrRefused, nil, err)
	case errors.Is(err, ErrPolicy):
		return newError(403, codeAccessDenied, ErrRefused, ErrPolicy, err)
	default:
		return badToken(err, nil, err)
	}
}

// sendFailure sends the event of a failure: Unavailable if err is no answer, and kind
// otherwise. Its Reason is the check that failed.
func sendFailure(ctx context.Context, h hook.Hook, kind event.Kind, e event.Event, err error) {
	if h == nil {
		return
	}
	e.Kind, e.Err = kind, err
	m, own := classify(err)
	if m == classUnavailable {
		e.Kind = event.Unavailable
	}
	if own != nil {
		e.Reason = own.Check
	}
	h(ctx, e)
}
