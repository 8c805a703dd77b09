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

// State is where a key of a ring stands in its life. The values are stable.
type State string

// The states of a key, in the order of its life.
const (
	Next     State = "next"     // published and accepted, does not sign yet
	Active   State = "active"   // signs
	Retiring State = "retiring" // only verifies; after AccessTo only refresh tokens
	Retired  State = "retired"  // gone: nothing that it signed is alive
	Revoked  State = "revoked"  // dropped at once, for everything
)

// Life is the life of a key, by its dates. Published and SignsFrom are given. The
// other dates follow from them and from the next key; they are zero until there is a
// next key. A manifest holds the JSON of a Life.
type Life struct {
	ID        string    `json:"kid,omitempty"`
	Algorithm Algorithm `json:"alg,omitempty"`

	// Published is when the key entered the JWK Set. Zero means long ago.
	Published time.Time `json:"published,omitzero"`
	// SignsFrom is when the key begins to sign, SignsTo is when the next key does.
	SignsFrom time.Time `json:"signs_from,omitzero"`
	SignsTo   time.Time `json:"signs_to,omitzero"`
	// Until AccessTo the key is published and accepted for access tokens: the last
	// access token that it signed is dead then. RefreshTo is the same for refresh
	// tokens.
	AccessTo  time.Time `json:"access_to,omitzero"`
	RefreshTo time.Time `json:"refresh_to,omitzero"`
	// Revoked is when the key was dropped at once, for everything. Zero means never.
	Revoked time.Time `json:"revoked,omitzero"`
}

// Planned is a key of a ring with its state and the dates of its next states.
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
	// Key is the key. If Life has an ID and an Algorithm, they must be those of Key.
	// Key may be nil if the key is missing or was destroyed. A ring accepts that only
	// for keys that are revoked or retired, and for keys that it has read before.
	Key *SigningKey
}

// everSigned reports whether the key ever was the active one. A key that was revoked
// before its time replaced no other key.
func (l *Life) everSigned() bool { return l.Revoked.IsZero() || l.SignsFrom.Before(l.Revoked) }

// hasPassed reports whether end is set and has come.
func hasPassed(end, at time.Time) bool { return !end.IsZero() && !at.Before(end) }

// stateAt returns the state of the key at that time, in a ring that signs with
// another key or with none.
func (l *Life) stateAt(at time.Time) State {
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

// lives are the keys of a ring, in the order in which they sign.
type lives []StoredKey

// deriveDates sorts the keys and sets the dates that follow from SignsFrom. A key
// signs until the next one does. It ends when the last token is dead that it signed
// up to then, whatever the leeway of the verifier and the skew of the clocks; there is
// one end for each kind of token. An end that was set later before, such as under a
// longer AccessTTL, stays. If nobody has announced how long tokens live, a key has no end.
func (ks lives) deriveDates(longest Durations) error {
	slices.SortStableFunc(ks, func(a, b StoredKey) int {
		return cmp.Or(a.SignsFrom.Compare(b.SignsFrom), cmp.Compare(a.ID, b.ID))
	})
	var next *StoredKey
	for i := range slices.Backward(ks) {
		k := &ks[i]
		if next != nil && k.everSigned() && k.SignsFrom.Equal(next.SignsFrom) {
			return fmt.Errorf("the keys %s and %s sign from the same time, %s", errtext.Quote(k.ID), errtext.Quote(next.ID), errtext.Time(k.SignsFrom))
		}
		k.SignsTo = time.Time{}
		if next != nil {
			k.SignsTo = next.SignsFrom
		}
		switch {
		case next == nil:
			k.AccessTo, k.RefreshTo = time.Time{}, time.Time{}
		case longest.knowsTokens():
			k.AccessTo = latest(k.AccessTo, k.SignsTo.Add(longest.AccessTTL+bound.EndMargin))
			k.RefreshTo = latest(latest(k.RefreshTo, k.AccessTo), k.SignsTo.Add(longest.RefreshTTL+bound.EndMargin))
		}
		if k.everSigned() {
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

// signerAt returns the index of the key that signs at that time; -1 if there is none.
// If no key is active, the next one signs: the first key may come from a process whose
// clock is ahead, and the active key may have been revoked.
func (ks lives) signerAt(at time.Time) int {
	for i, k := range ks {
		if k.Revoked.IsZero() && !hasPassed(k.SignsTo, at) {
			return i
		}
	}
	return -1
}

// checkLead returns an error if the key at index i would sign before everybody can
// know it. If it replaces a key that was not revoked, it must have been published for
// lead.
func (ks lives) checkLead(i int, lead time.Duration) error {
	for _, before := range slices.Backward(ks[:i]) {
		if !before.everSigned() {
			continue
		}
		if k := &ks[i]; before.Revoked.IsZero() && k.Revoked.IsZero() && k.SignsFrom.Sub(k.Published) < lead {
			return fmt.Errorf("the key %s is to sign from %s, which is %v after it was published; verifiers and other processes may not know it for %v", errtext.Quote(k.ID), errtext.Time(k.SignsFrom), k.SignsFrom.Sub(k.Published), lead)
		}
		return nil
	}
	return nil
}

// nextStep returns the earliest date after that time at which the ring changes; zero
// if none is known.
func (ks lives) nextStep(at time.Time) (next time.Time) {
	for _, k := range ks {
		for _, date := range []time.Time{k.SignsFrom, k.SignsTo, k.AccessTo, k.RefreshTo} {
			if date.After(at) && (next.IsZero() || date.Before(next)) {
				next = date
			}
		}
	}
	return next
}

// find returns the index of a key; -1 if it is not there.
func (ks lives) find(id string) int {
	return slices.IndexFunc(ks, func(k StoredKey) bool { return k.ID == id })
}
