//go:build linux

package faults_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/test/engines"
)

// needles returns texts that a dump must not contain: the token, its parts, pieces of its
// signature, and hashes that could be used to look the token up.
func needles(token string) map[string][]byte {
	all := map[string][]byte{"the token": []byte(token)}
	segments := strings.Split(token, ".")
	for i, s := range segments {
		all[fmt.Sprint("segment ", i+1)] = []byte(s)
	}
	text := segments[2]
	signature, _ := base64.RawURLEncoding.DecodeString(text)
	all["the signature"] = signature
	for i := 0; i+16 <= len(text); i += 16 {
		all[fmt.Sprint("a piece of the signature at ", i)] = []byte(text[i : i+16])
	}
	for name, of := range map[string][]byte{"the token": []byte(token), "the signature's text": []byte(text), "the signature": signature} {
		a, b, c, d := md5.Sum(of), sha1.Sum(of), sha256.Sum256(of), sha512.Sum512(of)
		for i, sum := range [][]byte{a[:], b[:], c[:], d[:]} {
			all[fmt.Sprint("hash ", i+1, " of ", name)] = sum[:16] // shortened hashes, too
		}
	}
	return all
}

// found returns the name of a needle that the haystack contains, as it is or in an encoding
// that dumps use. It returns "" if there is none.
func found(haystack []byte, tokens []string) string {
	for _, token := range tokens {
		for name, needle := range needles(token) {
			for notation, text := range map[string]string{
				"as it is": string(needle), "in hex": hex.EncodeToString(needle), "in HEX": strings.ToUpper(hex.EncodeToString(needle)),
				"in base64": base64.StdEncoding.EncodeToString(needle[:len(needle)/3*3]), "in base64url": base64.URLEncoding.EncodeToString(needle[:len(needle)/3*3]),
			} {
				if bytes.Contains(haystack, []byte(text)) {
					return name + " " + notation
				}
			}
		}
	}
	return ""
}

// files returns the contents of all files in a folder.
func files(t *testing.T, folder string) (all []byte) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	}))
	return all
}

// dumpRedis returns everything that can be read from a Redis.
func dumpRedis(t *testing.T, p place) (all []byte) {
	client, err := p.redis()
	require.NoError(t, err)
	defer client.Close()
	ctx := t.Context()
	keys, err := client.Keys(ctx, "*").Result()
	require.NoError(t, err)
	require.NotEmpty(t, keys)
	for _, key := range keys {
		raw, err := client.Dump(ctx, key).Result()
		require.NoError(t, err)
		all = append(all, key+raw...)
		read := map[string][]any{
			"hash": {"HGETALL", key}, "zset": {"ZRANGE", key, 0, -1, "WITHSCORES"}, "stream": {"XRANGE", key, "-", "+"}, "string": {"GET", key},
		}[client.Type(ctx, key).Val()]
		require.NotEmpty(t, read, "a type of key that this test does not know")
		value, err := client.Do(ctx, read...).Result()
		require.NoError(t, err)
		all = fmt.Appendf(all, "%s", value)
	}
	return all
}

// dumpPostgres returns the output of pg_dump, after a checkpoint: the data files have whole rows, while
// a page of the write-ahead log may end inside of one.
func dumpPostgres(t *testing.T, s *engines.Server) []byte {
	checkpoint, err := exec.Command(s.Program("psql"), "--command=CHECKPOINT", s.URL()).CombinedOutput()
	require.NoError(t, err, "%s", checkpoint)
	out, err := exec.Command(s.Program("pg_dump"), "--column-inserts", s.URL()).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "INSERT INTO")
	return out
}

func TestADumpHoldsNothingThatCanBeReplayed(t *testing.T) {
	for _, engine := range everyEngine {
		t.Run(engine, func(t *testing.T) {
			var p place
			var dump func() []byte
			switch engine {
			case "redis":
				s := engines.Redis(t, "--appendonly", "yes", "--appendfsync", "always", "--rdbcompression", "no")
				p = on(t, engine, s)
				dump = func() []byte { return append(dumpRedis(t, p), files(t, s.Folder)...) }
			case "postgres":
				s := engines.Postgres(t, "log_statement=all")
				p = on(t, engine, s)
				dump = func() []byte { return append(dumpPostgres(t, s), files(t, s.Folder)...) }
			case "mariadb":
				s := engines.MariaDB(t, "--general-log", "--general-log-file=queries", "--log-bin", "--sync-binlog=1")
				p = on(t, engine, s)
				dump = func() []byte { return files(t, s.Folder) }
			default:
				p = newFile(t)
				u, err := url.Parse(p.URL)
				require.NoError(t, err)
				dump = func() []byte { return files(t, filepath.Dir(u.Path)) }
			}
			n := startNode(t, p)
			var tokens []string
			keep := func(r jwtauth.TokenResponse) jwtauth.TokenResponse {
				require.NotEmpty(t, r.RefreshToken)
				tokens = append(tokens, r.AccessToken, r.RefreshToken)
				return r
			}
			first := keep(n.login(t, "alice"))
			second := keep(n.refresh(t, first.RefreshToken).tokens)
			keep(n.refresh(t, second.RefreshToken).tokens)
			n.logout(t, keep(n.login(t, "bob")).RefreshToken)
			stolen := keep(n.login(t, "carol"))
			next := keep(n.refresh(t, stolen.RefreshToken).tokens)
			keep(n.refresh(t, next.RefreshToken).tokens)
			require.Equal(t, http.StatusBadRequest, n.refresh(t, stolen.RefreshToken).status)
			keep(n.login(t, "dave"))

			text := dump()
			require.Contains(t, string(text), claimsOf(tokens[len(tokens)-1]).Session, "the dump does not hold the sessions: the test proves nothing")
			require.Empty(t, found(text, tokens))

			// This checks the test itself: it must notice a store that keeps a token or its hash.
			at := time.Now().UTC()
			sum := sha256.Sum256([]byte(tokens[2]))
			for i, data := range [][]byte{[]byte(tokens[0]), []byte(strings.Split(tokens[1], ".")[2]), sum[:]} {
				store := p.store(t)
				key := jwtauth.SessionKey{Issuer: issuerName, Subject: "careless", ID: fmt.Sprint(i)}
				require.NoError(t, store.Create(t.Context(), jwtauth.SessionRecord{Key: key, Generation: 1, RotatedAt: at, ExpiresAt: at.Add(time.Hour), Data: data}, 0))
				require.NotEmpty(t, found(dump(), tokens[i:i+1]), "data %d", i)
			}
		})
	}
}
