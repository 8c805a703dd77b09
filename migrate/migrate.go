// Package migrate helps a service move from another JWT library. It is for a bounded time: its
// verifiers stop at a date.
//
// [NewVerifier] makes a verifier for the tokens that the old code has issued. jwtauth.AnyOf puts
// it beside the verifier of the new issuer, so that users stay logged in:
//
//	old, err := migrate.NewVerifier(keys, migrate.Options{
//		Until: migrate.Date{Year: 2027, Month: time.March, Day: 1}, Issuer: "https://api.example.com",
//		SubjectClaim: "user_id", Revocations: store,
//	})
//	both, err := jwtauth.AnyOf(verifier, old)
//
// [TradeIn] exchanges such a token for a session of the new issuer, once: the token buys the
// session. [Keyfunc] and [MapClaims] are for code that still uses golang-jwt. Keyfunc gives the
// keys of a set to its parser. MapClaims returns the claims of a Token as jwt.MapClaims, for
// handlers that read those.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/oldtoken"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// Date is a calendar day. It begins at midnight, UTC. The zero value means no day.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// start returns the first moment of the day.
func (d Date) start() time.Time { return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC) }

// check returns an error if the day is not in the calendar.
func (d Date) check(option string) error {
	if d.Year < 1000 {
		return fmt.Errorf("migrate: Options.%s is %s: a day such as 2027-03-01 is expected, with four digits of the year", option, d.text())
	}
	if t := d.start(); t.Year() != d.Year || t.Month() != d.Month || t.Day() != d.Day {
		return fmt.Errorf("migrate: Options.%s is %s, which is not in the calendar: a day such as 2027-03-01 is expected", option, d.text())
	}
	return nil
}

func (d Date) text() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, int(d.Month), d.Day) }

// Options configures [NewVerifier]. Until and Issuer are required, and Revocations unless
// InsecureNoRevocations is set. NewVerifier copies the options.
type Options struct {
	// Until is the first day on which no old token is accepted. It is at most 90 days ahead when the
	// program starts. Users who have got no new tokens before then, by a login or by [TradeIn], must
	// log in again. From Until on, tokens are refused with jwtauth.ErrTokenExpired, like those that
	// have expired by themselves.
	Until Date
	// Issuer is Token.Issuer, and the required value of iss in those old tokens that have iss. It
	// may be the name of the new issuer.
	Issuer string
	// Audiences are the names of this service. A token that has aud must name one of them. Default:
	// a token with aud is refused.
	Audiences []string

	// SubjectClaim is the claim that has the subject, a text or an integer. Default sub. Token.Subject
	// has the digits of an integer: 7 and "7" are the same user.
	SubjectClaim string
	// NoExpUntil accepts tokens without exp until the beginning of this day, and those with an exp
	// that the old code may ignore: 0, and one after the year 9999, such as one in milliseconds. It is
	// not later than Until. Default: exp is required.
	NoExpUntil Date
	// RefreshableFor is how long after exp the old code exchanges a token for a new one. For gin-jwt,
	// MaxRefresh is enough. The revocation of a token lasts until exp plus RefreshableFor, but at most
	// 365 days, and 365 days without exp. If a stranger may know the key (InsecureSecret, or a
	// jwk.Remote with InsecureHTTP), it lasts at most 90 days. Until its end, a revoked token is
	// refused with jwtauth.ErrTokenRevoked, and not with ErrTokenExpired. At most 365 days. Default 0:
	// the old code exchanges no expired tokens.
	RefreshableFor time.Duration
	// Map gets the claims of a token, and returns the claims that policies and handlers see. Map may
	// change and return the map that it gets, for example to derive scope from a role. SubjectClaim is
	// read from the result of Map. Numbers are of type json.Number. iss, aud, exp, nbf, iat and cnf
	// stay those of the token. Map refuses a token by returning nil or an error that matches
	// ErrRefused; any other error is ErrUnavailable. If the old code also signs other tokens with the
	// same key, such as refresh tokens, Map must refuse them. The result is cached with the token. Map
	// is called from many goroutines at a time. Default: the claims stay as they are.
	Map func(claims map[string]any) (map[string]any, error)

	// AllowIssuerKeys accepts keys that are also in a ring of the new issuer. Then each old token must
	// have the typ JWT, which tells it from the new ones, and a token without typ is refused. Use it
	// only if no process with the old code is left, or if the old code checks typ: otherwise that code
	// accepts new access tokens and refresh tokens, also after a logout.
	AllowIssuerKeys bool

	// Revocations is asked about every token. Verifier.Revoke and Issuer.Logout add tokens to it. It
	// must be the store of the new issuer: if an old token has bought a session, the end of the
	// session revokes the token in the store of the issuer. InsecureNoRevocations allows it to be nil;
	// then nobody can log out with an old token. It is an error to set both.
	Revocations           jwtauth.RevocationStore
	InsecureNoRevocations bool

	// OnEvent gets the events of a Verifier. It also gets OldTokenAccepted once a day (UTC) for each
	// old token, for at most 65,536 tokens.
	OnEvent func(ctx context.Context, e event.Event)
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// longestRefreshable is the largest RefreshableFor.
const longestRefreshable = 365 * 24 * time.Hour

func (o *Options) setDefaults() error {
	now := time.Now
	if o.Now != nil {
		now = o.Now
	}
	if o.SubjectClaim == "" {
		o.SubjectClaim = "sub"
	}
	if err := bound.CheckIssuer(o.Issuer); err != nil {
		return fmt.Errorf("migrate: Options.%w", err)
	}
	lower := strings.ToLower(o.SubjectClaim) // names that differ only by case count as one
	switch {
	case o.Until == Date{}:
		return errors.New("migrate: Options.Until is missing: the first day without old tokens, at most 90 days ahead")
	case o.Revocations == nil && !o.InsecureNoRevocations:
		return errors.New("migrate: Options.Revocations is missing: without it, nobody can log out with an old token; set it to the store of the issuer, or set InsecureNoRevocations")
	case o.Revocations != nil && o.InsecureNoRevocations:
		return errors.New("migrate: Options has Revocations and InsecureNoRevocations, which contradict each other")
	case o.RefreshableFor < 0 || o.RefreshableFor > longestRefreshable:
		return fmt.Errorf("migrate: Options.RefreshableFor is %v, 0s to %v is expected", o.RefreshableFor, longestRefreshable)
	case oldtoken.IsFixed(lower) || lower == "sub" && o.SubjectClaim != "sub":
		return fmt.Errorf("migrate: Options.SubjectClaim is %s, which has another meaning: sub, or a claim of the old code such as user_id is expected", errtext.Quote(o.SubjectClaim))
	}
	if err := bound.CheckName("Options.SubjectClaim", o.SubjectClaim); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := o.Until.check("Until"); err != nil {
		return err
	}
	if latest := now().Add(oldtoken.LongestMove); o.Until.start().After(latest) {
		return fmt.Errorf("migrate: Options.Until is %s, at most 90 days ahead are expected, so at most %s", o.Until.text(), latest.UTC().Format(time.DateOnly))
	}
	if (o.NoExpUntil == Date{}) {
		return nil
	}
	if err := o.NoExpUntil.check("NoExpUntil"); err != nil {
		return err
	}
	if o.NoExpUntil.start().After(o.Until.start()) {
		return fmt.Errorf("migrate: Options.NoExpUntil is %s, at most Until (%s) is expected", o.NoExpUntil.text(), o.Until.text())
	}
	return nil
}

// NewVerifier makes a verifier for old tokens: the tokens of the old code. The parameter keys
// verifies their signatures. It is the Verification of a key of jwk.NewHMAC, or what
// jwk.ParseVerification, jwk.Static, jwk.NewRemote or [InsecureSecret] returns. Give the verifier
// to jwtauth.AnyOf together with one of the new issuer, or to Options.Verifier of package
// endpoints.
//
// An old token may lack iss, aud, kid and jti. Its typ is JWT, or it has none; tokens with another
// typ, such as new access tokens and refresh tokens, are refused. A token without kid is tried
// with the keys of its algorithm, if they are at most four. An old token may have any lifetime:
// there is no MaxLifetime. iat is not checked, since most old code does not check it.
//
// Token.ID is the SHA-256 of the header and the payload, in base64url without padding, and not
// jti, which may be missing or not be unique. Verifier.Revoke revokes a token. If you have only
// the Token.ID, pass jwtauth.TokenID("", id) to Revoke of the store. The revocation does not
// depend on Options.Issuer. An old token belongs to no session: Token.SessionID is empty, and so
// is Token.Actor. Issuer.Exchange refuses it, and so does Issuer.Refresh.
//
// If AnyOf has combined the verifier with that of an Issuer, Issuer.Logout of an old token revokes
// that token. Issuer.EndAllSessions revokes an old token only if the token has bought a session;
// see [TradeIn].
func NewVerifier(keys jwk.Set, o Options) (*jwtauth.Verifier, error) {
	var seam keyset.Set
	var err error
	insecure, isInsecure := keys.(*insecureSecret)
	switch keys.(type) {
	case *insecureSecret:
		if seam, err = insecure.seam(); err != nil {
			return nil, err
		}
	case interface{ IssuerSeam() (keyset.Ring, error) }:
		return nil, errors.New("migrate: NewVerifier: a jwk.Ring signs new tokens: the keys of the old tokens are expected, such as key.Verification()")
	default:
		if seam, err = seamOf(keys); err != nil {
			return nil, fmt.Errorf("migrate: NewVerifier: %w", err)
		}
	}
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	rules := oldtoken.Rules{
		Until: o.Until.start(), SubjectClaim: o.SubjectClaim, Map: o.Map, NeedsTyp: o.AllowIssuerKeys,
		RefreshableFor: o.RefreshableFor,
		IsInsecure:     isInsecure || seam.Facts().InsecureHTTP,
	}
	if (o.NoExpUntil != Date{}) {
		rules.NoExp = o.NoExpUntil.start()
	}
	v, err := oldtoken.NewVerifier(seam, jwtauth.VerifierOptions{
		Issuer: o.Issuer, Audiences: o.Audiences, Revocations: o.Revocations, OnEvent: o.OnEvent, Now: o.Now,
	}, rules)
	if err != nil {
		return nil, fmt.Errorf("migrate: NewVerifier: %w", err)
	}
	return v.(*jwtauth.Verifier), nil
}
