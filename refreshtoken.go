package jwtauth

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// session is the content of a refresh token. Together with the row in the SessionStore, it has
// everything that Refresh needs.
type session struct {
	id         string
	granted    grantWithClaims // at the login
	began, end time.Time       // end is when the session ends in any case; see SessionTTL
	idle       time.Duration   // how long the session lives without a refresh; not in the token, see limitLifetime
	generation int64           // counts the refresh tokens of the session, from 1
	epoch      int64           // of the access tokens; ForceRefresh revokes those of the old epoch and raises it
	actor      string          // of a token from Exchange, which has no generation
	boughtBy   oldMark         // only in the row
}

// oldMark names the old token that has bought a session. It is zero for other sessions.
type oldMark struct {
	id  string    // of its revocation
	end time.Time // of its revocation
}

// idleEnd returns the end of a session whose last refresh was at the given time.
func (s *session) idleEnd(at time.Time) time.Time { return earliest(at.Add(s.idle), s.end) }

// refreshClaims are the private claims of a refresh token.
type refreshClaims struct {
	Generation int64           `json:"gen"`
	Began      int64           `json:"beg"`
	End        int64           `json:"end"`
	AuthTime   int64           `json:"ath"` // in microseconds, so that Reload can compare it with the time of a change, such as that of a password
	Audiences  []string        `json:"res"`
	Epoch      int64           `json:"epo"`
	IdleTTL    int64           `json:"idl"` // of Grant.IdleTTL, in seconds; 0 means the default
	SessionTTL int64           `json:"ttl"` // of Grant.SessionTTL
	Claims     json.RawMessage `json:"ext"`
}

func (s *session) write(w *strictjson.Writer) {
	w.Int("gen", s.generation)
	w.Int("beg", s.began.Unix())
	w.Int("end", s.end.Unix())
	w.Int("ath", s.granted.AuthTime.UnixMicro())
	w.Strings("res", s.granted.Audiences)
	for _, number := range [...]struct {
		name  string
		value int64
	}{
		{"epo", s.epoch},
		{"idl", int64(s.granted.IdleTTL / time.Second)},
		{"ttl", int64(s.granted.SessionTTL / time.Second)},
	} {
		if number.value > 0 {
			w.Int(number.name, number.value)
		}
	}
	if s.granted.claims != "" {
		w.Raw("ext", s.granted.claims)
	}
}

// maxGeneration is the highest generation, and the highest epoch, that readSession accepts.
// No session reaches it, and every store can count beyond it.
const maxGeneration = 1 << 53

// readSession returns the session that a verified refresh token carries.
func readSession(t Token) (session, error) {
	c, err := ClaimsAs[refreshClaims](t)
	if err != nil || c.Generation < 1 || c.Generation > maxGeneration || c.Epoch < 0 || c.Epoch > maxGeneration || t.SessionID == "" {
		return session{}, refused("claims", ErrTokenMalformed, "the claims of a refresh token", "")
	}
	return session{
		id: t.SessionID, generation: c.Generation, epoch: c.Epoch,
		began: time.Unix(c.Began, 0).UTC(), end: time.Unix(c.End, 0).UTC(),
		granted: grantWithClaims{claims: string(c.Claims), Grant: Grant{
			Subject: t.Subject, Scopes: t.Scopes(), Audiences: c.Audiences, ClientID: t.ClientID,
			AuthTime: time.UnixMicro(c.AuthTime).UTC(), ACR: t.ACR, AMR: t.AMR(), IdleTTL: seconds(c.IdleTTL), SessionTTL: seconds(c.SessionTTL),
		}},
	}, nil
}

// Session describes a session, one login on one device, for a list that users can see.
type Session struct {
	ID       string
	Subject  string
	ClientID string
	Scopes   []string
	Details  map[string]string // those of Grant, or those that a RefreshRequest or Reload has set since. Reload gets none, since they are in no token

	CreatedAt   time.Time
	AuthTime    time.Time // when the login began
	RefreshedAt time.Time // the last refresh; the login if there was none
	IdleEnd     time.Time // when the session ends unless it is refreshed
	EndsAt      time.Time // when the session ends in any case
}

// view returns the session as Issuer.Sessions and Reload show it, without its Details.
func (s *session) view(refreshed, idleEnd time.Time) Session {
	g := s.granted
	return Session{
		ID: s.id, Subject: g.Subject, ClientID: g.ClientID, Scopes: slices.Clone(g.Scopes),
		CreatedAt: s.began, AuthTime: g.AuthTime, RefreshedAt: refreshed, IdleEnd: idleEnd, EndsAt: s.end,
	}
}

// data returns the content of SessionRecord.Data.
func (s *session) data() []byte {
	var w strictjson.Writer
	w.Str("client_id", s.granted.ClientID)
	w.Strings("scopes", s.granted.Scopes)
	w.Int("began", s.began.Unix())
	w.Int("auth_time", s.granted.AuthTime.Unix())
	w.Int("end", s.end.Unix())
	if s.granted.IdleTTL > 0 {
		w.Int("idle", int64(s.granted.IdleTTL/time.Second))
	}
	if s.granted.SessionTTL > 0 {
		w.Int("ttl", int64(s.granted.SessionTTL/time.Second))
	}
	if s.boughtBy.id != "" {
		w.Str("old", s.boughtBy.id)
		w.Int("old_end", s.boughtBy.end.Unix())
	}
	return w.Object()
}

// fromRow returns the session of a row, as Issuer.Sessions and Issuer.Session show it.
func (i *Issuer) fromRow(row SessionRecord) (Session, error) {
	d, err := readSessionData(row.Data)
	if err != nil {
		return Session{}, err
	}
	details, err := readDetails(row.Details)
	if err != nil {
		return Session{}, err
	}
	if d.Label != "" && details["device"] == "" {
		if details == nil {
			details = make(map[string]string)
		}
		details["device"] = d.Label
	}
	s := session{
		id: row.Key.ID, began: d.began(), end: time.Unix(d.End, 0).UTC(),
		granted: grantWithClaims{Grant: Grant{
			Subject: row.Key.Subject, ClientID: d.ClientID, Scopes: d.Scopes, AuthTime: time.Unix(d.AuthTime, 0).UTC(),
			IdleTTL: seconds(d.IdleTTL), SessionTTL: seconds(d.TTL),
		}},
	}
	i.limitLifetime(&s)
	rotated := row.RotatedAt.UTC()
	view := s.view(rotated, earliest(row.ExpiresAt.UTC(), s.idleEnd(rotated)))
	view.Details = details
	return view, nil
}

// seconds returns a duration of n seconds, limited to the longest duration of an option.
func seconds(n int64) time.Duration {
	return time.Duration(min(max(n, 0), int64(bound.Duration/time.Second))) * time.Second
}

// limitLifetime applies the present options to a session, since they may be stricter than
// at the login.
func (i *Issuer) limitLifetime(s *session) {
	s.idle = i.o.IdleTTL
	if s.granted.IdleTTL > 0 {
		s.idle = min(s.granted.IdleTTL, i.o.MaxIdleTTL)
	}
	ttl := i.o.SessionTTL
	if s.granted.SessionTTL > 0 {
		ttl = min(s.granted.SessionTTL, i.o.MaxSessionTTL)
	}
	s.end = earliest(s.end, s.began.Add(ttl))
}
