package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
)

// badToken is a token that no library should accept. alg is the algorithm of the
// key with which the libraries verify.
type badToken struct {
	name, alg string
	token     func(w *work) string
}

// badTokens lists the bad tokens. They are signed with the right key, unless the
// name says otherwise.
var badTokens = []badToken{
	{"alg none", "ES256", func(w *work) string {
		return encode([]byte(w.header().with("alg", "none").String())) + "." + encode([]byte(w.claims().String())) + "."
	}},
	{"HS256 with the RSA public key as the secret", "RS256", publicKeyAsSecret},
	{"PS256 for a key of RS256", "RS256", func(w *work) string {
		sibling := newWork("PS256") // newWork uses one RSA key for RS256 and PS256
		return sibling.sign(sibling.header(), sibling.claims())
	}},
	{"an unknown critical header (crit)", "ES256", func(w *work) string {
		return w.sign(w.header().with("crit", []string{"policy"}).with("policy", "strict"), w.claims())
	}},
	{"another typ", "ES256", func(w *work) string { return w.sign(w.header().with("typ", "dpop+jwt"), w.claims()) }},
	{"another kid", "ES256", func(w *work) string { return w.sign(w.header().with("kid", "2025-01z"), w.claims()) }},
	{"expired", "ES256", func(w *work) string { return w.sign(w.header(), w.claims().with("exp", w.now.Unix()-3600)) }},
	{"no exp", "ES256", func(w *work) string { return w.sign(w.header(), w.claims().without("exp")) }},
	{"EXP in place of exp", "ES256", func(w *work) string { return w.sign(w.header(), renamed(w.claims(), "exp", "EXP")) }},
	{"not valid yet", "ES256", func(w *work) string { return w.sign(w.header(), w.claims().with("nbf", w.now.Unix()+3600)) }},
	{"another issuer", "ES256", func(w *work) string { return w.sign(w.header(), w.claims().with("iss", "https://other.example")) }},
	{"ISS in place of iss", "ES256", func(w *work) string { return w.sign(w.header(), renamed(w.claims(), "iss", "ISS")) }},
	{"another audience", "ES256", func(w *work) string { return w.sign(w.header(), w.claims().with("aud", "https://other.example")) }},
	{"Sub in place of sub", "ES256", func(w *work) string { return w.sign(w.header(), renamed(w.claims(), "sub", "Sub")) }},
	{"sub twice", "ES256", func(w *work) string {
		return w.sign(w.header(), append(w.claims(), member{"sub", quote(user(1))}))
	}},
	{"claims that are not UTF-8", "ES256", func(w *work) string {
		claims := strings.Replace(w.claims().String(), tenant, "\xff\xfe", 1)
		return w.signText(encode([]byte(w.header().String())) + "." + encode([]byte(claims)))
	}},
	{"another spelling of the signature in base64", "ES256", func(w *work) string { return respelt(w.token()) }},
	{"a line break in the signature", "ES256", func(w *work) string {
		token := w.token()
		return token[:len(token)-4] + "\n" + token[len(token)-4:]
	}},
}

// publicKeyAsSecret returns a token that is signed with HS256 and has the public RSA key as the
// secret. Anyone can make such a token. A verifier that lets the token choose alg accepts it.
func publicKeyAsSecret(w *work) string {
	der, err := x509.MarshalPKIXPublicKey(w.verifyKey())
	must(err)
	forger := &work{alg: "HS256", now: w.now, secret: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
	return forger.token()
}

// renamed renames the members of o whose name is from.
func renamed(o object, from, to string) object {
	for i := range o {
		if o[i].name == from {
			o[i].name = to
		}
	}
	return o
}

// respelt returns another spelling of a token: it sets the lowest bit of the last base64
// character. Only strict decoders look at this bit. The decoded signature is the same.
func respelt(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(token) - 1
	return token[:last] + string(alphabet[strings.IndexByte(alphabet, token[last])|1])
}

// accepts reports whether a library accepts a token and returns its subject. ok is false if the
// library does not support the algorithm.
func accepts(p peer, w *work, token string) (accepted, ok bool) {
	if p.verify != nil {
		verify := p.verify(w)
		if verify == nil {
			return false, false
		}
		a, err := verify(token)
		return err == nil && a.subject != "", true
	}
	var who string
	h := p.middleware(w, func(subject string) { who = subject })
	r := httptest.NewRequest(http.MethodGet, "/orders", nil)
	r.Header["Authorization"] = []string{"Bearer " + token}
	h.ServeHTTP(httptest.NewRecorder(), r)
	return who != "", true
}

// library is this library in the form of a peer, for the conformance tests.
var library = peer{name: ours, verify: func(w *work) func(string) (answer, error) { return ourVerify(w.verifier()) }}

// conformance returns a Markdown table of the bad tokens that each library accepts.
func conformance() string {
	all := append([]peer{library}, peers...)
	var b strings.Builder
	b.WriteString("| accepted |")
	for _, p := range all {
		b.WriteString(" " + p.name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat(":-:|", len(all)) + "\n")
	for _, bad := range badTokens {
		w := newWork(bad.alg)
		token := bad.token(w)
		fmt.Fprintf(&b, "| %s |", bad.name)
		for _, p := range all {
			accepted, ok := accepts(p, w, token)
			switch {
			case !ok:
				b.WriteString(" — |")
			case accepted:
				b.WriteString(" **yes** |")
			default:
				b.WriteString(" · |")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}
