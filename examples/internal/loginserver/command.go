// Package loginserver is a whole service that uses jwtauth: login with a password,
// calls that need a token, refresh with reuse detection, logout, audit log.
// The commands examples/server and examples/server-shared run it. They differ in
// the stores of the sessions.
//
// command.go starts the service, serve.go listens and stops, flags.go and load.go
// read the configuration, rotate.go replaces the keys, server.go has the routes,
// login.go checks passwords, and page.go serves the page.
package loginserver

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unicode/utf8"
)

// Command is a command that runs the service.
type Command struct {
	// Name is the name of the command, for error messages and the usage text.
	Name string
	// StoreUsage is the usage text of the flag -store. Empty means that there is no
	// such flag.
	StoreUsage string
	// OpenStores opens the stores. address is the value of -store, or empty if there is no
	// such flag. An error must not contain a password from the address.
	OpenStores func(ctx context.Context, address string, log *slog.Logger) (*Stores, error)
	// Stdin is the input from which -hash-password reads. Default os.Stdin.
	Stdin io.Reader
}

// Main runs the command until the process gets SIGINT or SIGTERM, and exits.
func (cmd Command) Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(cmd.Run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the server could not listen, serve, or finish its requests
	exitConfig = 2 // a flag, or a file that it names, is wrong
)

// Run serves until ctx ends, finishes the open requests, and returns the exit code.
func (cmd Command) Run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	c, err := cmd.parseFlags(args, getenv)
	if errors.Is(err, flag.ErrHelp) {
		cmd.printUsage(stdout)
		return exitOK
	}
	if err != nil {
		return cmd.fail(stderr, exitConfig, err)
	}
	if c.hashPassword {
		if err := cmd.printPasswordHash(stdout); err != nil {
			return cmd.fail(stderr, exitConfig, err)
		}
		return exitOK
	}
	log := newLog(stderr, c.logFormat)
	p, err := cmd.load(ctx, c, getenv, log)
	if err != nil {
		return cmd.fail(stderr, exitConfig, err)
	}
	defer p.stores.Close()
	listener, err := net.ListenTCP("tcp", p.addr)
	if err != nil {
		return cmd.fail(stderr, exitFailed, fmt.Errorf("-addr: %w", err))
	}
	base := baseURL(listener.Addr().(*net.TCPAddr), p.certificate != nil)
	s, err := newServer(c, p, base, log)
	if err != nil {
		listener.Close()
		return cmd.fail(stderr, exitConfig, err)
	}
	if p.rotates {
		defer rotateOnHangUp(p.keys, log)()
		logPlan(p.keys, log)
	}
	printStart(stdout, base, p)
	return serve(ctx, listener, s.handler(), p.certificate, log)
}

// maxPassword is the greatest length of a password, in bytes. The body of a login is not larger.
const maxPassword = 16 << 10

// printPasswordHash reads a password and prints its hash.
func (cmd Command) printPasswordHash(w io.Writer) error {
	in := cmd.Stdin
	if in == nil {
		in = os.Stdin
	}
	line, err := bufio.NewReader(io.LimitReader(in, maxPassword)).ReadString('\n')
	password := strings.TrimRight(line, "\r\n")
	if err != nil && err != io.EOF || password == "" || !utf8.ValidString(password) {
		return errors.New("-hash-password: one line with a password in UTF-8 is expected on standard input")
	}
	fmt.Fprintln(w, newPasswordHash(password))
	return nil
}

// fail prints an error on one line and returns the exit code.
func (cmd Command) fail(stderr io.Writer, code int, err error) int {
	text := strings.Join(strings.Fields(err.Error()), " ")
	fmt.Fprintln(stderr, cmd.Name+":", strings.NewReplacer("jwtauth: ", "", "jwk: ", "").Replace(text))
	return code
}

// printStart prints the URL of the server and, if there are demo users, commands to try.
func printStart(w io.Writer, base string, p *parts) {
	fmt.Fprintf(w, "The server listens on %s. Ctrl-C stops it.\n", base)
	if p.demo == nil {
		return
	}
	fmt.Fprint(w, "\nTwo users. Their passwords are new at each start; -users FILE names users that stay:\n\n")
	for _, d := range p.demo {
		fmt.Fprintf(w, "    %-6s %s  %s\n", d.name, d.password, d.about)
	}
	fmt.Fprintf(w, "\nTo try it in a browser, open %s/\nTo try it with curl, paste one step after another into another terminal.\n", base)
	if p.certificate != nil {
		fmt.Fprint(w, "If the certificate is not publicly trusted, curl needs --cacert FILE.\n")
	}
	steps := walk(base, p.demo[0], p.demo[1])
	if p.rotates {
		steps = append(steps, rotationWalk(base, os.Getpid())...)
	}
	printWalk(w, steps)
}
