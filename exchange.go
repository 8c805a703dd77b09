package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// ExchangeRequest says what a token of Exchange is for. Audiences and Actor are required.
type ExchangeRequest struct {
	Audiences []string      // some of IssuerOptions.ExchangeAudiences
	Actor     string        // the service that will use the token: act.sub; at most 1024 bytes
	Scopes    []string      // some of the scopes of the token; empty means none
	TTL       time.Duration // the lifetime. Default 1m. At least 1s. The token never outlives the presented one
}

// defaultExchangeTTL is the default of ExchangeRequest.TTL.
const defaultExchangeTTL = time.Minute

// parentClaims are the claims that an exchanged token takes over.
type parentClaims struct {
	Subject   string `json:"sub"`
	SessionID string `json:"sid"`
	Epoch     int64  `json:"sid_epoch"`
	ClientID  string `json:"client_id"`
	ACR       string `json:"acr"`
	AuthTime  int64  `json:"auth_time"`
	ExpiresAt int64  `json:"exp"`
}

// Exchange returns an access token for a call to another service, in the name of the subject of t
// (RFC 8693: the act claim names the service that acts). The new token has other audiences than t
// and no custom claims. Each of its scopes is a scope of t. It expires no later than t. If the
// session of t ends, the new token is revoked, too. If only t is revoked, the new token stays
// good. t must come from a Verifier that Issuer.NewVerifier of this Issuer has made, alone or in
// AnyOf. Otherwise the error matches ErrNoToken. If t is no longer good, the error is that of
// Verifier.Recheck. An error that matches neither ErrRefused nor ErrUnavailable means that the
// request r is wrong.
func (i *Issuer) Exchange(ctx context.Context, t Token, r ExchangeRequest) (TokenResponse, error) {
	if err := i.checkMade(); err != nil {
		return TokenResponse{}, err
	}
	if t.verifier == nil || t.verifier.issuer != i.id {
		return TokenResponse{}, refused("token", ErrNoToken, "a token that a verifier of this issuer returned", "")
	}
	if err := t.verifier.verifier.Recheck(ctx, t); err != nil { // this also fails if the program has changed t.Issuer
		return TokenResponse{}, err
	}
	if err := i.checkExchange(&t, &r); err != nil {
		return TokenResponse{}, err
	}
	// The program may have changed the fields of t. It cannot change the claims.
	parent, err := ClaimsAs[parentClaims](t)
	if err != nil {
		return TokenResponse{}, err
	}
	at, expires := i.now(), time.Unix(parent.ExpiresAt, 0).UTC()
	end := earliest(expires, at.Add(r.TTL))
	if !end.Truncate(time.Second).After(at) {
		return TokenResponse{}, refused("exp", ErrTokenExpired, "later than "+errtext.Time(at), errtext.Time(expires))
	}
	s := session{
		id: parent.SessionID, epoch: parent.Epoch, actor: r.Actor, end: end, idle: r.TTL,
		granted: grantWithClaims{Grant: Grant{
			Subject: parent.Subject, Scopes: r.Scopes, Audiences: r.Audiences, ClientID: parent.ClientID,
			AuthTime: time.Unix(parent.AuthTime, 0), ACR: parent.ACR, AMR: t.AMR(),
		}},
	}
	response, e, err := i.signer.sign(ctx, &s, &s.granted, at)
	return i.finishIssue(ctx, response, e, err)
}

// checkExchange checks a request of Exchange, and sets its defaults.
func (i *Issuer) checkExchange(t *Token, r *ExchangeRequest) error {
	if r.TTL == 0 {
		r.TTL = defaultExchangeTTL
	}
	switch {
	case r.TTL < time.Second:
		return fmt.Errorf("jwtauth: ExchangeRequest.TTL is %v, at least %v is expected", r.TTL, time.Second)
	case len(r.Audiences) == 0 || hasDuplicate(r.Audiences):
		return errors.New("jwtauth: ExchangeRequest.Audiences is empty or has one twice: some of IssuerOptions.ExchangeAudiences are expected")
	case r.Actor == "" || len(r.Actor) > bound.Name || !utf8.ValidString(r.Actor):
		return fmt.Errorf("jwtauth: ExchangeRequest.Actor is %s: 1 to %d bytes of UTF-8 are expected", errtext.Quote(r.Actor), bound.Name)
	case hasDuplicate(r.Scopes):
		return fmt.Errorf("jwtauth: ExchangeRequest.Scopes: one of %s is there twice", errtext.QuoteList(r.Scopes))
	}
	for _, audience := range r.Audiences {
		if !slices.Contains(i.o.ExchangeAudiences, audience) {
			return fmt.Errorf("jwtauth: ExchangeRequest.Audiences: %s is not one of IssuerOptions.ExchangeAudiences", errtext.Quote(audience))
		}
	}
	for _, scope := range r.Scopes {
		if !t.HasScope(scope) {
			return notGranted("scope", codeInvalidScope, t.Scopes(), scope)
		}
	}
	return nil
}

// isExchanged reports whether a token of this issuer comes from Exchange. No other method
// writes the act claim, and a custom claim cannot have this name.
func isExchanged(t *Token) bool { return t.Actor != "" }
