package jwtauth_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// heard are the events so far, each as its kind and its reason; they are
// forgotten.
func (w *world) heard() (events []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		event := string(e.Kind)
		if e.Reason != "" {
			event += " " + e.Reason
		}
		events = append(events, event)
	}
	w.events = nil
	return events
}

// another is a second issuer over the keys and stores of a world: another node,
// or the same one with other options.
func (w *world) another(change func(*jwtauth.IssuerOptions)) *jwtauth.Issuer {
	w.t.Helper()
	o := jwtauth.IssuerOptions{
		Issuer: testIssuer, Audiences: []string{testAudience},
		Sessions: w.store, Revocations: w.store, Now: w.clock.Now, OnEvent: w.record,
	}
	change(&o)
	i, err := jwtauth.NewIssuer(w.keys, o)
	require.NoError(w.t, err)
	return i
}

// requireGrantRefused refreshes with a token that is not to be accepted, as
// 400 invalid_grant and for these reasons.
func (w *world) requireGrantRefused(token string, reasons ...error) {
	w.t.Helper()
	tokens, err := w.issuer.Refresh(w.t.Context(), token)
	require.Zero(w.t, tokens)
	require.NotErrorIs(w.t, err, jwtauth.ErrUnavailable)
	for _, reason := range append(reasons, jwtauth.ErrRefused) {
		require.ErrorIs(w.t, err, reason)
	}
	e, ok := errors.AsType[*jwtauth.Error](err)
	require.True(w.t, ok)
	require.Equal(w.t, "400 invalid_grant", fmt.Sprint(e.Status, " ", e.Code))
}

// noted makes a hook that notes the methods that are called.
func noted(methods *[]string) func(context.Context, string) error {
	return func(_ context.Context, method string) error {
		*methods = append(*methods, method)
		return nil
	}
}

// hookedSigner asks a function before it signs.
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

// withSigner makes the keys of an issuer sign as slowly or badly as before says.
func withSigner(t *testing.T, before func() error) func(*jwtauth.IssuerOptions, *jwtauth.VerifierOptions) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	key, err := jwtauth.NewSigningKey(jwtauth.EdDSA, &hookedSigner{private, before})
	require.NoError(t, err)
	keys, err := jwtauth.NewKeyRing(key)
	require.NoError(t, err)
	return func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.RefreshKeys = keys }
}

// tokenHeader is what stands in the header of a token.
type tokenHeader struct{ Alg, Typ, Kid string }

func headerOf(t testing.TB, token string) (h tokenHeader) {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &h))
	return h
}

func TestIssueOpensASessionOfOneRow(t *testing.T) {
	w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Audiences = []string{testAudience, "https://files.test"}
	})
	w.clock.Advance(1234567 * time.Nanosecond)
	began := w.clock.Now().Truncate(time.Microsecond)
	r, err := w.issuer.Issue(t.Context(), jwtauth.Grant{
		Subject: "alice", Scopes: []string{"read", "write"}, Audiences: []string{"https://files.test"}, ClientID: "web",
		AuthTime: began.Add(-time.Minute), ACR: "2", AMR: []string{"pwd", "otp"}, Label: "Firefox on Linux", Claims: map[string]any{"role": "admin"},
	})
	require.NoError(t, err)
	require.Equal(t, began.Add(7*24*time.Hour), r.RefreshExpiresAt)

	rows, err := w.store.List(t.Context(), testIssuer, "alice")
	require.NoError(t, err)
	require.Len(t, rows, 1)
	data := string(rows[0].Data)
	rows[0].Data = nil
	require.Equal(t, jwtauth.SessionRecord{
		Key: jwtauth.SessionKey{Issuer: testIssuer, Subject: "alice", ID: r.SessionID}, Generation: 1,
		RotatedAt: began, ExpiresAt: began.Add(7 * 24 * time.Hour),
	}, rows[0])
	now := began.Unix()
	require.JSONEq(t, fmt.Sprintf(`{"client_id":"web","label":"Firefox on Linux","scopes":["read","write"],"began":%d,"auth_time":%d,"end":%d}`, now, now-60, now+30*24*3600), data)

	got := payload[map[string]any](t, r.RefreshToken)
	require.Len(t, got["jti"], 22)
	require.Equal(t, r.SessionID, got["sid"])
	delete(got, "jti")
	delete(got, "sid")
	require.JSONEq(t, fmt.Sprintf(`{"iss":"https://issuer.test","sub":"alice","aud":"https://issuer.test#refresh","exp":%d,"iat":%d,"client_id":"web",
		"scope":"read write","auth_time":%d,"acr":"2","amr":["pwd","otp"],"gen":1,"beg":%d,"end":%d,"ath":%d,"res":["https://files.test"],"lbl":"Firefox on Linux",
		"ext":{"role":"admin"}}`, now+7*24*3600, now, now-60, now, now+30*24*3600, began.Add(-time.Minute).UnixMicro()), text(t, got))
}

func TestEachLoginIsASessionOfItsOwn(t *testing.T) {
	w := newWorld(t)
	seen := make(map[string]bool)
	for range 100 {
		sid := w.login("alice").SessionID
		require.Len(t, sid, 36)
		seen[sid] = true
	}
	require.Len(t, seen, 100)
}

func TestRefreshHandsOnWhatWasGranted(t *testing.T) {
	w := newWorld(t)
	type claims struct {
		Largest  int64   `json:"largest"`
		Smallest int64   `json:"smallest"`
		Unsigned uint64  `json:"unsigned"`
		Text     string  `json:"text"`
		Half     float64 `json:"half"`
	}
	granted := claims{math.MaxInt64, math.MinInt64, math.MaxUint64, "<&>\u2028\U0001F511", 0.5}
	login := w.clock.Now().Add(-time.Minute)
	r, err := w.issuer.Issue(t.Context(), jwtauth.Grant{
		Subject: "alice", Scopes: []string{"read", "write"}, ClientID: "web", AuthTime: login, ACR: "2", AMR: []string{"pwd", "otp"}, Claims: granted,
	})
	require.NoError(t, err)
	for n := range 5 {
		got := w.requireAccepted(r.AccessToken)
		require.Equal(t, "alice web 2", got.Subject+" "+got.ClientID+" "+got.ACR)
		require.Equal(t, []string{"read", "write"}, got.Scopes())
		require.Equal(t, []string{"pwd", "otp"}, got.AMR())
		require.Equal(t, []string{testAudience}, got.Audiences())
		require.Equal(t, r.SessionID, got.SessionID)
		require.True(t, login.Equal(got.AuthTime), "refreshing does not make a login younger")
		require.True(t, w.clock.Now().Equal(got.IssuedAt))
		custom, err := jwtauth.ClaimsAs[claims](got)
		require.NoError(t, err)
		require.Equal(t, granted, custom)
		require.EqualValues(t, n+1, generation(t, r.RefreshToken))
		w.clock.Advance(24 * time.Hour)
		r = w.refresh(r.RefreshToken)
	}
	require.Equal(t, "read write", r.Scope)
	require.Equal(t, 900, r.ExpiresIn)
}

func TestWhatIsNoRefreshTokenReachesNothing(t *testing.T) {
	var calls []string
	w, store := newHookedWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(context.Context, jwtauth.Session, *jwtauth.Grant) error {
			calls = append(calls, "Reload")
			return nil
		}
	})
	r := w.login("alice")
	good := payload[map[string]any](t, r.RefreshToken)
	change := func(name string, value any) string {
		claims := payload[map[string]any](t, r.RefreshToken)
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
		return signWith(t, w.key, header(w.key, map[string]any{"typ": "rt+jwt"}), claims)
	}
	store.before = noted(&calls)
	for name, token := range map[string]string{
		"empty":                   "",
		"garbage":                 "garbage",
		"an access token":         r.AccessToken,
		"a broken signature":      r.RefreshToken[:len(r.RefreshToken)-8] + "AAAAAAAA",
		"no generation":           change("gen", nil),
		"generation 0":            change("gen", 0),
		"a generation of text":    change("gen", "1"),
		"no session":              change("sid", nil),
		"resources of text":       change("res", "https://api.test"),
		"another audience":        change("aud", testAudience),
		"another issuer":          change("iss", "https://other.test"),
		"no subject":              change("sub", ""),
		"expired":                 change("exp", w.clock.Now().Unix()-31),
		"bound to a sender":       change("cnf", map[string]any{"jkt": "x"}),
		"signed by somebody":      signWith(t, newKey(t, jwtauth.ES256, false), header(w.key, map[string]any{"typ": "rt+jwt"}), good),
		"of the typ of an access": signWith(t, w.key, header(w.key, nil), good),
	} {
		t.Run(name, func(t *testing.T) {
			w.requireGrantRefused(token)
			require.Empty(t, calls)
		})
	}
	w.refresh(change("unknown", "claims are fine"))
	require.Equal(t, []string{"Reload", "Advance"}, calls)
}

func TestASignerThatFailsLeavesEverythingAsItWas(t *testing.T) {
	var calls []string
	failure := errors.New("the KMS is away")
	var signing error
	w, store := newHookedWorld(t, withSigner(t, func() error {
		calls = append(calls, "Sign")
		return signing
	}))
	token := w.login("alice").RefreshToken
	store.before = noted(&calls)

	signing, calls = failure, nil
	tokens, err := w.issuer.Refresh(t.Context(), token)
	require.Zero(t, tokens)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.ErrorIs(t, err, failure)
	tokens, err = w.issuer.Issue(t.Context(), jwtauth.Grant{Subject: "bob"})
	require.Zero(t, tokens)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Equal(t, []string{"Sign", "Sign"}, calls, "no store was asked")

	signing, calls = nil, nil
	w.clock.Advance(time.Hour)
	w.refresh(token)
	require.Equal(t, []string{"Sign", "Advance"}, calls, "Advance comes last")
}

func TestASlowSignerDoesNotUseUpTheGrace(t *testing.T) {
	var w *world
	var signing time.Duration
	signer := withSigner(t, func() error {
		w.clock.Advance(signing)
		return nil
	})
	for _, test := range []struct {
		grace, signing time.Duration
		good           bool
	}{
		{0, 4 * time.Second, true},
		{0, 5 * time.Second, false},
		{time.Minute, 29 * time.Second, true},
		{time.Minute, 30 * time.Second, false},
		{-1, time.Hour, true}, // there is none
	} {
		var calls []string
		var store *hookedStore
		signing = 0
		w, store = newHookedWorld(t, signer, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.RefreshGrace = test.grace })
		token := w.login("alice").RefreshToken
		store.before = noted(&calls)
		signing = test.signing
		_, err := w.issuer.Refresh(t.Context(), token)
		if test.good {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.Empty(t, calls)
		signing = 0
		w.refresh(token)
	}
}

func TestSigningAndAdvanceShareHalfOfTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, store := newHookedWorld(t, withSigner(t, func() error {
			time.Sleep(4 * time.Second)
			return nil
		}), func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.Now = time.Now })
		token := w.login("alice").RefreshToken
		store.after = func(ctx context.Context, method string) error { // the effect is there, the answer is not
			<-ctx.Done()
			return ctx.Err()
		}
		began := time.Now()
		_, err := w.issuer.Refresh(t.Context(), token)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.Equal(t, 5*time.Second, time.Since(began))
		store.after = nil
		time.Sleep(5 * time.Second)
		w.refresh(token) // the other half is for trying again
	})
}

func TestReloadSeesTheGrantAndTheSession(t *testing.T) {
	var seen jwtauth.Grant
	var session jwtauth.Session
	w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(_ context.Context, s jwtauth.Session, g *jwtauth.Grant) error {
			seen, session = *g, s
			return nil
		}
	})
	began := w.clock.Now()
	granted := jwtauth.Grant{
		Subject: "alice", Scopes: []string{"read", "write"}, Audiences: []string{testAudience}, ClientID: "web",
		AuthTime: began.Add(-time.Minute), ACR: "2", AMR: []string{"pwd", "otp"}, Label: "phone", Claims: map[string]any{"n": uint64(math.MaxUint64)},
	}
	r, err := w.issuer.Issue(t.Context(), granted)
	require.NoError(t, err)
	w.clock.Advance(time.Hour)
	r = w.refresh(r.RefreshToken)
	w.clock.Advance(time.Hour)
	w.refresh(r.RefreshToken)

	require.Equal(t, json.RawMessage(`{"n":18446744073709551615}`), seen.Claims)
	granted.Claims = seen.Claims
	require.Equal(t, granted, seen)
	require.Equal(t, jwtauth.Session{
		ID: r.SessionID, Subject: "alice", ClientID: "web", Label: "phone", Scopes: []string{"read", "write"},
		CreatedAt: began, AuthTime: began.Add(-time.Minute), RefreshedAt: began.Add(time.Hour),
		IdleEnd: began.Add(time.Hour + 7*24*time.Hour), EndsAt: began.Add(30 * 24 * time.Hour),
	}, session)
}

func TestReloadDecidesForOneAccessTokenAlone(t *testing.T) {
	var reload func(g *jwtauth.Grant)
	w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
			reload(g)
			return nil
		}
	})
	r, err := w.issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Scopes: []string{"read", "write", "delete"}, Claims: map[string]any{"role": "user"}})
	require.NoError(t, err)
	for _, test := range []struct {
		name   string
		reload func(g *jwtauth.Grant)
		scope  string
		claims string
	}{
		{"nothing", func(*jwtauth.Grant) {}, "read write delete", `{"role":"user"}`},
		{"fewer scopes", func(g *jwtauth.Grant) { g.Scopes = []string{"write"} }, "write", `{"role":"user"}`},
		{"in another order", func(g *jwtauth.Grant) { slices.Reverse(g.Scopes) }, "delete write read", `{"role":"user"}`},
		{"no scopes", func(g *jwtauth.Grant) { g.Scopes = nil }, "", `{"role":"user"}`},
		{"other claims", func(g *jwtauth.Grant) { g.Claims = map[string]any{"team": 7} }, "read write delete", `{"team":7}`},
		{"no claims", func(g *jwtauth.Grant) { g.Claims = nil }, "read write delete", `{}`},
		{"more than a session takes", func(g *jwtauth.Grant) { g.Claims = map[string]any{"long": string(make([]byte, 600))} }, "read write delete", ""},
		{"nothing again", func(*jwtauth.Grant) {}, "read write delete", `{"role":"user"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			reload = test.reload
			w.clock.Advance(time.Minute)
			r = w.refresh(r.RefreshToken)
			require.Equal(t, test.scope, r.Scope)
			w.requireAccepted(r.AccessToken)
			claims := payload[map[string]any](t, r.AccessToken)
			for name := range claims {
				if slices.Contains([]string{"iss", "sub", "aud", "exp", "iat", "jti", "sid", "auth_time", "scope"}, name) {
					delete(claims, name)
				}
			}
			if test.claims != "" {
				require.JSONEq(t, test.claims, text(t, claims))
			}
			require.Equal(t, "read write delete", payload[struct{ Scope string }](t, r.RefreshToken).Scope, "the session keeps what was granted")
			require.JSONEq(t, `{"role":"user"}`, string(payload[struct{ Ext json.RawMessage }](t, r.RefreshToken).Ext))
		})
	}
}

func TestReloadCannotWidenOrChangeAGrant(t *testing.T) {
	var reload func(g *jwtauth.Grant)
	var calls []string
	w, store := newHookedWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Audiences = []string{testAudience, "https://files.test"}
		o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
			reload(g)
			return nil
		}
	})
	r, err := w.issuer.Issue(t.Context(), jwtauth.Grant{
		Subject: "alice", Scopes: []string{"read"}, Audiences: []string{testAudience}, ClientID: "web", ACR: "1", AMR: []string{"pwd"}, Label: "phone",
	})
	require.NoError(t, err)
	store.before = noted(&calls)
	for _, test := range []struct {
		name   string
		reload func(g *jwtauth.Grant)
		why    string
	}{
		{"a scope more", func(g *jwtauth.Grant) { g.Scopes = append(g.Scopes, "admin") }, "the Reload hook changed Scopes, adding one"},
		{"another scope, in place", func(g *jwtauth.Grant) { g.Scopes[0] = "admin" }, "the Reload hook changed Scopes, adding one"},
		{"a scope that holds two", func(g *jwtauth.Grant) { g.Scopes[0] = "read admin" }, "the Reload hook changed Scopes, adding one"},
		{"an empty scope", func(g *jwtauth.Grant) { g.Scopes = []string{""} }, "the Reload hook changed Scopes, adding one"},
		{"the subject", func(g *jwtauth.Grant) { g.Subject = "bob" }, "the Reload hook changed Subject"},
		{"the client", func(g *jwtauth.Grant) { g.ClientID = "" }, "the Reload hook changed ClientID"},
		{"an audience more", func(g *jwtauth.Grant) { g.Audiences = append(g.Audiences, "https://files.test") }, "the Reload hook changed Audiences"},
		{"another audience, in place", func(g *jwtauth.Grant) { g.Audiences[0] = "https://files.test" }, "the Reload hook changed Audiences"},
		{"no audiences, which would be all", func(g *jwtauth.Grant) { g.Audiences = nil }, "the Reload hook changed Audiences"},
		{"the login", func(g *jwtauth.Grant) { g.AuthTime = g.AuthTime.Add(time.Second) }, "the Reload hook changed AuthTime"},
		{"no login, which would be now", func(g *jwtauth.Grant) { g.AuthTime = time.Time{} }, "the Reload hook changed AuthTime"},
		{"acr", func(g *jwtauth.Grant) { g.ACR = "2" }, "the Reload hook changed ACR"},
		{"amr", func(g *jwtauth.Grant) { g.AMR = append(g.AMR, "otp") }, "the Reload hook changed AMR"},
		{"amr, in place", func(g *jwtauth.Grant) { g.AMR[0] = "otp" }, "the Reload hook changed AMR"},
		{"the label", func(g *jwtauth.Grant) { g.Label = "fridge" }, "the Reload hook changed Label"},
		{"a reserved claim", func(g *jwtauth.Grant) { g.Claims = map[string]any{"Sub": "bob"} }, "is a name that the issuer itself sets"},
		{"claims that are none", func(g *jwtauth.Grant) { g.Claims = 7 }, "not a JSON object"},
	} {
		t.Run(test.name, func(t *testing.T) {
			reload, calls = test.reload, nil
			w.heard()
			tokens, err := w.issuer.Refresh(t.Context(), r.RefreshToken)
			require.Zero(t, tokens)
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.ErrorContains(t, err, test.why)
			require.Empty(t, calls)
			require.Equal(t, []string{"unavailable reload"}, w.heard())
		})
	}
	reload = func(g *jwtauth.Grant) {}
	got := w.requireAccepted(w.refresh(r.RefreshToken).AccessToken)
	require.Equal(t, []string{"read"}, got.Scopes())
	require.Equal(t, []string{testAudience}, got.Audiences())
	require.Equal(t, []string{"pwd"}, got.AMR())
}

func TestAnAudienceThatTheIssuerHasNoMoreIsDropped(t *testing.T) {
	w := newWorld(t)
	before := w.another(func(o *jwtauth.IssuerOptions) { o.Audiences = []string{"https://old.test", testAudience} })
	both, err := before.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	old, err := before.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Audiences: []string{"https://old.test"}})
	require.NoError(t, err)
	require.Equal(t, []string{testAudience}, w.requireAccepted(w.refresh(both.RefreshToken).AccessToken).Audiences())
	w.requireGrantRefused(old.RefreshToken, jwtauth.ErrTokenAudience)
}

func TestErrGrantRefusedEndsTheSession(t *testing.T) {
	for name, refusal := range map[string]error{"plain": jwtauth.ErrGrantRefused, "wrapped": fmt.Errorf("disabled: %w", jwtauth.ErrGrantRefused)} {
		t.Run(name, func(t *testing.T) {
			answer := refusal
			w, store := newHookedWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
				o.Reload = func(context.Context, jwtauth.Session, *jwtauth.Grant) error { return answer }
			})
			r := w.login("alice")
			for _, method := range []string{"Delete", "Revoke"} {
				store.before = failingAt(method)
				w.requireRefreshUnavailable(r.RefreshToken)
			}
			store.before = nil
			w.heard()
			tokens, err := w.issuer.Refresh(t.Context(), r.RefreshToken)
			require.Zero(t, tokens)
			require.ErrorIs(t, err, jwtauth.ErrRefused)
			require.ErrorIs(t, err, jwtauth.ErrGrantRefused)
			require.ErrorIs(t, err, refusal, "the log may know the reason")
			require.Equal(t, []string{"session_ended grant_refused", "refresh_refused reload"}, w.heard())
			require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
			answer = nil
			w.requireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
		})
	}
}

func TestAnyOtherErrorOfReloadLeavesTheTokenGood(t *testing.T) {
	for _, failure := range []error{errors.New("no rows"), jwtauth.ErrUnavailable, jwtauth.ErrRefused, jwtauth.ErrNoSession, context.Canceled} {
		t.Run(failure.Error(), func(t *testing.T) {
			answer := failure
			var calls []string
			w, store := newHookedWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
				o.Reload = func(context.Context, jwtauth.Session, *jwtauth.Grant) error { return answer }
			})
			r := w.login("alice")
			store.before = noted(&calls)
			tokens, err := w.issuer.Refresh(t.Context(), r.RefreshToken)
			require.Zero(t, tokens)
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.NotErrorIs(t, err, jwtauth.ErrRefused)
			e, ok := errors.AsType[*jwtauth.Error](err)
			require.True(t, ok)
			require.Equal(t, 503, e.Status)
			require.Empty(t, calls)
			w.clock.Advance(time.Hour)
			answer = nil
			w.refresh(r.RefreshToken)
		})
	}
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
			w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.IdleTTL = 24 * time.Hour })
			r := w.login("alice")
			w.clock.Advance(20 * time.Hour)
			r = w.refresh(r.RefreshToken)
			require.Equal(t, w.clock.Now().Add(24*time.Hour), r.RefreshExpiresAt)
			w.clock.Advance(test.wait)
			if test.reason != nil {
				w.requireGrantRefused(r.RefreshToken, test.reason)
				return
			}
			w.refresh(r.RefreshToken)
		})
	}
}

func TestTheStoreHasTheLastWordOnTheEndOfASession(t *testing.T) {
	w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.IdleTTL = time.Hour })
	first := w.login("alice")
	longer := w.another(func(o *jwtauth.IssuerOptions) { o.IdleTTL = 2 * time.Hour })
	r, err := longer.Refresh(t.Context(), first.RefreshToken)
	require.NoError(t, err)
	_, err = w.issuer.Refresh(t.Context(), first.RefreshToken) // a replay, which changes nothing
	require.NoError(t, err)
	w.clock.Advance(90 * time.Minute)
	_, err = longer.Refresh(t.Context(), r.RefreshToken)
	require.NoError(t, err, "the row lives for as long as it was given")
}

func TestASessionEndsInAnyCase(t *testing.T) {
	w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.AccessTTL, o.IdleTTL, o.SessionTTL = time.Hour, 24*time.Hour, 3*24*time.Hour
	})
	end := w.clock.Now().Add(3 * 24 * time.Hour)
	r := w.login("alice")
	for range 71 {
		w.clock.Advance(time.Hour)
		r = w.refresh(r.RefreshToken)
		require.False(t, r.RefreshExpiresAt.After(end))
		require.False(t, r.ExpiresAt.After(end))
	}
	w.clock.Advance(50 * time.Minute)
	r = w.refresh(r.RefreshToken)
	require.Equal(t, end, r.RefreshExpiresAt)
	require.Equal(t, end, r.ExpiresAt, "no access token outlives the session")
	require.Equal(t, 600, r.ExpiresIn)
	w.clock.Advance(10*time.Minute - time.Microsecond)
	r = w.refresh(r.RefreshToken)
	require.Equal(t, 1, r.ExpiresIn)
	w.clock.Advance(time.Microsecond)
	w.requireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
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
			w := newWorld(t)
			r := w.login("alice")
			w.clock.Advance(test.age)
			r = w.refresh(r.RefreshToken)
			w.clock.Advance(test.idle)
			shortened := w.another(test.shortens)
			next, err := shortened.Refresh(t.Context(), r.RefreshToken)
			list, listErr := shortened.Sessions(t.Context(), "alice")
			require.NoError(t, listErr)
			if !test.good {
				require.ErrorIs(t, err, jwtauth.ErrRefused)
				require.Empty(t, list)
				return
			}
			require.NoError(t, err)
			require.Len(t, list, 1)
			require.Equal(t, next.RefreshExpiresAt, list[0].IdleEnd)
		})
	}
}

func TestTheGraceHasAnEnd(t *testing.T) {
	for _, test := range []struct {
		name         string
		grace, after time.Duration
		good         bool
	}{
		{"at once", 0, 0, true},
		{"at its end", 0, 10 * time.Second, true},
		{"after its end", 0, 10*time.Second + time.Microsecond, false},
		{"the longest", time.Minute, time.Minute, true},
		{"after the longest", time.Minute, time.Minute + time.Microsecond, false},
		{"the shortest", 4 * time.Second, 4 * time.Second, true},
		{"after the shortest", 4 * time.Second, 4*time.Second + time.Microsecond, false},
		{"none, at once", -1, 0, false},
		{"a clock that is behind", 0, -time.Minute, true},
		{"a clock that is wrong", 0, -time.Minute - time.Microsecond, false},
		{"none, with a clock that is behind", -1, -time.Second, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.RefreshGrace = test.grace })
			first := w.login("alice")
			w.clock.Advance(time.Hour)
			second := w.refresh(first.RefreshToken)
			before, err := w.store.List(t.Context(), testIssuer, "alice")
			require.NoError(t, err)
			w.heard()
			w.clock.Advance(test.after)
			again, err := w.issuer.Refresh(t.Context(), first.RefreshToken)
			if test.good {
				require.NoError(t, err)
				require.Equal(t, []string{"refresh_replayed"}, w.heard())
				require.Equal(t, generation(t, second.RefreshToken), generation(t, again.RefreshToken))
				require.Equal(t, second.SessionID, again.SessionID)
				after, err := w.store.List(t.Context(), testIssuer, "alice")
				require.NoError(t, err)
				require.Equal(t, before, after, "a replay changes nothing")
				w.refresh(again.RefreshToken)
				w.requireAccepted(again.AccessToken)
				return
			}
			require.Zero(t, again)
			require.ErrorIs(t, err, jwtauth.ErrTokenReused)
			require.ErrorIs(t, err, jwtauth.ErrRefused)
			require.Equal(t, []string{"token_reused late_parent", "session_ended reuse", "refresh_refused reuse"}, w.heard())
			w.clock.Advance(max(0, -test.after)) // the clock is right again
			w.requireGrantRefused(second.RefreshToken, jwtauth.ErrNoSession)
			require.ErrorIs(t, w.requireRefused(second.AccessToken), jwtauth.ErrTokenRevoked)
		})
	}
}

func TestANodeWhoseClockIsBehindTakesWhatIsNew(t *testing.T) {
	for _, behind := range []time.Duration{0, 30 * time.Second, 59 * time.Second} {
		w := newWorld(t)
		node := w.another(func(o *jwtauth.IssuerOptions) { o.Now = func() time.Time { return w.clock.Now().Add(-behind) } })
		first := w.login("alice")
		second, err := node.Refresh(t.Context(), first.RefreshToken)
		require.NoError(t, err)
		_, err = node.Refresh(t.Context(), first.RefreshToken)
		require.NoError(t, err)
		_, err = w.issuer.Refresh(t.Context(), second.RefreshToken)
		require.NoError(t, err)
	}
}

func TestReplaysDoNotProlongTheGrace(t *testing.T) {
	w := newWorld(t)
	token := w.login("alice").RefreshToken
	w.refresh(token)
	for range 10 {
		w.clock.Advance(time.Second)
		w.refresh(token)
	}
	w.clock.Advance(time.Second)
	w.requireGrantRefused(token)
}

func TestTheUseOfTheSuccessorClosesTheGrace(t *testing.T) {
	w := newWorld(t)
	first := w.login("alice")
	second := w.refresh(first.RefreshToken)
	racing := w.refresh(first.RefreshToken)
	third := w.refresh(second.RefreshToken)
	w.refresh(racing.RefreshToken) // the same generation, within its own grace
	w.heard()
	_, err := w.issuer.Refresh(t.Context(), first.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenReused)
	require.Equal(t, []string{"token_reused old_token", "session_ended reuse", "refresh_refused reuse"}, w.heard())
	w.requireGrantRefused(third.RefreshToken, jwtauth.ErrNoSession)
	require.ErrorIs(t, w.requireRefused(third.AccessToken), jwtauth.ErrTokenRevoked)
}

func TestAGenerationThatIsBehindRollsForward(t *testing.T) {
	w := newWorld(t)
	r := w.login("alice")
	lost, err := w.store.List(t.Context(), testIssuer, "alice")
	require.NoError(t, err)
	for range 5 {
		w.clock.Advance(time.Minute)
		r = w.refresh(r.RefreshToken)
	}
	// The engine comes back with what it had five writes ago.
	require.NoError(t, w.store.Delete(t.Context(), lost[0].Key))
	require.NoError(t, w.store.Create(t.Context(), lost[0]))
	w.heard()
	w.clock.Advance(time.Minute)
	r = w.refresh(r.RefreshToken)
	require.Equal(t, []string{"generation_behind", "token_refreshed"}, w.heard())
	rows, err := w.store.List(t.Context(), testIssuer, "alice")
	require.NoError(t, err)
	require.EqualValues(t, 7, rows[0].Generation)
	require.EqualValues(t, 1, rows[0].Previous)
	w.clock.Advance(time.Minute)
	w.refresh(r.RefreshToken)
	require.Equal(t, []string{"token_refreshed"}, w.heard())
}

func TestAStoreThatBreaksItsContractAccusesNobody(t *testing.T) {
	for _, test := range []struct {
		generation int64
		advanced   bool
	}{{0, false}, {1, false}, {1, true}, {-1, true}, {3, true}, {math.MaxInt64, true}} {
		var calls []string
		w, store := newHookedWorld(t)
		r := w.login("alice")
		store.before = noted(&calls)
		broken := w.another(func(o *jwtauth.IssuerOptions) {
			o.Sessions = answering{store, jwtauth.SessionRecord{Generation: test.generation}, test.advanced}
			o.Revocations = store
		})
		tokens, err := broken.Refresh(t.Context(), r.RefreshToken)
		require.Zero(t, tokens)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable, "%+v", test)
		require.Empty(t, calls, "nothing is ended")
		w.refresh(r.RefreshToken)
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
		{"effect, after it", true, 10*time.Second + time.Microsecond, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, store := newHookedWorld(t)
			token := w.login("alice").RefreshToken
			store.before = failingAt("Advance")
			if test.effect {
				store.before, store.after = nil, failingAt("Advance")
			}
			w.heard()
			tokens, err := w.issuer.Refresh(t.Context(), token)
			require.Zero(t, tokens)
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.NotErrorIs(t, err, jwtauth.ErrRefused)
			require.ErrorIs(t, err, errStoreDown)
			e, ok := errors.AsType[*jwtauth.Error](err)
			require.True(t, ok)
			require.Equal(t, time.Second, e.RetryAfter)
			require.Equal(t, []string{"unavailable session"}, w.heard())
			store.before, store.after = nil, nil
			w.clock.Advance(test.retry)
			if !test.good {
				w.requireGrantRefused(token)
				return
			}
			w.requireAccepted(w.refresh(token).AccessToken)
		})
	}
}

func TestManyWhoRefreshAtOnceGetOneGeneration(t *testing.T) {
	for name, chance := range map[string]float64{"a store that works": 0, "a store that fails before or after its effect": 0.3} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				w, store := newHookedWorld(t)
				token := w.login("alice").RefreshToken
				failing := func(_ context.Context, method string) error {
					if method == "Advance" && rand.Float64() < chance {
						return errStoreDown
					}
					return nil
				}
				store.before, store.after = failing, failing
				var all sync.WaitGroup
				var failed, advanced atomic.Int64
				for range 64 {
					all.Go(func() {
						for {
							r, err := w.issuer.Refresh(t.Context(), token)
							if err != nil {
								failed.Add(1)
								if r != (jwtauth.TokenResponse{}) || !errors.Is(err, errStoreDown) || errors.Is(err, jwtauth.ErrRefused) {
									t.Errorf("tokens %v, error %v", r, err)
									return
								}
								continue
							}
							if n := generation(t, r.RefreshToken); n != 2 {
								t.Errorf("generation %d", n)
							}
							if _, err := w.verifier.Verify(t.Context(), r.AccessToken); err != nil {
								t.Error(err)
							}
							return
						}
					})
				}
				all.Wait()
				for _, kind := range w.kinds() {
					if kind == jwtauth.TokenRefreshed {
						advanced.Add(1)
					}
				}
				require.LessOrEqual(t, advanced.Load(), int64(1))
				require.Equal(t, chance > 0, failed.Load() > 0)
				rows, err := w.store.List(t.Context(), testIssuer, "alice")
				require.NoError(t, err)
				require.Len(t, rows, 1)
				require.EqualValues(t, 2, rows[0].Generation)
			}
		})
	}
}

func TestWithoutAGraceOneOfManyWins(t *testing.T) {
	for range 20 {
		w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.RefreshGrace = -1 })
		token := w.login("alice").RefreshToken
		var all sync.WaitGroup
		var won atomic.Int64
		for range 64 {
			all.Go(func() {
				_, err := w.issuer.Refresh(t.Context(), token)
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
		rows, err := w.store.List(t.Context(), testIssuer, "alice")
		require.NoError(t, err)
		require.Empty(t, rows, "the others count as thieves")
	}
}

func TestAStoreThatHangsIsGivenUp(t *testing.T) {
	const never = time.Hour // longer than any limit: the caller's own
	for _, test := range []struct {
		name           string
		timeout, grace time.Duration
		method         string
		call           func(ctx context.Context, w *world, r jwtauth.TokenResponse) error
		want           time.Duration
	}{
		{"Create", 0, 0, "Create", issueAgain, 2 * time.Second},
		{"Create, configured", 7 * time.Second, 0, "Create", issueAgain, 7 * time.Second},
		{"Create, by the caller's context alone", -1, 0, "Create", issueAgain, never},
		{"Advance", 0, 0, "Advance", refreshIt, 2 * time.Second},
		{"Advance, half of the grace", 7 * time.Second, 0, "Advance", refreshIt, 5 * time.Second},
		{"Advance, half of a short grace", 7 * time.Second, 4 * time.Second, "Advance", refreshIt, 2 * time.Second},
		{"Advance, shorter than half of the grace", 3 * time.Second, time.Minute, "Advance", refreshIt, 3 * time.Second},
		{"Advance, half of the grace though unbounded", -1, 0, "Advance", refreshIt, 5 * time.Second},
		{"Advance, without a grace", 7 * time.Second, -1, "Advance", refreshIt, 7 * time.Second},
		{"Advance, by the caller's context alone", -1, -1, "Advance", refreshIt, never},
		{"Delete", 0, 0, "Delete", endIt, 2 * time.Second},
		{"Revoke", 0, 0, "Revoke", endIt, 2 * time.Second},
		{"Delete and Revoke", 0, 0, "", endIt, 4 * time.Second},
		{"Delete and Revoke, configured", 7 * time.Second, 0, "", endIt, 14 * time.Second},
		{"Delete and Revoke, though unbounded", -1, 0, "", endIt, 4 * time.Second},
		{"List", 0, 0, "List", listThem, 2 * time.Second},
		{"IsRevoked", 0, 0, "IsRevoked", verifyIt, 2 * time.Second},
		{"IsRevoked, configured", 7 * time.Second, 0, "IsRevoked", verifyIt, 7 * time.Second},
		{"IsRevoked, by the caller's context alone", -1, 0, "IsRevoked", verifyIt, never},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, store := newHookedWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
					o.StoreTimeout, o.RefreshGrace = test.timeout, test.grace
				})
				r := w.login("alice")
				store.before = func(ctx context.Context, method string) error {
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
				store.before = nil
				if test.method == "Advance" {
					w.refresh(r.RefreshToken)
				}
			})
		})
	}
}

func issueAgain(ctx context.Context, w *world, _ jwtauth.TokenResponse) error {
	_, err := w.issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
	return err
}

func refreshIt(ctx context.Context, w *world, r jwtauth.TokenResponse) error {
	_, err := w.issuer.Refresh(ctx, r.RefreshToken)
	return err
}

func endIt(ctx context.Context, w *world, r jwtauth.TokenResponse) error {
	return w.issuer.EndSession(ctx, "alice", r.SessionID)
}

func listThem(ctx context.Context, w *world, _ jwtauth.TokenResponse) error {
	_, err := w.issuer.Sessions(ctx, "alice")
	return err
}

func verifyIt(ctx context.Context, w *world, r jwtauth.TokenResponse) error {
	_, err := w.verifier.Verify(ctx, r.AccessToken)
	return err
}

func TestRefreshTokensMayHaveKeysOfTheirOwn(t *testing.T) {
	own := newKey(t, jwtauth.ES384, false)
	ring, err := jwtauth.NewKeyRing(own)
	require.NoError(t, err)
	w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) { o.RefreshKeys = ring })
	r := w.login("alice")
	require.Equal(t, own.ID(), headerOf(t, r.RefreshToken).Kid)
	require.Equal(t, w.key.ID(), headerOf(t, r.AccessToken).Kid)

	// The keys of the access tokens can be replaced, and no refresh token falls.
	next := newKey(t, jwtauth.ES256, false)
	require.NoError(t, w.keys.Set(next))
	w.requireRefused(r.AccessToken)
	r = w.refresh(r.RefreshToken)
	w.requireAccepted(r.AccessToken)
	require.NoError(t, w.issuer.Logout(t.Context(), r.RefreshToken))

	// A key of the access tokens makes no refresh token, and the other way round.
	r = w.login("bob")
	claims := payload[map[string]any](t, r.RefreshToken)
	w.requireGrantRefused(signWith(t, next, header(next, map[string]any{"typ": "rt+jwt"}), claims), jwtauth.ErrTokenKey)
	require.ErrorIs(t, w.requireRefused(signWith(t, own, header(own, nil), w.claims(nil))), jwtauth.ErrTokenKey)
	w.refresh(r.RefreshToken)
}

func TestARefreshTokenLivesThroughARotationOfKeys(t *testing.T) {
	w := newWorld(t)
	r := w.login("alice")
	old, next := w.key, newKey(t, jwtauth.EdDSA, false)
	require.NoError(t, w.keys.Set(next, old.VerificationKey()))
	second := w.refresh(r.RefreshToken)
	require.Equal(t, next.ID(), headerOf(t, second.RefreshToken).Kid)
	w.requireAccepted(r.AccessToken)
	require.NoError(t, w.keys.Set(next))
	w.requireGrantRefused(r.RefreshToken, jwtauth.ErrTokenKey)
	w.refresh(second.RefreshToken)
}

func TestAnIssuerWithoutSessionsSaysSo(t *testing.T) {
	w := newWorld(t)
	tokens := w.login("alice")
	i := w.another(func(o *jwtauth.IssuerOptions) { o.Sessions = nil })
	_, err := i.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	const why = "jwtauth: this Issuer has no sessions: set IssuerOptions.Sessions and Revocations, or use IssueAccess"
	require.EqualError(t, err, why)
	_, err = i.Refresh(t.Context(), tokens.RefreshToken)
	require.EqualError(t, err, why)
	_, err = i.Sessions(t.Context(), "alice")
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
	w.requireAccepted(r.AccessToken)
}

func TestTheZeroIssuerKnowsNothing(t *testing.T) {
	for _, i := range []*jwtauth.Issuer{nil, {}} {
		ctx := t.Context()
		_, issue := i.Issue(ctx, jwtauth.Grant{Subject: "alice"})
		_, access := i.IssueAccess(ctx, jwtauth.Grant{Subject: "alice"})
		_, refresh := i.Refresh(ctx, "token")
		_, sessions := i.Sessions(ctx, "alice")
		_, verifier := i.NewVerifier(jwtauth.VerifierOptions{})
		for _, err := range []error{
			issue, access, refresh, sessions, verifier,
			i.Logout(ctx, "token"), i.EndSession(ctx, "alice", "sid"), i.EndAllSessions(ctx, "alice"), i.EndOtherSessions(ctx, "alice", "sid"),
		} {
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.ErrorContains(t, err, "not made by NewIssuer")
		}
	}
}

// revoking is a RevocationStore that notes until when what was revoked.
type revoking struct {
	jwtauth.RevocationStore
	until map[string]time.Time
}

func (r revoking) Revoke(ctx context.Context, id string, until time.Time) error {
	r.until[id] = until
	return r.RevocationStore.Revoke(ctx, id, until)
}

func TestEndingIsDeleteThenTheClockThenRevoke(t *testing.T) {
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
			w, store := newHookedWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
				o.AccessTTL, o.LongestAccessTTL = test.access, test.longest
				o.Revocations = revoking{o.Revocations, until}
			})
			r := w.login("alice")
			var calls []string
			note := noted(&calls)
			store.before = func(ctx context.Context, method string) error {
				if method == "Delete" {
					w.clock.Advance(time.Minute)
				}
				return note(ctx, method)
			}
			require.NoError(t, w.issuer.EndSession(t.Context(), "alice", r.SessionID))
			require.Equal(t, []string{"Delete", "Revoke"}, calls)
			id := jwtauth.SessionID(testIssuer, r.SessionID)
			require.Equal(t, map[string]time.Time{id: w.clock.Now().Add(test.want + 6*time.Minute)}, until)
		})
	}
}

func TestARefreshThatWonAgainstTheEndGetsNothingThatLives(t *testing.T) {
	w, store := newHookedWorld(t)
	first := w.login("alice")
	var racing jwtauth.TokenResponse
	store.before = func(_ context.Context, method string) error {
		if method == "Delete" {
			store.before = nil
			racing = w.refresh(first.RefreshToken)
		}
		return nil
	}
	require.NoError(t, w.issuer.EndSession(t.Context(), "alice", first.SessionID))
	for range 15 * 60 {
		_, err := w.verifier.Verify(t.Context(), racing.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
		w.clock.Advance(time.Second)
	}
	w.requireGrantRefused(racing.RefreshToken, jwtauth.ErrNoSession)
}

func TestBothHalvesOfAnEndAreAttempted(t *testing.T) {
	for _, methods := range [][]string{{"Delete"}, {"Revoke"}, {"Delete", "Revoke"}} {
		for _, effect := range []bool{false, true} {
			t.Run(fmt.Sprint(methods, effect), func(t *testing.T) {
				var calls []string
				w, store := newHookedWorld(t)
				r := w.login("alice")
				down := failingAt(methods...)
				store.before = noted(&calls)
				if effect {
					store.after = down
				} else {
					note := noted(&calls)
					store.before = func(ctx context.Context, method string) error {
						return errors.Join(note(ctx, method), down(ctx, method))
					}
				}
				w.heard()
				err := w.issuer.EndSession(t.Context(), "alice", r.SessionID)
				require.ErrorIs(t, err, jwtauth.ErrUnavailable)
				require.ErrorIs(t, err, errStoreDown)
				require.Equal(t, []string{"Delete", "Revoke"}, calls)
				require.Equal(t, []string{"unavailable session"}, w.heard())
				store.before, store.after = nil, nil
				require.NoError(t, w.issuer.EndSession(t.Context(), "alice", r.SessionID))
				require.Equal(t, []string{"session_ended ended"}, w.heard())
				require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
				w.requireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
			})
		}
	}
}

func TestAGenuineTokenHealsAnEndThatWasHalfDone(t *testing.T) {
	w, store := newHookedWorld(t)
	r := w.login("alice")
	store.before = failingAt("Revoke")
	require.ErrorIs(t, w.issuer.EndSession(t.Context(), "alice", r.SessionID), jwtauth.ErrUnavailable)
	w.requireAccepted(r.AccessToken) // the half that was not done
	w.requireRefreshUnavailable(r.RefreshToken)
	store.before = nil
	w.requireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
	require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
}

func TestAnEndOutlivesTheRequest(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context, w *world, first, second jwtauth.TokenResponse) error{
		"EndSession": func(ctx context.Context, w *world, first, _ jwtauth.TokenResponse) error {
			return w.issuer.EndSession(ctx, "alice", first.SessionID)
		},
		"Logout": func(ctx context.Context, w *world, _, second jwtauth.TokenResponse) error {
			return w.issuer.Logout(ctx, second.AccessToken)
		},
		"a reuse": func(ctx context.Context, w *world, first, _ jwtauth.TokenResponse) error {
			_, err := w.issuer.Refresh(ctx, first.RefreshToken)
			if errors.Is(err, jwtauth.ErrTokenReused) {
				return nil
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, store := newHookedWorld(t)
			first := w.login("alice")
			second := w.refresh(first.RefreshToken)
			w.clock.Advance(time.Minute)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			store.before = func(ctx context.Context, method string) error {
				if method == "Delete" {
					cancel() // the client has gone
				}
				return nil
			}
			require.NoError(t, end(ctx, w, first, second))
			require.ErrorIs(t, w.requireRefused(second.AccessToken), jwtauth.ErrTokenRevoked)
			w.requireGrantRefused(second.RefreshToken, jwtauth.ErrNoSession)
		})
	}
	t.Run("EndSession, from the start", func(t *testing.T) {
		w := newWorld(t)
		r := w.login("alice")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, w.issuer.EndSession(ctx, "alice", r.SessionID))
		w.requireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
	})
}

func TestEndSessionDoesNothingToTheSessionOfSomebodyElse(t *testing.T) {
	var calls []string
	w, store := newHookedWorld(t)
	r := w.login("bob")
	store.before = noted(&calls)
	w.heard()
	for _, id := range []string{r.SessionID, "", "garbage", r.SessionID + "A", r.SessionID[:35], r.SessionID[:35] + "_", "\x00", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		require.NoError(t, w.issuer.EndSession(t.Context(), "alice", id))
	}
	require.NoError(t, w.issuer.EndSession(t.Context(), "", r.SessionID))
	require.NoError(t, w.issuer.EndSession(t.Context(), "bo", r.SessionID))
	require.Empty(t, calls)
	require.Empty(t, w.heard())
	w.requireAccepted(r.AccessToken)
	w.refresh(r.RefreshToken)

	// Whose it was is known also where it is gone.
	calls = nil
	for range 2 {
		require.NoError(t, w.issuer.EndSession(t.Context(), "bob", r.SessionID))
	}
	require.Equal(t, []string{"Delete", "Revoke", "Delete", "Revoke"}, calls)
}

func TestEndAllSessionsFindsThoseThatAppear(t *testing.T) {
	w, store := newHookedWorld(t)
	all := []jwtauth.TokenResponse{w.login("alice"), w.login("alice"), w.login("alice")}
	bob := w.login("bob")
	lists := 0
	store.after = func(_ context.Context, method string) error {
		if method == "List" {
			if lists++; lists < 4 { // a login between two passes, three times over
				all = append(all, w.login("alice"))
			}
		}
		return nil
	}
	w.heard()
	require.NoError(t, w.issuer.EndAllSessions(t.Context(), "alice"))
	require.Equal(t, 5, lists, "until a pass finds nothing new")
	require.Len(t, all, 6)
	ended := 0
	for _, event := range w.heard() {
		if event == "session_ended ended" {
			ended++
		}
	}
	require.Equal(t, 6, ended, "each once")
	for _, r := range all {
		require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
		w.requireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
	}
	w.requireAccepted(bob.AccessToken)
	w.refresh(bob.RefreshToken)
	require.NoError(t, w.issuer.EndAllSessions(t.Context(), "nobody"))
}

func TestEndOtherSessionsKeepsOne(t *testing.T) {
	w := newWorld(t)
	first, kept, third := w.login("alice"), w.login("alice"), w.login("alice")
	require.NoError(t, w.issuer.EndOtherSessions(t.Context(), "alice", kept.SessionID))
	for _, r := range []jwtauth.TokenResponse{first, third} {
		w.requireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
		require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	}
	w.requireAccepted(kept.AccessToken)
	kept = w.refresh(kept.RefreshToken)
	require.NoError(t, w.issuer.EndOtherSessions(t.Context(), "alice", first.SessionID))
	w.requireGrantRefused(kept.RefreshToken, jwtauth.ErrNoSession)
}

func TestEndAllSessionsGoesOnPastErrors(t *testing.T) {
	w, store := newHookedWorld(t)
	all := []jwtauth.TokenResponse{w.login("alice"), w.login("alice"), w.login("alice"), w.login("alice")}
	for _, method := range []string{"Delete", "Revoke"} {
		failures := 2
		store.before = func(_ context.Context, called string) error {
			if called == method && failures > 0 {
				failures--
				return errStoreDown
			}
			return nil
		}
		err := w.issuer.EndAllSessions(t.Context(), "alice")
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.ErrorIs(t, err, errStoreDown)
		store.before = nil
		rows, err := w.store.List(t.Context(), testIssuer, "alice")
		require.NoError(t, err)
		if method == "Delete" {
			require.Len(t, rows, 2, "the others are gone")
		} else {
			require.Empty(t, rows)
		}
	}
	for _, r := range all {
		w.requireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
		require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	}
	store.before = failingAt("List")
	require.ErrorIs(t, w.issuer.EndAllSessions(t.Context(), "alice"), jwtauth.ErrUnavailable)
}

func TestEndAllSessionsStopsWithItsContext(t *testing.T) {
	w, store := newHookedWorld(t)
	for range 5 {
		w.login("alice")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls []string
	note := noted(&calls)
	store.before = func(ctx context.Context, method string) error {
		if method == "Delete" {
			cancel()
		}
		return note(ctx, method)
	}
	require.ErrorIs(t, w.issuer.EndAllSessions(ctx, "alice"), jwtauth.ErrUnavailable)
	require.Equal(t, []string{"List", "Delete", "Revoke"}, calls, "what was begun is done")
	require.NoError(t, w.issuer.EndAllSessions(t.Context(), "alice"))
	rows, err := w.store.List(t.Context(), testIssuer, "alice")
	require.NoError(t, err)
	require.Empty(t, rows)
}

func TestLogoutTakesAnyTokenOfASession(t *testing.T) {
	for name, token := range map[string]func(w *world, r jwtauth.TokenResponse) string{
		"its access token":  func(_ *world, r jwtauth.TokenResponse) string { return r.AccessToken },
		"its refresh token": func(_ *world, r jwtauth.TokenResponse) string { return r.RefreshToken },
		"an expired access token": func(w *world, r jwtauth.TokenResponse) string {
			w.clock.Advance(3 * 24 * time.Hour)
			return r.AccessToken
		},
		"an expired refresh token": func(w *world, r jwtauth.TokenResponse) string {
			w.clock.Advance(9 * 24 * time.Hour)
			return r.RefreshToken
		},
		"an old refresh token": func(w *world, r jwtauth.TokenResponse) string {
			w.clock.Advance(time.Hour)
			w.refresh(w.refresh(r.RefreshToken).RefreshToken)
			return r.RefreshToken
		},
		"an access token for another audience": func(w *world, r jwtauth.TokenResponse) string {
			return w.sign(w.claims(map[string]any{"aud": "https://other.test", "sid": r.SessionID}))
		},
		"a refresh token of a session without a row": func(w *world, r jwtauth.TokenResponse) string {
			require.NoError(w.t, w.store.Delete(w.t.Context(), jwtauth.SessionKey{Issuer: testIssuer, Subject: "alice", ID: r.SessionID}))
			return r.RefreshToken
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r, other := w.login("alice"), w.login("alice")
			with := token(w, r)
			w.heard()
			for range 2 {
				require.NoError(t, w.issuer.Logout(t.Context(), with))
				require.Equal(t, []string{"session_ended logout"}, w.heard())
			}
			_, err := w.issuer.Refresh(t.Context(), r.RefreshToken)
			require.ErrorIs(t, err, jwtauth.ErrRefused)
			_, err = w.verifier.Without("exp").Verify(t.Context(), r.AccessToken)
			require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
			rows, err := w.store.List(t.Context(), testIssuer, "alice")
			require.NoError(t, err)
			if w.clock.Now().Before(other.RefreshExpiresAt) {
				require.Len(t, rows, 1)
				w.refresh(other.RefreshToken)
			}
		})
	}
}

func TestLogoutWorksWhereTheClockIsBehind(t *testing.T) {
	for _, refresh := range []bool{false, true} {
		w := newWorld(t)
		r := w.login("alice")
		token := r.AccessToken
		if refresh {
			token = r.RefreshToken
		}
		node := w.another(func(o *jwtauth.IssuerOptions) {
			o.Now = func() time.Time { return w.clock.Now().Add(-3 * time.Minute) }
		})
		require.NoError(t, node.Logout(t.Context(), token))
		require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
		w.requireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
	}
}

func TestLogoutRevokesATokenWithoutASessionByItsOwnID(t *testing.T) {
	until := make(map[string]time.Time)
	w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Revocations = revoking{o.Revocations, until}
	})
	r, err := w.issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	require.Empty(t, r.SessionID+r.RefreshToken)
	other, err := w.issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	token := w.requireAccepted(r.AccessToken)
	w.heard()
	require.NoError(t, w.issuer.Logout(t.Context(), r.AccessToken))
	require.Equal(t, []string{"token_revoked"}, w.heard())
	require.Len(t, until, 1)
	require.True(t, r.ExpiresAt.Add(6*time.Minute).Equal(until[jwtauth.TokenID(testIssuer, token.ID)]))
	require.ErrorIs(t, w.requireRefused(r.AccessToken), jwtauth.ErrTokenRevoked)
	w.requireAccepted(other.AccessToken)
}

func TestLogoutRefusesWhatIsNotOurs(t *testing.T) {
	var calls []string
	w, store := newHookedWorld(t)
	stranger := newWorldWith(t, jwtauth.HS256)
	foreign := stranger.login("alice")
	store.before = noted(&calls)
	for name, token := range map[string]string{
		"empty":                      "",
		"garbage":                    "garbage",
		"a foreign access token":     foreign.AccessToken,
		"a foreign refresh token":    foreign.RefreshToken,
		"another issuer's":           w.sign(w.claims(map[string]any{"iss": "https://other.test", "sid": foreign.SessionID})),
		"another kind":               signWith(t, w.key, header(w.key, map[string]any{"typ": "JWT"}), w.claims(map[string]any{"sid": foreign.SessionID})),
		"a refresh token for an API": signWith(t, w.key, header(w.key, map[string]any{"typ": "rt+jwt"}), w.claims(map[string]any{"sid": foreign.SessionID})),
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, w.issuer.Logout(t.Context(), token), jwtauth.ErrRefused)
			require.Empty(t, calls)
		})
	}
}

func TestLogoutIsUnavailableWhereAStoreFails(t *testing.T) {
	w, store := newHookedWorld(t)
	session := w.login("alice")
	alone, err := w.issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	store.before = failing
	for _, token := range []string{session.AccessToken, session.RefreshToken, alone.AccessToken} {
		w.heard()
		require.ErrorIs(t, w.issuer.Logout(t.Context(), token), jwtauth.ErrUnavailable)
		require.Len(t, w.heard(), 1)
	}
	store.before = nil
	for _, token := range []string{session.AccessToken, alone.AccessToken} {
		require.NoError(t, w.issuer.Logout(t.Context(), token))
		require.ErrorIs(t, w.requireRefused(token), jwtauth.ErrTokenRevoked)
	}
}

func TestAccessTokensOfBeforeAreRevokedForAsLongAsTheyLive(t *testing.T) {
	w := newWorld(t)
	before := w.another(func(o *jwtauth.IssuerOptions) { o.AccessTTL = 2 * time.Hour })
	r, err := before.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	now := w.another(func(o *jwtauth.IssuerOptions) { o.AccessTTL, o.LongestAccessTTL = time.Minute, 2*time.Hour })
	require.NoError(t, now.Logout(t.Context(), r.RefreshToken))
	lax, err := now.NewVerifier(jwtauth.VerifierOptions{Leeway: 5 * time.Minute})
	require.NoError(t, err)
	for range 2*60 + 5 {
		_, err := lax.Verify(t.Context(), r.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrTokenRevoked)
		w.clock.Advance(time.Minute)
	}
	_, err = lax.Verify(t.Context(), r.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
}

func TestWithoutRevocationsALogoutEndsRefreshingAlone(t *testing.T) {
	w := newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Revocations, o.InsecureAccessOutlivesSession = nil, true
	})
	r := w.login("alice")
	require.NoError(t, w.issuer.Logout(t.Context(), r.AccessToken))
	w.requireGrantRefused(r.RefreshToken, jwtauth.ErrNoSession)
	w.requireAccepted(r.AccessToken)
	alone, err := w.issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	require.EqualError(t, w.issuer.Logout(t.Context(), alone.AccessToken), "jwtauth: this Issuer has no Revocations to revoke a token in")
}

func TestSessionsAreListedTheLatestFirst(t *testing.T) {
	w := newWorld(t)
	began := w.clock.Now()
	issue := func(g jwtauth.Grant) jwtauth.TokenResponse {
		g.Subject = "alice"
		r, err := w.issuer.Issue(t.Context(), g)
		require.NoError(t, err)
		w.clock.Advance(time.Hour)
		return r
	}
	phone := issue(jwtauth.Grant{Label: "phone", ClientID: "app", Scopes: []string{"read"}, AuthTime: began.Add(-time.Minute)})
	laptop := issue(jwtauth.Grant{Label: "laptop"})
	tablet := issue(jwtauth.Grant{Label: "tablet"})
	w.login("bob")
	w.clock.Advance(time.Minute)
	refreshed := w.clock.Now()
	w.refresh(phone.RefreshToken)

	list, err := w.issuer.Sessions(t.Context(), "alice")
	require.NoError(t, err)
	require.Equal(t, jwtauth.Session{
		ID: phone.SessionID, Subject: "alice", ClientID: "app", Label: "phone", Scopes: []string{"read"},
		CreatedAt: began, AuthTime: began.Add(-time.Minute), RefreshedAt: refreshed, IdleEnd: refreshed.Add(7 * 24 * time.Hour), EndsAt: began.Add(30 * 24 * time.Hour),
	}, list[0])
	labels := func(list []jwtauth.Session) (labels []string) {
		for _, s := range list {
			labels = append(labels, s.Label)
		}
		return labels
	}
	require.Equal(t, []string{"phone", "tablet", "laptop"}, labels(list))

	require.NoError(t, w.issuer.EndSession(t.Context(), "alice", tablet.SessionID))
	w.clock.Advance(laptop.RefreshExpiresAt.Sub(w.clock.Now()))
	list, err = w.issuer.Sessions(t.Context(), "alice")
	require.NoError(t, err)
	require.Equal(t, []string{"phone"}, labels(list), "one was ended, one was idle for too long")

	list, err = w.issuer.Sessions(t.Context(), "nobody")
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestSessionsAreUnknownWhereTheStoreFails(t *testing.T) {
	w, store := newHookedWorld(t)
	w.login("alice")
	store.before = failing
	list, err := w.issuer.Sessions(t.Context(), "alice")
	require.Nil(t, list)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	store.before = nil
	require.NoError(t, w.store.Create(t.Context(), jwtauth.SessionRecord{
		Key: jwtauth.SessionKey{Issuer: testIssuer, Subject: "alice", ID: "x"}, Data: []byte("{"), ExpiresAt: w.clock.Now().Add(time.Hour),
	}))
	list, err = w.issuer.Sessions(t.Context(), "alice")
	require.Nil(t, list)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
}

func TestASlowReloadMakesNoThiefOfARacingTab(t *testing.T) {
	var w *world
	slow, presented := false, ""
	w = newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
		o.Reload = func(ctx context.Context, _ jwtauth.Session, _ *jwtauth.Grant) error {
			if !slow {
				return nil
			}
			// While this tab waits for the user database, the other one is answered.
			slow = false
			_, err := w.issuer.Refresh(ctx, presented)
			w.clock.Advance(11 * time.Second)
			return err
		}
	})
	presented, slow = w.login("alice").RefreshToken, true
	_, err := w.issuer.Refresh(t.Context(), presented)
	require.NoError(t, err)
	require.Contains(t, w.kinds(), jwtauth.RefreshReplayed)
}

func TestASessionWhoseRowOutlivedItsEndIsRefusedAndEndsWhole(t *testing.T) {
	w := newWorld(t)
	tokens := w.login("alice")
	require.NoError(t, w.store.Revoke(t.Context(), jwtauth.SessionID(testIssuer, tokens.SessionID), w.clock.Now().Add(time.Hour)))
	_, err := w.issuer.Refresh(t.Context(), tokens.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrNoSession)
	rows, err := w.store.List(t.Context(), testIssuer, "alice")
	require.NoError(t, err)
	require.Empty(t, rows)
}

func TestASessionThatHasEndedEndsOnce(t *testing.T) {
	w := newWorld(t)
	r := w.login("alice")
	require.NoError(t, w.issuer.Logout(t.Context(), r.RefreshToken))
	w.kinds()
	for range 3 {
		_, err := w.issuer.Refresh(t.Context(), r.RefreshToken)
		require.ErrorIs(t, err, jwtauth.ErrNoSession)
	}
	require.NotContains(t, w.kinds(), jwtauth.SessionEnded)
}
