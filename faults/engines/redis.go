//go:build linux

package engines

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

var redis = kind{
	name: "jwtauth-redis", url: "redis://127.0.0.1:%s", stop: syscall.SIGTERM,
	settings: func(s *Server) []string {
		return []string{"--bind", "127.0.0.1", "--port", s.port, "--dir", s.Folder, "--save", ""}
	},
	answers: func(s *Server) bool {
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
		return err == nil && string(answer) == "+PONG" // not so while it loads its files
	},
}

// NewRedis starts a redis-server with these settings, such as "--appendonly", "yes".
// Where there is none on this machine, the error is exec.ErrNotFound.
func NewRedis(settings ...string) (*Server, error) {
	k := redis
	var err error
	if k.program, err = exec.LookPath("redis-server"); err != nil {
		return nil, fmt.Errorf("%w (Debian: apt-get install redis-server)", err)
	}
	s, err := newServer(k, settings)
	if err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		_ = s.Remove()
		return nil, err
	}
	return s, nil
}

// Redis is a redis-server of a test's own.
func Redis(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := NewRedis(settings...)
	return own(t, s, err)
}
