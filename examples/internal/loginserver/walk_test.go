package loginserver

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
)

// pasted returns the lines of a walk that a newcomer pastes.
func pasted(text string) string {
	var lines strings.Builder
	for line := range strings.Lines(text) {
		if line, ok := strings.CutPrefix(line, "    "); ok && !strings.HasPrefix(line, "alice ") && !strings.HasPrefix(line, "bob ") {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

func TestTheWalkThatIsPrintedEndsAsItSays(t *testing.T) {
	p := start(t, nil, "-refresh-grace", "1m") // enough for a slow machine
	printed := programtest.Shell(t, pasted(p.Stdout.String()))
	statuses := regexp.MustCompile(`(?m)^\d{3}$`).FindAllStringIndex(printed, -1)
	want := []struct{ status, holds string }{
		{"200", `"refresh_token":"`},            // 1: login
		{"200", `"user":"alice"`},               // 2: with a token
		{"401", `"error_description"`},          // 2: without
		{"201", `"ordered_by":"alice"`},         // 3
		{"403", `"error":"insufficient_scope"`}, // 4: bob
		{"200", `"refresh_token":"`},            // 5: one tab
		{"200", `"refresh_token":"`},            // 5: the other
		{"200", `"refresh_token":"`},            // 6: the successor
		{"400", `"error":"invalid_grant"`},      // 7: the thief
		{"401", `"error":"invalid_token"`},      // 8
		{"200", `"refresh_token":"`},            // 9: login
		{"200", `"device":"curl/`},              // 10: sessions
		{"204", ""},                             // 11: logout
		{"401", `"error":"invalid_token"`},      // 12
	}
	require.Len(t, statuses, len(want), printed)
	from := 0
	for i, at := range statuses {
		require.Equal(t, want[i].status, printed[at[0]:at[1]], "programtest.Answer %d of\n%s", i+1, printed)
		require.Contains(t, printed[from:at[0]], want[i].holds, "programtest.Answer %d", i+1)
		from = at[1]
	}
	require.Equal(t, 1, strings.Count(printed, `"current":true`), "one session is left")
	require.Contains(t, p.Log.String(), "token_reused")
}

func TestTheTitlesOfTheWalkTellItsStatuses(t *testing.T) {
	status := regexp.MustCompile(`\b[2-4]\d\d\b`)
	for _, s := range walk("http://127.0.0.1:8080", demoUser{name: "alice"}, demoUser{name: "bob"}) {
		require.True(t, status.MatchString(s.title), s.title)
		for _, line := range s.lines {
			require.NotContains(t, line, "\n", "a step is made of single lines")
		}
	}
}

func TestTheWalkQuotesWhatItIsGiven(t *testing.T) {
	odd := demoUser{name: `o'hara "x" \ $HOME`, password: "it's `id` $(id) \\ \"!\" é"}
	lines := walk("http://127.0.0.1:8080", odd, odd)[0].lines
	body := regexp.MustCompile(`-d ('.*') 'http`).FindStringSubmatch(lines[0])
	require.NotNil(t, body, lines[0])
	require.Equal(t, credentials(odd), programtest.Shell(t, "printf %s "+body[1]))
}
