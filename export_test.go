package jwtauth

import (
	"context"
	"crypto"
	"errors"
	"reflect"

	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
)

// Checks are the names of the checks, in their order.
func Checks() []string {
	names := make([]string, len(checks))
	for i, c := range checks {
		names[i] = c.name
	}
	return names
}

// Without is a Verifier that leaves one check out.
func (v *Verifier) Without(check string) *Verifier { return v.without(check) }

// KnownHeaders are the header segments that the verifier knows.
func (v *Verifier) KnownHeaders() (segments []string) {
	for _, known := range v.headers.state.Load().list {
		segments = append(segments, known.segment)
	}
	return segments
}

// Left is what is left in the buffer of a verification that has decoded the segments
// of a token, one after the other, and was released.
func Left(token string) []byte {
	s := new(verification)
	s.raw = token
	if err := readForm(s); err != nil {
		panic(err)
	}
	for _, segment := range []string{s.parts.Header, s.parts.Payload, s.parts.Signature} {
		_, _ = s.decode(segment)
	}
	s.release()
	return s.scratch[:cap(s.scratch)]
}

// VerifyJWS checks the header, the key, the signature and the encoding of a
// compact JWS with some JWKs, as the Verifier does, whatever its payload says
// and its typ: for vectors whose payloads are no claims. Symmetric keys are
// taken, also those that stand in documents, but never beside public ones.
func VerifyJWS(jwks [][]byte, token string) error {
	var keys []*VerificationKey
	symmetric := false
	for _, text := range jwks {
		j, err := parseJWK(text)
		if err != nil {
			return err
		}
		k, err := vectorKey(j)
		if err != nil {
			return err
		}
		symmetric = symmetric || k.public == nil
		keys = append(keys, k)
	}
	set, err := StaticKeys(keys...)
	if err != nil {
		return err
	}
	if symmetric {
		for _, k := range keys {
			if k.public != nil {
				return errors.New("symmetric beside public keys")
			}
		}
	}
	o := VerifierOptions{Issuer: "vectors", InsecureAnyAudience: true, AcceptNoTyp: true, MaxTokenBytes: maxTokenBytes}
	if err := o.setDefaults(); err != nil {
		return err
	}
	v := newVerifier(set, accessToken, o)
	s := newVerification(context.Background(), v, o.Now())
	defer s.release()
	s.raw = token
	for _, c := range checks {
		switch c.name {
		case "size", "form", "header", "crit", "key", "signature":
			if err := c.first(s); err != nil {
				return err
			}
		}
	}
	if _, err := s.decode(s.parts.Payload); err != nil {
		return malformed("claims", err)
	}
	return nil
}

func vectorKey(j *jwk) (*VerificationKey, error) {
	var k *VerificationKey
	if j.text["kty"] == "oct" {
		alg, err := j.algorithm("", func() (*jwa.Algorithm, error) { return HS256.lookup() })
		if err != nil {
			return nil, err
		}
		secret, err := j.bytes("k")
		if err != nil {
			return nil, err
		}
		if err := alg.CheckSecret(secret); err != nil {
			return nil, err
		}
		k = &VerificationKey{id: "vector", alg: alg, verify: alg.NewHMAC(secret)}
	} else {
		pub, err := j.public()
		if err != nil {
			return nil, err
		}
		alg, err := j.algorithm("", func() (*jwa.Algorithm, error) { return jwa.Natural(pub) })
		if err != nil {
			return nil, err
		}
		if k, err = newVerificationKey(alg, pub); err != nil {
			return nil, err
		}
	}
	if kid, ok := j.text["kid"]; ok {
		k = k.WithID(kid)
	}
	return k, nil
}

// SignRaw signs any header and payload with a key, for tests that need tokens
// which an Issuer would not make. header and payload are the JSON texts.
func SignRaw(k *SigningKey, header, payload string) (string, error) {
	text := compact.Encode([]byte(header)) + "." + compact.Encode([]byte(payload))
	signature, err := k.signer.AppendSignature(context.Background(), nil, []byte(text))
	return text + "." + compact.Encode(signature), err
}

// PublicOf is the public half of a key.
func PublicOf(k *VerificationKey) crypto.PublicKey { return k.public }

// RingKeys are the keys of a ring with a life cycle, by kid, whatever their state.
func RingKeys(r *KeyRing) map[string]*SigningKey {
	keys := make(map[string]*SigningKey)
	for _, k := range r.life.keys {
		keys[k.ID] = k.Key
	}
	return keys
}

// ResolvedIssuers is how many verifiers ResolveIssuers remembers.
func ResolvedIssuers(v *Verifier) int {
	r := v.members.(*resolver)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.len
}

// DecodeClaims is ClaimsAs for a type that is known when the test runs.
func DecodeClaims(t Token, into any) error {
	return factsOf(reflect.TypeOf(into).Elem()).decode(&t, into)
}
