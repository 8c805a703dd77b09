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

// trial is one check of one store that was empty when it began. Its methods end
// the check where the store fails, so they are not for goroutines.
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

func keyOf(id string) jwtauth.SessionKey {
	return jwtauth.SessionKey{Issuer: issuer, Subject: subject, ID: id}
}

// row is a session of alice that lives for an hour.
func (c *trial) row(id string) jwtauth.SessionRecord { return c.rowOf(keyOf(id)) }

func (c *trial) rowOf(k jwtauth.SessionKey) jwtauth.SessionRecord {
	return jwtauth.SessionRecord{
		Key: k, Generation: 1, RotatedAt: c.now, ExpiresAt: c.now.Add(time.Hour), Data: fmt.Appendf(nil, `{"id": %.40q}`, k.ID),
	}
}

func (c *trial) create(r jwtauth.SessionRecord) {
	c.Helper()
	if err := c.sessions.Create(c.ctx, r); err != nil {
		c.Fatalf("Create of %s: %v", show(r.Key), err)
	}
}

// created creates a session of alice that lives for an hour.
func (c *trial) created(id string) jwtauth.SessionRecord {
	c.Helper()
	row := c.row(id)
	c.create(row)
	return row
}

// rotation is one of a token of that generation, now, for an hour.
func (c *trial) rotation(from int64) jwtauth.Rotation {
	return jwtauth.Rotation{From: from, At: c.now, ExpiresAt: c.now.Add(time.Hour)}
}

// rotated is the row that an Advance makes of a row.
func rotated(row jwtauth.SessionRecord, r jwtauth.Rotation) jwtauth.SessionRecord {
	row.Previous, row.Generation, row.RotatedAt, row.ExpiresAt = row.Generation, r.From+1, r.At, r.ExpiresAt
	return row
}

// advance expects that Advance says so, and that the row is want then.
func (c *trial) advance(r jwtauth.Rotation, advanced bool, want jwtauth.SessionRecord) {
	c.Helper()
	got, won, err := c.sessions.Advance(c.ctx, want.Key, r)
	if err != nil {
		c.Fatalf("Advance from %d: %v", r.From, err)
	}
	if won != advanced {
		c.Errorf("Advance from %d says that advanced is %t", r.From, won)
	}
	if d := difference(got, want); d != "" {
		c.Errorf("in the row that Advance from %d returns, %s", r.From, d)
	}
	c.has(want)
}

// refused expects that Advance finds no session.
func (c *trial) refused(k jwtauth.SessionKey, r jwtauth.Rotation) {
	c.Helper()
	_, advanced, err := c.sessions.Advance(c.ctx, k, r)
	if !errors.Is(err, jwtauth.ErrNoSession) {
		c.Errorf("Advance of %s returns the error %v, ErrNoSession is expected", show(k), err)
	}
	if advanced {
		c.Errorf("Advance of %s returns an error and says that advanced is true", show(k))
	}
}

func (c *trial) remove(k jwtauth.SessionKey) {
	c.Helper()
	if err := c.sessions.Delete(c.ctx, k); err != nil {
		c.Fatalf("Delete of %s: %v", show(k), err)
	}
}

func (c *trial) list(issuer, subject string) []jwtauth.SessionRecord {
	c.Helper()
	rows, err := c.sessions.List(c.ctx, issuer, subject)
	if err != nil {
		c.Fatalf("List of %.40q of %.40q: %v", subject, issuer, err)
	}
	return rows
}

// has expects that List has that row.
func (c *trial) has(want jwtauth.SessionRecord) {
	c.Helper()
	for _, row := range c.list(want.Key.Issuer, want.Key.Subject) {
		if row.Key == want.Key {
			if d := difference(row, want); d != "" {
				c.Errorf("in the row of List, %s", d)
			}
			return
		}
	}
	c.Errorf("List has no row of %s", show(want.Key))
}

// hasOnly expects that List returns these rows of a subject and no others.
func (c *trial) hasOnly(issuer, subject string, want ...jwtauth.SessionRecord) {
	c.Helper()
	rows := c.list(issuer, subject)
	missing := make(map[jwtauth.SessionKey]jwtauth.SessionRecord, len(want))
	for _, row := range want {
		missing[row.Key] = row
	}
	for _, row := range rows {
		w, ok := missing[row.Key]
		if !ok {
			c.Errorf("List of %.40q of %.40q has %s, which is not there or was listed already", subject, issuer, show(row.Key))
		} else if d := difference(row, w); d != "" {
			c.Errorf("in the row of %s in List, %s", show(row.Key), d)
		}
		delete(missing, row.Key)
	}
	for key := range missing {
		c.Errorf("List of %.40q of %.40q has no row of %s", subject, issuer, show(key))
	}
}

func (c *trial) revoke(id string, until time.Time) {
	c.Helper()
	if err := c.revocations.Revoke(c.ctx, id, until); err != nil {
		c.Fatalf("Revoke of %.40q: %v", id, err)
	}
}

// isRevoked expects that answer about ids.
func (c *trial) isRevoked(want bool, ids ...string) {
	c.Helper()
	got, err := c.revocations.IsRevoked(c.ctx, ids...)
	if err != nil {
		c.Fatalf("IsRevoked of %.80q: %v", ids, err)
	}
	if got != want {
		c.Errorf("IsRevoked of %.80q is %t", ids, got)
	}
}

// together runs f n times at the same time.
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

// difference says in what a row is not the one that is expected, "" for nothing.
func difference(got, want jwtauth.SessionRecord) string {
	switch {
	case got.Key != want.Key:
		return fmt.Sprintf("Key is %s, want %s", show(got.Key), show(want.Key))
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

func show(k jwtauth.SessionKey) string {
	return fmt.Sprintf("{%.40q %.40q %.40q}", k.Issuer, k.Subject, k.ID)
}
