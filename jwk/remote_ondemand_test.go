package jwk_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestRefetchFetchesNow(t *testing.T) {
	r := fixture.NewRemote(t)
	require.NoError(t, r.Set.Refetch(t.Context())) // also if there are no keys yet
	require.Equal(t, 1, r.Source.Asked())
	old := r.Token()
	r.RequireAccepted(old)
	r.Rotate()
	r.Clock.Advance(10 * time.Second)
	require.NoError(t, r.Set.Refetch(t.Context()))
	require.Equal(t, 2, r.Source.Asked())
	r.RequireUnknown(old)
	r.RequireAccepted(r.Token())
	require.Equal(t, 3, r.Source.Asked(), "only the unknown kid of the removed key has caused a fetch")
	var none *jwk.Remote
	require.ErrorIs(t, none.Refetch(t.Context()), jwtauth.ErrUnavailable)
	require.ErrorIs(t, new(jwk.Remote).Refetch(t.Context()), jwtauth.ErrUnavailable)
}

func TestRefetchInALoopFetchesOnceInTenSeconds(t *testing.T) {
	r := fixture.NewRemote(t)
	for range 5 {
		require.NoError(t, r.Set.Refetch(t.Context()))
		asked := r.Source.Asked()
		for range 9 {
			r.Clock.Advance(time.Second)
			err := r.Set.Refetch(t.Context())
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.ErrorContains(t, err, "less than 10s ago")
		}
		require.Equal(t, asked, r.Source.Asked())
		r.Clock.Advance(time.Second)
	}
	// A Refetch that fails counts, too.
	r.Source.Serve(fixture.Status(500))
	require.ErrorContains(t, r.Set.Refetch(t.Context()), "the answer is 500")
	require.ErrorContains(t, r.Set.Refetch(t.Context()), "less than 10s ago")
	require.Equal(t, 6, r.Source.Asked())
	// Refetch does not wait for the pause after a failure, and takes nothing from the budget of
	// unknown kids.
	r.Clock.Advance(11 * time.Second)
	r.RequireUnavailable(r.Unknown("a"))
	require.Equal(t, 7, r.Source.Asked())
	r.Source.Serve(r.Keys)
	require.NoError(t, r.Set.Refetch(t.Context()))
	require.Equal(t, 8, r.Source.Asked())
	require.NoError(t, r.Set.Status().LastError)
	r.RequireUnknown(r.Unknown("b"))
	require.Equal(t, 9, r.Source.Asked())
}

func TestRefetchJoinsAFetchThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fixture.NewRemote(t)
		gate := make(chan struct{})
		r.Source.Serve(fixture.After(gate, r.Keys))
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if err := r.Set.Refetch(t.Context()); err != nil {
					t.Error(err)
				}
			})
			all.Go(func() {
				if err := r.Set.Ready(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := r.Set.Refetch(ctx)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(gate)
		all.Wait()
		require.Equal(t, 1, r.Source.Asked())
		// A source that hangs is waited for no longer than Timeout.
		r.Source.Serve(fixture.Hung)
		r.Clock.Advance(time.Minute)
		began := time.Now()
		require.ErrorIs(t, r.Set.Refetch(t.Context()), jwtauth.ErrUnavailable)
		require.Equal(t, 10*time.Second, time.Since(began))
		r.RequireAccepted(r.Token())
	})
}

func TestRefetchLetsAReplacedKeyBeDoubtedAgain(t *testing.T) {
	n := namings[0]
	r, first, use := replacing(t, n)
	stranger, second := fixture.NewKey(t, jwk.ES256), fixture.NewKey(t, jwk.ES256)
	r.RequireRefused(n.sign(t, r, stranger, nil))
	require.Equal(t, 2, r.Source.Asked())
	r.Clock.Advance(time.Minute)
	r.RequireRefused(n.sign(t, r, stranger, nil))
	require.Equal(t, 2, r.Source.Asked())
	require.NoError(t, r.Set.Refetch(t.Context()))
	use(second)
	r.RequireAccepted(n.sign(t, r, second, nil))
	require.Equal(t, 4, r.Source.Asked())
	r.RequireRefused(n.sign(t, r, first, nil))
}

// limited answers with a status and Retry-After.
func limited(status int, retryAfter string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", retryAfter)
		w.WriteHeader(status)
	})
}

func TestRetryAfterOfTheSourceCounts(t *testing.T) {
	const none = time.Second // the pause after the first failure
	clock := fixture.NewRemote(t).Clock
	date := func(d time.Duration) string { return clock.Now().Add(d).UTC().Format(http.TimeFormat) }
	for _, c := range []struct {
		status     int
		retryAfter string
		want       time.Duration
	}{
		{429, "120", 2 * time.Minute}, {503, "120", 2 * time.Minute}, {503, "300", 5 * time.Minute}, {503, "301", 5 * time.Minute}, {429, "86400", 5 * time.Minute},
		{429, "99999999999999999999999", 5 * time.Minute}, {503, date(2 * time.Minute), 2 * time.Minute}, {503, date(100 * 24 * time.Hour), 5 * time.Minute},
		{503, date(-time.Minute), none}, {503, "0", none}, {503, "-5", none}, {503, "1.5", none}, {503, "soon", none}, {503, "", none}, {503, "Thu, 99 Foo 2026", none},
		{500, "120", none}, {404, "120", none}, {200, "120", none},
	} {
		t.Run(fmt.Sprint(c.status, c.retryAfter), func(t *testing.T) {
			r := fixture.NewRemote(t)
			r.Source.Serve(limited(c.status, c.retryAfter))
			r.RequireUnavailable(r.Token())
			wait := r.Set.Status().NextTry.Sub(r.Clock.Now())
			require.LessOrEqual(t, wait, c.want)
			require.GreaterOrEqual(t, wait, c.want*9/10)
			r.Source.Serve(r.Keys)
			for passed := time.Duration(0); passed < wait; passed += wait / 4 {
				r.RequireUnavailable(r.Token())
				require.Equal(t, 1, r.Source.Asked())
				if c.want > none {
					err := r.Set.Refetch(t.Context())
					require.ErrorIs(t, err, jwtauth.ErrUnavailable)
					require.ErrorContains(t, err, "the source asks to wait")
					require.Equal(t, 1, r.Source.Asked())
				}
				r.Clock.Advance(wait / 4)
			}
			r.Clock.Advance(time.Second)
			r.RequireAccepted(r.Token())
			require.Equal(t, 2, r.Source.Asked())
			require.True(t, r.Set.Status().NextTry.IsZero())
		})
	}
}

// The present keys stay in use. Unknown kids, bad signatures and planned fetches wait.
func TestWhileTheSourceAsksToWaitNothingIsFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := namings[0]
		r, first, use := replacing(t, n)
		r.Source.Serve(limited(429, "240"))
		r.RequireUnavailable(r.Unknown("a"))
		require.Equal(t, 2, r.Source.Asked())
		second := fixture.NewKey(t, jwk.ES256)
		use(second)
		for range 23 {
			r.RequireUnavailable(r.Unknown("a"))
			r.RequireUnavailable(r.Unknown("b"))
			require.ErrorIs(t, r.RequireRefused(n.sign(t, r, second, nil)), jwtauth.ErrTokenSignature)
			r.RequireAccepted(n.sign(t, r, first, nil))
			synctest.Wait()
			r.Clock.Advance(10 * time.Second)
		}
		require.Equal(t, 2, r.Source.Asked())
		r.Clock.Advance(10 * time.Second)
		r.RequireAccepted(n.sign(t, r, second, nil))
		require.Equal(t, 3, r.Source.Asked())
		// A clock that is set back does not lengthen the wait much.
		r.Source.Serve(limited(429, "240"))
		r.Clock.Advance(time.Minute)
		r.RequireUnavailable(r.Unknown("c"))
		r.Source.Serve(r.Keys)
		r.Clock.Advance(-time.Hour)
		r.RequireUnknown(r.Unknown("d"))
		require.GreaterOrEqual(t, r.Source.Asked(), 5)
	})
}

// If the metadata are limited, the other address is not tried.
func TestRetryAfterOfTheMetadataCounts(t *testing.T) {
	d := fixture.Directory{fixture.Issuer + "/.well-known/openid-configuration": limited(429, "120")}
	r := fixture.Discovered(t, fixture.Issuer, d)
	require.ErrorIs(t, r.Set.Ready(t.Context()), jwtauth.ErrUnavailable)
	require.Equal(t, 1, r.Source.Asked())
	require.Equal(t, 2*time.Minute, r.Set.Status().NextTry.Sub(r.Clock.Now()))
	// With Background, too, nothing is fetched before.
	synctest.Test(t, func(t *testing.T) {
		r := fixture.NewRemote(t)
		r.Source.Serve(limited(503, "200"))
		set := r.NewSet(func(o *jwk.RemoteOptions) { o.Background, o.Now = true, nil })
		time.Sleep(199 * time.Second)
		require.Equal(t, 1, r.Source.Asked())
		r.Source.Serve(r.Keys)
		time.Sleep(62 * time.Second)
		require.Equal(t, 2, r.Source.Asked())
		require.NoError(t, set.Status().LastError)
		set.Close()
		synctest.Wait()
	})
}
