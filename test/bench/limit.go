package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"math/big"
	"net/http"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// raw is the name of the cell that measures only the primitive: the signature function of the
// standard library, with the same token. The key is prepared, and the signature is decoded,
// before the measurement.
const raw = "raw"

// rawVerify returns a function that checks the signatures of the tokens in turn, one at each
// call, with the primitive.
func rawVerify(w *work, tokens ...string) func() {
	type parts struct{ signed, signature []byte }
	list := make([]parts, len(tokens))
	for i, t := range tokens {
		signed, signature := split(t)
		list[i] = parts{signed, w.nativeSignature(signature)}
	}
	check := w.rawCheck()
	loop := new(loopState)
	return func() {
		p := &list[loop.next]
		if !check(p.signed, p.signature) {
			panic("the primitive refuses a good signature")
		}
		loop.advance(len(list))
	}
}

// rawCheck returns the primitive that checks a signature of w.alg.
func (w *work) rawCheck() func(signed, signature []byte) bool {
	switch w.alg {
	case "HS256":
		h, sum := hmac.New(sha256.New, w.secret), make([]byte, 0, sha256.Size)
		return func(signed, signature []byte) bool {
			h.Reset()
			h.Write(signed)
			return hmac.Equal(h.Sum(sum), signature)
		}
	case "RS256":
		key := w.verifyKey().(*rsa.PublicKey)
		return func(signed, signature []byte) bool {
			digest := sha256.Sum256(signed)
			return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature) == nil
		}
	case "PS256":
		key := w.verifyKey().(*rsa.PublicKey)
		return func(signed, signature []byte) bool {
			digest := sha256.Sum256(signed)
			return rsa.VerifyPSS(key, crypto.SHA256, digest[:], signature, pss) == nil
		}
	case "ES256":
		key := w.verifyKey().(*ecdsa.PublicKey)
		return func(signed, signature []byte) bool {
			digest := sha256.Sum256(signed)
			return ecdsa.VerifyASN1(key, digest[:], signature)
		}
	default:
		key := w.verifyKey().(ed25519.PublicKey)
		return func(signed, signature []byte) bool { return ed25519.Verify(key, signed, signature) }
	}
}

// nativeSignature returns a JWS signature in the form that the primitive takes: ASN.1 for
// ES256, and the same bytes for every other algorithm.
func (w *work) nativeSignature(s []byte) []byte {
	if w.alg != "ES256" || len(s) != 64 {
		return s
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(new(big.Int).SetBytes(s[:32]))
		b.AddASN1BigInt(new(big.Int).SetBytes(s[32:]))
	})
	return b.BytesOrPanic()
}

// rawSign returns a function that signs one text with the primitive. For HS256, each call makes
// a new HMAC.
func rawSign(w *work) func() {
	text, _ := split(w.token())
	return func() {
		var err error
		switch w.alg {
		case "HS256":
			h := hmac.New(sha256.New, w.secret)
			h.Write(text)
			if len(h.Sum(nil)) != sha256.Size {
				err = errors.New("no sum")
			}
		case "RS256":
			digest := sha256.Sum256(text)
			_, err = rsa.SignPKCS1v15(nil, w.private.(*rsa.PrivateKey), crypto.SHA256, digest[:])
		case "PS256":
			digest := sha256.Sum256(text)
			_, err = rsa.SignPSS(rand.Reader, w.private.(*rsa.PrivateKey), crypto.SHA256, digest[:], pss)
		case "ES256":
			digest := sha256.Sum256(text)
			_, err = ecdsa.SignASN1(rand.Reader, w.private.(*ecdsa.PrivateKey), digest[:])
		case "EdDSA":
			ed25519.Sign(w.private.(ed25519.PrivateKey), text)
		}
		must(err)
	}
}

// bare returns a handler without authentication. It calls seen with the subject, as every
// measured handler does.
func bare(seen func(string)) http.Handler {
	return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen(subject) })
}

// contextOnly returns a handler behind setToken, the floor of a net/http middleware. The handler
// reads the context value that setToken has set.
func contextOnly(seen func(string)) http.Handler {
	return setToken(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if token := r.Context().Value(tokenKey{}).(string); token != "" {
			seen(subject)
		}
	}))
}

type tokenKey struct{}

// setToken is a middleware that does only the least work: it puts the token of the Authorization
// header into the context of the request. The function is not inlined, so that the compiler does
// not know which handler it wraps: for a real middleware, the compiler does not know that either.
//
//go:noinline
func setToken(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), tokenKey{}, token)))
	})
}
