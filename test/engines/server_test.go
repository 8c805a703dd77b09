package engines

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// answers reports whether a server accepts connections and answers.
func answers(s *Server) bool { return s.engine.isReady(s) }

var kinds = map[string]func(t testing.TB, settings ...string) *Server{
	"redis": Redis, "postgres": Postgres, "mariadb": MariaDB,
	"pgbouncer": func(t testing.TB, settings ...string) *Server { return PgBouncer(t, "127.0.0.1:1", settings...) },
}

func TestAServerThatIsKilledStartsAgainAtTheSameAddress(t *testing.T) {
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			addr := s.Addr()
			for _, end := range []func(){s.Kill, s.Stop} {
				end()
				if answers(s) {
					t.Error("a server that has ended answers")
				}
				end() // does nothing
				if err := s.Start(); err != nil {
					t.Fatal(err)
				}
				if !answers(s) || s.Addr() != addr {
					t.Errorf("the server at %s does not answer, or has moved to %s", addr, s.Addr())
				}
			}
			if err := s.Start(); err == nil {
				t.Error("a server that runs was started")
			}
		})
	}
}

func TestAServerThatIsPausedAcceptsAndDoesNotAnswer(t *testing.T) {
	s := Redis(t)
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
	fmt.Fprint(conn, "PING\r\n")
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a server that is paused answers: %v", err)
	}
	if err := s.Pause(); err == nil {
		t.Error("a server that is paused was paused again")
	}
	s.Resume()
	s.Resume() // does nothing
	if !answers(s) {
		t.Error("a server that was resumed does not answer")
	}
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	s.Kill() // also ends the pause
	if err := s.Pause(); err == nil {
		t.Error("a server that does not run was paused")
	}
}

func TestASettingThatTheServerDoesNotKnowIsAnErrorWithItsLog(t *testing.T) {
	Redis(t)
	before, _ := filepath.Glob(filepath.Join(os.TempDir(), "jwtauth-*"))
	_, err := NewRedis("--no-such-setting", "1")
	if err == nil || !strings.Contains(err.Error(), "no-such-setting") {
		t.Errorf("got %v", err)
	}
	if after, _ := filepath.Glob(filepath.Join(os.TempDir(), "jwtauth-*")); len(after) > len(before) {
		t.Errorf("a folder is left: %v", after)
	}
}

func TestSharedStartsOneServer(t *testing.T) {
	server := Shared(NewRedis)
	if first, second := server(t), server(t); first != second {
		t.Errorf("there are two servers: %s and %s", first.Addr(), second.Addr())
	}
}

func TestAStandbyHasTheDataOfItsPrimary(t *testing.T) {
	primary := Postgres(t)
	if err := primary.run("psql", "-q", "-c", "CREATE TABLE letters AS SELECT 'a'::text AS letter", primary.URL()); err != nil {
		t.Fatal(err)
	}
	standby := Standby(t, primary)
	out, err := exec.Command(standby.Program("psql"), "-At", "-c", "SELECT letter, pg_is_in_recovery() FROM letters", standby.URL()).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "a|t" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestAPgBouncerStandsInFrontOfAPostgreSQL(t *testing.T) {
	primary := Postgres(t)
	pooler := PgBouncer(t, primary.Addr(), "pool_mode = transaction")
	out, err := exec.Command(primary.Program("psql"), "-At", "-c", "SELECT current_user", pooler.URL()).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "postgres" {
		t.Errorf("%v: %s", err, out)
	}
}

// orphanVariable makes the test binary start a server, print its address and wait.
const orphanVariable = "JWTAUTH_ENGINES_ORPHAN"

func TestNoServerOutlivesATestBinaryThatIsKilled(t *testing.T) {
	if name := os.Getenv(orphanVariable); name != "" {
		s := kinds[name](t)
		if os.Getenv(orphanVariable+"_PAUSED") != "" {
			if err := s.Pause(); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Println(s.Addr())
		fmt.Println(s.Folder)
		select {}
	}
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) {
			start(t) // skips the test if the engine is missing
			killBinary(t, name, "")
			killBinary(t, name, "paused")
		})
	}
}

// killBinary kills a test binary that has started a server, and expects that the server
// ends.
func killBinary(t *testing.T, name, paused string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestNoServerOutlivesATestBinaryThatIsKilled$")
	cmd.Env = append(os.Environ(), orphanVariable+"="+name, orphanVariable+"_PAUSED="+paused)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	addr := lines.Text()
	lines.Scan()
	folder := lines.Text()
	defer os.RemoveAll(folder)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatalf("the server at %s goes on", addr)
		}
	}
}
