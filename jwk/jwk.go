// Package jwk has the keys that sign and verify tokens. It reads and writes keys (PEM, and
// JSON Web Keys of RFC 7517), and has sets of keys that can change while a service runs.
//
// A service that issues tokens has a [Ring]. A ring signs with one key, accepts several
// keys, and serves its public keys as a JWK Set:
//
//	key, err := jwk.Generate(jwk.ES256)
//	keys, err := jwk.NewRing(key)
//	mux.Handle("GET /.well-known/jwks.json", keys)
//
// [OpenRing] makes a ring that keeps its keys in a [Source], such as the directory of
// package keydir. [Ring.Rotate] replaces the signing key of such a ring. A service that
// verifies the tokens of another service has a [Remote], which fetches the JWK Set of an
// issuer, or a [StaticSet].
//
// Each key has one algorithm and one kid. The header of a token never chooses the
// algorithm. A key is checked when it is loaded, so a weak key is an error at the start
// of the program. A key prints only its algorithm and its kid.
package jwk

import (
	"fmt"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
)

// Algorithm is the name of a signature algorithm (RFC 7518, section 3.1, and
// RFC 8037). A key has exactly one algorithm. When a key is parsed, "" means the
// algorithm that the text of the key names. If the text names no algorithm, "" means
// RS256 for RSA, the algorithm of the curve for EC, EdDSA for Ed25519, and HS256 for a
// secret.
type Algorithm string

// The algorithms. Ed25519 is accepted as another name of EdDSA (RFC 9864).
const (
	HS256 Algorithm = "HS256"
	HS384 Algorithm = "HS384"
	HS512 Algorithm = "HS512"
	RS256 Algorithm = "RS256"
	RS384 Algorithm = "RS384"
	RS512 Algorithm = "RS512"
	PS256 Algorithm = "PS256"
	PS384 Algorithm = "PS384"
	PS512 Algorithm = "PS512"
	ES256 Algorithm = "ES256"
	ES384 Algorithm = "ES384"
	ES512 Algorithm = "ES512"
	EdDSA Algorithm = "EdDSA"
)

func (a Algorithm) lookup() (*jwa.Algorithm, error) {
	if alg := jwa.Lookup(string(a)); alg != nil {
		return alg, nil
	}
	return nil, fmt.Errorf("unknown algorithm %s, expected one of HS256 to HS512, RS256 to RS512, PS256 to PS512, ES256, ES384, ES512, EdDSA", errtext.Quote(string(a)))
}
