package loginserver

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
)

func TestALoginIsAnsweredWithTokens(t *testing.T) {
	p := start(t, nil)
	a := p.Send("POST", "/api/login", "", programtest.LoginBody("alice", p.Password("alice")))
	require.Equal(t, 200, a.Status)
	var tokens map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.Body), &tokens))
	require.Equal(t, "Bearer", tokens["token_type"])
	require.EqualValues(t, 900, tokens["expires_in"])
	require.Equal(t, "orders:write", tokens["scope"])
	require.NotEmpty(t, tokens["access_token"])
	require.NotEmpty(t, tokens["refresh_token"])
	require.EqualValues(t, 604800, tokens["refresh_token_timeout"])
	require.EqualValues(t, 2592000, tokens["authorization_expires_in"])
	require.Len(t, tokens, 7)
	require.Equal(t, "no-cache", a.Header.Get("Pragma"))
}

func TestARefusedLoginDoesNotTellWhy(t *testing.T) {
	p := start(t, nil)
	wrong := p.Send("POST", "/api/login", "", programtest.LoginBody("alice", p.Password("bob")))
	unknown := p.Send("POST", "/api/login", "", programtest.LoginBody("mallory", p.Password("alice")))
	spelled := p.Send("POST", "/api/login", "", programtest.LoginBody("Alice", p.Password("alice")))
	require.Equal(t, 401, wrong.Status)
	require.Equal(t, "invalid_credentials", wrong.Member(t, "error"))
	require.Equal(t, `Bearer error="invalid_credentials", error_description="the name or the password is wrong"`, wrong.Header.Get("WWW-Authenticate"))
	for _, other := range []programtest.Answer{unknown, spelled} {
		require.Equal(t, wrong.Status, other.Status)
		require.Equal(t, wrong.Body, other.Body)
		wrong.Header.Del("Date")
		other.Header.Del("Date")
		require.Equal(t, wrong.Header, other.Header)
	}
}

func TestALoginNeedsANameAndAPassword(t *testing.T) {
	s := newTestServer(t, nil)
	for _, body := range []string{
		`{}`, `{"username":"alice"}`, `{"password":"x"}`, `{"username":"","password":"x"}`, `{"username":"alice","password":""}`,
	} {
		a := s.ask("POST", "/api/login", "", body)
		require.Equal(t, 400, a.Status, body)
		require.Equal(t, "invalid_request", a.Member(t, "error"), body)
	}
}

func TestAnUnknownNameIsCheckedLikeAnother(t *testing.T) {
	s := newTestServer(t, nil)
	type work struct {
		passes, memory uint32
		lanes          uint8
	}
	var done []work
	derive := s.passwords.derive
	s.passwords.derive = func(password, salt []byte, passes, memory uint32, lanes uint8, length uint32) []byte {
		done = append(done, work{passes, memory, lanes})
		return derive(password, salt, passes, memory, lanes, length)
	}
	require.Equal(t, 401, s.ask("POST", "/api/login", "", programtest.LoginBody("alice", "wrong")).Status)
	require.Equal(t, 401, s.ask("POST", "/api/login", "", programtest.LoginBody("mallory", "wrong")).Status)
	require.Equal(t, 401, s.ask("POST", "/api/login", "", programtest.LoginBody("mallory", usersPassword)).Status, "a stand-in's password lets in")
	require.Len(t, done, 3)
	require.Equal(t, done[0], done[1])
}

func TestTheTimeOfALoginIsReadBeforeThePassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, nil)
		began, derive := time.Now(), s.passwords.derive
		s.passwords.derive = func(password, salt []byte, passes, memory uint32, lanes uint8, length uint32) []byte {
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

func TestTheNameOfADeviceIsPrintableAndShort(t *testing.T) {
	for _, c := range []struct{ agent, want string }{
		{"", ""},
		{"curl/8.5.0", "curl/8.5.0"},
		{"a\x00b\tc\x7f\u202ed", "abcd"},
		{"\xffx\xc3", "x"},
		{strings.Repeat("a", 300), strings.Repeat("a", 256)},
		{strings.Repeat("a", 255) + "é", strings.Repeat("a", 255)},
		{strings.Repeat("é", 200), strings.Repeat("é", 128)},
	} {
		got := device(c.agent)
		require.Equal(t, c.want, got)
		require.True(t, utf8.ValidString(got))
	}
}

func TestRefreshRotatesAndFindsTheThief(t *testing.T) {
	p := start(t, nil, "-refresh-grace", "1m") // enough for a slow machine
	access, first := p.Login("alice")
	a := p.Send("POST", "/api/refresh", "", programtest.RefreshBody(first))
	require.Equal(t, 200, a.Status)
	second := a.Member(t, "refresh_token").(string)
	require.NotEqual(t, first, second)
	require.Equal(t, 200, p.Send("POST", "/api/refresh", "", programtest.RefreshBody(first)).Status, "a racing tab was taken for a thief")
	require.Equal(t, 200, p.Send("POST", "/api/refresh", "", programtest.RefreshBody(second)).Status)

	a = p.Send("POST", "/api/refresh", "", programtest.RefreshBody(first))
	require.Equal(t, 400, a.Status)
	require.Equal(t, "invalid_grant", a.Member(t, "error"))
	require.Equal(t, 401, p.Send("GET", "/api/protected", access, "").Status)
	require.Equal(t, 400, p.Send("POST", "/api/refresh", "", programtest.RefreshBody(second)).Status)
	require.Contains(t, p.Log.String(), "token_reused")

	for _, bad := range []string{"x", access, "a.b.c"} {
		a = p.Send("POST", "/api/refresh", "", programtest.RefreshBody(bad))
		require.Equal(t, 400, a.Status)
		require.Equal(t, "invalid_grant", a.Member(t, "error"))
	}
}

func TestWithoutGraceASecondRedemptionIsReuse(t *testing.T) {
	p := start(t, nil, "-refresh-grace", "0")
	_, first := p.Login("alice")
	require.Equal(t, 200, p.Send("POST", "/api/refresh", "", programtest.RefreshBody(first)).Status)
	require.Equal(t, 400, p.Send("POST", "/api/refresh", "", programtest.RefreshBody(first)).Status)
}

func TestLogoutTakesEitherTokenAgainAndAgain(t *testing.T) {
	p := start(t, nil)
	for _, by := range []string{"access", "refresh"} {
		access, refresh := p.Login("alice")
		logout := func() programtest.Answer {
			if by == "access" {
				return p.Send("POST", "/api/logout", access, "")
			}
			return p.Send("POST", "/api/logout", "", programtest.RefreshBody(refresh))
		}
		a := logout()
		require.Equal(t, 204, a.Status, by)
		require.Empty(t, a.Body)
		require.Equal(t, 401, p.Send("GET", "/api/protected", access, "").Status, by)
		require.Equal(t, 400, p.Send("POST", "/api/refresh", "", programtest.RefreshBody(refresh)).Status, by)
		require.Equal(t, 204, logout().Status, "the second time, by %s", by)
	}
}

func TestLogoutTakesTokensThatHaveExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, []string{"-access-ttl", "1m", "-refresh-ttl", "1h"})
		tokens := s.login("alice", usersPassword)
		time.Sleep(2 * time.Minute) // of the bubble's clock
		require.Equal(t, 401, s.ask("GET", "/api/protected", tokens.AccessToken, "").Status)
		require.Equal(t, 204, s.ask("POST", "/api/logout", tokens.AccessToken, "").Status)
		require.Equal(t, 400, s.ask("POST", "/api/refresh", "", programtest.RefreshBody(tokens.RefreshToken)).Status)
		time.Sleep(2 * time.Hour)
		require.Equal(t, 204, s.ask("POST", "/api/logout", "", programtest.RefreshBody(tokens.RefreshToken)).Status)
	})
}

func TestLogoutRefusesWhatIsNoToken(t *testing.T) {
	p := start(t, nil)
	access, refresh := p.Login("alice")
	a := p.Send("POST", "/api/logout", "", "")
	require.Equal(t, 401, a.Status)
	require.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"))
	a = p.Send("POST", "/api/logout", "garbage", "")
	require.Equal(t, 401, a.Status)
	require.Equal(t, "invalid_token", a.Member(t, "error"))
	a = p.Send("POST", "/api/logout", "", programtest.RefreshBody("garbage"))
	require.Equal(t, 400, a.Status)
	require.Equal(t, "invalid_grant", a.Member(t, "error"))
	require.Equal(t, 401, p.Send("POST", "/api/logout", "", "{}").Status)

	r, err := http.NewRequest("POST", p.Base+"/api/logout", nil)
	require.NoError(t, err)
	r.Header["Authorization"] = []string{"Bearer " + access, "Bearer " + access}
	require.Equal(t, 400, p.Do(r).Status)
	require.Equal(t, 200, p.Send("GET", "/api/protected", access, "").Status, "a refused request logged out")
	require.Equal(t, 200, p.Send("POST", "/api/refresh", "", programtest.RefreshBody(refresh)).Status)
}

func TestLogoutAllEndsEverySessionOfTheCaller(t *testing.T) {
	p := start(t, nil)
	here, _ := p.Login("alice")
	there, refresh := p.Login("alice")
	bob, _ := p.Login("bob")
	require.Equal(t, 204, p.Send("POST", "/api/sessions/end-all", here, "").Status)
	require.Equal(t, 401, p.Send("GET", "/api/protected", here, "").Status)
	require.Equal(t, 401, p.Send("GET", "/api/protected", there, "").Status)
	require.Equal(t, 400, p.Send("POST", "/api/refresh", "", programtest.RefreshBody(refresh)).Status)
	require.Equal(t, 401, p.Send("POST", "/api/sessions/end-all", here, "").Status)
	require.Equal(t, 200, p.Send("GET", "/api/protected", bob, "").Status)
}
