package redisstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/replica"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// watching runs Watch until the test ends or stop is called.
func watching(t *testing.T, store replica.Watcher) (changed chan struct{}, ended chan error, stop func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	changed, ended = make(chan struct{}, 1000), make(chan error, 1)
	go func() {
		ended <- store.Watch(ctx, func() { changed <- struct{}{} })
		close(changed)
	}()
	t.Cleanup(stop)
	require.NoError(t, next(changed), "the subscription has not begun")
	return changed, ended, stop
}

// next waits for one value, for at most 20 seconds.
func next[T any](c chan T) error {
	select {
	case <-c:
		return nil
	case <-time.After(20 * time.Second):
		return errors.New("nothing has come")
	}
}

// watched expects that a store pushes the change that f makes.
func watched(t *testing.T, store replica.Watcher, f func()) {
	t.Helper()
	changed, ended, stop := watching(t, store)
	f()
	require.NoError(t, next(changed))
	stop()
	require.NoError(t, next(ended))
}

func TestWatchTellsOfEachRevocationThatChangesSomething(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		store := newStore(t, client)
		changed, ended, stop := watching(t, store)
		end := inAnHour()
		for range 3 {
			require.NoError(t, store.Revoke(t.Context(), "a", end))
		}
		require.NoError(t, next(changed))
		revoke(t, newStore(t, client), "of another store")
		revoke(t, store, "b")
		require.NoError(t, next(changed))
		require.Empty(t, changed)
		ids, _, _ := told(t, store, "")
		require.Len(t, ids, 2)

		began := time.Now()
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.Less(t, time.Since(began), time.Second)
		revoke(t, store, "c")
		_, open := <-changed
		require.False(t, open, "changed was called after the end")
	})
}

func TestWatchSaysWhyItCannotGoOn(t *testing.T) {
	server := engines.Redis(t)
	client := clientOf(t, server)
	store := newStore(t, client)
	_, ended, _ := watching(t, store)
	require.NoError(t, client.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err())
	require.ErrorContains(t, <-ended, "waiting for revocations")

	changed, ended, _ := watching(t, store) // Watch works again after an error
	server.Kill()
	require.Error(t, <-ended)
	_, open := <-changed
	require.False(t, open)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.Error(t, store.Watch(ctx, func() { t.Error("changed is called without a server") }))
	require.NoError(t, ctx.Err(), "it has waited for its context")
	require.NoError(t, server.Start())
	watched(t, store, func() { revoke(t, store, "a") })

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, store.Watch(cancelled, func() { t.Error("changed is called") }), context.Canceled)
}

func TestWatchFindsOutWhenItsConnectionIsDead(t *testing.T) {
	defer redisstore.SetSilence(50 * time.Millisecond)()
	server := engines.Redis(t)
	client := clientOf(t, server)
	store := newStore(t, client)
	changed, ended, _ := watching(t, store)
	pings := func() string {
		info, err := client.InfoMap(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		return info["Commandstats"]["cmdstat_ping"]
	}
	for range 3 { // Watch must not end only because the connection is silent
		before := pings()
		require.NoError(t, until(func() error {
			if pings() == before {
				return errors.New("it has not asked")
			}
			return nil
		}))
	}
	require.Empty(t, changed)
	require.Empty(t, ended)
	revoke(t, store, "a")
	require.NoError(t, next(changed))
	pause(t, server)
	require.NoError(t, next(ended))
}
