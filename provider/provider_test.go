package provider_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/provider"
)

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
	"google-chat-addon": func() provider.Provider {
		return provider.GoogleChat("https://app.example.com/chat", "service-1234567890@gcp-sa-gsuiteaddons.iam.gserviceaccount.com")
	},
	"supabase-client": func() provider.Provider {
		return ofClients(provider.Supabase("https://ref.supabase.example.com"), "client-1")
	},
	"google-iap":     func() provider.Provider { return provider.GoogleIAP("/projects/1/global/backendServices/2") },
	"firebase-id":    func() provider.Provider { return provider.Firebase("project-1") },
	"cognito-access": func() provider.Provider { return provider.Cognito("eu-west-1_example", "client-1") },
	"cognito-id":     func() provider.Provider { return provider.CognitoID("eu-west-1_example", "client-1") },
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
	"circleci": func() provider.Provider {
		return provider.CircleCI("cccccccc-0000-0000-0000-000000000001", "p1", "github.com/org/repo")
	},
	"apple":    func() provider.Provider { return demands(provider.Apple("com.example.app"), "nonce", "n") },
	"facebook": func() provider.Provider { return demands(provider.Facebook("1"), "nonce", "n") },
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
	"dex":    func() provider.Provider { return provider.Dex("https://dex.example.com", "app") },
	"spring": func() provider.Provider { return provider.Spring("https://auth.example.com", "client-1") },
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

// source serves the metadata of a sample and its keys, at the addresses of the provider.
func source(t *testing.T, s *fixture.ProviderSample) *fixture.Source {
	t.Helper()
	return fixture.NewSource(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/.well-known/openid-configuration") && r.URL.String() != s.KeysURL:
			require.Contains(t, r.URL.String(), s.Claims["iss"])
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, s.Claims["iss"], s.KeysURL)
		case r.URL.String() == s.KeysURL || s.ID == "entra-any-tenant" && r.URL.String() == strings.Replace(s.KeysURL, tenant, tenant2, 1):
			w.Header().Set("Content-Type", s.JWKS.MediaType)
			fmt.Fprint(w, s.Set(t))
		default:
			http.NotFound(w, r)
		}
	}))
}

// newVerifier makes the verifier of a sample.
func newVerifier(t *testing.T, s *fixture.ProviderSample, now func() time.Time) *jwtauth.Verifier {
	t.Helper()
	require.NotNil(t, presets[s.ID], "no settings for %s", s.ID)
	p := presets[s.ID]()
	p.Options.Now, p.Remote.Now = now, now
	if s.JWKS != nil {
		p.Remote.Client = source(t, s).Client()
	}
	v, err := p.NewVerifier()
	require.NoError(t, err)
	return v
}

func TestGoodTokensOfEachProviderAreAcceptedAndTheirNeighboursAreRefused(t *testing.T) {
	accepted, refused := 0, 0
	for _, s := range fixture.ProviderSamples(t, "providers.json") {
		t.Run(s.ID, func(t *testing.T) {
			if s.ID == "supabase-local" {
				_, err := jwk.NewHMAC(jwk.HS256, "", []byte(s.Secret))
				require.ErrorContains(t, err, "public documents")
				return
			}
			clock := fixture.NewClock()
			v := newVerifier(t, &s, clock.Now)
			for _, good := range s.Accept {
				token := s.Sign(t, good, clock.Now())
				for range 2 { // the second time, the token comes from the cache
					got, err := v.Verify(t.Context(), token)
					require.NoError(t, err, good.Name)
					require.ElementsMatch(t, s.Scopes, got.Scopes(), good.Name)
				}
				accepted++
			}
			bad := make(map[string]string)
			if len(s.Accept) > 0 {
				bad = s.Bad(t, clock.Now())
			}
			for _, variant := range s.Refuse {
				bad[variant.Name] = s.Sign(t, variant, clock.Now())
			}
			for name, token := range bad {
				for range 2 {
					_, err := v.Verify(t.Context(), token)
					require.ErrorIs(t, err, jwtauth.ErrRefused, name)
				}
				if len(s.Accept) > 0 {
					refused++
				}
			}
		})
	}
	page, err := os.ReadFile("../docs/providers.md")
	require.NoError(t, err)
	row := fmt.Sprintf("| this one, package `provider` | %d of %d | %d of %d |", accepted, accepted, refused, refused)
	require.True(t, strings.Contains(string(page), row), "docs/providers.md has other figures than %s", row)
}
