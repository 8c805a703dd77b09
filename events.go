package jwtauth

import (
	"context"
	"errors"
	"log/slog"
)

// EventKind is what happened. The values are stable and few: fit for the label
// of a counter.
type EventKind string

// The kinds of events. Each is sent by one part alone, so that nothing counts
// twice: the Issuer sends those of issuing, refreshing and sessions, the
// Verifier those of tokens, the Middleware those of requests without a token
// and of policies, the RemoteKeySet and the KeyRing with a
// life cycle those of their keys, the Replica those of its store.
const (
	TokenIssued            EventKind = "token_issued"            // a login: a session was opened, or an access token alone was issued
	TokenRefreshed         EventKind = "token_refreshed"         // a refresh token was redeemed for its successors
	RefreshReplayed        EventKind = "refresh_replayed"        // it was redeemed again within the grace: a racing tab, a lost response
	RefreshRefused         EventKind = "refresh_refused"         // Reason tells why
	TokenReused            EventKind = "token_reused"            // a redeemed refresh token came back: the session ends. Reason: late_parent, old_token
	GenerationBehind       EventKind = "generation_behind"       // the session store has lost a write
	SessionEnded           EventKind = "session_ended"           // Reason: logout, ended, reuse, grant_refused
	TokenRefused           EventKind = "token_refused"           // an access token; Reason is the name of the check
	TokenRevoked           EventKind = "token_revoked"           // one access token, by Logout or Verifier.Revoke
	RevocationUnknown      EventKind = "revocation_unknown"      // a token was let in although the revocation store gave no answer
	RevocationsUnavailable EventKind = "revocations_unavailable" // a Replica could not read its store; said once until it can again
	RevocationsReset       EventKind = "revocations_reset"       // the store is not what it was: all was read again, and what was revoked here is sent again
	PolicyRefused          EventKind = "policy_refused"          // a verified token that a policy did not let through; Reason: scope, login_age, policy
	Unavailable            EventKind = "unavailable"             // no answer could be given; Reason is the name of the check
	KeysChanged            EventKind = "keys_changed"            // a RemoteKeySet has other keys than before; a KeyRing signs with another or accepts others. Reason: signing, accepted
	KeySkipped             EventKind = "key_skipped"             // it has left one out, or goes on with one that has vanished; Reason: unusable, ambiguous, missing
	KeysUnavailable        EventKind = "keys_unavailable"        // it could not fetch or read them
	KeyRevoked             EventKind = "key_revoked"             // RevokeKey: every session whose refresh token the key signed must log in again
)

// The reasons that are no names of checks.
const (
	reasonLateParent   = "late_parent" // the successor had not been used yet
	reasonOldToken     = "old_token"   // it had
	reasonLogout       = "logout"
	reasonEnded        = "ended"
	reasonReuse        = "reuse"
	reasonGrantRefused = "grant_refused"
)

// Event is one thing that happened to a token or a session. Kind and Reason
// come from bounded sets; the other texts identify people, sessions, tokens and
// keys. There is never a token, a secret or a signature in it. The fields about
// a token are set only where its signature held.
type Event struct {
	Kind                                               EventKind
	Reason, Issuer, Subject, SessionID, TokenID, KeyID string
	Err                                                error
}

// Level is how loud an event is: Info for what is usual, Warn for what is
// refused, Error for what an operator should look at.
func (e Event) Level() slog.Level {
	switch e.Kind {
	case TokenIssued, TokenRefreshed, RefreshReplayed, SessionEnded, TokenRevoked, KeysChanged:
		return slog.LevelInfo
	case TokenReused, GenerationBehind, RevocationUnknown, Unavailable, KeysUnavailable, KeyRevoked, RevocationsUnavailable, RevocationsReset:
		return slog.LevelError
	default:
		return slog.LevelWarn
	}
}

// LogValue is a group of the fields that are set.
func (e Event) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("kind", string(e.Kind))}
	for _, field := range []struct{ name, value string }{
		{"reason", e.Reason}, {"issuer", e.Issuer}, {"subject", e.Subject},
		{"session", e.SessionID}, {"token", e.TokenID}, {"key", e.KeyID},
	} {
		if field.value != "" {
			attrs = append(attrs, slog.String(field.name, field.value))
		}
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", e.Err.Error()))
	}
	return slog.GroupValue(attrs...)
}

// LogEvents returns a hook for the OnEvent options that writes each event to l,
// one record with the message "jwtauth" and the group "auth".
func LogEvents(l *slog.Logger) func(ctx context.Context, e Event) {
	return func(ctx context.Context, e Event) {
		l.LogAttrs(ctx, e.Level(), "jwtauth", slog.Any("auth", e))
	}
}

// hook is an OnEvent option; nil listens to nothing.
type hook func(ctx context.Context, e Event)

func (h hook) send(ctx context.Context, e Event) {
	if h != nil {
		h(ctx, e)
	}
}

// sendFailure sends err as an Unavailable where it is no answer, and as kind
// otherwise. The reason is the name of the check.
func (h hook) sendFailure(ctx context.Context, kind EventKind, e Event, err error) {
	if h == nil {
		return
	}
	e.Kind, e.Err = kind, err
	if isNoAnswer(err) {
		e.Kind = Unavailable
	}
	if failure, ok := errors.AsType[*Error](err); ok {
		e.Reason = failure.Check
	}
	h(ctx, e)
}
