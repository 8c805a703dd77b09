package sqlstore_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// server is a PostgreSQL of the tests' own, in a temporary folder, reached through
// a socket there.
type server struct {
	folder string
	bin    string
	drop   []string // how to run as somebody whom PostgreSQL runs for
	run    *exec.Cmd
	ended  chan error
	log    *os.File
}

// The one server of most tests, or why there is none.
var (
	postgres       *server
	postgresURL    string
	whyNoPostgres  error
	numOfDatabases atomic.Int64
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if postgresURL = os.Getenv("JWTAUTH_POSTGRES_URL"); postgresURL == "" {
		postgres, whyNoPostgres = newServer()
		if whyNoPostgres == nil {
			defer postgres.remove()
			whyNoPostgres = postgres.start()
			postgresURL = postgres.url("postgres")
		}
		if whyNoPostgres != nil {
			fmt.Fprintf(os.Stderr, "tests of PostgreSQL are skipped, or fail where CI is set: %v\n", whyNoPostgres)
		}
	}
	return m.Run()
}

// needPostgres skips a test where there is no PostgreSQL; in CI that is a failure.
func needPostgres(t testing.TB) {
	t.Helper()
	if whyNoPostgres != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI is set, and there is no PostgreSQL: %v", whyNoPostgres)
		}
		t.Skipf("there is no PostgreSQL: %v", whyNoPostgres)
	}
}

// ownServer is a server that the test may kill.
func ownServer(t testing.TB) *server {
	t.Helper()
	needPostgres(t)
	s, err := newServer()
	if err != nil {
		t.Skipf("PostgreSQL's programs are not here, only a server: %v", err)
	}
	t.Cleanup(s.remove)
	require.NoError(t, s.start())
	return s
}

// programs is the folder of PostgreSQL's programs.
func programs() (string, error) {
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
	return "", errors.New("no initdb (on Debian: apt-get install postgresql)")
}

// newServer makes the files of a server.
func newServer() (*server, error) {
	s, err := newFolder()
	if err != nil {
		return nil, err
	}
	out, err := s.command("initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N").CombinedOutput()
	if err != nil {
		s.remove()
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	return s, nil
}

// newFolder makes the folder of a server, for somebody whom it runs for.
func newFolder() (s *server, err error) {
	s = &server{}
	if s.bin, err = programs(); err != nil {
		return nil, err
	}
	// The path of a socket is short, so not the folder of a test.
	if s.folder, err = os.MkdirTemp("", "pg"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.remove()
		}
	}()
	if os.Geteuid() == 0 { // which PostgreSQL refuses
		u, err := user.Lookup("postgres")
		if err != nil {
			if u, err = user.Lookup("nobody"); err != nil {
				return nil, err
			}
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(s.folder, uid, gid); err != nil {
			return nil, err
		}
		s.drop = []string{"setpriv", "--reuid=" + u.Uid, "--regid=" + u.Gid, "--clear-groups"}
	}
	s.log, err = os.Create(filepath.Join(s.folder, "log"))
	return s, err
}

func (s *server) data() string { return filepath.Join(s.folder, "data") }

func (s *server) command(name string, args ...string) *exec.Cmd {
	all := append(append([]string{}, s.drop...), append([]string{filepath.Join(s.bin, name)}, args...)...)
	c := exec.Command(all[0], all[1:]...)
	c.Dir = s.folder
	return c
}

// url names a database. The driver's default mode is what people use.
func (s *server) url(database string) string {
	return "postgres://postgres@/" + database + "?" + url.Values{"host": {s.folder}, "sslmode": {"disable"}}.Encode()
}

// start starts the server, and returns when it answers.
func (s *server) start() error {
	deadline := time.Now().Add(time.Minute)
	for {
		err := s.tryStart(deadline)
		// After a kill, the memory that its children share may be in use still.
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func (s *server) tryStart(deadline time.Time) error {
	s.run = s.command("postgres", "-D", s.data(), "-k", s.folder, "-c", "listen_addresses=", "-c", "fsync=off",
		"-c", "max_connections=150", "-c", "shared_buffers=64MB", "-c", "max_wal_size=512MB")
	s.run.Stdout, s.run.Stderr = s.log, s.log
	if err := s.run.Start(); err != nil {
		return err
	}
	s.ended = make(chan error, 1)
	go func(run *exec.Cmd, ended chan error) { ended <- run.Wait() }(s.run, s.ended)
	db, err := sql.Open("pgx", s.url("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	for {
		if err = db.Ping(); err == nil {
			return nil
		}
		select {
		case ended := <-s.ended:
			s.run = nil
			text, _ := os.ReadFile(s.log.Name())
			return fmt.Errorf("postgres ended: %w: %s", ended, bytes.TrimSpace(text[max(0, len(text)-2000):]))
		case <-time.After(10 * time.Millisecond):
			if time.Now().After(deadline) {
				s.kill()
				return fmt.Errorf("postgres does not answer: %w", err)
			}
		}
	}
}

// kill ends the server as a crash does.
func (s *server) kill() {
	if s.run != nil {
		_ = s.run.Process.Kill()
		<-s.ended
		s.run = nil
	}
}

// stop ends the server in good order, without waiting for its clients.
func (s *server) stop() {
	if s.run != nil {
		_ = s.run.Process.Signal(os.Interrupt)
		<-s.ended
		s.run = nil
	}
}

func (s *server) remove() {
	s.stop()
	if s.log != nil {
		s.log.Close()
	}
	if err := os.RemoveAll(s.folder); err != nil {
		log.Print(err)
	}
}

// open opens a database until the test ends.
func open(t testing.TB, driver, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, source)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

// newDatabase makes a database on a server, and names it.
func newDatabase(t testing.TB, server string) string {
	t.Helper()
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), numOfDatabases.Add(1))
	db := open(t, "pgx", server)
	_, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = db.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	})
	u, err := url.Parse(server)
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}

// replica is a server that follows another one.
func (s *server) replica(t testing.TB) *server {
	t.Helper()
	r, err := newFolder()
	require.NoError(t, err)
	t.Cleanup(r.remove)
	out, err := r.command("pg_basebackup", "-D", r.data(), "-h", s.folder, "-U", "postgres", "-R", "-N", "-c", "fast").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, r.start())
	return r
}
