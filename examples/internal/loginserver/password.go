package loginserver

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/jwtauth-go/jwtauth"
)

// passwordHash is a hash of a password by argon2id (RFC 9106), with its salt and parameters.
// String returns a PHC string, $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH.
type passwordHash struct {
	memory, passes uint32 // m, in KiB, and t
	lanes          uint8  // p
	salt, hash     []byte
}

// The bounds of the parameters. The lower bounds allow all parameters that OWASP's password
// storage cheat sheet recommends; their m times t is at least minWork. The upper bounds limit
// the memory and time of one login.
const (
	minMemory, maxMemory = 7 << 10, 256 << 10
	minWork              = minMemory * 5
	maxPasses, maxLanes  = 16, 16
	minSalt, minHash     = 16, 32
	maxSalt, maxHash     = 64, 64
)

var phcEncoding = base64.RawStdEncoding.Strict()

// parsePasswordHash reads a PHC string. It accepts only one spelling of each hash.
func parsePasswordHash(s string) (h passwordHash, err error) {
	fields := strings.Split(s, "$")
	if len(fields) != 6 || fields[1] != "argon2id" {
		return h, errors.New("not a PHC string of argon2id: $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH is expected, which -hash-password makes")
	}
	_, paramErr := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &h.memory, &h.passes, &h.lanes)
	h.salt, _ = phcEncoding.DecodeString(fields[4])
	h.hash, _ = phcEncoding.DecodeString(fields[5])
	switch {
	case paramErr != nil || h.String() != s:
		return h, errors.New("not a PHC string of argon2id in its canonical form: version 19, no blanks, no leading zeros and no padding are expected")
	case h.memory > maxMemory || h.passes > maxPasses || h.lanes > maxLanes || h.lanes < 1 || h.passes < 1:
		return h, fmt.Errorf("argon2id parameters out of bounds: at most m=%d,t=%d,p=%d are expected, t and p from 1", maxMemory, maxPasses, maxLanes)
	case h.memory < minMemory || h.memory*h.passes < minWork:
		return h, fmt.Errorf("weak argon2id parameters: m at least %d and m times t at least %d are expected, e.g. m=19456,t=2,p=1", minMemory, minWork)
	case len(h.salt) < minSalt || len(h.salt) > maxSalt || len(h.hash) < minHash || len(h.hash) > maxHash:
		return h, fmt.Errorf("a salt of %d to %d bytes and a hash of %d to %d are expected", minSalt, maxSalt, minHash, maxHash)
	}
	return h, nil
}

func (h passwordHash) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		h.memory, h.passes, h.lanes, phcEncoding.EncodeToString(h.salt), phcEncoding.EncodeToString(h.hash))
}

// newPasswordHash hashes a password with a new salt.
func newPasswordHash(password string) passwordHash {
	h := passwordHash{memory: 19 << 10, passes: 2, lanes: 1, salt: make([]byte, minSalt), hash: make([]byte, minHash)}
	rand.Read(h.salt)
	h.hash = argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.lanes, uint32(len(h.hash)))
	return h
}

// passwordChecker limits how many passwords are checked at a time. Each check takes megabytes
// of memory and one core, so many logins at once would otherwise overload the machine.
type passwordChecker struct {
	slots    chan struct{} // a semaphore
	patience time.Duration // how long a login waits for a slot
	derive   func(password, salt []byte, passes, memory uint32, lanes uint8, length uint32) []byte
}

func newPasswordChecker() *passwordChecker {
	return &passwordChecker{slots: make(chan struct{}, min(runtime.GOMAXPROCS(0), 4)), patience: 2 * time.Second, derive: argon2.IDKey}
}

// matches reports whether a password is the one that was hashed. If no slot becomes
// free in time, the error is jwtauth.ErrUnavailable.
func (p *passwordChecker) matches(ctx context.Context, h passwordHash, password string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return false, fmt.Errorf("too many passwords are being checked: %w", jwtauth.ErrUnavailable)
	}
	got := p.derive([]byte(password), h.salt, h.passes, h.memory, h.lanes, uint32(len(h.hash)))
	return subtle.ConstantTimeCompare(got, h.hash) == 1, nil
}
