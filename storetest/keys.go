package storetest

import (
	"fmt"
	"strings"

	"github.com/jwtauth-go/jwtauth"
)

var keyRules = []rule{
	{"Keys that look alike are different sessions, and are stored literally", func(c *trial) {
		type owner struct{ issuer, subject string }
		rows := make(map[owner][]jwtauth.SessionRecord)
		for n, key := range similarKeys() {
			row := c.newRowFor(key)
			row.Data = fmt.Appendf(nil, `{"number":%d}`, n)
			c.mustCreate(row)
			o := owner{key.Issuer, key.Subject}
			rows[o] = append(rows[o], row)
		}
		for o, own := range rows {
			c.wantRows(o.issuer, o.subject, own...)
			for n, row := range own {
				own[n] = c.wantAdvance(row, c.rotationFrom(1), true)
			}
		}
		for o, own := range rows {
			c.wantRows(o.issuer, o.subject, own...)
			c.mustDelete(own[0].Key)
			rows[o] = own[1:]
		}
		for o, own := range rows {
			c.wantRows(o.issuer, o.subject, own...)
		}
	}},
	{"A key that is not UTF-8 is not stored and not mistaken for another key", func(c *trial) {
		for _, text := range []string{"a\xff", "\xc3", "a\xc0\x80", "\xed\xa0\x80"} {
			readable := strings.ToValidUTF8(text, "\ufffd")
			for part, key := range []jwtauth.SessionKey{
				{Issuer: text, Subject: subject, ID: "1"}, {Issuer: issuer, Subject: text, ID: "1"}, {Issuer: issuer, Subject: subject, ID: text},
			} {
				row := c.newRowFor([]jwtauth.SessionKey{
					{Issuer: readable, Subject: subject, ID: "1"}, {Issuer: issuer, Subject: readable, ID: "1"}, {Issuer: issuer, Subject: subject, ID: readable},
				}[part])
				c.mustCreate(row)
				bad := c.newRowFor(key)
				bad.Data = []byte(`{}`)
				if c.sessions.Create(c.ctx, bad, 0) == nil {
					c.Errorf("Create of %s returns no error", keyText(key))
				}
				if _, advanced, err := c.sessions.Advance(c.ctx, key, c.rotationFrom(1)); err == nil || advanced {
					c.Errorf("Advance of %s returns no error", keyText(key))
				}
				_ = c.sessions.Delete(c.ctx, key) // the store may return an error or nil
				if rows, err := c.sessions.List(c.ctx, key.Issuer, key.Subject, "", 1000); key.ID == "1" && err == nil && len(rows) > 0 {
					c.Errorf("List of the subject of %s has a row", keyText(key))
				}
				c.wantRows(row.Key.Issuer, row.Key.Subject, row)
				c.mustDelete(row.Key)
			}
		}
	}},
}

// hostileTexts returns different texts that a careless store may treat as equal, cut, or
// interpret.
func hostileTexts() []string {
	long := incompressibleText(8<<10 - 1)
	return []string{
		"a", "A", "a ", " a", "a\t", "á", "a\u0301", "ä", "ß", "ss", "I", "i", "ı", "a\u200d",
		"\x00", "a\x00", "a\x00b", "a\x00\x00b", "a\nb", "a\r\nb", "a\x1bb", "a\x7f",
		"a:b", "a::b", ":a", "a:", "a{b}c", "{a}", "{}", "}{", "a/b", "/a", "../a", "a|b", "a,b", "a#b", "a.b",
		`a'b`, `a''b`, `a"b`, "a`b", `a\b`, `a\\b`, `a\`, `a%b`, `a%%b`, `%s`, "a_b", "a*b", "*", "a?b", "?", "[a]", "$1", "a;b--", `\x61`, `\u0061`, "%61", "&amp;",
		"null", "0", "00", "-1", "1e0", "true", "[]", `{"a":1}`,
		"\ufeffa", "\ufffd", "\uffff", "\U0010ffff", "😀", "\u2028",
		long + "x", long + "y", long,
	}
}

// similarKeys returns different keys. A store that joins the parts of a key without
// escaping confuses some of them.
func similarKeys() []jwtauth.SessionKey {
	var keys []jwtauth.SessionKey
	seen := make(map[jwtauth.SessionKey]bool)
	add := func(issuer, subject, id string) {
		if key := (jwtauth.SessionKey{Issuer: issuer, Subject: subject, ID: id}); !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	for _, text := range hostileTexts() {
		add(text, "s", "i")
		add("s", text, "i")
		add("s", "s", text)
	}
	for _, between := range []string{"", ":", "::", "/", "|", ",", ".", "-", "_", "#", " ", "\x00", "\n", "\t", "}", "{", "}{", "'", `"`, `","`, "','", `\`, "%", "\x1f"} {
		add("a"+between+"b", "c", "d")
		add("a", "b"+between+"c", "d")
		add("a", "b", "c"+between+"d")
		add("a"+between+"b", "c"+between+"d", "e")
		add("a"+between+"b", "c", "d"+between+"e")
		add("a", "b"+between+"c"+between+"d", "e")
	}
	add("a", "b", "sessions")
	add("a", "b", "index")
	add("1:a", "1:b", "1:c")
	return keys
}
