package loginserver

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwk/keydir"
)

// hangUp sends SIGHUP to all programs in this process.
func hangUp(t testing.TB) {
	t.Helper()
	this, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, this.Signal(syscall.SIGHUP))
}

// published returns the kids in the JWK Set.
func published(t testing.TB, p *programtest.Program) (kids []string) {
	t.Helper()
	return kidsOf(t, p.Send("GET", "/.well-known/jwks.json", "", "").Body)
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

// plans returns the records of the log about keys.
func plans(t testing.TB, p *programtest.Program) (plans []map[string]string) {
	t.Helper()
	for line := range strings.Lines(p.Log.String()) {
		if !strings.Contains(line, `"msg":"plan"`) {
			continue
		}
		var record struct{ Key map[string]string }
		require.NoError(t, json.Unmarshal([]byte(line), &record))
		plans = append(plans, record.Key)
	}
	return plans
}

func TestKeysOfADirectoryOutliveTheServer(t *testing.T) {
	dir := t.TempDir()
	p := startWithKeys(t, dir)
	first := published(t, p)
	require.Len(t, first, 1)
	access, refresh := p.Login("alice")
	p.Stop()

	p = startWithKeys(t, dir)
	require.Equal(t, first, published(t, p))
	require.Equal(t, 200, p.Send("GET", "/api/protected", access, "").Status)
	a := p.Send("POST", "/api/refresh", "", programtest.RefreshBody(refresh))
	require.Equal(t, 400, a.Status, "its session was in memory")
	require.Equal(t, "invalid_grant", a.Member(t, "error"))
}

func TestAHangUpMakesTheNextKeyForAllServersOfADirectory(t *testing.T) {
	dir := t.TempDir()
	p, other := startWithKeys(t, dir), startWithKeys(t, dir)
	first := published(t, p)
	require.Equal(t, first, published(t, other))
	require.Len(t, plans(t, p), 1, "it tells the plan when it starts")
	access, _ := p.Login("alice")

	hangUp(t)
	for _, server := range []*programtest.Program{p, other} {
		server.AwaitLog("the next key is published")
		kids := published(t, server)
		require.Len(t, kids, 2)
		require.Equal(t, first[0], kids[0])
		plans := plans(t, server)
		require.Len(t, plans, 3)
		require.Equal(t, []string{kids[0], "active"}, []string{plans[1]["kid"], plans[1]["state"]})
		require.Equal(t, []string{kids[1], "next"}, []string{plans[2]["kid"], plans[2]["state"]})
		require.Equal(t, plans[1]["signs_to"], plans[2]["signs_from"])
		require.NotContains(t, plans[2], "access_to", "nobody knows it yet")
		require.Equal(t, 200, server.Send("GET", "/api/protected", access, "").Status)
	}
	require.Equal(t, plans(t, p)[1:], plans(t, other)[1:])
	require.Equal(t, exitOK, p.Stop())
	require.Equal(t, first[0], published(t, startWithKeys(t, dir))[0])
}

func TestTheWalkGoesOnWithARotation(t *testing.T) {
	p := startWithKeys(t, t.TempDir())
	steps := rotationWalk(p.Base, os.Getpid())
	for _, s := range steps {
		require.Contains(t, p.Stdout.String(), s.title+"\n\n    "+s.lines[0]+"\n")
	}
	require.Empty(t, programtest.Shell(t, steps[0].lines[0]))
	p.AwaitLog("the next key is published")
	jwks, status, _ := strings.Cut(programtest.Shell(t, steps[1].lines[0]), "\n")
	require.Equal(t, "200\n", status)
	require.Len(t, kidsOf(t, jwks), 2)

	require.NotContains(t, start(t, nil).Stdout.String(), "kill -HUP")
}

func TestTheServerReadsTheDirectoryBecauseOfAKeyThatItDoesNotKnow(t *testing.T) {
	dir := t.TempDir()
	p := startWithKeys(t, dir)
	access, _ := p.Login("alice")
	ring, err := jwk.OpenRing(t.Context(), keydir.New(dir), jwk.RingOptions{})
	require.NoError(t, err)
	require.NoError(t, ring.RevokeKey(t.Context(), published(t, p)[0]))
	issuer, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{Issuer: programtest.Issuer, Audiences: []string{programtest.Issuer}})
	require.NoError(t, err)
	tokens, err := issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)

	require.Equal(t, 200, p.Send("GET", "/api/protected", tokens.AccessToken, "").Status)
	require.Equal(t, 401, p.Send("GET", "/api/protected", access, "").Status)
	require.Equal(t, []string{ring.Status().SigningKey}, published(t, p))
}

func TestARotationThatFailsChangesNothing(t *testing.T) {
	dir := t.TempDir()
	p := startWithKeys(t, dir)
	first := published(t, p)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "keys.json"), []byte("{"), 0o600))
	hangUp(t)
	p.AwaitLog("rotating the keys failed")
	require.Equal(t, first, published(t, p))
	access, _ := p.Login("alice")
	require.Equal(t, 200, p.Send("GET", "/api/protected", access, "").Status)
}

func TestTheKeysStayForAsLongAsTheTokensThatTheFlagsAllow(t *testing.T) {
	for _, args := range [][]string{{"-access-ttl", "24h"}, {"-refresh-ttl", "1000h", "-session-ttl", "1h"}, {"-refresh-ttl", "1000h", "-session-ttl", "2000h"}} {
		p := startWithKeys(t, t.TempDir(), args...)
		p.Login("alice")
	}
}

func TestADirectoryThatCannotBeRightIsOneLine(t *testing.T) {
	dir := t.TempDir()
	_, private := privatePEM(t, jwk.ES256)
	text, err := os.ReadFile(private)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "key.pem"), text, 0o600))
	_, err = jwk.OpenRing(t.Context(), keydir.New(dir), jwk.RingOptions{})
	require.Error(t, err)
	line := programtest.ErrorLine(t, command.Run, nil, "-key", dir)
	require.Equal(t, "server: -key: "+strings.TrimPrefix(err.Error(), "jwk: "), line)
	require.Contains(t, line, `{"keys": [{"file": "key.pem"}]}`)

	// The advice in the error works.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "keys.json"), []byte(`{"keys": [{"file": "key.pem"}]}`), 0o600))
	key, err := jwk.ParseSigning("", text)
	require.NoError(t, err)
	require.Equal(t, []string{key.ID()}, published(t, startWithKeys(t, dir)))
}
