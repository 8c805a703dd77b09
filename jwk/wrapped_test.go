package jwk_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// A program may embed a Set, for example to count its calls.
func TestAWrapperAroundAKeySetChangesNoAnswer(t *testing.T) {
	for name, wrap := range map[string]func(jwk.Set) jwk.Set{
		"bare":    func(s jwk.Set) jwk.Set { return s },
		"wrapped": func(s jwk.Set) jwk.Set { return struct{ jwk.Set }{s} },
	} {
		t.Run(name, func(t *testing.T) {
			r := fixture.NewRemote(t)
			r.VerifyWith(wrap(r.Set), jwtauth.VerifierOptions{})
			r.RequireAccepted(r.Token())
			asked := r.Source.Asked()
			stranger := fixture.FuzzHMACKey(t, jwk.HS256, "stranger")
			require.ErrorIs(t, r.RequireRefused(fixture.SignWith(t, stranger, fixture.Header(stranger, nil), r.Claims(nil))), jwtauth.ErrTokenKey)
			require.Equal(t, asked, r.Source.Asked(), "a symmetric key is not asked for")
			r.Rotate()
			r.RequireAccepted(r.Token())

			elsewhere, err := jwk.Discover("https://elsewhere.test", jwk.RemoteOptions{})
			require.NoError(t, err)
			_, err = jwtauth.NewVerifier(wrap(elsewhere), jwtauth.VerifierOptions{Issuer: fixture.Issuer, Audiences: []string{fixture.Audience}})
			require.ErrorContains(t, err, "discovered for the issuer")

			ring := fixture.NewRingWorld(t, fixture.NewRingSource())
			ring.VerifyWith(wrap(ring.Keys), jwtauth.VerifierOptions{})
			token := ring.Login("alice").AccessToken
			ring.RequireAccepted(token)
			require.NoError(t, ring.Keys.RevokeKey(t.Context(), ring.KeyOf(token)))
			ring.RequireUnknown(token)

			static, err := jwk.Static(r.Key.Verification())
			require.NoError(t, err)
			r.VerifyWith(wrap(static), jwtauth.VerifierOptions{})
			r.RequireAccepted(r.Sign(r.Claims(nil)))
		})
	}
}
