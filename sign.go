package jwtauth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// signer encodes and signs the tokens of an issuer. It is immutable.
type signer struct {
	issuer           string
	accessTTL        time.Duration
	access, refresh  keyset.Ring // sign the access tokens and the refresh tokens
	refreshAudiences []string    // the aud claim of refresh tokens
	namesToken       bool        // events have the jti of the access token
}

// draft holds the buffers in which one token is encoded and signed. They are reused.
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

// newID makes an identifier of 128 random bits.
func newID() (id [22]byte) {
	var b [16]byte
	rand.Read(b[:])
	base64.RawURLEncoding.Encode(id[:], b[:])
	return id
}

// refreshSlack is how many bytes the second and later refresh tokens of a session may be
// longer than the first. They are longer by the digits of their generation.
const refreshSlack = 64

// sign signs an access token with the grant g and, if s has a generation, a refresh token
// with the grant of the login, s.granted. at is the time of issue. The event e names the
// session and the key and, if an OnEvent hook is set, the access token.
func (n *signer) sign(ctx context.Context, s *session, g *grantWithClaims, at time.Time) (response TokenResponse, e event.Event, err error) {
	d := drafts.Get().(*draft)
	defer d.release()
	id := newID()
	response.TokenType, response.SessionID = "Bearer", s.id
	e = event.Event{Issuer: n.issuer, Subject: g.Subject, SessionID: s.id}
	if n.namesToken {
		e.TokenID = string(id[:])
	}

	idleEnd := s.idleEnd(at)
	response.ExpiresAt = earliest(at.Add(n.accessTTL), idleEnd).Truncate(time.Second)
	response.ExpiresIn = secondsUntil(response.ExpiresAt, at)
	n.writeCommon(&d.claims, g, g.Audiences, id[:], s.id, at, response.ExpiresAt)
	s.writeAccess(&d.claims)
	if g.claims != "" {
		d.claims.Members(g.claims)
	}
	limits := bound.LoginOf(ctx)
	if limits.AccessBytes == 0 {
		limits.AccessBytes = maxIssuedBytes
	}
	if e.KeyID, err = d.encodeAndSign(ctx, n.access, keyset.Access, at, limits.AccessBytes); err != nil {
		return response, e, err
	}
	// The token and its scope share one allocation.
	length := len(d.text)
	for i, scope := range g.Scopes {
		if i > 0 {
			d.text = append(d.text, ' ')
		}
		d.text = append(d.text, scope...)
	}
	joined := string(d.text)
	response.AccessToken, response.Scope = joined[:length], joined[length:]
	if s.generation == 0 {
		return response, e, nil
	}

	response.IdleEnd, response.EndsAt = idleEnd, s.end
	response.RefreshTimeout, response.SessionExpiresIn = secondsUntil(idleEnd, at), secondsUntil(s.end, at)
	id = newID()
	d.claims.Reset()
	n.writeCommon(&d.claims, &s.granted, n.refreshAudiences, id[:], s.id, at, idleEnd)
	s.write(&d.claims)
	if limits.RefreshBytes == 0 {
		limits.RefreshBytes = maxIssuedBytes + refreshSlack
	}
	if s.generation == 1 {
		limits.RefreshBytes -= refreshSlack
	}
	_, err = d.encodeAndSign(ctx, n.refresh, keyset.Refresh, at, limits.RefreshBytes)
	response.RefreshToken = string(d.text)
	return response, e, err
}

// writeCommon writes the claims that access tokens and refresh tokens share (RFC 9068,
// section 2.2).
func (n *signer) writeCommon(w *strictjson.Writer, g *grantWithClaims, audiences []string, jti []byte, sid string, at, expires time.Time) {
	w.Str("iss", n.issuer)
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

// encodeAndSign makes a token of d.claims and stores its text in d.text. It signs with
// the key of the ring that is active at the given time. limit is the largest length of
// the token, in bytes.
func (d *draft) encodeAndSign(ctx context.Context, ring keyset.Ring, kind keyset.Kind, at time.Time, limit int) (keyID string, err error) {
	key, err := ring.Signer(ctx, at)
	if err != nil {
		return "", unavailable("keys", err)
	}
	d.text = append(append(d.text[:0], key.Header(kind)...), '.')
	d.text = compact.AppendEncode(d.text, d.claims.Object())
	if d.signature, err = key.AppendSignature(ctx, d.signature[:0], d.text); err != nil {
		return "", unavailable("sign", err)
	}
	d.text = compact.AppendEncode(append(d.text, '.'), d.signature)
	if len(d.text) > limit {
		return "", fmt.Errorf("jwtauth: the token would have %d bytes, but it, or its cookie, may have at most %d: the grant has too many or too large claims", len(d.text), limit)
	}
	return key.Key().ID, nil
}

// writeAccess writes the claims that an access token has from its session.
func (s *session) writeAccess(w *strictjson.Writer) {
	if s.id != "" {
		w.Int("sid_epoch", s.epoch)
	}
	if s.actor != "" {
		w.Raw("act", actorClaim(s.actor))
	}
}

// secondsUntil returns the whole seconds from now until end.
func secondsUntil(end, now time.Time) int { return int(end.Unix() - now.Unix()) }

// actorClaim returns the value of the act claim (RFC 8693, section 4.1).
func actorClaim(subject string) string {
	var w strictjson.Writer
	w.Str("sub", subject)
	return string(w.Object())
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
