package interop_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	capjwt "github.com/hashicorp/cap/jwt"
	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/endpoints"
	"github.com/jwtauth-go/jwtauth/jwk"
)

// published has an issuer, and an HTTPS server that publishes the issuer's metadata and
// JWK Set.
type published struct {
	url, jwks string
	ca        []byte // the CA of the server's certificate, as PEM
	client    *http.Client
	fetches   atomic.Int64 // counts the requests for the JWK Set
	keys      *jwk.Ring
	issuer    *jwtauth.Issuer
	verifier  *jwtauth.Verifier
	stranger  *jwtauth.Issuer // an issuer with the same name, whose key is not published
}

func publish(t *testing.T, key *jwk.SigningKey) *published {
	t.Helper()
	mux := http.NewServeMux()
	server := serve(t, mux)
	p := &published{url: server.url, jwks: server.url + "/jwks", client: server.client, ca: server.ca}
	var err error
	p.keys, err = jwk.NewRing(key)
	require.NoError(t, err)
	unknown, err := jwk.NewRing(newKey(t, key.Algorithm()))
	require.NoError(t, err)
	newIssuer := func(keys *jwk.Ring) *jwtauth.Issuer {
		store := jwtauth.NewMemoryStore(jwtauth.MemoryStoreOptions{})
		issuer, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{
			Issuer: p.url, Audiences: []string{audience}, Sessions: store, Revocations: store,
		})
		require.NoError(t, err)
		return issuer
	}
	p.issuer, p.stranger = newIssuer(p.keys), newIssuer(unknown)
	p.verifier, err = p.issuer.NewVerifier(jwtauth.VerifierOptions{})
	require.NoError(t, err)
	metadata, err := endpoints.NewMetadata(p.issuer, endpoints.MetadataOptions{JWKSURI: p.jwks})
	require.NoError(t, err)
	for _, path := range metadata.Paths() {
		mux.Handle(path, metadata)
	}
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, r *http.Request) {
		p.fetches.Add(1)
		p.keys.ServeHTTP(w, r)
	})
	return p
}

// server is an HTTPS server on loopback.
type server struct {
	url    string
	ca     []byte // the CA of the server's certificate, as PEM
	client *http.Client
}

// serve starts an HTTPS server, which stops when the test ends.
func serve(t *testing.T, handler http.Handler) server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	authority, certificate := certificates(t)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Raw})
	return server{s.URL, ca, &http.Client{Transport: transport}}
}

// certificates makes a certificate authority, and a certificate for a server on loopback
// that this authority has signed.
func certificates(t *testing.T) (authority *x509.Certificate, server tls.Certificate) {
	t.Helper()
	sign := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		if signer == nil {
			signer = key
		}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		text, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
		require.NoError(t, err)
		made, err := x509.ParseCertificate(text)
		require.NoError(t, err)
		return made, key
	}
	own := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	own.Subject.CommonName = "an authority of this test"
	authority, signer := sign(own, own, nil)
	leaf, key := sign(&x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, authority, signer)
	return authority, tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
}

// newKey generates a new key. No other test uses this key. All tests share the keys of keyFor.
func newKey(t *testing.T, alg jwk.Algorithm) *jwk.SigningKey {
	t.Helper()
	k, err := jwk.Generate(alg)
	require.NoError(t, err)
	return k
}

// tokens opens a session and returns its tokens.
func tokens(t *testing.T, issuer *jwtauth.Issuer) jwtauth.TokenResponse {
	t.Helper()
	r, err := issuer.Issue(t.Context(), grant)
	require.NoError(t, err)
	return r
}

// peer is another library, which verifies our tokens and caches our JWK Set.
type peer interface {
	// verify verifies a token and returns its subject.
	verify(t *testing.T, token string) (subject string, err error)
	// refetch makes the peer fetch the JWK Set again. It returns when the peer has stored
	// the new set.
	refetch(t *testing.T)
}

// refusals has, for each of three refusals, a part of the error text of the peer: for a bad
// signature, a wrong audience and an unknown key.
type refusals struct{ signature, audience, key string }

// rotation has the algorithms of the old and the new key.
type rotation struct{ from, to jwk.Algorithm }

// rotations are for peers that have these algorithms, and that read sets with keys of two algorithms.
var rotations = append(within(jwk.RS256, jwk.ES256, jwk.EdDSA), rotation{jwk.RS256, jwk.ES256})

// within returns for each algorithm the rotation to another key of this algorithm.
func within(algorithms ...jwk.Algorithm) (all []rotation) {
	for _, alg := range algorithms {
		all = append(all, rotation{alg, alg})
	}
	return all
}

// verifiesThroughARotation checks that a peer verifies our tokens before, during and after each
// rotation. A rotation has the three steps that [jwk.Ring.Replace] documents.
func verifiesThroughARotation(t *testing.T, rotations []rotation, says refusals, newPeer func(t *testing.T, p *published, algorithms []jwk.Algorithm) peer) {
	for _, rotation := range rotations {
		t.Run(string(rotation.from)+" to "+string(rotation.to), func(t *testing.T) {
			old, next := keyFor(t, rotation.from), newKey(t, rotation.to)
			p := publish(t, old)
			them := newPeer(t, p, []jwk.Algorithm{rotation.from, rotation.to})
			takes := func(token string) {
				t.Helper()
				subject, err := them.verify(t, token)
				require.NoError(t, err)
				require.Equal(t, grant.Subject, subject)
			}
			refuses := func(token, reason string) {
				t.Helper()
				_, err := them.verify(t, token)
				require.ErrorContains(t, err, reason)
			}
			first := tokens(t, p.issuer)
			takes(first.AccessToken)
			refuses(tampered(first.AccessToken), says.signature)
			refuses(first.RefreshToken, says.audience)
			refuses(tokens(t, p.stranger).AccessToken, says.key)

			require.NoError(t, p.keys.Replace(old, next.Verification()), "the new key is published")
			takes(tokens(t, p.issuer).AccessToken)
			them.refetch(t)
			takes(first.AccessToken)

			require.NoError(t, p.keys.Replace(next, old.Verification()), "the new key signs")
			fetches := p.fetches.Load()
			second := tokens(t, p.issuer)
			takes(second.AccessToken)
			takes(first.AccessToken)
			require.Equal(t, fetches, p.fetches.Load(), "a peer that fetched the new key before the issuer signs with it need not fetch the keys again")

			require.NoError(t, p.keys.Replace(next), "the old key is dropped")
			them.refetch(t)
			refuses(first.AccessToken, says.key)
			takes(second.AccessToken)
			_, err := p.verifier.Verify(t.Context(), first.AccessToken)
			require.ErrorIs(t, err, jwtauth.ErrTokenKey, "jwtauth refuses the token, too")
		})
	}
}

// tampered returns the token with a wrong signature of the same length.
func tampered(token string) string {
	dot := strings.LastIndexByte(token, '.')
	return token[:dot+1] + strings.Repeat("B", len(token)-dot-2) + "A"
}

// goPeer is a Go library, which runs in this process.
type goPeer struct {
	p       *published
	subject func(ctx context.Context, token string) (string, error)
}

func (g goPeer) verify(t *testing.T, token string) (string, error) {
	return g.subject(t.Context(), token)
}

// refetch presents a token of an unknown key, again and again. Each time, go-oidc fetches
// the JWK Set, or waits for the fetch in progress. It can happen that go-oidc stores a
// fetched set after Verify has returned. But it always stores the set before the next fetch
// begins. So refetch waits until there were two fetches.
func (g goPeer) refetch(t *testing.T) {
	t.Helper()
	token := tokens(t, g.p.stranger).AccessToken
	for enough := g.p.fetches.Load() + 2; g.p.fetches.Load() < enough; {
		_, err := g.subject(t.Context(), token)
		require.ErrorContains(t, err, "failed to verify id token signature")
	}
}

func TestGoOIDCVerifiesOurTokensThroughARotation(t *testing.T) {
	says := refusals{"failed to verify id token signature", "expected audience", "failed to verify id token signature"}
	verifiesThroughARotation(t, rotations, says, func(t *testing.T, p *published, algorithms []jwk.Algorithm) peer {
		ctx := oidc.ClientContext(t.Context(), p.client)
		provider, err := oidc.NewProvider(ctx, p.url)
		require.NoError(t, err)
		config := &oidc.Config{ClientID: audience}
		if algorithms[0] != algorithms[1] { // by default, go-oidc uses the algorithms in our metadata
			config.SupportedSigningAlgs = names[string](algorithms)
		}
		verifier := provider.VerifierContext(ctx, config)
		return goPeer{p, func(ctx context.Context, token string) (string, error) {
			got, err := verifier.Verify(ctx, token)
			if err != nil {
				return "", err
			}
			return got.Subject, nil
		}}
	})
}

func TestCapVerifiesOurTokensThroughARotation(t *testing.T) {
	says := refusals{"failed to verify id token signature", "invalid audience (aud) claim", "failed to verify id token signature"}
	for name, keySet := range map[string]func(ctx context.Context, p *published) (capjwt.KeySet, error){
		"by discovery": func(ctx context.Context, p *published) (capjwt.KeySet, error) {
			return capjwt.NewOIDCDiscoveryKeySet(ctx, p.url, string(p.ca))
		},
		"by the URL of the JWK Set": func(ctx context.Context, p *published) (capjwt.KeySet, error) {
			return capjwt.NewJSONWebKeySet(ctx, p.jwks, string(p.ca))
		},
	} {
		t.Run(name, func(t *testing.T) {
			verifiesThroughARotation(t, rotations, says, func(t *testing.T, p *published, algorithms []jwk.Algorithm) peer {
				keys, err := keySet(t.Context(), p)
				require.NoError(t, err)
				validator, err := capjwt.NewValidator(keys)
				require.NoError(t, err)
				expected := capjwt.Expected{Issuer: p.url, Audiences: []string{audience}, SigningAlgorithms: names[capjwt.Alg](algorithms)}
				return goPeer{p, func(ctx context.Context, token string) (string, error) {
					claims, err := validator.Validate(ctx, token, expected)
					if err != nil {
						return "", err
					}
					return claims["sub"].(string), nil
				}}
			})
		})
	}
}

// names returns the algorithms in the type of another library.
func names[T ~string](algorithms []jwk.Algorithm) (all []T) {
	for _, alg := range algorithms {
		all = append(all, T(alg))
	}
	return all
}

// childPeer is a peer in its own process. The process answers each line of JSON with a line
// of JSON.
type childPeer struct {
	p *published
	*child
}

// startVerifier starts a process that verifies the tokens of p. It trusts the certificate of p.
func startVerifier(t *testing.T, p *published, name string, args ...string) childPeer {
	t.Helper()
	c := startTrusting(t, p.ca, name, append(args, p.jwks, p.url, audience)...)
	t.Log(c.line(t))
	return childPeer{p, c}
}

func (c childPeer) ask(t *testing.T, question map[string]string) (subject string, err error) {
	t.Helper()
	answer := c.exchange(t, question)
	if text, ok := answer["error"].(string); ok {
		return "", errors.New(text)
	}
	subject, _ = answer["subject"].(string)
	return subject, nil
}

func (c childPeer) verify(t *testing.T, token string) (string, error) {
	t.Helper()
	return c.ask(t, map[string]string{"token": token})
}

func (c childPeer) refetch(t *testing.T) {
	t.Helper()
	before := c.p.fetches.Load()
	_, err := c.ask(t, map[string]string{})
	require.NoError(t, err)
	require.Equal(t, before+1, c.p.fetches.Load())
}

// child is a process that a test has started.
type child struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	errors bytes.Buffer
	ended  bool
}

// start starts a command. It adds variables to the environment. The process is killed when
// the test ends, or after a minute.
func start(t *testing.T, variables []string, name string, args ...string) *child {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	c := &child{cmd: exec.CommandContext(ctx, name, args...)}
	c.cmd.Env = append(os.Environ(), variables...)
	c.cmd.Stderr = &c.errors
	c.cmd.WaitDelay = 5 * time.Second
	var err error
	c.in, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	c.out = bufio.NewScanner(out)
	require.NoError(t, c.cmd.Start())
	t.Cleanup(func() {
		c.stop()
		cancel()
		if t.Failed() && c.errors.Len() > 0 {
			t.Logf("%s wrote:\n%s", name, &c.errors)
		}
	})
	return c
}

// startTrusting starts a command that trusts a certificate authority, and that asks no proxy.
func startTrusting(t *testing.T, authority []byte, name string, args ...string) *child {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, authority, 0o600))
	variables := []string{"no_proxy=127.0.0.1"}
	for _, v := range []string{"NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"} {
		variables = append(variables, v+"="+file)
	}
	return start(t, variables, name, args...)
}

// line waits for the next line that the process prints, and returns it.
func (c *child) line(t *testing.T) string {
	t.Helper()
	if !c.out.Scan() {
		c.stop()
		require.FailNow(t, "the process has ended", "%v, %v", c.cmd.ProcessState, c.out.Err())
	}
	return c.out.Text()
}

// exchange sends a line of JSON to the process, and returns the line of JSON with which the
// process answers.
func (c *child) exchange(t *testing.T, question any) map[string]any {
	t.Helper()
	text, err := json.Marshal(question)
	require.NoError(t, err)
	_, err = c.in.Write(append(text, '\n'))
	require.NoError(t, err)
	return object(t, []byte(c.line(t)))
}

// stop kills the process and waits for its end.
func (c *child) stop() {
	if !c.ended {
		c.ended = true
		_ = c.cmd.Process.Kill() // fails if the process has already ended
		_ = c.cmd.Wait()
	}
}

// missing skips a test, because a program that it needs is missing. In CI, the test fails
// instead.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		require.FailNow(t, what+" is missing, and CI is set")
	}
	t.Skip(what + " is missing")
}

func TestMetadataNamesTheAlgorithmsOfTheKeysAfterARotation(t *testing.T) {
	old, next := keyFor(t, jwk.RS256), newKey(t, jwk.ES256)
	p := publish(t, old)
	require.NoError(t, p.keys.Replace(next, old.Verification()))
	ctx := oidc.ClientContext(t.Context(), p.client)
	provider, err := oidc.NewProvider(ctx, p.url)
	require.NoError(t, err)
	_, err = provider.VerifierContext(ctx, &oidc.Config{ClientID: audience}).Verify(ctx, tokens(t, p.issuer).AccessToken)
	require.NoError(t, err)
}
