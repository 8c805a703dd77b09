package engines

import (
	"errors"
	"os"
	"sync"
	"testing"
)

// shared holds the servers that Run removes after the tests.
var shared struct {
	mu      sync.Mutex
	servers []*Server
}

// Shared returns a function for all tests of a package that do not break their server.
// The first call of the function starts the server, with [NewRedis], [NewPostgres] or
// [NewMariaDB] and these settings, and every call returns the same server. [Run] removes the
// server.
func Shared(start func(settings ...string) (*Server, error), settings ...string) func(t testing.TB) *Server {
	once := sync.OnceValues(func() (*Server, error) {
		s, err := start(settings...)
		if err != nil {
			return nil, err
		}
		shared.mu.Lock()
		defer shared.mu.Unlock()
		shared.servers = append(shared.servers, s)
		return s, nil
	})
	return func(t testing.TB) *Server {
		t.Helper()
		s, err := once()
		requireStarted(t, err)
		return s
	}
}

// removeShared removes the servers of Shared.
func removeShared() (err error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	for _, s := range shared.servers {
		err = errors.Join(err, s.Remove())
	}
	shared.servers = nil
	return err
}

var (
	sharedRedis    = Shared(NewRedis)
	sharedPostgres = Shared(NewPostgres)
	sharedMariaDB  = Shared(NewMariaDB)
)

// RedisURL returns the URL of a Redis for tests that do not break it: the one in the
// environment variable JWTAUTH_REDIS_URL, or else that of a shared server.
func RedisURL(t testing.TB) string {
	t.Helper()
	return urlOf(t, redisVariable, sharedRedis)
}

// PostgresURL returns the URL of a PostgreSQL for tests that do not break it: the one in
// the environment variable JWTAUTH_POSTGRES_URL, or else that of a shared server.
func PostgresURL(t testing.TB) string {
	t.Helper()
	return urlOf(t, postgresVariable, sharedPostgres)
}

// MariaDBURL returns the data source name of a MariaDB or MySQL for tests that do not break it:
// the one in the environment variable JWTAUTH_MARIADB_DSN, or else that of a shared server.
func MariaDBURL(t testing.TB) string {
	t.Helper()
	return urlOf(t, mariadbVariable, sharedMariaDB)
}

func urlOf(t testing.TB, variable string, server func(t testing.TB) *Server) string {
	t.Helper()
	if url := os.Getenv(variable); url != "" {
		return url
	}
	return server(t).URL()
}
