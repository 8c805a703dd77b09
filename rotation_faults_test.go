package jwtauth_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// slowSource lets a test hold Load or Update.
type slowSource struct {
	jwtauth.KeySource
	mu       sync.Mutex
	inLoad   chan struct{}
	leave    chan struct{}
	inUpdate chan struct{}
}

func (s *slowSource) Load(ctx context.Context) ([]jwtauth.StoredKey, error) {
	s.mu.Lock()
	in, leave := s.inLoad, s.leave
	s.inLoad = nil
	s.mu.Unlock()
	if in != nil {
		close(in)
		select {
		case <-leave:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.KeySource.Load(ctx)
}

func (s *slowSource) Update(ctx context.Context, f func([]jwtauth.StoredKey) ([]jwtauth.StoredKey, error)) error {
	s.mu.Lock()
	in, leave := s.inUpdate, s.leave
	s.inUpdate = nil
	s.mu.Unlock()
	if in != nil {
		close(in)
		select {
		case <-leave:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.KeySource.Update(ctx, f)
}

// A ring that was idle accepts a revoked key, long after ReloadEvery, while one request reads.
func TestAnIdleRingObeysARevocationBeforeItServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := jwtauth.MemoryKeys()
		s := &slowSource{KeySource: shared}
		c := newClock()
		a, b := joinRing(t, c, shared), joinRing(t, c, s)
		token := a.login("alice").AccessToken
		require.NoError(t, a.keys.RevokeKey(t.Context(), a.keyOf(token)))
		c.Advance(14 * time.Minute) // b is idle
		s.inLoad, s.leave = make(chan struct{}), make(chan struct{})
		errs := make(chan error, 2)
		for range 2 {
			go func() { _, err := b.verifier.Verify(context.Background(), token); errs <- err }()
		}
		synctest.Wait() // one reads
		close(s.leave)
		for range 2 {
			require.ErrorIs(t, <-errs, jwtauth.ErrRefused, "a token of a key that was revoked 14 minutes ago")
		}
	})
}

func TestAnIdleRingDoesNotSignWithAKeyThatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := jwtauth.MemoryKeys()
		s := &slowSource{KeySource: shared}
		c := newClock()
		a, b := joinRing(t, c, shared), joinRing(t, c, s)
		a.rotate()
		c.Advance(lead + 22*time.Minute) // b is idle
		s.inLoad, s.leave = make(chan struct{}), make(chan struct{})
		tokens := make(chan string, 2)
		for range 2 {
			go func() {
				r, err := b.issuer.Issue(context.Background(), jwtauth.Grant{Subject: "bob"})
				if err != nil {
					t.Error(err)
				}
				tokens <- r.AccessToken
			}()
		}
		synctest.Wait() // one reads
		close(s.leave)
		for range 2 {
			a.requireAccepted(<-tokens)
		}
	})
}

// A panic of the hook while the source is read leaves busy taken.
func TestAPanickingHookDoesNotLockTheRing(t *testing.T) {
	s := newKeySource()
	fail := false
	w := newRingWorld(t, s, func(o *jwtauth.KeyRingOptions) {
		o.OnEvent = func(context.Context, jwtauth.Event) {
			if fail {
				panic("hook")
			}
		}
	})
	token := w.login("alice").AccessToken
	s.set(errors.New("down"), nil)
	fail = true
	w.clock.Advance(time.Minute)
	require.Panics(t, func() { _, _ = w.verifier.Verify(t.Context(), token) }) // as net/http recovers
	fail = false
	s.set(nil, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := w.keys.Rotate(ctx)
	require.NoError(t, err)
}

// Dropping the next key while the source is down.
func TestRevokingTheNextKeyKeepsTheActiveOneWhileTheSourceIsDown(t *testing.T) {
	s := newKeySource()
	w := newRingWorld(t, s)
	next := w.rotate()
	s.set(errors.New("down"), nil)
	require.ErrorIs(t, w.keys.RevokeKey(t.Context(), next), jwtauth.ErrUnavailable)
	w.clock.Advance(lead)
	_, err := w.issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	w.clock.Advance(22 * time.Minute)
	require.NotEmpty(t, w.published())
}

// Logout with an expired access token of a key that is private to refreshing.
func TestLogoutTakesAnExpiredAccessTokenOfARetiringKey(t *testing.T) {
	w := newRingWorld(t, newKeySource())
	w.rotate()
	w.clock.Advance(lead - time.Second)
	r := w.login("alice")
	w.clock.Advance(22 * time.Minute)
	require.NoError(t, w.issuer.Logout(t.Context(), r.AccessToken))
}

// Revoked in the source beside a mistake.
func TestARevocationIsObeyedAlsoWhereTheRestCannotBeTaken(t *testing.T) {
	s := newKeySource()
	w := newRingWorld(t, s)
	r := w.login("alice")
	other := newKey(t, jwtauth.ES256, false)
	w.rotate()
	s.set(nil, func(keys []jwtauth.StoredKey) []jwtauth.StoredKey {
		keys[0].Revoked, keys[0].Key = w.clock.Now(), nil
		return append(keys, jwtauth.StoredKey{Key: other.WithID(""), KeyLife: jwtauth.KeyLife{SignsFrom: w.clock.Now().Add(time.Hour)}})
	})
	w.clock.Advance(time.Minute)
	_, err := w.verifier.Verify(t.Context(), r.AccessToken)
	require.Error(t, err)
}

// A change that hangs stops all reading.
func TestAChangeThatHangsDoesNotStopReading(t *testing.T) {
	shared := jwtauth.MemoryKeys()
	s := &slowSource{KeySource: shared}
	c := newClock()
	a := joinRing(t, c, shared)
	b := joinRing(t, c, s)
	r := a.login("alice")
	s.inUpdate, s.leave = make(chan struct{}), make(chan struct{})
	in := s.inUpdate
	var one sync.WaitGroup
	one.Go(func() { _, _ = b.keys.Rotate(context.Background()) })
	<-in
	require.NoError(t, a.keys.RevokeKey(t.Context(), a.keyOf(r.AccessToken)))
	for range 10 {
		c.Advance(time.Minute)
		_, _ = b.verifier.Verify(t.Context(), r.AccessToken)
	}
	_, err := b.verifier.Verify(t.Context(), r.AccessToken)
	fresh := a.login("bob").AccessToken
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	_, errFresh := b.verifier.Verify(ctx, fresh)
	cancel()
	require.NoError(t, errFresh)
	close(s.leave)
	one.Wait()
	require.Error(t, err, "a key that was revoked ten minutes ago")
}

// A reading blocks a request beyond its own context.
// A stranger's kid uses up the budget of a real one.
func TestAForgedKidDelaysARealOneByASecondAtMost(t *testing.T) {
	s := jwtauth.MemoryKeys()
	c := newClock()
	a, b := joinRing(t, c, s), joinRing(t, c, s)
	kid := a.keyOf(a.login("alice").AccessToken)
	forger := newKey(t, jwtauth.ES256, false)
	b.requireRefusedBy("key", signWith(t, forger, header(forger, nil), b.claims(nil)))
	require.NoError(t, a.keys.RevokeKey(t.Context(), kid))
	c.Advance(time.Second)
	b.requireAccepted(a.login("bob").AccessToken)
}

// Revoked with a clock that was set back: a key that is not published any more signs again.
func TestARetiredKeyNeverSignsAgain(t *testing.T) {
	w := newRingWorld(t, newKeySource())
	first := w.keyOf(w.login("alice").AccessToken)
	second := w.rotate()
	w.clock.Advance(lead + 22*time.Minute)
	require.Equal(t, []string{second}, w.published())
	w.clock.Advance(-23 * time.Minute)
	require.NoError(t, w.keys.RevokeKey(t.Context(), second))
	require.NotEqual(t, first, w.keyOf(w.login("alice").AccessToken))
}

// A process that slept until the revoked key had left the source never learns of it.
func TestARevocationThatLeftTheSourceIsLearnedToo(t *testing.T) {
	s := jwtauth.MemoryKeys()
	c := newClock()
	open := func() *jwtauth.KeyRing {
		ring, err := jwtauth.OpenKeyRing(t.Context(), s, jwtauth.KeyRingOptions{RefreshTTL: -1, Now: c.Now})
		require.NoError(t, err)
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

// A process that cannot read its source goes on to sign with a key that is at its end elsewhere.
// Random rotations, revocations, failing sources and clocks.
func TestRandomStepsOfProcessesRefuseNoGoodTokenAndTakeNoRevokedKey(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			shared := jwtauth.MemoryKeys()
			var ps []*world
			var ss []*ringSource
			var failed []time.Duration
			for range 3 {
				c := newClock()
				c.Advance(time.Duration(random.IntN(60_000)-30_000) * time.Millisecond)
				s := &ringSource{KeySource: shared}
				w := joinRing(t, c, s)
				var err error
				w.verifier, err = w.issuer.NewVerifier(jwtauth.VerifierOptions{Leeway: time.Minute})
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
					w.clock.Advance(d)
					// every process is in use, and reads on time
					if failed[i] > 0 && truth > failed[i] {
						ss[i].set(nil, nil)
						failed[i] = 0
					}
				}
				p := random.IntN(3)
				w := ps[p]
				switch random.IntN(60) {
				case 0, 1:
					_, _ = w.keys.Rotate(t.Context())
				case 2:
					plan := w.keys.Plan()
					k := plan[random.IntN(len(plan))]
					if err := w.keys.RevokeKey(t.Context(), k.ID); err == nil {
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
						ss[p].set(errors.New("down"), nil)
						failed[p] = truth + 59*time.Second
					}
				}
				for i, w := range ps {
					r, err := w.issuer.Issue(t.Context(), jwtauth.Grant{Subject: "x"})
					if err != nil {
						require.ErrorIs(t, err, jwtauth.ErrUnavailable)
						continue
					}
					kid := w.keyOf(r.AccessToken)
					if at, ok := revoked[kid]; ok && at >= 0 && truth-at > 150*time.Second {
						t.Fatalf("step %d: process %d signs with a key revoked %v ago", step, i, truth-at)
					}
					require.Contains(t, w.published(), kid)
					alive = append(alive, tok{r, kid, truth, i})
				}
				alive = slices.DeleteFunc(alive, func(r tok) bool { return truth-r.at > 14*time.Minute })
				for range 6 {
					r := alive[random.IntN(len(alive))]
					for i, w := range ps {
						_, err := w.verifier.Verify(t.Context(), r.AccessToken)
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
