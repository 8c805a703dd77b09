//go:build !race

package allocs_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

// long is the length of the header of a request. By default, net/http reads headers of up to
// 1 MiB.
const long = 256 << 10

// The first token of an unknown issuer costs one call of the function that ResolveIssuers got,
// and a copy of the issuer's name.
func TestAnIssuerThatNobodyKnowsCostsOneCall(t *testing.T) {
	h := newHall(t, 8<<10, log)
	calls := 0
	all, err := jwtauth.ResolveIssuers(func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		calls++
		return nil, nil
	}, jwtauth.ResolveOptions{OnEvent: log, Now: h.Clock.Now})
	require.NoError(t, err)
	s := shapeOf(h.World, "at+jwt")
	const runs = 2000 // more names than are remembered
	var tokens []string
	for n := range runs + 1 {
		tokens = append(tokens, s.token(s.header(""), s.claimsOf(fmt.Sprintf(`"https://%d.test/%s"`, n, strings.Repeat("x", 900)), "")))
	}
	n := 0
	allocs, size := perRuns(runs, func() {
		if _, err := all.Verify(t.Context(), tokens[n]); err == nil {
			t.Fatal("accepted")
		}
		n++
	})
	require.Equal(t, runs+1, calls)
	require.LessOrEqual(t, allocs, float64(maxAllocs))
	require.LessOrEqual(t, size, float64(baseVerify+len(tokens[0])))
}

// oddRequests has requests without a proper token. check names the check that refuses the request
// in a middleware that reads the Authorization header and the WebSocket subprotocols.
var oddRequests = []struct {
	name, check string
	header      http.Header
}{
	{"nothing", "absent", http.Header{}},
	{"an empty header", "extract", http.Header{"Authorization": {""}}},
	{"Bearer alone", "extract", http.Header{"Authorization": {"Bearer"}}},
	{"a long header of another scheme", "absent", http.Header{"Authorization": {"Basic " + strings.Repeat("x", long)}}},
	{"a long scheme", "absent", http.Header{"Authorization": {"Bearer" + strings.Repeat("x", long)}}},
	{"blanks", "size", http.Header{"Authorization": {"Bearer " + strings.Repeat(" ", long)}}},
	{"many headers", "alone", http.Header{"Authorization": strings.SplitAfter(strings.Repeat("Bearer x", long/8), "x")}},
	{"commas for subprotocols", "absent", http.Header{"Sec-Websocket-Protocol": {strings.Repeat(",", long)}}},
	{"blanks for subprotocols", "absent", http.Header{"Sec-Websocket-Protocol": {strings.Repeat(" ", long)}}},
	{"many subprotocols", "absent", http.Header{"Sec-Websocket-Protocol": {strings.Repeat("chat, ", long/6)}}},
	{"many headers of subprotocols", "absent", http.Header{"Sec-Websocket-Protocol": strings.SplitAfter(strings.Repeat("chat,", long/5), ",")}},
	{"many tokens", "alone", http.Header{"Sec-Websocket-Protocol": {strings.Repeat(protocol+"x,", long/13)}}},
	{"no token", "extract", http.Header{"Sec-Websocket-Protocol": {protocol}}},
	{"two places", "alone", http.Header{"Authorization": {"Bearer " + strings.Repeat("x", long)}, "Sec-Websocket-Protocol": {"chat, " + protocol + strings.Repeat("x", long)}}},
	{"a long Accept", "absent", http.Header{"Accept": {strings.Repeat("x", long)}}},
	{"an Accept of commas", "absent", http.Header{"Accept": {strings.Repeat(",", long)}}},
	{"an Accept of many types", "absent", http.Header{"Accept": {strings.Repeat("text/html;q=0.1, ", long/17)}}},
	{"an Accept of many parameters", "absent", http.Header{"Accept": {"text/html" + strings.Repeat(";a=b", long/4)}}},
	{"many Accepts", "absent", http.Header{"Accept": strings.SplitAfter(strings.Repeat("a/b,", long/4), ",")}},
}

func TestARequestWithoutATokenCostsNoMoreIfItIsLong(t *testing.T) {
	for _, hook := range []func(context.Context, event.Event){nil, log} {
		w := fixture.New(t, func(i *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { i.OnEvent = hook })
		s := newSentry(w, jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromWebSocketProtocol(protocol))
		for _, odd := range oddRequests {
			r := fixture.Request("GET", "/")
			r.Header = odd.header
			call := func() error { return s.send(s.Require(s), r) }
			check, ok := refusedBy(call())
			require.True(t, ok, odd.name)
			require.Equal(t, odd.check, check, odd.name)
			allocs, size := perRuns(3, func() { _ = call() })
			assert.LessOrEqual(t, size, float64(baseMiddleware), odd.name)
			assert.LessOrEqual(t, allocs, float64(maxAllocs), odd.name)
		}
	}
}

// oddReadings has requests for a document, and the status of the response.
var oddReadings = []struct {
	name, method string
	status       int
	header       http.Header
}{
	{"GET", "GET", 200, nil},
	{"HEAD", "HEAD", 200, nil},
	{"POST", "POST", 405, nil},
	{"a long method", strings.Repeat("X", long), 405, nil},
	{"a long Accept", "GET", 200, http.Header{"Accept": {strings.Repeat("text/html, ", long/11)}}},
	{"a long If-None-Match", "GET", 200, http.Header{"If-None-Match": {`"` + strings.Repeat("x", long) + `"`}}},
	{"an If-None-Match of many tags", "GET", 200, http.Header{"If-None-Match": {strings.Repeat(`"x", `, long/5)}}},
	{"an If-None-Match of many weak tags", "GET", 200, http.Header{"If-None-Match": {strings.Repeat(`W/"x",`, long/6)}}},
	{"an If-None-Match of commas", "GET", 200, http.Header{"If-None-Match": {strings.Repeat(",", long)}}},
	{"an If-None-Match without an end", "GET", 200, http.Header{"If-None-Match": {`"` + strings.Repeat("x", long)}}},
	{"an If-None-Match of everything", "GET", 304, http.Header{"If-None-Match": {"*" + strings.Repeat(" ", long)}}},
	{"a long If-Match", "GET", 412, http.Header{"If-Match": {strings.Repeat(`"x", `, long/5)}}},
	{"a long If-Modified-Since", "GET", 200, http.Header{"If-Modified-Since": {strings.Repeat("x", long)}}},
	{"many ranges", "GET", 200, http.Header{"Range": {"bytes=" + strings.Repeat("0-0,", long/4)}}},
	{"many ranges and tags", "GET", 200, http.Header{"Range": {"bytes=" + strings.Repeat("0-0,", long/4)}, "If-None-Match": {strings.Repeat(`"x", `, long/5)}}},
}

func TestReadingADocumentCostsNoMoreForALongRequest(t *testing.T) {
	w := fixture.New(t)
	issuer, err := endpoints.NewMetadata(w.Issuer, endpoints.MetadataOptions{JWKSURI: fixture.Issuer + "/jwks"})
	require.NoError(t, err)
	api, err := endpoints.NewResourceMetadata(endpoints.ResourceOptions{Resource: fixture.Audience, AuthorizationServers: []string{fixture.Issuer}})
	require.NoError(t, err)
	s := newSentry(w)
	for name, h := range map[string]http.Handler{"JWK Set": w.Keys, "metadata of the issuer": issuer, "metadata of the API": api} {
		for _, odd := range oddReadings {
			r := fixture.Request("GET", "/")
			r.Method, r.Header = odd.method, odd.header
			call := func() { _ = s.send(h, r) }
			call()
			require.Equal(t, odd.status, s.status, "%s: %s", name, odd.name)
			allocs, size := perRuns(3, call)
			assert.LessOrEqual(t, size, float64(baseVerify), "%s: %s", name, odd.name)
			assert.LessOrEqual(t, allocs, float64(maxAllocs), "%s: %s", name, odd.name)
		}
	}
}
