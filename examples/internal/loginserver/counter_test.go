package loginserver

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
)

func TestTheCounterIsBoundedAndForgetsNobodyForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, nil)
		s.fast(usersPassword)
		accounts := s.throttle.accounts.counter
		accounts.maxKeys = 100
		for range 5 {
			require.Equal(t, 400, s.ask("POST", "/api/login", "", programtest.LoginBody("alice", "wrong")).Status)
		}
		for i := range 1000 {
			address := fmt.Sprintf("198.51.%d.%d:1", i/100, i%100)
			want := 400
			if i >= 99 {
				want = 429
			}
			a := s.askFrom(address, "POST", "/api/login", "", programtest.LoginBody(fmt.Sprint("user", i), "wrong"))
			require.Equal(t, want, a.Status)
			require.LessOrEqual(t, len(accounts.attempts), 100)
			if want == 429 {
				require.Equal(t, "1", a.Header.Get("Retry-After"))
			}
		}
		require.Contains(t, s.log.String(), errManyKeys.Error())
		require.Equal(t, 429, s.askFrom("203.0.113.1:1", "POST", "/api/login", "", programtest.LoginBody("alice", usersPassword)).Status, "a flood of names has opened a locked account")

		time.Sleep(15 * time.Minute) // of the bubble's clock
		require.Equal(t, 200, s.ask("POST", "/api/login", "", programtest.LoginBody("bob", usersPassword)).Status)
		require.Empty(t, accounts.attempts, "what counts no more is kept")
	})
}

func TestTheCounterKeepsItsContract(t *testing.T) {
	c := &counter{maxKeys: 2, attempts: map[string][]time.Time{}}
	c.Config(5, time.Hour)
	require.NoError(t, c.Increment("a", time.Time{}))
	require.NoError(t, c.IncrementBy("a", time.Time{}, 2))
	current, previous, err := c.Get("a", time.Time{}, time.Time{})
	require.NoError(t, err)
	require.Equal(t, []int{3, 0}, []int{current, previous})
	require.NoError(t, c.Increment("b", time.Time{}))
	require.ErrorIs(t, c.Increment("c", time.Time{}), errManyKeys)
	require.NoError(t, c.Increment("b", time.Time{}), "a key that is counted already")
	c.giveBack("c")
	c.giveBack("b")
	c.giveBack("b")
	c.giveBack("b")
	require.NotContains(t, c.attempts, "b")
	c.forget("a")
	require.Empty(t, c.attempts)
}

func TestTheCounterLooksForRoomAtMostOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{maxKeys: 1, window: 500 * time.Millisecond, attempts: map[string][]time.Time{}}
		require.NoError(t, c.Increment("a", time.Time{}))
		require.ErrorIs(t, c.Increment("b", time.Time{}), errManyKeys)
		time.Sleep(600 * time.Millisecond) // of the bubble's clock
		require.ErrorIs(t, c.Increment("b", time.Time{}), errManyKeys, "a flood makes every attempt a walk through all keys")
		time.Sleep(400 * time.Millisecond)
		require.NoError(t, c.Increment("b", time.Time{}))
	})
}
