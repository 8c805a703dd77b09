package jwa

import (
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// maxASN1 is the length of the longest signature that appendASN1 makes. It is for P-521:
// a header of 3 bytes, and for r and for s a header of 2 bytes, a sign byte and 66 bytes.
const maxASN1 = 3 + 2*(2+1+66)

// appendASN1 appends the ASN.1 form of an ECDSA signature, which crypto/ecdsa needs. It
// allocates nothing, unlike the builder of cryptobyte, since it runs in every verification.
func appendASN1(dst, r, s []byte) []byte {
	r, s = trim(r), trim(s)
	n := 2 + signedLen(r) + 2 + signedLen(s)
	dst = append(dst, 0x30)
	if n >= 0x80 {
		dst = append(dst, 0x81)
	}
	dst = append(dst, byte(n))
	for _, v := range [...][]byte{r, s} {
		dst = append(dst, 0x02, byte(signedLen(v)))
		if signedLen(v) > len(v) {
			dst = append(dst, 0)
		}
		dst = append(dst, v...)
	}
	return dst
}

// trim removes leading zero bytes, and keeps one byte if all are zero.
func trim(v []byte) []byte {
	for len(v) > 1 && v[0] == 0 {
		v = v[1:]
	}
	return v
}

// signedLen returns the length of v as an ASN.1 INTEGER, which is signed. If the first bit
// of v is set, a zero byte must come before v.
func signedLen(v []byte) int { return len(v) + int(v[0]>>7) }

// appendRaw converts an ECDSA signature from ASN.1 to the form of JWS (RFC 7518, section
// 3.4) and appends it to dst: r and s, each padded to size bytes. It returns false if der is
// not such a signature.
func appendRaw(dst, der []byte, size int) ([]byte, bool) {
	input := cryptobyte.String(der)
	var inner cryptobyte.String
	var r, s []byte
	if !input.ReadASN1(&inner, asn1.SEQUENCE) || !input.Empty() ||
		!inner.ReadASN1Integer(&r) || !inner.ReadASN1Integer(&s) || !inner.Empty() ||
		len(r) > size || len(s) > size {
		return dst, false
	}
	for _, v := range [...][]byte{r, s} {
		for range size - len(v) {
			dst = append(dst, 0)
		}
		dst = append(dst, v...)
	}
	return dst, true
}
