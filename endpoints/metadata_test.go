package endpoints_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/wellknown"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// published gets a document and checks what is true of every one.
func published(t *testing.T, h http.Handler) (document map[string]any, header http.Header) {
	t.Helper()
	get := func(method, match string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/", nil)
		if match != "" {
			r.Header.Set("If-None-Match", match)
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		return answer
	}
	answer := get(http.MethodGet, "")
	require.Equal(t, http.StatusOK, answer.Code)
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &document))
	header = answer.Header()
	require.Regexp(t, `^"[A-Za-z0-9_-]{22}"$`, header.Get("ETag"))
	require.Equal(t, "*", header.Get("Access-Control-Allow-Origin"))
	require.Regexp(t, `^public, max-age=\d+$`, header.Get("Cache-Control"))
	require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
	head := get(http.MethodHead, "")
	require.Equal(t, http.StatusOK, head.Code)
	require.Zero(t, head.Body.Len())
	require.Equal(t, header.Get("ETag"), head.Header().Get("ETag"))
	same := get(http.MethodGet, header.Get("ETag"))
	require.Equal(t, http.StatusNotModified, same.Code)
	require.Zero(t, same.Body.Len())
	post := get(http.MethodPost, "")
	require.Equal(t, http.StatusMethodNotAllowed, post.Code)
	require.Equal(t, "GET, HEAD", post.Header().Get("Allow"))
	return document, header
}

func TestTheMetadataSaysWhatIsTrueOfTheIssuer(t *testing.T) {
	w := fixture.New(t)
	rsa := fixture.KeyFor(t, jwk.RS256)
	require.NoError(t, w.Keys.Replace(w.Key, rsa.Verification(), fixture.KeyFor(t, jwk.HS256).Verification()))
	handlers, err := endpoints.New(w.Issuer, endpoints.Options{Client: clients, Introspect: clients})
	require.NoError(t, err)
	h, err := endpoints.NewMetadata(w.Issuer, endpoints.MetadataOptions{
		JWKSURI: fixture.Issuer + "/jwks.json", Handlers: handlers, Scopes: []string{"read"}, AuthorizationEndpoint: "https://login.test/authorize",
		More: map[string]any{"code_challenge_methods_supported": []string{"S256"}},
	})
	require.NoError(t, err)
	document, header := published(t, h)
	require.Equal(t, "application/json", header.Get("Content-Type"))
	require.Equal(t, map[string]any{
		"issuer": fixture.Issuer, "jwks_uri": fixture.Issuer + "/jwks.json", "token_endpoint": fixture.Issuer + "/auth/token",
		"revocation_endpoint": fixture.Issuer + "/auth/revoke", "introspection_endpoint": fixture.Issuer + "/auth/introspect",
		"authorization_endpoint": "https://login.test/authorize", "code_challenge_methods_supported": []any{"S256"},
		"scopes_supported": []any{"read"}, "grant_types_supported": []any{"refresh_token"},
		"response_types_supported": []any{"code"}, "refresh_token_expiration_types_supported": []any{"authorization", "token_timeout"}, "subject_types_supported": []any{"public"},
		"id_token_signing_alg_values_supported": []any{"ES256", "RS256"},
	}, document)
	require.NoError(t, w.Keys.Replace(rsa))
	document, _ = published(t, h)
	require.Equal(t, []any{"RS256"}, document["id_token_signing_alg_values_supported"], "it follows the keys")
	require.NoError(t, w.Keys.Replace(w.Key, rsa.Verification(), fixture.KeyFor(t, jwk.HS256).Verification()))
	set, _ := published(t, w.Keys)
	require.Len(t, set["keys"], 2, "the HMAC key is nobody else's")
}

func TestMetadataWithoutTheTruthIsNotServed(t *testing.T) {
	w := fixture.New(t)
	for text, m := range map[string]endpoints.MetadataOptions{
		"JWKSURI is missing":               {},
		"AuthorizationEndpoint":            {JWKSURI: fixture.Issuer + "/keys", AuthorizationEndpoint: "http://issuer.test/login"},
		`"jwks_uri", which is set already`: {JWKSURI: fixture.Issuer + "/keys", More: map[string]any{"jwks_uri": "https://other.test"}},
		"MetadataOptions.More: json":       {JWKSURI: fixture.Issuer + "/keys", More: map[string]any{"x": func() {}}},
		"not those of this issuer":         {JWKSURI: fixture.Issuer + "/keys", Handlers: &endpoints.Handlers{}},
		"an https URL":                     {JWKSURI: "keys.json"},
		"without user":                     {JWKSURI: "https://user@issuer.test/keys"},
	} {
		_, err := endpoints.NewMetadata(w.Issuer, m)
		require.ErrorContains(t, err, text)
	}
	symmetric := fixture.NewWith(t, jwk.HS256)
	_, err := endpoints.NewMetadata(symmetric.Issuer, endpoints.MetadataOptions{JWKSURI: fixture.Issuer + "/keys"})
	require.ErrorContains(t, err, "no public keys")
	_, err = endpoints.NewMetadata((*jwtauth.Issuer)(nil), endpoints.MetadataOptions{})
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
}

func TestMetadataWithoutRoutesNamesNone(t *testing.T) {
	w := fixture.New(t)
	handlers, err := endpoints.New(w.Issuer, endpoints.Options{})
	require.NoError(t, err)
	h, err := endpoints.NewMetadata(w.Issuer, endpoints.MetadataOptions{JWKSURI: fixture.Issuer + "/jwks.json", Handlers: handlers})
	require.NoError(t, err)
	document, _ := published(t, h)
	require.Equal(t, map[string]any{
		"issuer": fixture.Issuer, "jwks_uri": fixture.Issuer + "/jwks.json", "response_types_supported": []any{}, "subject_types_supported": []any{"public"},
		"id_token_signing_alg_values_supported": []any{"ES256"},
	}, document)
}

func TestMetadataStandsWhereVerifiersLook(t *testing.T) {
	for issuer, want := range map[string][2]string{
		"https://issuer.test":             {"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"},
		"https://issuer.test/":            {"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"},
		"https://issuer.test/tenant/a%2F": {"/tenant/a%2F/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/tenant/a%2F"},
	} {
		openID, oauth, err := wellknown.Paths(issuer)
		require.NoError(t, err)
		require.Equal(t, want, [2]string{openID, oauth})
	}
	for _, issuer := range []string{"", "issuer", "urn:issuer", "https://issuer.test?a", "https://issuer.test#a", "https://issuer.test/%zz"} {
		_, _, err := wellknown.Paths(issuer)
		require.Error(t, err, issuer)
	}
}

func TestTheMetadataOfAResourceStandsBeforeItsPath(t *testing.T) {
	h, err := endpoints.NewResourceMetadata(endpoints.ResourceOptions{
		Resource: "https://api.test/v1/orders", AuthorizationServers: []string{fixture.Issuer}, Scopes: []string{"orders:read"}, Name: "Orders",
	})
	require.NoError(t, err)
	at := h.URL()
	require.Equal(t, "https://api.test/.well-known/oauth-protected-resource/v1/orders", at)
	require.Equal(t, []string{"/.well-known/oauth-protected-resource/v1/orders"}, h.Paths())
	document, _ := published(t, h)
	require.Equal(t, map[string]any{
		"resource": "https://api.test/v1/orders", "authorization_servers": []any{fixture.Issuer}, "scopes_supported": []any{"orders:read"},
		"bearer_methods_supported": []any{"header"}, "resource_name": "Orders",
	}, document)
	h, err = endpoints.NewResourceMetadata(endpoints.ResourceOptions{Resource: "https://api.test/", AuthorizationServers: []string{fixture.Issuer}})
	require.NoError(t, err)
	at = h.URL()
	require.Equal(t, "https://api.test/.well-known/oauth-protected-resource", at)

	// A client follows the challenge to it.
	w := fixture.New(t)
	auth, err := jwtauth.NewMiddleware(w.Verifier, jwtauth.MiddlewareOptions{ResourceMetadataURL: at})
	require.NoError(t, err)
	u, err := url.Parse(at)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("GET "+u.Path, h)
	mux.Handle("/", auth.Require(http.NotFoundHandler()))
	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, fixture.Request(http.MethodGet, "/orders"))
	require.Equal(t, http.StatusUnauthorized, answer.Code)
	require.Contains(t, answer.Header().Get("WWW-Authenticate"), `resource_metadata="`+at+`"`)
	answer = httptest.NewRecorder()
	mux.ServeHTTP(answer, fixture.Request(http.MethodGet, u.Path))
	require.Equal(t, http.StatusOK, answer.Code)

	for _, m := range []endpoints.ResourceOptions{
		{}, {Resource: "https://api.test"}, {AuthorizationServers: []string{fixture.Issuer}},
		{Resource: "api", AuthorizationServers: []string{fixture.Issuer}}, {Resource: "https://api.test?a=b", AuthorizationServers: []string{fixture.Issuer}},
		{Resource: "https://api.test", AuthorizationServers: []string{"http://issuer.test"}},
	} {
		_, err := endpoints.NewResourceMetadata(m)
		require.Error(t, err, m)
	}
}

func TestMissingSaysWhichClientsWillNotFindWhatTheyNeed(t *testing.T) {
	w := fixture.New(t)
	handlers, err := endpoints.New(w.Issuer, endpoints.Options{Client: clients, Introspect: clients})
	require.NoError(t, err)
	missing := func(o endpoints.MetadataOptions) []string {
		o.JWKSURI = fixture.Issuer + "/jwks.json"
		m, err := endpoints.NewMetadata(w.Issuer, o)
		require.NoError(t, err)
		return m.Missing()
	}
	bare := missing(endpoints.MetadataOptions{})
	require.Len(t, bare, 7)
	for _, member := range []string{"authorization_endpoint", "code_challenge_methods_supported", "registration_endpoint", "token_endpoint", "token_endpoint_auth_methods_supported", "introspection_endpoint", "RS256"} {
		require.Contains(t, strings.Join(bare, "\n"), member)
	}
	complete := endpoints.MetadataOptions{Handlers: handlers, AuthorizationEndpoint: "https://login.test/authorize", More: map[string]any{
		"code_challenge_methods_supported": []string{"S256"}, "registration_endpoint": "https://login.test/register",
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic"},
	}}
	require.Len(t, missing(complete), 1)
	require.NoError(t, w.Keys.Replace(w.Key, fixture.KeyFor(t, jwk.RS256).Verification()))
	require.Contains(t, missing(complete)[0], "several algorithms")
	require.NoError(t, w.Keys.Replace(fixture.KeyFor(t, jwk.RS256)))
	require.Empty(t, missing(complete))
	resource, err := endpoints.NewResourceMetadata(endpoints.ResourceOptions{Resource: "https://api.test", AuthorizationServers: []string{fixture.Issuer}})
	require.NoError(t, err)
	require.Empty(t, resource.Missing())
	require.Empty(t, (*endpoints.Metadata)(nil).Missing())
}
