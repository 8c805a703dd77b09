package loginserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// baseURL returns the URL at which a client on this machine reaches the server.
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

// The bounds of a connection. A client cannot keep an idle connection open. A header of 16
// KiB has room for an access token, which has at most 8 KiB.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = time.Minute
	maxHeaderBytes    = 16 << 10
	shutdownTimeout   = 15 * time.Second // longer than readTimeout, so that open requests can finish
)

// serve serves requests until ctx ends. It then finishes the open requests and returns the exit
// code of the program.
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
	// ctx has ended, so the shutdown needs a context with a new time-out.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(last); err != nil {
		log.Error("requests were cut off", "error", errors.Join(err, srv.Close()))
		return exitFailed
	}
	log.Info("stopped")
	return exitOK
}
