package browser_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// turns are the ways in which tabs find out about refreshes of other tabs. The browser lacks the
// features in query.
var turns = []struct {
	name, query string
	inFirefox   bool
}{
	{"locks and channel", "", true},
	{"channel, no locks", "?without=locks", false},
	{"only channel", "?without=locks&without=storage", false},
	{"neither", "?without=locks&without=channel", true},
}

// The server holds back an answer while other tabs refresh several times. If the answer could still
// set its cookie, the next refresh would present a token that several later ones have replaced: theft.
func TestALateAnswerToARefreshBringsNoOlderTokenBack(t *testing.T) {
	inBrowsers(t, func(t *testing.T, newProfile func(*testing.T) *profile, isFirefox bool) {
		for _, k := range turns {
			if isFirefox && !k.inFirefox {
				continue
			}
			t.Run(k.name, func(t *testing.T) {
				t.Parallel()
				s := newModuleSite(t)
				p := newProfile(t)
				tabs := s.openTabs(p, k.query, "alice", 3)
				late := s.holdAnswer("/auth/refresh")
				tabs[0].startRefresh()
				s.wait(late.arrived)
				for _, i := range []int{1, 2, 1, 2} {
					tabs[i].startRefresh()
					require.Equal(t, "done", tabs[i].refreshed())
				}
				late.release()
				s.wait(late.answered)
				tabs[0].refreshed()
				require.Len(t, late.cookies, 1)
				assert.NotEqual(t, late.cookies[0].Value, p.tokenCookies(app)[late.cookies[0].Name], "the late answer has set its cookie")
				for _, b := range tabs {
					eventually(t, "the tab has refreshed", func() bool { // a tab that has given up waits for a moment
						b.startRefresh()
						got := b.refreshed()
						require.NotEqual(t, "out", got)
						return got == "done"
					})
				}
				require.Equal(t, "alice", s.openApp(p, "/app").user())
				s.requireNoTheft()
			})
		}
	})
}

// The tab does not wait for its own time-out.
func TestATabWhoseRefreshHangsTakesTheTokenOfAnotherTab(t *testing.T) {
	t.Parallel()
	s := newModuleSite(t)
	tabs := s.openTabs(newProfile(t), "?without=locks&without=storage", "alice", 2)
	late := s.holdAnswer("/auth/refresh")
	tabs[0].startRefresh()
	s.wait(late.arrived)
	tabs[1].startRefresh()
	require.Equal(t, "done", tabs[1].refreshed())
	require.Equal(t, "done", tabs[0].refreshed())
	s.wait(late.givenUp)
	require.Equal(t, "other-tab", tabs[0].lastChange().Reason)
	for _, b := range tabs {
		for _, c := range b.changes() {
			require.NotEqual(t, "unavailable", c.Reason)
		}
	}
	require.Equal(t, eval[string](tabs[1], `auth.token()`), eval[string](tabs[0], `auth.token()`))
	s.requireNoTheft()
}
