package jwk_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
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

func TestARequestForKeysTellsNothingOfTheProgram(t *testing.T) {
	r := fixture.NewRemote(t)
	jar := &cookies{}
	redirects := func(*http.Request, []*http.Request) error { return nil }
	client := &http.Client{Transport: r.Source, Jar: jar, CheckRedirect: redirects}
	r.VerifyWith(r.NewSet(func(o *jwk.RemoteOptions) { o.Client = client }), jwtauth.VerifierOptions{})
	r.RequireAccepted(r.Token())
	asked := r.Source.Last()
	require.Equal(t, http.MethodGet, asked.Method)
	require.Equal(t, http.Header{"Accept": {"application/jwk-set+json, application/json"}, "User-Agent": {"jwtauth"}}, asked.Header)
	require.Zero(t, jar.calls.Load())
	require.Same(t, jar, client.Jar, "the caller's client is changed")
}

// cookies is a jar that counts its calls.
type cookies struct{ calls atomic.Int64 }

func (c *cookies) SetCookies(*url.URL, []*http.Cookie) { c.calls.Add(1) }

func (c *cookies) Cookies(*url.URL) []*http.Cookie {
	c.calls.Add(1)
	return nil
}

func TestALoopbackSourceIsFetchedOverHTTPWhereThatIsAllowed(t *testing.T) {
	w := fixture.New(t)
	server := httptest.NewServer(w.Keys)
	defer server.Close()
	_, err := jwk.NewRemote(server.URL, jwk.RemoteOptions{})
	require.ErrorContains(t, err, "InsecureLoopbackHTTP allows it")
	set, err := jwk.NewRemote(server.URL, jwk.RemoteOptions{InsecureLoopbackHTTP: true})
	require.NoError(t, err)
	w.VerifyWith(set, jwtauth.VerifierOptions{})
	w.RequireAccepted(w.Sign(w.Claims(nil)))
	server.Close()
	w.RequireAccepted(w.Sign(w.Claims(nil)))
}

func TestWhatHasNotChangedIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fixture.NewRemote(t)
		again := func(h http.Handler) (tag string) {
			r.Source.Serve(h)
			r.Clock.Advance(24 * time.Hour * 80 / 100)
			require.NoError(t, r.Set.Ready(t.Context()))
			synctest.Wait()
			return r.Source.Last().Header.Get("If-None-Match")
		}
		tagged := func(tag string) http.Handler {
			return fixture.Document(fixture.JWKS(t, r.Key), "ETag", tag, "Cache-Control", "max-age=86400")
		}
		unchanged := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.WriteHeader(http.StatusNotModified)
		})
		require.Empty(t, again(tagged(`"1"`)))
		require.Equal(t, `"1"`, again(tagged(`W/"2"`)))
		require.Equal(t, `W/"2"`, again(unchanged))
		require.NoError(t, r.Set.Status().LastError)
		require.Equal(t, time.Minute, r.Set.Status().FreshTo.Sub(r.Clock.Now()), "the dates are those of the old answer")
		require.Equal(t, `W/"2"`, again(unchanged), "an answer without a tag has the old one")
		longest := `"` + strings.Repeat("x", 254) + `"`
		again(tagged(longest))
		require.Equal(t, longest, again(unchanged))
		// An invalid tag is not sent back, nor one of more than 256 bytes.
		for _, odd := range []string{"", "\x01", "a\x7f", strings.Repeat("x", 5000), "x", `"x` + longest[1:]} {
			again(tagged(odd))
			require.Empty(t, again(tagged(`"3"`)), "%q", odd)
			require.NoError(t, r.Set.Status().LastError, "%q", odd)
		}
		// A 304 is an error if the request was not conditional.
		again(tagged(""))
		require.Empty(t, again(unchanged))
		require.ErrorContains(t, r.Set.Status().LastError, "the answer is 304")
	})
}

func TestCacheControlIsTakenWithinBounds(t *testing.T) {
	const day, unsaid, least = 24 * time.Hour, 15 * time.Minute, time.Minute
	type fields []string
	for _, c := range []struct {
		fields fields
		want   time.Duration
	}{
		{nil, unsaid}, {fields{"Cache-Control", ""}, unsaid}, {fields{"Cache-Control", "public"}, unsaid}, {fields{"Expires", "Thu, 01 Dec 1994 16:00:00 GMT"}, unsaid},
		{fields{"Cache-Control", "max-age=600"}, 10 * time.Minute}, {fields{"Cache-Control", "public, MAX-AGE=600, must-revalidate"}, 10 * time.Minute},
		{fields{"Cache-Control", `max-age="600"`}, 10 * time.Minute}, {fields{"Cache-Control", "public,max-age=600"}, 10 * time.Minute},
		{fields{"Cache-Control", "max-age=0"}, least}, {fields{"Cache-Control", "max-age=59"}, least}, {fields{"Cache-Control", "max-age=61"}, 61 * time.Second},
		{fields{"Cache-Control", "max-age=86401"}, day}, {fields{"Cache-Control", "max-age=99999999999"}, day}, {fields{"Cache-Control", "max-age=" + strings.Repeat("9", 50)}, day},
		{fields{"Cache-Control", "max-age=-5"}, least}, {fields{"Cache-Control", "max-age=abc"}, least}, {fields{"Cache-Control", "max-age"}, least}, {fields{"Cache-Control", "max-age=1.5"}, least},
		{fields{"Cache-Control", "no-store"}, least}, {fields{"Cache-Control", "no-cache"}, least}, {fields{"Cache-Control", "No-Store"}, least},
		{fields{"Cache-Control", "no-store, max-age=600"}, least}, {fields{"Cache-Control", "max-age=600, no-store"}, least}, {fields{"Cache-Control", `max-age=600, no-cache="x"`}, least},
		{fields{"Cache-Control", "public", "Cache-Control", "max-age=600"}, 10 * time.Minute}, {fields{"Cache-Control", "max-age=600", "Cache-Control", "no-store"}, least},
		{fields{"Cache-Control", "s-maxage=600"}, unsaid}, {fields{"Cache-Control", "xmax-age=600"}, unsaid}, {fields{"Cache-Control", ",,;=,"}, unsaid},
		{fields{"Cache-Control", "max-age=600", "Age", "300"}, 5 * time.Minute}, {fields{"Cache-Control", "max-age=600", "Age", "601"}, least},
		{fields{"Cache-Control", "max-age=600", "Age", "x"}, 10 * time.Minute}, {fields{"Cache-Control", "max-age=600", "Age", "-300"}, 10 * time.Minute},
		{fields{"Cache-Control", "max-age=600", "Age", strings.Repeat("9", 50)}, least}, {fields{"Age", "60"}, unsaid},
	} {
		r := fixture.NewRemote(t)
		r.Source.Serve(fixture.Document(fixture.JWKS(t, r.Key), c.fields...))
		r.RequireAccepted(r.Token())
		s := r.Set.Status()
		require.Equal(t, c.want, s.FreshTo.Sub(s.FetchedAt), "%q", c.fields)
	}
	r := fixture.NewRemote(t)
	for said, want := range map[string]time.Duration{"no-store": 2 * time.Second, "max-age=1": 2 * time.Second, "max-age=3": 3 * time.Second, "max-age=600": 4 * time.Second, "": 4 * time.Second} {
		r.Source.Serve(fixture.Document(fixture.JWKS(t, r.Key), "Cache-Control", said))
		set := r.NewSet(func(o *jwk.RemoteOptions) {
			o.MinAge, o.MaxAge, o.MaxStale = 2*time.Second, 4*time.Second, -1
		})
		require.NoError(t, set.Ready(t.Context()))
		require.Equal(t, want, set.Status().FreshTo.Sub(r.Clock.Now()), said)
		require.Equal(t, set.Status().FreshTo, set.Status().UsableTo)
	}
}

// Keys that were fetched before stay in use. Without such keys, the answer about every token
// is ErrUnavailable.
func TestAnAnswerThatIsNoKeySetChangesNothing(t *testing.T) {
	good := fixture.JWKS(t, fixture.KeyFor(t, jwk.ES256))
	typed := func(mediaType, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{mediaType}
			fmt.Fprint(w, body)
		})
	}
	for name, fault := range map[string]http.Handler{
		"500": fixture.Status(500), "404": fixture.Status(404), "204": fixture.Status(204), "206": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusPartialContent)
			fmt.Fprint(w, good)
		}),
		"a 500 with keys": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, good)
		}),
		"HTML": typed("text/html; charset=utf-8", "<!doctype html>"), "text": typed("text/plain", "maintenance"), "no type": typed("", "["+good+"]"),
		"nothing": fixture.Document(""), "null": fixture.Document("null"), "an array": fixture.Document("[" + good + "]"), "text in it": fixture.Document(`"keys"`), "no JSON": fixture.Document("<html>"),
		"cut": fixture.Document(good[:len(good)-2]), "more": fixture.Document(good + good), "an empty set": fixture.Document(`{"keys":[]}`), "no keys": fixture.Document(`{}`), "KEYS": fixture.Document(`{"KEYS":[]}`),
		"keys twice": fixture.Document(strings.Replace(good, `{"keys"`, `{"keys":[],"keys"`, 1)), "Keys beside keys": fixture.Document(strings.Replace(good, `{"keys"`, `{"Keys":[],"keys"`, 1)),
		"a name twice in a key": fixture.Document(strings.Replace(good, `"kty"`, `"x5t":"","x5t":"","kty"`, 1)), "keys that are none": fixture.Document(`{"keys":{}}`), "a key alone": fixture.Document(good[len(`{"keys":[`) : len(good)-2]), "keys of nothing": fixture.Document(`{"keys":[null,1,"x",[],{}]}`),
		"deep": fixture.Document(`{"keys":[` + strings.Repeat("[", 10000) + `]}`), "invalid UTF-8": fixture.Document(strings.Replace(good, `"EC"`, "\"\xff\"", 1)),
		"more than a MiB":     fixture.Document(good + strings.Repeat(" ", 1<<20)),
		"only symmetric keys": fixture.Document(fixture.JWKS(t, map[string]any{"kty": "oct", "kid": "k", "k": base64.RawURLEncoding.EncodeToString([]byte(rand.Text() + rand.Text()))})),
	} {
		cold := fixture.NewRemote(t)
		cold.Source.Serve(fault)
		cold.RequireUnavailable(cold.Token())
		require.Error(t, cold.Set.Status().LastError, name)
		require.Zero(t, cold.Set.Status().Keys, name)
		require.Nil(t, cold.Set.Snapshot(), name)

		warm := fixture.NewRemote(t)
		token := warm.Token()
		warm.RequireAccepted(token)
		fetched := warm.Set.Status().FetchedAt
		warm.Clock.Advance(time.Minute)
		warm.Source.Serve(fault)
		warm.RequireUnavailable(warm.Unknown("x"))
		require.Equal(t, 2, warm.Source.Asked(), name)
		require.Equal(t, 1, warm.Set.Status().Keys, name)
		require.Equal(t, fetched, warm.Set.Status().FetchedAt, name)
		require.Contains(t, warm.KeyKinds(), event.KeysUnavailable, name)
		warm.RequireAccepted(token)
	}
	for name, fine := range map[string]http.Handler{
		"application/json": typed("application/json", good), "jwk-set": typed("application/jwk-set+json", good), "a parameter": typed("application/json; charset=utf-8", good),
		"a broken parameter": typed("application/json; charset", good), "upper case": typed("Application/JSON", good),
		"HTML": typed("text/html; charset=utf-8", good), "text": typed("text/plain", " \n"+good), "bytes": typed("application/octet-stream", good), "no type": typed("", good), "a type that is none": typed("json", good),
		"spaces": fixture.Document(" \n" + good + "\r\n\t"), "a MiB": fixture.Document(good + strings.Repeat(" ", 1<<20-len(good))), "other members": fixture.Document(strings.Replace(good, `{"keys"`, `{"x":[{}],"keys"`, 1)),
	} {
		r := fixture.NewRemote(t)
		r.Source.Serve(fine)
		require.NoError(t, r.Set.Ready(t.Context()), name)
	}
}

func TestTwoKeysOfOneKidAreToldApartByTheirAlgorithm(t *testing.T) {
	r := fixture.NewRemote(t)
	ec, ed, other := fixture.KeyFor(t, jwk.ES256).WithID("k"), fixture.KeyFor(t, jwk.EdDSA).WithID("k"), fixture.NewKey(t, jwk.ES384).WithID("k")
	r.Source.Serve(fixture.Document(fixture.JWKS(t, ec, ed, other)))
	for _, k := range []*jwk.SigningKey{ec, ed, other} {
		r.RequireAccepted(fixture.SignWith(t, k, fixture.Header(k, nil), r.Claims(nil)))
		for _, alg := range []string{"ES256", "ES384", "EdDSA"} {
			if alg != string(k.Algorithm()) {
				require.ErrorIs(t, r.RequireRefused(fixture.SignWith(t, k, fixture.Header(k, map[string]any{"alg": alg}), r.Claims(nil))), jwtauth.ErrTokenSignature)
			}
		}
	}
	require.Equal(t, 3, r.Set.Status().Keys)
	require.Equal(t, []event.Kind{event.KeysChanged}, r.KeyKinds())
}

func TestKeysThatAreLeftOutAreReported(t *testing.T) {
	r := fixture.NewRemote(t)
	a, b := fixture.KeyFor(t, jwk.EdDSA).WithID("twice"), fixture.NewKey(t, jwk.EdDSA).WithID("twice")
	r.Source.Serve(fixture.Document(fixture.JWKS(t, r.Key, map[string]any{"kty": "EC", "crv": "secp256k1", "kid": "koblitz"}, a, b, r.Key)))
	r.RequireAccepted(r.Token())
	require.Equal(t, 1, r.Set.Status().Keys)
	events := r.KeyEvents()
	require.Len(t, events, 4)
	for i, want := range []struct {
		kind               event.Kind
		reason, kid, error string
	}{
		{event.KeySkipped, "unusable", "", `key 2 of the JWK Set: unknown curve "secp256k1"`}, {event.KeySkipped, "ambiguous", "twice", `"twice"`},
		{event.KeySkipped, "ambiguous", "twice", "EdDSA"}, {event.KeysChanged, "", "", ""},
	} {
		e := events[i]
		require.Equal(t, want.kind, e.Kind)
		require.Equal(t, want.reason, e.Reason)
		require.Equal(t, want.kid, e.KeyID)
		if want.error != "" {
			require.ErrorContains(t, e.Err, want.error)
		}
	}
}

// The error goes into logs, and the source chooses its text.
func TestAnErrorOfTheSourceIsShort(t *testing.T) {
	long := strings.Repeat("x", 50_000)
	for name, fault := range map[string]http.Handler{
		"a redirect":   http.RedirectHandler("https://other.test/"+long, http.StatusFound),
		"a media type": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "a/"+long) }),
		"a kid":        fixture.Document(`{"keys":[{"kty":"` + long + `","kid":"` + long + `"}]}`),
		"a location": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", ":"+long)
			w.WriteHeader(http.StatusFound)
		}),
	} {
		r := fixture.NewRemote(t)
		r.Source.Serve(fault)
		require.Error(t, r.Set.Ready(t.Context()))
		for _, e := range r.KeyEvents() {
			require.Less(t, len(e.Err.Error()), 1000, name)
		}
		require.Less(t, len(r.Set.Status().LastError.Error()), 1000, name)
	}
	r := fixture.Discovered(t, fixture.Issuer, fixture.Directory{fixture.Issuer + "/.well-known/openid-configuration": fixture.Metadata(long, long)})
	require.Error(t, r.Set.Ready(t.Context()))
	require.Less(t, len(r.Set.Status().LastError.Error()), 1000)
}
