package loginserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/jwtauth-go/jwtauth/jwk"
)

// parts are the loaded and checked parts of a server.
type parts struct {
	addr        *net.TCPAddr
	certificate *tls.Certificate // nil means plain HTTP
	keys        *jwk.Ring
	rotates     bool // the keys are in a directory
	users       *directory
	demo        []demoUser // nil if -users is given
	stores      *Stores
}

// load loads everything that the configuration names. Each error names the flag that is
// wrong. If load returns no error, the caller must close the stores.
func (cmd Command) load(ctx context.Context, c *config, getenv func(string) string, log *slog.Logger) (*parts, error) {
	p := &parts{}
	var err error
	if p.certificate, err = loadCertificate(c); err != nil {
		return nil, err
	}
	if p.addr, err = resolve(c, p.certificate != nil); err != nil {
		return nil, err
	}
	if p.keys, p.rotates, err = loadKeys(c, getenv, log); err != nil {
		return nil, err
	}
	if c.usersFile == "" && !p.addr.IP.IsLoopback() {
		return nil, fmt.Errorf("-users: the demo users, whose passwords are printed, are only for a loopback address: a file is expected for %s", p.addr)
	}
	if c.usersFile == "" {
		p.users, p.demo, err = demoUsers()
	} else {
		p.users, err = loadUsers(c.usersFile)
	}
	if err != nil {
		return nil, err
	}
	if p.stores, err = cmd.OpenStores(ctx, c.store, log); err != nil {
		return nil, fmt.Errorf("-store: %w", err)
	}
	if p.stores.Lasting {
		warnIfSessionsAreLost(c, log)
	}
	return p, nil
}

// resolve finds the address to listen on. It refuses an address at which tokens would cross
// a network without TLS. The caller must listen on the returned address, because a second
// look-up of the host might return another one.
func resolve(c *config, secure bool) (*net.TCPAddr, error) {
	addr, err := net.ResolveTCPAddr("tcp", c.addr)
	if err != nil {
		return nil, fmt.Errorf("-addr: %w: HOST:PORT is expected, e.g. 127.0.0.1:8080", err)
	}
	switch {
	case c.insecureHTTP && secure:
		return nil, errors.New("-insecure-http contradicts -tls-cert: one of them is expected")
	case !addr.IP.IsLoopback() && !secure && !c.insecureHTTP:
		return nil, fmt.Errorf("-addr: %s can be reached from other machines, so tokens would cross the network without TLS: -tls-cert and -tls-key are expected, or -insecure-http behind a proxy that has TLS", addr)
	}
	return addr, nil
}

func loadCertificate(c *config) (*tls.Certificate, error) {
	switch {
	case c.tlsCert == "" && c.tlsKey == "":
		return nil, nil
	case c.tlsKey == "":
		return nil, errors.New("-tls-key is missing: the key of -tls-cert is expected")
	case c.tlsCert == "":
		return nil, errors.New("-tls-cert is missing: the certificate of -tls-key is expected")
	}
	certificate, err := readFile("tls-cert", c.tlsCert, "a PEM certificate")
	if err != nil {
		return nil, err
	}
	key, err := readFile("tls-key", c.tlsKey, "a PEM key")
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("-tls-cert, -tls-key: %w: a PEM certificate and its key are expected", err)
	}
	return &pair, nil
}

// loadKeys makes the ring of keys. rotates is true if the keys are in a directory. A ring of
// files signs with the first file.
func loadKeys(c *config, getenv func(string) string, log *slog.Logger) (ring *jwk.Ring, rotates bool, err error) {
	dir, err := keyDir(c)
	switch {
	case err != nil:
	case c.secretEnv != "" && len(c.keyFiles) > 0:
		err = errors.New("-secret-env contradicts -key: one of them is expected")
	case c.secretEnv != "":
		ring, err = loadSecret(getenv(c.secretEnv))
	case dir != "":
		ring, err = openKeyDir(dir, log)
	case len(c.keyFiles) > 0:
		ring, err = loadKeyFiles(c)
	default:
		var key *jwk.SigningKey
		if key, err = jwk.Generate(jwk.ES256); err == nil {
			ring, err = jwk.NewRing(key)
		}
	}
	return ring, dir != "", err
}

// readKey reads a file of -key.
func readKey(name string) ([]byte, error) {
	data, err := readFile("key", name, "a PEM or JWK file or directory")
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; mkdir -m 700 %s makes a directory", err, strconv.Quote(name))
	}
	return data, err
}

func loadKeyFiles(c *config) (*jwk.Ring, error) {
	data, err := readKey(c.keyFiles[0])
	if err != nil {
		return nil, err
	}
	signing, err := jwk.ParseSigning("", data)
	if err != nil {
		return nil, fmt.Errorf("-key: %s: %w", c.keyFiles[0], err)
	}
	var accepted []*jwk.VerificationKey
	for _, name := range c.keyFiles[1:] {
		key, err := loadAccepted(name)
		if err != nil {
			return nil, err
		}
		accepted = append(accepted, key)
	}
	ring, err := jwk.NewRing(signing, accepted...)
	if err != nil {
		return nil, fmt.Errorf("-key: %w", err)
	}
	return ring, nil
}

// loadSecret makes a ring of the secret. An error does not contain the value of -secret-env,
// because a user may have given the secret in place of the name of the variable.
func loadSecret(secret string) (*jwk.Ring, error) {
	if secret == "" {
		return nil, errors.New("-secret-env: the variable is empty or not set: the name of an environment variable with a secret is expected, e.g. from openssl rand -base64 64")
	}
	key, err := jwk.NewHMAC(jwk.HS256, "", []byte(secret))
	if err != nil {
		return nil, fmt.Errorf("-secret-env: %w", err)
	}
	return jwk.NewRing(key)
}

// loadAccepted reads a key that does not sign. A file with only the public key is enough.
func loadAccepted(name string) (*jwk.VerificationKey, error) {
	data, err := readKey(name)
	if err != nil {
		return nil, err
	}
	signing, privateErr := jwk.ParseSigning("", data)
	if privateErr == nil {
		return signing.Verification(), nil
	}
	public, err := jwk.ParseVerification("", data)
	if err == nil {
		return public, nil
	}
	if strings.Contains(string(data), "PRIVATE KEY") {
		err = privateErr
	}
	return nil, fmt.Errorf("-key: %s: %w", name, err)
}

// maxFile is the length of the longest file that is read, in bytes.
const maxFile = 1 << 20

// readFile reads a file that a flag names.
func readFile(flag, name, expected string) ([]byte, error) {
	// A user may have given the content of a file in place of its name. An error must not
	// contain it.
	if strings.ContainsAny(name, "\n\r{") || strings.Contains(name, "-----BEGIN") {
		return nil, fmt.Errorf("-%s: the name of a file is expected, not its content: %s that can be read", flag, expected)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("-%s: %w: %s that can be read is expected", flag, err, expected)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: more than %d bytes", name, maxFile)
	}
	if err != nil {
		return nil, fmt.Errorf("-%s: %w: %s that can be read is expected", flag, err, expected)
	}
	return data, nil
}
