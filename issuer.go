package jwtauth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// Issuer signs access tokens and refresh tokens and ends the sessions that they
// belong to. It is immutable and safe for concurrent use. The zero value issues
// nothing.
type Issuer struct {
	o       IssuerOptions
	keys    *KeyRing
	onEvent hook

	refreshable *Verifier // of refresh tokens
	anyRefresh  *Verifier // of refresh tokens, expired ones too
	anyAccess   *Verifier // of access tokens, expired ones too

	refreshAudience []string
}

// NewIssuer makes an issuer that signs with keys.
func NewIssuer(keys *KeyRing, o IssuerOptions) (*Issuer, error) {
	if err := keys.made(); err != nil {
		return nil, err
	}
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	if o.RefreshKeys == nil {
		o.RefreshKeys = keys
	}
	if err := o.RefreshKeys.made(); err != nil {
		return nil, err
	}
	if err := o.fit(keys); err != nil {
		return nil, err
	}
	i := &Issuer{o: o, keys: keys, onEvent: o.OnEvent, refreshAudience: []string{o.Issuer + refreshAudience}}
	own := VerifierOptions{Issuer: o.Issuer, MaxLifetime: -1, Leeway: maxSkew, Now: o.Now}
	own.InsecureAnyAudience = true // for Logout: a token for any of the audiences
	if err := own.setDefaults(); err != nil {
		return nil, err
	}
	i.anyAccess = newVerifier(refreshKeys{keys}, accessToken, own).without("exp", "iat")
	own.InsecureAnyAudience, own.Audiences = false, i.refreshAudience
	own.MaxTokenBytes += refreshSlack
	i.refreshable = newVerifier(refreshKeys{o.RefreshKeys}, refreshToken, own)
	i.anyRefresh = i.refreshable.without("exp", "iat")
	return i, nil
}

// NewVerifier makes the verifier of this issuer's access tokens. Zero fields of
// o take the issuer's name, audiences, revocations, clock and hook, so that the
// two cannot disagree; those that are set must fit the issuer's. MaxLifetime is
// at least the longest that the issuer's tokens live.
func (i *Issuer) NewVerifier(o VerifierOptions) (*Verifier, error) {
	if err := i.check(); err != nil {
		return nil, err
	}
	switch {
	case o.Issuer != "" && o.Issuer != i.o.Issuer:
		return nil, fmt.Errorf("jwtauth: VerifierOptions.Issuer is %s, this issuer is %s", quoted(o.Issuer), quoted(i.o.Issuer))
	case o.AcceptTypJWT || o.AcceptNoTyp:
		return nil, errors.New("jwtauth: AcceptTypJWT and AcceptNoTyp are for other issuers: this one writes at+jwt")
	case o.InsecureAnyAudience:
		return nil, errors.New("jwtauth: InsecureAnyAudience is for other issuers: this one writes its Audiences")
	case o.ScopeClaim != "" && o.ScopeClaim != "scope":
		return nil, fmt.Errorf("jwtauth: VerifierOptions.ScopeClaim is %s, this issuer writes scope", quoted(o.ScopeClaim))
	case o.Revocations != nil && !sameStore(o.Revocations, i.o.Revocations):
		return nil, errors.New("jwtauth: VerifierOptions.Revocations is another store than the issuer's, in which its logouts stand")
	case o.MaxLifetime > 0 && o.MaxLifetime < i.o.LongestAccessTTL:
		return nil, fmt.Errorf("jwtauth: VerifierOptions.MaxLifetime is %v, this issuer's tokens live up to %v", o.MaxLifetime, i.o.LongestAccessTTL)
	}
	for _, audience := range o.Audiences {
		if !slices.Contains(i.o.Audiences, audience) {
			return nil, fmt.Errorf("jwtauth: VerifierOptions.Audiences: %s is not one of the issuer's", quoted(audience))
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
		o.Now = i.o.Now
	}
	return NewVerifier(i.keys, o)
}

// sameStore says whether two stores are one; those that cannot be compared are
// not.
func sameStore(a, b RevocationStore) bool {
	return b != nil && reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}

var errNoIssuer = errors.New("jwtauth: this Issuer was not made by NewIssuer")

func (i *Issuer) check() error {
	if i == nil || i.keys == nil {
		return noAnswer("issuer", errNoIssuer)
	}
	return nil
}

// TokenResponse is what a client gets: the answer of RFC 6749, section 5.1. Its
// JSON is that answer and holds the tokens; it prints and logs without them,
// unless it stands in an unexported field of something that is printed.
type TokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"` // Bearer
	ExpiresIn    int    `json:"expires_in"` // of the access token, in seconds
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope,omitempty"`

	SessionID        string    `json:"-"`
	ExpiresAt        time.Time `json:"-"` // of the access token
	RefreshExpiresAt time.Time `json:"-"`
}

func (t TokenResponse) String() string {
	return fmt.Sprintf("TokenResponse(sid %s, expires %s)", quoted(t.SessionID), when(t.ExpiresAt))
}

// Format prints the session and when the access token expires, whatever the
// verb.
func (t TokenResponse) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue is the session and when the access token expires.
func (t TokenResponse) LogValue() slog.Value { return slog.StringValue(t.String()) }

// IssueAccess issues an access token alone: without a session, it cannot be
// refreshed, and it is revoked by its own id. An error that is neither
// ErrRefused nor ErrUnavailable means that g cannot be issued.
func (i *Issuer) IssueAccess(ctx context.Context, g Grant) (TokenResponse, error) {
	if err := i.check(); err != nil {
		return TokenResponse{}, err
	}
	at := i.now()
	s := session{began: at, end: at.Add(i.o.AccessTTL), granted: settled{Grant: g}}
	if err := i.settle(&s.granted, at); err != nil {
		return TokenResponse{}, err
	}
	response, e, err := i.sign(ctx, &s, &s.granted, at)
	return i.issued(ctx, response, e, err)
}

// issued is how issuing ends: with the event, and without tokens beside an
// error.
func (i *Issuer) issued(ctx context.Context, response TokenResponse, e Event, err error) (TokenResponse, error) {
	if err != nil {
		return TokenResponse{}, i.report(ctx, e, err)
	}
	e.Kind = TokenIssued
	i.onEvent.send(ctx, e)
	return response, nil
}

// now reads the clock, in the precision that stores keep.
func (i *Issuer) now() time.Time { return i.o.Now().UTC().Truncate(time.Microsecond) }

// newID makes an identifier of 128 random bits.
func newID() (id [22]byte) {
	var b [16]byte
	rand.Read(b[:])
	base64.RawURLEncoding.Encode(id[:], b[:])
	return id
}

// draft is what a token is written in.
type draft struct {
	claims          strictjson.Writer
	text, signature []byte
}

var drafts = sync.Pool{New: func() any { return new(draft) }}

func (d *draft) release() {
	d.claims.Reset()
	clear(d.text[:cap(d.text)])
	clear(d.signature[:cap(d.signature)])
	if cap(d.text) <= maxPooled {
		drafts.Put(d)
	}
}

// sign signs the tokens of one moment: an access token for what is allowed now
// and, in a session, the refresh token for what was granted. The event names
// them.
func (i *Issuer) sign(ctx context.Context, s *session, now *settled, at time.Time) (response TokenResponse, e Event, err error) {
	d := drafts.Get().(*draft)
	defer d.release()
	id := newID()
	response.TokenType, response.SessionID = "Bearer", s.id
	e = Event{Issuer: i.o.Issuer, Subject: now.Subject, SessionID: s.id}
	if i.onEvent != nil {
		e.TokenID = string(id[:])
	}

	response.ExpiresAt = earliest(at.Add(i.o.AccessTTL), s.end).Truncate(time.Second)
	response.ExpiresIn = int(response.ExpiresAt.Unix() - at.Unix())
	i.writeCommon(&d.claims, now, now.Audiences, id[:], s.id, at, response.ExpiresAt)
	if now.claims != "" {
		d.claims.Members(now.claims)
	}
	if e.KeyID, err = i.encode(ctx, d, i.keys, at, accessToken, defaultTokenBytes); err != nil {
		return response, e, err
	}
	// The token and its scope share one allocation.
	n := len(d.text)
	for k, scope := range now.Scopes {
		if k > 0 {
			d.text = append(d.text, ' ')
		}
		d.text = append(d.text, scope...)
	}
	both := string(d.text)
	response.AccessToken, response.Scope = both[:n], both[n:]
	if s.id == "" {
		return response, e, nil
	}

	response.RefreshExpiresAt = s.idleEnd(at, i.o.IdleTTL)
	id = newID()
	d.claims.Reset()
	i.writeCommon(&d.claims, &s.granted, i.refreshAudience, id[:], s.id, at, response.RefreshExpiresAt)
	s.write(&d.claims)
	limit := defaultTokenBytes
	if s.generation > 1 {
		limit += refreshSlack
	}
	_, err = i.encode(ctx, d, i.o.RefreshKeys, at, refreshToken, limit)
	response.RefreshToken = string(d.text)
	return response, e, err
}

// writeCommon writes the claims that both kinds of tokens have (RFC 9068,
// section 2.2).
func (i *Issuer) writeCommon(w *strictjson.Writer, g *settled, audiences []string, jti []byte, sid string, at, expires time.Time) {
	w.Str("iss", i.o.Issuer)
	w.Str("sub", g.Subject)
	if len(audiences) == 1 {
		w.Str("aud", audiences[0])
	} else {
		w.Strings("aud", audiences)
	}
	w.Int("exp", expires.Unix())
	w.Int("iat", at.Unix())
	w.Str("jti", string(jti))
	if sid != "" {
		w.Str("sid", sid)
	}
	if g.ClientID != "" {
		w.Str("client_id", g.ClientID)
	}
	if len(g.Scopes) > 0 {
		w.Words("scope", g.Scopes)
	}
	w.Int("auth_time", g.AuthTime.Unix())
	if g.ACR != "" {
		w.Str("acr", g.ACR)
	}
	if len(g.AMR) > 0 {
		w.Strings("amr", g.AMR)
	}
}

// refreshSlack is how much longer than the first one the refresh tokens of a
// session may grow: by the digits of their generation.
const refreshSlack = 64

// encode makes d.text the token of d.claims, signed with the key that is the active
// one of a ring at that time.
func (i *Issuer) encode(ctx context.Context, d *draft, ring *KeyRing, at time.Time, kind tokenKind, limit int) (keyID string, err error) {
	state, err := ring.at(at)
	if err == nil && state.signing == nil {
		err = errNoSigningKey
	}
	if err != nil {
		return "", noAnswer("keys", err)
	}
	key := state.signing
	d.text = append(append(d.text[:0], key.headers[kind]...), '.')
	d.text = compact.AppendEncode(d.text, d.claims.Object())
	if d.signature, err = key.signer.AppendSignature(ctx, d.signature[:0], d.text); err != nil {
		return "", noAnswer("sign", err)
	}
	d.text = compact.AppendEncode(append(d.text, '.'), d.signature)
	if len(d.text) > limit {
		return "", fmt.Errorf("jwtauth: the token would have %d bytes, verifiers take %d: the grant has too many or too large claims", len(d.text), limit)
	}
	return key.ID(), nil
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
