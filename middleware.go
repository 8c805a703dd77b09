package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// TokenVerifier is what a [Middleware] needs; *[Verifier] is one. Its errors are
// answered as [WriteError] says.
type TokenVerifier interface {
	Verify(ctx context.Context, token string) (Token, error)
}

// Middleware stands before handlers: it takes the token from the request, has it
// verified, asks the policies, and puts the token into the context of the
// request that the handler gets. It never wraps the ResponseWriter. It is
// immutable and safe for concurrent use. The zero value lets nobody pass.
type Middleware struct {
	family   *family
	policies []Policy
	broken   error // why nobody passes
}

// family is what a Middleware and those that With derives from it share. A token
// that one of them has put into a context, all of them trust.
type family struct {
	verifier TokenVerifier
	own      *Verifier // the same, if it is one: it can share what it remembers
	o        MiddlewareOptions
	onEvent  hook
}

// NewMiddleware makes a Middleware that lets requests pass whose token v
// verifies.
func NewMiddleware(v TokenVerifier, o MiddlewareOptions) (*Middleware, error) {
	own, ok := v.(*Verifier)
	f := &family{verifier: v, own: own, o: o, onEvent: o.OnEvent}
	switch {
	case v == nil:
		return nil, errors.New("jwtauth: no Verifier: NewMiddleware needs one")
	case ok && (own == nil || own.o.Now == nil):
		return nil, fmt.Errorf("jwtauth: %w", errNoVerifier)
	case ok && f.onEvent == nil:
		f.onEvent = own.onEvent
	}
	f.o.Extractors = slices.Clone(o.Extractors)
	if len(f.o.Extractors) == 0 {
		f.o.Extractors = []Extractor{FromHeader()}
	}
	for _, e := range f.o.Extractors {
		if err := e.check(); err != nil {
			return nil, err
		}
	}
	for name, value := range map[string]string{"Realm": o.Realm, "ResourceMetadataURL": o.ResourceMetadataURL} {
		if !isQuotable(value) {
			return nil, fmt.Errorf("jwtauth: MiddlewareOptions.%s is %s: printable ASCII without quotes and backslashes is expected", name, quoted(value))
		}
	}
	if f.o.OnError == nil {
		f.o.OnError = WriteError
	}
	return &Middleware{family: f}, nil
}

var (
	errNoMiddleware = errors.New("this Middleware was not made by NewMiddleware")
	errNoHandler    = errors.New("jwtauth: the wrapped handler is nil")
	errNoPolicies   = errors.New("With was called without policies, or with one that is nil")
)

// With returns a Middleware that also asks p, after the policies of m and in
// order. Without policies it lets nobody pass, since something was forgotten.
func (m *Middleware) With(p ...Policy) *Middleware {
	derived := &Middleware{broken: errNoMiddleware}
	if m != nil {
		*derived = *m
	}
	derived.policies = append(slices.Clone(derived.policies), p...)
	if len(p) == 0 || slices.ContainsFunc(p, func(p Policy) bool { return p == nil }) {
		derived.broken = errNoPolicies
	}
	return derived
}

// Require wraps h: it runs only with a verified token that all policies let
// pass, which [FromContext] finds. All other requests, preflights included, get
// the answer of MiddlewareOptions.OnError.
func (m *Middleware) Require(h http.Handler) http.Handler { return m.wrap(h, false) }

// Optional wraps h like Require, but lets requests without a token pass, without
// asking the policies: FromContext finds none then. A token that is malformed or
// refused is not the same as none, and is answered as by Require.
func (m *Middleware) Optional(h http.Handler) http.Handler { return m.wrap(h, true) }

func (m *Middleware) wrap(h http.Handler, optional bool) http.Handler {
	if h == nil {
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { WriteError(w, r, errNoHandler) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.isPreflight(r) {
			m.family.o.Preflight.ServeHTTP(w, r)
			return
		}
		c, from, err := m.authenticate(r)
		if err != nil {
			if !optional || from != nowhere {
				m.answer(w, r, from, err)
				return
			}
			if _, ok := FromContext(r.Context()); !ok {
				h.ServeHTTP(w, r)
				return
			}
			// The token that something else has put there is not this middleware's,
			// and the zero one hides it.
			c = newTokenContext(r.Context(), Token{}, m.family)
		}
		inner := r.WithContext(c)
		if from != nil && from.strip != nil {
			inner.Header = r.Header.Clone()
			from.strip(inner.Header)
		}
		// A ServeMux inside sets the pattern of the request that it gets; logging
		// and tracing outside look at theirs. And net/http removes the files of a
		// form that it finds in its own.
		defer func() { r.Pattern, r.MultipartForm = inner.Pattern, inner.MultipartForm }()
		h.ServeHTTP(w, inner)
	})
}

// Authenticate is the decision of Require without an answer: the token, or an
// *[Error].
func (m *Middleware) Authenticate(r *http.Request) (Token, error) {
	c, from, err := m.authenticate(r)
	if err != nil {
		return Token{}, m.explain(r, from, err)
	}
	return c.get(), nil
}

// nowhere stands for the place of a token that is not there.
var nowhere = &Extractor{}

// authenticate returns the context for the handler, with the token. It also says
// where that came from: nil for the context, nowhere for none.
func (m *Middleware) authenticate(r *http.Request) (c *tokenContext, from *Extractor, err error) {
	switch {
	case m == nil || m.family == nil:
		return nil, nil, noAnswer("middleware", errNoMiddleware)
	case m.broken != nil:
		err := noAnswer("middleware", m.broken)
		m.family.onEvent.sendFailure(r.Context(), Unavailable, Event{}, err)
		return nil, nil, err
	}
	f, ctx := m.family, r.Context()
	if before := f.verified(ctx); before != nil {
		c = &tokenContext{ctx, before.token, before.at, f}
	} else {
		var text string
		if text, from, err = f.extract(r); err != nil {
			return nil, from, err
		}
		if c, err = f.verify(ctx, text); err != nil {
			return nil, from, err
		}
	}
	for _, policy := range m.policies {
		t := c.get()
		if err := policy(r, t); err != nil {
			err := policyError(err)
			f.onEvent.sendFailure(ctx, PolicyRefused, t.event(), err)
			return nil, from, err
		}
	}
	return c, from, nil
}

// verify has a token verified and puts it into a context.
func (f *family) verify(ctx context.Context, token string) (*tokenContext, error) {
	if f.own != nil {
		decider, now, known, err := f.own.lookUp(ctx, token)
		switch {
		case err != nil:
			return nil, err
		case known != nil:
			return &tokenContext{ctx, known, now, f}, nil
		}
		var t Token
		if err := decider.verify(ctx, token, now, &t); err != nil {
			return nil, err
		}
		return newTokenContext(ctx, t, f), nil
	}
	t, err := f.verifier.Verify(ctx, token)
	if err != nil {
		return nil, verifierError(err)
	}
	if t.isZero() {
		err := noAnswer("verifier", errors.New("the TokenVerifier returned neither a token nor an error"))
		f.onEvent.sendFailure(ctx, Unavailable, Event{}, err)
		return nil, err
	}
	return newTokenContext(ctx, t, f), nil
}

// verified finds the token that this family has put into a context, behind those
// of others; nil where there is none.
func (f *family) verified(ctx context.Context) *tokenContext {
	for {
		c, ok := ctx.Value(contextKey{}).(*tokenContext)
		if !ok || c.by == f && !c.token.isZero() {
			return c
		}
		ctx = c.Context
	}
}

// verifierError is what the error of a TokenVerifier means, which may be a reason
// as it is: a refused access token, whatever the reason.
func verifierError(err error) error {
	if _, ok := errors.AsType[*Error](err); ok || !errors.Is(err, ErrRefused) || isNoAnswer(err) {
		return err
	}
	e := refused("verifier", nil, "", "")
	e.cause = err
	return e
}

// extract finds the one token of a request.
func (f *family) extract(r *http.Request) (token string, from *Extractor, err error) {
	from = nowhere
	for n := range f.o.Extractors {
		e := &f.o.Extractors[n]
		found, err := e.find(r)
		if errors.Is(err, ErrNoToken) && !isNoAnswer(err) || err == nil && found == "" {
			continue
		}
		if err == nil && from != nowhere {
			err = errNotAlone()
		}
		if err != nil {
			err = extractError(err)
			f.onEvent.sendFailure(r.Context(), TokenRefused, Event{}, err)
			return "", e, err
		}
		token, from = found, e
	}
	if from == nowhere {
		e := newError(http.StatusUnauthorized, "", ErrRefused, ErrNoToken, nil)
		e.Check = "absent"
		return "", nowhere, e
	}
	return token, from, nil
}

// isPreflight recognizes a CORS preflight: it never has credentials.
func (m *Middleware) isPreflight(r *http.Request) bool {
	return m != nil && m.family != nil && m.family.o.Preflight != nil && m.broken == nil &&
		r.Method == http.MethodOptions && r.Header.Get("Origin") != "" &&
		r.Header.Get("Access-Control-Request-Method") != "" && r.Header.Get("Authorization") == ""
}

func (m *Middleware) answer(w http.ResponseWriter, r *http.Request, from *Extractor, err error) {
	if m == nil || m.family == nil {
		WriteError(w, r, err)
		return
	}
	m.family.o.OnError(w, r, m.explain(r, from, err))
}

// explain completes an error with what the challenge of this middleware says. It
// sends the event of a request without a token, which is none where anonymous
// requests may pass.
func (m *Middleware) explain(r *http.Request, from *Extractor, err error) error {
	if m == nil || m.family == nil {
		return err
	}
	if from == nowhere {
		m.family.onEvent.sendFailure(r.Context(), TokenRefused, Event{}, err)
	}
	e := *asError(err)
	e.challenge.realm, e.challenge.resourceMetadata = m.family.o.Realm, m.family.o.ResourceMetadataURL
	return &e
}
