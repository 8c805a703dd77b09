package jwtauth_test

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

var claimAttacks = []attack{
	{"C01", "exp missing", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			e := w.requireOnlyRefusedBy("exp", w.sign(w.claims(map[string]any{"exp": nil})))
			require.ErrorIs(t, e, jwtauth.ErrTokenClaim)
			w.requireOnlyRefusedBy("exp", w.sign(w.claims(map[string]any{"exp": nil, "nbf": w.clock.Now().Unix(), "expires": w.clock.Now().Unix() + 600})))
		}
		w := newWorld(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.MaxLifetime = -1 })
		w.requireOnlyRefusedBy("exp", w.sign(w.claims(map[string]any{"exp": nil})))
	}},
	{"C02", "expired", func(t *testing.T) {
		for _, leeway := range []time.Duration{-1, 0, time.Second, 5 * time.Minute} {
			w := newWorld(t, withLeeway(leeway))
			exp := w.clock.Now().Add(-effective(leeway) - time.Second).Unix()
			e := w.requireOnlyRefusedBy("exp", w.sign(w.claims(map[string]any{"exp": exp, "iat": exp - 600})))
			require.ErrorIs(t, e, jwtauth.ErrTokenExpired)
			w.requireOnlyRefusedBy("exp", w.sign(w.claims(map[string]any{"exp": exp - 86400, "iat": exp - 86400})))
		}
		// A token that was good until now.
		w := newWorld(t)
		token := w.login("alice").AccessToken
		verified := w.requireAccepted(token)
		w.clock.Advance(15*time.Minute + 31*time.Second)
		w.requireOnlyRefusedBy("exp", token)
		require.ErrorIs(t, w.verifier.Recheck(t.Context(), verified), jwtauth.ErrTokenExpired)
	}},
	{"C03", "exp exactly now", func(t *testing.T) {
		for _, leeway := range []time.Duration{-1, 0, time.Second, 5 * time.Minute} {
			w := newWorld(t, withLeeway(leeway))
			exp := w.clock.Now().Add(-effective(leeway)).Unix()
			w.requireOnlyRefusedBy("exp", w.sign(w.claims(map[string]any{"exp": exp, "iat": exp - 600})))
			token := w.sign(w.claims(map[string]any{"exp": exp + 1, "iat": exp - 600}))
			w.requireAccepted(token)
			w.clock.Advance(time.Second - time.Nanosecond)
			w.requireAccepted(token)
			w.clock.Advance(time.Nanosecond)
			w.requireOnlyRefusedBy("exp", token)
		}
		_, err := newWorld(t).issuer.NewVerifier(jwtauth.VerifierOptions{Leeway: 5*time.Minute + 1})
		require.ErrorContains(t, err, "Leeway")
	}},
	{"C05", "nbf in the future", func(t *testing.T) {
		for _, leeway := range []time.Duration{-1, 0, time.Second, 5 * time.Minute} {
			w := newWorld(t, withLeeway(leeway))
			now, latest := w.clock.Now().Unix(), w.clock.Now().Add(effective(leeway)).Unix()
			token := w.sign(w.claims(map[string]any{"nbf": latest + 1}))
			e := w.requireOnlyRefusedBy("nbf", token)
			require.ErrorIs(t, e, jwtauth.ErrTokenNotYetValid)
			w.requireOnlyRefusedBy("nbf", w.sign(w.claims(map[string]any{"nbf": now + 86400})))
			w.requireAccepted(w.sign(w.claims(map[string]any{"nbf": now})))
			w.requireAccepted(w.sign(w.claims(map[string]any{"nbf": latest})))
			w.requireAccepted(w.sign(w.claims(map[string]any{"nbf": now - 86400})))
			w.clock.Advance(time.Second)
			w.requireAccepted(token)
		}
	}},
	{"C06", "iat in the future", func(t *testing.T) {
		for _, leeway := range []time.Duration{-1, 0, time.Second, 5 * time.Minute} {
			w := newWorld(t, withLeeway(leeway))
			now, latest := w.clock.Now().Unix(), w.clock.Now().Add(effective(leeway)).Unix()
			e := w.requireOnlyRefusedBy("iat", w.sign(w.claims(map[string]any{"iat": now + 3600, "exp": now + 7200})))
			require.ErrorIs(t, e, jwtauth.ErrTokenNotYetValid)
			w.requireOnlyRefusedBy("iat", w.sign(w.claims(map[string]any{"iat": latest + 1})))
			w.requireAccepted(w.sign(w.claims(map[string]any{"iat": latest})))
			w.requireAccepted(w.sign(w.claims(map[string]any{"iat": now})))
		}
	}},
	{"C08", "audience of another service", func(t *testing.T) {
		w := newWorld(t)
		other := []any{
			"other", "https://other.test", testAudience + "2", testAudience + "/", testAudience + ".evil", testAudience + " ", testAudience[:len(testAudience)-1], testAudience[1:],
			"https://evil.test/" + testAudience, strings.ToUpper(testAudience), "api.test", "http://api.test", "*", ".*", testIssuer, testAudience + "," + testAudience, testAudience + "\x00",
			[]string{"other"}, []string{"other", testAudience + "2"}, []string{testAudience + " other"}, nil,
		}
		for _, audience := range other {
			e := w.requireOnlyRefusedBy("aud", w.sign(w.claims(map[string]any{"aud": audience})))
			require.ErrorIs(t, e, jwtauth.ErrTokenAudience, "%v", audience)
		}
		for _, audience := range []any{testAudience, []string{testAudience}, []string{"other", testAudience}, []string{testAudience, "other"}} {
			w.requireAccepted(w.sign(w.claims(map[string]any{"aud": audience})))
		}
		// A token of the same issuer for another of its services.
		w = newWorld(t, func(o *jwtauth.IssuerOptions, v *jwtauth.VerifierOptions) {
			o.Audiences, v.Audiences = []string{testAudience, "https://other.test"}, []string{testAudience}
		})
		for audience, refused := range map[string]bool{testAudience: false, "https://other.test": true} {
			r, err := w.issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice", Audiences: []string{audience}})
			require.NoError(t, err)
			if refused {
				w.requireOnlyRefusedBy("aud", r.AccessToken)
			} else {
				w.requireAccepted(r.AccessToken)
			}
		}
	}},
	{"C10", "verifier without an audience", func(t *testing.T) {
		w := newWorld(t)
		for _, audiences := range [][]string{nil, {}, {""}, {testAudience, ""}, {" "}, {testAudience, testAudience}, {testIssuer + "#refresh"}} {
			v, err := jwtauth.NewVerifier(w.keys, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: audiences})
			require.ErrorContains(t, err, "Audiences", "%q", audiences)
			require.Nil(t, v)
			i, err := jwtauth.NewIssuer(w.keys, jwtauth.IssuerOptions{Issuer: testIssuer, Audiences: audiences})
			require.ErrorContains(t, err, "Audiences", "%q", audiences)
			require.Nil(t, i)
		}
		_, err := w.issuer.NewVerifier(jwtauth.VerifierOptions{Audiences: []string{}})
		require.ErrorContains(t, err, "Audiences")

		// The way out has a loud name, and does not go together with audiences.
		_, err = jwtauth.NewVerifier(w.keys, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}, InsecureAnyAudience: true})
		require.ErrorContains(t, err, "contradict")
		_, err = w.issuer.NewVerifier(jwtauth.VerifierOptions{InsecureAnyAudience: true})
		require.ErrorContains(t, err, "InsecureAnyAudience")
		_, err = jwtauth.NewVerifier(w.keys, jwtauth.VerifierOptions{Issuer: testIssuer, InsecureAnyAudience: true})
		require.NoError(t, err)
	}},
	{"C11", `verifier without an issuer or with ""`, func(t *testing.T) {
		w := newWorld(t)
		for _, issuer := range []string{"", " ", "\x00", testIssuer + " ", testIssuer + "\n", testIssuer + "#x", "\xff", strings.Repeat("x", 2000)} {
			v, err := jwtauth.NewVerifier(w.keys, jwtauth.VerifierOptions{Issuer: issuer, Audiences: []string{testAudience}})
			require.ErrorContains(t, err, "Issuer", "%q", issuer)
			require.Nil(t, v)
			i, err := jwtauth.NewIssuer(w.keys, jwtauth.IssuerOptions{Issuer: issuer, Audiences: []string{testAudience}})
			require.ErrorContains(t, err, "Issuer", "%q", issuer)
			require.Nil(t, i)
		}
		for _, issuer := range []any{"", nil} {
			w.requireOnlyRefusedBy("iss", w.sign(w.claims(map[string]any{"iss": issuer})))
		}
		_, err := w.issuer.NewVerifier(jwtauth.VerifierOptions{Issuer: "https://other.test"})
		require.ErrorContains(t, err, "Issuer")
	}},
	{"C12", "issuer near misses", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			for _, issuer := range []any{
				testIssuer + "/", testIssuer + ".evil", testIssuer + "/x", testIssuer + "?", testIssuer + "#", testIssuer + " ", " " + testIssuer, testIssuer + "\x00", testIssuer + ":443",
				testIssuer[:len(testIssuer)-1], testIssuer[1:], "issuer.test", "http://issuer.test", "HTTPS://issuer.test", "https://ISSUER.test", "https://evil.test/" + testIssuer,
				"https://i\u0455suer.test", "https://issuer.test\u200b", nil,
			} {
				e := w.requireOnlyRefusedBy("iss", w.sign(w.claims(map[string]any{"iss": issuer})))
				require.ErrorIs(t, e, jwtauth.ErrTokenIssuer, "%v", issuer)
			}
		}
	}},
	{"C14", "sub missing or empty", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			for _, subject := range []any{nil, ""} {
				e := w.requireOnlyRefusedBy("sub", w.sign(w.claims(map[string]any{"sub": subject})))
				require.ErrorIs(t, e, jwtauth.ErrTokenClaim)
			}
			_, err := w.issuer.Issue(t.Context(), jwtauth.Grant{})
			require.ErrorContains(t, err, "Subject")
			_, err = w.issuer.IssueAccess(t.Context(), jwtauth.Grant{})
			require.ErrorContains(t, err, "Subject")
		}
	}},
	{"C15", "jti missing while revocation is on", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			for _, jti := range []any{nil, ""} {
				token := w.sign(w.claims(map[string]any{"jti": jti}))
				e := w.requireOnlyRefusedBy("jti", token)
				require.ErrorIs(t, e, jwtauth.ErrTokenClaim)
				// It is the session alone that could be revoked then.
				w.requireOnlyRefusedBy("jti", w.sign(w.claims(map[string]any{"jti": jti, "sid": "s"})))

				without, err := jwtauth.NewVerifier(w.keys, jwtauth.VerifierOptions{Issuer: testIssuer, Audiences: []string{testAudience}, Now: w.clock.Now})
				require.NoError(t, err)
				verified, err := without.Verify(t.Context(), token)
				require.NoError(t, err)
				require.Error(t, w.verifier.Revoke(t.Context(), verified))
			}
		}
	}},
	{"C17", "scope missing", func(t *testing.T) {
		w := newWorld(t)
		policies := []struct {
			needed string
			policy jwtauth.Policy
		}{
			{"orders:write", jwtauth.Scopes("orders:write")},
			{"orders:write admin", jwtauth.Scopes("orders:write", "admin")},
			{"orders:write admin", jwtauth.AnyScope("orders:write", "admin")},
		}
		refuse := func(p jwtauth.Policy, token, needed string) {
			t.Helper()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			answer := httptest.NewRecorder()
			w.auth.With(p).Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") })).ServeHTTP(answer, r)
			require.Equal(t, http.StatusForbidden, answer.Code)
			require.Contains(t, answer.Header().Get("WWW-Authenticate"), `Bearer error="insufficient_scope"`)
			require.Contains(t, answer.Header().Get("WWW-Authenticate"), `scope="`+needed+`"`)
			got, err := w.auth.With(p).Authenticate(r)
			require.ErrorIs(t, err, jwtauth.ErrRefused)
			require.ErrorIs(t, err, jwtauth.ErrPolicy)
			require.Zero(t, got)
		}
		for _, p := range policies {
			for _, scope := range []any{
				nil, "", "orders", "orders:writer", "xorders:write", "Orders:Write", "orders:read", "orders :write", "orders:write,x", "orders:write\tx", "orders:*", "*",
				[]string{}, []string{"orders:read"}, []string{"orders:write x"}, []string{" orders:write"},
			} {
				token := w.sign(w.claims(map[string]any{"scope": scope}))
				w.requireAccepted(token) // it is good, where no scope is asked for
				refuse(p.policy, token, p.needed)
			}
			refuse(p.policy, w.login("alice", "orders:read").AccessToken, p.needed)
			for _, claim := range []string{"scp", "scopes", "permissions"} {
				refuse(p.policy, w.sign(w.claims(map[string]any{claim: "orders:write admin"})), p.needed)
			}
			for _, scope := range []any{"orders:write admin", "x orders:write  admin", []string{"admin", "orders:write"}} {
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.Header.Set("Authorization", "Bearer "+w.sign(w.claims(map[string]any{"scope": scope})))
				_, err := w.auth.With(p.policy).Authenticate(r)
				require.NoError(t, err)
			}
		}
		refuse(jwtauth.Scopes("orders:write", "admin"), w.login("alice", "orders:write").AccessToken, "orders:write admin")
	}},
	{"C19", "issuer and key not bound", func(t *testing.T) {
		for _, alg := range everyAlgorithm {
			w := newWorldWith(t, alg)
			const issuerB = "https://b.test"
			keyB := newKeyOf(t, alg)
			ringB, err := jwtauth.NewKeyRing(keyB)
			require.NoError(t, err)
			b, err := jwtauth.NewVerifier(ringB, jwtauth.VerifierOptions{Issuer: issuerB, Audiences: []string{"https://b-api.test"}, Now: w.clock.Now})
			require.NoError(t, err)
			keyA := w.key
			w.verifier, err = jwtauth.AnyOf(w.verifier, b)
			require.NoError(t, err)
			w.auth, err = jwtauth.NewMiddleware(w.verifier, jwtauth.MiddlewareOptions{})
			require.NoError(t, err)

			ofA := w.claims(nil)
			ofB := w.claims(map[string]any{"iss": issuerB, "aud": "https://b-api.test"})
			w.requireAccepted(signWith(t, keyA, header(keyA, nil), ofA))
			w.requireAccepted(signWith(t, keyB, header(keyB, nil), ofB))
			for _, c := range []struct {
				signing, named *jwtauth.SigningKey
				claims         map[string]any
				check          string
			}{
				{keyB, keyB, ofA, "key"}, {keyB, keyA, ofA, "signature"}, {keyA, keyA, ofB, "key"}, {keyA, keyB, ofB, "signature"},
				{keyA, keyA, w.claims(map[string]any{"iss": "https://c.test"}), "iss"}, {keyA, keyA, w.claims(map[string]any{"iss": nil}), "iss"},
				{keyA, keyA, w.claims(map[string]any{"aud": "https://b-api.test"}), "aud"}, {keyB, keyB, w.claims(map[string]any{"iss": issuerB}), "aud"},
			} {
				w.requireRefusedBy(c.check, signWith(t, c.signing, header(c.named, nil), c.claims))
			}
			w.requireRefusedBy("signature", signWith(t, keyB, header(keyB, map[string]any{"kid": nil}), ofA))
			// One reading of iss: nobody is chosen by one and checked against another.
			for _, claims := range []string{`{"iss":"` + issuerB + `",`, `{"ISS":"` + issuerB + `",`, `{"\u0069ss":"` + issuerB + `",`} {
				claims += strings.TrimPrefix(text(t, ofA), "{")
				w.requireRefusedBy("claims", signWith(t, keyA, header(keyA, nil), claims))
				w.requireRefusedBy("claims", signWith(t, keyB, header(keyB, nil), claims))
			}
			// What the one has verified, the other does not take for its own.
			verified := w.requireAccepted(signWith(t, keyA, header(keyA, nil), ofA))
			require.ErrorIs(t, b.Recheck(t.Context(), verified), jwtauth.ErrTokenIssuer)
		}
	}},
	{"C21", "reserved names in custom claims", func(t *testing.T) {
		w := newWorld(t)
		reserved := []string{"iss", "aud", "exp", "iat", "nbf", "jti", "sub", "sid", "typ", "scope", "client_id", "auth_time", "acr", "amr", "cnf", "act", "may_act"}
		names := slices.Clone(reserved)
		for _, name := range reserved {
			names = append(names, strings.ToUpper(name), strings.ToUpper(name[:1])+name[1:], strings.ReplaceAll(name, "s", "\u017f"))
		}
		for _, name := range names {
			for _, value := range []any{"mallory", w.clock.Now().AddDate(9, 0, 0).Unix(), nil, []string{"x"}} {
				for _, claims := range []any{
					map[string]any{name: value}, map[string]any{"x": 1, name: value}, json.RawMessage(text(t, map[string]any{name: value})),
				} {
					g := jwtauth.Grant{Subject: "alice", Claims: claims}
					r, err := w.issuer.Issue(t.Context(), g)
					require.Error(t, err, "%v", claims)
					require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
					require.Zero(t, r)
					r, err = w.issuer.IssueAccess(t.Context(), g)
					require.ErrorContains(t, err, "the issuer itself sets", "%v", claims)
					require.Zero(t, r)
				}
			}
		}
		for _, claims := range []any{
			struct {
				Exp int64 `json:"exp"`
			}{1 << 40}, struct{ Sub string }{"mallory"}, struct{ embedded }{},
			json.RawMessage(`{"\u0065xp":1}`), json.RawMessage(`{"x":1,"x":2}`), json.RawMessage(`{"x":1}{"exp":1}`), json.RawMessage(`{"x":1},"exp":1`), json.RawMessage(`[]`), "exp", 7,
		} {
			r, err := w.issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice", Claims: claims})
			require.Error(t, err, "%v", claims)
			require.Zero(t, r)
		}
		// Inside an object of the caller's own, the names are free.
		r, err := w.issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice", Claims: map[string]any{"x": map[string]any{"exp": 1, "sub": "bob"}}})
		require.NoError(t, err)
		require.Equal(t, "alice", w.requireAccepted(r.AccessToken).Subject)

		// A Reload cannot set them either.
		claims := map[string]any{"exp": 1}
		w = newWorld(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
			o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
				g.Claims = claims
				return nil
			}
		})
		first := w.login("alice")
		r, err = w.issuer.Refresh(t.Context(), first.RefreshToken)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.Zero(t, r)
		claims = map[string]any{"role": "admin"}
		r, err = w.issuer.Refresh(t.Context(), first.RefreshToken)
		require.NoError(t, err)
		w.requireAccepted(r.AccessToken)
	}},
	{"C25", "bad token on an optional-auth route", func(t *testing.T) {
		w := newWorld(t)
		type result struct{ ran, known bool }
		ask := func(authorization ...string) (*httptest.ResponseRecorder, result) {
			var got result
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if authorization != nil {
				r.Header["Authorization"] = authorization
			}
			answer := httptest.NewRecorder()
			w.auth.Optional(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, known := jwtauth.FromContext(r.Context())
				got = result{true, known}
			})).ServeHTTP(answer, r)
			return answer, got
		}
		good := w.login("alice").AccessToken
		expired := w.sign(w.claims(map[string]any{"exp": 1, "iat": 1}))
		revoked := w.login("bob").AccessToken
		require.NoError(t, w.issuer.Logout(t.Context(), revoked))
		for _, authorization := range []string{
			"Bearer garbage", "Bearer ", "Bearer", "bearer", "", "Bearer  ", "Bearer null", "Bearer undefined", "Bearer a.b.c", "Bearer ..", "Bearer\t" + good, "Bearer  " + good,
			"Bearer " + good + "x", "Bearer " + good[:len(good)-1], "Bearer " + expired, "Bearer " + revoked, "Bearer " + w.login("alice").RefreshToken,
			"Bearer " + joined(t, header(w.key, map[string]any{"alg": "none"}), w.claims(nil), nil),
			"Bearer " + signWith(t, newKey(t, jwtauth.ES256, false), header(w.key, nil), w.claims(nil)),
		} {
			answer, got := ask(authorization)
			require.Equal(t, result{}, got, "%q", authorization)
			require.Equal(t, http.StatusUnauthorized, answer.Code, "%q", authorization)
			require.Contains(t, answer.Header().Get("WWW-Authenticate"), `Bearer error="invalid_token"`)
		}
		answer, got := ask("Bearer "+good, "Bearer "+good)
		require.Equal(t, result{}, got)
		require.Equal(t, http.StatusBadRequest, answer.Code)

		_, got = ask()
		require.Equal(t, result{ran: true}, got)
		_, got = ask("Bearer " + good)
		require.Equal(t, result{ran: true, known: true}, got)
	}},
	{"C27", "claims visible before verification", func(t *testing.T) {
		asked := 0
		w := newWorld(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
			o.Check = func(context.Context, jwtauth.Token) error { asked++; return nil }
		})
		const mark = "mallory-7f3a9c"
		claims := w.claims(map[string]any{
			"sub": mark, "jti": mark + "-jti", "sid": mark + "-sid", "client_id": mark, "acr": mark, "scope": mark, "aud": []string{testAudience, mark},
			"amr": []string{mark}, "email": mark,
		})
		good := w.sign(claims)
		forged := map[string]string{
			"another key":       signWith(t, newKey(t, jwtauth.ES256, false), header(w.key, nil), claims),
			"no signature":      joined(t, header(w.key, nil), claims, nil),
			"alg none":          joined(t, header(w.key, map[string]any{"alg": "none"}), claims, nil),
			"unknown kid":       signWith(t, w.key, header(w.key, map[string]any{"kid": "x"}), claims),
			"wrong typ":         signWith(t, w.key, header(w.key, map[string]any{"typ": "JWT"}), claims),
			"crit":              signWith(t, w.key, header(w.key, map[string]any{"crit": []string{"x"}}), claims),
			"no header":         signWith(t, w.key, "null", claims),
			"too large":         w.sign(w.claims(map[string]any{"sub": mark, "x": strings.Repeat("x", 8<<10)})),
			"not canonical":     good + "=",
			"unreadable claims": w.sign(strings.Replace(text(t, claims), `{`, `{"x":1,"x":2,`, 1)),
		}
		requireNothing := func(name string, err error) {
			t.Helper()
			require.ErrorIs(t, err, jwtauth.ErrRefused, name)
			require.NotContains(t, err.Error(), mark, name)
			w.mu.Lock()
			defer w.mu.Unlock()
			require.NotEmpty(t, w.events, name)
			for _, e := range w.events {
				require.Equal(t, jwtauth.Event{Kind: e.Kind, Reason: e.Reason, Err: e.Err}, e, name)
				require.NotContains(t, e.LogValue().String(), mark, name)
			}
			w.events = nil
		}
		for name, token := range forged {
			w.kinds()
			got, err := w.verifier.Verify(t.Context(), token)
			require.Zero(t, got, name)
			requireNothing(name, err)

			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			got, err = w.auth.Authenticate(r)
			require.Zero(t, got, name)
			requireNothing(name, err)

			auth, err := jwtauth.NewMiddleware(w.verifier, jwtauth.MiddlewareOptions{
				OnError: func(rw http.ResponseWriter, r *http.Request, err error) {
					_, known := jwtauth.FromContext(r.Context())
					require.False(t, known, name)
					requireNothing(name, err)
					jwtauth.WriteError(rw, r, err)
				},
			})
			require.NoError(t, err)
			answer := httptest.NewRecorder()
			auth.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") })).ServeHTTP(answer, r)
			require.NotContains(t, answer.Body.String(), mark, name)
			for _, values := range answer.Header() {
				require.NotContains(t, strings.Join(values, "\n"), mark, name)
			}

			_, err = w.issuer.Refresh(t.Context(), token)
			requireNothing(name, err)
			requireNothing(name, w.issuer.Logout(t.Context(), token))
			anyOf, err := jwtauth.AnyOf(w.verifier)
			require.NoError(t, err)
			got, err = anyOf.Verify(t.Context(), token)
			require.Zero(t, got, name)
			requireNothing(name, err)
		}
		require.Zero(t, asked, "Check saw claims that were not verified")

		// Once the signature holds, the event tells who it was; the Token stays away.
		w.kinds()
		claims["exp"] = w.clock.Now().Unix() - 600
		got, err := w.verifier.Verify(t.Context(), w.sign(claims))
		require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
		require.Zero(t, got)
		require.Equal(t, mark, w.events[0].Subject)
		require.Equal(t, mark+"-jti", w.events[0].TokenID)
		require.Equal(t, w.key.ID(), w.events[0].KeyID)
		require.Equal(t, mark, w.requireAccepted(good).Subject)
		require.Positive(t, asked)

		requireNoUnverifiedAPI(t)
	}},
}

// embedded is a struct that brings a reserved name in by being embedded.
type embedded struct {
	Issuer string `json:"iss"`
}

func withLeeway(d time.Duration) func(*jwtauth.IssuerOptions, *jwtauth.VerifierOptions) {
	return func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.Leeway = d }
}

// effective is what a Leeway option means.
func effective(leeway time.Duration) time.Duration {
	if leeway == 0 {
		return 30 * time.Second
	}
	return max(leeway, 0)
}

// others holds a second key for each algorithm; see keyFor.
var others = make(map[jwtauth.Algorithm]*jwtauth.SigningKey)

// newKeyOf is another key for an algorithm than keyFor's, made once.
func newKeyOf(t testing.TB, alg jwtauth.Algorithm) *jwtauth.SigningKey {
	t.Helper()
	if others[alg] == nil {
		others[alg] = newKey(t, alg, false)
	}
	return others[alg]
}

// requireNoUnverifiedAPI lists what the package exports: nothing has Unverified
// in its name, and a Token comes out of verifying functions alone.
func requireNoUnverifiedAPI(t testing.TB) {
	t.Helper()
	givers := make(map[string]bool)
	for _, path := range sources(t) {
		if filepath.Dir(path) != "." {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				if n.IsExported() {
					require.NotContains(t, strings.ToLower(n.Name), "unverified", path)
				}
			case *ast.FuncDecl:
				if n.Name.IsExported() && givesToken(n.Type) {
					givers[n.Name.Name] = true
				}
			case *ast.InterfaceType:
				for _, m := range n.Methods.List {
					if f, ok := m.Type.(*ast.FuncType); ok && givesToken(f) && m.Names[0].IsExported() {
						givers[m.Names[0].Name] = true
					}
				}
			}
			return true
		})
	}
	require.ElementsMatch(t, []string{"Verify", "FromContext", "Authenticate"}, slices.Collect(maps.Keys(givers)))
}

// givesToken says whether a function returns a Token.
func givesToken(f *ast.FuncType) bool {
	if f.Results == nil {
		return false
	}
	return slices.ContainsFunc(f.Results.List, func(r *ast.Field) bool {
		of := r.Type
		if pointer, ok := of.(*ast.StarExpr); ok {
			of = pointer.X
		}
		name, ok := of.(*ast.Ident)
		return ok && name.Name == "Token"
	})
}
