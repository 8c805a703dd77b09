package attacks_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
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
	"github.com/jwtauth-go/jwtauth/jwk/keydir"
	"github.com/jwtauth-go/jwtauth/migrate"
	"github.com/jwtauth-go/jwtauth/provider"
	"github.com/jwtauth-go/jwtauth/replica"
)

// stored calls add for every text that can be reached from v, also through unexported
// fields.
func stored(v reflect.Value, seen map[uintptr]bool, add func(string)) {
	switch v.Kind() {
	case reflect.String:
		add(v.String())
	case reflect.Pointer:
		if v.IsNil() || seen[v.Pointer()] {
			return
		}
		seen[v.Pointer()] = true
		stored(v.Elem(), seen, add)
	case reflect.Interface:
		stored(v.Elem(), seen, add)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			add(string(v.Bytes()))
			return
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			stored(v.Index(i), seen, add)
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			stored(entries.Key(), seen, add)
			stored(entries.Value(), seen, add)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			stored(v.Field(i), seen, add)
		}
	}
}

func attackTokensAtRest(t *testing.T) {
	w := fixture.New(t)
	var tokens []jwtauth.TokenResponse
	for _, subject := range []string{"alice", "alice", "bob"} {
		r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: subject, Scopes: []string{"read"}, ClientID: "app", Details: map[string]string{"device": "laptop"}, Claims: map[string]any{"role": "admin"}})
		require.NoError(t, err)
		tokens = append(tokens, r, w.Refresh(r.RefreshToken))
	}
	require.NoError(t, w.Issuer.Logout(t.Context(), tokens[0].RefreshToken))
	require.NoError(t, w.Verifier.Revoke(t.Context(), w.RequireAccepted(tokens[2].AccessToken)))

	texts := []string{fmt.Sprintf("%v %+v %#v", w.Store, w.Store, w.Store)}
	for _, subject := range []string{"alice", "bob"} {
		rows, err := w.Store.List(t.Context(), fixture.Issuer, subject, "", 1000)
		require.NoError(t, err)
		texts = append(texts, fmt.Sprintf("%v %+v %#v", rows, rows, rows), fixture.Text(t, rows))
		for _, row := range rows {
			texts = append(texts, string(row.Data), string(row.Details))
		}
	}
	inside := len(texts)
	stored(reflect.ValueOf(w.Store), make(map[uintptr]bool), func(s string) { texts = append(texts, s) })
	require.Contains(t, texts[inside:], tokens[2].SessionID, "the walk does not see what is stored")
	revoked, err := w.Store.IsRevoked(t.Context(), jwtauth.SessionID(fixture.Issuer, tokens[0].SessionID))
	require.NoError(t, err)
	require.True(t, revoked)

	forbidden := fixture.NewForbidden()
	for _, r := range tokens {
		forbidden.Token(r.AccessToken)
		forbidden.Token(r.RefreshToken)
	}
	for _, s := range texts {
		forbidden.RequireAbsent(t, "the store", s)
		_, err := w.Verifier.Verify(t.Context(), s)
		require.ErrorIs(t, err, jwtauth.ErrRefused)
		_, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: s})
		require.ErrorIs(t, err, jwtauth.ErrRefused)
	}
}

// examplesOfTypes returns, for each exported type, values that a program may print.
func examplesOfTypes(t *testing.T, forbid fixture.Forbidden) map[string][]any {
	secret := sha256.Sum256([]byte(rand32(t)))
	hmac, err := jwk.NewHMAC(jwk.HS256, "", secret[:])
	require.NoError(t, err)
	keys := []*jwk.SigningKey{hmac}
	for _, alg := range []jwk.Algorithm{jwk.RS256, jwk.ES256, jwk.EdDSA, jwk.HS512} {
		keys = append(keys, fixture.KeyFor(t, alg))
	}
	var signing, verifying []any
	for _, k := range keys {
		forbid.Key(t, k)
		signing = append(signing, k, *k)
		verifying = append(verifying, k.Verification(), *k.Verification())
	}
	w := fixture.NewWith(t, jwk.HS512)
	ring, err := jwk.NewRing(hmac, keys[1].Verification())
	require.NoError(t, err)
	static, err := jwk.Static(hmac.Verification(), keys[2].Verification())
	require.NoError(t, err)
	r, err := w.Issuer.Issue(t.Context(), jwtauth.Grant{Subject: "alice", Scopes: []string{"read"}, Claims: map[string]any{"role": "admin"}})
	require.NoError(t, err)
	forbid.Token(r.AccessToken)
	forbid.Token(r.RefreshToken)
	token := w.RequireAccepted(r.AccessToken)
	rows, err := w.Store.List(t.Context(), fixture.Issuer, "alice", "", 1000)
	require.NoError(t, err)
	sessions, _, err := w.Issuer.Sessions(t.Context(), "alice", "")
	require.NoError(t, err)
	either, err := jwtauth.AnyOf(w.Verifier)
	require.NoError(t, err)
	var errs []any
	for _, bad := range []string{r.RefreshToken, r.AccessToken + "x", r.AccessToken[1:], strings.ToUpper(r.AccessToken), r.AccessToken + "." + r.RefreshToken, "{" + r.AccessToken} {
		_, err := w.Verifier.Verify(t.Context(), bad)
		require.Error(t, err)
		errs = append(errs, err)
		_, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: strings.TrimSuffix(bad, "x") + "A"})
		require.Error(t, err)
		errs = append(errs, err)
	}
	w.Refresh(w.Refresh(r.RefreshToken).RefreshToken)
	_, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
	require.ErrorIs(t, err, jwtauth.ErrTokenReused)
	var events []any
	for _, e := range w.Sent() {
		events = append(events, e, &e)
	}
	require.NotEmpty(t, events)
	foreign := fixture.NewRemote(t)
	foreign.RequireAccepted(foreign.Token())
	life := ringExample(t, forbid)
	copied := fixture.NewReplica(t, new(fixture.Engine))
	options := jwtauth.IssuerOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, Sessions: w.Store, Revocations: w.Store, RefreshKeys: ring}
	metadata, err := endpoints.NewMetadata(fixture.New(t).Issuer, endpoints.MetadataOptions{JWKSURI: fixture.JWKSURL})
	require.NoError(t, err)
	short := secret[:20]
	forbid.Secret(short)
	insecure, err := migrate.InsecureSecret(jwk.HS256, "", short)
	require.NoError(t, err)
	fixed := jwk.NewFixedSource(jwk.Stored{Keys: []jwk.StoredKey{{Key: life.key}}})
	throttle, err := endpoints.NewThrottle(endpoints.ThrottleOptions{})
	require.NoError(t, err)
	handlers, err := endpoints.New(w.Issuer, endpoints.Options{RefreshCookie: &endpoints.Cookie{}})
	require.NoError(t, err)
	return map[string][]any{
		"Issuer": {w.Issuer, *w.Issuer}, "IssuerOptions": {options, &options},
		"Verifier": {w.Verifier, *w.Verifier, either}, "ResolveOptions": {jwtauth.ResolveOptions{OnEvent: w.Record}},
		"CacheStats":      {w.Verifier.CacheStats()},
		"VerifierOptions": {jwtauth.VerifierOptions{Issuer: fixture.Issuer, Revocations: w.Store}}, "TokenVerifier": {jwtauth.TokenVerifier(w.Verifier)},
		"Middleware": {w.Auth, *w.Auth, w.Auth.With(jwtauth.Scopes("read"))}, "MiddlewareOptions": {jwtauth.MiddlewareOptions{Extractors: []jwtauth.Extractor{jwtauth.FromHeader("Authorization", "Bearer")}}},
		"Extractor": {jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromWebSocketProtocol("jwt.")}, "Policy": {jwtauth.Scopes("read")},
		"Token": {token, &token, jwtauth.NewContext(t.Context(), token)}, "TokenResponse": {r, &r}, "Grant": {jwtauth.Grant{Subject: "alice", Claims: r.AccessToken}},
		"RefreshRequest": {jwtauth.RefreshRequest{Token: r.RefreshToken, ClientID: "app"}, &jwtauth.RefreshRequest{Token: r.RefreshToken}}, "ExchangeRequest": {jwtauth.ExchangeRequest{Actor: "orders"}},
		"Session": {sessions[0], &sessions[0]}, "SessionKey": {rows[0].Key}, "SessionRecord": {rows[0], rows}, "Rotation": {jwtauth.Rotation{From: 1}},
		"SessionStore": {jwtauth.SessionStore(w.Store)}, "RevocationStore": {jwtauth.RevocationStore(w.Store)},
		"MemoryStore": {w.Store}, "MemoryStoreOptions": {jwtauth.MemoryStoreOptions{Now: w.Clock.Now}},
		"Error": errs,

		"event.Event": events, "event.Kind": {event.TokenIssued},
		"endpoints.Metadata": {metadata, *metadata}, "endpoints.MetadataOptions": {endpoints.MetadataOptions{JWKSURI: fixture.Issuer}}, "endpoints.ResourceOptions": {endpoints.ResourceOptions{Resource: fixture.Audience}},
		"endpoints.Handlers": {handlers}, "endpoints.Options": {endpoints.Options{Path: "/auth", Throttle: throttle, Verifier: w.Verifier}}, "endpoints.Cookie": {endpoints.Cookie{Name: "__Host-x"}},
		"endpoints.Throttle": {endpoints.Throttle(throttle)}, "endpoints.MemoryThrottle": {throttle}, "endpoints.ThrottleOptions": {endpoints.ThrottleOptions{Now: w.Clock.Now}},
		"migrate.Date": {migrate.Date{Year: 2027, Month: time.March, Day: 1}}, "migrate.Options": {migrate.Options{Issuer: fixture.Issuer, Revocations: w.Store}},
		"provider.Provider": {provider.Firebase("project"), &provider.Provider{KeySet: w.Keys}},
		"replica.Replica":   {copied}, "replica.Status": {copied.Status()}, "replica.Options": {replica.Options{OnEvent: w.Record}},
		"replica.Log": {new(fixture.Engine)}, "replica.Watcher": {&fixture.Bell{Engine: new(fixture.Engine)}},

		"jwk.Algorithm": {hmac.Algorithm()}, "jwk.SigningKey": signing, "jwk.VerificationKey": verifying, "jwk.ContextSigner": {struct{ jwk.ContextSigner }{}},
		"jwk.Set": {jwk.Set(static), jwk.Set(ring), jwk.Set(foreign.Set), insecure}, "jwk.StaticSet": {static, *static},
		"jwk.Ring": {ring, w.Keys}, "jwk.RingStatus": {life.ring.Status()}, "jwk.RingOptions": {jwk.RingOptions{OnEvent: w.Record}},
		"jwk.Remote": {foreign.Set}, "jwk.RemoteStatus": {foreign.Set.Status()}, "jwk.RemoteOptions": {jwk.RemoteOptions{Seed: foreign.Set.Snapshot()}},
		"jwk.Source": {jwk.Source(life.source), jwk.Source(fixed)}, "jwk.MemorySource": {life.source}, "jwk.FixedSource": {fixed, *fixed}, "keydir.Source": {life.folder, *life.folder},
		"jwk.Stored": {jwk.Stored{Keys: []jwk.StoredKey{{Key: life.key}}}}, "jwk.Durations": {jwk.Durations{AccessTTL: time.Minute}},
		"jwk.StoredKey": {jwk.StoredKey{Key: life.key}, &jwk.StoredKey{Key: life.key}}, "jwk.Life": {life.ring.Plan()[0].Life}, "jwk.Planned": {life.ring.Plan(), life.ring}, "jwk.State": {jwk.Active},
	}
}

// ringExample makes a ring whose source has its key. The key must not be printed, nor
// that of the folder.
func ringExample(t *testing.T, forbid fixture.Forbidden) (e struct {
	ring   *jwk.Ring
	source *jwk.MemorySource
	key    *jwk.SigningKey
	folder *keydir.Source
}) {
	open := func(source jwk.Source) (*jwk.Ring, *jwk.SigningKey) {
		ring, err := jwk.OpenRing(t.Context(), source, jwk.RingOptions{})
		require.NoError(t, err)
		stored, err := source.Load(t.Context())
		require.NoError(t, err)
		forbid.Key(t, stored.Keys[0].Key)
		return ring, stored.Keys[0].Key
	}
	e.source, e.folder = jwk.NewMemorySource(), keydir.New(t.TempDir())
	e.ring, e.key = open(e.source)
	open(e.folder)
	return e
}

func attackTokensInLogs(t *testing.T) {
	t.Run("values", func(t *testing.T) {
		forbid := fixture.NewForbidden()
		examples := examplesOfTypes(t, forbid)
		require.ElementsMatch(t, declaredIn(t).types, slices.Collect(maps.Keys(examples)), "a type has no example here")
		for name, values := range examples {
			for _, value := range values {
				for way, output := range fixture.Printed(value) {
					if name == "TokenResponse" && way == "JSON" { // it is the answer of the token endpoint
						_, ok := forbid.In(output)
						require.True(t, ok, "a forbidden text is not found in the JSON that has it")
						continue
					}
					forbid.RequireAbsent(t, name+" as "+way, output)
				}
				for _, inside := range []any{[]any{value}, map[string]any{"key": value}, struct{ Field any }{value}} {
					for way, output := range fixture.Printed(inside) {
						if name != "TokenResponse" || !strings.Contains(way, "JSON") {
							forbid.RequireAbsent(t, name+" inside of a value, as "+way, output)
						}
					}
				}
			}
		}
	})
	t.Run("events", func(t *testing.T) {
		for _, f := range fixture.Flows {
			var text, object bytes.Buffer
			debug := &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if source, ok := a.Value.Any().(*slog.Source); ok {
					source.File = filepath.Base(source.File) // the folder of the repository may have any name
				}
				return a
			}}
			s := fixture.NewScene(t, event.Log(slog.New(slog.NewTextHandler(&text, debug))), event.Log(slog.New(slog.NewJSONHandler(&object, debug))))
			f.Run(s)
			forbid := fixture.NewForbidden()
			for _, token := range s.Seen {
				forbid.Token(token)
			}
			forbid.Key(t, s.Key)
			require.True(t, len(f.Want) == 0 || text.Len() > 0 && object.Len() > 0, f.Name)
			forbid.RequireAbsent(t, f.Name, text.String())
			forbid.RequireAbsent(t, f.Name, object.String())
		}
	})
}
