package provider

import "github.com/jwtauth-go/jwtauth"

// Apple is for the identity tokens of Sign in with Apple. clientIDs are Services IDs and bundle IDs.
//
// The check: there are no events. Notifications of Apple to servers have the same iss, aud and keys.
// For each login, the program must compare nonce with the one that it sent.
//
// Form: Apple Developer Documentation, "Authenticating users with Sign in with Apple".
func Apple(clientIDs ...string) Provider {
	p := newProvider("Apple", "", "https://appleid.apple.com")
	p.needs("a client ID", clientIDs...)
	p.KeysURL = "https://appleid.apple.com/auth/keys"
	p.Options = jwtauth.VerifierOptions{Audiences: clientIDs, AcceptNoTyp: true}
	p.rules = append(p.rules, isAbsent("events"))
	return p
}

// Facebook is for the authentication tokens of Facebook Limited Login, for the app with the ID appID. It is
// not for tokens of the Graph API.
//
// There is no further check. For each login, the program must compare nonce with the one that it sent.
//
// Form: Meta for Developers, "Validating the Limited Login OIDC Token".
func Facebook(appID string) Provider {
	p := newProvider("Facebook", "", "https://www.facebook.com")
	p.needs("appID", appID)
	p.KeysURL = "https://limited.facebook.com/.well-known/oauth/openid/jwks/"
	p.Options = jwtauth.VerifierOptions{Audiences: []string{appID}, AcceptTypJWT: true}
	return p
}
