package interop_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/jwk"
)

// openIDConnect is a Ruby script, which answers questions like node/oauth.mjs.
const openIDConnect = `
require "openid_connect"

$stdout.sync = true
issuer = ARGV[0]
# Before version 2, the HTTP client does not read SSL_CERT_FILE by itself.
OpenIDConnect.http_config { |client| client.ssl_config.set_trust_ca(ENV["SSL_CERT_FILE"]) if client.respond_to?(:ssl_config) }

puts "openid_connect #{OpenIDConnect::VERSION}, Ruby #{RUBY_VERSION}"
while $stdin.gets
  begin
    config = OpenIDConnect::Discovery::Provider::Config.discover!(issuer)
    answer = config.as_json.merge(kids: config.jwks.map { |key| key[:kid] })
  rescue OpenIDConnect::Discovery::DiscoveryFailed => e
    answer = { error: e.message, type: e.class.name }
  end
  puts answer.to_json
end
`

// mcpSDK is the Go SDK of the Model Context Protocol.
func mcpSDK(ctx context.Context, s *authorizationServer) *oauthPeer {
	return &oauthPeer{operations: []string{discover, findServer}, ask: inProcess(func(q question) (any, error) {
		switch q.Do {
		case discover:
			return auth.GetAuthServerMetadata(ctx, s.name, s.client)
		case findServer:
			answer, err := s.client.Get(s.api)
			if err != nil {
				return nil, err
			}
			defer answer.Body.Close()
			challenges, err := oauthex.ParseWWWAuthenticate(answer.Header.Values("WWW-Authenticate"))
			if err != nil {
				return nil, err
			}
			if answer.StatusCode != http.StatusUnauthorized || len(challenges) != 1 {
				return nil, errors.New("there is no challenge")
			}
			return oauthex.GetProtectedResourceMetadata(ctx, challenges[0].Params["resource_metadata"], s.api, s.client)
		}
		return nil, errors.New("unknown operation")
	})}
}

// Each of these peers refuses the metadata of an issuer that has neither an authorization endpoint nor
// PKCE. It takes the metadata if AuthorizationEndpoint and More of MetadataOptions have them.
func TestPeersThatDemandMoreMetadataFindAnIssuerThatHasIt(t *testing.T) {
	for name, p := range map[string]struct {
		paths []string // in the names of the issuers that the peer must find
		lacks string   // a part of the peer's error if the issuer has neither an authorization endpoint nor PKCE
		ask   func(t *testing.T, s *authorizationServer) *oauthPeer
	}{
		"the Go SDK of the Model Context Protocol": {[]string{"", "/tenant/one"}, "does not implement PKCE", func(t *testing.T, s *authorizationServer) *oauthPeer {
			return mcpSDK(t.Context(), s)
		}},
		"openid_connect": {[]string{"/tenant/one"}, "Authorization endpoint can", func(t *testing.T, s *authorizationServer) *oauthPeer {
			ruby := rubyWith(t, "openid_connect", "Ruby with openid_connect (ruby-openid-connect)")
			return &oauthPeer{operations: []string{discover}, ask: askChild(startOAuthPeer(t, s, ruby, "-e", openIDConnect))}
		}},
		"Authlib": {[]string{""}, `"authorization_endpoint" is required`, func(t *testing.T, s *authorizationServer) *oauthPeer {
			python := pythonWith(t, "authlib, requests", "Python 3 with Authlib and requests (python3-authlib and python3-requests)")
			return &oauthPeer{operations: []string{discover}, ask: askChild(startOAuthPeer(t, s, python, "-c", authlib))}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, path := range p.paths {
				s := newAuthorizationServer(t, path)
				peer := p.ask(t, s)
				findsTheRoutes(t, s, peer)
				found := peer.succeeds(t, question{Do: discover})
				require.Equal(t, s.url+"/authorize", found["authorization_endpoint"])
				require.Equal(t, s.url+"/jwks", found["jwks_uri"])
				require.Equal(t, []any{"code"}, found["response_types_supported"])
				if kids, ok := found["kids"]; ok { // of the JWK Set
					require.ElementsMatch(t, []any{keyFor(t, jwk.ES256).ID(), keyFor(t, jwk.RS256).ID()}, kids)
				}
			}
			bare := publish(t, keyFor(t, jwk.ES256))
			s := &authorizationServer{server: server{bare.url, bare.ca, bare.client}, name: bare.url, api: audience}
			require.Contains(t, p.ask(t, s).ask(t, question{Do: discover})["error"], p.lacks)
		})
	}
}
