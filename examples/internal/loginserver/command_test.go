package loginserver

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/examples/internal/programtest"
)

// command has a -store flag, so that the tests see all flags. Its stores are in
// memory.
var command = Command{Name: "server", StoreUsage: "keep sessions in a `STORE`", OpenStores: OpenMemory}

func start(t testing.TB, env map[string]string, args ...string) *programtest.Program {
	t.Helper()
	return programtest.Start(t, command.Run, env, args...)
}

func startWithKeys(t testing.TB, dir string, args ...string) *programtest.Program {
	t.Helper()
	return programtest.StartWithKeys(t, command.Run, dir, args...)
}

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t testing.TB) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	return programtest.WriteFile(t, "cert.pem", certificate),
		programtest.WriteFile(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})), roots
}

func TestServesOverTLSWithStrictTransportSecurity(t *testing.T) {
	certFile, keyFile, roots := selfSigned(t)
	p := start(t, nil, "-tls-cert", certFile, "-tls-key", keyFile)
	require.True(t, strings.HasPrefix(p.Base, "https://127.0.0.1:"), p.Base)
	p.Client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	access, _ := p.Login("alice")
	a := p.Send("GET", "/api/protected", access, "")
	require.Equal(t, http.StatusOK, a.Status)
	require.Equal(t, "max-age=31536000", a.Header.Get("Strict-Transport-Security"))

	old := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	_, err := tls.Dial("tcp", strings.TrimPrefix(p.Base, "https://"), old)
	require.Error(t, err, "TLS 1.1 was spoken")
}

func TestAnOpenRequestFinishesWhenTheServerStops(t *testing.T) {
	p := start(t, nil)
	address := strings.TrimPrefix(p.Base, "http://")
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	body := programtest.LoginBody("alice", p.Password("alice"))
	fmt.Fprintf(conn, "POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body))
	answers := bufio.NewReader(conn)
	line, err := answers.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue") // the handler is reading the body

	p.BeginStop()
	p.AwaitLog("msg=stopping")
	for {
		late, err := net.Dial("tcp", address)
		if err != nil {
			break // the listener is closed
		}
		late.Close()
		require.NoError(t, t.Context().Err())
	}
	_, err = answers.ReadString('\n') // the empty line after 100 Continue
	require.NoError(t, err)
	fmt.Fprint(conn, body)
	response, err := http.ReadResponse(answers, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, exitOK, p.Wait())
	require.Contains(t, p.Log.String(), "msg=stopped")
}

func TestAnAddressInUseIsOneLine(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	var stdout, stderr bytes.Buffer
	code := command.Run(t.Context(), []string{"-addr", listener.Addr().String()}, programtest.NoEnv, &stdout, &stderr)
	require.Equal(t, exitFailed, code)
	require.Empty(t, stdout.String())
	require.Regexp(t, `^server: -addr: listen tcp 127\.0\.0\.1:\d+: .*in use\n$`, stderr.String())
}

func TestAListenerThatFailsEndsTheProgram(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	listener.Close()
	log := programtest.NewOutput()
	require.Equal(t, exitFailed, serve(t.Context(), listener, http.NotFoundHandler(), nil, newLog(log, "text")))
	require.Contains(t, log.String(), "serving failed")
}

func TestTheBaseURLIsWhereAClientReachesTheServer(t *testing.T) {
	for _, c := range []struct {
		ip     net.IP
		secure bool
		want   string
	}{
		{net.IPv4(127, 0, 0, 1), false, "http://127.0.0.1:80"},
		{net.IPv6loopback, true, "https://[::1]:80"},
		{net.IPv4zero, true, "https://localhost:80"},
		{net.IPv6unspecified, false, "http://localhost:80"},
		{nil, false, "http://localhost:80"},
	} {
		require.Equal(t, c.want, baseURL(&net.TCPAddr{IP: c.ip, Port: 80}, c.secure))
	}
}
