// Package programtest runs a login server in a test and sends requests to it.
package programtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Run runs a command until ctx ends, and returns its exit code.
type Run func(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int

// Output collects what a program writes.
type Output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed by the next Write
}

// NewOutput returns an empty Output.
func NewOutput() *Output { return &Output{changed: make(chan struct{})} }

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

// String returns everything written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Await waits until the output contains text. It fails the test if ended is closed
// before that.
func (o *Output) Await(t testing.TB, text string, ended <-chan struct{}) {
	t.Helper()
	for {
		o.mu.Lock()
		found, changed := strings.Contains(o.text.String(), text), o.changed
		o.mu.Unlock()
		if found {
			return
		}
		select {
		case <-changed:
		case <-ended:
			require.Contains(t, o.String(), text)
			return
		case <-t.Context().Done():
			t.Fatalf("%q did not come", text)
		}
	}
}

// Program is a command that runs in the process of the test.
type Program struct {
	Base        string // the URL of the server
	Stdout, Log *Output
	Client      *http.Client

	t      testing.TB
	cancel context.CancelFunc
	ended  chan struct{}
	code   int
}

// Start runs a command on a free port of the loopback interface, and waits until it
// serves. The end of the test stops the command.
func Start(t testing.TB, run Run, env map[string]string, args ...string) *Program {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &Program{
		t: t, Stdout: NewOutput(), Log: NewOutput(), cancel: cancel, ended: make(chan struct{}),
		Client: &http.Client{Transport: &http.Transport{Proxy: nil}},
	}
	go func() {
		defer close(p.ended)
		p.code = run(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), func(name string) string { return env[name] }, p.Stdout, p.Log)
	}()
	t.Cleanup(func() { p.Stop() })
	p.AwaitLog("serving") // the last line of the start: standard output is complete
	p.Base = regexp.MustCompile(`https?://[^ ]+:\d+`).FindString(p.Stdout.String())
	return p
}

// Issuer is the issuer of the programs that StartWithKeys starts.
const Issuer = "https://i.test"

// StartWithKeys starts a command with a directory of keys. All such programs have
// the same issuer.
func StartWithKeys(t testing.TB, run Run, dir string, args ...string) *Program {
	t.Helper()
	return Start(t, run, nil, append([]string{"-key", dir, "-issuer", Issuer, "-log", "json"}, args...)...)
}

// BeginStop tells the program to stop, and does not wait.
func (p *Program) BeginStop() { p.cancel() }

// Wait waits until the program has ended, and returns its exit code.
func (p *Program) Wait() int {
	<-p.ended
	return p.code
}

// Stop ends the program and returns its exit code.
func (p *Program) Stop() int {
	p.Client.CloseIdleConnections()
	p.BeginStop()
	return p.Wait()
}

// AwaitLog waits until the log contains text.
func (p *Program) AwaitLog(text string) {
	p.t.Helper()
	p.Log.Await(p.t, text, p.ended)
}

// Password returns the password that the program has printed for a demo user.
func (p *Program) Password(user string) string {
	p.t.Helper()
	found := regexp.MustCompile(user + ` +([A-Z2-7]{26}) `).FindStringSubmatch(p.Stdout.String())
	require.NotNil(p.t, found, "no password was printed for %s", user)
	return found[1]
}

// Answer is the answer to a request.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Member returns a member of the JSON object in the body.
func (a Answer) Member(t testing.TB, name string) any {
	t.Helper()
	var o map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.Body), &o), a.Body)
	return o[name]
}

// Send sends a request. An empty token means no Authorization header. A body that is
// not empty is sent as JSON.
func (p *Program) Send(method, path, token, body string) Answer {
	p.t.Helper()
	r, err := http.NewRequest(method, p.Base+path, strings.NewReader(body))
	require.NoError(p.t, err)
	SetHeaders(r, token, body)
	return p.Do(r)
}

// SetHeaders sets the headers of a request with a token and a JSON body. Each may be
// empty.
func SetHeaders(r *http.Request, token, body string) {
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
}

// Do sends a request as it is.
func (p *Program) Do(r *http.Request) Answer {
	p.t.Helper()
	response, err := p.Client.Do(r)
	require.NoError(p.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(p.t, err)
	return Answer{response.StatusCode, response.Header, string(body)}
}

// LoginBody returns the body of a login.
func LoginBody(name, password string) string {
	text, _ := json.Marshal(struct { // strings: no error
		Username string `json:"username"`
		Password string `json:"password"`
	}{name, password})
	return string(text)
}

// RefreshBody returns the body of a refresh or of a logout.
func RefreshBody(token string) string { return fmt.Sprintf(`{"refresh_token":%q}`, token) }

// Login logs a demo user in.
func (p *Program) Login(user string) (access, refresh string) {
	p.t.Helper()
	return p.tokens("/api/login", LoginBody(user, p.Password(user)))
}

// Refresh redeems a refresh token.
func (p *Program) Refresh(token string) (access, refresh string) {
	p.t.Helper()
	return p.tokens("/api/refresh", RefreshBody(token))
}

func (p *Program) tokens(path, body string) (access, refresh string) {
	p.t.Helper()
	a := p.Send("POST", path, "", body)
	require.Equal(p.t, http.StatusOK, a.Status, a.Body)
	return a.Member(p.t, "access_token").(string), a.Member(p.t, "refresh_token").(string)
}

// Status returns the status of a call with an access token.
func (p *Program) Status(token string) int {
	p.t.Helper()
	return p.Send("GET", "/api/protected", token, "").Status
}
