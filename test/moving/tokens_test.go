package moving_test

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
	"github.com/jwtauth-go/jwtauth/test/moving/shop"
)

// service is the service of a library before and after the move, in one process.
type service struct {
	t             *testing.T
	library       library
	before, after http.Handler
	issuer        *jwtauthtest.Issuer
	until         time.Time
}

// newService makes a service in a synctest bubble. The old tokens end in 30 days.
func newService(t *testing.T, l library) *service {
	s := &service{t: t, library: l, until: time.Now().Truncate(24*time.Hour).AddDate(0, 0, 30)}
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	s.issuer = jwtauthtest.NewIssuer(t, jwtauth.IssuerOptions{Sessions: store, Revocations: store})
	secret := []byte(rand.Text() + rand.Text())
	var err error
	s.before, err = l.before(secret)
	require.NoError(t, err)
	s.after, err = l.after(s.issuer.Issuer, store, secret, date(s.until))
	require.NoError(t, err)
	return s
}

// send sends a request with a token, or without one if token is empty.
func (s *service) send(h http.Handler, method, path, scheme, token string, form url.Values) *http.Response {
	r := httptest.NewRequest(method, "https://api.example.com"+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	switch {
	case token == "":
	case scheme == "":
		r.AddCookie(&http.Cookie{Name: "jwt", Value: token})
	default:
		r.Header.Set("Authorization", scheme+token)
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	return answer.Result()
}

// orders returns the status of a request for the orders.
func (s *service) orders(h http.Handler, token string) int {
	return s.send(h, "GET", "/orders", s.library.scheme, token, nil).StatusCode
}

// oldToken returns a token of the old login route.
func (s *service) oldToken(h http.Handler) string {
	answer := s.send(h, "POST", "/login", "", "", url.Values{"username": {"alice"}, "password": {"password of alice"}})
	require.Equal(s.t, http.StatusOK, answer.StatusCode)
	return s.tokenOf(answer)
}

// tokenOf returns the old token of an answer.
func (s *service) tokenOf(answer *http.Response) string {
	for _, c := range answer.Cookies() {
		if c.Name == "jwt" {
			return c.Value
		}
	}
	var body struct{ Token string }
	require.NoError(s.t, json.NewDecoder(answer.Body).Decode(&body))
	require.NotEmpty(s.t, body.Token)
	return body.Token
}

// inBubbles runs a test for each library, with a clock of its own.
func inBubbles(t *testing.T, test func(t *testing.T, s *service)) {
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, newService(t, l)) })
		})
	}
}

func TestAnOldTokenIsGoodUntilTheSecondOfTheDate(t *testing.T) {
	inBubbles(t, func(t *testing.T, s *service) {
		time.Sleep(time.Until(s.until.Add(-30 * time.Minute)))
		for _, token := range []string{s.oldToken(s.before), s.oldToken(s.after)} {
			require.Equal(t, 200, s.orders(s.after, token))
		}
		token := s.oldToken(s.before)
		time.Sleep(time.Until(s.until.Add(-time.Nanosecond)))
		require.Equal(t, 200, s.orders(s.after, token))
		time.Sleep(time.Nanosecond)
		require.Equal(t, 401, s.orders(s.after, token))
		require.Equal(t, 200, s.orders(s.before, token), "the old code still accepts its token")
	})
}

func TestAnOldTokenEndsWhenItEndedBefore(t *testing.T) {
	const leeway = 30 * time.Second // the default
	inBubbles(t, func(t *testing.T, s *service) {
		token := s.oldToken(s.before)
		time.Sleep(s.library.lifetime - time.Second)
		require.Equal(t, []int{200, 200}, []int{s.orders(s.before, token), s.orders(s.after, token)})
		time.Sleep(2*time.Second + leeway)
		require.Equal(t, []int{401, 401}, []int{s.orders(s.before, token), s.orders(s.after, token)})
	})
}

func TestTheOldCodeAcceptsNoTokenOfTheIssuer(t *testing.T) {
	inBubbles(t, func(t *testing.T, s *service) {
		tokens, err := s.issuer.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "7", Claims: map[string]any{"user_id": 7, "id": 7, "role": "admin"}})
		require.NoError(t, err)
		require.Equal(t, 401, s.orders(s.before, tokens.AccessToken))
		require.Equal(t, 401, s.orders(s.before, tokens.RefreshToken))
		require.Equal(t, 401, s.orders(s.after, tokens.RefreshToken))
		if s.library.scheme != "" {
			require.Equal(t, 200, s.orders(s.after, tokens.AccessToken))
		}
	})
}

func TestTheIssuerRedeemsNoOldToken(t *testing.T) {
	inBubbles(t, func(t *testing.T, s *service) {
		answer := s.send(s.after, "POST", "/auth/refresh", "", "", url.Values{"refresh_token": {s.oldToken(s.before)}})
		require.Contains(t, []int{400, 401, 403}, answer.StatusCode)
		require.Empty(t, answer.Cookies())
	})
}

func TestATokenThatNobodySignedIsRefusedBeforeAndAfter(t *testing.T) {
	inBubbles(t, func(t *testing.T, s *service) {
		token := s.oldToken(s.before)
		parts := strings.Split(token, ".")
		unsigned, err := jwt.New(jwt.SigningMethodNone).SignedString(jwt.UnsafeAllowNoneSignatureType)
		require.NoError(t, err)
		other, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "7", "user_id": 7, "id": 7, "exp": time.Now().Unix() + 60}).SignedString([]byte(rand.Text()))
		require.NoError(t, err)
		for _, bad := range []string{unsigned, other, parts[0] + "." + parts[1] + ".", token + "A", "x"} {
			require.Equal(t, []int{401, 401}, []int{s.orders(s.before, bad), s.orders(s.after, bad)}, bad)
		}
		require.Equal(t, 200, s.orders(s.after, token))
	})
}

func TestTheRefreshOfGinJWTStillTakesExpiredTokensButNoRevokedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, libraries[2])
		refresh := func(token string) *http.Response {
			return s.send(s.after, "GET", "/refresh_token", "Bearer ", token, nil)
		}
		expired := s.oldToken(s.before)
		time.Sleep(5 * time.Hour)
		require.Equal(t, 401, s.orders(s.after, expired))
		answer := refresh(expired)
		require.Equal(t, 200, answer.StatusCode)
		renewed := s.tokenOf(answer)
		require.Equal(t, 200, s.orders(s.after, renewed))

		require.Equal(t, 204, s.send(s.after, "POST", "/auth/logout", "Bearer ", renewed, nil).StatusCode)
		require.Equal(t, 401, s.orders(s.after, renewed))
		require.Equal(t, 401, refresh(renewed).StatusCode)
		time.Sleep(2 * time.Hour) // the token has expired
		require.Equal(t, 401, refresh(renewed).StatusCode)
		require.Equal(t, 401, refresh("x").StatusCode)
		require.Equal(t, 401, refresh("").StatusCode)
	})
}

func TestTheOldLoginRouteCanReturnNewTokensInTheOldForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, libraries[0])
		old := s.oldToken(s.before)
		changed := shop.LoginForOldClients(s.issuer.Issuer)
		token := s.oldToken(changed)
		require.NotEqual(t, old, token)
		require.Equal(t, []int{401, 200}, []int{s.orders(s.before, token), s.orders(s.after, token)})
		refused := s.send(changed, "POST", "/login", "", "", url.Values{"username": {"alice"}, "password": {"x"}})
		require.Equal(t, http.StatusUnauthorized, refused.StatusCode)
	})
}
