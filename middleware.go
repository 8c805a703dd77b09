package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/hook"
)

// TokenVerifier is what a [Middleware] needs. *[Verifier] is one. An error that matches
// ErrRefused refuses the token; any other error means that the answer is not known, and is
// a 503. [WriteError] writes the answers.
type TokenVerifier interface {
	Verify(ctx context.Context, token string) (Token, error)
}

// MiddlewareOptions configures a [Middleware]. The zero value takes the token from the
// Authorization header and answers refusals with [WriteError].
type MiddlewareOptions struct {
	// Extractors are the places where a token may be. Default FromHeader. A request with
	// a token in two of them is refused.
	Extractors []Extractor
	// Realm is the realm parameter of the challenge. Default none.
	Realm string
	// ResourceMetadataURL is the resource_metadata parameter of the challenge (RFC 9728,
	// section 5.1). Default none.
	ResourceMetadataURL string
	// Preflight answers CORS preflight requests in place of the wrapped handler. Without
	// it, a preflight is a request like any other: it has no token and is refused, so
	// CORS middleware must be outside of this one.
	Preflight http.Handler
	// OnError writes the answer to a request that is refused. Default WriteError. err is
	// an *Error. The wrapped handler does not run, whatever OnError does.
	OnError func(w http.ResponseWriter, r *http.Request, err error)
	// OnEvent gets requests without a token and refusals by policies. Default: the hook
	// of the Verifier.
	OnEvent func(ctx context.Context, e event.Event)
}

// Middleware wraps handlers. It takes the token from the request, verifies it, asks the
// policies, and puts the token into the context of the request that the handler gets. It
// never wraps the ResponseWriter. It is immutable and safe for concurrent use. The zero
// value lets nobody pass.
type Middleware struct {
	shared   *sharedMiddleware
	policies []Policy
	mistake  error // why nobody passes
}

// sharedMiddleware is shared by a Middleware and those that With derives from it.
type sharedMiddleware struct {
	trust    trust
	verifier TokenVerifier
	direct   *Verifier // verifier, if it is a *Verifier: a cached Token is then shared and not copied
	o        MiddlewareOptions
	onEvent  hook.Hook
}

// NewMiddleware makes a Middleware that lets requests pass if v verifies their token.
func NewMiddleware(v TokenVerifier, o MiddlewareOptions) (*Middleware, error) {
	direct, ok := v.(*Verifier)
	shared := &sharedMiddleware{verifier: v, direct: direct, o: o, onEvent: o.OnEvent}
	switch {
	case v == nil:
		return nil, errors.New("jwtauth: no Verifier: NewMiddleware needs one")
	case ok && (direct == nil || direct.o.Now == nil):
		return nil, fmt.Errorf("jwtauth: %w", errNoVerifier)
	case ok && shared.onEvent == nil:
		shared.onEvent = direct.onEvent
	}
	shared.o.Extractors = slices.Clone(o.Extractors)
	if len(shared.o.Extractors) == 0 {
		shared.o.Extractors = []Extractor{FromHeader()}
	}
	for _, e := range shared.o.Extractors {
		if err := e.findMistake(); err != nil {
			return nil, err
		}
	}
	for name, value := range map[string]string{"Realm": o.Realm, "ResourceMetadataURL": o.ResourceMetadataURL} {
		if !isQuotable(value) {
			return nil, fmt.Errorf("jwtauth: MiddlewareOptions.%s is %s: printable ASCII without quotes and backslashes is expected", name, errtext.Quote(value))
		}
	}
	if shared.o.OnError == nil {
		shared.o.OnError = WriteError
	}
	return &Middleware{shared: shared}, nil
}

var (
	errNoMiddleware = errors.New("this Middleware was not made by NewMiddleware")
	errNoHandler    = errors.New("jwtauth: the wrapped handler is nil")
	errNoPolicies   = errors.New("With was called without policies")
)

// With returns a Middleware that also asks p, in order, after the policies of m. If p is
// empty, or one of p can allow nothing, such as the zero Policy or Scopes without names,
// somebody made a mistake: every request is answered with 503, and PolicyMissing names the
// mistake.
func (m *Middleware) With(p ...Policy) *Middleware {
	derived := &Middleware{mistake: errNoMiddleware}
	if m != nil {
		*derived = *m
	}
	derived.policies = append(slices.Clone(derived.policies), p...)
	if len(p) == 0 {
		derived.mistake = errNoPolicies
	}
	for i := range p {
		if err := p[i].findMistake(); err != nil {
			derived.mistake = err
		}
	}
	return derived
}

// Require wraps h: h runs only with a verified token that all policies allow, which
// [FromContext] returns. All other requests, preflights included, get the answer of
// MiddlewareOptions.OnError.
func (m *Middleware) Require(h http.Handler) http.Handler { return m.wrap(h, false) }

// Optional wraps h like Require, but h also runs for a request without a token, for which
// the policies are not asked; FromContext then returns no token. A token that is malformed
// or refused is answered as by Require.
func (m *Middleware) Optional(h http.Handler) http.Handler { return m.wrap(h, true) }

func (m *Middleware) wrap(h http.Handler, optional bool) http.Handler {
	if h == nil {
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { WriteError(w, r, errNoHandler) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.isPreflight(r) {
			m.shared.o.Preflight.ServeHTTP(w, r)
			return
		}
		c, from, err := m.authenticate(r)
		if err != nil {
			if !optional || from != noToken {
				m.answer(w, r, from, err)
				return
			}
			if _, ok := FromContext(r.Context()); !ok {
				h.ServeHTTP(w, r)
				return
			}
			// Another middleware has put a token there, which this one does not trust: the
			// zero Token hides it.
			c = newTokenContext(r.Context(), Token{}, &m.shared.trust)
		}
		inner := r.WithContext(c)
		if from != nil && from.strip != nil {
			inner.Header = r.Header.Clone()
			from.strip(inner.Header)
		}
		// A ServeMux inside sets the pattern of the inner request, and logging outside reads
		// that of the outer one. net/http removes the files of the form of the outer one.
		defer func() { r.Pattern, r.MultipartForm = inner.Pattern, inner.MultipartForm }()
		h.ServeHTTP(w, inner)
	})
}

// Authenticate decides as Require does, without writing an answer. It returns the token or
// an *[Error].
func (m *Middleware) Authenticate(r *http.Request) (Token, error) {
	c, from, err := m.authenticate(r)
	if err != nil {
		return Token{}, m.finishError(r, from, err)
	}
	return c.get(), nil
}

// noToken is the place of a token that is not there.
var noToken = &Extractor{}

// authenticate returns the context for the handler, with the token, and where the token
// was: nil means in the context of the request, noToken means that there is none.
func (m *Middleware) authenticate(r *http.Request) (c *tokenContext, from *Extractor, err error) {
	switch {
	case m == nil || m.shared == nil:
		return nil, nil, unavailable("middleware", errNoMiddleware)
	case m.mistake != nil:
		err := unavailable(policyCheckName, m.mistake)
		m.shared.onEvent.Send(r.Context(), event.Event{Kind: event.PolicyMissing, Reason: policyCheckName, Err: err})
		return nil, nil, err
	}
	shared, ctx := m.shared, r.Context()
	if trusted := shared.trustedContext(ctx); trusted != nil {
		c = &tokenContext{ctx, trusted.token, trusted.verifiedAt, &shared.trust}
	} else {
		var text string
		if text, from, err = shared.extract(r); err != nil {
			return nil, from, err
		}
		if c, err = shared.verify(ctx, text); err != nil {
			return nil, from, err
		}
	}
	for i := range m.policies {
		t := c.get()
		if err := m.policies[i].evaluate(ctx, r, t, refusedByPolicy); err != nil {
			sendFailure(ctx, shared.onEvent, event.PolicyRefused, t.event(), err)
			return nil, from, err
		}
	}
	return c, from, nil
}

// verify verifies a token and puts it into a context.
func (s *sharedMiddleware) verify(ctx context.Context, token string) (*tokenContext, error) {
	if s.direct != nil {
		decider, now, cached, err := s.direct.lookUp(ctx, token)
		switch {
		case err != nil:
			return nil, err
		case cached != nil:
			return &tokenContext{ctx, cached, now, &s.trust}, nil
		}
		var t Token
		if err := decider.verify(ctx, token, now, &t); err != nil {
			return nil, err
		}
		return newTokenContext(ctx, t, &s.trust), nil
	}
	t, err := s.verifier.Verify(ctx, token)
	if err != nil {
		return nil, verifierError(err)
	}
	if t.isZero() {
		err := unavailable("verifier", errors.New("the TokenVerifier returned neither a token nor an error"))
		sendFailure(ctx, s.onEvent, event.Unavailable, event.Event{}, err)
		return nil, err
	}
	return newTokenContext(ctx, t, &s.trust), nil
}

// trustedContext returns the context of the token that this middleware, or one that shares its
// trust, has put into ctx, also if another middleware has put in one later; nil if there is
// none.
func (s *sharedMiddleware) trustedContext(ctx context.Context) *tokenContext {
	for {
		c, ok := ctx.Value(contextKey{}).(*tokenContext)
		if !ok || c.trust == &s.trust && !c.token.isZero() {
			return c
		}
		ctx = c.Context
	}
}

// verifierError returns what the error of a TokenVerifier means. A reason without an
// *Error is the refusal of an access token, whatever the reason.
func verifierError(err error) error {
	return errorFromProgram("verifier", err, func() *Error { return badToken(err, nil, nil) })
}

// extract finds the only token of a request.
func (s *sharedMiddleware) extract(r *http.Request) (token string, from *Extractor, err error) {
	from = noToken
	for n := range s.o.Extractors {
		e := &s.o.Extractors[n]
		found, err := e.find(r)
		if err == nil && found == "" || err != nil && isRefusalFor(err, ErrNoToken) {
			continue
		}
		if err == nil && from != noToken {
			err = notAloneError()
		}
		if err != nil {
			err = errorFromProgram("extract", err, func() *Error { return refused("extract", ErrTokenMalformed, "", "") })
			sendFailure(r.Context(), s.onEvent, event.TokenRefused, event.Event{}, err)
			return "", e, err
		}
		token, from = found, e
	}
	if from == noToken {
		e := newError(http.StatusUnauthorized, "", ErrRefused, ErrNoToken, nil)
		e.Check = "absent"
		return "", noToken, e
	}
	return token, from, nil
}

// isPreflight reports whether a request is a CORS preflight, which never has credentials.
func (m *Middleware) isPreflight(r *http.Request) bool {
	return m != nil && m.shared != nil && m.shared.o.Preflight != nil && m.mistake == nil &&
		r.Method == http.MethodOptions && r.Header.Get("Origin") != "" &&
		r.Header.Get("Access-Control-Request-Method") != "" && r.Header.Get("Authorization") == ""
}

func (m *Middleware) answer(w http.ResponseWriter, r *http.Request, from *Extractor, err error) {
	if m == nil || m.shared == nil {
		WriteError(w, r, err)
		return
	}
	m.shared.o.OnError(w, r, m.finishError(r, from, err))
}

// finishError adds the parameters of this middleware to the challenge of an error. It sends
// the event of a request without a token, which is not an event if anonymous requests may
// pass.
func (m *Middleware) finishError(r *http.Request, from *Extractor, err error) error {
	if m == nil || m.shared == nil {
		return err
	}
	if from == noToken {
		sendFailure(r.Context(), m.shared.onEvent, event.TokenRefused, event.Event{}, err)
	}
	e := *asError(err)
	e.challenge.realm, e.challenge.resourceMetadata = m.shared.o.Realm, m.shared.o.ResourceMetadataURL
	return &e
}
