package loginserver

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
)

const usersPassword = "open sesame"

// usersHash is the hash of usersPassword.
var usersHash = sync.OnceValue(func() string { return newPasswordHash(usersPassword).String() })

func TestUsersComeFromAFile(t *testing.T) {
	file := programtest.WriteFile(t, "users.json", fmt.Appendf(nil, `[
		{"name": "carol", "password": %q, "scopes": ["orders:write", "orders:read"], "roles": ["admin", "ops"]},
		{"name": "dave", "password": %[1]q},
		{"name": "erin", "password": %[1]q, "disabled": true}
	]`, usersHash()))
	p := start(t, nil, "-users", file)
	require.NotContains(t, p.Stdout.String(), "curl", "a walk with passwords that nobody knows")

	a := p.Send("POST", "/api/login", "", programtest.LoginBody("carol", usersPassword))
	require.Equal(t, 200, a.Status)
	require.Equal(t, "orders:write orders:read", a.Member(t, "scope"))
	me := p.Send("GET", "/api/protected", a.Member(t, "access_token").(string), "")
	require.Equal(t, []any{"admin", "ops"}, me.Member(t, "roles"))
	require.Equal(t, []any{"orders:write", "orders:read"}, me.Member(t, "scopes"))

	require.Equal(t, 200, p.Send("POST", "/api/login", "", programtest.LoginBody("dave", usersPassword)).Status)
	refused := p.Send("POST", "/api/login", "", programtest.LoginBody("erin", usersPassword))
	wrong := p.Send("POST", "/api/login", "", programtest.LoginBody("dave", "wrong"))
	require.Equal(t, 401, refused.Status)
	require.Equal(t, wrong.Body, refused.Body, "the programtest.Answer tells that the user is disabled")
}

func TestABadFileOfUsersIsOneLine(t *testing.T) {
	const expected = `: a JSON file [{"name", "password", "scopes", "roles"}] is expected`
	hash := usersHash()
	one := func(more string) string { return fmt.Sprintf(`[{"name": "a", "password": %q%s}]`, hash, more) }
	for _, c := range []struct{ name, text, line string }{
		{"empty", "", "EOF" + expected},
		{"no list", `{"name": "a"}`, expected},
		{"no users", `[]`, "no users: at least one is expected"},
		{"null", `null`, "no users: at least one is expected"},
		{"a typo", one(`, "scope": ["x"]`), `unknown field "scope"` + expected},
		{"more after the list", one("") + "[]", "there is more after the list" + expected},
		{"no name", `[{}]`, "a name of 1 to 256 bytes"},
		{"a long name", `[{"name": "` + strings.Repeat("a", 257) + `"}]`, "a name of 1 to 256 bytes"},
		{"a name with a line break", `[{"name": "a\nb"}]`, "all of them printable, is expected"},
		{"a plain password", `[{"name": "a", "password": "secret"}]`, `user "a": password: not a PHC string of argon2id`},
		{"a weak hash", `[{"name": "a", "password": "$argon2id$v=19$m=4096,t=3,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]`, "weak argon2id parameters"},
		{"twice", "[" + strings.Trim(one(""), "[]") + "," + strings.Trim(one(""), "[]") + "]", `user "a" is listed twice`},
		{"a scope with a blank", one(`, "scopes": ["a b"]`), `user "a": scopes: words of printable ASCII`},
		{"an empty scope", one(`, "scopes": [""]`), `user "a": scopes: words of printable ASCII`},
		{"a scope twice", one(`, "scopes": ["x", "y", "x"]`), `user "a": scopes: "x" is listed twice`},
		{"an empty role", one(`, "roles": [""]`), `user "a": scopes and roles of at most 1024 bytes`},
		{"many roles", one(`, "roles": ["` + strings.Repeat("x", 1100) + `"]`), `user "a": scopes and roles of at most 1024 bytes`},
	} {
		t.Run(c.name, func(t *testing.T) {
			line := programtest.ErrorLine(t, command.Run, nil, "-users", programtest.WriteFile(t, "users.json", []byte(c.text)))
			require.True(t, strings.HasPrefix(line, "server: -users: "), line)
			require.Contains(t, line, c.line)
			require.NotContains(t, line, "secret")
		})
	}
	require.Contains(t, programtest.ErrorLine(t, command.Run, nil, "-users", programtest.WriteFile(t, "users.json", []byte(`[{"name": "a", "password": "secret"}]`))), "-hash-password")
	require.Equal(t, `server: -users: open nowhere.json: no such file or directory: a JSON file [{"name", "password", "scopes", "roles"}] that can be read is expected`,
		programtest.ErrorLine(t, command.Run, nil, "-users", "nowhere.json"))
}

func TestTheLargestUserThatIsTakenCanLogIn(t *testing.T) {
	u := user{Name: strings.Repeat("n", maxUserName), Password: usersHash(), Scopes: []string{strings.Repeat("s", 500)}}
	for range 10 {
		u.Roles = append(u.Roles, strings.Repeat("<", 50)) // encoding/json writes six bytes for each <
	}
	s := newTestServer(t, nil, u)
	require.Equal(t, 200, s.ask("POST", "/api/login", "", programtest.LoginBody(u.Name, usersPassword)).Status)
}

func TestAnUnknownNameCostsTheSameAsAKnownOne(t *testing.T) {
	other := newPasswordHash("x")
	other.passes = 3
	d, err := newDirectory([]user{{Name: "a", Password: usersHash()}, {Name: "b", Password: other.String()}})
	require.NoError(t, err)
	seen := map[uint32]bool{}
	for i := range 200 {
		u, known := d.find(fmt.Sprint("nobody", i))
		require.False(t, known)
		require.Contains(t, []string{"a", "b"}, u.Name)
		again, _ := d.find(fmt.Sprint("nobody", i))
		require.Equal(t, u.Name, again.Name, "the cost changes from one guess to the next")
		seen[u.hash.passes] = true
	}
	require.Len(t, seen, 2, "unknown names look like the users with one kind of hash alone")
}

func TestReloadAsksForTheUserOfToday(t *testing.T) {
	d, err := newDirectory([]user{
		{Name: "carol", Password: usersHash(), Scopes: []string{"b", "c"}, Roles: []string{"ops"}},
		{Name: "erin", Password: usersHash(), Disabled: true},
	})
	require.NoError(t, err)
	for _, gone := range []string{"erin", "frank"} {
		require.ErrorIs(t, d.reload(t.Context(), jwtauth.Session{Subject: gone}, &jwtauth.Grant{}), jwtauth.ErrGrantRefused)
	}
	g := &jwtauth.Grant{Subject: "carol", Scopes: []string{"a", "b"}}
	require.NoError(t, d.reload(t.Context(), jwtauth.Session{Subject: "carol"}, g))
	require.Equal(t, []string{"b"}, g.Scopes, "a scope came that was not granted, or one stayed that is gone")
	require.Equal(t, profile{Roles: []string{"ops"}}, g.Claims)
}

func TestARefreshOfAUserWhoIsGoneEndsTheSession(t *testing.T) {
	s := newTestServer(t, nil, user{Name: "carol", Password: usersHash(), Scopes: []string{"a"}, Roles: []string{"ops"}}, user{Name: "dave", Password: usersHash()})
	carol, dave := s.login("carol", usersPassword), s.login("dave", usersPassword)

	delete(s.users.byName, "dave")
	u := s.users.byName["carol"]
	u.Scopes, u.Roles = nil, []string{"boss"}
	s.users.byName["carol"] = u

	a := s.ask("POST", "/api/refresh", "", programtest.RefreshBody(dave.RefreshToken))
	require.Equal(t, 400, a.Status)
	require.Equal(t, "invalid_grant", a.Member(t, "error"))
	require.Equal(t, 401, s.ask("GET", "/api/protected", dave.AccessToken, "").Status)

	a = s.ask("POST", "/api/refresh", "", programtest.RefreshBody(carol.RefreshToken))
	require.Equal(t, 200, a.Status)
	me := s.ask("GET", "/api/protected", a.Member(t, "access_token").(string), "")
	require.Equal(t, []any{"boss"}, me.Member(t, "roles"))
	require.Nil(t, me.Member(t, "scopes"))
}

func TestHashPasswordMakesThePasswordOfAUser(t *testing.T) {
	hash := func(stdin string) (code int, out, log string) {
		var stdout, stderr bytes.Buffer
		c := command
		c.Stdin = strings.NewReader(stdin)
		code = c.Run(t.Context(), []string{"-hash-password"}, programtest.NoEnv, &stdout, &stderr)
		return code, stdout.String(), stderr.String()
	}
	for _, stdin := range []string{"a pass word\n", "a pass word\r\nmore", "a pass word"} {
		code, text, log := hash(stdin)
		require.Equal(t, exitOK, code)
		require.Empty(t, log)
		file := programtest.WriteFile(t, "users.json", fmt.Appendf(nil, `[{"name": "carol", "password": %q}]`, strings.TrimSuffix(text, "\n")))
		p := start(t, nil, "-users", file)
		require.Equal(t, 200, p.Send("POST", "/api/login", "", programtest.LoginBody("carol", "a pass word")).Status)
	}
	for _, stdin := range []string{"", "\n", "\xff\n"} {
		code, text, log := hash(stdin)
		require.Equal(t, exitConfig, code)
		require.Empty(t, text)
		require.Equal(t, "server: -hash-password: one line with a password in UTF-8 is expected on standard input\n", log)
	}
}
