//go:build !race

package allocs_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/jwtauth-go/jwtauth/internal/fixture"
)

// shape has the values that the tokens for one door have in common.
type shape struct {
	alg, typ, kid, aud string
	signature          string // a well-formed signature, but of another token
	now                int64
}

func shapeOf(w *fixture.World, typ string) shape {
	good := w.Sign(w.Claims(nil))
	return shape{string(w.Key.Algorithm()), typ, w.Key.ID(), fixture.Audience, good[strings.LastIndexByte(good, '.')+1:], w.Clock.Now().Unix()}
}

// header returns a valid header with further members. more has a comma before each of them.
func (s shape) header(more string) string {
	return fmt.Sprintf(`{"alg":%q,"typ":%q,"kid":%q%s}`, s.alg, s.typ, s.kid, more)
}

// claims returns valid claims with further members, as header does.
func (s shape) claims(more string) string { return s.claimsOf(`"`+fixture.Issuer+`"`, more) }

// claimsOf returns the claims of a token whose iss is the JSON text issuer.
func (s shape) claimsOf(issuer, more string) string {
	return fmt.Sprintf(`{"iss":%s,"sub":"alice","aud":%q,"jti":"j","exp":%d,"iat":%d%s}`, issuer, s.aud, s.now+600, s.now, more)
}

// token returns a token with the given header and claims. Its signature is wrong.
func (s shape) token(header, claims string) string {
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return encode(header) + "." + encode(claims) + "." + s.signature
}

// room returns how many bytes of JSON can be added to a valid header or valid claims, so that
// the token has at most n bytes. It leaves 50 bytes for the names and brackets around the
// added text.
func (s shape) room(n int) int { return (n-len(s.token(s.header(""), s.claims(""))))*3/4 - 50 }

// many joins element(0), element(1) and so on, as many as fit into n bytes.
func many(n int, element func(i int) string) string {
	var b strings.Builder
	for i := 0; ; i++ {
		e := element(i)
		if b.Len()+len(e) > n {
			return b.String()
		}
		b.WriteString(e)
	}
}

// repeated repeats a text as often as it fits into n bytes.
func repeated(text string, n int) string { return strings.Repeat(text, max(n/len(text), 0)) }

// badToken is one kind of bad token that a stranger may send.
type badToken struct {
	name string
	// check, iss and dates name the check that refuses the token. Field check applies to
	// doors that do not read the payload, field iss to doors that read the issuer, and
	// field dates to doors that also read the dates. An empty dates means iss, and an
	// empty iss means check. The doors that read the dates get tokens with an unknown kid, so
	// they refuse with the check "key" where check says "signature".
	check, iss, dates string
	make              func(s shape, n int) string // returns a token of up to n bytes
}

// at returns the name of the check that refuses the token at the door d.
func (b badToken) at(d door) string {
	switch {
	case d.reads == readsDates && b.dates != "":
		return b.dates
	case d.reads != readsNothing && b.iss != "":
		return b.iss
	case d.reads == readsDates && b.check == "signature":
		return "key"
	}
	return b.check
}

// withHeader returns a function that makes tokens with further members in the header.
func withHeader(members func(n int) string) func(s shape, n int) string {
	return func(s shape, n int) string { return s.token(s.header(members(s.room(n))), s.claims("")) }
}

// withClaims returns a function that makes tokens with further claims.
func withClaims(members func(n int) string) func(s shape, n int) string {
	return func(s shape, n int) string { return s.token(s.header(""), s.claims(members(s.room(n)))) }
}

// withIssuer returns a function that makes tokens whose iss is the JSON text from issuer. A
// further claim fills a token to n bytes.
func withIssuer(issuer func(n int) string) func(s shape, n int) string {
	return func(s shape, n int) string {
		iss := issuer(s.room(n))
		return s.token(s.header(""), s.claimsOf(iss, `,"x":"`+repeated("x", s.room(n)-len(iss))+`"`))
	}
}

// members has kinds of further members of a JSON object that are expensive to read.
var members = []struct {
	name string
	text func(n int) string
}{
	{"one long text", func(n int) string { return `,"x":"` + repeated("x", n) + `"` }},
	{"one text of escapes", func(n int) string { return `,"x":"` + repeated(`\u00e4`, n) + `"` }},
	{"one long name of escapes", func(n int) string { return `,"` + repeated(`\u00c4`, n) + `":1` }},
	{"many names", func(n int) string { return many(n, func(i int) string { return fmt.Sprintf(`,"-%x":1`, i) }) }},
	{"many names with capitals", func(n int) string { return many(n, func(i int) string { return fmt.Sprintf(`,"-%X":1`, i) }) }},
	{"many names with escapes", func(n int) string { return many(n, func(i int) string { return fmt.Sprintf(`,"\/%x":1`, i) }) }},
	{"many names with escapes and capitals", func(n int) string {
		return many(n, func(i int) string { return fmt.Sprintf(`,"\/%X":1`, i) })
	}},
	{"many names that are not ASCII", func(n int) string { return many(n, func(i int) string { return fmt.Sprintf(`,"Ä%x":1`, i) }) }},
	{"many objects of many names", func(n int) string {
		object := "{" + many(140, func(i int) string { return fmt.Sprintf(`,"A%x":1`, i) })[1:] + "}"
		return `,"x":[` + repeated(object+",", n) + "1]"
	}},
	{"names at every depth", func(n int) string {
		const depth = 28
		object := "{" + many((n-depth*8)/depth, func(i int) string { return fmt.Sprintf(`"A%x":1,`, i) }) + `"x":`
		return `,"x":` + strings.Repeat(object, depth) + "1" + strings.Repeat("}", depth)
	}},
	{"deep enough", func(n int) string {
		nest := strings.Repeat("[", 30) + strings.Repeat("]", 30)
		return `,"x":[` + repeated(nest+",", n) + "1]"
	}},
	{"many small objects", func(n int) string { return `,"x":[` + repeated(`{"A":1},`, n) + "1]" }},
	{"many numbers", func(n int) string { return `,"x":[` + repeated("1,", n) + "1]" }},
	{"blanks", func(n int) string { return `,"x":` + repeated(" ", n) + "1" }},
}

// badTokens has all kinds of bad tokens.
var badTokens = slices.Concat(formFaults, headerFaults, memberFaults(), issuerFaults, claimFaults)

// formFaults has tokens with segments that are missing, surplus, empty, too long or not
// base64url.
var formFaults = []badToken{
	{"garbage", "form", "", "", func(_ shape, n int) string { return strings.Repeat("x", n) }},
	{"bytes that are no text", "form", "", "", func(_ shape, n int) string { return strings.Repeat("\xff", n) }},
	{"dots", "form", "", "", func(_ shape, n int) string { return strings.Repeat(".", n) }},
	{"one segment and dots", "form", "", "", func(s shape, n int) string {
		return s.token(s.header(""), s.claims("")) + strings.Repeat(".", n)[:s.room(n)]
	}},
	{"two segments", "form", "", "", func(_ shape, n int) string { return strings.Repeat("A", n/2) + "." + strings.Repeat("A", n/2-1) }},
	{"four segments", "form", "", "", func(s shape, n int) string {
		return s.token(s.header(""), s.claims("")) + "." + strings.Repeat("A", s.room(n))
	}},
	{"an empty header", "header", "", "", func(s shape, n int) string {
		_, rest, _ := strings.Cut(s.token("", s.claims(members[0].text(s.room(n)))), ".")
		return "." + rest
	}},
	{"an empty payload", "signature", "claims", "", func(s shape, n int) string {
		return s.token(s.header(members[0].text(s.room(n))), "")
	}},
	{"a header that is not base64", "header", "", "", func(s shape, n int) string {
		_, rest, _ := strings.Cut(s.token("", s.claims("")), ".")
		return strings.Repeat("A", s.room(n)) + "!." + rest
	}},
	{"a payload that is not base64", "signature", "claims", "", func(s shape, n int) string {
		header, _, _ := strings.Cut(s.token(s.header(""), ""), ".")
		return header + "." + strings.Repeat("A", s.room(n)) + "=." + s.signature
	}},
	{"a signature that is not base64", "signature", "", "", func(s shape, n int) string {
		return s.token(s.header(""), s.claims("")) + strings.Repeat("A", s.room(n)) + "*"
	}},
	{"a long signature", "signature", "", "", func(s shape, n int) string {
		return s.token(s.header(""), s.claims("")) + strings.Repeat("AAAA", s.room(n)/4)
	}},
	{"no signature", "signature", "", "", func(s shape, n int) string {
		s.signature = ""
		return withClaims(members[0].text)(s, n)
	}},
}

// headerFaults has tokens whose header is not valid JSON, names no known key, or is
// wrong or incomplete in another way.
var headerFaults = []badToken{
	{"a header that is no JSON", "header", "", "", func(s shape, n int) string {
		return s.token(strings.Repeat("x", max(s.room(n), 1)), s.claims(""))
	}},
	{"a header that is too deep", "header", "", "", withHeader(func(n int) string { return `,"x":` + strings.Repeat("[", max(n, 64)) })},
	{"a header with a name twice", "header", "", "", withHeader(func(n int) string { return members[3].text(n) + `,"ALG":1` })},
	{"a header that does not end", "header", "", "", withHeader(func(n int) string { return `,"x":"` + repeated("x", n) })},
	{"no alg", "key", "", "", func(s shape, n int) string {
		return s.token(fmt.Sprintf(`{"typ":%q,"kid":%q}`, s.typ, s.kid), s.claims(members[0].text(s.room(n))))
	}},
	{"a long alg", "key", "", "", func(s shape, n int) string {
		s.alg = repeated("A", s.room(n))
		return s.token(s.header(""), s.claims(""))
	}},
	{"a long alg of escapes", "key", "", "", func(s shape, n int) string {
		return s.token(fmt.Sprintf(`{"alg":"%s","typ":%q}`, repeated(`\u0041`, s.room(n)), s.typ), s.claims(""))
	}},
	{"an alg of another type", "header", "", "", func(s shape, n int) string {
		return s.token(fmt.Sprintf(`{"alg":[%s1],"typ":%q}`, repeated("1,", s.room(n)), s.typ), s.claims(""))
	}},
	{"crit", "crit", "", "", withHeader(func(n int) string { return `,"crit":[` + repeated(`"x",`, n) + `"x"]` })},
	{"a long typ", "typ", "", "", func(s shape, n int) string {
		s.typ = "application/" + repeated("ä", s.room(n))
		return s.token(s.header(""), s.claims(""))
	}},
	{"an unknown kid", "key", "", "", func(s shape, n int) string {
		s.kid = "another-kid-that-nobody-has"
		return withClaims(members[0].text)(s, n)
	}},
	{"a long kid", "key", "", "", func(s shape, n int) string {
		s.kid = repeated("k", s.room(n))
		return s.token(s.header(""), s.claims(""))
	}},
	{"a long kid of escapes", "key", "", "", func(s shape, n int) string {
		return s.token(fmt.Sprintf(`{"alg":%q,"typ":%q,"kid":"%s"}`, s.alg, s.typ, repeated(`\u00e4`, s.room(n))), s.claims(""))
	}},
	{"no kid", "signature", "signature", "", func(s shape, n int) string {
		return s.token(fmt.Sprintf(`{"alg":%q,"typ":%q}`, s.alg, s.typ), s.claims(members[0].text(s.room(n))))
	}},
}

// memberFaults returns tokens with a valid header and valid claims, one of which has many
// further members.
func memberFaults() (all []badToken) {
	for _, m := range members {
		all = append(all,
			badToken{"a header with " + m.name, "signature", "", "", withHeader(m.text)},
			badToken{"claims with " + m.name, "signature", "", "", withClaims(m.text)})
	}
	return all
}

// issuerFaults has tokens whose iss is missing, is not a string, or names an unknown issuer. Some
// of the names have almost 1,024 bytes, the limit for the name of a configured issuer.
var issuerFaults = []badToken{
	{"no iss", "signature", "iss", "", func(s shape, n int) string {
		return s.token(s.header(""), `{"x":"`+repeated("x", s.room(n))+`"}`)
	}},
	{"an iss of another type", "signature", "claims", "", withIssuer(func(n int) string { return "[" + repeated("1,", n) + "1]" })},
	{"a long iss", "signature", "iss", "", withIssuer(func(n int) string { return `"` + repeated("x", n) + `"` })},
	{"a long iss of escapes", "signature", "iss", "", withIssuer(func(n int) string { return `"` + repeated(`\u00e4`, n) + `"` })},
	{"a long iss that is not ASCII", "signature", "iss", "", withIssuer(func(n int) string { return `"https://ä.test/` + repeated("ä", n) + `"` })},
	{"an iss that is not ASCII", "signature", "iss", "", withIssuer(func(n int) string { return `"https://ä.test/` + repeated("ä", min(n, 1000)) + `"` })},
	{"an iss that is similar", "signature", "iss", "", withIssuer(func(n int) string { return `"` + fixture.Issuer + ":443/" + repeated("ä", min(n, 990)) + `"` })},
	{"an iss that is similar, of escapes", "signature", "iss", "", withIssuer(func(n int) string {
		return `"` + fixture.Issuer + `\/` + repeated(`%c3%a4\/`, min(n, 990)) + `"`
	})},
	{"an iss with a long port", "signature", "iss", "", withIssuer(func(n int) string { return `"` + fixture.Issuer + `:` + repeated("1", min(n, 990)) + `"` })},
	{"an iss with a long user", "signature", "iss", "", withIssuer(func(n int) string { return `"https://` + repeated("%40", min(n, 900)) + `@issuer.test"` })},
	{"an iss with a long query", "signature", "iss", "", withIssuer(func(n int) string { return `"` + fixture.Issuer + `?` + repeated("a=b&", min(n, 990)) + `"` })},
}

// claimFaults has tokens whose claims, other than iss, are wrong or expensive to read.
var claimFaults = []badToken{
	{"claims that are no JSON", "signature", "claims", "", func(s shape, n int) string { return s.token(s.header(""), repeated("x", s.room(n))) }},
	{"claims that are too deep", "signature", "claims", "", withClaims(func(n int) string { return `,"x":` + strings.Repeat("[", max(n, 64)) })},
	{"claims with a name twice", "signature", "claims", "", withClaims(func(n int) string { return members[4].text(n) + `,"SUB":1` })},
	{"thousands of audiences", "signature", "", "", func(s shape, n int) string {
		return s.token(s.header(""), fmt.Sprintf(`{"iss":%q,"exp":%d,"aud":[%s"x"]}`, fixture.Issuer, s.now+600, repeated(`"\u0078",`, s.room(n))))
	}},
	{"thousands of scopes", "signature", "", "", withClaims(func(n int) string { return `,"scope":"` + repeated("a ", n) + `"` })},
	{"an exp of many digits", "signature", "", "claims", func(s shape, n int) string {
		return s.token(s.header(""), fmt.Sprintf(`{"iss":%q,"exp":1%s}`, fixture.Issuer, repeated("0", s.room(n))))
	}},
	{"an exp with a long fraction", "signature", "", "", func(s shape, n int) string {
		return s.token(s.header(""), fmt.Sprintf(`{"iss":%q,"exp":%d.%s}`, fixture.Issuer, s.now, repeated("1", s.room(n))))
	}},
	{"an exp that has passed", "signature", "", "", func(s shape, n int) string {
		return s.token(s.header(""), fmt.Sprintf(`{"iss":%q,"exp":1,"x":"%s"}`, fixture.Issuer, repeated("x", s.room(n))))
	}},
}
