package storetest

import (
	"fmt"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// tokenID returns the id of a revoked token of the issuer of the suite.
func tokenID(name string) string { return jwtauth.TokenID(issuer, name) }

var revocationRules = []rule{
	{"IsRevoked finds an id among any number of ids", func(c *trial) {
		c.wantRevoked(false)
		c.wantRevoked(false, tokenID("a"))
		c.mustRevoke(tokenID("a"), c.now.Add(time.Hour))
		c.mustRevoke(tokenID("b"), c.now.Add(time.Hour))
		var strangers []string
		for i := range 20 {
			strangers = append(strangers, tokenID(fmt.Sprint("stranger ", i)))
		}
		c.wantRevoked(false)
		c.wantRevoked(false, strangers...)
		c.wantRevoked(false, strangers[0], strangers[0])
		c.wantRevoked(false, jwtauth.SessionID(issuer, "a"), jwtauth.TokenID("https://other.test", "a"))
		for _, id := range []string{tokenID("a"), tokenID("b")} {
			c.wantRevoked(true, id)
			c.wantRevoked(true, id, id, id)
			c.wantRevoked(true, append(strangers[:20:20], id)...)
			c.wantRevoked(true, append([]string{id}, strangers...)...)
			c.wantRevoked(true, strangers[0], id, strangers[1])
		}
		c.wantRevoked(true, tokenID("a"), tokenID("b"))
	}},
	{"Every one of many ids is revoked", func(c *trial) {
		for i := range 500 {
			c.mustRevoke(tokenID(fmt.Sprint(i)), c.now.Add(time.Hour))
		}
		for i := range 500 {
			c.wantRevoked(true, tokenID(fmt.Sprint(i)))
			c.wantRevoked(false, tokenID(fmt.Sprint(i, "x")))
		}
	}},
	{"Ids that look alike are different, and are stored literally", func(c *trial) {
		texts := hostileTexts()
		for i := 0; i < len(texts); i += 2 {
			c.mustRevoke(texts[i], c.now.Add(time.Hour))
		}
		for i, id := range texts {
			c.wantRevoked(i%2 == 0, id)
		}
		// The ids of package jwtauth are base64url, in which case matters. The last character
		// holds fewer than 6 bits, so a store that decodes ids confuses some of these.
		const id = "AAAAAAAAAAAAAAAAAAAAAQ"
		c.mustRevoke(id, c.now.Add(time.Hour))
		for _, other := range []string{"aAAAAAAAAAAAAAAAAAAAAQ", "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAq", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAQ==", "AAAAAAAAAAAAAAAAAAAAA_", "AAAAAAAAAAAAAAAAAAAAA-"} {
			c.wantRevoked(false, other)
		}
		c.wantRevoked(true, id)
	}},
	{"IsRevoked keeps none of the slice that it is given", func(c *trial) {
		ids := []string{tokenID("a"), tokenID("b")}
		c.wantRevoked(false, ids...)
		c.mustRevoke(ids[0], c.now.Add(time.Hour))
		ids[0], ids[1] = tokenID("x"), tokenID("y")
		c.wantRevoked(true, tokenID("a"))
		c.wantRevoked(false, tokenID("b"), tokenID("x"), tokenID("y"))
	}},
	{"Revoke until a time that has passed is no error and shortens nothing", func(c *trial) {
		for _, past := range []time.Time{c.now.Add(-time.Microsecond), c.now.Add(-time.Hour), time.Unix(0, 0), {}} {
			c.mustRevoke(tokenID("never there"), past)
			if _, err := c.revocations.IsRevoked(c.ctx, tokenID("never there")); err != nil { // true and false are both correct
				c.Errorf("IsRevoked of an id whose end has passed: %v", err)
			}
			c.mustRevoke(tokenID("a"), c.now.Add(time.Hour))
			c.mustRevoke(tokenID("a"), past)
			c.wantRevoked(true, tokenID("a"))
			c.mustRevoke(tokenID("b"), past)
			c.mustRevoke(tokenID("b"), c.now.Add(time.Hour))
			c.wantRevoked(true, tokenID("b"))
		}
	}},
	{"A revocation lasts to its end, and another Revoke can lengthen but not shorten it", revocationEnds},
	{"A revocation may last for years", func(c *trial) {
		for i, days := range []int{1, 30, 365, 30 * 365, 70 * 365} {
			c.mustRevoke(tokenID(fmt.Sprint(i)), c.now.AddDate(0, 0, days))
		}
		for i := range 5 {
			c.wantRevoked(true, tokenID(fmt.Sprint(i)))
		}
	}},
	{"After Revoke has returned, all callers see the revocation, while others revoke and ask", func(c *trial) {
		together(raceCallers, func(i int) {
			for n := range 20 {
				own := tokenID(fmt.Sprint(i, " ", n))
				ask := func(want bool, ids ...string) {
					if got, err := c.revocations.IsRevoked(c.ctx, ids...); err != nil || got != want {
						c.Errorf("IsRevoked is %t, %v; %t is expected", got, err, want)
					}
				}
				ask(false, own, tokenID("nobody"))
				if err := c.revocations.Revoke(c.ctx, own, c.now.Add(time.Hour)); err != nil {
					c.Errorf("Revoke: %v", err)
				}
				ask(true, own)
				ask(true, tokenID("nobody"), own)
			}
		})
	}},
	{"If callers race to revoke one id, the latest end stays", func(c *trial) {
		for round := range 10 {
			id := tokenID(fmt.Sprint(round))
			together(raceCallers, func(i int) {
				until := c.now.Add(-time.Duration(i) * time.Second)
				if i == round {
					until = c.now.Add(time.Hour)
				}
				if err := c.revocations.Revoke(c.ctx, id, until); err != nil {
					c.Errorf("Revoke: %v", err)
				}
			})
			c.wantRevoked(true, id)
		}
	}},
	{"Sessions and revocations do not affect each other", func(c *trial) {
		row := c.newRow(tokenID("a"))
		c.mustCreate(row)
		c.wantRevoked(false, row.Key.ID, row.Key.Subject, row.Key.Issuer)
		c.mustRevoke(row.Key.ID, c.now.Add(time.Hour))
		c.mustRevoke(subject, c.now.Add(time.Hour))
		c.wantRows(issuer, subject, row)
		c.mustDelete(row.Key)
		c.wantRevoked(true, row.Key.ID)
	}},
}

// revocationEnds waits until revocations end, for up to 2.1 seconds, since the clock of an
// engine cannot be moved.
func revocationEnds(c *trial) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	// Begin in the first half of a second. If a store cuts an end to seconds, that end has then
	// passed already, which the check below sees.
	for time.Now().Nanosecond() > 5e8 {
		c.wantRevoked(false, tokenID("exact"))
		<-tick.C
	}
	soon := time.Now().Add(400 * time.Millisecond)
	c.mustRevoke(tokenID("exact"), soon)
	c.mustRevoke(tokenID("lengthened"), soon)
	c.mustRevoke(tokenID("lengthened"), soon.Add(time.Hour))
	c.mustRevoke(tokenID("shortened"), soon.Add(time.Hour))
	c.mustRevoke(tokenID("shortened"), soon)
	// Wait until soon has passed, even if the store has rounded it up to a second.
	for time.Now().Before(soon.Add(1200 * time.Millisecond)) {
		exact, err := c.revocations.IsRevoked(c.ctx, tokenID("exact"))
		if err != nil {
			c.Fatalf("IsRevoked: %v", err)
		}
		if !exact && time.Now().Before(soon.Add(-100*time.Millisecond)) {
			c.Fatalf("a revocation is gone before its end")
		}
		for _, name := range []string{"lengthened", "shortened"} {
			if there, err := c.revocations.IsRevoked(c.ctx, tokenID(name)); err != nil || !there {
				c.Fatalf("IsRevoked is %t, %v, for a revocation of one hour, %s by another Revoke", there, err, name)
			}
		}
		<-tick.C
	}
}
