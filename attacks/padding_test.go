package attacks_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

func attackPKCS1Padding(t *testing.T) {
	private, err := fixture.RSAByHand()
	require.NoError(t, err)
	for _, alg := range fixture.EveryAlgorithm[3:6] {
		w := fixture.New(t)
		w.Use(rsaKeyFor(t, alg))
		signed := unsigned(t, fixture.Header(w.Key, nil), w.Claims(nil))
		sum := fixture.Digest(fixture.HashOf(alg), signed)
		good := signed + "." + fixture.Unpadded(rawRSA(private, paddedPKCS1(digestInfo(t, fixture.HashOf(alg), sum, true))))
		require.Equal(t, w.Sign(w.Claims(nil)), good)
		w.RequireAccepted(good)
		for name, forged := range forgedPKCS1(t, fixture.HashOf(alg), sum) {
			require.Len(t, forged, 256, name)
			w.RequireForged(signed + "." + fixture.Unpadded(rawRSA(private, forged)))
		}
		// The same number plus a multiple of n.
		number := new(big.Int).SetBytes(fixture.DecodedPart(t, good, 2))
		for range 3 {
			number.Add(number, private.N)
			w.RequireForged(withSignature(good, number.FillBytes(make([]byte, max(256, (number.BitLen()+7)/8)))))
		}
		w.RequireForged(withSignature(good, new(big.Int).Sub(private.N, new(big.Int).SetBytes(fixture.DecodedPart(t, good, 2))).FillBytes(make([]byte, 256))))
	}
	for _, v := range wycheproof(t) {
		if slices.Contains(v.Flags, "ModifiedPadding") {
			v.requireInvalid(t)
		}
	}
}

func attackPSSSalt(t *testing.T) {
	private, err := fixture.RSAByHand()
	require.NoError(t, err)
	for _, alg := range fixture.EveryAlgorithm[6:9] {
		w := fixture.New(t)
		w.Use(rsaKeyFor(t, alg))
		hash := fixture.HashOf(alg)
		signed := unsigned(t, fixture.Header(w.Key, nil), w.Claims(nil))
		longest := 256 - hash.Size() - 2
		for _, salt := range []int{hash.Size(), 1, 8, 20, hash.Size() - 1, hash.Size() + 1, longest, rsa.PSSSaltLengthAuto} {
			signature, err := rsa.SignPSS(rand.Reader, private, hash, fixture.Digest(hash, signed), &rsa.PSSOptions{SaltLength: salt})
			require.NoError(t, err)
			token := signed + "." + fixture.Unpadded(signature)
			if salt == hash.Size() {
				w.RequireAccepted(token)
				continue
			}
			w.RequireForged(token)
		}
		w.RequireForged(signed + "." + fixture.Unpadded(rawRSA(private, paddedPSSWithoutSalt(hash, fixture.Digest(hash, signed)))))
	}
	for _, v := range wycheproof(t) {
		if v.ID >= 281 && v.ID <= 286 {
			v.requireInvalid(t)
		}
	}
}

// rawRSA applies the private key to a padded message, which is a number.
func rawRSA(private *rsa.PrivateKey, padded []byte) []byte {
	s := new(big.Int).Exp(new(big.Int).SetBytes(padded), private.D, private.N)
	return s.FillBytes(make([]byte, private.Size()))
}

// digestInfo returns the DigestInfo of RFC 8017, section 9.2, with or without its NULL.
func digestInfo(t testing.TB, hash crypto.Hash, sum []byte, null bool) []byte {
	t.Helper()
	type identifier struct {
		Algorithm  asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	last := map[crypto.Hash]int{crypto.SHA256: 1, crypto.SHA384: 2, crypto.SHA512: 3}[hash]
	i := identifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, last}}
	if null {
		i.Parameters = asn1.NullRawValue
	}
	der, err := asn1.Marshal(struct {
		Identifier identifier
		Digest     []byte
	}{i, sum})
	require.NoError(t, err)
	return der
}

// paddedPKCS1 pads a DigestInfo for a key of 2048 bits.
func paddedPKCS1(info []byte) []byte {
	return slices.Concat([]byte{0, 1}, bytes.Repeat([]byte{0xFF}, 256-3-len(info)), []byte{0}, info)
}

// forgedPKCS1 returns wrong paddings, each of which some lax verifier accepts.
func forgedPKCS1(t testing.TB, hash crypto.Hash, sum []byte) map[string][]byte {
	info := digestInfo(t, hash, sum, true)
	ones := func(n int) []byte { return bytes.Repeat([]byte{0xFF}, n) }
	fill := func(front []byte, with byte) []byte {
		return append(front, bytes.Repeat([]byte{with}, 256-len(front))...)
	}
	edit := func(f func(padded []byte)) []byte {
		padded := paddedPKCS1(info)
		f(padded)
		return padded
	}
	start := 256 - len(info)
	others := map[crypto.Hash]crypto.Hash{crypto.SHA256: crypto.SHA384, crypto.SHA384: crypto.SHA512, crypto.SHA512: crypto.SHA256}
	sha1Sum := sha1.Sum(sum)
	long := slices.Concat([]byte{0x30, 0x81, info[1]}, info[2:])
	trailing := slices.Concat([]byte{0x30, info[1] + 2}, info[2:], []byte{5, 0})
	parameters := slices.Clone(info)
	i := bytes.Index(parameters, []byte{5, 0, 4})
	garbage := slices.Concat(parameters[:i], []byte{4, 16}, fixture.RandomBytes(16), parameters[i+2:])
	garbage[1] += 16
	garbage[3] += 16
	return map[string][]byte{
		"short padding, zeros behind the digest":   fill(slices.Concat([]byte{0, 1}, ones(8), []byte{0}, info), 0),
		"short padding, garbage behind the digest": slices.Concat([]byte{0, 1}, ones(8), []byte{0}, info, fixture.RandomBytes(256-11-len(info))),
		"no padding, garbage behind the digest":    fill(slices.Concat([]byte{0, 1, 0}, info), 0xA5),
		"one byte behind the digest":               slices.Concat([]byte{0, 1}, ones(256-4-len(info)), []byte{0}, info, []byte{0}),
		"garbage before the separator":             edit(func(b []byte) { copy(b[2:start-1], fixture.RandomBytes(start-3)) }),
		"padding of zeros":                         edit(func(b []byte) { clear(b[2 : start-1]) }),
		"one zero in the padding":                  edit(func(b []byte) { b[100] = 0 }),
		"one byte of the padding differs":          edit(func(b []byte) { b[2] = 0xFE }),
		"the last byte of the padding differs":     edit(func(b []byte) { b[start-2] = 0x7F }),
		"no separator":                             edit(func(b []byte) { b[start-1] = 0xFF }),
		"another separator":                        edit(func(b []byte) { b[start-1] = 1 }),
		"block type 2":                             edit(func(b []byte) { b[1] = 2 }),
		"block type 0":                             edit(func(b []byte) { b[1] = 0 }),
		"the first byte is 1":                      edit(func(b []byte) { b[0] = 1 }),
		"no NULL in the DigestInfo":                paddedPKCS1(digestInfo(t, hash, sum, false)),
		"garbage in place of the NULL":             paddedPKCS1(garbage),
		"garbage at the end of the DigestInfo":     paddedPKCS1(trailing),
		"long form of a length":                    paddedPKCS1(long),
		"no DigestInfo":                            paddedPKCS1(sum),
		"no tag of the digest":                     paddedPKCS1(info[2:]),
		"another hash in the DigestInfo":           paddedPKCS1(digestInfo(t, others[hash], sum, true)),
		"a digest one byte short":                  paddedPKCS1(digestInfo(t, hash, sum[:len(sum)-1], true)),
		"a digest one byte long":                   paddedPKCS1(digestInfo(t, hash, append(slices.Clone(sum), 0), true)),
		"an empty digest":                          paddedPKCS1(digestInfo(t, hash, nil, true)),
		"another digest":                           paddedPKCS1(digestInfo(t, hash, sha1Sum[:], true)),
		"one bit of the digest differs":            edit(func(b []byte) { b[255] ^= 1 }),
		"the number 0":                             make([]byte, 256),
		"the number 1":                             append(make([]byte, 255), 1),
		"all zeros before the digest":              append(make([]byte, 256-len(sum)), sum...),
	}
}

// paddedPSSWithoutSalt returns the encoding of RFC 8017, section 9.1.1, with an empty
// salt, for a key of 2048 bits.
func paddedPSSWithoutSalt(hash crypto.Hash, sum []byte) []byte {
	h := fixture.Digest(hash, strings.Repeat("\x00", 8)+string(sum))
	db := append(make([]byte, 256-len(h)-2), 1)
	for n := 0; n*hash.Size() < len(db); n++ {
		mask := fixture.Digest(hash, string(h)+string([]byte{0, 0, 0, byte(n)}))
		for i, c := range mask {
			if at := n*hash.Size() + i; at < len(db) {
				db[at] ^= c
			}
		}
	}
	db[0] &= 0x7F
	return slices.Concat(db, h, []byte{0xBC})
}

// vector is one test of the Wycheproof project.
type vector struct {
	ID     int `json:"tcId"`
	JWS    string
	Result string
	Flags  []string
	key    json.RawMessage
}

// wycheproof returns the vectors about signatures; none if the folder of the vectors is
// not there.
func wycheproof(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(fixture.Vectors(), "wycheproof", "json_web_signature_test.json"))
	if errors.Is(err, os.ErrNotExist) {
		t.Logf("no Wycheproof vectors in %s; the cases made here have run", fixture.Vectors())
		return nil
	}
	require.NoError(t, err)
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			Public, Private json.RawMessage
			Tests           []vector
		}
	}
	require.NoError(t, json.Unmarshal(text, &file))
	var all []vector
	for _, g := range file.TestGroups {
		for _, v := range g.Tests {
			if v.key = g.Public; v.key == nil {
				v.key = g.Private
			}
			all = append(all, v)
		}
	}
	require.Len(t, all, file.NumberOfTests)
	return all
}

func (v vector) requireInvalid(t testing.TB) {
	t.Helper()
	require.Equal(t, "invalid", v.Result)
	var e *jwtauth.Error
	require.ErrorAs(t, fixture.VerifyJWS([][]byte{v.key}, v.JWS), &e, "tcId %d", v.ID)
	require.Equal(t, "signature", e.Check, "tcId %d", v.ID)
}
