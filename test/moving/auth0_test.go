package moving_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// tenant is a server in place of Auth0.
type tenant struct {
	domain string
	key    *rsa.PrivateKey
	server *httptest.Server
}

func newTenant(t *testing.T) *tenant {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	a := &tenant{key: key}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]string{"issuer": a.issuer(), "jwks_uri": a.issuer() + ".well-known/jwks.json"})
	})
	mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		encode := base64.RawURLEncoding.EncodeToString
		json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]string{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one",
			"n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes()),
		}}})
	})
	a.server = httptest.NewTLSServer(mux)
	t.Cleanup(a.server.Close)
	a.domain = strings.TrimPrefix(a.server.URL, "https://")
	return a
}

func (a *tenant) issuer() string { return "https://" + a.domain + "/" }

// sign signs a token as Auth0 does. changes replace its claims.
func (a *tenant) sign(t *testing.T, typ string, changes jwt.MapClaims) string {
	now := time.Now().Unix()
	claims := jwt.MapClaims{
		"iss": a.issuer(), "sub": "auth0|7", "aud": []string{"https://orders.example.com", a.issuer() + "userinfo"},
		"iat": now, "exp": now + 86400, "azp": "client", "scope": "openid read:orders",
	}
	for name, value := range changes {
		claims[name] = value
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["typ"], token.Header["kid"] = typ, "one"
	text, err := token.SignedString(a.key)
	require.NoError(t, err)
	return text
}

func TestTheTokensOfAuth0AreGoodBeforeAndAfterTheMove(t *testing.T) {
	auth0 := newTenant(t)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: auth0.server.Certificate().Raw})
	require.NoError(t, os.WriteFile(roots, certificate, 0o600))
	environment := []string{"SSL_CERT_FILE=" + roots, domainVariable + "=" + auth0.domain, audienceVariable + "=https://orders.example.com"}
	processes := []*process{start(t, "auth0/before", environment), start(t, "auth0/after", environment)}
	for _, c := range []struct {
		name    string
		typ     string
		changes jwt.MapClaims
		want    int
	}{
		{"the profile of Auth0", "JWT", nil, 200},
		{"the profile of RFC 9068", "at+jwt", jwt.MapClaims{"client_id": "client", "jti": "1"}, 200},
		{"one audience", "JWT", jwt.MapClaims{"aud": "https://orders.example.com"}, 200},
		{"without the scope", "JWT", jwt.MapClaims{"scope": "openid"}, 403},
		{"another audience", "JWT", jwt.MapClaims{"aud": "https://other.example.com"}, 401},
		{"another issuer", "JWT", jwt.MapClaims{"iss": "https://other.auth0.com/"}, 401},
		{"expired", "JWT", jwt.MapClaims{"exp": time.Now().Unix() - 120, "iat": time.Now().Unix() - 600}, 401},
	} {
		d := &device{t: t, scheme: "Bearer ", access: auth0.sign(t, c.typ, c.changes)}
		for _, p := range processes {
			status, body := d.send(p, "GET", "/orders", nil)
			require.Equal(t, c.want, status, "%s: %s", c.name, body)
			if status == http.StatusOK {
				require.Equal(t, "user auth0|7", body)
			}
		}
	}
}
