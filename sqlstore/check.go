package sqlstore

import (
	"context"
	"errors"
	"fmt"
)

// Check asks the engine whether it can keep the promises of this package. Call it when a
// program starts.
//
// An error means that the engine cannot keep them, or that it did not answer. If the tables
// are missing, older than this package, or so new that this package cannot use them, the
// error is [ErrSchema]. Other errors name the setting that must change. This includes a
// setting of the driver that does not work behind a pooler; to find it, Check may open and
// close a few connections one after another. Each warning is a line of text for the log. It
// names a setting that loses entries if the machine fails. If there are no warnings, the
// list is nil.
func (s *Store) Check(ctx context.Context) (warnings []string, err error) {
	err = s.engine.retry(ctx, func() (err error) {
		warnings, err = s.check(ctx)
		return err
	})
	if err != nil {
		return nil, s.engine.explain(err)
	}
	return warnings, nil
}

func (s *Store) check(ctx context.Context) (warnings []string, err error) {
	if warnings, err = s.engine.checkSettings(ctx); err != nil {
		return nil, err
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, failed("check", err)
	}
	defer conn.Close()
	version, err := s.version(ctx, conn)
	if err != nil {
		return nil, failed("check", err)
	}
	switch known := len(s.steps); {
	case version == 0:
		return nil, fmt.Errorf("%w: there are no tables %s…: call Migrate", ErrSchema, s.prefix)
	case version < known:
		return nil, fmt.Errorf("%w: it has version %d, this program needs %d: call Migrate", ErrSchema, version, known)
	}
	if err := s.refuseNewer(ctx, conn, version, len(s.steps)); errors.Is(err, ErrSchema) {
		return nil, err
	} else if err != nil {
		return nil, failed("check", err)
	}
	return warnings, nil
}
