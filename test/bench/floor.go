package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/jwtauth-go/jwtauth/internal/compact"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
	"github.com/jwtauth-go/jwtauth/internal/view"
)

// floor is the name of the cell that measures the least work that a strict library must do for
// the same token. To verify a token, this work is the primitive, the base64 of the three segments,
// and one strict scan of header and claims. To issue an HS256 token, it is 16 random bytes, a
// buffer with the claims, the base64 of both segments, an HMAC with a new hash, and a string. The
// other algorithms have no floor for issuing.
const floor = "floor"

// floorVerify returns a function that does the least work to verify the tokens in turn, one at
// each call.
func floorVerify(w *work, tokens ...string) func() {
	check := w.rawCheck()
	var header, payload, signature []byte
	loop := new(loopState)
	return func() {
		token := tokens[loop.next]
		last := strings.LastIndexByte(token, '.')
		first := strings.IndexByte(token, '.')
		var err error
		header, err = compact.AppendDecode(header[:0], token[:first])
		must(err)
		payload, err = compact.AppendDecode(payload[:0], token[first+1:last])
		must(err)
		signature, err = compact.AppendDecode(signature[:0], token[last+1:])
		must(err)
		if !check(view.Bytes(token[:last]), w.nativeSignature(signature)) {
			panic("the primitive refuses a good signature")
		}
		members := 0
		count := func(string, strictjson.Value) error { members++; return nil }
		must(strictjson.Object(view.String(header), count))
		must(strictjson.Object(view.String(payload), count))
		if members < 11 {
			panic("the scan missed header members or claims")
		}
		loop.advance(len(tokens))
	}
}

// floorIssue returns a function that does the least work to issue an HS256 token.
func floorIssue(w *work) func() {
	signed, _ := split(w.token())
	header, encoded, _ := strings.Cut(string(signed), ".")
	claims, err := base64.RawURLEncoding.DecodeString(encoded)
	must(err)
	var buffer, text []byte
	return func() {
		var id [16]byte
		rand.Read(id[:])
		text = append(text[:0], claims...)
		copy(text[2:], base64.RawURLEncoding.AppendEncode(nil, id[:])) // as many bytes as a jti; their place does not change the time
		buffer = append(append(buffer[:0], header...), '.')
		buffer = base64.RawURLEncoding.AppendEncode(buffer, text)
		h := hmac.New(sha256.New, w.secret)
		h.Write(buffer)
		buffer = base64.RawURLEncoding.AppendEncode(append(buffer, '.'), h.Sum(nil))
		if token := string(buffer); len(token) < 100 {
			panic("the token is too short")
		}
	}
}
