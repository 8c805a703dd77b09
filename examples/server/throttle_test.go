package main

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
)

// countChecks counts how many passwords are looked at, however slow the machine.
func (s *testServer) countChecks() *atomic.Int64 {
	s.gate.patience = time.Minute
	var n atomic.Int64
	derive := s.gate.derive
	s.gate.derive = func(password, salt []byte, passes, memory uint32, lanes uint8, length uint32) []byte {
		n.Add(1)
		return derive(password, salt, passes, memory, lanes, length)
	}
	return &n
}

// fast makes the check of a password cost nothing: only right is right.
func (s *testServer) fast(right string) {
	s.gate.derive = func(password, _ []byte, _, _ uint32, _ uint8, _ uint32) []byte {
		if string(password) == right {
			return s.users.byName["alice"].hash.hash
		}
		return nil
	}
}

// burst sends n logins at a time and returns how many got each status.
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
		response, err := http.Post(listener.URL+"/api/login", "application/json", strings.NewReader(loginBody("alice", password)))
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
		return s.askFrom(fmt.Sprintf("198.51.100.%d:1", i), "POST", "/api/login", "", loginBody("alice", "wrong")).status
	})
	require.Equal(t, map[int]int{400: 5, 429: 195}, statuses)
	require.EqualValues(t, 5, checked.Load())
	locked := s.ask("POST", "/api/login", "", loginBody("alice", usersPassword))
	require.Equal(t, 429, locked.status)
	require.Equal(t, 200, s.ask("POST", "/api/login", "", loginBody("bob", usersPassword)).status, "another account is locked, too")
}

func TestABurstOnManyAccountsIsBoundedByTheAddress(t *testing.T) {
	s := newTestServer(t, nil)
	checked := s.countChecks()
	statuses := burst(200, func(i int) int {
		r := httptest.NewRequest("POST", "/api/login", strings.NewReader(loginBody(fmt.Sprint("user", i), "wrong")))
		r.RemoteAddr = fmt.Sprintf("192.0.2.7:%d", 1024+i)
		r.Header.Set("Content-Type", "application/json")
		for _, name := range []string{"X-Forwarded-For", "X-Real-IP", "True-Client-IP", "Forwarded"} { // anybody can send these
			r.Header.Set(name, fmt.Sprintf("203.0.113.%d", i))
		}
		return s.serve(r).status
	})
	require.Equal(t, map[int]int{400: 20, 429: 180}, statuses)
	require.EqualValues(t, 20, checked.Load())
	require.Equal(t, 200, s.ask("POST", "/api/login", "", loginBody("alice", usersPassword)).status, "another address is locked, too")
}

func TestAThrottledLoginIsAnsweredWithTheLimitAndATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, nil)
		s.fast(usersPassword)
		guess := func() answer { return s.ask("POST", "/api/login", "", loginBody("alice", "wrong")) }
		for i := range 5 {
			a := guess()
			require.Equal(t, 400, a.status)
			require.Equal(t, "5", a.header.Get("X-RateLimit-Limit"))
			require.Equal(t, strconv.Itoa(4-i), a.header.Get("X-RateLimit-Remaining"))
			time.Sleep(time.Minute) // of the bubble's clock
		}
		a := guess()
		require.Equal(t, 429, a.status)
		require.Equal(t, "too_many_attempts", a.member(t, "error"))
		require.Equal(t, "5", a.header.Get("X-RateLimit-Limit"))
		require.Equal(t, "0", a.header.Get("X-RateLimit-Remaining"))
		require.Equal(t, "600", a.header.Get("Retry-After"), "the first attempt was five minutes ago")
		reset, err := strconv.ParseInt(a.header.Get("X-RateLimit-Reset"), 10, 64)
		require.NoError(t, err)
		require.Equal(t, time.Now().Add(10*time.Minute).Unix(), reset)
		require.Contains(t, s.log.String(), `"msg":"login throttled","user":"alice","by":"account","peer":"192.0.2.1"`)

		time.Sleep(10*time.Minute - time.Nanosecond)
		require.Equal(t, 429, guess().status)
		time.Sleep(time.Nanosecond)
		require.Equal(t, 400, guess().status, "one who has waited as told is still refused")
		require.Equal(t, 429, guess().status)
	})
}

func TestNoWindowHasMoreAttemptsThanTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, []string{"-login-limit", "3", "-login-window", "10m"})
		s.fast(usersPassword)
		var admitted []time.Time
		for range 24 * 60 { // an attempt every 5 seconds, from many addresses
			address := fmt.Sprintf("198.51.%d.%d:1", len(admitted)/200, time.Now().Unix()%200)
			if s.askFrom(address, "POST", "/api/login", "", loginBody("alice", "wrong")).status == 400 {
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
		return s.ask("POST", "/api/login", "", loginBody(user, password)).status
	}
	for range 4 {
		require.Equal(t, 400, login("alice", "wrong"))
	}
	require.Equal(t, 200, login("alice", usersPassword))
	for range 5 { // cleared: five again
		require.Equal(t, 400, login("alice", "wrong"))
	}
	require.Equal(t, 429, login("alice", usersPassword))

	// The address: 4 + 5 failures and one that was throttled, 10 are left. As
	// many successes as one likes don't change that.
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
		for range cap(s.gate.slots) {
			s.gate.slots <- struct{}{}
		}
		for range 30 {
			a := s.ask("POST", "/api/login", "", loginBody("alice", usersPassword))
			require.Equal(t, 503, a.status)
			require.Equal(t, "temporarily_unavailable", a.member(t, "error"))
			require.Equal(t, "1", a.header.Get("Retry-After"))
		}
		<-s.gate.slots
		require.Equal(t, 200, s.ask("POST", "/api/login", "", loginBody("alice", usersPassword)).status)
		require.Empty(t, s.throttle.accounts.counter.attempts)
		require.Empty(t, s.throttle.addresses.counter.attempts)
	})
}

func TestAnIPv6CustomerIsOneAddress(t *testing.T) {
	s := newTestServer(t, []string{"-login-limit", "1"})
	s.fast(usersPassword)
	for i := range 4 {
		require.Equal(t, 400, s.askFrom(fmt.Sprintf("[2001:db8::%d]:1", i), "POST", "/api/login", "", loginBody(fmt.Sprint("user", i), "wrong")).status)
	}
	require.Equal(t, 429, s.askFrom("[2001:db8::ffff]:1", "POST", "/api/login", "", loginBody("user9", "wrong")).status)
	require.Equal(t, 400, s.askFrom("[2001:db8:0:1::1]:1", "POST", "/api/login", "", loginBody("user9", "wrong")).status)
}
