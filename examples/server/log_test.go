package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheAuditLogTellsWhoAndWhereFromAndHoldsNoSecret(t *testing.T) {
	p := start(t, nil, "-log", "json")
	password := p.password("alice")
	access, refresh := p.login("alice")
	p.send("POST", "/api/login", "", loginBody("alice", "guess-1"))
	p.send("POST", "/api/login", "", loginBody("guess-2", "guess-3")) // a password in the wrong box
	p.send("GET", "/api/protected", access+"x", "")
	p.send("POST", "/api/orders", access, "")
	a := p.send("POST", "/api/refresh", "", refreshJSON(refresh))
	p.send("POST", "/api/refresh", "", refreshJSON("garbage-token"))
	p.send("POST", "/api/logout", access, "")
	require.Equal(t, exitOK, p.stop())

	log := p.log.String()
	for _, secret := range []string{password, "guess-", access, refresh, a.member(t, "access_token").(string), "garbage-token"} {
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
	require.Contains(t, p.log.String(), "level=INFO msg=serving")
	log := newOutput()
	logger := newLog(log, "json").WithGroup("g").With("a", 1)
	logger.InfoContext(withPeer(t.Context(), "192.0.2.1"), "hello")
	require.Contains(t, log.String(), `"g":{"a":1,"peer":"192.0.2.1"}`)
}
