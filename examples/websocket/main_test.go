package main

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

func TestAWebSocketEndsWithItsSession(t *testing.T) {
	server, token := start(t)
	dial := func(protocols ...string) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(t.Context(), server.URL+"/socket", &websocket.DialOptions{Subprotocols: protocols})
	}
	for status, protocols := range map[int][]string{400: {"jwt.bearer." + token}, 401: {"echo", "jwt.bearer.x"}} {
		_, response, err := dial(protocols...)
		require.Error(t, err)
		require.Equal(t, status, response.StatusCode)
	}

	c, _, err := dial("echo", "jwt.bearer."+token)
	require.NoError(t, err)
	defer c.CloseNow()
	require.Equal(t, "echo", c.Subprotocol())
	require.NoError(t, c.Write(t.Context(), websocket.MessageText, []byte("hello")))
	_, message, err := c.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, "alice says hello", string(message))

	r, err := http.NewRequest("POST", server.URL+"/logout", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	response.Body.Close()
	_, _, err = c.Read(t.Context())
	require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err))
}

// The WebSocket of Node has the rules of a browser, also the one that it fails unless the
// server selects one of the subprotocols that were offered.
func TestAWebSocketWithTheRulesOfABrowserConnects(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	if exec.Command(node, "--experimental-websocket", "-e", "new WebSocket('ws://127.0.0.1:1').onerror = () => {}").Run() != nil {
		t.Skip("this node has no WebSocket")
	}
	server, token := start(t)
	script := `const socket = new WebSocket(process.argv[1], process.argv.slice(2))
		socket.onopen = () => socket.send("ping")
		socket.onmessage = (event) => { console.log(socket.protocol, event.data); socket.close() }
		socket.onerror = () => console.log("failed")`
	connect := func(protocols ...string) string {
		out, err := exec.Command(node, append([]string{"--experimental-websocket", "-e", script, "ws" + strings.TrimPrefix(server.URL, "http") + "/socket"}, protocols...)...).Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
	require.Equal(t, "echo alice says ping", connect("echo", "jwt.bearer."+token))
	require.Equal(t, "failed", connect("jwt.bearer."+token))
	require.Equal(t, "failed", connect("other", "jwt.bearer."+token))
}

func TestThePageIsServed(t *testing.T) {
	server, _ := start(t)
	response, err := http.Get(server.URL)
	require.NoError(t, err)
	response.Body.Close()
	require.Equal(t, "text/html; charset=utf-8", response.Header.Get("Content-Type"))
	response, err = http.PostForm(server.URL+"/login", url.Values{"password": {"wrong"}})
	require.NoError(t, err)
	response.Body.Close()
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
}

// start starts the service and logs in.
func start(t *testing.T) (server *httptest.Server, token string) {
	t.Helper()
	password := rand.Text()
	server = httptest.NewServer(service(password))
	t.Cleanup(server.Close)
	response, err := http.PostForm(server.URL+"/login", url.Values{"password": {password}})
	require.NoError(t, err)
	defer response.Body.Close()
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&tokens))
	return server, tokens.AccessToken
}
