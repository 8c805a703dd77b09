package browser_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestALateAnswerDoesNotReplaceTheLoginOfAnotherUser(t *testing.T) {
	t.Parallel()
	for path, statuses := range map[string][]int{"/auth/refresh": {200, 400}, "/auth/logout": {204, 204}} {
		for i, status := range statuses {
			isAnswer := i == 0
			t.Run(fmt.Sprintf("%s, handled before the login: %v", path, isAnswer), func(t *testing.T) {
				s := newSite(t, pageOptions())
				p := newProfile(t)
				alice, bob := p.newTab(), p.newTab()
				alice.logIn(s.url(""), "alice")
				late := s.hold(path, isAnswer)
				alice.startFetch(path, scriptPost)
				s.wait(late.arrived)
				bob.logIn(s.url(""), "bob")
				late.release()
				require.Equal(t, status, alice.started())
				s.requireUser(bob, "bob")
				s.requireUser(alice, "bob")
				bob.logIn(s.url(""), "carol")
				require.Len(t, p.tokenCookies(app), 2, "a login removes what late answers have left")
				s.requireUser(alice, "carol")
				s.requireNoTheft()
			})
		}
	}
}

func TestALateLogoutByFormLeavesTheLoginOfAnotherUser(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	p := newProfile(t)
	alice, bob := p.newTab(), p.newTab()
	alice.logIn(s.url(""), "alice")
	late := s.holdAnswer("/auth/logout")
	alice.do(`setTimeout(() => document.forms[0].requestSubmit())`)
	s.wait(late.arrived)
	bob.logIn(s.url(""), "bob")
	late.release()
	alice.waitFor("/login", "Log in")
	s.requireUser(alice, "bob")
	s.requireUser(bob, "bob")
}

func TestALateRefreshAfterALogoutLogsNobodyIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	p := newProfile(t)
	b, other := p.newTab(), p.newTab()
	b.logIn(s.url(""), "alice")
	late := s.holdAnswer("/auth/refresh")
	b.startFetch("/auth/refresh", scriptPost)
	s.wait(late.arrived)
	other.load(s.url("/me"))
	require.Equal(t, 204, other.post("/auth/logout").Status)
	late.release()
	require.Equal(t, 200, b.started())
	b.load(s.url("/me"))
	b.waitFor("/login?return=%2Fme", "Log in")
	require.Equal(t, "invalid_grant", s.refreshedUser(b))
}

func TestOfTwoLoginsTheLastAnswerWins(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	p := newProfile(t)
	one, two := p.open(s.url("/login")), p.open(s.url("/login"))
	late := s.holdAnswer("/auth/login")
	one.startFetch("/auth/login", fetchLogin("alice"))
	s.wait(late.arrived)
	two.logIn(s.url(""), "bob")
	s.requireUser(two, "bob")
	late.release()
	require.Equal(t, 200, one.started())
	s.requireUser(one, "alice")
	s.requireUser(two, "alice")
}

func TestTwoLoginsAtTheSameTimeAreNeverMixed(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	p := newProfile(t)
	one, two := p.open(s.url("/login")), p.open(s.url("/login"))
	for range 5 {
		one.startFetch("/auth/login", fetchLogin("alice"))
		two.startFetch("/auth/login", fetchLogin("bob"))
		require.Equal(t, 200, one.started())
		require.Equal(t, 200, two.started())
		user := s.refreshedUser(one)
		require.Contains(t, []string{"alice", "bob"}, user)
		s.requireUser(one, user)
		s.requireUser(two, user)
	}
	two.logIn(s.url(""), "carol")
	require.Len(t, p.tokenCookies(app), 2)
	for _, name := range []string{"alice", "bob"} {
		sessions, _, err := s.Issuer.Sessions(t.Context(), name, "")
		require.NoError(t, err)
		require.Empty(t, sessions, "a login ends the sessions of all cookies")
	}
	s.requireNoTheft()
}

// The script of the page resume refreshes with keepalive: the browser takes the answer although
// the tab is gone.
func TestATabThatIsClosedDuringARefreshLosesNothing(t *testing.T) {
	t.Parallel()
	for _, isAnswer := range []bool{true, false} {
		t.Run(fmt.Sprint("handled before the tab is closed: ", isAnswer), func(t *testing.T) {
			s := newSite(t, pageOptions())
			p := newProfile(t)
			other := p.newTab()
			other.logIn(s.url(""), "alice")
			before := p.tokenCookies(app)
			s.Clock.Advance(16 * time.Minute)
			held := s.hold("/auth/refresh", isAnswer)
			b := p.open(s.url("/me"))
			s.wait(held.arrived)
			b.shut()
			s.requireKept(held)
			held.release()
			s.wait(held.answered)
			eventually(t, "the browser has kept the new tokens", func() bool {
				now := p.tokenCookies(app)
				for name, value := range before {
					if now[name] == "" || now[name] == value {
						return false
					}
				}
				return true
			})
			s.visited("")
			s.requireUser(other, "alice")
			require.Len(t, s.visited("/auth/refresh"), 2, "the page did not need a refresh")
			s.requireNoTheft()
		})
	}
}

func TestALostAnswerLogsNobodyOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	p := newProfile(t)
	b := p.newTab()
	b.logIn(s.url(""), "alice")
	before := p.tokenCookies(app)
	s.Clock.Advance(16 * time.Minute)
	s.loseAnswer("/auth/refresh")
	b.load(s.url("/me"))
	b.waitFor("/me", "user alice")
	require.NotEqual(t, before, p.tokenCookies(app))
	require.Len(t, s.visited("/auth/refresh"), 2)
	s.requireUser(b, "alice")
	s.requireNoTheft()
}

func TestTabsThatResumeAtTheSameTimeAreAllLoggedIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, pageOptions())
	p := newProfile(t)
	tabs := []*tab{p.newTab(), p.newTab(), p.newTab()}
	tabs[0].logIn(s.url(""), "alice")
	s.Clock.Advance(16 * time.Minute)
	late := s.holdAnswer("/auth/refresh")
	for i, b := range tabs {
		b.load(s.url(fmt.Sprint("/me?tab=", i)))
	}
	s.wait(late.arrived)
	late.release()
	for i, b := range tabs {
		b.waitFor(fmt.Sprint("/me?tab=", i), "user alice")
	}
	s.requireUser(tabs[0], "alice")
	s.requireNoTheft()
}
