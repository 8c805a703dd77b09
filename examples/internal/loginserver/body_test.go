package loginserver

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
)

func TestABodyIsOneJSONObjectWithKnownFields(t *testing.T) {
	s := newTestServer(t, nil)
	token := s.login("alice", usersPassword).RefreshToken
	const mediaType = "application/json"
	good := programtest.RefreshBody(token)
	for _, c := range []struct {
		name, contentType, body string
		status                  int
	}{
		{"good", mediaType, good, 200},
		{"another spelling of the media type", "Application/JSON; charset=UTF-8", good, 200},
		{"blanks around it", mediaType, " \r\n\t" + good + "\n", 200},
		{"no media type", "", good, 415},
		{"a form", "application/x-www-form-urlencoded", "refresh_token=" + token, 415},
		{"plain text, which needs no preflight", "text/plain", good, 415},
		{"another charset", "application/json; charset=utf-16", good, 415},
		{"a broken media type", "application/json; charset", good, 415},
		{"two media types", "application/json, text/plain", good, 415},
		{"nothing", mediaType, "", 400},
		{"half of it", mediaType, good[:len(good)-1], 400},
		{"null", mediaType, "null", 400},
		{"an array", mediaType, "[" + good + "]", 400},
		{"a string", mediaType, `"` + token + `"`, 400},
		{"a number in place of a string", mediaType, `{"refresh_token":1}`, 400},
		{"two objects", mediaType, good + good, 400},
		{"text after it", mediaType, good + "x", 400},
		{"an unknown field", mediaType, `{"refresh_token":"x","scope":"y"}`, 400},
		{"a field twice", mediaType, `{"refresh_token":"x","refresh_token":"` + token + `"}`, 400},
		{"a field twice, once escaped", mediaType, `{"refresh_token":"` + token + `","refresh\u005ftoken":"x"}`, 400},
		{"a field in capitals", mediaType, `{"REFRESH_TOKEN":"` + token + `"}`, 400},
		{"no UTF-8", mediaType, "{\"refresh_token\":\"\xff\"}", 400},
		{"a byte order mark", mediaType, "\ufeff" + good, 400},
		{"an empty field", mediaType, `{"refresh_token":""}`, 400},
		{"no field", mediaType, `{}`, 400},
		{"deep nesting", mediaType, `{"refresh_token":` + strings.Repeat("[", 60_000), 400},
		{"the largest", mediaType, good + strings.Repeat(" ", maxBody-len(good)), 200},
		{"one byte more", mediaType, good + strings.Repeat(" ", maxBody-len(good)+1), 413},
		{"an object that is too large", mediaType, `{"refresh_token":"` + strings.Repeat("x", maxBody) + `"}`, 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/api/refresh", strings.NewReader(c.body))
			if c.contentType != "" {
				r.Header.Set("Content-Type", c.contentType)
			}
			a := s.serve(r)
			require.Equal(t, c.status, a.Status, a.Body)
			if c.status != 200 {
				require.Equal(t, "invalid_request", a.Member(t, "error"))
				require.NotEmpty(t, a.Member(t, "error_description"))
				require.NotContains(t, a.Body, token)
				require.Empty(t, a.Header.Get("WWW-Authenticate"))
			}
		})
	}
}
