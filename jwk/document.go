package jwk

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/published"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// encodeSet encodes the public keys of a table as a JWK Set. It leaves out HMAC keys.
func encodeSet(table *keyset.Table) ([]byte, error) {
	set := []byte(`{"keys":[`)
	for _, k := range table.All() {
		if k.Public == nil {
			continue
		}
		key, err := (&VerificationKey{k}).JWK()
		if err != nil {
			return nil, err
		}
		if set[len(set)-1] == '}' {
			set = append(set, ',')
		}
		set = append(set, key...)
	}
	return append(set, "]}"...), nil
}

// newDocument makes the JWK Set that a ring serves. Verifiers may cache it for maxAge.
func newDocument(table *keyset.Table, maxAge time.Duration) (*published.Document, error) {
	set, err := encodeSet(table)
	if err != nil {
		return nil, err
	}
	return published.New("application/jwk-set+json", maxAge, set), nil
}

// maxForeignKeys is the maximum number of keys in the JWK Set of another issuer.
const maxForeignKeys = 100

// parseSet parses the JWK Set of another issuer. It leaves out keys that cannot be used,
// and different keys that have the same kid and algorithm. In skipped, it returns an event
// for each problem. A set without a usable key is an error. old is the table that the new
// table replaces, or nil. The new table reuses the objects of keys that old contains.
func parseSet(text string, old *keyset.Table) (table *keyset.Table, skipped []event.Event, err error) {
	var keys []*keyset.Key
	found := false
	err = strictjson.Object(text, func(name string, v strictjson.Value) error {
		if name != "keys" {
			return nil
		}
		found = true
		n := 0
		ok := v.Each(func(v strictjson.Value) bool {
			n++
			if n > maxForeignKeys {
				return false
			}
			k, err := parseForeignKey(string(v))
			if err != nil {
				skipped = append(skipped, event.Event{Reason: "unusable", Err: fmt.Errorf("jwk: key %d of the JWK Set: %w", n, err)})
			} else {
				keys = append(keys, k.key)
			}
			return true
		})
		switch {
		case n > maxForeignKeys:
			return fmt.Errorf("it has more than %d keys", maxForeignKeys)
		case !ok:
			return errors.New("keys is not an array")
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if !found {
		return nil, nil, errors.New("it has no keys member")
	}
	var usable []*keyset.Key
	for i, k := range keys {
		sameName := func(other *keyset.Key) bool { return other.ID == k.ID && other.Alg == k.Alg }
		switch {
		case slices.ContainsFunc(keys, func(other *keyset.Key) bool { return sameName(other) && other.Digest != k.Digest }):
			err := fmt.Errorf("jwk: the JWK Set has different keys with the kid %s and the alg %s", errtext.Quote(k.ID), k.Alg.Name)
			skipped = append(skipped, event.Event{Reason: "ambiguous", KeyID: k.ID, Err: err})
		case !slices.ContainsFunc(keys[:i], sameName):
			usable = append(usable, k)
		}
	}
	if len(usable) == 0 {
		return nil, skipped, fmt.Errorf("none of its keys can be used (%d left out)", len(skipped))
	}
	return keyset.NewForeignTable(usable, old), skipped, nil
}
