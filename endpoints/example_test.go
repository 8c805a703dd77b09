package endpoints_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
)

func ExampleNewThrottle() {
	throttle, err := endpoints.NewThrottle(endpoints.ThrottleOptions{})
	if err != nil {
		log.Fatal(err)
	}
	login := func(w http.ResponseWriter, r *http.Request) {
		name, password := r.PostFormValue("name"), r.PostFormValue("password")
		client, _ := netip.ParseAddrPort(r.RemoteAddr) // behind a proxy: the address that it saw
		done, retryAfter, err := throttle.Begin(r.Context(), name, client.Addr())
		switch {
		case err != nil:
			jwtauth.WriteError(w, r, err)
			return
		case done == nil:
			w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)+1))
			http.Error(w, "too many attempts", http.StatusTooManyRequests)
			return
		}
		right := name == "alice" && password == "correct horse battery staple" // a real program compares hashes
		done(right)
		if !right {
			http.Error(w, "the name or the password is wrong", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "hello")
	}
	for range 12 {
		answer := httptest.NewRecorder()
		login(answer, httptest.NewRequest("POST", "/login?name=alice&password=guess", nil))
		fmt.Print(answer.Code, " ")
	}
	// Output: 401 401 401 401 401 401 401 401 401 401 429 429
}
