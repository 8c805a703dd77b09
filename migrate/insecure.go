package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/jwtauth-go/jwtauth/internal/errtext"
	"github.com/jwtauth-go/jwtauth/internal/guessable"
	"github.com/jwtauth-go/jwtauth/internal/jwa"
	"github.com/jwtauth-go/jwtauth/internal/keyset"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// insecureSecret is a jwk.Set that only NewVerifier accepts.
type insecureSecret struct{ table *keyset.Table }

// InsecureSecret returns the key of old tokens whose HMAC secret jwk.NewHMAC refuses, since it is
// short or was published. Everybody who guesses the secret can sign an old token for every user
// until Options.Until, so choose a near day. kid is the kid of the old tokens; if it is empty,
// they have none. The result signs nothing. Only [NewVerifier] accepts the result. A ring and
// every other verifier refuse it. [TradeIn] refuses the tokens of such a key. The slice is copied.
// It is an error if the secret is a key of another kind, such as a public key in PEM.
func InsecureSecret(alg jwk.Algorithm, kid string, secret []byte) (jwk.Set, error) {
	a := jwa.Lookup(string(alg))
	switch {
	case a == nil || a.Family != jwa.HMAC:
		return nil, fmt.Errorf("migrate: InsecureSecret: the algorithm is %s, one of HS256, HS384 and HS512 is expected", errtext.Quote(string(alg)))
	case len(secret) == 0:
		return nil, errors.New("migrate: InsecureSecret: the secret is empty, so everybody could sign: the secret of the old code is expected; is its environment variable set?")
	case len(kid) > 1<<10 || !utf8.ValidString(kid):
		return nil, fmt.Errorf("migrate: InsecureSecret: the kid is %s, up to 1024 bytes of UTF-8 are expected", errtext.Quote(kid))
	}
	if err := guessable.CheckNoKey(secret); err != nil {
		return nil, fmt.Errorf("migrate: InsecureSecret: %w", err)
	}
	mac := a.NewHMAC(secret)
	if kid == "" {
		kid = "insecure" // and not a digest of the secret: events name the kid, and a digest helps to guess a short secret
	}
	table, err := keyset.NewTable([]*keyset.Key{{ID: kid, Alg: a, Verifier: mac, Digest: mac.Digest()}}, nil)
	if err != nil {
		return nil, fmt.Errorf("migrate: InsecureSecret: %w", err)
	}
	return &insecureSecret{table}, nil
}

// VerifierSeam implements jwk.Set. Other verifiers call it, and get an error, since they must not
// accept the key.
func (s *insecureSecret) VerifierSeam() (keyset.Set, error) {
	return nil, errors.New("migrate: the key of InsecureSecret is only for migrate.NewVerifier")
}

func (s *insecureSecret) seam() (keyset.Set, error) {
	if s == nil || s.table == nil {
		return nil, errors.New("migrate: NewVerifier: no key: InsecureSecret has returned an error")
	}
	return insecureKeys{s.table}, nil
}

// Format prints no part of the key, for every verb.
func (s *insecureSecret) Format(f fmt.State, _ rune) { io.WriteString(f, "InsecureSecret()") }

// insecureKeys implements keyset.Set.
type insecureKeys struct{ table *keyset.Table }

func (k insecureKeys) Current(context.Context, time.Time) (*keyset.Table, error) { return k.table, nil }

func (k insecureKeys) AskForKid(context.Context, time.Time, string) (*keyset.Table, error) {
	return k.table, nil
}

func (k insecureKeys) Facts() keyset.Facts { return keyset.Facts{TriesKeys: true} }
