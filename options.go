package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// The defaults and bounds that the options name.
const (
	defaultAccessTTL    = 15 * time.Minute
	defaultIdleTTL      = 7 * 24 * time.Hour
	defaultSessionTTL   = 30 * 24 * time.Hour
	defaultRefreshGrace = 10 * time.Second
	minRefreshGrace     = 4 * time.Second
	maxRefreshGrace     = time.Minute
	defaultStoreTimeout = 2 * time.Second
	defaultLeeway       = 30 * time.Second
	maxLeeway           = 5 * time.Minute
	defaultMaxLifetime  = 24 * time.Hour
	defaultTokenBytes   = 8 << 10
	maxTokenBytes       = 1 << 20
	defaultCacheSize    = 1 << 14
	maxCacheSize        = 1 << 24

	// maxDuration bounds every duration, so that adding some of them to a time
	// cannot overflow.
	maxDuration = 10 * 365 * 24 * time.Hour

	// maxSkew is how far apart the clocks of two nodes may be.
	maxSkew = time.Minute
)

// refreshAudience is what follows the issuer's name in the audience of refresh
// tokens. No API can be configured with it, so that none takes a refresh token.
const refreshAudience = "#refresh"

// IssuerOptions configures an [Issuer]. Issuer and Audiences are required; every
// other zero field means its default. The options are copied.
type IssuerOptions struct {
	// Issuer is the iss claim: the name of this issuer, as a rule its URL.
	Issuer string
	// Audiences are the services that the tokens are for: the aud claim.
	Audiences []string

	// Sessions keeps the sessions that refresh tokens belong to. Without it the
	// issuer issues access tokens alone, and Issue and Refresh say so.
	Sessions SessionStore
	// Revocations makes access tokens of a session that has ended refused at
	// once. It is required with Sessions, since otherwise an access token
	// outlives a logout by up to AccessTTL; InsecureAccessOutlivesSession takes
	// that into account.
	Revocations                   RevocationStore
	InsecureAccessOutlivesSession bool

	// RefreshKeys sign the refresh tokens; nil: the ring of the access tokens
	// does. A ring of their own is never published, and its keys can live on
	// for SessionTTL while those of the access tokens are rotated.
	RefreshKeys *KeyRing

	// AccessTTL is how long an access token lives: 15 minutes. LongestAccessTTL
	// is how long access tokens live that were issued under an earlier, longer
	// AccessTTL; set it when AccessTTL is lowered, until the last of them has
	// expired. Zero, or less than AccessTTL: AccessTTL.
	AccessTTL, LongestAccessTTL time.Duration
	// IdleTTL ends a session that is not refreshed for so long: 7 days.
	// SessionTTL ends every session: 30 days after the login. A shortened one
	// counts at once, for sessions that are open, too.
	IdleTTL, SessionTTL time.Duration
	// RefreshGrace is for how long after its first redemption a refresh token
	// is answered with successors again, so that racing browser tabs and lost
	// responses log nobody out: 10 seconds, 4 seconds to 1 minute, negative:
	// none. Half of it is what signing and storing may take; the other half is
	// for the client that was told to try again.
	RefreshGrace time.Duration
	// StoreTimeout bounds each call to a store that may have to wait: 2 seconds;
	// negative: the caller's context alone. Advance, the step on which the grace
	// rests, is never given more than half of RefreshGrace; ending a session,
	// which outlives the caller's context, never more than 4 seconds without it.
	StoreTimeout time.Duration

	// Reload is asked at each refresh, before anything has changed, whether and
	// with what the session goes on. g is the grant of the login; Reload may set
	// Claims (they come as json.RawMessage) and take Scopes away, for this
	// access token alone: the next refresh begins with the grant of the login
	// again. Any other change, and a scope outside of the grant, is a mistake
	// that makes the refresh unavailable. s tells about the session, RefreshedAt
	// and IdleEnd as the presented token knows them. To close the door on
	// sessions whose login raced with a change of password, refuse where
	// s.AuthTime lies before that change. ErrGrantRefused ends the session; any
	// other error makes the refresh unavailable and leaves the token good.
	Reload func(ctx context.Context, s Session, g *Grant) error

	// OnEvent hears of what happens; see [LogEvents]. It is called before the
	// method returns, from many goroutines at a time.
	OnEvent func(ctx context.Context, e Event)
	// Now is the clock: time.Now.
	Now func() time.Time
}

func (o *IssuerOptions) setDefaults() error {
	if err := checkIssuer(o.Issuer); err != nil {
		return err
	}
	o.Audiences = slices.Clone(o.Audiences)
	if err := checkAudiences(o.Audiences); err != nil {
		return err
	}
	switch {
	case o.Sessions != nil && o.Revocations == nil && !o.InsecureAccessOutlivesSession:
		return errors.New("jwtauth: IssuerOptions.Revocations is missing: without it a logout leaves access tokens good for up to AccessTTL; set it, or InsecureAccessOutlivesSession")
	case o.InsecureAccessOutlivesSession && o.Revocations != nil:
		return errors.New("jwtauth: IssuerOptions has Revocations and InsecureAccessOutlivesSession, which contradict each other")
	}
	for _, ttl := range []struct {
		name     string
		value    *time.Duration
		fallback time.Duration
	}{
		{"AccessTTL", &o.AccessTTL, defaultAccessTTL},
		{"IdleTTL", &o.IdleTTL, defaultIdleTTL},
		{"SessionTTL", &o.SessionTTL, defaultSessionTTL},
		{"LongestAccessTTL", &o.LongestAccessTTL, time.Second},
	} {
		if *ttl.value == 0 {
			*ttl.value = ttl.fallback
		}
		if *ttl.value < time.Second || *ttl.value > maxDuration {
			return fmt.Errorf("jwtauth: IssuerOptions.%s is %v, %v to %v is expected", ttl.name, *ttl.value, time.Second, maxDuration)
		}
	}
	o.AccessTTL = o.AccessTTL.Truncate(time.Second) // as exp is
	o.LongestAccessTTL = max(o.LongestAccessTTL, o.AccessTTL)
	if o.RefreshGrace > maxRefreshGrace || o.RefreshGrace > 0 && o.RefreshGrace < minRefreshGrace {
		return fmt.Errorf("jwtauth: IssuerOptions.RefreshGrace is %v, %v to %v is expected, or a negative one for none", o.RefreshGrace, minRefreshGrace, maxRefreshGrace)
	}
	o.RefreshGrace = orDefault(o.RefreshGrace, defaultRefreshGrace)
	o.StoreTimeout = orDefault(o.StoreTimeout, defaultStoreTimeout)
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// fit says whether the rings keep their keys for as long as the tokens live.
func (o *IssuerOptions) fit(keys *KeyRing) error {
	if l := keys.life; l != nil && l.o.AccessTTL < o.LongestAccessTTL {
		return fmt.Errorf("jwtauth: KeyRingOptions.AccessTTL is %v, the issuer's access tokens live up to %v", l.o.AccessTTL, o.LongestAccessTTL)
	}
	if l, ttl := o.RefreshKeys.life, min(o.IdleTTL, o.SessionTTL); l != nil && o.Sessions != nil && l.o.RefreshTTL < ttl {
		return fmt.Errorf("jwtauth: KeyRingOptions.RefreshTTL is %v, the issuer's refresh tokens live up to %v", l.o.RefreshTTL, ttl)
	}
	return nil
}

// VerifierOptions configures a [Verifier]. Issuer and Audiences are required;
// every other zero field means its default. The options are copied.
type VerifierOptions struct {
	// Issuer is what the iss claim must be, to the letter.
	Issuer string
	// Audiences are the names that this service goes by: one of them must be in
	// the aud claim. InsecureAnyAudience takes tokens that are meant for other
	// services, too, which then can use them here.
	Audiences           []string
	InsecureAnyAudience bool

	// AcceptTypJWT takes the typ JWT beside at+jwt, as older issuers and most
	// OpenID providers write it; AcceptNoTyp takes tokens without typ. Where the
	// issuer signs ID tokens with the same keys, only the audience tells those
	// apart then.
	AcceptTypJWT, AcceptNoTyp bool
	// MaxTokenBytes is the length of the longest token that is looked at:
	// 8192 bytes, at most 1 MiB.
	MaxTokenBytes int
	// ScopeClaim is the name of the claim with the scopes: scope. Some issuers
	// call it scp. It is a string with spaces in between, or an array.
	ScopeClaim string

	// Leeway is how far the issuer's clock may be off when exp, nbf and iat are
	// checked: 30 seconds, at most 5 minutes, negative: none.
	Leeway time.Duration
	// MaxLifetime refuses tokens that live longer, from iat (without one, from
	// now) to exp: 24 hours, at most 10 years, negative: no limit.
	MaxLifetime time.Duration
	// MaxAge refuses tokens that were issued longer ago; iat is required then.
	// Zero: no limit. For the age of the login see LoginWithin.
	MaxAge time.Duration
	// RequiredClaims must be there and not null, beside iss, aud, exp and sub.
	RequiredClaims []string
	// Check is asked last, before the revocations: an error refuses the token,
	// ErrUnavailable leaves it undecided, an *Error speaks for itself. See
	// [CheckClaims] for claims with types.
	Check func(ctx context.Context, t Token) error

	// Revocations is asked for every token; a token without jti is refused then.
	Revocations RevocationStore
	// StoreTimeout bounds each call to a store that may have to wait: 2 seconds;
	// negative: the caller's context alone.
	StoreTimeout time.Duration
	// InsecureAcceptUnknownRevocation lets tokens in whose revocation could not
	// be looked up, with an event each time, instead of answering 503.
	InsecureAcceptUnknownRevocation bool

	// CacheSize is how many verified tokens are remembered, so that those which
	// come again cost no signature check: 16384, at most 16,777,216, negative:
	// none. What can change is still asked each time: the keys, the clock, Check,
	// Revocations. A remembered token takes 2 KiB at most on average, what
	// ClaimsAs remembers included. Where there is no room left, a token is
	// remembered from the second time on that it comes. CacheDigests keeps the
	// SHA-256 of each token in place of its text, for those who want no bearer
	// token in memory; a token that comes again costs a little more then.
	CacheSize    int
	CacheDigests bool

	// OnEvent hears of refusals and missing answers; see [LogEvents].
	OnEvent func(ctx context.Context, e Event)
	// Now is the clock: time.Now.
	Now func() time.Time
}

func (o *VerifierOptions) setDefaults() error {
	if err := checkIssuer(o.Issuer); err != nil {
		return err
	}
	o.Audiences = slices.Clone(o.Audiences)
	if o.InsecureAnyAudience {
		if len(o.Audiences) > 0 {
			return errors.New("jwtauth: VerifierOptions has Audiences and InsecureAnyAudience, which contradict each other")
		}
	} else if err := checkAudiences(o.Audiences); err != nil {
		return err
	}
	switch {
	case o.CacheSize > maxCacheSize:
		return fmt.Errorf("jwtauth: VerifierOptions.CacheSize is %d, at most %d is expected, or a negative one for no cache", o.CacheSize, maxCacheSize)
	case o.MaxTokenBytes < 0 || o.MaxTokenBytes > maxTokenBytes:
		return fmt.Errorf("jwtauth: VerifierOptions.MaxTokenBytes is %d, 1 to %d is expected", o.MaxTokenBytes, maxTokenBytes)
	case o.Leeway > maxLeeway:
		return fmt.Errorf("jwtauth: VerifierOptions.Leeway is %v, at most %v is expected", o.Leeway, maxLeeway)
	case o.MaxLifetime > maxDuration:
		return fmt.Errorf("jwtauth: VerifierOptions.MaxLifetime is %v, at most %v is expected, or a negative one for no limit", o.MaxLifetime, maxDuration)
	case o.MaxAge < 0 || o.MaxAge > maxDuration:
		return fmt.Errorf("jwtauth: VerifierOptions.MaxAge is %v, a positive duration up to %v or none is expected", o.MaxAge, maxDuration)
	case o.InsecureAcceptUnknownRevocation && o.Revocations == nil:
		return errors.New("jwtauth: VerifierOptions.InsecureAcceptUnknownRevocation means nothing without Revocations")
	case len(o.RequiredClaims) > maxRequiredClaims || slices.Contains(o.RequiredClaims, "") || hasTwice(o.RequiredClaims):
		return fmt.Errorf("jwtauth: VerifierOptions.RequiredClaims has an empty name, one twice, or more than %d", maxRequiredClaims)
	case o.ScopeClaim != "scope" && reserved[strictjson.Fold(o.ScopeClaim)]:
		return fmt.Errorf("jwtauth: VerifierOptions.ScopeClaim is %s, which is another registered claim", quoted(o.ScopeClaim))
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
	o.Leeway = orDefault(o.Leeway, defaultLeeway)
	o.MaxLifetime = orDefault(o.MaxLifetime, defaultMaxLifetime)
	o.StoreTimeout = orDefault(o.StoreTimeout, defaultStoreTimeout)
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// MiddlewareOptions configures a [Middleware]. The zero value takes the token
// from the Authorization header and answers refusals with [WriteError].
type MiddlewareOptions struct {
	// Extractors are the places where a token may stand: FromHeader. A request
	// with a token in two of them is refused.
	Extractors []Extractor
	// Realm is the realm parameter of the challenge; none where it is empty.
	Realm string
	// ResourceMetadataURL is the resource_metadata parameter of the challenge
	// (RFC 9728, section 5.1); none where it is empty.
	ResourceMetadataURL string
	// Preflight answers CORS preflight requests in place of the wrapped handler.
	// Where it is nil, a preflight is a request like any other: it has no token
	// and is refused, so CORS middleware goes outside of this one.
	Preflight http.Handler
	// OnError writes the answer to a request that is not let through: WriteError.
	// err is an *Error. The wrapped handler does not run, whatever it does.
	OnError func(w http.ResponseWriter, r *http.Request, err error)
	// OnEvent hears of requests without a token and of those that a policy
	// refuses. Where it is nil, the hook of the Verifier does.
	OnEvent func(ctx context.Context, e Event)
}

// orDefault resolves a duration option: zero is the default, and negative is
// none, which is zero from here on.
func orDefault(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return max(d, 0)
}

// hasTwice says whether a list has one element twice.
func hasTwice(list []string) bool {
	for i, s := range list {
		if slices.Contains(list[:i], s) {
			return true
		}
	}
	return false
}

// maxName is the length of the longest issuer or audience, in bytes.
const maxName = 1024

func checkName(what, name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return fmt.Errorf("jwtauth: %s %s: 1 to %d bytes of UTF-8 are expected", what, quoted(name), maxName)
	}
	if strings.ContainsFunc(name, unicode.IsControl) || strings.TrimSpace(name) != name {
		return fmt.Errorf("jwtauth: %s %s has a control character, or a blank at an end", what, quoted(name))
	}
	return nil
}

func checkIssuer(name string) error {
	if name == "" {
		return errors.New("jwtauth: Issuer is missing: the iss claim, e.g. https://api.example.com")
	}
	if strings.Contains(name, "#") {
		return fmt.Errorf("jwtauth: Issuer %s has a fragment, which a name of an issuer has not (RFC 8414, section 2)", quoted(name))
	}
	return checkName("Issuer", name)
}

func checkAudiences(names []string) error {
	if len(names) == 0 {
		return errors.New("jwtauth: Audiences are missing: the services that the tokens are for, e.g. https://api.example.com")
	}
	if hasTwice(names) {
		return fmt.Errorf("jwtauth: Audiences: one of %s stands there twice", quotedList(names))
	}
	for _, name := range names {
		if err := checkName("Audiences", name); err != nil {
			return err
		}
		if strings.HasSuffix(name, refreshAudience) {
			return fmt.Errorf("jwtauth: Audiences: %s is the audience of refresh tokens, which are for no API", quoted(name))
		}
	}
	return nil
}
