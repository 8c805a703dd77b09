package loginserver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
)

// countChecks counts the checks of passwords. It raises patience for slow machines.
func (s *testServer) countChecks() *atomic.Int64 {
	s.passwords.patience = time.Minute
	var n atomic.Int64
	derive := s.passwords.derive
	s.passwords.derive = func(password, salt []byte, passes, memory uint32, lanes uint8, length uint32) []byte {
		n.Add(1)
		return derive(password, salt, passes, memory, lanes, length)
	}
	return &n
}

// fast replaces the hash function: only the password right matches.
func (s *testServer) fast(right string) {
	s.passwords.derive = func(password, _ []byte, _, _ uint32, _ uint8, _ uint32) []byte {
		if string(password) == right {
			return s.users.byName["alice"].hash.hash
		}
		return nil
	}
}

// burst sends n logins at once, and counts the answers by status.
func burst(n int, login func(i int) int) map[int]int {
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			status := login(i)
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
		})
	}
	all.Wait()
	return statuses
}

func TestOfABurstOfGuessesFiveReachThePasswordCheck(t *testing.T) {
	s := newTestServer(t, nil)
	checked := s.countChecks()
	listener := httptest.NewServer(s.h)
	defer listener.Close()
	guess := func(password string) int {
		response, err := http.Post(listener.URL+"/api/login", "application/json", strings.NewReader(programtest.LoginBody("alice", password)))
		if err != nil {
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	statuses := burst(200, func(i int) int { return guess(fmt.Sprint("guess ", i)) })
	require.Equal(t, map[int]int{400: 5, 429: 195}, statuses)
	require.EqualValues(t, 5, checked.Load())

	require.Equal(t, 429, guess(usersPassword), "a locked account was opened by the right password")
	require.EqualValues(t, 5, checked.Load())
}

func TestABurstFromManyAddressesIsBoundedByTheAccount(t *testing.T) {
	s := newTestServer(t, nil)
	checked := s.countChecks()
	statuses := burst(200, func(i int) int {
		return s.askFrom(fmt.Sprintf("198.51.100.%d:1", i), "POST", "/api/login", "", programtest.LoginBody("alice", "wrong")).Status
	})
	require.Equal(t, map[int]int{400: 5, 429: 195}, statuses)
	require.EqualValues(t, 5, checked.Load())
	locked := s.ask("POST", "/api/login", "", programtest.LoginBody("alice", usersPassword))
	require.Equal(t, 429, locked.Status)
	require.Equal(t, 200, s.ask("POST", "/api/login", "", programtest.LoginBody("bob", usersPassword)).Status, "another account is locked, too")
}

func TestABurstOnManyAccountsIsBoundedByTheAddress(t *testing.T) {
	s := newTestServer(t, nil)
	checked := s.countChecks()
	statuses := burst(200, func(i int) int {
		r := httptest.NewRequest("POST", "/api/login", strings.NewReader(programtest.LoginBody(fmt.Sprint("user", i), "wrong")))
		r.RemoteAddr = fmt.Sprintf("192.0.2.7:%d", 1024+i)
		r.Header.Set("Content-Type", "application/json")
		for _, name := range []string{"X-Forwarded-For", "X-Real-IP", "True-Client-IP", "Forwarded"} { // anybody can send these
			r.Header.Set(name, fmt.Sprintf("203.0.113.%d", i))
		}
		return s.serve(r).Status
	})
	require.Equal(t, map[int]int{400: 20, 429: 180}, statuses)
	require.EqualValues(t, 20, checked.Load())
	require.Equal(t, 200, s.ask("POST", "/api/login", "", programtest.LoginBody("alice", usersPassword)).Status, "another address is locked, too")
}

func TestAThrottledLoginIsAnsweredWithTheLimitAndATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, nil)
		s.fast(usersPassword)
		guess := func() programtest.Answer {
			return s.ask("POST", "/api/login", "", programtest.LoginBody("alice", "wrong"))
		}
		for i := range 5 {
			a := guess()
			require.Equal(t, 400, a.Status)
			require.Equal(t, "5", a.Header.Get("X-RateLimit-Limit"))
			require.Equal(t, strconv.Itoa(4-i), a.Header.Get("X-RateLimit-Remaining"))
			time.Sleep(time.Minute) // of the bubble's clock
		}
		a := guess()
		require.Equal(t, 429, a.Status)
		require.Equal(t, "too_many_attempts", a.Member(t, "error"))
		require.Equal(t, "5", a.Header.Get("X-RateLimit-Limit"))
		require.Equal(t, "0", a.Header.Get("X-RateLimit-Remaining"))
		require.Equal(t, "600", a.Header.Get("Retry-After"), "the first attempt was five minutes ago")
		reset, err := strconv.ParseInt(a.Header.Get("X-RateLimit-Reset"), 10, 64)
		require.NoError(t, err)
		require.Equal(t, time.Now().Add(10*time.Minute).Unix(), reset)
		require.Contains(t, s.log.String(), `"msg":"login throttled","user":"alice","by":"account","peer":"192.0.2.1"`)

		time.Sleep(10*time.Minute - time.Nanosecond)
		require.Equal(t, 429, guess().Status)
		time.Sleep(time.Nanosecond)
		require.Equal(t, 400, guess().Status, "one who has waited as told is still refused")
		require.Equal(t, 429, guess().Status)
	})
}

func TestNoWindowHasMoreAttemptsThanTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, []string{"-login-limit", "3", "-login-window", "10m"})
		s.fast(usersPassword)
		var admitted []time.Time
		for range 24 * 60 { // an attempt every 5 seconds, from many addresses
			address := fmt.Sprintf("198.51.%d.%d:1", len(admitted)/200, time.Now().Unix()%200)
			if s.askFrom(address, "POST", "/api/login", "", programtest.LoginBody("alice", "wrong")).Status == 400 {
				admitted = append(admitted, time.Now())
			}
			time.Sleep(5 * time.Second)
		}
		require.Greater(t, len(admitted), 30)
		for i := 3; i < len(admitted); i++ {
			require.GreaterOrEqual(t, admitted[i].Sub(admitted[i-3]), 10*time.Minute)
		}
	})
}

func TestASuccessClearsTheAccountAndGivesTheAddressOneAttemptBack(t *testing.T) {
	s := newTestServer(t, nil)
	s.fast(usersPassword)
	login := func(user, password string) int {
		return s.ask("POST", "/api/login", "", programtest.LoginBody(user, password)).Status
	}
	for range 4 {
		require.Equal(t, 400, login("alice", "wrong"))
	}
	require.Equal(t, 200, login("alice", usersPassword))
	for range 5 { // the count was cleared, five are allowed again
		require.Equal(t, 400, login("alice", "wrong"))
	}
	require.Equal(t, 429, login("alice", usersPassword))

	// The address has 4 + 5 failures and one attempt that was throttled, so 10 are left.
	// Any number of successes does not change that.
	for range 30 {
		require.Equal(t, 200, login("bob", usersPassword))
	}
	for i := range 10 {
		require.Equal(t, 400, login(fmt.Sprint("user", i), "wrong"))
	}
	require.Equal(t, 429, login("user-x", "wrong"), "an own account was a way round the limit")
	require.Equal(t, 429, login("bob", usersPassword))
}

func TestAnAttemptThatWasNotCheckedIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, nil)
		s.fast(usersPassword)
		for range cap(s.passwords.slots) {
			s.passwords.slots <- struct{}{}
		}
		for range 30 {
			a := s.ask("POST", "/api/login", "", programtest.LoginBody("alice", usersPassword))
			require.Equal(t, 503, a.Status)
			require.Equal(t, "temporarily_unavailable", a.Member(t, "error"))
			require.Equal(t, "1", a.Header.Get("Retry-After"))
		}
		<-s.passwords.slots
		require.Equal(t, 200, s.ask("POST", "/api/login", "", programtest.LoginBody("alice", usersPassword)).Status)
		require.Empty(t, s.throttle.accounts.counter.attempts)
		require.Empty(t, s.throttle.addresses.counter.attempts)
	})
}

func TestAnIPv6CustomerIsOneAddress(t *testing.T) {
	s := newTestServer(t, []string{"-login-limit", "1"})
	s.fast(usersPassword)
	for i := range 4 {
		require.Equal(t, 400, s.askFrom(fmt.Sprintf("[2001:db8::%d]:1", i), "POST", "/api/login", "", programtest.LoginBody(fmt.Sprint("user", i), "wrong")).Status)
	}
	require.Equal(t, 429, s.askFrom("[2001:db8::ffff]:1", "POST", "/api/login", "", programtest.LoginBody("user9", "wrong")).Status)
	require.Equal(t, 400, s.askFrom("[2001:db8:0:1::1]:1", "POST", "/api/login", "", programtest.LoginBody("user9", "wrong")).Status)
}
