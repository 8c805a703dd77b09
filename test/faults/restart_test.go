//go:build linux

package faults_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/test/engines"
)

// persistent returns a place whose engine loses nothing, and a function that kills the engine
// and starts it again.
func persistent(t *testing.T, engine string) (p place, restart func()) {
	var s *engines.Server
	switch engine {
	case "redis":
		s = engines.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	case "postgres":
		s = engines.Postgres(t)
	case "mariadb":
		s = engines.MariaDB(t)
	default:
		return newFile(t), func() {}
	}
	return on(t, engine, s), func() {
		s.Kill()
		require.NoError(t, s.Start())
	}
}

func TestARestartOfEverythingBringsNothingBackAndTakesNothingAway(t *testing.T) {
	for _, engine := range everyEngine {
		t.Run(engine, func(t *testing.T) {
			p, restart := persistent(t, engine)
			n := startNode(t, p)
			first := n.login(t, "alice")
			second := n.refresh(t, first.RefreshToken).tokens
			third := n.refresh(t, second.RefreshToken).tokens
			left := n.login(t, "bob")
			n.logout(t, left.RefreshToken)
			here := n.login(t, "carol")
			next := n.refresh(t, here.RefreshToken)
			require.Equal(t, http.StatusOK, next.status)

			n.kill()
			restart()
			n = startNode(t, p)

			require.Equal(t, http.StatusUnauthorized, n.me(t, left.AccessToken).status, "a revoked token is good again")
			require.Equal(t, http.StatusBadRequest, n.refresh(t, left.RefreshToken).status, "a session that has ended goes on")
			again := n.refresh(t, here.RefreshToken)
			require.Equal(t, http.StatusOK, again.status, "an answer that was lost in the restart cannot be had again")
			require.Equal(t, next.refresh, again.refresh)
			require.Equal(t, http.StatusOK, n.me(t, here.AccessToken).status)
			require.Equal(t, http.StatusOK, n.me(t, third.AccessToken).status)
			require.Equal(t, http.StatusBadRequest, n.refresh(t, first.RefreshToken).status, "a token that was redeemed before the restart is good again")
			require.Equal(t, http.StatusBadRequest, n.refresh(t, third.RefreshToken).status, "a stolen session goes on")
			require.Equal(t, http.StatusUnauthorized, n.me(t, third.AccessToken).status)
		})
	}
}
