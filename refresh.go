package jwtauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// RefreshRequest is what a client presents to redeem a refresh token. Only Token is required.
// The fmt and slog packages print only the client.
type RefreshRequest struct {
	Token string
	// ClientID must equal the ClientID of the grant, even if the latter is empty: a refresh token
	// belongs to the client that it was issued to (RFC 6749, sections 6 and 10.4). Any other client
	// is refused with ErrTokenClient, and nothing changes.
	ClientID string
	// Scopes and Audiences choose some of the scopes and audiences of the grant for this access
	// token alone (RFC 6749, section 6, and RFC 8707, section 2.2). Empty means all of them. Any
	// other scope or audience is refused with invalid_scope or invalid_target, and nothing changes.
	Scopes, Audiences []string
	// Details replace Session.Details; nil leaves them. At most 1 KiB as JSON.
	Details map[string]string
}

func (r RefreshRequest) String() string {
	return fmt.Sprintf("RefreshRequest(client_id %s)", errtext.Quote(r.ClientID))
}

// Format prints the client, for every verb.
func (r RefreshRequest) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }

// LogValue returns the client.
func (r RefreshRequest) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalText returns the client.
func (r RefreshRequest) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Refresh redeems a refresh token: it returns an access token and the next refresh token
// (RFC 6749, section 6). The next refresh token is the successor of the presented one.
//
// A refresh token can be redeemed once. But the response can get lost, and two tabs can present
// the same token at the same time. The token that was redeemed last, the parent, is therefore
// accepted again as long as nobody has used its successor. What happens depends on how long ago
// the parent was redeemed, by the clock of the session store:
//
//   - Within RefreshGrace, Refresh returns the same successor again, newly signed.
//   - Until twice RefreshGrace, Refresh returns ErrUnavailable with RetryAfter: a response
//     may still be on its way. The client tries again, with its newest token.
//   - Until RecoverLost, Refresh returns a new successor. The lost one can no longer be redeemed.
//
// If RecoverLost is negative, only the first of these rules exists.
//
// Anything else is reuse, and counts as theft (RFC 9700, section 4.14.2): a token older than the
// parent, a lost successor after a recovery, or the parent after RecoverLost (after RefreshGrace,
// if RecoverLost is negative). Refresh then ends the session, revokes its access tokens, and
// returns an error that matches ErrTokenReused. There is one exception. If a call with a token
// other than the parent began before the last refresh was stored, another call has overtaken it:
// Refresh returns ErrUnavailable, and the session goes on. If the same token is presented again
// after that, it is reuse.
//
// Suppose that a thief and the owner refresh in turn, with more than RefreshGrace between their
// refreshes. Then the session ends, at the latest when the owner presents the second refresh token
// that the owner has received since the theft. If only one of them refreshes, nothing is detected
// until the other one does.
//
// A client should not redeem a refresh token that is younger than RefreshGrace: its other tabs may
// just have sent the previous token.
//
// A refusal matches ErrRefused, and WriteError answers it with 400. Refresh calls Reload and
// signs the tokens before it changes the session in the store. If the store then fails, Refresh
// returns ErrUnavailable, and the client can try again with the same refresh token, as after a
// lost response.
func (i *Issuer) Refresh(ctx context.Context, r RefreshRequest) (TokenResponse, error) {
	if err := i.requireSessionStore(); err != nil {
		return TokenResponse{}, err
	}
	if _, err := encodeDetails(r.Details); err != nil {
		return TokenResponse{}, err
	}
	response, e, err := i.refresh(ctx, r)
	if err != nil {
		if e.Kind == event.RefreshDelayed {
			i.onEvent.Send(ctx, e)
		} else {
			sendFailure(ctx, i.onEvent, event.RefreshRefused, e, err)
		}
		return TokenResponse{}, err
	}
	i.onEvent.Send(ctx, e)
	return response, nil
}

// redemption is the state of one call of Refresh.
type redemption struct {
	*Issuer
	request    RefreshRequest
	session    session // from the presented token
	view       Session // from the presented token, for Reload
	key        SessionKey
	arrived    time.Time   // when Refresh was called; from o.Now, since Issuer.now drops the monotonic clock reading
	tokenEvent event.Event // names the presented token

	// prepare sets details and grant. sign sets the fields below grant.
	details     []byte
	grant       grantWithClaims // for the access token
	next        session
	response    TokenResponse
	signedEvent event.Event // names the signed tokens
	signedAt    time.Time
}

// refresh does the work of Refresh, and sends all events except the last one. It returns the
// last event, and Refresh sends it. After an error, its Kind is RefreshDelayed or empty. If the
// Kind is empty, Refresh sets it.
func (i *Issuer) refresh(ctx context.Context, request RefreshRequest) (TokenResponse, event.Event, error) {
	r := redemption{Issuer: i, request: request, arrived: i.o.Now()}
	var t Token
	err := i.readRefreshToken(ctx, request.Token, r.arrived, &t, &r.session)
	r.tokenEvent = t.event()
	if err != nil {
		return TokenResponse{}, r.tokenEvent, err
	}
	if err := i.dropAudiences(&r.session); err != nil {
		return TokenResponse{}, r.tokenEvent, err
	}
	if err := request.check(&r.session); err != nil {
		return TokenResponse{}, r.tokenEvent, err
	}
	r.key = i.sessions.key(t.Subject, r.session.id)
	idleEnd, err := i.checkSession(ctx, &r.session, &t, r.arrived)
	if err != nil {
		return TokenResponse{}, r.tokenEvent, err
	}
	r.view = r.session.view(t.IssuedAt.UTC(), idleEnd)
	result, err := r.run(ctx)
	if err != nil {
		return TokenResponse{}, r.tokenEvent, err
	}
	r.signedEvent.Kind, r.signedEvent.Age = result.kind, result.age
	return r.response, r.signedEvent, nil
}

// readRefreshToken verifies a refresh token, and reads the session that it carries.
func (i *Issuer) readRefreshToken(ctx context.Context, text string, now time.Time, t *Token, s *session) error {
	err := i.refreshVerifier.verifyWithoutEvent(ctx, text, now, t)
	if isRefusalFor(err, ErrTokenNotYetValid) { // this issuer signed the token, so the clock of this machine is behind
		err = unavailable("clock", err)
	}
	if err == nil {
		*s, err = readSession(*t)
	}
	if err != nil {
		return asInvalidGrant(err)
	}
	i.limitLifetime(s)
	return nil
}

// check refuses a request of another client, and one that asks for more than was granted.
func (r *RefreshRequest) check(s *session) error {
	g := &s.granted
	if r.ClientID != g.ClientID {
		return asInvalidGrant(refused("client", ErrTokenClient, errtext.Quote(g.ClientID), errtext.Quote(r.ClientID)))
	}
	if wrong, ok := findOther(r.Scopes, g.Scopes); ok {
		return notGranted("scope", codeInvalidScope, g.Scopes, wrong)
	}
	if wrong, ok := findOther(r.Audiences, g.Audiences); ok {
		return notGranted("audience", codeInvalidTarget, g.Audiences, wrong)
	}
	return nil
}

// findOther returns the first text of wanted that is not in granted. ok is false if there is
// none. If wanted has more texts than granted, at least one text of wanted is a duplicate or is
// not in granted. findOther then returns the last text of wanted, and compares nothing.
func findOther(wanted, granted []string) (other string, ok bool) {
	if len(wanted) > len(granted) {
		return wanted[len(wanted)-1], true
	}
	for _, text := range wanted {
		if !slices.Contains(granted, text) {
			return text, true
		}
	}
	return "", false
}

// dropAudiences removes the audiences that are no longer in IssuerOptions.Audiences from the grant
// of a session. It refuses a session that has no audience left.
func (i *Issuer) dropAudiences(s *session) error {
	s.granted.Audiences = slices.DeleteFunc(s.granted.Audiences, func(a string) bool { return !slices.Contains(i.o.Audiences, a) })
	if len(s.granted.Audiences) == 0 {
		return asInvalidGrant(refused("aud", ErrTokenAudience, errtext.QuoteList(i.o.Audiences), "audiences that the issuer had before"))
	}
	return nil
}

// checkSession refuses a session that has expired or was revoked. idleEnd is when the session
// ends unless it is refreshed.
func (i *Issuer) checkSession(ctx context.Context, s *session, t *Token, now time.Time) (idleEnd time.Time, err error) {
	idleEnd = earliest(t.ExpiresAt.UTC(), s.idleEnd(t.IssuedAt.UTC()))
	if !now.Before(idleEnd) {
		return idleEnd, asInvalidGrant(refused("session", ErrNoSession, "a session that ends after "+errtext.Time(now), errtext.Time(idleEnd)))
	}
	isRevoked, err := i.sessions.isRevoked(ctx, s.id, now)
	if err != nil {
		return idleEnd, unavailable("revocation", err)
	}
	if isRevoked {
		key := i.sessions.key(t.Subject, s.id)
		return idleEnd, i.refuseEnded(ctx, key, i.sessions.markEnded(ctx, key))
	}
	return idleEnd, nil
}

// refuseEnded completes the end of a session, and returns the error for its refresh token.
// markErr is nil if the row is marked as ended, and ErrNoSession if there is no row. It can be
// the result of sessions.markEnded.
func (i *Issuer) refuseEnded(ctx context.Context, key SessionKey, markErr error) error {
	if err := i.sessions.finishEnd(ctx, key, markErr); err != nil {
		return err
	}
	if markErr == nil {
		// The row was still there. Usually, an earlier call has failed before it could send SessionEnded.
		i.onEvent.Send(ctx, endedEvent(key, reasonEnded))
	}
	return asInvalidGrant(refused("session", ErrNoSession, "", ""))
}

// maxAdvances is how often one call of Refresh tries to advance the row. The recovery of a lost
// answer needs a second try, and so does the first refresh after ForceRefresh. Concurrent calls
// for the same session may make more necessary.
const maxAdvances = 5

// outcome names the event of a refresh that returns tokens.
type outcome struct {
	kind event.Kind
	age  time.Duration // of RefreshRecovered: how long ago the lost answer was made
}

// run advances the row in the store from the generation of the presented token to the next one.
// If the row already has a higher generation, judge decides.
func (r *redemption) run(ctx context.Context) (outcome, error) {
	from := r.session.generation
	ifAdvanced := outcome{kind: event.TokenRefreshed}
	if err := r.prepare(ctx, from+1); err != nil {
		return outcome{}, err
	}
	for range maxAdvances {
		row, advanced, err := r.sessions.advance(ctx, r.key, r.step(from))
		switch {
		case isRefusalFor(err, ErrNoSession):
			return outcome{}, r.refuseEnded(ctx, r.key, err)
		case err != nil:
			return outcome{}, err
		case advanced:
			// If the row had a lower generation than from, the store has lost a write.
			if row.Previous < from {
				behind := r.tokenEvent
				behind.Kind = event.GenerationBehind
				r.onEvent.Send(ctx, behind)
			}
			return ifAdvanced, nil
		case row.Generation == endedGeneration:
			return outcome{}, r.refuseEnded(ctx, r.key, r.sessions.revokeBuyer(ctx, r.key, row))
		case row.Epoch > r.session.epoch:
			// Reload may have run before the epoch was raised, so it is called again.
			r.session.epoch = row.Epoch
			if err := r.prepare(ctx, from+1); err != nil {
				return outcome{}, err
			}
			continue
		}
		decided, err := r.judge(ctx, row)
		if err != nil || decided.kind != event.RefreshRecovered {
			return decided, err
		}
		from, ifAdvanced = row.Generation, decided
		if err := r.sign(ctx, from+1); err != nil {
			return outcome{}, err
		}
	}
	return outcome{}, unavailable("session", fmt.Errorf("the session has changed during each of %d attempts", maxAdvances))
}

// judge decides about a refresh token if the row of its session already has a higher generation.
// It implements the rules in the comment of Refresh. Only Issuer.lookAt has a part of these
// rules, too. If judge returns RefreshRecovered, run tries to advance the row once more, to a
// new successor.
//
// The age is the time from the last step to the arrival of the token. It is negative if the token
// arrived before the step. If RecoverLost is set, it is not enough that the token arrives within
// RefreshGrace: the repeated response must leave within RefreshGrace, too. A recovery, which makes
// the refresh token of that response useless, is possible only after twice RefreshGrace. So each
// repeated response has at least one more RefreshGrace to reach the client, less the time that the
// answer of the store takes (at most StoreTimeout).
func (r *redemption) judge(ctx context.Context, row SessionRecord) (outcome, error) {
	judged := r.o.Now()
	age := row.Age - max(judged.Sub(r.arrived), 0)
	grace, isParent := r.o.RefreshGrace, r.session.generation == row.parent()
	switch {
	case row.Age < -bound.Skew:
		return outcome{}, unavailable("clock", fmt.Errorf("the clock of the session store is %v before the time of the last step", -row.Age))
	case !isParent && age < 0:
		// Another token has advanced the session after this one arrived, so an honest client has a newer
		// token now. If this token is presented again, it arrives after the last step: that is reuse.
		return outcome{}, r.delayedError(0)
	case !isParent:
		return outcome{}, r.endReused(ctx, row, reasonOldToken)
	case grace > 0 && (row.Age <= grace || age <= grace && r.o.RecoverLost == 0):
		if r.next.generation != row.Generation {
			if err := r.sign(ctx, row.Generation); err != nil {
				return outcome{}, err
			}
			if row.Age += r.o.Now().Sub(judged); row.Age > grace && r.o.RecoverLost > 0 {
				return outcome{}, r.delayedError(2*grace - row.Age)
			}
		}
		return outcome{kind: event.RefreshReplayed}, nil
	case r.o.RecoverLost == 0 || age > r.o.RecoverLost:
		return outcome{}, r.endReused(ctx, row, reasonLateParent)
	case age <= 2*grace:
		return outcome{}, r.delayedError(2*grace - row.Age)
	}
	return outcome{event.RefreshRecovered, age}, nil
}

// step returns the Rotation from a generation to the next one. Call sign for the next generation
// first.
func (r *redemption) step(from int64) Rotation {
	return Rotation{
		From: from, Parent: r.session.generation, Epoch: r.session.epoch,
		At: r.signedAt, ExpiresAt: r.next.idleEnd(r.signedAt), Details: r.details,
	}
}

// delayedError returns the error for a token whose successor may still be on its way to the
// client. It sets the kind of the event to RefreshDelayed.
func (r *redemption) delayedError(left time.Duration) error {
	r.tokenEvent.Kind = event.RefreshDelayed
	err := unavailable("wait", errors.New("the refresh token was redeemed a moment ago: its answer may still arrive"))
	err.RetryAfter = max(left.Truncate(time.Second)+time.Second, time.Second)
	return err
}

// endReused ends the session of a reused token, sends the events, and returns the error.
func (r *redemption) endReused(ctx context.Context, row SessionRecord, reason string) error {
	e := r.tokenEvent
	e.Kind, e.Reason = event.TokenReused, reason
	if err := r.sessions.endSilently(ctx, r.key); err != nil {
		r.onEvent.Send(ctx, e)
		return err
	}
	r.onEvent.Send(ctx, e, endedEvent(r.key, reasonReuse))
	return asInvalidGrant(refused("reuse", ErrTokenReused, fmt.Sprint("generation ", row.Generation), fmt.Sprint(r.session.generation)))
}

// prepare gets the grant from Reload, and signs tokens of a generation.
func (r *redemption) prepare(ctx context.Context, generation int64) error {
	g, err := r.reload(ctx)
	if isRefusalFor(err, ErrGrantRefused) {
		if err := r.sessions.end(ctx, r.key, reasonGrantRefused); err != nil {
			return err
		}
	}
	if err != nil {
		if e := asError(err); e.Code == codeInvalidScope {
			return e
		}
		return asInvalidGrant(err)
	}
	r.grant = g
	return r.sign(ctx, generation)
}

// sign signs tokens of a generation. It does not change the session, so if the signer fails, the
// presented token stays good.
func (r *redemption) sign(ctx context.Context, generation int64) (err error) {
	r.next, r.signedAt = r.session, r.now()
	r.next.generation = generation
	r.response, r.signedEvent, err = r.signer.sign(ctx, &r.next, &r.grant, r.signedAt)
	if err != nil {
		return unavailable("sign", err)
	}
	return nil
}

// maxReload is the longest time that Reload may take.
const maxReload = 30 * time.Second

// reload calls the Reload hook and returns the grant for the next access token.
func (r *redemption) reload(ctx context.Context) (grantWithClaims, error) {
	granted := r.session.granted.Grant
	g := granted
	g.Details = maps.Clone(r.request.Details)
	reloaded := r.session.granted
	if r.o.Reload != nil {
		var err error
		if reloaded, err = r.callReload(ctx, &g); err != nil {
			return grantWithClaims{}, err
		}
	}
	var err error
	if r.details, err = encodeDetails(g.Details); err != nil {
		return grantWithClaims{}, unavailable("reload", err)
	}
	if reloaded.Scopes = narrow(reloaded.Scopes, r.request.Scopes); len(reloaded.Scopes) == 0 && len(r.request.Scopes) > 0 {
		return grantWithClaims{}, notGranted("scope", codeInvalidScope, reloaded.Scopes, r.request.Scopes[0])
	}
	reloaded.Audiences = narrow(reloaded.Audiences, r.request.Audiences)
	return reloaded, nil
}

// narrow returns the texts that are both in all and in wanted. If wanted is empty, it returns all.
func narrow(all, wanted []string) []string {
	if len(wanted) == 0 {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !slices.Contains(wanted, s) })
}

// callReload calls the Reload hook. It returns an error if the hook has changed a field that must
// stay, or has added a scope.
func (r *redemption) callReload(ctx context.Context, g *Grant) (grantWithClaims, error) {
	granted := r.session.granted.Grant
	g.Scopes, g.Audiences, g.AMR = slices.Clone(g.Scopes), slices.Clone(g.Audiences), slices.Clone(g.AMR)
	if claims := r.session.granted.claims; claims != "" {
		g.Claims = json.RawMessage(claims)
	}
	// Reload may call an Issuer. The empty Login keeps the limits of package endpoints away from it.
	ctx, cancel := context.WithTimeout(bound.WithLogin(ctx, bound.Login{}), maxReload)
	defer cancel()
	if err := r.o.Reload(ctx, r.view, g); err != nil {
		return grantWithClaims{}, errorFromProgram("reload", err, func() *Error { return refused("reload", nil, "", "") })
	}
	for _, kept := range []struct {
		name string
		same bool
	}{
		{"Subject", g.Subject == granted.Subject},
		{"ClientID", g.ClientID == granted.ClientID},
		{"Audiences", slices.Equal(g.Audiences, granted.Audiences)},
		{"AuthTime", g.AuthTime.Equal(granted.AuthTime)},
		{"ACR", g.ACR == granted.ACR},
		{"AMR", slices.Equal(g.AMR, granted.AMR)},
		{"IdleTTL", g.IdleTTL == granted.IdleTTL},
		{"SessionTTL", g.SessionTTL == granted.SessionTTL},
		{"Scopes, adding one", !slices.ContainsFunc(g.Scopes, func(s string) bool { return !slices.Contains(granted.Scopes, s) })},
		{"Scopes, naming one twice", !hasDuplicate(g.Scopes)},
	} {
		if !kept.same {
			return grantWithClaims{}, unavailable("reload", fmt.Errorf("the Reload hook changed %s", kept.name))
		}
	}
	reloaded := grantWithClaims{Grant: *g}
	var err error
	if reloaded.claims, err = encodeClaims(g.Claims); err != nil {
		return grantWithClaims{}, unavailable("reload", err)
	}
	return reloaded, nil
}
