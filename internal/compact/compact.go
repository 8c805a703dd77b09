// Package compact reads and writes the JWS compact serialization (RFC 7515,
// section 7.1) in its one canonical spelling: three segments of base64url
// without padding, without line breaks, with unused bits zero.
package compact

import (
	"bytes"
	"encoding/base64"
	"errors"
)

// ErrForm says that a text is not three dot-separated segments.
var ErrForm = errors.New("not three segments separated by dots")

// ErrEncoding says that a segment is not canonical base64url.
var ErrEncoding = errors.New("not canonical base64url without padding")

var encoding = base64.RawURLEncoding.Strict()

// Token is a compact JWS cut at its two dots. Its slices alias the text.
type Token struct {
	Signed    []byte // header, dot and payload: what the signature is over
	Header    []byte
	Payload   []byte
	Signature []byte
}

// Split cuts text at its dots. It looks at no more than three of them.
func Split(text []byte) (Token, error) {
	first := bytes.IndexByte(text, '.')
	if first < 0 {
		return Token{}, ErrForm
	}
	second := bytes.IndexByte(text[first+1:], '.')
	if second < 0 {
		return Token{}, ErrForm
	}
	second += first + 1
	if bytes.IndexByte(text[second+1:], '.') >= 0 {
		return Token{}, ErrForm
	}
	return Token{
		Signed:    text[:second],
		Header:    text[:first],
		Payload:   text[first+1 : second],
		Signature: text[second+1:],
	}, nil
}

// AppendDecode appends what segment encodes to dst.
func AppendDecode(dst, segment []byte) ([]byte, error) {
	was := len(dst)
	dst, err := encoding.AppendDecode(dst, segment)
	// The standard decoder skips line breaks; then what came out is encoded in
	// fewer characters than the segment has.
	if err != nil || encoding.EncodedLen(len(dst)-was) != len(segment) {
		return dst[:was], ErrEncoding
	}
	return dst, nil
}

// AppendEncode appends src to dst as one segment.
func AppendEncode(dst, src []byte) []byte { return encoding.AppendEncode(dst, src) }

// Encode returns src as one segment.
func Encode(src []byte) string { return encoding.EncodeToString(src) }

// Decode returns what segment encodes.
func Decode(segment string) ([]byte, error) { return AppendDecode(nil, []byte(segment)) }
