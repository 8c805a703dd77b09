package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	// FromEnv fills an empty Issuer from the environment variable JWTAUTH_ISSUER, and empty
	// Audiences from JWTAUTH_AUDIENCES, which has commas between the names. For the keys, see
	// keydir.RingFromEnv.
	FromEnv bool
	// ExchangeAudiences are the services that only Exchange issues tokens for. The
	// verifiers of this Issuer refuse such tokens. None can be one of Audiences.
	ExchangeAudiences []string

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
	// IdleTTL is the time without a refresh after which a session ends. Default 7d. An
	// access token ends with its session, so AccessTTL may be longer than IdleTTL.
	IdleTTL time.Duration
	// SessionTTL is the time after the login at which a session ends in any case. Default 30d. If you
	// lower IdleTTL, SessionTTL, MaxIdleTTL or MaxSessionTTL, that also applies to existing sessions.
	SessionTTL time.Duration
	// MaxIdleTTL and MaxSessionTTL are the longest lifetimes that Grant.IdleTTL and
	// Grant.SessionTTL can ask for. Default IdleTTL and SessionTTL.
	MaxIdleTTL, MaxSessionTTL time.Duration
	// RefreshGrace is how long a redeemed refresh token can be redeemed again with the same
	// result, for racing browser tabs and for clients that lost the response. Default 10s.
	// From 4s to 1m. Negative means none: RecoverLost must then be zero or negative.
	RefreshGrace time.Duration
	// RecoverLost is how long a session can go on after an answer of Refresh was lost; see Refresh.
	// Default 24h, or IdleTTL if that is shorter. At least twice RefreshGrace and at most IdleTTL.
	// Negative means none: a redeemed token that is presented after RefreshGrace then counts as
	// stolen. None is also the default if IdleTTL is shorter than twice RefreshGrace.
	RecoverLost time.Duration
	// StoreTimeout bounds each call to a store. Default 2s. Negative means none: only the
	// context of the caller then bounds the call. The end of a session is stored even if
	// the context of the caller has ended; without StoreTimeout, that may take 8s.
	StoreTimeout time.Duration

	// SessionLimit is how many sessions a subject can have. Default no limit. At most 1000.
	// If a subject has as many, Issue returns ErrSessionLimit. With EndOldest, it ends the
	// session that was refreshed longest ago instead.
	SessionLimit int
	EndOldest    bool

	// Reload is called at each refresh, before the session changes. It decides whether the session
	// goes on, and with which grant. s describes the session as it was when the presented refresh
	// token was issued. g is the grant of the login; its Claims are a json.RawMessage, and its Details
	// those of the RefreshRequest. Reload may set g.Claims and g.Details, and remove scopes. Except
	// for g.Details, this affects only the next access token: the following refresh begins with the
	// grant of the login again. Any other change of g is a mistake, and Refresh returns
	// ErrUnavailable. The context of Reload ends after 30s. One Refresh can call Reload more than
	// once.
	//
	// If Reload returns ErrGrantRefused, the session ends. After any other error the
	// refresh token stays good: an error that matches ErrRefused refuses this refresh,
	// and all others are ErrUnavailable.
	//
	// After a change of password, call EndOtherSessions with the session in which the password was
	// changed, and keep the time of the change and the id of that session. Let Reload return
	// ErrGrantRefused if s.AuthTime is before that time and s.ID is not the id that you kept: this
	// ends a session for which EndOtherSessions has failed.
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
	if o.FromEnv {
		if err := namesFromEnv(&o.Issuer, &o.Audiences, true); err != nil {
			return err
		}
	}
	if err := checkIssuerOption(o.Issuer); err != nil {
		return err
	}
	o.Audiences = slices.Clone(o.Audiences)
	if err := checkAudiencesOption(o.Audiences); err != nil {
		return err
	}
	if err := o.checkExchangeAudiences(); err != nil {
		return err
	}
	switch {
	case o.Sessions != nil && o.Revocations == nil && !o.InsecureAccessOutlivesSession:
		return errors.New("jwtauth: IssuerOptions.Revocations is missing: without it, a logout leaves access tokens good for up to AccessTTL; set it, or InsecureAccessOutlivesSession")
	case o.InsecureAccessOutlivesSession && o.Revocations != nil:
		return errors.New("jwtauth: IssuerOptions has Revocations and InsecureAccessOutlivesSession, which contradict each other")
	}
	if err := o.setLifetimes(); err != nil {
		return err
	}
	if o.RefreshGrace > maxRefreshGrace || o.RefreshGrace > 0 && o.RefreshGrace < minRefreshGrace {
		return fmt.Errorf("jwtauth: IssuerOptions.RefreshGrace is %v, %v to %v is expected, or a negative one for none", o.RefreshGrace, minRefreshGrace, maxRefreshGrace)
	}
	o.RefreshGrace = bound.OrDefault(o.RefreshGrace, defaultRefreshGrace)
	if err := o.setRecoverLost(); err != nil {
		return err
	}
	switch {
	case o.SessionLimit < 0 || o.SessionLimit > maxSessionLimit:
		return fmt.Errorf("jwtauth: IssuerOptions.SessionLimit is %d, 1 to %d is expected, or 0 for no limit", o.SessionLimit, maxSessionLimit)
	case o.EndOldest && o.SessionLimit == 0:
		return errors.New("jwtauth: IssuerOptions.EndOldest means nothing without SessionLimit")
	}
	o.StoreTimeout = bound.OrDefault(o.StoreTimeout, bound.StoreTimeout)
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// setLifetimes checks the lifetimes of tokens and sessions, and sets their defaults.
func (o *IssuerOptions) setLifetimes() error {
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
	for _, longest := range []struct {
		name  string
		value *time.Duration
		least time.Duration
	}{{"IdleTTL", &o.MaxIdleTTL, o.IdleTTL}, {"SessionTTL", &o.MaxSessionTTL, o.SessionTTL}} {
		if *longest.value == 0 {
			*longest.value = longest.least
		}
		if *longest.value < longest.least || *longest.value > bound.Duration {
			return fmt.Errorf("jwtauth: IssuerOptions.Max%s is %v, %v (%s) to %v is expected", longest.name, *longest.value, longest.least, longest.name, bound.Duration)
		}
	}
	return nil
}

// setRecoverLost checks RecoverLost and sets its default.
func (o *IssuerOptions) setRecoverLost() error {
	least, most := 2*o.RefreshGrace, o.IdleTTL
	switch {
	case o.RefreshGrace == 0 && o.RecoverLost > 0:
		return errors.New("jwtauth: IssuerOptions.RecoverLost means nothing without RefreshGrace")
	case o.RecoverLost > 0 && (o.RecoverLost < least || o.RecoverLost > most):
		return fmt.Errorf("jwtauth: IssuerOptions.RecoverLost is %v: %v (twice RefreshGrace) to %v (IdleTTL) is expected, or a negative one for none", o.RecoverLost, least, most)
	}
	o.RecoverLost = bound.OrDefault(o.RecoverLost, min(defaultRecoverLost, o.IdleTTL))
	if o.RefreshGrace == 0 || o.RecoverLost < least {
		o.RecoverLost = 0
	}
	return nil
}

// checkExchangeAudiences checks ExchangeAudiences.
func (o *IssuerOptions) checkExchangeAudiences() error {
	o.ExchangeAudiences = slices.Clone(o.ExchangeAudiences)
	if len(o.ExchangeAudiences) == 0 {
		return nil
	}
	if err := checkAudiencesOption(o.ExchangeAudiences); err != nil {
		return fmt.Errorf("%w (ExchangeAudiences)", err)
	}
	for _, audience := range o.ExchangeAudiences {
		if slices.Contains(o.Audiences, audience) {
			return fmt.Errorf("jwtauth: IssuerOptions.ExchangeAudiences: %s is also one of Audiences, so the tokens of logins are good there", errtext.Quote(audience))
		}
	}
	return nil
}

// announceLifetimes tells each ring the lifetime of the tokens that it signs.
func (o *IssuerOptions) announceLifetimes(access, refresh keyset.Ring) {
	var ofRefresh time.Duration
	if o.Sessions != nil {
		ofRefresh = min(o.MaxIdleTTL, o.MaxSessionTTL)
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
	id          *issuerID
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
	i := &Issuer{o: o, id: &issuerID{keys: []keyset.Set{access.AccessKeys(), access.RefreshKeys(), refresh.RefreshKeys()}}, ring: keys, keys: access, onEvent: o.OnEvent, nowOption: nowOption}
	i.signer = &signer{
		issuer: o.Issuer, accessTTL: o.AccessTTL, access: access, refresh: refresh,
		refreshAudiences: []string{o.Issuer + refreshAudienceSuffix}, namesToken: o.OnEvent != nil,
	}
	i.revocations = newRevocations(o.Revocations, o.StoreTimeout, nowOption == nil, o.OnEvent)
	i.sessions = newSessions(&o, i.revocations, i.now)

	vo := VerifierOptions{Issuer: o.Issuer, MaxLifetime: -1, Leeway: bound.Skew, Now: o.Now}
	vo.InsecureAnyAudience = true // Logout takes an access token for any audience
	if err := vo.setDefaults(); err != nil {
		return nil, err
	}
	i.logoutAccessVerifier = newVerifier(access.RefreshKeys(), keyset.Access, vo, nil).without("exp", "iat")
	vo.InsecureAnyAudience, vo.Audiences = false, i.signer.refreshAudiences
	vo.MaxTokenBytes += refreshSlack
	i.refreshVerifier = newVerifier(refresh.RefreshKeys(), keyset.Refresh, vo, nil)
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
	case o.InsecureAnyAudience || o.InsecureNoAudience || o.AudienceClaim != "":
		return nil, errors.New("jwtauth: InsecureAnyAudience, InsecureNoAudience and AudienceClaim are for other issuers: this one writes its Audiences")
	case o.AllowNoSubject || o.IntegerSubject:
		return nil, errors.New("jwtauth: AllowNoSubject and IntegerSubject are for other issuers: this one writes sub as a string")
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
	i.fillIn(&o)
	v, err := NewVerifier(i.ring, o)
	if err == nil {
		v.id.issuer, v.id.verifier = i.id, v
	}
	return v, err
}

// fillIn sets the fields of o that are zero to the values of the Issuer.
func (i *Issuer) fillIn(o *VerifierOptions) {
	o.Issuer = i.o.Issuer
	if o.MaxLifetime == 0 && i.o.LongestAccessTTL > defaultMaxLifetime {
		o.MaxLifetime = i.o.LongestAccessTTL
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
}

var (
	errNoIssuer   = errors.New("jwtauth: this Issuer was not made by NewIssuer")
	errNoSessions = errors.New("jwtauth: this Issuer has no sessions: set IssuerOptions.Sessions and Revocations, or use IssueAccess")

	errNoRevocations = errors.New("jwtauth: this Issuer has no Revocations to revoke a token in")
)

func (i *Issuer) checkMade() error {
	if i == nil || i.keys == nil {
		return unavailable("issuer", errNoIssuer)
	}
	return nil
}

// requireSessionStore returns an error if the Issuer has no sessions.
func (i *Issuer) requireSessionStore() error {
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
	if g.old != nil {
		return TokenResponse{}, errors.New("jwtauth: the grant of migrate.TradeIn buys a session: use Issue, or Start of package endpoints")
	}
	at := i.now()
	s := session{began: at, end: at.Add(i.o.AccessTTL), idle: i.o.AccessTTL, granted: grantWithClaims{Grant: g}}
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
	if err := i.requireSessionStore(); err != nil {
		return TokenResponse{}, err
	}
	if g.old != nil {
		if err := g.old.recheck(ctx, i, &g); err != nil {
			return TokenResponse{}, err
		}
	}
	at := i.now()
	s := session{granted: grantWithClaims{Grant: g}, began: at, end: at.Add(bound.Duration), generation: 1}
	if err := completeGrant(&s.granted, i.o.Audiences, at); err != nil {
		return TokenResponse{}, err
	}
	if err := i.o.checkLifetimes(&s.granted.Grant); err != nil {
		return TokenResponse{}, err
	}
	i.limitLifetime(&s)
	details, err := encodeDetails(g.Details)
	if err != nil {
		return TokenResponse{}, err
	}
	if n := len(s.granted.claims); n > maxSessionClaims {
		return TokenResponse{}, fmt.Errorf("jwtauth: Grant.Claims has %d bytes, a session takes at most %d; look the rest up in Reload", n, maxSessionClaims)
	}
	s.id = newSessionID(i.o.Issuer, g.Subject)
	if g.old != nil {
		if err := g.old.prepare(&s, i.o.Issuer); err != nil {
			return TokenResponse{}, err
		}
	}
	data := s.data()
	if n := len(data); n > maxSessionData {
		return TokenResponse{}, fmt.Errorf("jwtauth: the grant's scopes and client take %d bytes, a session has room for %d", n, maxSessionData)
	}
	row := SessionRecord{
		Key: i.sessions.key(s.granted.Subject, s.id), Generation: s.generation,
		RotatedAt: at, ExpiresAt: s.idleEnd(at), Data: data, Details: details,
	}
	if g.old != nil {
		response, e, err := i.trade(ctx, g.old, &s, row)
		return i.finishIssue(ctx, response, e, err)
	}
	response, e, err := i.signer.sign(ctx, &s, &s.granted, at)
	if err == nil {
		err = i.create(ctx, row, false)
	}
	return i.finishIssue(ctx, response, e, err)
}

// checkLifetimes checks the lifetimes of a grant.
func (o *IssuerOptions) checkLifetimes(g *Grant) error {
	for _, ttl := range []struct {
		name           string
		value, longest time.Duration
	}{{"IdleTTL", g.IdleTTL, o.MaxIdleTTL}, {"SessionTTL", g.SessionTTL, o.MaxSessionTTL}} {
		if ttl.value != 0 && (ttl.value < time.Second || ttl.value > ttl.longest) {
			return fmt.Errorf("jwtauth: Grant.%s is %v: %v to %v (Max%s of IssuerOptions) is expected", ttl.name, ttl.value, time.Second, ttl.longest, ttl.name)
		}
	}
	g.IdleTTL, g.SessionTTL = g.IdleTTL.Truncate(time.Second), g.SessionTTL.Truncate(time.Second)
	return nil
}

// finishIssue sends the event e and returns the response. If err is set, it returns no tokens.
func (i *Issuer) finishIssue(ctx context.Context, response TokenResponse, e event.Event, err error) (TokenResponse, error) {
	switch {
	case isRefusalFor(err, ErrSessionLimit):
		e.SessionID, e.TokenID = "", "" // there is no session
		sendFailure(ctx, i.onEvent, event.LoginRefused, e, err)
		return TokenResponse{}, err
	case err != nil:
		return TokenResponse{}, i.reportUnavailable(ctx, e, err)
	}
	e.Kind = event.TokenIssued
	i.onEvent.Send(ctx, e)
	return response, nil
}

// Ready returns nil if there is a key that signs now, and if both stores answer. Otherwise
// it returns ErrUnavailable. It is for readiness probes, and sends no event.
func (i *Issuer) Ready(ctx context.Context) error {
	if err := i.checkMade(); err != nil {
		return err
	}
	if err := checkContext(ctx); err != nil {
		return err
	}
	now := i.now()
	for _, ring := range []keyset.Ring{i.signer.access, i.signer.refresh} {
		if _, err := ring.Signer(ctx, now); err != nil {
			return unavailable("keys", err)
		}
	}
	if i.sessions != nil {
		if _, err := i.sessions.list(ctx, "", "", 1); err != nil { // nobody has this subject
			return err
		}
	}
	return i.revocations.ready(ctx, now)
}

// EndpointsSeam is for package endpoints of this module.
func (i *Issuer) EndpointsSeam() (keyset.Issuer, error) {
	if err := i.checkMade(); err != nil {
		return keyset.Issuer{}, err
	}
	vo := VerifierOptions{CacheSize: -1}
	i.fillIn(&vo)
	vo.Audiences, vo.InsecureAnyAudience = nil, true // the tokens of Exchange have other audiences
	verifier, err := NewVerifier(i.ring, vo)
	if err != nil {
		return keyset.Issuer{}, err
	}
	return keyset.Issuer{
		Name: i.o.Issuer, Audiences: slices.Clone(i.o.Audiences), Keys: i.keys.AccessKeys(), Now: i.o.Now, OnEvent: i.onEvent,
		HasSessions: i.sessions != nil, HasRevocations: i.revocations != nil,
		AccessClaims: func(ctx context.Context, token string) (string, error) {
			var t Token
			if err := verifier.verifyWithoutEvent(ctx, token, i.o.Now(), &t); err != nil {
				return "", i.reportUnavailable(ctx, t.event(), err)
			}
			return t.claims, nil
		},
		Session: func(ctx context.Context, refreshToken string) (keyset.Session, error) {
			view, e, err := i.lookUpSession(ctx, refreshToken)
			if err != nil {
				return keyset.Session{}, i.reportUnavailable(ctx, e, err)
			}
			return keyset.Session{
				ID: view.ID, Subject: view.Subject, ClientID: view.ClientID, Scopes: view.Scopes,
				CreatedAt: view.CreatedAt, RefreshedAt: view.RefreshedAt, IdleEnd: view.IdleEnd,
			}, nil
		},
		LogoutUnless: i.logoutUnless,
		AddTo:        func(v any) (any, error) { return withIssuer(v.(*Verifier), i) },
	}, nil
}
