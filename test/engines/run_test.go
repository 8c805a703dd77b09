package engines

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Run(m)) }

func TestTheLineAboutSkippedTestsSaysWhatToInstall(t *testing.T) {
	redis := &MissingError{"redis-server", "redis-server", "TEST_REDIS_URL"}
	postgres := &MissingError{"PostgreSQL", "postgresql", "TEST_POSTGRES_URL"}
	for _, c := range []struct {
		counts    []skipCount
		variables []string
		want      string
	}{
		{
			[]skipCount{{redis, 41}}, nil,
			"41 tests were skipped because redis-server is not installed; to run them, apt-get install redis-server (Debian), then go test -count=1",
		},
		{
			[]skipCount{{postgres, 1}}, []string{"TEST_REDIS_URL", "TEST_POSTGRES_URL"},
			"1 test was skipped because PostgreSQL is not installed; to run them, apt-get install postgresql (Debian), or name a server in TEST_POSTGRES_URL, then go test -count=1",
		},
		{
			[]skipCount{{redis, 2}, {errors.New("it is Sunday"), 3}}, nil,
			"2 tests were skipped because redis-server is not installed; to run them, apt-get install redis-server (Debian), then go test -count=1; 3 tests were skipped because it is Sunday",
		},
	} {
		if got := skipLine(c.counts, c.variables); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	t.Setenv("TEST_POSTGRES_URL", "postgres://named.test")
	if got := skipLine([]skipCount{{postgres, 1}}, []string{"TEST_POSTGRES_URL"}); strings.Contains(got, "TEST_POSTGRES_URL") {
		t.Errorf("a variable that is set is no help: %s", got)
	}
}

// withoutRedis runs one test of this package in a process that has no redis-server.
func withoutRedis(t *testing.T, ci string) (output string, err error) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestAServerThatIsKilledStartsAgainAtTheSameAddress$/^redis$")
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); name != "PATH" && name != "CI" {
			cmd.Env = append(cmd.Env, setting)
		}
	}
	cmd.Env = append(cmd.Env, "PATH=/nonexistent", "CI="+ci)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestATestWhoseEngineIsMissingIsSkippedAndReported(t *testing.T) {
	output, err := withoutRedis(t, "")
	if err != nil || strings.Count(output, ": 1 test was skipped because redis-server is not installed") != 1 {
		t.Errorf("%v\n%s", err, output)
	}
}

func TestATestWhoseEngineIsMissingFailsInCI(t *testing.T) {
	output, err := withoutRedis(t, "true")
	if err == nil || !strings.Contains(output, "CI is set") || strings.Contains(output, "was skipped") {
		t.Errorf("%v\n%s", err, output)
	}
}
