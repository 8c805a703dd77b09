package jwk_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/hook"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// FuzzKeys parses a text as a key. The key is the same after it was encoded and parsed
// again. No text is both a public and a private key.
func FuzzKeys(f *testing.F) {
	var keys []fixture.RfcKey
	fixture.ReadRFC(f, "jwk.json", &keys)
	for _, k := range keys {
		f.Add([]byte(k.JWK))
		for _, alg := range []jwk.Algorithm{"", jwk.PS512} {
			if key, err := jwk.ParseSigning(alg, k.JWK); err == nil {
				seedKey(f, key)
			}
		}
	}
	seedKey(f, fixture.FuzzHMACKey(f, jwk.HS512, "mac"))
	for _, text := range []string{
		``, `{}`, `{"kty":"oct","k":""}`, `{"kty":"EC","crv":"P-256","x":"","y":""}`, `{"kty":"OKP","crv":"Ed25519","x":"AA"}`,
		`{"kty":"RSA","n":"AQAB","e":"AQAB"}`, `{"keys":[]}`, "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
		"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		public, err := jwk.ParseVerification("", data)
		if err == nil {
			samePublic(t, public)
		} else if public != nil {
			t.Fatalf("%q: a key beside an error", data)
		}
		signing, signingErr := jwk.ParseSigning("", data)
		if signingErr != nil {
			if signing != nil {
				t.Fatalf("%q: a key beside an error", data)
			}
			return
		}
		if err == nil {
			t.Fatalf("a public key that signs: %q", data)
		}
		text, err := signing.PrivateJWK()
		if err != nil {
			t.Fatalf("%q cannot be encoded: %v", data, err)
		}
		again, err := jwk.ParseSigning("", text)
		if err != nil || again.ID() != signing.ID() || again.Algorithm() != signing.Algorithm() {
			t.Fatalf("%s is not read again: %v", text, err)
		}
		if more, err := again.PrivateJWK(); err != nil || !bytes.Equal(more, text) {
			t.Fatalf("%s became %s: %v", text, more, err)
		}
		if fixture.PublicOf(signing.Verification()) == nil {
			return // HMAC: there is neither a public half nor a PEM form
		}
		samePublic(t, signing.Verification())
		text, err = signing.PrivatePEM()
		if err != nil {
			t.Fatal(err)
		}
		again, err = jwk.ParseSigning(signing.Algorithm(), text)
		if err != nil || !sameMaterial(again.Verification(), signing.Verification()) {
			t.Fatalf("%s is not read again: %v", text, err)
		}
	})
}

// samePublic fails the test unless the JWK and the PEM of a key are read as the same key.
func samePublic(t *testing.T, k *jwk.VerificationKey) {
	text, err := k.JWK()
	if err != nil {
		t.Fatalf("%v cannot be encoded: %v", k, err)
	}
	again, err := jwk.ParseVerification("", text)
	if err != nil || again.ID() != k.ID() || again.Algorithm() != k.Algorithm() || !sameMaterial(again, k) {
		t.Fatalf("%s is not read again: %v", text, err)
	}
	if more, err := again.JWK(); err != nil || !bytes.Equal(more, text) {
		t.Fatalf("%s became %s: %v", text, more, err)
	}
	if text, err = k.PEM(); err != nil {
		t.Fatalf("%v cannot be encoded: %v", k, err)
	}
	again, err = jwk.ParseVerification(k.Algorithm(), text)
	if err != nil || !sameMaterial(again, k) {
		t.Fatalf("%s is not read again: %v", text, err)
	}
}

func sameMaterial(a, b *jwk.VerificationKey) bool {
	public, ok := fixture.PublicOf(a).(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(fixture.PublicOf(b))
}

// FuzzKeySet serves a text as a JWK Set. The text is either a set each time or never. Its
// keys are public, can be used, and differ in kid or algorithm. The same text, read again,
// changes nothing.
func FuzzKeySet(f *testing.F) {
	ec, rsa, ed := fixture.KeyFor(f, jwk.ES256), fixture.RfcSigningKey(f, "RFC 7520, 3.4", jwk.RS256), fixture.RfcSigningKey(f, "RFC 8037, A.1", jwk.EdDSA)
	mac, err := fixture.KeyFor(f, jwk.HS256).PrivateJWK()
	require.NoError(f, err)
	private, err := ec.PrivateJWK()
	require.NoError(f, err)
	for _, set := range []string{
		fixture.JWKS(f, ec, rsa, ed), fixture.JWKS(f, ec, ec), fixture.JWKS(f, ec.WithID("k"), rsa.WithID("k"), ed.WithID("k")), fixture.JWKS(f, ec.WithID("k"), fixture.NewKey(f, jwk.ES256).WithID("k"), ed),
		fixture.JWKS(f, mac), fixture.JWKS(f, private, ed), fixture.JWKS(f, mac, private, rsa), fixture.JWKS(f), `{"keys":[null,1,{}]}`, `{"keys":{}}`, `{"keys":[],"keys":[]}`, `[]`, ``, fixture.JWKS(f, ed) + "x",
		fixture.JWKS(f, fixture.EditJWK(f, rsa.Verification(), map[string]any{"alg": nil, "kid": nil, "use": nil})), fixture.JWKS(f, fixture.EditJWK(f, ed.Verification(), map[string]any{"use": "enc"}), ec),
		fixture.JWKS(f, fixture.EditJWK(f, ec.Verification(), map[string]any{"alg": "HS256"})), fixture.JWKS(f, fixture.EditJWK(f, ec.Verification(), map[string]any{"k": "AAAA"})), strings.Repeat(`{"keys":[`, 40),
	} {
		f.Add(set)
	}
	f.Fuzz(func(t *testing.T, set string) {
		changes := 0
		clock := fixture.NewClock()
		o := jwk.RemoteOptions{Client: fixture.NewSource(fixture.Document(set)).Client(), Now: clock.Now, OnEvent: func(_ context.Context, e event.Event) {
			if e.Kind == event.KeysChanged {
				changes++
			}
		}}
		first, err := jwk.NewRemote(fixture.JWKSURL, o)
		require.NoError(t, err)
		verdict := first.Ready(context.Background())
		if (verdict == nil) != (first.Status().Keys > 0) || verdict != nil && first.Snapshot() != nil {
			t.Fatalf("%q: %d keys, %v", set, first.Status().Keys, verdict)
		}
		clock.Advance(48 * time.Hour) // the keys can no longer be used
		if again := first.Ready(context.Background()); (again == nil) != (verdict == nil) {
			t.Fatalf("%q: first %v, then %v", set, verdict, again)
		}
		hook.WaitIdle()
		if verdict != nil {
			if changes != 0 {
				t.Fatalf("%q: no keys, which have changed", set)
			}
			return
		}
		if changes != 1 {
			t.Fatalf("%q: the same keys are others", set)
		}
		keys := snapshotKeys(t, first.Snapshot())
		o.Seed = first.Snapshot()
		seeded, err := jwk.NewRemote(fixture.JWKSURL, o)
		if err != nil {
			t.Fatalf("%s: %v", o.Seed, err)
		}
		if seeded.Status().Keys != first.Status().Keys || snapshotKeys(t, seeded.Snapshot()) != keys {
			t.Fatalf("%s is not read again", o.Seed)
		}
		clock.Advance(48 * time.Hour)
		if err := seeded.Ready(context.Background()); err != nil || changes != 1 {
			t.Fatalf("%q: %v, %d changes", set, err, changes)
		}
	})
}

// FuzzMetadata serves a text as the metadata of an issuer. Its jwks_uri is fetched only if
// the text names this issuer, and only if the URL is an https one.
func FuzzMetadata(f *testing.F) {
	good := `{"issuer":"` + fixture.Issuer + `","jwks_uri":"` + fixture.JWKSURL + `"}`
	for _, document := range []string{
		good, good + "x", " " + good, good[:len(good)-1], `{}`, `[]`, ``, `null`, strings.Replace(good, "https://keys", "http://keys", 1), strings.Replace(good, "issuer.test\"", "issuer.test/\"", 1),
		strings.Replace(good, "{", `{"issuer":"x",`, 1), strings.Replace(good, "{", `{"Issuer":"x",`, 1), strings.Replace(good, "{", `{"jwks_uri":"http://127.0.0.1",`, 1), strings.Replace(good, "issuer.test", `issuer\u002etest`, 1),
		strings.Replace(good, "https://keys", `https:\/\/user@keys`, 1), strings.Replace(good, fixture.JWKSURL, "", 1), strings.Replace(good, fixture.JWKSURL, "/jwks", 1), strings.Replace(good, fixture.JWKSURL, "https://k.test:/jwks", 1), strings.Replace(good, fixture.JWKSURL, "https://k.test/a b?c=d#e", 1),
		`{"issuer":"` + fixture.Issuer + `","jwks_uri":["` + fixture.JWKSURL + `"]}`, `{"issuer":{},"jwks_uri":1}`,
	} {
		f.Add(document)
	}
	set := fixture.JWKS(f, fixture.KeyFor(f, jwk.ES256))
	f.Fuzz(func(t *testing.T, text string) {
		const where = fixture.Issuer + "/.well-known/openid-configuration"
		s := fixture.NewSource(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.String() == where {
				fixture.Document(text).ServeHTTP(w, r)
				return
			}
			fixture.Document(set).ServeHTTP(w, r)
		}))
		keys, err := jwk.Discover(fixture.Issuer, jwk.RemoteOptions{Client: s.Client()})
		require.NoError(t, err)
		err = keys.Ready(context.Background())
		urls := s.URLs()
		if urls[0] != where || len(urls) > 2 || err == nil && len(urls) != 2 {
			t.Fatalf("%q: %q, %v", text, urls, err)
		}
		if len(urls) == 1 {
			return
		}
		var read struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := json.Unmarshal([]byte(text), &read); err != nil {
			t.Fatalf("followed, and encoding/json refuses it: %q: %v", text, err)
		}
		want, err := url.Parse(read.Keys)
		if err != nil || read.Issuer != fixture.Issuer || want.Scheme != "https" || want.Host == "" || want.String() != urls[1] {
			t.Fatalf("%q: %q was fetched", text, urls[1])
		}
	})
}

// seedKey adds every encoding of a key.
func seedKey(f *testing.F, k *jwk.SigningKey) {
	for _, encode := range []func() ([]byte, error){
		k.PrivateJWK, k.PrivatePEM, k.Verification().JWK, k.Verification().PEM,
	} {
		if text, err := encode(); err == nil {
			f.Add(text)
		}
	}
}
