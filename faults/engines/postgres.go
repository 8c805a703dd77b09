//go:build linux

package engines

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var postgres = kind{
	name: "jwtauth-postgres", url: "postgres://postgres@127.0.0.1:%s/postgres?sslmode=disable", stop: syscall.SIGINT,
	settings: func(s *Server) []string {
		return []string{
			"-D", filepath.Join(s.Folder, "data"), "-k", s.Folder, "-p", s.port, "-c", "listen_addresses=127.0.0.1",
			"-c", "max_connections=150", "-c", "shared_buffers=64MB",
			"-c", "fsync=off", // a kill does not lose what the system has; only a machine that fails does
		}
	},
	answers: func(s *Server) bool {
		return exec.Command(s.Program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", s.port).Run() == nil
	},
}

// Program is the path of another program of the server's release.
func (s *Server) Program(name string) string {
	return filepath.Join(filepath.Dir(s.kind.program), name)
}

// postgresPrograms is the folder of PostgreSQL's programs, which Debian keeps out of
// the path.
func postgresPrograms() (string, error) {
	var folders []string
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		folders = append(folders, strings.TrimSpace(string(out)))
	}
	debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	for i := len(debian) - 1; i >= 0; i-- {
		folders = append(folders, debian[i])
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		folders = append(folders, filepath.Dir(path))
	}
	for _, f := range folders {
		if _, err := os.Stat(filepath.Join(f, "initdb")); err == nil {
			return f, nil
		}
	}
	return "", fmt.Errorf("initdb: %w (Debian: apt-get install postgresql)", exec.ErrNotFound)
}

// NewPostgres starts a PostgreSQL with these settings, such as
// "synchronous_commit=off"; its superuser is postgres, without a password. Root
// drops to the user postgres, or nobody. Where there is no PostgreSQL on this machine,
// the error is exec.ErrNotFound.
func NewPostgres(settings ...string) (*Server, error) {
	programs, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	k := postgres
	k.program = filepath.Join(programs, "postgres")
	var args []string
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	s, err := newServer(k, args)
	if err != nil {
		return nil, err
	}
	if err = s.initialize(); err == nil {
		err = s.start()
	}
	if err != nil {
		_ = s.Remove()
		return nil, err
	}
	return s, nil
}

// initialize makes the files of a PostgreSQL.
func (s *Server) initialize() (err error) {
	if s.as, err = lesser(); err != nil {
		return err
	}
	if s.as != nil {
		if err := os.Chown(s.Folder, int(s.as.Uid), int(s.as.Gid)); err != nil {
			return err
		}
	}
	cmd := exec.Command(s.Program("initdb"), "-D", filepath.Join(s.Folder, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
	cmd.Dir, cmd.SysProcAttr = s.Folder, &syscall.SysProcAttr{Credential: s.as}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("engines: initdb: %w: %s", err, out)
	}
	return nil
}

// Postgres is a PostgreSQL of a test's own.
func Postgres(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := NewPostgres(settings...)
	return own(t, s, err)
}
