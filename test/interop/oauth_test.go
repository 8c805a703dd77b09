package interop_test

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// authorizationServer serves the OAuth routes of an issuer, the metadata of the issuer, and an
// API with its own metadata. The tokens of the issuer are for the API.
type authorizationServer struct {
	server
	name, routes, api string      // the name of the issuer, and the URLs of its routes and of the API
	isDown            atomic.Bool // clients cannot be looked up
	issuer            *jwtauth.Issuer
	verifier          *jwtauth.Verifier
}

// newAuthorizationServer starts a server. The name of the issuer is the URL of the server with
// the path.
func newAuthorizationServer(t *testing.T, path string) *authorizationServer {
	t.Helper()
	mux := http.NewServeMux()
	s := &authorizationServer{server: serve(t, mux)}
	s.name, s.routes, s.api = s.url+path, s.url+path+"/oauth", s.url+"/api"
	// Authlib demands RS256 in the metadata of an OpenID provider, so a second key has it.
	keys, err := jwk.NewRing(keyFor(t, jwk.ES256), keyFor(t, jwk.RS256).Verification())
	require.NoError(t, err)
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	s.issuer, err = jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer: s.name, Audiences: []string{s.api}, Sessions: store, Revocations: store,
	})
	require.NoError(t, err)
	resource, err := endpoints.NewResourceMetadata(endpoints.ResourceOptions{
		Resource: s.api, AuthorizationServers: []string{s.name}, Scopes: []string{"read", "write"},
	})
	require.NoError(t, err)
	handlers, err := endpoints.New(s.issuer, endpoints.Options{
		Path: path + "/oauth", Client: s.authenticate, Introspect: s.mayIntrospect,
		Middleware: jwtauth.MiddlewareOptions{ResourceMetadataURL: resource.URL()},
	})
	require.NoError(t, err)
	s.verifier = handlers.Verifier()
	metadata, err := endpoints.NewMetadata(s.issuer, endpoints.MetadataOptions{
		JWKSURI: s.url + "/jwks", Handlers: handlers, AuthorizationEndpoint: s.url + "/authorize", Scopes: []string{"read", "write"},
		More: map[string]any{
			"code_challenge_methods_supported":              []string{"S256"},
			"token_endpoint_auth_methods_supported":         []string{basicMethod, postMethod, publicMethod},
			"revocation_endpoint_auth_methods_supported":    []string{basicMethod, postMethod, publicMethod},
			"introspection_endpoint_auth_methods_supported": []string{basicMethod, postMethod},
		},
	})
	require.NoError(t, err)
	for _, document := range []*endpoints.Metadata{metadata, resource} {
		for _, path := range document.Paths() {
			mux.Handle(path, document)
		}
	}
	mux.Handle("/jwks", keys)
	mux.Handle(path+"/oauth/", handlers)
	mux.Handle("/api", handlers.Auth().Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	return s
}

// The methods by which a client authenticates.
const (
	basicMethod  = "client_secret_basic"
	postMethod   = "client_secret_post"
	publicMethod = "none"
)

// oauthClient is a registered client.
type oauthClient struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
	Method string `json:"method"`
}

// For each method, there is one client with sessions, and one that may introspect. No client has
// the sessions of otherClient.
var (
	apps = []oauthClient{
		{"web-app", "the secret of the web app", basicMethod},
		{"desktop-app", "the secret of the desktop app", postMethod},
		{"phone-app", "", publicMethod},
	}
	services = []oauthClient{
		{"billing-service", "the secret of billing", basicMethod},
		{"mail-service", "the secret of mail", postMethod},
	}
	otherClient = "other-app"
)

// authenticate is Options.Client. It accepts a client only by the client's own method.
func (s *authorizationServer) authenticate(r *http.Request, id, secret string) error {
	if s.isDown.Load() {
		return errors.New("the directory of clients does not answer")
	}
	method := postMethod
	if _, _, isBasic := r.BasicAuth(); isBasic {
		method = basicMethod
	} else if secret == "" {
		method = publicMethod
	}
	for _, c := range slices.Concat(apps, services) {
		if c.ID == id && c.Method == method && subtle.ConstantTimeCompare([]byte(c.Secret), []byte(secret)) == 1 {
			return nil
		}
	}
	return jwtauth.ErrGrantRefused
}

// mayIntrospect is Options.Introspect.
func (s *authorizationServer) mayIntrospect(r *http.Request, id, secret string) error {
	err := s.authenticate(r, id, secret)
	if err == nil && !slices.ContainsFunc(services, func(c oauthClient) bool { return c.ID == id }) {
		return jwtauth.ErrGrantRefused
	}
	return err
}

// begin begins a session of a client.
func (s *authorizationServer) begin(t *testing.T, clientID string) jwtauth.TokenResponse {
	t.Helper()
	tokens, err := s.issuer.Issue(t.Context(), jwtauth.Grant{
		Subject: "alice", ClientID: clientID, Scopes: []string{"read", "write"}, Claims: map[string]any{"tenant": "acme"},
	})
	require.NoError(t, err)
	return tokens
}

// isLive reports whether the session of a refresh token goes on.
func (s *authorizationServer) isLive(t *testing.T, refreshToken string) bool {
	t.Helper()
	_, err := s.issuer.Session(t.Context(), refreshToken)
	if !errors.Is(err, jwtauth.ErrRefused) {
		require.NoError(t, err)
	}
	return err == nil
}

// The operations of a peer.
const (
	discover   = "discover"   // answers with members of the issuer's metadata
	refresh    = "refresh"    // redeems a refresh token, and answers with the response
	revoke     = "revoke"     // revokes a token, and answers with an empty object
	introspect = "introspect" // answers with the response
	otherGrant = "otherGrant" // asks for tokens with another grant_type
	findServer = "findServer" // calls the API without a token, and answers with members of the API's metadata
	callAPI    = "callAPI"    // calls the API with an access token, and answers with the status
)

// question asks a peer for an operation.
type question struct {
	Do     string      `json:"do"`
	Client oauthClient `json:"client"`
	Token  string      `json:"token"`
	Hint   string      `json:"hint"` // token_type_hint
}

// oauthPeer is another library, which uses the OAuth routes. An answer with the member error is
// an error of the library: error is the code, and type is the type of the error.
type oauthPeer struct {
	ask        func(t *testing.T, q question) map[string]any
	operations []string
	// introspectsBy has the methods by which the peer can authenticate for introspect. Default all.
	introspectsBy []string
	// refusal is the type of the errors for answers with 400. Answers with 401 have the type
	// challenge, if that is set. noRevocation is the type if revoke was refused. Default refusal.
	refusal, challenge, noRevocation string
}

func (p *oauthPeer) has(operation string) bool { return slices.Contains(p.operations, operation) }

// succeeds checks that the peer gets an answer without an error.
func (p *oauthPeer) succeeds(t *testing.T, q question) map[string]any {
	t.Helper()
	answer := p.ask(t, q)
	require.NotContains(t, answer, "error")
	return answer
}

// refuses checks that the peer reports an error with this code, and in its own type.
func (p *oauthPeer) refuses(t *testing.T, q question, code string) {
	t.Helper()
	answer := p.ask(t, q)
	require.Equal(t, code, answer["error"], answer)
	want := p.refusal
	switch {
	case q.Do == revoke && p.noRevocation != "":
		want = p.noRevocation
	case code == "invalid_client" && p.challenge != "":
		want = p.challenge
	}
	require.Equal(t, want, answer["type"], answer)
}

// renew redeems a refresh token, and returns the next one. It checks the access token.
func (p *oauthPeer) renew(t *testing.T, s *authorizationServer, c oauthClient, refreshToken string) (accessToken, next string) {
	t.Helper()
	answer := p.succeeds(t, question{Do: refresh, Client: c, Token: refreshToken})
	accessToken, _ = answer["access_token"].(string)
	got, err := s.verifier.Verify(t.Context(), accessToken)
	require.NoError(t, err)
	require.Equal(t, "alice", got.Subject)
	require.Equal(t, c.ID, got.ClientID)
	require.Equal(t, []string{"read", "write"}, got.Scopes())
	require.True(t, strings.EqualFold("Bearer", answer["token_type"].(string)), answer)
	require.InDelta(t, 900, answer["expires_in"], 5)
	next, _ = answer["refresh_token"].(string)
	require.NotEqual(t, refreshToken, next)
	require.NotEmpty(t, next)
	return accessToken, next
}

// end ends the session of a refresh token. The issuer does it if the peer has no revocation.
func (p *oauthPeer) end(t *testing.T, s *authorizationServer, c oauthClient, refreshToken string) {
	t.Helper()
	if p.has(revoke) {
		p.succeeds(t, question{Do: revoke, Client: c, Token: refreshToken, Hint: "refresh_token"})
		return
	}
	require.NoError(t, s.issuer.Logout(t.Context(), refreshToken))
}

// usesTheOAuthRoutes checks that a peer finds and uses the routes of two issuers. One of them
// has a path in its name.
func usesTheOAuthRoutes(t *testing.T, newPeer func(t *testing.T, s *authorizationServer) *oauthPeer) {
	for _, path := range []string{"", "/tenant/one"} {
		t.Run("the issuer at /"+strings.Trim(path, "/"), func(t *testing.T) {
			s := newAuthorizationServer(t, path)
			p := newPeer(t, s)
			findsTheRoutes(t, s, p)
			for _, c := range apps {
				t.Run("the client authenticates by "+c.Method, func(t *testing.T) {
					refreshes(t, s, p, c)
					revokes(t, s, p, c)
					isRefused(t, s, p, c)
				})
			}
			introspects(t, s, p)
		})
	}
}

func findsTheRoutes(t *testing.T, s *authorizationServer, p *oauthPeer) {
	if p.has(discover) {
		t.Run("discovery finds the routes", func(t *testing.T) {
			found := p.succeeds(t, question{Do: discover})
			require.Equal(t, s.name, found["issuer"])
			require.Equal(t, s.routes+"/token", found["token_endpoint"])
			if p.has(revoke) {
				require.Equal(t, s.routes+"/revoke", found["revocation_endpoint"])
			}
			if p.has(introspect) {
				require.Equal(t, s.routes+"/introspect", found["introspection_endpoint"])
			}
		})
	}
	if p.has(findServer) {
		t.Run("the challenge of the API leads to the issuer", func(t *testing.T) {
			found := p.succeeds(t, question{Do: findServer})
			require.Equal(t, s.api, found["resource"])
			require.Equal(t, []any{s.name}, found["authorization_servers"])
			require.Equal(t, []any{"read", "write"}, found["scopes_supported"])
		})
	}
}

func refreshes(t *testing.T, s *authorizationServer, p *oauthPeer, c oauthClient) {
	t.Run("a refresh token and its successor are redeemed, and the old one is refused later", func(t *testing.T) {
		first := s.begin(t, c.ID).RefreshToken
		_, second := p.renew(t, s, c, first)
		accessToken, third := p.renew(t, s, c, second)
		if p.has(callAPI) {
			require.InDelta(t, http.StatusOK, p.succeeds(t, question{Do: callAPI, Token: accessToken})["status"], 0)
		}
		require.True(t, s.isLive(t, third))
		p.refuses(t, question{Do: refresh, Client: c, Token: first}, "invalid_grant")
		require.False(t, s.isLive(t, third), "an old refresh token that comes again counts as stolen")
		p.refuses(t, question{Do: refresh, Client: c, Token: third}, "invalid_grant")
	})
	t.Run("the refresh token of another client is refused, and its session lives on", func(t *testing.T) {
		for _, owner := range []string{otherClient, ""} {
			refreshToken := s.begin(t, owner).RefreshToken
			p.refuses(t, question{Do: refresh, Client: c, Token: refreshToken}, "invalid_grant")
			require.True(t, s.isLive(t, refreshToken))
			_, err := s.issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: refreshToken, ClientID: owner})
			require.NoError(t, err)
		}
	})
	t.Run("a session that was ended is not refreshed", func(t *testing.T) {
		tokens := s.begin(t, c.ID)
		p.end(t, s, c, tokens.RefreshToken)
		p.refuses(t, question{Do: refresh, Client: c, Token: tokens.RefreshToken}, "invalid_grant")
		_, err := s.verifier.Verify(t.Context(), tokens.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
	})
	t.Run("an access token and garbage are no refresh tokens", func(t *testing.T) {
		for _, token := range []string{s.begin(t, c.ID).AccessToken, "garbage"} {
			p.refuses(t, question{Do: refresh, Client: c, Token: token}, "invalid_grant")
		}
	})
}

func revokes(t *testing.T, s *authorizationServer, p *oauthPeer, c oauthClient) {
	if !p.has(revoke) {
		return
	}
	t.Run("a revoked access token is refused, and its session lives on", func(t *testing.T) {
		tokens := s.begin(t, c.ID)
		p.succeeds(t, question{Do: revoke, Client: c, Token: tokens.AccessToken, Hint: "access_token"})
		_, err := s.verifier.Verify(t.Context(), tokens.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
		p.renew(t, s, c, tokens.RefreshToken)
	})
	t.Run("revoking a token again, or garbage, is a success", func(t *testing.T) {
		refreshToken := s.begin(t, c.ID).RefreshToken
		for _, token := range []string{refreshToken, refreshToken, "garbage"} {
			p.succeeds(t, question{Do: revoke, Client: c, Token: token, Hint: "refresh_token"})
		}
		require.False(t, s.isLive(t, refreshToken))
	})
	t.Run("the tokens of another client are not revoked", func(t *testing.T) {
		tokens := s.begin(t, otherClient)
		p.refuses(t, question{Do: revoke, Client: c, Token: tokens.RefreshToken, Hint: "refresh_token"}, "invalid_grant")
		p.refuses(t, question{Do: revoke, Client: c, Token: tokens.AccessToken, Hint: "access_token"}, "invalid_grant")
		require.True(t, s.isLive(t, tokens.RefreshToken))
		_, err := s.verifier.Verify(t.Context(), tokens.AccessToken)
		require.NoError(t, err)
	})
}

func isRefused(t *testing.T, s *authorizationServer, p *oauthPeer, c oauthClient) {
	t.Run("a client that is not authenticated is an invalid_client", func(t *testing.T) {
		stranger := c
		if c.Method == publicMethod {
			stranger.ID = otherClient
		} else {
			stranger.Secret = "a guess"
		}
		refreshToken := s.begin(t, c.ID).RefreshToken
		p.refuses(t, question{Do: refresh, Client: stranger, Token: refreshToken}, "invalid_client")
		if p.has(revoke) {
			p.refuses(t, question{Do: revoke, Client: stranger, Token: refreshToken, Hint: "refresh_token"}, "invalid_client")
		}
		require.True(t, s.isLive(t, refreshToken))
	})
	if p.has(otherGrant) {
		t.Run("another grant type is an unsupported_grant_type", func(t *testing.T) {
			p.refuses(t, question{Do: otherGrant, Client: c}, "unsupported_grant_type")
		})
	}
	t.Run("a server that cannot decide does not end the session", func(t *testing.T) {
		refreshToken := s.begin(t, c.ID).RefreshToken
		s.isDown.Store(true)
		answer := p.ask(t, question{Do: refresh, Client: c, Token: refreshToken})
		s.isDown.Store(false)
		require.NotEmpty(t, answer["type"])
		require.NotContains(t, []any{"invalid_grant", "invalid_client"}, answer["error"])
		p.renew(t, s, c, refreshToken)
	})
}

func introspects(t *testing.T, s *authorizationServer, p *oauthPeer) {
	if !p.has(introspect) {
		return
	}
	app := apps[0]
	for _, service := range services {
		if p.introspectsBy != nil && !slices.Contains(p.introspectsBy, service.Method) {
			continue
		}
		ask := func(t *testing.T, token, hint string) map[string]any {
			t.Helper()
			return p.succeeds(t, question{Do: introspect, Client: service, Token: token, Hint: hint})
		}
		isInactive := func(t *testing.T, token string) {
			t.Helper()
			answer := ask(t, token, "access_token")
			require.Equal(t, false, answer["active"])
			require.NotContains(t, answer, "sub")
			require.NotContains(t, answer, "client_id")
		}
		t.Run("live tokens are active for a service that authenticates by "+service.Method, func(t *testing.T) {
			tokens := s.begin(t, app.ID)
			now := time.Now().Unix()
			for hint, token := range map[string]string{"access_token": tokens.AccessToken, "refresh_token": tokens.RefreshToken} {
				answer, end := ask(t, token, hint), tokens.ExpiresAt
				if hint == "refresh_token" {
					end = tokens.IdleEnd
					require.NotContains(t, answer, "token_type")
				} else {
					require.Equal(t, "Bearer", answer["token_type"])
					require.Contains(t, []any{s.api, []any{s.api}}, answer["aud"], "one audience can be a text or a list")
					require.NotEmpty(t, answer["jti"])
					require.Equal(t, "acme", answer["tenant"])
				}
				for member, want := range map[string]any{
					"active": true, "iss": s.name, "sub": "alice", "client_id": app.ID, "scope": "read write", "sid": tokens.SessionID,
				} {
					require.Equal(t, want, answer[member], "%s of the %s", member, hint)
				}
				require.InDelta(t, end.Unix(), answer["exp"], 0)
				require.InDelta(t, now, answer["iat"], 5)
			}
		})
		t.Run("ended tokens and garbage are inactive for a service that authenticates by "+service.Method, func(t *testing.T) {
			tokens := s.begin(t, app.ID)
			p.end(t, s, app, tokens.RefreshToken)
			for _, token := range []string{tokens.AccessToken, tokens.RefreshToken, "garbage"} {
				isInactive(t, token)
			}
			stolen := s.begin(t, app.ID)
			first, err := s.issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: stolen.RefreshToken, ClientID: app.ID})
			require.NoError(t, err)
			_, err = s.issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: first.RefreshToken, ClientID: app.ID})
			require.NoError(t, err)
			isInactive(t, stolen.RefreshToken)
			require.Equal(t, true, ask(t, first.RefreshToken, "refresh_token")["active"], "the answer may have been lost")
		})
		t.Run("a client that may not introspect is an invalid_client, by "+service.Method, func(t *testing.T) {
			token := s.begin(t, app.ID).AccessToken
			guesser := service
			guesser.Secret = "a guess"
			for _, c := range append([]oauthClient{guesser}, apps[:2]...) {
				if c.Method == service.Method {
					p.refuses(t, question{Do: introspect, Client: c, Token: token, Hint: "access_token"}, "invalid_client")
				}
			}
		})
	}
}
