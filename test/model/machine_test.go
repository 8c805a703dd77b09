package model_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/internal/revoked"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// libraryRequest is the request that a call of the library makes next. The request goes to a
// store or to Reload. If what is returns, it describes the results of the call.
type libraryRequest struct {
	what                byte
	from, parent, epoch int64 // the fields of the Rotation if what is advances; only epoch is set if what is revokesEpoch or raises
	result              byte  // this field and those below are set only if what is returns
	gen, accessEpoch    int64 // the generation and the epoch of the tokens
	reloads             int   // which call of Reload made the grant of the access token, counted from 1
	kinds               string
}

// libraryAnswer is the answer to one request of a call of the library.
type libraryAnswer struct {
	to       byte // the request
	at       time.Duration
	err      error
	revoked  bool
	row      jwtauth.SessionRecord
	advanced bool
}

// node is one issuer, and the tokens that are presented to it.
type node struct {
	name   string
	offset time.Duration // of its clock
	issued time.Duration // when the presented tokens were issued, as a difference from machine.base
	oldRow bool          // an older version of the library has made the last step of the row, and has not set Parent

	issuer *jwtauth.Issuer
	tokens map[[2]int64]string // by generation and epoch
}

// machine runs a call of the library up to its next request. To continue a call, the machine
// runs the call from the beginning, gives it the answers of its history again, and stops it at
// its next request.
type machine struct {
	unit  time.Duration // the duration of one unit
	late  time.Duration // the age of a row that leads to a recovery
	nodes []*node
	maker *node // makes the tokens that are presented to the nodes
	base  time.Time
	key   jwtauth.SessionKey
	first string // the first refresh token

	playing *node
	history []libraryAnswer
	played  int
	reloads int
	events  []string
	wrong   string // describes the first thing that a call did and must never do

	compared map[comparison]bool
}

// comparison is a decision that was compared.
type comparison struct {
	call   call
	answer answer
}

var errMachine = errors.New("the store of the model fails")

// newMachine makes the nodes of a machine. Each decision is compared on every node. The node
// with an older row compares only the decisions that depend on Parent.
func newMachine(t testing.TB, l limits) *machine {
	const grace = 10 * time.Second
	m := &machine{unit: grace / time.Duration(l.grace), late: 2*grace + 1, base: fixture.NewClock().Now(), compared: make(map[comparison]bool)}
	m.nodes = []*node{
		{name: "a node", issued: -time.Minute},
		{name: "a node whose clock is a minute ahead", offset: time.Minute, issued: -time.Minute},
		{name: "a node whose clock is a minute behind the clock of the node that has issued the token", offset: -time.Minute},
		{name: "a node that meets a row of an older version", issued: -time.Minute, oldRow: true},
	}
	keys, err := jwk.NewRing(fixture.KeyFor(t, jwk.HS256))
	require.NoError(t, err)
	o := jwtauth.IssuerOptions{
		Issuer: fixture.Issuer, Audiences: []string{fixture.Audience},
		RefreshGrace: grace, RecoverLost: time.Duration(l.bound) * m.unit,
		Sessions: machineStore{m}, Revocations: machineStore{m},
		Reload: m.reload, OnEvent: func(_ context.Context, e event.Event) { m.events = append(m.events, string(e.Kind)) },
	}
	if l.bound == 0 {
		o.RecoverLost = -1
	}
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
	before := o
	before.Sessions, before.Revocations, before.Reload = store, store, nil
	before.Now = func() time.Time { return m.base.Add(-time.Minute) }
	past, err := jwtauth.NewIssuer(keys, before)
	require.NoError(t, err)
	r, err := past.Issue(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	m.key = jwtauth.SessionKey{Issuer: fixture.Issuer, Subject: "alice", ID: r.SessionID}
	m.first = r.RefreshToken
	m.maker = &node{}
	for _, n := range append([]*node{m.maker}, m.nodes...) {
		own := o
		own.Now = func() time.Time { return m.base.Add(n.offset + m.elapsed()) }
		if n == m.maker {
			own.RecoverLost = 0
		}
		n.issuer, err = jwtauth.NewIssuer(keys, own)
		require.NoError(t, err)
		n.tokens = make(map[[2]int64]string)
	}
	return m
}

// elapsed is the time from the beginning of the call until the latest answer.
func (m *machine) elapsed() time.Duration {
	if m.played == 0 {
		return 0
	}
	return m.history[m.played-1].at
}

func (m *machine) complain(format string, args ...any) {
	if m.wrong == "" {
		m.wrong = fmt.Sprintf(format, args...)
	}
}

// ask returns the next answer of the history, or stops the call if there is none.
func (m *machine) ask(r libraryRequest) libraryAnswer {
	if m.played == len(m.history) {
		panic(r)
	}
	a := m.history[m.played]
	m.played++
	if a.to != r.what {
		m.complain("request %d is for %s, and %s was expected", m.played, requestNames[r.what], requestNames[a.to])
	}
	return a
}

// run returns the next request of a call after its history, or how the call returns. A
// call of Refresh presents token.
func (m *machine) run(n *node, what byte, token string, history ...libraryAnswer) (r libraryRequest, response jwtauth.TokenResponse) {
	m.playing, m.history, m.played, m.reloads, m.events = n, history, 0, 0, nil
	defer func() {
		if p := recover(); p != nil {
			stopped, ok := p.(libraryRequest)
			if !ok {
				panic(p)
			}
			r = stopped
		}
	}()
	var err error
	switch what {
	case ending:
		err = n.issuer.EndSession(context.Background(), m.key.Subject, m.key.ID)
	case forcing:
		err = n.issuer.ForceRefresh(context.Background(), m.key.Subject, m.key.ID)
	default:
		response, err = n.issuer.Refresh(context.Background(), jwtauth.RefreshRequest{Token: token})
	}
	return m.returned(what, response, err), response
}

// returned describes the results of a call.
func (m *machine) returned(what byte, response jwtauth.TokenResponse, err error) libraryRequest {
	r := libraryRequest{what: returns, kinds: strings.Join(m.events, " ")}
	if m.played < len(m.history) {
		m.complain("the call returns before its last answer")
	}
	var e *jwtauth.Error
	switch {
	case err == nil && what != refreshing:
		r.result = done
		return r
	case err == nil:
		r.result = map[string]byte{
			string(event.TokenRefreshed): refreshed, string(event.RefreshReplayed): replayed, string(event.RefreshRecovered): recovered,
		}[strings.TrimPrefix(r.kinds, string(event.GenerationBehind)+" ")]
	case errors.Is(err, jwtauth.ErrUnavailable) && !errors.Is(err, jwtauth.ErrRefused):
		r.result = unavailable
		if errors.As(err, &e) && r.kinds == string(event.RefreshDelayed) {
			if r.result = delayed; e.RetryAfter <= 0 || e.RetryAfter > 11*time.Second {
				m.complain("RetryAfter is %v", e.RetryAfter)
			}
		}
	case errors.Is(err, jwtauth.ErrRefused) && !errors.Is(err, jwtauth.ErrUnavailable):
		if r.result = refused; errors.Is(err, jwtauth.ErrTokenReused) != strings.Contains(r.kinds, string(event.TokenReused)) {
			m.complain("the error is %v, and the events are %s", err, r.kinds)
		}
	default:
		m.complain("an error must match either ErrRefused or ErrUnavailable, not %v", err)
	}
	if err != nil {
		if response != (jwtauth.TokenResponse{}) {
			m.complain("tokens together with the error %v", err)
		}
		return r
	}
	var access, refresh struct {
		Sid   string
		Gen   int64 `json:"gen"`
		Epo   int64 `json:"epo"`
		Epoch int64 `json:"sid_epoch"`
		Grant int   `json:"reload"`
	}
	m.read(response.AccessToken, &access)
	m.read(response.RefreshToken, &refresh)
	if refresh.Sid != m.key.ID || access.Sid != m.key.ID || refresh.Epo != access.Epoch {
		m.complain("the tokens differ, or belong to another session: %v, %v", access, refresh)
	}
	r.gen, r.accessEpoch, r.reloads = refresh.Gen, access.Epoch, access.Grant
	return r
}

func (m *machine) read(token string, claims any) {
	payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err := json.Unmarshal(payload, claims); err != nil {
		m.complain("%v: %s", err, payload)
	}
}

// token returns a refresh token of a generation and an epoch. A call of Refresh makes it.
func (m *machine) token(n *node, gen, epoch int64) string {
	name := [2]int64{gen, epoch}
	if text, ok := n.tokens[name]; ok {
		return text
	}
	m.maker.offset = n.issued
	row := jwtauth.SessionRecord{Generation: gen - 1, Parent: 1, ParentStep: gen - 1, Epoch: epoch, Age: m.late}
	next := row
	next.Generation, next.Previous = gen, gen-1
	var history []libraryAnswer
	history = append(history, libraryAnswer{to: asks}, libraryAnswer{to: reloads})
	if epoch > 0 {
		history = append(history, libraryAnswer{to: advances, row: row}, libraryAnswer{to: reloads})
	}
	history = append(history, libraryAnswer{to: advances, row: row}, libraryAnswer{to: advances, row: next, advanced: true})
	r, response := m.run(m.maker, refreshing, m.first, history...)
	if r.gen != gen || r.accessEpoch != epoch {
		m.complain("the token of generation %d and epoch %d is %+v", gen, epoch, r)
	}
	n.tokens[name] = response.RefreshToken
	return response.RefreshToken
}

func (m *machine) reload(_ context.Context, s jwtauth.Session, g *jwtauth.Grant) error {
	a := m.ask(libraryRequest{what: reloads})
	m.reloads++
	g.Claims = json.RawMessage(fmt.Sprintf(`{"reload":%d}`, m.reloads))
	return a.err
}

// machineStore is both stores. The history of the machine has their answers.
type machineStore struct{ m *machine }

func (s machineStore) Create(context.Context, jwtauth.SessionRecord, int) error {
	s.m.complain("a call of the library must not call Create")
	return errMachine
}

func (s machineStore) List(context.Context, string, string, string, int) ([]jwtauth.SessionRecord, error) {
	s.m.complain("a call of the library must not call List")
	return nil, errMachine
}

func (s machineStore) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (jwtauth.SessionRecord, bool, error) {
	now := s.m.base.Add(s.m.playing.offset + s.m.elapsed())
	request := libraryRequest{what: advances, from: r.From, parent: r.Parent, epoch: r.Epoch}
	switch {
	case r.From == math.MaxInt64-1:
		request = libraryRequest{what: marks}
		if r.Epoch != math.MaxInt64 || r.ExpiresAt.Before(now.Add(21*time.Minute)) {
			s.m.complain("a session is marked by %+v", r)
		}
	case r.From == 0 && r.Epoch == 0:
		request = libraryRequest{what: peeks}
	case r.From == 0:
		request = libraryRequest{what: raises, epoch: r.Epoch}
	case !r.ExpiresAt.Equal(r.At.Add(7 * 24 * time.Hour)):
		s.m.complain("ExpiresAt is %v after %v", r.ExpiresAt.Sub(r.At), r.At)
	}
	if _, ok := ctx.Deadline(); !ok || k != s.m.key || r.At.After(now) || now.Sub(r.At) > 5*time.Minute {
		s.m.complain("Advance has no deadline, or another key or time than expected: %v, %+v at %v", k, r, now)
	}
	a := s.m.ask(request)
	a.row.RotatedAt = now.Add(-a.row.Age)
	return a.row, a.advanced, a.err
}

func (s machineStore) Delete(_ context.Context, k jwtauth.SessionKey) error {
	if k != s.m.key {
		s.m.complain("Delete of %v", k)
	}
	return s.m.ask(libraryRequest{what: deletes}).err
}

func (s machineStore) Revoke(_ context.Context, id string, until time.Time) error {
	if now := s.m.base.Add(s.m.playing.offset + s.m.elapsed()); until.Before(now.Add(21 * time.Minute)) {
		s.m.complain("Revoke until %v at %v", until, now)
	}
	if id == jwtauth.SessionID(s.m.key.Issuer, s.m.key.ID) {
		return s.m.ask(libraryRequest{what: revokes}).err
	}
	for epoch := range int64(8) {
		if id == revoked.Encode(revoked.NewEpochID(s.m.key.Issuer, s.m.key.ID, epoch)) {
			return s.m.ask(libraryRequest{what: revokesEpoch, epoch: epoch}).err
		}
	}
	s.m.complain("Revoke of the id %s", id)
	return errMachine
}

func (s machineStore) IsRevoked(_ context.Context, ids ...string) (bool, error) {
	if !slices.Contains(ids, jwtauth.SessionID(s.m.key.Issuer, s.m.key.ID)) {
		s.m.complain("IsRevoked(%v)", ids)
	}
	a := s.m.ask(libraryRequest{what: asks})
	return a.revoked, a.err
}

// The model has few generations, since only their order matters. The library gets the
// generation 100 for 1, and so on, so that there is room between them.
func genuine(gen int8) int64 { return 100 * int64(gen) }

// compare requires that the library decides like the copy of the rule. The copy has
// continued the call c with the answer a, and the result is next. compare describes the
// difference, or returns "".
func (m *machine) compare(c call, a answer, next call) string {
	c.waits, next.waits = 0, 0 // the library does not know them
	if m.compared[comparison{c, a}] {
		return ""
	}
	m.compared[comparison{c, a}] = true
	for _, n := range m.nodes {
		isReplacedStep := a.row.parent+1 == a.row.gen && !a.advanced
		if n.oldRow && (c.next != advances || !isReplacedStep || a.row.ended || a.gone || a.failed) {
			continue
		}
		presented, from := genuine(c.presented), genuine(c.from)
		if c.recovering && from <= presented {
			presented = from - 50 // the library refuses the generation from-50 as it refuses c.presented
		}
		rowGen := genuine(a.row.gen)
		if n.oldRow {
			rowGen = genuine(a.row.parent) + 1
		}
		history, tokenEpoch := m.historyOf(&c, presented, from)
		history = append(history, m.answerOf(n, &c, &a, presented, from, rowGen))
		token := ""
		if c.what == refreshing {
			token = m.token(n, presented, tokenEpoch)
		}
		got, _ := m.run(n, c.what, token, history...)
		want := wanted(&c, &a, &next, presented, from, rowGen)
		if got.what == returns {
			if want.result != noResult && (got.result == refreshed || got.result == replayed || got.result == recovered) {
				if got.reloads != m.reloads {
					m.complain("the grant is from Reload %d of %d", got.reloads, m.reloads)
				}
			}
			if behind := strings.Contains(got.kinds, string(event.GenerationBehind)); behind != (a.advanced && a.row.skipsOne) {
				m.complain("the events are %s, and the row skips one: %t", got.kinds, a.row.skipsOne)
			}
			got.reloads, got.kinds = 0, ""
		}
		if m.wrong != "" || got != want {
			return fmt.Sprintf("on %s, the call %+v with the answer %+v leads the library to %+v, and the model to %+v %s", n.name, c, a, got, want, m.wrong)
		}
	}
	return ""
}

// historyOf returns answers that lead a call to its state, and the epoch of the token that
// it has presented.
func (m *machine) historyOf(c *call, presented, from int64) (history []libraryAnswer, tokenEpoch int64) {
	if c.what == forcing {
		row := jwtauth.SessionRecord{Key: m.key, Generation: genuine(9), Epoch: int64(c.epoch)}
		switch c.next {
		case revokesEpoch:
			return []libraryAnswer{{to: peeks, row: row}}, 0
		case raises:
			return []libraryAnswer{{to: peeks, row: row}, {to: revokesEpoch}}, 0
		}
		return nil, 0
	}
	tokenEpoch = int64(c.epoch)
	if c.what == refreshing && c.next != asks {
		history = append(history, libraryAnswer{to: asks, revoked: c.reason == isRevoked})
		isEnding := c.next == marks || c.next == revokes || c.next == deletes
		if isEnding && c.reason != isRevoked {
			row := jwtauth.SessionRecord{Generation: from + 50, Parent: from + 49, ParentStep: from + 50, Epoch: tokenEpoch}
			a := libraryAnswer{to: advances}
			switch c.reason {
			case oldToken:
				a.row = row
			case lateParent:
				a.row = row
				a.row.Parent, a.row.Age = presented, 30*24*time.Hour
			case noRow:
				a.err = jwtauth.ErrNoSession
			case isMarked:
				a.row.Generation, a.row.Epoch = math.MaxInt64, math.MaxInt64
			}
			history = append(history, libraryAnswer{to: reloads}, a)
		}
		if !isEnding {
			history, tokenEpoch = m.stepsOf(c, history, presented, from)
		}
	}
	if c.reason != noRow && c.reason != isMarked && (c.next == revokes || c.next == deletes) {
		mark := libraryAnswer{to: marks, row: jwtauth.SessionRecord{Generation: math.MaxInt64, Epoch: math.MaxInt64}}
		switch {
		case c.missing:
			mark = libraryAnswer{to: marks, err: jwtauth.ErrNoSession}
		case c.failed:
			mark = libraryAnswer{to: marks, err: errMachine}
		}
		history = append(history, mark)
	}
	if c.next == deletes {
		history = append(history, libraryAnswer{to: revokes})
	}
	return history, tokenEpoch
}

// stepsOf returns answers after which a call of Refresh has made c.steps steps.
func (m *machine) stepsOf(c *call, history []libraryAnswer, presented, from int64) (all []libraryAnswer, tokenEpoch int64) {
	recoveries, epochs := int64(c.steps), int64(0)
	switch {
	case !c.recovering:
		recoveries, epochs = 0, recoveries
	case c.next == reloads:
		recoveries, epochs = recoveries-1, 1
	}
	tokenEpoch = int64(c.epoch) - epochs
	if c.steps == 0 && c.next == reloads {
		return history, tokenEpoch
	}
	history = append(history, libraryAnswer{to: reloads})
	row := jwtauth.SessionRecord{Parent: presented, Epoch: tokenEpoch, Age: m.late}
	for i := recoveries - 1; i >= 0; i-- {
		row.Generation, row.ParentStep = from-i, from-i
		history = append(history, libraryAnswer{to: advances, row: row})
	}
	for i := range epochs {
		if i > 0 {
			history = append(history, libraryAnswer{to: reloads})
		}
		row.Generation, row.Epoch = from, row.Epoch+1
		history = append(history, libraryAnswer{to: advances, row: row})
	}
	if c.next == advances && epochs > 0 {
		history = append(history, libraryAnswer{to: reloads})
	}
	return history, tokenEpoch
}

// answerOf converts an answer of the model to an answer for the library.
func (m *machine) answerOf(n *node, c *call, a *answer, presented, from, rowGen int64) libraryAnswer {
	l := libraryAnswer{to: c.next, at: time.Duration(c.age) * m.unit, revoked: a.revoked}
	switch {
	case a.failed:
		l.err = errMachine
		return l
	case a.gone:
		l.err = jwtauth.ErrNoSession
		return l
	}
	l.row = jwtauth.SessionRecord{
		Key: m.key, Generation: rowGen, Previous: rowGen - 1, Parent: genuine(a.row.parent), ParentStep: rowGen, Epoch: int64(a.row.epoch),
		Age: time.Duration(a.row.age) * m.unit, RotatedAt: m.base.Add(l.at - time.Duration(a.row.age)*m.unit), ExpiresAt: m.base.Add(24 * time.Hour),
	}
	if a.row.parent == c.presented {
		l.row.Parent = presented
	}
	if n.oldRow {
		l.row.Parent, l.row.ParentStep = rowGen-7, rowGen-6
	}
	if a.advanced {
		l.advanced = true
		l.row.Generation, l.row.ParentStep, l.row.Previous, l.row.Parent = from+1, from+1, from, presented
		if a.row.skipsOne {
			l.row.Previous = from - 1
		}
	}
	if c.next == raises {
		l.row.Epoch = max(l.row.Epoch, int64(c.epoch)+1)
	}
	if a.row.ended || c.next == marks {
		l.row.Generation, l.row.Epoch = math.MaxInt64, math.MaxInt64
	}
	return l
}

// wanted returns what the library must do according to the copy of the rule.
func wanted(c *call, a *answer, next *call, presented, from, rowGen int64) libraryRequest {
	r := libraryRequest{what: next.next}
	switch next.next {
	case advances:
		if r.from, r.parent, r.epoch = from, presented, int64(next.epoch); next.recovering && !c.recovering || next.from != c.from {
			r.from = rowGen
		}
	case revokesEpoch:
		r.epoch = int64(next.epoch)
	case raises:
		r.epoch = int64(next.epoch) + 1
	case returns:
		if r.result = next.result; next.gen != 0 {
			if r.gen, r.accessEpoch = rowGen, int64(next.epoch); a.advanced {
				r.gen = from + 1
			}
		}
	}
	return r
}

var requestNames = [...]string{
	asks: "IsRevoked", reloads: "Reload", advances: "Advance", marks: "the mark", revokes: "Revoke", deletes: "Delete",
	peeks: "the look-up", revokesEpoch: "Revoke of the epoch", raises: "the raise of the epoch", returns: "return",
}
