package browser_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// patience bounds each wait for the browser.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	stopChromium()
	stopFirefox()
	for _, dir := range folders {
		_ = os.RemoveAll(dir) // if this fails, the folder stays where temporary files are
	}
	os.Exit(code)
}

// folders are the folders of newFolder, which TestMain removes.
var folders []string

var foldersMu sync.Mutex // guards folders

// newFolder makes a temporary folder for all tests.
func newFolder() (string, error) {
	dir, err := os.MkdirTemp("", "jwtauth-browser")
	foldersMu.Lock()
	defer foldersMu.Unlock()
	folders = append(folders, dir)
	return dir, err
}

// stopChromium stops the browser that the tests share. It does nothing if there is none.
var stopChromium = func() {}

// chromium starts the browser that the tests share, and returns its context.
var chromium = sync.OnceValues(func() (context.Context, error) {
	program, err := findChromium()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "jwtauth-browser")
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.UserDataDir(dir), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		// All hosts are this one. Only the certificate of the test is accepted for them.
		chromedp.Flag("host-resolver-rules", "MAP * 127.0.0.1"),
		chromedp.Flag("ignore-certificate-errors-spki-list", keyHash()),
	)
	ctx, stopProgram := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ = chromedp.NewContext(ctx)
	stopChromium = func() {
		stopProgram()
		chromedp.FromContext(ctx).Allocator.Wait()
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	return ctx, chromedp.Do(ctx)
})

// findChromium returns the path of the browser.
func findChromium() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("chromium is not installed (Debian: apt-get install chromium): %w", exec.ErrNotFound)
}

// keyHash returns the hash of the public key of the servers of package httptest, in the form
// that Chromium wants.
func keyHash() string {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	sum := sha256.Sum256(server.Certificate().RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// profile is a browser with cookies of its own.
type profile struct {
	t       *testing.T
	id      cdp.BrowserContextID
	firefox *firefoxProfile // nil in Chromium
}

// newProfile makes a profile without cookies. If the browser is missing, it skips the test, or
// fails it if CI is set.
func newProfile(t *testing.T) *profile {
	t.Helper()
	ctx, err := chromium()
	if errors.Is(err, exec.ErrNotFound) {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI is set, so this test must not be skipped: %v", err)
		}
		t.Skipf("SKIPPED: %v", err)
	}
	require.NoError(t, err)
	made, err := chromedp.CallBrowser(ctx, target.CreateBrowserContext, target.CreateBrowserContextParams{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := chromedp.CallBrowser(ctx, target.DisposeBrowserContext, target.DisposeBrowserContextParams(made))
		require.NoError(t, err)
	})
	return &profile{t: t, id: made.BrowserContextID}
}

// cookies returns the cookies of the profile for a host, by name.
func (p *profile) cookies(host string) map[string]*network.Cookie {
	p.t.Helper()
	var found []*network.Cookie
	if p.firefox != nil {
		var err error
		found, err = p.firefox.cookies(p.t.Context())
		require.NoError(p.t, err)
	} else {
		ctx, err := chromium()
		require.NoError(p.t, err)
		got, err := chromedp.CallBrowser(ctx, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: p.id})
		require.NoError(p.t, err)
		found = got.Cookies
	}
	all := make(map[string]*network.Cookie)
	for _, c := range found {
		if c.Domain == host {
			all[c.Name] = c
		}
	}
	return all
}

// tokenCookies returns the values of the cookies that have a token, by name.
func (p *profile) tokenCookies(host string) map[string]string {
	p.t.Helper()
	values := make(map[string]string)
	for name, c := range p.cookies(host) {
		if strings.HasPrefix(c.Value, "eyJ") {
			values[name] = c.Value
		}
	}
	return values
}

// tab is a tab of a profile.
type tab struct {
	*profile
	ctx     context.Context
	close   func()
	firefox *firefoxTab // nil in Chromium
}

// newTab opens an empty tab.
func (p *profile) newTab() *tab {
	p.t.Helper()
	if p.firefox != nil {
		made, err := p.firefox.newTab(p.t.Context())
		require.NoError(p.t, err)
		b := &tab{profile: p, ctx: p.t.Context(), firefox: made}
		b.close = func() { require.NoError(p.t, made.close(b.ctx)) }
		return b
	}
	browser, err := chromium()
	require.NoError(p.t, err)
	ctx, closeTab := chromedp.NewContext(browser, chromedp.WithExistingBrowserContext(p.id))
	require.NoError(p.t, chromedp.Do(ctx))
	p.t.Cleanup(closeTab)
	return &tab{profile: p, ctx: ctx, close: closeTab}
}

// shut closes the tab, as a user does.
func (b *tab) shut() {
	b.t.Helper()
	if b.firefox != nil {
		require.NoError(b.t, b.firefox.close(b.ctx))
		return
	}
	require.NoError(b.t, chromedp.Cancel(b.ctx))
}

// open loads a URL in a new tab, and waits until the page is loaded.
func (p *profile) open(url string) *tab {
	p.t.Helper()
	b := p.newTab()
	b.load(url)
	return b
}

// load loads a URL, and waits until the page is loaded.
func (b *tab) load(url string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if b.firefox != nil {
		require.NoError(b.t, b.firefox.load(ctx, url), "%.100s", url)
		return
	}
	err := chromedp.Do(ctx, chromedp.Navigate(url))
	for err != nil && strings.Contains(err.Error(), "ERR_ABORTED") { // by the page that the tab was loading
		err = chromedp.Do(ctx, chromedp.Navigate(url))
	}
	require.NoError(b.t, err, "%.100s", url)
}

// eval runs a script in the page, and returns its value. It waits for a promise.
func eval[T any](b *tab, script string) T {
	b.t.Helper()
	value, err := tryEval[T](b, script)
	require.NoError(b.t, err, script)
	return value
}

// tryEval is eval for a page that may go away while the script runs.
func tryEval[T any](b *tab, script string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if b.firefox == nil {
		return chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	}
	var value T
	if _, isVoid := any(value).(chromedp.Void); isVoid {
		return value, b.firefox.eval(ctx, script, new(any))
	}
	err := b.firefox.eval(ctx, script, &value)
	return value, err
}

// do runs a script in the page.
func (b *tab) do(script string) {
	b.t.Helper()
	eval[chromedp.Void](b, script)
}

// waitFor waits until the tab shows a page of this path, with the query, whose text contains the
// given one.
func (b *tab) waitFor(path, text string) {
	b.t.Helper()
	shown := "no page"
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		got, err := tryEval[[]string](b, `[location.pathname + location.search, document.body.innerText, document.readyState]`)
		if err != nil {
			continue // the next page is being loaded
		}
		if got[0] == path && strings.Contains(got[1], text) && got[2] == "complete" {
			return
		}
		shown = fmt.Sprintf("%s %q", got[0], got[1])
	}
	require.FailNow(b.t, "the page did not come", "%s %q is expected, shown is %s", path, text, shown)
}

// answer is the answer to a request of a script. Status is 0 if the script gets no answer, and
// if it may not read it.
type answer struct {
	Status int
	Body   string
}

// fetch sends a request with a script of the page. options are those of the function fetch of
// JavaScript.
func (b *tab) fetch(path, options string) answer {
	b.t.Helper()
	return eval[answer](b, fmt.Sprintf(`fetch(%q, %s).then(async (a) => ({Status: a.status, Body: await a.text()}), (e) => ({Status: 0, Body: String(e)}))`, path, options))
}

// post sends a POST request of a script of the site, without a body.
func (b *tab) post(path string) answer {
	b.t.Helper()
	return b.fetch(path, scriptPost)
}

// scriptPost is the second parameter of fetch for a POST request of a script of the site.
const scriptPost = `{method: "POST", headers: {"X-CSRF": "fetch"}}`

// startFetch sends a request with a script of the page, and does not wait for the answer.
func (b *tab) startFetch(path, options string) {
	b.t.Helper()
	b.do(fmt.Sprintf(`window.started = fetch(%q, %s).then((a) => a.status); 0`, path, options))
}

// started waits for the answer to the request of startFetch, and returns its status.
func (b *tab) started() int {
	b.t.Helper()
	return eval[int](b, `window.started`)
}

// history returns the URLs that the buttons Back and Forward lead to.
func (b *tab) history() (urls []string) {
	b.t.Helper()
	got, err := chromedp.Call(b.ctx, page.GetNavigationHistory, cdp.Empty{})
	require.NoError(b.t, err)
	for _, entry := range got.Entries {
		urls = append(urls, entry.URL)
	}
	return urls
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, patience, 10*time.Millisecond, what)
}
