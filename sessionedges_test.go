package jwtauth_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/stretchr/testify/require"
)

// A replay that must be signed again waits if the signer is slow: its answer could arrive
// after another tab has recovered.
func TestAReplayThatIsSignedAgainLeavesWithinTheGrace(t *testing.T) {
	var w *fixture.World
	var during func()
	w = fixture.New(t, withSigner(t, func() error {
		if f := during; f != nil {
			during = nil
			f()
		}
		return nil
	}))
	g1 := w.Login("alice").RefreshToken
	w.Refresh(g1) // g2 lost
	w.Clock.Advance(25 * time.Second)
	w.Refresh(g1) // g3: recovered, lost
	w.Clock.Advance(5 * time.Second)
	// tab 2: a replay of g3 has to be signed again, and the KMS takes 20 s. Meanwhile tab 1 recovers to g4.
	calls := 0
	var g4 jwtauth.TokenResponse
	var hook func()
	hook = func() {
		calls++
		if calls == 1 { // the first signature, of g2, is before Advance
			during = hook
			return
		}
		w.Clock.Advance(20 * time.Second)
		g4 = w.Refresh(g1)
	}
	during = hook
	w.Kinds()
	_, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: g1})
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	w.Refresh(g4.RefreshToken)
}

func TestASessionCanBeEndedUntilItsLastAccessTokenIsDead(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, vo *jwtauth.VerifierOptions) {
		o.IdleTTL, o.AccessTTL = 10*time.Minute, 15*time.Minute
		vo.Leeway = 5 * time.Minute
	})
	r := w.Login("alice")
	w.Clock.Advance(11*time.Minute + time.Second)
	w.RequireAccepted(r.AccessToken)
	require.NoError(t, w.Issuer.EndAllSessions(t.Context(), "alice"))
	require.NoError(t, w.Issuer.EndSession(t.Context(), "alice", r.SessionID))
	w.RequireRefused(r.AccessToken)
}

func TestForceRefreshReachesTheAccessTokensOfASessionThatHasJustEnded(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, vo *jwtauth.VerifierOptions) {
		o.IdleTTL, o.AccessTTL = 10*time.Minute, 15*time.Minute
	})
	r := w.Login("alice")
	w.Clock.Advance(10*time.Minute + time.Second)
	w.RequireAccepted(r.AccessToken)
	require.NoError(t, w.Issuer.ForceRefresh(t.Context(), "alice", r.SessionID))
	w.RequireRefused(r.AccessToken)
}

func TestForceRefreshAllOnANodeThatIsAheadRefusesNoFreshToken(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, vo *jwtauth.VerifierOptions) { o.IdleTTL = 20 * time.Minute })
	behind := w.Another(func(o *jwtauth.IssuerOptions) {
		o.IdleTTL = 20 * time.Minute
		now := o.Now
		o.Now = func() time.Time { return now().Add(-50 * time.Second) }
	})
	r, err := behind.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	w.Clock.Advance(20*time.Minute - 20*time.Second) // ended by the clock of w, alive for 20 s by that of the other
	_, err = w.Issuer.ForceRefreshAll(t.Context(), "alice", "")
	require.NoError(t, err)
	next, err := behind.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
	require.NoError(t, err)
	_, err = w.Verifier.Verify(t.Context(), next.AccessToken)
	require.NoError(t, err, "a fresh token of a live session")
}

func TestALoginWhoseAnswerWasLostDoesNotFillTheLimit(t *testing.T) {
	w, store := fixture.NewHooked(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.SessionLimit = 1 })
	store.After = func(_ context.Context, method string) error {
		if method == "Create" {
			return errors.New("the answer was lost")
		}
		return nil
	}
	_, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	store.After = nil
	w.Clock.Advance(6 * 24 * time.Hour)
	_, err = w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err, "nobody has a token of the session that fills the limit")
}

func TestAnExchangedTokenLogsNobodyOutWhateverTheOptions(t *testing.T) {
	for name, audiences := range map[string][]string{"without": nil, "one was dropped": {"https://mail.test"}} {
		t.Run(name, func(t *testing.T) {
			w, _ := newExchange(t)
			login := w.Login("alice")
			r, err := w.Issuer.Exchange(t.Context(), w.RequireAccepted(login.AccessToken), jwtauth.ExchangeRequest{Audiences: []string{billing}, Actor: "orders"})
			require.NoError(t, err)
			w.Clock.Advance(3 * 24 * time.Hour) // also long after it has expired
			other := w.Another(func(o *jwtauth.IssuerOptions) { o.ExchangeAudiences = audiences })
			require.Error(t, other.Logout(t.Context(), r.AccessToken))
			w.Refresh(login.RefreshToken)
		})
	}
}

func TestAnAudienceThatTheIssuerNoLongerHasCannotBeAskedFor(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Audiences = []string{fixture.Audience, "https://files.test"}
	})
	r := w.Login("alice")
	now := w.Another(func(o *jwtauth.IssuerOptions) {})
	_, err := now.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken, Audiences: []string{"https://files.test"}})
	requireCode(t, err, 400, "invalid_target")
}

func TestForceRefreshRefusesTokensWithoutAnEpoch(t *testing.T) {
	w := fixture.New(t)
	r := w.Login("alice")
	old := w.Sign(w.Claims(map[string]any{"sid": r.SessionID})) // the old version writes no sid_epoch
	w.RequireAccepted(old)
	require.NoError(t, w.Issuer.ForceRefresh(t.Context(), "alice", r.SessionID))
	w.RequireRefused(r.AccessToken)
	w.RequireRefused(old)
}

func TestWhoeverCompletesAnEndSendsItsEvent(t *testing.T) {
	w, store := fixture.NewHooked(t)
	r := w.Login("alice")
	store.Before = fixture.FailingAt("Revoke")
	require.ErrorIs(t, w.Issuer.EndSession(t.Context(), "alice", r.SessionID), jwtauth.ErrUnavailable)
	store.Before = nil
	w.RequireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
	require.NoError(t, w.Issuer.EndSession(t.Context(), "alice", r.SessionID))
	require.Contains(t, w.Kinds(), event.SessionEnded)
}

func TestAHookThatPanicsAtAReuseHearsOfTheEndToo(t *testing.T) {
	var kinds []event.Kind
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.OnEvent = func(_ context.Context, e event.Event) {
			kinds = append(kinds, e.Kind)
			if e.Kind == event.TokenReused {
				panic("hook")
			}
		}
	})
	r := w.Login("alice")
	w.Refresh(w.Refresh(r.RefreshToken).RefreshToken)
	require.Panics(t, func() { _, _ = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken}) })
	require.Contains(t, kinds, event.SessionEnded)
}

func TestASessionThatIsOverByTheLoweredOptionsDoesNotFillTheLimit(t *testing.T) {
	w := fixture.New(t)
	w.Login("alice")
	limited := w.Another(func(o *jwtauth.IssuerOptions) { o.SessionLimit, o.IdleTTL = 1, time.Hour })
	w.Clock.Advance(2 * time.Hour)
	list, _, err := limited.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Empty(t, list)
	_, err = limited.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
}

func TestAStoreThatDoesNotSetAgeIsFoundOut(t *testing.T) {
	w := fixture.New(t)
	i := w.Another(func(o *jwtauth.IssuerOptions) { o.Sessions = noAge{w.Store} })
	r, err := i.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	_, err = i.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
	require.NoError(t, err)
	w.Clock.Advance(6 * 24 * time.Hour)
	_, err = i.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
}

func TestAScopeThatWasTakenAwayCannotBeAskedForAlone(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
			g.Scopes = []string{"read"}
			return nil
		}
	})
	r := w.Login("alice", "read", "write")
	_, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken, Scopes: []string{"write"}})
	requireCode(t, err, 400, "invalid_scope")
}

func TestAPageThatComesAgainIsAFaultOfTheStore(t *testing.T) {
	w := fixture.New(t)
	i := w.Another(func(o *jwtauth.IssuerOptions) { o.Sessions = stuck{w.Store} })
	for range 100 {
		w.Login("alice")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	require.ErrorContains(t, i.EndAllSessions(ctx, "alice"), "broke its contract")
	require.NoError(t, ctx.Err())
}

func TestReloadDoesNotChangeTheDetailsOfTheCaller(t *testing.T) {
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
			g.Details["seen"] = "x"
			return nil
		}
	})
	r := w.Login("alice")
	mine := map[string]string{"device": "a"}
	_, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken, Details: mine})
	require.NoError(t, err)
	require.NotContains(t, mine, "seen")
}

func TestAClientIsToldToRefreshAfterAForcedRefresh(t *testing.T) {
	w := fixture.New(t)
	r := w.Login("alice")
	require.NoError(t, w.Issuer.ForceRefresh(t.Context(), "alice", r.SessionID))
	require.Equal(t, "refresh", w.RequireRefused(r.AccessToken).Next)
}

func TestForceRefreshAllGoesOnWhereItHasStopped(t *testing.T) {
	w, store := fixture.NewHooked(t)
	var all []string
	for range 30 {
		all = append(all, w.Login("alice").AccessToken)
	}
	after := ""
	for range 2 { // attempts with time for 20 sessions each
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		store.Before = func(_ context.Context, method string) error {
			if method == "Advance" {
				if n++; n == 20 {
					cancel()
				}
			}
			return nil
		}
		next, err := w.Issuer.ForceRefreshAll(ctx, "alice", after)
		after = next
		cancel()
		if err == nil {
			break
		}
	}
	store.Before = nil
	good := 0
	for _, token := range all {
		if _, err := w.Verifier.Verify(t.Context(), token); err == nil {
			good++
		}
	}
	require.Zero(t, good)
}

func TestRowsThatFailDoNotKeepTheOthersFromEnding(t *testing.T) {
	w := fixture.New(t)
	store := &badRows{SessionStore: w.Store}
	i := w.Another(func(o *jwtauth.IssuerOptions) { o.Sessions = store })
	tokens := make(map[string]string)
	var ids []string
	for range 20 {
		r := w.Login("alice")
		tokens[r.SessionID] = r.AccessToken
		ids = append(ids, r.SessionID)
	}
	slices.Sort(ids)
	store.bad = ids[:10]
	for range 5 {
		_ = i.EndAllSessions(t.Context(), "alice")
	}
	list, _, err := i.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.LessOrEqual(t, len(list), 10, "ten good rows never end")
}

func TestEndOtherSessionsRefusesTheSessionOfSomebodyElse(t *testing.T) {
	w := fixture.New(t)
	r, bob := w.Login("alice"), w.Login("bob")
	require.ErrorIs(t, w.Issuer.EndOtherSessions(t.Context(), "alice", bob.SessionID), jwtauth.ErrNoSession)
	_, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
	require.NoError(t, err)
}

func TestExchangeTakesNothingThatTheProgramHasChanged(t *testing.T) {
	w, service := newExchange(t)
	parent := w.RequireAccepted(w.Login("alice").AccessToken)
	parent.Subject = "admin"
	parent.SessionID = ""
	r, err := w.Issuer.Exchange(t.Context(), parent, jwtauth.ExchangeRequest{Audiences: []string{billing}, Actor: "orders"})
	require.NoError(t, err)
	got, err := service.Verify(t.Context(), r.AccessToken)
	require.NoError(t, err)
	require.Equal(t, "alice", got.Subject)
}

func TestAnEngineWhoseClockWentBackIsUnavailable(t *testing.T) {
	w := fixture.New(t)
	off := time.Duration(0)
	engine := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: func() time.Time { return w.Clock.Now().Add(off) }})
	i := w.Another(func(o *jwtauth.IssuerOptions) { o.Sessions = engine; o.RecoverLost = -1 })
	r, err := i.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	_, err = i.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
	require.NoError(t, err)
	off = -time.Hour
	w.Clock.Advance(50 * time.Minute)
	_, err = i.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
}

func TestALimitThatWasLoweredLetsTheUserInSoon(t *testing.T) {
	w, store := fixture.NewHooked(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {})
	for range 3000 {
		w.Login("alice")
	}
	lists, logins := 0, 0
	store.Before = func(_ context.Context, method string) error {
		if method == "List" {
			lists++
		}
		return nil
	}
	limited := w.Another(func(o *jwtauth.IssuerOptions) {
		o.SessionLimit, o.EndOldest = 5, true
		o.Sessions, o.Revocations = store, store
	})
	for {
		logins++
		_, err := limited.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
		if err == nil {
			break
		}
	}
	require.Less(t, logins, 20)
	require.Less(t, lists, 2000)
}

// The session moves on twice while the request of a tab is under way.
func TestATabThatIsOvertakenTwiceEndsNothing(t *testing.T) {
	var w *fixture.World
	var during func()
	w = fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(context.Context, jwtauth.Session, *jwtauth.Grant) error {
			if f := during; f != nil {
				during = nil
				f()
			}
			return nil
		}
	})
	g1 := w.Login("alice").RefreshToken
	var g3 jwtauth.TokenResponse
	during = func() { // Reload of tab 1 takes 13 s, of the 30 s that it may take
		w.Clock.Advance(time.Second)
		g2 := w.Refresh(g1)               // tab 2
		w.Clock.Advance(11 * time.Second) // older than RefreshGrace, as the documentation asks for
		g3 = w.Refresh(g2.RefreshToken)
		w.Clock.Advance(time.Second)
	}
	_, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: g1})
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	w.Refresh(g3.RefreshToken)
	w.RequireGrantRefused(g1, jwtauth.ErrTokenReused) // the next attempt is a theft
}

func TestAHookThatPanicsInTheMiddleOfManyEndsStopsNoEnd(t *testing.T) {
	armed := false
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.OnEvent = func(_ context.Context, e event.Event) {
			if armed && e.Kind == event.SessionEnded {
				panic("hook")
			}
		}
	})
	now := w.Clock.Now()
	for n := range 10_500 {
		id := "s" + string(rune('a'+n%26)) + time.Duration(n).String()
		require.NoError(t, w.Store.Create(t.Context(), jwtauth.SessionRecord{
			Key: jwtauth.SessionKey{Issuer: fixture.Issuer, Subject: "alice", ID: id}, Generation: 1, RotatedAt: now, ExpiresAt: now.Add(time.Hour), Data: []byte(`{}`),
		}, 0))
	}
	armed = true
	require.Panics(t, func() { _ = w.Issuer.EndAllSessions(t.Context(), "alice") })
	rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	require.Empty(t, rows, "a hook that panics changes no outcome")
}

// noAge is a session store that does not set Age.
type noAge struct{ jwtauth.SessionStore }

func (s noAge) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (jwtauth.SessionRecord, bool, error) {
	row, ok, err := s.SessionStore.Advance(ctx, k, r)
	row.Age = 0
	return row, ok, err
}

// stuck is a session store that returns the same page again and again.
type stuck struct{ jwtauth.SessionStore }

func (s stuck) List(ctx context.Context, issuer, subject, _ string, limit int) ([]jwtauth.SessionRecord, error) {
	rows := make([]jwtauth.SessionRecord, limit)
	for i := range rows {
		rows[i].Key = jwtauth.SessionKey{Issuer: issuer, Subject: subject, ID: "x"}
	}
	return rows, nil
}

// badRows is a session store some of whose rows cannot be read.
type badRows struct {
	jwtauth.SessionStore
	bad []string
}

func (s *badRows) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (jwtauth.SessionRecord, bool, error) {
	if slices.Contains(s.bad, k.ID) {
		return jwtauth.SessionRecord{}, false, errors.New("this row cannot be read")
	}
	return s.SessionStore.Advance(ctx, k, r)
}
