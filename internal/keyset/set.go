package keyset

import (
	"context"
	"time"
)

// Set is what a Verifier needs of keys. ctx is the context of the request. An error
// means that the keys are not known.
type Set interface {
	// Current returns the keys that are in use at that time.
	Current(ctx context.Context, now time.Time) (*Table, error)
	// Ask returns the keys after it has asked their source for one with that kid, if
	// it has not done so recently. The key may or may not be among them.
	Ask(ctx context.Context, now time.Time, kid string) (*Table, error)
	// Facts returns what never changes.
	Facts() Facts
}

// Facts are the properties of a Set that never change.
type Facts struct {
	Issuer     string // the only issuer whose tokens the keys are for; "" if the set does not say
	Grows      bool   // Ask may find keys that Current does not have
	Asymmetric bool   // the set never has a symmetric key
}

// Ring is what an Issuer needs of keys.
type Ring interface {
	// Signer returns what signs at that time.
	Signer(ctx context.Context, now time.Time) (*Signer, error)
	// AccessKeys and RefreshKeys return the keys that access tokens and refresh
	// tokens are verified with.
	AccessKeys() Set
	RefreshKeys() Set
	// Announce tells the ring the longest lifetimes of the tokens that it signs, so that it
	// keeps its keys for so long. Zero means none.
	Announce(access, refresh time.Duration)
}

// Issuer is what package endpoints needs of an Issuer.
type Issuer struct {
	Name string // the iss claim
	Keys Set    // of access tokens
	Now  func() time.Time
}
