package engines

import "testing"

// NewStandby starts a PostgreSQL that is a standby of another one: it has the same data
// and follows each change (streaming replication).
func NewStandby(primary *Server) (*Server, error) {
	return startPostgres(nil, func(s *Server) error {
		return s.run("pg_basebackup", "-D", s.data(), "-d", primary.URL(), "-R", "-N", "-c", "fast")
	})
}

// Standby starts a standby of a PostgreSQL for one test, which may break it.
func Standby(t testing.TB, primary *Server) *Server {
	t.Helper()
	s, err := NewStandby(primary)
	return removeAfter(t, s, err)
}
