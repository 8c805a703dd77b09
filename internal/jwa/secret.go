package jwa

import "fmt"

// CheckSecret returns an error if a secret is too short for an HMAC algorithm. The minimum
// is the length of the hash (RFC 7518, section 3.2). The error repeats no part of the
// secret.
func (a *Algorithm) CheckSecret(secret []byte) error {
	if a.Family != HMAC {
		return a.wrongKey("a public or private key", secret)
	}
	if need := a.Hash.Size(); len(secret) < need {
		return fmt.Errorf("algorithm %s needs a secret of at least %d random bytes, this one has %d", a.Name, need, len(secret))
	}
	return nil
}
