package loginserver

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
	"github.com/jwtauth-go/jwtauth/jwk"
)

const goodSecret = "hT7rQz2mVx9LkPw4Nc8YbJd6Gs3Fa1Eu"

func privatePEM(t *testing.T, alg jwk.Algorithm) (key *jwk.SigningKey, file string) {
	t.Helper()
	key, err := jwk.Generate(alg)
	require.NoError(t, err)
	pem, err := key.PrivatePEM()
	require.NoError(t, err)
	return key, programtest.WriteFile(t, "private.pem", pem)
}

// reason returns the text of an error of package jwk, as the line of a command has it.
func reason(_ *jwk.SigningKey, err error) string { return strings.TrimPrefix(err.Error(), "jwk: ") }

func TestRefusesToStartWithOneClearLine(t *testing.T) {
	_, private := privatePEM(t, jwk.ES256)
	other, _ := privatePEM(t, jwk.EdDSA)
	publicPEM, err := other.Verification().PEM()
	require.NoError(t, err)
	public := programtest.WriteFile(t, "public.pem", publicPEM)
	garbage := programtest.WriteFile(t, "garbage.pem", []byte("no key"))
	broken := programtest.WriteFile(t, "broken.pem", []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	large := programtest.WriteFile(t, "large.pem", make([]byte, maxFile+1))
	certFile, keyFile, _ := selfSigned(t)
	folder := t.TempDir()

	env := map[string]string{
		"SHORT": "secret", "SAMPLE": "your-256-bit-secret-your-256-bit-secret", "PATTERN": strings.Repeat("ab", 32), "GOOD": goodSecret,
	}
	secretReason := func(name string) string { return reason(jwk.NewHMAC(jwk.HS256, "", []byte(env[name]))) }
	signingReason := func(file string) string {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		return file + ": " + reason(jwk.ParseSigning("", text))
	}
	const noTLS = " can be reached from other machines, so tokens would cross the network without TLS: -tls-cert and -tls-key are expected, or -insecure-http behind a proxy that has TLS"
	for _, c := range []struct{ name, args, line string }{
		{"a short secret", "-secret-env SHORT", "-secret-env: " + secretReason("SHORT")},
		{"a sample secret", "-secret-env SAMPLE", "-secret-env: " + secretReason("SAMPLE")},
		{"a secret with a pattern", "-secret-env PATTERN", "-secret-env: " + secretReason("PATTERN")},
		{"no such variable", "-secret-env NOWHERE", "-secret-env: the variable is empty or not set: the name of an environment variable with a secret is expected, e.g. from openssl rand -base64 64"},
		{"a secret and a key", "-secret-env GOOD -key " + private, "-secret-env contradicts -key: one of them is expected"},
		{"no such key", "-key nowhere.pem", "-key: open nowhere.pem: no such file or directory: a PEM or JWK file or directory that can be read is expected; mkdir -m 700 \"nowhere.pem\" makes a directory"},
		{"a folder as a certificate", "-tls-cert " + folder + " -tls-key " + keyFile, "-tls-cert: read " + folder + ": is a directory: a PEM certificate that can be read is expected"},
		{"a folder beside a key", "-key " + private + " -key " + folder, "-key: " + folder + " is a directory, which has all keys: no other -key is expected"},
		{"two folders", "-key " + folder + " -key " + folder, "-key: " + folder + " is a directory, which has all keys: no other -key is expected"},
		{"a secret and a folder", "-secret-env GOOD -key " + folder, "-secret-env contradicts -key: one of them is expected"},
		{"a large file as a key", "-key " + large, "-key: " + large + ": more than 1048576 bytes: a PEM or JWK file or directory that can be read is expected"},
		{"no key in the file", "-key " + garbage, "-key: " + signingReason(garbage)},
		{"a public key to sign with", "-key " + public, "-key: " + signingReason(public)},
		{"a second key that is none", "-key " + private + " -key " + garbage, "-key: " + signingReason(garbage)},
		{"a second key that is broken", "-key " + private + " -key " + broken, "-key: " + signingReason(broken)},
		{"no such second key", "-key " + private + " -key nowhere.pem", "-key: open nowhere.pem: no such file or directory: a PEM or JWK file or directory that can be read is expected; mkdir -m 700 \"nowhere.pem\" makes a directory"},
		{"all interfaces without TLS", "-addr 0.0.0.0:8080", "-addr: 0.0.0.0:8080" + noTLS},
		{"any host without TLS", "-addr :8080", "-addr: :8080" + noTLS},
		{"IPv6 without TLS", "-addr [::]:8080", "-addr: [::]:8080" + noTLS},
		{"a public address without TLS", "-addr 192.0.2.1:80", "-addr: 192.0.2.1:80" + noTLS},
		{"plain HTTP beside TLS", "-insecure-http -tls-cert " + certFile + " -tls-key " + keyFile, "-insecure-http contradicts -tls-cert: one of them is expected"},
		{"a certificate without key", "-tls-cert " + certFile, "-tls-key is missing: the key of -tls-cert is expected"},
		{"a key without certificate", "-tls-key " + keyFile, "-tls-cert is missing: the certificate of -tls-key is expected"},
		{"no such certificate", "-tls-cert nowhere.pem -tls-key " + keyFile, "-tls-cert: open nowhere.pem: no such file or directory: a PEM certificate that can be read is expected"},
		{"no such TLS key", "-tls-cert " + certFile + " -tls-key nowhere.pem", "-tls-key: open nowhere.pem: no such file or directory: a PEM key that can be read is expected"},
		{"another certificate's key", "-tls-cert " + certFile + " -tls-key " + private, "-tls-cert, -tls-key: tls: private key does not match public key: a PEM certificate and its key are expected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, "server: "+c.line, programtest.ErrorLine(t, command.Run, env, strings.Split(c.args, " ")...))
		})
	}
	t.Run("two keys with one kid", func(t *testing.T) {
		require.Contains(t, programtest.ErrorLine(t, command.Run, nil, "-key", private, "-key", private), "server: -key: two keys have the kid ")
	})
	t.Run("a host that there is not", func(t *testing.T) {
		require.Contains(t, programtest.ErrorLine(t, command.Run, nil, "-addr", "host.invalid:80"), "HOST:PORT is expected, e.g. 127.0.0.1:8080")
	})
	t.Run("a key that may not be read", func(t *testing.T) {
		require.NoError(t, os.Chmod(private, 0))
		if f, err := os.Open(private); err == nil { // root may read every file
			f.Close()
			return
		}
		require.Contains(t, programtest.ErrorLine(t, command.Run, nil, "-key", private), "permission denied")
	})
}

func TestASecretGivenInPlaceOfItsNameIsNotRepeated(t *testing.T) {
	require.NotContains(t, programtest.ErrorLine(t, command.Run, nil, "-secret-env", goodSecret), goodSecret)
}

func TestListensOnWhatIsSafe(t *testing.T) {
	for _, c := range []struct {
		addr     string
		secure   bool
		insecure bool
	}{
		{"127.0.0.1:0", false, false}, {"127.9.9.9:0", false, false}, {"[::1]:0", false, false}, {"localhost:0", false, false},
		{"0.0.0.0:0", true, false}, {"192.0.2.1:443", true, false},
		{"0.0.0.0:0", false, true}, {":0", false, true},
	} {
		_, err := resolve(&config{addr: c.addr, insecureHTTP: c.insecure}, c.secure)
		require.NoError(t, err, c.addr)
	}
}

func TestTheFirstKeySignsAndAllAreAccepted(t *testing.T) {
	oldKey, oldFile := privatePEM(t, jwk.ES256)
	newKey, newFile := privatePEM(t, jwk.EdDSA)
	third, err := jwk.Generate(jwk.PS256)
	require.NoError(t, err)
	public, err := third.Verification().JWK()
	require.NoError(t, err)

	p := start(t, nil, "-key", newFile, "-key", oldFile, "-key", programtest.WriteFile(t, "public.jwk", public), "-issuer", "https://i.test", "-audience", "https://a.test")
	access, _ := p.Login("alice")
	set := p.Send("GET", "/.well-known/jwks.json", "", "")
	for _, key := range []*jwk.SigningKey{newKey, oldKey, third} {
		require.Contains(t, set.Body, `"kid":"`+key.ID()+`"`)
	}
	require.NotContains(t, set.Body, `"d":`)

	verifier := func(key *jwk.SigningKey) *jwtauth.Verifier {
		keys, err := jwk.Static(key.Verification())
		require.NoError(t, err)
		v, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: "https://i.test", Audiences: []string{"https://a.test"}})
		require.NoError(t, err)
		return v
	}
	_, err = verifier(newKey).Verify(t.Context(), access)
	require.NoError(t, err)
	_, err = verifier(oldKey).Verify(t.Context(), access)
	require.ErrorIs(t, err, jwtauth.ErrTokenKey)

	keys, err := jwk.NewRing(oldKey)
	require.NoError(t, err)
	before, err := jwtauth.NewIssuer(keys, jwtauth.IssuerOptions{Issuer: "https://i.test", Audiences: []string{"https://a.test"}})
	require.NoError(t, err)
	tokens, err := before.IssueAccess(t.Context(), jwtauth.Grant{Subject: "alice"})
	require.NoError(t, err)
	require.Equal(t, 200, p.Send("GET", "/api/protected", tokens.AccessToken, "").Status)
}

func TestASecretSignsAndIsNotPublished(t *testing.T) {
	p := start(t, map[string]string{"APP_SECRET": goodSecret}, "-secret-env", "APP_SECRET")
	access, _ := p.Login("alice")
	key, err := jwk.NewHMAC(jwk.HS256, "", []byte(goodSecret))
	require.NoError(t, err)
	keys, err := jwk.Static(key.Verification())
	require.NoError(t, err)
	v, err := jwtauth.NewVerifier(keys, jwtauth.VerifierOptions{Issuer: p.Base, Audiences: []string{p.Base}})
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), access)
	require.NoError(t, err)
	require.Equal(t, `{"keys":[]}`, p.Send("GET", "/.well-known/jwks.json", "", "").Body)
}

func TestAKeyThatStandsWhereAFileNameBelongsIsNotRepeated(t *testing.T) {
	for _, secret := range []string{"-----BEGIN PRIVATE KEY-----\nMIGHsecret\n-----END PRIVATE KEY-----", `{"kty":"oct","k":"secret"}`} {
		_, err := readFile("key", secret, "a key")
		require.ErrorContains(t, err, "the name of a file is expected")
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestDemoUsersAreForALoopbackAddressAlone(t *testing.T) {
	var out, log strings.Builder
	code := command.Run(t.Context(), []string{"-addr", "0.0.0.0:0", "-insecure-http"}, func(string) string { return "" }, &out, &log)
	require.Equal(t, 2, code)
	require.Contains(t, log.String(), "-users")
	require.Empty(t, out.String())
}
