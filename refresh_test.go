package jwtauth_test

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
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
)

// steps returns the calls without those that change nothing in a store.
func steps(calls []string) []string {
	return slices.DeleteFunc(slices.Clone(calls), func(call string) bool { return call == "IsRevoked" })
}

// noted returns a hook of a hookstore.Store that appends the name of each called method.
func noted(methods *[]string) func(context.Context, string) error {
	return func(_ context.Context, method string) error {
		*methods = append(*methods, method)
		return nil
	}
}

// hookedSigner calls a function before it signs.
type hookedSigner struct {
	crypto.Signer
	before func() error
}

func (s *hookedSigner) Sign(random io.Reader, text []byte, o crypto.SignerOpts) ([]byte, error) {
	if err := s.before(); err != nil {
		return nil, err
	}
	return s.Signer.Sign(random, text, o)
}

// withSigner gives an issuer refresh keys that call before for each signature, which can delay
// it or fail.
func withSigner(t *testing.T, before func() error) fixture.Change {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	key, err := jwk.NewSigning(jwk.EdDSA, &hookedSigner{private, before})
	require.NoError(t, err)
	keys, err := jwk.NewRing(key)
	require.NoError(t, err)
	return func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.RefreshKeys = keys }
}

func TestRefreshHandsOnWhatWasGranted(t *testing.T) {
	w := fixture.New(t)
	type claims struct {
		Largest  int64   `json:"largest"`
		Smallest int64   `json:"smallest"`
		Unsigned uint64  `json:"unsigned"`
		Text     string  `json:"text"`
		Half     float64 `json:"half"`
	}
	granted := claims{math.MaxInt64, math.MinInt64, math.MaxUint64, "<&>\u2028\U0001F511", 0.5}
	login := w.Clock.Now().Add(-time.Minute)
	r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{
		Subject: "alice", Scopes: []string{"read", "write"}, ClientID: "web", AuthTime: login, ACR: "2", AMR: []string{"pwd", "otp"}, Claims: granted,
	})
	require.NoError(t, err)
	for n := range 5 {
		got := w.RequireAccepted(r.AccessToken)
		require.Equal(t, "alice web 2", got.Subject+" "+got.ClientID+" "+got.ACR)
		require.Equal(t, []string{"read", "write"}, got.Scopes())
		require.Equal(t, []string{"pwd", "otp"}, got.AMR())
		require.Equal(t, []string{fixture.Audience}, got.Audiences())
		require.Equal(t, r.SessionID, got.SessionID)
		require.True(t, login.Equal(got.AuthTime), "refreshing does not make a login younger")
		require.True(t, w.Clock.Now().Equal(got.IssuedAt))
		custom, err := jwtauth.ClaimsAs[claims](got)
		require.NoError(t, err)
		require.Equal(t, granted, custom)
		require.EqualValues(t, n+1, fixture.Generation(t, r.RefreshToken))
		w.Clock.Advance(24 * time.Hour)
		r = w.Refresh(r.RefreshToken)
	}
	require.Equal(t, "read write", r.Scope)
	require.Equal(t, 900, r.ExpiresIn)
}

func TestWhatIsNoRefreshTokenReachesNothing(t *testing.T) {
	var calls []string
	w, store := fixture.NewHooked(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(context.Context, jwtauth.Session, *jwtauth.Grant) error {
			calls = append(calls, "Reload")
			return nil
		}
	})
	r := w.Login("alice")
	good := fixture.Payload[map[string]any](t, r.RefreshToken)
	change := func(name string, value any) string {
		claims := fixture.Payload[map[string]any](t, r.RefreshToken)
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
		return fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": "rt+jwt"}), claims)
	}
	store.Before = noted(&calls)
	for name, token := range map[string]string{
		"empty":                   "",
		"garbage":                 "garbage",
		"an access token":         r.AccessToken,
		"a broken signature":      r.RefreshToken[:len(r.RefreshToken)-8] + "AAAAAAAA",
		"no generation":           change("gen", nil),
		"generation 0":            change("gen", 0),
		"a generation of text":    change("gen", "1"),
		"a generation above 2^53": change("gen", 1<<53+1),
		"no session":              change("sid", nil),
		"resources of text":       change("res", "https://api.test"),
		"another audience":        change("aud", fixture.Audience),
		"another issuer":          change("iss", "https://other.test"),
		"no subject":              change("sub", ""),
		"expired":                 change("exp", w.Clock.Now().Unix()-31),
		"bound to a sender":       change("cnf", map[string]any{"jkt": "x"}),
		"signed by somebody":      fixture.SignWith(t, fixture.NewKey(t, jwk.ES256), fixture.Header(w.Key, map[string]any{"typ": "rt+jwt"}), good),
		"of the typ of an access": fixture.SignWith(t, w.Key, fixture.Header(w.Key, nil), good),
	} {
		t.Run(name, func(t *testing.T) {
			w.RequireGrantRefused(token)
			require.Empty(t, calls)
		})
	}
	w.Refresh(change("unknown", "claims are fine"))
	require.Equal(t, []string{"IsRevoked", "Reload", "Advance"}, calls)
}

func TestASignerThatFailsLeavesEverythingAsItWas(t *testing.T) {
	var calls []string
	failure := errors.New("the KMS is away")
	var signing error
	w, store := fixture.NewHooked(t, withSigner(t, func() error {
		calls = append(calls, "Sign")
		return signing
	}))
	token := w.Login("alice").RefreshToken
	store.Before = noted(&calls)

	signing, calls = failure, nil
	tokens, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(token))
	require.Zero(t, tokens)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.ErrorIs(t, err, failure)
	tokens, err = w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "bob"})
	require.Zero(t, tokens)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Equal(t, []string{"Sign", "Sign"}, steps(calls), "nothing was changed")

	signing, calls = nil, nil
	w.Clock.Advance(time.Hour)
	w.Refresh(token)
	require.Equal(t, []string{"IsRevoked", "Sign", "Advance"}, calls, "Advance comes last")
}

// A store may return an error that says both: not there, and not known.
func TestAnErrorOfBothKindsIsNoAnswerAndEndsNoSession(t *testing.T) {
	for _, err := range []error{
		errors.Join(jwtauth.ErrNoSession, jwtauth.ErrUnavailable),
		fmt.Errorf("%w: %w", jwtauth.ErrNoSession, context.DeadlineExceeded),
		&jwtauth.Error{Status: 503, Code: "x"},
	} {
		w, store := fixture.NewHooked(t)
		r := w.Login("alice")
		store.Before = func(_ context.Context, method string) error {
			if method == "Advance" {
				return err
			}
			return nil
		}
		_, got := w.Issuer.Refresh(t.Context(), fixture.Redeeming(r.RefreshToken))
		require.ErrorIs(t, got, jwtauth.ErrUnavailable)
		require.NotErrorIs(t, got, jwtauth.ErrRefused)
		store.Before = nil
		_, verifyErr := w.Verifier.Verify(t.Context(), r.AccessToken)
		require.NoError(t, verifyErr, "nothing was revoked")
		w.Refresh(r.RefreshToken)
	}
}

// What a refresh token gets that was redeemed last, if nobody has used its successor.
func TestTheAgeOfALostAnswerDecidesWhatItsTokenGets(t *testing.T) {
	const (
		replayed  = "the same generation again"
		delayed   = "unavailable, try again later"
		recovered = "a new generation"
		stolen    = "reuse"
	)
	for _, test := range []struct {
		name                 string
		grace, recover, idle time.Duration
		after                time.Duration
		want                 string
	}{
		{"at once", 0, 0, 0, 0, replayed},
		{"at the end of the grace", 0, 0, 0, 10 * time.Second, replayed},
		{"after the grace", 0, 0, 0, 10*time.Second + time.Microsecond, delayed},
		{"at twice the grace", 0, 0, 0, 20 * time.Second, delayed},
		{"after twice the grace", 0, 0, 0, 20*time.Second + time.Microsecond, recovered},
		{"a night later", 0, 0, 0, 24 * time.Hour, recovered},
		{"more than a day later", 0, 0, 0, 24*time.Hour + time.Microsecond, stolen},
		{"a bound of its own", 0, time.Minute, 0, time.Minute, recovered},
		{"after a bound of its own", 0, time.Minute, 0, time.Minute + time.Microsecond, stolen},
		{"the longest bound", 0, 7 * 24 * time.Hour, 0, 6 * 24 * time.Hour, recovered},
		{"the longest grace", time.Minute, 0, 0, time.Minute, replayed},
		{"after the longest grace", time.Minute, 0, 0, time.Minute + time.Microsecond, delayed},
		{"the shortest grace", 4 * time.Second, 0, 0, 4 * time.Second, replayed},
		{"after the shortest grace", 4 * time.Second, 0, 0, 4*time.Second + time.Microsecond, delayed},
		{"after twice the shortest grace", 4 * time.Second, 0, 0, 8*time.Second + time.Microsecond, recovered},
		{"no recovery, within the grace", 0, -1, 0, 10 * time.Second, replayed},
		{"no recovery, after the grace", 0, -1, 0, 10*time.Second + time.Microsecond, stolen},
		{"no grace, at once", -1, 0, 0, 0, stolen},
		{"a short session, within the grace", 0, 0, 19 * time.Second, 10 * time.Second, replayed},
		{"a short session, which has no recovery", 0, 0, 19 * time.Second, 10*time.Second + time.Microsecond, stolen},
		{"a clock of the store that went back", 0, 0, 0, -time.Minute, replayed},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
				o.RefreshGrace, o.RecoverLost, o.IdleTTL = test.grace, test.recover, test.idle
			})
			first := w.Login("alice")
			w.Clock.Advance(time.Second)
			second := w.Refresh(first.RefreshToken)
			before, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
			require.NoError(t, err)
			w.Heard()
			w.Clock.Advance(test.after)
			again, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(first.RefreshToken))
			after, listErr := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
			require.NoError(t, listErr)
			switch test.want {
			case replayed:
				require.NoError(t, err)
				require.Equal(t, []string{"refresh_replayed"}, w.Heard())
				require.Equal(t, fixture.Generation(t, second.RefreshToken), fixture.Generation(t, again.RefreshToken))
				require.Equal(t, second.SessionID, again.SessionID)
				require.Equal(t, before, after, "a replay changes nothing")
				w.Refresh(again.RefreshToken)
				w.RequireAccepted(again.AccessToken)
			case delayed:
				require.ErrorIs(t, err, jwtauth.ErrUnavailable)
				require.NotErrorIs(t, err, jwtauth.ErrRefused)
				require.Zero(t, again)
				grace := cmp.Or(test.grace, 10*time.Second)
				e, _ := errors.AsType[*jwtauth.Error](err)
				require.InDelta(t, 2*grace-test.after, e.RetryAfter, float64(time.Second), "until the wait is over")
				require.Positive(t, e.RetryAfter)
				require.Equal(t, []string{"refresh_delayed"}, w.Heard())
				require.Equal(t, before, after, "nothing has changed")
				w.Refresh(second.RefreshToken)
			case recovered:
				require.NoError(t, err)
				events := w.Events()
				require.Len(t, events, 1)
				require.Equal(t, event.RefreshRecovered, events[0].Kind)
				require.Equal(t, test.after, events[0].Age)
				require.Equal(t, slog.LevelWarn, events[0].Level())
				require.Equal(t, fixture.Generation(t, second.RefreshToken)+1, fixture.Generation(t, again.RefreshToken))
				w.RequireAccepted(again.AccessToken)
				third := w.Refresh(again.RefreshToken)
				// Whoever has the lost answer is found out.
				w.RequireGrantRefused(second.RefreshToken, jwtauth.ErrTokenReused)
				w.RequireGrantRefused(third.RefreshToken, jwtauth.ErrNoSession)
			case stolen:
				require.Zero(t, again)
				require.ErrorIs(t, err, jwtauth.ErrTokenReused)
				require.ErrorIs(t, err, jwtauth.ErrRefused)
				require.Equal(t, []string{"token_reused late_parent", "session_ended reuse", "refresh_refused reuse"}, w.Heard())
				w.RequireGrantRefused(second.RefreshToken, jwtauth.ErrNoSession)
				_, err := fixture.Without(w.Verifier, "exp").Verify(t.Context(), second.AccessToken)
				require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
			}
		})
	}
}

func TestANodeWhoseClockIsBehindTakesWhatIsNew(t *testing.T) {
	for _, behind := range []time.Duration{0, 30 * time.Second, 59 * time.Second} {
		w := fixture.New(t)
		node := w.Another(func(o *jwtauth.IssuerOptions) { o.Now = func() time.Time { return w.Clock.Now().Add(-behind) } })
		first := w.Login("alice")
		second, err := node.Refresh(t.Context(), fixture.Redeeming(first.RefreshToken))
		require.NoError(t, err)
		_, err = node.Refresh(t.Context(), fixture.Redeeming(first.RefreshToken))
		require.NoError(t, err)
		_, err = w.Issuer.Refresh(t.Context(), fixture.Redeeming(second.RefreshToken))
		require.NoError(t, err)
	}
}

func TestReplaysDoNotProlongTheGrace(t *testing.T) {
	w := fixture.New(t)
	token := w.Login("alice").RefreshToken
	w.Refresh(token)
	for range 10 {
		w.Clock.Advance(time.Second)
		w.Refresh(token)
	}
	w.Clock.Advance(time.Second)
	_, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(token))
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
}

func TestTheUseOfTheSuccessorClosesTheGrace(t *testing.T) {
	w := fixture.New(t)
	first := w.Login("alice")
	second := w.Refresh(first.RefreshToken)
	racing := w.Refresh(first.RefreshToken)
	third := w.Refresh(second.RefreshToken)
	w.Refresh(racing.RefreshToken) // the same generation, within its own grace
	w.Heard()
	_, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(first.RefreshToken))
	require.ErrorIs(t, err, jwtauth.ErrTokenReused)
	require.Equal(t, []string{"token_reused old_token", "session_ended reuse", "refresh_refused reuse"}, w.Heard())
	w.RequireGrantRefused(third.RefreshToken, jwtauth.ErrNoSession)
	require.ErrorIs(t, w.RequireRefused(third.AccessToken), jwtauth.ErrTokenRevoked)
}

func TestAGenerationThatIsBehindRollsForward(t *testing.T) {
	w := fixture.New(t)
	r := w.Login("alice")
	lost, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	for range 5 {
		w.Clock.Advance(time.Minute)
		r = w.Refresh(r.RefreshToken)
	}
	// The engine comes back with what it had five writes ago.
	require.NoError(t, w.Store.Delete(t.Context(), lost[0].Key))
	require.NoError(t, w.Store.Create(t.Context(), lost[0], 0))
	w.Heard()
	w.Clock.Advance(time.Minute)
	r = w.Refresh(r.RefreshToken)
	require.Equal(t, []string{"generation_behind", "token_refreshed"}, w.Heard())
	rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	require.EqualValues(t, 7, rows[0].Generation)
	require.EqualValues(t, 1, rows[0].Previous)
	w.Clock.Advance(time.Minute)
	w.Refresh(r.RefreshToken)
	require.Equal(t, []string{"token_refreshed"}, w.Heard())
}

func TestAStoreThatBreaksItsContractAccusesNobody(t *testing.T) {
	for _, test := range []struct {
		generation int64
		advanced   bool
	}{{0, false}, {1, false}, {1, true}, {-1, true}, {3, true}, {math.MaxInt64, true}} {
		var calls []string
		w, store := fixture.NewHooked(t)
		r := w.Login("alice")
		store.Before = noted(&calls)
		broken := w.Another(func(o *jwtauth.IssuerOptions) {
			o.Sessions = fixture.Answering{SessionStore: store, Row: jwtauth.SessionRecord{Generation: test.generation}, Advanced: test.advanced}
			o.Revocations = store
		})
		tokens, err := broken.Refresh(t.Context(), fixture.Redeeming(r.RefreshToken))
		require.Zero(t, tokens)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable, "%+v", test)
		require.Empty(t, steps(calls), "nothing is ended")
		w.Refresh(r.RefreshToken)
	}
}

func TestAFailureLeavesTheTokenGood(t *testing.T) {
	for _, test := range []struct {
		name   string
		effect bool
		retry  time.Duration
		good   bool
	}{
		{"no effect, at once", false, 0, true},
		{"no effect, days later", false, 6 * 24 * time.Hour, true},
		{"effect, at once", true, 0, true},
		{"effect, at the end of the grace", true, 10 * time.Second, true},
		{"effect, a night later", true, 24 * time.Hour, true},
		{"effect, days later", true, 24*time.Hour + time.Microsecond, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, store := fixture.NewHooked(t)
			token := w.Login("alice").RefreshToken
			store.Before = fixture.FailingAt("Advance")
			if test.effect {
				store.Before, store.After = nil, fixture.FailingAt("Advance")
			}
			w.Heard()
			tokens, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(token))
			require.Zero(t, tokens)
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.NotErrorIs(t, err, jwtauth.ErrRefused)
			require.ErrorIs(t, err, fixture.ErrStoreDown)
			e, ok := errors.AsType[*jwtauth.Error](err)
			require.True(t, ok)
			require.Equal(t, time.Second, e.RetryAfter)
			require.Equal(t, []string{"unavailable session"}, w.Heard())
			store.Before, store.After = nil, nil
			w.Clock.Advance(test.retry)
			if !test.good {
				w.RequireGrantRefused(token)
				return
			}
			w.RequireAccepted(w.Refresh(token).AccessToken)
		})
	}
}

func TestManyWhoRefreshAtOnceGetOneGeneration(t *testing.T) {
	for name, chance := range map[string]float64{"a store that works": 0, "a store that fails before or after its effect": 0.3} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				w, store := fixture.NewHooked(t)
				token := w.Login("alice").RefreshToken
				failing := func(_ context.Context, method string) error {
					if method == "Advance" && rand.Float64() < chance {
						return fixture.ErrStoreDown
					}
					return nil
				}
				store.Before, store.After = failing, failing
				var all sync.WaitGroup
				var failed, advanced atomic.Int64
				for range 64 {
					all.Go(func() {
						for {
							r, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(token))
							if err != nil {
								failed.Add(1)
								if r != (jwtauth.TokenResponse{}) || !errors.Is(err, fixture.ErrStoreDown) || errors.Is(err, jwtauth.ErrRefused) {
									t.Errorf("tokens %v, error %v", r, err)
									return
								}
								continue
							}
							if n := fixture.Generation(t, r.RefreshToken); n != 2 {
								t.Errorf("generation %d", n)
							}
							if _, err := w.Verifier.Verify(t.Context(), r.AccessToken); err != nil {
								t.Error(err)
							}
							return
						}
					})
				}
				all.Wait()
				for _, kind := range w.Kinds() {
					if kind == event.TokenRefreshed {
						advanced.Add(1)
					}
				}
				require.LessOrEqual(t, advanced.Load(), int64(1))
				require.Equal(t, chance > 0, failed.Load() > 0)
				rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
				require.NoError(t, err)
				require.Len(t, rows, 1)
				require.EqualValues(t, 2, rows[0].Generation)
			}
		})
	}
}

func TestWithoutAGraceOneOfManyWins(t *testing.T) {
	for range 20 {
		w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.RefreshGrace = -1 })
		token := w.Login("alice").RefreshToken
		var all sync.WaitGroup
		var won atomic.Int64
		for range 64 {
			all.Go(func() {
				_, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(token))
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, jwtauth.ErrRefused):
					t.Error(err)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 1, won.Load())
		rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
		require.NoError(t, err)
		require.Empty(t, rows, "the others count as thieves")
	}
}

func TestRefreshTokensMayHaveKeysOfTheirOwn(t *testing.T) {
	own := fixture.NewKey(t, jwk.ES384)
	ring, err := jwk.NewRing(own)
	require.NoError(t, err)
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.RefreshKeys = ring })
	r := w.Login("alice")
	require.Equal(t, own.ID(), fixture.HeaderOf(t, r.RefreshToken).Kid)
	require.Equal(t, w.Key.ID(), fixture.HeaderOf(t, r.AccessToken).Kid)

	// The keys of the access tokens can be replaced, and no refresh token falls.
	next := fixture.NewKey(t, jwk.ES256)
	require.NoError(t, w.Keys.Replace(next))
	w.RequireRefused(r.AccessToken)
	r = w.Refresh(r.RefreshToken)
	w.RequireAccepted(r.AccessToken)
	require.NoError(t, w.Issuer.Logout(t.Context(), r.RefreshToken))

	// A key of the access tokens makes no refresh token, and the other way round.
	r = w.Login("bob")
	claims := fixture.Payload[map[string]any](t, r.RefreshToken)
	w.RequireGrantRefused(fixture.SignWith(t, next, fixture.Header(next, map[string]any{"typ": "rt+jwt"}), claims), jwtauth.ErrTokenKey)
	require.ErrorIs(t, w.RequireRefused(fixture.SignWith(t, own, fixture.Header(own, nil), w.Claims(nil))), jwtauth.ErrTokenKey)
	w.Refresh(r.RefreshToken)
}

func TestARefreshTokenLivesThroughARotationOfKeys(t *testing.T) {
	w := fixture.New(t)
	r := w.Login("alice")
	old, next := w.Key, fixture.NewKey(t, jwk.EdDSA)
	require.NoError(t, w.Keys.Replace(next, old.Verification()))
	second := w.Refresh(r.RefreshToken)
	require.Equal(t, next.ID(), fixture.HeaderOf(t, second.RefreshToken).Kid)
	w.RequireAccepted(r.AccessToken)
	require.NoError(t, w.Keys.Replace(next))
	w.RequireGrantRefused(r.RefreshToken, jwtauth.ErrTokenKey)
	w.Refresh(second.RefreshToken)
}

func TestAnAudienceThatTheIssuerHasNoMoreIsDropped(t *testing.T) {
	w := fixture.New(t)
	before := w.Another(func(o *jwtauth.IssuerOptions) { o.Audiences = []string{"https://old.test", fixture.Audience} })
	both, err := before.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	old, err := before.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Audiences: []string{"https://old.test"}})
	require.NoError(t, err)
	require.Equal(t, []string{fixture.Audience}, w.RequireAccepted(w.Refresh(both.RefreshToken).AccessToken).Audiences())
	w.RequireGrantRefused(old.RefreshToken, jwtauth.ErrTokenAudience)
}

// A refresh token belongs to the client that it was issued to (RFC 6749, sections 6 and
// 10.4).
func TestARefreshTokenIsGoodForItsClientAlone(t *testing.T) {
	var calls []string
	w, store := fixture.NewHooked(t)
	for _, client := range []string{"web", ""} {
		r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", ClientID: client})
		require.NoError(t, err)
		store.Before = noted(&calls)
		for _, other := range []string{"web", "", "Web", "web ", "mobile"} {
			if other == client {
				continue
			}
			got, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken, ClientID: other})
			require.Zero(t, got)
			require.ErrorIs(t, err, jwtauth.ErrTokenClient)
			requireCode(t, err, 400, "invalid_grant")
		}
		require.Empty(t, calls, "nothing was asked and nothing has changed")
		store.Before = nil
		w.Refresh(r.RefreshToken)
	}
}

func TestARefreshMayAskForLessThanWasGranted(t *testing.T) {
	var calls []string
	w, store := fixture.NewHooked(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Audiences = []string{fixture.Audience, "https://files.test"}
		o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
			g.Scopes = slices.DeleteFunc(g.Scopes, func(s string) bool { return s == "admin" }) // was taken away
			return nil
		}
	})
	r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Scopes: []string{"read", "write", "admin"}})
	require.NoError(t, err)
	refresh := func(request jwtauth.RefreshRequest) (jwtauth.TokenResponse, error) {
		request.Token = r.RefreshToken
		return w.Issuer.Refresh(t.Context(), request)
	}
	store.Before = noted(&calls)
	for _, test := range []struct {
		request jwtauth.RefreshRequest
		code    string
	}{
		{jwtauth.RefreshRequest{Scopes: []string{"read", "delete"}}, "invalid_scope"},
		{jwtauth.RefreshRequest{Scopes: []string{"read write"}}, "invalid_scope"},
		{jwtauth.RefreshRequest{Scopes: []string{""}}, "invalid_scope"},
		{jwtauth.RefreshRequest{Audiences: []string{"https://other.test"}}, "invalid_target"},
	} {
		_, err := refresh(test.request)
		require.ErrorIs(t, err, jwtauth.ErrRefused)
		requireCode(t, err, 400, test.code)
	}
	require.Empty(t, calls)
	store.Before = nil

	r, err = refresh(jwtauth.RefreshRequest{Scopes: []string{"write", "admin"}, Audiences: []string{"https://files.test"}})
	require.NoError(t, err)
	require.Equal(t, "write", r.Scope)
	require.Equal(t, "https://files.test", fixture.Payload[map[string]any](t, r.AccessToken)["aud"])
	r, err = refresh(jwtauth.RefreshRequest{})
	require.NoError(t, err)
	require.Equal(t, "read write", r.Scope, "the next refresh begins with the grant again")
	require.Len(t, w.RequireAccepted(r.AccessToken).Audiences(), 2)
}

// The clocks of the nodes have no say: ages are counted by the clock of the store.
func TestTheClocksOfTheNodesDoNotDecideWhatIsReuse(t *testing.T) {
	for _, ahead := range []time.Duration{-59 * time.Second, 59 * time.Second} {
		w := fixture.New(t)
		node := w.Another(func(o *jwtauth.IssuerOptions) { o.Now = func() time.Time { return w.Clock.Now().Add(ahead) } })
		first := w.Login("alice")
		w.Clock.Advance(time.Minute)
		second, err := node.Refresh(t.Context(), jwtauth.RefreshRequest{Token: first.RefreshToken})
		require.NoError(t, err)
		w.Clock.Advance(5 * time.Second)
		replayed := w.Refresh(first.RefreshToken)
		require.Equal(t, fixture.Generation(t, second.RefreshToken), fixture.Generation(t, replayed.RefreshToken))
	}
}

// Two racing clients of which both lost the answer get one new generation.
func TestManyWhoRecoverAtOnceGetOneGeneration(t *testing.T) {
	w := fixture.New(t)
	first := w.Login("alice")
	lost := w.Refresh(first.RefreshToken)
	w.Clock.Advance(time.Hour)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			r, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: first.RefreshToken})
			if err != nil {
				t.Error(err)
			} else if n := fixture.Generation(t, r.RefreshToken); n != 3 {
				t.Errorf("generation %d", n)
			}
		})
	}
	all.Wait()
	recovered := 0
	for _, kind := range w.Kinds() {
		if kind == event.RefreshRecovered {
			recovered++
		}
	}
	require.Equal(t, 1, recovered)
	w.RequireGrantRefused(lost.RefreshToken, jwtauth.ErrTokenReused)
}

func TestFourAnswersLostInARowEndNothing(t *testing.T) {
	w := fixture.New(t)
	token := w.Login("alice").RefreshToken
	for range 4 {
		w.Refresh(token) // the answer is lost
		w.Clock.Advance(time.Hour)
	}
	r := w.Refresh(token)
	w.RequireAccepted(r.AccessToken)
	w.Refresh(r.RefreshToken)
	require.NotContains(t, w.Kinds(), event.TokenReused)
}

// The store has lost the last step: the row is that of the step before.
func TestALostAnswerAndALostWriteEndNothing(t *testing.T) {
	w := fixture.New(t)
	first := w.Login("alice")
	second := w.Refresh(first.RefreshToken)
	rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	w.Clock.Advance(time.Hour)
	w.Refresh(second.RefreshToken) // the answer is lost, and so is the write
	require.NoError(t, w.Store.Delete(t.Context(), rows[0].Key))
	require.NoError(t, w.Store.Create(t.Context(), rows[0], 0))
	w.Clock.Advance(time.Hour)
	third := w.Refresh(second.RefreshToken)
	require.EqualValues(t, 3, fixture.Generation(t, third.RefreshToken))
	w.Refresh(third.RefreshToken)
}

// rising is a session store whose row has a newer epoch at each call.
type rising struct {
	jwtauth.SessionStore
	calls int64
}

func (s *rising) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (jwtauth.SessionRecord, bool, error) {
	s.calls++
	row, _, err := s.SessionStore.Advance(ctx, k, jwtauth.Rotation{Epoch: r.Epoch + 1, At: r.At})
	return row, false, err
}

func TestASessionThatAlwaysChangesIsUnavailable(t *testing.T) {
	w := fixture.New(t)
	token := w.Login("alice").RefreshToken
	store := &rising{SessionStore: w.Store}
	restless := w.Another(func(o *jwtauth.IssuerOptions) { o.Sessions = store })
	_, err := restless.Refresh(t.Context(), fixture.Redeeming(token))
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.EqualValues(t, 5, store.calls)
	w.Refresh(token)
}
