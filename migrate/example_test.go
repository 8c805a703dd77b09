package migrate_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
	"github.com/jwtauth-go/jwtauth/migrate"
)

// mustWork ends the program if err is not nil.
func mustWork(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A token that the old code has signed is good until the date.
func ExampleNewVerifier() {
	var clock jwtauthtest.Clock
	clock.Set(time.Date(2027, time.February, 27, 12, 0, 0, 0, time.UTC))
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: clock.Now})
	signing, err := jwk.Generate(jwk.ES256)
	mustWork(err)
	ring, err := jwk.NewRing(signing)
	mustWork(err)
	issuer, err := jwtauth.NewIssuer(ring, jwtauth.IssuerOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
		Sessions: store, Revocations: store, Now: clock.Now,
	})
	mustWork(err)
	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
	mustWork(err)

	secret := []byte(rand.Text() + rand.Text()) // that of the old code
	key, err := jwk.NewHMAC(jwk.HS256, "", secret)
	mustWork(err)
	old, err := migrate.NewVerifier(key.Verification(), migrate.Options{
		Until: migrate.Date{Year: 2027, Month: time.March, Day: 1}, Issuer: "https://api.example.com",
		SubjectClaim: "user_id", Revocations: store, Now: clock.Now,
	})
	mustWork(err)
	both, err := jwtauth.AnyOf(verifier, old)
	mustWork(err)

	oldToken, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"user_id": 7, "exp": clock.Now().Add(72 * time.Hour).Unix(),
	}).SignedString(secret)
	mustWork(err)
	newTokens, err := issuer.Issue(context.Background(), jwtauth.Grant{Subject: "7"})
	mustWork(err)

	show := func() {
		for _, token := range []string{oldToken, newTokens.AccessToken} {
			t, err := both.Verify(context.Background(), token)
			fmt.Printf("%q %v\n", t.Subject, err == nil)
		}
	}
	show()
	mustWork(issuer.Logout(context.Background(), oldToken))
	show()

	// Output:
	// "7" true
	// "7" true
	// "" false
	// "7" true
}
