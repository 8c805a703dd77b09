package provider_test

import (
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/provider"
)

func TestAWrongArgumentIsAnErrorThatSaysWhatIsExpected(t *testing.T) {
	yes := func(context.Context, string) (bool, error) { return true, nil }
	for want, p := range map[string]provider.Provider{
		"provider: Auth0: domain is \"https://tenant.us.auth0.com/\", a name such as tenant.us.auth0.com is expected": provider.Auth0("https://tenant.us.auth0.com/", "api"),
		"audience is missing":                         provider.Auth0("tenant.us.auth0.com", ""),
		"without a slash at its end":                  provider.Okta("https://org.okta.com/oauth2/default/", "api"),
		"with /oauth2/ and its name":                  provider.Okta("https://org.okta.com", "api"),
		"stands for many tenants: use EntraAnyTenant": provider.Entra("common", app),
		"the ID of a tenant is expected: a GUID":      provider.Entra("contoso.onmicrosoft.com", app),
		"in small letters":                            provider.EntraV1(strings.ToUpper("aaaaaaaa-2222-3333-4444-555555555555"), "api"),
		"clientID is missing":                         provider.Entra(tenant, ""),
		"a role is missing":                           provider.EntraApp(tenant, app),
		"allow is nil":                                provider.EntraAnyTenant(app, nil),
		"EntraAnyTenant: clientID is missing":         provider.EntraAnyTenant("", yes),
		"policy is missing":                           provider.EntraB2C("tenant", tenant, "", app),
		"name is \"tenant/x\"":                        provider.EntraB2C("tenant/x", tenant, "B2C_1_signin", app),
		"ADFS: host is":                               provider.ADFS("https://adfs.example.com", "api"),
		"appID is missing":                            provider.BotFramework(""),
		"Google: clientID is missing":                 provider.Google(""),
		"domain is \"\"":                              provider.GoogleWorkspace(googleClient, ""),
		"a project number or a URL with https":        provider.GoogleChat("http://app.example.com"),
		"it begins with /projects/":                   provider.GoogleIAP("1"),
		"Firebase: projectID is":                      provider.Firebase(""),
		"a region, an underscore and a name":          provider.Cognito("eu-west-1", "client-1"),
		"Cognito: a client ID is missing":             provider.Cognito("eu-west-1_x"),
		"CognitoID: a client ID is missing":           provider.CognitoID("eu-west-1_x", "client-1", ""),
		"Keycloak: realmURL is":                       provider.Keycloak("kc.example.com", "api"),
		"Zitadel: projectID is missing":               provider.Zitadel("name.zitadel.cloud", ""),
		"with a slash at its end is expected":         provider.Authentik("https://host/application/o/app", "client-1"),
		"Hydra: issuer is missing":                    provider.Hydra("", "api"),
		"an audience is expected, or Clients":         provider.Hydra("https://hydra.example.com/", ""),
		"Supabase: projectURL is":                     provider.Supabase("ref.supabase.co"),
		"an origin is missing":                        provider.Clerk("https://clerk.example.com"),
		"WorkOS: clientID is":                         provider.WorkOS("a/b"),
		"Descope: projectID is":                       provider.Descope(""),
		"Kinde: domain is":                            provider.Kinde("https://name.kinde.com", "api"),
		"SuperTokens: apiURL is":                      provider.SuperTokens("api.example.com"),
		"Logto: resource is missing":                  provider.Logto("https://tenant.logto.app", ""),
		"Duende: audience is missing":                 provider.Duende("https://ids.example.com", ""),
		"PingOne: issuer is":                          provider.PingOne("auth.pingone.com", "api"),
		"Spring: audience is missing":                 provider.Spring("https://auth.example.com", ""),
		"Dex: issuer is missing":                      provider.Dex("", "app"),
		"PingAM: realm is missing":                    provider.PingAM("https://am.example.com/am/oauth2", "client-1", ""),
		"BetterAuth: appURL is":                       provider.BetterAuth("app"),
		"Apple: a client ID is missing":               provider.Apple(),
		"Facebook: appID is missing":                  provider.Facebook(""),
		"repositoryID is \"org/repo\", a number":      provider.GitHubActions("aud", "org/repo"),
		"a ref is missing or empty":                   provider.GitHubActions("aud", "1", ""),
		"projectID is \"group/project\", a number":    provider.GitLabCI("https://gitlab.com", "aud", "group/project"),
		"a branch is missing or empty":                provider.GitLabCI("https://gitlab.com", "aud", "1", "main", ""),
		"repositoryUUID is missing":                   provider.Bitbucket("w", "x", "{}"),
		"CircleCI: projectID is missing":              provider.CircleCI(tenant, "", "github.com/org/repo"),
		"an origin is missing or empty":               provider.CircleCI(tenant, "p1"),
		"name none":                                   provider.GoogleChat("123", "x@example.com"),
		"namespace/name is expected":                  provider.Kubernetes("https://k", "api", "name"),
		"a service account is missing":                provider.Kubernetes("https://k", "api"),
		"whoever accepts a token for the API server":  provider.Kubernetes("https://k", "https://k", "n/s"),
		"an ID is missing":                            provider.SPIFFE("https://spire.example.org", "https://spire.example.org/keys", "api"),
		"applicationAUD is missing":                   provider.CloudflareAccess("team", ""),
		"zoneID is missing":                           provider.XSUAA("host.example.com", "app!t1", ""),
		"Shopify: secret: ":                           provider.Shopify("shop.example.com", "key", []byte("short")),
		"Issuer: audience is missing":                 provider.Issuer("https://issuer.example.com", ""),
	} {
		_, err := p.NewVerifier()
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "short")
	}
}

func TestAChangedProviderMustStillFit(t *testing.T) {
	for want, change := range map[string]func(p *provider.Provider){
		"put the name into Issuers": func(p *provider.Provider) { p.Options.Issuer = "https://other.example.com" },
		"put it into KeySet":        func(p *provider.Provider) { p.Remote.Background = true },
		"has no use for":            func(p *provider.Provider) { *p = provider.Firebase("project"); p.Clients = []string{"a"} },
		"Clients has an empty name": func(p *provider.Provider) { p.Clients = []string{"a", ""} },
		"Issuers is empty":          func(p *provider.Provider) { *p = provider.Provider{} },
		"with several Issuers":      func(p *provider.Provider) { p.Issuers = []string{"https://a.example.com", "https://b.example.com"} },
		"VerifierOptions.Leeway":    func(p *provider.Provider) { p.Options.Leeway = time.Hour },
		"RemoteOptions.Timeout":     func(p *provider.Provider) { p.Remote.Timeout = time.Hour },
		"two Verifiers of the issuer": func(p *provider.Provider) {
			*p = provider.Google(googleClient)
			p.Issuers = []string{"accounts.google.com", "accounts.google.com"}
		},
		"an issuer and keys of its own": func(p *provider.Provider) {
			*p = provider.EntraAnyTenant(app, func(context.Context, string) (bool, error) { return true, nil })
			p.KeysURL = "https://login.microsoftonline.us/common/discovery/v2.0/keys"
		},
		"EntraAnyTenant: jwtauth: Audiences": func(p *provider.Provider) {
			*p = provider.EntraAnyTenant(app, func(context.Context, string) (bool, error) { return true, nil })
			p.Options.Audiences = []string{""}
		},
	} {
		p := provider.Auth0("tenant.us.auth0.com", "https://api.example.com")
		change(&p)
		_, err := p.NewVerifier()
		require.ErrorContains(t, err, want)
	}
}

// A program that replaces Options or Checks still has the check of the provider.
func TestTheCheckOfTheProviderCannotBeTakenAway(t *testing.T) {
	all := fixture.ProviderSamples(t, "providers.json")
	clock := fixture.NewClock()
	for _, s := range all {
		if s.ID != "cognito-access" {
			continue
		}
		p := provider.Cognito("eu-west-1_example", "client-1")
		p.Options = jwtauth.VerifierOptions{InsecureAnyAudience: true, AcceptNoTyp: true, AllowNoSubject: true, Now: clock.Now, MaxLifetime: -1}
		p.Options.Checks = nil
		p.Remote = jwk.RemoteOptions{Client: source(t, &s).Client(), Now: clock.Now}
		v, err := p.NewVerifier()
		require.NoError(t, err)
		_, err = v.Verify(t.Context(), s.Sign(t, fixture.ProviderVariant{}, clock.Now()))
		require.NoError(t, err)
		_, err = v.Verify(t.Context(), s.Sign(t, fixture.ProviderVariant{Claims: map[string]any{"token_use": "id"}}, clock.Now()))
		require.ErrorIs(t, err, jwtauth.ErrTokenCheck)
		e, _ := errors.AsType[*jwtauth.Error](err)
		require.Equal(t, "provider", e.Check)
		require.Equal(t, `token_use "access"`, e.Expected)
		require.Equal(t, 401, e.Status)
	}
}

func TestATenantIsAskedForAgainAndHasItsOwnKeys(t *testing.T) {
	var s fixture.ProviderSample
	for _, one := range fixture.ProviderSamples(t, "providers.json") {
		if one.ID == "entra-any-tenant" {
			s = one
		}
	}
	clock, source := fixture.NewClock(), source(t, &s)
	var asked []string
	allowed, failure := true, error(nil)
	p := provider.EntraAnyTenant(app, func(_ context.Context, id string) (bool, error) {
		asked = append(asked, id)
		return allowed, failure
	})
	p.Options.Now, p.Remote.Now, p.Remote.Client = clock.Now, clock.Now, source.Client()
	v, err := p.NewVerifier()
	require.NoError(t, err)
	good := s.Sign(t, fixture.ProviderVariant{}, clock.Now())
	for range 3 {
		_, err = v.Verify(t.Context(), good)
		require.NoError(t, err)
	}
	require.Equal(t, []string{tenant}, asked)
	require.Equal(t, []string{s.KeysURL}, source.URLs())
	_, err = v.Verify(t.Context(), s.Sign(t, s.Accept[1], clock.Now()))
	require.NoError(t, err)
	require.Equal(t, []string{s.KeysURL, strings.Replace(s.KeysURL, tenant, tenant2, 1)}, source.URLs())
	// What has not the form of a tenant is not asked for.
	for _, iss := range []string{
		"https://login.microsoftonline.com//v2.0", "https://login.microsoftonline.com/common/v2.0", "https://login.microsoftonline.com/" + tenant,
		"https://login.microsoftonline.com/" + strings.ToUpper("aaaaaaaa-2222-3333-4444-555555555555") + "/v2.0",
		"https://login.microsoftonline.com/" + tenant + "/v2.0/", "https://sts.windows.net/" + tenant + "/", tenant,
	} {
		_, err = v.Verify(t.Context(), s.Sign(t, fixture.ProviderVariant{Claims: map[string]any{"iss": iss}}, clock.Now()))
		require.ErrorIs(t, err, jwtauth.ErrTokenIssuer, iss)
	}
	require.Len(t, asked, 2)
	clock.Advance(2 * time.Minute)
	failure = errors.New("the database is down")
	_, err = v.Verify(t.Context(), good)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	allowed, failure = false, nil
	_, err = v.Verify(t.Context(), good)
	require.ErrorIs(t, err, jwtauth.ErrTokenIssuer)
}

// TestEachFunctionHasASampleAndALineInTheDocument: a preset without a tested form would be a guess.
func TestEachFunctionHasASampleAndALineInTheDocument(t *testing.T) {
	tests, err := os.ReadFile("provider_test.go")
	require.NoError(t, err)
	page, err := os.ReadFile("../docs/providers.md")
	require.NoError(t, err)
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	functions := 0
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		require.NoError(t, err)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !f.Name.IsExported() {
				continue
			}
			functions++
			require.Contains(t, string(tests), "provider."+f.Name.Name+"(")
			require.Contains(t, string(page), "`"+f.Name.Name+"(", "%s is not in the table", f.Name.Name)
			if f.Name.Name != "Issuer" {
				require.Regexp(t, regexp.MustCompile(`(?m)^Form: `), f.Doc.Text(), "%s says no source", f.Name.Name)
				require.Regexp(t, regexp.MustCompile(`The check|no\s+further\s+check`), f.Doc.Text(), "%s says no check", f.Name.Name)
			}
		}
	}
	require.Greater(t, functions, 40)
	// Each sample has settings, and each of the settings a sample.
	ids := make(map[string]bool)
	for _, s := range fixture.ProviderSamples(t, "providers.json") {
		ids[s.ID] = true
		require.True(t, presets[s.ID] != nil || s.ID == "supabase-local", s.ID)
		require.NotEmpty(t, s.Source, s.ID)
	}
	for id := range presets {
		require.True(t, ids[id], id)
	}
}

// Spring's keys have no alg. Whoever signs with PS256 there must learn what to set.
func TestTheLogSaysForWhichAlgorithmTheKeyIs(t *testing.T) {
	for _, s := range fixture.ProviderSamples(t, "providers.json") {
		if s.ID != "spring-ps256" {
			continue
		}
		clock := fixture.NewClock()
		p := provider.Spring("https://auth.example.com", "client-1")
		p.Options.Now, p.Remote.Now, p.Remote.Client = clock.Now, clock.Now, source(t, &s).Client()
		v, err := p.NewVerifier()
		require.NoError(t, err)
		_, err = v.Verify(t.Context(), s.Sign(t, fixture.ProviderVariant{}, clock.Now()))
		require.ErrorIs(t, err, jwtauth.ErrTokenKey)
		e, _ := errors.AsType[*jwtauth.Error](err)
		require.Equal(t, "alg RS256, which the key of this kid is for", e.Expected)
		require.Equal(t, `"PS256" "k1"`, e.Got)
	}
}

func TestAnEmptyClaimIsNotPresent(t *testing.T) {
	w := fixture.New(t)
	p := provider.Spring("https://auth.example.com", "app")
	p.KeySet, p.Options.Now = w.Keys, w.Clock.Now
	v, err := p.NewVerifier()
	require.NoError(t, err)
	for scope, accepted := range map[string]bool{`"a"`: true, `["a"]`: true, `""`: false, `" "`: false, `[]`: false, `[ ]`: false, `[""]`: false, `null`: false} {
		token := w.Sign(w.Claims(map[string]any{"iss": "https://auth.example.com", "aud": "app", "scope": json.RawMessage(scope)}))
		_, err := v.Verify(t.Context(), token)
		require.Equal(t, accepted, err == nil, "%s: %v", scope, err)
	}
}

func TestAPullRequestOfGitHubIsAcceptedOnlyIfTheProgramNamesIt(t *testing.T) {
	w := fixture.New(t)
	token := w.Sign(w.Claims(map[string]any{"iss": "https://token.actions.githubusercontent.com", "aud": "a", "repository_id": "1", "ref": "refs/pull/1/merge"}))
	for _, refs := range [][]string{nil, {"refs/heads/main"}, {"refs/pull/1/merge"}} {
		p := provider.GitHubActions("a", "1", refs...)
		p.KeySet, p.Options.Now = w.Keys, w.Clock.Now
		v, err := p.NewVerifier()
		require.NoError(t, err)
		_, err = v.Verify(t.Context(), token)
		require.Equal(t, len(refs) == 1 && refs[0] == "refs/pull/1/merge", err == nil, "%v: %v", refs, err)
	}
}

func TestAudiencesOfAProviderMayComeFromTheEnvironment(t *testing.T) {
	t.Setenv("JWTAUTH_AUDIENCES", "https://api.example.com")
	p := provider.Hydra("https://hydra.example.com/", "")
	p.Options.FromEnv = true
	_, err := p.NewVerifier()
	require.NoError(t, err)
}
