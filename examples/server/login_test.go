package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

func TestALoginIsAnsweredWithTokens(t *testing.T) {
	p := start(t, nil)
	a := p.send("POST", "/api/login", "", loginBody("alice", p.password("alice")))
	require.Equal(t, 200, a.status)
	var tokens map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.body), &tokens))
	require.Equal(t, "Bearer", tokens["token_type"])
	require.EqualValues(t, 900, tokens["expires_in"])
	require.Equal(t, "orders:write", tokens["scope"])
	require.NotEmpty(t, tokens["access_token"])
	require.NotEmpty(t, tokens["refresh_token"])
	require.Len(t, tokens, 5)
	require.Equal(t, "no-cache", a.header.Get("Pragma"))
}

func TestARefusedLoginDoesNotTellWhy(t *testing.T) {
	p := start(t, nil)
	wrong := p.send("POST", "/api/login", "", loginBody("alice", p.password("bob")))
	unknown := p.send("POST", "/api/login", "", loginBody("mallory", p.password("alice")))
	spelled := p.send("POST", "/api/login", "", loginBody("Alice", p.password("alice")))
	require.Equal(t, 400, wrong.status)
	require.Equal(t, "invalid_grant", wrong.member(t, "error"))
	for _, other := range []answer{unknown, spelled} {
		require.Equal(t, wrong.status, other.status)
		require.Equal(t, wrong.body, other.body)
		for _, name := range []string{"Date", "X-Ratelimit-Reset"} { // these change by themselves
			wrong.header.Del(name)
			other.header.Del(name)
		}
		require.Equal(t, wrong.header, other.header)
	}
}

func TestALoginNeedsANameAndAPassword(t *testing.T) {
	s := newTestServer(t, nil)
	for _, body := range []string{
		`{}`, `{"username":"alice"}`, `{"password":"x"}`, `{"username":"","password":"x"}`, `{"username":"alice","password":""}`,
		`{"username":"a\u0000b","password":"x"}`, `{"username":"a\nb","password":"x"}`,
		`{"username":"` + strings.Repeat("a", maxUserName+1) + `","password":"x"}`,
	} {
		a := s.ask("POST", "/api/login", "", body)
		require.Equal(t, 400, a.status, body)
		require.Equal(t, "invalid_request", a.member(t, "error"), body)
	}
}

func TestAnUnknownNameIsCheckedLikeAnother(t *testing.T) {
	s := newTestServer(t, nil)
	type work struct {
		passes, memory uint32
		lanes          uint8
	}
	var done []work
	derive := s.gate.derive
	s.gate.derive = func(password, salt []byte, passes, memory uint32, lanes uint8, length uint32) []byte {
		done = append(done, work{passes, memory, lanes})
		return derive(password, salt, passes, memory, lanes, length)
	}
	require.Equal(t, 400, s.ask("POST", "/api/login", "", loginBody("alice", "wrong")).status)
	require.Equal(t, 400, s.ask("POST", "/api/login", "", loginBody("mallory", "wrong")).status)
	require.Equal(t, 400, s.ask("POST", "/api/login", "", loginBody("mallory", usersPassword)).status, "a stand-in's password lets in")
	require.Len(t, done, 3)
	require.Equal(t, done[0], done[1])
}

func TestTheTimeOfALoginIsReadBeforeThePassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, nil)
		began, derive := time.Now(), s.gate.derive
		s.gate.derive = func(password, salt []byte, passes, memory uint32, lanes uint8, length uint32) []byte {
			time.Sleep(7 * time.Second) // of the bubble's clock
			return derive(password, salt, passes, memory, lanes, length)
		}
		tokens := s.login("alice", usersPassword)
		require.Equal(t, 7*time.Second, time.Since(began))
		verifier, err := s.issuer.NewVerifier(jwtauth.VerifierOptions{})
		require.NoError(t, err)
		token, err := verifier.Verify(t.Context(), tokens.AccessToken)
		require.NoError(t, err)
		require.True(t, token.AuthTime.Equal(began), "auth_time is %v, the login began at %v", token.AuthTime, began)
		require.Equal(t, []string{"pwd"}, token.AMR())
	})
}

func TestALabelIsPrintableAndShort(t *testing.T) {
	for _, c := range []struct{ agent, want string }{
		{"", ""},
		{"curl/8.5.0", "curl/8.5.0"},
		{"a\x00b\tc\x7f\u202ed", "abcd"},
		{"\xffx\xc3", "x"},
		{strings.Repeat("a", 300), strings.Repeat("a", 256)},
		{strings.Repeat("a", 255) + "é", strings.Repeat("a", 255)},
		{strings.Repeat("é", 200), strings.Repeat("é", 128)},
	} {
		got := label(c.agent)
		require.Equal(t, c.want, got)
		require.True(t, utf8.ValidString(got))
	}
}

func TestRefreshRotatesAndFindsTheThief(t *testing.T) {
	p := start(t, nil, "-refresh-grace", "1m") // however slow the machine
	access, first := p.login("alice")
	a := p.send("POST", "/api/refresh", "", refreshJSON(first))
	require.Equal(t, 200, a.status)
	second := a.member(t, "refresh_token").(string)
	require.NotEqual(t, first, second)
	require.Equal(t, 200, p.send("POST", "/api/refresh", "", refreshJSON(first)).status, "a racing tab was taken for a thief")
	require.Equal(t, 200, p.send("POST", "/api/refresh", "", refreshJSON(second)).status)

	a = p.send("POST", "/api/refresh", "", refreshJSON(first))
	require.Equal(t, 400, a.status)
	require.Equal(t, "invalid_grant", a.member(t, "error"))
	require.Equal(t, 401, p.send("GET", "/api/protected", access, "").status)
	require.Equal(t, 400, p.send("POST", "/api/refresh", "", refreshJSON(second)).status)
	require.Contains(t, p.log.String(), "token_reused")

	for _, bad := range []string{"x", access, "a.b.c"} {
		a = p.send("POST", "/api/refresh", "", refreshJSON(bad))
		require.Equal(t, 400, a.status)
		require.Equal(t, "invalid_grant", a.member(t, "error"))
	}
}

func TestWithoutGraceASecondRedemptionIsReuse(t *testing.T) {
	p := start(t, nil, "-refresh-grace", "0")
	_, first := p.login("alice")
	require.Equal(t, 200, p.send("POST", "/api/refresh", "", refreshJSON(first)).status)
	require.Equal(t, 400, p.send("POST", "/api/refresh", "", refreshJSON(first)).status)
}

func TestLogoutTakesEitherTokenAgainAndAgain(t *testing.T) {
	p := start(t, nil)
	for _, by := range []string{"access", "refresh"} {
		access, refresh := p.login("alice")
		logout := func() answer {
			if by == "access" {
				return p.send("POST", "/api/logout", access, "")
			}
			return p.send("POST", "/api/logout", "", refreshJSON(refresh))
		}
		a := logout()
		require.Equal(t, 204, a.status, by)
		require.Empty(t, a.body)
		require.Equal(t, 401, p.send("GET", "/api/protected", access, "").status, by)
		require.Equal(t, 400, p.send("POST", "/api/refresh", "", refreshJSON(refresh)).status, by)
		require.Equal(t, 204, logout().status, "the second time, by %s", by)
	}
}

func TestLogoutTakesTokensThatHaveExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, []string{"-access-ttl", "1m", "-refresh-ttl", "1h"})
		tokens := s.login("alice", usersPassword)
		time.Sleep(2 * time.Minute) // of the bubble's clock
		require.Equal(t, 401, s.ask("GET", "/api/protected", tokens.AccessToken, "").status)
		require.Equal(t, 204, s.ask("POST", "/api/logout", tokens.AccessToken, "").status)
		require.Equal(t, 400, s.ask("POST", "/api/refresh", "", refreshJSON(tokens.RefreshToken)).status)
		time.Sleep(2 * time.Hour)
		require.Equal(t, 204, s.ask("POST", "/api/logout", "", refreshJSON(tokens.RefreshToken)).status)
	})
}

func TestLogoutRefusesWhatIsNoToken(t *testing.T) {
	p := start(t, nil)
	access, refresh := p.login("alice")
	a := p.send("POST", "/api/logout", "", "")
	require.Equal(t, 401, a.status)
	require.Equal(t, "Bearer", a.header.Get("WWW-Authenticate"))
	a = p.send("POST", "/api/logout", "garbage", "")
	require.Equal(t, 401, a.status)
	require.Equal(t, "invalid_token", a.member(t, "error"))
	a = p.send("POST", "/api/logout", "", refreshJSON("garbage"))
	require.Equal(t, 400, a.status)
	require.Equal(t, "invalid_grant", a.member(t, "error"))
	require.Equal(t, 400, p.send("POST", "/api/logout", "", "{}").status)

	r, err := http.NewRequest("POST", p.base+"/api/logout", nil)
	require.NoError(t, err)
	r.Header["Authorization"] = []string{"Bearer " + access, "Bearer " + access}
	require.Equal(t, 400, p.do(r).status)
	require.Equal(t, 200, p.send("GET", "/api/protected", access, "").status, "a refused request logged out")
	require.Equal(t, 200, p.send("POST", "/api/refresh", "", refreshJSON(refresh)).status)
}

func TestLogoutAllEndsEverySessionOfTheCaller(t *testing.T) {
	p := start(t, nil)
	here, _ := p.login("alice")
	there, refresh := p.login("alice")
	bob, _ := p.login("bob")
	require.Equal(t, 204, p.send("POST", "/api/logout-all", here, "").status)
	require.Equal(t, 401, p.send("GET", "/api/protected", here, "").status)
	require.Equal(t, 401, p.send("GET", "/api/protected", there, "").status)
	require.Equal(t, 400, p.send("POST", "/api/refresh", "", refreshJSON(refresh)).status)
	require.Equal(t, 401, p.send("POST", "/api/logout-all", here, "").status)
	require.Equal(t, 200, p.send("GET", "/api/protected", bob, "").status)
}

func TestAStoreThatIsFullIsUnavailable(t *testing.T) {
	s := newTestServer(t, nil)
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{MaxSessions: 1})
	var err error
	s.issuer, err = jwtauth.NewIssuer(s.keys, jwtauth.IssuerOptions{
		Issuer: "https://i.test", Audiences: []string{"https://i.test"}, Sessions: store, Revocations: store,
	})
	require.NoError(t, err)
	s.login("alice", usersPassword)
	a := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/api/login", strings.NewReader(loginBody("alice", usersPassword)))
	r.Header.Set("Content-Type", "application/json")
	s.server.login(a, r)
	require.Equal(t, 503, a.Code)
	require.Equal(t, "1", a.Header().Get("Retry-After"))
}
