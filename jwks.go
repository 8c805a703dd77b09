package jwtauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// encodeKeySet writes the JWK Set of the public keys. HMAC keys never appear.
func encodeKeySet(keys []*VerificationKey) ([]byte, error) {
	set := []byte(`{"keys":[`)
	for _, k := range keys {
		if k.public == nil {
			continue
		}
		key, err := k.JWK()
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

// parseKeySet reads a JWK Set that somebody else publishes, key by key. What cannot
// be used, or told apart, is left out, and the events say what; those without a
// key at all are an error. Keys that stand in old keep their objects.
func parseKeySet(text string, old *keyTable) (*keyTable, []Event, error) {
	var keys []*VerificationKey
	var skipped []Event
	found := false
	err := strictjson.Object(text, func(name string, v strictjson.Value) error {
		if name != "keys" {
			return nil
		}
		found = true
		n := 0
		ok := v.Each(func(v strictjson.Value) bool {
			n++
			if n > maxRemoteKeys {
				return false
			}
			k, err := remoteKey(string(v))
			if err != nil {
				skipped = append(skipped, Event{Reason: "unusable", Err: fmt.Errorf("jwtauth: key %d of the JWK Set: %w", n, err)})
			} else {
				keys = append(keys, k)
			}
			return true
		})
		switch {
		case !ok:
			return errors.New("keys is no array")
		case n > maxRemoteKeys:
			return fmt.Errorf("it has more than %d keys", maxRemoteKeys)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if !found {
		return nil, nil, errors.New("it has no keys member")
	}
	t := &keyTable{byID: make(map[keyName]*VerificationKey, len(keys))}
	for i, k := range keys {
		clash := func(other *VerificationKey) bool { return other.name() == k.name() && other.digest != k.digest }
		switch {
		case slices.ContainsFunc(keys, clash):
			err := fmt.Errorf("jwtauth: the JWK Set has different keys with the kid %s and the alg %s", quoted(k.id), k.alg.Name)
			skipped = append(skipped, Event{Reason: "ambiguous", KeyID: k.id, Err: err})
		case !slices.ContainsFunc(keys[:i], func(other *VerificationKey) bool { return other.name() == k.name() }):
			t.all = append(t.all, nil)
			t.add(len(t.all)-1, k, old)
		}
	}
	if len(t.all) == 0 {
		return nil, skipped, fmt.Errorf("none of its keys can be used (%d left out)", len(skipped))
	}
	return t.orOld(old), skipped, nil
}

// remoteKey reads one key of somebody else's JWK Set.
func remoteKey(text string) (*VerificationKey, error) {
	j, err := parseJWK([]byte(text))
	if err != nil {
		return nil, err
	}
	return j.verificationKey("")
}

// defaultKeySetAge is how long a verifier may keep the JWK Set.
const defaultKeySetAge = 5 * time.Minute

// ServeHTTP answers GET and HEAD with the ring's JWK Set (RFC 7517, section 5):
// its public keys alone. Verifiers may keep it for 5 minutes (max-age), or for
// KeyRingOptions.MaxAge, and ask again with If-None-Match; scripts of other
// origins may read it.
func (r *KeyRing) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	state, err := r.at(r.now())
	if err != nil {
		WriteError(w, req, noAnswer("keys", err))
		return
	}
	state.jwks.ServeHTTP(w, req)
}
