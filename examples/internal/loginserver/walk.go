package loginserver

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// step is one step of the walk: a title and the shell lines to paste.
type step struct {
	title string
	lines []string
}

// walk returns steps for a POSIX shell that try the server at base. mayOrder has the scope
// orders:write, and mayNot does not. Each curl prints the answer and then the status on a line
// of its own.
func walk(base string, mayOrder, mayNot demoUser) []step {
	const (
		get         = `curl -sS -w '%{http_code}\n' `
		post        = get + `-X POST `
		postJSON    = get + `-H 'Content-Type: application/json' `
		bearer      = `-H "Authorization: Bearer $ACCESS" `
		printTokens = `; printf '%s\n' "$TOKENS"`
	)
	at := func(path string) string { return quote(base + path) }
	login := func(u demoUser) string { return postJSON + "-d " + quote(credentials(u)) + " " + at("/api/login") }
	refresh := func(variable string) string {
		return postJSON + `-d "{\"refresh_token\":\"$` + variable + `\"}" ` + at("/api/refresh")
	}
	// member sets a shell variable to a member of the JSON in $TOKENS, without a tool
	// for JSON.
	member := func(variable, name string) string {
		return variable + `=$(printf '%s\n' "$TOKENS" | sed -n 's/.*"` + name + `":"\([^"]*\)".*/\1/p')`
	}

	return []step{
		{"Log in as " + mayOrder.name + ": 200, an access token and a refresh token.", []string{
			"TOKENS=$(" + login(mayOrder) + ")" + printTokens,
			member("ACCESS", "access_token"),
			member("REFRESH", "refresh_token"),
		}},
		{"A call that needs a token: 200, and 401 without one.", []string{
			get + bearer + at("/api/protected"),
			get + at("/api/protected"),
		}},
		{"An order needs the scope orders:write, which " + mayOrder.name + " has: 201.", []string{
			post + bearer + at("/api/orders"),
		}},
		{"For " + mayNot.name + ", who does not have it: 403.", []string{
			"TOKENS=$(" + login(mayNot) + ")",
			member("OTHER", "access_token"),
			post + `-H "Authorization: Bearer $OTHER" ` + at("/api/orders"),
		}},
		{"Refresh twice with one refresh token, as two tabs of a browser do: 200 both times within -refresh-grace, and still one session.", []string{
			"for tab in 1 2; do TOKENS=$(" + refresh("REFRESH") + ")" + printTokens + "; done",
			member("SUCCESSOR", "refresh_token"),
		}},
		{"Use the successor: 200. From now on its parent is no longer accepted.", []string{
			refresh("SUCCESSOR"),
		}},
		{"The old refresh token once again, as a thief would: 400, and the session ends.", []string{
			refresh("REFRESH"),
		}},
		{"The access tokens of the session are refused at once: 401.", []string{
			get + bearer + at("/api/protected"),
		}},
		{"Log in again: 200, a new session.", []string{
			"TOKENS=$(" + login(mayOrder) + ")" + printTokens,
			member("ACCESS", "access_token"),
		}},
		{"List the sessions of " + mayOrder.name + ": 200, one session.", []string{
			get + bearer + at("/api/sessions"),
		}},
		{"Log out: 204.", []string{
			post + bearer + at("/api/logout"),
		}},
		{"The access token is refused now: 401.", []string{
			get + bearer + at("/api/protected"),
		}},
	}
}

// rotationWalk continues the walk if the keys are in a directory.
func rotationWalk(base string, pid int) []step {
	return []step{
		{"Make the next key with a SIGHUP. The log says when this key begins to sign.", []string{
			fmt.Sprintf("kill -HUP %d", pid),
		}},
		{"Both keys are published already: 200.", []string{
			`curl -sS -w '\n%{http_code}\n' ` + quote(base+"/.well-known/jwks.json"),
		}},
	}
}

// printWalk prints the steps. Only the lines to paste are indented by four blanks.
func printWalk(w io.Writer, steps []step) {
	for i, s := range steps {
		fmt.Fprintf(w, "\n%d. %s\n\n", i+1, s.title)
		for _, line := range s.lines {
			fmt.Fprintf(w, "    %s\n", line)
		}
	}
}

func credentials(u demoUser) string {
	name, _ := json.Marshal(u.name) // a string: no error
	password, _ := json.Marshal(u.password)
	return `{"username":` + string(name) + `,"password":` + string(password) + `}`
}

// quote quotes a text as one word for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
