package model_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The durations of a slow Reload, 5 s, 17.5 s and 65 s.
const (
	slow     units = 2
	slower   units = 7
	verySlow units = 26
)

// The values of RecoverLost.
const (
	short units = 10 // 25 s, for scenes in which a token can come too late
	long  units = 100
	never units = -1
)

// In these scenes, no sequence of steps breaks a promise.
var scenes = []scene{
	{name: "one tab, four answers lost", tabs: 1, lostAnswers: 4},
	{name: "two tabs, one answer lost", tabs: 2, lostAnswers: 1, due: 4},
	{name: "two tabs, two answers lost", tabs: 2, lostAnswers: 2, due: 4},
	{name: "two tabs, two answers lost, two failures", tabs: 2, lostAnswers: 2, failures: 2, due: 4},
	{name: "two tabs, two answers lost, clocks a minute apart", tabs: 2, lostAnswers: 2, due: 4, nodesDiffer: 24},
	{name: "one tab, a lost write, two answers lost", tabs: 1, lostAnswers: 2, lostWrites: 1},
	{name: "two tabs, Reload takes up to 65 s", tabs: 2, slowReload: verySlow, due: verySlow + 4, limits: limits{bound: short}},
	{name: "two tabs, Reload takes up to 5 s, and an answer is lost", tabs: 2, lostAnswers: 1, slowReload: slow, due: slow + 4},
	{name: "two tabs, Reload takes up to 17 s, and an answer is lost", tabs: 2, lostAnswers: 1, slowReload: slower, due: slower + 4},
	{name: "two tabs redeem two generations during a slow Reload", tabs: 2, slowReload: slower, due: 4},
	{name: "a theft", tabs: 1, thief: true, turns: 2, limits: limits{bound: short}, coarse: true},
	{name: "a theft, one answer lost", tabs: 1, thief: true, quickThief: true, turns: 2, lostAnswers: 1, limits: limits{bound: short}},
	{name: "a theft, two eager tabs", tabs: 2, thief: true, quickThief: true, turns: 3, limits: limits{bound: short}, coarse: true},
	{name: "a theft, without RecoverLost", tabs: 2, thief: true, quickThief: true, turns: 0, limits: limits{bound: never}, coarse: true},
	{name: "an end, two failures", tabs: 1, ends: true, failures: 2},
	{name: "an end, two tabs, a failure", tabs: 2, ends: true, failures: 1, due: 4},
	{name: "an end, a lost write", tabs: 1, ends: true, failures: 1, lostWrites: 1},
	{name: "ForceRefresh", tabs: 2, forces: true, lostAnswers: 1, due: 4},
	{name: "ForceRefresh, a failure", tabs: 1, forces: true, lostAnswers: 1, failures: 1, ignored: []promise{isAccepted}},
}

// withDefaults returns a copy of the scene with default values for the times that the scene
// leaves out. more is how many more answers can be lost, and how many more requests can fail. If
// it is positive, no scene is coarse.
func (c scene) withDefaults(more int8) scene {
	c.coarse = c.coarse && more == 0
	if c.lostAnswers > 0 {
		c.lostAnswers += more
	}
	if c.failures > 0 {
		c.failures += more
	}
	last := c.bound // the last time at which something changes
	switch c.bound {
	case 0:
		c.bound = long
		last = 8 // twice the grace
	case never:
		c.bound = 0
		last = 4
	}
	c.grace, c.inFlight = 4, 3
	if c.coarse {
		c.grace, c.inFlight, c.bound, last = 2, 1, c.bound/2, last/2
	}
	c.longest = last + 1 + c.inFlight + c.slowReload
	return c
}

func sceneOf(t *testing.T, name string) scene {
	for _, c := range scenes {
		if c.name == name {
			return c.withDefaults(0)
		}
	}
	t.Fatalf("there is no scene %s", name)
	return scene{}
}

// The environment variable JWTAUTH_MODEL_DEPTH is a number. In scenes that lose answers or have
// failures, this number is added to how many answers can be lost, and to how many requests can
// fail. If it is positive, no scene counts in units of 5 s.
func TestNoInterleavingBreaksAPromise(t *testing.T) {
	more, _ := strconv.Atoi(os.Getenv("JWTAUTH_MODEL_DEPTH"))
	for _, c := range scenes {
		t.Run(c.name, func(t *testing.T) {
			m := newModel(t, c.withDefaults(int8(more)))
			r := m.search()
			t.Logf("%d states, up to %d steps; %d decisions were compared with the library", r.states, r.depth, len(m.machine.compared))
			require.Empty(t, m.broken, "%s, after:\n%s", m.which, strings.Join(r.trace, "\n"))
		})
	}
}

// The library has limits. If the library no longer has one of these limits, a test fails. Then
// move its scene to the list scenes.
func TestTheModelFindsTheKnownLimits(t *testing.T) {
	for _, test := range []struct {
		scene
		breaks promise
	}{
		{scene{name: "two tabs redeem two generations within the grace", tabs: 2}, noLogout},
		{scene{name: "ForceRefresh fails between its two steps", tabs: 1, forces: true, failures: 1}, isAccepted},
		{scene{name: "two tabs, and a write is lost", tabs: 2, lostAnswers: 1, lostWrites: 1, due: 4}, noLogout},
		{scene{name: "one tab comes back after RecoverLost", tabs: 1, lostAnswers: 1, limits: limits{bound: short}}, noLogout},
		{scene{name: "a theft, two turns", tabs: 1, thief: true, turns: 1, limits: limits{bound: short}, coarse: true}, theftEnds},
		{scene{name: "a theft, two eager tabs, three turns", tabs: 2, thief: true, quickThief: true, turns: 2, limits: limits{bound: short}, coarse: true}, theftEnds},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newModel(t, test.withDefaults(0))
			m.checks = []promise{test.breaks}
			r := m.search()
			require.NotEmpty(t, m.broken)
			t.Logf("%d states, %d steps: %s, after:\n%s", r.states, r.depth, m.broken, strings.Join(r.trace, "\n"))
		})
	}
}

// TestNumbersOfGenerationsDoNotMatter searches some scenes with and without normalize, up to
// a depth. Both searches must reach the same states, after normalize.
func TestNumbersOfGenerationsDoNotMatter(t *testing.T) {
	for _, c := range []scene{
		{name: "two tabs", tabs: 2, lostAnswers: 1, due: 4},
		{name: "a lost write", tabs: 1, lostAnswers: 1, lostWrites: 1},
		{name: "a theft", tabs: 1, thief: true, quickThief: true, turns: 2, limits: limits{bound: short}},
	} {
		t.Run(c.name, func(t *testing.T) {
			const depth = 20
			reached := func(normalizes bool) map[state]bool {
				m := newModel(t, c.withDefaults(0))
				m.machine = nil
				first := m.start()
				m.normalize(&first)
				level, seen, normal := []state{first}, map[state]bool{first: true}, map[state]bool{first: true}
				for range depth {
					var next []state
					for _, s := range level {
						m.each(&s, func(_ happening, after *state) {
							same := *after
							m.normalize(&same)
							normal[same] = true
							if normalizes {
								*after = same
							}
							if !seen[*after] {
								seen[*after] = true
								next = append(next, *after)
							}
						})
					}
					level = next
				}
				require.Empty(t, m.broken)
				t.Logf("%d states; %d after normalize", len(seen), len(normal))
				return normal
			}
			require.Equal(t, reached(false), reached(true))
		})
	}
}

func TestTheModelFindsEachMutant(t *testing.T) {
	// judged returns a mutation of the rule.
	judged := func(f func(presented int8, r row, age units, l limits, v verdict) verdict) func(*rules) {
		return func(u *rules) {
			u.judge = func(presented int8, r row, age units, l limits) verdict {
				return f(presented, r, age, l, judge(presented, r, age, l))
			}
		}
	}
	// instead returns a mutation that exchanges one verdict.
	instead := func(of, v verdict) func(*rules) {
		return judged(func(_ int8, _ row, _ units, _ limits, was verdict) verdict {
			if was == of {
				return v
			}
			return was
		})
	}
	// stepped returns a mutation that changes the row or the answer after each Advance, if the
	// session has a row and has not ended.
	stepped := func(f func(r *row, x rotation, a *answer, before row)) func(*rules) {
		return func(u *rules) {
			u.advance = func(r *row, x rotation) answer {
				before := *r
				a := advance(r, x)
				if !a.gone && !r.ended {
					f(r, x, &a, before)
					a.row = *r
				}
				return a
			}
		}
	}
	isRecovery := func(x rotation) bool { return x.parent != x.from }
	const (
		oneTab, twoTabs = "one tab, four answers lost", "two tabs, one answer lost"
		twoLost         = "two tabs, two answers lost"
		theft, end      = "a theft", "an end, two failures"
	)
	for _, test := range []struct {
		name   string
		breaks promise
		scene  string
		mutate func(*rules)
	}{
		{"no recovery", noLogout, oneTab, instead(recovery, refuseLate)},
		{"no wait", noLogout, twoTabs, instead(wait, recovery)},
		{"the skipped successor becomes the parent", noLogout, oneTab, stepped(func(r *row, x rotation, a *answer, before row) {
			if a.advanced && isRecovery(x) {
				r.parent = before.gen
			}
		})},
		{"who loses the race for a recovery counts as a thief", noLogout, twoTabs, func(u *rules) { u.loserIsThief = true }},
		{"a recovery does not renew RotatedAt", noLogout, twoTabs, stepped(func(r *row, x rotation, a *answer, before row) {
			if a.advanced && isRecovery(x) {
				r.age = before.age
			}
		})},
		{"the age counts until the answer", noLogout, "two tabs, Reload takes up to 65 s", func(u *rules) { u.countsUntilAnswer = true }},
		{"an answer is given again, but leaves late", noLogout, "two tabs, Reload takes up to 5 s, and an answer is lost", func(u *rules) { u.answersLate = true }},
		{"no roll forward after a lost write", noLogout, "one tab, a lost write, two answers lost", stepped(func(r *row, x rotation, a *answer, before row) {
			if a.advanced && before.gen < x.from {
				*r, a.advanced = before, false
			}
		})},
		{"an advance keeps the parent", noLogout, oneTab, stepped(func(r *row, x rotation, a *answer, before row) {
			if a.advanced && !isRecovery(x) {
				r.parent = before.parent
			}
		})},
		{"the clocks of the nodes count the age", noLogout, "two tabs, two answers lost, clocks a minute apart", func(u *rules) { u.nodeClocks = true }},
		{"the age is always high", noLogout, twoTabs, stepped(func(r *row, _ rotation, a *answer, _ row) { r.age = 12 })},

		{"a skipped token is refused, and the session lives on", refusalEnds, theft, judged(func(presented int8, r row, _ units, _ limits, v verdict) verdict {
			if v == refuseOld && presented > r.parent {
				return refuseQuietly
			}
			return v
		})},
		{"an old token is refused, and the session lives on", refusalEnds, theft, judged(func(presented int8, r row, _ units, _ limits, v verdict) verdict {
			if v == refuseOld && presented < r.parent {
				return refuseQuietly
			}
			return v
		})},
		{"the parent of the parent is refused within the grace, and the session lives on", refusalEnds, theft, judged(func(presented int8, r row, age units, l limits, v verdict) verdict {
			if v == refuseOld && presented < r.parent && age <= l.grace {
				return refuseQuietly
			}
			return v
		})},

		{"a replay returns the generation after the presented one", isLive, oneTab, func(u *rules) { u.replaysNext = true }},

		{"a recovery has no condition", noFork, twoTabs, func(u *rules) {
			u.advance = func(r *row, x rotation) answer {
				if r.there && !r.ended && isRecovery(x) {
					makeStep(r, x)
					return answer{row: *r, advanced: true}
				}
				return advance(r, x)
			}
		}},
		{"a recovery keeps the generation", noFork, oneTab, stepped(func(r *row, x rotation, a *answer, before row) {
			if a.advanced && isRecovery(x) {
				r.gen = before.gen
			}
		})},
		{"everybody wins", noFork, twoTabs, stepped(func(_ *row, _ rotation, a *answer, _ row) { a.advanced = true })},
		{"every token advances the session", noFork, theft, stepped(func(r *row, x rotation, a *answer, _ row) {
			makeStep(r, x)
			a.advanced = true
		})},
		{"Advance is acknowledged and lost", noFork, oneTab, func(u *rules) {
			u.advance = func(r *row, x rotation) answer {
				lost := *r
				return advance(&lost, x)
			}
		}},
		{"Advance reads the row and writes it later", noFork, twoTabs, func(u *rules) { u.readsEarly = true }},

		{"instead of a recovery, the same successor is returned again, without a step", bounded, theft, instead(recovery, sameAgain)},
		{"a replay renews RotatedAt", bounded, theft, stepped(func(r *row, x rotation, a *answer, _ row) {
			if !a.advanced && x.from == r.parent && r.age <= 2 {
				r.age = 0
			}
		})},
		{"the age is always zero", bounded, theft, stepped(func(r *row, _ rotation, _ *answer, _ row) { r.age = 0 })},
		{"no bound", bounded, theft, instead(refuseLate, recovery)},

		{"every older token counts as the parent", deadStays, theft, judged(func(_ int8, r row, age units, l limits, _ verdict) verdict {
			return judge(r.parent, r, age, l)
		})},
		{"every older token counts as the parent, so that turns never end", theftEnds, theft, judged(func(_ int8, r row, age units, l limits, _ verdict) verdict {
			return judge(r.parent, r, age, l)
		})},
		{"a skipped successor counts as the parent", deadStays, theft, judged(func(presented int8, r row, age units, l limits, _ verdict) verdict {
			return judge(min(presented, r.parent), r, age, l)
		})},
		{"a token recovers although its successor was used", deadStays, theft, judged(func(presented int8, r row, age units, l limits, v verdict) verdict {
			if presented < r.parent {
				return judge(r.parent, r, age, l)
			}
			return v
		})},

		{"Advance brings a session back", endIsFinal, end, func(u *rules) {
			u.advance = func(r *row, x rotation) answer {
				if !r.there {
					*r = row{there: true}
					makeStep(r, x)
					return answer{row: *r, advanced: true}
				}
				return advance(r, x)
			}
		}},
		{"a failing Advance returns ErrNoSession", endIsFinal, end, func(u *rules) { u.failsAsGone = true }},
		{"Delete does nothing", endIsFinal, end, func(u *rules) { u.deletesNothing = true }},
		{"Revoke does nothing", endIsFinal, end, func(u *rules) { u.revokesNothing = true }},
		{"an end deletes the row and then revokes", endIsFinal, end, func(u *rules) { u.deletesFirst = true }},
		{"an end deletes the row also if Revoke has failed", endIsFinal, end, func(u *rules) { u.deletesAnyway = true }},
		{"EndSession revokes a session without a row", endIsFinal, end, func(u *rules) { u.writesWithoutRow = true }},

		{"ForceRefresh raises the epoch and then revokes", grantEnds, "ForceRefresh, a failure", func(u *rules) { u.raisesFirst = true }},
		{"a newer epoch does not lead to another Reload", grantEnds, "ForceRefresh", func(u *rules) { u.keepsGrant = true }},
		{"a call steps in spite of a newer epoch, and signs again", grantEnds, "ForceRefresh", func(u *rules) {
			u.signsAgain = true
			u.advance = func(r *row, x rotation) answer {
				x.epoch = max(x.epoch, r.epoch)
				return advance(r, x)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newModel(t, sceneOf(t, test.scene))
			m.machine = nil // the library has the right rule
			m.checks = []promise{test.breaks}
			test.mutate(&m.rules)
			r := m.search()
			require.NotEmpty(t, m.broken, "%s: it holds in %d states", test.breaks, r.states)
			t.Logf("%s: %s; %d states, %d steps:\n%s", m.which, m.broken, r.states, r.depth+1, strings.Join(r.trace, "\n"))
		})
	}
}
