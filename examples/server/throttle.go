package main

import (
	"log/slog"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/httprate"
)

// throttle bounds the attempts to log in: so many for an account and, as a
// stranger can try many accounts, so many for an address. An attempt is counted
// before its password is checked. Counting the failures alone, afterwards, would
// let all guesses of a parallel burst pass.
type throttle struct{ accounts, addresses limit }

func newThrottle(attempts int, window time.Duration, log *slog.Logger) *throttle {
	return &throttle{
		accounts:  newLimit(attempts, window, log),
		addresses: newLimit(attempts*addressFactor, window, log),
	}
}

// admit counts an attempt. Where it is one too many, whatever the password,
// admit answers the request and says for what: address or account. An attempt
// that the address has not left does not count for the account.
func (t *throttle) admit(w http.ResponseWriter, r *http.Request, account string) (tooMany string) {
	switch {
	case !t.addresses.admit(w, r, peer(r)):
		return "address"
	case !t.accounts.admit(w, r, account):
		return "account"
	}
	return ""
}

// succeeded clears the count of an account, and gives the address this one
// attempt back, no more: a stranger with an account of his own must not get more
// guesses by logging in to it.
func (t *throttle) succeeded(r *http.Request, account string) {
	t.accounts.counter.forget(account)
	t.addresses.counter.giveBack(peer(r))
}

// unchecked gives both their attempt back, where the password was not looked at.
func (t *throttle) unchecked(r *http.Request, account string) {
	t.accounts.counter.giveBack(account)
	t.addresses.counter.giveBack(peer(r))
}

// peer is the address that the connection comes from; for IPv6 its /64, the
// least that one customer gets. Headers such as X-Forwarded-For are not looked
// at, since anybody can send them: behind a proxy, take the header that this
// very proxy sets.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return httprate.CanonicalizeIP(host)
}

// limit is the limiter of one kind of key.
type limit struct {
	limiter *httprate.RateLimiter
	counter *counter
}

// maxKeys is how many accounts, and how many addresses, are counted at a time.
const maxKeys = 1 << 16

func newLimit(attempts int, window time.Duration, log *slog.Logger) limit {
	c := &counter{most: maxKeys, attempts: make(map[string][]time.Time)}
	return limit{counter: c, limiter: httprate.NewRateLimiter(attempts, window,
		httprate.WithLimitCounter(c),
		// The limiter says no then, and is answered as for any other no.
		httprate.WithErrorHandler(func(_ http.ResponseWriter, r *http.Request, err error) {
			log.ErrorContext(r.Context(), "login throttle", "error", err)
		}),
	)}
}

func (l limit) admit(w http.ResponseWriter, r *http.Request, key string) bool {
	if !l.limiter.OnLimit(w, r, key) {
		return true
	}
	// The limiter knows windows, the counter knows when the next attempt is free.
	wait := l.counter.wait(key)
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(wait+time.Second-1).Unix(), 10))
	refuse(w, http.StatusTooManyRequests, "too_many_attempts", "too many attempts to log in; try again later")
	return false
}
