package keydir_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwk/keydir"
)

// A restart, or another process, finds the key that was made before.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	var signs []string
	for range 2 {
		ring, err := jwk.OpenRing(context.Background(), keydir.New(dir), jwk.RingOptions{})
		if err != nil {
			log.Print(err)
			return
		}
		signs = append(signs, ring.Plan()[0].ID)
	}
	fmt.Println(signs[0] == signs[1])

	// Output:
	// true
}
