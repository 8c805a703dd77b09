package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"math"

	"github.com/redis/go-redis/v9"

	"github.com/jwtauth-go/jwtauth"
)

var (
	errTaken      = errors.New("redisstore: a session with this id exists already")
	errGeneration = errors.New("redisstore: there is no generation after this one")
)

// A session is one field in the hash of its subject. The name of the field is the session
// id. The value is a row of these parts, one after the other:
//
//   - generation, previous, rotated and expires, as 8 sortable bytes each
//   - 8 random bytes that identify the call of Create
//   - 15 digits: the time at which the row is garbage, in milliseconds by the engine's clock
//   - the data
const (
	numbersSize = 4 * 8
	headSize    = numbersSize + 8 + 15
)

// Create implements [jwtauth.SessionStore].
func (s *Store) Create(ctx context.Context, r jwtauth.SessionRecord) error {
	if err := s.begin(ctx, r.Key.Issuer, r.Key.Subject, r.Key.ID); err != nil {
		return err
	}
	numbers := make([]byte, 0, numbersSize)
	for _, n := range []int64{r.Generation, r.Previous, micros(r.RotatedAt), micros(r.ExpiresAt)} {
		numbers = append(numbers, sortable(n)...)
	}
	var callID [8]byte
	rand.Read(callID[:])
	created, err := createScript.Run(ctx, s.client, []string{s.owner(r.Key.Issuer, r.Key.Subject)},
		r.Key.ID, numbers, callID[:], string(r.Data), life(r.RotatedAt, r.ExpiresAt)).Bool()
	switch {
	case err != nil:
		return failed(ctx, "creating a session", err)
	case !created:
		return errTaken
	}
	return nil
}

// Advance implements [jwtauth.SessionStore].
func (s *Store) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced bool, err error) {
	if err := s.begin(ctx, k.Issuer, k.Subject, k.ID); err != nil {
		return jwtauth.SessionRecord{}, false, err
	}
	if r.From == math.MaxInt64 {
		return jwtauth.SessionRecord{}, false, errGeneration
	}
	reply, err := advanceScript.Run(ctx, s.client, []string{s.owner(k.Issuer, k.Subject)},
		k.ID, sortable(r.From), sortable(r.From+1), sortable(micros(r.At)), sortable(micros(r.ExpiresAt)), life(r.At, r.ExpiresAt)).Slice()
	switch {
	case errors.Is(err, redis.Nil):
		return jwtauth.SessionRecord{}, false, jwtauth.ErrNoSession
	case err != nil:
		return jwtauth.SessionRecord{}, false, failed(ctx, "advancing a session", err)
	case len(reply) != 2:
		return jwtauth.SessionRecord{}, false, errUnreadable
	}
	stored, _ := reply[1].(string)
	if row, err = record(k, stored); err != nil {
		return jwtauth.SessionRecord{}, false, err
	}
	return row, reply[0] == int64(1), nil
}

// Delete implements [jwtauth.SessionStore].
func (s *Store) Delete(ctx context.Context, k jwtauth.SessionKey) error {
	if err := s.begin(ctx, k.Issuer, k.Subject, k.ID); err != nil {
		return err
	}
	if err := s.client.HDel(ctx, s.owner(k.Issuer, k.Subject), k.ID).Err(); err != nil {
		return failed(ctx, "deleting a session", err)
	}
	return nil
}

// List implements [jwtauth.SessionStore]. The list may contain sessions that have ended.
func (s *Store) List(ctx context.Context, issuer, subject string) ([]jwtauth.SessionRecord, error) {
	if err := s.begin(ctx, issuer, subject); err != nil {
		return nil, err
	}
	pairs, err := listScript.Run(ctx, s.client, []string{s.owner(issuer, subject)}).StringSlice()
	if err != nil {
		return nil, failed(ctx, "listing sessions", err)
	}
	list := make([]jwtauth.SessionRecord, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		row, err := record(jwtauth.SessionKey{Issuer: issuer, Subject: subject, ID: pairs[i]}, pairs[i+1])
		if err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, nil
}

// record decodes a row that the engine returned.
func record(k jwtauth.SessionKey, row string) (jwtauth.SessionRecord, error) {
	if len(row) < headSize {
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
	return r, nil
}
