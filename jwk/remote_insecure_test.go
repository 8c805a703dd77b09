package jwk_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/fixture"
	"github.com/jwtauth-go/jwtauth/jwk"
)

func TestPlainHTTPIsOnlyForTheURLInTheProgram(t *testing.T) {
	allowed := jwk.RemoteOptions{InsecureHTTP: true}
	for _, u := range []string{"http://idp.test/jwks", "http://10.0.0.1:8080/jwks", "https://idp.test/jwks", "http://127.0.0.1/jwks"} {
		_, err := jwk.NewRemote(u, allowed)
		require.NoError(t, err, u)
		_, err = jwk.Discover(u, allowed)
		require.NoError(t, err, u)
		_, err = jwk.Discover("a name", jwk.RemoteOptions{InsecureHTTP: true, MetadataURL: u})
		require.NoError(t, err, u)
	}
	for _, u := range []string{"ftp://idp.test/jwks", "http://user:word@idp.test/jwks", "http://idp.test/jwks#a", "http:///jwks", "http:idp.test", "idp.test"} {
		for _, o := range []jwk.RemoteOptions{allowed, {InsecureHTTP: true, MetadataURL: u}} {
			_, err := jwk.Discover(u, o)
			require.Error(t, err, u)
			require.NotContains(t, err.Error(), "word")
		}
	}
	// The name of the issuer is not fetched from if there is a MetadataURL.
	_, err := jwk.Discover("http://sts.test/tenant", jwk.RemoteOptions{MetadataURL: "https://login.test/metadata"})
	require.NoError(t, err)
	_, err = jwk.Discover("http://sts.test/tenant", jwk.RemoteOptions{})
	require.ErrorContains(t, err, "InsecureHTTP allows http")
}

func TestAJWKSURIOverHTTPIsOnlyForMetadataOfTheSameOrigin(t *testing.T) {
	const plain, secure = "http://idp.test:8080", "https://idp.test"
	for _, c := range []struct {
		issuer, keys string
		o            jwk.RemoteOptions
		ok           bool
	}{
		{plain, plain + "/jwks", jwk.RemoteOptions{InsecureHTTP: true}, true},
		{plain, "https://keys.test/jwks", jwk.RemoteOptions{InsecureHTTP: true}, true},
		{plain, "http://idp.test/jwks", jwk.RemoteOptions{InsecureHTTP: true}, false},
		{plain, "http://idp.test:8081/jwks", jwk.RemoteOptions{InsecureHTTP: true}, false},
		{plain, "http://keys.test:8080/jwks", jwk.RemoteOptions{InsecureHTTP: true}, false},
		{plain, "http://127.0.0.1:8080/jwks", jwk.RemoteOptions{InsecureHTTP: true}, false},
		{plain, "http://user@idp.test:8080/jwks", jwk.RemoteOptions{InsecureHTTP: true}, false},
		{secure, "http://idp.test/jwks", jwk.RemoteOptions{InsecureHTTP: true}, false},
		{secure, "http://127.0.0.1/jwks", jwk.RemoteOptions{InsecureHTTP: true, InsecureLoopbackHTTP: true}, false},
		{secure, "http://127.0.0.1/jwks", jwk.RemoteOptions{InsecureLoopbackHTTP: true}, false},
		{"http://127.0.0.1:8080", "http://localhost:9000/jwks", jwk.RemoteOptions{InsecureLoopbackHTTP: true}, true},
		{"http://127.0.0.1:8080", "http://idp.test/jwks", jwk.RemoteOptions{InsecureLoopbackHTTP: true}, false},
	} {
		source := fixture.NewSource(fixture.Directory{
			c.issuer + "/.well-known/openid-configuration": fixture.Metadata(c.issuer, c.keys),
			c.keys: fixture.Document(fixture.JWKS(t, fixture.KeyFor(t, jwk.ES256))),
		})
		c.o.Client = source.Client()
		set, err := jwk.Discover(c.issuer, c.o)
		require.NoError(t, err)
		err = set.Ready(t.Context())
		require.Equal(t, c.ok, err == nil, "%s %s: %v", c.issuer, c.keys, err)
		if !c.ok {
			require.Equal(t, 1, source.Asked())
			require.ErrorContains(t, set.Status().LastError, "jwks_uri that cannot be used")
		}
	}
	// The address of the metadata counts, not the name of the issuer.
	for metadata, ok := range map[string]bool{"http://idp.test/metadata": true, "https://idp.test/metadata": false, "http://other.test/metadata": false} {
		source := fixture.NewSource(fixture.Directory{
			metadata: fixture.Metadata("http://idp.test", "http://idp.test/jwks"), "http://idp.test/jwks": fixture.Document(fixture.JWKS(t, fixture.KeyFor(t, jwk.ES256))),
		})
		set, err := jwk.Discover("http://idp.test", jwk.RemoteOptions{InsecureHTTP: true, MetadataURL: metadata, Client: source.Client()})
		require.NoError(t, err)
		require.Equal(t, ok, set.Ready(t.Context()) == nil, metadata)
	}
}

func TestNoRedirectOverHTTPIsFollowed(t *testing.T) {
	keys := fixture.Document(fixture.JWKS(t, fixture.KeyFor(t, jwk.ES256)))
	for _, c := range []struct {
		from, to string
		o        jwk.RemoteOptions
		ok       bool
	}{
		{"http://idp.test/a", "http://idp.test/b", jwk.RemoteOptions{InsecureHTTP: true}, false},
		{"http://idp.test/a", "https://idp.test/b", jwk.RemoteOptions{InsecureHTTP: true}, false},
		{"https://idp.test/a", "http://idp.test/b", jwk.RemoteOptions{InsecureHTTP: true}, false},
		{"https://idp.test/a", "https://idp.test/b", jwk.RemoteOptions{InsecureHTTP: true}, true},
		{"http://127.0.0.1/a", "http://127.0.0.1/b", jwk.RemoteOptions{InsecureHTTP: true}, false},
		{"http://127.0.0.1/a", "http://127.0.0.1/b", jwk.RemoteOptions{InsecureLoopbackHTTP: true}, true},
	} {
		source := fixture.NewSource(fixture.Directory{c.from: http.RedirectHandler(c.to, http.StatusFound), c.to: keys})
		c.o.Client = source.Client()
		set, err := jwk.NewRemote(c.from, c.o)
		require.NoError(t, err)
		require.Equal(t, c.ok, set.Ready(t.Context()) == nil, "%s %s", c.from, c.to)
		if !c.ok {
			require.Equal(t, []string{c.from}, source.URLs())
		}
	}
}

func TestPlainHTTPWorksWithTheDefaultClient(t *testing.T) {
	w := fixture.New(t)
	server := httptest.NewServer(w.Keys)
	defer server.Close()
	set, err := jwk.NewRemote(server.URL, jwk.RemoteOptions{InsecureHTTP: true})
	require.NoError(t, err)
	w.VerifyWith(set, jwtauth.VerifierOptions{})
	w.RequireAccepted(w.Sign(w.Claims(nil)))
}

func TestPublicAddressesAreToldFromOthers(t *testing.T) {
	for _, text := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.255", "169.254.169.254", "172.16.0.1", "172.31.255.255",
		"192.0.0.1", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378::1", "2001:20::1", "2001:1ff:ffff::1",
		"2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "3fff:fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
	} {
		require.False(t, jwk.IsPublic(netip.MustParseAddr(text)), text)
	}
	require.False(t, jwk.IsPublic(netip.Addr{}))
	for _, text := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "126.255.255.255", "128.0.0.1", "169.253.255.255", "169.255.0.1", "172.15.255.255", "172.32.0.1", "192.0.1.1", "192.167.255.255", "192.169.0.1",
		"198.17.255.255", "198.20.0.1", "203.0.112.255", "203.0.114.1", "223.255.255.255", "2001:200::1", "2001:4860:4860::8888", "2001:db7::1", "2001:db9::1", "2003::1", "2606:4700::1", "2a00::1", "3ffe::1",
	} {
		require.True(t, jwk.IsPublic(netip.MustParseAddr(text)), text)
	}
}

// listening returns a loopback address on which nothing must connect, and the number of
// connections.
func listening(t *testing.T) (address string, connections *atomic.Int64) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	connections = new(atomic.Int64)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			conn.Close()
		}
	}()
	return listener.Addr().String(), connections
}

func TestPublicOnlyRefusesAddressesWhenItConnects(t *testing.T) {
	address, connections := listening(t)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "[::]", "10.0.0.1", "169.254.169.254", "[64:ff9b::7f00:1]"} {
		set, err := jwk.NewRemote("https://"+host+":"+port+"/jwks", jwk.RemoteOptions{PublicOnly: true})
		require.NoError(t, err)
		require.ErrorIs(t, set.Ready(t.Context()), jwtauth.ErrUnavailable)
		require.ErrorContains(t, set.Status().LastError, "is not a public address", host)
		set, err = jwk.Discover("https://"+host+":"+port, jwk.RemoteOptions{PublicOnly: true})
		require.NoError(t, err)
		require.ErrorIs(t, set.Ready(t.Context()), jwtauth.ErrUnavailable)
		require.ErrorContains(t, set.Status().LastError, "is not a public address", host)
	}
	require.Zero(t, connections.Load())
	public, err := jwk.NewRemote(fixture.JWKSURL, jwk.RemoteOptions{PublicOnly: true})
	require.NoError(t, err)
	require.False(t, jwk.UsesProxy(public), "a proxy would connect in its place")
	// Without the option, the client connects.
	set, err := jwk.NewRemote("https://localhost:"+port+"/jwks", jwk.RemoteOptions{})
	require.NoError(t, err)
	require.True(t, jwk.UsesProxy(set))
	require.Error(t, set.Ready(t.Context()))
	require.NotZero(t, connections.Load())
}

func TestPublicOnlyContradictsOtherOptions(t *testing.T) {
	for want, o := range map[string]jwk.RemoteOptions{
		"PublicOnly and Client":                               {PublicOnly: true, Client: http.DefaultClient},
		"PublicOnly and InsecureHTTP or InsecureLoopbackHTTP": {PublicOnly: true, InsecureLoopbackHTTP: true},
		"InsecureHTTP or InsecureLoopbackHTTP, which":         {PublicOnly: true, InsecureHTTP: true},
	} {
		_, err := jwk.NewRemote(fixture.JWKSURL, o)
		require.ErrorContains(t, err, want)
		_, err = jwk.Discover(fixture.Issuer, o)
		require.ErrorContains(t, err, want)
	}
}

// A name that resolves to a public address when a program checks it, and to a loopback address
// when the client connects (DNS rebinding), does not get through: the address of the
// connection is checked.
func TestPublicOnlyRefusesANameThatResolvesToALoopbackAddress(t *testing.T) {
	address, connections := listening(t)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	var asked atomic.Int64
	resolveWith(t, func(name string) netip.Addr {
		asked.Add(1)
		require.Equal(t, "keys.rebinding.test.", name)
		return netip.MustParseAddr("127.0.0.1")
	})
	for public, reaches := range map[bool]bool{true: false, false: true} {
		set, err := jwk.NewRemote("https://keys.rebinding.test:"+port+"/jwks", jwk.RemoteOptions{PublicOnly: public})
		require.NoError(t, err)
		require.ErrorIs(t, set.Ready(t.Context()), jwtauth.ErrUnavailable)
		require.NotZero(t, asked.Swap(0))
		require.Equal(t, reaches, connections.Swap(0) > 0, "PublicOnly: %v", public)
		require.Equal(t, public, strings.Contains(set.Status().LastError.Error(), "127.0.0.1:"+port+" is not a public address"))
	}
}

// resolveWith makes the resolver of package net ask a DNS server of the test, until the test
// ends. answer returns the IPv4 address of a name. There are no IPv6 addresses.
func resolveWith(t *testing.T, answer func(name string) netip.Addr) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	go func() {
		packet := make([]byte, 512)
		for {
			n, client, err := server.ReadFrom(packet)
			if err != nil {
				return
			}
			server.WriteTo(dnsAnswer(packet[:n], answer), client)
		}
	}()
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("udp", server.LocalAddr().String())
	}}
	t.Cleanup(func() { net.DefaultResolver = before })
}

// dnsAnswer answers a question (RFC 1035, section 4).
func dnsAnswer(question []byte, answer func(name string) netip.Addr) []byte {
	const header = 12
	var name strings.Builder
	end := header
	for question[end] != 0 {
		length := int(question[end])
		name.Write(question[end+1 : end+1+length])
		name.WriteByte('.')
		end += 1 + length
	}
	kind := binary.BigEndian.Uint16(question[end+1:])
	end += 5 // the zero, the type and the class
	reply := append([]byte{}, question[:end]...)
	copy(reply[2:header], []byte{0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0}) // an authoritative answer to one question
	if kind != 1 {                                                 // not A
		return reply
	}
	reply[7] = 1 // one answer
	ip := answer(name.String()).As4()
	reply = append(reply, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4) // the name above, A, IN, for 0 seconds, 4 bytes
	return append(reply, ip[:]...)
}

func TestErrorsOfAURLPrintNoSecret(t *testing.T) {
	const secret = "hunter2"
	for _, u := range []string{
		"https://user:" + secret + "@idp.test/jwks", "https://user:" + secret + "/x@idp.test/jwks", "http://idp.test/jwks?key=" + secret,
		"https://" + secret + "@idp.test", "https:user:" + secret + "@idp.test", "ftp://user:" + secret + "@idp.test/",
	} {
		_, err := jwk.NewRemote(u, jwk.RemoteOptions{})
		require.Error(t, err, u)
		require.NotContains(t, err.Error(), secret)
		_, err = jwk.Discover(u, jwk.RemoteOptions{})
		require.Error(t, err, u)
		require.NotContains(t, err.Error(), secret)
	}
	source := fixture.NewSource(fixture.Status(404))
	set, err := jwk.NewRemote("https://idp.test/jwks?key="+url.QueryEscape(secret), jwk.RemoteOptions{Client: source.Client()})
	require.NoError(t, err)
	err = set.Ready(t.Context())
	require.ErrorContains(t, err, `"https://idp.test/jwks?…"`)
	require.NotContains(t, fmt.Sprintf("%v %+v %v", err, err, set.Status()), secret)
	source.Serve(fixture.Document(`{"keys":[]}`))
	require.NotContains(t, set.Refetch(t.Context()).Error(), secret)
}
