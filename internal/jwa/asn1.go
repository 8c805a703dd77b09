package jwa

import (
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// maxASN1 is the length of the longest signature that appendASN1 makes: P-521,
// 66 bytes and a sign byte for each of the two, and the headers.
const maxASN1 = 3 + 2*(2+1+66)

// appendASN1 appends the ASN.1 form of an ECDSA signature, which is what
// crypto/ecdsa takes, without big integers. cryptobyte's builder would do the
// same with allocations, and this stands on the path of every verification.
func appendASN1(dst, r, s []byte) []byte {
	r, s = trim(r), trim(s)
	n := 2 + signed(r) + 2 + signed(s)
	dst = append(dst, 0x30)
	if n >= 0x80 {
		dst = append(dst, 0x81)
	}
	dst = append(dst, byte(n))
	for _, v := range [...][]byte{r, s} {
		dst = append(dst, 0x02, byte(signed(v)))
		if signed(v) > len(v) {
			dst = append(dst, 0)
		}
		dst = append(dst, v...)
	}
	return dst
}

// trim takes leading zeros away, but the last one.
func trim(v []byte) []byte {
	for len(v) > 1 && v[0] == 0 {
		v = v[1:]
	}
	return v
}

// signed is the length of v as an ASN.1 integer: one more if the first bit
// would read as a sign.
func signed(v []byte) int { return len(v) + int(v[0]>>7) }

// appendRaw appends the JWS form (RFC 7518, section 3.4) of an ECDSA signature
// in ASN.1: r and s, each as long as the curve's field. It is false if der
// is anything else.
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
