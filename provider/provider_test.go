package provider_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/provider"
)

// sample is a documented form of token in testdata/providers.json, with variants. The variants
// are JSON merge patches (RFC 7396). "now" and "now+3600" stand for dates.
type sample struct {
	ID, Token, Source string
	Key               string // the key that signs
	Secret            string // the key, for HMAC
	Header, Claims    map[string]any
	Grow              *struct { // a long list
		Claim, Kind string
		Count       int
	}
	KeysURL string `json:"keys_url"` // where the JWK Set must be asked for
	JWKS    *struct {
		MediaType string `json:"media_type"`
		Keys      []struct {
			Key     string
			Members map[string]any
		}
		Beside map[string]any
	}
	Scopes []string // what Token.Scopes must return
	Aud    string   // the claim with the audience; none if there is none
	Accept []variant
	Refuse []variant
}

type variant struct {
	Name, Why, Key string
	Header, Claims map[string]any
}

const (
	tenant  = "11111111-2222-3333-4444-555555555555"
	tenant2 = "22222222-2222-3333-4444-555555555555"
	app     = "aaaaaaaa-0000-0000-0000-000000000001"
)

// presets has the settings for each sample: a function of the package and, at most, one setting that
// its comment names.
var presets = map[string]func() provider.Provider{
	"rfc9068": func() provider.Provider {
		return provider.Issuer("https://issuer.example.com", "https://api.example.com")
	},
	"auth0-user": func() provider.Provider { return provider.Auth0("tenant.us.auth0.com", "https://api.example.com") },
	"auth0-rfc9068": func() provider.Provider {
		return ofClients(provider.Auth0("tenant.us.auth0.com", "https://api.example.com"), "client-1")
	},
	"auth0-machine": func() provider.Provider {
		return provider.Auth0Machine("tenant.us.auth0.com", "https://api.example.com", "client-1")
	},
	"auth0-30days": func() provider.Provider {
		p := provider.Auth0Machine("tenant.us.auth0.com", "https://api.example.com")
		p.Options.MaxLifetime = 30 * 24 * time.Hour
		return p
	},
	"okta-user": func() provider.Provider {
		return ofClients(provider.Okta("https://tenant.okta.com/oauth2/default", "api://default"), "client-1")
	},
	"entra-user":   func() provider.Provider { return provider.Entra(tenant, app) },
	"entra-cae":    func() provider.Provider { return provider.Entra(tenant, app) },
	"entra-groups": func() provider.Provider { return provider.Entra(tenant, app) },
	"entra-app":    func() provider.Provider { return provider.EntraApp(tenant, app, "Orders.Read") },
	"entra-v1":     func() provider.Provider { return provider.EntraV1(tenant, "api://orders") },
	"entra-any-tenant": func() provider.Provider {
		return provider.EntraAnyTenant(app, func(_ context.Context, id string) (bool, error) { return id == tenant || id == tenant2, nil })
	},
	"b2c":  func() provider.Provider { return provider.EntraB2C("tenant", tenant, "B2C_1_signin", app) },
	"adfs": func() provider.Provider { return provider.ADFS("adfs.example.com", "microsoft:identityserver:"+app) },
	"bot-framework": func() provider.Provider {
		return demands(provider.BotFramework(app), "serviceurl", "https://smba.example.com/teams/")
	},
	"google-id":          func() provider.Provider { return provider.GoogleWorkspace(googleClient, "example.com") },
	"google-consumer":    func() provider.Provider { return provider.Google(googleClient) },
	"google-chat-url":    func() provider.Provider { return provider.GoogleChat("https://app.example.com/chat") },
	"google-chat-number": func() provider.Provider { return provider.GoogleChat("1234567890") },
	"google-iap":         func() provider.Provider { return provider.GoogleIAP("/projects/1/global/backendServices/2") },
	"firebase-id":        func() provider.Provider { return provider.Firebase("project-1") },
	"cognito-access":     func() provider.Provider { return provider.Cognito("eu-west-1_example", "client-1") },
	"cognito-id":         func() provider.Provider { return provider.CognitoID("eu-west-1_example", "client-1") },
	"kubernetes-projected": func() provider.Provider {
		return provider.Kubernetes("https://kubernetes.default.svc.cluster.local", "my-api", "n/s")
	},
	"kubernetes-legacy": func() provider.Provider {
		return provider.Kubernetes("https://kubernetes.default.svc.cluster.local", "my-api", "n/s")
	},
	"github-actions": func() provider.Provider {
		return provider.GitHubActions("https://github.com/org", "1", "refs/heads/main")
	},
	"github-any-branch": func() provider.Provider { return provider.GitHubActions("https://github.com/org", "1") },
	"gitlab-ci": func() provider.Provider {
		return provider.GitLabCI("https://gitlab.com", "https://api.example.com", "20")
	},
	"gitlab-ci-branch": func() provider.Provider {
		return provider.GitLabCI("https://gitlab.com", "https://api.example.com", "20", "main")
	},
	"bitbucket": func() provider.Provider { return provider.Bitbucket("w", "x", "{r}") },
	"circleci":  func() provider.Provider { return provider.CircleCI("cccccccc-0000-0000-0000-000000000001", "p1") },
	"apple":     func() provider.Provider { return demands(provider.Apple("com.example.app"), "nonce", "n") },
	"facebook":  func() provider.Provider { return demands(provider.Facebook("1"), "nonce", "n") },
	"shopify": func() provider.Provider {
		return provider.Shopify("shop-1.example.com", "api-key", []byte(shopifySecret))
	},
	"keycloak-mapper": func() provider.Provider { return provider.Keycloak("https://kc.example.com/realms/r", "api") },
	"keycloak-lightweight": func() provider.Provider {
		p := provider.Keycloak("https://kc.example.com/realms/r", "api")
		p.Options.AllowNoSubject = true
		return p
	},
	"zitadel":          func() provider.Provider { return provider.Zitadel("name.zitadel.cloud", "1234") },
	"supabase-es256":   func() provider.Provider { return provider.Supabase("https://ref.supabase.example.com") },
	"supabase-service": func() provider.Provider { return provider.Supabase("https://ref.supabase.example.com") },
	"clerk":            func() provider.Provider { return provider.Clerk("https://clerk.example.com", "https://example.com") },
	"workos":           func() provider.Provider { return provider.WorkOS("client_1") },
	"descope":          func() provider.Provider { return provider.Descope("P2x") },
	"kinde-user":       func() provider.Provider { return provider.Kinde("tenant.kinde.com", "https://api.example.com") },
	"kinde-no-api":     func() provider.Provider { return ofClients(provider.Kinde("tenant.kinde.com", ""), "client-1") },
	"kinde-m2m": func() provider.Provider {
		p := ofClients(provider.Kinde("tenant.kinde.com", "https://api.example.com"), "client-1")
		p.Options.AllowNoSubject = true
		return p
	},
	"supertokens": func() provider.Provider { return provider.SuperTokens("https://api.example.com") },
	"authentik": func() provider.Provider {
		return provider.Authentik("https://authentik.example.com/application/o/app/", "client-1")
	},
	"hydra": func() provider.Provider {
		return provider.Hydra("https://hydra.example.com/", "https://api.example.com")
	},
	"hydra-no-aud": func() provider.Provider {
		return ofClients(provider.Hydra("https://hydra.example.com/", ""), "client-1")
	},
	"logto": func() provider.Provider {
		return ofClients(provider.Logto("https://tenant.logto.app", "https://api.example.com"), "client-1")
	},
	"dex":             func() provider.Provider { return provider.Dex("https://dex.example.com", "app") },
	"dex-peer-client": func() provider.Provider { return ofClients(provider.Dex("https://dex.example.com", "app"), "peer") },
	"spring":          func() provider.Provider { return provider.Spring("https://auth.example.com", "client-1") },
	"spring-ps256": func() provider.Provider {
		p := provider.Spring("https://auth.example.com", "client-1")
		p.Remote.Algorithms = []jwk.Algorithm{jwk.PS256}
		return p
	},
	"duende-m2m": func() provider.Provider {
		p := ofClients(provider.Duende("https://ids.example.com", "api1"), "m2m")
		p.Options.AllowNoSubject = true
		return p
	},
	"pingone-user": func() provider.Provider {
		return provider.PingOne("https://auth.pingone.com/env-1/as", "https://api.example.com")
	},
	"forgerock":       func() provider.Provider { return provider.PingAM("https://am.example.com/am/oauth2", "client-1", "/") },
	"xsuaa":           func() provider.Provider { return provider.XSUAA("sub.authentication.example.com", "app!t1", "z1") },
	"cloudflare-user": func() provider.Provider { return provider.CloudflareAccess("team", "32eafc") },
	"cloudflare-service": func() provider.Provider {
		p := ofClients(provider.CloudflareAccess("team", "32eafc"), "e367.access")
		p.Options.AllowNoSubject = true
		return p
	},
	"spiffe-iss": func() provider.Provider {
		return provider.SPIFFE("https://spire.example.org", "https://spire.example.org/keys", "my-api", "spiffe://example.org/w")
	},
	"better-auth": func() provider.Provider { return provider.BetterAuth("https://app.example.com") },
}

const (
	googleClient  = "1234567890-x.apps.googleusercontent.com"
	shopifySecret = "hush_f3a91c0e7b5d2468ac13579bdf024e6c"
)

// ofClients sets Clients.
func ofClients(p provider.Provider, ids ...string) provider.Provider {
	p.Clients = ids
	return p
}

// demands adds a check of the program.
func demands(p provider.Provider, claim, value string) provider.Provider {
	p.Options.Checks = append(p.Options.Checks, jwtauth.ClaimsPolicy(claim, func(_ context.Context, _ jwtauth.Token, c map[string]any) (bool, error) {
		return c[claim] == value, nil
	}))
	return p
}

func samples(t *testing.T) (all []sample) {
	t.Helper()
	text, err := os.ReadFile("../testdata/providers.json")
	require.NoError(t, err)
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&all))
	return all
}

// rivals are keys that differ from those of the samples.
var keys, rivals = sync.OnceValue(newKeys), sync.OnceValue(newKeys)

func newKeys() map[string]crypto.Signer {
	made := make(map[string]crypto.Signer)
	for _, name := range []string{"rsa-a", "rsa-b"} {
		made[name], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	made["p256-a"], _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	made["p384-a"], _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, made["ed25519-a"], _ = ed25519.GenerateKey(rand.Reader)
	return made
}

// dated replaces the dates of a JSON value.
func dated(v any, now time.Time) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, value := range v {
			out[name] = dated(value, now)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = dated(value, now)
		}
		return out
	case string:
		if offset, ok := strings.CutPrefix(v, "now"); ok && regexp.MustCompile(`^([+-]\d+)?$`).MatchString(offset) {
			seconds, _ := strconv.Atoi(cmpOr(offset, "0"))
			return now.Unix() + int64(seconds)
		}
	}
	return v
}

func cmpOr(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// merged returns object changed by a JSON merge patch of one level.
func merged(object, patch map[string]any) map[string]any {
	out := maps.Clone(object)
	for name, value := range patch {
		if out[name] = value; value == nil {
			delete(out, name)
		}
	}
	return out
}

// sign signs a variant of a sample with one of keys.
func (s *sample) sign(t *testing.T, v variant, keys map[string]crypto.Signer, now time.Time) string {
	t.Helper()
	claims := merged(s.Claims, v.Claims)
	if s.Grow != nil {
		var list []string
		for i := range s.Grow.Count {
			list = append(list, fmt.Sprintf("%08x-0000-4000-8000-%012x", i*2654435761%(1<<32), i))
		}
		claims[s.Grow.Claim] = list
	}
	header := merged(s.Header, v.Header)
	method := jwt.GetSigningMethod(header["alg"].(string))
	require.NotNil(t, method)
	token := &jwt.Token{Header: header, Claims: jwt.MapClaims(dated(claims, now).(map[string]any)), Method: method}
	var key any = []byte(s.Secret)
	if s.Secret == "" {
		key = keys[cmpOr(v.Key, s.Key)]
	} else if keys["rsa-a"] == rivals()["rsa-a"] {
		key = []byte("another secret that nobody would guess, 4711")
	}
	text, err := token.SignedString(key)
	require.NoError(t, err)
	return text
}

// source serves the metadata of a sample and its keys, at the addresses of the provider.
func (s *sample) source(t *testing.T) *fixture.Source {
	t.Helper()
	return fixture.NewSource(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/.well-known/openid-configuration") && r.URL.String() != s.KeysURL:
			require.Contains(t, r.URL.String(), s.Claims["iss"])
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, s.Claims["iss"], s.KeysURL)
		case r.URL.String() == s.KeysURL || s.ID == "entra-any-tenant" && r.URL.String() == strings.Replace(s.KeysURL, tenant, tenant2, 1):
			w.Header().Set("Content-Type", s.JWKS.MediaType)
			document := maps.Clone(s.JWKS.Beside)
			if document == nil {
				document = make(map[string]any)
			}
			var list []any
			for _, k := range s.JWKS.Keys {
				list = append(list, json.RawMessage(fixture.EditObject(t, publicJWK(t, keys()[k.Key]), merged(map[string]any{"alg": nil, "kid": nil, "use": nil}, k.Members))))
			}
			document["keys"] = list
			require.NoError(t, json.NewEncoder(w).Encode(document))
		default:
			http.NotFound(w, r)
		}
	}))
}

func publicJWK(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	public, _ := fixture.JWKOf(t, key)
	return public
}

// verifier makes the verifier of a sample.
func (s *sample) verifier(t *testing.T, now func() time.Time) *jwtauth.Verifier {
	t.Helper()
	require.NotNil(t, presets[s.ID], "no settings for %s", s.ID)
	p := presets[s.ID]()
	p.Options.Now, p.Remote.Now = now, now
	if s.JWKS != nil {
		p.Remote.Client = s.source(t).Client()
	}
	v, err := p.NewVerifier()
	require.NoError(t, err)
	return v
}

func TestGoodTokensOfEachProviderAreAcceptedAndTheirNeighboursAreRefused(t *testing.T) {
	accepted, refused := 0, 0
	for _, s := range samples(t) {
		t.Run(s.ID, func(t *testing.T) {
			if s.ID == "supabase-local" {
				_, err := jwk.NewHMAC(jwk.HS256, "", []byte(s.Secret))
				require.ErrorContains(t, err, "public documents")
				return
			}
			clock := fixture.NewClock()
			v := s.verifier(t, clock.Now)
			for _, good := range s.Accept {
				token := s.sign(t, good, keys(), clock.Now())
				for range 2 { // the second time, the token comes from the cache
					got, err := v.Verify(t.Context(), token)
					require.NoError(t, err, good.Name)
					require.ElementsMatch(t, s.Scopes, got.Scopes(), good.Name)
				}
				accepted++
			}
			refuse := func(name, token string) {
				for range 2 {
					_, err := v.Verify(t.Context(), token)
					require.ErrorIs(t, err, jwtauth.ErrRefused, name)
				}
				refused++
			}
			for _, bad := range s.Refuse {
				refuse(bad.Name, s.sign(t, bad, keys(), clock.Now()))
			}
			if len(s.Accept) == 0 {
				return
			}
			// What must be refused for every provider.
			token := s.sign(t, variant{}, keys(), clock.Now())
			parts := strings.Split(token, ".")
			refuse("another key under the kid", s.sign(t, variant{}, rivals(), clock.Now()))
			refuse("expired", s.sign(t, variant{}, keys(), clock.Now().Add(-31*24*time.Hour)))
			refuse("alg none", unpadded(`{"alg":"none","typ":"JWT"}`)+"."+parts[1]+".")
			refuse("changed after signing", parts[0]+"."+unpadded(`{"sub":"mallory","iss":"`+fmt.Sprint(s.Claims["iss"])+`"}`)+"."+parts[2])
			refuse("wrong iss", s.sign(t, variant{Claims: map[string]any{"iss": "https://evil.example.com"}}, keys(), clock.Now()))
			refuse("no iss", s.sign(t, variant{Claims: map[string]any{"iss": nil}}, keys(), clock.Now()))
			refuse("foreign aud", s.sign(t, variant{Claims: map[string]any{"aud": "https://evil.example.com"}}, keys(), clock.Now()))
			if s.Aud == "aud" {
				refuse("no aud", s.sign(t, variant{Claims: map[string]any{"aud": nil}}, keys(), clock.Now()))
			}
		})
	}
	t.Logf("%d accepted, %d refused", accepted, refused)
	require.Greater(t, accepted, 70)
	require.Greater(t, refused, 550)
}

func unpadded(s string) string { return fixture.Unpadded([]byte(s)) }
