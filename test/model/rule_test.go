package model_test

// This file has a copy of the rule of refreshing and of the end of a session, as a function
// from the state of a call and one answer to the next state of the call. The searches use
// the copy, since it is fast and can be mutated. In every search with the right rule, the
// machine compares each decision of the copy with the decision of the library.

// units is a time in the units of a scene, of 2.5 or 5 s.
type units = int8

// limits are the options of the issuer.
type limits struct {
	grace units // RefreshGrace, 10 s
	bound units // RecoverLost; 0 means none
}

// maxAdvances is how often one call of Refresh tries to advance the row.
const maxAdvances = 5

// The kinds of calls.
const (
	noCall     byte = iota
	refreshing      // Refresh
	ending          // EndSession
	forcing         // ForceRefresh
)

// The kinds of requests that a call makes. returns means that the call has returned.
const (
	asks byte = iota
	reloads
	advances
	marks
	revokes
	deletes
	peeks
	revokesEpoch
	raises
	returns
)

// The results of a call.
const (
	noResult byte = iota
	refreshed
	replayed
	recovered
	delayed     // ErrUnavailable with RetryAfter: the client tries again later
	unavailable // ErrUnavailable after a failure
	refused
	done // nil, from EndSession or ForceRefresh
)

// The reasons for which a call of Refresh ends a session, or completes its end.
const (
	noReason   byte = iota
	oldToken        // reuse
	lateParent      // reuse after RecoverLost
	isRevoked       // the session was revoked before
	noRow
	isMarked
)

// row is the row of the session in the store.
type row struct {
	gen, parent int8
	epoch       int8
	age         units // since the last step, by the clock of the engine
	there       bool
	ended       bool // marked as ended; gen and parent then mean nothing
	skipsOne    bool // Previous is less than Generation-1: the last step followed a lost write
}

// rotation is the step that Advance makes.
type rotation struct {
	from, parent, epoch int8
}

// answer is the answer to one request of a call.
type answer struct {
	failed   bool
	gone     bool // ErrNoSession
	advanced bool
	revoked  bool // the result of IsRevoked
	oldGrant bool // the result of Reload
	row      row
}

// call is the state of one call of the library.
type call struct {
	what, next, result, reason byte

	presented  int8 // the generation of the presented token
	from       int8 // the next Advance steps from this generation
	steps      int8 // how many Advances were answered
	epoch      int8
	age        units // since the call began
	waits      units // how long the call and the delivery of its answer have taken, without a slow Reload
	recovering bool  // the next Advance is a recovery
	slow       bool  // Reload is slow
	oldGrant   bool  // what Reload has returned
	missing    bool  // there was no row to mark
	failed     bool  // a step of the end has failed
	gen        int8  // of the tokens that the call returns; 0 means none

	read row // the row that Advance has read early, if rules.readsEarly is set
}

// verdict is what a presented token gets if it is not the current one.
type verdict byte

const (
	replay verdict = iota
	wait
	recovery
	refuseLate
	refuseOld
	refuseQuietly // only mutants return it: the token is refused, and the session continues
	sameAgain     // only mutants return it: the same successor again, without a step
)

// rules is the behavior of the issuer and of the store. Mutants change it.
type rules struct {
	limits
	judge   func(presented int8, r row, age units, l limits) verdict
	advance func(r *row, x rotation) answer

	readsEarly        bool // Advance reads the row when the call is ready to step, and writes it later
	answersLate       bool // a token that was presented within the grace is answered again, although the grace is over when the answer leaves
	nodeClocks        bool // the age of the row is measured with the clocks of the nodes, and not with that of the engine
	countsUntilAnswer bool // the age counts until the answer, not until the token arrived
	loserIsThief      bool // a call that loses the race for a recovery ends the session
	replaysNext       bool // a replay returns the generation after the presented one
	signsAgain        bool // a call that has made its step signs again with the epoch of the row
	keepsGrant        bool // a call that meets a newer epoch does not ask Reload again
	raisesFirst       bool // ForceRefresh raises the epoch, and then revokes
	deletesFirst      bool // the end of a session deletes the row, and then revokes
	deletesAnyway     bool // the end of a session deletes the row also if Revoke has failed
	writesWithoutRow  bool // EndSession revokes a session that has no row
	revokesNothing    bool
	deletesNothing    bool
	failsAsGone       bool // an Advance that fails returns ErrNoSession
}

func rightRules(l limits) rules { return rules{limits: l, judge: judge, advance: advance} }

// judge decides about a token that did not advance the session.
func judge(presented int8, r row, age units, l limits) verdict {
	switch {
	case presented != r.parent && age < 0:
		return wait
	case presented != r.parent:
		return refuseOld
	case age <= l.grace:
		return replay
	case age > l.bound:
		return refuseLate
	case age <= 2*l.grace:
		return wait
	default:
		return recovery
	}
}

// advance does what Advance of the store and SessionRecord.Step do.
func advance(r *row, x rotation) answer {
	if !r.there {
		return answer{gone: true}
	}
	advanced := !r.ended && r.gen <= x.from && r.epoch <= x.epoch
	if advanced {
		makeStep(r, x)
	}
	if !r.ended {
		r.epoch = max(r.epoch, x.epoch)
	}
	return answer{row: *r, advanced: advanced}
}

func makeStep(r *row, x rotation) {
	r.skipsOne = r.gen < x.from
	r.gen, r.parent, r.age = x.from+1, x.parent, 0
}

// continueCall returns the state of a call after an answer.
func (u *rules) continueCall(c call, a answer) call {
	switch c.next {
	case asks:
		switch {
		case a.failed:
			return c.returning(unavailable)
		case a.revoked:
			c.next, c.reason = marks, isRevoked
		default:
			c.next = reloads
		}
	case reloads:
		if a.failed {
			return c.returning(unavailable)
		}
		if c.steps == maxAdvances {
			return c.returning(unavailable)
		}
		c.next, c.oldGrant = advances, a.oldGrant
	case advances:
		return u.afterAdvance(c, a)
	case marks:
		if a.gone && c.what == ending && !u.writesWithoutRow {
			return c.returning(done)
		}
		c.missing, c.failed, c.next = a.gone, a.failed, revokes
		if u.deletesFirst && !c.missing {
			c.next = deletes
		}
	case revokes:
		c.failed = c.failed || a.failed
		if u.deletesFirst || c.missing || c.failed && !u.deletesAnyway {
			return c.ended()
		}
		c.next = deletes
	case deletes:
		c.failed = c.failed || a.failed
		if u.deletesFirst {
			c.next = revokes
			return c
		}
		return c.ended()
	case peeks:
		switch {
		case a.failed:
			return c.returning(unavailable)
		case a.gone, a.row.ended:
			return c.returning(done)
		}
		c.epoch, c.next = a.row.epoch, revokesEpoch
		if u.raisesFirst {
			c.next = raises
		}
	case revokesEpoch:
		if a.failed {
			return c.returning(unavailable)
		}
		c.next = raises
		if u.raisesFirst {
			return c.returning(done)
		}
	case raises:
		if a.failed {
			return c.returning(unavailable)
		}
		if !u.raisesFirst {
			return c.returning(done)
		}
		c.next = revokesEpoch
	}
	return c
}

// afterAdvance is the rule of refreshing.
func (u *rules) afterAdvance(c call, a answer) call {
	c.steps++
	switch {
	case a.gone:
		c.missing, c.next, c.reason = true, revokes, noRow
		return c
	case a.failed:
		return c.returning(unavailable)
	case a.advanced && c.recovering:
		c.gen = a.row.gen
		return c.returning(recovered)
	case a.advanced:
		c.gen = a.row.gen
		if u.signsAgain {
			c.epoch = a.row.epoch
		}
		return c.returning(refreshed)
	case a.row.ended:
		c.next, c.reason = revokes, isMarked
		return c
	case a.row.epoch > c.epoch:
		if c.epoch = a.row.epoch; !u.keepsGrant {
			c.next = reloads
		}
		return c
	}
	age := a.row.age - c.age
	if u.countsUntilAnswer {
		age = a.row.age
	}
	v := u.judge(c.presented, a.row, age, u.limits)
	if !u.answersLate && v == replay && a.row.age > u.grace && u.bound > 0 {
		v = wait
	}
	if u.loserIsThief && c.recovering {
		v = refuseOld
	}
	switch v {
	case replay, sameAgain:
		if c.gen = a.row.gen; u.replaysNext {
			c.gen = c.presented + 1
		}
		return c.returning(replayed)
	case wait:
		return c.returning(delayed)
	case refuseQuietly:
		return c.returning(refused)
	case refuseLate:
		c.next, c.reason = marks, lateParent
		return c
	case refuseOld:
		c.next, c.reason = marks, oldToken
		return c
	}
	if c.from, c.recovering = a.row.gen, true; c.steps == maxAdvances {
		return c.returning(unavailable)
	}
	return c
}

// returning returns the state of a call that has returned. It has only what matters for the
// delivery of the answer.
func (c call) returning(result byte) call {
	r := call{what: c.what, next: returns, result: result, age: c.age, waits: c.waits, slow: c.slow}
	switch result {
	case refreshed, replayed, recovered:
		r.gen, r.epoch, r.oldGrant = c.gen, c.epoch, c.oldGrant
	case refused:
		r.reason = c.reason
	}
	return r
}

// ended returns the state of a call that has ended a session, or has failed to.
func (c call) ended() call {
	switch {
	case c.failed:
		return c.returning(unavailable)
	case c.what == ending:
		return c.returning(done)
	default:
		return c.returning(refused)
	}
}
