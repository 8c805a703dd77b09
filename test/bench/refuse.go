package main

import (
	"fmt"
)

// rejected is one kind of token that everybody refuses.
type rejected struct {
	name  string
	token func(w *work) string
}

const (
	foreignHeader = "foreign header"
	badSignature  = "bad signature"
	expired       = "expired"
	shortClaims   = "1 kB of unsigned claims"
	longClaims    = "8 kB of unsigned claims"
	shortHeader   = "1 kB of foreign header"
	longHeader    = "8 kB of foreign header"
	longestToken  = 8192 // bytes: the longest that this library looks at by default
	shortToken    = 1024
	shortForeign  = 1792 // of which the header is 1 kB
)

// rejections are the kinds. Those of 8 kB are 8,192 bytes long as a whole, most of
// which are what the name says.
var rejections = []rejected{
	{foreignHeader, func(w *work) string { return w.foreign() }},
	{badSignature, func(w *work) string { return w.spoilt(w.token()) }},
	{expired, func(w *work) string { return w.sign(w.header(), w.claims().with("exp", w.now.Unix()-3600)) }},
	{shortClaims, func(w *work) string { return w.padded(shortToken) }},
	{longClaims, func(w *work) string { return w.padded(longestToken) }},
	{shortHeader, func(w *work) string { return w.longHeader(shortForeign) }},
	{longHeader, func(w *work) string { return w.longHeader(longestToken) }},
}

// foreign is a token of somebody else: with another alg, typ and kid.
func (w *work) foreign(extra ...member) string {
	header := append(object{}.with("alg", "RS512").with("typ", "JWT").with("kid", "somebody-else"), extra...)
	return encode([]byte(header.String())) + "." + encode([]byte(w.claims().String())) + "." + encode(random(256))
}

// spoilt is a token whose signature has another first byte.
func (w *work) spoilt(token string) string {
	signed, signature := split(token)
	signature[0] ^= 1
	return string(signed) + "." + encode(signature)
}

// padded is a token of that length with a wrong signature and many claims.
func (w *work) padded(length int) string {
	return w.fill(length, func(extra object) string {
		return w.spoilt(w.sign(w.header(), append(w.claims(), extra...)))
	})
}

// longHeader is a token of that length with many members in a foreign header.
func (w *work) longHeader(length int) string {
	return w.fill(length, func(extra object) string { return w.foreign(extra...) })
}

// fill finds the longest token with further members that is not longer than that.
func (w *work) fill(length int, make func(extra object) string) (token string) {
	var extra object
	for i := 0; ; i++ {
		extra = extra.with(fmt.Sprintf("member-%03d", i), fmt.Sprintf("value %d", i))
		longer := make(extra)
		if len(longer) > length {
			return token
		}
		token = longer
	}
}

// refuseGroup is one algorithm and one kind of bad token.
func refuseGroup(alg string, bad rejected) group {
	return group{name: "refuse/" + alg + "/" + bad.name, cells: func() []cell {
		w := newWork(alg)
		token := bad.token(w)
		if len(token) > longestToken {
			panic("too long to be looked at")
		}
		v := w.verifier(off)
		verifying(ours, ourAnswer(v), w.token())() // as in a service, which has seen good tokens, too
		cells := []cell{
			closely(sequential(raw, rawRefuse(w, token))),
			closely(sequential(ours, refusing(ours, ourAnswer(v), token))),
		}
		for _, p := range peers {
			if p.verify == nil {
				continue
			}
			if verify := p.verify(w); verify != nil {
				cells = append(cells, sequential(p.name, refusing(p.name, verify, token)))
			}
		}
		return cells
	}}
}

// rawRefuse is the primitive on the bytes of a token, whatever it says about them.
func rawRefuse(w *work, token string) func() {
	signed, signature := split(token)
	signature, check := w.nativeSignature(signature), w.rawCheck()
	return func() { check(signed, signature) }
}
