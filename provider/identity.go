package provider

import (
	"strings"

	"github.com/jwtauth-go/jwtauth"
)

// Auth0 is for access tokens of users and machines for one API of Auth0, in both profiles
// (Auth0 and RFC 9068). domain is that of the tenant, as in tenant.us.auth0.com, or a custom
// domain. audience is the identifier of the API. Clients are in azp or, in the profile of RFC 9068,
// in client_id. An API whose tokens live longer than 24 hours needs Options.MaxLifetime.
//
// There is no further check: ID tokens have the client as aud. sub of a machine ends with
// @clients.
//
// Form: Auth0 Docs, "Access Token Profiles".
func Auth0(domain, audience string) Provider {
	p := newProvider("Auth0", "azp", "https://"+domain+"/")
	p.needsHost("domain", domain, "tenant.us.auth0.com")
	p.needs("audience", audience)
	p.clientClaims = append(p.clientClaims, "client_id")
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}, AcceptTypJWT: true}
	return p
}

// Auth0Machine is [Auth0] for machines only (client credentials). If clientIDs are given, only
// those are accepted.
//
// The check: gty is client-credentials, and sub is the ID of the client with @clients after it.
// The profile of RFC 9068 has no gty; there, sub alone decides.
//
// Form: Auth0 Docs, "Access Token Profiles" and "Client Credentials Flow".
func Auth0Machine(domain, audience string, clientIDs ...string) Provider {
	p := Auth0(domain, audience)
	p.name, p.Clients = "Auth0Machine", clientIDs
	p.rules = append(p.rules, isMachineOfAuth0())
	return p
}

// Okta is for access tokens of a custom authorization server of Okta. issuer is its issuer URI, as in
// https://org.okta.com/oauth2/default. Scopes are in scp. Clients are in cid. sub is the login of
// the user; uid is the ID.
//
// The check: cid is there. The access tokens of the org authorization server are for Okta alone:
// it is an error if issuer is that server.
//
// Form: Okta Developer, "API Access Management", access token payload.
func Okta(issuer, audience string) Provider {
	p := newProvider("Okta", "cid", issuer)
	p.needsURL("issuer", issuer, "https://org.okta.com/oauth2/default")
	if !strings.Contains(issuer, "/oauth2/") {
		p.mistakes("issuer is %q, a custom authorization server is expected, with /oauth2/ and its name: the tokens of the org authorization server are for Okta alone", issuer)
	}
	p.needs("audience", audience)
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}, AcceptNoTyp: true, AcceptTypJWT: true, ScopeClaim: "scp"}
	p.rules = append(p.rules, isPresent("cid"))
	return p
}

// Keycloak is for access tokens of a realm of Keycloak. realmURL looks like
// https://host/realms/realm. audience must come from an audience mapper: without one, aud is
// account, or is missing. Clients are in azp. Lightweight access tokens, and those of clients
// without the scope basic, have no sub: set Options.AllowNoSubject for them.
//
// The check: the claim typ is Bearer. ID tokens and refresh tokens have the same keys and the same typ in
// the header.
//
// Form: Keycloak Server Administration Guide, "OIDC token and SAML assertion mappings", and "Using
// lightweight access token".
func Keycloak(realmURL, audience string) Provider {
	p := newProvider("Keycloak", "azp", realmURL)
	p.needsURL("realmURL", realmURL, "https://login.example.com/realms/shop")
	p.needs("audience", audience)
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}, AcceptTypJWT: true}
	p.rules = append(p.rules, isOneOf("typ", "Bearer"))
	return p
}

// Zitadel is for JWT access tokens of Zitadel, which are a setting of the application. domain looks like
// name.zitadel.cloud. projectID is the project of the API, which must be in aud. Clients are in
// client_id, or in azp.
//
// The check: jti is there. ID tokens have the same aud, keys and issuer, and no jti.
//
// Form: Zitadel Docs, "Claims"; zitadel/oidc, token.go.
func Zitadel(domain, projectID string) Provider {
	p := newProvider("Zitadel", "client_id", "https://"+domain)
	p.needsHost("domain", domain, "name.zitadel.cloud")
	p.needs("projectID", projectID)
	p.clientClaims = append(p.clientClaims, "azp")
	p.Options = jwtauth.VerifierOptions{Audiences: []string{projectID}, AcceptNoTyp: true, AcceptTypJWT: true}
	p.rules = append(p.rules, isPresent("jti"))
	return p
}

// Authentik is for access tokens of one application of authentik. issuer is that of the application, as in
// https://host/application/o/app/, with the slash.
//
// The check: uid is there, and azp is the client. ID tokens have the same aud, keys and issuer.
// They have neither uid nor azp, unless a scope mapping adds these claims.
//
// Form: authentik, id_token.py.
func Authentik(issuer, clientID string) Provider {
	p := newProvider("Authentik", "", issuer)
	p.needs("issuer", issuer)
	p.needs("clientID", clientID)
	if !strings.HasSuffix(issuer, "/") {
		p.mistakes("issuer is %q, a URL with a slash at its end is expected", issuer)
	}
	p.Options = jwtauth.VerifierOptions{Audiences: []string{clientID}, AcceptTypJWT: true}
	p.rules = append(p.rules, isPresent("uid"), isOneOf("azp", clientID))
	return p
}

// Hydra is for JWT access tokens of Ory Hydra. Hydra issues them only if its configuration says
// so; its default is opaque tokens. issuer is what Hydra is configured with, often with a slash at
// its end. Scopes are in scp. Clients are in client_id. Tokens of clients that asked for no
// audience have an empty aud: leave audience empty and set Clients for them.
//
// There is no further check: the aud of an ID token is the client.
//
// Form: Ory Docs, "JWT access tokens".
func Hydra(issuer, audience string) Provider {
	p := newProvider("Hydra", "client_id", issuer)
	p.needs("issuer", issuer)
	p.Options = jwtauth.VerifierOptions{AcceptTypJWT: true, ScopeClaim: "scp"}
	p.setAudience(audience)
	return p
}

// Supabase is for the tokens of users of a Supabase project with asymmetric keys. projectURL looks like
// https://ref.supabase.co.
//
// The check: role is authenticated, is_anonymous is not true, and client_id is not there. aud is
// authenticated for all tokens, also those of anonymous users and of OAuth clients. The token of
// an OAuth client can do all that its user can. To accept some of those clients, set Clients; then
// the users' own tokens are refused.
//
// Form: Supabase Docs, "JWT Claims Reference".
func Supabase(projectURL string) Provider {
	p := newProvider("Supabase", "client_id", projectURL+"/auth/v1")
	p.refusesClients = true
	p.needsURL("projectURL", projectURL, "https://ref.supabase.co")
	p.KeysURL = projectURL + "/auth/v1/.well-known/jwks.json"
	p.Options = jwtauth.VerifierOptions{Audiences: []string{"authenticated"}, AcceptTypJWT: true}
	p.rules = append(p.rules, isOneOf("role", "authenticated"), isNotTrue("is_anonymous"))
	return p
}

// Clerk is for session tokens of Clerk. issuer looks like https://clerk.example.com or
// https://name.clerk.accounts.dev. origins are those of your pages, as in https://example.com:
// one of them must be in azp, since there is no aud.
//
// The check: sid is there, and sts is not pending. The tokens of JWT templates have the same keys
// and no sid.
//
// Form: Clerk Docs, "Session tokens".
func Clerk(issuer string, origins ...string) Provider {
	p := newProvider("Clerk", "", issuer)
	p.needsURL("issuer", issuer, "https://clerk.example.com")
	p.needs("an origin", origins...)
	p.KeysURL = issuer + "/.well-known/jwks.json"
	p.Options = jwtauth.VerifierOptions{AudienceClaim: "azp", AudienceClaimValues: origins, AcceptTypJWT: true}
	p.rules = append(p.rules, isPresent("sid"), isNotOneOf("sts", "pending"))
	return p
}

// WorkOS is for access tokens of WorkOS AuthKit, for one client. Token.Actor is set if somebody
// impersonates the user. Change Issuers if the environment has a custom domain.
//
// Tokens have no aud: Options.InsecureNoAudience is set, because the keys are those of the client
// alone. A token with a foreign aud is refused.
//
// The check: sid is there.
//
// Form: WorkOS Docs, "Session tokens".
func WorkOS(clientID string) Provider {
	p := newProvider("WorkOS", "", "https://api.workos.com/user_management/"+clientID, "https://api.workos.com", "https://api.workos.com/")
	p.needsHost("clientID", clientID, "client_01ABC")
	p.KeysURL = "https://api.workos.com/sso/jwks/" + clientID
	p.Options = jwtauth.VerifierOptions{InsecureNoAudience: true, AcceptTypJWT: true, AcceptNoTyp: true}
	p.rules = append(p.rules, isPresent("sid"))
	return p
}

// Descope is for session tokens of one Descope project. iss is a URL or, in older projects, the bare
// project ID.
//
// Tokens have no aud: Options.InsecureNoAudience is set, because issuer and keys are those of the
// project. A token with a foreign aud is refused.
//
// The check: drn is DS. Refresh tokens have the same keys and the drn DSR.
//
// Form: Descope Docs, "Session management", session token.
func Descope(projectID string) Provider {
	p := newProvider("Descope", "", "https://api.descope.com/"+projectID, projectID)
	p.needsHost("projectID", projectID, "P2abc")
	p.KeysURL = "https://api.descope.com/" + projectID + "/.well-known/jwks.json"
	p.Options = jwtauth.VerifierOptions{InsecureNoAudience: true, AcceptTypJWT: true}
	p.rules = append(p.rules, isOneOf("drn", "DS"))
	return p
}

// Kinde is for access tokens of Kinde. domain looks like name.kinde.com. Scopes are in scp. Clients are in
// azp. Tokens of applications without an API have an empty aud: leave audience empty and set Clients
// for them. The tokens of machines have no sub: set Options.AllowNoSubject for them.
//
// There is no further check: the aud of an ID token is the client.
//
// Form: Kinde Docs, "About access tokens".
func Kinde(domain, audience string) Provider {
	p := newProvider("Kinde", "azp", "https://"+domain)
	p.needsHost("domain", domain, "name.kinde.com")
	p.Options = jwtauth.VerifierOptions{AcceptTypJWT: true, ScopeClaim: "scp"}
	p.setAudience(audience)
	return p
}

// SuperTokens is for access tokens of sessions of SuperTokens, in the tenant public. apiURL is that of
// the API with the routes of SuperTokens, as in https://api.example.com.
//
// Tokens have no aud: Options.InsecureNoAudience is set, because issuer and keys are your own. A
// token with a foreign aud is refused.
//
// The check: sessionHandle is there, tId is public, and stt is 0 or not there. The keys sign other JWTs,
// too, and the access tokens of OAuth2 clients.
//
// Form: SuperTokens Docs, "Protecting APIs", with a JWT library.
func SuperTokens(apiURL string) Provider {
	p := newProvider("SuperTokens", "", apiURL+"/auth")
	p.needsURL("apiURL", apiURL, "https://api.example.com")
	p.KeysURL = apiURL + "/auth/jwt/jwks.json"
	p.Options = jwtauth.VerifierOptions{InsecureNoAudience: true, AcceptTypJWT: true}
	p.rules = append(p.rules, isPresent("sessionHandle"), isOneOf("tId", "public"), isAbsentOr("stt", "0"))
	return p
}

// Logto is for JWT access tokens of Logto for an API resource, or for an organization, whose
// audience is urn:logto:organization:ID. endpoint looks like https://tenant.logto.app. Clients are
// in client_id. Without a resource in its request, a client gets an opaque token.
//
// There is no further check: the typ of the tokens is at+jwt.
//
// Form: Logto Docs, "Validate access tokens".
func Logto(endpoint, resource string) Provider {
	p := newProvider("Logto", "client_id", endpoint+"/oidc")
	p.needsURL("endpoint", endpoint, "https://tenant.logto.app")
	p.needs("resource", resource)
	p.Options = jwtauth.VerifierOptions{Audiences: []string{resource}}
	return p
}

// Duende is for access tokens of Duende IdentityServer and IdentityServer4. Clients are in
// client_id. The tokens of machines have no sub: set Options.AllowNoSubject for them.
//
// There is no further check: the typ of the tokens is at+jwt.
//
// Form: Duende Documentation, "Tokens"; DuendeSoftware/Support issue 888.
func Duende(issuer, audience string) Provider {
	p := newProvider("Duende", "client_id", issuer)
	p.needs("issuer", issuer)
	p.needs("audience", audience)
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}}
	return p
}

// PingOne is for access tokens of PingOne for a custom resource. issuer looks like
// https://auth.pingone.com/ENVIRONMENT/as. Clients are in client_id. The tokens of machines have
// no sub: set Options.AllowNoSubject for them.
//
// There is no further check: the aud of an ID token is the client. From 2 March 2027, the typ of all
// access tokens is at+jwt; until then some have none, and both are accepted.
//
// Form: PingOne Platform APIs, "Token claims".
func PingOne(issuer, audience string) Provider {
	p := newProvider("PingOne", "client_id", issuer)
	p.needsURL("issuer", issuer, "https://auth.pingone.com/ENVIRONMENT/as")
	p.needs("audience", audience)
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}, AcceptNoTyp: true}
	return p
}

// Spring is for access tokens of Spring Authorization Server. By default, audience is the client. Its keys
// have no alg: if it signs with another algorithm than RS256, set Remote.Algorithms.
//
// The check: scope is there. ID tokens have the same aud, header and key.
//
// Form: Spring Authorization Server Reference, "OAuth2TokenCustomizer".
func Spring(issuer, audience string) Provider {
	p := newProvider("Spring", "", issuer)
	p.needs("issuer", issuer)
	p.needs("audience", audience)
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}, AcceptNoTyp: true}
	p.rules = append(p.rules, isPresent("scope"))
	return p
}

// Dex is for ID tokens of Dex. Its access tokens are ID tokens, too. A trusted peer of the client
// can get a token with clientID in aud; azp is then the peer.
//
// There is no further check.
//
// Form: Dex Docs, "ID tokens".
func Dex(issuer, clientID string) Provider {
	p := newProvider("Dex", "", issuer)
	p.needs("issuer", issuer)
	p.needs("clientID", clientID)
	p.Options = jwtauth.VerifierOptions{Audiences: []string{clientID}, AcceptNoTyp: true}
	return p
}

// PingAM is for stateless access tokens of PingAM and ForgeRock AM, for one client. issuer looks like
// https://host/am/oauth2; realm looks like / or /alpha.
//
// The check: tokenName is access_token, and realm is the realm. ID tokens and refresh tokens have the
// same keys and aud.
//
// Form: PingAM, OAuth 2.0 guide, "Client-side sessions and tokens".
func PingAM(issuer, clientID, realm string) Provider {
	p := newProvider("PingAM", "", issuer)
	p.needs("issuer", issuer)
	p.needs("clientID", clientID)
	p.needs("realm", realm)
	p.Options = jwtauth.VerifierOptions{Audiences: []string{clientID}, AcceptTypJWT: true}
	p.rules = append(p.rules, isOneOf("tokenName", "access_token"), isOneOf("realm", realm))
	return p
}

// BetterAuth is for the tokens of the JWT plugin of Better Auth. appURL is that of the application.
//
// The check: neither client_id nor azp is there. The tokens of OAuth clients have the same keys.
//
// Form: Better Auth Docs, "JWT".
func BetterAuth(appURL string) Provider {
	p := newProvider("BetterAuth", "", appURL)
	p.needsURL("appURL", appURL, "https://app.example.com")
	p.KeysURL = appURL + "/api/auth/jwks"
	p.Options = jwtauth.VerifierOptions{Audiences: []string{appURL}, AcceptNoTyp: true}
	p.rules = append(p.rules, isAbsent("client_id"), isAbsent("azp"))
	return p
}

// setAudience sets Options.Audiences unless audience is empty, because Clients are to be set then.
func (p *Provider) setAudience(audience string) {
	if audience != "" {
		p.Options.Audiences = []string{audience}
	}
}
