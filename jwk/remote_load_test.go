package jwk_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// An attacker sends 100,000 tokens a minute that differ from a good token only by kid and
// signature, while the issuer rotates. The new key is in use within 30 seconds and the time
// of a fetch. No token of the old key is refused before. The source is asked no more often
// than documented.
func TestForgedKidsDoNotStarveARotation(t *testing.T) {
	for _, rotateAt := range []time.Duration{100 * time.Millisecond, 11 * time.Second, 15 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			const fetching, minutes, perMinute, maxAge = 2 * time.Second, 1, 100_000, 60 * time.Second
			r := fixture.NewRemote(t, func(o *jwk.RemoteOptions) { o.Now, o.OnEvent = nil, nil })
			r.VerifyWith(r.Set, jwtauth.VerifierOptions{Now: time.Now, CacheSize: -1})
			r.Source.Serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				time.Sleep(fetching / 2)
				fixture.Document(fixture.JWKS(t, r.Key), "Cache-Control", "max-age=60").ServeHTTP(w, req)
				time.Sleep(fetching / 2)
			}))
			began := time.Now()
			r.Key = fixture.KeyFor(t, jwk.EdDSA)
			sign := func() string {
				return r.Sign(r.Claims(map[string]any{"exp": began.Unix() + 600, "iat": began.Unix()}))
			}
			old := sign()
			verify := func(token string) error {
				_, err := r.Verifier.Verify(t.Context(), token)
				return err
			}
			require.NoError(t, verify(old))
			f, ctx := fixture.NewForger(t, old), t.Context()
			require.ErrorIs(t, verify(f.Forge()), jwtauth.ErrTokenKey)
			fetched := r.Source.Asked()
			began = time.Now()

			var all sync.WaitGroup
			var accepted, unavailable atomic.Int64
			all.Go(func() {
				for range minutes * perMinute {
					time.Sleep(time.Minute / perMinute)
					token := f.Forge()
					all.Go(func() {
						switch _, err := r.Verifier.Verify(ctx, token); {
						case err == nil:
							accepted.Add(1)
						case !errors.Is(err, jwtauth.ErrTokenKey):
							unavailable.Add(1)
						}
					})
				}
			})
			for time.Since(began) < rotateAt {
				require.NoError(t, verify(old))
				time.Sleep(100 * time.Millisecond)
			}
			r.Key = fixture.NewKey(t, jwk.EdDSA)
			rotated, good, tries := time.Now(), sign(), 0
			for verify(good) != nil {
				tries++
				time.Sleep(500 * time.Millisecond)
				require.Less(t, tries, 200)
			}
			took := time.Since(rotated)
			require.LessOrEqual(t, took, 30*time.Second+fetching)
			all.Wait()
			lasted := time.Since(began)
			require.NoError(t, verify(good))
			require.Zero(t, accepted.Load())
			require.Zero(t, unavailable.Load())
			forced, planned := int(lasted/(10*time.Second))+1, int(lasted/(maxAge*72/100))+1
			require.LessOrEqual(t, r.Source.Asked()-fetched, forced+planned)
			require.Greater(t, r.Source.Asked()-fetched, 1)
			t.Logf("rotated after %v: the new key is in use after %v; %d fetches in %v", rotateAt, took, r.Source.Asked()-fetched, lasted)
		})
	}
}

// rotating is an issuer that replaces its key correctly. It publishes the next key, signs
// with it when no verifier can have an older set of keys, and retires the old key when the
// last token of that key has expired.
type rotating struct {
	name          string
	ring          *jwk.Ring
	key, next     *jwk.SigningKey
	source        *fixture.Source
	good, expired []string
	retired       []*jwk.SigningKey
}

const (
	rotatingMaxAge = 5 * time.Second
	rotatingLife   = 6 * time.Second
)

func newRotating(t *testing.T, name string) *rotating {
	i := &rotating{name: name, key: fixture.NewKey(t, jwk.ES256)}
	var err error
	i.ring, err = jwk.NewRing(i.key)
	require.NoError(t, err)
	i.source = fixture.NewSource(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond)
		answer := httptest.NewRecorder()
		i.ring.ServeHTTP(answer, r)
		time.Sleep(50 * time.Millisecond)
		maps.Copy(w.Header(), answer.Header())
		w.Header().Set("Cache-Control", fmt.Sprintf("max-age=%d", int(rotatingMaxAge.Seconds())))
		w.WriteHeader(answer.Code)
		w.Write(answer.Body.Bytes())
	}))
	return i
}

// tick does what the issuer does in a second of its minute.
func (i *rotating) tick(t *testing.T, second int) {
	if second%20 > 0 && i.next == nil {
		return
	}
	switch second % 20 {
	case 0: // publish
		i.next = fixture.NewKey(t, jwk.ES256)
		require.NoError(t, i.ring.Replace(i.key, i.next.Verification()))
	case 6: // sign
		i.key, i.next = i.next, i.key
		require.NoError(t, i.ring.Replace(i.key, i.next.Verification()))
	case 13: // retire
		i.retired = append(i.retired, i.next)
		require.NoError(t, i.ring.Replace(i.key))
	}
}

func (i *rotating) sign(t *testing.T, k *jwk.SigningKey) string {
	now := time.Now()
	return fixture.SignWith(t, k, fixture.Header(k, nil), map[string]any{
		"iss": i.name, "aud": fixture.Audience, "sub": "alice", "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(rotatingLife).Unix(),
	})
}

// Two issuers rotate, each three times a minute, while four services verify 1,000 tokens a
// second. No token is accepted that is forged, expired or signed with a retired key.
func TestRotationUnderLoadRefusesNoGoodToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 1000
		issuers := []*rotating{newRotating(t, "https://a.test"), newRotating(t, "https://b.test")}
		var services []*jwtauth.Verifier
		for range 4 {
			var members []*jwtauth.Verifier
			for _, i := range issuers {
				set, err := jwk.NewRemote(i.name+"/jwks", jwk.RemoteOptions{Client: i.source.Client(), MinAge: time.Second})
				require.NoError(t, err)
				v, err := jwtauth.NewVerifier(set, jwtauth.VerifierOptions{Issuer: i.name, Audiences: []string{fixture.Audience}, Leeway: -1})
				require.NoError(t, err)
				members = append(members, v)
			}
			v, err := jwtauth.AnyOf(members...)
			require.NoError(t, err)
			services = append(services, v)
		}
		stranger := fixture.NewKey(t, jwk.ES256)
		var all sync.WaitGroup
		var refused, unavailable, accepted, good, bad atomic.Int64
		verify := func(v *jwtauth.Verifier, token string, isGood bool) {
			all.Go(func() {
				_, err := v.Verify(t.Context(), token)
				switch {
				case isGood && err == nil:
					good.Add(1)
				case isGood && errors.Is(err, jwtauth.ErrRefused):
					refused.Add(1)
				case !isGood && err == nil:
					accepted.Add(1)
				case !isGood && errors.Is(err, jwtauth.ErrRefused):
					bad.Add(1)
				default:
					unavailable.Add(1)
				}
			})
		}
		began := time.Now()
		for second := range 60 {
			time.Sleep(time.Until(began.Add(time.Duration(second) * time.Second)))
			for n, i := range issuers {
				i.tick(t, second+9*n)
				for range 4 {
					i.good = append(i.good, i.sign(t, i.key))
				}
				if keep := 4 * int(rotatingLife/time.Second); len(i.good) > keep {
					i.expired, i.good = i.good[:len(i.good)-keep], i.good[len(i.good)-keep:]
				}
			}
			for n := range perSecond {
				v, i, other := services[n%4], issuers[n/4%2], issuers[(n/4+1)%2]
				switch token := i.good[n/8%len(i.good)]; n % 40 {
				case 0: // an unknown key, once with a known kid and once with its own
					verify(v, i.sign(t, stranger.WithID(i.key.ID())), false)
				case 9:
					verify(v, i.sign(t, stranger), false)
				case 18: // the other issuer's key
					verify(v, i.sign(t, other.key), false)
				case 27:
					if len(i.expired) > 0 {
						verify(v, i.expired[n%len(i.expired)], false)
					}
				case 36:
					// A retired key may be in use while the keys are fresh.
					if at := (second + 9*(n/4%2)) % 20; len(i.retired) > 0 && (at < 13 || at > 18) {
						verify(v, i.sign(t, i.retired[len(i.retired)-1]), false)
					}
				default:
					verify(v, token, true)
				}
				if n%100 == 99 {
					time.Sleep(90 * time.Millisecond)
				}
			}
		}
		all.Wait()
		t.Logf("%d good tokens accepted, %d bad ones refused, %d and %d fetches", good.Load(), bad.Load(), issuers[0].source.Asked(), issuers[1].source.Asked())
		require.Zero(t, refused.Load(), "good tokens were refused")
		require.Zero(t, accepted.Load(), "bad tokens were accepted")
		require.Zero(t, unavailable.Load())
		require.Greater(t, good.Load(), int64(50_000))
		require.Greater(t, bad.Load(), int64(4_000))
		for _, i := range issuers {
			require.NotEmpty(t, i.retired)
			require.LessOrEqual(t, i.source.Asked(), 4*(60/10+2+60*100/(5*72)))
		}
	})
}
