// Package exampleserver builds and starts the program examples/server, for tests and pictures of its
// page.
package exampleserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Server is a running server.
type Server struct {
	URL       string            // without a slash at the end
	Passwords map[string]string // by the names of the demo users
	process   *exec.Cmd
}

// Build builds the program into a folder, and returns its path. The working directory must be in
// the repository.
func Build(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "server")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/jwtauth-go/jwtauth/examples/server")
	build.Env = append(os.Environ(), "GOWORK=") // the workspace has the module of the examples
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, text)
	}
	return program, nil
}

// Start starts a program that Build has built, on a free port. The server stops when ctx ends. Call
// Wait then.
func Start(ctx context.Context, program string) (*Server, error) {
	s := &Server{Passwords: make(map[string]string), process: exec.CommandContext(ctx, program, "-addr", "127.0.0.1:0")}
	s.process.Cancel = func() error { return s.process.Process.Signal(os.Interrupt) }
	s.process.WaitDelay = 5 * time.Second
	output, err := s.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(output)
	for lines.Scan() && (s.URL == "" || len(s.Passwords) < 2) {
		if after, ok := strings.CutPrefix(lines.Text(), "The server listens on "); ok {
			s.URL, _, _ = strings.Cut(after, ". ")
		}
		if words := strings.Fields(lines.Text()); len(words) > 2 && strings.HasPrefix(lines.Text(), "    ") {
			s.Passwords[words[0]] = words[1]
		}
	}
	if s.URL == "" || len(s.Passwords) < 2 {
		s.Wait()
		return nil, fmt.Errorf("%s has not printed its URL and two users", program)
	}
	go func() { _, _ = io.Copy(io.Discard, output) }()
	return s, nil
}

// Wait waits until the server has stopped.
func (s *Server) Wait() { _ = s.process.Wait() } // the error says only that a signal has ended it
