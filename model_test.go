package jwtauth_test

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
)

// The model runs the library's own Refresh and EndSession, one segment at a
// time. A call is written down as what has been answered to it so far; to go on
// with it, it is run from its beginning, is given the same answers again, and is
// stopped where it asks for one more. So a call in the middle of its work is a
// value that can be copied, and so is the whole scene.

// modelMoment is a time in whole seconds: in a call, since it began; in a scene,
// before now.
type modelMoment = int8

// The durations of the model, in seconds, and the generations it follows.
const (
	modelGrace    = 10
	modelHalf     = modelGrace / 2 // for signing and Advance
	modelDeadline = 2              // for each call of a store
	modelLong     = 30             // longer than all that is promised: nothing is counted beyond it
	modelGens     = 4
)

// modelRow is the one row of the session, as the store has it.
type modelRow struct {
	live    bool
	gen     int8
	rotated modelMoment
}

// modelAnswer is what the outside says to one request of a call.
type modelAnswer struct {
	at       modelMoment // true time
	failed   bool
	gone     bool // ErrNoSession
	advanced bool
	row      modelRow
}

// The kinds of calls, and of requests that they make of the outside.
const (
	idle byte = iota
	refreshing
	ending

	signs
	advances
	deletes
	revokes
	returns
)

// modelCall is a call of the library and what it has been answered so far.
type modelCall struct {
	what      byte
	node, gen int8
	n         int8
	answers   [4]modelAnswer
}

// last is when the latest answer came.
func (c *modelCall) last() modelMoment {
	if c.n == 0 {
		return 0
	}
	return c.answers[c.n-1].at
}

// modelRequest is what a call asks for next, or how it has returned.
type modelRequest struct {
	what  byte
	from  int8        // advances
	at    modelMoment // advances: the time of rotation, by the clock of the node
	ok    bool        // returns: with tokens, or with nil
	gen   int8        // returns: the generation of the tokens
	known bool        // returns: the error is a refusal
	reuse bool        // returns: the error, or an event, says reuse
	event jwtauth.EventKind
}

// patience is for how long a call waits for the answer to a request that it has
// made at that moment.
func (r modelRequest) patience(made modelMoment) modelMoment {
	switch r.what {
	case signs:
		return modelHalf
	case advances:
		return min(modelDeadline, modelHalf-made)
	default:
		return modelDeadline
	}
}

var requestNames = [...]string{signs: "signing", advances: "Advance", deletes: "Delete", revokes: "Revoke", returns: "return"}

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

// machine runs calls. It is the store, the clock and the signer of the issuers
// of two nodes.
type machine struct {
	issuers  [2]*jwtauth.Issuer
	offsets  [2]time.Duration
	verifier *jwtauth.Verifier
	base     time.Time
	key      jwtauth.SessionKey
	tokens   []string // the refresh token of each generation
	access   string
	revoked  bool
	slow     bool   // signing takes time
	wrong    string // what no call may ever do

	played modelCall
	step   int8
	events []jwtauth.Event

	// Every call that has been met, by number, so that a scene is small, and
	// what it asks for next, which follows from its answers alone: each is run
	// once. The first is idle.
	numbers map[modelCall]uint16
	calls   []modelCall
	next    []modelRequest
}

var errModel = errors.New("the store of the model fails")

// newMachine makes two nodes, whose clocks are so many seconds apart, and the
// tokens of a session that was opened a minute ago.
func newMachine(t *testing.T, apart modelMoment, slow bool) *machine {
	t.Helper()
	m := &machine{slow: slow, numbers: map[modelCall]uint16{{}: 0}, calls: make([]modelCall, 1), next: make([]modelRequest, 1)}
	m.base = newClock().Now()
	m.offsets[1] = time.Duration(apart) * time.Second
	keys, err := jwtauth.NewKeyRing(keyFor(t, jwtauth.HS256))
	require.NoError(t, err)
	private := ed25519.NewKeyFromSeed([]byte("0123456789abcdefghijklmnopqrstuv"))
	key, err := jwtauth.NewSigningKey(jwtauth.EdDSA, modelSigner{private, m})
	require.NoError(t, err)
	refreshKeys, err := jwtauth.NewKeyRing(key)
	require.NoError(t, err)
	o := jwtauth.IssuerOptions{
		Issuer: testIssuer, Audiences: []string{testAudience}, RefreshKeys: refreshKeys,
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
	m.key = jwtauth.SessionKey{Issuer: testIssuer, Subject: "alice", ID: r.SessionID}
	m.access = r.AccessToken
	m.tokens = []string{"", r.RefreshToken}
	for range modelGens {
		r, err = past.Refresh(t.Context(), r.RefreshToken)
		require.NoError(t, err)
		m.tokens = append(m.tokens, r.RefreshToken)
	}
	m.slow = slow

	for n := range m.issuers {
		own := o
		own.Sessions, own.Revocations = modelStore{m}, modelStore{m}
		own.Now = func() time.Time { return m.now().Add(m.offsets[n]) }
		own.OnEvent = func(_ context.Context, e jwtauth.Event) { m.events = append(m.events, e) }
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

// now is the true time of the segment that is running.
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

// ask gives the next answer that is written down, or stops the call.
func (m *machine) ask(r modelRequest) modelAnswer {
	if m.step == m.played.n {
		panic(r)
	}
	a := m.played.answers[m.step]
	m.step++
	return a
}

// number runs a call until it asks for something that it has not been answered
// yet, or returns, and gives it a number.
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

// run is what number does for the first time.
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
	return m.returned(issuer.Refresh(context.Background(), m.tokens[c.gen]))
}

// returned is how a call has returned.
func (m *machine) returned(response jwtauth.TokenResponse, err error) modelRequest {
	r := modelRequest{what: returns, ok: err == nil, known: errors.Is(err, jwtauth.ErrRefused), reuse: errors.Is(err, jwtauth.ErrTokenReused)}
	for _, e := range m.events {
		r.event = e.Kind
		r.reuse = r.reuse || e.Kind == jwtauth.TokenReused
	}
	if r.known == errors.Is(err, jwtauth.ErrUnavailable) && err != nil {
		m.complain("an error is one of refused and unavailable, not %v", err)
	}
	if response == (jwtauth.TokenResponse{}) {
		return r
	}
	if err != nil {
		m.complain("tokens beside the error %v", err)
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

// accessAccepted says whether an access token of the session is accepted.
func (m *machine) accessAccepted(revoked bool) bool {
	m.revoked = revoked
	m.played, m.step = modelCall{}, 0
	_, err := m.verifier.Verify(context.Background(), m.access)
	if err != nil && !errors.Is(err, jwtauth.ErrTokenRevoked) {
		m.complain("the access token is refused with %v", err)
	}
	return err == nil
}

// modelSigner is a signer that takes as long as it takes.
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

// modelStore asks the machine.
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
	if left := time.Until(end); !ok || left > time.Duration(ask.patience(s.m.moment(s.m.now())))*time.Second {
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
	return s.m.revoked && slices.Contains(ids, jwtauth.SessionID(s.m.key.Issuer, s.m.key.ID)), nil
}
