package jwk_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestRevokingTheNextKeyKeepsTheActiveOneWhileTheSourceIsDown(t *testing.T) {
	s := fixture.NewRingSource()
	w := fixture.NewRingWorld(t, s)
	next := w.Rotate()
	s.Set(errors.New("down"), nil)
	require.ErrorIs(t, w.Keys.RevokeKey(t.Context(), next), jwtauth.ErrUnavailable)
	w.Clock.Advance(lead)
	_, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	w.Clock.Advance(22 * time.Minute)
	require.NotEmpty(t, w.Published())
}

// Such a key is no longer published, and verifies refresh tokens only.
func TestLogoutTakesAnExpiredAccessTokenOfARetiringKey(t *testing.T) {
	w := fixture.NewRingWorld(t, fixture.NewRingSource())
	w.Rotate()
	w.Clock.Advance(lead - time.Second)
	r := w.Login("alice")
	w.Clock.Advance(22 * time.Minute)
	require.NoError(t, w.Issuer.Logout(t.Context(), r.AccessToken))
}

// The source holds a revocation and, in another entry, a mistake.
func TestARevocationIsObeyedAlsoWhereTheRestCannotBeTaken(t *testing.T) {
	s := fixture.NewRingSource()
	w := fixture.NewRingWorld(t, s)
	r := w.Login("alice")
	other := fixture.NewKey(t, jwk.ES256)
	w.Rotate()
	s.Set(nil, func(keys []jwk.StoredKey) []jwk.StoredKey {
		keys[0].Revoked, keys[0].Key = w.Clock.Now(), nil
		return append(keys, jwk.StoredKey{Key: other.WithID(""), Life: jwk.Life{SignsFrom: w.Clock.Now().Add(time.Hour)}})
	})
	w.Clock.Advance(time.Minute)
	_, err := w.Verifier.Verify(t.Context(), r.AccessToken)
	require.Error(t, err)
}

// The clock is set back to a time at which the retired key still signed.
func TestARetiredKeyNeverSignsAgain(t *testing.T) {
	w := fixture.NewRingWorld(t, fixture.NewRingSource())
	first := w.KeyOf(w.Login("alice").AccessToken)
	second := w.Rotate()
	w.Pass(lead + 22*time.Minute)
	require.Equal(t, []string{second}, w.Published())
	w.Clock.Advance(-23 * time.Minute)
	require.NoError(t, w.Keys.RevokeKey(t.Context(), second))
	require.NotEqual(t, first, w.KeyOf(w.Login("alice").AccessToken))
}

// The process is idle until the revoked key has left the source.
func TestARevocationThatLeftTheSourceIsLearnedToo(t *testing.T) {
	s := jwk.NewMemorySource()
	c := fixture.NewClock()
	open := func() *jwk.Ring {
		ring, err := jwk.OpenRing(t.Context(), s, jwk.RingOptions{Now: c.Now})
		require.NoError(t, err)
		fixture.Announce(t, ring, 15*time.Minute, 0)
		return ring
	}
	a, b := open(), open()
	c.Advance(time.Minute)
	leaked := a.Status().SigningKey
	require.NoError(t, a.RevokeKey(t.Context(), leaked))
	c.Advance(83 * time.Minute) // b is idle; with refresh tokens it takes a week
	_, err := a.Rotate(t.Context())
	require.NoError(t, err)
	for range 600 {
		c.Advance(time.Minute)
		b.Plan()
	}
	require.NotEqual(t, leaked, b.Status().SigningKey, "signs with a key that was revoked eleven hours ago")
}

// Three processes rotate and revoke keys at random, with sources that fail and clocks that
// differ.
func TestRandomStepsOfProcessesRefuseNoGoodTokenAndTakeNoRevokedKey(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			shared := jwk.NewMemorySource()
			var ps []*fixture.World
			var ss []*fixture.RingSource
			var failed []time.Duration
			for range 3 {
				c := fixture.NewClock()
				c.Advance(time.Duration(random.IntN(60_000)-30_000) * time.Millisecond)
				s := &fixture.RingSource{Source: shared}
				w := fixture.JoinRing(t, c, s)
				var err error
				w.Verifier, err = w.Issuer.NewVerifier(jwtauth.VerifierOptions{Leeway: time.Minute})
				require.NoError(t, err)
				ps, ss, failed = append(ps, w), append(ss, s), append(failed, 0)
			}
			var truth time.Duration
			type tok struct {
				jwtauth.TokenResponse
				kid string
				at  time.Duration
				by  int
			}
			var alive []tok
			revoked := map[string]time.Duration{}
			for step := range 1200 {
				d := time.Duration(11_000+random.IntN(25_000)) * time.Millisecond
				truth += d
				for i, w := range ps {
					w.Clock.Advance(d)
					// every process is in use, and reads on time
					if failed[i] > 0 && truth > failed[i] {
						ss[i].Set(nil, nil)
						failed[i] = 0
					}
				}
				p := random.IntN(3)
				w := ps[p]
				switch random.IntN(60) {
				case 0, 1:
					_, _ = w.Keys.Rotate(t.Context())
				case 2:
					plan := w.Keys.Plan()
					k := plan[random.IntN(len(plan))]
					if err := w.Keys.RevokeKey(t.Context(), k.ID); err == nil {
						if _, ok := revoked[k.ID]; !ok {
							revoked[k.ID] = truth
						}
					} else if failed[p] > 0 {
						if _, ok := revoked[k.ID]; !ok {
							revoked[k.ID] = -1 // somewhere
						}
					}
				case 3:
					if failed[p] == 0 {
						ss[p].Set(errors.New("down"), nil)
						failed[p] = truth + 59*time.Second
					}
				}
				for i, w := range ps {
					r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "x"})
					if err != nil {
						require.ErrorIs(t, err, jwtauth.ErrUnavailable)
						continue
					}
					kid := w.KeyOf(r.AccessToken)
					if at, ok := revoked[kid]; ok && at >= 0 && truth-at > 150*time.Second {
						t.Fatalf("step %d: process %d signs with a key revoked %v ago", step, i, truth-at)
					}
					require.Contains(t, w.Published(), kid)
					alive = append(alive, tok{r, kid, truth, i})
				}
				alive = slices.DeleteFunc(alive, func(r tok) bool { return truth-r.at > 14*time.Minute })
				for range 6 {
					r := alive[random.IntN(len(alive))]
					for i, w := range ps {
						_, err := w.Verifier.Verify(t.Context(), r.AccessToken)
						at, gone := revoked[r.kid]
						switch {
						case gone && at >= 0 && truth-at > 150*time.Second:
							require.Error(t, err, "step %d", step)
						case !gone:
							require.NotErrorIs(t, err, jwtauth.ErrRefused, "step %d, process %d, token of %d, %v old", step, i, r.by, truth-r.at)
						}
					}
				}
			}
		})
	}
}
