package engines

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// postgresVariable names a PostgreSQL that is used in place of a shared one.
const postgresVariable = "JWTAUTH_POSTGRES_URL"

var postgres = engine{
	name: "postgres", url: "postgres://postgres@127.0.0.1:%s/postgres?sslmode=disable",
	arguments: func(s *Server) []string {
		return []string{
			"-D", s.data(), "-k", s.Folder, "-p", s.port, "-c", "listen_addresses=127.0.0.1",
			"-c", "max_connections=150", "-c", "shared_buffers=64MB",
			"-c", "fsync=off", // killing the server loses nothing that the system has; only a crash of the machine would
		}
	},
	isReady: func(s *Server) bool {
		return exec.Command(s.Program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", s.port).Run() == nil
	},
}

// data returns the folder of the own files of PostgreSQL or MariaDB.
func (s *Server) data() string { return filepath.Join(s.Folder, "data") }

// postgresPrograms returns the folder of PostgreSQL's programs. Debian does not put that
// folder into PATH.
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
		if _, err := os.Stat(filepath.Join(f, "initdb")); err == nil && canStart {
			return f, nil
		}
	}
	return "", &MissingError{"PostgreSQL", "postgresql", postgresVariable}
}

// NewPostgres starts a PostgreSQL with the given settings, such as
// "synchronous_commit=off". The superuser is postgres, without a password. If the calling
// process is root, the server runs as the user postgres or nobody. If PostgreSQL is not
// installed, the error is a [*MissingError].
func NewPostgres(settings ...string) (*Server, error) {
	return startPostgres(settings, func(s *Server) error {
		return s.run("initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
	})
}

// startPostgres starts a PostgreSQL whose data folder fill makes.
func startPostgres(settings []string, fill func(s *Server) error) (*Server, error) {
	programs, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	var args []string
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	s, err := newServer(postgres, filepath.Join(programs, "postgres"), args)
	if err != nil {
		return nil, err
	}
	if err = s.dropRoot(); err == nil {
		err = fill(s)
	}
	if err != nil {
		_ = s.Remove()
		return nil, err
	}
	if err := s.startFirst(); err != nil {
		return nil, err
	}
	return s, nil
}

// run runs a program of PostgreSQL as the account of the server.
func (s *Server) run(program string, args ...string) error {
	cmd := exec.Command(s.Program(program), args...)
	cmd.Dir, cmd.SysProcAttr = s.Folder, serverAttributes(s.account)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("engines: %s: %w: %s", program, err, out)
	}
	return nil
}

// Postgres starts a PostgreSQL for one test, which may break it. See [NewPostgres] for
// the settings.
func Postgres(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := NewPostgres(settings...)
	return removeAfter(t, s, err)
}
