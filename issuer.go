package jwtauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/hook"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// IssuerOptions configures an [Issuer]. Issuer and Audiences are required. Any other
// zero field means its default. NewIssuer copies the options.
type IssuerOptions struct {
	// Issuer is the iss claim: the name of this issuer, usually its URL.
	Issuer string
	// Audiences are the services that the tokens are for: the aud claim.
	Audiences []string

	// Sessions keeps the sessions that refresh tokens belong to. Without it, the Issuer
	// issues only access tokens, by IssueAccess: Issue and Refresh return an error.
	Sessions SessionStore
	// Revocations makes verifiers refuse the access tokens of a session as soon as the
	// session ends. It is required with Sessions. InsecureAccessOutlivesSession allows
	// Sessions without Revocations: an access token then stays good after a logout, for
	// up to AccessTTL.
	Revocations                   RevocationStore
	InsecureAccessOutlivesSession bool

	// RefreshKeys sign the refresh tokens. Default: the ring that signs the access
	// tokens. The keys of a separate ring are never published, and can stay in use for
	// SessionTTL while the keys of the access tokens are rotated more often.
	RefreshKeys *jwk.Ring

	// AccessTTL is the lifetime of an access token. Default 15m.
	AccessTTL time.Duration
	// LongestAccessTTL is for a program that has lowered AccessTTL: set it to the old
	// AccessTTL until the last old access token has expired. Default AccessTTL.
	LongestAccessTTL time.Duration
	// IdleTTL is the time without a refresh after which a session ends. Default 7d.
	IdleTTL time.Duration
	// SessionTTL is the time after the login at which a session ends in any case. Default
	// 30d. If IdleTTL or SessionTTL is lowered, that also applies to existing sessions.
	SessionTTL time.Duration
	// RefreshGrace is how long a redeemed refresh token can be redeemed again, for racing
	// browser tabs and for clients that lost the response. Default 10s. From 4s to 1m.
	// Negative means none. Half of RefreshGrace is for signing and storing. The other half
	// is for a client that gets a 503 and tries again after a second.
	RefreshGrace time.Duration
	// StoreTimeout bounds each call to a store. Default 2s. Negative means none: only the
	// context of the caller then bounds the call. SessionStore.Advance never gets more
	// than half of RefreshGrace. The end of a session is stored even if the context of
	// the caller has ended; without StoreTimeout, that may take 4s.
	StoreTimeout time.Duration

	// Reload is called at each refresh, before the session changes. It decides whether the
	// session goes on, and with which grant. s describes the session as it was when the
	// presented refresh token was issued. g is the grant of the login; its Claims are a
	// json.RawMessage. Reload may set g.Claims and remove scopes. This affects only the
	// next access token: the following refresh begins with the grant of the login again.
	// Any other change of g is a mistake, and Refresh returns ErrUnavailable.
	//
	// If Reload returns ErrGrantRefused, the session ends. After any other error the
	// refresh token stays good: an error that matches ErrRefused refuses this refresh,
	// and all others are ErrUnavailable.
	//
	// To end the sessions that began before a change of password, return ErrGrantRefused
	// if s.AuthTime is before that change. This also ends the session in which the
	// password was changed, at its next refresh.
	Reload func(ctx context.Context, s Session, g *Grant) error

	// OnEvent gets the events of the Issuer; see [event.Log]. A method of the Issuer calls
	// OnEvent after it has stored its change and before it returns. Many goroutines may
	// call OnEvent at the same time. It may call the Issuer. A panic of OnEvent goes on to
	// the caller; what was stored stays stored.
	OnEvent func(ctx context.Context, e event.Event)
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o *IssuerOptions) setDefaults() error {
	if err := checkIssuerOption(o.Issuer); err != nil {
		return err
	}
	o.Audiences = slices.Clone(o.Audiences)
	if err := checkAudiencesOption(o.Audiences); err != nil {
		return err
	}
	switch {
	case o.Sessions != nil && o.Revocations == nil && !o.InsecureAccessOutlivesSession:
		return errors.New("jwtauth: IssuerOptions.Revocations is missing: without it, a logout leaves access tokens good for up to AccessTTL; set it, or InsecureAccessOutlivesSession")
	case o.InsecureAccessOutlivesSession && o.Revocations != nil:
		return errors.New("jwtauth: IssuerOptions has Revocations and InsecureAccessOutlivesSession, which contradict each other")
	}
	for _, ttl := range []struct {
		name      string
		value     *time.Duration
		byDefault time.Duration
	}{
		{"AccessTTL", &o.AccessTTL, bound.AccessTTL},
		{"IdleTTL", &o.IdleTTL, bound.IdleTTL},
		{"SessionTTL", &o.SessionTTL, defaultSessionTTL},
		{"LongestAccessTTL", &o.LongestAccessTTL, time.Second},
	} {
		if *ttl.value == 0 {
			*ttl.value = ttl.byDefault
		}
		if *ttl.value < time.Second || *ttl.value > bound.Duration {
			return fmt.Errorf("jwtauth: IssuerOptions.%s is %v, %v to %v is expected", ttl.name, *ttl.value, time.Second, bound.Duration)
		}
	}
	o.AccessTTL = o.AccessTTL.Truncate(time.Second) // exp is in whole seconds, too
	o.LongestAccessTTL = max(o.LongestAccessTTL, o.AccessTTL)
	if o.RefreshGrace > maxRefreshGrace || o.RefreshGrace > 0 && o.RefreshGrace < minRefreshGrace {
		return fmt.Errorf("jwtauth: IssuerOptions.RefreshGrace is %v, %v to %v is expected, or a negative one for none", o.RefreshGrace, minRefreshGrace, maxRefreshGrace)
	}
	o.RefreshGrace = bound.OrDefault(o.RefreshGrace, defaultRefreshGrace)
	o.StoreTimeout = bound.OrDefault(o.StoreTimeout, bound.StoreTimeout)
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// announceLifetimes tells each ring the lifetime of the tokens that it signs.
func (o *IssuerOptions) announceLifetimes(access, refresh keyset.Ring) {
	var ofRefresh time.Duration
	if o.Sessions != nil {
		ofRefresh = min(o.IdleTTL, o.SessionTTL)
	}
	if access == refresh {
		access.Announce(o.LongestAccessTTL, ofRefresh)
		return
	}
	access.Announce(o.LongestAccessTTL, 0)
	if ofRefresh > 0 {
		refresh.Announce(0, ofRefresh)
	}
}

// Issuer signs access tokens and refresh tokens, and ends the sessions that they belong
// to. It is immutable and safe for concurrent use. The zero value issues nothing.
type Issuer struct {
	o           IssuerOptions
	ring        *jwk.Ring
	keys        keyset.Ring
	onEvent     hook.Hook
	nowOption   func() time.Time // IssuerOptions.Now before setDefaults; nil means time.Now
	signer      *signer
	sessions    *sessions    // nil if there are none
	revocations *revocations // nil if there are none

	refreshVerifier       *Verifier // of refresh tokens that have not expired
	logoutRefreshVerifier *Verifier // of refresh tokens, also expired ones
	logoutAccessVerifier  *Verifier // of access tokens, also expired ones
}

// NewIssuer makes an issuer that signs with keys.
func NewIssuer(keys *jwk.Ring, o IssuerOptions) (*Issuer, error) {
	access, err := keys.IssuerSeam()
	if err != nil {
		return nil, err
	}
	nowOption := o.Now
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	if o.RefreshKeys == nil {
		o.RefreshKeys = keys
	}
	refresh, err := o.RefreshKeys.IssuerSeam()
	if err != nil {
		return nil, err
	}
	o.announceLifetimes(access, refresh)
	i := &Issuer{o: o, ring: keys, keys: access, onEvent: o.OnEvent, nowOption: nowOption}
	i.signer = &signer{
		issuer: o.Issuer, accessTTL: o.AccessTTL, idleTTL: o.IdleTTL, access: access, refresh: refresh,
		refreshAudiences: []string{o.Issuer + refreshAudienceSuffix}, namesToken: o.OnEvent != nil,
	}
	i.revocations = newRevocations(o.Revocations, o.StoreTimeout, nowOption == nil, o.OnEvent)
	i.sessions = newSessions(&o, i.revocations, i.now)

	vo := VerifierOptions{Issuer: o.Issuer, MaxLifetime: -1, Leeway: bound.Skew, Now: o.Now}
	vo.InsecureAnyAudience = true // Logout takes an access token for any audience
	if err := vo.setDefaults(); err != nil {
		return nil, err
	}
	i.logoutAccessVerifier = newVerifier(access.RefreshKeys(), keyset.Access, vo).without("exp", "iat")
	vo.InsecureAnyAudience, vo.Audiences = false, i.signer.refreshAudiences
	vo.MaxTokenBytes += refreshSlack
	i.refreshVerifier = newVerifier(refresh.RefreshKeys(), keyset.Refresh, vo)
	i.logoutRefreshVerifier = i.refreshVerifier.without("exp", "iat")
	return i, nil
}

// NewVerifier makes a Verifier for the access tokens of this Issuer. If Issuer,
// Audiences, Revocations, StoreTimeout, Now or OnEvent of o is zero, the Verifier uses
// the value of the Issuer. A field that is set must fit the Issuer. The default of
// MaxLifetime is at least LongestAccessTTL.
func (i *Issuer) NewVerifier(o VerifierOptions) (*Verifier, error) {
	if err := i.checkMade(); err != nil {
		return nil, err
	}
	switch {
	case o.Issuer != "" && o.Issuer != i.o.Issuer:
		return nil, fmt.Errorf("jwtauth: VerifierOptions.Issuer is %s, this issuer is %s", errtext.Quote(o.Issuer), errtext.Quote(i.o.Issuer))
	case o.AcceptTypJWT || o.AcceptNoTyp:
		return nil, errors.New("jwtauth: AcceptTypJWT and AcceptNoTyp are for other issuers: this one writes at+jwt")
	case o.InsecureAnyAudience:
		return nil, errors.New("jwtauth: InsecureAnyAudience is for other issuers: this one writes its Audiences")
	case o.ScopeClaim != "" && o.ScopeClaim != "scope":
		return nil, fmt.Errorf("jwtauth: VerifierOptions.ScopeClaim is %s, this issuer writes scope", errtext.Quote(o.ScopeClaim))
	case o.Revocations != nil && !sameStore(o.Revocations, i.o.Revocations):
		return nil, errors.New("jwtauth: VerifierOptions.Revocations is not the store of the Issuer, so the Verifier would not see its logouts")
	case o.MaxLifetime > 0 && o.MaxLifetime < i.o.LongestAccessTTL:
		return nil, fmt.Errorf("jwtauth: VerifierOptions.MaxLifetime is %v, this issuer's tokens live up to %v", o.MaxLifetime, i.o.LongestAccessTTL)
	}
	for _, audience := range o.Audiences {
		if !slices.Contains(i.o.Audiences, audience) {
			return nil, fmt.Errorf("jwtauth: VerifierOptions.Audiences: %s is not one of the issuer's", errtext.Quote(audience))
		}
	}
	o.Issuer = i.o.Issuer
	if o.MaxLifetime == 0 {
		o.MaxLifetime = max(defaultMaxLifetime, i.o.LongestAccessTTL)
	}
	if o.Audiences == nil {
		o.Audiences = i.o.Audiences
	}
	if o.Revocations == nil {
		o.Revocations = i.o.Revocations
	}
	if o.StoreTimeout == 0 {
		o.StoreTimeout = i.o.StoreTimeout
		if o.StoreTimeout == 0 {
			o.StoreTimeout = -1
		}
	}
	if o.OnEvent == nil {
		o.OnEvent = i.o.OnEvent
	}
	if o.Now == nil {
		o.Now = i.nowOption
	}
	return NewVerifier(i.ring, o)
}

var (
	errNoIssuer   = errors.New("jwtauth: this Issuer was not made by NewIssuer")
	errNoSessions = errors.New("jwtauth: this Issuer has no sessions: set IssuerOptions.Sessions and Revocations, or use IssueAccess")
)

func (i *Issuer) checkMade() error {
	if i == nil || i.keys == nil {
		return unavailable("issuer", errNoIssuer)
	}
	return nil
}

// checkSessions returns an error if the Issuer has no sessions.
func (i *Issuer) checkSessions() error {
	if err := i.checkMade(); err != nil {
		return err
	}
	if i.sessions == nil {
		return errNoSessions
	}
	return nil
}

// now returns the present time in UTC, truncated to microseconds, the precision in which
// stores keep times.
func (i *Issuer) now() time.Time { return i.o.Now().UTC().Truncate(time.Microsecond) }

// reportUnavailable sends the event Unavailable if err matches ErrUnavailable. It returns err.
func (i *Issuer) reportUnavailable(ctx context.Context, e event.Event, err error) error {
	if m, _ := classify(err); err != nil && m == classUnavailable {
		sendFailure(ctx, i.onEvent, event.Unavailable, e, err)
	}
	return err
}

// IssueAccess issues an access token without a session and without a refresh token.
// Logout revokes such a token by its own id. An error that matches neither ErrRefused nor
// ErrUnavailable means that g cannot be issued.
func (i *Issuer) IssueAccess(ctx context.Context, g Grant) (TokenResponse, error) {
	if err := i.checkMade(); err != nil {
		return TokenResponse{}, err
	}
	at := i.now()
	s := session{began: at, end: at.Add(i.o.AccessTTL), granted: grantWithClaims{Grant: g}}
	if err := completeGrant(&s.granted, i.o.Audiences, at); err != nil {
		return TokenResponse{}, err
	}
	response, e, err := i.signer.sign(ctx, &s, &s.granted, at)
	return i.finishIssue(ctx, response, e, err)
}

// Issue opens a new session and issues its first access token and refresh token. Read the
// clock for Grant.AuthTime before you check the password. ErrUnavailable means that a
// store or a signer failed. An error that matches neither ErrUnavailable nor ErrRefused
// means that g cannot be issued, or that the Issuer has no Sessions.
func (i *Issuer) Issue(ctx context.Context, g Grant) (TokenResponse, error) {
	if err := i.checkSessions(); err != nil {
		return TokenResponse{}, err
	}
	at := i.now()
	s := session{granted: grantWithClaims{Grant: g}, began: at, end: at.Add(i.o.SessionTTL), generation: 1}
	if err := completeGrant(&s.granted, i.o.Audiences, at); err != nil {
		return TokenResponse{}, err
	}
	if n := len(s.granted.claims); n > maxSessionClaims {
		return TokenResponse{}, fmt.Errorf("jwtauth: Grant.Claims has %d bytes, a session takes at most %d; look the rest up in Reload", n, maxSessionClaims)
	}
	s.id = newSessionID(i.o.Issuer, g.Subject)
	data := s.data()
	if n := len(data); n > maxSessionData {
		return TokenResponse{}, fmt.Errorf("jwtauth: the grant's scopes, client and label take %d bytes, a session has room for %d", n, maxSessionData)
	}
	response, e, err := i.signer.sign(ctx, &s, &s.granted, at)
	if err == nil {
		err = i.sessions.create(ctx, SessionRecord{
			Key: i.sessions.key(s.granted.Subject, s.id), Generation: s.generation,
			RotatedAt: at, ExpiresAt: s.idleEnd(at, i.o.IdleTTL), Data: data,
		})
	}
	return i.finishIssue(ctx, response, e, err)
}

// finishIssue sends the event e and returns the response. If err is set, it returns no tokens.
func (i *Issuer) finishIssue(ctx context.Context, response TokenResponse, e event.Event, err error) (TokenResponse, error) {
	if err != nil {
		return TokenResponse{}, i.reportUnavailable(ctx, e, err)
	}
	e.Kind = event.TokenIssued
	i.onEvent.Send(ctx, e)
	return response, nil
}

// Logout ends the session that an access or refresh token of this Issuer belongs to. The
// token may have expired, and a refresh token may have been redeemed. Logout returns nil
// if the session has ended already. If an access token has no session, Logout revokes the
// token itself. A text that is not a token of this Issuer is refused with ErrRefused. It
// is an error if the token has a session and the Issuer has no Sessions. If a store
// fails, Logout returns ErrUnavailable: call it again to do the rest.
func (i *Issuer) Logout(ctx context.Context, token string) error {
	if err := i.checkMade(); err != nil {
		return err
	}
	var t Token
	err := i.logoutAccessVerifier.verifyWithoutEvent(ctx, token, i.o.Now(), &t)
	if errors.Is(err, ErrTokenType) {
		if err = i.logoutRefreshVerifier.verifyWithoutEvent(ctx, token, i.o.Now(), &t); err != nil {
			err = asGrantError(err)
		}
	}
	switch {
	case err != nil:
		sendFailure(ctx, i.onEvent, event.TokenRefused, t.event(), err)
		return err
	case t.SessionID != "" && i.sessions == nil:
		return errNoSessions
	case t.SessionID != "":
		return i.reportUnavailable(ctx, t.event(), i.sessions.end(ctx, i.sessions.key(t.Subject, t.SessionID), reasonLogout))
	case i.revocations == nil:
		return errors.New("jwtauth: this Issuer has no Revocations to revoke a token in")
	default:
		return i.revocations.revokeToken(ctx, t)
	}
}

// Sessions lists the sessions of a subject, the most recently refreshed first.
func (i *Issuer) Sessions(ctx context.Context, subject string) ([]Session, error) {
	if err := i.checkSessions(); err != nil {
		return nil, err
	}
	rows, err := i.sessions.list(ctx, subject)
	if err != nil {
		return nil, i.reportUnavailable(ctx, i.sessions.key(subject, "").event(), err)
	}
	now := i.now()
	list := make([]Session, 0, len(rows))
	for _, row := range rows {
		var d sessionData
		if err := json.Unmarshal(row.Data, &d); err != nil {
			err := unavailable("session", errors.New("the store returned a row whose Data is not what was stored"))
			return nil, i.reportUnavailable(ctx, row.Key.event(), err)
		}
		s := session{id: row.Key.ID, granted: grantWithClaims{Grant: Grant{
			Subject: subject, ClientID: d.ClientID, Label: d.Label, Scopes: d.Scopes, AuthTime: time.Unix(d.AuthTime, 0).UTC(),
		}}}
		s.began = time.Unix(d.Began, 0).UTC()
		s.end = earliest(time.Unix(d.End, 0).UTC(), s.began.Add(i.o.SessionTTL))
		idleEnd := earliest(row.ExpiresAt.UTC(), s.idleEnd(row.RotatedAt.UTC(), i.o.IdleTTL))
		if now.Before(idleEnd) {
			list = append(list, s.view(row.RotatedAt.UTC(), idleEnd))
		}
	}
	slices.SortFunc(list, func(a, b Session) int {
		if c := b.RefreshedAt.Compare(a.RefreshedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, nil
}

// EndSession ends one session of a subject: the session cannot be refreshed any more, and
// its access tokens are revoked. If the session is of another subject, EndSession does
// nothing and returns nil. It returns nil if the session has ended already. If a store
// fails, EndSession returns ErrUnavailable: call it again to do the rest.
func (i *Issuer) EndSession(ctx context.Context, subject, sessionID string) error {
	if err := i.checkSessions(); err != nil {
		return err
	}
	if !isSessionOf(sessionID, i.o.Issuer, subject) {
		return nil
	}
	key := i.sessions.key(subject, sessionID)
	return i.reportUnavailable(ctx, key.event(), i.sessions.end(ctx, key, reasonEnded))
}

// EndOtherSessions ends all sessions of a subject except one; see EndAllSessions.
func (i *Issuer) EndOtherSessions(ctx context.Context, subject, keepID string) error {
	if err := i.checkSessions(); err != nil {
		return err
	}
	return i.reportUnavailable(ctx, i.sessions.key(subject, "").event(), i.sessions.endAll(ctx, subject, keepID))
}

// EndAllSessions ends every session of a subject that Issue has opened before the call. If one
// session cannot be ended, it goes on with the others. If the sessions cannot be listed, it
// stops. It does not revoke access tokens without a session. ErrUnavailable means that some
// sessions may be left: call it again. If the row of a session was deleted but its revocation
// failed, its access tokens stay good until they expire, for at most AccessTTL.
func (i *Issuer) EndAllSessions(ctx context.Context, subject string) error {
	return i.EndOtherSessions(ctx, subject, "")
}

// EndpointsSeam is for package endpoints of this module.
func (i *Issuer) EndpointsSeam() (keyset.Issuer, error) {
	if err := i.checkMade(); err != nil {
		return keyset.Issuer{}, err
	}
	return keyset.Issuer{Name: i.o.Issuer, Keys: i.keys.AccessKeys(), Now: i.o.Now}, nil
}
