package loginserver

import (
	"log/slog"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jwtauth-go/jwtauth"
)

// login checks a user name and a password. It is endpoints.Options.Login. The throttle of
// package endpoints has counted the attempt already.
func (s *server) login(r *http.Request, name, password string) (jwtauth.Grant, error) {
	u, known := s.users.find(name)
	log := s.log.With(userAttr(name, known))
	matches, err := s.passwords.matches(r.Context(), u.hash, password)
	if err != nil {
		log.ErrorContext(r.Context(), "login unavailable", "error", err)
		return jwtauth.Grant{}, err
	}
	if !matches || !known || u.Disabled {
		log.WarnContext(r.Context(), "login refused", "known", known, "disabled", known && u.Disabled)
		return jwtauth.Grant{}, jwtauth.ErrGrantRefused
	}
	log.InfoContext(r.Context(), "login")
	return jwtauth.Grant{Subject: u.Name, Scopes: u.Scopes, Claims: profile{Roles: u.Roles}, AMR: []string{"pwd"}}, nil
}

// userAttr returns the user name for the log. It hides unknown names, because people sometimes
// type their password into the field for the name.
func userAttr(name string, known bool) slog.Attr {
	if !known {
		name = "(unknown)"
	}
	return slog.String("user", name)
}

// details is endpoints.Options.Details: what users see in the list of their sessions.
func details(r *http.Request) map[string]string {
	return map[string]string{"device": device(r.UserAgent())}
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
