package redisstore

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"time"
)

const (
	logEntries = 1 << 17 // how many entries the log keeps at least
	pageSize   = 1000    // about how many entries Since reads in one page
	maxCursor  = 256
	maxMicros  = 1<<53 - 1 // a score is a floating point number, which is exact up to here
)

// Revoke implements [jwtauth.RevocationStore]. A revocation ends in the year 2255 at the
// latest. Revoke does not store a revocation that has ended at least five minutes ago both by
// the caller's clock and by the engine's clock. So if one clock is ahead for a moment, no
// revocation is lost.
func (s *Store) Revoke(ctx context.Context, id string, until time.Time) error {
	if err := s.begin(ctx, id); err != nil {
		return err
	}
	now := s.now()
	end := min(micros(until), maxMicros)
	err := revokeScript.Run(ctx, s.client, s.revocations,
		id, end, life(now, until), micros(now), rand.Text(), logEntries, s.changed).Err()
	if err != nil {
		return failed(ctx, "revoking", err)
	}
	return nil
}

// IsRevoked implements [jwtauth.RevocationStore].
func (s *Store) IsRevoked(ctx context.Context, ids ...string) (bool, error) {
	if err := s.begin(ctx, ids...); err != nil || len(ids) == 0 {
		return false, err
	}
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	latest, err := revokedScript.Run(ctx, s.client, s.revocations[:1], args...).Int64()
	if err != nil {
		return false, failed(ctx, "reading revocations", err)
	}
	return micros(s.now()) < latest, nil
}

// Since implements [replica.Log]. It reads the entries in pages of about 1000, one round trip
// each, so that it does not block the engine. It may return entries that have ended.
func (s *Store) Since(ctx context.Context, cursor string, entry func(id string, until time.Time)) (next string, reset bool, err error) {
	if err := s.begin(ctx); err != nil {
		return "", false, err
	}
	at, scan := splitCursor(cursor), ""
	for {
		page, err := s.readPage(ctx, at, scan)
		if err != nil {
			return "", false, failed(ctx, "listing revocations", err)
		}
		for i := 0; i+1 < len(page.entries); i += 2 {
			id, end, err := readEntry(page.entries[i], page.entries[i+1])
			if err != nil {
				return "", false, err
			}
			entry(id, fromMicros(end))
		}
		if page.scan != "" || page.origin != at.origin {
			reset = cursor != ""
		}
		at, scan = page.position, page.scan
		if scan == "0" || scan == "" && len(page.entries) < 2*pageSize {
			return at.cursor(), reset, nil
		}
	}
}

// position is the place in the log up to which a reader has read it.
type position struct {
	origin string // names the server and the log; see since.lua
	nonce  string // of the last log entry that was read; see log.lua
	number int64  // of the same entry
}

func (p position) cursor() string {
	return p.origin + "." + p.nonce + "." + strconv.FormatInt(p.number, 10)
}

// splitCursor returns the position of a cursor. If Since has not made the cursor, splitCursor
// returns the empty origin, which no server has, and Since lists all entries.
func splitCursor(cursor string) position {
	numberDot := strings.LastIndexByte(cursor, '.')
	nonceDot := strings.LastIndexByte(cursor[:max(numberDot, 0)], '.')
	if nonceDot < 0 || len(cursor) > maxCursor {
		return position{}
	}
	number, err := strconv.ParseInt(cursor[numberDot+1:], 10, 53)
	if err != nil || number < 0 {
		return position{}
	}
	return position{cursor[:nonceDot], cursor[nonceDot+1 : numberDot], number}
}

// page is what since.lua returns.
type page struct {
	position
	scan    string // the cursor of ZSCAN while all entries are listed, "0" after the last page; otherwise ""
	entries []any  // ids and ends in turn
}

func (s *Store) readPage(ctx context.Context, at position, scan string) (p page, err error) {
	reply, err := sinceScript.Run(ctx, s.client, s.revocations, at.origin, at.number, scan, pageSize, rand.Text(), at.nonce).Slice()
	if err != nil {
		return page{}, err
	}
	if len(reply) != 5 {
		return page{}, errUnreadable
	}
	var ok [5]bool
	p.origin, ok[0] = reply[0].(string)
	p.number, ok[1] = reply[1].(int64)
	p.scan, ok[2] = reply[2].(string)
	p.entries, ok[3] = reply[3].([]any)
	p.nonce, ok[4] = reply[4].(string)
	if ok != [5]bool{true, true, true, true, true} {
		return page{}, errUnreadable
	}
	return p, nil
}

// readEntry returns an id and its end from a reply.
func readEntry(id, end any) (string, int64, error) {
	text, ok := id.(string)
	digits, okEnd := end.(string)
	if !ok || !okEnd {
		return "", 0, errUnreadable
	}
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		return text, n, nil
	}
	f, err := strconv.ParseFloat(digits, 64) // a score may be written as 1e+15
	if err != nil {
		return "", 0, errUnreadable
	}
	return text, int64(f), nil
}
