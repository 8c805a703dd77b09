package jwa

import "fmt"

// CheckSecret says in an error that teaches why a secret is no key for an HMAC
// algorithm: RFC 7518, section 3.2, wants at least the length of the hash. The
// error holds nothing of the secret.
func (a *Algorithm) CheckSecret(secret []byte) error {
	if a.Family != HMAC {
		return a.wrongKey("a public or private key", secret)
	}
	if need := a.Hash.Size(); len(secret) < need {
		return fmt.Errorf("algorithm %s needs a secret of at least %d random bytes, this one has %d", a.Name, need, len(secret))
	}
	return nil
}
