package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheReportNamesFailuresAndTheReasonsOfSkips(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	require.NoError(t, r.readEvents(strings.NewReader(`{"Action":"start","Package":"github.com/jwtauth-go/jwtauth/a"}
{"Action":"output","Package":"github.com/jwtauth-go/jwtauth/a","Test":"TestA","Output":"    a_test.go:7: redis-server is not installed: apt-get install redis-server\n"}
{"Action":"output","Package":"github.com/jwtauth-go/jwtauth/a","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"github.com/jwtauth-go/jwtauth/a","Test":"TestA"}
{"Action":"output","Package":"github.com/jwtauth-go/jwtauth/a","Test":"TestB","Output":"    a_test.go:9: it is wrong\n"}
{"Action":"fail","Package":"github.com/jwtauth-go/jwtauth/a","Test":"TestB"}
{"Action":"pass","Package":"github.com/jwtauth-go/jwtauth/a","Test":"TestC"}
{"Action":"build-output","ImportPath":"b","Output":"b.go:1: does not compile\n"}
{"Action":"fail","Package":"github.com/jwtauth-go/jwtauth/a","Elapsed":1.5}
not an event
`)))
	r.printSummary()
	for _, want := range []string{
		"it is wrong", "FAIL  jwtauth/a", "1.5 s", "FAILED: jwtauth/a TestB", "b.go:1: does not compile", "not an event",
		"1 tests in 1 packages passed, 1 failed", "SKIPPED 1 tests: redis-server is not installed: apt-get install redis-server",
	} {
		require.Contains(t, out.String(), want)
	}
}

func TestTheProgressSaysWhatIsDone(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	r.printProgress()
	require.Contains(t, out.String(), "building")
	r.add(event{Action: "start", Package: "github.com/jwtauth-go/jwtauth/jwk"})
	r.printProgress()
	require.Contains(t, out.String(), "running jwtauth/jwk")
}
