package keyset

import (
	"context"
	"net/http"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/hook"
)

// Set finds the keys for a Verifier. ctx is the context of the request. An error means that
// the keys are not known, so the Verifier answers ErrUnavailable.
type Set interface {
	// Current returns the keys that are in use at time now.
	Current(ctx context.Context, now time.Time) (*Table, error)
	// AskForKid asks the source of the keys for a key with the given kid, unless it has
	// done so recently, and then returns the current keys. They may lack that key.
	AskForKid(ctx context.Context, now time.Time, kid string) (*Table, error)
	// Facts returns the properties of the set that never change.
	Facts() Facts
}

// Facts are the properties of a Set that never change.
type Facts struct {
	Issuer     string // the only issuer that signs with the keys; "" if unknown
	AsksForKid bool   // AskForKid may find a key that Current does not have
	Asymmetric bool   // no key of the set is ever symmetric
	TriesKeys  bool   // a token without a kid is tried with several keys; see Table.OfAlgorithm

	InsecureHTTP bool // the keys may come over http from any host
}

// Replacing is implemented by a Set whose source may replace a key and keep its kid.
type Replacing interface {
	// AskForReplacement asks the source of the keys whether it has other keys in place of the
	// doubted ones, unless it has done so recently, and then returns the current keys. The
	// doubted keys come from the Set, and a token has a bad signature under each of them. An
	// error means that the source has not answered.
	AskForReplacement(ctx context.Context, now time.Time, doubted []*Key) (*Table, error)
}

// Ring finds the keys for an Issuer.
type Ring interface {
	// Signer returns the Signer for new tokens at time now.
	Signer(ctx context.Context, now time.Time) (*Signer, error)
	// AccessKeys and RefreshKeys return the keys that access tokens and refresh
	// tokens are verified with.
	AccessKeys() Set
	RefreshKeys() Set
	// Announce tells the ring the longest lifetimes of access and refresh tokens. The ring
	// keeps a key at least until all tokens that it has signed have expired. Zero means
	// that no such tokens are issued.
	Announce(access, refresh time.Duration)
}

// Issuer holds the properties of a jwtauth.Issuer that package endpoints uses.
type Issuer struct {
	Name      string   // the iss claim
	Audiences []string // the services that the tokens of logins are for
	Keys      Set      // the keys that verify access tokens
	Now       func() time.Time
	OnEvent   hook.Hook
	// AccessClaims returns the claims of a good access token, for any audience.
	AccessClaims func(ctx context.Context, token string) (claims string, err error)
	// Session returns the session of a refresh token, and redeems nothing. A refusal sends no
	// event.
	Session func(ctx context.Context, refreshToken string) (Session, error)

	// LogoutUnless is Logout, except that it does nothing if the token belongs to the session with the
	// id keepID, or is an old token that has bought it.
	LogoutUnless func(ctx context.Context, token, keepID string) error
	// AddTo returns a *jwtauth.Verifier that accepts the tokens of v and those of the issuer. v is a
	// *jwtauth.Verifier, which may be nil.
	AddTo func(v any) (any, error)

	HasSessions, HasRevocations bool
}

// Extractor is what package endpoints needs of a jwtauth.Extractor.
type Extractor struct {
	// Tokens returns all tokens of a request. isOriginChecked means that the caller has checked the
	// origin. If places cannot be read, err is that of one of them.
	Tokens func(r *http.Request, isOriginChecked bool) (tokens []string, err error)
	// Unless returns a jwtauth.Extractor that finds no token if skip returns true.
	Unless func(skip func(r *http.Request) bool) any
}

// Session holds the fields of a jwtauth.Session that package endpoints uses.
type Session struct {
	ID, Subject, ClientID           string
	Scopes                          []string
	CreatedAt, RefreshedAt, IdleEnd time.Time
}
