// Package hookstore wraps stores, so that tests can observe the calls and make calls fail.
package hookstore

import (
	"context"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

// Store is a SessionStore and a RevocationStore that passes each call on to Sessions or
// Revocations. If Before is set, it runs before each call; if it returns an error, the
// store is not called, and the method returns that error. If After is set, it runs after
// each call; if it returns an error, the method returns that error instead of the error of
// the store. The fields must not change while the Store is in use.
type Store struct {
	Sessions      jwtauth.SessionStore
	Revocations   jwtauth.RevocationStore
	Before, After func(ctx context.Context, method string) error
}

func (s *Store) call(ctx context.Context, method string, f func() error) error {
	if s.Before != nil {
		if err := s.Before(ctx, method); err != nil {
			return err
		}
	}
	err := f()
	if s.After != nil {
		if lost := s.After(ctx, method); lost != nil {
			return lost
		}
	}
	return err
}

// Create implements jwtauth.SessionStore.
func (s *Store) Create(ctx context.Context, r jwtauth.SessionRecord, limit int) error {
	return s.call(ctx, "Create", func() error { return s.Sessions.Create(ctx, r, limit) })
}

// Advance implements jwtauth.SessionStore.
func (s *Store) Advance(ctx context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (row jwtauth.SessionRecord, advanced bool, err error) {
	err = s.call(ctx, "Advance", func() (err error) {
		row, advanced, err = s.Sessions.Advance(ctx, k, r)
		return err
	})
	if err != nil {
		return jwtauth.SessionRecord{}, false, err
	}
	return row, advanced, nil
}

// Delete implements jwtauth.SessionStore.
func (s *Store) Delete(ctx context.Context, k jwtauth.SessionKey) error {
	return s.call(ctx, "Delete", func() error { return s.Sessions.Delete(ctx, k) })
}

// List implements jwtauth.SessionStore.
func (s *Store) List(ctx context.Context, issuer, subject, after string, limit int) (rows []jwtauth.SessionRecord, err error) {
	err = s.call(ctx, "List", func() (err error) {
		rows, err = s.Sessions.List(ctx, issuer, subject, after, limit)
		return err
	})
	return rows, err
}

// Revoke implements jwtauth.RevocationStore.
func (s *Store) Revoke(ctx context.Context, id string, until time.Time) error {
	return s.call(ctx, "Revoke", func() error { return s.Revocations.Revoke(ctx, id, until) })
}

// IsRevoked implements jwtauth.RevocationStore.
func (s *Store) IsRevoked(ctx context.Context, ids ...string) (isRevoked bool, err error) {
	err = s.call(ctx, "IsRevoked", func() (err error) {
		isRevoked, err = s.Revocations.IsRevoked(ctx, ids...)
		return err
	})
	return isRevoked, err
}
