// Package keydir stores the keys of a [jwk.Ring] in a directory, for any number of
// processes. The file keys.json, the manifest, lists the keys with all their dates, so all
// processes agree on which key signs. Each private key has a file of its own in the
// directory, as PEM or a JWK. The directory must exist. Only the processes that sign should
// be able to read it, so make it with mkdir -m 700 DIR.
//
// The files that keydir writes have mode 0600. They are replaced by renaming, so no reader
// sees half a file.
//
// # Directories that cannot be written
//
// If the directory cannot be written (such as a mounted secret), Rotate and RevokeKey
// return errors. The same is true if the manifest is a symbolic link. The tool that made
// the directory must then change the keys. It can replace the whole directory at once if
// the path is a symbolic link.
//
// # The manifest
//
// A manifest that is written by hand needs one line:
//
//	{"keys": [{"file": "key.pem"}]}
//
// A key has these members. An unknown member is an error.
//
//   - file is the name of a file in the same directory. A link that leads out of the
//     directory is an error.
//   - kid is the ID of the key. Default: the kid of the JWK, or else the RFC 7638
//     thumbprint.
//   - alg is the algorithm. For the default see [jwk.Algorithm].
//   - published, signs_from, signs_to, access_to, refresh_to and revoked are the dates of
//     [jwk.Life], in the format of RFC 3339. All but the first key need published and
//     signs_from. The others are optional.
//
// Next to the member keys, the manifest has the member longest. It holds [jwk.Durations] as
// texts such as "15m", with the names access_ttl, refresh_ttl, max_age, lead and
// reload_every. The processes write it. If they cannot write the directory, write it by
// hand.
//
// To take a key out of use at once, set its date revoked. Do not remove the key from the
// manifest instead, since processes that have read the key would use it until its end.
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

// New returns a Source of the keys in the directory at path. It does not read the directory.
func New(path string) *Source { return &Source{path} }

// check returns an error if the Source was not made by New.
func (s *Source) check() error {
	if s == nil || s.path == "" {
		return errors.New("keydir: no directory: give New a path")
	}
	return nil
}

// Source implements [jwk.Source] with a directory. It is safe for concurrent use.
type Source struct{ path string }

// The files and bounds of a directory.
const (
	manifestName     = "keys.json"
	lockName         = "keys.lock"
	maxManifestBytes = 1 << 20
	maxKeyBytes      = 64 << 10

	// lockPoll is the pause between two tries to get the lock.
	lockPoll = 10 * time.Millisecond
)

// wrapError adds the path of the directory to err, if there is one.
func (s *Source) wrapError(err error) error {
	if err != nil {
		err = fmt.Errorf("keydir: %s: %w", strconv.Quote(s.path), err)
	}
	return err
}

// Load implements [jwk.Source]. It reads the manifest and the files of the keys. If the
// manifest changes meanwhile, Load begins again, at most three times in all.
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
		before, stored, err = s.readOnce()
		if root, openErr := os.OpenRoot(s.path); openErr == nil {
			after, _ = readFile(root, manifestName, maxManifestBytes)
			root.Close()
		}
		if bytes.Equal(before, after) {
			break
		}
	}
	return stored, s.wrapError(err)
}

// readOnce reads the manifest and the files of the keys. It returns the text of the
// manifest, which is nil if there is no manifest. The keys have the order of the manifest.
// Together with an error, it returns the keys that are revoked.
func (s *Source) readOnce() (text []byte, stored jwk.Stored, err error) {
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
	stored.Longest = m.Longest.toJWK()
	var revoked []jwk.StoredKey // returned even if another key has an error
	for i, entry := range m.Keys {
		k, readErr := entry.load(root)
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

// checkNoKeys returns an error if the directory has key files. It is called if the manifest
// is missing or names no key. The manifest may have been lost then, and a new first key
// would sign at once. The caller holds the lock, since another process that makes the first
// key writes the file of the key before the manifest.
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

// Update implements [jwk.Source]. It locks the directory with the file keys.lock until it
// returns. On Linux, macOS and the BSDs, the lock also ends with the process. On other
// systems, the file stays if a process dies during Update, and must be removed by hand.
//
// Update writes the files of new keys first, and then the manifest. Last, it removes the
// files of keys that were revoked or are no longer in the manifest.
func (s *Source) Update(ctx context.Context, change func(jwk.Stored) (jwk.Stored, error)) error {
	if err := s.check(); err != nil {
		return err
	}
	return s.wrapError(s.update(ctx, change))
}

func (s *Source) update(ctx context.Context, change func(jwk.Stored) (jwk.Stored, error)) error {
	path, err := filepath.EvalSymlinks(s.path) // use one directory throughout, even if the link changes
	if err != nil {
		return err
	}
	if info, err := os.Lstat(filepath.Join(path, manifestName)); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s is a symbolic link: make this change with the tool that made the link", manifestName)
	}
	unlock, err := lockFile(ctx, filepath.Join(path, lockName))
	if err != nil {
		return err
	}
	defer unlock()
	text, old, err := (&Source{path}).readOnce()
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
	var newFiles []string
	committed := false
	defer func() {
		for _, name := range newFiles {
			if !committed {
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
			newFiles = append(newFiles, entry.File)
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
	committed = true
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
