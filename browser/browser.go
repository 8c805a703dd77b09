// Package browser has the browser half of a login with a refresh cookie: one ES module for pages
// whose server uses package endpoints. The module keeps the access token in memory, refreshes it
// before it expires, shares refreshes among tabs, and survives closed tabs, sleep, lost answers
// and a server that gives no answer. It has no dependencies and needs no build step.
//
//	mux.Handle("/auth/", logins)                 // endpoints.New, with RefreshCookie
//	mux.Handle("GET /jwtauth.mjs", browser.Handler())
//
//	<script type="module">
//	import { Auth } from "/jwtauth.mjs";
//	const auth = new Auth();
//	auth.addEventListener("change", () => console.log(auth.state, auth.reason));
//	const answer = await auth.fetch("/me");
//	</script>
//
// The module works under the Content-Security-Policy script-src 'self'; connect-src 'self'. Its
// comments describe its methods. The same file is in an npm package, with types for TypeScript.
package browser

import (
	_ "embed"
	"net/http"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/published"
)

//go:embed jwtauth.mjs
var module []byte

// Handler returns a handler that serves the module at any path, with an ETag. Browsers may keep
// it for 10 minutes. It is safe for concurrent use.
func Handler() http.Handler {
	return published.New("text/javascript; charset=utf-8", 10*time.Minute, module)
}
