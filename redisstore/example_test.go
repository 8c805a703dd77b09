package redisstore_test

import (
	"context"
	"log"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/redisstore"
)

// An issuer that shares its sessions and revocations with other machines.
func Example() {
	client := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs:                 []string{"127.0.0.1:6379"},
		ContextTimeoutEnabled: true,
	})
	defer client.Close()
	store, err := redisstore.New(client, redisstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	warnings, err := store.Check(ctx)
	if err != nil {
		log.Fatal(err) // the engine evicts keys, or does not answer
	}
	for _, w := range warnings {
		log.Print("redis: ", w)
	}
	key, err := jwk.Generate(jwk.ES256)
	if err != nil {
		log.Fatal(err)
	}
	keys, err := jwk.NewRing(key)
	if err != nil {
		log.Fatal(err)
	}
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer:      "https://api.example.com",
		Audiences:   []string{"https://api.example.com"},
		Sessions:    store,
		Revocations: store,
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = issuer
}
