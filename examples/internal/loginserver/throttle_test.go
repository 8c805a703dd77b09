package loginserver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
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

func TestOfABurstOfGuessesTenReachThePasswordCheck(t *testing.T) {
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
	require.Equal(t, map[int]int{401: 10, 429: 190}, statuses)
	require.EqualValues(t, 10, checked.Load())

	require.Equal(t, 429, guess(usersPassword), "the right password was checked after too many wrong ones")
	require.EqualValues(t, 10, checked.Load())
}

func TestAStrangerDoesNotLockAliceOut(t *testing.T) {
	s := newTestServer(t, nil)
	s.fast(usersPassword)
	login := func(address, password string) int {
		return s.askFrom(address, "POST", "/api/login", "", programtest.LoginBody("alice", password)).Status
	}
	require.Equal(t, 200, login("[2001:db8:a::1]:1", usersPassword))
	statuses := burst(2_000, func(i int) int { return login(fmt.Sprintf("[2001:db8:bad:%x::1]:1", i), "wrong") })
	require.Equal(t, map[int]int{401: 40, 429: 1_960}, statuses, "of one /48")
	require.Equal(t, 200, login("[2001:db8:a::1]:1", usersPassword), "at home")
	require.Equal(t, 200, login("192.0.2.1:1", usersPassword), "at a new address")
}

func TestABurstOnManyAccountsIsBoundedByTheAddress(t *testing.T) {
	s := newTestServer(t, nil)
	s.fast(usersPassword)
	statuses := burst(200, func(i int) int {
		r := httptest.NewRequest("POST", "/api/login", strings.NewReader(programtest.LoginBody(fmt.Sprint("user", i), "wrong")))
		r.RemoteAddr = fmt.Sprintf("192.0.2.7:%d", 1024+i)
		r.Header.Set("Content-Type", "application/json")
		for _, name := range []string{"X-Forwarded-For", "X-Real-IP", "True-Client-IP", "Forwarded"} { // anybody can send these
			r.Header.Set(name, fmt.Sprintf("203.0.113.%d", i))
		}
		return s.serve(r).Status
	})
	require.Equal(t, map[int]int{401: 100, 429: 100}, statuses)
	require.Equal(t, 200, s.ask("POST", "/api/login", "", programtest.LoginBody("alice", usersPassword)).Status, "another address is limited, too")
}

func TestSuccessfulLoginsAreLimited(t *testing.T) {
	s := newTestServer(t, nil)
	s.fast(usersPassword)
	statuses := burst(200, func(int) int {
		return s.ask("POST", "/api/login", "", programtest.LoginBody("alice", usersPassword)).Status
	})
	require.Less(t, statuses[200], 55)
	require.Equal(t, 200, statuses[200]+statuses[429])
	require.Equal(t, 200, s.ask("POST", "/api/login", "", programtest.LoginBody("bob", usersPassword)).Status)
}

func TestAThrottledLoginIsAnsweredWithATimeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, nil)
		s.fast(usersPassword)
		guess := func(name string) programtest.Answer {
			return s.ask("POST", "/api/login", "", programtest.LoginBody(name, "wrong"))
		}
		for range 10 {
			known, unknown := guess("alice"), guess("mallory")
			require.Equal(t, 401, known.Status)
			require.Equal(t, known, unknown)
			require.Empty(t, known.Header.Get("Retry-After"))
			time.Sleep(20 * time.Second) // of the bubble's clock
		}
		known, unknown := guess("alice"), guess("mallory")
		require.Equal(t, 429, known.Status)
		require.Equal(t, known, unknown)
		require.Equal(t, "too_many_attempts", known.Member(t, "error"))
		for name := range known.Header {
			require.NotContains(t, strings.ToLower(name), "ratelimit")
		}
		require.Contains(t, s.log.String(), `"kind":"login_refused","reason":"throttle"`)

		wait, err := time.ParseDuration(known.Header.Get("Retry-After") + "s")
		require.NoError(t, err)
		require.InDelta(t, 12*time.Minute, wait, float64(3*time.Minute))
		time.Sleep(wait - 2*time.Second)
		require.Equal(t, 429, guess("alice").Status)
		time.Sleep(2 * time.Second)
		require.Equal(t, 401, guess("alice").Status, "one who has waited as told is still refused")
	})
}

func TestAnAttemptThatWasNotCheckedCountsForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, []string{"-login-limit", "1"})
		s.fast(usersPassword)
		for range cap(s.passwords.slots) {
			s.passwords.slots <- struct{}{}
		}
		for range 3 {
			a := s.ask("POST", "/api/login", "", programtest.LoginBody("alice", usersPassword))
			require.Equal(t, 503, a.Status)
			require.Equal(t, "temporarily_unavailable", a.Member(t, "error"))
			require.Equal(t, "1", a.Header.Get("Retry-After"))
			require.Equal(t, 429, s.ask("POST", "/api/login", "", programtest.LoginBody("alice", usersPassword)).Status)
			time.Sleep(time.Minute) // of the bubble's clock
		}
		<-s.passwords.slots
		require.Equal(t, 200, s.ask("POST", "/api/login", "", programtest.LoginBody("alice", usersPassword)).Status)
	})
}

func TestAClientWithoutAnAddressGetsNoAnswer(t *testing.T) {
	s := newTestServer(t, nil)
	a := s.askFrom("@", "POST", "/api/login", "", programtest.LoginBody("alice", usersPassword))
	require.Equal(t, 503, a.Status)
	require.Contains(t, s.log.String(), `"kind":"unavailable","reason":"throttle"`)
}
