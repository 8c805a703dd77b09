package main

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

// output collects what a program writes.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await waits until the text has come, or ended says that none comes any more.
func (o *output) await(t testing.TB, text string, ended <-chan struct{}) {
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

// program is the whole program while it runs in this process.
type program struct {
	t           testing.TB
	base        string
	stdout, log *output
	cancel      context.CancelFunc
	ended       chan struct{}
	code        int
	client      *http.Client
}

// start runs the program on a free port of the loopback interface.
func start(t testing.TB, env map[string]string, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &program{
		t: t, stdout: newOutput(), log: newOutput(), cancel: cancel, ended: make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{Proxy: nil}},
	}
	go func() {
		defer close(p.ended)
		p.code = run(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), func(name string) string { return env[name] }, p.stdout, p.log)
	}()
	t.Cleanup(func() {
		p.client.CloseIdleConnections()
		cancel()
		<-p.ended
	})
	p.log.await(t, "serving", p.ended) // with that, all is printed
	p.base = regexp.MustCompile(`https?://[^ ]+:\d+`).FindString(p.stdout.String())
	return p
}

// stop ends the program and returns its exit code.
func (p *program) stop() int {
	p.client.CloseIdleConnections()
	p.cancel()
	<-p.ended
	return p.code
}

// password is the one that was printed for a user.
func (p *program) password(user string) string {
	p.t.Helper()
	found := regexp.MustCompile(user + ` +([A-Z2-7]{26}) `).FindStringSubmatch(p.stdout.String())
	require.NotNil(p.t, found, "no password was printed for %s", user)
	return found[1]
}

// answer is what a request was answered with.
type answer struct {
	status int
	header http.Header
	body   string
}

// member is a member of the JSON body.
func (a answer) member(t testing.TB, name string) any {
	t.Helper()
	var o map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.body), &o), a.body)
	return o[name]
}

// send sends a request with a token, if there is one, and with body as JSON, if
// there is one.
func (p *program) send(method, path, token, body string) answer {
	p.t.Helper()
	r, err := http.NewRequest(method, p.base+path, strings.NewReader(body))
	require.NoError(p.t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return p.do(r)
}

func (p *program) do(r *http.Request) answer {
	p.t.Helper()
	response, err := p.client.Do(r)
	require.NoError(p.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(p.t, err)
	return answer{response.StatusCode, response.Header, string(body)}
}

func loginBody(name, password string) string {
	return credentials(demoUser{name: name, password: password})
}

func refreshJSON(token string) string { return fmt.Sprintf(`{"refresh_token":%q}`, token) }

// login logs a demo user in.
func (p *program) login(user string) (access, refresh string) {
	p.t.Helper()
	a := p.send("POST", "/api/login", "", loginBody(user, p.password(user)))
	require.Equal(p.t, http.StatusOK, a.status, a.body)
	return a.member(p.t, "access_token").(string), a.member(p.t, "refresh_token").(string)
}
