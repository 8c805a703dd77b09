package jwk_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestForeignKeyGetsTheDigest(t *testing.T) {
	for _, alg := range fixture.EveryAlgorithm[3:] {
		w := fixture.NewWith(t, alg)
		service := newKMS(t, alg)
		for _, signer := range []crypto.Signer{service, cancellable{service}} {
			service.forget()
			k, err := jwk.NewSigning(alg, signer)
			require.NoError(t, err)
			require.Zero(t, service.calls, "the signer was called before there was anything to sign")
			require.Equal(t, alg, k.Algorithm())
			requireSameID(t, service.key.Public(), k)
			w.Use(k)
			r := w.Login("alice")
			w.RequireAccepted(r.AccessToken)
			_, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
			require.NoError(t, err)

			require.Equal(t, 4, service.calls)
			signed := r.RefreshToken[:strings.LastIndexByte(r.RefreshToken, '.')]
			if alg == jwk.EdDSA {
				require.Equal(t, signed, string(service.digests[1]))
				require.Zero(t, service.opts.HashFunc())
			} else {
				require.Equal(t, fixture.Digest(fixture.HashOf(alg), signed), service.digests[1])
				require.Equal(t, fixture.HashOf(alg), service.opts.HashFunc())
			}
			pss, ok := service.opts.(*rsa.PSSOptions)
			require.Equal(t, alg[:2] == "PS", ok)
			if ok {
				require.Equal(t, rsa.PSSSaltLengthEqualsHash, pss.SaltLength)
			}

			// It is published, and cannot be taken out of where it lives.
			_, err = k.Verification().JWK()
			require.NoError(t, err)
			_, err = k.PrivateJWK()
			require.ErrorContains(t, err, "lives outside the process")
			_, err = k.PrivatePEM()
			require.ErrorContains(t, err, "lives outside the process")
			require.Equal(t, fmt.Sprintf("SigningKey(%s %q)", alg, k.ID()), fmt.Sprintf("%+v", k))
		}
	}
}

func TestForeignKeyMayReturnECDSAInBothForms(t *testing.T) {
	for _, alg := range []jwk.Algorithm{jwk.ES256, jwk.ES384, jwk.ES512} {
		w := fixture.New(t)
		service := newKMS(t, alg)
		size := map[jwk.Algorithm]int{jwk.ES256: 32, jwk.ES384: 48, jwk.ES512: 66}[alg]
		k, err := jwk.NewSigning(alg, service)
		require.NoError(t, err)
		w.Use(k)
		raw := func(der []byte) []byte {
			var numbers struct{ R, S *big.Int }
			_, err := asn1.Unmarshal(der, &numbers)
			require.NoError(t, err)
			return append(numbers.R.FillBytes(make([]byte, size)), numbers.S.FillBytes(make([]byte, size))...)
		}
		for _, form := range []func([]byte) []byte{nil, raw} {
			service.change = form
			for range 20 { // numbers with leading zeros and with a sign byte come up
				require.Len(t, fixture.DecodedPart(t, w.Login("alice").AccessToken, 2), 2*size)
				w.RequireAccepted(w.Login("alice").AccessToken)
			}
		}
	}
}

// A broken signing service causes errors, and no token whose signature does not verify.
func TestForeignKeyThatReturnsAnotherSignatureGivesNoToken(t *testing.T) {
	for _, alg := range fixture.EveryAlgorithm[3:] {
		w := fixture.NewWith(t, alg)
		service, stranger := newKMS(t, alg), newKMS(t, alg)
		if alg[1] == 'S' && alg[0] != 'E' {
			private, err := rsa.GenerateKey(rand.Reader, 2048)
			require.NoError(t, err)
			stranger.key = private
		}
		changes := map[string]func(made []byte) []byte{
			"nothing":          func([]byte) []byte { return nil },
			"zeros":            func(made []byte) []byte { return make([]byte, len(made)) },
			"one bit":          func(made []byte) []byte { made[len(made)-1] ^= 1; return made },
			"one byte less":    func(made []byte) []byte { return made[:len(made)-1] },
			"one byte more":    func(made []byte) []byte { return append(made, 0) },
			"the digest":       func([]byte) []byte { return service.digests[len(service.digests)-1] },
			"twice":            func(made []byte) []byte { return append(made, made...) },
			"a text":           func([]byte) []byte { return []byte("not authorized") },
			"of another text":  func([]byte) []byte { return stranger.mustSign(service.key, make([]byte, 64), service.opts) },
			"of a stranger":    func([]byte) []byte { return stranger.mustSign(stranger.key, service.last(), service.opts) },
			"in base64":        func(made []byte) []byte { return []byte(fixture.Unpadded(made)) },
			"a large sequence": func([]byte) []byte { return append([]byte{0x30, 0x82, 0xFF, 0xFF}, make([]byte, 1<<16)...) },
		}
		for name, change := range changes {
			for _, signer := range []crypto.Signer{service, cancellable{service}} {
				service.forget()
				k, err := jwk.NewSigning(alg, signer)
				require.NoError(t, err)
				w.Use(k)
				r := w.Login("alice")
				service.change = change
				w.RequireNoTokens("does not verify", r.RefreshToken, name)
				service.change = nil
				_, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
				require.NoError(t, err, "%s %s: the refresh token was still good", alg, name)
			}
		}
	}
}

func TestForeignKeyThatFailsGivesNoToken(t *testing.T) {
	errDown := errors.New("the key service is down")
	for _, alg := range []jwk.Algorithm{jwk.RS256, jwk.ES256, jwk.EdDSA} {
		w := fixture.NewWith(t, alg)
		service := newKMS(t, alg)
		for _, signer := range []crypto.Signer{service, cancellable{service}} {
			service.forget()
			k, err := jwk.NewSigning(alg, signer)
			require.NoError(t, err)
			w.Use(k)
			r := w.Login("alice")
			service.err = errDown
			w.RequireNoTokens(errDown.Error(), r.RefreshToken, "down")
			_, err = w.Issuer.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
			require.ErrorIs(t, err, errDown)
			w.RequireAccepted(r.AccessToken) // verifying needs no signer

			// It fails at the second of the two signatures.
			service.err, service.failAt = nil, service.calls+2
			got, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.Zero(t, got)
			_, err = w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
			require.NoError(t, err)
		}
	}
}

func TestForeignKeyIsCancelledWithTheContext(t *testing.T) {
	w := fixture.New(t)
	service := newKMS(t, jwk.ES256)
	k, err := jwk.NewSigning(jwk.ES256, cancellable{service})
	require.NoError(t, err)
	w.Use(k)
	r := w.Login("alice")

	// It is cancelled while it signs.
	calls := service.calls
	for _, try := range []func(context.Context) (jwtauth.TokenResponse, error){
		func(ctx context.Context) (jwtauth.TokenResponse, error) {
			return w.Issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
		},
		func(ctx context.Context) (jwtauth.TokenResponse, error) {
			return w.Issuer.Refresh(ctx, jwtauth.RefreshRequest{Token: r.RefreshToken})
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		service.wait = func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}
		got, err := try(ctx)
		require.Zero(t, got)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Equal(t, calls+2, service.calls)

	// Neither kind of signer is called with a context that has ended.
	service.wait = nil
	for _, signer := range []crypto.Signer{service, cancellable{service}} {
		k, err := jwk.NewSigning(jwk.ES256, signer)
		require.NoError(t, err)
		w.Use(k)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		calls := service.calls
		got, err := w.Issuer.IssueAccess(ctx, jwtauth.Grant{Subject: "alice"})
		require.Zero(t, got)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, calls, service.calls)
	}
}

func TestSlowForeignKeyIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fixture.New(t)
		service := newKMS(t, jwk.ES256)
		k, err := jwk.NewSigning(jwk.ES256, cancellable{service})
		require.NoError(t, err)
		w.Use(k)
		service.wait = func(ctx context.Context) error {
			select {
			case <-time.After(20 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		began := time.Now()
		w.RequireAccepted(w.Login("alice").AccessToken)
		require.Equal(t, 40*time.Second, time.Since(began))

		// The caller's own deadline counts.
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		got, err := w.Issuer.Issue(ctx, jwtauth.Grant{Subject: "alice"})
		require.Zero(t, got)
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 70*time.Second, time.Since(began))
	})
}

// The session must change within half of the grace after Refresh has read the clock.
func TestASlowSignerEndsNoSession(t *testing.T) {
	w := fixture.New(t)
	service := newKMS(t, jwk.ES256)
	k, err := jwk.NewSigning(jwk.ES256, service)
	require.NoError(t, err)
	w.Use(k)
	r := w.Login("alice")
	var other jwtauth.TokenResponse
	service.wait = func(context.Context) error {
		service.wait = nil
		other = w.Refresh(r.RefreshToken) // another tab is faster
		w.Clock.Advance(65 * time.Second)
		return nil
	}
	got, err := w.Issuer.Refresh(t.Context(), jwtauth.RefreshRequest{Token: r.RefreshToken})
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Zero(t, got)
	w.Refresh(other.RefreshToken)
}

// kms is a signer like the one of a key management service.
type kms struct {
	key     crypto.Signer
	calls   int
	digests [][]byte
	opts    crypto.SignerOpts

	err    error
	failAt int                         // the number of the call that fails
	wait   func(context.Context) error // before it signs
	change func(made []byte) []byte    // what it returns in place of the signature
}

func newKMS(t testing.TB, alg jwk.Algorithm) *kms {
	t.Helper()
	var key crypto.Signer
	var err error
	switch alg {
	case jwk.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jwk.ES384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jwk.ES512:
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jwk.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = fixture.RSAByHand()
	}
	require.NoError(t, err)
	return &kms{key: key}
}

func (k *kms) forget() { *k = kms{key: k.key} }

func (k *kms) last() []byte { return k.digests[len(k.digests)-1] }

func (k *kms) Public() crypto.PublicKey { return k.key.Public() }

func (k *kms) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.sign(context.Background(), random, digest, opts)
}

func (k *kms) sign(ctx context.Context, random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.calls++
	k.digests, k.opts = append(k.digests, bytes.Clone(digest)), opts
	if k.wait != nil {
		if err := k.wait(ctx); err != nil {
			return nil, err
		}
	}
	if k.err != nil || k.calls == k.failAt {
		return nil, cmp.Or(k.err, errors.New("no"))
	}
	made, err := k.key.Sign(random, digest, opts)
	if err == nil && k.change != nil {
		made = k.change(made)
	}
	return made, err
}

// mustSign signs with any key. It shortens a digest that is too long for the hash.
func (k *kms) mustSign(key crypto.Signer, digest []byte, opts crypto.SignerOpts) []byte {
	if hash := opts.HashFunc(); hash != 0 {
		digest = digest[:hash.Size()]
	}
	made, err := key.Sign(rand.Reader, digest, opts)
	if err != nil {
		panic(err)
	}
	return made
}

// cancellable is a kms with SignContext. Its Sign must not be called.
type cancellable struct{ service *kms }

var _ jwk.ContextSigner = cancellable{}

func (c cancellable) Public() crypto.PublicKey { return c.service.Public() }

func (c cancellable) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("Sign was called in place of SignContext")
}

func (c cancellable) SignContext(ctx context.Context, random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return c.service.sign(ctx, random, digest, opts)
}
