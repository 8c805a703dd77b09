package main

import (
	"context"
	"crypto"

	"github.com/coreos/go-oidc/v3/oidc"
)

// goOIDC verifies ID tokens. Here it verifies access tokens, which have the same
// form. It does not support HMAC and cannot issue tokens.
var goOIDC = peer{
	name: "go-oidc", module: "github.com/coreos/go-oidc/v3",
	verify: func(w *work) func(string) (answer, error) {
		if w.private == nil {
			return nil
		}
		verifier := oidc.NewVerifier(issuer, &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{w.verifyKey()}},
			&oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{w.alg}})
		ctx := context.Background()
		return func(token string) (answer, error) {
			t, err := verifier.Verify(ctx, token)
			if err != nil {
				return answer{}, err
			}
			var c struct {
				Scope string `json:"scope"`
				custom
			}
			err = t.Claims(&c)
			return answer{t.Subject, hasScope(c.Scope, wantedScope)}, err
		}
	},
}
