package bound

import "context"

// Login is what package endpoints tells the methods of an issuer. It is in their context.
type Login struct {
	// AccessBytes and RefreshBytes are the largest lengths of the tokens. A browser drops a cookie
	// that is too large, and says nothing. Zero means the limits of verifiers.
	AccessBytes, RefreshBytes int
	// Replaced are the ids of sessions that end after the login. If the subject has too many
	// sessions, these end first.
	Replaced []string
}

type loginKey struct{}

// WithLogin returns a context for a call of an issuer.
func WithLogin(ctx context.Context, l Login) context.Context {
	return context.WithValue(ctx, loginKey{}, l)
}

// LoginOf returns the Login of a context, or the zero Login.
func LoginOf(ctx context.Context) Login {
	l, _ := ctx.Value(loginKey{}).(Login)
	return l
}
