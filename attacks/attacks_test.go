package attacks_test

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

// attack is one case of the list of attacks. Its test fails if the defence is missing.
type attack struct {
	id, name string
	run      func(t *testing.T)
}

// attacks returns all cases, group by group. The list of a group is in the file with the
// name of the group. A case with much code of its own has its own file.
func attacks() []attack {
	var all []attack
	for _, group := range [][]attack{
		headerAttacks, encodingAttacks, signatureAttacks, weakKeyAttacks, claimAttacks,
		transportAttacks, cookieAttacks, refreshAttacks, revocationAttacks, jwksAttacks, providerAttacks, migrateAttacks, denialAttacks, apiAttacks,
	} {
		all = append(all, group...)
	}
	return all
}

func TestAttacks(t *testing.T) {
	for _, a := range attacks() {
		t.Run(a.id+" "+a.name, a.run)
	}
}

// TestEveryAttackHasATest compares the tests with testdata/attacks.txt, which has every
// case, or the reason why a case is left out. If the list of attacks itself lies next to
// the test vectors, it must not have other cases than that file.
func TestEveryAttackHasATest(t *testing.T) {
	tested := make(map[string]bool)
	for _, a := range attacks() {
		require.False(t, tested[a.id], "%s has two tests", a.id)
		tested[a.id] = true
	}
	listed := make(map[string]bool)
	f, err := os.Open(filepath.Join(fixture.Root(), "testdata", "attacks.txt"))
	require.NoError(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, rest, _ := strings.Cut(line, " ")
		listed[id] = true
		if reason, left := strings.CutPrefix(rest, "left out: "); left {
			require.NotEmpty(t, reason, "%s is left out without a reason", id)
			require.False(t, tested[id], "%s is left out and has a test", id)
			continue
		}
		require.True(t, tested[id], "%s has no test", id)
	}
	for id := range tested {
		require.True(t, listed[id], "%s is not in testdata/attacks.txt", id)
	}
	list, err := os.ReadFile(filepath.Join(fixture.Vectors(), "..", "attacks.md"))
	if err != nil {
		return // the list is not there
	}
	for _, row := range regexp.MustCompile(`(?m)^\| ([A-Z]\d\d) \|`).FindAllStringSubmatch(string(list), -1) {
		require.True(t, listed[row[1]], "%s is not in testdata/attacks.txt", row[1])
	}
}
