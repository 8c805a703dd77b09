package model_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/event"
)

// modelScene is one session at one moment: the content of the stores, the tokens that
// everybody has, the calls that are in progress, and what has truly happened. Times are in
// seconds. row.rotated is a point in time relative to now, negative in the past; all other
// times are ages. Only row.rotated comes from the clock of a node.
type modelScene struct {
	row     modelRow
	revoked bool
	held    [owner]uint8 // the generations of the refresh tokens of tab 1, tab 2 and the thief, as bits
	flights [owner + 1]modelFlight

	good    int8        // the newest generation, which has not been redeemed
	rotated modelMoment // when the call that redeemed the generation before good read its clock
	first   modelMoment // when a redemption of the generation before good first returned tokens
	deleted bool
	over    modelPromise // reuseEnds or endEnds if a response has said that the session is over
}

// never is the value of modelScene.first before the first response.
const never modelMoment = 127

// modelFlight is a call in progress and its age.
type modelFlight struct {
	call uint16
	age  modelMoment
	read modelRow // the row that a broken Advance has read; it writes in a later step
}

// The callers of Refresh and EndSession.
const (
	tab1 int8 = iota
	tab2
	thief
	owner
)

// modelPromise is a promise of Refresh and EndSession.
type modelPromise int8

const (
	farApart  modelPromise = 1 + iota // two redemptions of one generation are not both accepted if they are further apart than limit
	oneHeir                           // a redemption has one successor generation, and the session never forks
	noThief                           // a racing tab is not logged out, and is not taken for a thief
	reuseEnds                         // after a reuse nothing is refreshed, and access tokens are refused
	dontKnow                          // if the store fails, nobody is logged out, no tokens are returned, and the token stays valid
	endEnds                           // after EndSession nothing is refreshed, and access tokens are refused
	oneWindow                         // replays do not prolong the time in which replays are accepted
	told                              // the event of a replay differs from the event of the first redemption
)

// The outcomes of a request, and the other kinds of steps.
const (
	fine byte = iota
	failsBefore
	failsAfter
	lost // fine, but the response is lost
	readsRow

	begins
	redeems // a call begins, and all its requests are fine
	passes
	steals
	adopts
)

// modelStep is one thing that happens.
type modelStep struct {
	do, what  byte
	who       int8
	node, gen int8
	long      modelMoment
}

func (x modelStep) String() string {
	name := [...]string{"tab 1", "tab 2", "the thief", "the owner"}[x.who]
	request := requestNames[x.what]
	call := fmt.Sprintf("%s presents generation %d to node %c", name, x.gen, 'A'+x.node)
	if x.who == owner {
		call = name + " ends the session"
	}
	switch x.do {
	case fine:
		return name + ": " + request + " is fine"
	case failsBefore:
		return name + ": " + request + " fails and has no effect"
	case failsAfter:
		return name + ": " + request + " takes effect and fails"
	case lost:
		return name + ": " + request + " is fine, and the response is lost"
	case readsRow:
		return name + ": " + request + " reads the row"
	case begins:
		return call + " and has to wait"
	case redeems:
		return call
	case passes:
		return fmt.Sprintf("%d s pass", x.long)
	case steals:
		return fmt.Sprintf("the thief copies generation %d", x.gen)
	default:
		return fmt.Sprintf("%s takes over generation %d", name, x.gen)
	}
}

// modelRules is the behavior of the stores.
type modelRules struct {
	advance func(r *modelRow, from int8, at modelMoment) modelAnswer
	delete  func(r *modelRow)
	revoke  func(revoked *bool)
	failure modelAnswer // the answer of an Advance that fails
	torn    bool        // Advance reads the row in one step and writes it in a later step
}

func goodRules() modelRules {
	return modelRules{
		advance: goodAdvance,
		delete:  func(r *modelRow) { *r = modelRow{} },
		revoke:  func(revoked *bool) { *revoked = true },
		failure: modelAnswer{failed: true},
	}
}

func goodAdvance(r *modelRow, from int8, at modelMoment) modelAnswer {
	if !r.live {
		return modelAnswer{gone: true}
	}
	advanced := r.gen <= from
	if advanced {
		r.gen, r.rotated = from+1, at
	}
	return modelAnswer{row: *r, advanced: advanced}
}

// model is a machine with stores. It checks promises.
type model struct {
	*machine
	rules    modelRules
	promises []modelPromise // the promises to check; nil means all
	nodes    int8
	apart    modelMoment // how far the clocks of the nodes differ, not negative

	broken string         // describes the first broken promise
	met    map[string]int // counts how often each interesting situation occurred
	asking string         // the beginning of the messages while inspect tries something; otherwise empty
}

func newModel(t *testing.T, apart modelMoment, slow bool) *model {
	t.Helper()
	m := &model{machine: newMachine(t, apart, slow), rules: goodRules(), nodes: 2, apart: max(apart, -apart)}
	m.met = make(map[string]int)
	if apart == 0 {
		m.nodes = 1 // two nodes with the same time behave like one node
	}
	return m
}

func (m *model) breaks(p modelPromise, format string, args ...any) {
	if m.broken == "" && (m.promises == nil || slices.Contains(m.promises, p)) {
		m.broken = fmt.Sprintf("promise %d: %s", p, m.asking) + fmt.Sprintf(format, args...)
	}
}

func (m *model) meets(situation string) {
	if m.asking == "" {
		m.met[situation]++
	}
}

// goOn answers the request of a call and continues the call. It returns the next request, or
// how the call has returned.
func (m *model) goOn(s *modelScene, who int8, fate byte) (next modelRequest) {
	f := s.flights[who]
	c, r := m.calls[f.call], m.next[f.call]
	a := modelAnswer{failed: fate == failsBefore || fate == failsAfter}
	before := *s
	if fate != failsBefore {
		switch r.what {
		case asks:
			a.revoked = s.revoked
		case advances:
			a = m.advance(s, r, f)
		case deletes:
			m.rules.delete(&s.row)
			s.deleted = true
		case revokes:
			m.rules.revoke(&s.revoked)
		}
	}
	if r.what == advances && fate != fine && fate != lost {
		a = m.rules.failure
	}
	a.at = f.age
	c.answers[c.n], c.n = a, c.n+1
	number := m.number(c)
	next = m.next[number]
	s.flights[who] = modelFlight{call: number, age: f.age}
	if next.what == returns {
		s.flights[who] = modelFlight{}
		m.receive(s, who, fate, next)
	}

	if m.wrong != "" {
		m.breaks(dontKnow, "%s", m.wrong)
	}
	switch {
	case r.what == asks && fate == fine && s.revoked:
		if next.what != deletes {
			m.breaks(reuseEnds, "a revoked session leads to %v and not to Delete", next)
		}
	case r.what == advances && (fate == fine || fate == lost):
		m.checkAdvance(&before, s, &c, f.age, next)
	case r.what == signs && fate == fine && f.age-c.read() >= modelHalf && (next.what != returns || next.ok || next.known):
		m.breaks(farApart, "signing took half of the grace and leads to %v", next)
	case r.what == deletes && next.what != revokes:
		m.breaks(reuseEnds, "Delete is followed by %v and not by Revoke", next)
	case r.what == revokes:
		m.checkEnd(&before, s, &c, next)
	case fate != fine && (next.what != returns || next.ok || next.known) && r.what != deletes:
		m.breaks(dontKnow, "a failure of the store or signer is answered with %v", next)
	}
	if r.what == advances && before.good == c.gen && !before.deleted && (fate == failsAfter || next.ok) {
		s.good, s.rotated, s.first = c.gen+1, f.age-c.read(), never
	}
	if next.ok && s.good == c.gen+1 && s.first == never {
		s.first = 0
	}
	return next
}

// advance performs Advance in the store. The times of r and of the answer count from the
// beginning of the call.
func (m *model) advance(s *modelScene, r modelRequest, f modelFlight) (a modelAnswer) {
	if m.rules.torn {
		own := f.read
		if a = m.rules.advance(&own, r.from, r.at-f.age); a.advanced {
			s.row = own
		}
	} else {
		a = m.rules.advance(&s.row, r.from, r.at-f.age)
	}
	a.row.rotated += f.age
	return a
}

// receive gives the tokens of a response to the caller. A tab keeps only the newest token. The
// thief keeps all tokens.
func (m *model) receive(s *modelScene, who int8, fate byte, r modelRequest) {
	switch {
	case !r.ok || r.gen == 0 || fate == lost || who == owner:
	case who == thief:
		s.held[who] |= 1 << r.gen
	default:
		s.held[who] = 1 << r.gen
	}
}

// checkAdvance checks the promises after an Advance. It compares the next request of the library
// with what has truly happened.
func (m *model) checkAdvance(before, s *modelScene, c *modelCall, age modelMoment, next modelRequest) {
	gen, ago := c.gen, before.rotated-age
	current, parent := gen == before.good, gen == before.good-1
	accepted := next.what == returns && next.ok
	switch {
	case before.deleted && accepted:
		m.breaks(max(s.over, reuseEnds), "generation %d is accepted although the session was deleted", gen)
	case before.deleted && next.what != revokes:
		m.breaks(reuseEnds, "a genuine token of a session that is gone leads to %v and not to Revoke", next)
	case before.deleted:
	case current && !accepted:
		m.breaks(dontKnow, "generation %d is good and leads to %v", gen, next)
	case parent && ago <= modelGrace-m.apart && !accepted:
		m.breaks(noThief, "generation %d was redeemed %d s ago and leads to %v", gen, ago, next)
	case parent && ago > modelGrace+m.apart && accepted:
		m.breaks(oneWindow, "generation %d is accepted %d s after it was redeemed", gen, ago)
	case !current && !parent && accepted:
		m.breaks(oneHeir, "generation %d is accepted after generation %d was redeemed", gen, gen+1)
	case !accepted && next.what != deletes:
		m.breaks(reuseEnds, "the reuse of generation %d leads to %v and not to Delete", gen, next)
	}
	if accepted {
		if next.gen != gen+1 || next.gen > s.row.gen {
			m.breaks(oneHeir, "a token of generation %d is returned for generation %d, and the store has generation %d", next.gen, gen, s.row.gen)
		}
		if (next.event == event.TokenRefreshed) != current || (next.event == event.RefreshReplayed) == current {
			m.breaks(told, "the redemption of generation %d, while generation %d is good, causes the event %s", gen, before.good, next.event)
		}
		if limit := m.limit(); parent && before.first != never && before.first > limit {
			m.breaks(farApart, "generation %d is accepted twice, more than %d s apart", gen, limit)
		}
	}
	switch {
	case accepted && parent && before.first == never:
		m.meets("success after a failure behind the effect, or a lost response")
	case accepted && parent:
		m.meets("replay within the grace")
	case next.what == deletes && parent:
		m.meets("reuse by a late parent")
	case next.what == deletes:
		m.meets("reuse of an old token")
	case before.deleted && before.over != 0:
		m.meets("a refresh after the end")
	}
}

// limit returns how far apart two accepted redemptions of one generation may be. This is the sum
// of the grace, the difference of the clocks, and the time that IsRevoked, signing and Advance
// may take.
func (m *model) limit() modelMoment {
	if m.slow {
		return modelGrace + m.apart + modelDeadline + modelHalf
	}
	return modelGrace + m.apart + 2*modelDeadline
}

// checkEnd checks that a call returns after Revoke, and what it returns.
func (m *model) checkEnd(before, s *modelScene, c *modelCall, next modelRequest) {
	failed, gone := false, false
	for _, a := range c.answers[:c.n] {
		failed, gone = failed || a.failed, gone || a.gone || a.revoked
	}
	switch {
	case next.what != returns:
		m.breaks(reuseEnds, "Revoke leads to %v", next)
	case failed && (next.ok || next.known):
		m.breaks(dontKnow, "a session was ended only in part, and the answer is %v", next)
	case failed:
		m.meets("a session ended by half")
	case c.what == ending && !next.ok:
		m.breaks(endEnds, "EndSession returns %v", next)
	case c.what == refreshing && (!next.known || next.reuse == gone):
		m.breaks(reuseEnds, "a session was ended, and the answer is %v", next)
	default:
		if gone && !before.revoked {
			m.meets("a session ended by half, healed")
		}
		if s.over == 0 && c.what == ending {
			s.over = endEnds
		} else if s.over == 0 {
			s.over = reuseEnds
		}
	}
}

// begin starts a call and runs it until its first request.
func (m *model) begin(s *modelScene, who int8, c modelCall) {
	s.flights[who] = modelFlight{call: m.number(c)}
	m.read(s, who)
}

// read makes a broken Advance read the row that it will write later.
func (m *model) read(s *modelScene, who int8) {
	if f := &s.flights[who]; m.rules.torn && m.next[f.call].what == advances {
		f.read = s.row
	}
}

// redeem runs a call to its end. All its requests are fine.
func (m *model) redeem(s *modelScene, who int8, c modelCall) (end modelRequest) {
	m.begin(s, who, c)
	for end.what != returns {
		end = m.goOn(s, who, fine)
		m.read(s, who)
	}
	return end
}

// whatIf has the texts with which inspect begins a message, by node and generation.
var whatIf = func() (texts [2][modelGens + 1]string) {
	for node := range texts {
		for gen := range texts[node] {
			texts[node][gen] = fmt.Sprintf("if node %c gets generation %d now, ", 'A'+node, gen)
		}
	}
	return texts
}()

// inspect checks what happens in a scene if somebody now presents one of the tokens, or ends the
// session. It tries every generation up to good, on every node.
func (m *model) inspect(s modelScene) {
	defer func() { m.asking = "" }()
	m.checkOver(&s)
	heirs := 0
	for gen := int8(1); gen <= s.good; gen++ {
		for node := range m.nodes {
			after := s
			m.asking = whatIf[node][gen]
			end := m.redeem(&after, owner, modelCall{what: refreshing, node: node, gen: gen})
			switch {
			case end.ok && s.over != 0:
				m.breaks(s.over, "generation %d is accepted after the end", gen)
			case end.ok && node == 0 && end.event == event.TokenRefreshed:
				heirs++
			case !end.ok && after.over == 0:
				m.breaks(reuseEnds, "generation %d is refused, and the session goes on", gen)
			}
			m.checkOver(&after)
		}
	}
	if heirs > 1 {
		m.breaks(oneHeir, "%d generations can be redeemed with a successor", heirs)
	}
	m.asking = "if the session is ended now, "
	if end := m.redeem(&s, owner, modelCall{what: ending}); !end.ok {
		m.breaks(endEnds, "EndSession returns %v", end)
	}
	m.checkOver(&s)
}

// checkOver checks that the session is over if a response has said so. newMachine has checked
// that access tokens are refused after a revocation.
func (m *model) checkOver(s *modelScene) {
	switch {
	case s.over == 0:
	case s.row.live:
		m.breaks(s.over, "the session is over and still in the store")
	case !s.revoked:
		m.breaks(s.over, "the session is over and its access tokens are accepted")
	}
}

// pass lets the time d pass. The age of a request stops growing after its deadline, because such
// a request can only fail.
func (m *model) pass(s *modelScene, d modelMoment) {
	older := func(t *modelMoment) {
		if *t != never {
			*t = min(*t+d, modelLong)
		}
	}
	older(&s.rotated)
	older(&s.first)
	s.row.rotated = max(s.row.rotated-d, -modelLong)
	for n := range s.flights {
		if f := &s.flights[n]; f.call != 0 {
			made := m.calls[f.call].last()
			f.age = min(f.age+d, made+m.next[f.call].patience(made, m.calls[f.call].read())+1)
			f.read.rotated = max(f.read.rotated-d, -modelLong)
		}
	}
}

// normal returns the same scene for all scenes that are equivalent to s. It may swap the two
// tabs, because they are equivalent. So the names of the tabs may change within a trace.
func normal(s modelScene) modelScene {
	if s.deleted {
		s.rotated, s.first = 0, 0
	}
	if !s.row.live {
		s.row = modelRow{}
	}
	a, b := s.flights[tab1], s.flights[tab2]
	if s.held[tab1] < s.held[tab2] || s.held[tab1] == s.held[tab2] && (a.call < b.call || a.call == b.call && a.age < b.age) {
		s.held[tab1], s.held[tab2], s.flights[tab1], s.flights[tab2] = s.held[tab2], s.held[tab1], b, a
	}
	return s
}

// each calls f with every step that can happen next, and with the scene after the step.
func (m *model) each(s modelScene, f func(modelStep, modelScene)) {
	for who := range owner + 1 {
		if flying := s.flights[who]; flying.call != 0 {
			m.fates(s, who, f)
			continue
		}
		if who == owner {
			m.start(s, modelStep{who: owner}, modelCall{what: ending}, f)
			continue
		}
		for gen := int8(1); gen < modelGens; gen++ {
			for node := range m.nodes {
				if s.held[who]&(1<<gen) != 0 {
					m.start(s, modelStep{who: who, node: node, gen: gen}, modelCall{what: refreshing, node: node, gen: gen}, f)
				}
			}
		}
	}
	for _, d := range []modelMoment{1, 5, modelGrace} {
		after := s
		m.pass(&after, d)
		f(modelStep{do: passes, long: d}, after)
	}
	for _, tab := range []int8{tab1, tab2} {
		if s.held[thief] == 0 {
			after := s
			after.held[thief] = s.held[tab]
			f(modelStep{do: steals, who: thief, gen: only(s.held[tab])}, after)
		}
		if other := s.held[tab2-tab]; other > s.held[tab] {
			after := s
			after.held[tab] = other
			f(modelStep{do: adopts, who: tab, gen: only(other)}, after)
		}
	}
}

// only returns the generation in a set that has exactly one.
func only(held uint8) int8 {
	for gen := int8(0); ; gen++ {
		if held == 1<<gen {
			return gen
		}
	}
}

func (m *model) start(s modelScene, x modelStep, c modelCall, f func(modelStep, modelScene)) {
	after := s
	m.begin(&after, x.who, c)
	x.do = begins
	f(x, after)
	after = s
	m.redeem(&after, x.who, c)
	x.do = redeems
	f(x, after)
}

func (m *model) fates(s modelScene, who int8, f func(modelStep, modelScene)) {
	flying := s.flights[who]
	r, c := m.next[flying.call], m.calls[flying.call]
	fates := []byte{fine, failsBefore, failsAfter, lost}
	switch {
	case r.what == signs:
		fates = []byte{fine, failsBefore} // the library must notice a late signature
	case r.what == asks && flying.age <= c.last()+r.patience(c.last(), c.read()):
		fates = []byte{fine, failsBefore} // IsRevoked changes nothing, so failsAfter would be the same as failsBefore
	case flying.age > c.last()+r.patience(c.last(), c.read()):
		fates = []byte{failsBefore}
	case r.what != advances:
		fates = fates[:3]
	}
	for _, fate := range fates {
		after := s
		next := m.goOn(&after, who, fate)
		if fate == lost && !next.ok {
			continue // the scene is the same as after fine
		}
		f(modelStep{do: fate, what: r.what, who: who}, after)
		if m.rules.torn && next.what == advances {
			m.read(&after, who)
			f(modelStep{do: readsRow, what: advances, who: who}, after)
		}
	}
}

// search visits every scene that can be reached in at most depth steps, breadth first, until a
// promise is broken. Then trace has the steps of a shortest way to the broken promise.
func (m *model) search(depth int) (scenes int, trace []string) {
	type origin struct {
		from int32
		step modelStep
	}
	first := modelScene{row: modelRow{live: true, gen: 1, rotated: -modelLong}, good: 1, rotated: modelLong, first: never}
	first.held = [owner]uint8{tab1: 1 << 1, tab2: 1 << 1}
	all := []modelScene{first}
	origins := []origin{{}}
	seen := map[modelScene]bool{first: true}
	level := 1 // the end of the scenes of the current depth
	for n := 0; n < len(all); n++ {
		if n == level {
			if depth--; depth == 0 {
				break
			}
			level = len(all)
		}
		m.each(all[n], func(x modelStep, s modelScene) {
			if m.broken == "" {
				s = normal(s)
				if seen[s] {
					return
				}
				seen[s] = true
				m.inspect(s)
				all, origins = append(all, s), append(origins, origin{int32(n), x})
			}
			if m.broken != "" && trace == nil {
				trace = []string{x.String()}
				for at := n; at > 0; at = int(origins[at].from) {
					trace = append(trace, origins[at].step.String())
				}
				slices.Reverse(trace)
			}
		})
		if m.broken != "" {
			break
		}
	}
	return len(all), trace
}

func TestNoInterleavingBreaksAPromise(t *testing.T) {
	for _, test := range []struct {
		name  string
		apart modelMoment
		slow  bool
		depth int
	}{
		{"clocks that agree", 0, false, 8},
		{"a second node that is 5 s ahead", 5, false, 7},
		{"a second node that is 5 s behind", -5, false, 7},
		{"a signer that takes its time", 0, true, 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			depth := test.depth
			if more, err := strconv.Atoi(os.Getenv("JWTAUTH_MODEL_DEPTH")); err == nil {
				depth = more // each further step takes about five times as long
			}
			m := newModel(t, test.apart, test.slow)
			scenes, trace := m.search(depth)
			t.Logf("%d steps deep: %d scenes, %d calls; met: %v", depth, scenes, len(m.calls), m.met)
			require.Empty(t, m.broken, "after:\n%s", strings.Join(trace, "\n"))
			for _, situation := range []string{
				"replay within the grace", "success after a failure behind the effect, or a lost response",
				"reuse by a late parent", "reuse of an old token",
				"a session ended by half", "a session ended by half, healed", "a refresh after the end",
			} {
				require.Positive(t, m.met[situation], situation)
			}
		})
	}
}

func TestTheModelFindsWhatABrokenStoreBreaks(t *testing.T) {
	// with returns a mutation that changes the answer or the row of a good Advance.
	with := func(change func(a *modelAnswer, r *modelRow, from int8, at modelMoment)) func(*modelRules) {
		return func(rules *modelRules) {
			rules.advance = func(r *modelRow, from int8, at modelMoment) modelAnswer {
				a := goodAdvance(r, from, at)
				change(&a, r, from, at)
				return a
			}
		}
	}
	for _, test := range []struct {
		name   string
		mutate func(*modelRules)
		breaks []modelPromise
	}{
		{"replays set the time of rotation", with(func(a *modelAnswer, r *modelRow, _ int8, at modelMoment) {
			if r.live {
				r.rotated = at
			}
		}), []modelPromise{oneWindow, farApart}},
		{"everybody wins", with(func(a *modelAnswer, _ *modelRow, from int8, _ modelMoment) {
			a.advanced = a.advanced || a.row.gen == from+1
		}), []modelPromise{oneWindow, farApart, told}},
		{"every replay is a young one", with(func(a *modelAnswer, _ *modelRow, _ int8, at modelMoment) {
			a.row.rotated = at
		}), []modelPromise{oneWindow, farApart}},
		{"every replay is an old one", with(func(a *modelAnswer, _ *modelRow, _ int8, _ modelMoment) {
			a.row.rotated = -modelLong
		}), []modelPromise{noThief}},
		{"every token is the parent", with(func(a *modelAnswer, _ *modelRow, from int8, _ modelMoment) {
			a.row.gen = min(a.row.gen, from+1)
		}), []modelPromise{oneHeir}},
		{"every token is good", with(func(a *modelAnswer, r *modelRow, from int8, at modelMoment) {
			if r.live {
				r.gen, r.rotated = from+1, at
				a.row, a.advanced = *r, true
			}
		}), []modelPromise{oneHeir, oneWindow, farApart}},
		{"Advance is acknowledged and lost", func(rules *modelRules) {
			rules.advance = func(r *modelRow, from int8, at modelMoment) modelAnswer {
				lost := *r
				return goodAdvance(&lost, from, at)
			}
		}, []modelPromise{oneHeir, farApart}},
		{"Advance reads and writes apart", func(rules *modelRules) { rules.torn = true }, []modelPromise{oneHeir}},
		{"Advance brings a session back", with(func(a *modelAnswer, r *modelRow, from int8, at modelMoment) {
			if a.gone {
				*r = modelRow{live: true, gen: from + 1, rotated: at}
				*a = modelAnswer{row: *r, advanced: true}
			}
		}), []modelPromise{reuseEnds, endEnds}},
		{"a failing Advance returns ErrNoSession", func(rules *modelRules) { rules.failure = modelAnswer{gone: true} }, []modelPromise{dontKnow}},
		{"Delete does nothing", func(rules *modelRules) { rules.delete = func(*modelRow) {} }, []modelPromise{reuseEnds, endEnds}},
		{"Revoke does nothing", func(rules *modelRules) { rules.revoke = func(*bool) {} }, []modelPromise{reuseEnds, endEnds}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, promise := range test.breaks {
				m := newModel(t, 0, false)
				m.promises = []modelPromise{promise}
				test.mutate(&m.rules)
				scenes, trace := m.search(7)
				require.NotEmpty(t, m.broken, "promise %d holds in %d scenes", promise, scenes)
				t.Logf("%s, after:\n%s", m.broken, strings.Join(trace, "\n"))
			}
		})
	}
}
