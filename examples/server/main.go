// Command server is a whole service around jwtauth: login with a password,
// calls that need a token, refresh with reuse detection, logout, audit log.
//
//	go run ./examples/server
//
// prints two users with new passwords and the curl lines of a walk through all
// of it. Users are kept in memory, keys with -key DIR in a directory, and sessions
// with -store in SQLite, Redis or PostgreSQL; -h lists its flags. main.go starts and
// stops it, flags.go and load.go read what it is configured with, rotate.go replaces
// its keys, store.go opens the store, server.go holds the routes, and login.go is
// where a request becomes a session.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // it could not listen, serve, or finish its requests
	exitConfig = 2 // a flag, or what a flag names, is not what is expected
)

// run is the program: it serves until ctx ends, and then finishes the requests
// that are open.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	c, err := parseFlags(args, getenv)
	if errors.Is(err, flag.ErrHelp) {
		printUsage(stdout)
		return exitOK
	}
	if err != nil {
		return fail(stderr, exitConfig, err)
	}
	log := newLog(stderr, c.logFormat)
	p, err := load(ctx, c, getenv, log)
	if err != nil {
		return fail(stderr, exitConfig, err)
	}
	defer p.stores.close()
	listener, err := net.ListenTCP("tcp", p.addr)
	if err != nil {
		return fail(stderr, exitFailed, fmt.Errorf("-addr: %w", err))
	}
	base := baseURL(listener.Addr().(*net.TCPAddr), p.certificate != nil)
	s, err := newServer(c, p, base, log)
	if err != nil {
		listener.Close()
		return fail(stderr, exitConfig, err)
	}
	if p.rotates {
		defer rotateOnHangUp(p.keys, log)()
		logPlan(p.keys, log)
	}
	printStart(stdout, base, p)
	return serve(ctx, listener, s.handler(), p.certificate, log)
}

// fail says on one line why the program does not run.
func fail(stderr io.Writer, code int, err error) int {
	text := strings.Join(strings.Fields(err.Error()), " ")
	fmt.Fprintln(stderr, "server:", strings.ReplaceAll(text, "jwtauth: ", ""))
	return code
}

// baseURL is where a client on this machine reaches the server.
func baseURL(addr *net.TCPAddr, secure bool) string {
	scheme, host := "http", addr.IP.String()
	if secure {
		scheme = "https"
	}
	if addr.IP == nil || addr.IP.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, fmt.Sprint(addr.Port))
}

// The bounds of a connection: none of them can be held open for nothing. An
// access token has at most 8 KiB, so the header with one fits.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = time.Minute
	maxHeaderBytes    = 16 << 10
	shutdownTimeout   = 15 * time.Second // longer than readTimeout, so that open requests can finish
)

func serve(ctx context.Context, listener net.Listener, h http.Handler, certificate *tls.Certificate, log *slog.Logger) int {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() {
		if certificate == nil {
			served <- srv.Serve(listener)
			return
		}
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12}
		served <- srv.ServeTLS(listener, "", "")
	}()
	log.Info("serving", "address", listener.Addr().String(), "tls", certificate != nil)

	select {
	case err := <-served:
		log.Error("serving failed", "error", err)
		return exitFailed
	case <-ctx.Done():
	}
	log.Info("stopping")
	// ctx has ended; what is open gets a time of its own.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(last); err != nil {
		log.Error("requests were cut off", "error", errors.Join(err, srv.Close()))
		return exitFailed
	}
	log.Info("stopped")
	return exitOK
}

// printStart tells a newcomer what there is to try.
func printStart(w io.Writer, base string, p *parts) {
	fmt.Fprintf(w, "The server listens on %s. Ctrl-C stops it.\n", base)
	if p.demo == nil {
		return
	}
	fmt.Fprint(w, "\nTwo users, with new passwords at each start:\n\n")
	for _, d := range p.demo {
		fmt.Fprintf(w, "    %-6s %s  %s\n", d.name, d.password, d.about)
	}
	fmt.Fprint(w, "\nA walk through it: paste one step after another into another terminal.\n")
	if p.certificate != nil {
		fmt.Fprint(w, "Where the certificate is not publicly trusted, curl needs --cacert FILE.\n")
	}
	steps := walk(base, p.demo[0], p.demo[1])
	if p.rotates {
		steps = append(steps, rotationWalk(base, os.Getpid())...)
	}
	printWalk(w, steps)
}
