//go:build linux

package engines

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Server is a server of the tests' own. Its methods may be called from several
// goroutines.
type Server struct {
	// Folder holds the server's files.
	Folder string

	kind kind
	port string
	args []string
	as   *syscall.Credential

	mu     sync.Mutex
	pid    int           // 0: it does not run
	ended  chan struct{} // closed when the process has ended
	resume func()
}

// kind is what differs between the engines.
type kind struct {
	name, program string
	url           string // with %s for the port
	settings      func(s *Server) []string
	answers       func(s *Server) bool
	stop          syscall.Signal // ends it in good order
}

// patience is how long a server may take to start or to stop.
const patience = time.Minute

// newServer makes the folder of a server.
func newServer(k kind, args []string) (s *Server, err error) {
	s = &Server{kind: k, args: args}
	if s.Folder, err = os.MkdirTemp("", k.name); err != nil {
		return nil, err
	}
	return s, nil
}

// start starts a new server on a port that is free.
func (s *Server) start() (err error) {
	for range 5 { // somebody else may be faster than the server
		if s.port, err = freePort(); err != nil {
			return err
		}
		if err = s.Start(); err == nil {
			return nil
		}
	}
	return err
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// Addr is the address, the same after each start.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// URL names the server as its clients' libraries read it.
func (s *Server) URL() string { return fmt.Sprintf(s.kind.url, s.port) }

// Start starts the server, again after Kill or Stop, and returns when it answers.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for deadline := time.Now().Add(patience); ; {
		err := s.tryStart(deadline)
		// After a kill, the memory that the children of PostgreSQL share may be in
		// use for a moment still.
		if err == nil || !bytes.Contains(s.tail(), []byte("shared memory block")) || time.Now().After(deadline) {
			return err
		}
	}
}

func (s *Server) log() string { return filepath.Join(s.Folder, "log") }

// tail is the end of the log.
func (s *Server) tail() []byte {
	text, _ := os.ReadFile(s.log())
	return bytes.TrimSpace(text[max(0, len(text)-1000):])
}

func (s *Server) tryStart(deadline time.Time) error {
	if s.pid != 0 {
		return errors.New("engines: the server runs already")
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.kind.program, append(s.kind.settings(s), s.args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Folder, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: s.as, Setpgid: true}
	if s.ended, err = launch(cmd); err != nil {
		return err
	}
	s.pid = cmd.Process.Pid
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !s.kind.answers(s) {
		select {
		case <-s.ended:
			s.pid = 0
			return fmt.Errorf("engines: %s ended: %s", s.kind.name, s.tail())
		case <-tick.C:
			if time.Now().After(deadline) {
				s.kill()
				return fmt.Errorf("engines: %s does not answer: %s", s.kind.name, s.tail())
			}
		}
	}
	return nil
}

// launch starts a command on a thread that lives as long as it: the kernel sends the
// signal of Pdeathsig when the thread ends that started the process.
func launch(cmd *exec.Cmd) (ended chan struct{}, err error) {
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(ended)
		}
	}()
	return ended, <-started
}

// family is the process and its children.
func (s *Server) family() []int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.pid, s.pid))
	all := []int{s.pid}
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// Kill ends the server, its children too, as kill -9 does.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill()
}

func (s *Server) kill() {
	if s.pid == 0 {
		return
	}
	for _, pid := range s.family() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-s.ended
	s.pid = 0
	s.goOn()
}

// Stop ends the server in good order, without waiting for its clients.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 {
		return
	}
	s.goOn()
	_ = syscall.Kill(s.pid, s.kind.stop)
	select {
	case <-s.ended:
		s.pid = 0
	case <-time.After(patience):
		s.kill()
	}
}

// Pause stops the processes of the server, which keep their connections, until
// Resume. Where the test dies, a helper of this process lets them go on.
func (s *Server) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 || s.resume != nil {
		return errors.New("engines: there is nothing to pause")
	}
	if err := s.stopForking(); err != nil {
		_ = syscall.Kill(s.pid, syscall.SIGCONT)
		return err
	}
	pids := strings.Trim(fmt.Sprint(s.family()), "[]")
	helper := exec.Command("sh", "-c", "kill -STOP "+pids+"; echo; read line; kill -CONT "+pids)
	in, err := helper.StdinPipe()
	if err != nil {
		return err
	}
	out, err := helper.StdoutPipe()
	if err != nil {
		return err
	}
	if err := helper.Start(); err != nil {
		return err
	}
	s.resume = func() {
		in.Close()
		_ = helper.Wait()
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		s.goOn()
		return fmt.Errorf("engines: pause: %w", err)
	}
	return nil
}

// stopForking stops the process itself, so that it has no child afterwards that is
// not one of the family yet.
func (s *Server) stopForking() error {
	if err := syscall.Kill(s.pid, syscall.SIGSTOP); err != nil {
		return err
	}
	for range 1000 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
		if err != nil {
			return err
		}
		if _, after, _ := strings.Cut(string(stat), ") "); strings.HasPrefix(after, "T") {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("engines: the server does not stop")
}

// Resume undoes Pause.
func (s *Server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.goOn()
}

func (s *Server) goOn() {
	if s.resume != nil {
		s.resume()
		s.resume = nil
	}
}

// Remove kills the server and removes its files.
func (s *Server) Remove() error {
	s.Kill()
	return os.RemoveAll(s.Folder)
}

// lesser is somebody to run a server for that refuses root, and nobody for others.
func lesser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(errUID, errGID)
}

// Missing skips a test that has no server to work with; where CI is set, that is a
// failure.
func Missing(t testing.TB, why error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set, and there is no engine to test with: %v", why)
	}
	t.Skipf("there is no engine to test with: %v", why)
}

// own is a server that ends with the test.
func own(t testing.TB, s *Server, err error) *Server {
	t.Helper()
	if errors.Is(err, exec.ErrNotFound) {
		Missing(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}
