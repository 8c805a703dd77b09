package loginserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jwtauth-go/jwtauth"
)

// user is an entry of the file of -users.
type user struct {
	Name     string   `json:"name"`
	Password string   `json:"password"` // a PHC string of argon2id
	Scopes   []string `json:"scopes"`
	Roles    []string `json:"roles"`
	Disabled bool     `json:"disabled"`

	hash passwordHash
}

// profile has the claims of a token about its user, in addition to the registered ones.
type profile struct {
	Roles []string `json:"roles,omitempty"`
}

// The bounds of a user. Tokens contain these texts, and the length of a token is bounded.
const (
	maxUserName  = 256
	maxUserTexts = 1024 // scopes and roles together
)

// directory holds the users. They do not change while the server runs.
type directory struct {
	byName map[string]user
	names  []string
	seed   maphash.Seed
}

func newDirectory(users []user) (*directory, error) {
	d := &directory{byName: make(map[string]user, len(users)), seed: maphash.MakeSeed()}
	for _, u := range users {
		if _, twice := d.byName[u.Name]; twice {
			return nil, fmt.Errorf("user %q is listed twice: different names are expected", u.Name)
		}
		if err := u.check(); err != nil {
			return nil, fmt.Errorf("user %q: %w", u.Name, err)
		}
		var err error
		if u.hash, err = parsePasswordHash(u.Password); err != nil {
			return nil, fmt.Errorf("user %q: password: %w", u.Name, err)
		}
		d.byName[u.Name] = u
		d.names = append(d.names, u.Name)
	}
	if len(users) == 0 {
		return nil, errors.New("no users: at least one is expected")
	}
	return d, nil
}

func (u *user) check() error {
	size := 0
	for _, s := range slices.Concat(u.Scopes, u.Roles) {
		size += len(s) + 1
	}
	switch {
	case !isUserName(u.Name):
		return fmt.Errorf("a name of 1 to %d bytes, all of them printable, is expected", maxUserName)
	case slices.ContainsFunc(u.Scopes, func(s string) bool { return !isScope(s) }):
		return errors.New("scopes: words of printable ASCII without quotes and backslashes are expected (RFC 6749, section 3.3)")
	case slices.Contains(u.Roles, "") || size > maxUserTexts:
		return fmt.Errorf("scopes and roles of at most %d bytes, none of them empty, are expected", maxUserTexts)
	}
	for i, s := range u.Scopes {
		if slices.Contains(u.Scopes[:i], s) {
			return fmt.Errorf("scopes: %q is listed twice", s)
		}
	}
	return nil
}

func isUserName(s string) bool {
	return s != "" && len(s) <= maxUserName && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func isScope(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}

// loadUsers reads the file of -users.
func loadUsers(name string) (*directory, error) {
	const expected = `a JSON file [{"name", "password", "scopes", "roles"}]`
	data, err := readFile("users", name, expected)
	if err != nil {
		return nil, err
	}
	var users []user
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&users); err != nil {
		return nil, fmt.Errorf("-users: %s: %w: %s is expected", name, err, expected)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("-users: %s: there is more after the list: %s is expected", name, expected)
	}
	d, err := newDirectory(users)
	if err != nil {
		return nil, fmt.Errorf("-users: %s: %w", name, err)
	}
	return d, nil
}

// demoUser is a user whose password is printed at the start.
type demoUser struct{ name, password, about string }

// demoUsers makes two users with random passwords.
func demoUsers() (*directory, []demoUser, error) {
	demo := []demoUser{
		{"alice", rand.Text(), "may order: scope orders:write, role admin"},
		{"bob", rand.Text(), "may not"},
	}
	d, err := newDirectory([]user{
		{Name: demo[0].name, Password: newPasswordHash(demo[0].password).String(), Scopes: []string{"orders:write"}, Roles: []string{"admin"}},
		{Name: demo[1].name, Password: newPasswordHash(demo[1].password).String()},
	})
	return d, demo, err
}

// find returns the user with a name. If there is no such user, find returns another user, and
// known is false. The caller then checks the password as usual, so the time of the answer does
// not reveal whether the user exists. For one name, find always returns the same user.
func (d *directory) find(name string) (u user, known bool) {
	if u, known = d.byName[name]; known {
		return u, true
	}
	return d.byName[d.names[maphash.String(d.seed, name)%uint64(len(d.names))]], false
}

// reload is IssuerOptions.Reload, which the issuer calls at each refresh. The session ends if
// the user does not exist or is disabled. Otherwise the next access token has the user's current
// roles, and only those scopes of the session that the user still has.
func (d *directory) reload(_ context.Context, s jwtauth.Session, g *jwtauth.Grant) error {
	u, known := d.byName[s.Subject]
	if !known || u.Disabled {
		return jwtauth.ErrGrantRefused
	}
	g.Scopes = slices.DeleteFunc(g.Scopes, func(scope string) bool { return !slices.Contains(u.Scopes, scope) })
	g.Claims = profile{Roles: u.Roles}
	return nil
}
