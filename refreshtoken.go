package jwtauth

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// session is the content of a refresh token. With the row in the SessionStore, it has all
// that Refresh needs.
type session struct {
	id         string
	granted    grantWithClaims // at the login
	began, end time.Time       // end is when the session ends in any case; see SessionTTL
	generation int64           // counts the refresh tokens of the session, from 1
}

// idleEnd returns the end of a session whose last refresh was at the given time.
func (s *session) idleEnd(at time.Time, idle time.Duration) time.Time {
	return earliest(at.Add(idle), s.end)
}

// refreshClaims are the private claims of a refresh token.
type refreshClaims struct {
	Generation int64           `json:"gen"`
	Began      int64           `json:"beg"`
	End        int64           `json:"end"`
	AuthTime   int64           `json:"ath"` // in microseconds, so that Reload can compare it with the time of another change
	Audiences  []string        `json:"res"`
	Label      string          `json:"lbl"`
	Claims     json.RawMessage `json:"ext"`
}

func (s *session) write(w *strictjson.Writer) {
	w.Int("gen", s.generation)
	w.Int("beg", s.began.Unix())
	w.Int("end", s.end.Unix())
	w.Int("ath", s.granted.AuthTime.UnixMicro())
	w.Strings("res", s.granted.Audiences)
	if s.granted.Label != "" {
		w.Str("lbl", s.granted.Label)
	}
	if s.granted.claims != "" {
		w.Raw("ext", s.granted.claims)
	}
}

// maxGeneration is the highest generation that readSession accepts. No session reaches
// it, and every store can count beyond it.
const maxGeneration = 1 << 53

// readSession returns the session that a verified refresh token carries.
func readSession(t Token) (session, error) {
	c, err := ClaimsAs[refreshClaims](t)
	if err != nil || c.Generation < 1 || c.Generation > maxGeneration || t.SessionID == "" {
		return session{}, refused("claims", ErrTokenMalformed, "the claims of a refresh token", "")
	}
	return session{
		id: t.SessionID, generation: c.Generation,
		began: time.Unix(c.Began, 0).UTC(), end: time.Unix(c.End, 0).UTC(),
		granted: grantWithClaims{claims: string(c.Claims), Grant: Grant{
			Subject: t.Subject, Scopes: t.Scopes(), Audiences: c.Audiences, ClientID: t.ClientID,
			AuthTime: time.UnixMicro(c.AuthTime).UTC(), ACR: t.ACR, AMR: t.AMR(), Label: c.Label,
		}},
	}, nil
}

// view returns the session as Issuer.Sessions and Reload show it.
func (s *session) view(refreshed, idleEnd time.Time) Session {
	g := s.granted
	return Session{
		ID: s.id, Subject: g.Subject, ClientID: g.ClientID, Label: g.Label, Scopes: slices.Clone(g.Scopes),
		CreatedAt: s.began, AuthTime: g.AuthTime, RefreshedAt: refreshed, IdleEnd: idleEnd, EndsAt: s.end,
	}
}

// maxSessionData is the largest size of SessionRecord.Data, in bytes. Stores rely on it.
const maxSessionData = 8 << 10

// sessionData is the content of SessionRecord.Data.
type sessionData struct {
	ClientID string   `json:"client_id"`
	Label    string   `json:"label"`
	Scopes   []string `json:"scopes"`
	Began    int64    `json:"began"`
	AuthTime int64    `json:"auth_time"`
	End      int64    `json:"end"`
}

func (s *session) data() []byte {
	var w strictjson.Writer
	w.Str("client_id", s.granted.ClientID)
	w.Str("label", s.granted.Label)
	w.Strings("scopes", s.granted.Scopes)
	w.Int("began", s.began.Unix())
	w.Int("auth_time", s.granted.AuthTime.Unix())
	w.Int("end", s.end.Unix())
	return w.Object()
}
