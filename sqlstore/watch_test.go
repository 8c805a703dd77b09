package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/replica"
	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/sqlstore/pgxwatch"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// watch runs Watch until the test ends, end is called, or Watch fails.
func watch(t *testing.T, e database) (changed chan struct{}, ended chan error, end func()) {
	t.Helper()
	db := e.open(t)
	w, err := pgxwatch.New(db, e.newStore(t, db))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	changed, ended = make(chan struct{}, 10_000), make(chan error, 1)
	go func() { ended <- w.Watch(ctx, func() { changed <- struct{}{} }) }()
	await(t, changed)
	return changed, ended, cancel
}

func await(t *testing.T, changed chan struct{}) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody says that anything has changed")
	}
}

func TestARevocationIsPushedToOtherProcesses(t *testing.T) {
	e := postgresql(t)
	s := e.store(t)
	changed, _, _ := watch(t, e)
	_, cursor, _ := since(t, s, "")
	for i := range 20 {
		id, end := fmt.Sprint("token ", i), now().Add(time.Hour)
		require.NoError(t, s.Revoke(t.Context(), id, end))
		await(t, changed)
		var entries heard
		entries, cursor, _ = since(t, s, cursor)
		require.Equal(t, heard{id: end}, entries, "the push came before there was anything to see")
	}
	require.NoError(t, s.Revoke(t.Context(), "token 1", now()))
	require.Empty(t, changed, "there is a push for a revocation that changed nothing")
}

func TestAWatcherThatBeginsDoesNotMakeTheOthersRead(t *testing.T) {
	e := postgresql(t)
	s := e.store(t)
	changed, _, _ := watch(t, e)
	for range 3 {
		watch(t, e)
	}
	require.NoError(t, s.Revoke(t.Context(), "x", now().Add(time.Hour)))
	await(t, changed)
	require.Empty(t, changed)
}

func TestCallersThatRevokeWhileOneNotifiesAreNotifiedOfOnceMore(t *testing.T) {
	var notifier sqlstore.Notifier
	var notified int
	notify := func() error {
		notified++
		if notified == 1 { // two callers come during the first notification
			notifier.Do(func() error { t.Error("two notify at once"); return nil })
			notifier.Do(func() error { t.Error("two notify at once"); return nil })
		}
		return nil
	}
	notifier.Do(notify)
	require.Equal(t, 2, notified)
	notifier.Do(notify)
	require.Equal(t, 3, notified, "nobody notifies any more")
}

func TestNobodyNotifiesForOthersWithoutEnd(t *testing.T) {
	var notifier sqlstore.Notifier
	var notified int
	notify := func() error {
		if notified++; notified < 100 {
			notifier.Do(func() error { return errors.New("it was left to the first") })
		}
		return nil
	}
	notifier.Do(notify)
	require.Less(t, notified, 20)
	before := notified
	notifier.Do(notify)
	require.Greater(t, notified, before, "nobody notifies any more")
}

func TestAfterANotificationThatFailedTheNextCallerNotifies(t *testing.T) {
	var notifier sqlstore.Notifier
	notifier.Do(func() error { return errors.New("no connection") })
	var notified int
	notifier.Do(func() error { notified++; return nil })
	require.Equal(t, 1, notified)
}

func TestNoRevocationIsLeftWithoutAPushWhenManyRevokeAtOnce(t *testing.T) {
	e := postgresql(t)
	s := e.store(t)
	changed, _, _ := watch(t, e)
	told, cursor := heard{}, ""
	var all sync.WaitGroup
	for client := range 16 {
		all.Go(func() {
			for n := range 40 {
				if err := s.Revoke(t.Context(), fmt.Sprint(client, " ", n), now().Add(time.Hour)); err != nil {
					t.Errorf("Revoke: %v", err)
				}
			}
		})
	}
	for len(told) < 16*40 { // it reads only after a notification
		await(t, changed)
		var err error
		cursor, _, err = s.Since(t.Context(), cursor, told.entry)
		require.NoError(t, err)
	}
	all.Wait()
}

func TestWatchEndsWithItsContextAndLeavesNothingBehind(t *testing.T) {
	e := postgresql(t)
	e.store(t)
	before := runtime.NumGoroutine()
	db := e.open(t)
	s := e.newStore(t, db)
	db.SetMaxOpenConns(1)
	_, err := pgxwatch.New(db, s)
	require.ErrorContains(t, err, "db has one connection, which Watch would keep")
	db.SetMaxOpenConns(2)
	w, err := pgxwatch.New(db, s)
	require.NoError(t, err)
	db.SetMaxOpenConns(1) // so that a connection that is left over would be noticed
	ctx, cancel := context.WithCancel(t.Context())
	changed, ended := make(chan struct{}, 10), make(chan error, 1)
	go func() { ended <- w.Watch(ctx, func() { changed <- struct{}{} }) }()
	await(t, changed)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	// The connection of Watch is closed. The next one does not listen.
	_, err = s.IsRevoked(t.Context(), "x")
	require.NoError(t, err)
	var listens int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_listening_channels()").Scan(&listens))
	require.Zero(t, listens)
	require.NoError(t, db.Close())
	requireFewGoroutines(t, before)
}

func TestWatchSaysWhenTheServerIsGone(t *testing.T) {
	server := engines.Postgres(t)
	e := postgresAt(server.URL())
	e.store(t)
	_, ended, _ := watch(t, e)
	server.Kill()
	select {
	case err := <-ended:
		require.Error(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("the watcher waits for a server that is dead")
	}
	require.NoError(t, server.Start())
	changed, _, _ := watch(t, e)
	require.NoError(t, e.newStore(t, e.open(t)).Revoke(t.Context(), "x", now().Add(time.Hour)))
	await(t, changed)
}

func TestAWatcherNeedsPostgreSQL(t *testing.T) {
	e := sqlite(t)
	db := e.open(t)
	s := e.newStore(t, db)
	require.Empty(t, s.Channel())
	_, err := pgxwatch.New(db, s)
	require.Error(t, err)
	_, err = pgxwatch.New(nil, s)
	require.Error(t, err)
	_, err = pgxwatch.New(db, nil)
	require.Error(t, err)
	// The database was opened with another driver.
	other, err := sqlstore.New(db, sqlstore.Options{Dialect: sqlstore.Postgres})
	require.NoError(t, err)
	w, err := pgxwatch.New(db, other)
	require.NoError(t, err)
	require.ErrorContains(t, w.Watch(t.Context(), func() {}), "stdlib")
}

func TestAReplicaRefusesWhatAnotherProcessRevoked(t *testing.T) {
	refuses := func(t *testing.T, log replica.Log, other *sqlstore.Store, lag time.Duration) {
		replica, err := replica.New(log, replica.Options{MaxLag: lag})
		require.NoError(t, err)
		defer replica.Close()
		require.NoError(t, other.Revoke(t.Context(), tokenID(0), now().Add(time.Hour)))
		require.NoError(t, replica.Ready(t.Context()))
		for i := range 10 {
			require.NoError(t, other.Revoke(t.Context(), tokenID(i), now().Add(time.Hour)))
			require.Eventually(t, func() bool {
				revoked, err := replica.IsRevoked(t.Context(), tokenID(i))
				return err == nil && revoked
			}, 10*time.Second, time.Millisecond)
		}
	}
	t.Run("PostgreSQL pushes", func(t *testing.T) { // the replica polls only every 15 seconds
		e := postgresql(t)
		db := e.open(t)
		other := e.store(t)
		pushed, err := pgxwatch.New(db, e.newStore(t, db))
		require.NoError(t, err)
		refuses(t, pushed, other, time.Minute)
	})
	onEach(t, func(t *testing.T, e database) {
		s := e.store(t)
		refuses(t, e.newStore(t, e.open(t)), s, 100*time.Millisecond)
	})
}
