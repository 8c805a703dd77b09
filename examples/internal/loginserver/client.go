package loginserver

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// clientAddr returns the address of the client: that of the connection or, if the
// connection comes from a proxy of -trusted-proxy, the last address in X-Forwarded-For
// that is not a trusted proxy. Each proxy appends the address that it was called from, so
// that everything before this address may be forged.
//
// The address is not valid if there is none, as on a Unix socket.
func (s *server) clientAddr(r *http.Request) netip.Addr {
	addr := parseAddr(r.RemoteAddr)
	forwarded := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, before := range slices.Backward(forwarded) {
		if !s.isTrustedProxy(addr) {
			break
		}
		next := parseAddr(strings.TrimSpace(before))
		if !next.IsValid() {
			break // a trusted proxy does not say who called it
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
			return nil, errors.New("this network has every address: the addresses of your proxies alone are expected, since anybody else can forge X-Forwarded-For")
		}
		proxies = append(proxies, prefix.Masked())
	}
	return proxies, nil
}

// warnOfUnknownProxy logs once that a proxy seems to be in front whose clients count as one.
// Only a machine nearby can cause the warning: a stranger may send the header, too.
func (s *server) warnOfUnknownProxy(r *http.Request) {
	addr := parseAddr(r.RemoteAddr)
	if r.Header.Get("X-Forwarded-For") == "" || s.isTrustedProxy(addr) || !addr.IsLoopback() && !addr.IsPrivate() {
		return
	}
	s.proxyWarning.Do(func() {
		s.log.WarnContext(r.Context(), "X-Forwarded-For is ignored, and all clients of this proxy count as one address: if it is yours, -trusted-proxy is expected", "proxy", addr.String())
	})
}
