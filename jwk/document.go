package jwk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
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

// maxForeignKeys is how many keys of the JWK Set of another issuer are used.
const maxForeignKeys = 100

// parseSet parses the JWK Set of another issuer. It leaves out keys that cannot be used,
// different keys that have the same kid and algorithm, and the keys after the first
// maxForeignKeys. In skipped, it returns an event for each problem. A set without a usable key is
// an error. old is the table that the new table replaces, or nil. The new table reuses the objects
// of keys that old contains.
func parseSet(text string, old *keyset.Table) (table *keyset.Table, skipped []event.Event, err error) {
	texts, err := keysOf(text)
	if err != nil {
		return nil, nil, err
	}
	if n := len(texts); n > maxForeignKeys {
		texts = texts[:maxForeignKeys]
		err := fmt.Errorf("jwk: the JWK Set has %d keys, the first %d are used", n, maxForeignKeys)
		skipped = append(skipped, event.Event{Reason: "too_many", Err: err})
	}
	var keys []*keyset.Key
	for i, text := range texts {
		k, err := parseForeignKey(text)
		if err != nil {
			skipped = append(skipped, event.Event{Reason: "unusable", Err: fmt.Errorf("jwk: key %d of the JWK Set: %w", i+1, err)})
			continue
		}
		keys = append(keys, k.key)
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

// keysOf returns the JSON texts of the keys of a JWK Set. Only the outermost object is read strictly.
// A key that is not strict JSON costs that key alone; see parseForeignKey.
func keysOf(set string) ([][]byte, error) {
	d := json.NewDecoder(strings.NewReader(set))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return nil, strictjson.ErrSyntax
	}
	var keys []byte
	found := make(map[string]bool)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, strictjson.ErrSyntax
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, strictjson.ErrSyntax
		}
		text, _ := name.(string)
		if folded := strictjson.Fold(text); found[folded] {
			return nil, strictjson.ErrDuplicate
		} else {
			found[folded] = true
		}
		if text == "keys" {
			keys = value
		}
	}
	if _, err := d.Token(); err != nil { // the end of the object
		return nil, strictjson.ErrSyntax
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, strictjson.ErrSyntax
	}
	switch {
	case keys == nil:
		return nil, errors.New("it has no keys member")
	case keys[0] != '[':
		return nil, errors.New("keys is not an array")
	}
	var texts []json.RawMessage
	if err := json.Unmarshal(keys, &texts); err != nil {
		return nil, strictjson.ErrSyntax
	}
	list := make([][]byte, len(texts))
	for i, text := range texts {
		list[i] = text
	}
	return list, nil
}
