package jwtauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
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

func TestASessionWhoseEndHasFailedIsShownToNobodyAndCanBeEndedLater(t *testing.T) {
	w, store := fixture.NewHooked(t)
	r := w.Login("alice")
	store.Before = func(_ context.Context, method string) error {
		if method == "Delete" {
			return fixture.ErrStoreDown
		}
		return nil
	}
	require.ErrorIs(t, w.Issuer.Logout(t.Context(), r.RefreshToken), jwtauth.ErrUnavailable)
	store.Before = nil
	page, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	require.Empty(t, page)
	w.Clock.Advance(14 * time.Minute) // the access token still lives
	require.NoError(t, w.Issuer.EndAllSessions(t.Context(), "alice"))
	rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 10)
	require.NoError(t, err)
	require.Empty(t, rows)
	_, err = w.Issuer.Session(t.Context(), r.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrNoSession)
}

func TestIssuerSessionRefusesASessionWhoseEndHasFailed(t *testing.T) {
	w, store := fixture.NewHooked(t)
	r := w.Login("alice")
	store.Before = func(_ context.Context, method string) error {
		if method == "Revoke" || method == "Delete" {
			return fixture.ErrStoreDown
		}
		return nil
	}
	require.ErrorIs(t, w.Issuer.Logout(t.Context(), r.RefreshToken), jwtauth.ErrUnavailable)
	_, err := w.Issuer.Session(t.Context(), r.RefreshToken) // no revocation says that it has ended
	require.ErrorIs(t, err, jwtauth.ErrNoSession)
}
