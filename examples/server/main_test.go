package main

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
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// writeFile writes a file of the test and returns its name.
func writeFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
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
	return writeFile(t, "cert.pem", certificate),
		writeFile(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})), roots
}

func TestServesOverTLSWithStrictTransportSecurity(t *testing.T) {
	certFile, keyFile, roots := selfSigned(t)
	p := start(t, nil, "-tls-cert", certFile, "-tls-key", keyFile)
	require.True(t, strings.HasPrefix(p.base, "https://127.0.0.1:"), p.base)
	p.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	access, _ := p.login("alice")
	a := p.send("GET", "/api/protected", access, "")
	require.Equal(t, http.StatusOK, a.status)
	require.Equal(t, "max-age=31536000", a.header.Get("Strict-Transport-Security"))

	old := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	_, err := tls.Dial("tcp", strings.TrimPrefix(p.base, "https://"), old)
	require.Error(t, err, "TLS 1.1 was spoken")
}

func TestAnOpenRequestFinishesWhenTheServerStops(t *testing.T) {
	p := start(t, nil)
	address := strings.TrimPrefix(p.base, "http://")
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	body := loginBody("alice", p.password("alice"))
	fmt.Fprintf(conn, "POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body))
	answers := bufio.NewReader(conn)
	line, err := answers.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue") // the handler reads the body

	p.cancel()
	p.log.await(t, "msg=stopping", p.ended)
	for {
		late, err := net.Dial("tcp", address)
		if err != nil {
			break // nobody else comes in
		}
		late.Close()
		require.NoError(t, t.Context().Err())
	}
	_, err = answers.ReadString('\n') // the end of the 100
	require.NoError(t, err)
	fmt.Fprint(conn, body)
	response, err := http.ReadResponse(answers, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	<-p.ended
	require.Equal(t, exitOK, p.code)
	require.Contains(t, p.log.String(), "msg=stopped")
}

func TestAnAddressInUseIsOneLine(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"-addr", listener.Addr().String()}, noEnv, &stdout, &stderr)
	require.Equal(t, exitFailed, code)
	require.Empty(t, stdout.String())
	require.Regexp(t, `^server: -addr: listen tcp 127\.0\.0\.1:\d+: .*in use\n$`, stderr.String())
}

func TestAListenerThatFailsEndsTheProgram(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	listener.Close()
	log := newOutput()
	require.Equal(t, exitFailed, serve(t.Context(), listener, http.NotFoundHandler(), nil, newLog(log, "text")))
	require.Contains(t, log.String(), "serving failed")
}

func TestTheBinaryRunsFromTheRootAndStopsOnASignal(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "server")
	build := exec.Command("go", "build", "-o", binary, "./examples/server")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "GOWORK=") // the workspace of the root
	text, err := build.CombinedOutput()
	require.NoError(t, err, string(text))

	server := exec.Command(binary, "-addr", "127.0.0.1:0", "-log", "json")
	stdout, log, ended := newOutput(), newOutput(), make(chan struct{})
	server.Stdout, server.Stderr = stdout, log
	require.NoError(t, server.Start())
	go func() {
		defer close(ended)
		err = server.Wait()
	}()
	t.Cleanup(func() {
		server.Process.Kill()
		<-ended
	})
	log.await(t, `"msg":"serving"`, ended)
	stdout.await(t, "Ctrl-C", ended)
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	<-ended
	require.NoError(t, err, log.String())
	require.Contains(t, log.String(), `"msg":"stopped"`)
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
