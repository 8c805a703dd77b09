package endpoints_test

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

const exchangeAudience = "https://billing.test"

// clients is Options.Client: clients with secrets, and a public one.
func clients(_ *http.Request, id, secret string) error {
	want, ok := map[string]string{"one": "secret one", "two": "secret two", "web-app": "100% +secret", "public": ""}[id]
	switch {
	case id == "down":
		return errors.New("the directory of clients does not answer")
	case !ok || subtle.ConstantTimeCompare([]byte(secret), []byte(want)) == 0:
		return jwtauth.ErrGrantRefused
	}
	return nil
}

func newOAuthSite(t *testing.T) *browser {
	return newSite(t, endpoints.Options{
		Client: clients,
		Introspect: func(r *http.Request, id, secret string) error {
			if r.Header.Get("Authorization") == "Bearer of a service" {
				return nil
			}
			if id != "two" {
				return jwtauth.ErrGrantRefused
			}
			return clients(r, id, secret)
		},
	}, func(o *jwtauth.IssuerOptions) { o.ExchangeAudiences = []string{exchangeAudience} }).browser()
}

// basic returns the Authorization header of a client.
func basic(id string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(id, "secret "+id)
	return "Authorization: " + r.Header.Get("Authorization")
}

func (b *browser) issue(t *testing.T, clientID string) jwtauth.TokenResponse {
	t.Helper()
	tokens, err := b.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", ClientID: clientID, Scopes: []string{"read", "write"}, Claims: map[string]any{"tenant": "acme"}})
	require.NoError(t, err)
	return tokens
}

func form(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

// RFC 6749, section 5.2.
func TestTheTokenEndpointAnswersByTheBook(t *testing.T) {
	b := newOAuthSite(t)
	tokens := b.issue(t, "one")
	const grant = "refresh_token"
	for _, c := range []struct {
		name, client, body string
		status             int
		code               string
	}{
		{"no grant_type", "one", form("refresh_token", tokens.RefreshToken), 400, "invalid_request"},
		{"password", "one", form("grant_type", "password", "username", "alice", "password", "x"), 400, "unsupported_grant_type"},
		{"authorization_code", "one", form("grant_type", "authorization_code", "code", "x"), 400, "unsupported_grant_type"},
		{"client_credentials", "one", form("grant_type", "client_credentials"), 400, "unsupported_grant_type"},
		{"another case", "one", form("grant_type", "Refresh_Token", "refresh_token", tokens.RefreshToken), 400, "unsupported_grant_type"},
		{"no refresh token", "one", form("grant_type", grant), 400, "invalid_request"},
		{"two grants", "one", form("grant_type", grant, "grant_type", "password", "refresh_token", tokens.RefreshToken), 400, "invalid_request"},
		{"two refresh tokens", "one", form("grant_type", grant, "refresh_token", tokens.RefreshToken, "refresh_token", "x"), 400, "invalid_request"},
		{"JSON", "one", `{"grant_type":"refresh_token","refresh_token":"` + tokens.RefreshToken + `"}`, 400, "invalid_request"},
		{"nothing", "one", "", 400, "invalid_request"},
		{"no client", "", form("grant_type", grant, "refresh_token", tokens.RefreshToken), 401, "invalid_client"},
		{"an unknown client", "three", form("grant_type", grant, "refresh_token", tokens.RefreshToken), 401, "invalid_client"},
		{"clients that cannot be looked up", "down", form("grant_type", grant, "refresh_token", tokens.RefreshToken), 503, "temporarily_unavailable"},
		{"a secret without a client", "", form("grant_type", grant, "client_secret", "secret one", "refresh_token", tokens.RefreshToken), 401, "invalid_client"},
		{"a client without its secret", "", form("grant_type", grant, "client_id", "one", "refresh_token", tokens.RefreshToken), 401, "invalid_client"},
		{"two secrets", "one", form("grant_type", grant, "client_secret", "secret one", "refresh_token", tokens.RefreshToken), 400, "invalid_request"},
		{"two clients", "one", form("grant_type", grant, "client_id", "two", "refresh_token", tokens.RefreshToken), 400, "invalid_request"},
		{"another client", "two", form("grant_type", grant, "refresh_token", tokens.RefreshToken), 400, "invalid_grant"},
		{"a public client with the token of another", "", form("grant_type", grant, "client_id", "public", "refresh_token", tokens.RefreshToken), 400, "invalid_grant"},
		{"garbage", "one", form("grant_type", grant, "refresh_token", "x"), 400, "invalid_grant"},
		{"an access token", "one", form("grant_type", grant, "refresh_token", tokens.AccessToken), 400, "invalid_grant"},
		{"a scope more", "one", form("grant_type", grant, "refresh_token", tokens.RefreshToken, "scope", "read admin"), 400, "invalid_scope"},
		{"another resource", "one", form("grant_type", grant, "refresh_token", tokens.RefreshToken, "resource", "https://other.test"), 400, "invalid_target"},
		{"fewer scopes, one resource, an unknown parameter", "one", form("grant_type", grant, "refresh_token", tokens.RefreshToken, "scope", "read", "resource", fixture.Audience, "x", "y"), 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers := []string{"Content-Type: application/x-www-form-urlencoded", "X-CSRF:", "Origin:", "Sec-Fetch-Site:"}
			if c.body != "" && c.body[0] == '{' {
				headers[0] = "Content-Type: application/json"
			}
			if c.client != "" {
				headers = append(headers, basic(c.client))
			}
			a := b.do("POST", "/auth/token", c.body, headers...)
			require.Equal(t, c.status, a.Code, a.Body)
			require.Equal(t, c.code, a.member("error"))
			require.Equal(t, "no-store", a.Header().Get("Cache-Control"))
			if c.status == 200 {
				require.Equal(t, "read", a.member("scope"))
				require.NotEmpty(t, a.member("refresh_token"))
			} else {
				require.NotContains(t, a.Body.String(), tokens.RefreshToken)
			}
			if c.status == 401 {
				require.Equal(t, `Basic realm="/auth"`, a.Header().Get("WWW-Authenticate"))
			}
		})
	}
	for _, method := range []string{"GET", "PUT"} {
		for _, path := range []string{"token", "revoke", "introspect"} {
			a := b.do(method, "/auth/"+path, "", basic("two"))
			require.Equal(t, 405, a.Code)
			require.Equal(t, "POST", a.Header().Get("Allow"))
		}
	}
	require.Equal(t, 400, b.do("POST", "/auth/token?grant_type=refresh_token", form("refresh_token", "x"), basic("one")).Code)

	public := b.issue(t, "public")
	require.Equal(t, 200, b.do("POST", "/auth/token", form("grant_type", grant, "client_id", "public", "refresh_token", public.RefreshToken)).Code)
}

// RFC 6749, section 2.3.1. Some clients form-encode even a hyphen, and others encode nothing.
func TestTheSecretOfAClientMayBeFormEncoded(t *testing.T) {
	b := newOAuthSite(t)
	revoke := func(id, secret string, fields ...string) int {
		r := b.request("POST", "/auth/revoke", form(append(fields, "token", "x")...))
		if id != "" {
			r.SetBasicAuth(id, secret)
		}
		return b.send(r).Code
	}
	for _, secret := range []string{"100% +secret", "100%25+%2Bsecret", "100%25%20%2bsecret"} {
		require.Equal(t, 200, revoke("web-app", secret), secret)
	}
	require.Equal(t, 200, revoke("web%2Dapp", "100%25+%2Bsecret"))
	require.Equal(t, 200, revoke("", "", "client_id", "web-app", "client_secret", "100% +secret"))
	require.Equal(t, 401, revoke("", "", "client_id", "web-app", "client_secret", "100%25+%2Bsecret"))
	for _, secret := range []string{"", "100% secret", "100%", "%zz"} {
		require.Equal(t, 401, revoke("web-app", secret), secret)
	}
	require.Equal(t, 503, revoke("down", "%25"))
}

// RFC 7009.
func TestAClientRevokesItsOwnTokens(t *testing.T) {
	b := newOAuthSite(t)
	alive := func(tokens jwtauth.TokenResponse) (access, refresh bool) {
		_, err := b.Verifier.Verify(t.Context(), tokens.AccessToken)
		_, sessionErr := b.Issuer.Session(t.Context(), tokens.RefreshToken)
		return err == nil, sessionErr == nil
	}
	revoke := func(client string, pairs ...string) answer {
		return b.do("POST", "/auth/revoke", form(pairs...), basic(client))
	}
	tokens := b.issue(t, "one")
	for _, text := range []string{tokens.AccessToken, tokens.RefreshToken} {
		a := revoke("two", "token", text)
		require.Equal(t, 400, a.Code)
		require.Equal(t, "invalid_grant", a.member("error"))
		require.Equal(t, 401, revoke("three", "token", text).Code)
		access, refresh := alive(tokens)
		require.True(t, access && refresh)
	}
	a := revoke("one", "token", tokens.AccessToken, "token_type_hint", "refresh_token")
	require.Equal(t, 200, a.Code)
	require.JSONEq(t, "{}", a.Body.String())
	access, refresh := alive(tokens)
	require.False(t, access)
	require.True(t, refresh, "the session of an access token lives on")

	tokens = b.issue(t, "one")
	require.Equal(t, 200, revoke("one", "token", tokens.RefreshToken, "token_type_hint", "nonsense").Code)
	access, refresh = alive(tokens)
	require.False(t, access || refresh)
	for _, text := range []string{tokens.RefreshToken, tokens.AccessToken, "garbage", b.issue(t, "one").AccessToken + "x"} {
		require.Equal(t, 200, revoke("one", "token", text).Code, "a token that is not good is no error")
	}
	require.Equal(t, "invalid_request", revoke("one").member("error"))
	require.Equal(t, "invalid_request", revoke("one", "token", "a", "token", "b").member("error"))

	b.Heard()
	revoke("one", "token", b.issue(t, "one").AccessToken)
	require.Equal(t, []string{"token_issued", "token_revoked"}, b.Heard(), "the other kind of token is tried in silence")

	tokens = b.issue(t, "one")
	b.stores.Before = fixture.Failing
	for _, text := range []string{tokens.AccessToken, tokens.RefreshToken} {
		require.Equal(t, 503, revoke("one", "token", text).Code)
	}
}

func TestWithoutRevocationsAnAccessTokenCannotBeRevoked(t *testing.T) {
	b := newSite(t, endpoints.Options{Client: clients}, func(o *jwtauth.IssuerOptions) {
		o.Revocations, o.InsecureAccessOutlivesSession = nil, true
	}).browser()
	tokens := b.issue(t, "one")
	a := b.do("POST", "/auth/revoke", form("token", tokens.AccessToken), basic("one"))
	require.Equal(t, 400, a.Code)
	require.Equal(t, "unsupported_token_type", a.member("error"))
	require.Equal(t, 200, b.do("POST", "/auth/revoke", form("token", tokens.RefreshToken), basic("one")).Code)
}

// RFC 7662.
func TestAnAuthorizedServiceIntrospectsTokens(t *testing.T) {
	b := newOAuthSite(t)
	introspect := func(client, token string) answer {
		return b.do("POST", "/auth/introspect", form("token", token), basic(client))
	}
	tokens := b.issue(t, "one")
	token, err := b.Verifier.Verify(t.Context(), tokens.AccessToken)
	require.NoError(t, err)
	exchanged, err := b.Issuer.Exchange(t.Context(), token, jwtauth.ExchangeRequest{Audiences: []string{exchangeAudience}, Actor: "orders", Scopes: []string{"read"}})
	require.NoError(t, err)

	members := func(token string) (m map[string]any) {
		t.Helper()
		a := introspect("two", token)
		require.Equal(t, 200, a.Code, a.Body)
		require.Equal(t, "no-store", a.Header().Get("Cache-Control"))
		require.NoError(t, json.Unmarshal(a.Body.Bytes(), &m))
		return m
	}
	m := members(tokens.AccessToken)
	for name, want := range map[string]any{
		"active": true, "token_type": "Bearer", "sub": "alice", "client_id": "one", "scope": "read write", "iss": fixture.Issuer,
		"aud": fixture.Audience, "exp": float64(tokens.ExpiresAt.Unix()), "jti": token.ID, "sid": tokens.SessionID, "tenant": "acme",
	} {
		require.Equal(t, want, m[name], name)
	}
	require.NotContains(t, m, "sid_epoch")
	m = members(exchanged.AccessToken)
	require.Equal(t, exchangeAudience, m["aud"])
	require.Equal(t, map[string]any{"sub": "orders"}, m["act"])
	m = members(tokens.RefreshToken)
	for name, want := range map[string]any{"active": true, "token_use": "refresh_token", "aud": fixture.Issuer + "#refresh", "sub": "alice", "client_id": "one", "scope": "read write", "iss": fixture.Issuer, "exp": float64(tokens.IdleEnd.Unix())} {
		require.Equal(t, want, m[name], name)
	}
	require.NotContains(t, m, "token_type")

	for _, client := range []string{"one", "three"} {
		a := introspect(client, tokens.AccessToken)
		require.Equal(t, 401, a.Code)
		require.Equal(t, "invalid_client", a.member("error"))
	}
	a := b.do("POST", "/auth/introspect", form("token", tokens.AccessToken), "Authorization: Bearer "+tokens.AccessToken)
	require.Equal(t, 401, a.Code, "a user may not ask about tokens")
	require.Equal(t, 200, b.do("POST", "/auth/introspect", form("token", "x"), "Authorization: Bearer of a service").Code)
	require.Equal(t, "invalid_request", b.do("POST", "/auth/introspect", form("x", "y"), basic("two")).member("error"))

	require.NoError(t, b.Issuer.Logout(t.Context(), tokens.RefreshToken))
	expired := b.issue(t, "one")
	b.Pass(31 * 24 * time.Hour)
	for _, token := range []string{tokens.AccessToken, tokens.RefreshToken, exchanged.AccessToken, expired.AccessToken, expired.RefreshToken, "garbage", ""} {
		if token == "" {
			continue
		}
		a := introspect("two", token)
		require.Equal(t, 200, a.Code)
		require.JSONEq(t, `{"active":false}`, a.Body.String())
	}

	live := b.issue(t, "one")
	b.stores.Before = fixture.Failing
	for _, token := range []string{live.AccessToken, live.RefreshToken} {
		require.Equal(t, 503, introspect("two", token).Code, "not known is no inactive token")
	}
}
