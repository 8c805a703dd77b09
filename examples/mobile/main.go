// Command mobile is a client without a browser, such as an app on a phone. It keeps its tokens in
// a file, refreshes them before they expire, and survives lost answers. It runs against
// examples/server:
//
//	go run ./examples/mobile -api http://127.0.0.1:8080/api -user alice -password ...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	api := flag.String("api", "http://127.0.0.1:8080/api", "the `URL` of the API of examples/server")
	user := flag.String("user", "alice", "the `NAME` of the user, for the first call")
	password := flag.String("password", "", "the `PASSWORD` of the user, for the first call")
	file := flag.String("file", filepath.Join(os.TempDir(), "jwtauth-mobile.json"), "the `FILE` with the tokens; an app uses the keychain of the phone")
	flag.Parse()
	if err := run(context.Background(), *api, *user, *password, *file); err != nil {
		fmt.Fprintln(os.Stderr, "mobile:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, api, user, password, file string) error {
	c := &Client{API: api, File: file}
	body, err := c.Get(ctx, "/protected")
	if errors.Is(err, ErrLoggedOut) {
		if password == "" {
			return errors.New("nobody is logged in: -user and -password are expected")
		}
		if err = c.Login(ctx, user, password); err == nil {
			body, err = c.Get(ctx, "/protected")
		}
	}
	if err != nil {
		return err
	}
	fmt.Printf("%s %s\n", time.Now().Format(time.TimeOnly), body)
	return nil
}
