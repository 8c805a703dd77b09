package engines

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// Pause stops the processes of the server with SIGSTOP, until Resume. The server keeps
// its connections and answers nothing. If the test binary is killed, a helper process
// ends the pause.
func (s *Server) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 || s.resume != nil {
		return errors.New("engines: the server does not run, or is paused already")
	}
	// The main process stops first, so that it cannot start a child process after the
	// children have been listed.
	if err := stopProcess(s.pid); err != nil {
		_ = signal("CONT", s.pid)
		return err
	}
	pids := numbers(append([]int{s.pid}, childrenOf(s.pid)...))
	helper := exec.Command("sh", "-c", "kill -STOP "+pids+"; echo; read line; kill -CONT "+pids)
	helper.SysProcAttr = helperAttributes()
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
		s.endPause()
		return fmt.Errorf("engines: pause: %w", err)
	}
	return nil
}

// Resume ends a pause. If the server is not paused, Resume does nothing.
func (s *Server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endPause()
}

func (s *Server) endPause() {
	if s.resume != nil {
		s.resume()
		s.resume = nil
	}
}

// stopProcess sends SIGSTOP to one process and waits until the process has stopped.
func stopProcess(pid int) error {
	if err := signal("STOP", pid); err != nil {
		return err
	}
	for range 1000 {
		if stopped, err := isStopped(pid); stopped || err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("engines: the server does not stop")
}

// signal sends a signal, such as "STOP", to a process.
func signal(name string, pid int) error {
	if out, err := exec.Command("sh", "-c", "kill -"+name+" "+numbers([]int{pid})).CombinedOutput(); err != nil {
		return fmt.Errorf("engines: kill -%s: %w: %s", name, err, out)
	}
	return nil
}

// numbers returns the numbers with spaces between them.
func numbers(list []int) string { return strings.Trim(fmt.Sprint(list), "[]") }
