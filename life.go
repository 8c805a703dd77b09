package jwtauth

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// KeyState is where a key of a ring with a life cycle stands. The values are
// stable.
type KeyState string

// The states of a key, in the order of its life.
const (
	NextKey     KeyState = "next"     // published and accepted, does not sign yet
	ActiveKey   KeyState = "active"   // signs
	RetiringKey KeyState = "retiring" // verifies only; after AccessTo only refresh tokens
	RetiredKey  KeyState = "retired"  // gone: nothing that it signed is alive
	RevokedKey  KeyState = "revoked"  // dropped at once, for everything
)

// KeyLife is the life of a key, by its dates. Published and SignsFrom are given;
// the others follow from them and from the next key, and are zero until there is
// one. Its JSON is what manifests hold.
type KeyLife struct {
	ID        string    `json:"kid,omitempty"`
	Algorithm Algorithm `json:"alg,omitempty"`

	// Published is when the key entered the JWK Set; zero: long ago.
	Published time.Time `json:"published,omitzero"`
	// SignsFrom is when it begins to sign, SignsTo when the next one does.
	SignsFrom time.Time `json:"signs_from,omitzero"`
	SignsTo   time.Time `json:"signs_to,omitzero"`
	// AccessTo is until when it is published and accepted for access tokens:
	// the last of them is dead then. RefreshTo is the same for refresh tokens.
	AccessTo  time.Time `json:"access_to,omitzero"`
	RefreshTo time.Time `json:"refresh_to,omitzero"`
	// Revoked is when the key was dropped at once, for everything; zero: it was not.
	Revoked time.Time `json:"revoked,omitzero"`
}

// KeyPlan is a key of a ring, with the state that it is in and the dates of the
// next ones.
type KeyPlan struct {
	KeyLife
	State KeyState `json:"state"`
}

// LogValue is a group of the kid, the algorithm, the state and the dates that are
// known.
func (p KeyPlan) LogValue() slog.Value {
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

// StoredKey is a key of a [KeySource] with its dates.
type StoredKey struct {
	KeyLife
	// Key is the key itself: its kid and algorithm are those of the KeyLife, where
	// these are set. It may be nil where the key is missing or has been destroyed,
	// which a ring takes only of revoked and retired keys, and of those that it has
	// read before.
	Key *SigningKey
}

// signed says whether a key ever was the active one: one that was revoked before
// its time replaced nobody.
func (l *KeyLife) signed() bool { return l.Revoked.IsZero() || l.SignsFrom.Before(l.Revoked) }

// hasEnded says whether that end of a life has come.
func hasEnded(end, at time.Time) bool { return !end.IsZero() && !at.Before(end) }

// state is where the key stands at that time, in a ring that signs with another
// key, or with none.
func (l *KeyLife) state(at time.Time) KeyState {
	switch {
	case !l.Revoked.IsZero():
		return RevokedKey
	case at.Before(l.SignsFrom):
		return NextKey
	case hasEnded(l.RefreshTo, at):
		return RetiredKey
	}
	return RetiringKey
}

// keyLives are the keys of a ring in the order in which they sign.
type keyLives []StoredKey

// follow puts keys in order and derives the dates that follow: a key signs until
// the next one does, and has its two ends when the last token of each kind is dead
// that it signed up to then, whatever the leeway and the skew of the clocks. Ends
// that lie later already, as under a longer AccessTTL, stay.
func (ks keyLives) follow(accessTTL, refreshTTL time.Duration) error {
	slices.SortStableFunc(ks, func(a, b StoredKey) int {
		return cmp.Or(a.SignsFrom.Compare(b.SignsFrom), cmp.Compare(a.ID, b.ID))
	})
	var next *StoredKey
	for i := range slices.Backward(ks) {
		k := &ks[i]
		if next != nil && k.signed() && k.SignsFrom.Equal(next.SignsFrom) {
			return fmt.Errorf("the keys %s and %s sign from the same time, %s", quoted(k.ID), quoted(next.ID), when(k.SignsFrom))
		}
		k.SignsTo = time.Time{}
		if next != nil {
			k.SignsTo = next.SignsFrom
			k.AccessTo = latest(k.AccessTo, k.SignsTo.Add(accessTTL+endMargin))
			k.RefreshTo = latest(latest(k.RefreshTo, k.AccessTo), k.SignsTo.Add(refreshTTL+endMargin))
		} else {
			k.AccessTo, k.RefreshTo = time.Time{}, time.Time{}
		}
		if k.signed() {
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

// signer is the index of the key that signs at that time, -1 for none. Where none
// is active, as where the first key was made by a process whose clock is ahead, or
// the active one was revoked, the next one signs.
func (ks keyLives) signer(at time.Time) int {
	for i, k := range ks {
		if k.Revoked.IsZero() && !hasEnded(k.SignsTo, at) {
			return i
		}
	}
	return -1
}

// checkLead refuses a key that would sign before everybody can know it: where it
// replaces another one that was not revoked, it must have been published for lead.
func (ks keyLives) checkLead(i int, lead time.Duration) error {
	for _, before := range slices.Backward(ks[:i]) {
		if !before.signed() {
			continue
		}
		if k := &ks[i]; before.Revoked.IsZero() && k.Revoked.IsZero() && k.SignsFrom.Sub(k.Published) < lead {
			return fmt.Errorf("the key %s is to sign from %s, which is %v after it was published; verifiers and other processes may not know it for %v", quoted(k.ID), when(k.SignsFrom), k.SignsFrom.Sub(k.Published), lead)
		}
		return nil
	}
	return nil
}

// nextStep is the earliest date after that time at which the ring changes; zero
// where none is known.
func (ks keyLives) nextStep(at time.Time) (next time.Time) {
	for _, k := range ks {
		for _, date := range []time.Time{k.SignsFrom, k.SignsTo, k.AccessTo, k.RefreshTo} {
			if date.After(at) && (next.IsZero() || date.Before(next)) {
				next = date
			}
		}
	}
	return next
}

// find is the index of a key, -1 for none.
func (ks keyLives) find(id string) int {
	return slices.IndexFunc(ks, func(k StoredKey) bool { return k.ID == id })
}

// Plan returns the keys of the ring with their dates, in the order in which they
// sign. A ring without a life cycle has no dates.
func (r *KeyRing) Plan() []KeyPlan {
	state, err := r.at(r.now())
	if err != nil {
		return nil
	}
	var plan []KeyPlan
	if r.life == nil {
		for _, k := range state.access.all {
			p := KeyPlan{KeyLife{ID: k.id, Algorithm: k.Algorithm()}, RetiringKey}
			if k.id == state.signing.ID() {
				p.State = ActiveKey
			}
			plan = append(plan, p)
		}
		return plan
	}
	l := r.life
	l.mu.Lock()
	defer l.mu.Unlock()
	active := l.keys.signer(l.phase)
	for i, k := range l.keys {
		p := KeyPlan{k.KeyLife, k.state(l.phase)}
		if i == active {
			p.State = ActiveKey
		}
		plan = append(plan, p)
	}
	return plan
}

// Status says how the ring is doing. A ring without a life cycle tells its
// SigningKey alone.
func (r *KeyRing) Status() KeyRingStatus {
	state, err := r.at(r.now())
	if err != nil {
		return KeyRingStatus{LastError: err}
	}
	s := KeyRingStatus{SigningKey: state.signing.ID()}
	if l := r.life; l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		s.LoadedAt, s.LastError = l.loadedAt, l.failure
	}
	return s
}
