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

// The issuer, claims and durations of the measured tokens.
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

// user returns the subject of token n. All subjects have the same length.
func user(n int) string { return fmt.Sprintf("user-%010d", n) }

// isUser reports whether s has the form of these subjects.
func isUser(s string) bool { return len(s) == len(subject) && s[:5] == subject[:5] }

// wantedScope is the scope that each library looks for.
const wantedScope = "orders:write"

// custom holds the claims that are specific to the application.
type custom struct {
	Tenant string   `json:"tenant"`
	Roles  []string `json:"roles"`
}

// algorithms lists the measured algorithms, in the order of the tables.
var algorithms = []string{"HS256", "RS256", "PS256", "ES256", "EdDSA"}

// work makes tokens with a key of one algorithm.
type work struct {
	alg     string
	secret  []byte        // for HS256
	private crypto.Signer // for all other algorithms
	now     time.Time
}

// keys holds the private keys by kind, so that each is generated only once.
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
		kind = "RS" // RS256 and PS256 share a key, so their tokens differ only by alg
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

// signKey returns the private key or, for HS256, the secret.
func (w *work) signKey() any {
	if w.private == nil {
		return w.secret
	}
	return w.private
}

// verifyKey returns the public key or, for HS256, the secret.
func (w *work) verifyKey() any {
	if w.private == nil {
		return w.secret
	}
	return w.private.Public()
}

// member is one member of a JSON object; its value is JSON.
type member struct{ name, value string }

// object is a JSON object that keeps the order of its members. It may have members
// with equal names, for bad tokens.
type object []member

func (o object) String() string {
	var b strings.Builder
	for i, m := range o {
		b.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
		b.WriteString(quote(m.name) + ":" + m.value)
	}
	return b.String() + "}"
}

// with returns a copy of o in which the member name has the given value. A new member
// goes to the end.
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

// without returns a copy of o without the member name.
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

// token returns a good token with a new jti.
func (w *work) token() string { return w.sign(w.header(), w.claims()) }

// tokens returns n good tokens with different subjects.
func (w *work) tokens(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = w.sign(w.header(), w.claims().with("sub", user(i)))
	}
	return list
}

// sessionTokens returns n good tokens with different subjects and a sid each.
func (w *work) sessionTokens(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = w.sign(w.header(), w.claims().with("sub", user(i)).with("sid", newID()))
	}
	return list
}

// fresh returns n new good tokens with different subjects. To be fast, it replaces
// sub and jti in one text of claims.
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

// signature returns the JWS signature of text. It uses only the standard library.
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

// split returns the signed part and the decoded signature of a token.
func split(token string) (signed, signature []byte) {
	dot := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	must(err)
	return []byte(token[:dot]), signature
}

// newID returns a random identifier of 128 bits. The peers use it for jti.
func newID() string { return encode(random(16)) }

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// hasScope reports whether a scope claim contains a scope.
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

// must panics if err is not nil.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
