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

// TokenVerifier verifies the tokens of a [Middleware]. *[Verifier] implements it. An
// error that matches ErrRefused refuses the token. An *[Error] keeps its own Status and
// Code. Any other error means that the token could not be verified, and becomes a 503.
type TokenVerifier interface {
	Verify(ctx context.Context, token string) (Token, error)
}

// MiddlewareOptions configures a [Middleware]. With the zero value, the Middleware takes
// the token from the Authorization header and answers refusals with [WriteError].
type MiddlewareOptions struct {
	// Extractors are the places of a request where a token may be. Default
	// FromHeader("Authorization", "Bearer"). A request with tokens in two places is refused.
	Extractors []Extractor
	// Realm is the realm parameter of the challenge. Default none.
	Realm string
	// ResourceMetadataURL is the resource_metadata parameter of the challenge (RFC 9728,
	// section 5.1). Default none.
	ResourceMetadataURL string
	// Preflight answers CORS preflight requests in place of the wrapped handler. If it is
	// nil, a preflight is refused like any request without a token. CORS middleware must
	// then wrap this Middleware.
	Preflight http.Handler
	// OnError writes the response if the wrapped handler does not run. Default
	// WriteError. err is an *Error.
	OnError func(w http.ResponseWriter, r *http.Request, err error)
	// OnEvent gets the events about requests without a token or with an unreadable one,
	// and those of policies and extractors: TokenRefused, PolicyRefused, PolicyMissing
	// and Unavailable. Default: the hook of the Verifier. The Verifier sends the other
	// events about tokens.
	OnEvent func(ctx context.Context, e event.Event)
}

// Middleware wraps handlers. It takes the token from the request, verifies the token,
// asks the policies, and puts the token into the context of the request that the handler
// gets. It never wraps the ResponseWriter. It is immutable and safe for concurrent use.
// The zero value answers every request with 503.
type Middleware struct {
	shared   *sharedMiddleware
	policies []Policy
	mistake  error // if set, every request gets 503
}

// sharedMiddleware is the part that a Middleware shares with those that With derives from it.
type sharedMiddleware struct {
	trust    trust
	verifier TokenVerifier
	direct   *Verifier // verifier as a *Verifier, to use its cached Tokens without a copy; nil if verifier has another type
	o        MiddlewareOptions
	onEvent  hook.Hook
}

// NewMiddleware makes a Middleware that accepts the requests whose token v accepts.
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
		shared.o.Extractors = []Extractor{FromHeader("Authorization", "Bearer")}
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

// With returns a Middleware that asks the policies of m and then those of p, in order. If
// p is empty or a policy was made with a mistake, every request gets 503, and the event
// PolicyMissing names the mistake. Mistakes are the zero Policy, Scopes without names,
// and TokenPolicy without a function, for example. LoginWithin(0) is not a mistake: it
// refuses every token with 401.
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

// Require wraps h. h runs only with a verified token that all policies allow;
// [FromContext] returns the token. MiddlewareOptions.OnError answers all other requests,
// except that MiddlewareOptions.Preflight, if set, answers CORS preflights.
func (m *Middleware) Require(h http.Handler) http.Handler { return m.wrap(h, false) }

// Optional wraps h like Require, except that h also runs for a request without a token.
// The policies are then not asked, and FromContext returns no token. A request with a
// malformed or refused token gets the same response as with Require.
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
			// This Middleware does not trust the token that another one has put into the
			// context. The zero Token hides that token from h.
			c = newTokenContext(r.Context(), Token{}, &m.shared.trust)
		}
		inner := r.WithContext(c)
		if from != nil && from.strip != nil {
			inner.Header = r.Header.Clone()
			from.strip(inner.Header)
		}
		// Copy back what h has set on the inner request. A ServeMux sets Pattern, which
		// logging middleware around this one reads. net/http removes the files of
		// MultipartForm.
		defer func() { r.Pattern, r.MultipartForm = inner.Pattern, inner.MultipartForm }()
		h.ServeHTTP(w, inner)
	})
}

// Authenticate makes the same decision as Require and writes no response. It returns the
// token or an *[Error].
func (m *Middleware) Authenticate(r *http.Request) (Token, error) {
	c, from, err := m.authenticate(r)
	if err != nil {
		return Token{}, m.finishError(r, from, err)
	}
	return c.get(), nil
}

// noToken stands in place of an Extractor for a request without a token.
var noToken = &Extractor{}

// authenticate returns the context for the handler, with the token, and the Extractor
// that found the token. from is nil if the token was in the context of the request
// already, and noToken if the request has no token.
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

// trustedContext finds the token in ctx that this Middleware, or one with the same trust,
// has verified. It skips tokens that other middleware has put in later. It returns nil if
// there is none.
func (s *sharedMiddleware) trustedContext(ctx context.Context) *tokenContext {
	for {
		c, ok := ctx.Value(contextKey{}).(*tokenContext)
		if !ok || c.trust == &s.trust && !c.token.isZero() {
			return c
		}
		ctx = c.Context
	}
}

// verifierError converts an error of a TokenVerifier. If it matches ErrRefused and has no
// *Error, it becomes a 401 invalid_token, whatever its reason.
func verifierError(err error) error {
	return errorFromProgram("verifier", err, func() *Error { return badToken(err, nil, nil) })
}

// extract finds the token of a request. Two tokens are an error.
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

// isPreflight reports whether MiddlewareOptions.Preflight must answer a request. A CORS
// preflight never has credentials.
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

// finishError adds the realm and the metadata URL to the challenge of an error. For a
// request without a token, finishError sends TokenRefused. Optional does not call
// finishError if it lets such a request pass.
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
