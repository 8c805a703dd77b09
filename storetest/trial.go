package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/replica"
)

// trial is one run of a check with an empty store. Methods that call Fatalf end the check,
// so goroutines of a check must not call them.
type trial struct {
	tb
	ctx         context.Context
	now         time.Time // when the check began; UTC, microseconds
	sessions    jwtauth.SessionStore
	revocations jwtauth.RevocationStore
	log         replica.Log
}

const (
	issuer  = "https://issuer.test"
	subject = "alice"
)

func keyOfAlice(id string) jwtauth.SessionKey {
	return jwtauth.SessionKey{Issuer: issuer, Subject: subject, ID: id}
}

// newRow returns a session of alice that expires in an hour. It does not create it.
func (c *trial) newRow(id string) jwtauth.SessionRecord { return c.newRowFor(keyOfAlice(id)) }

func (c *trial) newRowFor(k jwtauth.SessionKey) jwtauth.SessionRecord {
	return jwtauth.SessionRecord{
		Key: k, Generation: 1, RotatedAt: c.now, ExpiresAt: c.now.Add(time.Hour), Data: fmt.Appendf(nil, `{"id": %.40q}`, k.ID),
	}
}

func (c *trial) mustCreate(r jwtauth.SessionRecord) {
	c.Helper()
	if err := c.sessions.Create(c.ctx, r, 0); err != nil {
		c.Fatalf("Create of %s: %v", keyText(r.Key), err)
	}
}

// createRow creates a session of alice that expires in an hour.
func (c *trial) createRow(id string) jwtauth.SessionRecord {
	c.Helper()
	row := c.newRow(id)
	c.mustCreate(row)
	return row
}

// rotationFrom returns the rotation of a token of generation from. Its time is now, and the
// row then expires in an hour.
func (c *trial) rotationFrom(from int64) jwtauth.Rotation {
	return jwtauth.Rotation{From: from, At: c.now, ExpiresAt: c.now.Add(time.Hour)}
}

// advancedRow returns row as a successful Advance changes it.
func advancedRow(row jwtauth.SessionRecord, r jwtauth.Rotation) jwtauth.SessionRecord {
	row.Previous, row.Generation, row.RotatedAt, row.ExpiresAt = row.Generation, r.From+1, r.At, r.ExpiresAt
	return row
}

// wantAdvance calls Advance with r. It checks that Advance returns advanced, and that the
// row is want afterwards.
func (c *trial) wantAdvance(r jwtauth.Rotation, advanced bool, want jwtauth.SessionRecord) {
	c.Helper()
	got, won, err := c.sessions.Advance(c.ctx, want.Key, r)
	if err != nil {
		c.Fatalf("Advance from %d: %v", r.From, err)
	}
	if won != advanced {
		c.Errorf("Advance from %d returns advanced %t", r.From, won)
	}
	if d := rowDifference(got, want); d != "" {
		c.Errorf("in the row that Advance from %d returns, %s", r.From, d)
	}
	c.wantRow(want)
}

// wantNoSession calls Advance with r, and checks that it returns ErrNoSession.
func (c *trial) wantNoSession(k jwtauth.SessionKey, r jwtauth.Rotation) {
	c.Helper()
	_, advanced, err := c.sessions.Advance(c.ctx, k, r)
	if !errors.Is(err, jwtauth.ErrNoSession) {
		c.Errorf("Advance of %s returns the error %v, ErrNoSession is expected", keyText(k), err)
	}
	if advanced {
		c.Errorf("Advance of %s returns an error and advanced is true", keyText(k))
	}
}

func (c *trial) mustDelete(k jwtauth.SessionKey) {
	c.Helper()
	if err := c.sessions.Delete(c.ctx, k); err != nil {
		c.Fatalf("Delete of %s: %v", keyText(k), err)
	}
}

func (c *trial) mustList(issuer, subject string) []jwtauth.SessionRecord {
	c.Helper()
	rows, err := c.sessions.List(c.ctx, issuer, subject, "", 1000)
	if err != nil {
		c.Fatalf("List of %.40q of %.40q: %v", subject, issuer, err)
	}
	return rows
}

// wantRow checks that List returns the row.
func (c *trial) wantRow(want jwtauth.SessionRecord) {
	c.Helper()
	for _, row := range c.mustList(want.Key.Issuer, want.Key.Subject) {
		if row.Key == want.Key {
			if d := rowDifference(row, want); d != "" {
				c.Errorf("in the row of List, %s", d)
			}
			return
		}
	}
	c.Errorf("List has no row of %s", keyText(want.Key))
}

// wantRows checks that List returns exactly these rows of a subject.
func (c *trial) wantRows(issuer, subject string, want ...jwtauth.SessionRecord) {
	c.Helper()
	rows := c.mustList(issuer, subject)
	missing := make(map[jwtauth.SessionKey]jwtauth.SessionRecord, len(want))
	for _, row := range want {
		missing[row.Key] = row
	}
	for _, row := range rows {
		w, ok := missing[row.Key]
		if !ok {
			c.Errorf("List of %.40q of %.40q has %s, which does not exist or was listed already", subject, issuer, keyText(row.Key))
		} else if d := rowDifference(row, w); d != "" {
			c.Errorf("in the row of %s in List, %s", keyText(row.Key), d)
		}
		delete(missing, row.Key)
	}
	for key := range missing {
		c.Errorf("List of %.40q of %.40q has no row of %s", subject, issuer, keyText(key))
	}
}

func (c *trial) mustRevoke(id string, until time.Time) {
	c.Helper()
	if err := c.revocations.Revoke(c.ctx, id, until); err != nil {
		c.Fatalf("Revoke of %.40q: %v", id, err)
	}
}

// wantRevoked checks that IsRevoked of ids returns want.
func (c *trial) wantRevoked(want bool, ids ...string) {
	c.Helper()
	got, err := c.revocations.IsRevoked(c.ctx, ids...)
	if err != nil {
		c.Fatalf("IsRevoked of %.80q: %v", ids, err)
	}
	if got != want {
		c.Errorf("IsRevoked of %.80q is %t", ids, got)
	}
}

// together runs f n times concurrently, and waits for all calls.
func together(n int, f func(i int)) {
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	all.Wait()
}

// rowDifference describes the first field in which got differs from want. It returns "" if
// they are equal.
func rowDifference(got, want jwtauth.SessionRecord) string {
	switch {
	case got.Key != want.Key:
		return fmt.Sprintf("Key is %s, want %s", keyText(got.Key), keyText(want.Key))
	case got.Generation != want.Generation:
		return fmt.Sprintf("Generation is %d, want %d", got.Generation, want.Generation)
	case got.Previous != want.Previous:
		return fmt.Sprintf("Previous is %d, want %d", got.Previous, want.Previous)
	case !got.RotatedAt.Equal(want.RotatedAt) || got.RotatedAt.Location() != time.UTC:
		return fmt.Sprintf("RotatedAt is %v, want %v", got.RotatedAt, want.RotatedAt)
	case !got.ExpiresAt.Equal(want.ExpiresAt) || got.ExpiresAt.Location() != time.UTC:
		return fmt.Sprintf("ExpiresAt is %v, want %v", got.ExpiresAt, want.ExpiresAt)
	case !bytes.Equal(got.Data, want.Data):
		return fmt.Sprintf("Data is %.80q of %d bytes, want %.80q of %d", got.Data, len(got.Data), want.Data, len(want.Data))
	}
	return ""
}

func keyText(k jwtauth.SessionKey) string {
	return fmt.Sprintf("{%.40q %.40q %.40q}", k.Issuer, k.Subject, k.ID)
}
