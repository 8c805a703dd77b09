package provider

import (
	"slices"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// Cognito is for access tokens of a user pool of Amazon Cognito. poolID looks like eu-west-1_AbCdEfGhI.
// One of clientIDs must be in client_id, since there is no aud. A client that asks for a resource gets a
// token with aud: put the resource into Options.Audiences then. Pools with the issuer type UPDATED
// have the issuer https://issuer-cognito-idp.REGION.amazonaws.com/POOL: change Issuers and KeysURL.
//
// The check: token_use is access. ID tokens have the same issuer and keys.
//
// Form: Amazon Cognito Developer Guide, "Understanding the access token".
func Cognito(poolID string, clientIDs ...string) Provider {
	p := cognito("Cognito", poolID, clientIDs)
	p.Options.AudienceClaim, p.Options.AudienceClaimValues = "client_id", clientIDs
	p.rules = append(p.rules, isOneOf("token_use", "access"))
	return p
}

// CognitoID is for ID tokens of a user pool of Amazon Cognito. For an API, use [Cognito].
//
// The check: token_use is id.
//
// Form: Amazon Cognito Developer Guide, "Understanding the identity (ID) token".
func CognitoID(poolID string, clientIDs ...string) Provider {
	p := cognito("CognitoID", poolID, clientIDs)
	p.Options.Audiences = clientIDs
	p.rules = append(p.rules, isOneOf("token_use", "id"))
	return p
}

func cognito(function, poolID string, clientIDs []string) Provider {
	region, _, ok := strings.Cut(poolID, "_")
	p := newProvider(function, "", "https://cognito-idp."+region+".amazonaws.com/"+poolID)
	if p.needsHost("poolID", poolID, "eu-west-1_AbCdEfGhI"); !ok {
		p.mistakes("poolID is %q, a region, an underscore and a name are expected, such as eu-west-1_AbCdEfGhI", poolID)
	}
	p.needs("a client ID", clientIDs...)
	p.KeysURL = p.Issuers[0] + "/.well-known/jwks.json"
	p.Options = jwtauth.VerifierOptions{AcceptNoTyp: true}
	return p
}

// Kubernetes is for projected tokens of service accounts. issuer is the --service-account-issuer of the
// cluster. audience is what the pod asks for. serviceAccounts look like namespace/name. If the
// metadata cannot be read at the issuer, set KeysURL and Remote.Client, or KeySet. The token of
// the default mount is for the API server and must not be accepted anywhere else.
//
// The check: sub is one of the service accounts.
//
// Form: Kubernetes Documentation, "Configure Service Accounts for Pods", ServiceAccount token
// volume projection.
func Kubernetes(issuer, audience string, serviceAccounts ...string) Provider {
	p := newProvider("Kubernetes", "", issuer)
	p.needs("issuer", issuer)
	p.needs("audience", audience)
	if p.needs("a service account", serviceAccounts...); audience == issuer {
		p.mistakes("audience is the issuer: whoever accepts a token for the API server can act as the pod")
	}
	subjects := slices.Clone(serviceAccounts)
	for i, account := range subjects {
		namespace, name, ok := strings.Cut(account, "/")
		if !ok || namespace == "" || name == "" {
			p.mistakes("a service account is %q, namespace/name is expected", account)
		}
		subjects[i] = "system:serviceaccount:" + namespace + ":" + name
	}
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}, AcceptNoTyp: true}
	p.rules = append(p.rules, isOneOf("sub", subjects...))
	return p
}

// SPIFFE is for JWT-SVIDs with iss, such as those of SPIRE with an issuer. keysURL is that of the
// keys of the trust domain. ids look like spiffe://example.org/workload. A JWT-SVID without iss, or with
// the typ JOSE, cannot be verified with this library.
//
// The check: sub is one of the IDs.
//
// Form: spiffe/spiffe, "The JWT SPIFFE Verifiable Identity Document".
func SPIFFE(issuer, keysURL, audience string, ids ...string) Provider {
	p := newProvider("SPIFFE", "", issuer)
	p.needs("issuer", issuer)
	p.needs("keysURL", keysURL)
	p.needs("audience", audience)
	p.needs("an ID", ids...)
	p.KeysURL = keysURL
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}, AcceptTypJWT: true, AcceptNoTyp: true}
	p.rules = append(p.rules, isOneOf("sub", ids...))
	return p
}

// CloudflareAccess is for the application tokens of Cloudflare Access, which are in the header
// Cf-Access-Jwt-Assertion. team is the first part of TEAM.cloudflareaccess.com. Service tokens
// have no sub. To accept users and service tokens, set Options.AllowNoSubject. To accept only some
// service tokens and no users, also set Clients: the client of a service token is in common_name.
// If sessions of the application last longer than 24 hours, set Options.MaxLifetime.
//
// The check: type is app.
//
// Form: Cloudflare One docs, "Application token".
func CloudflareAccess(team, applicationAUD string) Provider {
	p := newProvider("CloudflareAccess", "common_name", "https://"+team+".cloudflareaccess.com")
	p.needsHost("team", team, "example")
	p.needs("applicationAUD", applicationAUD)
	p.KeysURL = "https://" + team + ".cloudflareaccess.com/cdn-cgi/access/certs"
	p.Options = jwtauth.VerifierOptions{Audiences: []string{applicationAUD}, AcceptTypJWT: true}
	p.rules = append(p.rules, isOneOf("type", "app"))
	return p
}

// XSUAA is for access tokens of SAP XSUAA, for one subaccount. host is that of the subaccount, as in
// name.authentication.eu10.hana.ondemand.com. audience is the application, as in app!t1. Clients
// are in client_id. The jku of a token is never followed.
//
// The check: zid is the zone.
//
// Form: SAP, cloud-security-services-integration-library, java-security.
func XSUAA(host, audience, zoneID string) Provider {
	p := newProvider("XSUAA", "client_id", "https://"+host+"/oauth/token")
	p.needsHost("host", host, "name.authentication.eu10.hana.ondemand.com")
	p.needs("audience", audience)
	p.needs("zoneID", zoneID)
	p.KeysURL = "https://" + host + "/token_keys"
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}, AcceptTypJWT: true}
	p.rules = append(p.rules, isOneOf("zid", zoneID))
	return p
}

// Shopify is for the session tokens of an embedded app in one shop, as in
// example.myshopify.com. Every shop is an issuer, and the secret of the app signs for all of them:
// for many shops, see jwtauth.ResolveIssuers.
//
// The check: dest is the shop.
//
// Form: Shopify Docs, "Session tokens".
func Shopify(shop, apiKey string, secret []byte) Provider {
	p := newProvider("Shopify", "", "https://"+shop+"/admin")
	p.needsHost("shop", shop, "example.myshopify.com")
	p.needs("apiKey", apiKey)
	if key, err := jwk.NewHMAC(jwk.HS256, "", secret); err != nil {
		p.mistakes("secret: %w", err)
	} else {
		p.KeySet = key.Verification()
	}
	p.Options = jwtauth.VerifierOptions{Audiences: []string{apiKey}, AcceptTypJWT: true, MaxLifetime: 2 * time.Minute}
	p.rules = append(p.rules, isOneOf("dest", "https://"+shop))
	return p
}
