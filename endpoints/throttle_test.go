package endpoints_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

var _ endpoints.Throttle = (*endpoints.MemoryThrottle)(nil)

// throttled is a throttle with a clock, and a login in front of which it stands.
type throttled struct {
	*endpoints.MemoryThrottle
	t     testing.TB
	clock *jwtauthtest.Clock
}

func newThrottled(t testing.TB, o endpoints.ThrottleOptions) *throttled {
	t.Helper()
	clock := &jwtauthtest.Clock{}
	clock.Set(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	o.Now = clock.Now
	throttle, err := endpoints.NewThrottle(o)
	require.NoError(t, err)
	return &throttled{throttle, t, clock}
}

// begin is Begin without an error.
func (s *throttled) begin(name string, addr netip.Addr) (done func(bool), wait time.Duration) {
	done, wait, err := s.Begin(context.Background(), name, addr)
	if err != nil {
		s.t.Error(err)
	}
	if (done == nil) != (wait > 0) {
		s.t.Errorf("done is nil: %v, and retryAfter is %v", done == nil, wait)
	}
	return done, wait
}

// try tries a login, and reports whether the throttle let the password be checked.
func (s *throttled) try(name string, addr netip.Addr, right bool) bool {
	done, _ := s.begin(name, addr)
	if done != nil {
		done(right)
	}
	return done != nil
}

// fail counts how many of n wrong passwords are checked.
func (s *throttled) fail(n int, name func(i int) string, addr func(i int) netip.Addr) (checked int) {
	for i := range n {
		if s.try(name(i), addr(i), false) {
			checked++
		}
	}
	return checked
}

func always[V any](v V) func(int) V { return func(int) V { return v } }

// in6 returns address i of a /48, each in a /64 of its own.
func in6(i int) netip.Addr { return subnet("2001:db8:bad::", i, 0) }

// subnet returns an address in the /64 with number i of the /48 prefix.
func subnet(prefix string, i, host int) netip.Addr {
	b := netip.MustParseAddr(prefix).As16()
	binary.BigEndian.PutUint16(b[6:], uint16(i))
	binary.BigEndian.PutUint64(b[8:], uint64(host)+1)
	return netip.AddrFrom16(b)
}

// in4 returns address i of the public part of IPv4, each in a /24 of its own.
func in4(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 7})
}

var home, office = netip.MustParseAddr("2001:db8:a:1::2"), netip.MustParseAddr("192.0.2.7")

func TestANetworkHasPerNameGuessesForAnAccount(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{})
	for _, addr := range []netip.Addr{home, office} {
		require.Equal(t, 10, s.fail(50, always("alice"), always(addr)), addr)
		require.False(t, s.try("alice", addr, true), "a right password opened it")
	}
	require.True(t, s.try("bob", office, true), "another account is refused, too")
	require.True(t, s.try("alice", in4(1), true), "another network is refused, too")
}

func TestANetworkHasPerNetworkGuesses(t *testing.T) {
	name := func(i int) string { return fmt.Sprint("user", i) }
	for _, c := range []struct {
		what    string
		addr    func(i int) netip.Addr
		checked int
	}{
		{"an IPv4 address", always(office), 100},
		{"an IPv4 address in IPv6", always(netip.AddrFrom16(office.As16())), 100},
		{"a /24", func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }, 400},
		{"a /64", func(i int) netip.Addr { return subnet("2001:db8::", 0, i) }, 100},
		{"a /64 with zones", func(i int) netip.Addr { return home.WithZone(fmt.Sprint("eth", i)) }, 100},
		{"a /56", func(i int) netip.Addr { return subnet("2001:db8::", i%256, i) }, 200},
		{"a /48", in6, 400},
	} {
		s := newThrottled(t, endpoints.ThrottleOptions{})
		require.Equal(t, c.checked, s.fail(2_000, name, c.addr), c.what)
	}
	s := newThrottled(t, endpoints.ThrottleOptions{})
	mapped := func(i int) netip.Addr { return netip.AddrFrom16(in4(i).As16()) }
	require.Equal(t, 2_000, s.fail(2_000, name, mapped), "IPv4 addresses in IPv6 count as one")
	s = newThrottled(t, endpoints.ThrottleOptions{})
	translated := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("64:ff9b::%d.0.2.7", i%200+1)) }
	require.Equal(t, 2_000, s.fail(2_000, name, translated), "IPv4 clients of a translator count as one")
}

func TestAStrangerWithA48CannotLockOutAlice(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{})
	require.True(t, s.try("alice", home, true))
	checked := 0
	for i := range 1 << 16 {
		if s.try("alice", in6(i), false) {
			checked++
		}
		if i%2_000 == 1_999 {
			require.True(t, s.try("alice", home, true), "alice at home, after %d guesses", i)
			require.True(t, s.try(fmt.Sprint("user", i), in4(i), true), "another user at a new address, after %d guesses", i)
		}
	}
	require.Equal(t, 40, checked, "guesses from one /48")
	require.True(t, s.try("alice", office, true), "alice at a new address")
}

func TestAliceKeepsAWayInInTheNetworkOfTheStranger(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{})
	neighbor := subnet("2001:db8:a::", 200, 1)
	require.True(t, s.try("alice", home, true))
	s.fail(5_000, func(i int) string { return fmt.Sprint("user", i) }, func(i int) netip.Addr { return subnet("2001:db8:a::", i, 1) })
	s.fail(5_000, always("alice"), func(i int) netip.Addr { return subnet("2001:db8:a::", i|0x100, 1) })
	require.False(t, s.try("carol", neighbor, true), "the /48 is not limited")
	require.True(t, s.try("alice", home, true))
	require.Equal(t, 10, s.fail(50, always("alice"), always(home)), "a known network is not limited")
}

func TestBehindAProxyWhoseClientsAreOneAddress(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{})
	proxy := netip.MustParseAddr("10.0.0.1")
	require.True(t, s.try("alice", proxy, true))
	require.Equal(t, 100, s.fail(5_000, func(i int) string { return fmt.Sprint("user", i) }, always(proxy)))
	require.True(t, s.try("alice", proxy, true), "an account that logged in before")
	require.False(t, s.try("bob", proxy, true), "all clients are one network: the throttle needs their addresses")
}

func TestAFullThrottleAdmitsAccountsAtTheirNetworks(t *testing.T) {
	const names = 1_000_000
	s := newThrottled(t, endpoints.ThrottleOptions{})
	for i := range 1_000 {
		require.True(t, s.try(fmt.Sprint("user", i), in4(1<<20+i), true))
	}
	checked := s.fail(names, func(i int) string { return fmt.Sprint("nobody", i) }, in4)
	require.Greater(t, checked, 100_000)
	for i := range 1_000 {
		require.True(t, s.try(fmt.Sprint("user", i), in4(1<<20+i), true), "user %d after %d failures", i, checked)
	}
	s.clock.Advance(18 * time.Minute)
	require.True(t, s.try("somebody new", office, true), "the flood is over, and its count is not")
}

func TestBelowMaxEntriesNobodyIsMistakenForAnother(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{})
	require.Equal(t, 1<<16, s.fail(1<<16, func(i int) string { return fmt.Sprint("nobody", i) }, in4))
	for i := range 1_000 {
		require.True(t, s.try(fmt.Sprint("user", i), in4(1<<20+i), true), "user %d at a new address", i)
	}
}

func TestItsMemoryIsBounded(t *testing.T) {
	const entries = 1 << 13 // an eighth of the default, as are the bounds
	before := fixture.Heap()
	s := newThrottled(t, endpoints.ThrottleOptions{MaxEntries: entries})
	require.InDelta(t, before+3<<19, fixture.Heap(), 1<<18)
	for i := range 50_000 { // names that do not exist, and outcomes that do not come
		s.try(fmt.Sprint("nobody", i), in4(i), false)
		s.clock.Advance(time.Minute / 50_000)
		s.begin(fmt.Sprint("open", i), in4(1<<20+i))
	}
	require.Less(t, fixture.Heap(), before+6<<20)
	for i := range 3 * entries * 8 { // accounts with eight networks each
		s.clock.Advance(10 * time.Millisecond)
		done, _ := s.begin(fmt.Sprint("user", i/8), in4(1<<21+i))
		if done != nil {
			done(true)
		}
	}
	require.Less(t, fixture.Heap(), before+8<<20)
	runtime.KeepAlive(s)
}

func TestTheLastEightNetworksOfAnAccountAreKnown(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{PerNetwork: 1})
	for i := range 9 {
		require.True(t, s.try("alice", in4(i), true))
	}
	require.True(t, s.try("alice", in4(1), true)) // now network 2 was used least recently
	require.True(t, s.try("alice", in4(9), true))
	for i := range 10 {
		s.fail(1, always("a stranger"), always(in4(i)))
		require.Equal(t, i != 0 && i != 2, s.try("alice", in4(i), false), i)
	}
}

func TestTheLastAccountsAreKnown(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{PerNetwork: 1, MaxEntries: 1 << 10})
	name := func(i int) string { return fmt.Sprint("user", i) }
	for i := range 1_500 {
		require.True(t, s.try(name(i), in4(i), true))
	}
	s.fail(1_500, always("a stranger"), in4)
	for i := range 1_500 {
		if known := s.try(name(i), in4(i), false); i >= 1_500-512 {
			require.True(t, known, i)
		} else if i < 1_500-1_024 {
			require.False(t, known, i)
		}
	}
}

func TestParallelGuessesAreCountedBeforeTheyAreChecked(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{})
	require.True(t, s.try("alice", home, true))
	for _, addr := range []netip.Addr{office, home} {
		var checked atomic.Int64
		var all sync.WaitGroup
		begun := make(chan struct{})
		for range 200 {
			all.Go(func() {
				done, _ := s.begin("alice", addr)
				if done == nil {
					return
				}
				checked.Add(1)
				<-begun
				done(false)
			})
		}
		close(begun)
		all.Wait()
		require.EqualValues(t, 10, checked.Load(), addr)
	}
}

func TestSuccessfulLoginsAreLimited(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{})
	logins := 0
	for range 1_000 {
		if s.try("alice", home, true) {
			logins++
		}
	}
	require.InDelta(t, 40, logins, 1)
	require.True(t, s.try("bob", home, true), "another account is limited, too")
	s.clock.Advance(18 * time.Minute)
	require.True(t, s.try("alice", home, true))

	// Changing between networks, so that they are forgotten, gives no more.
	s = newThrottled(t, endpoints.ThrottleOptions{})
	logins = 0
	for i := range 20_000 {
		if s.try("alice", in6(i%10), true) {
			logins++
		}
	}
	require.Less(t, logins, 10*45)
}

func TestOneLoginIsPossibleWithTheSmallestLimit(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{PerName: 1})
	for range 4 {
		require.True(t, s.try("alice", home, true))
	}
	require.False(t, s.try("alice", home, true))
	require.Equal(t, 1, s.fail(5, always("bob"), always(home)))
}

func TestNoWindowHasMoreFailuresThanTheLimit(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{PerName: 3, Window: 10 * time.Minute})
	require.True(t, s.try("alice", office, true))
	for _, addr := range []netip.Addr{home, office} {
		var failed []time.Time
		for range 24 * 60 {
			if s.try("alice", addr, false) {
				failed = append(failed, s.clock.Now())
			}
			s.clock.Advance(5 * time.Second)
		}
		require.Greater(t, len(failed), 27, addr)
		for i := 3; i < len(failed); i++ {
			require.GreaterOrEqual(t, failed[i].Sub(failed[i-3]), 10*time.Minute, addr)
		}
	}
}

func TestWhoWaitsAsToldIsAdmitted(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{})
	for _, name := range []string{"alice", "nobody"} {
		for range 10 {
			require.True(t, s.try(name, home, false))
			s.clock.Advance(20 * time.Second)
		}
		_, wait := s.begin(name, home)
		require.Greater(t, wait, 11*time.Minute)
		require.LessOrEqual(t, wait, 15*time.Minute)
		s.clock.Advance(wait - 1)
		require.False(t, s.try(name, home, false))
		s.clock.Advance(1)
		require.True(t, s.try(name, home, false))
	}
}

func TestAnOutcomeThatNobodyKnowsCountsForAMinute(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{PerName: 2, PerNetwork: 2})
	require.True(t, s.try("alice", home, true))
	for _, addr := range []netip.Addr{office, home} {
		for range 20 {
			s.begin("alice", addr)
		}
		late, _ := s.begin("bob", in4(5))
		require.False(t, s.try("alice", addr, true))
		s.clock.Advance(time.Minute)
		require.Equal(t, 2, s.fail(5, always("alice"), always(addr)))
		late(false) // it counts, although late
		require.Equal(t, 1, s.fail(5, always("bob"), always(in4(5))))
		s.clock.Advance(20 * time.Minute)
	}
}

func TestOnlyTheFirstOutcomeCounts(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{PerName: 1})
	wrong, _ := s.begin("alice", home)
	wrong(false)
	wrong(true)
	wrong(true)
	require.False(t, s.try("alice", home, true), "a failure became a success")
	right, _ := s.begin("bob", home)
	right(true)
	right(true)
	right(false)
	require.True(t, s.try("bob", home, true))
}

func TestAClockThatIsSetDoesNotLockAnybodyOut(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour, 200 * 365 * 24 * time.Hour} {
		s := newThrottled(t, endpoints.ThrottleOptions{})
		require.True(t, s.try("alice", home, true))
		require.Equal(t, 10, s.fail(50, always("alice"), always(office)))
		s.clock.Advance(step)
		if step < 0 {
			require.False(t, s.try("alice", office, false), "failures were forgotten")
		}
		require.True(t, s.try("alice", home, true), step)
		s.clock.Advance(-step)
		require.True(t, s.try("alice", home, true), step)
		s.fail(50, always("alice"), always(office))
		_, wait := s.begin("alice", office)
		require.LessOrEqual(t, wait, 18*time.Minute, step)
		s.clock.Advance(18 * time.Minute)
		require.True(t, s.try("alice", office, true), step)
	}
	s := newThrottled(t, endpoints.ThrottleOptions{})
	for range 5 {
		s.clock.Advance(200 * 365 * 24 * time.Hour)
		require.Equal(t, 10, s.fail(50, always("alice"), always(office)))
		_, wait := s.begin("alice", office)
		require.LessOrEqual(t, wait, 18*time.Minute)
	}
}

func TestAThrottleIsSafeForConcurrentUse(t *testing.T) {
	throttle, err := endpoints.NewThrottle(endpoints.ThrottleOptions{})
	require.NoError(t, err)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 500 {
				done, _, err := throttle.Begin(t.Context(), fmt.Sprint("user", i%20), in4(n))
				if err != nil {
					t.Error(err)
				}
				if done != nil {
					done(i%2 == 0)
				}
				_ = fmt.Sprint(throttle)
			}
		})
	}
	all.Wait()
}

func TestAThrottleGivesNoAnswer(t *testing.T) {
	s := newThrottled(t, endpoints.ThrottleOptions{})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		what     string
		throttle *endpoints.MemoryThrottle
		ctx      context.Context
		addr     netip.Addr
	}{
		{"to an ended context", s.MemoryThrottle, ended, home},
		{"without an address", s.MemoryThrottle, t.Context(), netip.Addr{}},
		{"as a zero value", &endpoints.MemoryThrottle{}, t.Context(), home},
		{"as a nil pointer", nil, t.Context(), home},
	} {
		done, wait, err := c.throttle.Begin(c.ctx, "alice", c.addr)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable, c.what)
		require.Nil(t, done, c.what)
		require.Zero(t, wait, c.what)
	}
}

func TestThrottleOptionsHaveBounds(t *testing.T) {
	for name, o := range map[string]endpoints.ThrottleOptions{
		"PerName is -1":         {PerName: -1},
		"PerName is 1001":       {PerName: 1_001},
		"PerNetwork is -1":      {PerNetwork: -1},
		"PerNetwork is 100001":  {PerNetwork: 100_001},
		"Window is -1ns":        {Window: -1},
		"Window is 24h0m1s":     {Window: 24*time.Hour + time.Second},
		"MaxEntries is 1023":    {MaxEntries: 1_023},
		"MaxEntries is 1677721": {MaxEntries: 1<<24 + 1},
	} {
		_, err := endpoints.NewThrottle(o)
		require.ErrorContains(t, err, name)
		require.ErrorContains(t, err, "is expected")
	}
	for _, o := range []endpoints.ThrottleOptions{{PerName: 1, PerNetwork: 1, Window: time.Second, MaxEntries: 1_024}, {PerName: 1_000, PerNetwork: 100_000, Window: 24 * time.Hour}} {
		s := newThrottled(t, o)
		require.True(t, s.try("alice", home, true))
	}
	require.Equal(t, "MemoryThrottle(10 per name and 100 per network in 15m0s)", fmt.Sprint(newThrottled(t, endpoints.ThrottleOptions{}).MemoryThrottle))
}
