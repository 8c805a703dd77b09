package bound

import "context"

// TokenBytes holds the largest lengths of the tokens that an issuer may make, in bytes. Zero
// means the limits of verifiers.
type TokenBytes struct{ Access, Refresh int }

type tokenBytesKey struct{}

// WithTokenBytes returns a context for the calls of an issuer whose tokens must fit into
// cookies: a browser drops a cookie that is too large, and says nothing.
func WithTokenBytes(ctx context.Context, b TokenBytes) context.Context {
	return context.WithValue(ctx, tokenBytesKey{}, b)
}

// TokenBytesOf returns the limits that WithTokenBytes has set.
func TokenBytesOf(ctx context.Context) TokenBytes {
	b, _ := ctx.Value(tokenBytesKey{}).(TokenBytes)
	return b
}
