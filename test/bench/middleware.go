package main

import (
	"net/http"
	"net/http/httptest"

	"github.com/jwtauth-go/jwtauth"
)

// The names of the cells of the middleware. The cells ours and repeated send one token again and
// again; ours has no cache.
const (
	bareHandler  = "no authentication"
	contextValue = "one context value"
	repeated     = "jwtauth, repeated token"
	manyTokens   = "jwtauth, 10,000 tokens"
	byHand       = " (by hand)" // follows the name of a library that has no middleware
)

// middlewareGroup measures each middleware with one algorithm. The ResponseWriter
// does nothing.
func middlewareGroup(alg string) group {
	return group{name: "middleware/" + alg, cells: func() []cell {
		w := newWork(alg)
		token := w.token()
		cells := []cell{
			nextToRaw(sequential(raw, rawVerify(w, token))),
			nextToRaw(serving(bareHandler, bare, nil, token)),
			nextToRaw(serving(contextValue, contextOnly, nil, token)),
			nextToRaw(serving(repeated, nil, w.verifier(), token)),
			nextToRaw(serving(ours, nil, w.verifier(withoutCache), token)),
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

// revocationsGroup measures the middleware with a million revocations, for one token
// and for 10,000 tokens in the cache. Each request looks up the id of the token and
// the id of its session.
func revocationsGroup() group {
	return group{name: "middleware/million", cells: func() []cell {
		w := newWork("ES256")
		tokens := shuffled(w.sessionTokens(10_000))
		return []cell{
			nextToRaw(serving(contextValue, contextOnly, nil, tokens[0])),
			nextToRaw(serving(repeated, nil, w.verifier(withRevocations(largeStore())), tokens[0])),
			serving(contextValue+", 10,000 tokens", contextOnly, nil, tokens...),
			serving(manyTokens, nil, w.verifier(withRevocations(largeStore())), tokens...),
		}
	}}
}

// serving returns a cell that sends requests with the tokens in turn, one at each call, through a
// middleware. If v is nil, wrap makes the handler; otherwise ourMiddleware makes it.
func serving(name string, wrap func(seen func(string)) http.Handler, v *jwtauth.Verifier, tokens ...string) cell {
	loop := new(loopState)
	seen := func(subject string) { loop.subject = subject }
	if v != nil {
		wrap = func(seen func(string)) http.Handler { return ourMiddleware(v, seen) }
	}
	h := wrap(seen)
	r, values := request(tokens)
	header := r.Header["Authorization"]
	c := sequential(name, func() {
		loop.subject = ""
		header[0] = values[loop.next]
		h.ServeHTTP(nullWriter{}, r)
		if !isUser(loop.subject) {
			panic(name + " refused a good token")
		}
		loop.advance(len(values))
	})
	if v != nil && name != ours {
		for range values { // puts all tokens into the cache
			c.once()
		}
		c.done = onlyHits(v)
	}
	return c
}

// request returns a request, and a value of its Authorization header for each token. The request
// has no value yet.
func request(tokens []string) (*http.Request, []string) {
	values := make([]string, len(tokens))
	for i, t := range tokens {
		values[i] = "Bearer " + t
	}
	r := httptest.NewRequest(http.MethodGet, "/orders", nil)
	r.Header["Authorization"] = make([]string, 1, 8) // with padding, so that no other data is in its cache lines
	return r, values
}

// nullWriter discards the response.
type nullWriter struct{}

func (nullWriter) Header() http.Header         { return http.Header{} }
func (nullWriter) Write(b []byte) (int, error) { return len(b), nil }
func (nullWriter) WriteHeader(int)             {}
