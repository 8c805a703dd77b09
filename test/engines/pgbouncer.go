package engines

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pgbouncerPath is where Debian installs PgBouncer. It is not in the PATH of most users.
const pgbouncerPath = "/usr/sbin/pgbouncer"

// pgbouncer returns the engine of a PgBouncer in front of the PostgreSQL at an address.
func pgbouncer(target string, settings []string) engine {
	file := func(s *Server) string { return filepath.Join(s.Folder, "pgbouncer.ini") }
	return engine{
		name: "pgbouncer", url: "postgres://postgres@127.0.0.1:%s/postgres?sslmode=disable",
		arguments: func(s *Server) []string { return []string{file(s)} },
		configure: func(s *Server) error {
			host, port, err := net.SplitHostPort(target)
			if err != nil {
				return err
			}
			lines := []string{
				"[databases]", fmt.Sprintf("* = host=%s port=%s user=postgres", host, port),
				"[pgbouncer]", "listen_addr = 127.0.0.1", "listen_port = " + s.port, "unix_socket_dir =", "auth_type = any",
			}
			return os.WriteFile(file(s), []byte(strings.Join(append(lines, settings...), "\n")+"\n"), 0o644)
		},
		isReady: func(s *Server) bool {
			conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
			if err == nil {
				conn.Close()
			}
			return err == nil
		},
	}
}

// NewPgBouncer starts a PgBouncer in front of the PostgreSQL at an address, with the given
// settings, such as "pool_mode = transaction". All clients become the user postgres. If
// PgBouncer is not installed, the error is a [*MissingError].
func NewPgBouncer(target string, settings ...string) (*Server, error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program, err = exec.LookPath(pgbouncerPath)
	}
	if err != nil || !canStart {
		return nil, &MissingError{Engine: "PgBouncer", Package: "pgbouncer"}
	}
	s, err := newServer(pgbouncer(target, settings), program, nil)
	if err != nil {
		return nil, err
	}
	if err := s.dropRoot(); err != nil {
		_ = s.Remove()
		return nil, err
	}
	if err := s.startFirst(); err != nil {
		return nil, err
	}
	return s, nil
}

// PgBouncer starts a PgBouncer for one test. See [NewPgBouncer].
func PgBouncer(t testing.TB, target string, settings ...string) *Server {
	t.Helper()
	s, err := NewPgBouncer(target, settings...)
	return removeAfter(t, s, err)
}
