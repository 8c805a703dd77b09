// Package event describes what happens to tokens, sessions and keys.
//
// The OnEvent options of the other packages are hooks that get each [Event]. Use
// them for counters, audit logs and alerts:
//
//	OnEvent: event.Log(slog.Default())
//
// A hook must neither panic nor block. An Issuer, a Verifier and a Middleware call their
// hook in the goroutine of the caller, before their method returns. A jwk.Ring, a
// jwk.Remote and a replica.Replica call it in a goroutine of their own. A hook may
// therefore run in many goroutines at the same time.
package event

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Kind says what happened. The values are stable and few, so that a kind can be the label
// of a metric.
type Kind string

// The kinds of events. Some kinds come from several parts of the library: an Issuer, a
// Verifier and a Middleware can each send TokenRefused and Unavailable, for example.
// Still, each event is sent once, so that a counter counts nothing twice.
//
// The reasons of TokenReused are late_parent and old_token. Both mean that a refresh
// token was presented again. With late_parent, its successor had not been used yet, but
// RecoverLost was over. With old_token, its successor had been used, or the token is itself
// a successor that nobody may use any more, because its answer had been lost.
//
// The reasons of KeysChanged, from a jwk.Ring, are signing and accepted. With signing,
// another key signs. With accepted, the same key signs, but the keys with which tokens
// are verified have changed.
const (
	TokenIssued            Kind = "token_issued"            // Issue opened a session, or IssueAccess or Exchange issued an access token
	LoginRefused           Kind = "login_refused"           // a login was refused. Reason: password (the name or the password is wrong), throttle, limit (the subject has SessionLimit sessions), http (the page has no https, so the browser would drop the cookies)
	TokenRefreshed         Kind = "token_refreshed"         // Refresh redeemed a refresh token
	RefreshReplayed        Kind = "refresh_replayed"        // Refresh redeemed a refresh token again within RefreshGrace: for a racing tab, or after a lost response
	RefreshDelayed         Kind = "refresh_delayed"         // a refresh token was presented again after RefreshGrace, and its answer may still arrive: the client was told to try again
	RefreshRecovered       Kind = "refresh_recovered"       // a refresh token was redeemed again after twice RefreshGrace, since its answer was lost: nobody had used its successor. Age is the age of the lost answer
	RefreshForced          Kind = "refresh_forced"          // ForceRefresh refused the access tokens of a session
	RefreshRefused         Kind = "refresh_refused"         // Refresh or Session refused a refresh token. Reason is the check that failed
	TokenReused            Kind = "token_reused"            // a refresh token was redeemed again, which counts as theft: its session ends. Reason: late_parent, old_token
	GenerationBehind       Kind = "generation_behind"       // Refresh found that the session store has lost a write
	SessionEnded           Kind = "session_ended"           // a session ended. Reason: logout, ended (by EndSession and the like), reuse (see TokenReused), grant_refused (by Reload), limit (a login ended it, since the subject had SessionLimit sessions)
	TokenRefused           Kind = "token_refused"           // an access token was refused, a token for Logout was refused, or a request had no token. Reason is the check that failed
	TokenRevoked           Kind = "token_revoked"           // Logout or Verifier.Revoke revoked one access token
	RevocationUnknown      Kind = "revocation_unknown"      // the revocation store failed, and a Verifier with InsecureAcceptUnknownRevocation accepted a token
	RevocationsUnavailable Kind = "revocations_unavailable" // a Replica cannot read its store. Sent once until the Replica can read again
	RevocationsReset       Kind = "revocations_reset"       // the store of a Replica may have lost entries, for example in a restart. The Replica reads the entries again that may be lost or unknown, and writes its own revocations to the store again
	RevocationsNearlyFull  Kind = "revocations_nearly_full" // a Replica has 80 percent of its MaxEntries. Sent once until the Replica has less than 70 percent
	RevocationsNotPushed   Kind = "revocations_not_pushed"  // the store of a Replica cannot push, so the Replica only polls. Sent once until pushes have worked for a minute
	OldTokenAccepted       Kind = "old_token_accepted"      // a Verifier of package migrate accepted a token. Sent once a day for each token. Until is the end. Reason: last_week in the last 7 days
	PolicyRefused          Kind = "policy_refused"          // a policy of a Middleware refused a verified token. Reason: scope, login_age, or the name of a policy of the program
	PolicyMissing          Kind = "policy_missing"          // Middleware.With was called without a policy, or a policy was made incorrectly: every request gets 503
	Unavailable            Kind = "unavailable"             // a store, a key source or a function of the program failed. Reason is the check that failed
	KeysChanged            Kind = "keys_changed"            // the keys of a Ring or a Remote have changed. Reason of a Ring: signing, accepted
	KeySkipped             Kind = "key_skipped"             // a Remote does not use a key of its JWK Set, or a key has vanished from the source of a Ring. Reason: unusable, ambiguous (two keys have the same kid), too_many, missing
	KeysUnavailable        Kind = "keys_unavailable"        // a Remote cannot fetch its keys, or a Ring cannot read its source
	KeyRevoked             Kind = "key_revoked"             // RevokeKey revoked a key: users whose refresh token the key signed must log in again
)

// Event says what happened to a token, a session or a key. Kind and Reason come from
// bounded sets. The other strings identify issuers, users, sessions, tokens and keys;
// they come from a token only if its signature is good. An Event holds no token, no
// secret and no signature.
type Event struct {
	Kind                                               Kind
	Reason, Issuer, Subject, SessionID, TokenID, KeyID string
	Age                                                time.Duration // only of RefreshRecovered
	Until                                              time.Time     // only of OldTokenAccepted: from then on the Verifier refuses all of its tokens
	Err                                                error
}

// Level returns Info for normal operation, Error for an event that an operator should look
// at, and Warn for all others, such as refusals, KeySkipped and RevocationsNotPushed. An
// Unavailable because a caller has gone away (context.Canceled) is a Warn.
func (e Event) Level() slog.Level {
	if e.Kind == Unavailable && errors.Is(e.Err, context.Canceled) {
		return slog.LevelWarn
	}
	switch e.Kind {
	case OldTokenAccepted:
		if e.Reason == "" {
			return slog.LevelInfo
		}
		return slog.LevelWarn
	case TokenIssued, TokenRefreshed, RefreshReplayed, RefreshDelayed, RefreshForced, SessionEnded, TokenRevoked, KeysChanged:
		return slog.LevelInfo
	case TokenReused, GenerationBehind, RevocationUnknown, Unavailable, KeysUnavailable, KeyRevoked, RevocationsUnavailable, RevocationsReset, RevocationsNearlyFull, PolicyMissing:
		return slog.LevelError
	default:
		return slog.LevelWarn
	}
}

// LogValue returns a group of the fields that are set.
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
	if e.Age != 0 {
		attrs = append(attrs, slog.Duration("age", e.Age))
	}
	if !e.Until.IsZero() {
		attrs = append(attrs, slog.Time("until", e.Until))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", e.Err.Error()))
	}
	return slog.GroupValue(attrs...)
}

// Log returns a hook for the OnEvent options that writes each event to l, as one
// record with the message "jwtauth" and the group "auth".
func Log(l *slog.Logger) func(ctx context.Context, e Event) {
	return func(ctx context.Context, e Event) {
		l.LogAttrs(ctx, e.Level(), "jwtauth", slog.Any("auth", e))
	}
}
