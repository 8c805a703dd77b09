package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/sqlstore"
)

// Sessions and revocations in a file, so that they survive a restart.
func Example() {
	folder, err := os.MkdirTemp("", "sqlstore")
	check(err)
	defer os.RemoveAll(folder)
	ctx := context.Background()

	db, err := sql.Open("sqlite", "file:"+filepath.Join(folder, "auth.db")+"?_pragma=journal_mode(wal)")
	check(err)
	defer db.Close()
	store, err := sqlstore.New(db, sqlstore.Options{Dialect: sqlstore.SQLite})
	check(err)
	check(store.Migrate(ctx))
	warnings, err := store.Check(ctx)
	check(err)
	for _, w := range warnings {
		log.Print("sqlite: ", w)
	}

	key, err := jwk.Generate(jwk.ES256)
	check(err)
	keys, err := jwk.NewRing(key)
	check(err)
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
		Sessions: store, Revocations: store,
	})
	check(err)
	tokens, err := issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
	check(err)
	tokens, err = issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: tokens.RefreshToken})
	check(err)
	check(issuer.Logout(ctx, tokens.RefreshToken))
	_, err = issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: tokens.RefreshToken})
	fmt.Println(err)
	// Output: jwtauth: refused: no session (check session)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
