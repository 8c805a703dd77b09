package keydir_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwk/keydir"
)

func open(t testing.TB, dir string, change ...func(*jwk.RingOptions)) *jwk.Ring {
	t.Helper()
	ring, err := openRing(t, dir, change...)
	require.NoError(t, err)
	fixture.Announce(t, ring, 15*time.Minute, 7*24*time.Hour)
	return ring
}

func openRing(t testing.TB, dir string, change ...func(*jwk.RingOptions)) (*jwk.Ring, error) {
	t.Helper()
	var o jwk.RingOptions
	for _, f := range change {
		f(&o)
	}
	return jwk.OpenRing(t.Context(), keydir.New(dir), o)
}

func at(now *time.Time) func(*jwk.RingOptions) {
	return func(o *jwk.RingOptions) { o.Now = func() time.Time { return *now } }
}

func write(t testing.TB, dir, name string, text []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
}

func names(t testing.TB, dir string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

func newPEM(t testing.TB, alg jwk.Algorithm) (*jwk.SigningKey, []byte) {
	t.Helper()
	k, err := jwk.Generate(alg)
	require.NoError(t, err)
	text, err := k.PrivatePEM()
	require.NoError(t, err)
	return k, text
}

// content is keys.json as it is.
func content(t testing.TB, dir string) (m struct{ Keys []map[string]string }) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "keys.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &m))
	return m
}

func TestProcessesThatStartTogetherMakeOneKey(t *testing.T) {
	dir := t.TempDir()
	kids := make([]string, 16)
	var all sync.WaitGroup
	for i := range kids {
		all.Go(func() {
			ring, err := openRing(t, dir)
			if err != nil {
				t.Error(err)
				return
			}
			kids[i] = ring.Status().SigningKey
		})
	}
	all.Wait()
	require.NotEmpty(t, kids[0])
	require.Len(t, slices.Compact(kids), 1)
	require.Len(t, content(t, dir).Keys, 1)
}

func TestTheFilesArePrivateAndTheManifestHoldsEveryDate(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 1, 12, 0, 0, 123456000, time.UTC)
	ring := open(t, dir, at(&now))
	next, err := ring.Rotate(t.Context())
	require.NoError(t, err)
	first := content(t, dir).Keys[0]
	require.Equal(t, map[string]string{
		"kid": ring.Status().SigningKey, "alg": "ES256", "file": first["file"],
		"published": "2026-11-01T12:00:00.123456Z", "signs_from": "2026-11-01T12:00:00.123456Z",
		"signs_to": "2026-11-01T12:08:00.123456Z", "access_to": "2026-11-01T12:29:00.123456Z", "refresh_to": "2026-11-08T12:14:00.123456Z",
	}, first)
	second := content(t, dir).Keys[1]
	require.Equal(t, map[string]string{
		"kid": next.ID, "alg": "ES256", "file": second["file"],
		"published": "2026-11-01T12:00:00.123456Z", "signs_from": "2026-11-01T12:08:00.123456Z",
	}, second)
	require.ElementsMatch(t, []string{"keys.json", "keys.lock", first["file"], second["file"]}, names(t, dir))
	for _, name := range names(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), name)
	}

	// Another process, from the files alone, is of the same mind at every time.
	for range 20 {
		other := open(t, dir, at(&now))
		require.Equal(t, ring.Plan(), other.Plan())
		require.Equal(t, ring.Status().SigningKey, other.Status().SigningKey)
		now = now.Add(10 * time.Hour)
	}

	// A revoked key's file is removed, and what has ended leaves with the next rotation.
	require.NoError(t, ring.RevokeKey(t.Context(), next.ID))
	require.NotContains(t, names(t, dir), second["file"])
	require.NotEmpty(t, content(t, dir).Keys[1]["revoked"])
	now = now.Add(24 * time.Hour)
	_, err = ring.Rotate(t.Context())
	require.NoError(t, err)
	require.NotContains(t, names(t, dir), first["file"])
	open(t, dir, at(&now))
}

func TestAManifestByHandNamesKeysThatAreThere(t *testing.T) {
	t.Run("one line", func(t *testing.T) {
		dir := t.TempDir()
		k, text := newPEM(t, jwk.ES384)
		write(t, dir, "key.pem", text)
		write(t, dir, "keys.json", []byte(`{"keys": [{"file": "key.pem"}]}`))
		ring := open(t, dir)
		require.Equal(t, k.ID(), ring.Status().SigningKey)
		_, err := ring.Rotate(t.Context())
		require.NoError(t, err)
		require.Equal(t, "key.pem", content(t, dir).Keys[0]["file"])
		require.Len(t, open(t, dir).Plan(), 2)
	})
	t.Run("kid and alg of an older key", func(t *testing.T) {
		dir := t.TempDir()
		_, text := newPEM(t, jwk.RS256)
		write(t, dir, "key.pem", text)
		write(t, dir, "keys.json", []byte(`{"keys": [{"file": "key.pem", "kid": "2024/a b", "alg": "PS384"}]}`))
		ring := open(t, dir)
		require.Equal(t, "2024/a b", ring.Status().SigningKey)
		require.Equal(t, jwk.PS384, ring.Plan()[0].Algorithm)
	})
	t.Run("a JWK with its own kid", func(t *testing.T) {
		dir := t.TempDir()
		k, err := jwk.Generate(jwk.HS256)
		require.NoError(t, err)
		text, err := k.WithID("its own").PrivateJWK()
		require.NoError(t, err)
		write(t, dir, "key.jwk", text)
		write(t, dir, "keys.json", []byte(`{"keys": [{"file": "key.jwk"}]}`))
		require.Equal(t, "its own", open(t, dir).Status().SigningKey)
		write(t, dir, "keys.json", []byte(`{"keys": [{"file": "key.jwk", "kid": "another"}]}`))
		_, err = openRing(t, dir)
		require.ErrorContains(t, err, `"key.jwk" holds the key "its own", not "another"`)
	})
}

func TestADirectoryThatCannotBeRightIsRefused(t *testing.T) {
	_, good := newPEM(t, jwk.ES256)
	_, second := newPEM(t, jwk.ES256)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(weak)
	require.NoError(t, err)
	weakPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	key, err := jwk.ParseSigning("", good)
	require.NoError(t, err)
	public, err := key.Verification().PEM()
	require.NoError(t, err)
	const one = `{"keys": [{"file": "key.pem"}]}`
	for _, test := range []struct {
		name, manifest string
		key            []byte
		err            string
	}{
		{"no manifest beside a key", "", good, `there are key files ("key.pem"), but keys.json is missing or names no key: write it, as {"keys": [{"file": "key.pem"}]}`},
		{"half a manifest", one[:20], good, "keys.json: "},
		{"more than a manifest", one + "x", good, "keys.json: "},
		{"an unknown member", `{"keys": [{"file": "key.pem", "revokd": "2026-01-01T00:00:00Z"}]}`, good, `unknown field "revokd"`},
		{"a member twice", `{"keys": [{"file": "key.pem", "file": "key.pem"}]}`, good, "keys.json: "},
		{"a date that is none", `{"keys": [{"file": "key.pem", "signs_from": "tomorrow"}]}`, good, "keys.json: "},
		{"an empty file", one, []byte{}, "the text is empty"},
		{"half a key", one, good[:len(good)/2], "it is cut off"},
		{"a weak key", one, weakPEM, "1024"},
		{"a public key", one, public, "cannot sign"},
		{"two keys in one file", one, slices.Concat(good, second), "more than one PEM block"},
		{"a huge file", one, []byte(strings.Repeat(" ", 1<<20)), "key.pem has more than 65536 bytes"},
		{"a file elsewhere", `{"keys": [{"file": "../key.pem"}]}`, good, "the name of a file in the same directory"},
		{"an absolute path", `{"keys": [{"file": "/etc/passwd"}]}`, good, "the name of a file in the same directory"},
		{"a directory", `{"keys": [{"file": "."}]}`, good, "is no regular file"},
		{"a file that is not there", `{"keys": [{"file": "other.pem"}]}`, good, "other.pem"},
		{"a named file that is not there", `{"keys": [{"file": "other.pem", "kid": "x"}]}`, good, `the key "x" is missing`},
		{"nothing", `{"keys": [{}]}`, good, "neither kid nor file"},
		{"one key twice", `{"keys": [{"file": "key.pem"}, {"file": "key.pem", "signs_from": "2026-01-01T00:00:00Z"}]}`, good, "has two keys with the kid"},
		{"an alg that does not fit", `{"keys": [{"file": "key.pem", "alg": "RS256"}]}`, good, "RS256"},
		{"a huge manifest", strings.Repeat(" ", 2<<20), good, "keys.json has more than 1048576 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "key.pem", test.key)
			if test.manifest != "" {
				write(t, dir, "keys.json", []byte(test.manifest))
			}
			_, err := openRing(t, dir)
			require.ErrorContains(t, err, test.err)
			require.ErrorContains(t, err, "jwk: opening a Ring: ")
			if test.name != "a named file that is not there" && test.name != "one key twice" { // which the ring refuses
				require.ErrorContains(t, err, fmt.Sprintf("keydir: %q: ", dir))
			}
			text, err := os.ReadFile(filepath.Join(dir, "key.pem"))
			require.NoError(t, err)
			require.Equal(t, test.key, text, "something was lost")
		})
	}
	t.Run("no directory", func(t *testing.T) {
		_, err := openRing(t, filepath.Join(t.TempDir(), "none"))
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
	t.Run("a link that leads out of it", func(t *testing.T) {
		dir, elsewhere := t.TempDir(), t.TempDir()
		write(t, elsewhere, "key.pem", good)
		require.NoError(t, os.Symlink(filepath.Join(elsewhere, "key.pem"), filepath.Join(dir, "key.pem")))
		write(t, dir, "keys.json", []byte(one))
		_, err := openRing(t, dir)
		require.ErrorContains(t, err, "escapes")
	})
}

// TestAMountedSecretChangesBySymlinkSwap: the files are links into ..data, which is a
// link to a directory that is replaced as a whole.
func TestAMountedSecretChangesBySymlinkSwap(t *testing.T) {
	mount := t.TempDir()
	t.Cleanup(func() { // the ring may be about to create keys.lock, for an announcement
		require.Eventually(t, func() bool { return os.RemoveAll(mount) == nil }, 10*time.Second, time.Millisecond)
	})
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	_, first := newPEM(t, jwk.ES256)
	next, second := newPEM(t, jwk.ES256)
	swap := func(version string, files map[string]string) {
		require.NoError(t, os.Mkdir(filepath.Join(mount, version), 0o700))
		for name, text := range files {
			write(t, filepath.Join(mount, version), name, []byte(text))
			if _, err := os.Lstat(filepath.Join(mount, name)); err != nil {
				require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(mount, name)))
			}
		}
		require.NoError(t, os.Symlink(version, filepath.Join(mount, "..tmp")))
		require.NoError(t, os.Rename(filepath.Join(mount, "..tmp"), filepath.Join(mount, "..data")))
	}
	swap("..1", map[string]string{"a.pem": string(first), "keys.json": `{"keys": [{"file": "a.pem"}]}`})
	ring := open(t, mount, at(&now))
	old := ring.Status().SigningKey
	swap("..2", map[string]string{
		"a.pem": string(first), "b.pem": string(second),
		"keys.json": `{"keys": [{"file": "a.pem"}, {"file": "b.pem", "published": "2026-11-01T12:00:00Z", "signs_from": "2026-11-01T13:00:00Z"}]}`,
	})
	require.ErrorContains(t, ring.Status().NotAnnounced, "keys.json is a symbolic link")
	_, err := ring.Rotate(t.Context())
	require.ErrorContains(t, err, "keys.json is a symbolic link")
	now = now.Add(time.Minute)
	require.Equal(t, old, ring.Status().SigningKey)
	require.Len(t, ring.Plan(), 2)
	now = now.Add(time.Hour)
	require.Equal(t, next.ID(), ring.Status().SigningKey)
	swap("..3", map[string]string{"keys.json": `{"keys": [{"file": "b.pem", "kid"`}) // half-written
	now = now.Add(time.Minute)
	require.Error(t, ring.Status().LastError)
	require.Equal(t, next.ID(), ring.Status().SigningKey)
	require.Len(t, ring.Plan(), 2)
	swap("..4", map[string]string{
		"b.pem": string(second), "keys.json": fmt.Sprintf(`{"keys": [{"kid": %q, "revoked": "2026-11-01T13:02:00Z"}, {"file": "b.pem", "published": "2026-11-01T12:00:00Z", "signs_from": "2026-11-01T13:00:00Z"}]}`, old),
	})
	now = now.Add(time.Minute)
	require.NoError(t, ring.Status().LastError)
	require.Equal(t, jwk.Revoked, ring.Plan()[0].State)
}

func TestWhereItCannotBeWrittenItIsReadAndSaysSo(t *testing.T) {
	dir := t.TempDir()
	_, text := newPEM(t, jwk.ES256)
	write(t, dir, "key.pem", text)
	write(t, dir, "keys.json", []byte(`{"keys": [{"file": "key.pem"}]}`))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "keys.lock"), 0o700)) // what no user may open for writing
	ring := open(t, dir)
	_, err := ring.Rotate(t.Context())
	require.ErrorContains(t, err, "keys.lock")
	require.ErrorIs(t, ring.RevokeKey(t.Context(), ring.Status().SigningKey), jwtauth.ErrUnavailable)
	require.Empty(t, ring.Status().SigningKey)
}

func TestTheLockIsWaitedForNoLongerThanTheContextLives(t *testing.T) {
	dir := t.TempDir()
	source := keydir.New(dir)
	inside, leave := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		err := source.Update(t.Context(), func(jwk.Stored) (jwk.Stored, error) {
			close(inside)
			<-leave
			return jwk.Stored{}, context.Canceled
		})
		if err == nil {
			t.Error("the error of change is lost")
		}
	})
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := source.Update(ctx, func(jwk.Stored) (jwk.Stored, error) {
		t.Error("two at once")
		return jwk.Stored{}, nil
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(leave)
	all.Wait()
	require.Equal(t, []string{"keys.lock"}, names(t, dir))
	open(t, dir)
}

func TestAKeyThatLivesElsewhereIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	_, err := openRing(t, dir, func(o *jwk.RingOptions) {
		o.NewKey = func(context.Context) (*jwk.SigningKey, error) {
			k, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				return nil, err
			}
			return jwk.NewSigning(jwk.RS256, struct{ *rsa.PrivateKey }{k})
		}
	})
	require.ErrorContains(t, err, "outside")
	require.Equal(t, []string{"keys.lock"}, names(t, dir))
}

// A change that fails half-way leaves private keys behind.
func TestAChangeThatFailsLeavesNoKeyBehind(t *testing.T) {
	dir := t.TempDir()
	source := keydir.New(dir)
	k, err := jwk.Generate(jwk.ES256)
	require.NoError(t, err)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	elsewhere, err := jwk.NewSigning(jwk.RS256, struct{ *rsa.PrivateKey }{private})
	require.NoError(t, err)
	require.Error(t, source.Update(t.Context(), func(jwk.Stored) (jwk.Stored, error) {
		return jwk.Stored{Keys: []jwk.StoredKey{{Key: k, Life: jwk.Life{ID: k.ID()}}, {Key: elsewhere, Life: jwk.Life{ID: elsewhere.ID()}}}}, nil
	}))
	require.Equal(t, []string{"keys.lock"}, names(t, dir))
}

// The manifest is lost, the keys are there.
func TestAManifestThatIsLostIsNotReplacedByANewKey(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	require.NoError(t, os.Remove(filepath.Join(dir, "keys.json")))
	_, err := openRing(t, dir)
	require.Error(t, err, "a new first key signs at once, and all tokens are refused")
}

// A manifest that somebody emptied is no new directory either.
func TestAnEmptyManifestBesideKeyFilesIsRefused(t *testing.T) {
	for _, manifest := range []string{`{}`, `{"keys":[]}`, `{"keys":null}`} {
		dir := t.TempDir()
		open(t, dir)
		files, err := filepath.Glob(filepath.Join(dir, "*.jwk"))
		require.NoError(t, err)
		require.Len(t, files, 1)
		path := filepath.Join(dir, "keys.json")
		require.NoError(t, os.WriteFile(path, []byte(manifest), 0o600))
		_, err = openRing(t, dir)
		require.ErrorContains(t, err, filepath.Base(files[0]), "it names the key files")
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, manifest, string(after), "nothing is written")
		again, err := filepath.Glob(filepath.Join(dir, "*.jwk"))
		require.NoError(t, err)
		require.Equal(t, files, again)

		require.NoError(t, os.Remove(files[0]))
		_, err = openRing(t, dir)
		require.NoError(t, err, "without key files it is a new directory")
	}
}

// The directory is swapped while it is changed.
func TestASwapDuringAChangeMixesNothing(t *testing.T) {
	base := t.TempDir()
	one, two, link := filepath.Join(base, "1"), filepath.Join(base, "2"), filepath.Join(base, "keys")
	require.NoError(t, os.Mkdir(one, 0o700))
	require.NoError(t, os.Mkdir(two, 0o700))
	open(t, one)
	other := open(t, two)
	require.NoError(t, os.Symlink("1", link))
	swapped := false
	ring := open(t, link, func(o *jwk.RingOptions) {
		o.NewKey = func(context.Context) (*jwk.SigningKey, error) {
			if !swapped {
				swapped = true
				require.NoError(t, os.Symlink("2", link+".new"))
				require.NoError(t, os.Rename(link+".new", link))
			}
			return jwk.Generate(jwk.ES256)
		}
	})
	_, _ = ring.Rotate(t.Context()) // into the directory where it began
	again, err := openRing(t, two)
	require.NoError(t, err)
	require.Equal(t, other.Status().SigningKey, again.Status().SigningKey)
}

// A revoked entry that names the manifest.
func TestAnEntryCannotRemoveTheManifest(t *testing.T) {
	dir := t.TempDir()
	_, text := newPEM(t, jwk.ES256)
	write(t, dir, "key.pem", text)
	write(t, dir, "keys.json", []byte(`{"keys": [{"file": "key.pem"}, {"kid": "x", "file": "keys.json", "signs_from": "2025-01-01T00:00:00Z", "revoked": "2024-01-01T00:00:00Z"}]}`))
	_, err := openRing(t, dir)
	require.ErrorContains(t, err, "the name of a file in the same directory")
	require.Contains(t, names(t, dir), "keys.json")
}

// A key file that cannot be read hides a revocation in the same manifest.
func TestARevocationIsObeyedBesideAHalfWrittenKey(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	_, first := newPEM(t, jwk.ES256)
	write(t, dir, "a.pem", first)
	write(t, dir, "keys.json", []byte(`{"keys": [{"file": "a.pem"}]}`))
	ring := open(t, dir, at(&now))
	kid := ring.Status().SigningKey
	write(t, dir, "b.pem", []byte("-----BEGIN"))
	write(t, dir, "keys.json", []byte(`{"keys": [{"kid": "`+kid+`", "revoked": "2026-11-01T12:00:00Z"}, {"file": "b.pem", "published": "2026-11-01T12:00:00Z", "signs_from": "2026-11-01T12:00:01Z"}]}`))
	now = now.Add(time.Hour)
	require.NotEqual(t, kid, ring.Status().SigningKey)
}

// One private key under two kids, one of which is revoked.
