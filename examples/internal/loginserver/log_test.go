package loginserver

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
)

func TestTheAuditLogTellsWhoAndWhereFromAndHoldsNoSecret(t *testing.T) {
	p := start(t, nil, "-log", "json")
	password := p.Password("alice")
	access, refresh := p.Login("alice")
	p.Send("POST", "/api/login", "", programtest.LoginBody("alice", "guess-1"))
	p.Send("POST", "/api/login", "", programtest.LoginBody("guess-2", "guess-3")) // a password as the user name
	p.Send("GET", "/api/protected", access+"x", "")
	p.Send("POST", "/api/orders", access, "")
	a := p.Send("POST", "/api/refresh", "", programtest.RefreshBody(refresh))
	p.Send("POST", "/api/refresh", "", programtest.RefreshBody("garbage-token"))
	p.Send("POST", "/api/logout", access, "")
	require.Equal(t, exitOK, p.Stop())

	log := p.Log.String()
	for _, secret := range []string{password, "guess-", access, refresh, a.Member(t, "access_token").(string), "garbage-token"} {
		require.NotContains(t, log, secret)
	}
	seen := map[string]int{}
	for line := range strings.Lines(log) {
		var record struct {
			Msg, Peer, User string
			Auth            struct{ Kind, Subject string }
		}
		require.NoError(t, json.Unmarshal([]byte(line), &record), line)
		if strings.HasPrefix(record.Msg, "login") || record.Msg == "jwtauth" {
			require.Equal(t, "127.0.0.1", record.Peer, line)
		}
		seen[strings.Trim(record.Msg+" "+record.User+record.Auth.Kind+" "+record.Auth.Subject, " ")]++
	}
	for _, want := range []string{
		"login alice", "login refused alice", "login refused (unknown)", "jwtauth token_issued alice",
		"jwtauth token_refused", "jwtauth token_refreshed alice", "jwtauth refresh_refused", "jwtauth session_ended alice",
	} {
		require.Equal(t, 1, seen[want], "%s: %s", want, log)
	}
}

func TestTheLogIsTextUnlessItIsJSON(t *testing.T) {
	p := start(t, nil)
	require.Contains(t, p.Log.String(), "level=INFO msg=serving")
	log := programtest.NewOutput()
	logger := newLog(log, "json").WithGroup("g").With("a", 1)
	logger.InfoContext(withPeer(t.Context(), "192.0.2.1"), "hello")
	require.Contains(t, log.String(), `"g":{"a":1,"peer":"192.0.2.1"}`)
}
