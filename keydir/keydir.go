// Package keydir keeps the keys of a jwtauth.KeyRing in a directory, for any number
// of processes: keys.json, the manifest, says which keys there are and holds all
// their dates, so that all agree on which one signs; beside it lies one file for
// each private key, PEM or a JWK. The directory must exist, and only those who may
// sign should be able to read it.
//
// The files that it writes are private (mode 0600) and replaced by renaming. Where
// the directory cannot be written, as a mounted secret, Rotate and RevokeKey are
// errors, and somebody else changes it: replacing the whole by a symbolic link is
// fine. A manifest by hand needs one line:
//
//	{"keys": [{"file": "key.pem"}]}
//
// and takes these members of a key: file (in the same directory), kid (that of the
// JWK, or the RFC 7638 thumbprint), alg (the natural one), published, signs_from,
// signs_to, access_to, refresh_to and revoked. Dates are those of jwtauth.KeyLife,
// as in RFC 3339; only signs_from and published are needed, from the second key on. An
// unknown member is an error. To take a key out of use, give it a date in revoked: one
// that is removed is used to its end by those that know it. Links that lead out of the
// directory are refused.
package keydir

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// New returns the source of the keys in the directory at path. Nothing is read yet.
func New(path string) jwtauth.KeySource { return directory(path) }

type directory string

// The files and bounds of a directory.
const (
	manifestName     = "keys.json"
	lockName         = "keys.lock"
	maxManifestBytes = 1 << 20
	maxKeyBytes      = 64 << 10

	// lockPoll is how often the lock is tried.
	lockPoll = 10 * time.Millisecond
)

// fail puts the path of the directory before an error.
func (d directory) fail(err error) error {
	if err != nil {
		err = fmt.Errorf("keydir: %s: %w", strconv.Quote(string(d)), err)
	}
	return err
}

// Load reads the manifest and the keys that it names. Where the manifest changed
// meanwhile, they may belong to the new one: it begins again.
func (d directory) Load(ctx context.Context) ([]jwtauth.StoredKey, error) {
	const tries = 3
	var keys []jwtauth.StoredKey
	var err error
	for range tries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var before, after []byte
		before, keys, err = d.read()
		if root, openErr := os.OpenRoot(string(d)); openErr == nil {
			after, _ = readFile(root, manifestName, maxManifestBytes)
			root.Close()
		}
		if bytes.Equal(before, after) {
			break
		}
	}
	return keys, d.fail(err)
}

// read reads the directory once. The keys' order is that of the manifest.
func (d directory) read() (text []byte, keys []jwtauth.StoredKey, err error) {
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	text, err = readFile(root, manifestName, maxManifestBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	m, err := parseManifest(text)
	if err != nil {
		return text, nil, err
	}
	var revoked []jwtauth.StoredKey // which count also beside an error
	for i, entry := range m.Keys {
		k, readErr := entry.read(root)
		if readErr != nil {
			err = errors.Join(err, fmt.Errorf("key %d of %s: %w", i+1, manifestName, readErr))
		} else if !k.Revoked.IsZero() {
			revoked = append(revoked, k)
		}
		keys = append(keys, k)
	}
	if err != nil {
		return text, revoked, err
	}
	return text, keys, nil
}

// checkNoKeys refuses a directory with keys of which nobody says since when they
// are in use: the manifest may be lost, and a new first key would sign at once. It is
// asked under the lock, since the first key is written before the manifest.
func checkNoKeys(root *os.Root) error {
	for _, pattern := range []string{"*.pem", "*.jwk"} {
		files, err := fs.Glob(root.FS(), pattern)
		if err == nil && len(files) > 0 {
			err = fmt.Errorf(`there is %s but no %s: write one, as {"keys": [{"file": %q}]}, or remove the file`, files[0], manifestName, files[0])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Update holds the lock of the directory meanwhile, which ends with the process
// that has it. Files of new keys are written before the manifest that names them,
// those of keys that left it, or were revoked, are removed after it.
func (d directory) Update(ctx context.Context, change func([]jwtauth.StoredKey) ([]jwtauth.StoredKey, error)) error {
	return d.fail(d.update(ctx, change))
}

func (d directory) update(ctx context.Context, change func([]jwtauth.StoredKey) ([]jwtauth.StoredKey, error)) error {
	path, err := filepath.EvalSymlinks(string(d)) // one directory from begin to end
	if err != nil {
		return err
	}
	unlock, err := lockFile(ctx, filepath.Join(path, lockName))
	if err != nil {
		return err
	}
	defer unlock()
	text, old, err := directory(path).read()
	if err != nil {
		return err
	}
	var before, after manifest
	if text != nil {
		if before, err = parseManifest(text); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	if text == nil {
		if err := checkNoKeys(root); err != nil {
			return err
		}
	}
	keys, err := change(slices.Clone(old))
	if err != nil {
		return err
	}
	files := map[string]string{} // by kid
	for i, entry := range before.Keys {
		files[old[i].ID] = entry.File
	}
	var made []string
	stored := false
	defer func() {
		for _, name := range made {
			if !stored {
				root.Remove(name)
			}
		}
	}()
	for _, k := range keys {
		entry := manifestKey{files[k.ID], k.KeyLife}
		switch _, known := files[k.ID]; {
		case !k.Revoked.IsZero():
			entry.File = ""
		case !known:
			if entry.File, err = writeKey(root, k.Key); err != nil {
				return err
			}
			made = append(made, entry.File)
		}
		after.Keys = append(after.Keys, entry)
	}
	written, err := json.MarshalIndent(after, "", "\t")
	if err != nil {
		return err
	}
	if written = append(written, '\n'); bytes.Equal(written, text) {
		return nil
	}
	if err := replaceFile(root, manifestName, written); err != nil {
		return err
	}
	stored = true
	for _, entry := range before.Keys {
		used := func(other manifestKey) bool { return other.File == entry.File }
		if entry.File != "" && !slices.ContainsFunc(after.Keys, used) {
			if err := root.Remove(entry.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
