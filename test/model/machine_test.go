package model_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// The model runs the library's own Refresh and EndSession, one segment at a time. A call is
// stored as the answers that it has got so far. To continue a call, the machine runs it from
// the beginning, gives it the same answers again, and stops it at its next request. A call in
// the middle of its work is therefore a value that can be copied. The whole scene is a value,
// too.

// modelMoment is a time in whole seconds. In a call, it is the time since the call began.
// In a scene, it is the time from then until now, except for row.rotated, which has the
// opposite sign.
type modelMoment = int8

// The durations of the model, in seconds, and the number of generations.
const (
	modelGrace    = 10
	modelHalf     = modelGrace / 2 // signing and Advance together may take this long
	modelDeadline = 2              // each call of a store may take this long
	modelLong     = 30             // no time is counted further, because no promise needs more
	modelGens     = 4
)

// modelRow is the row of the session in the store.
type modelRow struct {
	live    bool
	gen     int8
	rotated modelMoment
}

// modelAnswer is the answer to one request of a call.
type modelAnswer struct {
	at       modelMoment // the true time of the answer
	failed   bool
	gone     bool // Advance returns ErrNoSession
	revoked  bool // the result of IsRevoked
	advanced bool
	row      modelRow
}

// The kinds of calls, and the kinds of requests that a call makes.
const (
	idle byte = iota
	refreshing
	ending

	asks
	signs
	advances
	deletes
	revokes
	returns
)

// modelCall is a call of the library with the answers that it has got so far.
type modelCall struct {
	what      byte
	node, gen int8
	n         int8
	answers   [6]modelAnswer
}

// last returns when the latest answer came.
func (c *modelCall) last() modelMoment {
	if c.n == 0 {
		return 0
	}
	return c.answers[c.n-1].at
}

// modelRequest is the next request of a call, or how the call has returned.
type modelRequest struct {
	what  byte
	from  int8        // advances: the generation that is redeemed
	at    modelMoment // advances: the time of rotation, by the clock of the node
	ok    bool        // returns: the error is nil
	gen   int8        // returns: the generation of the tokens
	known bool        // returns: the error is ErrRefused
	reuse bool        // returns: the error, or an event, says reuse
	event event.Kind
}

// read returns when a refresh has read the clock for the time of its rotation. It reads the
// clock right after the answer of IsRevoked.
func (c *modelCall) read() modelMoment {
	if c.what != refreshing || c.n == 0 {
		return 0
	}
	return c.answers[0].at
}

// patience returns how long a call waits for the answer to a request. made is the time of the
// request, and read is the result of modelCall.read.
func (r modelRequest) patience(made, read modelMoment) modelMoment {
	switch r.what {
	case signs:
		return modelHalf
	case advances:
		return min(modelDeadline, modelHalf-(made-read))
	default:
		return modelDeadline
	}
}

var requestNames = [...]string{asks: "IsRevoked", signs: "signing", advances: "Advance", deletes: "Delete", revokes: "Revoke", returns: "return"}

func (r modelRequest) String() string {
	switch {
	case r.what != returns:
		return requestNames[r.what]
	case r.ok && r.gen > 0:
		return fmt.Sprintf("tokens of generation %d", r.gen)
	case r.ok:
		return "nil"
	case r.known:
		return "a refusal"
	default:
		return "unavailable"
	}
}

// machine runs calls of the issuers of two nodes. It plays the store, the clock and the signer
// of these issuers.
type machine struct {
	issuers  [2]*jwtauth.Issuer
	offsets  [2]time.Duration
	verifier *jwtauth.Verifier
	base     time.Time
	key      jwtauth.SessionKey
	tokens   []string // the refresh token of each generation
	access   string

	// verifying is true while accessAccepted verifies an access token. IsRevoked then returns
	// revoked.
	verifying, revoked bool
	slow               bool   // signing takes time
	wrong              string // describes the first thing that a call did and must never do

	played modelCall
	step   int8
	events []event.Event

	// calls has every call that the search has met, and next has the next request of each call.
	// A scene holds only the index of a call, so that the scene is small. Each call runs once,
	// because its answers alone decide its next request. Call 0 is idle.
	numbers map[modelCall]uint16
	calls   []modelCall
	next    []modelRequest
}

var errModel = errors.New("the store of the model fails")

// newMachine makes two nodes, and the tokens of a session that was opened a minute ago. The
// clock of the second node is ahead by apart, in seconds. If slow is true, signing takes
// time.
func newMachine(t *testing.T, apart modelMoment, slow bool) *machine {
	t.Helper()
	m := &machine{slow: slow, numbers: map[modelCall]uint16{{}: 0}, calls: make([]modelCall, 1), next: make([]modelRequest, 1)}
	m.base = fixture.NewClock().Now()
	m.offsets[1] = time.Duration(apart) * time.Second
	keys, err := jwk.NewRing(fixture.KeyFor(t, jwk.HS256))
	require.NoError(t, err)
	private := ed25519.NewKeyFromSeed([]byte("0123456789abcdefghijklmnopqrstuv"))
	key, err := jwk.NewSigning(jwk.EdDSA, modelSigner{private, m})
	require.NoError(t, err)
	refreshKeys, err := jwk.NewRing(key)
	require.NoError(t, err)
	o := jwtauth.IssuerOptions{
		Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}, RefreshKeys: refreshKeys,
		RefreshGrace: modelGrace * time.Second, StoreTimeout: modelDeadline * time.Second,
	}

	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	before := o
	before.Sessions, before.Revocations = store, store
	before.Now = func() time.Time { return m.base.Add(-time.Minute) }
	past, err := jwtauth.NewIssuer(keys, before)
	require.NoError(t, err)
	m.slow = false
	r, err := past.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	m.key = jwtauth.SessionKey{Issuer: fixture.Issuer, Subject: "alice", ID: r.SessionID}
	m.access = r.AccessToken
	m.tokens = []string{"", r.RefreshToken}
	for range modelGens {
		r, err = past.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
		require.NoError(t, err)
		m.tokens = append(m.tokens, r.RefreshToken)
	}
	m.slow = slow

	for n := range m.issuers {
		own := o
		own.Sessions, own.Revocations = modelStore{m}, modelStore{m}
		own.Now = func() time.Time { return m.now().Add(m.offsets[n]) }
		own.OnEvent = func(_ context.Context, e event.Event) { m.events = append(m.events, e) }
		m.issuers[n], err = jwtauth.NewIssuer(keys, own)
		require.NoError(t, err)
	}
	m.verifier, err = m.issuers[0].NewVerifier(jwtauth.VerifierOptions{})
	require.NoError(t, err)
	for _, revoked := range []bool{false, true} {
		require.Equal(t, !revoked, m.accessAccepted(revoked))
	}
	return m
}

// now returns the true time of the segment that is running.
func (m *machine) now() time.Time {
	if m.step == 0 {
		return m.base
	}
	return m.base.Add(time.Duration(m.played.answers[m.step-1].at) * time.Second)
}

func (m *machine) moment(at time.Time) modelMoment { return modelMoment(at.Sub(m.base) / time.Second) }

func (m *machine) time(at modelMoment) time.Time { return m.base.Add(time.Duration(at) * time.Second) }

func (m *machine) complain(format string, args ...any) {
	if m.wrong == "" {
		m.wrong = fmt.Sprintf(format, args...)
	}
}

// ask returns the next stored answer, or stops the call if there is none.
func (m *machine) ask(r modelRequest) modelAnswer {
	if m.step == m.played.n {
		panic(r)
	}
	a := m.played.answers[m.step]
	m.step++
	return a
}

// number returns the index of a call. If the call is new, number runs it until its next request
// or its end.
func (m *machine) number(c modelCall) uint16 {
	if n, ok := m.numbers[c]; ok {
		return n
	}
	n := uint16(len(m.calls))
	if int(n) != len(m.calls) {
		panic("too many calls for the model")
	}
	m.numbers[c], m.calls, m.next = n, append(m.calls, c), append(m.next, m.run(c))
	return n
}

// run returns the next request of a call, or how the call returns.
func (m *machine) run(c modelCall) (r modelRequest) {
	defer func() {
		if p := recover(); p != nil {
			stopped, ok := p.(modelRequest)
			if !ok {
				panic(p)
			}
			r = stopped
		}
	}()
	m.played, m.step, m.events = c, 0, nil
	issuer := m.issuers[c.node]
	if c.what == ending {
		return m.returned(jwtauth.TokenResponse{}, issuer.EndSession(context.Background(), m.key.Subject, m.key.ID))
	}
	return m.returned(issuer.Refresh(context.Background(), jwtauth.RefreshRequest{Token: m.tokens[c.gen]}))
}

// returned converts the results of a call to a modelRequest.
func (m *machine) returned(response jwtauth.TokenResponse, err error) modelRequest {
	r := modelRequest{what: returns, ok: err == nil, known: errors.Is(err, jwtauth.ErrRefused), reuse: errors.Is(err, jwtauth.ErrTokenReused)}
	for _, e := range m.events {
		r.event = e.Kind
		r.reuse = r.reuse || e.Kind == event.TokenReused
	}
	if r.known == errors.Is(err, jwtauth.ErrUnavailable) && err != nil {
		m.complain("an error must match either ErrRefused or ErrUnavailable, not %v", err)
	}
	if response == (jwtauth.TokenResponse{}) {
		return r
	}
	if err != nil {
		m.complain("tokens together with the error %v", err)
	}
	payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(response.RefreshToken, ".")[1])
	var claims struct {
		Gen int8
		Sid string
	}
	if err := json.Unmarshal(payload, &claims); err != nil || claims.Sid != m.key.ID {
		m.complain("a refresh token of another session: %s", payload)
	}
	r.gen = claims.Gen
	return r
}

// accessAccepted reports whether an access token of the session is accepted if IsRevoked returns
// revoked.
func (m *machine) accessAccepted(revoked bool) bool {
	m.revoked, m.verifying = revoked, true
	defer func() { m.verifying = false }()
	m.played, m.step = modelCall{}, 0
	_, err := m.verifier.Verify(context.Background(), m.access)
	if err != nil && !errors.Is(err, jwtauth.ErrTokenRevoked) {
		m.complain("the access token is refused with %v", err)
	}
	return err == nil
}

// modelSigner is a signer whose delays and failures the machine decides.
type modelSigner struct {
	crypto.Signer
	m *machine
}

func (s modelSigner) Sign(rand io.Reader, text []byte, o crypto.SignerOpts) ([]byte, error) {
	if s.m.slow && s.m.ask(modelRequest{what: signs}).failed {
		return nil, errModel
	}
	return s.Signer.Sign(rand, text, o)
}

// modelStore is a store whose answers the machine decides.
type modelStore struct{ m *machine }

func (s modelStore) check(k jwtauth.SessionKey) {
	if k != s.m.key {
		s.m.complain("a call about the session %v", k)
	}
}

func (s modelStore) Create(context.Context, jwtauth.SessionRecord) error {
	s.m.complain("Create")
	return errModel
}

func (s modelStore) List(context.Context, string, string) ([]jwtauth.SessionRecord, error) {
	s.m.complain("List")
	return nil, errModel
}

func (s modelStore) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (jwtauth.SessionRecord, bool, error) {
	s.check(k)
	ask := modelRequest{what: advances, from: int8(r.From), at: s.m.moment(r.At)}
	end, ok := ctx.Deadline()
	if left := time.Until(end); !ok || left > time.Duration(ask.patience(s.m.moment(s.m.now()), s.m.played.read()))*time.Second {
		s.m.complain("Advance may take %v", left)
	}
	a := s.m.ask(ask)
	switch {
	case a.failed:
		return jwtauth.SessionRecord{}, false, errModel
	case a.gone:
		return jwtauth.SessionRecord{}, false, jwtauth.ErrNoSession
	}
	return jwtauth.SessionRecord{
		Key: k, Generation: int64(a.row.gen), Previous: int64(a.row.gen) - 1,
		RotatedAt: s.m.time(a.row.rotated), ExpiresAt: s.m.base.Add(24 * time.Hour),
	}, a.advanced, nil
}

func (s modelStore) Delete(_ context.Context, k jwtauth.SessionKey) error {
	s.check(k)
	if s.m.ask(modelRequest{what: deletes}).failed {
		return errModel
	}
	return nil
}

func (s modelStore) Revoke(_ context.Context, id string, until time.Time) error {
	now := s.m.now().Add(s.m.offsets[s.m.played.node])
	if id != jwtauth.SessionID(s.m.key.Issuer, s.m.key.ID) || until.Before(now.Add(21*time.Minute)) {
		s.m.complain("Revoke(%s, %v) at %v", id, until, now)
	}
	if s.m.ask(modelRequest{what: revokes}).failed {
		return errModel
	}
	return nil
}

func (s modelStore) IsRevoked(_ context.Context, ids ...string) (bool, error) {
	if !slices.Contains(ids, jwtauth.SessionID(s.m.key.Issuer, s.m.key.ID)) {
		s.m.complain("IsRevoked(%v)", ids)
	}
	if s.m.verifying {
		return s.m.revoked, nil
	}
	a := s.m.ask(modelRequest{what: asks})
	if a.failed {
		return false, errModel
	}
	return a.revoked, nil
}
