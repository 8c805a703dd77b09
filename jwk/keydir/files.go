package keydir

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/strictjson"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// manifest is the content of keys.json.
type manifest struct {
	Keys    []manifestKey `json:"keys"`
	Longest durations     `json:"longest,omitzero"`
}

// durations are jwk.Durations as texts such as 15m0s.
type durations struct {
	AccessTTL   duration `json:"access_ttl,omitzero"`
	RefreshTTL  duration `json:"refresh_ttl,omitzero"`
	MaxAge      duration `json:"max_age,omitzero"`
	Lead        duration `json:"lead,omitzero"`
	ReloadEvery duration `json:"reload_every,omitzero"`
}

type duration time.Duration

func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

func (d durations) toJWK() jwk.Durations {
	return jwk.Durations{
		AccessTTL: time.Duration(d.AccessTTL), RefreshTTL: time.Duration(d.RefreshTTL),
		MaxAge: time.Duration(d.MaxAge), Lead: time.Duration(d.Lead), ReloadEvery: time.Duration(d.ReloadEvery),
	}
}

func newDurations(d jwk.Durations) durations {
	return durations{duration(d.AccessTTL), duration(d.RefreshTTL), duration(d.MaxAge), duration(d.Lead), duration(d.ReloadEvery)}
}

type manifestKey struct {
	File string `json:"file,omitempty"`
	jwk.Life
}

func parseManifest(text []byte) (m manifest, err error) {
	if err := strictjson.Object(string(text), func(string, strictjson.Value) error { return nil }); err != nil {
		return m, fmt.Errorf("%s: %w", manifestName, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		return m, fmt.Errorf("%s: %w", manifestName, err)
	}
	return m, nil
}

// load reads the file of an entry and returns the key. If the file is missing and the entry
// has a kid, load returns no error and no Key, and the ring decides whether the missing key
// is an error.
func (m *manifestKey) load(root *os.Root) (jwk.StoredKey, error) {
	stored := jwk.StoredKey{Life: m.Life}
	if m.File == "" || !m.Revoked.IsZero() && m.ID == "" {
		if m.ID == "" {
			return stored, errors.New("neither kid nor file is there")
		}
		return stored, nil
	}
	if filepath.Base(m.File) != m.File || !filepath.IsLocal(m.File) || m.File == manifestName || m.File == lockName {
		return stored, fmt.Errorf("file is %s: the name of a file in the same directory is expected", strconv.Quote(m.File))
	}
	if !m.Revoked.IsZero() {
		return stored, nil
	}
	text, err := readFile(root, m.File, maxKeyBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist) && m.ID != "":
		return stored, nil
	case err != nil:
		return stored, err
	}
	k, err := jwk.ParseSigning(m.Algorithm, text)
	if err != nil {
		return stored, fmt.Errorf("%s: %w", strconv.Quote(m.File), err)
	}
	if isPEM := !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")); isPEM && m.ID != "" {
		k = k.WithID(m.ID) // PEM has no kid of its own
	}
	stored.ID, stored.Algorithm, stored.Key = k.ID(), k.Algorithm(), k
	if m.ID != "" && m.ID != k.ID() {
		return stored, fmt.Errorf("%s holds the key %s, not %s", strconv.Quote(m.File), strconv.Quote(k.ID()), strconv.Quote(m.ID))
	}
	return stored, nil
}

func readFile(root *os.Root, name string, limit int) ([]byte, error) {
	switch info, err := root.Stat(name); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // opening a pipe would wait for a writer
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAtMost(f, name, limit)
}

// readAtMost reads a whole file of at most limit bytes.
func readAtMost(f io.Reader, name string, limit int) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(text) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return text, err
}

// writeKey writes a key to a new file and returns the name of the file. The name is random,
// since a kid may have characters that a file name must not have.
func writeKey(root *os.Root, k *jwk.SigningKey) (string, error) {
	text, err := k.PrivateJWK()
	if err != nil {
		return "", err
	}
	name := "key-" + rand.Text() + ".jwk"
	return name, replaceFile(root, name, append(text, '\n'))
}

// replaceFile writes a temporary file, syncs it to the disk, and renames it to name.
func replaceFile(root *os.Root, name string, text []byte) error {
	temporary := name + "." + rand.Text()
	f, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temporary))
	}
	if dir, err := root.Open("."); err == nil {
		defer dir.Close()
		dir.Sync() // without its error, since not every file system supports it
	}
	return nil
}
