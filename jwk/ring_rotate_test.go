package jwk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

// lead is how long a key is published before it signs, with the default options.
const lead = 8 * time.Minute

func TestTheFirstKeyIsMadeAndSignsAtOnce(t *testing.T) {
	w := fixture.NewRingWorld(t, fixture.NewRingSource())
	r := w.Login("alice")
	w.RequireAccepted(r.AccessToken)
	w.Refresh(r.RefreshToken)
	require.Equal(t, []string{w.KeyOf(r.AccessToken)}, w.Published())
	plan := w.Keys.Plan()
	require.Len(t, plan, 1)
	require.Equal(t, jwk.Planned{State: jwk.Active, Life: jwk.Life{
		ID: w.KeyOf(r.AccessToken), Algorithm: jwk.ES256, Published: w.Clock.Now(), SignsFrom: w.Clock.Now(),
	}}, plan[0])
	require.Equal(t, jwk.RingStatus{
		SigningKey: plan[0].ID, LoadedAt: w.Clock.Now(),
		Longest: jwk.Durations{AccessTTL: 15 * time.Minute, RefreshTTL: 7 * 24 * time.Hour, MaxAge: 5 * time.Minute, Lead: 8 * time.Minute, ReloadEvery: time.Minute},
	}, w.Keys.Status())
}

func TestAKeyLivesThroughAllItsStatesAndNoGoodTokenIsRefused(t *testing.T) {
	w := fixture.NewRingWorld(t, fixture.NewRingSource())
	first := w.KeyOf(w.Login("alice").AccessToken)
	began := w.Clock.Now()
	second := w.Rotate()

	// next: published and accepted, and does not sign.
	require.Equal(t, []jwk.State{jwk.Active, jwk.Next}, w.States())
	require.Equal(t, []string{first, second}, w.Published())
	w.Clock.Advance(lead - time.Second)
	last := w.Login("alice") // the last tokens of the first key
	require.Equal(t, first, w.KeyOf(last.AccessToken))
	require.Equal(t, first, w.KeyOf(last.RefreshToken))

	// active: to the second.
	w.Clock.Advance(time.Second)
	r := w.Login("alice")
	require.Equal(t, second, w.KeyOf(r.AccessToken))
	require.Equal(t, second, w.KeyOf(r.RefreshToken))
	require.Equal(t, []jwk.State{jwk.Retiring, jwk.Active}, w.States())
	plan := w.Keys.Plan()
	change := began.Add(lead)
	require.Equal(t, change, plan[0].SignsTo)
	require.Equal(t, change, plan[1].SignsFrom)
	require.Equal(t, change.Add(21*time.Minute), plan[0].AccessTo)                // AccessTTL, the largest leeway, a minute of skew
	require.Equal(t, change.Add(7*24*time.Hour+6*time.Minute), plan[0].RefreshTo) // IdleTTL

	// retiring: the last access token lives to its end, and the key longer.
	w.Clock.Advance(15*time.Minute - 2*time.Second)
	w.RequireAccepted(last.AccessToken)
	require.Equal(t, []string{first, second}, w.Published())
	w.Clock.Advance(plan[0].AccessTo.Sub(w.Clock.Now()))
	require.Equal(t, []string{second}, w.Published())
	require.Equal(t, []jwk.State{jwk.Retiring, jwk.Active}, w.States())

	// private to refreshing: no access token of it is taken, whatever its dates.
	w.Key = nil
	forged := fixture.SignWith(t, fixture.StoredKey(t, w, first), fixture.Header(fixture.StoredKey(t, w, first), nil), w.Claims(nil))
	w.RequireRefusedBy("key", forged)
	w.Clock.Advance(6*24*time.Hour + 23*time.Hour)
	next := w.Refresh(last.RefreshToken)
	require.Equal(t, second, w.KeyOf(next.RefreshToken))

	// retired: gone for everything, and out of the source at the next rotation.
	w.Clock.Advance(plan[0].RefreshTo.Sub(w.Clock.Now()))
	require.Equal(t, []jwk.State{jwk.Retired, jwk.Active}, w.States())
	w.Clock.Advance(time.Hour)
	w.Rotate()
	require.Equal(t, []jwk.State{jwk.Active, jwk.Next}, w.States())
}

func TestARotationThatIsUnderWayIsLeftAsItIs(t *testing.T) {
	s := fixture.NewRingSource()
	w := fixture.NewRingWorld(t, s)
	other := fixture.JoinRing(t, w.Clock, s)
	next := w.Rotate()
	require.Equal(t, next, w.Rotate())
	require.Equal(t, next, other.Rotate())
	require.Len(t, w.Keys.Plan(), 2)
	w.Clock.Advance(lead)
	require.NotEqual(t, next, w.Rotate())
	require.Len(t, w.Keys.Plan(), 3)
}

func TestARingNeverStepsBackWhenTheClockDoes(t *testing.T) {
	w := fixture.NewRingWorld(t, fixture.NewRingSource())
	first := w.KeyOf(w.Login("alice").AccessToken)
	next := w.Rotate()
	w.Clock.Advance(lead)
	require.Equal(t, next, w.KeyOf(w.Login("alice").AccessToken))
	w.Clock.Advance(21 * time.Minute)
	require.Equal(t, []string{next}, w.Published())
	w.Clock.Advance(-time.Hour)
	require.Equal(t, next, w.KeyOf(w.Login("alice").AccessToken))
	require.Equal(t, []string{next}, w.Published())
	w.RequireRefusedBy("key", fixture.SignWith(t, fixture.StoredKey(t, w, first), fixture.Header(fixture.StoredKey(t, w, first), nil), w.Claims(nil)))
}

func TestARevokedKeyIsGoneForEverythingAtOnce(t *testing.T) {
	t.Run("the active one: a new key signs at once", func(t *testing.T) {
		s := fixture.NewRingSource()
		w := fixture.NewRingWorld(t, s)
		other := fixture.JoinRing(t, w.Clock, s)
		r := w.Login("alice")
		w.Clock.Advance(time.Second)
		w.RequireAccepted(r.AccessToken)
		other.RequireAccepted(r.AccessToken)
		w.Kinds()
		kid := w.KeyOf(r.AccessToken)
		require.NoError(t, w.Keys.RevokeKey(t.Context(), kid))
		require.Equal(t, []event.Kind{event.KeysChanged, event.KeysChanged, event.KeyRevoked}, w.Kinds())
		w.RequireRefusedBy("key", r.AccessToken)
		_, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
		require.ErrorIs(t, err, jwtauth.ErrTokenKey)
		again := w.Login("alice")
		require.NotEqual(t, kid, w.KeyOf(again.AccessToken))
		w.RequireAccepted(again.AccessToken)
		require.Equal(t, []string{w.KeyOf(again.AccessToken)}, w.Published())
		require.Equal(t, []jwk.State{jwk.Revoked, jwk.Active}, w.States())

		// The other process learns of the new key by its kid, and of both in any case.
		other.RequireAccepted(again.AccessToken)
		other.RequireRefusedBy("key", r.AccessToken)
		require.Equal(t, w.KeyOf(again.AccessToken), other.KeyOf(other.Login("bob").AccessToken))
		third := fixture.JoinRing(t, w.Clock, s)
		require.Equal(t, w.KeyOf(again.AccessToken), third.KeyOf(third.Login("bob").AccessToken))
		third.RequireRefusedBy("key", r.AccessToken)
	})
	t.Run("the active one, while another waits: that signs at once", func(t *testing.T) {
		w := fixture.NewRingWorld(t, fixture.NewRingSource())
		kid := w.KeyOf(w.Login("alice").AccessToken)
		next := w.Rotate()
		require.NoError(t, w.Keys.RevokeKey(t.Context(), kid))
		require.Equal(t, next, w.KeyOf(w.Login("alice").AccessToken))
		require.Len(t, w.Keys.Plan(), 2)
	})
	t.Run("the one that waits: the active one goes on", func(t *testing.T) {
		w := fixture.NewRingWorld(t, fixture.NewRingSource())
		kid := w.KeyOf(w.Login("alice").AccessToken)
		next := w.Rotate()
		require.NoError(t, w.Keys.RevokeKey(t.Context(), next))
		w.Clock.Advance(30 * 24 * time.Hour)
		require.Equal(t, kid, w.KeyOf(w.Login("alice").AccessToken))
		require.Zero(t, w.Keys.Plan()[0].SignsTo)
	})
	t.Run("a retiring one: the active one goes on", func(t *testing.T) {
		w := fixture.NewRingWorld(t, fixture.NewRingSource())
		old := w.Login("alice")
		next := w.Rotate()
		w.Clock.Advance(lead)
		require.NoError(t, w.Keys.RevokeKey(t.Context(), w.KeyOf(old.AccessToken)))
		w.RequireRefusedBy("key", old.AccessToken)
		require.Equal(t, next, w.KeyOf(w.Login("alice").AccessToken))
		require.Len(t, w.Keys.Plan(), 2)
	})
	t.Run("where no other can be made, issuing is unavailable", func(t *testing.T) {
		broken := errors.New("no entropy left")
		var fail error
		w := fixture.NewRingWorld(t, fixture.NewRingSource(), func(o *jwk.RingOptions) {
			o.NewKey = func(context.Context) (*jwk.SigningKey, error) {
				if fail != nil {
					return nil, fail
				}
				return jwk.Generate(jwk.EdDSA)
			}
		})
		r := w.Login("alice")
		fail = broken
		err := w.Keys.RevokeKey(t.Context(), w.KeyOf(r.AccessToken))
		require.ErrorIs(t, err, broken)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		w.RequireRefusedBy("key", r.AccessToken)
		_, err = w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.Empty(t, w.Published())
		w.Clock.Advance(time.Hour)
		_, err = w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		fail = nil
		w.Rotate()
		w.RequireAccepted(w.Login("alice").AccessToken)
		w.RequireRefusedBy("key", r.AccessToken)
	})
	t.Run("where the source cannot be told, in this process", func(t *testing.T) {
		s := fixture.NewRingSource()
		w := fixture.NewRingWorld(t, s)
		r := w.Login("alice")
		s.Set(errors.New("read-only"), nil)
		require.ErrorIs(t, w.Keys.RevokeKey(t.Context(), w.KeyOf(r.AccessToken)), jwtauth.ErrUnavailable)
		w.RequireRefused(r.AccessToken)
		s.Set(nil, nil)
		for range 3 { // also where the source knows nothing of it
			w.Clock.Advance(time.Minute)
			w.RequireRefused(r.AccessToken)
			_, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		}
		w.Rotate() // and tells the source of it
		require.Equal(t, []jwk.State{jwk.Revoked, jwk.Active}, w.States())
		fixture.JoinRing(t, w.Clock, s).RequireRefused(r.AccessToken)
	})
	t.Run("twice is once", func(t *testing.T) {
		w := fixture.NewRingWorld(t, fixture.NewRingSource())
		kid := w.KeyOf(w.Login("alice").AccessToken)
		w.Clock.Advance(time.Second)
		require.NoError(t, w.Keys.RevokeKey(t.Context(), kid))
		w.Kinds()
		require.NoError(t, w.Keys.RevokeKey(t.Context(), kid))
		require.Empty(t, w.Kinds())
		require.Equal(t, []jwk.State{jwk.Revoked, jwk.Active}, w.States())
	})
	t.Run("one that nobody knows is an error", func(t *testing.T) {
		w := fixture.NewRingWorld(t, fixture.NewRingSource())
		err := w.Keys.RevokeKey(t.Context(), "nobody's")
		require.ErrorContains(t, err, `no key "nobody's"`)
		require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
	})
	t.Run("one that only the source knows", func(t *testing.T) {
		s := fixture.NewRingSource()
		w := fixture.NewRingWorld(t, s)
		next := fixture.JoinRing(t, w.Clock, s).Rotate()
		w.Kinds()
		require.NoError(t, w.Keys.RevokeKey(t.Context(), next))
		require.Contains(t, w.Kinds(), event.KeyRevoked)
		require.Equal(t, []jwk.State{jwk.Active, jwk.Revoked}, w.States())
	})
}

func TestTheKeyThatWaitsSignsFromTheRevocationOn(t *testing.T) {
	w := fixture.NewRingWorld(t, fixture.NewRingSource())
	first := w.KeyOf(w.Login("alice").AccessToken)
	next := w.Rotate()
	w.Clock.Advance(time.Minute)
	require.NoError(t, w.Keys.RevokeKey(t.Context(), first))
	require.Equal(t, next, w.KeyOf(w.Login("alice").AccessToken))
	require.Equal(t, w.Clock.Now(), w.Keys.Plan()[1].SignsFrom)
	require.NotEqual(t, next, w.Rotate())
}

func TestAPlanIsLoggedWithTheDatesThatAreKnown(t *testing.T) {
	w := fixture.NewRingWorld(t, fixture.NewRingSource())
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("plan", "key", w.Keys.Plan()[0])
	require.Contains(t, b.String(), "key.kid="+w.Keys.Status().SigningKey+" key.alg=ES256 key.state=active key.published=2026-11-01T12:00:00.000Z key.signs_from=2026-11-01T12:00:00.000Z\n")
}

func TestWhatIsNotSafeOrSoundNeverReplacesAGoodSet(t *testing.T) {
	other := fixture.NewKey(t, jwk.ES256)
	for _, test := range []struct {
		name, err string
		failure   error
		show      func(now time.Time) func([]jwk.StoredKey) []jwk.StoredKey
	}{
		{"a source that fails", "on fire", errors.New("on fire"), nil},
		{"no keys", "holds no keys", nil, func(time.Time) func([]jwk.StoredKey) []jwk.StoredKey {
			return func([]jwk.StoredKey) []jwk.StoredKey { return nil }
		}},
		{"a key that signs too soon", "is to sign from", nil, func(now time.Time) func([]jwk.StoredKey) []jwk.StoredKey {
			return func(keys []jwk.StoredKey) []jwk.StoredKey {
				return append(keys, jwk.StoredKey{Key: other, Life: jwk.Life{Published: now.Add(10 * time.Minute), SignsFrom: now.Add(10*time.Minute + lead - time.Second)}})
			}
		}},
		{"a new key in place of the old one", "is to sign from", nil, func(now time.Time) func([]jwk.StoredKey) []jwk.StoredKey {
			return func([]jwk.StoredKey) []jwk.StoredKey {
				return []jwk.StoredKey{{Key: other, Life: jwk.Life{Published: now.Add(10 * time.Minute), SignsFrom: now.Add(11 * time.Minute)}}}
			}
		}},
		{"one kid with other material", "a kid must always name the same key", nil, func(now time.Time) func([]jwk.StoredKey) []jwk.StoredKey {
			return func(keys []jwk.StoredKey) []jwk.StoredKey {
				keys[0].Key = other.WithID(keys[0].ID)
				return keys
			}
		}},
		{"two keys with one kid", "has two keys with the kid", nil, func(now time.Time) func([]jwk.StoredKey) []jwk.StoredKey {
			return func(keys []jwk.StoredKey) []jwk.StoredKey { return append(keys, keys[0]) }
		}},
		{"a key stored under another kid", "is stored as", nil, func(now time.Time) func([]jwk.StoredKey) []jwk.StoredKey {
			return func(keys []jwk.StoredKey) []jwk.StoredKey {
				return append(keys, jwk.StoredKey{Key: other, Life: jwk.Life{ID: "x", Published: now, SignsFrom: now.Add(time.Hour)}})
			}
		}},
		{"a key that is missing", "is missing", nil, func(now time.Time) func([]jwk.StoredKey) []jwk.StoredKey {
			return func(keys []jwk.StoredKey) []jwk.StoredKey {
				return append(keys, jwk.StoredKey{Life: jwk.Life{ID: "x", Published: now, SignsFrom: now.Add(time.Hour)}})
			}
		}},
		{"a key without a kid", "kid has 1 to 1024 bytes", nil, func(now time.Time) func([]jwk.StoredKey) []jwk.StoredKey {
			return func(keys []jwk.StoredKey) []jwk.StoredKey {
				return append(keys, jwk.StoredKey{Key: other.WithID(""), Life: jwk.Life{Published: now, SignsFrom: now.Add(time.Hour)}})
			}
		}},
		{"a key that begins again", "cannot be moved to a later time", nil, func(now time.Time) func([]jwk.StoredKey) []jwk.StoredKey {
			return func(keys []jwk.StoredKey) []jwk.StoredKey {
				keys[0].SignsFrom = now.Add(time.Hour)
				return keys
			}
		}},
		{"two keys that sign from the same time", "sign from the same time", nil, func(now time.Time) func([]jwk.StoredKey) []jwk.StoredKey {
			return func(keys []jwk.StoredKey) []jwk.StoredKey {
				return append(keys, jwk.StoredKey{Key: other, Life: jwk.Life{Published: keys[0].Published, SignsFrom: keys[0].SignsFrom}})
			}
		}},
		{"too many keys", "101 keys", nil, func(now time.Time) func([]jwk.StoredKey) []jwk.StoredKey {
			return func(keys []jwk.StoredKey) []jwk.StoredKey {
				return slices.Repeat(keys, 101)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := fixture.NewRingSource()
			w := fixture.NewRingWorld(t, s)
			r := w.Login("alice")
			w.Clock.Advance(time.Minute)
			if test.show != nil {
				s.Set(nil, test.show(w.Clock.Now()))
			} else {
				s.Set(test.failure, nil)
			}
			w.Kinds()
			for range 10 {
				w.RequireAccepted(r.AccessToken)
				w.Clock.Advance(time.Minute)
				require.Equal(t, w.KeyOf(r.AccessToken), w.KeyOf(w.Login("bob").AccessToken))
			}
			require.Contains(t, w.Kinds(), event.KeysUnavailable)
			require.ErrorContains(t, w.Keys.Status().LastError, test.err)
			require.Len(t, w.Keys.Plan(), 1)

			// What it does not know, nobody knows.
			_, err := w.Verifier.Verify(t.Context(), fixture.SignWith(t, other, fixture.Header(other, nil), w.Claims(nil)))
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			if test.name != "no keys" { // where the first one would be made
				_, err = jwk.OpenRing(t.Context(), s, jwk.RingOptions{Now: w.Clock.Now})
				if test.name == "a key that begins again" || test.name == "a new key in place of the old one" || test.name == "one kid with other material" {
					require.NoError(t, err, "a new process knows nothing else")
				} else {
					require.ErrorContains(t, err, test.err)
				}
			}
			s.Set(nil, nil)
			w.Clock.Advance(time.Minute)
			w.Refresh(r.RefreshToken)
			require.NoError(t, w.Keys.Status().LastError)
		})
	}
}

func TestAKeyThatVanishedIsUsedToItsSafeEnd(t *testing.T) {
	for name, show := range map[string]func([]jwk.StoredKey) []jwk.StoredKey{
		"its file":  func(keys []jwk.StoredKey) []jwk.StoredKey { keys[0].Key = nil; return keys },
		"its entry": func(keys []jwk.StoredKey) []jwk.StoredKey { return keys[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			s := fixture.NewRingSource()
			w := fixture.NewRingWorld(t, s)
			w.Rotate()
			w.Clock.Advance(lead - time.Second)
			last := w.Login("alice")
			w.Kinds()
			s.Set(nil, show)
			w.Clock.Advance(time.Minute)
			w.RequireAccepted(last.AccessToken)
			require.Contains(t, w.Kinds(), event.KeySkipped)
			w.Clock.Advance(13 * time.Minute)
			w.RequireAccepted(last.AccessToken)
			require.NotContains(t, w.Kinds(), event.KeySkipped, "said twice")
			require.Len(t, w.Published(), 2)
			w.Clock.Advance(7*time.Minute + time.Second)
			require.Len(t, w.Published(), 1)
			w.Refresh(last.RefreshToken)
			require.NoError(t, w.Keys.Status().LastError)
		})
	}
}

func TestAFullSourceTakesNoMoreKeysAndStaysGood(t *testing.T) {
	w := fixture.NewRingWorld(t, fixture.NewRingSource())
	for range 99 {
		w.Rotate()
		w.Clock.Advance(lead)
	}
	_, err := w.Keys.Rotate(t.Context())
	require.ErrorContains(t, err, "there are 100 keys already")
	require.NoError(t, w.Keys.Status().LastError)
	r := w.Login("alice")
	w.Clock.Advance(time.Second)
	require.ErrorContains(t, w.Keys.RevokeKey(t.Context(), w.KeyOf(r.AccessToken)), "there are 100 keys already")
	w.RequireRefusedBy("key", r.AccessToken)
	w.Pass(9 * 24 * time.Hour)
	w.Rotate()
	require.Len(t, w.Keys.Plan(), 1)
	w.RequireAccepted(w.Login("alice").AccessToken)
}

func TestOpenRingRefusesWhatCannotBeRight(t *testing.T) {
	fails := errors.New("no such place")
	for _, test := range []struct {
		name, err string
		source    jwk.Source
		o         jwk.RingOptions
	}{
		{"no source", "no Source", nil, jwk.RingOptions{}},
		{"a source that fails", "no such place", &fixture.RingSource{Source: jwk.NewMemorySource(), Err: fails}, jwk.RingOptions{}},
		{"no keys that nobody can add", "FixedSource cannot be changed", jwk.NewFixedSource(jwk.Stored{}), jwk.RingOptions{}},
		{"a key that is not there", "is missing", jwk.NewFixedSource(jwk.Stored{Keys: []jwk.StoredKey{{Life: jwk.Life{ID: "x"}}}}), jwk.RingOptions{}},
		{"keys that cannot be made", "making a key: no such place", jwk.NewMemorySource(), jwk.RingOptions{NewKey: func(context.Context) (*jwk.SigningKey, error) { return nil, fails }}},
		{"no key is made", "no key", jwk.NewMemorySource(), jwk.RingOptions{NewKey: func(context.Context) (*jwk.SigningKey, error) { return nil, nil }}},
		{"MaxAge", "RingOptions.MaxAge is 25h0m0s, 1s to 24h0m0s is expected", jwk.NewMemorySource(), jwk.RingOptions{MaxAge: 25 * time.Hour}},
		{"negative MaxAge", "RingOptions.MaxAge is 0s", jwk.NewMemorySource(), jwk.RingOptions{MaxAge: -1}},
		{"ReloadEvery", "RingOptions.ReloadEvery is 1ms, 1s to 1h0m0s is expected", jwk.NewMemorySource(), jwk.RingOptions{ReloadEvery: time.Millisecond}},
		{"a short Lead", "RingOptions.Lead is 5m0s, at least 8m0s is expected", jwk.NewMemorySource(), jwk.RingOptions{Lead: 5 * time.Minute}},
		{"a long Lead", "RingOptions.Lead is 169h0m0s, 0s to 168h0m0s is expected", jwk.NewMemorySource(), jwk.RingOptions{Lead: 169 * time.Hour}},
		{"durations that nobody announced", "the longest AccessTTL is", jwk.NewFixedSource(jwk.Stored{Keys: []jwk.StoredKey{{Key: fixture.NewKey(t, jwk.ES256)}}, Longest: jwk.Durations{AccessTTL: 1 << 62}}), jwk.RingOptions{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ring, err := jwk.OpenRing(t.Context(), test.source, test.o)
			require.ErrorContains(t, err, test.err)
			require.ErrorContains(t, err, "jwk: ")
			require.Nil(t, ring)
		})
	}
}

func TestARingWithoutASourceHasNoSteps(t *testing.T) {
	w := fixture.New(t)
	_, err := w.Keys.Rotate(t.Context())
	require.ErrorContains(t, err, "no Source")
	require.ErrorContains(t, w.Keys.RevokeKey(t.Context(), w.Key.ID()), "no Source")
	require.Equal(t, jwk.RingStatus{SigningKey: w.Key.ID()}, w.Keys.Status())
	require.Equal(t, []jwk.Planned{{Life: jwk.Life{ID: w.Key.ID(), Algorithm: jwk.ES256}, State: jwk.Active}}, w.Keys.Plan())
	require.ErrorContains(t, fixture.NewRingWorld(t, fixture.NewRingSource()).Keys.Replace(w.Key), "opened from a Source")
}

func TestFixedKeysOfSignersElsewhereRotateByTheirDates(t *testing.T) {
	c := fixture.NewClock()
	first, second := fixture.NewKey(t, jwk.ES256), fixture.NewKey(t, jwk.EdDSA)
	w := fixture.JoinRing(t, c, jwk.NewFixedSource(jwk.Stored{Keys: []jwk.StoredKey{
		{Key: first},
		{Key: second, Life: jwk.Life{Published: c.Now(), SignsFrom: c.Now().Add(time.Hour)}},
	}}))
	require.Equal(t, first.ID(), w.KeyOf(w.Login("alice").AccessToken))
	require.Equal(t, []string{first.ID(), second.ID()}, w.Published())
	c.Advance(time.Hour)
	require.Equal(t, second.ID(), w.KeyOf(w.Login("alice").AccessToken))
	_, err := w.Keys.Rotate(t.Context())
	require.ErrorContains(t, err, "FixedSource cannot be changed")
	c.Advance(time.Second)
	require.ErrorIs(t, w.Keys.RevokeKey(t.Context(), second.ID()), jwtauth.ErrUnavailable)
	_, err = w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
}

func TestTheJWKSetSaysForHowLongItMayBeKept(t *testing.T) {
	w := fixture.NewRingWorld(t, fixture.NewRingSource(), func(o *jwk.RingOptions) { o.MaxAge = 90 * time.Second })
	answer := httptest.NewRecorder()
	w.Keys.ServeHTTP(answer, fixture.Request("GET", "/"))
	require.Equal(t, "public, max-age=90", answer.Header().Get("Cache-Control"))
	next, err := w.Keys.Rotate(t.Context())
	require.NoError(t, err)
	require.Equal(t, 90*time.Second+3*time.Minute, next.SignsFrom.Sub(next.Published))
	again := httptest.NewRecorder()
	w.Keys.ServeHTTP(again, fixture.Request("GET", "/"))
	require.NotEqual(t, answer.Header().Get("ETag"), again.Header().Get("ETag"))
}

// Processes that share a source rotate, with clocks up to a minute apart. They revoke
// nothing. Verifiers elsewhere keep the JWK Set for its max-age. All of them accept every
// token until it ends.
func TestRotationsRefuseNoGoodTokenWhateverTheClocks(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			truth := fixture.NewClock()
			s := jwk.NewMemorySource()
			var processes []*fixture.World
			var clocks []*jwtauthtest.Clock
			for range 3 {
				c := fixture.NewClock()
				c.Advance(time.Duration(random.IntN(60_000)-30_000) * time.Millisecond)
				clocks = append(clocks, c)
				w := fixture.JoinRing(t, c, s)
				var err error
				w.Verifier, err = w.Issuer.NewVerifier(jwtauth.VerifierOptions{Leeway: time.Minute})
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
					rotations[processes[p].Rotate()] = true
				}
				r := processes[p].Login("alice")
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
					processes[random.IntN(len(processes))].Keys.ServeHTTP(answer, fixture.Request("GET", "/"))
					var set struct{ Keys []json.RawMessage }
					require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &set))
					var keys []*jwk.VerificationKey
					for _, text := range set.Keys {
						k, err := jwk.ParseVerification("", text)
						require.NoError(t, err)
						keys = append(keys, k)
					}
					static, err := jwk.Static(keys...)
					require.NoError(t, err)
					e.verifier, err = jwtauth.NewVerifier(static, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: truth.Now, Leeway: time.Minute})
					require.NoError(t, err)
					e.until = now.Add(5 * time.Minute)
				}
				for _, r := range slices.Concat(alive[:min(2, len(alive))], alive[max(0, len(alive)-2):]) {
					for i, w := range processes {
						_, err := w.Verifier.Verify(t.Context(), r.AccessToken)
						require.NoError(t, err, "process %d, token of %d", i, r.by)
					}
					for _, e := range remote {
						_, err := e.verifier.Verify(t.Context(), r.AccessToken)
						require.NoError(t, err)
					}
				}
				r2 := alive[random.IntN(len(alive))]
				next, err := processes[r2.by].Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r2.RefreshToken})
				if err == nil {
					_, err = processes[r2.by].Verifier.Verify(t.Context(), next.AccessToken)
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
	s := fixture.NewRingSource()
	w := fixture.NewRingWorld(t, s)
	w.Login("alice")
	var done atomic.Bool
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for !done.Load() {
				r, err := w.Issuer.Issue(context.Background(), jwtauth.Grant{Subject: "alice"})
				if err == nil {
					_, err = w.Verifier.Verify(context.Background(), r.AccessToken)
				}
				if err != nil && !errors.Is(err, jwtauth.ErrTokenKey) && !errors.Is(err, jwtauth.ErrTokenExpired) { // revoked in between
					t.Error(err)
				}
				w.Keys.Plan()
				w.Keys.Status()
				w.Keys.ServeHTTP(httptest.NewRecorder(), fixture.Request("GET", "/"))
			}
		})
	}
	for i := range 100 {
		w.Clock.Advance(time.Minute)
		w.Rotate()
		if i%10 == 0 {
			require.NoError(t, w.Keys.RevokeKey(t.Context(), w.Keys.Status().SigningKey))
		}
	}
	done.Store(true)
	all.Wait()
}
