// Package keydir keeps the keys of a [jwk.Ring] in a directory, for any number of
// processes. The file keys.json, the manifest, names the keys and holds all their dates,
// so that all processes agree on which key signs. Beside it lies one file for each
// private key, as PEM or a JWK. The directory must exist, and only those who may sign
// should be able to read it: mkdir -m 700 DIR.
//
// The files that keydir writes are private (mode 0600) and are replaced by renaming. If
// the directory cannot be written (a mounted secret), Rotate and RevokeKey return errors,
// and somebody else changes the directory; a symbolic link may replace it as a whole. The
// same holds if the manifest is a symbolic link. A
// manifest that is written by hand needs one line:
//
//	{"keys": [{"file": "key.pem"}]}
//
// and takes these members of a key: file (in the same directory), kid (that of the
// JWK, or the RFC 7638 thumbprint), alg (the natural one), published, signs_from,
// signs_to, access_to, refresh_to and revoked. Dates are those of [jwk.Life],
// as in RFC 3339; only signs_from and published are needed, from the second key on. An
// unknown member is an error. The member longest, beside keys, holds [jwk.Durations] as
// texts such as "15m": access_ttl, refresh_ttl, max_age, lead and reload_every. The
// processes write it; if the directory cannot be written, somebody else must. To take a key out of use, give it a date in revoked: one
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
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth/jwk"
)

// New returns the source of the keys in the directory at path. Nothing is read yet.
func New(path string) *Source { return &Source{path} }

// check returns an error for a Source that New has not made.
func (s *Source) check() error {
	if s == nil || s.path == "" {
		return errors.New("keydir: no directory: give New a path")
	}
	return nil
}

// Source keeps the keys of a [jwk.Ring] in a directory, for any number of processes. It
// is safe for concurrent use.
type Source struct{ path string }

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
func (s *Source) fail(err error) error {
	if err != nil {
		err = fmt.Errorf("keydir: %s: %w", strconv.Quote(s.path), err)
	}
	return err
}

// Load reads the manifest and the keys that it names. If the manifest has changed
// meanwhile, the keys may be those of the new one, and Load begins again.
func (s *Source) Load(ctx context.Context) (jwk.Stored, error) {
	if err := s.check(); err != nil {
		return jwk.Stored{}, err
	}
	const tries = 3
	var stored jwk.Stored
	var err error
	for range tries {
		if err := ctx.Err(); err != nil {
			return jwk.Stored{}, err
		}
		var before, after []byte
		before, stored, err = s.read()
		if root, openErr := os.OpenRoot(s.path); openErr == nil {
			after, _ = readFile(root, manifestName, maxManifestBytes)
			root.Close()
		}
		if bytes.Equal(before, after) {
			break
		}
	}
	return stored, s.fail(err)
}

// read reads the directory once. The keys' order is that of the manifest.
func (s *Source) read() (text []byte, stored jwk.Stored, err error) {
	root, err := os.OpenRoot(s.path)
	if err != nil {
		return nil, stored, err
	}
	defer root.Close()
	text, err = readFile(root, manifestName, maxManifestBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, stored, nil
	}
	if err != nil {
		return nil, stored, err
	}
	m, err := parseManifest(text)
	if err != nil {
		return text, stored, err
	}
	stored.Longest = m.Longest.stored()
	var revoked []jwk.StoredKey // which count also beside an error
	for i, entry := range m.Keys {
		k, readErr := entry.read(root)
		if readErr != nil {
			err = errors.Join(err, fmt.Errorf("key %d of %s: %w", i+1, manifestName, readErr))
		} else if !k.Revoked.IsZero() {
			revoked = append(revoked, k)
		}
		stored.Keys = append(stored.Keys, k)
	}
	if err != nil {
		stored.Keys = revoked
	}
	return text, stored, err
}

// checkNoKeys returns an error if the directory has key files although its manifest is
// missing or names no key. The manifest may be lost, and a new first key would sign at
// once. Update calls it under the lock: the first key is written before the manifest.
func checkNoKeys(root *os.Root) error {
	for _, pattern := range []string{"*.pem", "*.jwk"} {
		files, err := fs.Glob(root.FS(), pattern)
		if err == nil && len(files) > 0 {
			named := make([]string, len(files))
			for i, name := range files {
				named[i] = strconv.Quote(name)
			}
			err = fmt.Errorf(`there are key files (%s), but %s is missing or names no key: write it, as {"keys": [{"file": %s}]}, or remove the files`, strings.Join(named, ", "), manifestName, named[0])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Update implements [jwk.Source]. It holds the lock of the directory until it returns;
// the end of the process frees the lock. It writes the files of new keys before the
// manifest that names them, and then removes those of keys that were revoked or are no
// longer in the manifest.
func (s *Source) Update(ctx context.Context, change func(jwk.Stored) (jwk.Stored, error)) error {
	if err := s.check(); err != nil {
		return err
	}
	return s.fail(s.update(ctx, change))
}

func (s *Source) update(ctx context.Context, change func(jwk.Stored) (jwk.Stored, error)) error {
	path, err := filepath.EvalSymlinks(s.path) // one directory from begin to end
	if err != nil {
		return err
	}
	unlock, err := lockFile(ctx, filepath.Join(path, lockName))
	if err != nil {
		return err
	}
	defer unlock()
	text, old, err := (&Source{path}).read()
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
	if info, err := root.Lstat(manifestName); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s is a symbolic link: whoever replaces what the link leads to must make this change", manifestName)
	}
	if len(before.Keys) == 0 {
		if err := checkNoKeys(root); err != nil {
			return err
		}
	}
	files := map[string]string{} // by kid
	for i, entry := range before.Keys {
		files[old.Keys[i].ID] = entry.File
	}
	changed, err := change(old)
	if err != nil {
		return err
	}
	after.Longest = newDurations(changed.Longest)
	var made []string
	stored := false
	defer func() {
		for _, name := range made {
			if !stored {
				root.Remove(name)
			}
		}
	}()
	for _, k := range changed.Keys {
		entry := manifestKey{files[k.ID], k.Life}
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
