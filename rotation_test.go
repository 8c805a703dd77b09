package jwtauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// lead is for how long a key is published before it signs, with the defaults.
const lead = 8 * time.Minute

// ringSource is a KeySource whose content and errors a test sets.
type ringSource struct {
	jwtauth.KeySource
	mu    sync.Mutex
	err   error
	loads int
	show  func([]jwtauth.StoredKey) []jwtauth.StoredKey // what Load says; nil: what is there
}

func newKeySource() *ringSource { return &ringSource{KeySource: jwtauth.MemoryKeys()} }

func (s *ringSource) Load(ctx context.Context) ([]jwtauth.StoredKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads++
	if s.err != nil {
		return nil, s.err
	}
	keys, err := s.KeySource.Load(ctx)
	if s.show != nil {
		keys = s.show(keys)
	}
	return keys, err
}

func (s *ringSource) Update(ctx context.Context, change func([]jwtauth.StoredKey) ([]jwtauth.StoredKey, error)) error {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.KeySource.Update(ctx, change)
}

func (s *ringSource) set(err error, show func([]jwtauth.StoredKey) []jwtauth.StoredKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.show = err, show
}

func (s *ringSource) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads
}

// newRingWorld makes a world whose ring has a life cycle.
func newRingWorld(t testing.TB, s jwtauth.KeySource, change ...func(*jwtauth.KeyRingOptions)) *world {
	t.Helper()
	return joinRing(t, newClock(), s, change...)
}

// joinRing makes one more process at that source.
func joinRing(t testing.TB, c *clock, s jwtauth.KeySource, change ...func(*jwtauth.KeyRingOptions)) *world {
	t.Helper()
	w := &world{t: t, clock: c}
	o := jwtauth.KeyRingOptions{Now: c.Now, OnEvent: w.record}
	for _, f := range change {
		f(&o)
	}
	var err error
	w.keys, err = jwtauth.OpenKeyRing(t.Context(), s, o)
	require.NoError(t, err)
	w.store = jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: c.Now})
	w.issuer, err = jwtauth.NewIssuer(w.keys, jwtauth.IssuerOptions{
		Issuer: testIssuer, Audiences: []string{testAudience}, Sessions: w.store, Revocations: w.store, Now: c.Now, OnEvent: w.record,
	})
	require.NoError(t, err)
	w.verifier, err = w.issuer.NewVerifier(jwtauth.VerifierOptions{})
	require.NoError(t, err)
	w.auth, err = jwtauth.NewMiddleware(w.verifier, jwtauth.MiddlewareOptions{})
	require.NoError(t, err)
	return w
}

// states are the states of the ring's keys, in their order.
func (w *world) states() (states []jwtauth.KeyState) {
	for _, k := range w.keys.Plan() {
		states = append(states, k.State)
	}
	return states
}

// published are the kids in the JWK Set.
func (w *world) published() (kids []string) {
	w.t.Helper()
	answer := httptest.NewRecorder()
	w.keys.ServeHTTP(answer, request("GET", "/"))
	require.Equal(w.t, http.StatusOK, answer.Code)
	var set struct {
		Keys []struct{ Kid, D, K string }
	}
	require.NoError(w.t, json.Unmarshal(answer.Body.Bytes(), &set))
	for _, k := range set.Keys {
		require.Empty(w.t, k.D+k.K)
		kids = append(kids, k.Kid)
	}
	return kids
}

// keyOf is the kid with which a token was signed.
func (w *world) keyOf(token string) string {
	w.t.Helper()
	return headerOf(w.t, token).Kid
}

func (w *world) rotate() string {
	w.t.Helper()
	next, err := w.keys.Rotate(w.t.Context())
	require.NoError(w.t, err)
	return next.ID
}

func TestTheFirstKeyIsMadeAndSignsAtOnce(t *testing.T) {
	w := newRingWorld(t, newKeySource())
	r := w.login("alice")
	w.requireAccepted(r.AccessToken)
	w.refresh(r.RefreshToken)
	require.Equal(t, []string{w.keyOf(r.AccessToken)}, w.published())
	plan := w.keys.Plan()
	require.Len(t, plan, 1)
	require.Equal(t, jwtauth.KeyPlan{State: jwtauth.ActiveKey, KeyLife: jwtauth.KeyLife{
		ID: w.keyOf(r.AccessToken), Algorithm: jwtauth.ES256, Published: w.clock.Now(), SignsFrom: w.clock.Now(),
	}}, plan[0])
	require.Equal(t, jwtauth.KeyRingStatus{SigningKey: plan[0].ID, LoadedAt: w.clock.Now()}, w.keys.Status())
}

func TestAKeyLivesThroughAllItsStatesAndNoGoodTokenIsRefused(t *testing.T) {
	w := newRingWorld(t, newKeySource())
	first := w.keyOf(w.login("alice").AccessToken)
	began := w.clock.Now()
	second := w.rotate()

	// next: published and accepted, and does not sign.
	require.Equal(t, []jwtauth.KeyState{jwtauth.ActiveKey, jwtauth.NextKey}, w.states())
	require.Equal(t, []string{first, second}, w.published())
	w.clock.Advance(lead - time.Second)
	last := w.login("alice") // the last tokens of the first key
	require.Equal(t, first, w.keyOf(last.AccessToken))
	require.Equal(t, first, w.keyOf(last.RefreshToken))

	// active: to the second.
	w.clock.Advance(time.Second)
	r := w.login("alice")
	require.Equal(t, second, w.keyOf(r.AccessToken))
	require.Equal(t, second, w.keyOf(r.RefreshToken))
	require.Equal(t, []jwtauth.KeyState{jwtauth.RetiringKey, jwtauth.ActiveKey}, w.states())
	plan := w.keys.Plan()
	change := began.Add(lead)
	require.Equal(t, change, plan[0].SignsTo)
	require.Equal(t, change, plan[1].SignsFrom)
	require.Equal(t, change.Add(21*time.Minute), plan[0].AccessTo)                // AccessTTL, the largest leeway, a minute of skew
	require.Equal(t, change.Add(7*24*time.Hour+6*time.Minute), plan[0].RefreshTo) // IdleTTL

	// retiring: the last access token lives to its end, and the key longer.
	w.clock.Advance(15*time.Minute - 2*time.Second)
	w.requireAccepted(last.AccessToken)
	require.Equal(t, []string{first, second}, w.published())
	w.clock.Advance(plan[0].AccessTo.Sub(w.clock.Now()))
	require.Equal(t, []string{second}, w.published())
	require.Equal(t, []jwtauth.KeyState{jwtauth.RetiringKey, jwtauth.ActiveKey}, w.states())

	// private to refreshing: no access token of it is taken, whatever its dates.
	w.key = nil
	forged := signWith(t, storedKey(t, w, first), header(storedKey(t, w, first), nil), w.claims(nil))
	w.requireRefusedBy("key", forged)
	w.clock.Advance(6*24*time.Hour + 23*time.Hour)
	next := w.refresh(last.RefreshToken)
	require.Equal(t, second, w.keyOf(next.RefreshToken))

	// retired: gone for everything, and out of the source at the next rotation.
	w.clock.Advance(plan[0].RefreshTo.Sub(w.clock.Now()))
	require.Equal(t, []jwtauth.KeyState{jwtauth.RetiredKey, jwtauth.ActiveKey}, w.states())
	w.clock.Advance(time.Hour)
	w.rotate()
	require.Equal(t, []jwtauth.KeyState{jwtauth.ActiveKey, jwtauth.NextKey}, w.states())
}

// storedKey is a key of the ring, for tests that sign as it would not.
func storedKey(t testing.TB, w *world, kid string) *jwtauth.SigningKey {
	t.Helper()
	keys := jwtauth.RingKeys(w.keys)
	require.Contains(t, keys, kid)
	return keys[kid]
}

func TestARotationThatIsUnderWayIsLeftAsItIs(t *testing.T) {
	s := newKeySource()
	w := newRingWorld(t, s)
	other := joinRing(t, w.clock, s)
	next := w.rotate()
	require.Equal(t, next, w.rotate())
	require.Equal(t, next, other.rotate())
	require.Len(t, w.keys.Plan(), 2)
	w.clock.Advance(lead)
	require.NotEqual(t, next, w.rotate())
	require.Len(t, w.keys.Plan(), 3)
}

func TestARingNeverStepsBackWhenTheClockDoes(t *testing.T) {
	w := newRingWorld(t, newKeySource())
	first := w.keyOf(w.login("alice").AccessToken)
	next := w.rotate()
	w.clock.Advance(lead)
	require.Equal(t, next, w.keyOf(w.login("alice").AccessToken))
	w.clock.Advance(21 * time.Minute)
	require.Equal(t, []string{next}, w.published())
	w.clock.Advance(-time.Hour)
	require.Equal(t, next, w.keyOf(w.login("alice").AccessToken))
	require.Equal(t, []string{next}, w.published())
	w.requireRefusedBy("key", signWith(t, storedKey(t, w, first), header(storedKey(t, w, first), nil), w.claims(nil)))
}

func TestTheSourceIsReadAgainAlsoWhereTheClockWasSetBack(t *testing.T) {
	s := newKeySource()
	w := newRingWorld(t, s)
	token := w.login("alice").AccessToken
	for _, step := range []time.Duration{time.Minute, -2 * time.Hour, time.Minute, time.Minute} {
		w.clock.Advance(step)
		before := s.count()
		_, _ = w.verifier.Verify(t.Context(), token)
		_, _ = w.verifier.Verify(t.Context(), token)
		require.Equal(t, before+1, s.count(), step)
	}
}

func TestManyRequestsReadTheSourceOnce(t *testing.T) {
	s := newKeySource()
	w := newRingWorld(t, s)
	token := w.login("alice").AccessToken
	before := s.count()
	w.clock.Advance(time.Minute)
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			if _, err := w.verifier.Verify(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.Equal(t, before+1, s.count())
}

func TestARevokedKeyIsGoneForEverythingAtOnce(t *testing.T) {
	t.Run("the active one: a new key signs at once", func(t *testing.T) {
		s := newKeySource()
		w := newRingWorld(t, s)
		other := joinRing(t, w.clock, s)
		r := w.login("alice")
		w.clock.Advance(time.Second)
		w.requireAccepted(r.AccessToken)
		other.requireAccepted(r.AccessToken)
		w.kinds()
		kid := w.keyOf(r.AccessToken)
		require.NoError(t, w.keys.RevokeKey(t.Context(), kid))
		require.Equal(t, []jwtauth.EventKind{jwtauth.KeyRevoked, jwtauth.KeysChanged, jwtauth.KeysChanged}, w.kinds())
		w.requireRefusedBy("key", r.AccessToken)
		_, err := w.issuer.Refresh(t.Context(), r.RefreshToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenKey)
		again := w.login("alice")
		require.NotEqual(t, kid, w.keyOf(again.AccessToken))
		w.requireAccepted(again.AccessToken)
		require.Equal(t, []string{w.keyOf(again.AccessToken)}, w.published())
		require.Equal(t, []jwtauth.KeyState{jwtauth.RevokedKey, jwtauth.ActiveKey}, w.states())

		// The other process learns of the new key by its kid, and of both in any case.
		other.requireAccepted(again.AccessToken)
		other.requireRefusedBy("key", r.AccessToken)
		require.Equal(t, w.keyOf(again.AccessToken), other.keyOf(other.login("bob").AccessToken))
		third := joinRing(t, w.clock, s)
		require.Equal(t, w.keyOf(again.AccessToken), third.keyOf(third.login("bob").AccessToken))
		third.requireRefusedBy("key", r.AccessToken)
	})
	t.Run("the active one, while another waits: that signs at once", func(t *testing.T) {
		w := newRingWorld(t, newKeySource())
		kid := w.keyOf(w.login("alice").AccessToken)
		next := w.rotate()
		require.NoError(t, w.keys.RevokeKey(t.Context(), kid))
		require.Equal(t, next, w.keyOf(w.login("alice").AccessToken))
		require.Len(t, w.keys.Plan(), 2)
	})
	t.Run("the one that waits: the active one goes on", func(t *testing.T) {
		w := newRingWorld(t, newKeySource())
		kid := w.keyOf(w.login("alice").AccessToken)
		next := w.rotate()
		require.NoError(t, w.keys.RevokeKey(t.Context(), next))
		w.clock.Advance(30 * 24 * time.Hour)
		require.Equal(t, kid, w.keyOf(w.login("alice").AccessToken))
		require.Zero(t, w.keys.Plan()[0].SignsTo)
	})
	t.Run("a retiring one: the active one goes on", func(t *testing.T) {
		w := newRingWorld(t, newKeySource())
		old := w.login("alice")
		next := w.rotate()
		w.clock.Advance(lead)
		require.NoError(t, w.keys.RevokeKey(t.Context(), w.keyOf(old.AccessToken)))
		w.requireRefusedBy("key", old.AccessToken)
		require.Equal(t, next, w.keyOf(w.login("alice").AccessToken))
		require.Len(t, w.keys.Plan(), 2)
	})
	t.Run("where no other can be made, issuing is unavailable", func(t *testing.T) {
		broken := errors.New("no entropy left")
		var fail error
		w := newRingWorld(t, newKeySource(), func(o *jwtauth.KeyRingOptions) {
			o.NewKey = func(context.Context) (*jwtauth.SigningKey, error) {
				if fail != nil {
					return nil, fail
				}
				return jwtauth.GenerateKey(jwtauth.EdDSA)
			}
		})
		r := w.login("alice")
		fail = broken
		err := w.keys.RevokeKey(t.Context(), w.keyOf(r.AccessToken))
		require.ErrorIs(t, err, broken)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		w.requireRefusedBy("key", r.AccessToken)
		_, err = w.issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.Empty(t, w.published())
		w.clock.Advance(time.Hour)
		_, err = w.issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		fail = nil
		w.rotate()
		w.requireAccepted(w.login("alice").AccessToken)
		w.requireRefusedBy("key", r.AccessToken)
	})
	t.Run("where the source cannot be told, in this process", func(t *testing.T) {
		s := newKeySource()
		w := newRingWorld(t, s)
		r := w.login("alice")
		s.set(errors.New("read-only"), nil)
		require.ErrorIs(t, w.keys.RevokeKey(t.Context(), w.keyOf(r.AccessToken)), jwtauth.ErrUnavailable)
		w.requireRefused(r.AccessToken)
		s.set(nil, nil)
		for range 3 { // also where the source knows nothing of it
			w.clock.Advance(time.Minute)
			w.requireRefused(r.AccessToken)
			_, err := w.issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		}
		w.rotate() // and tells the source of it
		require.Equal(t, []jwtauth.KeyState{jwtauth.RevokedKey, jwtauth.ActiveKey}, w.states())
		joinRing(t, w.clock, s).requireRefused(r.AccessToken)
	})
	t.Run("twice is once", func(t *testing.T) {
		w := newRingWorld(t, newKeySource())
		kid := w.keyOf(w.login("alice").AccessToken)
		w.clock.Advance(time.Second)
		require.NoError(t, w.keys.RevokeKey(t.Context(), kid))
		w.kinds()
		require.NoError(t, w.keys.RevokeKey(t.Context(), kid))
		require.Empty(t, w.kinds())
		require.Equal(t, []jwtauth.KeyState{jwtauth.RevokedKey, jwtauth.ActiveKey}, w.states())
	})
	t.Run("one that nobody knows is an error", func(t *testing.T) {
		w := newRingWorld(t, newKeySource())
		err := w.keys.RevokeKey(t.Context(), "nobody's")
		require.ErrorContains(t, err, `no key "nobody's"`)
		require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
	})
	t.Run("one that only the source knows", func(t *testing.T) {
		s := newKeySource()
		w := newRingWorld(t, s)
		next := joinRing(t, w.clock, s).rotate()
		w.kinds()
		require.NoError(t, w.keys.RevokeKey(t.Context(), next))
		require.Contains(t, w.kinds(), jwtauth.KeyRevoked)
		require.Equal(t, []jwtauth.KeyState{jwtauth.ActiveKey, jwtauth.RevokedKey}, w.states())
	})
}

func TestTheKeyThatWaitsSignsFromTheRevocationOn(t *testing.T) {
	w := newRingWorld(t, newKeySource())
	first := w.keyOf(w.login("alice").AccessToken)
	next := w.rotate()
	w.clock.Advance(time.Minute)
	require.NoError(t, w.keys.RevokeKey(t.Context(), first))
	require.Equal(t, next, w.keyOf(w.login("alice").AccessToken))
	require.Equal(t, w.clock.Now(), w.keys.Plan()[1].SignsFrom)
	require.NotEqual(t, next, w.rotate())
}

func TestAPlanIsLoggedWithTheDatesThatAreKnown(t *testing.T) {
	w := newRingWorld(t, newKeySource())
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("plan", "key", w.keys.Plan()[0])
	require.Contains(t, b.String(), "key.kid="+w.keys.Status().SigningKey+" key.alg=ES256 key.state=active key.published=2026-11-01T12:00:00.000Z key.signs_from=2026-11-01T12:00:00.000Z\n")
}

func TestWhatIsNotSafeOrSoundNeverReplacesAGoodSet(t *testing.T) {
	other := newKey(t, jwtauth.ES256, false)
	for _, test := range []struct {
		name, err string
		failure   error
		show      func(now time.Time) func([]jwtauth.StoredKey) []jwtauth.StoredKey
	}{
		{"a source that fails", "on fire", errors.New("on fire"), nil},
		{"no keys", "holds no keys", nil, func(time.Time) func([]jwtauth.StoredKey) []jwtauth.StoredKey {
			return func([]jwtauth.StoredKey) []jwtauth.StoredKey { return nil }
		}},
		{"a key that signs too soon", "is to sign from", nil, func(now time.Time) func([]jwtauth.StoredKey) []jwtauth.StoredKey {
			return func(keys []jwtauth.StoredKey) []jwtauth.StoredKey {
				return append(keys, jwtauth.StoredKey{Key: other, KeyLife: jwtauth.KeyLife{Published: now, SignsFrom: now.Add(lead - time.Second)}})
			}
		}},
		{"a key that signs already", "is to sign from", nil, func(now time.Time) func([]jwtauth.StoredKey) []jwtauth.StoredKey {
			return func(keys []jwtauth.StoredKey) []jwtauth.StoredKey {
				return append(keys, jwtauth.StoredKey{Key: other, KeyLife: jwtauth.KeyLife{Published: now, SignsFrom: now}})
			}
		}},
		{"a new key in place of the old one", "is to sign from", nil, func(now time.Time) func([]jwtauth.StoredKey) []jwtauth.StoredKey {
			return func([]jwtauth.StoredKey) []jwtauth.StoredKey {
				return []jwtauth.StoredKey{{Key: other, KeyLife: jwtauth.KeyLife{Published: now, SignsFrom: now.Add(time.Minute)}}}
			}
		}},
		{"one kid with other material", "is another one than before", nil, func(now time.Time) func([]jwtauth.StoredKey) []jwtauth.StoredKey {
			return func(keys []jwtauth.StoredKey) []jwtauth.StoredKey {
				keys[0].Key = other.WithID(keys[0].ID)
				return keys
			}
		}},
		{"a kid that stands there twice", "stands there twice", nil, func(now time.Time) func([]jwtauth.StoredKey) []jwtauth.StoredKey {
			return func(keys []jwtauth.StoredKey) []jwtauth.StoredKey { return append(keys, keys[0]) }
		}},
		{"a key stored under another kid", "is stored as", nil, func(now time.Time) func([]jwtauth.StoredKey) []jwtauth.StoredKey {
			return func(keys []jwtauth.StoredKey) []jwtauth.StoredKey {
				return append(keys, jwtauth.StoredKey{Key: other, KeyLife: jwtauth.KeyLife{ID: "x", Published: now, SignsFrom: now.Add(time.Hour)}})
			}
		}},
		{"a key that is missing", "is missing", nil, func(now time.Time) func([]jwtauth.StoredKey) []jwtauth.StoredKey {
			return func(keys []jwtauth.StoredKey) []jwtauth.StoredKey {
				return append(keys, jwtauth.StoredKey{KeyLife: jwtauth.KeyLife{ID: "x", Published: now, SignsFrom: now.Add(time.Hour)}})
			}
		}},
		{"a key without a kid", "kid has 1 to 256 bytes", nil, func(now time.Time) func([]jwtauth.StoredKey) []jwtauth.StoredKey {
			return func(keys []jwtauth.StoredKey) []jwtauth.StoredKey {
				return append(keys, jwtauth.StoredKey{Key: other.WithID(""), KeyLife: jwtauth.KeyLife{Published: now, SignsFrom: now.Add(time.Hour)}})
			}
		}},
		{"a key that begins again", "cannot begin again", nil, func(now time.Time) func([]jwtauth.StoredKey) []jwtauth.StoredKey {
			return func(keys []jwtauth.StoredKey) []jwtauth.StoredKey {
				keys[0].SignsFrom = now.Add(time.Hour)
				return keys
			}
		}},
		{"two keys that sign from the same time", "sign from the same time", nil, func(now time.Time) func([]jwtauth.StoredKey) []jwtauth.StoredKey {
			return func(keys []jwtauth.StoredKey) []jwtauth.StoredKey {
				return append(keys, jwtauth.StoredKey{Key: other, KeyLife: jwtauth.KeyLife{Published: keys[0].Published, SignsFrom: keys[0].SignsFrom}})
			}
		}},
		{"too many keys", "101 keys", nil, func(now time.Time) func([]jwtauth.StoredKey) []jwtauth.StoredKey {
			return func(keys []jwtauth.StoredKey) []jwtauth.StoredKey {
				return slices.Repeat(keys, 101)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newKeySource()
			w := newRingWorld(t, s)
			r := w.login("alice")
			w.clock.Advance(time.Minute)
			if test.show != nil {
				s.set(nil, test.show(w.clock.Now()))
			} else {
				s.set(test.failure, nil)
			}
			w.kinds()
			for range 10 {
				w.requireAccepted(r.AccessToken)
				w.clock.Advance(time.Minute)
				require.Equal(t, w.keyOf(r.AccessToken), w.keyOf(w.login("bob").AccessToken))
			}
			require.Contains(t, w.kinds(), jwtauth.KeysUnavailable)
			require.ErrorContains(t, w.keys.Status().LastError, test.err)
			require.Len(t, w.keys.Plan(), 1)

			// What it does not know, nobody knows.
			_, err := w.verifier.Verify(t.Context(), signWith(t, other, header(other, nil), w.claims(nil)))
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			if test.name != "no keys" { // where the first one would be made
				_, err = jwtauth.OpenKeyRing(t.Context(), s, jwtauth.KeyRingOptions{Now: w.clock.Now})
				if test.name == "a key that signs too soon" || test.name == "a key that signs already" || test.name == "a key that begins again" || test.name == "a new key in place of the old one" || test.name == "one kid with other material" {
					require.NoError(t, err, "a new process knows nothing else")
				} else {
					require.ErrorContains(t, err, test.err)
				}
			}
			s.set(nil, nil)
			w.clock.Advance(time.Minute)
			w.refresh(r.RefreshToken)
			require.NoError(t, w.keys.Status().LastError)
		})
	}
}

func TestAKeyThatVanishedIsUsedToItsSafeEnd(t *testing.T) {
	for name, show := range map[string]func([]jwtauth.StoredKey) []jwtauth.StoredKey{
		"its file":  func(keys []jwtauth.StoredKey) []jwtauth.StoredKey { keys[0].Key = nil; return keys },
		"its entry": func(keys []jwtauth.StoredKey) []jwtauth.StoredKey { return keys[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			s := newKeySource()
			w := newRingWorld(t, s)
			w.rotate()
			w.clock.Advance(lead - time.Second)
			last := w.login("alice")
			w.kinds()
			s.set(nil, show)
			w.clock.Advance(time.Minute)
			w.requireAccepted(last.AccessToken)
			require.Contains(t, w.kinds(), jwtauth.KeySkipped)
			w.clock.Advance(13 * time.Minute)
			w.requireAccepted(last.AccessToken)
			require.NotContains(t, w.kinds(), jwtauth.KeySkipped, "said twice")
			require.Len(t, w.published(), 2)
			w.clock.Advance(7*time.Minute + time.Second)
			require.Len(t, w.published(), 1)
			w.refresh(last.RefreshToken)
			require.NoError(t, w.keys.Status().LastError)
		})
	}
}

func TestAFullSourceTakesNoMoreKeysAndStaysGood(t *testing.T) {
	w := newRingWorld(t, newKeySource())
	for range 99 {
		w.rotate()
		w.clock.Advance(lead)
	}
	_, err := w.keys.Rotate(t.Context())
	require.ErrorContains(t, err, "there are 100 keys already")
	require.NoError(t, w.keys.Status().LastError)
	r := w.login("alice")
	w.clock.Advance(time.Second)
	require.ErrorContains(t, w.keys.RevokeKey(t.Context(), w.keyOf(r.AccessToken)), "there are 100 keys already")
	w.requireRefusedBy("key", r.AccessToken)
	w.clock.Advance(9 * 24 * time.Hour)
	w.rotate()
	require.Len(t, w.keys.Plan(), 1)
	w.requireAccepted(w.login("alice").AccessToken)
}

func TestForgedKidsReadTheSourceNoMoreThanOnceInASecond(t *testing.T) {
	s := newKeySource()
	w := newRingWorld(t, s)
	forger := newKey(t, jwtauth.ES256, false)
	before := s.count()
	for i := range 600 { // a minute
		k := forger.WithID(fmt.Sprint(i))
		w.requireRefusedBy("key", signWith(t, k, header(k, nil), w.claims(nil)))
		w.clock.Advance(100 * time.Millisecond)
	}
	require.LessOrEqual(t, s.count()-before, 62)
}

func TestARingIsForTokensThatLiveNoLonger(t *testing.T) {
	ring, err := jwtauth.OpenKeyRing(t.Context(), jwtauth.MemoryKeys(), jwtauth.KeyRingOptions{AccessTTL: time.Minute, RefreshTTL: -1})
	require.NoError(t, err)
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	o := jwtauth.IssuerOptions{Issuer: testIssuer, Audiences: []string{testAudience}}
	_, err = jwtauth.NewIssuer(ring, o)
	require.EqualError(t, err, "jwtauth: KeyRingOptions.AccessTTL is 1m0s, the issuer's access tokens live up to 15m0s")
	o.AccessTTL = time.Minute
	_, err = jwtauth.NewIssuer(ring, o)
	require.NoError(t, err)
	o.LongestAccessTTL = time.Hour
	_, err = jwtauth.NewIssuer(ring, o)
	require.ErrorContains(t, err, "live up to 1h0m0s")
	o.LongestAccessTTL, o.Sessions, o.Revocations = 0, store, store
	_, err = jwtauth.NewIssuer(ring, o)
	require.EqualError(t, err, "jwtauth: KeyRingOptions.RefreshTTL is 0s, the issuer's refresh tokens live up to 168h0m0s")
	refresh, err := jwtauth.OpenKeyRing(t.Context(), jwtauth.MemoryKeys(), jwtauth.KeyRingOptions{})
	require.NoError(t, err)
	o.RefreshKeys = refresh
	issuer, err := jwtauth.NewIssuer(ring, o)
	require.NoError(t, err)
	r, err := issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	_, err = issuer.Refresh(t.Context(), r.RefreshToken)
	require.NoError(t, err)
}

func TestOpenKeyRingRefusesWhatCannotBeRight(t *testing.T) {
	fails := errors.New("no such place")
	for _, test := range []struct {
		name, err string
		source    jwtauth.KeySource
		o         jwtauth.KeyRingOptions
	}{
		{"no source", "no KeySource", nil, jwtauth.KeyRingOptions{}},
		{"a source that fails", "no such place", &ringSource{KeySource: jwtauth.MemoryKeys(), err: fails}, jwtauth.KeyRingOptions{}},
		{"no keys that nobody can add", "FixedKeys cannot be changed", jwtauth.FixedKeys(), jwtauth.KeyRingOptions{}},
		{"a key that is not there", "is missing", jwtauth.FixedKeys(jwtauth.StoredKey{KeyLife: jwtauth.KeyLife{ID: "x"}}), jwtauth.KeyRingOptions{}},
		{"keys that cannot be made", "making a key: no such place", jwtauth.MemoryKeys(), jwtauth.KeyRingOptions{NewKey: func(context.Context) (*jwtauth.SigningKey, error) { return nil, fails }}},
		{"no key is made", "no key", jwtauth.MemoryKeys(), jwtauth.KeyRingOptions{NewKey: func(context.Context) (*jwtauth.SigningKey, error) { return nil, nil }}},
		{"MaxAge", "KeyRingOptions.MaxAge is 25h0m0s, 1s to 24h0m0s is expected", jwtauth.MemoryKeys(), jwtauth.KeyRingOptions{MaxAge: 25 * time.Hour}},
		{"negative MaxAge", "KeyRingOptions.MaxAge is 0s", jwtauth.MemoryKeys(), jwtauth.KeyRingOptions{MaxAge: -1}},
		{"ReloadEvery", "KeyRingOptions.ReloadEvery is 1ms, 1s to 1h0m0s is expected", jwtauth.MemoryKeys(), jwtauth.KeyRingOptions{ReloadEvery: time.Millisecond}},
		{"AccessTTL", "KeyRingOptions.AccessTTL is 1ns", jwtauth.MemoryKeys(), jwtauth.KeyRingOptions{AccessTTL: 1}},
		{"RefreshTTL", "KeyRingOptions.RefreshTTL is", jwtauth.MemoryKeys(), jwtauth.KeyRingOptions{RefreshTTL: 1 << 62}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ring, err := jwtauth.OpenKeyRing(t.Context(), test.source, test.o)
			require.ErrorContains(t, err, test.err)
			require.ErrorContains(t, err, "jwtauth: ")
			require.Nil(t, ring)
		})
	}
}

func TestARingWithoutALifeCycleHasNoSteps(t *testing.T) {
	w := newWorld(t)
	_, err := w.keys.Rotate(t.Context())
	require.ErrorContains(t, err, "no life cycle")
	require.ErrorContains(t, w.keys.RevokeKey(t.Context(), w.key.ID()), "no life cycle")
	require.Equal(t, jwtauth.KeyRingStatus{SigningKey: w.key.ID()}, w.keys.Status())
	require.Equal(t, []jwtauth.KeyPlan{{KeyLife: jwtauth.KeyLife{ID: w.key.ID(), Algorithm: jwtauth.ES256}, State: jwtauth.ActiveKey}}, w.keys.Plan())
	require.ErrorContains(t, newRingWorld(t, newKeySource()).keys.Set(w.key), "opened from a KeySource")
}

func TestFixedKeysOfSignersElsewhereRotateByTheirDates(t *testing.T) {
	c := newClock()
	first, second := newKey(t, jwtauth.ES256, false), newKey(t, jwtauth.EdDSA, false)
	w := joinRing(t, c, jwtauth.FixedKeys(
		jwtauth.StoredKey{Key: first},
		jwtauth.StoredKey{Key: second, KeyLife: jwtauth.KeyLife{Published: c.Now(), SignsFrom: c.Now().Add(time.Hour)}},
	))
	require.Equal(t, first.ID(), w.keyOf(w.login("alice").AccessToken))
	require.Equal(t, []string{first.ID(), second.ID()}, w.published())
	c.Advance(time.Hour)
	require.Equal(t, second.ID(), w.keyOf(w.login("alice").AccessToken))
	_, err := w.keys.Rotate(t.Context())
	require.ErrorContains(t, err, "FixedKeys cannot be changed")
	c.Advance(time.Second)
	require.ErrorIs(t, w.keys.RevokeKey(t.Context(), second.ID()), jwtauth.ErrUnavailable)
	_, err = w.issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
}

func TestTheJWKSetSaysForHowLongItMayBeKept(t *testing.T) {
	w := newRingWorld(t, newKeySource(), func(o *jwtauth.KeyRingOptions) { o.MaxAge = 90 * time.Second })
	answer := httptest.NewRecorder()
	w.keys.ServeHTTP(answer, request("GET", "/"))
	require.Equal(t, "public, max-age=90", answer.Header().Get("Cache-Control"))
	next, err := w.keys.Rotate(t.Context())
	require.NoError(t, err)
	require.Equal(t, 90*time.Second+3*time.Minute, next.SignsFrom.Sub(next.Published))
	again := httptest.NewRecorder()
	w.keys.ServeHTTP(again, request("GET", "/"))
	require.NotEqual(t, answer.Header().Get("ETag"), again.Header().Get("ETag"))
}

// TestRotationsRefuseNoGoodTokenWhateverTheClocks: processes that share a source,
// with clocks up to a minute apart, rotate and revoke nothing; verifiers elsewhere
// keep the JWK Set for its max-age. Every token is good, at all of them, from when
// it was issued to its end.
func TestRotationsRefuseNoGoodTokenWhateverTheClocks(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			truth := newClock()
			s := jwtauth.MemoryKeys()
			var processes []*world
			var clocks []*clock
			for range 3 {
				c := newClock()
				c.Advance(time.Duration(random.IntN(60_000)-30_000) * time.Millisecond)
				clocks = append(clocks, c)
				w := joinRing(t, c, s)
				var err error
				w.verifier, err = w.issuer.NewVerifier(jwtauth.VerifierOptions{Leeway: time.Minute})
				require.NoError(t, err)
				processes = append(processes, w)
			}
			type elsewhere struct {
				verifier *jwtauth.Verifier
				until    time.Time
			}
			remote := make([]elsewhere, 2)
			type issued struct {
				jwtauth.TokenResponse
				by  int
				end time.Time
			}
			var alive []issued
			rotations := make(map[string]bool)
			for range 1500 {
				step := time.Duration(random.IntN(40_000)) * time.Millisecond
				truth.Advance(step)
				for _, c := range clocks {
					c.Advance(step)
				}
				now := truth.Now()
				p := random.IntN(len(processes))
				if random.IntN(40) == 0 {
					rotations[processes[p].rotate()] = true
				}
				r := processes[p].login("alice")
				alive = append(alive, issued{r, p, r.ExpiresAt.Add(-30 * time.Second)}) // the skew of its clock
				alive = slices.DeleteFunc(alive, func(r issued) bool { return !now.Before(r.end) })
				if len(alive) > 40 {
					alive = slices.Delete(alive, 1, 2) // the oldest stays
				}
				for i := range remote {
					e := &remote[i]
					if now.Before(e.until) {
						continue
					}
					answer := httptest.NewRecorder()
					processes[random.IntN(len(processes))].keys.ServeHTTP(answer, request("GET", "/"))
					var set struct{ Keys []json.RawMessage }
					require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &set))
					var keys []*jwtauth.VerificationKey
					for _, text := range set.Keys {
						k, err := jwtauth.ParseVerificationKey("", text)
						require.NoError(t, err)
						keys = append(keys, k)
					}
					static, err := jwtauth.StaticKeys(keys...)
					require.NoError(t, err)
					e.verifier, err = jwtauth.NewVerifier(static, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}, Now: truth.Now, Leeway: time.Minute})
					require.NoError(t, err)
					e.until = now.Add(5 * time.Minute)
				}
				for _, r := range slices.Concat(alive[:min(2, len(alive))], alive[max(0, len(alive)-2):]) {
					for i, w := range processes {
						_, err := w.verifier.Verify(t.Context(), r.AccessToken)
						require.NoError(t, err, "process %d, token of %d", i, r.by)
					}
					for _, e := range remote {
						_, err := e.verifier.Verify(t.Context(), r.AccessToken)
						require.NoError(t, err)
					}
				}
				r2 := alive[random.IntN(len(alive))]
				next, err := processes[r2.by].issuer.Refresh(t.Context(), r2.RefreshToken)
				if err == nil {
					_, err = processes[r2.by].verifier.Verify(t.Context(), next.AccessToken)
				}
				if !errors.Is(err, jwtauth.ErrTokenReused) && !errors.Is(err, jwtauth.ErrNoSession) {
					require.NoError(t, err)
				}
				alive = slices.DeleteFunc(alive, func(r issued) bool { return r.RefreshToken == r2.RefreshToken })
			}
			require.Greater(t, len(rotations), 5)
		})
	}
}

func TestARingIsChangedWhileItServes(t *testing.T) {
	s := newKeySource()
	w := newRingWorld(t, s)
	w.login("alice")
	var done atomic.Bool
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for !done.Load() {
				r, err := w.issuer.Issue(context.Background(), jwtauth.Grant{Subject: "alice"})
				if err == nil {
					_, err = w.verifier.Verify(context.Background(), r.AccessToken)
				}
				if err != nil && !errors.Is(err, jwtauth.ErrTokenKey) && !errors.Is(err, jwtauth.ErrTokenExpired) { // revoked in between
					t.Error(err)
				}
				w.keys.Plan()
				w.keys.Status()
				w.keys.ServeHTTP(httptest.NewRecorder(), request("GET", "/"))
			}
		})
	}
	for i := range 100 {
		w.clock.Advance(time.Minute)
		w.rotate()
		if i%10 == 0 {
			require.NoError(t, w.keys.RevokeKey(t.Context(), w.keys.Status().SigningKey))
		}
	}
	done.Store(true)
	all.Wait()
}
