//go:build linux

package faults_test

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/event"
)

func TestAllWhoRaceWithOneTokenThroughTwoProcessesGetOneGeneration(t *testing.T) {
	onEach(t, func(t *testing.T, p place) {
		nodes := []*node{startNode(t, p), startNode(t, p)}
		const racers, rounds = 32, 3
		token := nodes[0].login(t, "alice").RefreshToken
		first := token
		for generation := int64(2); generation < 2+rounds; generation++ {
			answers := make([]answer, racers)
			start := make(chan struct{})
			var all sync.WaitGroup
			for i := range answers {
				all.Go(func() {
					<-start
					answers[i] = nodes[i%2].post(t, "/refresh", "token", token)
				})
			}
			close(start)
			all.Wait()
			for i, a := range answers {
				require.Equal(t, http.StatusOK, a.status, "racer %d", i)
				require.Equal(t, claims{claimsOf(token).Session, generation}, a.refresh, "racer %d", i)
				require.Equal(t, http.StatusOK, answered(t, func() answer { return nodes[(i+1)%2].me(t, a.tokens.AccessToken) }).status)
			}
			token = answers[generation%racers].tokens.RefreshToken
		}
		events := map[event.Kind]int{}
		for _, n := range nodes {
			for kind, count := range n.stats(t).Events {
				events[kind] += count
			}
		}
		require.Equal(t, rounds, events[event.TokenRefreshed], "winners: %v", events)
		require.Equal(t, rounds*(racers-1), events[event.RefreshReplayed], "%v", events)
		require.Zero(t, events[event.TokenReused])
		require.Equal(t, http.StatusBadRequest, nodes[1].refresh(t, first).status, "the first token is an old one")
		require.Equal(t, http.StatusBadRequest, nodes[0].refresh(t, token).status, "the session of a stolen token has ended")
	})
}
