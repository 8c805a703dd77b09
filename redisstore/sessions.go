package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/jwtauth-go/jwtauth"
)

var (
	errGeneration = errors.New("redisstore: there is no generation after this one")
	errPage       = errors.New("redisstore: the limit of List must be from 1 to 1000, and that of Create from 0 (no limit) to 1000")
	errUncounted  = errors.New("redisstore: the subject has so many sessions that have ended that the others cannot be counted: try again later")
)

// A session is one field in the hash of its subject. The name of the field is the session
// id. The value is a row of these parts, one after the other:
//
//   - generation, previous, rotated and expires, as 8 sortable bytes each
//   - 8 random bytes that identify the call of Create
//   - 15 digits: the time at which the row is garbage, in milliseconds by the engine's clock
//   - the data
//
// An earlier version of this package knows only this hash. The parts that later versions have
// added to a row are its extra, a field of the same name in a second hash:
//
//   - epoch, parent and parent step, as 8 sortable bytes each
//   - the details
//
// A row has no extra if impliedParent returns its parent and parent step, its epoch is 0, and
// it has no details. Most sessions therefore have none.
const (
	numbersSize = 4 * 8
	headSize    = numbersSize + 8 + 15
	extraSize   = 3 * 8
)

// maxPage is the largest limit of a page, and of the sessions of a subject.
const maxPage = 1000

// rowsPerIndexCall is about how many rows one call of index.lua looks at.
const rowsPerIndexCall = 500

// keys returns the keys of the rows of a subject, of their extras, and of the index. They
// have the same hash tag.
func (s *Store) keys(issuer, subject string) []string {
	owner := s.owner(issuer, subject)
	return []string{owner, owner + ":x", owner + ":i"}
}

// Create implements [jwtauth.SessionStore]. If there is a limit, and the subject has more than
// 5,000 rows or 4 MB of rows, most of which have expired, Create may return an error: to count
// the live rows would block the engine for too long. Each such call removes some of the expired
// rows.
func (s *Store) Create(ctx context.Context, r jwtauth.SessionRecord, limit int) error {
	if err := s.begin(ctx, r.Key.Issuer, r.Key.Subject, r.Key.ID); err != nil {
		return err
	}
	if limit < 0 || limit > maxPage {
		return errPage
	}
	numbers := sortableNumbers(r.Generation, r.Previous, micros(r.RotatedAt), micros(r.ExpiresAt))
	var callID [8]byte
	rand.Read(callID[:])
	result, err := createScript.Run(ctx, s.client, s.keys(r.Key.Issuer, r.Key.Subject),
		r.Key.ID, numbers, callID[:], string(r.Data), life(r.RotatedAt, r.ExpiresAt), extraOf(r), limit).Int64()
	if err != nil {
		return failed(ctx, "creating a session", err)
	}
	switch result {
	case 1:
		return nil
	case 0:
		return jwtauth.ErrSessionExists
	case 2:
		return jwtauth.ErrSessionLimit
	case 3:
		return errUncounted
	default:
		return errUnreadable
	}
}

// Advance implements [jwtauth.SessionStore]. RotatedAt and Age are by the clock of the engine.
func (s *Store) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced bool, err error) {
	if err := s.begin(ctx, k.Issuer, k.Subject, k.ID); err != nil {
		return jwtauth.SessionRecord{}, false, err
	}
	if r.From == math.MaxInt64 {
		return jwtauth.SessionRecord{}, false, errGeneration
	}
	args := []any{
		k.ID, sortable(r.From), sortable(r.From + 1), sortable(micros(r.At)), sortable(micros(r.ExpiresAt)), life(r.At, r.ExpiresAt),
		sortable(r.Parent), sortable(r.Epoch),
	}
	if r.Details != nil {
		args = append(args, string(r.Details))
	}
	reply, err := advanceScript.Run(ctx, s.client, s.keys(k.Issuer, k.Subject)[:2], args...).Slice()
	switch {
	case errors.Is(err, redis.Nil):
		return jwtauth.SessionRecord{}, false, jwtauth.ErrNoSession
	case err != nil:
		return jwtauth.SessionRecord{}, false, failed(ctx, "advancing a session", err)
	case len(reply) != 4:
		return jwtauth.SessionRecord{}, false, errUnreadable
	}
	made, okMade := reply[0].(int64)
	stored, _ := reply[1].(string)
	extra, okExtra := reply[2].(string)
	now, okNow := reply[3].(int64)
	if !okMade || !okExtra || !okNow {
		return jwtauth.SessionRecord{}, false, errUnreadable
	}
	if row, err = record(k, stored, extra); err != nil {
		return jwtauth.SessionRecord{}, false, err
	}
	row.Age = fromMicros(now).Sub(row.RotatedAt)
	return row, made == 1, nil
}

// Delete implements [jwtauth.SessionStore].
func (s *Store) Delete(ctx context.Context, k jwtauth.SessionKey) error {
	if err := s.begin(ctx, k.Issuer, k.Subject, k.ID); err != nil {
		return err
	}
	if err := deleteScript.Run(ctx, s.client, s.keys(k.Issuer, k.Subject), k.ID).Err(); err != nil {
		return failed(ctx, "deleting a session", err)
	}
	return nil
}

// List implements [jwtauth.SessionStore]. The rows are in the order of the bytes of their
// IDs. The list may contain sessions that have ended.
//
// If a subject has at most 1000 rows, List takes one round trip. Otherwise, it first makes an
// index of the rows in the engine, about 500 rows in a round trip. If the context ends before the
// index of more than 20,000 rows is complete, the next call continues.
func (s *Store) List(ctx context.Context, issuer, subject, after string, limit int) ([]jwtauth.SessionRecord, error) {
	if err := s.begin(ctx, issuer, subject); err != nil {
		return nil, err
	}
	if limit < 1 || limit > maxPage {
		return nil, errPage
	}
	keys := s.keys(issuer, subject)
	mode := "check"
	if after == "" {
		mode = "complete"
	}
	var list []jwtauth.SessionRecord
	for isSecond := false; ; {
		reply, err := s.readRows(ctx, keys, after, limit-len(list), mode)
		if err != nil {
			return nil, failed(ctx, "listing sessions", err)
		}
		if reply.kind == indexIncomplete {
			// A run that continues from the cursor of another List misses rows if the engine has
			// restarted since. So the index is used without a check only after a run from the
			// beginning, and a second run begins there.
			cursor := reply.text
			if isSecond {
				cursor = indexBegin
			}
			isSecond, mode = true, "check"
			if cursor == indexBegin {
				mode = "use"
			}
			for cursor != "" {
				if cursor, err = indexScript.Run(ctx, s.client, []string{keys[0], keys[2]}, cursor, rowsPerIndexCall).Text(); err != nil {
					return nil, failed(ctx, "listing sessions", err)
				}
			}
			continue
		}
		found, err := reply.records(issuer, subject, after)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
		if len(list) >= limit {
			return list[:limit], nil
		}
		if reply.kind == rowsLast {
			return list, nil
		}
		after, mode = reply.text, "use"
	}
}

// The kinds of replies of list.lua, and the first cursor of index.lua.
const (
	rowsLast        = 0
	rowsMore        = 1
	indexIncomplete = 2
	indexBegin      = "s0"
)

// rowsReply is what list.lua returns.
type rowsReply struct {
	kind int64
	text string
	rows []any // an id, a row and an extra in turn
}

func (s *Store) readRows(ctx context.Context, keys []string, after string, limit int, mode string) (r rowsReply, err error) {
	reply, err := listScript.Run(ctx, s.client, keys, after, limit, mode).Slice()
	if err != nil {
		return rowsReply{}, err
	}
	if len(reply) != 3 {
		return rowsReply{}, errUnreadable
	}
	var ok [3]bool
	r.kind, ok[0] = reply[0].(int64)
	r.text, ok[1] = reply[1].(string)
	r.rows, ok[2] = reply[2].([]any)
	if ok != [3]bool{true, true, true} || r.kind < rowsLast || r.kind > indexIncomplete || len(r.rows)%3 != 0 {
		return rowsReply{}, errUnreadable
	}
	return r, nil
}

// records decodes the rows whose id is after the given one, and sorts them by their ids. If
// after is "", it decodes all rows.
func (r *rowsReply) records(issuer, subject, after string) ([]jwtauth.SessionRecord, error) {
	list := make([]jwtauth.SessionRecord, 0, len(r.rows)/3)
	for i := 0; i+2 < len(r.rows); i += 3 {
		id, okID := r.rows[i].(string)
		stored, okStored := r.rows[i+1].(string)
		extra, okExtra := r.rows[i+2].(string)
		if !okID || !okStored || !okExtra {
			return nil, errUnreadable
		}
		row, err := record(jwtauth.SessionKey{Issuer: issuer, Subject: subject, ID: id}, stored, extra)
		if err != nil {
			return nil, err
		}
		if after == "" || id > after {
			list = append(list, row)
		}
	}
	slices.SortFunc(list, func(a, b jwtauth.SessionRecord) int { return strings.Compare(a.Key.ID, b.Key.ID) })
	return list, nil
}

// record decodes a row and its extra, which is "" if there is none.
func record(k jwtauth.SessionKey, row, extra string) (jwtauth.SessionRecord, error) {
	if len(row) < headSize || extra != "" && len(extra) < extraSize {
		return jwtauth.SessionRecord{}, errUnreadable
	}
	r := jwtauth.SessionRecord{
		Key:        k,
		Generation: fromSortable(row[0:8]),
		Previous:   fromSortable(row[8:16]),
		RotatedAt:  fromMicros(fromSortable(row[16:24])),
		ExpiresAt:  fromMicros(fromSortable(row[24:32])),
	}
	if len(row) > headSize {
		r.Data = []byte(row[headSize:])
	}
	if extra == "" {
		r.Parent, r.ParentStep = impliedParent(r.Generation, r.Previous)
		return r, nil
	}
	r.Epoch, r.Parent, r.ParentStep = fromSortable(extra[0:8]), fromSortable(extra[8:16]), fromSortable(extra[16:24])
	if len(extra) > extraSize {
		r.Details = []byte(extra[extraSize:])
	}
	return r, nil
}

// extraOf encodes the extra of a row, or returns nil if it needs none.
func extraOf(r jwtauth.SessionRecord) []byte {
	parent, step := impliedParent(r.Generation, r.Previous)
	if r.Epoch == 0 && len(r.Details) == 0 && r.Parent == parent && r.ParentStep == step {
		return nil
	}
	return append(sortableNumbers(r.Epoch, r.Parent, r.ParentStep), r.Details...)
}

// impliedParent returns the Parent and ParentStep of a row that has no extra. The last step of
// such a row, if there was one, followed the newest token. lua/rows.lua has the same function.
func impliedParent(generation, previous int64) (parent, step int64) {
	if previous == 0 {
		return 0, 0
	}
	return generation - 1, generation
}

// sortableNumbers encodes numbers one after the other.
func sortableNumbers(numbers ...int64) []byte {
	var b []byte
	for _, n := range numbers {
		b = append(b, sortable(n)...)
	}
	return b
}
