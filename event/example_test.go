package event_test

import (
	"context"
	"log"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/event"
	"github.com/jwtauth-go/jwtauth/jwk"
	"github.com/jwtauth-go/jwtauth/jwtauthtest"
)

// This is the audit log of a session whose refresh token was stolen.
func ExampleLog() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if slices.Contains([]string{"time", "session", "token", "key", "issuer", "error"}, a.Key) {
				return slog.Attr{} // to keep the example short
			}
			return a
		},
	}))
	key, err := jwk.Generate(jwk.ES256)
	mustWork(err)
	keys, err := jwk.NewRing(key)
	mustWork(err)
	var clock jwtauthtest.Clock
	clock.Set(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
	store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{Now: clock.Now})
	issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
		Issuer: "https://api.example.com", Audiences: []string{"https://api.example.com"},
		Sessions: store, Revocations: store, OnEvent: event.Log(log), Now: clock.Now,
	})
	mustWork(err)

	verifier, err := issuer.NewVerifier(jwtauth.VerifierOptions{})
	mustWork(err)

	ctx := context.Background()
	tokens, err := issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
	mustWork(err)
	_, err = issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: tokens.RefreshToken}) // by a thief
	mustWork(err)
	clock.Advance(time.Minute)
	mine, err := issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: tokens.RefreshToken})
	mustWork(err)
	_, err = issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: mine.RefreshToken})
	mustWork(err)
	_, _ = issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: tokens.RefreshToken}) // by the thief
	_, _ = verifier.Verify(ctx, tokens.AccessToken)

	// Output:
	// level=INFO msg=jwtauth auth.kind=token_issued auth.subject=alice
	// level=INFO msg=jwtauth auth.kind=token_refreshed auth.subject=alice
	// level=WARN msg=jwtauth auth.kind=refresh_recovered auth.subject=alice auth.age=1m0s
	// level=INFO msg=jwtauth auth.kind=token_refreshed auth.subject=alice
	// level=ERROR msg=jwtauth auth.kind=token_reused auth.reason=old_token auth.subject=alice
	// level=INFO msg=jwtauth auth.kind=session_ended auth.reason=reuse auth.subject=alice
	// level=WARN msg=jwtauth auth.kind=refresh_refused auth.reason=reuse auth.subject=alice
	// level=WARN msg=jwtauth auth.kind=token_refused auth.reason=revocation auth.subject=alice
}

// mustWork ends the program if err is not nil.
func mustWork(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
