package jwtauth_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestASessionWhoseRowOutlivedItsEndIsRefusedAndEndsWhole(t *testing.T) {
	w := fixture.New(t)
	tokens := w.Login("alice")
	require.NoError(t, w.Store.Revoke(t.Context(), jwtauth.SessionID(fixture.Issuer, tokens.SessionID), w.Clock.Now().Add(time.Hour)))
	_, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: tokens.RefreshToken})
	require.ErrorIs(t, err, jwtauth.ErrNoSession)
	rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Empty(t, rows)
}

func TestASessionThatHasEndedEndsOnce(t *testing.T) {
	w := fixture.New(t)
	r := w.Login("alice")
	require.NoError(t, w.Issuer.Logout(t.Context(), r.RefreshToken))
	w.Kinds()
	for range 3 {
		_, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
		require.ErrorIs(t, err, jwtauth.ErrNoSession)
	}
	require.NotContains(t, w.Kinds(), event.SessionEnded)
}

func TestEndingIsMarkThenTheClockThenRevokeThenDelete(t *testing.T) {
	for _, test := range []struct {
		name            string
		access, longest time.Duration
		want            time.Duration
	}{
		{"as a rule", 0, 0, 15 * time.Minute},
		{"another lifetime", time.Hour, 0, time.Hour},
		{"a longer one before", time.Minute, 2 * time.Hour, 2 * time.Hour},
		{"a shorter one before", time.Hour, time.Minute, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			until := make(map[string]time.Time)
			w, store := fixture.NewHooked(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
				o.AccessTTL, o.LongestAccessTTL = test.access, test.longest
				o.Revocations = revoking{o.Revocations, until}
			})
			r := w.Login("alice")
			var calls []string
			note := noted(&calls)
			store.Before = func(ctx context.Context, method string) error {
				if method == "Advance" {
					w.Clock.Advance(time.Minute)
				}
				return note(ctx, method)
			}
			require.NoError(t, w.Issuer.EndSession(t.Context(), "alice", r.SessionID))
			require.Equal(t, []string{"Advance", "Revoke", "Delete"}, calls)
			id := jwtauth.SessionID(fixture.Issuer, r.SessionID)
			require.Equal(t, map[string]time.Time{id: w.Clock.Now().Add(test.want + 6*time.Minute)}, until)
		})
	}
}

func TestARefreshThatWonAgainstTheEndGetsNothingThatLives(t *testing.T) {
	w, store := fixture.NewHooked(t)
	first := w.Login("alice")
	var racing jwtauth.TokenResponse
	store.Before = func(_ context.Context, method string) error {
		if method == "Advance" {
			store.Before = nil
			racing = w.Refresh(first.RefreshToken)
		}
		return nil
	}
	require.NoError(t, w.Issuer.EndSession(t.Context(), "alice", first.SessionID))
	for range 15 * 60 {
		_, err := w.Verifier.Verify(t.Context(), racing.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
		w.Clock.Advance(time.Second)
	}
	w.RequireGrantRefused(racing.RefreshToken, jwtauth.ErrNoSession)
}

// The row goes last: whichever step fails, before or behind its effect, calling again ends
// the session completely.
func TestAnEndThatFailedHalfWayIsMadeWhole(t *testing.T) {
	type call = func(w *fixture.World, r jwtauth.TokenResponse) error
	endings := map[string]call{
		"EndSession": func(w *fixture.World, r jwtauth.TokenResponse) error {
			return w.Issuer.EndSession(w.T.Context(), "alice", r.SessionID)
		},
		"EndAllSessions": func(w *fixture.World, _ jwtauth.TokenResponse) error {
			return w.Issuer.EndAllSessions(w.T.Context(), "alice")
		},
		"Logout": func(w *fixture.World, r jwtauth.TokenResponse) error {
			return w.Issuer.Logout(w.T.Context(), r.RefreshToken)
		},
		"Refresh": func(w *fixture.World, r jwtauth.TokenResponse) error {
			_, err := w.Issuer.Refresh(w.T.Context(), fixture.Redeeming(r.RefreshToken))
			if errors.Is(err, jwtauth.ErrNoSession) {
				return nil
			}
			return err
		},
	}
	for _, methods := range [][]string{{"Advance"}, {"Revoke"}, {"Delete"}, {"Advance", "Revoke"}} {
		for _, effect := range []bool{false, true} {
			for again, heal := range endings {
				t.Run(fmt.Sprint(methods, effect, again), func(t *testing.T) {
					var calls []string
					w, store := fixture.NewHooked(t)
					r := w.Login("alice")
					down := fixture.FailingAt(methods...)
					note := noted(&calls)
					store.Before, store.After = note, down
					if !effect {
						store.After = nil
						store.Before = func(ctx context.Context, method string) error {
							return errors.Join(note(ctx, method), down(ctx, method))
						}
					}
					w.Heard()
					err := w.Issuer.EndSession(t.Context(), "alice", r.SessionID)
					require.ErrorIs(t, err, jwtauth.ErrUnavailable)
					require.ErrorIs(t, err, fixture.ErrStoreDown)
					want := []string{"Advance", "Revoke"}
					if methods[0] == "Delete" {
						want = append(want, "Delete")
					}
					require.Equal(t, want, calls, "the row goes last, and only if the other steps went well")
					require.Len(t, w.Heard(), 1, "unavailable, and no session_ended")
					store.Before, store.After = nil, nil
					if again == "Refresh" && len(methods) == 2 && !effect {
						return // the session lives
					}
					require.NoError(t, heal(w, r))
					require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
					w.RequireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
					rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
					require.NoError(t, err)
					require.Empty(t, rows)
				})
			}
		}
	}
}

func TestAGenuineTokenHealsAnEndThatWasHalfDone(t *testing.T) {
	w, store := fixture.NewHooked(t)
	r := w.Login("alice")
	store.Before = fixture.FailingAt("Revoke")
	require.ErrorIs(t, w.Issuer.EndSession(t.Context(), "alice", r.SessionID), jwtauth.ErrUnavailable)
	w.RequireAccepted(r.AccessToken) // the half that was not done
	w.RequireRefreshUnavailable(r.RefreshToken)
	store.Before = nil
	w.RequireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
	require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
}

func TestAnEndOutlivesTheRequest(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context, w *fixture.World, first, second jwtauth.TokenResponse) error{
		"EndSession": func(ctx context.Context, w *fixture.World, first, _ jwtauth.TokenResponse) error {
			return w.Issuer.EndSession(ctx, "alice", first.SessionID)
		},
		"Logout": func(ctx context.Context, w *fixture.World, _, second jwtauth.TokenResponse) error {
			return w.Issuer.Logout(ctx, second.AccessToken)
		},
		"a reuse": func(ctx context.Context, w *fixture.World, first, _ jwtauth.TokenResponse) error {
			_, err := w.Issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: first.RefreshToken})
			if errors.Is(err, jwtauth.ErrTokenReused) {
				return nil
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, store := fixture.NewHooked(t)
			first := w.Login("alice")
			second := w.Refresh(w.Refresh(first.RefreshToken).RefreshToken)
			w.Clock.Advance(time.Minute)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			store.Before = func(ctx context.Context, method string) error {
				if method == "Revoke" {
					cancel() // the client has gone
				}
				return nil
			}
			require.NoError(t, end(ctx, w, first, second))
			require.ErrorIs(t, w.RequireRefused(second.AccessToken), jwtauth.ErrTokenRevoked)
			w.RequireGrantRefused(second.RefreshToken, jwtauth.ErrNoSession)
		})
	}
	t.Run("EndSession, from the start", func(t *testing.T) {
		w := fixture.New(t)
		r := w.Login("alice")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, w.Issuer.EndSession(ctx, "alice", r.SessionID))
		w.RequireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
	})
}

func TestEndSessionDoesNothingToTheSessionOfSomebodyElse(t *testing.T) {
	var calls []string
	w, store := fixture.NewHooked(t)
	r, alices := w.Login("bob"), w.Login("alice")
	store.Before = noted(&calls)
	w.Heard()
	for name, end := range map[string]func(subject, id string) error{
		"EndSession":   func(subject, id string) error { return w.Issuer.EndSession(t.Context(), subject, id) },
		"ForceRefresh": func(subject, id string) error { return w.Issuer.ForceRefresh(t.Context(), subject, id) },
	} {
		for _, id := range []string{r.SessionID, r.SessionID[:35] + "_", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
			require.NoError(t, end("alice", id), name)
		}
		require.NoError(t, end("", r.SessionID), name)
		require.NoError(t, end("bo", r.SessionID), name)
	}
	require.Empty(t, calls)
	require.Empty(t, w.Heard())
	w.RequireAccepted(r.AccessToken)
	w.RequireAccepted(alices.AccessToken)
	w.Refresh(r.RefreshToken)
}

// Exchanged arguments, and the empty session id of a token without a session, do not pass
// in silence.
func TestWhatHasNotTheFormOfASessionIDIsRefused(t *testing.T) {
	w, store := fixture.NewHooked(t)
	r := w.Login("alice")
	var calls []string
	store.Before = noted(&calls)
	for _, id := range []string{"", "alice", "garbage", r.SessionID + "A", r.SessionID[:35], "\x00", r.SessionID + "\n"} {
		for name, call := range map[string]func(ctx context.Context, subject, id string) error{
			"EndSession": w.Issuer.EndSession, "EndOtherSessions": w.Issuer.EndOtherSessions, "ForceRefresh": w.Issuer.ForceRefresh,
		} {
			err := call(t.Context(), r.SessionID, id)
			require.ErrorIs(t, err, jwtauth.ErrNoSession, name)
			require.ErrorIs(t, err, jwtauth.ErrRefused, name)
			require.NotErrorIs(t, err, jwtauth.ErrUnavailable, name)
		}
	}
	require.Empty(t, calls)
}

// Users can make session ids of their own subject. They must not fill a store with them.
func TestAMadeUpSessionIDCostsOneLookUpAndWritesNothing(t *testing.T) {
	w, store := fixture.NewHooked(t)
	var calls []string
	store.Before = noted(&calls)
	for n := range 10 {
		id := jwtauth.SealSessionID([]byte(fmt.Sprintf("%16d", n)), fixture.Issuer, "alice")
		require.NoError(t, w.Issuer.EndSession(t.Context(), "alice", id))
		require.NoError(t, w.Issuer.ForceRefresh(t.Context(), "alice", id))
	}
	require.Equal(t, slices.Repeat([]string{"Advance"}, 20), calls)
	require.Empty(t, w.Heard())
	require.Equal(t, "MemoryStore(0 sessions, 0 revocations)", fmt.Sprint(w.Store))
}

func TestEndAllSessionsEndsWhatWasThere(t *testing.T) {
	w, store := fixture.NewHooked(t)
	var all []jwtauth.TokenResponse
	for range 250 { // more than two pages
		all = append(all, w.Login("alice"))
	}
	bob := w.Login("bob")
	logins := 0
	store.After = func(_ context.Context, method string) error {
		if method == "Delete" { // somebody logs in for each session that ends
			store.After = nil
			_, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
			require.NoError(t, err)
			logins++
		}
		return nil
	}
	w.Heard()
	require.NoError(t, w.Issuer.EndAllSessions(t.Context(), "alice"))
	ended := map[string]int{}
	for _, e := range w.Events() {
		if e.Kind == event.SessionEnded {
			ended[e.SessionID]++
		}
	}
	for _, r := range all {
		require.Equal(t, 1, ended[r.SessionID], "each once")
		require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	}
	w.RequireGrantRefused(all[0].RefreshToken, jwtauth.ErrNoSession)
	w.RequireAccepted(bob.AccessToken)
	w.Refresh(bob.RefreshToken)
	require.NoError(t, w.Issuer.EndAllSessions(t.Context(), "nobody"))
}

// A login of a minute later is not ended, so that continuous logins do not keep
// EndAllSessions busy for ever.
func TestEndAllSessionsLeavesLaterLogins(t *testing.T) {
	w, store := fixture.NewHooked(t)
	first := w.Login("alice")
	var later jwtauth.TokenResponse
	store.Before = func(_ context.Context, method string) error {
		if method == "List" {
			store.Before = nil
			w.Clock.Advance(2 * time.Minute)
			later = w.Login("alice")
		}
		return nil
	}
	require.NoError(t, w.Issuer.EndAllSessions(t.Context(), "alice"))
	require.ErrorIs(t, w.RequireRefused(first.AccessToken), jwtauth.ErrTokenRevoked)
	w.RequireAccepted(later.AccessToken)
}

func TestEndAllSessionsReachesASessionThatIsRefreshedAtItsVeryEnd(t *testing.T) {
	w, store := fixture.NewHooked(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.IdleTTL = time.Hour })
	tokens := w.Login("alice")
	w.Clock.Advance(time.Hour - time.Second)
	store.Before = func(_ context.Context, method string) error {
		if method == "Advance" {
			store.Before = nil
			w.Clock.Advance(2 * time.Second) // the refresh has read the clock before
			require.NoError(t, w.Issuer.EndAllSessions(t.Context(), "alice"))
		}
		return nil
	}
	_, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: tokens.RefreshToken})
	require.ErrorIs(t, err, jwtauth.ErrNoSession, "a session has outlived EndAllSessions")
}

func TestEndOtherSessionsKeepsOne(t *testing.T) {
	w := fixture.New(t)
	first, kept, third := w.Login("alice"), w.Login("alice"), w.Login("alice")
	require.NoError(t, w.Issuer.EndOtherSessions(t.Context(), "alice", kept.SessionID))
	for _, r := range []jwtauth.TokenResponse{first, third} {
		w.RequireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
		require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	}
	w.RequireAccepted(kept.AccessToken)
	kept = w.Refresh(kept.RefreshToken)
	require.NoError(t, w.Issuer.EndOtherSessions(t.Context(), "alice", first.SessionID))
	w.RequireGrantRefused(kept.RefreshToken, jwtauth.ErrNoSession)
}

func TestEndAllSessionsGoesOnPastErrors(t *testing.T) {
	for _, method := range []string{"Advance", "Revoke", "Delete"} {
		w, store := fixture.NewHooked(t)
		all := []jwtauth.TokenResponse{w.Login("alice"), w.Login("alice"), w.Login("alice"), w.Login("alice")}
		failures := 2
		store.Before = func(_ context.Context, called string) error {
			if called == method && failures > 0 {
				failures--
				return fixture.ErrStoreDown
			}
			return nil
		}
		err := w.Issuer.EndAllSessions(t.Context(), "alice")
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.ErrorIs(t, err, fixture.ErrStoreDown)
		require.ErrorContains(t, err, "2 sessions are left")
		store.Before = nil
		rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
		require.NoError(t, err)
		require.Len(t, rows, 2, "the others are gone")
		require.NoError(t, w.Issuer.EndAllSessions(t.Context(), "alice"))
		for _, r := range all {
			require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
			w.RequireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
		}
	}
	w, store := fixture.NewHooked(t)
	w.Login("alice")
	store.Before = fixture.FailingAt("List")
	require.ErrorIs(t, w.Issuer.EndAllSessions(t.Context(), "alice"), jwtauth.ErrUnavailable)
}

// A store that hangs must not be waited for once for each of many sessions.
func TestEndAllSessionsGivesUpAfterTenSecondsOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, store := fixture.NewHooked(t)
		for range 50 {
			w.Login("alice")
		}
		store.Before = func(ctx context.Context, method string) error {
			if method != "Advance" {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		began := time.Now()
		require.ErrorIs(t, w.Issuer.EndAllSessions(t.Context(), "alice"), jwtauth.ErrUnavailable)
		require.Equal(t, 10*time.Second, time.Since(began))
	})
}

func TestEndAllSessionsStopsWithItsContext(t *testing.T) {
	w, store := fixture.NewHooked(t)
	for range 5 {
		w.Login("alice")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls []string
	note := noted(&calls)
	store.Before = func(ctx context.Context, method string) error {
		if method == "Revoke" {
			cancel()
		}
		return note(ctx, method)
	}
	require.ErrorIs(t, w.Issuer.EndAllSessions(ctx, "alice"), jwtauth.ErrUnavailable)
	require.Equal(t, []string{"List", "Advance", "Revoke", "Delete"}, calls, "what was begun is done")
	require.NoError(t, w.Issuer.EndAllSessions(t.Context(), "alice"))
	rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Empty(t, rows)
}

func TestLogoutTakesAnyTokenOfASession(t *testing.T) {
	for name, token := range map[string]func(w *fixture.World, r jwtauth.TokenResponse) string{
		"its access token":  func(_ *fixture.World, r jwtauth.TokenResponse) string { return r.AccessToken },
		"its refresh token": func(_ *fixture.World, r jwtauth.TokenResponse) string { return r.RefreshToken },
		"an expired access token": func(w *fixture.World, r jwtauth.TokenResponse) string {
			w.Clock.Advance(3 * 24 * time.Hour)
			return r.AccessToken
		},
		"an expired refresh token": func(w *fixture.World, r jwtauth.TokenResponse) string {
			w.Clock.Advance(9 * 24 * time.Hour)
			return r.RefreshToken
		},
		"an old refresh token": func(w *fixture.World, r jwtauth.TokenResponse) string {
			w.Clock.Advance(time.Hour)
			w.Refresh(w.Refresh(r.RefreshToken).RefreshToken)
			return r.RefreshToken
		},
		"an access token for another audience": func(w *fixture.World, r jwtauth.TokenResponse) string {
			return w.Sign(w.Claims(map[string]any{"aud": "https://other.test", "sid": r.SessionID}))
		},
		"a refresh token of a session without a row": func(w *fixture.World, r jwtauth.TokenResponse) string {
			require.NoError(w.T, w.Store.Delete(w.T.Context(), jwtauth.SessionKey{Issuer: fixture.Issuer, Subject: "alice", ID: r.SessionID}))
			return r.RefreshToken
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := fixture.New(t)
			r, other := w.Login("alice"), w.Login("alice")
			with := token(w, r)
			w.Heard()
			for range 2 {
				require.NoError(t, w.Issuer.Logout(t.Context(), with))
				require.Equal(t, []string{"session_ended logout"}, w.Heard())
			}
			_, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
			require.ErrorIs(t, err, jwtauth.ErrRefused)
			_, err = fixture.Without(w.Verifier, "exp").Verify(t.Context(), r.AccessToken)
			require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
			rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
			require.NoError(t, err)
			if w.Clock.Now().Before(other.IdleEnd) {
				require.Len(t, rows, 1)
				w.Refresh(other.RefreshToken)
			}
		})
	}
}

func TestLogoutWorksWhereTheClockIsBehind(t *testing.T) {
	for _, refresh := range []bool{false, true} {
		w := fixture.New(t)
		r := w.Login("alice")
		token := r.AccessToken
		if refresh {
			token = r.RefreshToken
		}
		node := w.Another(func(o *jwtauth.IssuerOptions) {
			o.Now = func() time.Time { return w.Clock.Now().Add(-3 * time.Minute) }
		})
		require.NoError(t, node.Logout(t.Context(), token))
		require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
		w.RequireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
	}
}

func TestLogoutRefusesWhatIsNotOurs(t *testing.T) {
	var calls []string
	w, store := fixture.NewHooked(t)
	stranger := fixture.NewWith(t, jwk.HS256)
	foreign := stranger.Login("alice")
	store.Before = noted(&calls)
	for name, token := range map[string]string{
		"empty":                      "",
		"garbage":                    "garbage",
		"a foreign access token":     foreign.AccessToken,
		"a foreign refresh token":    foreign.RefreshToken,
		"another issuer's":           w.Sign(w.Claims(map[string]any{"iss": "https://other.test", "sid": foreign.SessionID})),
		"another kind":               fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": "JWT"}), w.Claims(map[string]any{"sid": foreign.SessionID})),
		"a refresh token for an API": fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": "rt+jwt"}), w.Claims(map[string]any{"sid": foreign.SessionID})),
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, w.Issuer.Logout(t.Context(), token), jwtauth.ErrRefused)
			require.Empty(t, calls)
		})
	}
}

func TestLogoutIsUnavailableWhereAStoreFails(t *testing.T) {
	w, store := fixture.NewHooked(t)
	session := w.Login("alice")
	alone, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	store.Before = fixture.Failing
	for _, token := range []string{session.AccessToken, session.RefreshToken, alone.AccessToken} {
		w.Heard()
		require.ErrorIs(t, w.Issuer.Logout(t.Context(), token), jwtauth.ErrUnavailable)
		require.Len(t, w.Heard(), 1)
	}
	store.Before = nil
	for _, token := range []string{session.AccessToken, alone.AccessToken} {
		require.NoError(t, w.Issuer.Logout(t.Context(), token))
		require.ErrorIs(t, w.RequireRefused(token), jwtauth.ErrTokenRevoked)
	}
}

func TestRevocationIDsAreAWireFormat(t *testing.T) {
	for _, test := range []struct{ issuer, value, token, session string }{
		{"https://issuer.example", "token-1", "p4uclcAm90JUynny6nWifw", "Jpshq-2DeNIxBjpfhPOMVw"},
		{"https://issuer.example", "", "qdxb-sptFgHHXSMvW8-Y6w", "9u8ogn2V1W3KsMV_90n7aQ"},
		{"", "", "QGogK4ehtjlBfaTS5dIJCw", "nRrXlTP_R_zqmjpiUMwAdw"},
		{"a", "bc", "et9hlna-cg4N735NAfmwsQ", "42XG8U8AyYC-SKWu97vDDg"},
		{"ab", "c", "Rv0WfJ6W0dQZAZFIibVZhQ", "RO3jlR1fHmn5K9cm09bnvA"},
		{"https://auth.example.com/tenant/ü", "jti with spaces, 'quotes' and \x00", "8qqt6-9aXcE6B1ogym_dZA", "nPB5SMdbXzjyulUONEEAtQ"},
		{"https://issuer.example", strings.Repeat("x", 300), "jbnP3ezegstRcoZMTGAd3Q", "DOcbC0Bgb6QJtWGFcgcbQw"},
	} {
		require.Equal(t, test.token, jwtauth.TokenID(test.issuer, test.value))
		require.Equal(t, test.session, jwtauth.SessionID(test.issuer, test.value))
	}
}

func TestATokenAndASessionOfOneNameDoNotMeet(t *testing.T) {
	w := fixture.New(t)
	plain := w.Sign(w.Claims(map[string]any{"jti": "x"}))
	inSession := w.Sign(w.Claims(map[string]any{"jti": "y", "sid": "x"}))
	other := w.Sign(w.Claims(map[string]any{"jti": "z", "sid": "z"}))
	until := w.Clock.Now().Add(time.Hour)
	require.NoError(t, w.Store.Revoke(t.Context(), jwtauth.TokenID(fixture.Issuer, "x"), until))
	require.ErrorIs(t, w.RequireRefused(plain), jwtauth.ErrTokenRevoked)
	w.RequireAccepted(inSession)
	require.NoError(t, w.Store.Revoke(t.Context(), jwtauth.SessionID(fixture.Issuer, "x"), until))
	require.ErrorIs(t, w.RequireRefused(inSession), jwtauth.ErrTokenRevoked)
	w.RequireAccepted(other)
}

// revoking is a RevocationStore that records the end of each revocation.
type revoking struct {
	jwtauth.RevocationStore
	until map[string]time.Time
}

func (r revoking) Revoke(ctx context.Context, id string, until time.Time) error {
	r.until[id] = until
	return r.RevocationStore.Revoke(ctx, id, until)
}

func TestRevokeRefusesOneTokenEverywhere(t *testing.T) {
	until := make(map[string]time.Time)
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Revocations = revoking{o.Revocations, until}
	})
	r := w.Login("alice")
	token, second := w.RequireAccepted(r.AccessToken), w.RequireAccepted(w.Refresh(r.RefreshToken).AccessToken)
	v := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Revocations = w.Store })
	w.Heard()
	require.NoError(t, w.Verifier.Revoke(t.Context(), token))
	require.Equal(t, []string{"token_revoked"}, w.Heard())
	_, err := v.Verify(t.Context(), r.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
	require.NoError(t, w.Verifier.Recheck(t.Context(), second), "others of the session are good")
	require.Equal(t, map[string]time.Time{jwtauth.TokenID(fixture.Issuer, token.ID): token.ExpiresAt.Add(6 * time.Minute)}, until)

	// No verifier takes it for as long as any could.
	lax := w.Foreign(func(o *jwtauth.VerifierOptions) { o.Revocations, o.Leeway = w.Store, 5*time.Minute })
	for range 20 {
		_, err := lax.Verify(t.Context(), r.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
		w.Clock.Advance(time.Minute)
	}

	none := w.Foreign(func(*jwtauth.VerifierOptions) {})
	text := w.Sign(w.Claims(map[string]any{"jti": nil}))
	nameless, err := none.Verify(t.Context(), text)
	require.NoError(t, err)
	require.EqualError(t, none.Revoke(t.Context(), nameless), "jwtauth: this Verifier has no Revocations to revoke a token in")
	require.EqualError(t, w.Issuer.Logout(t.Context(), text), "jwtauth: a token without jti cannot be revoked")
}

func TestRevokeIsUnavailableWhereTheStoreFails(t *testing.T) {
	w, store := fixture.NewHooked(t)
	token := w.RequireAccepted(w.Login("alice").AccessToken)
	store.Before = fixture.Failing
	w.Heard()
	err := w.Verifier.Revoke(t.Context(), token)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Equal(t, []string{"unavailable revocation"}, w.Heard())
}

func TestAnUnknownRevocationIsNoAnswer(t *testing.T) {
	for _, insecure := range []bool{false, true} {
		w, store := fixture.NewHooked(t, withOptions(func(o *jwtauth.VerifierOptions) { o.InsecureAcceptUnknownRevocation = insecure }))
		r := w.Login("alice")
		token := w.RequireAccepted(r.AccessToken)
		require.NoError(t, w.Issuer.Logout(t.Context(), r.RefreshToken))
		store.Before = fixture.FailingAt("IsRevoked")
		w.Heard()
		_, err := w.Verifier.Verify(t.Context(), r.AccessToken)
		again := w.Verifier.Recheck(t.Context(), token)
		if insecure {
			require.NoError(t, err)
			require.NoError(t, again)
			require.Equal(t, []string{"revocation_unknown revocation", "revocation_unknown revocation"}, w.Heard(), "each time")
		} else {
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.ErrorIs(t, again, jwtauth.ErrUnavailable)
			require.Equal(t, []string{"unavailable revocation", "unavailable revocation"}, w.Heard())
		}
		// A caller who has gone is told nothing, whatever the option says.
		ctx, cancel := context.WithCancel(t.Context())
		store.Before = func(context.Context, string) error {
			cancel()
			return context.Canceled
		}
		_, err = w.Verifier.Verify(ctx, r.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		store.Before = nil
		require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	}
}

func TestLogoutRevokesATokenWithoutASessionByItsOwnID(t *testing.T) {
	until := make(map[string]time.Time)
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Revocations = revoking{o.Revocations, until}
	})
	r, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	require.Empty(t, r.SessionID+r.RefreshToken)
	other, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	token := w.RequireAccepted(r.AccessToken)
	w.Heard()
	require.NoError(t, w.Issuer.Logout(t.Context(), r.AccessToken))
	require.Equal(t, []string{"token_revoked"}, w.Heard())
	require.Len(t, until, 1)
	require.True(t, r.ExpiresAt.Add(6*time.Minute).Equal(until[jwtauth.TokenID(fixture.Issuer, token.ID)]))
	require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	w.RequireAccepted(other.AccessToken)
}

func TestAccessTokensOfBeforeAreRevokedForAsLongAsTheyLive(t *testing.T) {
	w := fixture.New(t)
	before := w.Another(func(o *jwtauth.IssuerOptions) { o.AccessTTL = 2 * time.Hour })
	r, err := before.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	now := w.Another(func(o *jwtauth.IssuerOptions) { o.AccessTTL, o.LongestAccessTTL = time.Minute, 2*time.Hour })
	require.NoError(t, now.Logout(t.Context(), r.RefreshToken))
	lax, err := now.NewVerifier(jwtauth.VerifierOptions{Leeway: 5 * time.Minute})
	require.NoError(t, err)
	for range 2*60 + 5 {
		_, err := lax.Verify(t.Context(), r.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
		w.Clock.Advance(time.Minute)
	}
	_, err = lax.Verify(t.Context(), r.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
}

func TestWithoutRevocationsALogoutEndsRefreshingAlone(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Revocations, o.InsecureAccessOutlivesSession = nil, true
	})
	r := w.Login("alice")
	require.NoError(t, w.Issuer.Logout(t.Context(), r.AccessToken))
	w.RequireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
	w.RequireAccepted(r.AccessToken)
	alone, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	require.EqualError(t, w.Issuer.Logout(t.Context(), alone.AccessToken), "jwtauth: this Issuer has no Revocations to revoke a token in")
}
