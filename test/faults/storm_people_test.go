//go:build linux

package faults_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// pause waits for a random time of at most longest milliseconds.
func (s *storm) pause(longest int) { s.rest(time.Duration(1+rand.IntN(longest)) * time.Millisecond) }

// rest waits for a time, or until the storm ends.
func (s *storm) rest(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
	}
}

func (s *storm) anyNode() int { return rand.IntN(len(s.nodes)) }

// try repeats a request to random nodes while the answer is 503, for at most 30 s. by is the
// number of the node that gave the returned answer.
func (s *storm) try(what string, ask func(n *node) answer) (a answer, by int) {
	for deadline := time.Now().Add(30 * time.Second); ; {
		by = s.anyNode()
		a = ask(s.nodes[by])
		s.count(fmt.Sprintf("%s: %d", what, a.status))
		s.took(what, a.ended.Sub(a.began))
		if a.status != http.StatusServiceUnavailable {
			return a, by
		}
		if time.Now().After(deadline) {
			s.violation("%s: for 30 s there was no answer but 503", what)
			return a, by
		}
		time.Sleep(time.Duration(50+rand.IntN(200)) * time.Millisecond) // a client's wait for the next attempt
	}
}

func (s *storm) login(subject string) answer {
	a, _ := s.try("login", func(n *node) answer { return n.post(s.t, "/login", "subject", subject) })
	if a.status != http.StatusOK {
		s.violation("a login was answered with %d", a.status)
	}
	return a
}

// refresh redeems a token, and records the answer for noForks.
func (s *storm) refresh(what, token string) (a answer, by int) {
	return s.refreshIn(what, token, new(jar))
}

// refreshIn is refresh for a client that shares a jar with others. If one of them has put a
// newer token there, the client takes it and does not try again.
func (s *storm) refreshIn(what, token string, shared *jar) (a answer, by int) {
	from := claimsOf(token)
	adopted := false
	a, by = s.try(what, func(n *node) answer {
		newest := shared.get()
		if adopted = newest.refresh.Generation > from.Generation; adopted {
			return newest
		}
		return n.post(s.t, "/refresh", "token", token)
	})
	if a.status != http.StatusOK || adopted {
		return a, by
	}
	shared.put(a)
	if a.refresh.Session != from.Session || a.refresh.Generation <= from.Generation {
		s.violation("the successor of %v is %v", from, a.refresh)
	}
	if a.refresh.Generation > from.Generation+1 {
		s.count("a lost answer, recovered")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.redeemed[from.Session] == nil {
		s.redeemed[from.Session] = map[int64][]answer{}
	}
	s.redeemed[from.Session][from.Generation] = append(s.redeemed[from.Session][from.Generation], a)
	return a, by
}

// jar has the newest answer that some clients have received, like the cookie jar of a
// browser.
type jar struct {
	mu     sync.Mutex
	newest answer
}

func (j *jar) get() answer {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.newest
}

// put keeps an answer, unless the jar has a newer one.
func (j *jar) put(a answer) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if a.refresh.Generation > j.newest.refresh.Generation {
		j.newest = a
	}
}

// good calls the API with a token that nobody has revoked.
func (s *storm) good(token string) {
	if a, _ := s.try("API, good token", func(n *node) answer { return n.me(s.t, token) }); a.status != http.StatusOK {
		s.violation("a good access token was answered with %d", a.status)
	}
}

// over records that a node has confirmed the end of a session.
func (s *storm) over(access string, a answer, node int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, endedSession{access, a.ended, node})
}

// user is a login that some clients share, like tabs that share a cookie. They redeem each
// refresh token at the same time.
func (s *storm) user(name string, clients int) {
	for s.ctx.Err() == nil {
		here := &jar{newest: s.login(name)}
		var before []string // the tokens that were redeemed, the latest one last
		for alive := true; alive && s.ctx.Err() == nil; {
			token := here.get().tokens.RefreshToken
			answers := make([]answer, clients)
			var all sync.WaitGroup
			for i := range answers {
				all.Go(func() { answers[i], _ = s.refreshIn("refresh", token, here) })
			}
			all.Wait()
			for _, a := range answers {
				if a.status != http.StatusOK {
					alive = false
					s.turnedAway(a)
				}
			}
			if alive {
				before = append(before, token)
				s.good(here.get().tokens.AccessToken)
				s.pause(80)
			}
			if s.ctx.Err() != nil && alive {
				s.last(here.get(), before)
			}
		}
	}
}

// loser is a client that does not get some answers, and comes back after a while: within the
// grace, within twice the grace, or later.
func (s *storm) loser(name string) {
	for s.ctx.Err() == nil {
		here := s.login(name)
		for alive := true; alive && s.ctx.Err() == nil; {
			for _, away := range []time.Duration{0, stormGrace / 2, stormGrace * 3 / 2, 5 * stormGrace / 2} {
				if away > 0 {
					s.count("a lost answer")
					s.refresh("refresh, answer lost", here.tokens.RefreshToken)
					s.rest(time.Duration(rand.Int64N(int64(away))))
				}
			}
			next, _ := s.refresh("refresh", here.tokens.RefreshToken)
			if alive = next.status == http.StatusOK; !alive {
				s.turnedAway(next)
				break
			}
			s.good(next.tokens.AccessToken)
			here = next
		}
	}
}

// turnedAway judges a client that was logged out although it did nothing wrong.
func (s *storm) turnedAway(a answer) {
	if a.status != http.StatusBadRequest {
		s.violation("a good refresh token was answered with %d", a.status)
		return
	}
	s.lost("a session", "a client that did nothing wrong was logged out")
}

// last checks a session after the storm: the session continues with one successor, and
// replaying an older token ends it.
func (s *storm) last(here answer, before []string) {
	next, _ := s.refresh("refresh", here.tokens.RefreshToken)
	if next.status != http.StatusOK {
		s.lost("a session", "after the storm a good refresh token was answered with %d", next.status)
		return
	}
	s.good(next.tokens.AccessToken)
	if len(before) == 0 {
		return
	}
	a, node := s.refresh("replay", before[len(before)-1])
	if a.status != http.StatusBadRequest {
		s.lost("a rotation", "after the storm the token before the last was answered with %d", a.status)
		return
	}
	s.over(next.tokens.AccessToken, a, node)
	if a, _ := s.refresh("refresh, session over", next.tokens.RefreshToken); a.status != http.StatusBadRequest {
		s.lost("a logout", "after a replay the session goes on: %d", a.status)
	}
}

// leaver logs in and out again and again.
func (s *storm) leaver(name string) {
	for s.ctx.Err() == nil {
		here := s.login(name)
		next, _ := s.refresh("refresh", here.tokens.RefreshToken)
		if next.status != http.StatusOK {
			s.turnedAway(next)
			continue
		}
		here = next
		s.pause(50)
		a, node := s.try("logout", func(n *node) answer { return n.post(s.t, "/logout", "token", here.tokens.RefreshToken) })
		if a.status != http.StatusNoContent {
			s.violation("a logout was answered with %d", a.status)
			continue
		}
		s.over(here.tokens.AccessToken, a, node)
		s.pause(50)
		if a, _ := s.refresh("refresh, session over", here.tokens.RefreshToken); a.status != http.StatusBadRequest {
			s.lost("a logout", "a refresh after the logout was answered with %d", a.status)
		}
		s.pause(50)
	}
}

// thief replays tokens that it stole from victim.
func (s *storm) thief(victim string) {
	for s.ctx.Err() == nil {
		stolen := s.login(victim)
		here, alive := stolen, true
		for range 2 {
			next, _ := s.refresh("refresh", here.tokens.RefreshToken)
			if alive = next.status == http.StatusOK; !alive {
				s.turnedAway(next)
				break
			}
			here = next
		}
		if !alive {
			continue
		}
		s.pause(50)
		a, node := s.refresh("replay", stolen.tokens.RefreshToken)
		if a.status != http.StatusBadRequest {
			s.lost("a rotation", "a stolen token was answered with %d", a.status)
			continue
		}
		s.over(here.tokens.AccessToken, a, node)
		if a, _ := s.refresh("refresh, session over", here.tokens.RefreshToken); a.status != http.StatusBadRequest {
			s.lost("a logout", "after a replay the session goes on: %d", a.status)
		}
		s.pause(50)
	}
}

// lateThief presents the token that its victim has redeemed last, after twice the grace. To the
// service, this looks as if the victim had lost the answer. The next token that the victim
// presents ends the session.
func (s *storm) lateThief(victim string) {
	for s.ctx.Err() == nil {
		stolen := s.login(victim)
		owner, _ := s.refresh("refresh", stolen.tokens.RefreshToken)
		if owner.status != http.StatusOK {
			s.turnedAway(owner)
			continue
		}
		s.rest(2*stormGrace + 200*time.Millisecond)
		if s.ctx.Err() != nil {
			return
		}
		thief, _ := s.refresh("refresh, by a thief", stolen.tokens.RefreshToken)
		if thief.status != http.StatusOK {
			s.turnedAway(thief)
			continue
		}
		a, node := s.refresh("replay", owner.tokens.RefreshToken)
		if a.status != http.StatusBadRequest {
			s.lost("a rotation", "a dead successor was answered with %d", a.status)
			continue
		}
		s.count("a theft that was found late")
		s.over(thief.tokens.AccessToken, a, node)
		if a, _ := s.refresh("refresh, session over", thief.tokens.RefreshToken); a.status != http.StatusBadRequest {
			s.lost("a logout", "after a theft the session goes on: %d", a.status)
		}
	}
}

// checker calls the API with the access tokens of ended sessions.
func (s *storm) checker() {
	for s.ctx.Err() == nil {
		s.pause(10)
		s.mu.Lock()
		n := len(s.ended)
		if n == 0 {
			s.mu.Unlock()
			continue
		}
		i := rand.IntN(n)
		if rand.IntN(2) == 0 {
			i = n - 1 - rand.IntN(min(n, 20))
		}
		e := s.ended[i]
		s.mu.Unlock()
		s.check(e, s.anyNode())
	}
}

// check calls one node with the access token of an ended session. The node that ended the
// session must refuse the token at once, the other one after maxLag.
func (s *storm) check(e endedSession, node int) {
	a := s.nodes[node].me(s.t, e.access)
	s.count(fmt.Sprintf("API, revoked token: %d", a.status))
	late := a.began.Sub(e.at)
	switch {
	case a.status == http.StatusUnauthorized, a.status == http.StatusServiceUnavailable:
	case a.status != http.StatusOK:
		s.violation("a revoked access token was answered with %d", a.status)
	case node == e.node:
		s.violation("a revoked access token was accepted by the node that revoked it")
	case late > maxLag:
		s.took("a revoked token, until it was refused", late)
		s.lost("a revocation, until it was sent again", "an access token was accepted %v after it was revoked", late)
	}
}
