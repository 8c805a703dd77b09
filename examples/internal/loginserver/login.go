package loginserver

import (
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jwtauth-go/jwtauth"
)

// login answers a user name and a password with the tokens of a new session.
func (s *server) login(w http.ResponseWriter, r *http.Request) {
	// The time is read before the password: if the password is changed during this
	// login, the login counts as older than the change.
	began := time.Now()
	var in struct{ Username, Password string }
	if !readFields(w, r, map[string]*string{"username": &in.Username, "password": &in.Password}) {
		return
	}
	if !isUserName(in.Username) || in.Password == "" {
		refuse(w, http.StatusBadRequest, "invalid_request", "username and password are expected")
		return
	}
	u, ok := s.authenticate(w, r, in.Username, in.Password)
	if !ok {
		return
	}
	log := s.log.With(userAttr(u.Name, true))
	tokens, err := s.issuer.Issue(r.Context(), jwtauth.Grant{
		Subject: u.Name, Scopes: u.Scopes, Claims: profile{Roles: u.Roles},
		AuthTime: began, AMR: []string{"pwd"}, Details: map[string]string{"device": device(r.UserAgent())},
	})
	if err != nil {
		log.ErrorContext(r.Context(), "login failed", "error", err)
		jwtauth.WriteError(w, r, err)
		return
	}
	log.InfoContext(r.Context(), "login", "session", tokens.SessionID)
	jwtauth.WriteTokens(w, tokens)
}

// errPassword is the answer to a wrong password. /api/login is not a token endpoint of OAuth,
// so the status is 401 and not 400 (invalid_grant).
var errPassword = &jwtauth.Error{
	Status: http.StatusUnauthorized, Code: "invalid_credentials", Description: "the user name or the password is wrong",
}

// authenticate returns the user with this name and password. If there is no such user, it
// answers the request and returns false. The throttle counts each attempt before the
// password is checked. If it counted only failures, after the check, then many guesses in
// parallel would all be checked before the first one was counted.
func (s *server) authenticate(w http.ResponseWriter, r *http.Request, name, password string) (u user, ok bool) {
	u, known := s.users.find(name)
	log := s.log.With(userAttr(name, known))
	unavailable := func(err error) (user, bool) {
		log.ErrorContext(r.Context(), "login unavailable", "error", err)
		jwtauth.WriteError(w, r, err)
		return user{}, false
	}

	done, retryAfter, err := s.throttle.Begin(r.Context(), name, s.clientAddr(r))
	if err != nil {
		return unavailable(err)
	}
	if done == nil {
		log.WarnContext(r.Context(), "login throttled", "retry_after", retryAfter)
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(retryAfter.Seconds()))))
		refuse(w, http.StatusTooManyRequests, "too_many_attempts", "too many attempts to log in; try again later")
		return user{}, false
	}
	matches, err := s.passwords.matches(r.Context(), u.hash, password)
	if err != nil {
		return unavailable(err) // done is not called, because the result of the check is not known
	}
	ok = matches && known && !u.Disabled
	done(ok)
	if !ok {
		log.WarnContext(r.Context(), "login refused", "known", known, "disabled", known && u.Disabled)
		jwtauth.WriteError(w, r, errPassword)
		return user{}, false
	}
	return u, true
}

// userAttr returns the user name for the log. It hides unknown names, because people sometimes
// type their password into the field for the name.
func userAttr(name string, known bool) slog.Attr {
	if !known {
		name = "(unknown)"
	}
	return slog.String("user", name)
}

// maxDevice is the greatest length of the name of a device, in bytes.
const maxDevice = 256

// device makes the name of a device from the User-Agent header. It removes characters that
// are not printable, and bounds the length.
func device(userAgent string) string {
	s := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, userAgent)
	if len(s) > maxDevice {
		s = strings.ToValidUTF8(s[:maxDevice], "") // the cut may have split a character
	}
	return s
}

// readRefreshToken reads the body of a refresh, and of a logout without an access token.
func readRefreshToken(w http.ResponseWriter, r *http.Request) (token string, ok bool) {
	if !readFields(w, r, map[string]*string{"refresh_token": &token}) {
		return "", false
	}
	if token == "" {
		refuse(w, http.StatusBadRequest, "invalid_request", "refresh_token is expected")
		return "", false
	}
	return token, true
}

// refresh answers a refresh token with an access token and the next one.
func (s *server) refresh(w http.ResponseWriter, r *http.Request) {
	token, ok := readRefreshToken(w, r)
	if !ok {
		return
	}
	tokens, err := s.issuer.Refresh(r.Context(), jwtauth.RefreshRequest{Token: token})
	if err != nil {
		jwtauth.WriteError(w, r, err)
		return
	}
	jwtauth.WriteTokens(w, tokens)
}

// logout ends the session of the bearer token. If there is no bearer token, it ends the
// session of the refresh token in the body. It also answers 204 if the session has already
// ended. Therefore it is not behind the middleware, which would refuse the token.
func (s *server) logout(w http.ResponseWriter, r *http.Request) {
	token, err := jwtauth.BearerToken(r)
	if err == nil {
		err = s.issuer.Logout(r.Context(), token)
	} else if errors.Is(err, jwtauth.ErrNoToken) && r.ContentLength != 0 {
		var ok bool
		if token, ok = readRefreshToken(w, r); !ok {
			return
		}
		err = s.issuer.Logout(r.Context(), token)
		if errors.Is(err, jwtauth.ErrRefused) {
			refuse(w, http.StatusBadRequest, "invalid_grant", "this is not a refresh token of this server")
			return
		}
	}
	if err != nil {
		jwtauth.WriteError(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// logoutAll ends all sessions of the caller.
func (s *server) logoutAll(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	if err := s.issuer.EndAllSessions(r.Context(), token.Subject); err != nil {
		jwtauth.WriteError(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
