package attacks_test

import (
	"context"
	"encoding/json"
	"go/ast"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

var claimAttacks = []attack{
	{"C01", "exp missing", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			e := w.RequireOnlyRefusedBy("exp", w.Sign(w.Claims(map[string]any{"exp": nil})))
			require.ErrorIs(t, e, jwtauth.ErrTokenClaim)
			w.RequireOnlyRefusedBy("exp", w.Sign(w.Claims(map[string]any{"exp": nil, "nbf": w.Clock.Now().Unix(), "expires": w.Clock.Now().Unix() + 600})))
		}
		w := fixture.New(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.MaxLifetime = -1 })
		w.RequireOnlyRefusedBy("exp", w.Sign(w.Claims(map[string]any{"exp": nil})))
	}},
	{"C02", "expired", func(t *testing.T) {
		for _, leeway := range []time.Duration{-1, 0, time.Second, 5 * time.Minute} {
			w := fixture.New(t, withLeeway(leeway))
			exp := w.Clock.Now().Add(-effective(leeway) - time.Second).Unix()
			e := w.RequireOnlyRefusedBy("exp", w.Sign(w.Claims(map[string]any{"exp": exp, "iat": exp - 600})))
			require.ErrorIs(t, e, jwtauth.ErrTokenExpired)
			w.RequireOnlyRefusedBy("exp", w.Sign(w.Claims(map[string]any{"exp": exp - 86400, "iat": exp - 86400})))
		}
		// This token was good before.
		w := fixture.New(t)
		token := w.Login("alice").AccessToken
		verified := w.RequireAccepted(token)
		w.Clock.Advance(15*time.Minute + 31*time.Second)
		w.RequireOnlyRefusedBy("exp", token)
		require.ErrorIs(t, w.Verifier.Recheck(t.Context(), verified), jwtauth.ErrTokenExpired)
	}},
	{"C03", "exp exactly now", func(t *testing.T) {
		for _, leeway := range []time.Duration{-1, 0, time.Second, 5 * time.Minute} {
			w := fixture.New(t, withLeeway(leeway))
			exp := w.Clock.Now().Add(-effective(leeway)).Unix()
			w.RequireOnlyRefusedBy("exp", w.Sign(w.Claims(map[string]any{"exp": exp, "iat": exp - 600})))
			token := w.Sign(w.Claims(map[string]any{"exp": exp + 1, "iat": exp - 600}))
			w.RequireAccepted(token)
			w.Clock.Advance(time.Second - time.Nanosecond)
			w.RequireAccepted(token)
			w.Clock.Advance(time.Nanosecond)
			w.RequireOnlyRefusedBy("exp", token)
		}
		_, err := fixture.New(t).Issuer.NewVerifier(jwtauth.VerifierOptions{Leeway: 5*time.Minute + 1})
		require.ErrorContains(t, err, "Leeway")
	}},
	{"C05", "nbf in the future", func(t *testing.T) {
		for _, leeway := range []time.Duration{-1, 0, time.Second, 5 * time.Minute} {
			w := fixture.New(t, withLeeway(leeway))
			now, latest := w.Clock.Now().Unix(), w.Clock.Now().Add(effective(leeway)).Unix()
			token := w.Sign(w.Claims(map[string]any{"nbf": latest + 1}))
			e := w.RequireOnlyRefusedBy("nbf", token)
			require.ErrorIs(t, e, jwtauth.ErrTokenNotYetValid)
			w.RequireOnlyRefusedBy("nbf", w.Sign(w.Claims(map[string]any{"nbf": now + 86400})))
			w.RequireAccepted(w.Sign(w.Claims(map[string]any{"nbf": now})))
			w.RequireAccepted(w.Sign(w.Claims(map[string]any{"nbf": latest})))
			w.RequireAccepted(w.Sign(w.Claims(map[string]any{"nbf": now - 86400})))
			w.Clock.Advance(time.Second)
			w.RequireAccepted(token)
		}
	}},
	{"C06", "iat in the future", func(t *testing.T) {
		for _, leeway := range []time.Duration{-1, 0, time.Second, 5 * time.Minute} {
			w := fixture.New(t, withLeeway(leeway))
			now, latest := w.Clock.Now().Unix(), w.Clock.Now().Add(effective(leeway)).Unix()
			e := w.RequireOnlyRefusedBy("iat", w.Sign(w.Claims(map[string]any{"iat": now + 3600, "exp": now + 7200})))
			require.ErrorIs(t, e, jwtauth.ErrTokenNotYetValid)
			w.RequireOnlyRefusedBy("iat", w.Sign(w.Claims(map[string]any{"iat": latest + 1})))
			w.RequireAccepted(w.Sign(w.Claims(map[string]any{"iat": latest})))
			w.RequireAccepted(w.Sign(w.Claims(map[string]any{"iat": now})))
		}
	}},
	{"C08", "audience of another service", func(t *testing.T) {
		w := fixture.New(t)
		other := []any{
			"other", "https://other.test", fixture.Audience + "2", fixture.Audience + "/", fixture.Audience + ".evil", fixture.Audience + " ", fixture.Audience[:len(fixture.Audience)-1], fixture.Audience[1:],
			"https://evil.test/" + fixture.Audience, strings.ToUpper(fixture.Audience), "api.test", "http://api.test", "*", ".*", fixture.Issuer, fixture.Audience + "," + fixture.Audience, fixture.Audience + "\x00",
			[]string{"other"}, []string{"other", fixture.Audience + "2"}, []string{fixture.Audience + " other"}, nil,
		}
		for _, audience := range other {
			e := w.RequireOnlyRefusedBy("aud", w.Sign(w.Claims(map[string]any{"aud": audience})))
			require.ErrorIs(t, e, jwtauth.ErrTokenAudience, "%v", audience)
		}
		for _, audience := range []any{fixture.Audience, []string{fixture.Audience}, []string{"other", fixture.Audience}, []string{fixture.Audience, "other"}} {
			w.RequireAccepted(w.Sign(w.Claims(map[string]any{"aud": audience})))
		}
		// The issuer issues this token for another one of its services.
		w = fixture.New(t, func(o *jwtauth.IssuerOptions, v *jwtauth.VerifierOptions) {
			o.Audiences, v.Audiences = []string{fixture.Audience, "https://other.test"}, []string{fixture.Audience}
		})
		for audience, refused := range map[string]bool{fixture.Audience: false, "https://other.test": true} {
			r, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice", Audiences: []string{audience}})
			require.NoError(t, err)
			if refused {
				w.RequireOnlyRefusedBy("aud", r.AccessToken)
			} else {
				w.RequireAccepted(r.AccessToken)
			}
		}
	}},
	{"C10", "verifier without an audience", func(t *testing.T) {
		w := fixture.New(t)
		for _, audiences := range [][]string{nil, {}, {""}, {fixture.Audience, ""}, {" "}, {fixture.Audience, fixture.Audience}, {fixture.Issuer + "#refresh"}} {
			v, err := jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: audiences})
			require.ErrorContains(t, err, "Audiences", "%q", audiences)
			require.Nil(t, v)
			i, err := jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: audiences})
			require.ErrorContains(t, err, "Audiences", "%q", audiences)
			require.Nil(t, i)
		}
		_, err := w.Issuer.NewVerifier(jwtauth.VerifierOptions{Audiences: []string{}})
		require.ErrorContains(t, err, "Audiences")

		// Only an option with Insecure in its name allows no audience, and none with it.
		_, err = jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, InsecureAnyAudience: true})
		require.ErrorContains(t, err, "contradict")
		_, err = w.Issuer.NewVerifier(jwtauth.VerifierOptions{InsecureAnyAudience: true})
		require.ErrorContains(t, err, "InsecureAnyAudience")
		_, err = jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, InsecureAnyAudience: true})
		require.NoError(t, err)
	}},
	{"C11", `verifier without an issuer or with ""`, func(t *testing.T) {
		w := fixture.New(t)
		for _, issuer := range []string{"", " ", "\x00", fixture.Issuer + " ", fixture.Issuer + "\n", fixture.Issuer + "#x", "\xff", strings.Repeat("x", 2000)} {
			v, err := jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: issuer, Audiences: []string{fixture.Audience}})
			require.ErrorContains(t, err, "Issuer", "%q", issuer)
			require.Nil(t, v)
			i, err := jwtauth.NewIssuer(w.Keys, jwtauth.IssuerOptions{Issuer: issuer, Audiences: []string{fixture.Audience}})
			require.ErrorContains(t, err, "Issuer", "%q", issuer)
			require.Nil(t, i)
		}
		for _, issuer := range []any{"", nil} {
			w.RequireOnlyRefusedBy("iss", w.Sign(w.Claims(map[string]any{"iss": issuer})))
		}
		_, err := w.Issuer.NewVerifier(jwtauth.VerifierOptions{Issuer: "https://other.test"})
		require.ErrorContains(t, err, "Issuer")
	}},
	{"C12", "issuer near misses", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			for _, issuer := range []any{
				fixture.Issuer + "/", fixture.Issuer + ".evil", fixture.Issuer + "/x", fixture.Issuer + "?", fixture.Issuer + "#", fixture.Issuer + " ", " " + fixture.Issuer, fixture.Issuer + "\x00", fixture.Issuer + ":443",
				fixture.Issuer[:len(fixture.Issuer)-1], fixture.Issuer[1:], "issuer.test", "http://issuer.test", "HTTPS://issuer.test", "https://ISSUER.test", "https://evil.test/" + fixture.Issuer,
				"https://i\u0455suer.test", "https://issuer.test\u200b", nil,
			} {
				e := w.RequireOnlyRefusedBy("iss", w.Sign(w.Claims(map[string]any{"iss": issuer})))
				require.ErrorIs(t, e, jwtauth.ErrTokenIssuer, "%v", issuer)
			}
		}
	}},
	{"C14", "sub missing or empty", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			for _, subject := range []any{nil, ""} {
				e := w.RequireOnlyRefusedBy("sub", w.Sign(w.Claims(map[string]any{"sub": subject})))
				require.ErrorIs(t, e, jwtauth.ErrTokenClaim)
			}
			_, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{})
			require.ErrorContains(t, err, "Subject")
			_, err = w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{})
			require.ErrorContains(t, err, "Subject")
		}
	}},
	{"C15", "jti missing while revocation is on", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			for _, jti := range []any{nil, ""} {
				token := w.Sign(w.Claims(map[string]any{"jti": jti}))
				e := w.RequireOnlyRefusedBy("jti", token)
				require.ErrorIs(t, e, jwtauth.ErrTokenClaim)
				// With a sid, only the session could be revoked.
				w.RequireOnlyRefusedBy("jti", w.Sign(w.Claims(map[string]any{"jti": jti, "sid": "s"})))

				without, err := jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now})
				require.NoError(t, err)
				verified, err := without.Verify(t.Context(), token)
				require.NoError(t, err)
				require.Error(t, w.Verifier.Revoke(t.Context(), verified))
			}
		}
	}},
	{"C17", "scope missing", func(t *testing.T) {
		w := fixture.New(t)
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
			w.Auth.With(p).Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") })).ServeHTTP(answer, r)
			require.Equal(t, http.StatusForbidden, answer.Code)
			require.Contains(t, answer.Header().Get("WWW-Authenticate"), `Bearer error="insufficient_scope"`)
			require.Contains(t, answer.Header().Get("WWW-Authenticate"), `scope="`+needed+`"`)
			got, err := w.Auth.With(p).Authenticate(r)
			require.ErrorIs(t, err, jwtauth.ErrRefused)
			require.ErrorIs(t, err, jwtauth.ErrPolicy)
			require.Zero(t, got)
		}
		for _, p := range policies {
			for _, scope := range []any{
				nil, "", "orders", "orders:writer", "xorders:write", "Orders:Write", "orders:read", "orders :write", "orders:write,x", "orders:write\tx", "orders:*", "*",
				[]string{}, []string{"orders:read"}, []string{"orders:write x"}, []string{" orders:write"},
			} {
				token := w.Sign(w.Claims(map[string]any{"scope": scope}))
				w.RequireAccepted(token) // no policy asks for a scope here
				refuse(p.policy, token, p.needed)
			}
			refuse(p.policy, w.Login("alice", "orders:read").AccessToken, p.needed)
			for _, claim := range []string{"scp", "scopes", "permissions"} {
				refuse(p.policy, w.Sign(w.Claims(map[string]any{claim: "orders:write admin"})), p.needed)
			}
			for _, scope := range []any{"orders:write admin", "x orders:write  admin", []string{"admin", "orders:write"}} {
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.Header.Set("Authorization", "Bearer "+w.Sign(w.Claims(map[string]any{"scope": scope})))
				_, err := w.Auth.With(p.policy).Authenticate(r)
				require.NoError(t, err)
			}
		}
		refuse(jwtauth.Scopes("orders:write", "admin"), w.Login("alice", "orders:write").AccessToken, "orders:write admin")
	}},
	{"C19", "issuer and key not bound", func(t *testing.T) {
		for _, alg := range fixture.EveryAlgorithm {
			w := fixture.NewWith(t, alg)
			const issuerB = "https://b.test"
			keyB := fixture.OtherKeyFor(t, alg)
			ringB, err := jwk.NewRing(keyB)
			require.NoError(t, err)
			b, err := jwtauth.NewVerifier(ringB, jwtauth.VerifierOptions{Issuer: issuerB, Audiences: []string{"https://b-api.test"}, Now: w.Clock.Now})
			require.NoError(t, err)
			keyA := w.Key
			w.Verifier, err = jwtauth.AnyOf(w.Verifier, b)
			require.NoError(t, err)
			w.Auth, err = jwtauth.NewMiddleware(w.Verifier, jwtauth.MiddlewareOptions{})
			require.NoError(t, err)

			ofA := w.Claims(nil)
			ofB := w.Claims(map[string]any{"iss": issuerB, "aud": "https://b-api.test"})
			w.RequireAccepted(fixture.SignWith(t, keyA, fixture.Header(keyA, nil), ofA))
			w.RequireAccepted(fixture.SignWith(t, keyB, fixture.Header(keyB, nil), ofB))
			for _, c := range []struct {
				signing, named *jwk.SigningKey
				claims         map[string]any
				check          string
			}{
				{keyB, keyB, ofA, "key"}, {keyB, keyA, ofA, "signature"}, {keyA, keyA, ofB, "key"}, {keyA, keyB, ofB, "signature"},
				{keyA, keyA, w.Claims(map[string]any{"iss": "https://c.test"}), "iss"}, {keyA, keyA, w.Claims(map[string]any{"iss": nil}), "iss"},
				{keyA, keyA, w.Claims(map[string]any{"aud": "https://b-api.test"}), "aud"}, {keyB, keyB, w.Claims(map[string]any{"iss": issuerB}), "aud"},
			} {
				w.RequireRefusedBy(c.check, fixture.SignWith(t, c.signing, fixture.Header(c.named, nil), c.claims))
			}
			w.RequireRefusedBy("signature", fixture.SignWith(t, keyB, fixture.Header(keyB, map[string]any{"kid": nil}), ofA))
			// A token has one iss: the verifier is chosen by the same iss that is checked.
			for _, claims := range []string{`{"iss":"` + issuerB + `",`, `{"ISS":"` + issuerB + `",`, `{"\u0069ss":"` + issuerB + `",`} {
				claims += strings.TrimPrefix(fixture.Text(t, ofA), "{")
				w.RequireRefusedBy("claims", fixture.SignWith(t, keyA, fixture.Header(keyA, nil), claims))
				w.RequireRefusedBy("claims", fixture.SignWith(t, keyB, fixture.Header(keyB, nil), claims))
			}
			// A verifier refuses a token that another one has verified.
			verified := w.RequireAccepted(fixture.SignWith(t, keyA, fixture.Header(keyA, nil), ofA))
			require.ErrorIs(t, b.Recheck(t.Context(), verified), jwtauth.ErrTokenIssuer)
		}
	}},
	{"C21", "reserved names in custom claims", func(t *testing.T) {
		w := fixture.New(t)
		reserved := []string{"iss", "aud", "exp", "iat", "nbf", "jti", "sub", "sid", "typ", "scope", "client_id", "auth_time", "acr", "amr", "cnf", "act", "may_act"}
		names := slices.Clone(reserved)
		for _, name := range reserved {
			names = append(names, strings.ToUpper(name), strings.ToUpper(name[:1])+name[1:], strings.ReplaceAll(name, "s", "\u017f"))
		}
		for _, name := range names {
			for _, value := range []any{"mallory", w.Clock.Now().AddDate(9, 0, 0).Unix(), nil, []string{"x"}} {
				for _, claims := range []any{
					map[string]any{name: value}, map[string]any{"x": 1, name: value}, json.RawMessage(fixture.Text(t, map[string]any{name: value})),
				} {
					g := jwtauth.Grant{Subject: "alice", Claims: claims}
					r, err := w.Issuer.Issue(t.Context(), g)
					require.Error(t, err, "%v", claims)
					require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
					require.Zero(t, r)
					r, err = w.Issuer.IssueAccess(t.Context(), g)
					require.ErrorContains(t, err, "is a reserved name", "%v", claims)
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
			r, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice", Claims: claims})
			require.Error(t, err, "%v", claims)
			require.Zero(t, r)
		}
		// Inside an object of the program, the names are free.
		r, err := w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice", Claims: map[string]any{"x": map[string]any{"exp": 1, "sub": "bob"}}})
		require.NoError(t, err)
		require.Equal(t, "alice", w.RequireAccepted(r.AccessToken).Subject)

		// Reload cannot set them either.
		claims := map[string]any{"exp": 1}
		w = fixture.New(t, func(o *jwtauth.IssuerOptions, _ *jwtauth.VerifierOptions) {
			o.Reload = func(_ context.Context, _ jwtauth.Session, g *jwtauth.Grant) error {
				g.Claims = claims
				return nil
			}
		})
		first := w.Login("alice")
		r, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: first.RefreshToken})
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.Zero(t, r)
		claims = map[string]any{"role": "admin"}
		r, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: first.RefreshToken})
		require.NoError(t, err)
		w.RequireAccepted(r.AccessToken)
	}},
	{"C25", "bad token on an optional-auth route", func(t *testing.T) {
		w := fixture.New(t)
		type result struct{ ran, known bool }
		ask := func(authorization ...string) (*httptest.ResponseRecorder, result) {
			var got result
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if authorization != nil {
				r.Header["Authorization"] = authorization
			}
			answer := httptest.NewRecorder()
			w.Auth.Optional(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, known := jwtauth.FromContext(r.Context())
				got = result{true, known}
			})).ServeHTTP(answer, r)
			return answer, got
		}
		good := w.Login("alice").AccessToken
		expired := w.Sign(w.Claims(map[string]any{"exp": 1, "iat": 1}))
		revoked := w.Login("bob").AccessToken
		require.NoError(t, w.Issuer.Logout(t.Context(), revoked))
		for _, authorization := range []string{
			"Bearer garbage", "Bearer ", "Bearer", "bearer", "", "Bearer  ", "Bearer null", "Bearer undefined", "Bearer a.b.c", "Bearer ..", "Bearer\t" + good, "Bearer  " + good,
			"Bearer " + good + "x", "Bearer " + good[:len(good)-1], "Bearer " + expired, "Bearer " + revoked, "Bearer " + w.Login("alice").RefreshToken,
			"Bearer " + joined(t, fixture.Header(w.Key, map[string]any{"alg": "none"}), w.Claims(nil), nil),
			"Bearer " + fixture.SignWith(t, fixture.NewKey(t, jwk.ES256), fixture.Header(w.Key, nil), w.Claims(nil)),
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
		w := fixture.New(t, func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
			o.Checks = []jwtauth.Policy{jwtauth.TokenPolicy("check", func(context.Context, jwtauth.Token) (bool, error) { asked++; return true, nil })}
		})
		const mark = "mallory-7f3a9c"
		claims := w.Claims(map[string]any{
			"sub": mark, "jti": mark + "-jti", "sid": mark + "-sid", "client_id": mark, "acr": mark, "scope": mark, "aud": []string{fixture.Audience, mark},
			"amr": []string{mark}, "email": mark,
		})
		good := w.Sign(claims)
		forged := map[string]string{
			"another key":       fixture.SignWith(t, fixture.NewKey(t, jwk.ES256), fixture.Header(w.Key, nil), claims),
			"no signature":      joined(t, fixture.Header(w.Key, nil), claims, nil),
			"alg none":          joined(t, fixture.Header(w.Key, map[string]any{"alg": "none"}), claims, nil),
			"unknown kid":       fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"kid": "x"}), claims),
			"wrong typ":         fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"typ": "JWT"}), claims),
			"crit":              fixture.SignWith(t, w.Key, fixture.Header(w.Key, map[string]any{"crit": []string{"x"}}), claims),
			"no header":         fixture.SignWith(t, w.Key, "null", claims),
			"too large":         w.Sign(w.Claims(map[string]any{"sub": mark, "x": strings.Repeat("x", 16<<10)})),
			"not canonical":     good + "=",
			"unreadable claims": w.Sign(strings.Replace(fixture.Text(t, claims), `{`, `{"x":1,"x":2,`, 1)),
		}
		requireNothing := func(name string, err error) {
			t.Helper()
			require.ErrorIs(t, err, jwtauth.ErrRefused, name)
			require.NotContains(t, err.Error(), mark, name)
			events := w.Events()
			require.NotEmpty(t, events, name)
			for _, e := range events {
				require.Equal(t, event.Event{Kind: e.Kind, Reason: e.Reason, Err: e.Err}, e, name)
				require.NotContains(t, e.LogValue().String(), mark, name)
			}
		}
		for name, token := range forged {
			w.Kinds()
			got, err := w.Verifier.Verify(t.Context(), token)
			require.Zero(t, got, name)
			requireNothing(name, err)

			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			got, err = w.Auth.Authenticate(r)
			require.Zero(t, got, name)
			requireNothing(name, err)

			auth, err := jwtauth.NewMiddleware(w.Verifier, jwtauth.MiddlewareOptions{
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

			_, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: token})
			requireNothing(name, err)
			requireNothing(name, w.Issuer.Logout(t.Context(), token))
			anyOf, err := jwtauth.AnyOf(w.Verifier)
			require.NoError(t, err)
			got, err = anyOf.Verify(t.Context(), token)
			require.Zero(t, got, name)
			requireNothing(name, err)
		}
		require.Zero(t, asked, "Check saw claims that were not verified")

		// If the signature is good, the event has the subject. Verify still returns no Token.
		w.Kinds()
		claims["exp"] = w.Clock.Now().Unix() - 600
		got, err := w.Verifier.Verify(t.Context(), w.Sign(claims))
		require.ErrorIs(t, err, jwtauth.ErrTokenExpired)
		require.Zero(t, got)
		require.Equal(t, mark, w.Sent()[0].Subject)
		require.Equal(t, mark+"-jti", w.Sent()[0].TokenID)
		require.Equal(t, w.Key.ID(), w.Sent()[0].KeyID)
		require.Equal(t, mark, w.RequireAccepted(good).Subject)
		require.Positive(t, asked)

		requireNoUnverifiedAPI(t)
	}},
}

// embedded is a struct whose reserved name becomes one of the struct that embeds it.
type embedded struct {
	Issuer string `json:"iss"`
}

func withLeeway(d time.Duration) func(*jwtauth.IssuerOptions, *jwtauth.VerifierOptions) {
	return func(_ *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) { o.Leeway = d }
}

// effective returns the leeway that an option means.
func effective(leeway time.Duration) time.Duration {
	if leeway == 0 {
		return 30 * time.Second
	}
	return max(leeway, 0)
}

// requireNoUnverifiedAPI fails the test if an exported name has Unverified in it, or if
// another function than those that verify returns a Token.
func requireNoUnverifiedAPI(t testing.TB) {
	t.Helper()
	givers := make(map[string]bool)
	for _, f := range publicSources(t) {
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				if n.IsExported() {
					require.NotContains(t, strings.ToLower(n.Name), "unverified", f.path)
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
	// NewToken takes claims, and not the text of a token.
	require.ElementsMatch(t, []string{"Verify", "FromContext", "Authenticate", "NewToken"}, slices.Collect(maps.Keys(givers)))
}

// givesToken reports whether a function returns a Token.
func givesToken(f *ast.FuncType) bool {
	if f.Results == nil {
		return false
	}
	return slices.ContainsFunc(f.Results.List, func(r *ast.Field) bool {
		name := strings.TrimPrefix(exprText(r.Type), "*")
		return name == "Token" || name == "jwtauth.Token"
	})
}
