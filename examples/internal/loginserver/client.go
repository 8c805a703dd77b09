package loginserver

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// clientAddr returns the address of the client. Usually it is the address of the connection.
// If the connection comes from a proxy of -trusted-proxy, it is the last address in
// X-Forwarded-For that is not a trusted proxy. Each proxy appends the address of its caller,
// so everything before that address may be forged.
//
// If there is no address, as on a Unix socket, the result is not valid.
func (s *server) clientAddr(r *http.Request) netip.Addr {
	addr := parseAddr(r.RemoteAddr)
	forwarded := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, before := range slices.Backward(forwarded) {
		if !s.isTrustedProxy(addr) {
			break
		}
		next := parseAddr(strings.TrimSpace(before))
		if !next.IsValid() {
			break // the trusted proxy did not append the address of its caller
		}
		addr = next
	}
	return addr
}

func (s *server) isTrustedProxy(addr netip.Addr) bool {
	return slices.ContainsFunc(s.trustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// parseAddr reads an address, with or without a port.
func parseAddr(s string) netip.Addr {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		withPort, _ := netip.ParseAddrPort(s) // not valid if there is an error
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone("")
}

// parseProxies reads the value of -trusted-proxy.
func parseProxies(list string) (proxies []netip.Prefix, err error) {
	for element := range strings.SplitSeq(list, ",") {
		element = strings.TrimSpace(element)
		prefix, err := netip.ParsePrefix(element)
		if addr, addrErr := netip.ParseAddr(element); addrErr == nil {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil || prefix.Addr().Is4In6() {
			return nil, errors.New("addresses or networks with commas between them are expected, e.g. 127.0.0.1 or 10.1.0.0/16,fd00::/64")
		}
		if prefix.Bits() == 0 {
			return nil, errors.New("this network has every address: only the addresses of your proxies are expected, since anybody else can forge X-Forwarded-For")
		}
		proxies = append(proxies, prefix.Masked())
	}
	return proxies, nil
}

// warnOfUnknownProxy logs once that the server seems to be behind a proxy that
// -trusted-proxy does not name. All clients of that proxy then have one address. Anybody can
// send the header, so only a header from a loopback or private address causes the warning.
func (s *server) warnOfUnknownProxy(r *http.Request) {
	addr := parseAddr(r.RemoteAddr)
	if r.Header.Get("X-Forwarded-For") == "" || s.isTrustedProxy(addr) || !addr.IsLoopback() && !addr.IsPrivate() {
		return
	}
	s.proxyWarning.Do(func() {
		s.log.WarnContext(r.Context(), "X-Forwarded-For is ignored, so all clients of this proxy count as one address: if the proxy is yours, -trusted-proxy is expected", "proxy", addr.String())
	})
}
