package flight_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/flight"
)

func nothing[V any](V, error) {}

func TestAllWaitersGetTheResultOfOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		call := flight.Start(t.Context(), time.Second, func(context.Context) (int, error) {
			runs++
			time.Sleep(time.Millisecond)
			return 7, errors.New("with an error")
		}, nothing)
		require.False(t, call.HasEnded())
		for range 3 {
			got, err := call.Wait(t.Context())
			require.Equal(t, 7, got)
			require.EqualError(t, err, "with an error")
		}
		require.True(t, call.HasEnded())
		require.Equal(t, 1, runs)
	})
}

func TestNobodyWaitsLongerThanItsContextAndTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leave := make(chan struct{})
		defer close(leave)
		call := flight.Start(t.Context(), time.Second, func(context.Context) (int, error) {
			<-leave // and not the end of its context
			return 7, nil
		}, nothing)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := call.Wait(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 10*time.Millisecond, time.Since(began))
		_, err = call.Wait(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 1100*time.Millisecond, time.Since(began))
		require.False(t, call.HasEnded())
	})
}

func TestAFunctionThatHonorsItsContextGivesItsOwnReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("why")
		call := flight.Start(t.Context(), time.Second, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, why
		}, nothing)
		_, err := call.Wait(t.Context())
		require.ErrorIs(t, err, why)
	})
}

func TestTheParentEndsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		cancel()
		call := flight.Start(parent, time.Second, func(ctx context.Context) (int, error) { return 0, ctx.Err() }, nothing)
		_, err := call.Wait(t.Context())
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestAPanicIsAnErrorAndEndsNeitherTheCallNorTheProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, f := range map[string]func(context.Context) (int, error){
			`a panic: "boom"`: func(context.Context) (int, error) { panic("boom") },
			"did not return":  func(context.Context) (int, error) { runtime.Goexit(); return 0, nil },
		} {
			var landed error
			call := flight.Start(t.Context(), time.Second, f, func(_ int, err error) { landed = err })
			_, err := call.Wait(t.Context())
			require.ErrorContains(t, err, name)
			require.Equal(t, landed, err)
		}
		call := flight.Start(t.Context(), time.Second, func(context.Context) (int, error) { return 7, nil }, func(int, error) { panic("boom") })
		got, err := call.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 7, got)
	})
}

func TestTheResultLandsBeforeAnybodyHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		landed := 0
		call := flight.Start(t.Context(), time.Second, func(context.Context) (int, error) { return 7, nil }, func(v int, _ error) {
			time.Sleep(time.Millisecond)
			landed = v
		})
		_, err := call.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 7, landed)
	})
}
