package main

import (
	"fmt"
)

// rejected is one kind of bad token that every library refuses.
type rejected struct {
	name  string
	token func(w *work) string
}

// The names of the kinds. The sizes in them are those of whole tokens.
const (
	foreignHeader = "unexpected alg, typ and kid"
	badSignature  = "bad signature"
	expired       = "expired"
	shortClaims   = "1 kB, mostly claims, bad signature"
	longClaims    = "8 kB, mostly claims, bad signature"
	shortHeader   = "1.8 kB, mostly header, unexpected alg, typ and kid"
	longHeader    = "8 kB, mostly header, unexpected alg, typ and kid"
)

// The sizes of the tokens, in bytes.
const (
	longestToken = 8192 // by default, this library refuses longer tokens unread
	shortToken   = 1024
	shortForeign = 1792 // its header has 1 kB
)

// rejections lists the kinds of bad tokens.
var rejections = []rejected{
	{foreignHeader, func(w *work) string { return w.foreign() }},
	{badSignature, func(w *work) string { return w.spoilt(w.token()) }},
	{expired, func(w *work) string { return w.sign(w.header(), w.claims().with("exp", w.now.Unix()-3600)) }},
	{shortClaims, func(w *work) string { return w.padded(shortToken) }},
	{longClaims, func(w *work) string { return w.padded(longestToken) }},
	{shortHeader, func(w *work) string { return w.longHeader(shortForeign) }},
	{longHeader, func(w *work) string { return w.longHeader(longestToken) }},
}

// foreign returns a token whose alg, typ and kid the verifiers do not expect. Its signature is
// random.
func (w *work) foreign(extra ...member) string {
	header := append(object{}.with("alg", "RS512").with("typ", "JWT").with("kid", "somebody-else"), extra...)
	return encode([]byte(header.String())) + "." + encode([]byte(w.claims().String())) + "." + encode(random(256))
}

// spoilt changes the first byte of the signature of a token.
func (w *work) spoilt(token string) string {
	signed, signature := split(token)
	signature[0] ^= 1
	return string(signed) + "." + encode(signature)
}

// padded returns a token with a bad signature, and with so many claims that it almost has the
// given length.
func (w *work) padded(length int) string {
	return w.fill(length, func(extra object) string {
		return w.spoilt(w.sign(w.header(), append(w.claims(), extra...)))
	})
}

// longHeader returns a foreign token with so many header members that it almost has
// the given length.
func (w *work) longHeader(length int) string {
	return w.fill(length, func(extra object) string { return w.foreign(extra...) })
}

// fill calls make with more and more members, and returns the longest token that is
// not longer than length.
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

// refuseGroup measures refusals of one kind of bad token with one algorithm.
func refuseGroup(alg string, bad rejected) group {
	return group{name: "refuse/" + alg + "/" + bad.name, cells: func() []cell {
		w := newWork(alg)
		token := bad.token(w)
		if len(token) > longestToken {
			panic("the token is longer than longestToken")
		}
		v := w.verifier(withoutCache)
		verifying(ours, ourVerify(v), w.token())() // a service has also seen good tokens
		cells := []cell{
			nextToRaw(sequential(raw, rawRefuse(w, token))),
			nextToRaw(sequential(ours, refusing(ours, ourVerify(v), token))),
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

// rawRefuse returns a function that runs the primitive on the bytes of a token and
// ignores the result.
func rawRefuse(w *work, token string) func() {
	signed, signature := split(token)
	signature, check := w.nativeSignature(signature), w.rawCheck()
	return func() { check(signed, signature) }
}
