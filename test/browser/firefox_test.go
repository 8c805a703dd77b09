package browser_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/stretchr/testify/require"
)

// inBrowsers runs a test in each browser. In Firefox, which is slower, a test may leave out cases.
func inBrowsers(t *testing.T, test func(t *testing.T, newProfile func(*testing.T) *profile, isFirefox bool)) {
	t.Parallel()
	t.Run("Chromium", func(t *testing.T) {
		t.Parallel()
		test(t, newProfile, false)
	})
	t.Run("Firefox", func(t *testing.T) {
		t.Parallel()
		test(t, newFirefoxProfile, true)
	})
}

// firefox is a running Firefox. It speaks WebDriver BiDi (https://w3c.github.io/webdriver-bidi/).
type firefox struct {
	connection *websocket.Conn

	mu      sync.Mutex // guards the following fields
	last    int        // the id of the last command
	waiting map[int]chan bidiMessage
}

// bidiMessage is the answer to a command, or an event, which has no id.
type bidiMessage struct {
	ID      int
	Error   string
	Message string
	Result  json.RawMessage
}

// stopFirefox stops the browser that the tests share. It does nothing if there is none.
var stopFirefox = func() {}

// sharedFirefox starts the browser that the tests share.
var sharedFirefox = sync.OnceValues(func() (*firefox, error) {
	program, err := exec.LookPath("firefox-esr")
	if err != nil {
		program, err = exec.LookPath("firefox")
	}
	if err != nil {
		return nil, fmt.Errorf("firefox is not installed (Debian: apt-get install firefox-esr): %w", err)
	}
	dir, err := newFolder()
	if err != nil {
		return nil, err
	}
	// All hosts are this one.
	if err := os.WriteFile(filepath.Join(dir, "user.js"), []byte(`user_pref("network.dns.forceResolve", "127.0.0.1");`), 0o600); err != nil {
		return nil, err
	}
	c := exec.Command(program, "--headless", "--no-remote", "--profile", dir, "--remote-debugging-port", "0")
	c.Env = append(os.Environ(), "HOME="+dir)
	c.WaitDelay = 5 * time.Second
	said, err := c.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	f := &firefox{waiting: make(map[int]chan bidiMessage)}
	stopFirefox = func() {
		if f.connection != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = f.call(ctx, "browser.close", struct{}{}, nil) // if it fails, Kill ends the browser
			_ = f.connection.CloseNow()
		}
		end := time.AfterFunc(5*time.Second, func() { _ = c.Process.Kill() })
		defer end.Stop()
		_ = c.Wait() // the browser has ended, also if it says that it was killed
	}
	address := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if _, url, ok := strings.Cut(lines.Text(), "WebDriver BiDi listening on "); ok {
				address <- url
			}
		}
		close(address)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	select {
	case url := <-address: // empty if Firefox has ended
		f.connection, _, err = websocket.Dial(ctx, url+"/session", nil)
	case <-ctx.Done():
		err = errors.New("firefox did not start within a minute")
	}
	if err != nil {
		return nil, err
	}
	f.connection.SetReadLimit(16 << 20)
	go f.read()
	return f, f.call(ctx, "session.new", map[string]any{
		"capabilities": map[string]any{"alwaysMatch": map[string]any{"acceptInsecureCerts": true}},
	}, nil)
})

// read passes answers on, until the connection ends.
func (f *firefox) read() {
	for {
		var m bidiMessage
		err := wsjson.Read(context.Background(), f.connection, &m)
		f.mu.Lock()
		if err != nil {
			for _, answer := range f.waiting {
				answer <- bidiMessage{Error: "connection", Message: err.Error()}
			}
			clear(f.waiting)
			f.mu.Unlock()
			return
		}
		if answer, ok := f.waiting[m.ID]; ok {
			answer <- m
			delete(f.waiting, m.ID)
		}
		f.mu.Unlock()
	}
}

// call sends a command, and waits for its result.
func (f *firefox) call(ctx context.Context, method string, params, result any) error {
	answer := make(chan bidiMessage, 1)
	f.mu.Lock()
	f.last++
	id := f.last
	f.waiting[id] = answer
	f.mu.Unlock()
	if err := wsjson.Write(ctx, f.connection, map[string]any{"id": id, "method": method, "params": params}); err != nil {
		return err
	}
	select {
	case m := <-answer:
		if m.Error != "" {
			return fmt.Errorf("%s: %s: %s", method, m.Error, m.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(m.Result, result)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

// newFirefoxProfile is newProfile in Firefox.
func newFirefoxProfile(t *testing.T) *profile {
	t.Helper()
	f, err := sharedFirefox()
	if errors.Is(err, exec.ErrNotFound) {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI is set, so this test must not be skipped: %v", err)
		}
		t.Skipf("SKIPPED: %v", err)
	}
	require.NoError(t, err)
	var made struct {
		UserContext string `json:"userContext"`
	}
	require.NoError(t, f.call(t.Context(), "browser.createUserContext", struct{}{}, &made))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, f.call(ctx, "browser.removeUserContext", made, nil))
	})
	return &profile{t: t, firefox: &firefoxProfile{f, made.UserContext}}
}

// firefoxProfile is a container of Firefox, which has cookies of its own.
type firefoxProfile struct {
	*firefox
	userContext string
}

// newTab opens a tab in a window of its own: Firefox shows only one tab of a window.
func (p *firefoxProfile) newTab(ctx context.Context) (*firefoxTab, error) {
	b := &firefoxTab{firefox: p.firefox}
	var made struct{ Context string }
	err := p.call(ctx, "browsingContext.create", map[string]any{"type": "window", "userContext": p.userContext}, &made)
	b.id = made.Context
	return b, err
}

// cookies returns all cookies. Only their names, values and hosts are set.
func (p *firefoxProfile) cookies(ctx context.Context) (all []*network.Cookie, err error) {
	var got struct {
		Cookies []struct {
			Name, Domain string
			Value        struct{ Value string }
		}
	}
	err = p.call(ctx, "storage.getCookies", map[string]any{"partition": map[string]any{"type": "storageKey", "userContext": p.userContext}}, &got)
	for _, c := range got.Cookies {
		all = append(all, &network.Cookie{Name: c.Name, Value: c.Value.Value, Domain: c.Domain})
	}
	return all, err
}

// firefoxTab is a tab of Firefox.
type firefoxTab struct {
	*firefox
	id string
}

func (b *firefoxTab) load(ctx context.Context, url string) error {
	return b.call(ctx, "browsingContext.navigate", map[string]any{"context": b.id, "url": url, "wait": "complete"}, nil)
}

func (b *firefoxTab) close(ctx context.Context) error {
	return b.call(ctx, "browsingContext.close", map[string]any{"context": b.id}, nil)
}

// eval runs a script. It stores its value, and waits for a promise.
func (b *firefoxTab) eval(ctx context.Context, script string, value any) error {
	var got struct {
		Result           remoteValue
		ExceptionDetails struct{ Text string }
	}
	err := b.call(ctx, "script.evaluate", map[string]any{
		"expression": script, "target": map[string]any{"context": b.id}, "awaitPromise": true, "userActivation": true,
	}, &got)
	if err != nil {
		return err
	}
	if text := got.ExceptionDetails.Text; text != "" {
		return errors.New(text)
	}
	plain, err := json.Marshal(got.Result.plain())
	if err != nil {
		return err
	}
	return json.Unmarshal(plain, value)
}

// remoteValue is a value of a script, as WebDriver BiDi writes it.
type remoteValue struct {
	Type  string
	Value json.RawMessage
}

// plain returns the value as package json would decode it. It is nil for what has no JSON.
func (v remoteValue) plain() (value any) {
	switch v.Type {
	case "string", "number", "boolean":
		_ = json.Unmarshal(v.Value, &value) // the browser has made it
	case "array":
		var elements []remoteValue
		_ = json.Unmarshal(v.Value, &elements)
		list := make([]any, 0, len(elements))
		for _, e := range elements {
			list = append(list, e.plain())
		}
		return list
	case "object":
		var members [][2]json.RawMessage
		_ = json.Unmarshal(v.Value, &members)
		object := make(map[string]any, len(members))
		for _, m := range members {
			var name string
			var member remoteValue
			_, _ = json.Unmarshal(m[0], &name), json.Unmarshal(m[1], &member)
			object[name] = member.plain()
		}
		return object
	}
	return value
}
