package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/keydir"
)

const ringIssuer = "https://i.test"

// startWithKeys runs the program with a directory of keys.
func startWithKeys(t testing.TB, dir string, args ...string) *program {
	t.Helper()
	return start(t, nil, append([]string{"-key", dir, "-issuer", ringIssuer, "-log", "json"}, args...)...)
}

// hangUp sends SIGHUP to all programs in this process.
func hangUp(t testing.TB) {
	t.Helper()
	this, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, this.Signal(syscall.SIGHUP))
}

// published are the kids in the JWK Set.
func (p *program) published() (kids []string) {
	p.t.Helper()
	return kidsOf(p.t, p.send("GET", "/.well-known/jwks.json", "", "").body)
}

func kidsOf(t testing.TB, jwks string) (kids []string) {
	t.Helper()
	var set struct{ Keys []struct{ Kid, D string } }
	require.NoError(t, json.Unmarshal([]byte(jwks), &set), jwks)
	for _, k := range set.Keys {
		require.Empty(t, k.D)
		kids = append(kids, k.Kid)
	}
	return kids
}

// plans are the records about keys in the log.
func (p *program) plans() (plans []map[string]string) {
	p.t.Helper()
	for line := range strings.Lines(p.log.String()) {
		if !strings.Contains(line, `"msg":"plan"`) {
			continue
		}
		var record struct{ Key map[string]string }
		require.NoError(p.t, json.Unmarshal([]byte(line), &record))
		plans = append(plans, record.Key)
	}
	return plans
}

func TestKeysOfADirectoryOutliveTheServer(t *testing.T) {
	dir := t.TempDir()
	p := startWithKeys(t, dir)
	first := p.published()
	require.Len(t, first, 1)
	access, refresh := p.login("alice")
	p.stop()

	p = startWithKeys(t, dir)
	require.Equal(t, first, p.published())
	require.Equal(t, 200, p.send("GET", "/api/protected", access, "").status)
	a := p.send("POST", "/api/refresh", "", refreshJSON(refresh))
	require.Equal(t, 400, a.status, "its session was in memory")
	require.Equal(t, "invalid_grant", a.member(t, "error"))
}

func TestAHangUpMakesTheNextKeyForAllServersOfADirectory(t *testing.T) {
	dir := t.TempDir()
	p, other := startWithKeys(t, dir), startWithKeys(t, dir)
	first := p.published()
	require.Equal(t, first, other.published())
	require.Len(t, p.plans(), 1, "it tells the plan when it starts")
	access, _ := p.login("alice")

	hangUp(t)
	for _, server := range []*program{p, other} {
		server.log.await(t, "the next key is published", server.ended)
		kids := server.published()
		require.Len(t, kids, 2)
		require.Equal(t, first[0], kids[0])
		plans := server.plans()
		require.Len(t, plans, 3)
		require.Equal(t, []string{kids[0], "active"}, []string{plans[1]["kid"], plans[1]["state"]})
		require.Equal(t, []string{kids[1], "next"}, []string{plans[2]["kid"], plans[2]["state"]})
		require.Equal(t, plans[1]["signs_to"], plans[2]["signs_from"])
		require.NotContains(t, plans[2], "access_to", "nobody knows it yet")
		require.Equal(t, 200, server.send("GET", "/api/protected", access, "").status)
	}
	require.Equal(t, p.plans()[1:], other.plans()[1:])
	require.Equal(t, exitOK, p.stop())
	require.Equal(t, first[0], startWithKeys(t, dir).published()[0])
}

func TestTheWalkGoesOnWithARotation(t *testing.T) {
	p := startWithKeys(t, t.TempDir())
	steps := rotationWalk(p.base, os.Getpid())
	for _, s := range steps {
		require.Contains(t, p.stdout.String(), s.title+"\n\n    "+s.lines[0]+"\n")
	}
	require.Empty(t, sh(t, steps[0].lines[0]))
	p.log.await(t, "the next key is published", p.ended)
	jwks, status, _ := strings.Cut(sh(t, steps[1].lines[0]), "\n")
	require.Equal(t, "200\n", status)
	require.Len(t, kidsOf(t, jwks), 2)

	require.NotContains(t, start(t, nil).stdout.String(), "kill -HUP")
}

func TestTheServerReadsTheDirectoryBecauseOfAKeyThatItDoesNotKnow(t *testing.T) {
	dir := t.TempDir()
	p := startWithKeys(t, dir)
	access, _ := p.login("alice")
	ring, err := jwtauth.OpenKeyRing(t.Context(), keydir.New(dir), jwtauth.KeyRingOptions{})
	require.NoError(t, err)
	require.NoError(t, ring.RevokeKey(t.Context(), p.published()[0]))
	issuer, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: ringIssuer, Audiences: []string{ringIssuer}})
	require.NoError(t, err)
	tokens, err := issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)

	require.Equal(t, 200, p.send("GET", "/api/protected", tokens.AccessToken, "").status)
	require.Equal(t, 401, p.send("GET", "/api/protected", access, "").status)
	require.Equal(t, []string{ring.Status().SigningKey}, p.published())
}

func TestARotationThatFailsChangesNothing(t *testing.T) {
	dir := t.TempDir()
	p := startWithKeys(t, dir)
	first := p.published()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "keys.json"), []byte("{"), 0o600))
	hangUp(t)
	p.log.await(t, "rotating the keys failed", p.ended)
	require.Equal(t, first, p.published())
	access, _ := p.login("alice")
	require.Equal(t, 200, p.send("GET", "/api/protected", access, "").status)
}

func TestTheKeysStayForAsLongAsTheTokensThatTheFlagsAllow(t *testing.T) {
	for _, args := range [][]string{{"-access-ttl", "24h"}, {"-refresh-ttl", "1000h", "-session-ttl", "1h"}, {"-refresh-ttl", "1000h", "-session-ttl", "2000h"}} {
		p := startWithKeys(t, t.TempDir(), args...)
		p.login("alice")
	}
}

func TestADirectoryThatCannotBeRightIsOneLine(t *testing.T) {
	dir := t.TempDir()
	_, private := privatePEM(t, jwtauth.ES256)
	text, err := os.ReadFile(private)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "key.pem"), text, 0o600))
	require.Equal(t, `server: -key: opening a KeyRing: keydir: "`+dir+`": there is key.pem but no keys.json: write one, as {"keys": [{"file": "key.pem"}]}, or remove the file`, lineOf(t, nil, "-key", dir))

	// And what it says makes it right.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "keys.json"), []byte(`{"keys": [{"file": "key.pem"}]}`), 0o600))
	key, err := jwtauth.ParseSigningKey("", text)
	require.NoError(t, err)
	require.Equal(t, []string{key.ID()}, startWithKeys(t, dir).published())
}
