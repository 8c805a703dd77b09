package provider

import (
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// Google is for ID tokens of Sign in with Google, for a client (as in
// 1234567890-x.apps.googleusercontent.com). sub is the user; email can change hands. There is no
// further check: everybody with a Google account can log in, and every service account gets a token for
// your client, too.
//
// Form: Google Identity, "Verify the Google ID token on your server side".
func Google(clientID string) Provider {
	p := newProvider("Google", "", "https://accounts.google.com", "accounts.google.com")
	p.needs("clientID", clientID)
	p.KeysURL = "https://www.googleapis.com/oauth2/v3/certs"
	p.Options = jwtauth.VerifierOptions{Audiences: []string{clientID}, AcceptTypJWT: true}
	return p
}

// GoogleWorkspace is [Google] for the users of one Workspace domain.
//
// The check: hd is the domain, and email_verified is true. The domain of email says nothing.
//
// Form: Google Identity, "OpenID Connect", claims of an ID token.
func GoogleWorkspace(clientID, domain string) Provider {
	p := Google(clientID)
	p.name = "GoogleWorkspace"
	p.needsHost("domain", domain, "example.com")
	p.rules = append(p.rules, isOneOf("hd", domain), isTrue("email_verified"))
	return p
}

// GoogleChat is for the requests of Google Chat to an app. audience is what the settings of the app
// say: the project number, or the URL of the app. accounts are the service accounts that call the app at
// its URL. Default chat@system.gserviceaccount.com. For an app that is a Workspace add-on, it is
// service-PROJECT_NUMBER@gcp-sa-gsuiteaddons.iam.gserviceaccount.com.
//
// The check, if audience is a URL: email is one of accounts, and email_verified is true. Everybody with
// a service account can get a Google token for any URL. Tokens for a project number have no sub, and
// their issuer signs for nobody else.
//
// Form: Google Chat API, "Verify requests from Google Chat".
func GoogleChat(audience string, accounts ...string) Provider {
	const chat = "chat@system.gserviceaccount.com"
	if strings.HasPrefix(audience, "https://") {
		p := Google(audience)
		p.name = "GoogleChat"
		if len(accounts) == 0 {
			accounts = []string{chat}
		}
		p.needs("an account", accounts...)
		p.rules = append(p.rules, isOneOf("email", accounts...), isTrue("email_verified"))
		return p
	}
	p := newProvider("GoogleChat", "", chat)
	if len(accounts) > 0 {
		p.mistakes("accounts are given, but the tokens for a project number name none")
	}
	if audience == "" || strings.Trim(audience, "0123456789") != "" {
		p.mistakes("audience is %q, a project number or a URL with https is expected", audience)
	}
	p.KeysURL = "https://www.googleapis.com/service_accounts/v1/jwk/" + chat
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}, AcceptTypJWT: true, AllowNoSubject: true}
	return p
}

// GoogleIAP is for the tokens of Identity-Aware Proxy in X-Goog-IAP-JWT-Assertion. audience is
// /projects/NUMBER/global/backendServices/ID or /projects/NUMBER/apps/PROJECT. The token is not
// in the Authorization header: see jwtauth.FromHeader. There is no further check.
//
// Form: Google Cloud, "Securing your app with signed headers".
func GoogleIAP(audience string) Provider {
	p := newProvider("GoogleIAP", "", "https://cloud.google.com/iap")
	if !strings.HasPrefix(audience, "/projects/") {
		p.mistakes("audience is %q, it begins with /projects/ and names a backend service or an app", audience)
	}
	p.KeysURL = "https://www.gstatic.com/iap/verify/public_key-jwk"
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}, AcceptTypJWT: true, MaxLifetime: 11 * time.Minute}
	return p
}

// Firebase is for ID tokens of Firebase Authentication, for the project with the ID projectID. The
// verifier cannot see that Firebase has revoked a token.
//
// The check: auth_time is not in the future. Firebase uses the same keys for all projects, so only
// iss and aud distinguish the tokens of your project from others. Anonymous users get tokens, too,
// and users of every tenant of the project: see firebase.sign_in_provider and firebase.tenant.
//
// Form: Firebase, "Verify ID Tokens".
func Firebase(projectID string) Provider {
	p := newProvider("Firebase", "", "https://securetoken.google.com/"+projectID)
	p.needsHost("projectID", projectID, "my-project")
	p.KeysURL = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
	p.Options = jwtauth.VerifierOptions{Audiences: []string{projectID}, AcceptTypJWT: true}
	p.rules = append(p.rules, loginIsPast())
	return p
}
