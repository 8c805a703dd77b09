package attacks_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/migrate"
	"github.com/jwtauth-go/jwtauth/replica"
)

// escapeHatches has all names that take a protection away. Each function shows that the
// protection is there by default.
var escapeHatches = map[string]func(t *testing.T, w *fixture.World){
	"jwk.RemoteOptions.InsecureLoopbackHTTP": func(t *testing.T, w *fixture.World) {
		for address, loopback := range map[string]bool{
			"127.0.0.1": true, "127.1.2.3:8080": true, "localhost:1": true, "[::1]:8443": true,
			"0.0.0.0": false, "10.0.0.1": false, "localhost.test": false, "127.0.0.1.test": false, "127.1": false, "2130706433": false, "[::ffff:10.0.0.1]": false,
		} {
			_, err := jwk.NewRemote("http://"+address+"/keys", jwk.RemoteOptions{})
			require.ErrorContains(t, err, "https", address)
			_, err = jwk.NewRemote("http://"+address+"/keys", jwk.RemoteOptions{InsecureLoopbackHTTP: true})
			require.Equal(t, loopback, err == nil, address)
		}
	},
	"jwk.RemoteOptions.InsecureHTTP": func(t *testing.T, w *fixture.World) {
		const address = "http://idp.test/keys"
		_, err := jwk.NewRemote(address, jwk.RemoteOptions{})
		require.ErrorContains(t, err, "https")
		_, err = jwk.NewRemote(address, jwk.RemoteOptions{InsecureLoopbackHTTP: true})
		require.ErrorContains(t, err, "https")
		keys, err := jwk.NewRemote(address, jwk.RemoteOptions{InsecureHTTP: true})
		require.NoError(t, err)
		_, err = jwk.NewRemote(address, jwk.RemoteOptions{InsecureHTTP: true, PublicOnly: true})
		require.ErrorContains(t, err, "contradict")
		_, err = jwk.Discover("https://idp.test", jwk.RemoteOptions{MetadataURL: "http://idp.internal/metadata"})
		require.ErrorContains(t, err, "https")
		// It is only for a URL that stands in the program, and not for issuers that come and go.
		v, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Now: w.Clock.Now})
		require.NoError(t, err)
		resolving, err := jwtauth.ResolveIssuers(func(context.Context, string, *jwtauth.Verifier) (*jwtauth.Verifier, error) { return v, nil }, jwtauth.ResolveOptions{Now: w.Clock.Now})
		require.NoError(t, err)
		_, err = resolving.Verify(t.Context(), w.Sign(w.Claims(nil)))
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.ErrorContains(t, err, "InsecureHTTP")
	},
	"IssuerOptions.InsecureAccessOutlivesSession": func(t *testing.T, w *fixture.World) {
		o := jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Sessions: w.Store}
		_, err := jwtauth.NewIssuer(w.Keys, o)
		require.ErrorContains(t, err, "InsecureAccessOutlivesSession")
		o.InsecureAccessOutlivesSession = true
		_, err = jwtauth.NewIssuer(w.Keys, o)
		require.NoError(t, err)
		o.Revocations = w.Store
		_, err = jwtauth.NewIssuer(w.Keys, o)
		require.ErrorContains(t, err, "contradict")
	},
	"VerifierOptions.InsecureAnyAudience": func(t *testing.T, w *fixture.World) {
		o := jwtauth.VerifierOptions{Issuer: fixture.Issuer, Now: w.Clock.Now}
		_, err := jwtauth.NewVerifier(w.Keys, o)
		require.ErrorContains(t, err, "Audiences")
		o.InsecureAnyAudience = true
		v, err := jwtauth.NewVerifier(w.Keys, o)
		require.NoError(t, err)
		foreign := w.Sign(w.Claims(map[string]any{"aud": "https://other.test"}))
		_, err = v.Verify(t.Context(), foreign)
		require.NoError(t, err)
		require.ErrorIs(t, w.RequireRefused(foreign), jwtauth.ErrTokenAudience)
		o.Audiences = []string{fixture.Audience}
		_, err = jwtauth.NewVerifier(w.Keys, o)
		require.ErrorContains(t, err, "contradict")
		_, err = w.Issuer.NewVerifier(jwtauth.VerifierOptions{InsecureAnyAudience: true})
		require.Error(t, err)
	},
	"VerifierOptions.InsecureNoAudience": func(t *testing.T, w *fixture.World) {
		v := w.Foreign(func(o *jwtauth.VerifierOptions) { o.InsecureNoAudience = true })
		anyClient := w.Sign(w.Claims(map[string]any{"aud": nil}))
		_, err := v.Verify(t.Context(), anyClient)
		require.NoError(t, err)
		require.ErrorIs(t, w.RequireRefused(anyClient), jwtauth.ErrTokenAudience)
		_, err = v.Verify(t.Context(), w.Sign(w.Claims(map[string]any{"aud": "https://other.test"})))
		require.ErrorIs(t, err, jwtauth.ErrTokenAudience)
	},
	"endpoints.Cookie.InsecureHTTP": func(t *testing.T, w *fixture.World) {
		login := func(insecure bool) []*http.Cookie {
			h, err := endpoints.New(w.Issuer, endpoints.Options{RefreshCookie: &endpoints.Cookie{InsecureHTTP: insecure}})
			require.NoError(t, err)
			answer := httptest.NewRecorder()
			_, err = h.Start(answer, httptest.NewRequest("POST", "/", nil), jwtauth.Grant{Subject: "alice"})
			require.NoError(t, err)
			return answer.Result().Cookies()
		}
		for _, c := range login(false) {
			require.True(t, c.Secure && strings.HasPrefix(c.Name, "__Host-Http-"))
		}
		for _, c := range login(true) {
			require.False(t, c.Secure || strings.HasPrefix(c.Name, "__"))
			require.True(t, c.HttpOnly && c.SameSite == http.SameSiteStrictMode)
		}
	},
	"migrate.Options.InsecureNoRevocations": func(t *testing.T, w *fixture.World) {
		keys, err := jwk.Static(fixture.KeyFor(t, jwk.EdDSA).Verification())
		require.NoError(t, err)
		o := migrate.Options{Until: migrate.Date{Year: 2026, Month: time.December, Day: 1}, Issuer: fixture.Issuer, Now: w.Clock.Now}
		_, err = migrate.NewVerifier(keys, o)
		require.ErrorContains(t, err, "InsecureNoRevocations")
		o.InsecureNoRevocations = true
		_, err = migrate.NewVerifier(keys, o)
		require.NoError(t, err)
		o.Revocations = w.Store
		_, err = migrate.NewVerifier(keys, o)
		require.ErrorContains(t, err, "contradict")
	},
	"migrate.InsecureSecret": func(t *testing.T, w *fixture.World) {
		_, err := jwk.NewHMAC(jwk.HS256, "", []byte("secret"))
		require.Error(t, err)
		keys, err := migrate.InsecureSecret(jwk.HS256, "", []byte("secret"))
		require.NoError(t, err)
		_, err = jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
		require.Error(t, err)
	},
	"VerifierOptions.InsecureAcceptUnknownRevocation": func(t *testing.T, w *fixture.World) {
		closed, store := fixture.NewHooked(t)
		token := closed.Login("alice").AccessToken
		var events []event.Event
		o := jwtauth.VerifierOptions{InsecureAcceptUnknownRevocation: true, OnEvent: func(_ context.Context, e event.Event) { events = append(events, e) }}
		open, err := closed.Issuer.NewVerifier(o)
		require.NoError(t, err)
		_, err = open.Verify(t.Context(), token)
		require.NoError(t, err)
		require.Empty(t, events, "there was an answer")
		store.Before = fixture.Failing
		closed.RequireUnavailable(token)
		for n := 1; n <= 3; n++ {
			got, err := open.Verify(t.Context(), token)
			require.NoError(t, err)
			require.Len(t, events, n)
			require.Equal(t, event.RevocationUnknown, events[n-1].Kind)
			require.Equal(t, got.ID, events[n-1].TokenID)
			require.ErrorIs(t, events[n-1].Err, fixture.ErrStoreDown)
		}
		_, err = jwtauth.NewVerifier(w.Keys, jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, InsecureAcceptUnknownRevocation: true})
		require.ErrorContains(t, err, "InsecureAcceptUnknownRevocation")
	},
}

func attackEscapeHatches(t *testing.T) {
	hatches := declaredIn(t).hatches
	require.ElementsMatch(t, slices.Collect(maps.Keys(hatches)), slices.Collect(maps.Keys(escapeHatches)), "an escape hatch has no test here")
	for name, comment := range hatches {
		own := name[strings.LastIndexByte(name, '.')+1:]
		require.Regexp(t, `\b`+own+`\s+\w+`, comment, "no comment says what %s does", name)
	}
	for name, off := range escapeHatches {
		t.Run(name, func(t *testing.T) { off(t, fixture.New(t)) })
	}
	// A bool of the options is false by default. Except for a few harmless ones, its name says
	// that it accepts more.
	for _, options := range []any{
		jwtauth.IssuerOptions{}, jwtauth.VerifierOptions{}, jwtauth.MiddlewareOptions{}, jwtauth.ResolveOptions{}, jwtauth.MemoryStoreOptions{},
		jwk.RemoteOptions{}, jwk.RingOptions{}, replica.Options{}, endpoints.MetadataOptions{}, endpoints.ResourceOptions{}, endpoints.ThrottleOptions{},
		endpoints.Options{}, endpoints.Cookie{}, migrate.Options{},
	} {
		of := reflect.TypeOf(options)
		for i := range of.NumField() {
			if f := of.Field(i); f.Type.Kind() == reflect.Bool {
				saysIt := slices.ContainsFunc([]string{"Insecure", "Accept", "Allow"}, func(prefix string) bool { return strings.HasPrefix(f.Name, prefix) })
				isHarmless := slices.Contains([]string{"Background", "EndOldest", "Partitioned", "IntegerSubject", "FromEnv", "PublicOnly"}, f.Name)
				require.True(t, saysIt || isHarmless, "%s.%s sounds harmless", of.Name(), f.Name)
			}
		}
	}
}
