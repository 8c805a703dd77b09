package engines

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mariadbVariable names a MariaDB or MySQL that is used in place of a shared one.
const mariadbVariable = "JWTAUTH_MARIADB_DSN"

// mariadbPath is where Debian installs mariadbd. It is not in the PATH of most users.
const mariadbPath = "/usr/sbin/mariadbd"

// mariadbUser makes the account that tests use. It has the rights of a service and may make
// databases, but it may not write to a server that is read-only. The statements are executed at
// each start, before the server accepts connections.
const mariadbUser = `CREATE USER IF NOT EXISTS 'jwtauth'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, PROCESS ON *.* TO 'jwtauth'@'%';
`

var mariadb = engine{
	name: "mariadb", url: "jwtauth@tcp(127.0.0.1:%s)/",
	stop: syscall.SIGTERM,
	arguments: func(s *Server) []string {
		return []string{
			"--no-defaults", "--datadir=" + s.data(), "--port=" + s.port, "--bind-address=127.0.0.1",
			"--socket=" + filepath.Join(s.Folder, "socket"), "--pid-file=" + filepath.Join(s.Folder, "pid"),
			"--init-file=" + filepath.Join(s.Folder, "init"),
			"--tmpdir=" + s.Folder, // a server that starts removes temporary tables, also those of others
			"--skip-name-resolve", "--max-connections=150", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M",
			"--innodb-flush-method=nosync", // killing the server loses nothing that the system has; only a crash of the machine would
		}
	},
	configure: func(s *Server) error {
		return os.WriteFile(filepath.Join(s.Folder, "init"), []byte(mariadbUser), 0o644)
	},
	isReady: func(s *Server) bool {
		conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		greeting := make([]byte, 5) // the length of a packet, its number, and the version of the protocol
		_, err = io.ReadFull(conn, greeting)
		return err == nil && greeting[4] == 10 // an error has 255
	},
}

// NewMariaDB starts a MariaDB with the given settings, such as "--read-only". The user of its
// URL is jwtauth, without a password. The user root, without a password, may do everything. If
// the calling process is root, the server runs as the user postgres or nobody. If MariaDB is not
// installed, the error is a [*MissingError].
func NewMariaDB(settings ...string) (*Server, error) {
	missing := &MissingError{"MariaDB", "mariadb-server", mariadbVariable}
	program, err := exec.LookPath("mariadbd")
	if err != nil {
		program, err = exec.LookPath(mariadbPath)
	}
	if err != nil || !canStart {
		return nil, missing
	}
	install, err := exec.LookPath("mariadb-install-db")
	if err != nil {
		return nil, missing
	}
	s, err := newServer(mariadb, program, settings)
	if err != nil {
		return nil, err
	}
	if err = s.dropRoot(); err == nil {
		cmd := exec.Command(install, "--no-defaults", "--datadir="+s.data(), "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=16M")
		cmd.Dir, cmd.SysProcAttr = s.Folder, serverAttributes(s.account)
		var out []byte
		if out, err = cmd.CombinedOutput(); err != nil {
			err = fmt.Errorf("engines: mariadb-install-db: %w: %s", err, bytes.TrimSpace(out))
		}
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

// MariaDB starts a MariaDB for one test, which may break it. See [NewMariaDB] for the settings.
func MariaDB(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := NewMariaDB(settings...)
	return removeAfter(t, s, err)
}

// MariaDBDatabase makes an empty database on the MariaDB or MySQL with this data source name, and
// returns the name with the database. The database is dropped after the test. driver is the
// name of a database/sql driver that the test has registered, such as "mysql".
func MariaDBDatabase(t testing.TB, driver, server string) string {
	t.Helper()
	db, err := sql.Open(driver, server)
	if err != nil {
		t.Fatal(err)
	}
	name := "test_" + strings.ToLower(rand.Text())
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		db.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer db.Close()
		if _, err := db.ExecContext(context.Background(), "DROP DATABASE "+name); err != nil {
			t.Error(err)
		}
	})
	address, parameters, _ := strings.Cut(server, "?")
	return address[:strings.LastIndex(address, "/")+1] + name + strings.TrimSuffix("?"+parameters, "?")
}
