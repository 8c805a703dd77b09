package loginserver

import (
	"log/slog"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/httprate"
)

// throttle limits the attempts to log in, for each account and, since a stranger can
// try many accounts, for each address. An attempt is counted before its password is
// checked. If only failures were counted, after the check, all guesses of a parallel
// burst would pass.
type throttle struct{ accounts, addresses limit }

func newThrottle(attempts int, window time.Duration, log *slog.Logger) *throttle {
	return &throttle{
		accounts:  newLimit(attempts, window, log),
		addresses: newLimit(attempts*addressFactor, window, log),
	}
}

// admit counts an attempt. If the limit is reached, admit answers the request, and
// returns "address" or "account" for the limit that was reached. An attempt that is
// refused for its address does not count for the account.
func (t *throttle) admit(w http.ResponseWriter, r *http.Request, account string) (limited string) {
	switch {
	case !t.addresses.admit(w, r, peer(r)):
		return "address"
	case !t.accounts.admit(w, r, account):
		return "account"
	}
	return ""
}

// succeeded clears the count of an account, and gives the address only this one
// attempt back: a stranger with an account must not get more guesses at others by
// logging in to it.
func (t *throttle) succeeded(r *http.Request, account string) {
	t.accounts.counter.forget(account)
	t.addresses.counter.giveBack(peer(r))
}

// withdraw gives the account and the address an attempt back whose password was not
// checked.
func (t *throttle) withdraw(r *http.Request, account string) {
	t.accounts.counter.giveBack(account)
	t.addresses.counter.giveBack(peer(r))
}

// peer returns the address of the client: that of the connection, or its /64 for
// IPv6, which is the smallest network that a provider gives to one customer. It
// ignores headers such as X-Forwarded-For, since anybody can send them. Behind a
// proxy, use the header that this proxy sets.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return httprate.CanonicalizeIP(host)
}

// limit limits the attempts of one kind of key: accounts or addresses.
type limit struct {
	limiter *httprate.RateLimiter
	counter *counter
}

// maxKeys is the greatest number of accounts, and of addresses, with a count.
const maxKeys = 1 << 16

func newLimit(attempts int, window time.Duration, log *slog.Logger) limit {
	c := &counter{maxKeys: maxKeys, attempts: make(map[string][]time.Time)}
	return limit{counter: c, limiter: httprate.NewRateLimiter(attempts, window,
		httprate.WithLimitCounter(c),
		// If the counter fails, the limiter refuses the attempt. It is answered like
		// any other refusal.
		httprate.WithErrorHandler(func(_ http.ResponseWriter, r *http.Request, err error) {
			log.ErrorContext(r.Context(), "login throttle", "error", err)
		}),
	)}
}

func (l limit) admit(w http.ResponseWriter, r *http.Request, key string) bool {
	if !l.limiter.OnLimit(w, r, key) {
		return true
	}
	// The limiter counts in fixed windows. The counter knows the time of the next
	// attempt that will be admitted.
	wait := l.counter.wait(key)
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(wait+time.Second-1).Unix(), 10))
	refuse(w, http.StatusTooManyRequests, "too_many_attempts", "too many attempts to log in; try again later")
	return false
}
