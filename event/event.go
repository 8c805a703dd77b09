// Package event describes what happens to tokens, sessions and keys.
//
// The OnEvent options of the other packages are hooks that get each [Event]. Use
// them for counters, audit logs and alerts:
//
//	OnEvent: event.Log(slog.Default())
//
// A hook runs before the method returns that caused the event, in the goroutine of
// its caller, and in many goroutines at a time. A hook must neither panic nor
// block.
package event

import (
	"context"
	"log/slog"
)

// Kind is what happened. The values are stable and few, so that a kind can be the
// label of a metric.
type Kind string

// The kinds of events. Only one part of the library sends each kind, so that
// nothing is counted twice: the Issuer sends those about issuing, refreshing and
// sessions, the Verifier those about tokens, the Middleware those about requests
// without a token and about policies, a jwk.Remote and a jwk.Ring those about their
// keys, a replica.Replica those about its store.
const (
	TokenIssued            Kind = "token_issued"            // a login opened a session, or an access token alone was issued
	TokenRefreshed         Kind = "token_refreshed"         // a refresh token was redeemed
	RefreshReplayed        Kind = "refresh_replayed"        // a refresh token was redeemed again within the grace: by a racing tab, or after a lost response
	RefreshRefused         Kind = "refresh_refused"         // Reason is the check that failed
	TokenReused            Kind = "token_reused"            // a redeemed refresh token came back, so the session ends. Reason: late_parent, old_token
	GenerationBehind       Kind = "generation_behind"       // the session store has lost a write
	SessionEnded           Kind = "session_ended"           // Reason: logout, ended, reuse, grant_refused
	TokenRefused           Kind = "token_refused"           // an access token was refused. Reason is the check that failed
	TokenRevoked           Kind = "token_revoked"           // one access token was revoked, by Logout or Verifier.Revoke
	RevocationUnknown      Kind = "revocation_unknown"      // a token was accepted although the revocation store gave no answer
	RevocationsUnavailable Kind = "revocations_unavailable" // a Replica cannot read its store. Sent once until it can again
	RevocationsReset       Kind = "revocations_reset"       // the store of a Replica has lost entries. The Replica reads all again, and sends what was revoked through it again
	RevocationsNearlyFull  Kind = "revocations_nearly_full" // a Replica has 80 percent of its MaxEntries. Sent once until it has 70 percent
	RevocationsNotPushed   Kind = "revocations_not_pushed"  // a Replica gets no pushes from its store and only polls. Sent once until it has got pushes for a minute
	PolicyRefused          Kind = "policy_refused"          // a policy refused a verified token. Reason: scope, login_age, the name of the policy
	PolicyMissing          Kind = "policy_missing"          // With without policies, or with one that allows nothing: nobody passes
	Unavailable            Kind = "unavailable"             // no answer could be given. Reason is the check that failed
	KeysChanged            Kind = "keys_changed"            // a key set has other keys than before. Reason, for a Ring: signing, accepted
	KeySkipped             Kind = "key_skipped"             // a key is not used, or has vanished from its source. Reason: unusable, ambiguous, missing
	KeysUnavailable        Kind = "keys_unavailable"        // keys cannot be fetched or read
	KeyRevoked             Kind = "key_revoked"             // RevokeKey: every session whose refresh token the key signed must log in again
)

// Event is something that happened to a token, a session or a key. Kind and Reason
// come from bounded sets. The other texts identify people, sessions, tokens and
// keys. The fields about a token are set only if its signature is good. An Event
// holds no token, no secret and no signature.
type Event struct {
	Kind                                               Kind
	Reason, Issuer, Subject, SessionID, TokenID, KeyID string
	Err                                                error
}

// Level returns Info for the usual, Warn for a refusal, and Error for what an
// operator should look at.
func (e Event) Level() slog.Level {
	switch e.Kind {
	case TokenIssued, TokenRefreshed, RefreshReplayed, SessionEnded, TokenRevoked, KeysChanged:
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
