package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

func TestTokensOfTheIssuerAreTakenAndNoOthers(t *testing.T) {
	options := jwtauth.IssuerOptions{Issuer: "https://login.test", Audiences: []string{"https://orders.test", "https://api.test"}}
	issuer := jwtauthtest.NewIssuer(t, options)
	stranger := jwtauthtest.NewIssuer(t, options)
	handler, err := service(publicKey(t, issuer), "https://login.test", "https://orders.test")
	require.NoError(t, err)

	alice := jwtauth.Grant{Subject: "alice"}
	elsewhere := jwtauth.Grant{Subject: "alice", Audiences: []string{"https://api.test"}}
	for _, c := range []struct {
		name, token string
		status      int
	}{
		{"a good token", issuer.Token(t, alice), http.StatusOK},
		{"no token", "", http.StatusUnauthorized},
		{"a token for another service", issuer.Token(t, elsewhere), http.StatusUnauthorized},
		{"an expired token", issuer.Token(t, alice, jwtauthtest.Expired), http.StatusUnauthorized},
		{"a changed token", issuer.Token(t, alice, jwtauthtest.Tampered), http.StatusUnauthorized},
		{"a token of another key", issuer.Token(t, alice, jwtauthtest.OtherKey), http.StatusUnauthorized},
		{"a token of another issuer", stranger.Token(t, alice), http.StatusUnauthorized},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, jwtauthtest.NewRequest("GET", "/me", nil, c.token))
			require.Equal(t, c.status, w.Code)
			if c.status == http.StatusOK {
				require.Equal(t, "hello alice, says https://login.test\n", w.Body.String())
			}
		})
	}
}

func TestTheKeyComesFromAFileOrTheEnvironment(t *testing.T) {
	text := publicKey(t, jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{}))
	file := filepath.Join(t.TempDir(), "public.pem")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	got, err := readKey(file)
	require.NoError(t, err)
	require.Equal(t, text, got)

	t.Setenv("JWTAUTH_PUBLIC_KEY", string(text))
	got, err = readKey("")
	require.NoError(t, err)
	require.Equal(t, text, got)

	_, err = readKey(file + ".not")
	require.ErrorContains(t, err, "-key: ")
	t.Setenv("JWTAUTH_PUBLIC_KEY", "")
	_, err = readKey("")
	require.ErrorContains(t, err, "-key is missing, and JWTAUTH_PUBLIC_KEY is empty or not set")
}

func TestItDoesNotStartWithoutAPublicKey(t *testing.T) {
	issuer := jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{})
	private, err := issuer.Key.PrivatePEM()
	require.NoError(t, err)
	for _, c := range []struct {
		flag, issuer, audience string
		key                    []byte
	}{
		{"-key", "https://issuer.test", "https://api.test", []byte("x")},
		{"-key", "https://issuer.test", "https://api.test", private},
		{"-issuer", "", "https://api.test", publicKey(t, issuer)},
		{"-audience", "https://issuer.test", "", publicKey(t, issuer)},
	} {
		_, err := service(c.key, c.issuer, c.audience)
		require.ErrorContains(t, err, c.flag)
	}
}

func publicKey(t *testing.T, issuer *jwtauthtest.Issuer) []byte {
	t.Helper()
	text, err := issuer.Key.Verification().PEM()
	require.NoError(t, err)
	return text
}
