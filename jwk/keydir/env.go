package keydir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/jwtauth-go/jwtauth/jwk"
)

// The environment variables of RingFromEnv.
const (
	dirVariable    = "JWTAUTH_KEY_DIR"
	fileVariable   = "JWTAUTH_KEY_FILE"
	secretVariable = "JWTAUTH_SECRET_FILE"
)

// RingFromEnv opens the ring that one of these environment variables names. It is an error if none of
// them is set, or more than one. The error names the variable, and never prints a key.
//
//   - JWTAUTH_KEY_DIR: a directory, as in [New]. The ring rotates.
//   - JWTAUTH_KEY_FILE: a file with one private key, as in [jwk.ParseSigning].
//   - JWTAUTH_SECRET_FILE: a file with a secret for HS256, as in [jwk.NewHMAC]. A newline at its
//     end does not belong to the secret.
//
// A file is read once and has at most 64 KiB; its ring does not rotate. ctx bounds the reading of a
// directory.
func RingFromEnv(ctx context.Context, o jwk.RingOptions) (*jwk.Ring, error) {
	var set []string
	for _, name := range []string{dirVariable, fileVariable, secretVariable} {
		if os.Getenv(name) != "" {
			set = append(set, name)
		}
	}
	switch {
	case len(set) == 0:
		return nil, fmt.Errorf("keydir: no key: set one of the environment variables %s, %s and %s", dirVariable, fileVariable, secretVariable)
	case len(set) > 1:
		return nil, fmt.Errorf("keydir: the environment variables %s are set: exactly one is expected", strings.Join(set, " and "))
	}
	name := set[0]
	if err := checkPath(os.Getenv(name)); err != nil {
		return nil, fmt.Errorf("keydir: the environment variable %s is no path: %w", name, err)
	}
	if name == dirVariable {
		ring, err := jwk.OpenRing(ctx, New(os.Getenv(name)), o)
		if err != nil {
			return nil, fmt.Errorf("keydir: the directory of the environment variable %s: %w", name, err)
		}
		return ring, nil
	}
	var key *jwk.SigningKey
	text, err := readWhole(os.Getenv(name))
	if err == nil {
		key, err = parseFile(name, text)
	}
	if err != nil {
		return nil, fmt.Errorf("keydir: the file of the environment variable %s: %w", name, err)
	}
	return jwk.OpenRing(ctx, jwk.NewFixedSource(jwk.Stored{Keys: []jwk.StoredKey{{Key: key}}}), o)
}

// checkPath returns an error if there is nothing at the path. The error does not have the path, which
// may be the key itself, by mistake.
func checkPath(path string) error {
	_, err := os.Stat(path)
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = fmt.Errorf("%w: the path of a file or directory that exists is expected, and not the key itself", e.Err)
	}
	return err
}

// parseFile makes the key of a file.
func parseFile(name string, text []byte) (*jwk.SigningKey, error) {
	if name == fileVariable {
		return jwk.ParseSigning("", text)
	}
	secret := bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(secret) == 0 {
		return nil, errors.New("it is empty")
	}
	return jwk.NewHMAC(jwk.HS256, "", secret)
}

// maxFile is the largest size of a file that a variable names, in bytes.
const maxFile = 64 << 10

// readWhole reads a file of at most maxFile bytes. It may be a link, as a mounted secret is.
func readWhole(path string) ([]byte, error) {
	switch info, err := os.Stat(path); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // reading a pipe would wait for a writer
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAtMost(f, path, maxFile)
}
