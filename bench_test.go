package jwtauth_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jwtauth-go/jwtauth"
)

func BenchmarkVerify(b *testing.B) {
	for _, size := range []int{-1, 0} {
		for _, alg := range []jwtauth.Algorithm{jwtauth.HS256, jwtauth.ES256} {
			w := newWorldWith(b, alg, func(i *jwtauth.IssuerOptions, o *jwtauth.VerifierOptions) {
				o.CacheSize = size
				o.Now, i.Now = time.Now, time.Now
			})
			now := time.Now().Unix()
			token := w.sign(w.claims(map[string]any{"sid": "s", "iat": now, "nbf": now, "exp": now + 900, "scope": "read write", "tenant": "acme", "roles": []string{"admin", "user"}}))
			name := "new"
			if size == 0 {
				name = "again"
			}
			b.Run(string(alg)+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				ctx := b.Context()
				for b.Loop() {
					if _, err := w.verifier.Verify(ctx, token); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(string(alg)+"/middleware/"+name, func(b *testing.B) {
				b.ReportAllocs()
				r := httptest.NewRequest("GET", "/", nil)
				r.Header.Set("Authorization", "Bearer "+token)
				h := w.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { jwtauth.FromContext(r.Context()) }))
				for b.Loop() {
					h.ServeHTTP(nil, r)
				}
			})
		}
	}
}
