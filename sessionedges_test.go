package jwtauth_test

import (
	"context"
	"errors"
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

// endNotes notes the ends of revocations.
type endNotes struct {
	jwtauth.RevocationStore
	ends map[time.Time]bool
}

func (n endNotes) Revoke(ctx context.Context, id string, until time.Time) error {
	n.ends[until] = true
	return n.RevocationStore.Revoke(ctx, id, until)
}

func TestADeadTokenChangesTheStoreOnceAMinute(t *testing.T) {
	notes := endNotes{jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{}), make(map[time.Time]bool)}
	w := fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.Revocations = notes })
	r := w.Login("alice")
	const calls = 120
	for range calls {
		require.NoError(t, w.Issuer.Logout(t.Context(), r.RefreshToken))
		_, err := w.Issuer.Refresh(t.Context(), fixture.Redeeming(r.RefreshToken))
		require.ErrorIs(t, err, jwtauth.ErrNoSession)
		w.Clock.Advance(time.Second)
	}
	require.Len(t, notes.ends, 1+calls/60)
	for end := range notes.ends { // no token outlives its revocation
		require.False(t, end.Before(w.Clock.Now().Add(-calls*time.Second+15*time.Minute)))
	}
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
	login := w.Login("alice")
	require.NoError(t, w.Issuer.ForceRefresh(t.Context(), "alice", login.SessionID))
	parent := w.RequireAccepted(w.Refresh(login.RefreshToken).AccessToken) // of the second epoch
	parent.Subject = "admin"
	parent.SessionID = ""
	r, err := w.Issuer.Exchange(t.Context(), parent, jwtauth.ExchangeRequest{Audiences: []string{billing}, Actor: "orders"})
	require.NoError(t, err)
	got, err := service.Verify(t.Context(), r.AccessToken)
	require.NoError(t, err)
	require.Equal(t, []string{"alice", login.SessionID}, []string{got.Subject, got.SessionID})
	require.NoError(t, w.Issuer.ForceRefresh(t.Context(), "alice", login.SessionID))
	_, err = service.Verify(t.Context(), r.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenRevoked, "it has the epoch of its parent")
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
