package browser_test

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// pressKeys presses keys in the element that has the focus.
func (b *tab) pressKeys(keys string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, chromedp.KeyEvent(keys)))
}

// focused returns the id of the element that has the focus, or else its name or text.
func (b *tab) focused() string {
	b.t.Helper()
	return eval[string](b, `(({ id, name, innerText }) => id || name || innerText)(document.activeElement)`)
}

// tabTo presses Tab until the element with an id has the focus. It returns what had the focus on the way.
func (b *tab) tabTo(id string) (way []string) {
	b.t.Helper()
	for range 40 {
		b.pressKeys(kb.Tab)
		way = append(way, b.focused())
		if b.focused() == id {
			return way
		}
	}
	require.FailNow(b.t, "the key Tab does not lead there", "%s: %q", id, way)
	return nil
}

func TestThePageOfTheExampleWorksWithTheKeyboard(t *testing.T) {
	t.Parallel()
	e, p := startExample(t)
	b := e.open(p)
	_, err := chromedp.Call(b.ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	require.NoError(t, err)
	b.tabTo("username")
	b.pressKeys("alice")
	b.tabTo("password")
	b.pressKeys(e.Passwords["alice"] + kb.Enter)
	b.waitForText("#state", "You have logged in.")
	b.waitForText("#devices", "(this one)")
	require.Equal(t, "you-title", b.focused(), "the form is gone, so the focus goes to what replaces it")
	require.Equal(t, []string{
		"call", "order", "refresh", "Open a second tab", "logout", "lose", "down", "copy", "twice", "steal", "others", "all", "timeline",
	}, b.tabTo("timeline"))

	b.do(`document.getElementById("you-title").focus()`)
	b.tabTo("call")
	for n := 1; n <= 2; n++ { // the button keeps the focus
		b.pressKeys(kb.Enter)
		eventually(t, "the API was called", func() bool { return strings.Count(b.text("#timeline"), "The API knows you") == n })
		require.Equal(t, "call", b.focused())
	}

	two := e.open(newProfile(t))
	e.logIn(two)
	b.tabTo("refresh")
	b.pressKeys(kb.Enter)
	b.waitForText("#devices button", "End")
	b.tabTo("End")
	b.press("#refresh")
	b.waitForText("#devices button", "End")
	require.Equal(t, "End", b.focused(), "a refresh in the background does not move the focus")
	b.pressKeys(kb.Enter)
	b.waitForText("#timeline", "The session of that device has ended.")
	eventually(t, "the focus goes to the title of the list", func() bool { return b.focused() == "devices-title" })
	b.tabTo("all")
	b.pressKeys(kb.Enter)
	b.waitForText("#state", "Your session has ended.")
	require.Equal(t, "login-title", b.focused())
}
