// Package moving_test runs the programs of docs/moving as old and new processes side by side.
package moving_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwk/keydir"
	"github.com/jwtauth-go/jwtauth/migrate"
	"github.com/jwtauth-go/jwtauth/sqlstore"
	"github.com/jwtauth-go/jwtauth/test/moving/auth0"
	"github.com/jwtauth-go/jwtauth/test/moving/chijwtauth"
	"github.com/jwtauth-go/jwtauth/test/moving/echojwt"
	"github.com/jwtauth-go/jwtauth/test/moving/ginjwt"
	"github.com/jwtauth-go/jwtauth/test/moving/golangjwt"
	"github.com/jwtauth-go/jwtauth/test/moving/jwtgo"
)

// The environment of a process.
const (
	programVariable  = "MOVING_PROGRAM"  // such as gin-jwt/before
	secretVariable   = "MOVING_SECRET"   // of the old tokens
	untilVariable    = "MOVING_UNTIL"    // year-month-day
	domainVariable   = "MOVING_DOMAIN"   // of Auth0
	audienceVariable = "MOVING_AUDIENCE" // of Auth0
)

// library is a library that a service moves away from.
type library struct {
	name   string
	before func(secret []byte) (http.Handler, error)
	after  func(issuer *jwtauth.Issuer, store jwtauth.RevocationStore, secret []byte, until migrate.Date) (http.Handler, error)

	scheme   string // of the Authorization header of old clients; empty if they send the cookie jwt
	lifetime time.Duration
}

var libraries = []library{
	{"golang-jwt", infallible(golangjwt.Before), golangjwt.After, "Bearer ", 72 * time.Hour},
	{"jwt-go", infallible(jwtgo.Before), jwtgo.After, "Token ", 24 * time.Hour},
	{"gin-jwt", ginjwt.Before, ginjwt.After, "Bearer ", time.Hour},
	{"chi-jwtauth", infallible(chijwtauth.Before), chijwtauth.After, "", 24 * time.Hour},
	{"echo-jwt", infallible(echojwt.Before), echojwt.After, "Bearer ", 72 * time.Hour},
}

func infallible(before func([]byte) http.Handler) func([]byte) (http.Handler, error) {
	return func(secret []byte) (http.Handler, error) { return before(secret), nil }
}

// TestMain runs a program in place of the tests if the environment names one.
func TestMain(m *testing.M) {
	if name := os.Getenv(programVariable); name != "" {
		fmt.Fprintln(os.Stderr, name, serve(context.Background(), name))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// serve runs a program until its process is killed. It prints the URL of the program.
func serve(ctx context.Context, name string) error {
	handler, err := program(ctx, name)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + listener.Addr().String())
	return http.Serve(listener, handler)
}

func program(ctx context.Context, name string) (http.Handler, error) {
	secret := []byte(os.Getenv(secretVariable))
	for _, l := range libraries {
		switch name {
		case l.name + "/before":
			return l.before(secret)
		case l.name + "/after":
			until, err := time.Parse(time.DateOnly, os.Getenv(untilVariable))
			if err != nil {
				return nil, err
			}
			issuer, store, err := newIssuer(ctx)
			if err != nil {
				return nil, err
			}
			return l.after(issuer, store, secret, date(until))
		}
	}
	switch domain, audience := os.Getenv(domainVariable), os.Getenv(audienceVariable); name {
	case "auth0/before":
		return auth0.Before(domain, audience)
	case "auth0/after":
		return auth0.After(domain, audience)
	}
	return nil, errors.New("there is no such program")
}

// newIssuer makes the issuer of the new processes from the environment. They share a database
// and a directory of keys.
func newIssuer(ctx context.Context) (*jwtauth.Issuer, *sqlstore.Store, error) {
	store, err := sqlstore.FromEnv("sqlite", sqlstore.Options{Dialect: sqlstore.SQLite})
	if err != nil {
		return nil, nil, err
	}
	keys, keysErr := keydir.RingFromEnv(ctx, jwk.RingOptions{})
	if err := cmp.Or(store.Migrate(ctx), keysErr); err != nil {
		return nil, nil, err
	}
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{FromEnv: true, Sessions: store, Revocations: store})
	return issuer, store, err
}

func date(t time.Time) migrate.Date {
	return migrate.Date{Year: t.Year(), Month: t.Month(), Day: t.Day()}
}
