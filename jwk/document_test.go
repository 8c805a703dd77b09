package jwk_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestJWKSetHoldsThePublicKeysOfTheRing(t *testing.T) {
	signing := fixture.KeyFor(t, jwk.ES256)
	var accepted []*jwk.VerificationKey
	for _, alg := range fixture.EveryAlgorithm {
		if alg != jwk.ES256 {
			accepted = append(accepted, fixture.KeyFor(t, alg).Verification())
		}
	}
	ring, err := jwk.NewRing(signing, accepted...)
	require.NoError(t, err)
	answer := fixture.AskJWKS(ring, http.MethodGet, "")
	require.Equal(t, http.StatusOK, answer.Code)
	require.Equal(t, "application/jwk-set+json", answer.Header().Get("Content-Type"))
	require.Equal(t, "public, max-age=300", answer.Header().Get("Cache-Control"))
	require.Equal(t, "nosniff", answer.Header().Get("X-Content-Type-Options"))
	require.Equal(t, strconv.Itoa(answer.Body.Len()), answer.Header().Get("Content-Length"))
	require.Regexp(t, `^"[A-Za-z0-9_-]{22}"$`, answer.Header().Get("ETag"))

	var set struct{ Keys []json.RawMessage }
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &set))
	var served []*jwk.VerificationKey
	for _, text := range set.Keys {
		k, err := jwk.ParseVerification("", text)
		require.NoError(t, err)
		served = append(served, k)
		requireFits(t, fixture.KeyFor(t, k.Algorithm()), k)
	}
	require.Len(t, served, len(fixture.EveryAlgorithm)-3)
	require.Equal(t, signing.ID(), served[0].ID(), "the signing key comes first")
	require.NotContains(t, answer.Body.String(), `"kty":"oct"`)

	// A ring of HMAC keys publishes none.
	ring, err = jwk.NewRing(fixture.KeyFor(t, jwk.HS256), fixture.KeyFor(t, jwk.HS512).Verification())
	require.NoError(t, err)
	require.Equal(t, `{"keys":[]}`, fixture.AskJWKS(ring, http.MethodGet, "").Body.String())
	ring, err = jwk.NewRing(fixture.KeyFor(t, jwk.HS256), signing.Verification())
	require.NoError(t, err)
	keyText, err := signing.Verification().JWK()
	require.NoError(t, err)
	require.Equal(t, `{"keys":[`+string(keyText)+`]}`, fixture.AskJWKS(ring, http.MethodGet, "").Body.String())
}

func TestJWKSetIsAskedForAgainByItsETag(t *testing.T) {
	a, b := fixture.KeyFor(t, jwk.ES256), fixture.KeyFor(t, jwk.EdDSA)
	ring, err := jwk.NewRing(a)
	require.NoError(t, err)
	first := fixture.AskJWKS(ring, http.MethodGet, "")
	tag := first.Header().Get("ETag")
	for _, ifNoneMatch := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		answer := fixture.AskJWKS(ring, http.MethodGet, ifNoneMatch)
		require.Equal(t, http.StatusNotModified, answer.Code, ifNoneMatch)
		require.Empty(t, answer.Body.String())
		require.Equal(t, tag, answer.Header().Get("ETag"))
		require.Equal(t, "public, max-age=300", answer.Header().Get("Cache-Control"))
		require.Equal(t, http.StatusNotModified, fixture.AskJWKS(ring, http.MethodHead, ifNoneMatch).Code)
	}
	for _, ifNoneMatch := range []string{"", `"x"`, strings.Trim(tag, `"`)} {
		require.Equal(t, http.StatusOK, fixture.AskJWKS(ring, http.MethodGet, ifNoneMatch).Code, ifNoneMatch)
	}

	// Another process with the same keys has the same tag; other keys have another.
	same, err := jwk.NewRing(a)
	require.NoError(t, err)
	require.Equal(t, tag, fixture.AskJWKS(same, http.MethodGet, "").Header().Get("ETag"))
	require.NoError(t, ring.Replace(a, b.Verification()))
	changed := fixture.AskJWKS(ring, http.MethodGet, tag)
	require.Equal(t, http.StatusOK, changed.Code)
	require.NotEqual(t, tag, changed.Header().Get("ETag"))
	require.NoError(t, ring.Replace(a.WithID("x")))
	require.NotEqual(t, tag, fixture.AskJWKS(ring, http.MethodGet, "").Header().Get("ETag"))
	require.NoError(t, ring.Replace(a))
	require.Equal(t, tag, fixture.AskJWKS(ring, http.MethodGet, "").Header().Get("ETag"))
	require.Equal(t, first.Body.String(), fixture.AskJWKS(ring, http.MethodGet, "").Body.String())
}

func TestJWKSetAnswersGETAndHEADAlone(t *testing.T) {
	ring, err := jwk.NewRing(fixture.KeyFor(t, jwk.ES256))
	require.NoError(t, err)
	get, head := fixture.AskJWKS(ring, http.MethodGet, ""), fixture.AskJWKS(ring, http.MethodHead, "")
	require.Equal(t, http.StatusOK, head.Code)
	require.Empty(t, head.Body.String())
	require.Equal(t, get.Header(), head.Header())
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace, "get", ""} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Method = method
		answer := httptest.NewRecorder()
		ring.ServeHTTP(answer, r)
		require.Equal(t, http.StatusMethodNotAllowed, answer.Code, method)
		require.Equal(t, "GET, HEAD", answer.Header().Get("Allow"))
		require.NotContains(t, answer.Body.String(), "keys")
		require.Empty(t, answer.Header().Get("ETag"))
	}
}

// Verifiers fetch the set over a connection.
func TestJWKSetIsServedOverHTTP(t *testing.T) {
	ring, err := jwk.NewRing(fixture.KeyFor(t, jwk.ES256))
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("GET /.well-known/jwks.json", ring)
	server := httptest.NewServer(mux)
	defer server.Close()
	get := func(tag string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/.well-known/jwks.json", nil)
		require.NoError(t, err)
		r.Header.Set("If-None-Match", tag)
		answer, err := server.Client().Do(r)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		return answer
	}
	answer := get("")
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Equal(t, "application/jwk-set+json", answer.Header.Get("Content-Type"))
	require.Equal(t, http.StatusNotModified, get(answer.Header.Get("ETag")).StatusCode)
}

func TestJWKSetOfAZeroRingIsUnavailable(t *testing.T) {
	for _, ring := range []*jwk.Ring{nil, {}} {
		answer := fixture.AskJWKS(ring, http.MethodGet, "")
		require.Equal(t, http.StatusServiceUnavailable, answer.Code)
		require.Equal(t, "1", answer.Header().Get("Retry-After"))
		require.Equal(t, "no-store", answer.Header().Get("Cache-Control"))
	}
}
