package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// The names of the cells over loopback, and the size of the test.
const (
	bareServer  = "bare handler"
	authServer  = "authenticated handler"
	connections = 32
	tokensEach  = 8 // tokens that each connection repeats
)

// endToEndGroup sends requests to a net/http server over connections that are kept
// alive. It measures three handlers: one without authentication, one behind
// setToken, and one behind this library's middleware. The requests differ only in
// their path. The client writes and reads plain bytes, so that it takes little CPU
// time.
func endToEndGroup() group {
	return group{name: "loopback", slot: time.Second, cells: func() []cell {
		w := newWork("ES256")
		m, err := jwtauth.NewMiddleware(w.verifier(withRevocations(revoked(fewRevoked))), jwtauth.MiddlewareOptions{})
		must(err)
		mux := http.NewServeMux()
		mux.HandleFunc("GET /open", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, subject) })
		mux.Handle("GET /some", setToken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Context().Value(tokenKey{}).(string) != "" {
				io.WriteString(w, subject)
			}
		})))
		mux.Handle("GET /auth", m.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			t, _ := jwtauth.FromContext(r.Context())
			io.WriteString(w, t.Subject)
		})))
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		server := &http.Server{Handler: mux}
		go server.Serve(listener)

		tokens := w.sessionTokens(connections * tokensEach)
		var clients []*client
		for i := range connections {
			clients = append(clients, newClient(listener.Addr().String(), tokens[i*tokensEach:][:tokensEach]))
		}
		over := func(path int) func(n int) time.Duration {
			return func(n int) time.Duration {
				start := time.Now()
				var all sync.WaitGroup
				for i, c := range clients {
					all.Go(func() { c.send(path, (n+i)/len(clients)) })
				}
				all.Wait()
				return time.Since(start)
			}
		}
		stop := func() error {
			for _, c := range clients {
				c.Close()
			}
			return server.Close()
		}
		return []cell{
			{name: bareServer, adjacent: raw, time: over(0)},
			{name: contextValue, adjacent: raw, time: over(1)},
			{name: authServer, adjacent: raw, time: over(2), done: stop},
		}
	}}
}

// client is one connection with the requests that it sends in turn.
type client struct {
	net.Conn
	in       *bufio.Reader
	requests [3][][]byte // the requests for each path
	next     int
	length   int // the length of every answer
	answer   []byte
}

func newClient(address string, tokens []string) *client {
	conn, err := net.Dial("tcp", address)
	must(err)
	c := &client{Conn: conn, in: bufio.NewReader(conn)}
	for i, path := range []string{"/open", "/some", "/auth"} {
		for _, t := range tokens {
			c.requests[i] = append(c.requests[i], fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, address, t))
		}
	}
	for path := range c.requests {
		must(c.first(path))
	}
	return c
}

// first sends one request, parses the answer as HTTP and stores its length. It
// returns an error if an earlier answer had another length.
func (c *client) first(path int) error {
	if _, err := c.Write(c.requests[path][0]); err != nil {
		return err
	}
	length := 0
	counted := bufio.NewReader(io.TeeReader(c.in, counter{&length}))
	r, err := http.ReadResponse(counted, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK || !isUser(string(body)) {
		return fmt.Errorf("path %d: the answer is %s with the body %q", path, r.Status, body)
	}
	if c.length != 0 && c.length != length {
		return fmt.Errorf("the answers differ in length: %d and %d bytes", c.length, length)
	}
	c.length, c.answer = length, make([]byte, length)
	return nil
}

type counter struct{ n *int }

func (c counter) Write(b []byte) (int, error) {
	*c.n += len(b)
	return len(b), nil
}

// send sends n requests. It waits for each answer before it sends the next request.
func (c *client) send(path, n int) {
	for range n {
		if _, err := c.Write(c.requests[path][c.next]); err != nil {
			panic(err)
		}
		if _, err := io.ReadFull(c.in, c.answer); err != nil {
			panic(err)
		}
		if end := string(c.answer[len(c.answer)-len(subject):]); !isUser(end) {
			panic("unexpected answer: " + end)
		}
		if c.next++; c.next == len(c.requests[path]) {
			c.next = 0
		}
	}
}
