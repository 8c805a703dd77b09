package provider

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// entraLifetime is the longest lifetime of a token for users: 28 hours with continuous access
// evaluation, 5 minutes by which nbf and iat lie in the past, and 5 minutes to spare.
const entraLifetime = 28*time.Hour + 10*time.Minute

// Entra is for access tokens of users in one tenant of Microsoft Entra ID, version 2.0, and
// for an API with the application (client) ID clientID. Scopes are in scp. Clients are in azp.
//
// The check: tid is the tenant, and scp is there. An ID token has the same aud if the API and
// its client are one registration; only scp distinguishes them. Tokens of applications have
// roles in place of scp: see [EntraApp].
//
// Form: Microsoft Learn, "Access token claims reference". tenantID is the ID (a GUID), not a
// domain.
func Entra(tenantID, clientID string) Provider {
	p := entra("Entra", tenantID, clientID)
	p.rules = append(p.rules, isPresent("scp"))
	return p
}

// EntraApp is for access tokens of applications in one tenant of Microsoft Entra ID, version 2.0,
// and for an API with the application (client) ID clientID. At least one of roles must be
// in the roles claim. Clients are in azp. Managed identities are such applications.
//
// The check: tid is the tenant, one of roles is in roles, azp is there, scp is not there, and idtyp is
// app, if it is there. Any application of the tenant can get a token for any API, but without a role.
// An ID token of a user can have roles and the same aud, but no azp.
//
// Form: Microsoft Learn, "Access token claims reference".
func EntraApp(tenantID, clientID string, roles ...string) Provider {
	p := entra("EntraApp", tenantID, clientID)
	p.needs("a role", roles...)
	p.rules = append(p.rules, containsOneOf("roles", roles...), isPresent("azp"), isAbsent("scp"), isAbsentOr("idtyp", `"app"`))
	return p
}

// EntraV1 is for access tokens of users in version 1.0 of Microsoft Entra ID. The manifest of the
// API says which version its tokens have. audience is what the API is registered as: an api:// URI
// or a URL. Scopes are in scp. Clients are in appid.
//
// The check: tid is the tenant, and scp is there.
//
// Form: Microsoft Learn, "Access token claims reference".
func EntraV1(tenantID, audience string) Provider {
	p := newProvider("EntraV1", "appid", "https://sts.windows.net/"+tenantID+"/")
	p.needsTenant(tenantID)
	p.needs("audience", audience)
	p.KeysURL = "https://login.microsoftonline.com/" + tenantID + "/discovery/keys"
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}, AcceptTypJWT: true, ScopeClaim: "scp", MaxLifetime: entraLifetime}
	p.rules = append(p.rules, isOneOf("tid", tenantID), isPresent("scp"))
	return p
}

// EntraAnyTenant is like [Entra], but accepts every tenant for which allow returns true. allow
// gets the ID of the tenant that a token names, before the signature is verified. For each tenant,
// allow is called at most once a minute. It must be quick, and must send no request to an address
// that depends on the ID. If allow returns false, the token is refused. If allow returns an error,
// the client gets 503. Compare the ID with a list of your customers. Otherwise, everybody who has
// a tenant can get tokens for your API.
//
// The keys of a tenant come from the URL of that tenant, unless KeySet is set. The issuer in the
// metadata of /common and /organizations is a template, and is not used. Issuers and KeysURL must
// stay empty.
//
// The check is that of Entra, for the tenant in iss.
//
// Form: Microsoft Learn, "Convert single-tenant app to multitenant"; "Claims validation".
func EntraAnyTenant(clientID string, allow func(ctx context.Context, tenantID string) (bool, error)) Provider {
	p := newProvider("EntraAnyTenant", "azp")
	p.needs("clientID", clientID)
	if p.allowTenant = allow; allow == nil {
		p.mistakes("allow is nil, a function is expected that knows the tenants of your customers")
	}
	p.Options = jwtauth.VerifierOptions{
		Audiences: []string{clientID}, AcceptTypJWT: true, ScopeClaim: "scp", MaxLifetime: entraLifetime,
		CacheSize: 1024, // for each tenant
	}
	p.rules = append(p.rules, isPresent("scp"))
	return p
}

// newTenantsVerifier makes the verifier of EntraAnyTenant.
func (p Provider) newTenantsVerifier() (*jwtauth.Verifier, error) {
	if len(p.Issuers) > 0 || p.KeysURL != "" {
		return nil, errors.New("the field Issuers or KeysURL is set: each tenant has an issuer and keys of its own")
	}
	newTenant := func(issuer, tenantID string) (*jwtauth.Verifier, error) {
		keys := p.KeySet
		if keys == nil {
			var err error
			if keys, err = jwk.NewRemote(entraKeys(tenantID), p.Remote); err != nil {
				return nil, err
			}
		}
		return p.newVerifierOf(issuer, keys, append(slices.Clip(p.rules), isOneOf("tid", tenantID)))
	}
	if _, err := newTenant(entraIssuer(exampleTenant), exampleTenant); err != nil { // a mistake in the options
		return nil, err
	}
	resolve := func(ctx context.Context, issuer string, known *jwtauth.Verifier) (*jwtauth.Verifier, error) {
		tenantID := strings.TrimSuffix(strings.TrimPrefix(issuer, entraPrefix), entraSuffix)
		if !isTenantID(tenantID) || issuer != entraIssuer(tenantID) {
			return nil, nil
		}
		if isAllowed, err := p.allowTenant(ctx, tenantID); err != nil || !isAllowed {
			return nil, err
		}
		if known != nil {
			return known, nil
		}
		return newTenant(issuer, tenantID)
	}
	return jwtauth.ResolveIssuers(resolve, jwtauth.ResolveOptions{MaxTokenBytes: p.Options.MaxTokenBytes, OnEvent: p.Options.OnEvent, Now: p.Options.Now})
}

// EntraB2C is for access tokens of one policy (user flow) of Azure AD B2C. name is that of the
// tenant, as in name.b2clogin.com. Scopes are in scp. Clients are in azp. If the policy is set to
// write its name into iss, change Issuers.
//
// The check: tfp or, in older policies, acr is the policy, and scp is there. All policies of the
// tenant have the same issuer. Only tfp or acr distinguishes a token of the login from one of the
// policy for editing a profile. An ID token has the same aud if the API and its client are one
// registration. So let the client ask for a scope of the API; a token for the bare client ID has
// no scp.
//
// Form: Microsoft Learn, "Overview of tokens in Azure Active Directory B2C".
func EntraB2C(name, tenantID, policy, clientID string) Provider {
	p := newProvider("EntraB2C", "azp", "https://"+name+".b2clogin.com/"+tenantID+"/v2.0/")
	p.needsHost("name", name, "contoso")
	p.needsTenant(tenantID)
	p.needs("policy", policy)
	p.needs("clientID", clientID)
	p.KeysURL = "https://" + name + ".b2clogin.com/" + name + ".onmicrosoft.com/" + policy + "/discovery/v2.0/keys"
	p.Options = jwtauth.VerifierOptions{Audiences: []string{clientID}, AcceptTypJWT: true, ScopeClaim: "scp"}
	p.rules = append(p.rules, isPolicyOf(policy), isPresent("scp"))
	return p
}

// ADFS is for access tokens of Active Directory Federation Services (2016 and later). host looks
// like adfs.example.com. Scopes are in scp. Clients are in appid. Some tokens have no sub: set
// Options.AllowNoSubject for them. There is no further check: the ID tokens have another iss.
//
// Form: Microsoft Learn, "AD FS OpenID Connect/OAuth concepts".
func ADFS(host, audience string) Provider {
	p := newProvider("ADFS", "appid", "http://"+host+"/adfs/services/trust")
	p.needsHost("host", host, "adfs.example.com")
	p.needs("audience", audience)
	p.KeysURL = "https://" + host + "/adfs/discovery/keys"
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}, AcceptTypJWT: true, ScopeClaim: "scp"}
	return p
}

// BotFramework is for the tokens that the connector of the Microsoft Bot Framework sends to a bot
// with the application ID appID. They have no sub and no iat.
//
// The check: serviceurl is there. For each request, the program must compare serviceurl with that
// of the activity in the body. Microsoft also demands that the endorsements of the key have the
// channel of the activity. This library does not check that.
//
// Form: Microsoft Learn, "Authentication with the Bot Connector API".
func BotFramework(appID string) Provider {
	p := newProvider("BotFramework", "", "https://api.botframework.com")
	p.needs("appID", appID)
	p.KeysURL = "https://login.botframework.com/v1/.well-known/keys"
	p.Options = jwtauth.VerifierOptions{Audiences: []string{appID}, AcceptTypJWT: true, AllowNoSubject: true, Leeway: 5 * time.Minute}
	p.rules = append(p.rules, isPresent("serviceurl"))
	return p
}

// entra returns what Entra and EntraApp have in common.
func entra(function, tenantID, clientID string) Provider {
	p := newProvider(function, "azp", entraIssuer(tenantID))
	p.needsTenant(tenantID)
	p.needs("clientID", clientID)
	p.KeysURL = entraKeys(tenantID)
	p.Options = jwtauth.VerifierOptions{Audiences: []string{clientID}, AcceptTypJWT: true, ScopeClaim: "scp", MaxLifetime: entraLifetime}
	p.rules = append(p.rules, isOneOf("tid", tenantID))
	return p
}

// The issuer of a tenant in version 2.0 is its ID between these.
const (
	entraPrefix   = "https://login.microsoftonline.com/"
	entraSuffix   = "/v2.0"
	exampleTenant = "00000000-0000-0000-0000-000000000000"
)

func entraIssuer(tenantID string) string { return entraPrefix + tenantID + entraSuffix }

func entraKeys(tenantID string) string { return entraPrefix + tenantID + "/discovery/v2.0/keys" }

var tenantForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func isTenantID(id string) bool { return tenantForm.MatchString(id) }

// needsTenant notes a mistake if an argument is not the ID of a tenant.
func (p *Provider) needsTenant(id string) {
	switch {
	case isTenantID(id):
	case slices.Contains([]string{"common", "organizations", "consumers"}, id):
		p.mistakes("tenantID is %s, which stands for many tenants: use EntraAnyTenant", errtext.Quote(id))
	default:
		p.mistakes("tenantID is %s, the ID of a tenant is expected: a GUID in small letters, such as %s", errtext.Quote(id), exampleTenant)
	}
}
