package interop_test

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/jwk"
)

//go:embed node/package.json node/package-lock.json node/*.mjs
var nodeFiles embed.FS

// nodePeers returns a folder with our scripts and the packages of the lockfile.
func nodePeers(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			missing(t, name)
		}
	}
	dir, err := installNodePeers()
	require.NoError(t, err)
	return dir
}

// installNodePeers copies our scripts into a new folder and installs the packages there, once for
// all tests.
var installNodePeers = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		return "", err
	}
	nodeFolder = dir
	if err := os.CopyFS(dir, nodeFiles); err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "node")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir, install.WaitDelay = dir, 5*time.Second
	said, err := install.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("npm ci: %w: %s", err, said)
	}
	return dir, nil
})

// nodeFolder is the folder that TestMain removes.
var nodeFolder string

func TestMain(m *testing.M) {
	code := m.Run()
	if nodeFolder != "" {
		_ = os.RemoveAll(nodeFolder) // if this fails, the folder stays where temporary files are
	}
	os.Exit(code)
}

func TestPeersInNodeAndWeTakeEachOthersTokens(t *testing.T) {
	dir := nodePeers(t)
	t.Run("jose verifies our tokens through a rotation", func(t *testing.T) {
		says := refusals{"ERR_JWS_SIGNATURE_VERIFICATION_FAILED", `unexpected "typ"`, "ERR_JWKS_NO_MATCHING_KEY"}
		verifiesThroughARotation(t, rotations, says, func(t *testing.T, p *published, _ []jwk.Algorithm) peer {
			return startVerifier(t, p, "node", filepath.Join(dir, "verify.mjs"))
		})
	})
	t.Run("node-jose verifies our tokens through a rotation, if all keys have one algorithm", func(t *testing.T) {
		says := refusals{"no key found", "another audience", "no key found"}
		verifiesThroughARotation(t, within(jwk.RS256, jwk.PS256, jwk.ES256), says, func(t *testing.T, p *published, _ []jwk.Algorithm) peer {
			return startVerifier(t, p, "node", filepath.Join(dir, "node-jose.mjs"))
		})
	})
	t.Run("we take the tokens of oidc-provider", func(t *testing.T) { takesTokensOfAProvider(t, dir) })
}

// clock is a clock that stands still until Advance is called.
type clock struct{ now atomic.Pointer[time.Time] }

func newClock(now time.Time) *clock {
	c := new(clock)
	c.now.Store(&now)
	return c
}

func (c *clock) Now() time.Time { return *c.now.Load() }

func (c *clock) Advance(d time.Duration) {
	now := c.Now().Add(d)
	c.now.Store(&now)
}

// provider is an OpenID provider in its own process. The path of a resource names the
// algorithm with which the provider signs the tokens for this resource.
type provider struct {
	*child
	scripts, keys string // the folders of the scripts and of the key files
	port          string
	issuer        string
}

const providerSecret = "the secret of a robot"

// restart stops the running process, if there is one, and starts a new process. The first
// process chooses a free port, and later processes use the same port. The process signs with
// the keys of the first file. It publishes the keys of all files.
func (p *provider) restart(t *testing.T, files ...string) {
	t.Helper()
	if p.child != nil {
		p.stop()
	}
	args := []string{filepath.Join(p.scripts, "provider.mjs"), p.port, providerSecret}
	for _, file := range files {
		args = append(args, filepath.Join(p.keys, file+".json"))
	}
	p.child = start(t, nil, "node", args...)
	p.port = p.line(t)
	_, err := strconv.ParseUint(p.port, 10, 16)
	require.NoError(t, err)
	p.issuer = "http://127.0.0.1:" + p.port
}

// token gets an access token for a resource with the client credentials grant.
func (p *provider) token(t *testing.T, resource string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"read write"}, "resource": {resource}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.issuer+"/token", strings.NewReader(form.Encode()))
	require.NoError(t, err)
	r.SetBasicAuth("robot", url.QueryEscape(providerSecret))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Close = true // a restart would break the connection
	res, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		Error string `json:"error_description"`
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&answer))
	require.Equal(t, http.StatusOK, res.StatusCode, answer.Error)
	return answer.Token
}

// tokens returns one access token for each resource.
func (p *provider) tokens(t *testing.T) (all []string) {
	t.Helper()
	for _, resource := range resources {
		all = append(all, p.token(t, resource))
	}
	return all
}

var resources = []string{audience + "/RS256", audience + "/ES256", audience + "/EdDSA", audience + "/Ed25519"}

func takesTokensOfAProvider(t *testing.T, scripts string) {
	var (
		clock  = newClock(time.Now())
		mu     sync.Mutex
		events = map[event.Kind]int{}
	)
	count := func(kind event.Kind) int {
		mu.Lock()
		defer mu.Unlock()
		return events[kind]
	}
	getsEvents := func(n int, kind event.Kind) { // a Remote calls OnEvent in a goroutine
		t.Helper()
		require.Eventually(t, func() bool { return count(kind) >= n }, 5*time.Second, time.Millisecond)
		require.Equal(t, n, count(kind))
	}
	op := &provider{scripts: scripts, keys: t.TempDir(), port: "0"}
	op.restart(t, "a")

	discover := func(seed []byte) (*jwk.Remote, *jwtauth.Verifier) {
		keys, err := jwk.Discover(op.issuer, jwk.RemoteOptions{
			InsecureLoopbackHTTP: true, Now: clock.Now, Seed: seed,
			MinAge: time.Hour, // so only unknown kids cause fetches, not the age of the keys
			OnEvent: func(_ context.Context, e event.Event) {
				mu.Lock()
				defer mu.Unlock()
				events[e.Kind]++
			},
		})
		require.NoError(t, err)
		t.Cleanup(keys.Close)
		verifier, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{
			Issuer: op.issuer, Audiences: resources, Now: clock.Now,
			Leeway: 2 * time.Minute, // the clock of the provider does not stand still
		})
		require.NoError(t, err)
		return keys, verifier
	}
	keys, verifier := discover(nil)
	takenBy := func(verifier *jwtauth.Verifier, tokens []string) {
		t.Helper()
		for i, token := range tokens {
			got, err := verifier.Verify(t.Context(), token)
			require.NoError(t, err, resources[i])
			require.Equal(t, "robot", got.Subject)
			require.Equal(t, "robot", got.ClientID)
			require.Equal(t, resources[i:i+1], got.Audiences())
			require.Equal(t, []string{"read", "write"}, got.Scopes())
		}
	}
	takes := func(tokens []string) { t.Helper(); takenBy(verifier, tokens) }
	refuses := func(tokens []string, reason error) {
		t.Helper()
		for i, token := range tokens {
			_, err := verifier.Verify(t.Context(), token)
			require.ErrorIs(t, err, reason, resources[i])
		}
	}

	seen, unseen, another := op.tokens(t), op.tokens(t), op.tokens(t)
	takes(seen)
	refuses([]string{op.token(t, "https://other.test/ES256")}, jwtauth.ErrTokenAudience)
	refuses([]string{tampered(seen[1])}, jwtauth.ErrTokenSignature)
	clock.Advance(11 * time.Second) // a bad signature causes a fetch, and within 10 seconds there is no other
	fetched := keys.Status()
	require.Equal(t, 3, fetched.Keys)

	// A restart changes nothing.
	op.restart(t, "a")
	takes(unseen)
	takes(op.tokens(t))
	require.Equal(t, fetched, keys.Status())

	// The provider rotates its keys. The first token with a new key makes the Remote fetch
	// the keys. Tokens with the old keys stay valid.
	op.restart(t, "b", "a")
	takes(op.tokens(t))
	require.Equal(t, 6, keys.Status().Keys)
	takes(seen)
	takes(another)
	getsEvents(2, event.KeysChanged)

	// The next rotation drops the oldest keys. Right after a fetch, an unknown key does not
	// cause a further fetch.
	another = op.tokens(t)
	op.restart(t, "c", "b")
	next := op.tokens(t)
	refuses(next, jwtauth.ErrTokenKey)
	clock.Advance(11 * time.Second)
	takes(next)
	takes(another)
	refuses(seen, jwtauth.ErrTokenKey)
	refuses(unseen, jwtauth.ErrTokenKey)
	getsEvents(3, event.KeysChanged)

	// The provider stops in the middle of a rotation. Tokens with known keys stay valid.
	// Verifying a token with an unknown key returns ErrUnavailable.
	seen, unseen, another = next, op.tokens(t), op.tokens(t)
	op.restart(t, "d", "c")
	next = op.tokens(t)
	op.stop()
	clock.Advance(11 * time.Second)
	takes(seen)
	takes(unseen)
	refuses(next, jwtauth.ErrUnavailable)
	require.Error(t, keys.Status().LastError)
	clock.Advance(2 * time.Second)
	refuses(next, jwtauth.ErrUnavailable)
	takes(another)
	getsEvents(2, event.KeysUnavailable) // after a pause of a second, all callers share one further attempt
	_, cold := discover(nil)
	_, err := cold.Verify(t.Context(), seen[0])
	require.ErrorIs(t, err, jwtauth.ErrUnavailable, "a program that starts now knows no keys")
	_, seeded := discover(keys.Snapshot())
	takenBy(seeded, seen)

	// The provider is back.
	op.restart(t, "d", "c")
	clock.Advance(3 * time.Second)
	takes(next)
	takes(seen)
	takenBy(cold, next)
	takenBy(seeded, next)
	require.NoError(t, keys.Status().LastError)
	require.Zero(t, count(event.KeySkipped))
}
