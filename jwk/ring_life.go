package jwk

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// State is the state of a key in a ring. The texts of the states will not change.
type State string

// The states of a key, in order.
const (
	Next     State = "next"     // published and accepted, does not sign yet
	Active   State = "active"   // signs
	Retiring State = "retiring" // only accepted; after AccessTo only for refresh tokens
	Retired  State = "retired"  // no longer accepted, since all tokens that it signed have expired
	Revoked  State = "revoked"  // dropped by RevokeKey, accepted for nothing
)

// Life has the dates of a key. Published, SignsFrom and Revoked are stored. SignsTo,
// AccessTo and RefreshTo are computed from SignsFrom of the next key, and are zero until
// there is a next key. The manifest of package keydir has a Life as JSON.
type Life struct {
	ID        string    `json:"kid,omitempty"`
	Algorithm Algorithm `json:"alg,omitempty"`

	// Published is when the key entered the JWK Set. Zero means long ago.
	Published time.Time `json:"published,omitzero"`
	// SignsFrom is when the key begins to sign. SignsTo is when the next key begins to sign.
	SignsFrom time.Time `json:"signs_from,omitzero"`
	SignsTo   time.Time `json:"signs_to,omitzero"`
	// AccessTo is when all access tokens that the key signed have expired. Until then, the
	// key is published and accepted for access tokens. RefreshTo is when all refresh tokens
	// that the key signed have expired. Until then, it is accepted for refresh tokens.
	AccessTo  time.Time `json:"access_to,omitzero"`
	RefreshTo time.Time `json:"refresh_to,omitzero"`
	// Revoked is when the key was revoked. Zero means never.
	Revoked time.Time `json:"revoked,omitzero"`
}

// Planned is a key of a ring with its state and its dates.
type Planned struct {
	Life
	State State `json:"state"`
}

// LogValue returns a group of the kid, the algorithm, the state and the dates that are
// known.
func (p Planned) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("kid", p.ID), slog.String("alg", string(p.Algorithm)), slog.String("state", string(p.State))}
	for _, date := range []struct {
		name string
		at   time.Time
	}{
		{"published", p.Published}, {"signs_from", p.SignsFrom}, {"signs_to", p.SignsTo},
		{"access_to", p.AccessTo}, {"refresh_to", p.RefreshTo}, {"revoked", p.Revoked},
	} {
		if !date.at.IsZero() {
			attrs = append(attrs, slog.Time(date.name, date.at))
		}
	}
	return slog.GroupValue(attrs...)
}

// StoredKey is a key of a [Source] with its dates.
type StoredKey struct {
	Life
	// Key is the key itself. If ID and Algorithm of Life are set, they must be the same as
	// those of Key. Key may be nil if the key is missing or was destroyed. A ring accepts a
	// nil Key if the key is revoked or retired, or if the ring has read the key before.
	Key *SigningKey
}

// signsAtSomeTime reports whether the key has signed or will sign. The only key that never
// signs is one that was revoked before SignsFrom. Such a key does not determine SignsTo of
// the key before it.
func (l *Life) signsAtSomeTime() bool { return l.Revoked.IsZero() || l.SignsFrom.Before(l.Revoked) }

// hasPassed reports whether end is set and is not later than at.
func hasPassed(end, at time.Time) bool { return !end.IsZero() && !at.Before(end) }

// stateUnlessActive returns the state of the key at a time, if it is not the active key.
// The caller finds the active key with signerAt.
func (l *Life) stateUnlessActive(at time.Time) State {
	switch {
	case !l.Revoked.IsZero():
		return Revoked
	case at.Before(l.SignsFrom):
		return Next
	case hasPassed(l.RefreshTo, at):
		return Retired
	}
	return Retiring
}

// ringKeys are the keys of a ring, in the order in which they sign.
type ringKeys []StoredKey

// deriveDates sorts the keys and computes SignsTo, AccessTo and RefreshTo. A key signs
// until the next key begins to sign. AccessTo and RefreshTo are SignsTo plus the lifetime
// of the tokens, plus a margin for the leeway of verifiers and the skew of clocks. If an
// earlier computation gave a later AccessTo or RefreshTo, for example with a longer
// AccessTTL, the later date stays. If no process has announced the lifetimes of tokens,
// these two dates are not computed.
func (ks ringKeys) deriveDates(longest Durations) error {
	slices.SortStableFunc(ks, func(a, b StoredKey) int {
		return cmp.Or(a.SignsFrom.Compare(b.SignsFrom), cmp.Compare(a.ID, b.ID))
	})
	var next *StoredKey
	for i := range slices.Backward(ks) {
		k := &ks[i]
		if next != nil && k.signsAtSomeTime() && k.SignsFrom.Equal(next.SignsFrom) {
			return fmt.Errorf("the keys %s and %s sign from the same time, %s", errtext.Quote(k.ID), errtext.Quote(next.ID), errtext.Time(k.SignsFrom))
		}
		k.SignsTo = time.Time{}
		if next != nil {
			k.SignsTo = next.SignsFrom
		}
		switch {
		case next == nil:
			k.AccessTo, k.RefreshTo = time.Time{}, time.Time{}
		case longest.hasTokenLifetimes():
			k.AccessTo = latest(k.AccessTo, k.SignsTo.Add(longest.AccessTTL+bound.EndMargin))
			k.RefreshTo = latest(latest(k.RefreshTo, k.AccessTo), k.SignsTo.Add(longest.RefreshTTL+bound.EndMargin))
		}
		if k.signsAtSomeTime() {
			next = k
		}
	}
	return nil
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// signerAt returns the index of the key that signs at a time, or -1 if there is no such
// key. If the SignsFrom of all keys is later, the first of them signs: the clock of the
// process that made the first key may be ahead, or the active key may have been revoked.
func (ks ringKeys) signerAt(at time.Time) int {
	for i, k := range ks {
		if k.Revoked.IsZero() && !hasPassed(k.SignsTo, at) {
			return i
		}
	}
	return -1
}

// checkLead returns an error if the key at index i is to sign before all verifiers can
// know it. The time from Published to SignsFrom must be at least lead, unless the key
// before it was revoked.
func (ks ringKeys) checkLead(i int, lead time.Duration) error {
	for _, before := range slices.Backward(ks[:i]) {
		if !before.signsAtSomeTime() {
			continue
		}
		if k := &ks[i]; before.Revoked.IsZero() && k.Revoked.IsZero() && k.SignsFrom.Sub(k.Published) < lead {
			return fmt.Errorf("the key %s is to sign from %s, which is %v after it was published; verifiers and other processes may not know it for %v", errtext.Quote(k.ID), errtext.Time(k.SignsFrom), k.SignsFrom.Sub(k.Published), lead)
		}
		return nil
	}
	return nil
}

// waiting returns a key that does not sign yet at the time now, or nil.
func (ks ringKeys) waiting(now time.Time) *StoredKey {
	for i := range ks {
		if ks[i].stateUnlessActive(now) == Next {
			return &ks[i]
		}
	}
	return nil
}

// nextStep returns the earliest of all dates of the keys that are later than at. It returns the
// zero time if there is no such date.
func (ks ringKeys) nextStep(at time.Time) (next time.Time) {
	for _, k := range ks {
		for _, date := range []time.Time{k.SignsFrom, k.SignsTo, k.AccessTo, k.RefreshTo} {
			if date.After(at) && (next.IsZero() || date.Before(next)) {
				next = date
			}
		}
	}
	return next
}

// indexOf returns the index of the key with that kid, or -1.
func (ks ringKeys) indexOf(id string) int {
	return slices.IndexFunc(ks, func(k StoredKey) bool { return k.ID == id })
}
