package moving_test

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/test/moving/shop"
)

// fleet is the processes of one service. They share the secret of the old tokens and, after the move,
// a database and a directory of keys.
type fleet struct {
	t           *testing.T
	library     library
	environment []string
}

func newFleet(t *testing.T, l library) *fleet {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "keys"), 0o700))
	return &fleet{t, l, []string{
		secretVariable + "=" + rand.Text() + rand.Text(), "GIN_MODE=release",
		"JWTAUTH_ISSUER=https://api.example.com", "JWTAUTH_AUDIENCES=https://api.example.com",
		"JWTAUTH_KEY_DIR=" + filepath.Join(dir, "keys"),
		"JWTAUTH_DATABASE_URL=file:" + filepath.Join(dir, "auth.db") + "?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)",
	}}
}

// process is a process of the operating system.
type process struct {
	t    *testing.T
	base string
	stop func()
}

// start starts a process of the service before or after the move.
func (f *fleet) start(program string, until time.Time) *process {
	return start(f.t, f.library.name+"/"+program, append(f.environment, untilVariable+"="+until.UTC().Format(time.DateOnly)))
}

func start(t *testing.T, program string, environment []string) *process {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	command := exec.Command(binary)
	command.Env = append(append(os.Environ(), environment...), programVariable+"="+program)
	var log strings.Builder
	command.Stderr = &log
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	isRunning := true
	stop := func() {
		if isRunning {
			isRunning = false
			command.Process.Kill()
			command.Wait() // killed
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Log(program, log.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
	}
	require.NoError(t, err, log.String())
	return &process{t, strings.TrimSpace(line), stop}
}

// device is a client of the service, with the tokens that it has.
type device struct {
	t       *testing.T
	user    shop.User
	scheme  string // of the Authorization header; empty if the device is a browser
	cookies map[string]string
	access  string
	refresh string
}

// device returns the device of a user. Use another user for each old login: old tokens of one user
// from one second are identical, so a logout of one would end both.
func (f *fleet) device(name string) *device {
	user, _ := shop.Login(name, "password of "+name)
	return &device{t: f.t, user: user, scheme: f.library.scheme, cookies: map[string]string{}}
}

// send sends a request with all tokens of the device, and keeps those of the answer.
func (d *device) send(p *process, method, path string, form url.Values) (status int, body string) {
	d.t.Helper()
	r, err := http.NewRequest(method, p.base+path, strings.NewReader(form.Encode()))
	require.NoError(d.t, err)
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if d.scheme != "" && d.access != "" {
		r.Header.Set("Authorization", d.scheme+d.access)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("X-CSRF", "1")
	for name, value := range d.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(d.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(d.t, err)
	for _, c := range answer.Cookies() {
		if d.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(d.cookies, c.Name)
		}
	}
	var tokens struct {
		Token   string `json:"token"`
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if json.Unmarshal(text, &tokens) == nil && answer.StatusCode == http.StatusOK {
		if tokens.Token != "" {
			d.access = tokens.Token
		}
		if tokens.Access != "" {
			d.access, d.refresh = tokens.Access, tokens.Refresh
			if d.scheme != "" {
				d.scheme = "Bearer "
			}
		}
	}
	return answer.StatusCode, string(text)
}

func (d *device) requireOrders(processes ...*process) {
	d.t.Helper()
	for _, p := range processes {
		status, body := d.send(p, "GET", "/orders", nil)
		require.Equal(d.t, http.StatusOK, status, body)
		require.Equal(d.t, fmt.Sprintf("user %d is %s", d.user.ID, d.user.Role), body)
	}
}

func (d *device) requireLogin(processes ...*process) {
	d.t.Helper()
	for _, p := range processes {
		status, body := d.send(p, "GET", "/orders", nil)
		require.Equal(d.t, http.StatusUnauthorized, status, body)
	}
}

// post sends a request that must succeed.
func (d *device) post(p *process, path string, form url.Values) {
	d.t.Helper()
	status, body := d.send(p, "POST", path, form)
	require.Contains(d.t, []int{http.StatusOK, http.StatusNoContent}, status, body)
}

// logIn logs in on the old route, /login, or on the new one, /auth/login.
func (d *device) logIn(p *process, path string) {
	d.t.Helper()
	d.post(p, path, url.Values{"username": {d.user.Name}, "password": {"password of " + d.user.Name}})
	d.requireOrders(p)
}

func (d *device) refreshAt(p *process) {
	d.t.Helper()
	before := d.access
	form := url.Values{}
	if d.refresh != "" {
		form.Set("refresh_token", d.refresh)
	}
	d.post(p, "/auth/refresh", form)
	require.NotEqual(d.t, before, d.access)
}

func TestNobodyIsLoggedOutWhileAFleetMoves(t *testing.T) {
	today := time.Now()
	later := today.Add(80 * 24 * time.Hour)
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			fleet := newFleet(t, l)
			a, b := fleet.start("before", later), fleet.start("before", later)
			first := fleet.device("alice")
			first.logIn(a, "/login")
			first.requireOrders(b)

			// One of the two processes is new. Clients meet both.
			b.stop()
			b = fleet.start("after", later)
			second := fleet.device("bob")
			second.logIn(b, "/login")
			for _, d := range []*device{first, second} {
				d.requireOrders(a, b, a, b)
			}
			early := fleet.device("alice") // a client that uses the new login too early
			early.logIn(b, "/auth/login")
			early.requireLogin(a)

			// All processes are new. Now new clients may use the new login.
			a.stop()
			a = fleet.start("after", later)
			third := fleet.device("bob")
			third.logIn(a, "/auth/login")
			for _, d := range []*device{first, second, early, third} {
				d.requireOrders(a, b)
			}
			third.refreshAt(b)
			third.requireOrders(a, b)

			// A logout at one process counts at all of them.
			stolen := *first
			first.post(b, "/auth/logout", nil)
			stolen.requireLogin(a, b)
			stolen = *early
			early.post(a, "/auth/logout", nil)
			stolen.requireLogin(a, b)

			// An old token buys one session. Another tab has the token, too.
			copied, lost := fleet.device("bob"), fleet.device("bob")
			for _, d := range []*device{copied, lost} {
				d.access, d.cookies["jwt"] = second.access, second.cookies["jwt"]
			}
			lost.post(b, "/trade-in", nil)
			second.post(a, "/trade-in", nil)
			copied.requireOrders(a, b)
			second.requireOrders(a, b)
			lost.requireOrders(a, b)
			second.refreshAt(b)
			lost.requireOrders(a, b)
			copied.requireOrders(a, b)
			for _, p := range []*process{a, b} {
				status, _ := copied.send(p, "POST", "/trade-in", nil)
				require.Equal(t, http.StatusForbidden, status, "the session has been refreshed; the client keeps its token")
				copied.requireOrders(p)
			}
			ended := *second
			second.post(b, "/auth/logout", nil)
			for _, d := range []*device{&ended, lost, copied} {
				d.requireLogin(a, b)
			}
			second = third

			// Somebody logs in on an old page, in a browser that has a new login of somebody else.
			back := fleet.device("alice")
			back.logIn(a, "/auth/login")
			back.user, back.scheme = fleet.device("carol").user, l.scheme
			back.logIn(b, "/login")
			back.requireOrders(a, b)
			back.post(a, "/trade-in", nil)
			back.refreshAt(b)
			back.requireOrders(a, b)

			// An old process is started again. Old tokens are good at both.
			b.stop()
			b = fleet.start("before", later)
			fourth := fleet.device("carol")
			fourth.logIn(b, "/login")
			fourth.requireOrders(a, b)

			// The date has come.
			b.stop()
			a.stop()
			a = fleet.start("after", today)
			fourth.requireLogin(a)
			second.requireOrders(a)
			second.refreshAt(a)
		})
	}
}
