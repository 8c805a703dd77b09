package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwk/keydir"
)

// clock is a clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

func (c *clock) Advance(d time.Duration) { c.Set(c.Now().Add(d)) }

// behind is how slow the clock of the second process is.
const behind = 20 * time.Second

// scene has two processes with one directory of keys, and a verifier elsewhere.
type scene struct {
	t            testing.TB
	dir          string
	clock        *clock
	store        *jwtauth.MemoryStore
	password     string
	first, other *instance
	elsewhere    *verifier
}

// instance is one of the processes.
type instance struct {
	keys *jwk.Ring
	url  string
}

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), clock: &clock{now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}, password: rand.Text()}
	s.store = jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: s.clock.Now}) // stands for a shared store
	s.first = s.start(s.clock.Now)
	s.other = s.start(func() time.Time { return s.clock.Now().Add(-behind) })
	s.elsewhere = &verifier{now: s.clock.Now, url: s.other.url}
	return s
}

func (s *scene) start(now func() time.Time) *instance {
	s.t.Helper()
	keys, err := jwk.OpenRing(s.t.Context(), keydir.New(s.dir), jwk.RingOptions{Now: now})
	require.NoError(s.t, err)
	handler, err := service(keys, s.store, s.password, now)
	require.NoError(s.t, err)
	server := httptest.NewServer(handler)
	s.t.Cleanup(server.Close)
	return &instance{keys, server.URL}
}

// verifier is another service, which keeps the JWK Set for as long as it may and does
// not fetch it again for an unknown kid.
type verifier struct {
	now func() time.Time
	url string

	mu    sync.Mutex
	keys  *jwtauth.Verifier
	until time.Time
}

func (v *verifier) verify(t testing.TB, token string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.now().Before(v.until) {
		set, age, err := fetch(v.url)
		if err != nil {
			return err
		}
		keys, err := jwk.Static(set...)
		if err != nil {
			return err
		}
		const name = "https://api.example.com"
		if v.keys, err = jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: name, Audiences: []string{name}, Now: v.now}); err != nil {
			return err
		}
		v.until = v.now().Add(age)
	}
	_, err := v.keys.Verify(t.Context(), token)
	return err
}

// fetch fetches the JWK Set of a process, and how long it may be kept.
func fetch(base string) (keys []*jwk.VerificationKey, age time.Duration, err error) {
	answer, err := http.Get(base + "/.well-known/jwks.json")
	if err != nil {
		return nil, 0, err
	}
	defer answer.Body.Close()
	var set struct{ Keys []json.RawMessage }
	if err := json.NewDecoder(answer.Body).Decode(&set); err != nil {
		return nil, 0, err
	}
	for _, text := range set.Keys {
		k, err := jwk.ParseVerification("", text)
		if err != nil {
			return nil, 0, err
		}
		keys = append(keys, k)
	}
	_, seconds, _ := strings.Cut(answer.Header.Get("Cache-Control"), "max-age=")
	age, err = time.ParseDuration(seconds + "s")
	return keys, age, err
}

// published returns the kids in the JWK Set of a process.
func published(t testing.TB, base string) (kids []string) {
	t.Helper()
	keys, _, err := fetch(base)
	require.NoError(t, err)
	for _, k := range keys {
		kids = append(kids, k.ID())
	}
	return kids
}

// post sends a form and returns the tokens of the answer.
func post(address string, form url.Values) (tokens jwtauth.TokenResponse, err error) {
	answer, err := http.PostForm(address, form)
	if err != nil {
		return tokens, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, body)
	}
	if err == nil {
		err = json.Unmarshal(body, &tokens)
	}
	return tokens, err
}

func login(base, password string) (jwtauth.TokenResponse, error) {
	return post(base+"/login", url.Values{"password": {password}})
}

func refresh(base string, tokens jwtauth.TokenResponse) (jwtauth.TokenResponse, error) {
	return post(base+"/refresh", url.Values{"refresh_token": {tokens.RefreshToken}})
}

// me returns the status of GET /me with a token.
func me(base, token string) (status int, err error) {
	r, err := http.NewRequest(http.MethodGet, base+"/me", nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

// keyOf returns the kid of a token.
func keyOf(t testing.TB, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	require.NoError(t, err)
	var h struct{ Kid string }
	require.NoError(t, json.Unmarshal(text, &h))
	return h.Kid
}

// requireAcceptedEverywhere fails the test if one of the processes, or the verifier
// elsewhere, refuses a token.
func (s *scene) requireAcceptedEverywhere(token string) {
	for name, base := range map[string]string{"the first": s.first.url, "the other": s.other.url} {
		if status, err := me(base, token); err != nil || status != http.StatusOK {
			s.t.Errorf("%v: %s process refused a good token: %d, %v", s.clock.Now(), name, status, err)
		}
	}
	if err := s.elsewhere.verify(s.t, token); err != nil {
		s.t.Errorf("%v: the verifier elsewhere refused a good token: %v", s.clock.Now(), err)
	}
}

// round logs a user in at one process, and refreshes the tokens at the other one.
func (s *scene) round(here, there *instance) {
	tokens, err := login(here.url, s.password)
	if err != nil {
		s.t.Errorf("%v: login: %v", s.clock.Now(), err)
		return
	}
	s.requireAcceptedEverywhere(tokens.AccessToken)
	if tokens, err = refresh(there.url, tokens); err != nil {
		s.t.Errorf("%v: refresh: %v", s.clock.Now(), err)
		return
	}
	s.requireAcceptedEverywhere(tokens.AccessToken)
}

// during calls f while requests are under way, and sends more requests after it.
func (s *scene) during(f func()) {
	s.t.Helper()
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { s.round(s.first, s.other) })
		all.Go(func() { s.round(s.other, s.first) })
	}
	f()
	all.Wait()
	s.round(s.first, s.other)
	s.round(s.other, s.first)
	require.False(s.t, s.t.Failed())
}

// passUntil moves the clock on in steps. The last seconds of each step pass while
// requests are under way. They are fewer than half of the grace, since a refresh fails
// if signing seems to take longer than that.
func (s *scene) passUntil(end time.Time) {
	s.t.Helper()
	for s.clock.Now().Before(end) {
		step := min(47*time.Second, end.Sub(s.clock.Now()))
		last := min(4*time.Second, step)
		s.clock.Advance(step - last)
		s.during(func() { s.clock.Advance(last) })
	}
}

func (s *scene) login(at *instance) jwtauth.TokenResponse {
	s.t.Helper()
	tokens, err := login(at.url, s.password)
	require.NoError(s.t, err)
	return tokens
}

func TestAKeyIsReplacedWhileRequestsGoOnAndNoGoodTokenIsRefused(t *testing.T) {
	s := newScene(t)
	s.during(func() {})
	old := s.first.keys.Status().SigningKey
	require.Equal(t, []string{old}, published(t, s.first.url))
	require.Equal(t, []string{old}, published(t, s.other.url), "the processes have made two keys")

	// The first process publishes the next key at once, the other one after it has read
	// the directory again.
	var next jwk.Life
	s.during(func() {
		var err error
		next, err = s.first.keys.Rotate(t.Context())
		require.NoError(t, err)
	})
	require.Equal(t, []string{old, next.ID}, published(t, s.first.url))
	s.passUntil(next.Published.Add(59 * time.Second))
	require.Equal(t, []string{old}, published(t, s.other.url))
	s.elsewhere.until = time.Time{}
	s.requireAcceptedEverywhere(s.login(s.first).AccessToken) // the verifier now does not know the key for as long as possible
	s.passUntil(next.Published.Add(time.Minute))
	require.Equal(t, []string{old, next.ID}, published(t, s.other.url))

	// The next key signs: a little later at the process whose clock is slow.
	s.passUntil(next.SignsFrom.Add(-time.Second))
	last := s.login(s.first)
	require.Equal(t, old, keyOf(t, last.AccessToken))
	s.passUntil(next.SignsFrom)
	require.Equal(t, next.ID, keyOf(t, s.login(s.first).AccessToken))
	require.Equal(t, old, keyOf(t, s.login(s.other).AccessToken))
	s.passUntil(next.SignsFrom.Add(behind))
	require.Equal(t, next.ID, keyOf(t, s.login(s.other).AccessToken))

	// The old key stays until its last access token has expired.
	s.passUntil(next.SignsFrom.Add(15*time.Minute - 2*time.Second))
	s.requireAcceptedEverywhere(last.AccessToken)
	life := s.first.keys.Plan()[0]
	require.Equal(t, old, life.ID)
	s.passUntil(life.AccessTo.Add(-time.Second))
	require.Equal(t, []string{old, next.ID}, published(t, s.first.url))
	s.passUntil(life.AccessTo.Add(behind))
	require.Equal(t, []string{next.ID}, published(t, s.first.url))
	require.Equal(t, []string{next.ID}, published(t, s.other.url))

	// A refresh token of the old key is good until it expires, although the key is no
	// longer published.
	s.clock.Set(next.SignsFrom.Add(7*24*time.Hour - 2*time.Second))
	require.Equal(t, old, keyOf(t, last.RefreshToken))
	tokens, err := refresh(s.other.url, last)
	require.NoError(t, err)
	require.Equal(t, next.ID, keyOf(t, tokens.RefreshToken))
	s.requireAcceptedEverywhere(tokens.AccessToken)

	// After that the old key is retired. The next rotation removes it from the directory.
	s.clock.Set(life.RefreshTo.Add(time.Hour + behind))
	require.Equal(t, jwk.Retired, s.other.keys.Plan()[0].State)
	s.clock.Set(life.RefreshTo.Add(time.Hour + behind + 11*time.Minute)) // the clock was not ahead for a moment
	s.during(func() {
		_, err := s.other.keys.Rotate(t.Context())
		require.NoError(t, err)
	})
	manifest, err := os.ReadFile(s.dir + "/keys.json")
	require.NoError(t, err)
	require.NotContains(t, string(manifest), old)
}

func TestAStolenKeyIsDroppedAndTheOtherProcessSeesItWithTheFirstTokenOfTheNewOne(t *testing.T) {
	s := newScene(t)
	stolen := s.login(s.other)
	s.requireAcceptedEverywhere(stolen.AccessToken)
	require.NoError(t, s.first.keys.RevokeKey(t.Context(), keyOf(t, stolen.AccessToken)))
	refused := func(base string) {
		t.Helper()
		status, err := me(base, stolen.AccessToken)
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, status)
		_, err = refresh(base, stolen)
		require.ErrorContains(t, err, "invalid_grant")
	}
	refused(s.first.url)

	tokens := s.login(s.first)
	require.NotEqual(t, keyOf(t, stolen.AccessToken), keyOf(t, tokens.AccessToken))
	status, err := me(s.other.url, tokens.AccessToken)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "the process did not read the directory for an unknown kid")
	refused(s.other.url)
	require.Equal(t, keyOf(t, tokens.AccessToken), keyOf(t, s.login(s.other).AccessToken))
}

func TestABadTokenIsRefusedByBothProcesses(t *testing.T) {
	s := newScene(t)
	_, err := login(s.first.url, "wrong")
	require.ErrorContains(t, err, `401 Unauthorized: {"error":"invalid_credentials"`)
	tokens := s.login(s.first)
	for _, base := range []string{s.first.url, s.other.url} {
		for name, token := range map[string]string{"none": "", "a refresh token": tokens.RefreshToken, "a changed one": tokens.AccessToken[:len(tokens.AccessToken)-4] + "AAAA"} {
			status, err := me(base, token)
			require.NoError(t, err)
			require.NotEqual(t, http.StatusOK, status, name)
		}
	}
}

func TestThePlanIsATable(t *testing.T) {
	s := newScene(t)
	next, err := s.first.keys.Rotate(t.Context())
	require.NoError(t, err)
	var plan bytes.Buffer
	printPlan(&plan, s.first.keys)
	lines := strings.Split(plan.String(), "\n")
	require.Equal(t, []string{"", ""}, lines[3:], "an empty line ends the table")
	require.Equal(t, []string{
		s.first.keys.Status().SigningKey, "active", "2026-11-01T12:00:00Z", "2026-11-01T12:08:00Z", "2026-11-01T12:29:00Z", "2026-11-08T12:14:00Z", "-",
	}, strings.Fields(lines[1]))
	require.Equal(t, []string{next.ID, "next", "2026-11-01T12:08:00Z", "-", "-", "-", "-"}, strings.Fields(lines[2]))
}
