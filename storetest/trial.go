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
		Key: k, Generation: 1, RotatedAt: c.now, ExpiresAt: c.now.Add(time.Hour),
		Data: fmt.Appendf(nil, `{"id": %.40q}`, k.ID), Details: fmt.Appendf(nil, `{"label": %.40q}`, k.ID),
	}
}

func (c *trial) mustCreate(r jwtauth.SessionRecord) {
	c.Helper()
	if err := c.sessions.Create(c.ctx, r, 0); err != nil {
		c.Fatalf("Create of %s: %v", keyText(r.Key), err)
	}
}

// wantCreate calls Create, and checks that it returns the error want, or nil if want is nil.
// It may be called in any goroutine.
func (c *trial) wantCreate(r jwtauth.SessionRecord, limit int, want error) {
	c.Helper()
	if err := c.sessions.Create(c.ctx, r, limit); !errors.Is(err, want) {
		c.Errorf("Create of %s with the limit %d returns the error %v, want %v", keyText(r.Key), limit, err, want)
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
// row then expires in an hour. The details stay.
func (c *trial) rotationFrom(from int64) jwtauth.Rotation {
	return jwtauth.Rotation{From: from, Parent: from, At: c.now, ExpiresAt: c.now.Add(time.Hour)}
}

// clockTolerance is how much the clock of the engine and the clock of this machine may
// differ.
const clockTolerance = 100 * time.Millisecond

// answer is what a call of Advance returned, and when the call began and ended by the clock
// of this machine.
type answer struct {
	row          jwtauth.SessionRecord
	advanced     bool
	err          error
	began, ended time.Time
}

// advance calls Advance. It may be called in any goroutine.
func (c *trial) advance(k jwtauth.SessionKey, r jwtauth.Rotation) (a answer) {
	a.began = time.Now()
	a.row, a.advanced, a.err = c.sessions.Advance(c.ctx, k, r)
	a.ended = time.Now()
	return a
}

// wantStep checks the answer a of Advance with r on a row, and returns the row as it is
// afterwards. It may be called in any goroutine.
func (c *trial) wantStep(row jwtauth.SessionRecord, r jwtauth.Rotation, a answer) jwtauth.SessionRecord {
	c.Helper()
	if a.err != nil {
		c.Errorf("Advance from %d: %v", r.From, a.err)
		return row
	}
	want, advanced := row.Step(r, a.began)
	if a.advanced != advanced {
		c.Errorf("Advance from %d with epoch %d of a row of generation %d and epoch %d returns advanced %t", r.From, r.Epoch, row.Generation, row.Epoch, a.advanced)
	}
	if advanced {
		want.RotatedAt = a.row.RotatedAt
		c.wantEngineTime(a)
	}
	c.wantAge(a)
	want.Age = a.row.Age
	if d := rowDifference(a.row, want); d != "" {
		c.Errorf("in the row that Advance from %d returns (advanced is %t), %s", r.From, a.advanced, d)
	}
	want.Age = 0
	return want
}

// wantEngineTime checks that RotatedAt is the time at which Advance has made a step.
func (c *trial) wantEngineTime(a answer) {
	c.Helper()
	at := a.row.RotatedAt
	if at.Before(a.began.Add(-clockTolerance)) || at.After(a.ended.Add(clockTolerance)) {
		c.Errorf("Advance sets RotatedAt to %v; by the clock of this machine, the call was between %v and %v", at, a.began.UTC(), a.ended.UTC())
	}
	if !at.Equal(at.Truncate(time.Microsecond)) {
		c.Errorf("Advance sets RotatedAt to %v, which is not in microseconds", at)
	}
	if age := a.row.Age; age < -clockTolerance || age > a.ended.Sub(a.began)+clockTolerance {
		c.Errorf("Age of a step that Advance has made is %v", age)
	}
}

// wantAge checks that Age is the time since RotatedAt.
func (c *trial) wantAge(a answer) {
	c.Helper()
	age := a.row.Age
	least, most := a.began.Sub(a.row.RotatedAt)-clockTolerance, a.ended.Sub(a.row.RotatedAt)+clockTolerance
	if age < least || age > most {
		c.Errorf("Age is %v and RotatedAt is %v; by the clock of this machine, Age is between %v and %v", age, a.row.RotatedAt, least, most)
	}
	if age != age.Truncate(time.Microsecond) {
		c.Errorf("Age is %v, which is not in microseconds", age)
	}
}

// mustAdvance calls Advance with r. It checks that Advance does what SessionRecord.Step does
// with row, and returns the row as it is afterwards.
func (c *trial) mustAdvance(row jwtauth.SessionRecord, r jwtauth.Rotation) jwtauth.SessionRecord {
	c.Helper()
	a := c.advance(row.Key, r)
	if a.err != nil {
		c.Fatalf("Advance from %d of %s: %v", r.From, keyText(row.Key), a.err)
	}
	row = c.wantStep(row, r, a)
	c.wantRow(row)
	return row
}

// wantAdvance is mustAdvance for a test that knows whether the step is made.
func (c *trial) wantAdvance(row jwtauth.SessionRecord, r jwtauth.Rotation, advanced bool) jwtauth.SessionRecord {
	c.Helper()
	if _, made := row.Step(r, c.now); made != advanced {
		c.Fatalf("SessionRecord.Step from %d with epoch %d of a row of generation %d and epoch %d returns advanced %t", r.From, r.Epoch, row.Generation, row.Epoch, made)
	}
	return c.mustAdvance(row, r)
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

// maxPage is the largest limit of List.
const maxPage = 1000

// mustList returns all rows of a subject.
func (c *trial) mustList(issuer, subject string) []jwtauth.SessionRecord {
	c.Helper()
	rows, err := c.listInPages(issuer, subject, maxPage, func([]jwtauth.SessionRecord) {})
	if err != nil {
		c.Fatalf("List of %.40q of %.40q: %v", subject, issuer, err)
	}
	return rows
}

// listInPages returns all rows of a subject, which it reads in pages of at most limit rows.
// It calls between after each page but the last. It may be called in any goroutine.
func (c *trial) listInPages(issuer, subject string, limit int, between func(page []jwtauth.SessionRecord)) (rows []jwtauth.SessionRecord, err error) {
	after := ""
	for pages := 1; ; pages++ {
		page, err := c.sessions.List(c.ctx, issuer, subject, after, limit)
		if err != nil {
			return nil, err
		}
		if len(page) > limit {
			c.Errorf("a page of at most %d rows has %d", limit, len(page))
		}
		rows = append(rows, page...)
		if len(page) < limit {
			return rows, nil
		}
		if pages > maxPages {
			return nil, fmt.Errorf("the list does not end: the page after %.40q is page %d and still has %d rows", after, pages, len(page))
		}
		after = page[len(page)-1].Key.ID
		between(page)
	}
}

// maxPages is more than the pages of any subject of this suite.
const maxPages = 5000

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
	case got.Parent != want.Parent:
		return fmt.Sprintf("Parent is %d, want %d", got.Parent, want.Parent)
	case got.ParentStep != want.ParentStep:
		return fmt.Sprintf("ParentStep is %d, want %d", got.ParentStep, want.ParentStep)
	case got.Epoch != want.Epoch:
		return fmt.Sprintf("Epoch is %d, want %d", got.Epoch, want.Epoch)
	case !got.RotatedAt.Equal(want.RotatedAt) || got.RotatedAt.Location() != time.UTC:
		return fmt.Sprintf("RotatedAt is %v, want %v", got.RotatedAt, want.RotatedAt)
	case !got.ExpiresAt.Equal(want.ExpiresAt) || got.ExpiresAt.Location() != time.UTC:
		return fmt.Sprintf("ExpiresAt is %v, want %v", got.ExpiresAt, want.ExpiresAt)
	case got.Age != want.Age:
		return fmt.Sprintf("Age is %v, want %v", got.Age, want.Age)
	case !bytes.Equal(got.Data, want.Data):
		return fmt.Sprintf("Data is %.80q of %d bytes, want %.80q of %d", got.Data, len(got.Data), want.Data, len(want.Data))
	case !bytes.Equal(got.Details, want.Details):
		return fmt.Sprintf("Details is %.80q of %d bytes, want %.80q of %d", got.Details, len(got.Details), want.Details, len(want.Details))
	}
	return ""
}

func keyText(k jwtauth.SessionKey) string {
	return fmt.Sprintf("{%.40q %.40q %.40q}", k.Issuer, k.Subject, k.ID)
}
