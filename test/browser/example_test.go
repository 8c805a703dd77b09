package browser_test

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/test/browser/internal/exampleserver"
)

// buildExample builds examples/server, once for all tests.
var buildExample = sync.OnceValues(func() (string, error) {
	dir, err := newFolder()
	if err != nil {
		return "", err
	}
	return exampleserver.Build(context.Background(), dir)
})

// example is a running examples/server.
type example struct{ *exampleserver.Server }

// startExample starts examples/server, with a profile for its page.
func startExample(t *testing.T) (*example, *profile) {
	t.Helper()
	p := newProfile(t)
	program, err := buildExample()
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	server, err := exampleserver.Start(ctx, program)
	t.Cleanup(stop)
	require.NoError(t, err)
	t.Cleanup(func() {
		stop()
		server.Wait()
	})
	return &example{server}, p
}

// open opens the page in a new tab. Nobody is logged in.
func (e *example) open(p *profile) *tab {
	p.t.Helper()
	b := p.open(e.URL + "/")
	b.waitForText("#state", "Nobody is logged in.")
	return b
}

// logIn logs alice in.
func (e *example) logIn(b *tab) {
	b.t.Helper()
	b.sendExampleForm("alice", e.Passwords["alice"])
	b.waitForText("#state", "You have logged in.")
	b.waitForText("#user", "alice")
	b.waitForText("#devices", "(this one)")
}

func (b *tab) sendExampleForm(name, password string) {
	b.t.Helper()
	b.do(fmt.Sprintf(`{
		const form = document.getElementById("login");
		form.username.value = %q; form.password.value = %q;
		form.requestSubmit();
	}`, name, password))
}

// text returns the text of an element, or "" if the page does not show the element.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf(`((e) => (e?.checkVisibility() ? e.innerText : ""))(document.querySelector(%q))`, selector))
}

// waitForText waits until the visible text of an element contains the given one.
func (b *tab) waitForText(selector, text string) {
	b.t.Helper()
	eventually(b.t, selector+" shows "+text, func() bool { return strings.Contains(b.text(selector), text) })
}

// press presses a button of the page, and waits until its work is done.
func (b *tab) press(selector string) {
	b.t.Helper()
	b.do(fmt.Sprintf(`document.querySelector(%q).click()`, selector))
	eventually(b.t, selector+" is done", func() bool {
		return eval[bool](b, fmt.Sprintf(`!document.querySelector('%s[aria-disabled="true"]')`, selector))
	})
}

func TestThePageOfTheExampleShowsWhatHappens(t *testing.T) {
	t.Parallel()
	e, p := startExample(t)
	b := e.open(p)
	b.sendExampleForm("alice", "a guess")
	b.waitForText("#login-error", "wrong")
	require.Empty(t, b.text("#in"))
	e.logIn(b)
	require.Empty(t, b.text("#out"))
	b.press("#call")
	b.waitForText("#timeline", "The API knows you: alice")
	b.press("#order")
	b.waitForText("#timeline", "Ordered.")

	refreshes := func() int {
		return strings.Count(b.text("#timeline"), "The access token was refreshed.")
	}
	for _, id := range []string{"#refresh", "#lose", "#down"} {
		before := refreshes()
		began := time.Now()
		b.press(id)
		eventually(t, "the page has refreshed", func() bool { return refreshes() > before })
		t.Logf("%s: refreshed after %v", id, time.Since(began).Round(10*time.Millisecond))
		b.waitForText("#state", "The access token was refreshed.")
	}
	require.Contains(t, b.text("#timeline"), "The server gives no answer. Nothing is lost")

	b.press("#copy")
	b.press("#twice")
	b.press("#steal")
	b.waitForText("#timeline", "The thief has used the copy: it was refused.")
	b.waitForText("#state", "Your session has ended.")
	b.waitForText("#out", "Log in")
	require.Empty(t, b.text("#in"))
}

func TestThePageOfTheExampleEndsSessionsOfDevices(t *testing.T) {
	t.Parallel()
	e, p := startExample(t)
	one, two := e.open(p), e.open(newProfile(t))
	e.logIn(one)
	e.logIn(two)
	one.press("#refresh")
	one.waitForText("#devices button", "End")
	require.Equal(t, 2, eval[int](one, `document.querySelectorAll("#devices li").length`))
	one.do(`document.querySelector("#devices button").click()`)
	one.waitForText("#timeline", "The session of that device has ended.")
	eventually(t, "the list is short", func() bool { return eval[int](one, `document.querySelectorAll("#devices li").length`) == 1 })
	two.press("#call")
	two.waitForText("#state", "Your session has ended.")

	e.logIn(two)
	two.press("#others")
	one.press("#call")
	one.waitForText("#state", "Your session has ended.")

	e.logIn(one)
	one.press("#all")
	one.waitForText("#state", "Your session has ended.")
	two.press("#call")
	two.waitForText("#state", "Your session has ended.")

	e.logIn(two)
	two.press("#logout")
	two.waitForText("#state", "You have logged out.")
}

//go:embed node/package.json node/package-lock.json
var nodeFiles embed.FS

// axe returns the script of axe-core, which finds faults that make a page hard to use for people with
// disabilities. It is installed once for all tests.
var axe = sync.OnceValues(func() (string, error) {
	dir, err := newFolder()
	if err != nil {
		return "", err
	}
	if err := os.CopyFS(dir, nodeFiles); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir, install.WaitDelay = filepath.Join(dir, "node"), 5*time.Second
	if said, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w: %s", err, said)
	}
	script, err := os.ReadFile(filepath.Join(dir, "node", "node_modules", "axe-core", "axe.min.js"))
	return string(script), err
})

// violation is a fault that axe-core has found.
type violation struct {
	ID     string   `json:"id"`
	Impact string   `json:"impact"`
	Help   string   `json:"help"`
	Nodes  []string `json:"nodes"` // selectors of elements
}

func TestThePageOfTheExampleIsAccessible(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("npm"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI is set, so this test must not be skipped: %v", err)
		}
		t.Skipf("SKIPPED: npm is not installed: %v", err)
	}
	e, p := startExample(t)
	script, err := axe()
	require.NoError(t, err)
	b := e.open(p)
	b.do(script + "; 0")
	check := func(page string) {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{1280, 360} {
				what := fmt.Sprintf("%s, %s, %d px", page, scheme, width)
				require.NoError(t, chromedp.Do(b.ctx, chromedp.EmulateViewport(width, 800)))
				_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
				})
				require.NoError(t, err)
				require.True(t, eval[bool](b, fmt.Sprintf(`matchMedia("(prefers-color-scheme: %s)").matches && innerWidth === %d`, scheme, width)), what)
				require.True(t, eval[bool](b, `document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth`), "%s scrolls sideways", what)
				var found []violation
				require.NoError(t, json.Unmarshal([]byte(eval[string](b, `axe.run().then(({ violations, passes }) => {
					if (!passes.some(({ id }) => id === "color-contrast")) throw new Error("axe has not looked at the colors");
					return JSON.stringify(violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, nodes: nodes.map((n) => n.target.join(" ")) })));
				})`)), &found))
				for _, v := range found {
					t.Logf("%s: %s, %s: %s: %q", what, v.ID, v.Impact, v.Help, v.Nodes)
					if v.Impact == "serious" || v.Impact == "critical" {
						t.Errorf("%s: %s", what, v.ID)
					}
				}
			}
		}
	}
	check("logged out")
	b.sendExampleForm("alice", "a guess")
	b.waitForText("#login-error", "wrong")
	check("wrong password")
	e.logIn(b)
	e.logIn(e.open(newProfile(t))) // a device with a button
	b.press("#refresh")
	b.waitForText("#devices button", "End")
	check("logged in")
}
