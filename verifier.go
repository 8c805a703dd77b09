package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/claimrule"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/hook"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
	"github.com/jwtauth-go/jwtauth/internal/testseam"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// VerifierOptions configures a [Verifier]. Issuer and Audiences are required. Any other
// zero field means its default. NewVerifier copies the options.
type VerifierOptions struct {
	// Issuer is the required value of the iss claim, compared byte by byte.
	Issuer string
	// Audiences are the names of this service. One of them must be in the aud claim.
	// InsecureAnyAudience accepts tokens that are meant for other services; those
	// services can then use the tokens of their users here.
	Audiences           []string
	InsecureAnyAudience bool
	// FromEnv fills an empty Issuer and empty Audiences from the environment; see
	// IssuerOptions.FromEnv. With AudienceClaim, InsecureNoAudience or InsecureAnyAudience,
	// Audiences stay as they are.
	FromEnv bool
	// AudienceClaim is the claim that stands for aud at issuers that write no aud, such as
	// client_id, azp or appid. Each token must have it, as a string that is one of
	// AudienceClaimValues. Then aud may be missing. If a token has aud, Audiences must contain
	// one of its values, too; if Audiences is empty, the token is refused.
	AudienceClaim       string
	AudienceClaimValues []string
	// InsecureNoAudience accepts tokens without aud. Then all clients of the issuer have access,
	// also those of strangers if the issuer serves them. A token with a foreign aud is refused.
	InsecureNoAudience bool

	// AllowNoSubject accepts tokens without sub, such as those of machines at some issuers.
	// Token.Subject is then empty.
	AllowNoSubject bool
	// IntegerSubject accepts a sub that is an integer, in addition to a string. Token.Subject has
	// its digits: 7 and "7" are the same user.
	IntegerSubject bool
	// AcceptTypJWT accepts the typ JWT in addition to at+jwt, for older issuers and most
	// OpenID providers. AcceptNoTyp accepts tokens without typ. If the issuer signs ID tokens
	// with the same keys, only the audience then distinguishes ID tokens from access tokens.
	AcceptTypJWT, AcceptNoTyp bool
	// MaxTokenBytes is the length of the longest token that is accepted. Default 16384. At
	// most 1 MiB.
	MaxTokenBytes int
	// ScopeClaim is the name of the claim with the scopes: an array of strings, or one
	// string of scopes with blanks between them. Default scope. Some issuers write scp.
	ScopeClaim string

	// Leeway is how far the clock of the issuer may be off, for exp, nbf and iat. Default
	// 30s. At most 5m. Negative means none.
	Leeway time.Duration
	// MaxLifetime is the longest time from iat to exp. For a token without iat, it is the
	// time from now to exp. Default 24h, 5m and Leeway. At most 10 years. Negative means no limit.
	MaxLifetime time.Duration
	// MaxAge is the longest time since iat. If it is set, iat is required. Default no
	// limit. For the time since the login see LoginWithin.
	MaxAge time.Duration
	// RequiredClaims are further claims that a token must have, with a value that is not
	// null. At most 64. iss and exp are always required, and so are sub and aud unless an option
	// accepts tokens without them.
	RequiredClaims []string
	// Checks are evaluated for every token, also for a cached one, after all other checks
	// except Revocations. A refusal is 401 invalid_token, except that Scopes, AnyScope and
	// LoginWithin have their own responses. See [ClaimsPolicy] for typed claims. A
	// RequestPolicy is an error.
	Checks []Policy

	// Revocations is asked about every token. If it is set, a token without jti is refused.
	Revocations RevocationStore
	// StoreTimeout bounds each call to Revocations. Default 2s. Negative means none: only
	// the context of the caller then bounds the call.
	StoreTimeout time.Duration
	// InsecureAcceptUnknownRevocation accepts a token if Revocations fails, and sends the
	// event RevocationUnknown. Otherwise, Verify returns ErrUnavailable, a 503.
	InsecureAcceptUnknownRevocation bool

	// CacheSize is how many verified tokens are cached, so that a token that comes again
	// needs no signature check. Default 16384. At most 16,777,216. Negative means none. The
	// keys, the dates, Checks and Revocations are checked on every request, also for a cached
	// token. A cached token takes at most 2 KiB on average, including the results of
	// ClaimsAs. If the cache is full, a token is cached when it comes a second time.
	CacheSize int

	// OnEvent gets TokenRefused, TokenRevoked, RevocationUnknown and Unavailable; see
	// [event.Log].
	OnEvent func(ctx context.Context, e event.Event)
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o *VerifierOptions) setDefaults() error {
	if o.FromEnv {
		if err := namesFromEnv(&o.Issuer, &o.Audiences, o.AudienceClaim == "" && !o.InsecureNoAudience && !o.InsecureAnyAudience); err != nil {
			return err
		}
	}
	if err := checkIssuerOption(o.Issuer); err != nil {
		return err
	}
	o.Audiences = slices.Clone(o.Audiences)
	o.AudienceClaimValues = slices.Clone(o.AudienceClaimValues)
	if err := o.checkAudiences(); err != nil {
		return err
	}
	switch {
	case o.CacheSize > maxCacheSize:
		return fmt.Errorf("jwtauth: VerifierOptions.CacheSize is %d, at most %d is expected, or a negative one for no cache", o.CacheSize, maxCacheSize)
	case o.MaxTokenBytes < 0 || o.MaxTokenBytes > maxTokenBytes:
		return fmt.Errorf("jwtauth: VerifierOptions.MaxTokenBytes is %d, 1 to %d is expected", o.MaxTokenBytes, maxTokenBytes)
	case o.Leeway > bound.Leeway:
		return fmt.Errorf("jwtauth: VerifierOptions.Leeway is %v, at most %v is expected", o.Leeway, bound.Leeway)
	case o.MaxLifetime > bound.Duration:
		return fmt.Errorf("jwtauth: VerifierOptions.MaxLifetime is %v, at most %v is expected, or a negative one for no limit", o.MaxLifetime, bound.Duration)
	case o.MaxAge < 0 || o.MaxAge > bound.Duration:
		return fmt.Errorf("jwtauth: VerifierOptions.MaxAge is %v, a positive duration up to %v or none is expected", o.MaxAge, bound.Duration)
	case o.InsecureAcceptUnknownRevocation && o.Revocations == nil:
		return errors.New("jwtauth: VerifierOptions.InsecureAcceptUnknownRevocation means nothing without Revocations")
	case len(o.RequiredClaims) > maxRequiredClaims || slices.Contains(o.RequiredClaims, "") || hasDuplicate(o.RequiredClaims):
		return fmt.Errorf("jwtauth: VerifierOptions.RequiredClaims has an empty name, a duplicate name, or more than %d", maxRequiredClaims)
	case o.ScopeClaim != "scope" && reserved[strictjson.Fold(o.ScopeClaim)]:
		return fmt.Errorf("jwtauth: VerifierOptions.ScopeClaim is %s, which is another registered claim", errtext.Quote(o.ScopeClaim))
	}
	o.Checks = slices.Clone(o.Checks)
	for i := range o.Checks {
		err := o.Checks[i].findMistake()
		if err == nil && o.Checks[i].needsRequest {
			err = errNeedsRequest
		}
		if err != nil {
			return fmt.Errorf("jwtauth: VerifierOptions.Checks: %w", err)
		}
	}
	o.RequiredClaims = slices.Clone(o.RequiredClaims)
	if o.CacheSize == 0 {
		o.CacheSize = defaultCacheSize
	}
	if o.MaxTokenBytes == 0 {
		o.MaxTokenBytes = defaultTokenBytes
	}
	if o.ScopeClaim == "" {
		o.ScopeClaim = "scope"
	}
	o.Leeway = bound.OrDefault(o.Leeway, defaultLeeway)
	o.MaxLifetime = bound.OrDefault(o.MaxLifetime, defaultMaxLifetime+o.Leeway)
	o.StoreTimeout = bound.OrDefault(o.StoreTimeout, bound.StoreTimeout)
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// checkAudiences checks the options about aud and about the claim that stands for it.
func (o *VerifierOptions) checkAudiences() error {
	if (o.AudienceClaim == "") != (len(o.AudienceClaimValues) == 0) {
		return errors.New("jwtauth: VerifierOptions has only one of AudienceClaim and AudienceClaimValues, both are expected")
	}
	if name := o.AudienceClaim; name != "" && name != "client_id" && (reserved[strictjson.Fold(name)] || name == o.ScopeClaim) {
		return fmt.Errorf("jwtauth: VerifierOptions.AudienceClaim is %s, which has another meaning", errtext.Quote(name))
	}
	names := o.AudienceClaimValues
	if o.AudienceClaim != "" {
		names = append(slices.Clip(names), o.AudienceClaim)
	}
	for _, name := range names {
		if err := bound.CheckName("VerifierOptions.AudienceClaim and AudienceClaimValues", name); err != nil {
			return fmt.Errorf("jwtauth: %w", err)
		}
	}
	chosen := 0
	for _, is := range []bool{o.AudienceClaim != "", o.InsecureNoAudience, o.InsecureAnyAudience} {
		if is {
			chosen++
		}
	}
	switch {
	case chosen > 1:
		return errors.New("jwtauth: VerifierOptions has more than one of AudienceClaim, InsecureNoAudience and InsecureAnyAudience, which contradict each other")
	case o.InsecureAnyAudience && len(o.Audiences) > 0:
		return errors.New("jwtauth: VerifierOptions has Audiences and InsecureAnyAudience, which contradict each other")
	case len(o.Audiences) == 0 && chosen > 0:
		return nil
	}
	return checkAudiencesOption(o.Audiences)
}

// Verifier verifies access tokens of one issuer, or of several if [AnyOf] or
// [ResolveIssuers] made it. It caches tokens that it has accepted; the results are the same
// as without the cache. It is safe for concurrent use. The zero value accepts nothing.
type Verifier struct {
	keys          keyset.Set
	facts         keyset.Facts // the facts of keys
	o             VerifierOptions
	rules         []claimrule.Rule // of package provider
	kind          keyset.Kind
	id            *verifierID
	checks        checklist
	headers       *headerCache
	cache         *tokenCache    // nil if there is none
	requiredIndex map[string]int // the index of each of RequiredClaims
	revocations   *revocations   // nil if there are none
	onEvent       hook.Hook
	old           *oldTokens // set only by package migrate
	members       members    // set by AnyOf and ResolveIssuers, which set no other field but o and onEvent
}

// verifierID is the identity of a Verifier. A Token points to the verifierID of the
// Verifier that has verified the token.
type verifierID struct {
	issuer   *issuerID // of the Issuer that made the Verifier; nil if NewVerifier made it
	verifier *Verifier // the Verifier itself; set if issuer is, and for a Verifier of package migrate

	mu        sync.Mutex
	resolvers []any // those whose function has returned the Verifier; see ResolveIssuers
}

// issuerID is the identity of an Issuer.
type issuerID struct {
	keys []keyset.Set // of its rings

	mu  sync.Mutex
	old []*Verifier // of old tokens, which Logout also takes, the newest first; see AnyOf
}

// addResolver records that resolver uses the Verifier.
func (m *verifierID) addResolver(resolver any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.resolvers, resolver) {
		m.resolvers = append(m.resolvers, resolver)
	}
}

// hasResolver reports whether addResolver was called for resolver.
func (m *verifierID) hasResolver(resolver any) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.resolvers, resolver)
}

// NewVerifier makes a Verifier for the tokens that one issuer signs with keys. For an
// Issuer in the same program use [Issuer.NewVerifier].
func NewVerifier(keys jwk.Set, o VerifierOptions) (*Verifier, error) {
	return newVerifierWithRules(keys, o, nil)
}

// newVerifierWithRules is NewVerifier with rules of package provider.
func newVerifierWithRules(keys jwk.Set, o VerifierOptions, rules []claimrule.Rule) (*Verifier, error) {
	if keys == nil {
		return nil, errors.New("jwtauth: no keys: NewVerifier needs a jwk.Ring, a jwk.Remote or a jwk.StaticSet")
	}
	seam, err := keys.VerifierSeam()
	if err != nil {
		return nil, err
	}
	return makeVerifier(seam, keyset.Access, o, rules)
}

// makeVerifier is NewVerifier for a kind of tokens.
func makeVerifier(seam keyset.Set, kind keyset.Kind, o VerifierOptions, rules []claimrule.Rule) (*Verifier, error) {
	isRealTime := o.Now == nil
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	if issuer := seam.Facts().Issuer; issuer != "" && issuer != o.Issuer {
		return nil, fmt.Errorf("jwtauth: the keys were discovered for the issuer %s, VerifierOptions.Issuer is %s", errtext.Quote(issuer), errtext.Quote(o.Issuer))
	}
	v := newVerifier(seam, kind, o, rules)
	v.cache = newCache(o.CacheSize)
	v.revocations = newRevocations(o.Revocations, o.StoreTimeout, isRealTime, o.OnEvent)
	return v, nil
}

// newVerifier makes a Verifier without cache and revocations. setDefaults must have
// checked and completed the options.
func newVerifier(keys keyset.Set, kind keyset.Kind, o VerifierOptions, rules []claimrule.Rule) *Verifier {
	v := &Verifier{keys: keys, facts: keys.Facts(), o: o, rules: rules, kind: kind, id: new(verifierID), headers: new(headerCache), onEvent: o.OnEvent}
	if len(o.RequiredClaims) > 0 {
		v.requiredIndex = make(map[string]int, len(o.RequiredClaims))
	}
	for i, name := range o.RequiredClaims {
		v.requiredIndex[name] = i
	}
	v.checks = newChecklist(v.idleChecks()...)
	return v
}

// idleChecks returns the names of the checks that the options switch off.
func (v *Verifier) idleChecks() (names []string) {
	for name, isIdle := range map[string]bool{
		"lifetime": v.o.MaxLifetime == 0, "age": v.o.MaxAge == 0, "jti": v.o.Revocations == nil,
		"until": v.old == nil, "iat": v.old != nil, "required": v.requiredIndex == nil, "provider": len(v.rules) == 0, "check": len(v.o.Checks) == 0, "revocation": v.o.Revocations == nil,
	} {
		if isIdle {
			names = append(names, name)
		}
	}
	return names
}

// without returns a copy of v without some checks. The copy shares no cache with v, since
// it accepts tokens that v must refuse.
func (v *Verifier) without(names ...string) *Verifier {
	fewer := *v
	fewer.id, fewer.headers, fewer.cache = new(verifierID), new(headerCache), nil
	fewer.checks = newChecklist(append(v.idleChecks(), names...)...)
	return &fewer
}

var errNoVerifier = errors.New("this Verifier was not made by NewVerifier, Issuer.NewVerifier, AnyOf or ResolveIssuers")

// isMade reports whether a constructor made the verifier.
func (v *Verifier) isMade() bool { return v != nil && (v.keys != nil || v.members != nil) }

// Verify verifies a token and returns its claims. With an error, the Token is zero. The
// error is an *[Error]. It matches [ErrRefused] and the reason of the refusal, or it
// matches [ErrUnavailable] if the keys or a store failed or ctx has ended.
//
// Verify does not decode the payload before it has verified the signature, with two
// exceptions. AnyOf and ResolveIssuers read iss. Before a key source is asked for an
// unknown key, iss and the dates are read. iss and the dates are checked again after the
// signature.
func (v *Verifier) Verify(ctx context.Context, token string) (t Token, err error) {
	decider, now, cached, err := v.lookUp(ctx, token)
	switch {
	case err != nil:
		return t, err
	case cached != nil:
		t = *cached
		t.verifiedAt = now
		return t, nil
	}
	err = decider.verify(ctx, token, now, &t)
	return t, err
}

// lookUp is the first half of Verify. It returns the Verifier of the token's issuer. If the
// token is in its cache and still good, lookUp also returns the cached token, which other
// requests share and nobody may change. If cached is nil, the caller must call verify.
func (v *Verifier) lookUp(ctx context.Context, token string) (decider *Verifier, now time.Time, cached *Token, err error) {
	decider = v
	if v == nil || v.keys == nil { // v has members, or was not made by a constructor
		if decider, err = memberFor(ctx, v, token); err != nil {
			decider.sendRefused(ctx, Token{}, err)
			return decider, now, nil, err
		}
	}
	now = decider.o.Now()
	if cached = cachedToken(ctx, decider, token, now); cached == nil {
		return decider, now, nil, nil
	}
	if ctx.Err() != nil {
		err = checkContext(ctx)
	} else {
		err = decider.checks.runOnRequest(ctx, decider, cached, now)
	}
	if err != nil {
		decider.sendRefused(ctx, *cached, err)
		return decider, now, nil, err
	}
	return decider, now, cached, nil
}

// verify is the second half of Verify. It reads a token into t and runs all checks. With
// an error, t is zero. v must not have members.
func (v *Verifier) verify(ctx context.Context, token string, now time.Time, t *Token) error {
	err := v.verifyWithoutEvent(ctx, token, now, t)
	if err != nil {
		v.sendRefused(ctx, *t, err)
		*t = Token{}
	}
	return err
}

// verifyWithoutEvent is verify without the event. If it returns an error but the signature
// is good and the claims could be read, t has the claims, since the event needs them.
func (v *Verifier) verifyWithoutEvent(ctx context.Context, token string, now time.Time, t *Token) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	s := newVerification(ctx, v, token, now)
	defer s.release()
	err := v.checks.runLasting(s)
	if err == nil {
		if err = v.checks.runTimed(v, s.token, now); err != nil && v.old != nil {
			err = v.old.orRevoked(ctx, v, s.token, now, err)
		}
	}
	if err == nil {
		err = v.checks.runOnRequest(ctx, v, s.token, now)
	}
	if err == nil {
		s.cacheToken()
	}
	if err == nil || s.isGenuine {
		*t = *s.token
	}
	return err
}

// Recheck returns nil if a token that this verifier has verified is still good: its key
// is in use, its dates are good, VerifierOptions.Checks allow it, and it is not revoked.
// It is for connections that outlive a request, such as WebSockets and streams. A token
// of another verifier is refused. The errors are those of Verify.
func (v *Verifier) Recheck(ctx context.Context, t Token) error {
	m, err := v.memberOfToken(ctx, &t)
	if err != nil {
		v.sendRefused(ctx, t, err)
		return err
	}
	now := m.o.Now()
	t.validity = always
	if err = checkContext(ctx); err == nil {
		err = checkKeyInUse(ctx, m, &t, now)
	}
	if err == nil {
		err = m.checks.runTimed(m, &t, now)
	}
	if err == nil {
		err = m.checks.runOnRequest(ctx, m, &t, now)
	}
	if err != nil {
		m.sendRefused(ctx, t, err)
	}
	return err
}

// Revoke revokes one token that this verifier has verified. From then on, every verifier
// with the same revocation store refuses the token. Other tokens of its session stay
// good; see [Issuer.EndSession]. A token of another verifier is refused. It is an error
// if the token has no jti or the verifier has no Revocations. If the store fails, Revoke
// returns ErrUnavailable.
func (v *Verifier) Revoke(ctx context.Context, t Token) error {
	m, err := v.memberOfToken(ctx, &t)
	if err != nil {
		return err
	}
	if m.revocations == nil {
		return errors.New("jwtauth: this Verifier has no Revocations to revoke a token in")
	}
	if m.old != nil {
		return m.revokeOld(ctx, t)
	}
	return m.revocations.revokeToken(ctx, t)
}

// Ready returns nil if there are keys to verify with, and if the revocation store answers.
// Otherwise it returns ErrUnavailable. It is for readiness probes, and sends no event. A
// Verifier that AnyOf made is ready if all its members are. One that ResolveIssuers made is
// ready if the issuers that it remembers are; it needs none.
func (v *Verifier) Ready(ctx context.Context) error {
	if !v.isMade() {
		return unavailable("verifier", errNoVerifier)
	}
	if v.members != nil {
		for m := range v.members.all() {
			if err := m.Ready(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	if err := checkContext(ctx); err != nil {
		return err
	}
	now := v.o.Now()
	if _, err := v.keys.Current(ctx, now); err != nil {
		return unavailable("key", err)
	}
	return v.revocations.ready(ctx, now)
}

// memberOfToken returns the Verifier for a token that v has verified: v itself or, if v
// has members, the one of the token's issuer. It refuses a token that v has not verified.
func (v *Verifier) memberOfToken(ctx context.Context, t *Token) (*Verifier, error) {
	if !v.isMade() {
		return nil, unavailable("verifier", errNoVerifier)
	}
	if t.verifier == nil {
		return nil, refused("token", ErrNoToken, "a token that Verify returned", "")
	}
	m := v
	if v.members != nil {
		var err error
		if m, err = v.members.member(ctx, t.Issuer); err != nil {
			return nil, err
		}
		if fixed, ok := v.members.(*fixedMembers); ok && fixed.old != nil && t.verifier == fixed.old.id {
			m = fixed.old
		}
	}
	if m == nil || m.o.Issuer != t.Issuer {
		return nil, refused("iss", ErrTokenIssuer, "a token that this verifier returned", errtext.Quote(t.Issuer))
	}
	if t.verifier != m.id && (v.members == nil || !t.verifier.hasResolver(v.members)) {
		return nil, refused("token", ErrNoToken, "a token that this verifier returned", "one of another verifier")
	}
	return m, nil
}

// sendRefused sends TokenRefused, or Unavailable, for a token.
func (v *Verifier) sendRefused(ctx context.Context, t Token, err error) {
	if v != nil && v.onEvent != nil {
		sendFailure(ctx, v.onEvent, event.TokenRefused, t.event(), err)
	}
}

// CacheStats returns the figures of the cache; zero if there is none. A Verifier that
// AnyOf or ResolveIssuers made returns the sums over its members.
func (v *Verifier) CacheStats() (sum CacheStats) {
	switch {
	case v == nil:
		return sum
	case v.cache != nil:
		return CacheStats(v.cache.Stats())
	case v.members == nil:
		return sum
	}
	for m := range v.members.all() {
		s := m.CacheStats()
		sum.Len, sum.Bytes = sum.Len+s.Len, sum.Bytes+s.Bytes
		sum.Hits, sum.Misses, sum.Evictions = sum.Hits+s.Hits, sum.Misses+s.Misses, sum.Evictions+s.Evictions
	}
	return sum
}

func init() {
	testseam.Without = func(verifier any, check string) any { return verifier.(*Verifier).without(check) }
	claimrule.NewVerifier = func(keys jwk.Set, options any, rules []claimrule.Rule) (any, error) {
		return newVerifierWithRules(keys, options.(VerifierOptions), rules)
	}
}
