package jwtauth_test

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// attack is one case of the list of attacks: a test that fails without the
// defence. Its id is the list's.
type attack struct {
	id, name string
	run      func(t *testing.T)
}

// attacks are all cases, by group; each group stands in a file of its own.
func attacks() []attack {
	var all []attack
	for _, group := range [][]attack{
		headerAttacks, encodingAttacks, signatureAttacks, claimAttacks,
		transportAttacks, refreshAttacks, revocationAttacks, jwksAttacks, denialAttacks, apiAttacks,
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

// TestEveryAttackHasATest holds testdata/attacks.txt, which names every case
// and each exception with its reason, against the tests, and against the list
// itself where that lies beside the checkout.
func TestEveryAttackHasATest(t *testing.T) {
	tested := make(map[string]bool)
	for _, a := range attacks() {
		require.False(t, tested[a.id], "%s has two tests", a.id)
		tested[a.id] = true
	}
	listed := make(map[string]bool)
	f, err := os.Open(filepath.Join("testdata", "attacks.txt"))
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
	list, err := os.ReadFile(filepath.Join(vectors(), "..", "attacks.md"))
	if err != nil {
		return // the list does not lie there; attacks.txt has its ids
	}
	for _, row := range regexp.MustCompile(`(?m)^\| ([A-Z]\d\d) \|`).FindAllStringSubmatch(string(list), -1) {
		require.True(t, listed[row[1]], "%s is not in testdata/attacks.txt", row[1])
	}
}

// vectors is the folder of test vectors, which is not part of this repository.
func vectors() string {
	if dir := os.Getenv("JWTAUTH_VECTORS"); dir != "" {
		return dir
	}
	return filepath.Join("..", "shared", "testvectors")
}
