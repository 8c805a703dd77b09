package jwtauth_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestIssueOpensASessionOfOneRow(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Audiences = []string{fixture.Audience, "https://files.test"}
	})
	w.Clock.Advance(1234567 * time.Nanosecond)
	began := w.Clock.Now().Truncate(time.Microsecond)
	r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{
		Subject: "alice", Scopes: []string{"read", "write"}, Audiences: []string{"https://files.test"}, ClientID: "web",
		AuthTime: began.Add(-time.Minute), ACR: "2", AMR: []string{"pwd", "otp"}, Details: map[string]string{"device": "Firefox on Linux"}, Claims: map[string]any{"role": "admin"},
	})
	require.NoError(t, err)
	require.Equal(t, began.Add(7*24*time.Hour), r.IdleEnd)

	rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	data := string(rows[0].Data)
	rows[0].Data = nil
	require.Equal(t, jwtauth.SessionRecord{
		Key: jwtauth.SessionKey{Issuer: fixture.Issuer, Subject: "alice", ID: r.SessionID}, Generation: 1,
		RotatedAt: began, ExpiresAt: began.Add(7 * 24 * time.Hour), Details: []byte(`{"device":"Firefox on Linux"}`),
	}, rows[0])
	now := began.Unix()
	require.JSONEq(t, fmt.Sprintf(`{"client_id":"web","scopes":["read","write"],"began":%d,"auth_time":%d,"end":%d}`, now, now-60, now+30*24*3600), data)

	got := fixture.Payload[map[string]any](t, r.RefreshToken)
	require.Len(t, got["jti"], 22)
	require.Equal(t, r.SessionID, got["sid"])
	delete(got, "jti")
	delete(got, "sid")
	require.JSONEq(t, fmt.Sprintf(`{"iss":"https://issuer.test","sub":"alice","aud":"https://issuer.test#refresh","exp":%d,"iat":%d,"client_id":"web",
		"scope":"read write","auth_time":%d,"acr":"2","amr":["pwd","otp"],"gen":1,"beg":%d,"end":%d,"ath":%d,"res":["https://files.test"],
		"ext":{"role":"admin"}}`, now+7*24*3600, now, now-60, now, now+30*24*3600, began.Add(-time.Minute).UnixMicro()), fixture.Text(t, got))
}

func TestEachLoginIsASessionOfItsOwn(t *testing.T) {
	w := fixture.New(t)
	seen := make(map[string]bool)
	for range 100 {
		sid := w.Login("alice").SessionID
		require.Len(t, sid, 36)
		seen[sid] = true
	}
	require.Len(t, seen, 100)
}

func TestASessionEndsWhenItIsIdle(t *testing.T) {
	for _, test := range []struct {
		name   string
		wait   time.Duration
		reason error
	}{
		{"just before", 24*time.Hour - time.Microsecond, nil},
		{"at the moment", 24 * time.Hour, jwtauth.ErrNoSession},
		{"within the leeway", 24*time.Hour + 59*time.Second, jwtauth.ErrNoSession},
		{"after the leeway", 24*time.Hour + time.Minute, jwtauth.ErrTokenExpired},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.IdleTTL = 24 * time.Hour })
			r := w.Login("alice")
			w.Clock.Advance(20 * time.Hour)
			r = w.Refresh(r.RefreshToken)
			require.Equal(t, w.Clock.Now().Add(24*time.Hour), r.IdleEnd)
			w.Clock.Advance(test.wait)
			if test.reason != nil {
				w.RequireGrantRefused(r.RefreshToken, test.reason)
				return
			}
			w.Refresh(r.RefreshToken)
		})
	}
}

func TestTheStoreHasTheLastWordOnTheEndOfASession(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.IdleTTL = time.Hour })
	first := w.Login("alice")
	longer := w.Another(func(o *jwtauth.IssuerOptions) { o.IdleTTL = 2 * time.Hour })
	r, err := longer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: first.RefreshToken})
	require.NoError(t, err)
	_, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: first.RefreshToken}) // a replay, which changes nothing
	require.NoError(t, err)
	w.Clock.Advance(90 * time.Minute)
	_, err = longer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
	require.NoError(t, err, "the row lives for as long as it was given")
}

func TestASessionEndsInAnyCase(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.AccessTTL, o.IdleTTL, o.SessionTTL = time.Hour, 24*time.Hour, 3*24*time.Hour
	})
	end := w.Clock.Now().Add(3 * 24 * time.Hour)
	r := w.Login("alice")
	for range 71 {
		w.Clock.Advance(time.Hour)
		r = w.Refresh(r.RefreshToken)
		require.False(t, r.IdleEnd.After(end))
		require.False(t, r.ExpiresAt.After(end))
	}
	w.Clock.Advance(50 * time.Minute)
	r = w.Refresh(r.RefreshToken)
	require.Equal(t, end, r.IdleEnd)
	require.Equal(t, end, r.ExpiresAt, "no access token outlives the session")
	require.Equal(t, 600, r.ExpiresIn)
	w.Clock.Advance(10*time.Minute - time.Microsecond)
	r = w.Refresh(r.RefreshToken)
	require.Equal(t, 1, r.ExpiresIn)
	w.Clock.Advance(time.Microsecond)
	w.RequireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
}

func TestAShortenedOptionCountsAtOnce(t *testing.T) {
	for _, test := range []struct {
		name     string
		age      time.Duration // of the session
		idle     time.Duration // since its last refresh
		shortens func(o *jwtauth.IssuerOptions)
		good     bool
	}{
		{"idle, inside", 0, time.Hour - time.Second, func(o *jwtauth.IssuerOptions) { o.IdleTTL = time.Hour }, true},
		{"idle, outside", 0, time.Hour, func(o *jwtauth.IssuerOptions) { o.IdleTTL = time.Hour }, false},
		{"session, inside", 46 * time.Hour, time.Hour, func(o *jwtauth.IssuerOptions) { o.SessionTTL = 48 * time.Hour }, true},
		{"session, outside", 47 * time.Hour, time.Hour, func(o *jwtauth.IssuerOptions) { o.SessionTTL = 48 * time.Hour }, false},
		{"longer than before", 0, 6 * 24 * time.Hour, func(o *jwtauth.IssuerOptions) { o.IdleTTL = 9 * 24 * time.Hour }, true},
		{"longer, for a token of before", 0, 8 * 24 * time.Hour, func(o *jwtauth.IssuerOptions) { o.IdleTTL = 9 * 24 * time.Hour }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := fixture.New(t)
			r := w.Login("alice")
			w.Clock.Advance(test.age)
			r = w.Refresh(r.RefreshToken)
			w.Clock.Advance(test.idle)
			shortened := w.Another(test.shortens)
			next, err := shortened.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
			list, _, listErr := shortened.Sessions(t.Context(), "alice", "")
			require.NoError(t, listErr)
			if !test.good {
				require.ErrorIs(t, err, jwtauth.ErrRefused)
				require.Empty(t, list)
				return
			}
			require.NoError(t, err)
			require.Len(t, list, 1)
			require.Equal(t, next.IdleEnd, list[0].IdleEnd)
		})
	}
}

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

func TestSessionsAreListedTheLatestFirst(t *testing.T) {
	w := fixture.New(t)
	began := w.Clock.Now()
	issue := func(g jwtauth.Grant) jwtauth.TokenResponse {
		g.Subject = "alice"
		r, err := w.Issuer.Issue(t.Context(), g)
		require.NoError(t, err)
		w.Clock.Advance(time.Hour)
		return r
	}
	phone := issue(jwtauth.Grant{Details: device("phone"), ClientID: "app", Scopes: []string{"read"}, AuthTime: began.Add(-time.Minute)})
	laptop := issue(jwtauth.Grant{Details: device("laptop")})
	tablet := issue(jwtauth.Grant{Details: device("tablet")})
	w.Login("bob")
	w.Clock.Advance(time.Minute)
	refreshed := w.Clock.Now()
	w.Refresh(phone.RefreshToken)

	list, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Equal(t, jwtauth.Session{
		ID: phone.SessionID, Subject: "alice", ClientID: "app", Details: device("phone"), Scopes: []string{"read"},
		CreatedAt: began, AuthTime: began.Add(-time.Minute), RefreshedAt: refreshed, IdleEnd: refreshed.Add(7 * 24 * time.Hour), EndsAt: began.Add(30 * 24 * time.Hour),
	}, list[0])
	labels := func(list []jwtauth.Session) (labels []string) {
		for _, s := range list {
			labels = append(labels, s.Details["device"])
		}
		return labels
	}
	require.Equal(t, []string{"phone", "tablet", "laptop"}, labels(list))

	require.NoError(t, w.Issuer.EndSession(t.Context(), "alice", tablet.SessionID))
	w.Clock.Advance(laptop.IdleEnd.Sub(w.Clock.Now()))
	list, _, err = w.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Equal(t, []string{"phone"}, labels(list), "one was ended, one was idle for too long")

	list, _, err = w.Issuer.Sessions(t.Context(), "nobody", "")
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestSessionsAreUnknownWhereTheStoreFails(t *testing.T) {
	w, store := fixture.NewHooked(t)
	w.Login("alice")
	store.Before = fixture.Failing
	list, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
	require.Nil(t, list)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	store.Before = nil
}

// One row that cannot be read must not hide the others, nor keep them from being ended.
func TestASessionThatCannotBeReadIsLeftOutAndStillEnds(t *testing.T) {
	for name, row := range map[string]jwtauth.SessionRecord{
		"its data":    {Data: []byte("{")},
		"its details": {Data: []byte("{}"), Details: []byte("[")},
	} {
		w := fixture.New(t)
		good := w.Login("alice")
		row.Key = jwtauth.SessionKey{Issuer: fixture.Issuer, Subject: "alice", ID: "x"}
		row.Generation, row.ExpiresAt = 1, w.Clock.Now().Add(time.Hour)
		require.NoError(t, w.Store.Create(t.Context(), row, 0))
		w.Heard()
		list, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
		require.NoError(t, err, name)
		require.Len(t, list, 1)
		require.Equal(t, good.SessionID, list[0].ID)
		require.Equal(t, []string{"unavailable session"}, w.Heard())
		require.NoError(t, w.Issuer.EndAllSessions(t.Context(), "alice"))
		rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
		require.NoError(t, err)
		require.Empty(t, rows)
	}
}

func TestAnIssuerWithoutSessionsSaysSo(t *testing.T) {
	w := fixture.New(t)
	tokens := w.Login("alice")
	i := w.Another(func(o *jwtauth.IssuerOptions) { o.Sessions = nil })
	_, err := i.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	const why = "jwtauth: this Issuer has no sessions: set IssuerOptions.Sessions and Revocations, or use IssueAccess"
	require.EqualError(t, err, why)
	_, err = i.Refresh(t.Context(), jwtauth.RefreshRequest{Token: tokens.RefreshToken})
	require.EqualError(t, err, why)
	_, _, err = i.Sessions(t.Context(), "alice", "")
	require.EqualError(t, err, why)
	for _, err := range []error{
		i.EndSession(t.Context(), "alice", tokens.SessionID),
		i.EndAllSessions(t.Context(), "alice"),
		i.EndOtherSessions(t.Context(), "alice", tokens.SessionID),
		i.Logout(t.Context(), tokens.AccessToken),
		i.Logout(t.Context(), tokens.RefreshToken),
	} {
		require.EqualError(t, err, why)
	}
	r, err := i.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	w.RequireAccepted(r.AccessToken)
}

func TestAStoreThatHangsIsGivenUp(t *testing.T) {
	const never = time.Hour // longer than any limit: the caller's own
	for _, test := range []struct {
		name           string
		timeout, grace time.Duration
		method         string
		call           func(ctx context.Context, w *fixture.World, r jwtauth.TokenResponse) error
		want           time.Duration
	}{
		{"Create", 0, 0, "Create", issueAgain, 2 * time.Second},
		{"Create, configured", 7 * time.Second, 0, "Create", issueAgain, 7 * time.Second},
		{"Create, by the caller's context alone", -1, 0, "Create", issueAgain, never},
		{"Advance", 0, 0, "Advance", refreshIt, 2 * time.Second},
		{"Advance, configured", 7 * time.Second, 0, "Advance", refreshIt, 7 * time.Second},
		{"Advance, by the caller's context alone", -1, 0, "Advance", refreshIt, never},
		{"Delete", 0, 0, "Delete", endIt, 2 * time.Second},
		{"Revoke", 0, 0, "Revoke", endIt, 2 * time.Second},
		{"an end", 0, 0, "", endIt, 4 * time.Second},
		{"an end, configured", 7 * time.Second, 0, "", endIt, 14 * time.Second},
		{"an end, though unbounded", -1, 0, "", endIt, 8 * time.Second},
		{"List", 0, 0, "List", listThem, 2 * time.Second},
		{"IsRevoked", 0, 0, "IsRevoked", verifyIt, 2 * time.Second},
		{"IsRevoked, configured", 7 * time.Second, 0, "IsRevoked", verifyIt, 7 * time.Second},
		{"IsRevoked, by the caller's context alone", -1, 0, "IsRevoked", verifyIt, never},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, store := fixture.NewHooked(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
					o.StoreTimeout, o.RefreshGrace = test.timeout, test.grace
				})
				r := w.Login("alice")
				store.Before = func(ctx context.Context, method string) error {
					if test.method != "" && method != test.method {
						return nil
					}
					<-ctx.Done()
					return ctx.Err()
				}
				ctx, cancel := context.WithTimeout(t.Context(), never)
				defer cancel()
				began := time.Now()
				err := test.call(ctx, w, r)
				require.ErrorIs(t, err, jwtauth.ErrUnavailable)
				require.Equal(t, test.want, time.Since(began))
				store.Before = nil
				if test.method == "Advance" {
					w.Refresh(r.RefreshToken)
				}
			})
		})
	}
}

func issueAgain(ctx context.Context, w *fixture.World, _ jwtauth.TokenResponse) error {
	_, err := w.Issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
	return err
}

func refreshIt(ctx context.Context, w *fixture.World, r jwtauth.TokenResponse) error {
	_, err := w.Issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: r.RefreshToken})
	return err
}

func endIt(ctx context.Context, w *fixture.World, r jwtauth.TokenResponse) error {
	return w.Issuer.EndSession(ctx, "alice", r.SessionID)
}

func listThem(ctx context.Context, w *fixture.World, _ jwtauth.TokenResponse) error {
	_, _, err := w.Issuer.Sessions(ctx, "alice", "")
	return err
}

func verifyIt(ctx context.Context, w *fixture.World, r jwtauth.TokenResponse) error {
	_, err := w.Verifier.Verify(ctx, r.AccessToken)
	return err
}

func device(name string) map[string]string { return map[string]string{"device": name} }

func TestALoginCanHaveLifetimesOfItsOwn(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.IdleTTL, o.SessionTTL = 24*time.Hour, 7*24*time.Hour
		o.MaxIdleTTL, o.MaxSessionTTL = 30*24*time.Hour, 90*24*time.Hour
	})
	began := w.Clock.Now()
	remember, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", IdleTTL: 30 * 24 * time.Hour, SessionTTL: 90 * 24 * time.Hour})
	require.NoError(t, err)
	require.Equal(t, 30*24*3600, remember.RefreshTimeout)
	require.Equal(t, 90*24*3600, remember.SessionExpiresIn)
	require.Equal(t, began.Add(90*24*time.Hour), remember.EndsAt)
	short, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", IdleTTL: time.Minute, SessionTTL: time.Hour})
	require.NoError(t, err)
	require.Equal(t, began.Add(time.Minute), short.IdleEnd)
	require.Equal(t, 60, short.ExpiresIn, "an access token ends with its session")
	usual := w.Login("alice")

	w.Clock.Advance(time.Minute)
	w.RequireGrantRefused(short.RefreshToken, jwtauth.ErrNoSession)
	w.Clock.Advance(24 * time.Hour)
	w.RequireGrantRefused(usual.RefreshToken)
	list, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, remember.SessionID, list[0].ID)
	require.Equal(t, began.Add(30*24*time.Hour), list[0].IdleEnd)
	w.Clock.Advance(28 * 24 * time.Hour)
	remember = w.Refresh(remember.RefreshToken)
	require.Equal(t, 30*24*3600, remember.RefreshTimeout, "the lifetime lasts for the whole session")
	require.Equal(t, began.Add(90*24*time.Hour), remember.EndsAt)

	// Lowered bounds apply to sessions that are there.
	lowered := w.Another(func(o *jwtauth.IssuerOptions) {
		o.IdleTTL, o.SessionTTL = 24*time.Hour, 7*24*time.Hour
		o.MaxIdleTTL, o.MaxSessionTTL = 2*24*time.Hour, 40*24*time.Hour
	})
	next, err := lowered.Refresh(t.Context(), jwtauth.RefreshRequest{Token: remember.RefreshToken})
	require.NoError(t, err)
	require.Equal(t, 2*24*3600, next.RefreshTimeout)
	require.Equal(t, began.Add(40*24*time.Hour), next.EndsAt)
}

func TestTheBoundsOfLifetimesAreChecked(t *testing.T) {
	ring, err := jwk.NewRing(fixture.KeyFor(t, jwk.ES256))
	require.NoError(t, err)
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	for why, change := range map[string]func(o *jwtauth.IssuerOptions){
		"MaxIdleTTL is 1h0m0s, 168h0m0s (IdleTTL) to":       func(o *jwtauth.IssuerOptions) { o.MaxIdleTTL = time.Hour },
		"MaxSessionTTL is 1h0m0s, 720h0m0s (SessionTTL) to": func(o *jwtauth.IssuerOptions) { o.MaxSessionTTL = time.Hour },
		"MaxSessionTTL is 96360h0m0s":                       func(o *jwtauth.IssuerOptions) { o.MaxSessionTTL = 11 * 365 * 24 * time.Hour },
		"RecoverLost is 19s: 20s (twice RefreshGrace) to":   func(o *jwtauth.IssuerOptions) { o.RecoverLost = 19 * time.Second },
		"RecoverLost is 169h0m0s":                           func(o *jwtauth.IssuerOptions) { o.RecoverLost = 169 * time.Hour },
		"RecoverLost means nothing without RefreshGrace":    func(o *jwtauth.IssuerOptions) { o.RefreshGrace, o.RecoverLost = -1, time.Hour },
		"SessionLimit is 1001, 1 to 1000 is expected":       func(o *jwtauth.IssuerOptions) { o.SessionLimit = 1001 },
		"SessionLimit is -1":                                func(o *jwtauth.IssuerOptions) { o.SessionLimit = -1 },
		"EndOldest means nothing without SessionLimit":      func(o *jwtauth.IssuerOptions) { o.EndOldest = true },
	} {
		o := jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Sessions: store, Revocations: store}
		change(&o)
		_, err := jwtauth.NewIssuer(ring, o)
		require.ErrorContains(t, err, why)
	}
}

func TestALimitOfSessionsRefusesTheLogin(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.SessionLimit = 3 })
	all := []jwtauth.TokenResponse{w.Login("alice"), w.Login("alice"), w.Login("alice")}
	w.Heard()
	r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.Zero(t, r)
	require.ErrorIs(t, err, jwtauth.ErrSessionLimit)
	require.ErrorIs(t, err, jwtauth.ErrRefused)
	require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
	requireCode(t, err, 403, "access_denied")
	w.Login("bob")
	for n := range all {
		all[n] = w.Refresh(all[n].RefreshToken)
	}
	require.NoError(t, w.Issuer.Logout(t.Context(), all[0].AccessToken))
	w.Login("alice")
	w.Clock.Advance(7 * 24 * time.Hour) // what has expired does not count
	w.Login("alice")
}

func TestALimitOfSessionsCanEndTheOldestOne(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.SessionLimit, o.EndOldest = 3, true })
	var all []jwtauth.TokenResponse
	for range 3 {
		all = append(all, w.Login("alice"))
		w.Clock.Advance(time.Minute)
	}
	all[0] = w.Refresh(all[0].RefreshToken) // now the second one was used longest ago
	w.Clock.Advance(time.Minute)
	w.Heard()
	fourth := w.Login("alice")
	require.Equal(t, []string{"session_ended limit", "token_issued"}, w.Heard())
	w.RequireGrantRefused(all[1].RefreshToken, jwtauth.ErrNoSession)
	require.ErrorIs(t, w.RequireRefused(all[1].AccessToken), jwtauth.ErrTokenRevoked)
	for _, r := range []jwtauth.TokenResponse{all[0], all[2], fourth} {
		w.Refresh(r.RefreshToken)
	}
	// A limit that was lowered ends several sessions at one login.
	lowered := w.Another(func(o *jwtauth.IssuerOptions) { o.SessionLimit, o.EndOldest = 1, true })
	_, err := lowered.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	list, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Len(t, list, 1)
}

func TestManyLoginsAtOnceKeepTheLimit(t *testing.T) {
	for _, endOldest := range []bool{false, true} {
		w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.SessionLimit, o.EndOldest = 5, endOldest })
		var all sync.WaitGroup
		var good atomic.Int64
		for range 32 {
			all.Go(func() {
				_, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
				if err == nil {
					good.Add(1)
				} else if endOldest && !errors.Is(err, jwtauth.ErrUnavailable) || !endOldest && !errors.Is(err, jwtauth.ErrSessionLimit) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
		require.NoError(t, err)
		require.Len(t, rows, 5)
		if !endOldest {
			require.EqualValues(t, 5, good.Load())
		}
	}
}

func TestTheSessionsOfASubjectComeInPages(t *testing.T) {
	w := fixture.New(t)
	lasting := make(map[string]bool)
	for n := range 450 {
		r := w.Login("alice")
		if n%2 == 0 {
			lasting[r.SessionID] = true
		} else if n%3 == 0 {
			require.NoError(t, w.Issuer.Logout(t.Context(), r.RefreshToken))
		}
	}
	seen := make(map[string]bool)
	pages := 0
	for after := ""; ; pages++ {
		page, next, err := w.Issuer.Sessions(t.Context(), "alice", after)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page), 100)
		for _, s := range page {
			require.False(t, seen[s.ID], "a session is in two pages")
			seen[s.ID] = true
			if !lasting[s.ID] {
				require.NoError(t, w.Issuer.EndSession(t.Context(), "alice", s.ID))
			}
		}
		w.Login("alice")
		if next == "" {
			break
		}
		after = next
	}
	require.GreaterOrEqual(t, pages, 3)
	for id := range lasting {
		require.True(t, seen[id])
	}
}

func TestAPageSkipsSessionsThatHaveEnded(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.IdleTTL = time.Hour })
	for range 400 {
		w.Login("alice")
	}
	w.Clock.Advance(time.Hour)
	kept := w.Login("alice")
	var all []jwtauth.Session
	for after := ""; ; {
		page, next, err := w.Issuer.Sessions(t.Context(), "alice", after)
		require.NoError(t, err)
		all = append(all, page...)
		if next == "" {
			break
		}
		require.NotEmpty(t, page)
		after = next
	}
	require.Len(t, all, 1)
	require.Equal(t, kept.SessionID, all[0].ID)
}

func TestDetailsAreReplacedAtARefresh(t *testing.T) {
	var reload func(g *jwtauth.Grant)
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(_ context.Context, s jwtauth.Session, g *jwtauth.Grant) error {
			require.Nil(t, s.Details)
			if reload != nil {
				reload(g)
			}
			return nil
		}
	})
	details := func() map[string]string {
		list, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
		require.NoError(t, err)
		require.Len(t, list, 1)
		return list[0].Details
	}
	r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Details: map[string]string{"device": "phone", "address": "192.0.2.1"}})
	require.NoError(t, err)
	require.NotContains(t, string(fixture.DecodedPart(t, r.AccessToken, 1)), "phone")
	require.NotContains(t, string(fixture.DecodedPart(t, r.RefreshToken, 1)), "phone")
	r = w.Refresh(r.RefreshToken)
	require.Equal(t, map[string]string{"device": "phone", "address": "192.0.2.1"}, details(), "nil leaves them")
	r, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken, Details: map[string]string{"device": "tablet"}})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"device": "tablet"}, details())
	reload = func(g *jwtauth.Grant) {
		require.Equal(t, map[string]string{"device": "tv"}, g.Details)
		g.Details = map[string]string{"device": "television"}
	}
	r, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken, Details: map[string]string{"device": "tv"}})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"device": "television"}, details())
	reload = nil
	r, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken, Details: map[string]string{}})
	require.NoError(t, err)
	require.Empty(t, details())

	// What is too long is refused before anything changes.
	long := map[string]string{"device": strings.Repeat("x", 1024)}
	_, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken, Details: long})
	require.EqualError(t, err, "jwtauth: Details take 1037 bytes as JSON, at most 1024 are expected")
	reload = func(g *jwtauth.Grant) { g.Details = long }
	_, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
	require.ErrorIs(t, err, jwtauth.ErrUnavailable, "a mistake of Reload")
	reload = nil
	w.Refresh(r.RefreshToken)
}

func TestSessionLooksAndRedeemsNothing(t *testing.T) {
	w := fixture.New(t)
	began := w.Clock.Now()
	r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", ClientID: "web", Scopes: []string{"read"}, Details: device("phone")})
	require.NoError(t, err)
	w.Clock.Advance(time.Hour)
	for range 3 {
		s, err := w.Issuer.Session(t.Context(), r.RefreshToken)
		require.NoError(t, err)
		require.Equal(t, jwtauth.Session{
			ID: r.SessionID, Subject: "alice", ClientID: "web", Scopes: []string{"read"}, Details: device("phone"),
			CreatedAt: began, AuthTime: began, RefreshedAt: began, IdleEnd: began.Add(7 * 24 * time.Hour), EndsAt: began.Add(30 * 24 * time.Hour),
		}, s)
	}
	second := w.Refresh(r.RefreshToken)
	require.EqualValues(t, 2, fixture.Generation(t, second.RefreshToken))
	_, err = w.Issuer.Session(t.Context(), r.RefreshToken)
	require.NoError(t, err, "its answer may have been lost")
	third := w.Refresh(second.RefreshToken)
	_, err = w.Issuer.Session(t.Context(), r.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenReused)
	_, err = w.Issuer.Session(t.Context(), third.RefreshToken)
	require.NoError(t, err, "no session ends by a look")
	_, err = w.Issuer.Session(t.Context(), third.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenType)
	require.NoError(t, w.Issuer.Logout(t.Context(), third.RefreshToken))
	_, err = w.Issuer.Session(t.Context(), third.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrNoSession)
}

func TestForceRefreshEndsAccessTokensAndKeepsTheSession(t *testing.T) {
	role := "admin"
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
			g.Claims = map[string]any{"role": role}
			return nil
		}
	})
	roleOf := func(text string) string {
		claims, err := jwtauth.ClaimsAs[struct{ Role string }](w.RequireAccepted(text))
		require.NoError(t, err)
		return claims.Role
	}
	login, other := w.Login("alice"), w.Login("alice")
	admin := w.Refresh(login.RefreshToken)
	require.Equal(t, "admin", roleOf(admin.AccessToken))
	role = "user"
	w.Heard()
	require.NoError(t, w.Issuer.ForceRefresh(t.Context(), "alice", admin.SessionID))
	require.Equal(t, []string{"refresh_forced"}, w.Heard())
	for _, r := range []jwtauth.TokenResponse{login, admin} {
		require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	}
	w.RequireAccepted(other.AccessToken)
	replayed := w.Refresh(login.RefreshToken) // within the grace: of the same generation, and of the new epoch
	require.Equal(t, "user", roleOf(replayed.AccessToken))
	user := w.Refresh(admin.RefreshToken)
	require.Equal(t, "user", roleOf(user.AccessToken))
	require.EqualValues(t, 3, fixture.Generation(t, user.RefreshToken))
	user = w.Refresh(user.RefreshToken)
	require.Equal(t, "user", roleOf(user.AccessToken))

	next, err := w.Issuer.ForceRefreshAll(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Empty(t, next)
	for _, r := range []jwtauth.TokenResponse{user, other} {
		require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
		w.RequireAccepted(w.Refresh(r.RefreshToken).AccessToken)
	}
	w.RequireAccepted(w.Login("alice").AccessToken)
}

// The order is: revoke the epoch, then raise it. If the second step fails, access tokens are
// refused, and calling again does the rest.
func TestForceRefreshThatFailsHalfWayIsMadeWhole(t *testing.T) {
	for _, method := range []string{"Revoke", "Advance"} {
		w, store := fixture.NewHooked(t)
		r := w.Login("alice")
		calls := 0
		store.Before = func(_ context.Context, called string) error {
			if called == "Advance" {
				calls++
			}
			if called == method && (method == "Revoke" || calls == 2) { // the first Advance looks
				return fixture.ErrStoreDown
			}
			return nil
		}
		w.Heard()
		require.ErrorIs(t, w.Issuer.ForceRefresh(t.Context(), "alice", r.SessionID), jwtauth.ErrUnavailable)
		require.Len(t, w.Heard(), 1)
		store.Before = nil
		require.NoError(t, w.Issuer.ForceRefresh(t.Context(), "alice", r.SessionID))
		require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
		w.RequireAccepted(w.Refresh(r.RefreshToken).AccessToken)
	}
	w := fixture.New(t)
	i := w.Another(func(o *jwtauth.IssuerOptions) { o.Revocations, o.InsecureAccessOutlivesSession = nil, true })
	r := w.Login("alice")
	require.EqualError(t, i.ForceRefresh(t.Context(), "alice", r.SessionID), "jwtauth: this Issuer has no Revocations to revoke a token in")
	_, err := i.ForceRefreshAll(t.Context(), "alice", "")
	require.EqualError(t, err, "jwtauth: this Issuer has no Revocations to revoke a token in")
}

// A refresh that had asked Reload before the epoch was raised asks it again.
func TestARefreshThatMeetsANewEpochAsksReloadAgain(t *testing.T) {
	var w *fixture.World
	var asked int
	role := "admin"
	w, store := fixture.NewHooked(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
			asked++
			g.Claims = map[string]any{"role": role}
			return nil
		}
	})
	r := w.Login("alice")
	store.Before = func(_ context.Context, method string) error {
		if method == "Advance" { // of the refresh, which has asked Reload
			store.Before = nil
			role = "user"
			require.NoError(t, w.Issuer.ForceRefresh(t.Context(), "alice", r.SessionID))
		}
		return nil
	}
	r = w.Refresh(r.RefreshToken)
	require.Equal(t, 2, asked)
	claims, err := jwtauth.ClaimsAs[struct{ Role string }](w.RequireAccepted(r.AccessToken))
	require.NoError(t, err)
	require.Equal(t, "user", claims.Role)
	require.EqualValues(t, 2, fixture.Generation(t, r.RefreshToken))
}

func TestReadyAsksTheKeysAndBothStores(t *testing.T) {
	w, store := fixture.NewHooked(t)
	require.NoError(t, w.Issuer.Ready(t.Context()))
	require.NoError(t, w.Verifier.Ready(t.Context()))
	for method, verifierToo := range map[string]bool{"List": false, "IsRevoked": true} {
		store.Before = fixture.FailingAt(method)
		require.ErrorIs(t, w.Issuer.Ready(t.Context()), jwtauth.ErrUnavailable)
		if err := w.Verifier.Ready(t.Context()); verifierToo {
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		} else {
			require.NoError(t, err)
		}
	}
}

func TestRevokeIDRevokesATokenThatIsNotAtHand(t *testing.T) {
	w := fixture.New(t)
	r, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "robot"})
	require.NoError(t, err)
	token := w.RequireAccepted(r.AccessToken)
	w.Heard()
	require.NoError(t, w.Issuer.RevokeID(t.Context(), token.ID))
	require.Equal(t, []string{"token_revoked"}, w.Heard())
	require.ErrorIs(t, w.RequireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	require.Error(t, w.Issuer.RevokeID(t.Context(), ""))
}

// requireCode fails the test unless an error has this status and code for the client.
func requireCode(t *testing.T, err error, status int, code string) {
	t.Helper()
	e, ok := errors.AsType[*jwtauth.Error](err)
	require.True(t, ok)
	require.Equal(t, fmt.Sprint(status, " ", code), fmt.Sprint(e.Status, " ", e.Code))
}

func TestALoginEndsALimitedNumberOfSessions(t *testing.T) {
	w := fixture.New(t)
	for range 250 {
		w.Login("alice")
		w.Clock.Advance(time.Second)
	}
	limited := w.Another(func(o *jwtauth.IssuerOptions) { o.SessionLimit, o.EndOldest = 2, true })
	_, err := limited.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Len(t, rows, 250-3*64)
	_, err = limited.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err, "the next login does the rest")
}
