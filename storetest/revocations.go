package storetest

import (
	"fmt"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

func token(name string) string { return jwtauth.TokenID(issuer, name) }

var revocationRules = []rule{
	{"IsRevoked finds an id among any number of ids", func(c *trial) {
		c.isRevoked(false)
		c.isRevoked(false, token("a"))
		c.revoke(token("a"), c.now.Add(time.Hour))
		c.revoke(token("b"), c.now.Add(time.Hour))
		var strangers []string
		for i := range 20 {
			strangers = append(strangers, token(fmt.Sprint("stranger ", i)))
		}
		c.isRevoked(false)
		c.isRevoked(false, strangers...)
		c.isRevoked(false, strangers[0], strangers[0])
		c.isRevoked(false, jwtauth.SessionID(issuer, "a"), jwtauth.TokenID("https://other.test", "a"))
		for _, id := range []string{token("a"), token("b")} {
			c.isRevoked(true, id)
			c.isRevoked(true, id, id, id)
			c.isRevoked(true, append(strangers[:20:20], id)...)
			c.isRevoked(true, append([]string{id}, strangers...)...)
			c.isRevoked(true, strangers[0], id, strangers[1])
		}
		c.isRevoked(true, token("a"), token("b"))
	}},
	{"Every one of many ids is revoked", func(c *trial) {
		for i := range 500 {
			c.revoke(token(fmt.Sprint(i)), c.now.Add(time.Hour))
		}
		for i := range 500 {
			c.isRevoked(true, token(fmt.Sprint(i)))
			c.isRevoked(false, token(fmt.Sprint(i, "x")))
		}
	}},
	{"Ids that look alike are different, and are stored literally", func(c *trial) {
		texts := hostileTexts()
		for i := 0; i < len(texts); i += 2 {
			c.revoke(texts[i], c.now.Add(time.Hour))
		}
		for i, id := range texts {
			c.isRevoked(i%2 == 0, id)
		}
		// The ids of this package are base64url: case and the last character count.
		const id = "AAAAAAAAAAAAAAAAAAAAAQ"
		c.revoke(id, c.now.Add(time.Hour))
		for _, other := range []string{"aAAAAAAAAAAAAAAAAAAAAQ", "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAq", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAQ==", "AAAAAAAAAAAAAAAAAAAAA_", "AAAAAAAAAAAAAAAAAAAAA-"} {
			c.isRevoked(false, other)
		}
		c.isRevoked(true, id)
	}},
	{"IsRevoked keeps none of the slice that it is given", func(c *trial) {
		ids := []string{token("a"), token("b")}
		c.isRevoked(false, ids...)
		c.revoke(ids[0], c.now.Add(time.Hour))
		ids[0], ids[1] = token("x"), token("y")
		c.isRevoked(true, token("a"))
		c.isRevoked(false, token("b"), token("x"), token("y"))
	}},
	{"Revoke until a time that has passed is no error and shortens nothing", func(c *trial) {
		for _, past := range []time.Time{c.now.Add(-time.Microsecond), c.now.Add(-time.Hour), time.Unix(0, 0), {}} {
			c.revoke(token("never there"), past)
			if _, err := c.revocations.IsRevoked(c.ctx, token("never there")); err != nil { // either answer is right
				c.Errorf("IsRevoked of an id whose end has passed: %v", err)
			}
			c.revoke(token("a"), c.now.Add(time.Hour))
			c.revoke(token("a"), past)
			c.isRevoked(true, token("a"))
			c.revoke(token("b"), past)
			c.revoke(token("b"), c.now.Add(time.Hour))
			c.isRevoked(true, token("b"))
		}
	}},
	{"An entry is there to its very end, and Revoke lengthens and never shortens it", revocationEnds},
	{"An entry may last for years", func(c *trial) {
		for i, days := range []int{1, 30, 365, 30 * 365, 70 * 365} {
			c.revoke(token(fmt.Sprint(i)), c.now.AddDate(0, 0, days))
		}
		for i := range 5 {
			c.isRevoked(true, token(fmt.Sprint(i)))
		}
	}},
	{"An id is revoked for everyone once Revoke has returned, while others revoke and ask", func(c *trial) {
		together(racers, func(i int) {
			for n := range 20 {
				own := token(fmt.Sprint(i, " ", n))
				ask := func(want bool, ids ...string) {
					if got, err := c.revocations.IsRevoked(c.ctx, ids...); err != nil || got != want {
						c.Errorf("IsRevoked is %t, %v; %t is expected", got, err, want)
					}
				}
				ask(false, own, token("nobody"))
				if err := c.revocations.Revoke(c.ctx, own, c.now.Add(time.Hour)); err != nil {
					c.Errorf("Revoke: %v", err)
				}
				ask(true, own)
				ask(true, token("nobody"), own)
			}
		})
	}},
	{"Of ends that race for one id the latest stays", func(c *trial) {
		for round := range 10 {
			id := token(fmt.Sprint(round))
			together(racers, func(i int) {
				until := c.now.Add(-time.Duration(i) * time.Second)
				if i == round {
					until = c.now.Add(time.Hour)
				}
				if err := c.revocations.Revoke(c.ctx, id, until); err != nil {
					c.Errorf("Revoke: %v", err)
				}
			})
			c.isRevoked(true, id)
		}
	}},
	{"Sessions and revocations do not meet", func(c *trial) {
		row := c.row(token("a"))
		c.create(row)
		c.isRevoked(false, row.Key.ID, row.Key.Subject, row.Key.Issuer)
		c.revoke(row.Key.ID, c.now.Add(time.Hour))
		c.revoke(subject, c.now.Add(time.Hour))
		c.hasOnly(issuer, subject, row)
		c.remove(row.Key)
		c.isRevoked(true, row.Key.ID)
	}},
}

// revocationEnds waits, as the clock of an engine cannot be moved: for less than
// two seconds.
func revocationEnds(c *trial) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	// In the first half of a second, so that an end that is cut to seconds has passed.
	for time.Now().Nanosecond() > 5e8 {
		c.isRevoked(false, token("exact"))
		<-tick.C
	}
	soon := time.Now().Add(400 * time.Millisecond)
	c.revoke(token("exact"), soon)
	c.revoke(token("lengthened"), soon)
	c.revoke(token("lengthened"), soon.Add(time.Hour))
	c.revoke(token("shortened"), soon.Add(time.Hour))
	c.revoke(token("shortened"), soon)
	// Past soon, also where it was rounded up to a second.
	for time.Now().Before(soon.Add(1200 * time.Millisecond)) {
		exact, err := c.revocations.IsRevoked(c.ctx, token("exact"))
		if err != nil {
			c.Fatalf("IsRevoked: %v", err)
		}
		if !exact && time.Now().Before(soon.Add(-100*time.Millisecond)) {
			c.Fatalf("an entry is gone before its end")
		}
		for _, name := range []string{"lengthened", "shortened"} {
			if there, err := c.revocations.IsRevoked(c.ctx, token(name)); err != nil || !there {
				c.Fatalf("IsRevoked is %t, %v: an entry that lasts for an hour, %s by another Revoke, is gone", there, err, name)
			}
		}
		<-tick.C
	}
}
