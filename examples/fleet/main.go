// Command fleet is an API that runs as several processes. They share a directory of
// keys, and one Redis or PostgreSQL with the sessions and revocations. Each process
// has a replica of the revocations in memory, so checking a token makes no network
// call. A logout at one process takes effect at all others within 2 seconds. -h says how to
// try it.
package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwk/keydir"
	"github.com/jwtauth-go/jwtauth/redisstore"
	"github.com/jwtauth-go/jwtauth/replica"
	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/sqlstore/pgxwatch"
)

const usage = `An API of several processes that share sessions and logouts. In a clone of the
repository, run each server in a terminal of its own:

    mkdir -m 700 keys
    redis-server --appendonly yes --maxmemory-policy noeviction
    go run ./examples/fleet -listen 127.0.0.1:8085
    go run ./examples/fleet -listen 127.0.0.1:8086

The first process prints a command for the login. Use the access token at both:

    ACCESS=...   # the access_token
    curl -H "Authorization: Bearer $ACCESS" http://127.0.0.1:8085/me
    curl -H "Authorization: Bearer $ACCESS" -X POST http://127.0.0.1:8086/logout
    curl -H "Authorization: Bearer $ACCESS" http://127.0.0.1:8085/me     # refused

With PostgreSQL: -store postgres://USER@127.0.0.1/DATABASE

`

func main() {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	listen := flag.String("listen", "127.0.0.1:8085", "listen on this `address`")
	address := flag.String("store", "redis://127.0.0.1:6379", "the `URL` of the store, redis://… or postgres://…; all processes must have the same")
	dir := flag.String("key", "keys", "the `directory` of the keys; all processes must have the same")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *address, *dir, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx ends, and then finishes the open requests.
func run(ctx context.Context, listen, address, dir string, out io.Writer) error {
	events := event.Log(slog.Default())
	keys, err := jwk.OpenRing(ctx, keydir.New(dir), jwk.RingOptions{OnEvent: events})
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("-key: %w: make the directory with mkdir -m 700 %q", err, dir)
	}
	if err != nil {
		return fmt.Errorf("-key: %w", err)
	}
	store, engine, err := openStore(ctx, address)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("-store: %w: an engine that runs at this address is expected", err)
	}
	if err != nil {
		return fmt.Errorf("-store: %w", err)
	}
	defer engine.Close()
	revocations, err := replica.New(store, replica.Options{OnEvent: events})
	if err != nil {
		return err
	}
	defer revocations.Close() // runs before engine.Close

	password := rand.Text() // a real service has one per user, hashed, in a database
	handler, err := service(keys, store, revocations, password)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	fmt.Fprintf(out, "curl -d password=%s http://%s/login\n", password, listener.Addr())
	server := &http.Server{Handler: handler, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		stopped <- server.Shutdown(last)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// store has the methods that redisstore.Store and sqlstore.Store have in common.
type store interface {
	jwtauth.SessionStore
	replica.Log
}

// openStore opens the store. It returns an error if the engine would lose entries. The caller
// must close engine after the last use of the store.
func openStore(ctx context.Context, address string) (s store, engine io.Closer, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	scheme, _, isURL := strings.Cut(address, "://")
	switch scheme {
	case "redis", "rediss":
		return openRedis(ctx, address)
	case "postgres", "postgresql":
		return openPostgres(ctx, address)
	}
	switch { // the errors do not contain address, which may have a password
	case isURL:
		err = fmt.Errorf("%q is not the scheme of a store", scheme)
	case strings.Contains(address, "@"):
		err = errors.New("this is not a URL")
	default:
		err = fmt.Errorf("%q is not a URL", address)
	}
	return nil, nil, fmt.Errorf("%w: redis://… or postgres://… is expected", err)
}

func openRedis(ctx context.Context, address string) (store, io.Closer, error) {
	o, err := redis.ParseURL(address)
	if err != nil {
		return nil, nil, errors.New("redis://USER:PASSWORD@HOST:PORT/NUMBER is expected") // err may contain the password
	}
	o.ContextTimeoutEnabled = true
	redis.SetLogger(debugLog{})
	client := redis.NewClient(o) // or NewFailoverClient, NewClusterClient
	s, err := redisstore.New(client, redisstore.Options{})
	if err != nil {
		return nil, nil, err
	}
	if err := logWarnings(s.Check(ctx)); err != nil {
		return nil, nil, err
	}
	return s, client, nil
}

// debugLog logs the messages of the Redis driver with the level DEBUG, because the errors of
// the calls contain everything that matters.
type debugLog struct{}

func (debugLog) Printf(ctx context.Context, format string, v ...any) {
	slog.DebugContext(ctx, fmt.Sprintf(format, v...))
}

func openPostgres(ctx context.Context, address string) (store, io.Closer, error) {
	db, err := sql.Open("pgx", address)
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(20) // one of them waits for notifications; all processes together must stay below max_connections
	db.SetMaxIdleConns(20)
	s, err := sqlstore.New(db, sqlstore.Options{Dialect: sqlstore.Postgres})
	if err != nil {
		return nil, nil, err
	}
	if err := s.Migrate(ctx); err != nil {
		return nil, nil, err
	}
	if err := logWarnings(s.Check(ctx)); err != nil {
		return nil, nil, err
	}
	pushed, err := pgxwatch.New(db, s)
	return pushed, db, err
}

// logWarnings logs the warnings of a check of the store, and returns the error of the check.
func logWarnings(warnings []string, err error) error {
	for _, w := range warnings {
		slog.Warn("the store may lose entries", "warning", w)
	}
	return err
}

// service returns the handler, which is the same in all processes.
func service(keys *jwk.Ring, sessions jwtauth.SessionStore, revocations *replica.Replica, password string) (http.Handler, error) {
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
		Sessions: sessions, Revocations: revocations,
		OnEvent: event.Log(slog.Default()),
	})
	if err != nil {
		return nil, err
	}
	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{}) // uses the replica, too
	if err != nil {
		return nil, err
	}
	auth, err := jwtauth.NewMiddleware(verifier, jwtauth.MiddlewareOptions{})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /me", auth.Require(http.HandlerFunc(greet)))
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		if subtle.ConstantTimeCompare([]byte(r.PostFormValue("password")), []byte(password)) == 0 {
			jwtauth.WriteError(w, r, errPassword)
			return
		}
		tokens, err := issuer.Issue(r.Context(), jwtauth.Grant{Subject: "alice", AuthTime: began})
		answer(w, r, tokens, err)
	})
	mux.HandleFunc("POST /refresh", func(w http.ResponseWriter, r *http.Request) {
		tokens, err := issuer.Refresh(r.Context(), jwtauth.RefreshRequest{Token: r.PostFormValue("refresh_token")})
		answer(w, r, tokens, err)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		token, err := jwtauth.BearerToken(r)
		if err == nil {
			err = issuer.Logout(r.Context(), token)
		}
		if err != nil {
			jwtauth.WriteError(w, r, err) // on 503, the session may not have ended everywhere, and the client tries again
		}
	})
	// A load balancer calls /readyz. A process is ready while its replica of the revocations
	// is complete and not older than 2 seconds.
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if err := revocations.Ready(ctx); err != nil {
			jwtauth.WriteError(w, r, err)
		}
	})
	return http.MaxBytesHandler(mux, 1<<16), nil
}

// errPassword is the answer to a wrong password.
var errPassword = &jwtauth.Error{Status: http.StatusUnauthorized, Code: "invalid_credentials", Description: "the password is wrong"}

func greet(w http.ResponseWriter, r *http.Request) {
	token, _ := jwtauth.FromContext(r.Context())
	fmt.Fprintln(w, "hello", token.Subject)
}

func answer(w http.ResponseWriter, r *http.Request, tokens jwtauth.TokenResponse, err error) {
	if err != nil {
		jwtauth.WriteError(w, r, err)
		return
	}
	jwtauth.WriteTokens(w, tokens)
}
