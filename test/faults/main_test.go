//go:build linux

package faults_test

import (
	"os"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9/logging"

	"github.com/jwtauth-go/jwtauth/test/engines"
)

func TestMain(m *testing.M) {
	logging.Disable() // the clients log each connection that a test cuts
	_ = mysql.SetLogger(&mysql.NopLogger{})
	if c := os.Getenv(nodeVariable); c != "" {
		os.Exit(runNode(c))
	}
	if c := os.Getenv(remoteVariable); c != "" {
		os.Exit(runRemote(c))
	}
	os.Exit(engines.Run(m, "JWTAUTH_REDIS_URL", "JWTAUTH_POSTGRES_URL", "JWTAUTH_MARIADB_DSN"))
}
