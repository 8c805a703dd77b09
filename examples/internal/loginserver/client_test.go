package loginserver

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
)

func TestTheAddressOfAClientComesFromTrustedProxiesAlone(t *testing.T) {
	for _, c := range []struct{ trusted, remote, forwarded, want string }{
		{"", "192.0.2.1:1", "", "192.0.2.1"},
		{"", "192.0.2.1:1", "203.0.113.9", "192.0.2.1"},
		{"", "127.0.0.1:1", "203.0.113.9", "127.0.0.1"},
		{"", "[::ffff:192.0.2.1]:1", "", "192.0.2.1"},
		{"", "[fe80::1%eth0]:1", "", "fe80::1"},
		{"", "@", "203.0.113.9", "invalid IP"}, // a Unix socket
		{"10.0.0.0/8", "192.0.2.1:1", "203.0.113.9", "192.0.2.1"},
		{"10.0.0.0/8", "10.0.0.1:1", "", "10.0.0.1"},
		{"10.0.0.0/8", "10.0.0.1:1", "203.0.113.9", "203.0.113.9"},
		{"10.0.0.0/8", "[::ffff:10.0.0.1]:1", "203.0.113.9", "203.0.113.9"},
		{"10.0.0.0/8", "10.0.0.1:1", "198.51.100.66, 203.0.113.9", "203.0.113.9"},
		{"10.0.0.0/8", "10.0.0.1:1", "10.0.0.66, 203.0.113.9", "203.0.113.9"},
		{"10.0.0.0/8", "10.0.0.1:1", "198.51.100.66, 203.0.113.9,10.0.0.3 ,\t10.0.0.2", "203.0.113.9"},
		{"10.0.0.0/8", "10.0.0.1:1", "198.51.100.66\n203.0.113.9, 10.0.0.2", "203.0.113.9"}, // two headers
		{"10.0.0.0/8", "10.0.0.1:1", "10.0.0.3, 10.0.0.2", "10.0.0.3"},
		{"10.0.0.0/8", "10.0.0.1:1", "203.0.113.9:4711", "203.0.113.9"},
		{"10.0.0.0/8", "10.0.0.1:1", "[2001:db8::9]:4711", "2001:db8::9"},
		{"10.0.0.0/8", "10.0.0.1:1", "::ffff:203.0.113.9", "203.0.113.9"},
		{"10.0.0.0/8", "10.0.0.1:1", "203.0.113.9, unknown", "10.0.0.1"},
		{"10.0.0.0/8", "10.0.0.1:1", "203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"},
		{"10.0.0.0/8", "10.0.0.1:1", "203.0.113.9,", "10.0.0.1"},
		{"10.0.0.1", "10.0.0.1:1", "203.0.113.9, 10.0.0.2", "10.0.0.2"},
		{"::1, fd00::/64", "[::1]:1", "2001:db8::9, fd00::5", "2001:db8::9"},
	} {
		var args []string
		if c.trusted != "" {
			args = []string{"-trusted-proxy", c.trusted}
		}
		s := newTestServer(t, args)
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		if c.forwarded != "" {
			r.Header["X-Forwarded-For"] = strings.Split(c.forwarded, "\n")
		}
		require.Equal(t, c.want, s.clientAddr(r).String(), c)
	}
}

func TestBehindATrustedProxyClientsAreThrottledApart(t *testing.T) {
	s := newTestServer(t, []string{"-trusted-proxy", "127.0.0.1", "-login-limit", "1"})
	s.fast(usersPassword)
	login := func(client, password string) int {
		r := httptest.NewRequest("POST", "/api/login", strings.NewReader(programtest.LoginBody("alice", password)))
		programtest.SetHeaders(r, "", "-")
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("X-Forwarded-For", "192.0.2.99, "+client)
		return s.serve(r).Status
	}
	require.Equal(t, 401, login("203.0.113.9", "wrong"))
	require.Equal(t, 429, login("203.0.113.9", usersPassword))
	require.Equal(t, 200, login("198.51.100.1", usersPassword))
	require.Contains(t, s.log.String(), `"peer":"203.0.113.9"`)
	require.NotContains(t, s.log.String(), "-trusted-proxy")
}

func TestAProxyThatIsNotNamedIsLoggedOnce(t *testing.T) {
	for remote, want := range map[string]int{"127.0.0.1:1": 1, "10.0.0.1:1": 1, "192.0.2.1:1": 0} {
		s := newTestServer(t, nil)
		r := httptest.NewRequest("GET", "/healthz", nil)
		r.RemoteAddr = remote
		s.serve(r)
		require.NotContains(t, s.log.String(), "-trusted-proxy", remote)
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		for range 3 {
			s.serve(r)
		}
		require.Equal(t, want, strings.Count(s.log.String(), "-trusted-proxy"), remote)
	}
}
