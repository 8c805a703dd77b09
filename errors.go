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
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/fault"
	"github.com/jwtauth-go/jwtauth/internal/hook"
	"github.com/jwtauth-go/jwtauth/internal/wire"
)

// The two root errors. Every error of this package about a request matches one of them.
// ErrRefused means that the token, the grant or the request is bad. ErrUnavailable means
// that the library could not decide whether to refuse, for example because a store failed.
// If an error matches both, ErrUnavailable wins. An error that matches neither is a mistake
// in the program, such as a [Grant] that cannot be issued.
var (
	ErrRefused     = fault.ErrRefused
	ErrUnavailable = fault.ErrUnavailable
)

// The reasons for which a token, a grant or a request is refused. Each matches ErrRefused
// and, if golang-jwt has an error for the same reason, that error too, so that
// errors.Is(err, jwt.ErrTokenExpired) keeps its meaning. A function of the program, such
// as a policy or a TokenVerifier, may return one of them to refuse a request.
var (
	ErrNoToken          = newReason("no token")                                        // no token was presented
	ErrTokenNotAlone    = newReason("more than one token")                             // the request has more than one token (RFC 6750, section 2)
	ErrTokenMalformed   = newReason("malformed", jwt.ErrTokenMalformed)                // the size, the form, the header, the JSON, or the type of a claim is wrong
	ErrTokenType        = newReason("wrong typ", jwt.ErrTokenUnverifiable)             // another kind of token (RFC 8725, section 3.11)
	ErrTokenKey         = newReason("no key for it", jwt.ErrTokenUnverifiable)         // alg and kid of the header name no key in use
	ErrTokenSignature   = newReason("bad signature", jwt.ErrTokenSignatureInvalid)     // the key did not make the signature
	ErrTokenIssuer      = newReason("wrong issuer", jwt.ErrTokenInvalidIssuer)         // iss
	ErrTokenAudience    = newReason("wrong audience", jwt.ErrTokenInvalidAudience)     // aud
	ErrTokenExpired     = newReason("expired", jwt.ErrTokenExpired)                    // exp
	ErrTokenNotYetValid = newReason("not valid yet", jwt.ErrTokenNotValidYet)          // nbf or iat is in the future
	ErrTokenTooLong     = newReason("lives too long")                                  // exp is too long after iat, or iat is too long ago
	ErrTokenClaim       = newReason("claim missing", jwt.ErrTokenRequiredClaimMissing) // exp, sub, jti, iat or one of RequiredClaims is missing
	ErrTokenBound       = newReason("bound to a sender")                               // cnf: not a bearer token (RFC 7800)
	ErrTokenCheck       = newReason("refused by a check", jwt.ErrTokenInvalidClaims)   // one of VerifierOptions.Checks, or the check of a provider, refused the token
	ErrTokenRevoked     = newReason("revoked")                                         // the token or its session was revoked
	ErrTokenReused      = newReason("reused")                                          // the refresh token was redeemed before, or an old token of package migrate was traded in before
	ErrTokenClient      = newReason("belongs to another client")                       // the refresh token was issued to another client (RFC 6749, section 10.4)
	ErrNoSession        = newReason("no session")                                      // the session has ended, or never existed
	ErrSessionLimit     = newReason("too many sessions")                               // the subject has IssuerOptions.SessionLimit sessions
	ErrGrantRefused     = newReason("grant refused")                                   // IssuerOptions.Reload returns it to end the session
	ErrPolicy           = newReason("refused by a policy")                             // a scope is missing, the login is too old, or a policy of the program refused
)

// ErrSessionExists is returned by [SessionStore].Create. It is not about a request, so it
// matches neither root.
var ErrSessionExists = errors.New("jwtauth: a session with this id is there already")

// reason is an error that matches ErrRefused and the errors of golang-jwt with the same
// meaning.
type reason struct {
	text    string
	matches []error
}

func newReason(text string, matches ...error) error {
	return &reason{text, append([]error{ErrRefused}, matches...)}
}

func (r *reason) Error() string   { return r.text }
func (r *reason) Unwrap() []error { return r.matches }

// Error says why a request was refused, or why that could not be decided. Some fields are
// for the client, and the others only for the log. An Error holds no token, secret or
// signature. [errors.AsType] finds it. With [errors.Is], it matches its root (ErrRefused
// or ErrUnavailable), its reason (such as ErrTokenExpired) and its cause.
type Error struct {
	// These fields are for the client. Code is an error code of RFC 6749, RFC 6750 or RFC
	// 9470. It is empty if no token was presented (RFC 6750, section 3.1). Each code has
	// a few fixed Descriptions.
	Status            int
	Code, Description string
	// Next is what the client can do. It is "refresh" if the access token has expired or
	// ForceRefresh has revoked it, "login" if the user must log in again, "retry" for
	// ErrUnavailable, and otherwise "". The client does not learn more about a refusal: a token
	// that was revoked, forged or made for another service gives "login" in each case.
	Next       string
	RetryAfter time.Duration // the Retry-After header; 0 means none

	// These fields are for the log. Check is the name of the check that failed, from a
	// bounded set, so that it can be the label of a metric. Expected and Got have a
	// bounded length. Got may come from an attacker.
	Check         string
	Expected, Got string

	root, reason, cause error
	challenge           challenge
}

// challenge holds the parameters of a WWW-Authenticate header that are not fields of Error.
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
	codeInvalidScope   = "invalid_scope"                    // RFC 6749
	codeInvalidTarget  = "invalid_target"                   // RFC 8707
	codeAccessDenied   = "access_denied"                    // RFC 6749
	codeUnavailable    = wire.CodeUnavailable               // RFC 6749
	codeServerError    = "server_error"                     // RFC 6749
)

// describe returns the Description for a code.
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
	case codeInvalidScope:
		return "the requested scope is not a part of the granted scope"
	case codeInvalidTarget:
		return "the requested audience is not a part of the granted audiences"
	case codeAccessDenied:
		return "this request is not allowed"
	case codeUnavailable:
		return wire.DescriptionUnavailable
	default:
		return "the request could not be processed"
	}
}

// Values of Error.Next; the third is wire.NextUnavailable ("retry"). descriptionExpired
// is the Description for an expired access token. No other Description in a challenge has
// the word expired.
const (
	nextRefresh = "refresh"
	nextLogin   = "login"

	descriptionExpired = "the access token has expired"
)

// nextStep returns the value of Error.Next for a code.
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

// badToken returns the refusal of an access token: 401 invalid_token. If err matches
// ErrTokenExpired, the client learns that the token has expired.
func badToken(err, reason, cause error) *Error {
	e := newError(401, codeInvalidToken, ErrRefused, reason, cause)
	if errors.Is(err, ErrTokenExpired) {
		e.Description, e.Next = descriptionExpired, nextRefresh
	}
	return e
}

// refused returns the refusal of a token by a check: 401 invalid_token.
func refused(check string, reason error, expected, got string) *Error {
	e := badToken(reason, reason, nil)
	e.Check, e.Expected, e.Got = check, expected, got
	return e
}

// malformed returns the refusal of a token that cannot be read. err may quote names of
// members, but nothing else of the token.
func malformed(check string, err error) *Error {
	e := refused(check, ErrTokenMalformed, "", "")
	e.cause = err
	return e
}

// notGranted returns the refusal of a request that asks for more than was granted: 400
// with invalid_scope or invalid_target.
func notGranted(check, code string, granted []string, got string) *Error {
	e := newError(400, code, ErrRefused, nil, nil)
	e.Check, e.Expected, e.Got = check, "some of "+errtext.QuoteList(granted), errtext.Quote(got)
	return e
}

// limitReached returns the refusal of a login because the subject has too many sessions:
// 403 access_denied.
func limitReached(limit int) *Error {
	e := newError(403, codeAccessDenied, ErrRefused, ErrSessionLimit, nil)
	e.Check, e.Expected = "limit", fmt.Sprintf("fewer than %d sessions of the subject", limit)
	return e
}

// notTraded returns the refusal to trade an old token in, although the token is good: 403
// access_denied. The client keeps the token. With 401, it would ask the user to log in.
func notTraded(check string, reason error, expected, got string) *Error {
	e := newError(403, codeAccessDenied, ErrRefused, reason, nil)
	e.Check, e.Expected, e.Got = check, expected, got
	return e
}

// notAloneError returns the refusal of a request with two tokens: 400 invalid_request
// (RFC 6750, section 3.1).
func notAloneError() error {
	e := newError(400, codeInvalidRequest, ErrRefused, ErrTokenNotAlone, nil)
	e.Check = "alone"
	return e
}

// errorClass is the meaning of an error for a request.
type errorClass int

const (
	classRefused     errorClass = iota // ErrRefused, or an *Error of the program with a 4xx Status
	classUnavailable                   // ErrUnavailable, the end of a context, or an *Error of the program with another Status
	classOther                         // none of these
)

// classify returns the class of err, and the *Error in the tree of err from which the
// response must be made; nil if there is none. No other function decides this.
// ErrUnavailable wins over ErrRefused.
func classify(err error) (errorClass, *Error) {
	e, _ := errors.AsType[*Error](err)
	switch {
	case e != nil && e.root == ErrUnavailable:
		return classUnavailable, e
	case fault.IsUnavailable(err):
		return classUnavailable, nil
	case e != nil && e.root == nil && (e.Status < 400 || e.Status >= 500):
		return classUnavailable, e
	case e != nil:
		return classRefused, e
	case errors.Is(err, ErrRefused):
		return classRefused, nil
	}
	return classOther, nil
}

// isRefusalFor reports whether err is a refusal that matches reason.
func isRefusalFor(err, reason error) bool {
	m, _ := classify(err)
	return m == classRefused && errors.Is(err, reason)
}

// unavailable returns an error that matches ErrUnavailable: 503 with Retry-After. If
// cause is such an *Error, unavailable returns it unchanged.
func unavailable(check string, cause error) *Error {
	if m, known := classify(cause); m == classUnavailable && known != nil && known.root == ErrUnavailable {
		return known
	}
	if errors.Is(cause, ErrRefused) {
		cause = errors.New(cause.Error()) // the new error must not match ErrRefused
	}
	e := newError(503, codeUnavailable, ErrUnavailable, nil, cause)
	e.Check, e.RetryAfter = check, wire.RetryAfterUnavailable
	return e
}

// errorFromProgram converts an error that a function of the program returned. An *Error
// keeps its own response. For any other error that matches ErrRefused, newRefusal makes the
// result, and err becomes its cause. Any other error becomes ErrUnavailable.
func errorFromProgram(check string, err error, newRefusal func() *Error) *Error {
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
	e := newRefusal()
	e.Check, e.cause = check, err
	return e
}

// asInvalidGrant gives a refusal the response of a token endpoint: 400 invalid_grant
// (RFC 6749, section 5.2). Any other error keeps its response.
func asInvalidGrant(err error) error {
	e := asError(err)
	if e.root != ErrRefused {
		return e
	}
	g := *e
	g.Status, g.Code, g.Description, g.Next = 400, codeInvalidGrant, describe(codeInvalidGrant), nextLogin
	return &g
}

// asError returns the *Error from which the response to err is made.
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
	case errors.Is(err, ErrGrantRefused), errors.Is(err, ErrNoSession), errors.Is(err, ErrTokenReused), errors.Is(err, ErrTokenClient):
		return newError(400, codeInvalidGrant, ErrRefused, nil, err)
	case errors.Is(err, ErrSessionLimit):
		return newError(403, codeAccessDenied, ErrRefused, ErrSessionLimit, err)
	case errors.Is(err, ErrPolicy):
		return newError(403, codeAccessDenied, ErrRefused, ErrPolicy, err)
	default:
		return badToken(err, nil, err)
	}
}

// sendFailure completes e and sends it. The kind is Unavailable if err matches
// ErrUnavailable, and otherwise the given kind. Reason is the check that failed.
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
