package main

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

func TestAUserLogsInRefreshesAndLogsOut(t *testing.T) {
	password := rand.Text()
	server := httptest.NewServer(service(password))
	defer server.Close()

	post := func(path string, form url.Values) (int, string) {
		answer, err := server.Client().PostForm(server.URL+path, form)
		require.NoError(t, err)
		return read(t, answer)
	}
	me := func(token string) (int, string) {
		r, err := http.NewRequest(http.MethodGet, server.URL+"/me", nil)
		require.NoError(t, err)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := server.Client().Do(r)
		require.NoError(t, err)
		return read(t, answer)
	}
	tokensOf := func(status int, body string) (tokens jwtauth.TokenResponse) {
		require.Equal(t, http.StatusOK, status)
		require.NoError(t, json.Unmarshal([]byte(body), &tokens))
		return tokens
	}

	status, _ := me("")
	require.Equal(t, http.StatusUnauthorized, status)
	for _, wrong := range []url.Values{
		{"username": {"alice"}, "password": {"wrong"}}, {"username": {"bob"}, "password": {password}},
	} {
		status, body := post("/auth/login", wrong)
		require.Equal(t, http.StatusUnauthorized, status)
		require.Contains(t, body, `"error":"invalid_credentials"`)
	}

	first := tokensOf(post("/auth/login", url.Values{"username": {"alice"}, "password": {password}}))
	status, body := me(first.AccessToken)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "hello alice\n", body)
	status, _ = me(first.RefreshToken)
	require.Equal(t, http.StatusUnauthorized, status, "a refresh token is not an access token")

	order, err := http.NewRequest(http.MethodPost, server.URL+"/orders", nil)
	require.NoError(t, err)
	order.Header.Set("Authorization", "Bearer "+first.AccessToken)
	answer, err := server.Client().Do(order)
	require.NoError(t, err)
	status, _ = read(t, answer)
	require.Equal(t, http.StatusOK, status)

	second := tokensOf(post("/auth/refresh", url.Values{"refresh_token": {first.RefreshToken}}))
	third := tokensOf(post("/auth/refresh", url.Values{"refresh_token": {second.RefreshToken}}))
	status, _ = me(third.AccessToken)
	require.Equal(t, http.StatusOK, status)

	status, body = post("/auth/logout", url.Values{"refresh_token": {third.RefreshToken}})
	require.Equal(t, http.StatusNoContent, status)
	require.Empty(t, body)
	status, _ = me(third.AccessToken)
	require.Equal(t, http.StatusUnauthorized, status, "logout revokes the access tokens")
	status, _ = post("/auth/refresh", url.Values{"refresh_token": {third.RefreshToken}})
	require.Equal(t, http.StatusBadRequest, status)
	status, _ = post("/auth/logout", url.Values{"refresh_token": {"rubbish"}})
	require.Equal(t, http.StatusBadRequest, status)
}

func TestAStolenRefreshTokenEndsTheSession(t *testing.T) {
	password := rand.Text()
	handler := service(password)
	post := func(path string, form url.Values) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	refresh := func(tokens jwtauth.TokenResponse) (next jwtauth.TokenResponse, status int) {
		w := post("/auth/refresh", url.Values{"refresh_token": {tokens.RefreshToken}})
		if w.Code == http.StatusOK {
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &next))
		}
		return next, w.Code
	}
	var stolen jwtauth.TokenResponse
	require.NoError(t, json.Unmarshal(post("/auth/login", url.Values{"username": {"alice"}, "password": {password}}).Body.Bytes(), &stolen))
	second, status := refresh(stolen)
	require.Equal(t, http.StatusOK, status)
	third, status := refresh(second)
	require.Equal(t, http.StatusOK, status)

	_, status = refresh(stolen)
	require.Equal(t, http.StatusBadRequest, status)
	_, status = refresh(third)
	require.Equal(t, http.StatusBadRequest, status, "the session has ended for its owner, too")
}

func read(t *testing.T, answer *http.Response) (int, string) {
	t.Helper()
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body)
}
