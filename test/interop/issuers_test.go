package interop_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// The scripts of the issuers do the same as node/issue.mjs.
const (
	jwcryptoIssuer = `
import json, sys
from importlib.metadata import version
from jwcrypto import jwk, jwt

key = jwk.JWK.generate(kty="RSA", size=2048, kid="first")
print(f"jwcrypto {version('jwcrypto')}, Python {sys.version.split()[0]}")
print(key.export_public(), flush=True)
for line in sys.stdin:
    q = json.loads(line)
    token = jwt.JWT(header={"alg": q["alg"], "kid": q["kid"]}, claims=q["claims"])
    token.make_signed_token(key)
    print(json.dumps({"token": token.serialize()}), flush=True)
`
	authlibIssuer = `
import json, sys
import authlib
from authlib.jose import JsonWebKey, JsonWebToken

key = JsonWebKey.generate_key("RSA", 2048, is_private=True)
print(f"Authlib {authlib.__version__}, Python {sys.version.split()[0]}")
print(key.as_json(is_private=False), flush=True)
for line in sys.stdin:
    q = json.loads(line)
    token = JsonWebToken([q["alg"]]).encode({"alg": q["alg"], "kid": q["kid"]}, q["claims"], key)
    print(json.dumps({"token": token.decode()}), flush=True)
`
	rubyJWTIssuer = `
require "json"
require "jwt"

$stdout.sync = true
key = JWT::JWK.new(OpenSSL::PKey::RSA.new(2048))
puts "ruby-jwt #{JWT.gem_version}, Ruby #{RUBY_VERSION}"
puts key.export.to_json
while (line = $stdin.gets)
  q = JSON.parse(line)
  puts({ token: JWT.encode(q["claims"], key.keypair, q["alg"], { kid: q["kid"] }) }.to_json)
end
`
	jsonJWTIssuer = `
require "json/jwt"

$stdout.sync = true
key = OpenSSL::PKey::RSA.new(2048)
puts "json-jwt #{Gem.loaded_specs["json-jwt"].version}, Ruby #{RUBY_VERSION}"
puts key.public_key.to_jwk.to_json
while (line = $stdin.gets)
  q = JSON.parse(line)
  token = JSON::JWT.new(q["claims"])
  token.kid = q["kid"]
  puts({ token: token.sign(key, q["alg"].to_sym).to_s }.to_json)
end
`
	cryptJWTIssuer = `
use strict;
use warnings;
use Crypt::JWT 'encode_jwt';
use Crypt::PK::RSA;
use JSON::PP;

$| = 1;
my $key = Crypt::PK::RSA->new;
$key->generate_key(256);
print "Crypt::JWT $Crypt::JWT::VERSION, Perl $^V\n";
print $key->export_key_jwk('public'), "\n";
while (my $line = <STDIN>) {
    my $q = decode_json($line);
    my $token = encode_jwt(payload => $q->{claims}, key => $key, alg => $q->{alg});
    print encode_json({ token => $token }), "\n";
}
`
)

// peerIssuer is an issuer with another library, in its own process. The JWK of its RSA key has no alg.
type peerIssuer struct {
	*child
	jwks   string // the URL of the JWK Set
	client *http.Client
	kid    string // of the key, or ""
}

// startIssuer starts a process like node/issue.mjs, and publishes its JWK. If kid is not empty, it is
// added to the JWK.
func startIssuer(t *testing.T, kid, name string, args ...string) *peerIssuer {
	t.Helper()
	i := &peerIssuer{child: start(t, nil, name, args...)}
	t.Log(i.line(t))
	key := object(t, []byte(i.line(t)))
	require.Equal(t, "RSA", key["kty"])
	require.NotContains(t, key, "alg")
	if kid != "" {
		require.NotContains(t, key, "kid")
		key["kid"] = kid
	}
	i.kid, _ = key["kid"].(string)
	set, err := json.Marshal(map[string]any{"keys": []any{key}})
	require.NoError(t, err)
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(set) // if this fails, the verifier reports it
	}))
	i.jwks, i.client = server.url, server.client
	return i
}

// sign returns a token with the claims of claimsNow.
func (i *peerIssuer) sign(t *testing.T, alg jwk.Algorithm) string {
	t.Helper()
	answer := i.exchange(t, map[string]any{"alg": alg, "kid": i.kid, "claims": claimsNow()})
	require.IsType(t, "", answer["token"])
	return answer["token"].(string)
}

// newRemoteVerifier returns a verifier of the tokens of issuerName, with the keys at a URL.
func newRemoteVerifier(t *testing.T, jwks string, client *http.Client, algorithms ...jwk.Algorithm) (*jwk.Remote, *jwtauth.Verifier) {
	t.Helper()
	keys, err := jwk.NewRemote(jwks, jwk.RemoteOptions{Client: client, Algorithms: algorithms})
	require.NoError(t, err)
	t.Cleanup(keys.Close)
	v, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{
		Issuer: issuerName, Audiences: []string{audience}, AcceptTypJWT: true, AcceptNoTyp: true,
	})
	require.NoError(t, err)
	return keys, v
}

// rsaAlgorithms has the algorithms with which one RSA key can sign. A Remote uses a key without alg for
// the first one, unless RemoteOptions.Algorithms says something else.
var rsaAlgorithms = []jwk.Algorithm{jwk.RS256, jwk.RS384, jwk.RS512, jwk.PS256, jwk.PS384, jwk.PS512}

// A JWK need not have alg (RFC 7517, section 4.4), and these libraries write none.
func TestWeTakeTheTokensOfRSAKeysWithoutAlg(t *testing.T) {
	python := func(modules, debian, script string) func(t *testing.T) *peerIssuer {
		return func(t *testing.T) *peerIssuer {
			return startIssuer(t, "", pythonWith(t, modules, "Python 3 with "+modules+" ("+debian+")"), "-c", script)
		}
	}
	ruby := func(library, debian, script string) func(t *testing.T) *peerIssuer {
		return func(t *testing.T) *peerIssuer {
			return startIssuer(t, "", rubyWith(t, library, "Ruby with "+library+" ("+debian+")"), "-e", script)
		}
	}
	node := func(kid string) func(t *testing.T) *peerIssuer {
		return func(t *testing.T) *peerIssuer {
			return startIssuer(t, kid, "node", filepath.Join(nodePeers(t), "issue.mjs"))
		}
	}
	for name, newPeer := range map[string]func(t *testing.T) *peerIssuer{
		"jose, with a kid":    node("first"),
		"jose, without a kid": node(""),
		"jwcrypto":            python("jwcrypto.jwt", "python3-jwcrypto", jwcryptoIssuer),
		"Authlib":             python("authlib.jose", "python3-authlib", authlibIssuer),
		"ruby-jwt":            ruby("jwt", "ruby-jwt", rubyJWTIssuer),
		"json-jwt":            ruby("json/jwt", "ruby-json-jwt", jsonJWTIssuer),
		"Crypt::JWT, without a kid": func(t *testing.T) *peerIssuer {
			perl := firstThatRuns(t, "Perl with Crypt::JWT (libcrypt-jwt-perl)", []string{"-MCrypt::JWT", "-e", "1"}, "perl", "/usr/bin/perl")
			return startIssuer(t, "", perl, "-e", cryptJWTIssuer)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			takesKeysWithoutAlg(t, newPeer(t))
		})
	}
}

func takesKeysWithoutAlg(t *testing.T, peer *peerIssuer) {
	stranger := theirKey(t, keyFor(t, jwk.RS256))
	good := map[jwk.Algorithm]string{}
	for _, alg := range rsaAlgorithms {
		good[alg] = peer.sign(t, alg)
	}
	// isUsedFor checks that a Remote with these options uses the key for some algorithms and for no
	// other one.
	isUsedFor := func(t *testing.T, used []jwk.Algorithm, options ...jwk.Algorithm) {
		t.Helper()
		keys, verifier := newRemoteVerifier(t, peer.jwks, peer.client, options...)
		refuses := func(token string, reason error) {
			t.Helper()
			_, err := verifier.Verify(t.Context(), token)
			require.ErrorIs(t, err, reason)
		}
		for alg, token := range good {
			if !slices.Contains(used, alg) {
				refuses(token, jwtauth.ErrTokenKey)
				continue
			}
			got, err := verifier.Verify(t.Context(), token)
			require.NoError(t, err, alg)
			require.Equal(t, "alice", got.Subject)
			refuses(tampered(token), jwtauth.ErrTokenSignature)
			forged := joseSigned(t, alg, stranger, peer.kid, claimsNow())
			refuses(forged, jwtauth.ErrTokenSignature)
			refuses(forged[:strings.LastIndexByte(forged, '.')]+token[strings.LastIndexByte(token, '.'):], jwtauth.ErrTokenSignature)
			refuses(joseSigned(t, alg, stranger, "unknown", claimsNow()), jwtauth.ErrTokenKey)
		}
		status := keys.Status()
		require.Equal(t, 1, status.Keys)
		require.Empty(t, status.Skipped)
		require.NoError(t, status.LastError)
	}
	t.Run("without an option for RS256", func(t *testing.T) { isUsedFor(t, rsaAlgorithms[:1]) })
	for _, alg := range rsaAlgorithms {
		t.Run("with the option for "+string(alg), func(t *testing.T) { isUsedFor(t, []jwk.Algorithm{alg}, alg) })
	}
	t.Run("with the option for all of them", func(t *testing.T) { isUsedFor(t, rsaAlgorithms, rsaAlgorithms...) })
}

// A file in a bucket or on a static server has any media type. Other libraries do not look at it.
func TestWeTakeAKeySetOfAnyMediaType(t *testing.T) {
	key := theirKey(t, keyFor(t, jwk.ES256))
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public(key), KeyID: "first", Algorithm: "ES256", Use: "sig"}}})
	require.NoError(t, err)
	token := joseSigned(t, jwk.ES256, key, "first", claimsNow())
	for _, mediaType := range []string{"application/octet-stream", "binary/octet-stream", "text/plain; charset=utf-8", "text/json", ""} {
		t.Run("the media type "+mediaType, func(t *testing.T) {
			server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = []string{mediaType}
				if mediaType == "" {
					w.Header()["Content-Type"] = nil // so that net/http adds none
				}
				_, _ = w.Write(set) // if this fails, the verifiers report it
			}))
			keys, verifier := newRemoteVerifier(t, server.url, server.client)
			got, err := verifier.Verify(t.Context(), token)
			require.NoError(t, err)
			require.Equal(t, "alice", got.Subject)
			_, err = verifier.Verify(t.Context(), tampered(token))
			require.ErrorIs(t, err, jwtauth.ErrTokenSignature)
			require.Equal(t, 1, keys.Status().Keys)
			require.NoError(t, keys.Status().LastError)
			_, err = oidc.NewRemoteKeySet(oidc.ClientContext(t.Context(), server.client), server.url).VerifySignature(t.Context(), token)
			require.NoError(t, err, "go-oidc takes the same set")
		})
	}
}
