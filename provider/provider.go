// Package provider has the settings with which the tokens of well-known identity providers are
// verified: where the keys are, the options of the verifier, and the check that the provider
// needs beside signature, iss, aud and dates, such as token_use at Cognito.
//
//	verifier, err := provider.Cognito("eu-west-1_AbCdEfGhI", "my-client-id").NewVerifier()
//
// Each function returns a [Provider], whose fields a program can read and change before it calls
// NewVerifier. The check of the provider cannot be taken away; VerifierOptions.Checks run in
// addition. The comment of each function says which form of token it is for, and where the
// documentation of the provider shows that form. Providers change: look at a token of your own
// tenant before you rely on it.
//
// docs/providers.md has a table of all providers with their traps.
package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/claimrule"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// Provider says how the tokens of an identity provider are verified. The functions of this package
// return a Provider. A program may change its fields before it calls NewVerifier, but not from
// several goroutines at a time.
type Provider struct {
	// Issuers are the names of the issuer in iss. Most providers have one. The zero value of
	// Provider has none and is refused.
	Issuers []string
	// KeysURL is the URL of the JWK Set. If it is empty, the URL comes from the metadata of the issuer
	// (OpenID Connect Discovery 1.0 or RFC 8414). With several Issuers, KeysURL or KeySet is required.
	KeysURL string
	// Remote says how the keys are fetched. Background is an error here, since nothing could
	// end its goroutine: use KeySet.
	Remote jwk.RemoteOptions
	// KeySet has the keys, such as those of a test, or a jwk.Remote that the program closes. If
	// it is set, KeysURL and Remote are not used.
	KeySet jwk.Set
	// Clients are the clients whose tokens are accepted. The comment of the function of the provider
	// says which claim names the client. If Clients is empty, the tokens of all clients are accepted,
	// except at Supabase, where the tokens of OAuth clients are then refused. If the tokens of a
	// provider do not name the client, Clients must be empty. If Options.Audiences is empty and no
	// other option says what stands for aud, the verifier checks the claim of the client in place of
	// aud; see VerifierOptions.AudienceClaim.
	Clients []string
	// Options are those of the verifier. Options.Issuer must stay empty. Options.Checks are
	// evaluated in addition to the check of the provider.
	Options jwtauth.VerifierOptions

	name         string   // of the function that made the Provider
	clientClaims []string // the claims that may name the client; the first one that is there counts
	// refusesClients says that tokens with a client are refused, unless Clients has the client.
	refusesClients bool
	rules          []claimrule.Rule
	mistake        error                                                    // in an argument of the function
	allowTenant    func(ctx context.Context, tenantID string) (bool, error) // of EntraAnyTenant; Issuers is empty then
}

// NewVerifier makes the verifier. It fetches nothing yet. If there are several Issuers,
// NewVerifier makes one verifier for each of them, and combines them with jwtauth.AnyOf.
func (p Provider) NewVerifier() (*jwtauth.Verifier, error) {
	v, err := p.newVerifier()
	if err != nil {
		return nil, fmt.Errorf("provider: %s: %w", p.name, err)
	}
	return v, nil
}

func (p Provider) newVerifier() (*jwtauth.Verifier, error) {
	switch {
	case p.mistake != nil:
		return nil, p.mistake
	case p.Options.Issuer != "":
		return nil, errors.New("the field Options.Issuer is set: put the name into Issuers")
	case p.Remote.Background:
		return nil, errors.New("the field Remote.Background is set: make a jwk.Remote, put it into KeySet, and close it at the end of the program")
	case len(p.Clients) > 0 && len(p.clientClaims) == 0:
		return nil, errors.New("the field Clients is set, which this provider has no use for: see the comment of its function")
	case slices.Contains(p.Clients, ""):
		return nil, errors.New("the field Clients has an empty name")
	case p.allowTenant != nil:
		return p.newTenantsVerifier()
	case len(p.Issuers) == 0:
		return nil, errors.New("the field Issuers is empty: the name of the issuer is expected")
	case p.KeySet == nil && p.KeysURL == "" && len(p.Issuers) > 1:
		return nil, errors.New("the field KeysURL is empty: with several Issuers, the URL of the keys is expected")
	}
	keys, err := p.keys()
	if err != nil {
		return nil, err
	}
	verifiers := make([]*jwtauth.Verifier, len(p.Issuers))
	for i, issuer := range p.Issuers {
		if verifiers[i], err = p.newVerifierOf(issuer, keys, p.rules); err != nil {
			return nil, err
		}
	}
	if len(verifiers) == 1 {
		return verifiers[0], nil
	}
	return jwtauth.AnyOf(verifiers...)
}

// keys returns the key set of the options.
func (p *Provider) keys() (jwk.Set, error) {
	switch {
	case p.KeySet != nil:
		return p.KeySet, nil
	case p.KeysURL != "":
		return jwk.NewRemote(p.KeysURL, p.Remote)
	default:
		return jwk.Discover(p.Issuers[0], p.Remote)
	}
}

// newVerifierOf makes the verifier of one issuer.
func (p *Provider) newVerifierOf(issuer string, keys jwk.Set, rules []claimrule.Rule) (*jwtauth.Verifier, error) {
	o := p.Options
	o.Issuer = issuer
	rules = slices.Clip(rules)
	hasNoAudience := len(o.Audiences) == 0 && o.AudienceClaim == "" && !o.InsecureNoAudience && !o.InsecureAnyAudience && !o.FromEnv
	switch {
	case hasNoAudience && len(p.Clients) == 0:
		return nil, errors.New("the field Options.Audiences is empty: an audience is expected, or Clients if the tokens of this provider name the client and no audience")
	case len(p.Clients) == 0 && p.refusesClients:
		rules = append(rules, isAbsent(p.clientClaims[0]))
	case len(p.Clients) == 0:
	case hasNoAudience:
		o.AudienceClaim, o.AudienceClaimValues = p.clientClaims[0], p.Clients
	default:
		rules = append(rules, firstIsOneOf(p.clientClaims, p.Clients...))
	}
	v, err := claimrule.NewVerifier(keys, o, rules)
	if err != nil {
		return nil, err
	}
	return v.(*jwtauth.Verifier), nil
}

// Issuer returns the settings for an issuer that keeps to RFC 9068 and OpenID Connect
// Discovery 1.0 or RFC 8414: tokens of the typ at+jwt with aud and sub, keys by metadata.
// Clients are in client_id. Set Options.AcceptTypJWT or Options.AcceptNoTyp for an older issuer,
// but then add a check that refuses its ID tokens if they have the same audience.
func Issuer(issuer, audience string) Provider {
	p := newProvider("Issuer", "client_id", issuer)
	p.needs("issuer", issuer)
	p.needs("audience", audience)
	p.Options.Audiences = []string{audience}
	return p
}

// newProvider returns a Provider without options. clientClaim names the client; "" means that
// nothing does.
func newProvider(function, clientClaim string, issuers ...string) Provider {
	p := Provider{Issuers: issuers, name: function}
	if clientClaim != "" {
		p.clientClaims = []string{clientClaim}
	}
	return p
}

// needs notes a mistake if an argument of the function is empty.
func (p *Provider) needs(what string, values ...string) {
	if len(values) == 0 || slices.Contains(values, "") {
		p.mistakes("%s is missing or empty", what)
	}
}

// needsHost notes a mistake unless an argument is the name of a host, without https:// before it.
func (p *Provider) needsHost(what, value, example string) {
	if value == "" || strings.ContainsAny(value, "/?#@ ") {
		p.mistakes("%s is %s, a name such as %s is expected", what, errtext.Quote(value), example)
	}
}

// needsURL notes a mistake unless an argument is a URL that does not end with a slash.
func (p *Provider) needsURL(what, value, example string) {
	if !strings.HasPrefix(value, "https://") && !strings.HasPrefix(value, "http://") || strings.HasSuffix(value, "/") {
		p.mistakes("%s is %s, a URL such as %s is expected, without a slash at its end", what, errtext.Quote(value), example)
	}
}

// mistakes notes the first mistake in the arguments of the function.
func (p *Provider) mistakes(format string, arguments ...any) {
	if p.mistake == nil {
		p.mistake = fmt.Errorf(format, arguments...)
	}
}
