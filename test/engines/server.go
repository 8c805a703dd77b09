package engines

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Server is a server that was started here. Its methods are safe for concurrent use.
type Server struct {
	// Folder holds the files of the server.
	Folder string

	engine   engine
	program  string // the path of the server's program
	settings []string
	port     string
	account  *account // the account that the server runs as; nil means that of this process

	mu     sync.Mutex    // guards the following fields
	pid    int           // 0 if the server does not run
	ended  chan struct{} // closed after the process has ended
	resume func()        // ends a pause; nil if the server is not paused
}

// engine holds the differences between Redis, PostgreSQL, MariaDB and PgBouncer.
type engine struct {
	name      string
	url       string    // with %s in place of the port
	busOffset int       // if not 0, the port with this distance must be free, too
	stop      os.Signal // shuts the server down; nil means os.Interrupt
	arguments func(s *Server) []string
	configure func(s *Server) error // if not nil, writes files before each start
	isReady   func(s *Server) bool
}

// patience is how long a server may take to start or to stop.
const patience = time.Minute

// newServer makes a server with an empty folder. It does not start the server.
func newServer(e engine, program string, settings []string) (*Server, error) {
	folder, err := os.MkdirTemp("", "jwtauth-"+e.name)
	if err != nil {
		return nil, err
	}
	return &Server{Folder: folder, engine: e, program: program, settings: settings}, nil
}

// startFirst starts a new server on a free port, and removes the server if that fails.
func (s *Server) startFirst() (err error) {
	for range 5 { // another program may take the port before the server does
		if s.port, err = freePort(s.engine.busOffset); err != nil {
			break
		}
		if err = s.Start(); err == nil {
			return nil
		}
	}
	return errors.Join(err, s.Remove())
}

// Addr returns the address of the server. It stays the same after each start.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// URL returns the address in the form that client libraries read. The one of PostgreSQL
// names the superuser postgres and the database postgres.
func (s *Server) URL() string { return fmt.Sprintf(s.engine.url, s.port) }

// Program returns the path of another program of the server's release, such as pg_dump.
func (s *Server) Program(name string) string {
	return filepath.Join(filepath.Dir(s.program), name)
}

// Start starts the server again after Kill or Stop, and returns when it answers.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for deadline := time.Now().Add(patience); ; {
		err := s.tryStart(deadline)
		// Shortly after a kill, the shared memory of PostgreSQL's child processes may
		// still be in use.
		if err == nil || !bytes.Contains(s.endOfLog(), []byte("shared memory block")) || time.Now().After(deadline) {
			return err
		}
	}
}

func (s *Server) logFile() string { return filepath.Join(s.Folder, "log") }

// endOfLog returns what the server wrote last.
func (s *Server) endOfLog() []byte {
	text, _ := os.ReadFile(s.logFile())
	return bytes.TrimSpace(text[max(0, len(text)-1000):])
}

// tryStart starts the server once.
func (s *Server) tryStart(deadline time.Time) error {
	if s.pid != 0 {
		return errors.New("engines: the server runs already")
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	if s.engine.configure != nil {
		if err := s.engine.configure(s); err != nil {
			return err
		}
	}
	cmd := exec.Command(s.program, append(s.engine.arguments(s), s.settings...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Folder, log, log
	cmd.SysProcAttr = serverAttributes(s.account)
	if s.ended, err = launch(cmd); err != nil {
		return err
	}
	s.pid = cmd.Process.Pid
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !s.engine.isReady(s) {
		select {
		case <-s.ended:
			s.pid = 0
			return fmt.Errorf("engines: %s ended: %s", s.engine.name, s.endOfLog())
		case <-tick.C:
			if time.Now().After(deadline) {
				s.kill()
				return fmt.Errorf("engines: %s does not answer: %s", s.engine.name, s.endOfLog())
			}
		}
	}
	return nil
}

// launch starts a command that must not outlive this process. The goroutine keeps its
// thread until the command has ended, because Linux watches the thread that started the
// command, not the process.
func launch(cmd *exec.Cmd) (ended chan struct{}, err error) {
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		release, err := killAfterUs(cmd.Process.Pid)
		if err != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			started <- err
			return
		}
		started <- nil
		_ = cmd.Wait()
		release()
		close(ended)
	}()
	return ended, <-started
}

// Kill ends the server and its child processes like kill -9.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill()
}

func (s *Server) kill() {
	if s.pid == 0 {
		return
	}
	for _, pid := range append([]int{s.pid}, childrenOf(s.pid)...) {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	}
	<-s.ended
	s.pid = 0
	s.endPause()
}

// Stop shuts the server down, without waiting for its clients.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 {
		return
	}
	s.endPause()
	stop := s.engine.stop
	if stop == nil {
		stop = os.Interrupt
	}
	if p, err := os.FindProcess(s.pid); err == nil {
		_ = p.Signal(stop)
	}
	select {
	case <-s.ended:
		s.pid = 0
	case <-time.After(patience):
		s.kill()
	}
}

// Remove kills the server and removes its files.
func (s *Server) Remove() error {
	s.Kill()
	return os.RemoveAll(s.Folder)
}

// removeAfter returns a server that is removed after the test. err is why there is none.
func removeAfter(t testing.TB, s *Server, err error) *Server {
	t.Helper()
	requireStarted(t, err)
	t.Cleanup(func() {
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}
