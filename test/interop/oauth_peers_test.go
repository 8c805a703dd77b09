package interop_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/stretchr/testify/require"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/client/rs"
	zitadel "github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

// startOAuthPeer starts a process that answers questions. It trusts the certificate of s.
func startOAuthPeer(t *testing.T, s *authorizationServer, name string, args ...string) *child {
	t.Helper()
	c := startTrusting(t, s.ca, name, append(args, s.name, s.api)...)
	t.Log(c.line(t))
	return c
}

func askChild(c *child) func(t *testing.T, q question) map[string]any {
	return func(t *testing.T, q question) map[string]any {
		t.Helper()
		return c.exchange(t, q)
	}
}

func TestPeersInNodeUseTheOAuthRoutes(t *testing.T) {
	dir := nodePeers(t)
	startNode := func(t *testing.T, s *authorizationServer, library string) *child {
		t.Helper()
		return startOAuthPeer(t, s, "node", filepath.Join(dir, "oauth.mjs"), library)
	}
	// A 401 of oauth4webapi is an error of its own, because it has the header WWW-Authenticate.
	const refusal, challenge = "ResponseBodyError", "WWWAuthenticateChallengeError"
	for library, p := range map[string]oauthPeer{
		"oauth4webapi": {
			operations: []string{discover, refresh, revoke, introspect, otherGrant, findServer, callAPI},
			refusal:    refusal, challenge: challenge,
		},
		"openid-client": {
			operations: []string{discover, refresh, revoke, introspect, otherGrant, callAPI},
			refusal:    refusal, challenge: challenge,
		},
		"simple-oauth2":             {operations: []string{refresh, revoke, otherGrant}, refusal: "Boom"},
		"@modelcontextprotocol/sdk": {operations: []string{discover, refresh, otherGrant, findServer}, refusal: "OAuthError"},
	} {
		t.Run(library, func(t *testing.T) {
			usesTheOAuthRoutes(t, func(t *testing.T, s *authorizationServer) *oauthPeer {
				p.ask = askChild(startNode(t, s, library))
				return &p
			})
		})
	}
	t.Run("the SDK of the Model Context Protocol renews the tokens of an API, and asks for a login when the session has ended", func(t *testing.T) {
		s := newAuthorizationServer(t, "")
		sdk := oauthPeer{ask: askChild(startNode(t, s, "@modelcontextprotocol/sdk"))}
		for _, c := range apps {
			first := s.begin(t, c.ID)
			renewed := sdk.succeeds(t, question{Do: "authorize", Client: c, Token: first.RefreshToken})
			require.Equal(t, "AUTHORIZED", renewed["result"])
			_, err := s.verifier.Verify(t.Context(), renewed["access_token"].(string))
			require.NoError(t, err)
			next := renewed["refresh_token"].(string)
			require.NotEqual(t, first.RefreshToken, next)
			s.isDown.Store(true)
			later := sdk.ask(t, question{Do: "authorize", Client: c, Token: next})
			s.isDown.Store(false)
			require.Equal(t, map[string]any{"error": "temporarily_unavailable", "type": "OAuthError"}, later, "the SDK does not ask for a login")
			require.NoError(t, s.issuer.Logout(t.Context(), next))
			ended := sdk.succeeds(t, question{Do: "authorize", Client: c, Token: next})
			require.Equal(t, map[string]any{"result": "REDIRECT"}, ended, "the SDK drops the tokens after an invalid_grant")
		}
	})
}

// authlib is a Python script, which answers questions like node/oauth.mjs.
const authlib = `
import json, sys
import authlib, requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url as get_openid_url

issuer, api = sys.argv[1:]

def read(url):
    response = requests.get(url)
    response.raise_for_status()
    return response.json()

def discover(question):
    server = AuthorizationServerMetadata(read(get_well_known_url(issuer, external=True)))
    server.validate()
    provider = OpenIDProviderMetadata(read(get_openid_url(issuer, external=True)))
    provider.validate()
    assert server == provider
    return server

def session(client):
    found = discover(None)
    return found, OAuth2Session(client["id"], client["secret"], token_endpoint_auth_method=client["method"],
        revocation_endpoint_auth_method=client["method"], token_endpoint=found["token_endpoint"])

def refresh(question):
    found, s = session(question["client"])
    return s.refresh_token(found["token_endpoint"], refresh_token=question["token"])

def revoke(question):
    found, s = session(question["client"])
    response = s.revoke_token(found["revocation_endpoint"], question["token"], question["hint"])
    s.parse_response_token(response)  # raises OAuthError if the answer is an error
    return {}

def introspect(question):
    found, s = session(question["client"])
    response = s.introspect_token(found["introspection_endpoint"], question["token"], question["hint"])
    s.parse_response_token(response)
    return response.json()

def otherGrant(question):
    found, s = session(question["client"])
    return s.fetch_token(grant_type="client_credentials")

def callAPI(question):
    s = OAuth2Session(token={"access_token": question["token"], "token_type": "Bearer"})
    return {"status": s.get(api).status_code}

def answer(question):
    try:
        return globals()[question["do"]](question)
    except (AuthlibBaseError, requests.RequestException, ValueError) as e:
        return {"error": getattr(e, "error", repr(e)), "type": type(e).__name__}

print(f"Authlib {authlib.__version__}, requests {requests.__version__}, Python {sys.version.split()[0]}", flush=True)
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
`

func TestAuthlibUsesTheOAuthRoutes(t *testing.T) {
	name := pythonWith(t, "authlib, requests", "Python 3 with Authlib and requests (python3-authlib and python3-requests)")
	usesTheOAuthRoutes(t, func(t *testing.T, s *authorizationServer) *oauthPeer {
		return &oauthPeer{
			ask:        askChild(startOAuthPeer(t, s, name, "-c", authlib)),
			operations: []string{discover, refresh, revoke, introspect, otherGrant, callAPI}, refusal: "OAuthError",
		}
	})
}

func TestXOAuth2UsesTheOAuthRoutes(t *testing.T) {
	usesTheOAuthRoutes(t, func(t *testing.T, s *authorizationServer) *oauthPeer {
		ctx := context.WithValue(context.WithoutCancel(t.Context()), oauth2.HTTPClient, s.client)
		provider, err := oidc.NewProvider(ctx, s.name)
		require.NoError(t, err)
		// A Config finds out by itself how the client authenticates, and remembers that.
		configs := map[oauthClient]*oauth2.Config{}
		configure := func(c oauthClient) *oauth2.Config {
			if configs[c] == nil {
				configs[c] = &oauth2.Config{ClientID: c.ID, ClientSecret: c.Secret, Endpoint: provider.Endpoint()}
			}
			return configs[c]
		}
		do := func(q question) (any, error) {
			switch q.Do {
			case discover:
				var found map[string]any
				return &found, provider.Claims(&found)
			case refresh:
				old := &oauth2.Token{AccessToken: "expired", RefreshToken: q.Token, Expiry: time.Now().Add(-time.Minute)}
				return response(configure(q.Client).TokenSource(ctx, old).Token())
			case otherGrant:
				return response(configure(q.Client).PasswordCredentialsToken(ctx, "alice", "a guess"))
			case callAPI:
				return callWith(ctx, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: q.Token}), s.api)
			}
			return nil, errors.New("unknown operation")
		}
		return &oauthPeer{
			ask: inProcess(do), operations: []string{discover, refresh, otherGrant, callAPI}, refusal: "RetrieveError",
		}
	})
}

// response returns the members of the token response that a token was made of.
func response(t *oauth2.Token, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"access_token": t.AccessToken, "refresh_token": t.RefreshToken, "token_type": t.TokenType, "expires_in": time.Until(t.Expiry).Seconds(),
	}, nil
}

// callWith calls the API with the tokens of source.
func callWith(ctx context.Context, source oauth2.TokenSource, api string) (any, error) {
	answer, err := oauth2.NewClient(ctx, source).Get(api)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return map[string]any{"status": answer.StatusCode}, nil
}

func TestZitadelOIDCUsesTheOAuthRoutes(t *testing.T) {
	usesTheOAuthRoutes(t, func(t *testing.T, s *authorizationServer) *oauthPeer {
		ctx := context.WithoutCancel(t.Context())
		configure := func(c oauthClient) (rp.RelyingParty, error) {
			style := oauth2.AuthStyleInParams
			if c.Method == basicMethod {
				style = oauth2.AuthStyleInHeader
			}
			return rp.NewRelyingPartyOIDC(ctx, s.name, c.ID, c.Secret, "https://client.test/callback", nil,
				rp.WithHTTPClient(s.client), rp.WithAuthStyle(style))
		}
		do := func(q question) (any, error) {
			switch q.Do {
			case refresh:
				party, err := configure(q.Client)
				if err != nil {
					return nil, err
				}
				tokens, err := rp.RefreshTokens[*zitadel.IDTokenClaims](ctx, party, q.Token, "", "")
				if err != nil {
					return nil, err
				}
				return response(tokens.Token, nil)
			case revoke:
				party, err := configure(q.Client)
				if err != nil {
					return nil, err
				}
				return struct{}{}, rp.RevokeToken(ctx, party, q.Token, q.Hint)
			case introspect:
				service, err := rs.NewResourceServerClientCredentials(ctx, s.name, q.Client.ID, q.Client.Secret, rs.WithClient(s.client))
				if err != nil {
					return nil, err
				}
				return rs.Introspect[*zitadel.IntrospectionResponse](ctx, service, q.Token)
			}
			return nil, errors.New("unknown operation")
		}
		return &oauthPeer{
			ask:        inProcess(do),
			operations: []string{refresh, revoke, introspect}, introspectsBy: []string{basicMethod},
			refusal: "Error", noRevocation: "text",
		}
	})
}

// inProcess returns the function ask of a Go library.
func inProcess(do func(q question) (any, error)) func(t *testing.T, q question) map[string]any {
	return func(t *testing.T, q question) map[string]any {
		t.Helper()
		result, err := do(q)
		if err != nil {
			return describeError(err)
		}
		text, err := json.Marshal(result)
		require.NoError(t, err)
		return object(t, text)
	}
}

func describeError(err error) map[string]any {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return map[string]any{"error": e.ErrorCode, "type": "RetrieveError"}
	}
	if e, ok := errors.AsType[*zitadel.Error](err); ok {
		return map[string]any{"error": string(e.ErrorType), "type": "Error"}
	}
	// An error of rp.RevokeToken has the body of the answer in its text.
	var body struct {
		Code string `json:"error"`
	}
	if _, text, ok := strings.Cut(err.Error(), " and text: "); ok && json.Unmarshal([]byte(text), &body) == nil {
		return map[string]any{"error": body.Code, "type": "text"}
	}
	return map[string]any{"error": err.Error(), "type": "unknown"}
}
