package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What every token of the harness says.
const (
	issuer   = "https://issuer.example"
	audience = "https://api.example"
	subject  = "user-0123456789"
	scope    = "orders:read orders:write"
	keyID    = "2026-11a"
	tenant   = "acme"
	leeway   = 30 * time.Second
	lifetime = 12 * time.Hour
)

var roles = []string{"admin", "billing", "support"}

// user is the subject of the nth token; those of one harness have one length.
func user(n int) string { return fmt.Sprintf("user-%010d", n) }

// isUser says whether a subject is one of those.
func isUser(s string) bool { return len(s) == len(subject) && s[:5] == subject[:5] }

// wanted is the scope that each library is asked about.
const wanted = "orders:write"

// custom are the claims that are no registered ones.
type custom struct {
	Tenant string   `json:"tenant"`
	Roles  []string `json:"roles"`
}

// algorithms are those that are measured, in the order of the tables.
var algorithms = []string{"HS256", "RS256", "PS256", "ES256", "EdDSA"}

// work is a key of one algorithm and what is signed with it.
type work struct {
	alg     string
	secret  []byte        // HS256
	private crypto.Signer // all others
	now     time.Time
}

// keys are made once; RSA takes long.
var keys = map[string]crypto.Signer{}

func newWork(alg string) *work {
	w := &work{alg: alg, now: time.Now()}
	var err error
	kind := alg[:2]
	if alg == "HS256" {
		w.secret = random(32)
		return w
	}
	if kind == "PS" {
		kind = "RS" // one key for both, so that siblings can be told apart by alg alone
	}
	if w.private = keys[kind]; w.private != nil {
		return w
	}
	switch kind {
	case "RS":
		w.private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES":
		w.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "Ed":
		_, w.private, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("no key for %s", alg)
	}
	must(err)
	keys[kind] = w.private
	return w
}

// signKey is the private key, or the secret.
func (w *work) signKey() any {
	if w.private == nil {
		return w.secret
	}
	return w.private
}

// verifyKey is the public key, or the secret.
func (w *work) verifyKey() any {
	if w.private == nil {
		return w.secret
	}
	return w.private.Public()
}

// member is one member of a JSON object; its value is JSON.
type member struct{ name, value string }

// object is a JSON object that keeps its order, and may be one that it should not.
type object []member

func (o object) String() string {
	var b strings.Builder
	for i, m := range o {
		b.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
		b.WriteString(quote(m.name) + ":" + m.value)
	}
	return b.String() + "}"
}

// with is a copy with another value, in its old place or at the end.
func (o object) with(name string, value any) object {
	text, err := json.Marshal(value)
	must(err)
	o = slices.Clone(o)
	for i := range o {
		if o[i].name == name {
			o[i].value = string(text)
			return o
		}
	}
	return append(o, member{name, string(text)})
}

// without is a copy that lacks a member.
func (o object) without(name string) object {
	return slices.DeleteFunc(slices.Clone(o), func(m member) bool { return m.name == name })
}

func quote(s string) string {
	text, err := json.Marshal(s)
	must(err)
	return string(text)
}

func (w *work) header() object {
	return object{}.with("alg", w.alg).with("typ", "at+jwt").with("kid", keyID)
}

func (w *work) claims() object {
	now := w.now.Unix()
	return object{}.with("iss", issuer).with("sub", subject).with("aud", audience).
		with("exp", now+int64(lifetime/time.Second)).with("iat", now).with("nbf", now).
		with("jti", newID()).with("scope", scope).with("tenant", tenant).with("roles", roles)
}

// token is a good token, another one each time.
func (w *work) token() string { return w.sign(w.header(), w.claims()) }

// tokens are n good tokens, each of another user.
func (w *work) tokens(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = w.sign(w.header(), w.claims().with("sub", user(i)))
	}
	return list
}

// sessionTokens are n good tokens that belong to sessions, each of another user.
func (w *work) sessionTokens(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = w.sign(w.header(), w.claims().with("sub", user(i)).with("sid", newID()))
	}
	return list
}

// fresh are n tokens that nobody has seen yet, each of another user. They are made
// from one text, since there are many of them.
func (w *work) fresh(n int) []string {
	claims := w.claims()
	text := []byte(claims.String())
	sub := text[bytes.Index(text, []byte(quote(subject)))+1:][:len(subject)]
	jti := text[bytes.Index(text, []byte(`"jti":"`))+len(`"jti":"`):][:len(newID())]
	head := append([]byte(encode([]byte(w.header().String()))), '.')
	ids := random(16 * n)
	list := make([]string, n)
	for i := range list {
		copy(sub, user(i))
		base64.RawURLEncoding.Encode(jti, ids[16*i:][:16])
		list[i] = w.signText(string(base64.RawURLEncoding.AppendEncode(head, text)))
	}
	return list
}

func (w *work) sign(header, claims object) string {
	return w.signText(encode([]byte(header.String())) + "." + encode([]byte(claims.String())))
}

func (w *work) signText(text string) string {
	return text + "." + encode(w.signature([]byte(text)))
}

// signature makes the signature of a JWS with the standard library.
func (w *work) signature(text []byte) []byte {
	var s []byte
	var err error
	digest := sha256.Sum256(text)
	switch w.alg {
	case "HS256":
		return keyedHash(w.secret, text)
	case "RS256":
		s, err = w.private.Sign(rand.Reader, digest[:], crypto.SHA256)
	case "PS256":
		s, err = w.private.Sign(rand.Reader, digest[:], pss)
	case "ES256":
		r, t, e := ecdsa.Sign(rand.Reader, w.private.(*ecdsa.PrivateKey), digest[:])
		must(e)
		s = make([]byte, 64)
		r.FillBytes(s[:32])
		t.FillBytes(s[32:])
	case "EdDSA":
		s, err = w.private.Sign(rand.Reader, text, crypto.Hash(0))
	}
	must(err)
	return s
}

var pss = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}

func keyedHash(secret, text []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write(text)
	return h.Sum(nil)
}

// split cuts a token into what is signed and the signature.
func split(token string) (signed, signature []byte) {
	dot := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	must(err)
	return []byte(token[:dot]), signature
}

// newID is a fresh identifier of 128 bits, as every issuer here makes one.
func newID() string { return encode(random(16)) }

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// hasScope says whether a scope claim names a scope.
func hasScope(claim, scope string) bool {
	for len(claim) > 0 {
		var one string
		one, claim, _ = strings.Cut(claim, " ")
		if one == scope {
			return true
		}
	}
	return false
}

// must stops the program: what the harness itself does cannot go wrong.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
