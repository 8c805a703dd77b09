package engines

import (
	"io"
	"net"
	"os/exec"
	"testing"
	"time"
)

// redisVariable names a Redis that is used in place of a shared one.
const redisVariable = "JWTAUTH_REDIS_URL"

var redis = engine{
	name: "redis-server", url: "redis://127.0.0.1:%s",
	busOffset: 10_000, // the nodes of a cluster talk to each other on this port
	arguments: func(s *Server) []string {
		return []string{
			"--bind", "127.0.0.1", "--port", s.port, "--dir", s.Folder, "--save", "",
			"--repl-diskless-sync-delay", "0", // a replica does not wait for a second one
		}
	},
	isReady: func(s *Server) bool {
		conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		answer := make([]byte, 5)
		_, err = io.WriteString(conn, "PING\r\n")
		if err == nil {
			_, err = io.ReadFull(conn, answer)
		}
		return err == nil && string(answer) == "+PONG" // while it loads its files, it answers with an error
	},
}

// NewRedis starts a redis-server with the given settings, such as "--appendonly", "yes".
// It persists nothing unless the settings say so. If redis-server is not installed, the
// error is a [*MissingError].
func NewRedis(settings ...string) (*Server, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil || !canStart {
		return nil, &MissingError{"redis-server", "redis-server", redisVariable}
	}
	s, err := newServer(redis, program, settings)
	if err != nil {
		return nil, err
	}
	if err := s.startFirst(); err != nil {
		return nil, err
	}
	return s, nil
}

// Redis starts a redis-server for one test, which may break it. See [NewRedis] for the
// settings.
func Redis(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := NewRedis(settings...)
	return removeAfter(t, s, err)
}
