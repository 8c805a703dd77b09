package model_test

import (
	"fmt"
	"slices"
	"testing"
)

// scene says who takes part in a search, what can go wrong, and which promises must hold.
type scene struct {
	name string
	limits
	coarse   bool  // units are 5 s, and not 2.5 s
	inFlight units // a call of Refresh and the delivery of its answer take at most this long
	longest  units // the largest age that is counted; a higher age is stored as this one
	due      units // how long a tab waits, at least, between receiving a token and redeeming it; 0 means that it need not wait

	tabs        int8  // they share one jar of cookies, which has the token that arrived last
	lostAnswers int8  // answers of Refresh that do not arrive
	lostWrites  int8  // how often the engine goes back to the row before the last write
	slowReload  units // each tab has one Reload that takes up to this long

	thief      bool // copies the jar once, at any time, and presents whatever it has at any time
	quickThief bool // the calls of the thief take no time
	turns      int8 // how many turns owner and thief may take; countTurn says what a turn is

	ends     bool // the owner ends the session
	failures int8 // requests of calls that fail, with or without an effect
	forces   bool // the admin changes the grant, and then calls ForceRefresh

	ignored []promise // the known limits of this scene

	nodesDiffer units // the clock of the node of tab 2 is ahead by this; the right rule does not depend on it
}

// honest reports whether the scene has no thief and no end of the session. If so, every logout
// breaks a promise.
func (c *scene) honest() bool { return !c.thief && !c.ends }

// state is one session at one moment: what the stores have, what everybody holds, which
// calls are in progress, and what has truly happened.
type state struct {
	row, before   row  // before is the row before the last write, if that can be lost
	revoked       bool // the id of the session
	epochsRevoked uint8

	jar      int8 // the generation of the token
	jarEpoch int8
	jarAge   units
	held     uint32 // the generations that the thief holds, as bits
	calls    [3]call

	lostAnswers, lostWrites, failures int8 // how many are left
	slowLeft                          uint8
	isStolen, hasEnded, loggedOut     bool

	// What has truly happened.
	newest, presented int8  // the generations of the last step
	stepAge           units // since the last step
	over              bool  // a response has said that the session is over
	receiver          int8  // who has received the tokens of the last step: 0 for nobody or both, 1 for the owner, 2 for the thief
	stepper           int8  // who has made the last step
	shared            bool  // the other one got a replay of the last step
	turns             int8
	grantChanged      bool
	forced            bool  // ForceRefresh has returned nil
	oldGrants         uint8 // the epochs of the access tokens with the old grant that were returned, as bits
}

// The callers. The admin is the owner who calls EndSession, or a program that calls
// ForceRefresh. The admin has the place of the thief, since no scene has both.
const (
	tab1 int8 = iota
	tab2
	thief
	admin = thief
)

// The kinds of steps of a search.
const (
	begins byte = iota
	beginsSlowly
	isFine
	failsBefore
	failsAfter
	arrives
	isLost
	passes
	steals
	losesWrite
	changesGrant
)

// happening is a step of a search.
type happening struct {
	do, request byte
	who, gen    int8
}

func (m *model) describe(h happening) string {
	who := [...]string{"tab 1", "tab 2", "the thief"}[h.who]
	if h.who == admin && !m.thief {
		who = "the admin"
	}
	switch h.do {
	case begins:
		if h.gen == 0 {
			return who + " calls " + map[bool]string{false: "EndSession", true: "ForceRefresh"}[m.forces]
		}
		return fmt.Sprintf("%s presents generation %d", who, h.gen)
	case beginsSlowly:
		return fmt.Sprintf("%s presents generation %d, and Reload takes long", who, h.gen)
	case isFine:
		return who + ": " + requestNames[h.request] + " is fine"
	case failsBefore:
		return who + ": " + requestNames[h.request] + " fails and has no effect"
	case failsAfter:
		return who + ": " + requestNames[h.request] + " takes effect and fails"
	case arrives:
		return who + " receives the answer"
	case isLost:
		return who + ": the answer is lost"
	case passes:
		return timePasses
	case steals:
		return fmt.Sprintf("the thief copies generation %d", h.gen)
	case losesWrite:
		return "the engine loses its last write"
	default:
		return "the grant changes"
	}
}

const timePasses = "time passes"

// promise is a promise of the library.
type promise string

const (
	noLogout    promise = "P1: an honest owner is not logged out"
	theftEnds   promise = "P2: owner and thief cannot go on taking turns"
	refusalEnds promise = "P2b: no genuine token is refused while the session lives"
	isLive      promise = "P3: a generation that is returned is the one of the row"
	noFork      promise = "P4: each step makes a new generation, for one caller"
	endIsFinal  promise = "P5: nothing is returned after the end, and no end stays half-done"
	bounded     promise = "P6: a token that was already redeemed gets tokens again only within the grace or, by a recovery, within RecoverLost"
	deadStays   promise = "P7: a token whose successor was used, or that was skipped, is not answered"
	isAccepted  promise = "P8b: an access token that is returned is accepted"
	grantEnds   promise = "P8: after ForceRefresh, no access token has the old grant"
)

// model searches a scene.
type model struct {
	scene
	rules   rules
	machine *machine // compares the rules with the library; nil if the rules are mutated
	checks  []promise

	broken string
	which  promise
	met    map[string]int
}

func newModel(t testing.TB, c scene) *model {
	m := &model{scene: c, rules: rightRules(c.limits), met: make(map[string]int)}
	m.machine = newMachine(t, c.limits)
	return m
}

func (m *model) breaks(p promise, format string, args ...any) {
	if m.broken == "" && (m.checks == nil || slices.Contains(m.checks, p)) && !slices.Contains(m.ignored, p) {
		m.which, m.broken = p, fmt.Sprintf(format, args...)
	}
}

// start is a session that was refreshed a long time ago. The owner holds its only token.
func (m *model) start() state {
	s := state{
		row: row{there: true, gen: 3, parent: 2, age: m.longest}, newest: 3, presented: 2, stepAge: m.longest,
		jar: 3, jarAge: m.due, lostAnswers: m.lostAnswers, lostWrites: m.lostWrites, failures: m.failures,
	}
	if m.slowReload > 0 {
		s.slowLeft = 1<<m.tabs - 1
	}
	return s
}

// tracks reports whether newest and presented are known, which is so if no write is lost.
func (m *model) tracks() bool { return m.lostWrites == 0 }

// each calls f with every step that can happen next, and the state after the step.
func (m *model) each(s *state, f func(happening, *state)) {
	for who := range int8(3) {
		if c := &s.calls[who]; c.what != noCall {
			m.goOn(s, who, f)
			continue
		}
		switch {
		case who < m.tabs:
			if !s.loggedOut && s.jarAge >= m.due {
				m.begin(s, who, call{what: refreshing, presented: s.jar, epoch: s.jarEpoch}, f)
				if s.slowLeft&(1<<who) != 0 {
					m.begin(s, who, call{what: refreshing, presented: s.jar, epoch: s.jarEpoch, slow: true}, f)
				}
			}
		case who == thief && m.thief:
			for gen := int8(1); gen < 32; gen++ {
				if s.held&(1<<gen) != 0 {
					m.begin(s, who, call{what: refreshing, presented: gen}, f)
				}
			}
		case who == admin && m.ends && !s.hasEnded:
			m.begin(s, who, call{what: ending, next: marks}, f)
		case who == admin && m.forces && s.grantChanged && !s.forced:
			m.begin(s, who, call{what: forcing, next: peeks}, f)
		}
	}
	m.letTimePass(s, f)
	if m.thief && !s.isStolen && !s.loggedOut {
		after := *s
		after.isStolen, after.held = true, 1<<s.jar
		f(happening{do: steals, gen: s.jar}, &after)
	}
	if s.lostWrites > 0 && s.before != (row{}) && s.before != s.row {
		after := *s
		after.row, after.before = s.before, row{}
		after.lostWrites--
		f(happening{do: losesWrite}, &after)
	}
	if m.forces && !s.grantChanged {
		after := *s
		after.grantChanged = true
		f(happening{do: changesGrant}, &after)
	}
}

// begin starts a call. IsRevoked is answered at once. So is Reload, unless this call has a slow
// Reload or the scene has a ForceRefresh.
func (m *model) begin(s *state, who int8, c call, f func(happening, *state)) {
	after := *s
	do := begins
	if c.what == refreshing {
		c.from = c.presented
		m.decide(c, answer{failed: true}) // only compared, since nothing changes
		c = m.decide(c, answer{revoked: s.revoked})
		if c.slow {
			after.slowLeft &^= 1 << who
			do = beginsSlowly
		} else if c.next == reloads && !m.forces {
			m.decide(c, answer{failed: true})
			c = m.decide(c, answer{})
		}
	}
	if m.rules.readsEarly && c.next == advances {
		c.read = s.row
	}
	after.calls[who] = c
	if who == thief && m.quickThief {
		for after.calls[who].next != returns {
			m.perform(&after, who, isFine)
		}
		m.receive(&after, who)
	}
	f(happening{do: do, who: who, gen: c.presented}, &after)
}

// decide continues a call with an answer.
func (m *model) decide(c call, a answer) call {
	next := m.rules.continueCall(c, a)
	if m.machine != nil {
		if difference := m.machine.compare(c, a, next); difference != "" {
			m.which, m.broken = "the copy of the rule decides like the library", difference
		}
	}
	return next
}

// goOn answers the pending request of a call. If the call has returned, goOn delivers its result
// to the caller, or loses it.
func (m *model) goOn(s *state, who int8, f func(happening, *state)) {
	c := &s.calls[who]
	if c.next == returns {
		after := *s
		m.receive(&after, who)
		f(happening{do: arrives, who: who}, &after)
		if s.lostAnswers > 0 && c.what == refreshing {
			after = *s
			after.calls[who] = call{}
			after.lostAnswers--
			f(happening{do: isLost, who: who}, &after)
		}
		return
	}
	for _, fate := range []byte{isFine, failsBefore, failsAfter} {
		if fate != isFine && s.failures == 0 {
			return
		}
		after := *s
		m.perform(&after, who, fate)
		f(happening{do: fate, request: c.next, who: who}, &after)
	}
}

// perform answers the request of a call.
func (m *model) perform(s *state, who int8, fate byte) {
	c := s.calls[who]
	a := answer{}
	before := *s
	if fate != failsBefore {
		a = m.effect(s, who, &c)
	}
	if a.advanced {
		s.newest, s.presented, s.stepAge = max(c.from+1, s.newest), c.presented, 0
		s.stepper, s.shared = party(who), false
	}
	if fate != isFine {
		a = answer{failed: true, gone: m.rules.failsAsGone && c.next == advances}
		s.failures--
	}
	next := m.decide(c, a)
	s.calls[who] = next
	if c.what == refreshing {
		s.shared = s.shared || s.isStolen && next.result == replayed && s.stepper != party(who)
		m.checkRefresh(&before, s, &c, &next)
	}
}

// effect makes the change in the stores that a request asks for.
func (m *model) effect(s *state, who int8, c *call) (a answer) {
	was := s.row
	switch c.next {
	case reloads:
		a.oldGrant = m.forces && !s.grantChanged
	case advances:
		r := &s.row
		if m.rules.readsEarly {
			r = &c.read
		}
		a = m.rules.advance(r, rotation{from: c.from, parent: c.presented, epoch: c.epoch})
		if m.rules.nodeClocks && who == tab2 {
			if a.advanced {
				r.age -= m.nodesDiffer
			}
			a.row.age = r.age + m.nodesDiffer
		}
		if m.rules.readsEarly && a.advanced {
			s.row = *r
		}
	case marks:
		if !s.row.there {
			return answer{gone: true}
		}
		s.row = row{there: true, ended: true}
	case revokes:
		s.revoked = s.revoked || !m.rules.revokesNothing
	case deletes:
		if !m.rules.deletesNothing {
			s.row = row{}
		}
	case peeks:
		if !s.row.there {
			return answer{gone: true}
		}
		a.row = s.row
	case revokesEpoch:
		s.epochsRevoked |= 1 << c.epoch
	case raises:
		if !s.row.there {
			return answer{gone: true}
		}
		s.row.epoch = max(s.row.epoch, c.epoch+1)
		a.row = s.row
	}
	if s.row != was && s.lostWrites > 0 {
		s.before = was
	}
	return a
}

// checkRefresh checks the promises after a request of Refresh was answered.
func (m *model) checkRefresh(before, s *state, c, next *call) {
	switch next.reason {
	case oldToken, lateParent, noRow, isMarked:
		if m.honest() {
			m.breaks(noLogout, "generation %d ends the session", c.presented)
		}
	}
	if next.next != returns {
		return
	}
	age := before.stepAge - c.age // when the token arrived
	hasTokens := next.gen != 0
	if hasTokens && (before.over || before.row.ended || !before.row.there) {
		m.breaks(endIsFinal, "generation %d is answered after the end", c.presented)
	}
	if next.result == refused && !s.row.ended && s.row.there {
		m.breaks(refusalEnds, "generation %d is refused, and the session lives on", c.presented)
	}
	if isDone := !s.row.there || s.row.ended && m.lostWrites > 0; next.result == refused && !(isDone && s.revoked) {
		m.breaks(endIsFinal, "generation %d is refused, and the end is not complete", c.presented)
	}
	if !hasTokens || c.next != advances || !m.tracks() {
		return
	}
	if c.presented != before.newest && c.presented != before.presented {
		m.breaks(deadStays, "generation %d is dead and is answered", c.presented)
	}
	if next.result == replayed {
		if next.gen != s.row.gen || next.gen != before.newest {
			m.breaks(isLive, "generation %d is returned, and the store has generation %d", next.gen, s.row.gen)
		}
		if age > m.limits.grace {
			m.breaks(bounded, "generation %d is answered again, %d units after its step", c.presented, age)
		}
		return
	}
	if c.presented != before.newest && age > m.limits.bound {
		m.breaks(bounded, "generation %d is recovered, %d units after the last step", c.presented, age)
	}
	if s.row.gen != next.gen {
		m.breaks(isLive, "generation %d is returned, and the store has generation %d", next.gen, s.row.gen)
	}
	if next.gen <= before.newest || c.from != before.newest {
		m.breaks(noFork, "generation %d is returned as a new one, after generation %d", next.gen, before.newest)
	}
}

// receive delivers the answer of a call.
func (m *model) receive(s *state, who int8) {
	c := s.calls[who]
	s.calls[who] = call{}
	switch c.what {
	case ending:
		s.hasEnded = c.result == done
		s.over = s.over || s.hasEnded
		return
	case forcing:
		s.forced = c.result == done
		return
	}
	switch c.result {
	case refused:
		s.over = true
		if who != thief {
			if m.honest() {
				m.breaks(noLogout, "a tab is logged out")
			}
			s.loggedOut = true
		}
	case refreshed, replayed, recovered:
		if c.oldGrant {
			s.oldGrants |= 1 << c.epoch
		}
		if who == thief {
			s.held |= 1 << c.gen
		} else {
			s.jar, s.jarEpoch, s.jarAge = c.gen, c.epoch, 0
		}
		if s.isStolen {
			m.countTurn(s, who, &c)
		}
	}
}

// party returns 1 for the owner and 2 for the thief.
func party(who int8) int8 {
	if who == thief {
		return 2
	}
	return 1
}

// countTurn counts a turn if the owner recovers after the thief has received the tokens of the
// last step, or the thief after the owner. If one gets a replay of the other's step, both hold
// the same token again, and the count starts anew. An answer that is so late that another step
// has followed is not a turn.
func (m *model) countTurn(s *state, who int8, c *call) {
	switch {
	case c.gen != s.newest:
		return
	case s.shared:
		s.receiver, s.turns = 0, 0
		return
	case c.result == recovered && s.receiver == 3-party(who):
		if s.turns++; s.turns > m.turns {
			m.breaks(theftEnds, "owner and thief have taken %d turns", s.turns)
		}
	}
	s.receiver = party(who)
}

// letTimePass lets one unit pass, unless an answer must arrive before.
func (m *model) letTimePass(s *state, f func(happening, *state)) {
	after := *s
	for who := range after.calls {
		c := &after.calls[who]
		if c.what != refreshing {
			continue
		}
		if c.slow && c.next == reloads {
			if c.age == m.slowReload {
				return
			}
		} else if c.waits++; c.waits > m.inFlight {
			return
		}
		c.age++
	}
	older := func(r *row) {
		if r.there && !r.ended {
			r.age = min(r.age+1, m.longest)
		}
	}
	older(&after.row)
	older(&after.before)
	for who := range after.calls {
		older(&after.calls[who].read)
	}
	after.jarAge = min(after.jarAge+1, m.due)
	after.stepAge = min(after.stepAge+1, m.longest)
	f(happening{do: passes}, &after)
}

// normalize gives equivalent states the same value. Only the order of the generations matters,
// and whether one is the next after another. So normalize numbers the generations anew. The
// generations of the rows and of the last step are important. The lowest important generation
// gets 2, and all earlier generations get 1. All generations between two neighboring important
// ones share a number. A scene therefore has finitely many states.
// TestNumbersOfGenerationsDoNotMatter checks this.
func (m *model) normalize(s *state) {
	if s.isFinal() {
		*s = state{over: s.over, loggedOut: true, revoked: s.revoked, row: s.row}
		return
	}
	if !m.thief {
		s.stepper = 0
	}
	if !m.tracks() {
		s.newest, s.presented, s.stepAge = 0, 0, 0
	}
	if s.lostWrites == 0 {
		s.before = row{}
	}
	var important uint64 // the generations of the rows and of the last step, as bits
	for _, gen := range [...]int8{s.row.parent, s.row.gen, s.before.parent, s.before.gen, s.newest, s.presented} {
		important |= 1 << gen
	}
	important &^= 1 // 0 means that there is no generation
	if important != 0 {
		var renamed [40]int8
		number, last := int8(1), int8(-1)
		for gen := int8(1); gen < int8(len(renamed)); gen++ {
			switch {
			case important&(1<<gen) != 0:
				if last < 0 || gen == last+1 {
					number++
				} else {
					number += 2
				}
				last, renamed[gen] = gen, number
			case last < 0:
				renamed[gen] = 1
			case important>>gen == 0:
				renamed[gen] = number + gen - last // a write of its step was lost
			default:
				renamed[gen] = number + 1
			}
		}
		m.rename(s, &renamed)
	}
	// The tabs are equivalent.
	if m.tabs == 2 && m.nodesDiffer == 0 && less(&s.calls[tab2], &s.calls[tab1]) {
		s.calls[tab1], s.calls[tab2] = s.calls[tab2], s.calls[tab1]
		s.slowLeft = s.slowLeft&1<<1 | s.slowLeft>>1
	}
}

// isFinal reports whether nothing of interest can follow.
func (s *state) isFinal() bool {
	return s.loggedOut && s.calls == [3]call{} && !s.row.there && s.lostWrites == 0
}

func (m *model) rename(s *state, renamed *[40]int8) {
	for _, gen := range [...]*int8{&s.row.parent, &s.row.gen, &s.before.parent, &s.before.gen, &s.newest, &s.presented, &s.jar} {
		*gen = renamed[*gen]
	}
	for n := range s.calls {
		c := &s.calls[n]
		c.presented, c.from, c.gen = renamed[c.presented], renamed[c.from], renamed[c.gen]
		c.read.gen, c.read.parent = renamed[c.read.gen], renamed[c.read.parent]
	}
	held := uint32(0)
	for gen, number := range renamed[:32] {
		if s.held&(1<<gen) != 0 {
			held |= 1 << number
		}
	}
	s.held = held
}

// less orders calls.
func less(a, b *call) bool {
	key := func(c *call) uint64 {
		k := uint64(c.what)
		for _, part := range [...]int8{int8(c.next), int8(c.result), c.presented, c.from, c.gen, c.age, c.waits, c.steps} {
			k = k<<6 | uint64(part)
		}
		return k<<2 | bit(c.recovering) | bit(c.slow)<<1
	}
	return key(a) < key(b)
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// inspect checks what must hold in every state.
func (m *model) inspect(s *state) {
	if m.honest() && s.row.ended {
		m.breaks(noLogout, "the session has ended")
	}
	if s.over && (s.row.there && !s.row.ended || !s.revoked) {
		m.breaks(endIsFinal, "the session is over, and it is still in the store, or its access tokens are accepted")
	}
	if s.forced && s.oldGrants&^s.epochsRevoked != 0 && !s.revoked {
		m.breaks(grantEnds, "an access token with the old grant is accepted")
	}
	if m.honest() && s.calls == [3]call{} {
		m.inspectRest(s)
	}
	if m.ends {
		m.inspectEnd(s)
	}
}

// inspectRest checks that an honest owner gets tokens at last, if nothing fails any more.
func (m *model) inspectRest(s *state) {
	after := *s
	after.row.age, after.stepAge, after.failures = m.longest, m.longest, 0
	c := m.decide(call{what: refreshing, presented: s.jar, from: s.jar, epoch: s.jarEpoch}, answer{revoked: s.revoked})
	after.calls[tab1] = c
	for after.calls[tab1].next != returns {
		m.perform(&after, tab1, isFine)
	}
	last := &after.calls[tab1]
	switch {
	case last.gen == 0:
		m.breaks(noLogout, "a tab with generation %d never gets tokens again", s.jar)
	case s.epochsRevoked&(1<<last.epoch) != 0:
		m.breaks(isAccepted, "a refresh returns an access token of a revoked epoch")
	}
}

// inspectEnd checks that a call that meets a half-done end completes it.
func (m *model) inspectEnd(s *state) {
	halfDone := s.row.ended || s.revoked && s.row.there
	if !halfDone && s.row.there {
		return
	}
	jar := max(s.jar, 1)
	for _, c := range []call{{what: ending, next: marks}, {what: refreshing, presented: jar, from: jar}} {
		after := *s
		after.failures = 0
		if c.what == refreshing {
			if c = m.decide(c, answer{revoked: s.revoked}); c.next == reloads {
				c = m.decide(c, answer{})
			}
		}
		after.calls[admin] = c
		requests := 0
		for after.calls[admin].next != returns {
			m.perform(&after, admin, isFine)
			requests++
		}
		result := after.calls[admin].result
		if result != done && result != refused {
			m.breaks(endIsFinal, "completing the end returns %d", result)
		}
		if halfDone && (after.row.there || !after.revoked) {
			m.breaks(endIsFinal, "the end is not complete after another call")
		}
		if !s.row.there && c.what == ending && (requests != 1 || after.revoked != s.revoked) {
			m.breaks(endIsFinal, "EndSession without a row makes %d requests", requests)
		}
		if s.row == (row{}) && !s.revoked && s.over {
			m.breaks(endIsFinal, "the row is gone, and the access tokens are accepted")
		}
	}
}
