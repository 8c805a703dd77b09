package jwk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/internal/published"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// encodeSet encodes the public keys of a table as a JWK Set. It leaves out HMAC keys.
func encodeSet(table *keyset.Table) ([]byte, error) {
	return encodeKeys(table.All(), func(*keyset.Key) bool { return true })
}

// encodeKeys encodes the public keys of a list as a JWK Set. hasAlg reports whether the JWK of
// a key gets the member alg.
func encodeKeys(keys []*keyset.Key, hasAlg func(*keyset.Key) bool) ([]byte, error) {
	set := []byte(`{"keys":[`)
	for _, k := range keys {
		if k.Public == nil {
			continue
		}
		key, err := (&VerificationKey{k}).encode(hasAlg(k))
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

// foreignSet is a parsed JWK Set of another issuer.
type foreignSet struct {
	table   *keyset.Table
	implied map[keyName]struct{} // the keys whose JWK has no alg
	skipped []event.Event        // one for each problem
}

// keyName is what differs between the keys of one table.
type keyName struct{ id, alg string }

func nameOf(k *keyset.Key) keyName { return keyName{k.ID, k.Alg.Name} }

// parseSet parses the JWK Set of another issuer. It leaves out keys that cannot be used,
// different keys that have the same kid and algorithm, and the keys after the first
// maxForeignKeys. A set without a usable key is an error. old is the table that the new table
// replaces, or nil. The new table reuses the objects of keys that old contains. algorithms are
// for keys without alg; see parseForeignKey.
func parseSet(text string, old *keyset.Table, algorithms []*jwa.Algorithm) (set foreignSet, err error) {
	texts, err := keysOf(text)
	if err != nil {
		return set, err
	}
	skip := func(reason, kid string, err error) {
		set.skipped = append(set.skipped, event.Event{Reason: reason, KeyID: kid, Err: err})
	}
	if n := len(texts); n > maxForeignKeys {
		texts = texts[:maxForeignKeys]
		skip("too_many", "", fmt.Errorf("jwk: the JWK Set has %d keys, the first %d are used", n, maxForeignKeys))
	}
	materials := make(map[keyName]string) // the digest of the key of each name; "" if they differ
	var parsed [][]*keyset.Key
	set.implied = make(map[keyName]struct{})
	for i, text := range texts {
		keys, isImplied, err := parseForeignKey(text, algorithms)
		if err != nil {
			skip("unusable", "", fmt.Errorf("jwk: key %d of the JWK Set: %w", i+1, err))
			continue
		}
		parsed = append(parsed, keys)
		for _, k := range keys {
			name := nameOf(k)
			digest, ok := materials[name]
			switch {
			case !ok:
				materials[name] = k.Digest
			case digest != k.Digest:
				materials[name] = ""
			}
			if !isImplied {
				delete(set.implied, name)
			} else if !ok {
				set.implied[name] = struct{}{}
			}
		}
	}
	var usable []*keyset.Key
	isTaken := make(map[keyName]bool)
	for _, keys := range parsed {
		isReported := false
		for _, k := range keys {
			switch name := nameOf(k); {
			case materials[name] == "" && !isReported:
				skip("ambiguous", k.ID, fmt.Errorf("jwk: the JWK Set has different keys with the kid %s and the alg %s", errtext.Quote(k.ID), k.Alg.Name))
				isReported = true
			case materials[name] != "" && !isTaken[name]:
				usable = append(usable, k)
				isTaken[name] = true
			}
		}
	}
	if len(usable) == 0 {
		return set, fmt.Errorf("none of its keys can be used (%d left out)", len(set.skipped))
	}
	set.table = keyset.NewForeignTable(usable, old)
	return set, nil
}

// count returns the number of keys. A key with several algorithms counts once.
func (f *fetchedKeys) count() int { return len(f.jwks()) }

// jwks returns one of the keys of the table for each JWK that encode writes.
func (f *fetchedKeys) jwks() (keys []*keyset.Key) {
	type material struct{ id, digest string }
	isTaken := make(map[material]bool)
	for _, k := range f.table.All() {
		if _, isImplied := f.implied[nameOf(k)]; isImplied {
			m := material{k.ID, k.Digest}
			if isTaken[m] {
				continue
			}
			isTaken[m] = true
		}
		keys = append(keys, k)
	}
	return keys
}

// encode encodes the keys as a JWK Set. A key whose JWK had no alg is written without one.
func (f *fetchedKeys) encode() ([]byte, error) {
	return encodeKeys(f.jwks(), func(k *keyset.Key) bool { _, isImplied := f.implied[nameOf(k)]; return !isImplied })
}

// keysOf returns the JSON texts of the keys of a JWK Set. Only the outermost object is read strictly.
// A key that is not strict JSON costs that key alone; see parseForeignKey.
func keysOf(set string) ([][]byte, error) {
	d := json.NewDecoder(strings.NewReader(set))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return nil, strictjson.ErrSyntax
	}
	var keys []byte
	hasPEM := false // a member is in PEM
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
		hasPEM = hasPEM || bytes.HasPrefix(value, []byte(`"-----BEGIN `))
	}
	if _, err := d.Token(); err != nil { // the end of the object
		return nil, strictjson.ErrSyntax
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, strictjson.ErrSyntax
	}
	switch {
	case keys == nil && found["jwks_uri"]:
		return nil, errors.New("it has no keys member; it is the metadata of an issuer: use Discover, or the URL in jwks_uri")
	case keys == nil && hasPEM:
		return nil, errors.New("it has no keys member; it has keys in PEM: look for the URL of the issuer that has a JWK Set")
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
