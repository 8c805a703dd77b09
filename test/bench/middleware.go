package main

import (
	"net/http"
	"net/http/httptest"

	"github.com/jwtauth-go/jwtauth"
)

// The cells of the middleware, beside ours, which is a new token each time.
const (
	bareHandler  = "00-bare"
	contextValue = "01-ctxonly"
	repeated     = "jwtauth, repeated token"
	manyTokens   = "jwtauth, 10,000 tokens"
	byHand       = " (by hand)" // behind the name of a library that ships no middleware
)

// middlewareGroup is one algorithm: a handler behind each middleware, and a writer
// that does nothing.
func middlewareGroup(alg string) group {
	return group{name: "middleware/" + alg, cells: func() []cell {
		w := newWork(alg)
		token := w.token()
		cells := []cell{
			closely(sequential(raw, rawVerify(w, token))),
			closely(serving(bareHandler, bare, nil, token)),
			closely(serving(contextValue, contextOnly, nil, token)),
			closely(serving(repeated, nil, w.verifier(), token)),
			closely(serving(ours, nil, w.verifier(off), token)),
		}
		for _, p := range peers {
			if p.middleware == nil {
				continue
			}
			name := p.name
			if p.verify != nil && p.name == golangJWT.name {
				name += byHand
			}
			cells = append(cells, serving(name, func(seen func(string)) http.Handler { return p.middleware(w, seen) }, nil, token))
		}
		return cells
	}}
}

// revocationsGroup is a repeated token that is looked for among a million of
// revoked ones each time, by its own id and by that of its session.
func revocationsGroup() group {
	return group{name: "middleware/million", cells: func() []cell {
		w := newWork("ES256")
		tokens := shuffled(w.sessionTokens(10_000))
		return []cell{
			closely(serving(contextValue, contextOnly, nil, tokens[0])),
			closely(serving(repeated, nil, w.verifier(with(million())), tokens[0])),
			serving(contextValue+", 10,000 tokens", contextOnly, nil, tokens...),
			serving(manyTokens, nil, w.verifier(with(million())), tokens...),
		}
	}}
}

// serving sends requests with tokens in turn through a middleware: that which wrap
// makes or, where v is set, ours.
func serving(name string, wrap func(seen func(string)) http.Handler, v *jwtauth.Verifier, tokens ...string) cell {
	at := new(state)
	seen := func(subject string) { at.who = subject }
	if v != nil {
		wrap = func(seen func(string)) http.Handler { return ourMiddleware(v, seen) }
	}
	h := wrap(seen)
	r, values := request(tokens)
	header := r.Header["Authorization"]
	c := sequential(name, func() {
		at.who = ""
		header[0] = values[at.next]
		h.ServeHTTP(nullWriter{}, r)
		if !isUser(at.who) {
			panic(name + " did not let a good token pass")
		}
		at.turn(len(values))
	})
	if v != nil && name != ours {
		for range values { // so that all of them are remembered
			c.once()
		}
		c.done = onlyHits(v)
	}
	return c
}

// request is a request, and the values that its Authorization header is to have.
// They are copies: no cache can know them by their place in memory.
func request(tokens []string) (*http.Request, []string) {
	values := make([]string, len(tokens))
	for i, t := range tokens {
		values[i] = "Bearer " + t
	}
	r := httptest.NewRequest(http.MethodGet, "/orders", nil)
	r.Header["Authorization"] = make([]string, 1, 8) // a cache line of its own, as with state
	return r, values
}

// nullWriter answers nobody.
type nullWriter struct{}

func (nullWriter) Header() http.Header         { return http.Header{} }
func (nullWriter) Write(b []byte) (int, error) { return len(b), nil }
func (nullWriter) WriteHeader(int)             {}
